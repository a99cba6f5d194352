"""Train, evaluate and export models that recognise a vehicle again across cameras.

What is named here is imported when it is first asked for: `import reid_lightning` alone imports nothing. A module that
was somewhere else in an earlier release is found there, too, with a warning that says where it is now.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
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


class _Moved:
    """Finds a module at the place of an earlier release: the one file or room of today that has its name."""

    def __init__(self, today: str) -> None:
        self._today = today

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        above, _, last = name.rpartition(".")
        if above.partition(".")[0] != __name__:
            return None
        room = sys.modules[above].__name__
        if room != above:  # which has moved itself: the same module, not a second one
            return ModuleSpec(name, cls(f"{room}.{last}"))  # type: ignore[arg-type]
        if (found := PathFinder.find_spec(name, path)) is not None:
            return found
        root = Path(__file__).parent
        places = [*root.rglob(f"{last}.py"), *(init.parent for init in root.rglob(f"{last}/__init__.py"))]
        if len(places) != 1:
            return None
        today = ".".join((__name__, *places[0].relative_to(root).with_suffix("").parts))
        return ModuleSpec(name, cls(today))  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """As Python does."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of today in the place of the one that Python has made."""
        sys.modules[module.__name__] = import_module(self._today)
        warnings.warn(f"{module.__name__} is {self._today} now", FutureWarning, stacklevel=2)

    def get_code(self, name: str) -> None:
        """For `python -m`, which runs nothing under an old name."""
        raise ImportError(f"{name} is {self._today} now")


sys.meta_path.insert(0, _Moved)
