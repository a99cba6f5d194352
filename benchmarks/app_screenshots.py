"""The pictures of the application in the README: the three pages over drawn traffic, taken with a real browser.

python benchmarks/app_screenshots.py bundle=<run>/bundle [traffic=<folder with north.mp4 and south.mp4>]
    [output=docs/pictures]
Needs Chromium and playwright. Registers the clip `north` in a gallery that is thrown away and searches the clip
`south`: `app_register.png`, `app_search.png`, `app_gallery.png`, 1280 pixels wide and light, and `app_phone.png`, 390
pixels wide and dark.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

from browser import SAVE, SAVED, SEARCH, SEARCH_IN, Tab, chromium, serving
from omegaconf import OmegaConf
from PIL import Image

from reid_lightning.synthetic.traffic import TrafficSpec, draw_traffic

COLOURS = 128  # of a picture's palette: a quarter of the bytes, no visible difference
SETTLING = 2.0  # seconds that charts and pictures take to appear


def main() -> None:
    """Go through the pages as an operator does, and take a picture of each."""
    given = OmegaConf.from_cli()
    output = Path(given.get("output", "docs/pictures"))
    traffic = Path(given.traffic) if "traffic" in given else draw_traffic("data/synthetic", TrafficSpec())
    bundle = Path(given.bundle).absolute()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), f"bundle={bundle}", "plates=gb") as server,
        chromium() as browser,
    ):
        shutil.copytree(traffic, Path(folder) / "clips")  # the pictures shall show no path of this machine
        tab = Tab.open(browser, server.address)
        tab.find_vehicles((traffic / "north.mp4").absolute(), camera="north")
        tab.button(SAVE).wait_for()
        take(tab, output / "app_register.png", height=1080)
        tab.button(SAVE).click()
        tab.see(SAVED)
        tab.go("Search")
        lower_min_score(tab, 0.6)
        tab.type(SEARCH_IN, "clips/south.mp4")
        tab.button(SEARCH).click()
        tab.see("Files")
        take(tab, output / "app_search.png", height=1600)
        tab.go("Gallery")
        take(tab, output / "app_gallery.png", height=800)
        phone = Tab.open(browser, f"{server.address}/gallery", width=390, scheme="dark")
        phone.page.get_by_role("heading", level=1).wait_for()
        phone.settle()
        take(phone, output / "app_phone.png", height=844)


def lower_min_score(tab: Tab, to: float) -> None:
    """By the keyboard, so that the picture shows matches: the calibrated threshold lets few of these through."""
    thumb = tab.page.get_by_role("slider").first
    thumb.wait_for()
    while float(thumb.input_value()) > to:
        thumb.press("ArrowLeft")
    tab.settle()


def take(tab: Tab, path: Path, *, height: int) -> None:
    """A picture of a window so high, with few colours."""
    tab.settle()
    tab.page.set_viewport_size({**tab.page.viewport_size, "height": height})
    tab.page.mouse.move(0, 0)
    tab.page.wait_for_timeout(1000 * SETTLING)
    picture = Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
