"""What an import brings along: read from sys.modules of a process of its own, never from a clock."""

import subprocess
import sys

import pytest
from running import PROJECT

HEAVY = ("timm", "torchvision", "wandb", "pytorch_lightning", "matplotlib", "hydra")
FACE = ("ReIDError", "__version__", "evaluate_retrieval", "load_reid_model", "track_distances")


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import reid_lightning", ("torch", "numpy", "yaml", *HEAVY)),
        ("import reid_lightning; reid_lightning.ReIDError", ("torch", "numpy", *HEAVY)),
        ("import reid_lightning; reid_lightning.evaluate_retrieval", HEAVY),
        ("import reid_lightning.search, reid_lightning.search.gallery", HEAVY),
        ("import reid_lightning.bundle.onnx_embedder, reid_lightning.search.registration", HEAVY),
        ("import reid_lightning.commands.main", ("torch", "numpy", "rich", *HEAVY)),
    ],
)
def test_an_import_brings_nothing_heavy_along(code, without):
    code = f"import sys; {code}; found = sorted(sys.modules.keys() & set({without})); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_face_of_the_package_is_what_it_says():
    import reid_lightning
    from reid_lightning.bundle.loading import load_reid_model
    from reid_lightning.ranking import evaluate_retrieval

    assert tuple(reid_lightning.__all__) == FACE and set(FACE) <= set(dir(reid_lightning))
    assert all(getattr(reid_lightning, name) is not None for name in FACE)
    assert reid_lightning.load_reid_model is load_reid_model
    assert reid_lightning.evaluate_retrieval is evaluate_retrieval
    with pytest.raises(AttributeError, match="no attribute 'load_model'"):
        _ = reid_lightning.load_model
