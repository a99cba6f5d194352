"""Pictures and videos."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.drills.formats.form import Format, Reported, must, noise
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.video.sources import open_source


def _pictures(kind: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        plain, turned = folder / f"plain.{kind}", folder / f"turned.{kind}"
        exif = Image.Exif()
        exif[0x0112] = 6
        noise().save(plain)
        noise().save(turned, **({} if kind == "gif" else {"exif": exif}))  # which holds none
        return [plain, turned]

    return write


def _read_picture(folder: Path, path: Path) -> Reported:
    bad = find_bad_images([path], decode=True)
    readings: list[np.ndarray] = []
    errors: list[ReIDError] = []
    for reader in (load_image, decode):
        try:
            readings.append(np.asarray(reader(path)))
        except ReIDError as error:
            errors.append(error)
    must(not (errors and readings), f"one reader takes it, another says {errors[:1]}")
    must(bool(bad) == bool(errors), f"the check says {bad}, the readers {errors[:1]}")
    if errors:
        raise errors[0]
    for pixels in readings:
        must(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, f"{pixels.dtype} {pixels.shape}")
    must(readings[0].shape == readings[1].shape, f"{readings[0].shape} and {readings[1].shape}")
    return ()


def _write_video(folder: Path) -> list[Path]:
    paths = []
    for codec in ("mpeg4", "h264"):
        path = folder / f"{codec}.mp4"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 4
            stream.codec_context.time_base = Fraction(1, 10)
            for number in range(8):
                frame = av.VideoFrame.from_ndarray(np.asarray(noise(seed=number)), format="rgb24")
                frame.pts = number
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        paths.append(path)
    return paths


def _read_video(folder: Path, path: Path) -> Reported:
    with open_source(path) as source:
        last = None
        for count, frame in enumerate(source):
            pixels = frame.picture
            must(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, f"frame {pixels.shape}")
            must(np.isfinite(frame.seconds) and frame.seconds >= 0, f"frame {count} at {frame.seconds} s")
            must(last is None or frame.number > last, f"frame {frame.number} after {last}")
            last = frame.number
            must(count < 1000, "a clip of 8 frames gives a thousand")
        return () if source.warning is None else (source.warning,)


MEDIA = (
    Format("JPEG", _pictures("jpg"), _read_picture),
    Format("PNG", _pictures("png"), _read_picture),
    Format("GIF", _pictures("gif"), _read_picture),
    Format("AVIF", _pictures("avif"), _read_picture),
    Format("WebP", _pictures("webp"), _read_picture),
    Format("TIFF", _pictures("tif"), _read_picture),
    Format("mp4", _write_video, _read_video),
)
