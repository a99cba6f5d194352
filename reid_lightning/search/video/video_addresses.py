"""Opening what a camera or a server sends, without going where it says.

An answer may name another address: a redirect, or a playlist with its parts and keys. Whoever follows it knocks at any
door that the answer names, those of the own network included, and that of another camera. So one place is asked, the
one that the user named, unless asked otherwise.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from reid_lightning.errors import ReIDError, extra
from reid_lightning.redaction import without_password

with extra("search"):
    import av
    import av.error


DECODE_ERRORS = (av.error.FFmpegError, ValueError, EOFError)
"""All of these come out of libav on damaged bytes."""

FILE_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv,m4v,h264,hevc,mpegvideo,mjpeg,mpjpeg,ivf,obu,nut,gif,wtv,rm,y4m"
)
"""Containers of one recording. Playlists, which make libav open other files and addresses, and text, which it would
draw as letters, are not among them."""

_CAMERA_FORMATS = "rtsp,image2,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe"  # pictures come one by one
_PLAYLISTS = "hls,dash"
_PROTOCOLS = {"http": "http,https,tcp,tls,httpproxy,crypto", "rtsp": "tcp,tls"}  # no files, whatever an answer names
_REDIRECTED = {"http": "", "rtsp": ",rtsp,rtsps"}  # libav asks whether it may go where an RTSP answer says
URL_SCHEMES = ("rtsp", "rtsps", "http", "https")

_PORTS = {"http": 80, "https": 443}
_MOST_REDIRECTS = 5
_LONGEST_HEAD = 1 << 16  # bytes of an answer that are looked at


def open_address(
    address: str, *, timeout: float, allow_redirects: bool, options: Mapping[str, str]
) -> av.container.InputContainer:
    """An open container.

    Args:
        address: begins with http://, https://, rtsp:// or rtsps://.
        timeout: seconds to wait for an answer, and for what it holds.
        allow_redirects: go wherever an answer says, redirects and playlists (HLS, DASH); else redirects are followed
            within one host and port, and from http to https.
        options: for decoding.

    Raises:
        ReIDError: it is no address, nothing answers in time, or it is no picture or video, or leads elsewhere.
    """
    check_address(address)
    named, address = address, as_url(address)
    kind = "http" if address.startswith("http") else "rtsp"
    container_options = {
        "rtsp_transport": "tcp",  # over UDP packets get lost, and with them pictures
        "format_whitelist": ",".join([FILE_FORMATS, _CAMERA_FORMATS] + [_PLAYLISTS] * allow_redirects),
        "protocol_whitelist": _PROTOCOLS[kind] + _REDIRECTED[kind] * allow_redirects,
    }
    if not allow_redirects:
        container_options["max_redirects"] = "0"
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            return av.open(address, timeout=timeout, container_options=container_options, options=dict(options))
        except DECODE_ERRORS as error:
            refused = not allow_redirects and kind == "http" and getattr(error, "errno", None) == errno.EIO
            target = redirect_of(address, timeout=timeout) if refused else None
            if target is None:
                raise ReIDError(_cannot_open(named, error, timeout, allow_redirects)) from error
        if not _same_place(address, target):
            raise ReIDError(
                f"{without_password(named)} sends whoever asks to {without_password(target)}, which is not followed: "
                "it may be any address that this machine reaches. Name that address, or say allow_redirects=true."
            )
        address = _with_user_of(address, target)
    raise ReIDError(f"{without_password(named)} sends whoever asks from one address to the next, without end.")


def check_address(address: str) -> None:
    """Ask nobody. ReIDError: it has none of `URL_SCHEMES`, no host, or a port that is no number from 1 to 65535."""
    scheme = address.partition("://")[0].lower()
    if scheme not in URL_SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in URL_SCHEMES)
        raise ReIDError(
            f"{without_password(address)} is no address that is read; expected a path, or one with {schemes}."
        )
    try:
        parts = urlsplit(as_url(address))
        if parts.hostname and parts.port != 0:
            return
        reason = "no port is 0" if parts.hostname else "it names no host"
    except ValueError:
        reason = "its host is no name or number, or its port no number from 1 to 65535"
    port = re.compile(r"(?<=://)([^/?#\[]*:)(?!\d*(?:[/?#]|$))[^/?#]*")  # without a host it is a password
    shown = port.sub(r"\1***", without_password(address))
    raise ReIDError(f"{shown} is no address: {reason}. Expected one such as {scheme}://camera:554/1.")


def as_url(address: str) -> str:
    """The address with its scheme in small letters, and its user and password as a URL has them: `#`, `?`, `/` and
    letters beyond ASCII, which would end the host or be refused, percent-encoded. What is encoded already stays.

    A `#` before an `@` is a letter of the password (no camera has fragments), and so is a `/` or `?` where else the
    port would be no number.
    """
    scheme, mark, rest = address.partition("://")
    end = re.search(r"[/?#]|$", rest)
    place = rest[: end.start() if end else None]
    if "#" in rest and "@" in rest.partition("#")[2]:
        at = rest.index("@", rest.index("#"))
    elif "@" in place or "@" not in rest or not re.search(r":(?!\d*$)[^\]]*$", place):
        at = place.rfind("@")
    else:
        at = rest.index("@", len(place))
    scheme = scheme.lower()
    if at < 0:
        return f"{scheme}{mark}{rest}"
    user = quote(re.sub(r"%(?![0-9a-fA-F]{2})", "%25", rest[:at]), safe=":%!$&'()*+,;=")
    return f"{scheme}{mark}{user}{rest[at:]}"


def redirect_of(address: str, *, timeout: float) -> str | None:
    """Where a server sends whoever asks for an address; None: nowhere. No user or password is given to it."""
    with suppress(OSError, ValueError):
        head = _answer_to(urlsplit(address), deadline=time.monotonic() + timeout)
        location = re.search(rb"(?im)^location:[ \t]*(\S+)", head)
        if re.match(rb"HTTP/1\.[01] 30[12378]\b", head) and location:
            return str(urljoin(address, location.group(1).decode("latin-1")))
    return None


def _answer_to(address: SplitResult, *, deadline: float) -> bytes:
    """The head of a server's answer, or its beginning where it is too long or too slow."""
    host, port = address.hostname or "", address.port or _PORTS[address.scheme]
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    with socket.create_connection((host, port), timeout=max(0.01, deadline - time.monotonic())) as plain:
        connection = plain
        if address.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # cameras sign their own, as libav takes
            connection = context.wrap_socket(plain, server_hostname=host)
        with connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {address.netloc.rpartition('@')[2]}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD and time.monotonic() < deadline:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                part = connection.recv(4096)
                if not part:
                    break
                head += part
    return head.partition(b"\r\n\r\n")[0]


