"""Small files that want much: each is refused with one clear error, before it has taken the memory."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from upload import Upload

from reid_lightning.app.uploads import Uploads
from reid_lightning.bundle import bundle
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.pretrained import find_weights
from reid_lightning.ranking.files import read_embeddings, read_ranking
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.archive import import_gallery

MIB = 1 << 20
LONGEST_MESSAGE = 2_000


@contextmanager
def refused(message: str, *, mib: int = 200) -> Iterator[None]:
    """`ReIDError` with a message that is short, and no more memory than `mib` at any moment (where /proc tells)."""
    before = peak(reset=True)
    with pytest.raises(ReIDError, match=message) as caught:
        yield
    assert len(str(caught.value)) < LONGEST_MESSAGE
    assert peak() - before < mib * MIB


def peak(*, reset: bool = False) -> int:
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))[1]) << 10
    except OSError:
        return 0


def png(side: int) -> bytes:
    """A picture of one bit a pixel, all black, whole to the last byte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(1)
    row = bytes(1 + -(-side // 8))
    packed = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg(side: int | None = None) -> bytes:
    """A small picture, whose header says `side` where one is given."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 90, 200)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    if side is not None:
        place = data.index(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.fixture(scope="module")
def huge_png() -> bytes:
    return png(60_000)


READERS: list[Callable[[Path], object]] = [
    load_image,
    decode,
    Preprocessing(32, 32).load,
    Preprocessing(32, 32).load_fast,
]


@pytest.mark.parametrize("read", READERS)
def test_pictures_of_huge_dimensions(read: Callable[[Path], object], huge_png: bytes, tmp_path: Path) -> None:
    for name, content in (("a.png", huge_png), ("b.jpg", jpeg(65_500)), ("c.jpg", huge_png)):
        (tmp_path / name).write_bytes(content)
        with refused(f"{name} cannot be read.*decompression bomb"):
            read(tmp_path / name)


def tile_tiff(side: int) -> bytes:
    """A picture of 64 x 64 in one tile of `side` x `side`."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(side) * 100) for _ in range(side // 100)) + packer.flush()
    long = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in long.items())
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(long)) + entries + bytes(4)


