"""Where earlier releases had `video/sources.py`."""

from reid_lightning.search.video.sources import open_source

__all__ = ["open_source"]
