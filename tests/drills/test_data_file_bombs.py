"""Embeddings, rankings and labels that unpack, nest or unfold to far more than their bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from bombs import MIB, refused

from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.ranking.files import read_embeddings
from reid_lightning.ranking.ranking_files import read_ranking


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
