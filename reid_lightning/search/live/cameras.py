"""`cameras.yaml`: which cameras are watched, for which vehicles, and who is told. All of it is checked before work."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from reid_lightning.errors import ReIDError, brief
from reid_lightning.redaction import without_password, without_secrets
from reid_lightning.search.plates.names import plate_name
from reid_lightning.search.video.sources import check_source
from reid_lightning.search.video.video_addresses import as_url
from reid_lightning.untrusted.names import NAME, composed, is_name
from reid_lightning.untrusted.plain_yaml import read_plain_yaml
from reid_lightning.user_messages import is_utf8

_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)\}")
_PORTS = {"http": 80, "https": 443, "mqtt": 1883, "mqtts": 8883}
_LONGEST_TOPIC = 65_535  # bytes, of MQTT


@dataclass(frozen=True)
class Camera:
    """A camera, by its name in the gallery; `source` may hold a password and is shown as `shown`. Of its frames every
    `every`-th is looked at (None: as the command says)."""

    name: str
    source: str = field(repr=False)
    every: int | None = None

    @property
    def shown(self) -> str:
        """The source as it may be shown and written."""
        return without_password(self.source)


@dataclass(frozen=True)
class WatchList:
    """Plates and vehicles of the gallery that are looked for.

    `plates` as they are read, without spaces; `vehicles` by their names; a vehicle counts as seen from a similarity of
    `min_score` on (None: as the command says); `cameras` are those that look for them (None: all).
    """

    name: str
    plates: tuple[str, ...] = ()
    vehicles: tuple[str, ...] = ()
    _: KW_ONLY
    min_score: float | str | None = None
    cameras: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Receiver:
    """Who is told of hits: `kind` is webhook or mqtt, and `host` its own name or number. `path` is what a web server is
    asked for, or the topic of a broker."""

    kind: str
    scheme: str
    host: str
    port: int
    path: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The address as it may be shown and written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        slash = "" if self.kind == "webhook" else "/"
        return without_password(f"{self.scheme}://{host}:{self.port}{slash}{self.path}")


@dataclass(frozen=True)
class Site:
    """All that a `cameras.yaml` says."""

    cameras: tuple[Camera, ...]
    lists: tuple[WatchList, ...] = ()
    receivers: tuple[Receiver, ...] = ()


def read_site(path: Path, *, check: Callable[[str], None] = check_source) -> Site:
    """Read and check a file of cameras.

    Args:
        path: a YAML file; `${oc.env:NAME}` in its texts is the environment's variable.
        check: raises ReIDError for a source that cannot be one; no address is asked.

    Raises:
        ReIDError: names the file, the camera or list, what came, what was expected and the fix.
    """
    try:
        content = read_plain_yaml(path)
    except ReIDError as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        if mark is None:
            raise
        problem = without_password(str(getattr(error.__cause__, "problem", None) or "damaged"))
        raise ReIDError(  # the library shows the line, in which there may be a password
            f"{path} is not readable as YAML: {problem}, in line {mark.line + 1}, column {mark.column + 1}."
        ) from None
    try:
        return _site(content, check)
    except ReIDError as error:
        raise ReIDError(f"{path}: {error}") from error


def _site(content: Any, check: Callable[[str], None]) -> Site:
    parts = _mapping(content, "the file", ("cameras", "watch", "hits"))
    named = parts.get("cameras")
    if not isinstance(named, dict) or not named:
        raise ReIDError(
            f"cameras is {_shown('cameras', named)}; expected a name and an address for each camera, such as\n"
            "cameras:\n  gate: rtsp://10.0.0.8/stream"
        )
    cameras: dict[str, Camera] = {}
    for name, value in named.items():
        camera = _camera(name, value, check)
        if camera.name in cameras:
            raise ReIDError(f"camera {camera.name}: it is there twice; give each camera a name of its own.")
        cameras[camera.name] = camera
    watched = parts.get("watch") or {}
    if not isinstance(watched, dict):
        raise ReIDError(
            f"watch is {_shown('watch', watched)}; expected lists by name, each with plates or vehicles, such as\n"
            "watch:\n  stolen:\n    plates: [LS15EBC]"
        )
    lists = tuple(_list(name, value, cameras) for name, value in watched.items())
    hits = _mapping(parts.get("hits") or {}, "hits", ("webhook", "mqtt"))
    receivers = tuple(_receiver(kind, hits[kind]) for kind in ("webhook", "mqtt") if hits.get(kind) is not None)
    if receivers and not lists:
        raise ReIDError("hits names who is told, but nothing is watched; add watch: with plates or vehicles.")
    return Site(tuple(cameras.values()), lists, receivers)


def _camera(name: object, value: object, check: Callable[[str], None]) -> Camera:
    called = _name(name, "a camera's name")
    where = f"camera {called}"
    if isinstance(value, str):
        value = {"source": value}
    keys = _mapping(value, where, ("source", "every"))
    source = keys.get("source")
    if not isinstance(source, str) or not source.strip():
        raise ReIDError(
            f"{where}: source is {_shown('source', source)}; expected an address (rtsp://, http://) or the path of a "
            "video, such as rtsp://10.0.0.8/stream."
        )
    every = keys.get("every")
    if every is not None and not (type(every) is int and 1 <= every < 1 << 31):
        raise ReIDError(f"{where}: every is {brief(every)}; expected a whole number of 1 or more.")
    source = _filled(source, where)
    try:
        check(source)
    except ReIDError as error:
        raise ReIDError(f"{where}: {error}") from error
    return Camera(called, source, every)


def _list(name: object, value: object, cameras: Mapping[str, Camera]) -> WatchList:
    called = _name(name, "a watch list's name")
    where = f"watch list {called}"
    keys = _mapping(value, where, ("plates", "vehicles", "min_score", "cameras"))
    plates = tuple(dict.fromkeys(_plate(text, where) for text in _texts(keys.get("plates"), "plates", where)))
    vehicles = tuple(dict.fromkeys(_texts(keys.get("vehicles"), "vehicles", where)))
    if not plates and not vehicles:
        raise ReIDError(f"{where}: it has neither plates nor vehicles; name what to look for, or remove the list.")
    score = keys.get("min_score")
    is_score = score is None or score == "calibrated" or (type(score) in (int, float) and -1 <= score <= 1)
    if not is_score:
        expected = "a cosine similarity from -1 to 1, or calibrated"
        raise ReIDError(f"{where}: min_score is {brief(score)}; expected {expected}.")
    only = None
    if keys.get("cameras") is not None:
        only = tuple(map(composed, _texts(keys["cameras"], "cameras", where)))
        for one in only:
            if one not in cameras:
                raise ReIDError(f"{where}: there is no camera {one!r}; expected some of {', '.join(cameras)}.")
    return WatchList(called, plates, vehicles, min_score=score, cameras=only)


def _receiver(kind: str, value: object) -> Receiver:
    schemes = ("http", "https") if kind == "webhook" else ("mqtt", "mqtts")
    example = "https://10.0.0.2/hits" if kind == "webhook" else "mqtt://10.0.0.2:1883/reid/hits"
    where = f"hits: {kind}"
    if not isinstance(value, str):
        raise ReIDError(f"{where} is {_shown(kind, value)}; expected an address such as {example}.")
    address = _filled(value, where)
    try:
        parts = urlsplit(as_url(address))
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = parts.hostname
    except ValueError:
        host, port, parts = None, 0, urlsplit("")
    path = _asked(parts) if kind == "webhook" else unquote(parts.path.removeprefix("/"))
    if parts.scheme not in schemes or not host or re.search(r"[\s\x00-\x1f#]", as_url(address)):
        raise ReIDError(f"{where} is {without_password(address)!r}; expected an address such as {example}.")
    if kind == "mqtt" and (not path or re.search(r"[+\0]", path) or len(path.encode()) > _LONGEST_TOPIC):
        raise ReIDError(
            f"{where} is {without_password(address)!r}; expected the topic behind the host, without + and #: {example}."
        )
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return Receiver(kind, parts.scheme, host, port, path, user, password)


def _asked(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _mapping(value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    """A mapping whose keys are all known."""
    if not isinstance(value, dict):
        raise ReIDError(f"{where} is {_shown(where, value)}; expected keys with values: {', '.join(known)}.")
    for key in value:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ReIDError(f"{where}: there is no key {brief(key)}; expected some of {', '.join(known)}.{meant}")
    return value


def _name(value: object, what: str) -> str:
    """YAML reads `no` as false and 007 as 7: neither is what was written."""
    if not isinstance(value, str):
        raise ReIDError(f"{what} is {brief(value)}; expected a text: put quotes around what was written.")
    if not is_name(value):
        raise ReIDError(f"{what} is {_shown('name', value)}; expected {NAME}.")
    return composed(value)


def _texts(value: object, key: str, where: str) -> list[str]:
    values = [] if value is None else value if isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str) or not one.strip() or not is_utf8(one):
            raise ReIDError(f"{where}: {key} holds {brief(one)}; expected texts: put quotes around what was written.")
    return list(values)


def _plate(text: str, where: str) -> str:
    try:
        return plate_name(text)
    except ReIDError as error:
        raise ReIDError(f"{where}: the plate {text!r} has no letter or digit.") from error


def _filled(text: str, where: str) -> str:
    """The text with the environment's variables in it."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            raise ReIDError(f"{where}: the environment has no variable {name}; set it: export {name}=...")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _shown(key: str, value: object) -> str:
    return "missing" if value is None else brief(without_secrets({key: value})[key])
