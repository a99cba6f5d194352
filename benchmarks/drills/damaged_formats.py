"""The formats that the drill of damaged inputs damages: a whole file of each, and its public reader with what must hold
of everything that it accepts."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from benchmarks.drills.damaging import CHECKPOINT, JSON, NPZ, SAFETENSORS, YAML, Structure
from reid_lightning import bundle
from reid_lightning.data.csv_table import read_csv
from reid_lightning.data.decoding import decode
from reid_lightning.data.images import find_bad_images, load_image
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.data.transforms import Preprocessing
from reid_lightning.data.veri import read_veri
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.ranking.files import read_embeddings, read_ranking, write_embeddings
from reid_lightning.ranking.open_set_result import Calibration, CompactHistogram
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.ranking.top_matches import matches_by_chunk
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery, records_of
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.records import Crop, Sighting
from reid_lightning.search.sources import open_source

Told = Sequence[str]
"""What a reader said of what it left out; empty: it took everything."""


class Unsound(Exception):
    """A reader accepted what it must not accept."""


@dataclass(frozen=True)
class Format:
    """`write` puts whole files into an empty folder and names those of which one is damaged; `read` reads the folder,
    in which the named file is damaged, and raises `Unsound` where what it got cannot be right."""

    name: str
    write: Callable[[Path], Sequence[Path]]
    read: Callable[[Path, Path], Told]
    text: bool = False
    structure: Structure | None = None


def must(sound: bool, what: str) -> None:
    """`Unsound` unless it is."""
    if not sound:
        raise Unsound(what)


def noise(height: int = 48, width: int = 64, *, seed: int = 0) -> Image.Image:
    """A smooth picture, so that files are small and every format keeps it."""
    levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height))


def _pictures(kind: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        plain, turned = folder / f"plain.{kind}", folder / f"turned.{kind}"
        exif = Image.Exif()
        exif[0x0112] = 6
        noise().save(plain)
        noise().save(turned, exif=exif)
        return [plain, turned]

    return write


def _read_picture(folder: Path, path: Path) -> Told:
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


def _read_video(folder: Path, path: Path) -> Told:
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


def _write_veri(folder: Path) -> None:
    train = ["0001_c001_00000010_0.jpg", "0001_c002_00000020_0.jpg", "0005_c001_00000030_0.jpg"]
    test = [
        f"{name}_000000{row}0_0.jpg" for row, name in enumerate(("0002_c001", "0002_c002", "0003_c001", "0003_c003"))
    ]
    query = [test[0], test[2]]
    for part, names in (("train", train), ("query", query), ("test", test)):
        (folder / f"image_{part}").mkdir()
        for name in names:
            noise(8, 8).save(folder / f"image_{part}" / name)
        (folder / f"name_{part}.txt").write_text("".join(f"{name}\r\n" for name in names), encoding="utf-8")
        items = "".join(
            f'<Item imageName="{name}" vehicleID="{name[:4]}" cameraID="{name[5:9]}" colorID="3" typeID="2" />\n'
            for name in names
        )
        head = '<?xml version="1.0" encoding="gb2312" ?>\n<TrainingImages Version="1.0">\n'
        if part != "query":
            text = f'{head}<Items number="{len(names)}">\n{items}</Items>\n</TrainingImages>\n'
            (folder / f"{part}_label.xml").write_text(text, encoding="gb2312")
    tracks = "".join(f"{name[:9]}_t{row} {name}\n" for row, name in enumerate(test))
    (folder / "test_track.txt").write_text(tracks, encoding="utf-8")
    (folder / "gt_index.txt").write_text("2 \n4 \n", encoding="utf-8")
    (folder / "jk_index.txt").write_text("1 \n3 \n", encoding="utf-8")
    (folder / "list_color.txt").write_text("1 yellow\n2 orange\n3 green\n", encoding="utf-8")


def _write_xml(folder: Path) -> list[Path]:
    _write_veri(folder)
    return [folder / "train_label.xml", folder / "test_label.xml"]


def _write_lists(folder: Path) -> list[Path]:
    _write_veri(folder)
    names = ("name_train", "name_query", "name_test", "test_track", "gt_index", "jk_index", "list_color")
    return [folder / f"{name}.txt" for name in names]


def _read_veri(folder: Path, path: Path) -> Told:
    _check_dataset(read_veri(root=folder), folder)
    return ()


def _check_dataset(dataset: VehicleDataset, root: Path | None = None) -> None:
    for image in (*dataset.train, *dataset.query, *dataset.gallery):
        must(bool(image.identity), "a picture without an identity")
        for value in (image.identity, image.camera, image.track, image.colour, image.type, image.viewpoint):
            must(value is None or isinstance(value, str), f"{value!r} is no name")
        if root is not None:
            must(Path(image.path).resolve().is_relative_to(root.resolve()), f"{image.path} lies outside {root}")
    for index in (dataset.gt_index, dataset.jk_index):
        must(index is None or len(index) == len(dataset.query), "an index of another length than the queries")
        rows = [row for rows in index or () for row in rows]
        must(all(0 <= row < len(dataset.gallery) for row in rows), "an index outside the gallery")


def _write_csv(folder: Path) -> list[Path]:
    rows = ["path,identity,camera,track,split,colour"]
    for row in range(8):
        noise(8, 8, seed=row).save(folder / f"{row}.png")
        split = ("train", "query", "gallery", "gallery")[row % 4]
        rows.append(f"{row}.png,v{row // 4 + 4 * (split == 'train')},c{row % 2},t{row},{split},red")
    (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return [folder / "table.csv"]


def _read_csv(folder: Path, path: Path) -> Told:
    _check_dataset(read_csv(path=path))
    return ()


def _table() -> EmbeddingTable:
    embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    identities = ("0002", "0002", "0003", "0003", "0004", "0004")
    cameras = ("c001", "c001", "c002", "c002", "c001", "c001")
    tracks = tuple(f"{identity}_{camera}" for identity, camera in zip(identities, cameras, strict=True))
    return EmbeddingTable(embeddings, identities, cameras, tracks, tuple(map(str, range(6))), "f" * 16)


def _features(suffix: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        table = _table() if suffix != ".json" else replace(_table(), names=None, model="")
        return [write_embeddings(folder / f"features{suffix}", table)]

    return write


def _read_features(folder: Path, path: Path) -> Told:
    table = read_embeddings(path)
    must(table.embeddings.ndim == 2 and min(table.embeddings.shape) > 0, f"shape {tuple(table.embeddings.shape)}")
    must(bool(torch.isfinite(table.embeddings.double()).all()), "embeddings that are not finite")
    for column in (table.identities, table.cameras, table.tracks, table.names):
        must(column is None or len(column) == len(table.embeddings), "a column of another length")
        must(column is None or all(isinstance(name, str) for name in column), "a name that is no text")
    return ()


def _write_ranking(folder: Path) -> list[Path]:
    lists = {
        f"000{query}_c001": {
            "class": f"000{query}",
            "ranking": {
                str(place): {"id": f"000{item}_c002", "class": f"000{item}", "distance": place / 10}
                for place, item in enumerate((1, 2, 3), start=1)
            },
        }
        for query in (1, 2)
    }
    path = folder / "ranking.json"
    path.write_bytes(JSON.dump({"metric": "MED", "aggregation": "mean", "tracks": lists}))
    return [path]


def _read_ranking(folder: Path, path: Path) -> Told:
    problem = read_ranking(path)
    queries, gallery = problem.sizes
    must(queries > 0 and gallery > 0, f"{queries} queries and {gallery} items")
    for start, rows, scores in matches_by_chunk(problem, gallery):
        must(bool(torch.isfinite(scores[rows >= 0]).all()), f"scores of query {start} that are not finite")
    return ()


def _model() -> ReIDModel:
    torch.manual_seed(0)
    return ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8).eval()


def _bundle(*names: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        rates = {"false_match_rate": 0.001, "measured_false_match_rate": 0.001, "true_match_rate": 0.9}
        counts = {"same_pairs": 10, "different_pairs": 1000, "queries": 12, "gallery": 90}
        words = {"metric": "cosine", "junk": "same identity, same camera", "protocol": IMAGE_TO_IMAGE}
        histogram = CompactHistogram(-1.0, 1.0, (0, 2, 8), (500, 490, 10))
        calibration = Calibration(
            0.5, True, **rates, queries_with_false_match=0.1, **counts, **words, histogram=histogram
        )
        bundle.save_bundle(
            folder / "bundle",
            _model(),
            Preprocessing(32, 32),
            metrics={"mAP": 0.5, "ranks": [0.5, 0.9]},
            data={"name": "noise", "train": 12},
            calibration={f"{IMAGE_TO_IMAGE}, cosine": calibration.as_dict()},
        )
        return [folder / "bundle" / name for name in names]

    return write


def _read_bundle(folder: Path, path: Path) -> Told:
    _check_embedder(path.parent, None)
    return ()


def _write_checkpoint(folder: Path) -> list[Path]:
    model = _model()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    record = bundle.training_record(model, Preprocessing(32, 32))
    torch.save({"reid": record, "state_dict": state, "global_step": 12, "epoch": 1}, folder / "last.ckpt")
    return [folder / "last.ckpt"]


def _read_checkpoint(folder: Path, path: Path) -> Told:
    _check_embedder(None, path)
    return ()


def _check_embedder(opts: Path | None, checkpoint: Path | None) -> None:
    embedder = load_reid_model(opts, checkpoint)
    embeddings = embedder.embed([noise()])
    must(tuple(embeddings.shape) == (1, embedder.embedding_dim), f"an embedding of {tuple(embeddings.shape)}")
    must(bool(torch.isfinite(embeddings).all()), "an embedding that is not finite")
    must(embedder.threshold is None or np.isfinite(embedder.threshold), f"the threshold {embedder.threshold}")


def _gallery(root: Path) -> Gallery:
    gallery = Gallery(root)
    boxes = tuple(Crop("", number, 0.5 * number, (1.0, 2.0, 9.0, 9.0), 0.9, 0.8) for number in range(2))
    common = {"source": "f0", "source_name": "x.mp4", "track": 1, "type": "car", "detector": "motion", "crops": boxes}
    for number, vehicle in enumerate(("51G12345", "UNKNOWN", "51G12345")):
        one = Sighting(
            f"a{number}", vehicle, "north", start=1e9, end=1e9 + 4, plate="51G12345", plate_confidence=0.9, **common
        )
        gallery.add(one, [np.asarray(noise(16, 24, seed=number))] * 2)
    return gallery


def _write_sidecars(folder: Path) -> list[Path]:
    return sorted(_gallery(folder / "gallery").root.rglob("*.json"))


def _read_gallery(folder: Path, path: Path) -> Told:
    gallery = Gallery(folder / "gallery")
    told: list[str] = []
    for sighting in gallery.sightings(on_problem=told.append):
        _check_sighting(sighting)
        must(all(crop.is_file() for crop in gallery.crop_paths(sighting)), "a sighting without its crops")
        must(len(list(records_of(sighting))) == len(sighting.crops), "records of another number than the crops")
    summaries = gallery.vehicles(on_problem=told.append)
    must(len(summaries) >= 1, "the other sightings are gone")
    return [*told, *gallery.check()]


def _check_sighting(sighting: Sighting) -> None:
    texts = (sighting.id, sighting.vehicle, sighting.camera, sighting.type)
    must(all(text.isascii() or text.encode("utf-8", "ignore").decode() == text for text in texts), "no valid text")
    numbers = [sighting.start or 0.0, sighting.end or 0.0, sighting.plate_confidence]
    numbers += [number for crop in sighting.crops for number in (*crop.box, crop.seconds, crop.score, crop.quality)]
    must(all(np.isfinite(number) for number in numbers), f"{sighting.id} holds a number that is not finite")


def _write_archive(folder: Path) -> list[Path]:
    export_gallery(_gallery(folder / "source"), folder / "gallery.zip")
    return [folder / "gallery.zip"]


def _read_archive(folder: Path, path: Path) -> Told:
    before = {file for file in folder.rglob("*") if file.is_file()}
    gallery = Gallery(folder / "imported")
    report = import_gallery(gallery, path)
    made = {file for file in folder.rglob("*") if file.is_file()} - before
    must(all(file.is_relative_to(gallery.root) for file in made), "a file outside the gallery")
    must(gallery.check() == [], "an imported gallery that is damaged")
    for sighting in gallery.sightings():
        _check_sighting(sighting)
    return report.problems


def _write_shards(folder: Path) -> Path:
    images = []
    for row in range(6):
        path = folder / f"{row}.png"
        noise(8, 8, seed=row).save(path)
        images.append(VehicleImage(path, f"v{row % 2}", f"c{row % 3}"))
    dataset = VehicleDataset(
        "noise", train=tuple(images), query=tuple(images[:2]), gallery=tuple(images[2:]), gt_index=((0,), (1, 3))
    )
    return write_shards(dataset, folder / "shards", shard_mib=0.01)


def _write_shard_files(folder: Path) -> list[Path]:
    return sorted(_write_shards(folder).glob("*.tar"))


def _write_shard_index(folder: Path) -> list[Path]:
    return [_write_shards(folder) / "index.npz"]


def _read_shards(folder: Path, path: Path) -> Told:
    dataset = read_shards(root=folder / "shards")
    for image in (*dataset.train, *dataset.query, *dataset.gallery):
        must(bool(image.identity), "a picture without an identity")
        pixels = np.asarray(Image.open(io.BytesIO(image.path.read_bytes())).convert("RGB"))
        must(pixels.shape == (8, 8, 3), f"a picture of {pixels.shape}")
    must(dataset.gt_index is None or len(dataset.gt_index) == len(dataset.query), "an index of another length")
    return ()


FORMATS = (
    Format("JPEG", _pictures("jpg"), _read_picture),
    Format("PNG", _pictures("png"), _read_picture),
    Format("mp4", _write_video, _read_video),
    Format("XML labels", _write_xml, _read_veri, text=True),
    Format("VeRi lists and index files", _write_lists, _read_veri, text=True),
    Format("CSV", _write_csv, _read_csv, text=True),
    Format("JSON features", _features(".json"), _read_features, text=True, structure=JSON),
    Format("JSON ranking", _write_ranking, _read_ranking, text=True, structure=JSON),
    Format("npz features", _features(".npz"), _read_features, structure=NPZ),
    Format("safetensors features", _features(".safetensors"), _read_features, structure=SAFETENSORS),
    Format("opts.yaml", _bundle("opts.yaml"), _read_bundle, text=True, structure=YAML),
    Format("safetensors weights", _bundle("model.safetensors"), _read_bundle, structure=SAFETENSORS),
    Format("ckpt", _write_checkpoint, _read_checkpoint, structure=CHECKPOINT),
    Format("gallery sidecar", _write_sidecars, _read_gallery, text=True, structure=JSON),
    Format("gallery zip", _write_archive, _read_archive),
    Format("shard tar", _write_shard_files, _read_shards),
    Format("shard index", _write_shard_index, _read_shards, structure=NPZ),
)
