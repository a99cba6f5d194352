"""A contact sheet of a drawn fleet: one row for each identity, one column for each camera."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from reid_lightning.atomic import save_picture
from reid_lightning.data.images.reading import load_image
from reid_lightning.synthetic.fleet.layout import FOLDERS
from reid_lightning.synthetic.fleet.look import fleet_looks
from reid_lightning.synthetic.fleet.plan import TEST, plan_fleet
from reid_lightning.synthetic.fleet.spec import FleetSpec


def write_sheet(path: Path, folder: Path, spec: FleetSpec, *, rows: int = 24, cell: int = 112) -> Path:
    """Write the sheet of the test split, look-alikes below one another.

    Args:
        path: the picture to write; its suffix chooses the format.
        folder: the drawn fleet.
        spec: what `folder` was drawn from.
        rows: at most so many identities.
        cell: side of a cell in pixels.

    Returns:
        `path`.
    """
    plan = plan_fleet(spec)
    identities = [i for i in fleet_looks(spec.seed, TEST, plan.identities(TEST))][:rows]
    sheet = Image.new("RGB", (cell * spec.cameras, cell * len(identities)), (24, 24, 26))
    for track in plan.tracks:
        if track.split != TEST or track.identity not in identities:
            continue
        picture = load_image(folder / FOLDERS[TEST] / track.images[0])
        scale = (cell - 4) / max(picture.size)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        sheet.paste(picture, ((track.camera - 1) * cell + 2, identities.index(track.identity) * cell + 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_picture(sheet, path)
