"""Label files: encodings that are not what they say, and what is refused."""

from __future__ import annotations

import pytest

from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.errors import ReIDError

ITEMS = '<Labels><!-- 车 --><Items><Item imageName="a.jpg" vehicleID="1"/><Item imageName="b.jpg"/></Items></Labels>'
EXPECTED = [{"imageName": "a.jpg", "vehicleID": "1"}, {"imageName": "b.jpg"}]


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ("gb2312", "gb2312"),
        ("gb2312", "utf-8"),
        ("GBK", "gbk"),
        ("utf-8", "utf-8-sig"),
        ("utf-8", "gb18030"),
        ("klingon", "utf-8"),
        (None, "utf-8"),
    ],
)
def test_items_are_read_in_whatever_encoding(tmp_path, declared, written):
    path = tmp_path / "train_label.xml"
    head = f'<?xml version="1.0" encoding="{declared}" ?>\r\n' if declared else ""
    path.write_bytes((head + ITEMS).encode(written))
    assert read_items(path) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "b">]><Items/>', "declares a document type"),
        (ITEMS.encode()[:-9], "is not well-formed XML"),
        (b"", "is not well-formed XML"),
        (b"<Items><Item vehicleID='1'/></Items>", r"no imageName; its attributes are \['vehicleID'\]"),
        ("<Items><Item imageName='a.jpg'/></Items>".encode("utf-16-le"), "holds zero bytes"),
        (b"<Items>\xff\xff\xff</Items>", "cannot be decoded as utf-8"),
    ],
)
def test_what_is_no_list_of_items_is_refused(tmp_path, content, message):
    path = tmp_path / "train_label.xml"
    path.write_bytes(content)
    with pytest.raises(ReIDError, match=rf"train_label\.xml.*{message}"):
        read_items(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReIDError, match=r"there is no .*none\.xml; expected the labels"):
        read_items(tmp_path / "none.xml")
