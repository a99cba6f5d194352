"""What `reid gallery` prints: on a narrow console, and of files that hold anything."""

import io
import json
import sys

import pytest
from PIL import Image
from running import gallery_command

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import archive_entries
from reid_lightning.search.gallery.sidecar import from_json, to_json
from reid_lightning.search.records import Crop, Sighting

CROP = Crop(file="a1-0.jpg", frame=0, seconds=0.0, box=(0.0, 0.0, 9.0, 9.0), score=0.9, quality=0.5)
GIVEN = Sighting(
    id="a1",
    vehicle="V",
    camera="north",
    source="s",
    source_name="clip.mp4",
    track=1,
    crops=(CROP,),
    type="car",
    detector="motion",
)


@pytest.fixture
def gallery(tmp_path):
    folder = tmp_path / "gallery" / "京A12345"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "a1-0.jpg")
    (folder / "a1.json").write_text(to_json(GIVEN), encoding="utf-8")
    return tmp_path / "gallery"


def printed(monkeypatch, encoding, *arguments):
    """Status and output of the command on a console of this encoding, which refuses what it does not have."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict"))
    status = gallery_command(*arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status, (sys.stdout.buffer.getvalue() + sys.stderr.buffer.getvalue()).decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_plate_that_the_console_cannot_show_is_escaped(monkeypatch, gallery, encoding):
    status, text = printed(monkeypatch, encoding, "list", f"gallery={gallery}")
    assert status == 0 and "\\u4eacA12345" in text
    status, text = printed(monkeypatch, encoding, "rename", "vehicle=京A12345", "to=沪B1", f"gallery={gallery}")
    assert status == 0 and "\\u4eacA12345 is \\u6caaB1 now" in text
    status, text = printed(monkeypatch, encoding, "rename", "vehicle=京A12345", "to=x", f"gallery={gallery}")
    assert status == 1 and "\\u4eacA12345" in text


LONG = "x" * 70_000
DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.mark.parametrize(
    "value", [LONG, {"k" * 70_000: LONG}, [LONG] * 50, DEEP, 10**4000, float("inf")], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("name", ["format", "id", "camera", "track", "crops", "start", "plate", "box", "file", "score"])
def test_a_wrong_value_of_a_sidecar_is_told_shortly(name, value):
    values = json.loads(to_json(GIVEN))
    (values if name in values else values["crops"][0])[name] = value
    if name in ("camera", "plate", "file") and value is LONG:
        return  # a text as it should be
    with pytest.raises(ReIDError) as error:
        from_json(json.dumps(values).encode(), vehicle="V", name="a1.json")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}", '{"a":' * 50_000, '"\\ud800"'])
def test_a_sidecar_that_is_too_much_for_a_parser_is_one_short_problem(monkeypatch, gallery, content):
    (gallery / "京A12345" / "a1.json").write_text(content, encoding="utf-8")
    status, text = printed(monkeypatch, "utf-8", "list", f"gallery={gallery}")
    assert status == 0 and text.count("left out:") == 1 and len(text) < 2000


def test_a_sidecar_of_many_signs_is_listed_as_one_short_problem(monkeypatch, gallery):
    (gallery / "京A12345" / "a1.json").write_text(json.dumps({"format": LONG}), encoding="utf-8")
    status, text = printed(monkeypatch, "utf-8", "list", f"gallery={gallery}")
    assert status == 0 and "left out: The sidecar" in text and len(text) < 2000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "gallery="], "gallery is ''; expected a folder"),
        (["sync", "device=foo", "bundle=x"], "device is 'foo'; expected auto"),
        (["rename", "vehicle=a", "to="], "to is ''; expected a name"),
        (["rename", "vehicle=a"], "to is missing: the new name; e.g. to=51G12345."),
        (["rename", "vehicle=[a,b]", "to=c"], "vehicle is ['a', 'b']; expected a name"),
        (["list", f"gallery={'a' * 5000}"], "a name of 5,000 bytes"),
        (["list", "to=c"], "there is no key 'to'"),
        (["delete", "vehicle=a", "noww=true"], "there is no key 'noww'; did you mean now?"),
        (["delete", "a"], "'a' is no setting; expected key=value, such as vehicle=51G12345"),
        (["forget", "before=soon"], "before is 'soon'; expected a time such as"),
        (["x" * 70_000], "reid gallery has no command"),
    ],
)
def test_a_wrong_argument_is_told_shortly(capsys, arguments, said):
    assert gallery_command(*arguments) == 1
    shown = capsys.readouterr().err
    assert said in shown and len(shown) < 3000


def test_a_zip_that_holds_more_than_is_read_names_the_key_for_more(monkeypatch, gallery, tmp_path, capsys):
    file = tmp_path / "g.zip"
    assert gallery_command("export", f"gallery={gallery}", f"file={file}") == 0
    monkeypatch.setattr(archive_entries, "MAX_ENTRIES", 2)
    assert gallery_command("import", f"gallery={tmp_path / 'other'}", f"file={file}") == 1
    assert "holds 3 files; at most 2 are read. Where you trust it, max_gib=64 reads four" in capsys.readouterr().err
    assert gallery_command("import", f"gallery={tmp_path / 'other'}", f"file={file}", "max_gib=64") == 0
