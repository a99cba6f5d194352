"""Claim: the application kept open in the browser registers and searches a long clip without growing memory.

python benchmarks/app_memory.py bundle=<run>/bundle [frames=10000] [traffic=<folder with north.mp4>]
    [output=benchmarks/results] [name=app_memory]
Needs Chromium and playwright. A short drawn clip is repeated until it has `frames` frames, registered on the Register
page and searched on the Search page with every frame looked at, each page kept open and drawing its progress. Resident
memory of the server's process when a tenth, a half and all of the frames have passed.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

import av
from browser import SAVE, SAVED, SEARCH, SEARCH_IN, Tab, chromium, serving
from common import report
from omegaconf import OmegaConf

from reid_lightning.synthetic.traffic import TrafficSpec, draw_traffic

SHARES = (0.1, 0.5, 1.0)
HEIGHT = 180
MINUTES = 30.0  # after which a measurement that has not ended fails
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)")


def repeat(clip: Path, target: Path, *, frames: int) -> float:
    """Write the clip again and again, `HEIGHT` pixels high, until there are so many frames; returns the seconds."""
    with av.open(str(clip)) as video:
        stream = video.streams.video[0]
        rate = int(stream.average_rate)
        width = 2 * round(HEIGHT * stream.width / stream.height / 2)
        pictures = [frame.reformat(width=width, height=HEIGHT) for frame in video.decode(stream)]
    with av.open(str(target), "w") as container:
        out = container.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
        out.width, out.height, out.pix_fmt = width, HEIGHT, "yuv420p"
        for number in range(frames):
            pixels = pictures[number % len(pictures)].to_ndarray(format="rgb24")
            container.mux(out.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(out.encode())
    return frames / rate


def watch(tab: Tab, process: int, *, seconds: float, ended: Callable[[], bool]) -> dict[str, str]:
    """Look at the progress bar's time code twice a second; MiB when each share of the clip has passed."""
    found: dict[float, float] = {}
    most, give_up = 0.0, time.monotonic() + 60 * MINUTES
    while not ended():
        if time.monotonic() > give_up:
            raise TimeoutError("the page is still at work")
        share = passed(tab) / seconds
        now = resident_mebibytes(process)
        most = max(most, now)
        for one in SHARES[:-1]:
            if share >= one:
                found.setdefault(one, now)
        time.sleep(0.5)
    found[SHARES[-1]] = resident_mebibytes(process)
    row = {f"MiB at {100 * share:.0f} %": f"{found[share]:.0f}" if share in found else "not seen" for share in SHARES}
    return {**row, "most MiB": f"{max(most, found[SHARES[-1]]):.0f}"}


def passed(tab: Tab) -> float:
    """Seconds of the clip, by the time code beside the progress bar."""
    bars = tab.page.get_by_test_id("stProgress").all_inner_texts()
    clock = _CLOCK.search(" ".join(bars))
    return (
        0.0
        if clock is None
        else sum(int(part) * size for part, size in zip(clock.groups(), (3600, 60, 1), strict=True))
    )


def resident_mebibytes(process: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Draw, repeat, register, search, print and write the table."""
    given = OmegaConf.from_cli()
    frames = given.get("frames", 10_000)
    bundle = Path(given.bundle).absolute()
    traffic = Path(given.traffic) if "traffic" in given else draw_traffic("data/synthetic", TrafficSpec())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "long.mp4"
        seconds = repeat(traffic / "north.mp4", clip, frames=frames)
        settings = [f"bundle={bundle}", "plate_reader=none", "every=1"]
        with serving(folder, *settings) as server, chromium() as browser:
            process = server.process.pid
            tab = Tab.open(browser, server.address)
            tab.find_vehicles(clip, camera="north")
            save = tab.button(SAVE)
            rows = [row_of("registering", frames, watch(tab, process, seconds=seconds, ended=save.is_visible))]
            save.click()
            tab.see(SAVED)
            tab.go("Search")
            tab.type(SEARCH_IN, str(clip))
            tab.button(SEARCH).click()
            files = tab.page.get_by_role("heading", name="Files")
            rows.append(row_of("searching", frames, watch(tab, process, seconds=seconds, ended=files.is_visible)))
    note = f"Drawn traffic, {HEIGHT} pixels high, again and again; motion detector, no plate reader; pages kept open."
    report(given.get("name", "app_memory"), rows, Path(given.get("output", "benchmarks/results")), note=note)


def row_of(page: str, frames: int, memory: dict[str, str]) -> dict[str, str]:
    """A row of the table."""
    return {"page": page, "frames": f"{frames:,}", **memory}


if __name__ == "__main__":
    main()
