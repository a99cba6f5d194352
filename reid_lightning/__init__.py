"""Train, evaluate and export models that recognise a vehicle again across cameras.

What is named here is imported when it is first asked for: `import reid_lightning` alone imports nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reid_lightning.bundle.loading import load_reid_model
    from reid_lightning.errors import ReIDError
    from reid_lightning.ranking import evaluate_retrieval, track_distances

__version__ = "0.1.0"
__all__ = ["ReIDError", "__version__", "evaluate_retrieval", "load_reid_model", "track_distances"]

_ROOMS = {
    "ReIDError": "errors",
    "evaluate_retrieval": "ranking",
    "load_reid_model": "bundle.loading",
    "track_distances": "ranking",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
