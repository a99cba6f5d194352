"""Pictures as a person sees them: finding, reading, decoding, resizing, preprocessing."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load_image":  # where earlier releases had it
        from reid_lightning.data.images.reading import load_image

        return load_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
