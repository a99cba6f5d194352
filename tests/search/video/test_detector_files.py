"""A detector's file is fetched whole, from where it should, and is the one that is known; or nothing is kept."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from running import reid_command

from reid_lightning.commands import detector as command
from reid_lightning.errors import ReIDError
from reid_lightning.search.video.detectors import files
from reid_lightning.search.video.detectors.files import YOLOX_NANO, KnownFile, default_folder, fetch, fetched
from reid_lightning.search.video.detectors.onnx import YoloxDetector

CONTENT = b"a network's file" * 5000
KNOWN = KnownFile(
    "net.onnx", "https://example.invalid/net.onnx", "MIT", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
)


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {"/net": CONTENT, "/other": b"x" * len(CONTENT), "/long": CONTENT * 9, "/cut": CONTENT}.get(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/net")
            self.end_headers()
        elif body is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:100] if self.path == "/cut" else body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as answering:
        threading.Thread(target=answering.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{answering.server_port}"
        answering.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache" / "reid_lightning" / "detectors"


def test_a_copy_of_the_file_is_fetched_and_checked(server: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "mirror.onnx").write_bytes(CONTENT)
    for folder, address in ((None, f"{server}/net"), (tmp_path / "here", (tmp_path / "mirror.onnx").as_uri())):
        path = fetch(KNOWN, folder, address=address)
        assert path == (folder or cache) / "net.onnx" and path.read_bytes() == CONTENT
        assert fetched(KNOWN, folder) == path == fetch(KNOWN, folder, address="https://example.invalid/not/asked")
    (cache / "net.onnx").write_bytes(b"damaged")
    with pytest.raises(ReIDError, match=r"is not the net\.onnx that is known"):
        fetched(KNOWN)
    assert fetch(KNOWN, address=f"{server}/net").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("{server}/other", r"is not the net\.onnx that is known: expected SHA-256 [0-9a-f]{64}\. Nothing was kept"),
        ("{server}/long", "has more than the 80,000 bytes"),
        ("{server}/cut", "cannot be read|is not the net"),
        ("{server}/none", r"cannot be read.*Not Found.*https://example\.invalid.*detector\.path"),
        ("{server}/moved", r"leads to http://127.*expected a redirect to https"),
        ("http://127.0.0.1:9/net", "cannot be read.*copy it here"),
        ("http://example.invalid/net", "expected https://, file://, or http:// on this machine"),
        ("ftp://127.0.0.1/net", "expected https"),
        ("file:///no/such/file", "cannot be read"),
        ("net.onnx", "expected https"),
    ],
)
def test_anything_else_is_one_error_and_leaves_nothing(server: str, cache: Path, address: str, said: str) -> None:
    with pytest.raises(ReIDError, match=said):
        fetch(KNOWN, address=address.format(server=server))
    assert not cache.exists() or not list(cache.iterdir())


def test_a_folder_that_cannot_be_written_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReIDError, match=r"net\.onnx cannot be written"):
        fetch(KNOWN, tmp_path / "file" / "folder", address=f"{server}/net")


def test_the_command_says_what_it_has_done(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(command, "KNOWN", {"yolox_nano": KNOWN})
    assert reid_command("detector", "list") == 0 and "not fetched" in capsys.readouterr().out
    assert reid_command("detector", "fetch", f"address={server}/other") == 1
    assert "is not the net.onnx that is known" in capsys.readouterr().err
    assert reid_command("detector", "fetch", f"address={server}/net") == 0
    assert str(cache / "net.onnx") in capsys.readouterr().out
    assert reid_command("detector", "list") == 0 and KNOWN.sha256 in capsys.readouterr().out


def test_without_a_file_the_error_says_where_one_comes_from() -> None:
    for path in (None, "nowhere.onnx"):
        with pytest.raises(ReIDError) as error:
            YoloxDetector(path)
        for part in ("detector fetch", YOLOX_NANO.address, YOLOX_NANO.sha256, "Apache-2.0", "detector.path=<file>"):
            assert part in str(error.value)


def test_the_detector_uses_what_was_fetched(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared_data / "detectors" / "yolox_nano.onnx"
    content = path.read_bytes()
    known = replace(YOLOX_NANO, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("reid_lightning.search.video.detectors.onnx.YOLOX_NANO", known)
    fetch(known, address=path.as_uri())
    assert YoloxDetector(threads=1).name == "yolox_nano"
    (default_folder() / known.name).write_bytes(content[:-1])
    with pytest.raises(ReIDError, match="Fetch it again"):
        YoloxDetector()


def test_what_is_known_is_whole() -> None:
    for name, known in files.KNOWN.items():
        assert known.name.startswith(name) and known.address.startswith("https://github.com/")
        assert re.fullmatch("[0-9a-f]{64}", known.sha256) and 1_000_000 < known.size < 100_000_000
