"""Claim: pictures in shards cost no more CPU time than loose files, from the disk's bytes to training's batches.

python benchmarks/shards.py [root=data/synthetic] [size=small] [count=2048] [shard_mib=1] [turns=5]
    [output=benchmarks/results] [name=shards]
`count` of the drawn fleet's training pictures, as loose files and as shards of the same bytes: read as bytes in a
random order, looked at as before every start, and through training's data set (decoded, resized to 128 x 128, batches
of 64) in the loader's process, so that all CPU time is counted. The files lie in the machine's memory after the first
turn, which does not count; what a disk or a network takes for each file that is opened comes on top.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contest import Contestant, contest
from omegaconf import OmegaConf

from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.batches.dataset import PictureDataset, numbering_of, whole_batch
from reid_lightning.data.batches.loader import ResumableLoader
from reid_lightning.data.batches.sampler import KeyedBatchSampler, RandomBatchSampler
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import find_bad_images
from reid_lightning.data.records import PicturePath, Split, VehicleDataset
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.synthetic.fleet import read_synthetic

BATCH, SIDE = 64, 128


def bytes_of(paths: list[PicturePath]) -> Mapping[str, float]:
    """Read the pictures' files in a random order."""
    random.Random(0).shuffle(paths)
    return {"pictures": len(paths), "bytes": sum(len(path.read_bytes()) for path in paths)}


def training_loader(images: Split) -> ResumableLoader:
    """Shuffled batches as training gets them."""
    transform = TrainTransform(Preprocessing(SIDE, SIDE))
    return ResumableLoader(
        PictureDataset(images, transform.load, numbering=numbering_of(images)),
        batch_sampler=KeyedBatchSampler(RandomBatchSampler(len(images), batch_size=BATCH, seed=0), seed=0, rank=0),
        collate_fn=whole_batch,
    )


def batches_of(loader: ResumableLoader) -> Mapping[str, float]:
    """An epoch; the sum of all levels shows that everybody had the same pictures."""
    sums = [(len(batch.images), int(batch.images.sum())) for batch in loader]
    return {"pictures": sum(count for count, _ in sums), "bytes": sum(levels for _, levels in sums)}


def checked(paths: list[PicturePath]) -> Mapping[str, float]:
    """What a reader does before the start."""
    return {"pictures": len(paths), "bytes": len(find_bad_images(paths))}


def paths_of(images: Split) -> list[PicturePath]:
    """Their pictures."""
    return [image.path for image in images]


def main() -> None:
    """Write the shards, run everybody in turns and print a table."""
    from common import report  # not above: it imports the models, and every contestant's process imports this file

    arguments = OmegaConf.from_cli()
    count, shard_mib, turns = (arguments.get(*pair) for pair in (("count", 2048), ("shard_mib", 1), ("turns", 5)))
    train = read_synthetic(root=arguments.get("root", "data/synthetic"), size=arguments.get("size", "small")).train
    with tempfile.TemporaryDirectory() as scratch:
        loose = VehicleDataset("fleet", train=train[: count // BATCH * BATCH])
        packed = read_shards(root=write_shards(loose, Path(scratch) / "shards", shard_mib=shard_mib))
        sets = {"loose files": loose.train, "shards": packed.train}
        works = {
            "bytes": (paths_of, bytes_of),
            "checked before the start": (paths_of, checked),
            "training batches": (training_loader, batches_of),
        }
        contestants = [
            Contestant(f"{work}, {name}", partial(prepare, images), run)
            for work, (prepare, run) in works.items()
            for name, images in sets.items()
        ]
        scores = contest(contestants, threads=1, turns=turns)
    rates = {name: score.figures["pictures"] / score.cpu_s for name, score in scores.items()}
    rows = []
    for work in works:
        one, other = (scores[f"{work}, {name}"].figures for name in sets)
        if one != other:
            raise SystemExit(f"{work}: {one} of loose files, {other} of shards; expected the same.")
        ours, theirs = rates[f"{work}, shards"], rates[f"{work}, loose files"]
        rows.append(
            {
                "pictures per CPU-second": work,
                "loose files": f"{theirs:,.0f}",
                "shards": f"{ours:,.0f}",
                "times": f"{ours / theirs:.2f}",
            }
        )
    size = scores["bytes, shards"].figures["bytes"]
    note = (
        f"{len(loose.train):,} JPEGs of {size / len(loose.train):,.0f} bytes on average, shards of {shard_mib} MiB, 1 "
        f"thread, num_workers=0, files in memory, median of {turns} turns."
    )
    report(arguments.get("name", "shards"), rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
