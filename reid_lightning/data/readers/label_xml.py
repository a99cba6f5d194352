"""The `<Item .../>` lists that VeRi-776 and AI City keep their labels in: gb2312 or utf-8, and no entities."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import read_regular
from reid_lightning.untrusted.names import composed

_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(r"""encoding\s*=\s*["']([^"']+)["']""")
_ENCODINGS = ("utf-8", "utf-16", "gb18030", "us-ascii", "iso-8859-1", "windows-1252", "big5")
"""What a file may say of itself; Python knows others that are slow, or unpack."""
_BOM = b"\xef\xbb\xbf"


def read_items(path: Path) -> list[dict[str, str]]:
    """The attributes of every `<Item>` that names a picture (`imageName`), in order.

    Expat knows no gb2312, so the text is decoded here. A file with a document type, the only place where entities
    could be declared, is refused.

    Raises:
        ReIDError: the file cannot be read or decoded, is no well-formed XML, or an item has no `imageName`.
    """
    text = _decoded(path)
    if "\0" in text:  # in an encoding that it does not name, which expat would guess
        raise ReIDError(f"{path} holds zero bytes; expected XML in utf-8 or gb2312. Save it as utf-8.")
    if "<!DOCTYPE" in text:
        raise ReIDError(f"{path} declares a document type; expected plain <Item .../> elements. Remove the DOCTYPE.")
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ReIDError(f"{path} is not well-formed XML: {error}. Fetch it again.") from error
    items = [dict(item.attrib) for item in tree.iter("Item")]
    for item in items:
        if "imageName" not in item:
            raise ReIDError(f"{path}: an <Item> has no imageName; its attributes are {sorted(item)}.")
    return items


def _decoded(path: Path) -> str:
    """The file's text without its XML declaration."""
    try:
        content = read_regular(path).removeprefix(_BOM)
    except FileNotFoundError as error:
        raise ReIDError(f"there is no {path}; expected the labels of the data set in data.root.") from error
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror}. Give read access to it.") from error
    declaration = _DECLARATION.match(content[:200].decode("ascii", errors="replace"))
    declared = _ENCODING.findall(declaration[0]) if declaration else []
    wanted = declared[0].lower() if declared else "utf-8"
    wanted = "gb18030" if wanted in ("gb2312", "gbk") else wanted
    wanted = wanted if wanted in _ENCODINGS else "utf-8"
    for encoding in dict.fromkeys((wanted, "utf-8", "gb18030")):
        try:
            text = content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        head = _DECLARATION.match(text)
        return composed(text[head.end() :] if head else text)
    raise ReIDError(f"{path} cannot be decoded as {wanted}, utf-8 or gb2312. Fetch the file again.")