def _same_place(address: str, other: str) -> bool:
    """The same server, reached no less safely."""
    try:
        here, there = urlsplit(address), urlsplit(other)
        if here.hostname != there.hostname or there.scheme not in _PORTS:
            return False
        ports = here.port or _PORTS[here.scheme], there.port or _PORTS[there.scheme]
    except ValueError:
        return False
    return (here.scheme == there.scheme and ports[0] == ports[1]) or (
        (here.scheme, there.scheme) == ("http", "https") and ports == (80, 443)
    )


def _with_user_of(address: str, other: str) -> str:
    """`other`, with user and password of `address`: a camera sends its own visitors on, and asks them again."""
    user, at, _ = urlsplit(address).netloc.rpartition("@")
    there = urlsplit(other)
    return there._replace(netloc=f"{user}{at}{there.netloc.rpartition('@')[2]}").geturl()


def _cannot_open(address: str, error: Exception, timeout: float, allow_redirects: bool) -> str:
    where = without_password(address)
    if isinstance(error, av.error.ArgumentError) and where.lower().startswith("rtsp") and not allow_redirects:
        return (
            f"{where} sends whoever asks to another address, which is not followed: it may be any that this machine "
            "reaches. Name that address, or say allow_redirects=true."
        )
    if getattr(error, "errno", None) == errno.EINVAL:  # what libav says to all that is not on a list of ours
        hint = "" if allow_redirects else " (A playlist names other addresses: if you trust it, allow_redirects=true.)"
        return f"{where} sends text, a playlist or something else that is no picture or video that is read here.{hint}"
    return f"{where} cannot be opened within {timeout:g} s: {reason_of(error)}. Check address and network."


def reason_of(error: BaseException) -> str:
    """What libav says, in its words where they are any help."""
    if isinstance(error, av.error.ExitError):  # "immediate exit requested"
        return "nothing came in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
