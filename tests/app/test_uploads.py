"""What the browser sends is bounded, is what its ending says, and lies under a harmless name."""

import errno
import gc
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_clips import scene, write_clip

from reid_lightning.app.uploads import Uploads, check_pictures, harmless_name
from reid_lightning.errors import ReIDError


@dataclass
class Sent:
    name: str
    content: bytes

    @property
    def size(self):
        return len(self.content)

    def getbuffer(self):
        return memoryview(self.content)


def picture(name="a.png"):
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    return Sent(name, file.getvalue())


@pytest.fixture
def uploads():
    return Uploads(max_bytes=100_000, max_pictures=3)


def left(uploads):
    return [path for path in uploads.folder.rglob("*") if path.is_file()]


def test_a_video_and_a_picture_are_files_and_several_pictures_a_folder(uploads, tmp_path):
    video = Sent("C:\\clips\\north gate.MP4", write_clip(tmp_path / "x.mp4", [scene()] * 3).read_bytes())
    assert uploads.keep([video]).name == "north_gate.mp4"
    assert uploads.keep([picture("../../a.png")]).name == "a.png"
    folder = uploads.keep([picture("a.png"), picture("a.png")])
    assert folder.name == "pictures" and sorted(path.name for path in folder.iterdir()) == [
        "00000_a.png",
        "00001_a.png",
    ]
    assert all(path.is_relative_to(uploads.folder) for path in left(uploads)) and len(left(uploads)) == 4
    uploads.drop(folder)
    assert len(left(uploads)) == 2


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([], "no file was chosen"),
        ([Sent("a.mp4", b"x" * 100_001)], "at most 0 MiB"),
        ([picture()] * 4, "at most 3 are taken"),
        ([picture(), Sent("a.mp4", b"x")], "expected one video, or pictures only"),
        ([Sent("a.mp4", b"x"), Sent("b.mp4", b"x")], "expected one video"),
        ([Sent("a.exe", b"x")], "no picture or video by its ending"),
        ([Sent("a", b"x")], "no picture or video by its ending"),
        ([Sent("a.png", b"no picture")], "a.png"),
        ([Sent("a.mp4", b"")], "a.mp4"),
    ],
)
def test_what_cannot_be_taken_is_one_message_without_the_servers_folders(uploads, sent, said):
    with pytest.raises(ReIDError, match=said) as caught:
        uploads.keep(sent)
    assert str(uploads.folder) not in str(caught.value)
    assert left(uploads) == []


def test_many_pictures_are_opened_later_and_one_by_one(uploads, tmp_path):
    folder = uploads.keep([picture("a.png"), Sent("b.png", b"no picture"), picture("c.png")])
    steps = []
    with pytest.raises(ReIDError, match=r"00001_b\.png") as caught:
        check_pictures(folder, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 3)] and str(uploads.folder) not in str(caught.value)
    (folder / "00001_b.png").unlink()
    check_pictures(folder, on_progress=lambda *step: steps.append(step))
    assert steps[1:] == [(1, 2), (2, 2)]
    check_pictures(uploads.keep([picture()]), on_progress=lambda *step: pytest.fail("it was checked before"))


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("a\\b\\c.JPG", "c.jpg"),
        ("<img src=x onerror=alert(1)>.png", "img_src_x_onerror_alert_1.png"),
        ("东门 摄像头.mp4", "东门_摄像头.mp4"),
        ("\u202egpj.exe.png", "gpj_exe.png"),
        (".hidden", "file.hidden"),
        ("....", "file"),
        ("a" * 300 + ".png", "a" * 116 + ".png"),
        ("nul\0l.png", "nul_l.png"),
    ],
)
def test_names(name, harmless):
    assert harmless_name(name) == harmless


def test_the_folder_goes_with_the_tab():
    uploads = Uploads(max_bytes=100, max_pictures=1)
    folder = uploads.folder
    assert folder.is_dir()
    del uploads
    gc.collect()
    assert not folder.exists()


def test_a_full_disk_is_one_message_and_leaves_nothing(uploads, monkeypatch):
    real, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        if len(written) == 2:
            real(path, content[:5])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ReIDError, match="No space left on device") as caught:
        uploads.keep([picture("a.png"), picture("b.png")])
    assert str(uploads.folder) not in str(caught.value) and list(uploads.folder.iterdir()) == []
    written[1:] = []
    with pytest.raises(ReIDError, match="No space left on device"):
        uploads.keep_as("import.zip", picture())
    assert list(uploads.folder.iterdir()) == []
    assert uploads.keep_as("import.zip", picture()).read_bytes() == picture().content


def test_a_folder_that_cannot_be_made_is_one_message(uploads, monkeypatch):
    def full(path, *given, **named):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "mkdir", full)
    for make in (uploads.new_folder, lambda: uploads.keep([picture()])):
        with pytest.raises(ReIDError, match="No space left on device"):
            make()


@pytest.mark.parametrize("sign", ["\U00020000", "车", "é", "a"])
def test_the_longest_name_fits_a_file_system(uploads, sign):
    name = harmless_name(sign * 300 + ".png")
    assert 116 <= len(name.encode()) <= 120 and name == sign * (116 // len(sign.encode())) + ".png"
    folder = uploads.keep([picture(sign * 300 + ".png")] * 2)
    assert [path.name for path in sorted(folder.iterdir())] == [f"00000_{name}", f"00001_{name}"]
