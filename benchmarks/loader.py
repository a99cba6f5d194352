"""Claim: training pictures are decoded, resized, augmented and normalised at more than three times fast-reid's rate,
and the resize is Pillow's antialiased one to a level of 255.

python benchmarks/loader.py [fastreid=<clone>] [pictures=<folder of JPEGs>] [count=512] [side=256] [turns=5]
    [output=benchmarks/results] [name=loader]
Everybody decodes the same files, resizes to side x side, flips, pads by 10 and crops, erases (2 to 33 % of every second
picture) and normalises, in batches of 64 through its own data set, transforms and collation, in the loader's process
(num_workers=0), so that all CPU time is counted. Without `pictures` the drawn fleet's are taken.
fast-reid needs yacs, termcolor and tabulate. It resizes bicubically, which cannot be changed there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from contest import Contestant, Score, contest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reid_lightning.commands.entry_point import read_dataset
from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.batches.dataset import PictureDataset, numbering_of, whole_batch
from reid_lightning.data.batches.loader import ResumableLoader
from reid_lightning.data.batches.sampler import KeyedBatchSampler, RandomBatchSampler
from reid_lightning.data.images.cache import PictureCache
from reid_lightning.data.images.decoding import decode, resize, resize_exactly
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import VehicleImage

CONFIG_DIR = Path(__file__).resolve().parents[1] / "conf"
BATCH = 64
SAME = [
    "transforms.on_picture.shift.padding=10",
    "transforms.on_picture.erase.area=[0.02,0.33]",
]  # light, with the numbers of fast-reid
RIVAL, OURS = "fast-reid", "reid_lightning"

Batches = Callable[[], Iterator[Tensor]]  # an epoch


def exhaust(batches: Batches) -> Mapping[str, float]:
    """Run through an epoch."""
    return {"pictures": sum(len(images) for images in batches())}


def ours(paths: Sequence[Path], transform: TrainTransform, *, cached: bool = False, finished: bool = True) -> Batches:
    """The loader of the data module; `finished=False` stops where an accelerator would take over."""
    if cached:
        height, width = transform.preprocessing.height, transform.preprocessing.width
        transform = replace(transform, cache=PictureCache(paths, height=height, width=width, limit_mib=1 << 12))
    images = tuple(VehicleImage(path, str(number), None) for number, path in enumerate(paths))
    loader = ResumableLoader(
        PictureDataset(images, transform.load, numbering=numbering_of(images)),
        batch_sampler=KeyedBatchSampler(RandomBatchSampler(len(images), batch_size=BATCH, seed=0), seed=0, rank=0),
        collate_fn=whole_batch,
    )

    def epoch() -> Iterator[Tensor]:
        for number, batch in enumerate(loader):
            yield transform.finish(batch.images, key=number) if finished else batch.images

    return epoch


def ours_evaluating(paths: Sequence[Path], preprocessing: Preprocessing) -> Batches:
    """What evaluation does: decode, resize, normalise."""
    images = tuple(VehicleImage(path, str(number), None) for number, path in enumerate(paths))
    pictures = PictureDataset(images, preprocessing.load, numbering={})
    loader = DataLoader(pictures, batch_size=BATCH, collate_fn=whole_batch)

    def epoch() -> Iterator[Tensor]:
        for batch in loader:
            yield preprocessing.finish(batch.images)

    return epoch


def fastreid(paths: Sequence[Path], *, clone: str, side: int) -> Batches:
    """Its data set, transforms and collation, and the normalising that its model does first."""
    import collections.abc
    import warnings

    warnings.simplefilter("ignore")
    collections.Mapping = collections.abc.Mapping  # its imports are older than Python 3.10
    sys.path.insert(0, clone)
    from fastreid.config import get_cfg
    from fastreid.data.build import fast_batch_collator
    from fastreid.data.common import CommDataset
    from fastreid.data.transforms import build_transforms

    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = [side, side]
    for part in (cfg.INPUT.FLIP, cfg.INPUT.PADDING, cfg.INPUT.REA):
        part.ENABLED = True
    data = CommDataset([(str(path), number, 0) for number, path in enumerate(paths)], build_transforms(cfg))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=fast_batch_collator)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))

    def epoch() -> Iterator[Tensor]:
        for batch in loader:
            yield batch["images"].sub_(mean).div_(std)

    return epoch


def torchvision_chain(paths: Sequence[Path], *, side: int) -> Batches:
    """What a good tutorial would do: torchvision's decoder, its v2 transforms on tensors, the default collation."""
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    chain = v2.Compose(
        [
            v2.Resize((side, side), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.Pad(10),
            v2.RandomCrop(side),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            v2.RandomErasing(),
        ]
    )

    class Pictures(Dataset[Tensor]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Tensor:
            return chain(decode_image(str(paths[index]), ImageReadMode.RGB))

    loader = DataLoader(Pictures(), batch_size=BATCH, shuffle=True, drop_last=True)
    return lambda: iter(loader)


def speed_rows(scores: Mapping[str, Score]) -> list[dict[str, str]]:
    """Pictures per CPU-second, and as a multiple of the rival's."""
    rates = {name: score.figures["pictures"] / score.cpu_s for name, score in scores.items()}
    return [
        {
            "loader": name,
            "pictures per CPU-second": f"{rate:,.0f}",
            **({f"times {RIVAL}": f"{rate / rates[RIVAL]:.2f}"} if RIVAL in rates else {}),
        }
        for name, rate in rates.items()
    ]


def quality_rows(paths: Sequence[Path], side: int) -> list[dict[str, str]]:
    """How far our decoding and our resize are from Pillow's, in levels of 255, over the pixels of all pictures."""
    pictures = [decode(path) for path in paths]
    decoded = [
        np.abs(pixels - np.asarray(Image.open(path).convert("RGB"), int)).ravel()
        for pixels, path in zip(pictures, paths, strict=True)
    ]
    rows = [{"": "decoded", **_difference(decoded, "bilinear"), **_difference(decoded, "bicubic")}]
    factors = {f"to {side} x {side}": None, "enlarged 2 times": 2.0}
    factors |= {f"shrunk {by:g} times": 1 / by for by in (1.5, 2, 4)}
    for name, factor in factors.items():
        row = {"": name}
        for interpolation in ("bilinear", "bicubic"):
            differences = []
            for pixels in pictures:
                height, width = (max(1, round(length * factor)) if factor else side for length in pixels.shape[:2])
                exact = resize_exactly(Image.fromarray(pixels), height, width, interpolation=interpolation)
                resized = resize(pixels, height, width, interpolation=interpolation)
                differences.append(np.abs(resized.astype(int) - exact).ravel())
            row |= _difference(differences, interpolation)
        rows.append(row)
    return rows


def _difference(differences: Sequence[np.ndarray], interpolation: str) -> dict[str, str]:
    together = np.concatenate(differences)
    return {f"{interpolation}, mean": f"{together.mean():.4f}", f"{interpolation}, most": f"{together.max()}"}


def composed(*overrides: str) -> DictConfig:
    """train.yaml with overrides."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def main() -> None:
    """Run everybody in turns and print two tables."""
    from common import report  # not above: it imports the models, and every contestant's process imports this file

    arguments = OmegaConf.from_cli()
    side, count = arguments.get("side", 256), arguments.get("count", 512)
    if "pictures" in arguments:
        found = sorted(path for path in Path(arguments.pictures).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    else:
        found = sorted(image.path for image in read_dataset(composed()).train)
    count = min(count, len(found)) // BATCH * BATCH
    if not count:
        raise SystemExit(f"{len(found)} JPEGs found; expected {BATCH} or more.")
    paths = [found[place * len(found) // count] for place in range(count)]

    size = (f"input.height={side}", f"input.width={side}")
    cfg = composed(*size, "transforms=light", *SAME)
    exact = instantiate(cfg.input)
    light = instantiate(cfg.transforms)(exact)
    on_device = instantiate(composed(*size, "transforms=on_device").transforms)(exact)
    bicubic = replace(light, preprocessing=replace(exact, interpolation="bicubic"))
    makers = {
        OURS: partial(ours, paths, light),
        f"{OURS}, bicubic": partial(ours, paths, bicubic),
        f"{OURS}, kept in memory": partial(ours, paths, light, cached=True),
        f"{OURS}, on_device: the workers' part": partial(ours, paths, on_device, finished=False),
        "torchvision v2": partial(torchvision_chain, paths, side=side),
        "evaluation, input.resize=exact": partial(ours_evaluating, paths, exact),
        "evaluation, input.resize=fast": partial(ours_evaluating, paths, replace(exact, resize="fast")),
    }
    if "fastreid" in arguments:
        makers = {RIVAL: partial(fastreid, paths, clone=arguments.fastreid, side=side), **makers}
    turns = arguments.get("turns", 5)
    contestants = [Contestant(name, prepare, exhaust) for name, prepare in makers.items()]
    scores = contest(contestants, threads=1, turns=turns)

    widths, heights = zip(*(Image.open(path).size for path in paths), strict=True)
    note = (
        f"{count} JPEGs, median {np.median(widths):.0f} x {np.median(heights):.0f} pixels, to {side} x {side}, batches "
        f"of {BATCH}; 1 thread, num_workers=0, median of {turns} turns."
    )
    folder, name = Path(arguments.get("output", "benchmarks/results")), arguments.get("name", "loader")
    report(name, speed_rows(scores), folder, note=note)
    sample = paths[:: max(1, len(paths) // 128)]
    note = f"Absolute difference from Pillow in levels of 255, {len(sample)} of these pictures."
    report(f"{name}_quality", quality_rows(sample, side), folder, note=note)


if __name__ == "__main__":
    main()