def many_scans() -> bytes:
    file = io.BytesIO()
    Image.new("L", (3_000, 3_000), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()[:-2]
    return data + data[data.rindex(b"\xff\xda") :] * 1_000 + b"\xff\xd9"


COSTLY = [
    (lambda: tile_tiff(15_000), "its tiles of 15000 x 15000 pixels"),
    (lambda: png(12_000), "it has 12000 x 12000 pixels"),
    (many_scans, "it is a JPEG of more than 50 scans"),
]


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, of what is refused right after
@pytest.mark.parametrize(("make", "message"), COSTLY, ids=["tile", "pixels", "scans"])
def test_pictures_that_pillow_would_decode(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    content = make()
    assert len(content) < MIB
    (tmp_path / "a.jpg").write_bytes(content)
    for read in READERS:
        with refused(f"a.jpg cannot be read: {message}", mib=100):
            read(tmp_path / "a.jpg")
    with refused(f"a.jpg cannot be read: {message}", mib=100):
        Uploads(max_bytes=MIB, max_pictures=1).keep([Upload("a.jpg", content)])
    assert message in find_bad_images([tmp_path / "a.jpg"])[tmp_path / "a.jpg"]


@pytest.mark.parametrize("in_full", [False, True])
def test_the_check_before_training_names_huge_pictures(in_full: bool, huge_png: bytes, tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path, content in zip(paths, (huge_png, jpeg(65_500)), strict=True):
        path.write_bytes(content)
    before = peak(reset=True)
    assert list(find_bad_images(paths, decode=in_full)) == paths
    assert peak() - before < 200 * MIB


@pytest.mark.parametrize("marker", [0x01, 0xD0, 0xD7])
def test_a_header_that_two_decoders_read_differently(marker: int, tmp_path: Path) -> None:
    """A marker without a length, which a look at the header could take the next two bytes for: it would then jump over
    the size that libjpeg goes by, to a small one that lies in a comment."""
    small, jump = jpeg(), 0xFFFE  # as number: what the first comment begins with
    frame = small[small.index(b"\xff\xc0") :][: 2 + 17] + b"\xff\xda\x00\x0c"
    first = b"\xff\xfe" + struct.pack(">H", jump - 6) + bytes(jump - 8)
    second = b"\xff\xfe" + struct.pack(">H", 2 + len(frame)) + frame
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes([marker]) + first + second + jpeg(65_500)[2:])
    with refused("a.jpg cannot be read: (Image size .* decompression bomb|it begins like JPEG, and is damaged)"):
        decode(path)


def test_pictures_are_opened_by_the_formats_that_are_read_alone(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(hello) print\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(eps)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "EPS"  # which Pillow hands to Ghostscript when its pixels are asked for
    with refused("a.jpg cannot be read: it is not a picture in a format that is read"):
        load_image(tmp_path / "a.jpg")


def test_a_huge_picture_in_an_archive(huge_png: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": 1, "kind": "reid_lightning gallery"}))
        archive.writestr("V1/a.png", huge_png)
    before = peak(reset=True)
    report = import_gallery(Gallery(tmp_path / "gallery"), tmp_path / "g.zip")
    assert peak() - before < 200 * MIB
    assert (report.added, report.left_out) == (0, 1)
    assert "60000 x 60000 pixels" in report.problems[0] or "no whole picture" in report.problems[0]


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, of what is refused right after
@pytest.mark.parametrize(("make", "message"), COSTLY, ids=["tile", "pixels", "scans"])
def test_costly_pictures_in_an_archive(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": 1, "kind": "reid_lightning gallery"}))
        archive.writestr("V1/a.png", make())
    before = peak(reset=True)
    report = import_gallery(Gallery(tmp_path / "gallery"), tmp_path / "g.zip")
    assert peak() - before < 100 * MIB
    assert (report.added, report.left_out) == (0, 1) and message in report.problems[0]


def claims(shape: list[int], *, header: int | None = None) -> bytes:
    """A safetensors file without data; `header`: the length that it says its header has."""
    size = 4 * int(np.prod(shape, dtype=object))
    text = json.dumps({"embeddings": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", header or len(text)) + text


@pytest.mark.parametrize(
    "content",
    [claims([1 << 20, 1 << 12]), claims([2, 2], header=1 << 33), claims([2, 2], header=(1 << 64) - 1)],
    ids=["16 GiB of data", "8 GiB of header", "all there is"],
)
def test_a_safetensors_file_that_claims_gigabytes(content: bytes, tmp_path: Path) -> None:
    saved = small_bundle(tmp_path)
    (tmp_path / "features.safetensors").write_bytes(content)
    with refused("features.safetensors: not a file of embeddings"):
        read_embeddings(tmp_path / "features.safetensors")
    with refused("holds no plain weights"):
        find_weights(str(tmp_path / "features.safetensors"), name="x", ibn=None)
    (saved / "model.safetensors").write_bytes(content)
    with refused("not a readable safetensors file"):
        load_reid_model(saved)


def test_embeddings_that_unpack_to_far_more(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("embeddings.npy", "w") as member:
        head = {"descr": "<f4", "fortran_order": False, "shape": (1 << 13, 1 << 12)}
        np.lib.format.write_array_header_1_0(member, head)
        for _ in range(128):
            member.write(bytes(MIB))
    assert path.stat().st_size < MIB
    with refused("it unpacks to 134,", mib=64):
        read_embeddings(path)


def test_embeddings_of_a_shape_that_no_memory_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "features.npz", "w") as archive, archive.open("embeddings.npy", "w") as member:
        head = {"descr": "<f4", "fortran_order": False, "shape": (1 << 31, 1 << 31)}
        np.lib.format.write_array_header_1_0(member, head)
    with refused("not a file of embeddings"):
        read_embeddings(tmp_path / "features.npz")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, '{"a": [[' + "9" * 100_000 + "]]}"])
def test_json_that_is_deep_or_long(content: str, tmp_path: Path) -> None:
    (tmp_path / "features.json").write_text(content, encoding="utf-8")
    for read in (read_embeddings, read_ranking):
        with refused("features.json"):
            read(tmp_path / "features.json")


def small_bundle(folder: Path) -> Path:
    torch.manual_seed(0)
    model = ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8)
    return bundle.save_bundle(folder / "bundle", model, Preprocessing(32, 32), metrics={}, data={})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("saved"))


TENFOLD = [(n, ", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
LAUGHS = "\n".join(["a0: &a0 [lol]", *(f"a{n}: &a{n} [{ten}]" for n, ten in TENFOLD)])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{ten}]}}" for n, ten in TENFOLD)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{LAUGHS}\nformat: *a11\n", r"not readable as YAML: .*alias \*a0"),
        (f"{MERGES}\nmetrics: *a11\n", r"not readable as YAML: .*alias \*a0"),
        ("metrics: &m\n  again: *m\n", r"alias \*m"),
        ("format: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("data: !!python/name:os.system\n", "could not determine a constructor"),
        ("[" * 2_000, "not readable as YAML"),
        ("x: " + "y" * (MIB + 1), "more than 262,144 bytes"),
        ("day: 2026-99-99\n", "not readable as YAML: month must be in 1..12"),
        ("number: " + "9" * 5000, "not readable as YAML: a number that long"),
        ("number: " + "1:" * 60_000 + "1", "not readable as YAML: a number that long"),  # base 60, in quadratic time
        ("format: 1\nformat: 2\n", "the key 'format' twice"),
    ],
)
def test_options_that_unfold_or_run_code(content: str, message: str, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "opts.yaml").write_text(content, encoding="utf-8")
    with refused(message):
        load_reid_model(tmp_path / "opts.yaml", saved / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": 10**9}, r"of another architecture.* 5 of another shape"),
        ({"backbone": "vit_giant_patch14_dinov2", "embedding_dim": None}, "of another architecture"),
        ({"backbone": ["x"]}, "is not one of ours|cannot be built"),
        ({"backbone": "hf-hub:someone/anything"}, "is no timm network"),
        ({"backbone": "local-dir:/etc"}, "is no timm network"),
        ({"pretrained": "/etc/passwd"}, "names pretrained"),
        ({"_target_": "os.system"}, "is not one of ours"),
    ],
)
def test_an_architecture_that_is_not_that_of_the_weights(
    changes: dict[str, object], message: str, saved: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load((saved / "opts.yaml").read_text(encoding="utf-8"))
    values["architecture"] |= changes
    (tmp_path / "opts.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with refused(message, mib=400):
        load_reid_model(tmp_path / "opts.yaml", saved / "model.safetensors")


def test_options_that_promise_other_embeddings_than_the_network_gives(saved: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((saved / "opts.yaml").read_text(encoding="utf-8"))
    (tmp_path / "opts.yaml").write_text(yaml.safe_dump(values | {"embedding_dim": 16}), encoding="utf-8")
    with refused("embeddings of 16 numbers, and its network gives 8"):
        load_reid_model(tmp_path / "opts.yaml", saved / "model.safetensors")


def checkpoint(path: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    model = ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    record = bundle.training_record(model, Preprocessing(32, 32))
    torch.save({"reid": record, "state_dict": {**state, **changes}}, path)
    return path


def test_a_checkpoint_that_unpacks_to_far_more(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path / "whole.ckpt")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb:
        for info in archive.infolist():
            bomb.writestr(info.filename, archive.read(info))
        bomb.writestr("whole/data/999", bytes(64 * MIB), zipfile.ZIP_DEFLATED)
    with refused("packed, which torch writes no checkpoint"):
        load_reid_model(None, tmp_path / "bomb.ckpt")


def test_a_checkpoint_of_which_a_byte_has_changed(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "last.ckpt")
    assert load_reid_model(None, path).embedding_dim == 8
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + 200] ^= 1  # in the numbers themselves, where torch looks at nothing
    path.write_bytes(data)
    with refused("its bytes have changed"):
        load_reid_model(None, path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((8, 256), float("nan")), "'reduction.weight' holds NaN or infinity"),
        (torch.full((8, 256), 1, dtype=torch.int64), r"'reduction.weight' is of type torch.int64"),
        (torch.zeros(1).expand(1 << 16, 1 << 14), "of another shape|not stored but repeated"),
        ("text", "holds a str as weight 'reduction.weight'"),
    ],
)
def test_weights_that_are_none(value: object, message: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "last.ckpt", **{"model.reduction.weight": value})
    with refused(message):
        load_reid_model(None, path)


def test_weights_of_a_bundle_that_are_not_finite(saved: Path, tmp_path: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["reduction.weight"][0, 0] = float("inf")
    save_file(weights, tmp_path / "model.safetensors")
    with refused("'reduction.weight' holds NaN or infinity"):
        load_reid_model(saved / "opts.yaml", tmp_path / "model.safetensors")


ENTITIES = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">' for n in range(12))
LAUGHING = f'<!DOCTYPE x [{ENTITIES}]><x><Item imageName="&l11;"/></x>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x><Item imageName="&e;"/></x>'


@pytest.mark.parametrize("text", [LAUGHING, OUTSIDE], ids=["billion laughs", "external entity"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb2312"])
def test_entities_are_refused_in_every_encoding(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    with refused(r"a\.xml (declares a document type|cannot be decoded)"):
        read_items(tmp_path / "a.xml")


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "punycode", "undefined", "a\0b", "idna", "zlib_codec"])
def test_an_encoding_that_is_none_of_a_text_file_is_not_used(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(
        f'<?xml version="1.0" encoding="{encoding}"?><x><Item imageName="+AHg-"/></x>'.encode()
    )
    assert read_items(tmp_path / "a.xml") == [{"imageName": "+AHg-"}]


def test_xml_that_is_deep(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a>" * 50_000, encoding="utf-8")
    with refused("is not well-formed XML"):
        read_items(tmp_path / "a.xml")
