"""Frames of a video file, or of what a camera or a server sends."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Literal

from reid_lightning.errors import ReIDError, count, extra
from reid_lightning.redaction import without_password
from reid_lightning.search.records import Frame
from reid_lightning.search.video.ahead import Ahead
from reid_lightning.search.video.source_base import Source, file_fingerprint
from reid_lightning.search.video.video_addresses import DECODE_ERRORS, FILE_FORMATS, as_url, open_address, reason_of
from reid_lightning.search.video.video_display import VideoDisplay, progressive, shown_stream
from reid_lightning.search.video.waiting_frame import WaitingFrame
from reid_lightning.untrusted.names import readable

with extra("search"):
    import av
    from av.stream import Discard


MAX_PIXELS = 100_000_000
"""A video's frames may be no larger: a damaged header can promise any size."""

_AHEAD, _AHEAD_BYTES = 8, 1 << 26  # frames that are decoded before they are asked for, and all of them together
_PATIENCE = 6  # times the timeout: an address may send for so long without a picture
_TOLERATED = 0.02  # share of frames that a container may promise too many without being called cut short
_SHOWS_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own decoders leave it out


class VideoSource(Source):
    """A video file, or what a camera or a server sends, as a player shows it (see `video_display`).

    Frames are decoded ahead of whoever asks for them, in a thread that ends with the last one, or when it is closed.
    Seconds count from where a player's clock begins: at the first frame, or at an earlier beginning of the sound.
    """

    def __init__(
        self,
        address: Path | str,
        *,
        every: int = 1,
        timeout: float = 10.0,
        threads: int = 1,
        allow_redirects: bool = False,
    ) -> None:
        self._path = None if isinstance(address, str) else address
        self._where = str(address) if self._path is not None else without_password(as_url(str(address)))
        self.name, self.every = self._where if self._path is None else readable(self._path.name), every
        self._opened = time.time()
        self._patience = None if self._path is not None else _PATIENCE * timeout
        self._reading: Ahead[Frame] | None = None
        if self._path is None:
            self._container = open_address(
                str(address), timeout=timeout, allow_redirects=allow_redirects, options=_limits()
            )
        else:
            self._container = self._open_file(self._path)
        try:
            self._prepare(threads)
        except BaseException:
            self.close()
            raise

    def _open_file(self, path: Path) -> av.container.InputContainer:
        try:
            return av.open(
                str(path.absolute()),  # "08:00.mp4" would be a protocol
                container_options={"format_whitelist": FILE_FORMATS},
                options=_limits(),
            )
        except DECODE_ERRORS as error:
            raise ReIDError(
                f"{self._where} is neither a picture nor a video that can be read: {reason_of(error)}. (An mp4 file "
                "that was cut off looks like this, too: its index comes last.)"
            ) from error

    def _prepare(self, threads: int) -> None:
        stream = shown_stream(self._container)
        if stream is None:
            cover = " but a cover picture" if self._container.streams.video else ""
            raise ReIDError(f"{self._where} holds no video{cover}; expected a video or a picture.")
        self._stream = stream
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all  # nothing but sound, without end, is waited for no longer than nothing
        if self._stream.codec_context is None:
            raise ReIDError(f"{self._where} holds a video in a format that nothing here decodes, or is damaged.")
        self._check_size(self._stream.width, self._stream.height)  # 0 where libav has refused it already
        self._damage: str | None = None
        still = self._container.format.name == "image2" or self._container.format.name.endswith("_pipe")
        self.ahead = max(1, min(_AHEAD, _AHEAD_BYTES // max(1, 3 * self._stream.width * self._stream.height)))
        self._display = VideoDisplay(stream, max_pixels=MAX_PIXELS, square=not still)
        self._decoder = self._decoder_of(stream)
        self._decoder.options = _limits()
        self._decoder.thread_count = threads
        self._decoder.thread_type = "NONE" if threads == 1 else "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.frames_per_second = float(rate) if rate and 0 < rate < 1000 else None
        stored, in_time = stream.frames, round((self._duration() or 0.0) * (self.frames_per_second or 0.0))
        self._promised = in_time if 0 < in_time < stored else stored  # an edit list shows less than is stored
        self._passed_over = 0  # packets that it wants decoded and not shown
        self.length = math.ceil((self._promised or in_time) / self.every) or None
        decoded = progressive(self._decode(), codec=stream.codec_context.name)
        try:
            first = next(decoded)
        except StopIteration:
            reason = f": {self._damage}" if self._damage else ""
            raise ReIDError(
                f"{self._where} holds not a single frame that can be decoded{reason}. Expected a whole "
                f"video, with frames of {MAX_PIXELS / 1e6:g} megapixels at most."
            ) from None
        try:
            self._display.check(first)
        except ReIDError as error:
            raise ReIDError(f"{self._where}: {error}") from error
        self._frames = chain([first], decoded)
        self.kind = "video" if self._path is not None else self._remote_kind(first, decoded, still=still)
        self.start = _creation_time(self._container) or (self._opened if self.kind == "stream" else None)
        if self.kind == "picture":
            self.length, self.frames_per_second = 1, None
            if self._damage:
                raise ReIDError(f"{self._where} is a picture that cannot be read to its end: {self._damage}.")

    def _decoder_of(self, stream: av.VideoStream) -> av.VideoCodecContext:
        """The stream's own, or one that sees what WebM stores beside the colours: a second picture for the alpha."""
        name = _SHOWS_ALPHA.get(stream.codec_context.name)
        if name is None or stream.metadata.get("alpha_mode") != "1":
            return stream.codec_context
        try:
            decoder = av.VideoCodecContext.create(name, "r")
        except av.codec.codec.UnknownCodecError:
            self._display.notes.append("is transparent in places, which were taken as if they were not")
            return stream.codec_context
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.extradata = stream.codec_context.extradata
        return decoder

    def _remote_kind(
        self, first: av.VideoFrame, decoded: Iterator[av.VideoFrame], *, still: bool
    ) -> Literal["picture", "video", "stream"]:
        """What an address gives; sets `_identity`, by which it is known from others. `still`: one picture, or
        a camera's endless row of them."""
        if still:
            second = next(decoded, None)
            if second is None:
                pixels = self._display.picture(first)
                self._identity = f"{pixels.shape} {blake2b(pixels.data).hexdigest()}"
                return "picture"
            self._frames = chain([first, second], decoded)
        if self._where.lower().startswith("http") and self._duration():
            self._identity = f"{self._where} {self._container.size} {self._duration()}"
            return "video"
        self._identity = f"{self._where} {self._opened!r}"
        return "stream"

    @cached_property
    def fingerprint(self) -> str:
        if self._path is not None:
            return file_fingerprint(self._path)
        return blake2b(self._identity.encode(errors="replace"), digest_size=8).hexdigest()

    def __iter__(self) -> Iterator[Frame]:
        self._reading = Ahead(self._read(), size=self.ahead)
        try:
            yield from self._reading
        finally:
            self._reading.close()

    def _read(self) -> Iterator[Frame]:
        for waiting in self.unconverted():
            yield Frame(waiting.picture(), waiting.number, waiting.seconds)

    def unconverted(self) -> Iterator[WaitingFrame]:
        """The same frames in the thread of whoever asks, for those who need not all of them: turning a frame into a
        picture takes about as long as decoding it. Not to be mixed with iterating."""
        number, seconds, self._first = -1, 0.0, 0.0
        damaged_after: tuple[int, float] | None = None
        origin: float | None = None
        for number, frame in enumerate(self._frames):
            if self._damage and damaged_after is None:
                damaged_after = (number - 1, seconds)
            period = 1 / (self.frames_per_second or 25.0)
            if origin is None and frame.time is not None:
                origin = self._clock_begins(frame.time)
            shown = None if origin is None or frame.time is None else frame.time - origin
            if number == 0:
                seconds = self._first = shown or 0.0
            elif shown is not None and shown > seconds:
                seconds = shown
            else:  # some cameras' clocks stand still, those of others are put back, or begin after the first frames
                seconds += period
                origin = origin if frame.time is None else frame.time - seconds
            if number % self.every == 0:
                yield WaitingFrame(number, seconds, frame, self._display)
        self._note_damage(number, seconds, damaged_after)

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()  # first: what is decoded from must not be gone meanwhile
        self._container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames in order; a packet that cannot be decoded is left out, a container that cannot be read on ends it. The
        first such reason is in `_damage`."""
        packets = self._container.demux(self._stream)
        newest = time.monotonic()
        while True:
            try:
                packet = next(packets, None)
            except DECODE_ERRORS as error:
                self._damage = self._damage or reason_of(error)
                packet = None
            self._passed_over += packet is not None and packet.is_discard
            try:
                frames = self._decoder.decode(packet)  # None: what the decoder still holds
            except EOFError:  # it was already emptied by the demuxer's own last packet
                frames = []
            except DECODE_ERRORS as error:
                self._damage, frames = self._damage or reason_of(error), []
            for frame in frames:
                self._check_size(frame.width, frame.height)
                yield frame
                newest = time.monotonic()
            if self._patience is not None and time.monotonic() - newest > self._patience:
                self._damage = self._damage or f"no picture in {self._patience:g} s of what was sent"
                return
            if packet is None:
                return

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise ReIDError(
                f"{self._where} has frames of {width}x{height} pixels; expected at most {MAX_PIXELS / 1e6:.0f} "
                "megapixels. Scale the video down."
            )

    def _clock_begins(self, first: float) -> float:
        """Where the clock of a player stands at 0, on the clock of the frames, of which this is the first one's time.

        A sound that begins below zero is only what its decoder needs to get going.
        """
        start = self._container.start_time
        if self.kind != "video" or start is None:
            return first
        return min(first, max(start / av.time_base, 0.0))

    def _note_damage(self, last: int, seconds: float, damaged_after: tuple[int, float] | None) -> None:
        """Set `warning` if something was left out or shown otherwise, or if frames are missing at the end."""
        stored, duration = self._stream.frames, self._duration()
        promised = min(self._promised, max(stored - self._passed_over, 0))
        missing = promised - (last + 1) if promised else 0
        if promised < stored and duration is not None:  # where the rate varies nobody knows how many frames it shows
            left = duration - (seconds - self._first)
            missing *= left > max(4 / (self.frames_per_second or 25.0), _TOLERATED * duration)
        if self._damage:
            number, at = damaged_after or (last, seconds)
            self.warning = f"{self.name} is damaged after frame {number} ({at:.1f} s): {self._damage}."
        elif missing > max(2, _TOLERATED * promised):
            gone = count(missing, "frame is", "frames are")
            self.warning = f"{self.name} is damaged after frame {last} ({seconds:.1f} s): {gone} missing."
        elif not promised and duration is not None and duration - seconds > max(2.0, _TOLERATED * duration):
            self.warning = f"{self.name} ends after frame {last} ({seconds:.1f} s) and promised {duration:.1f} s."
        elif self.kind == "stream" and duration is None:
            self.warning = f"{self.name} stopped sending after frame {last} ({seconds:.1f} s)."
        notes = [f"{self.name} {note}." for note in self._display.notes]
        self.warning = " ".join([*([self.warning] if self.warning else []), *notes]) or None

    def _duration(self) -> float | None:
        """Seconds of video that the container promises."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is None:
            return None
        duration, start = self._container.duration, self._container.start_time or 0
        if "matroska" in self._container.format.name and 0 < start < duration:
            duration -= start  # there it is when the last frame ends
        return float(duration / av.time_base)


def _creation_time(container: av.container.InputContainer) -> float | None:
    tag = container.metadata.get("creation_time")
    try:
        moment = datetime.fromisoformat(tag.replace("Z", "+00:00")) if tag else None
    except ValueError:
        return None
    if moment is None or moment.year < 1980:  # cameras without a clock write the container format's epoch, 1904 or 1970
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _limits() -> dict[str, str]:
    """For libav, which else takes the memory of a frame of any size before anybody here sees it."""
    return {"max_pixels": str(MAX_PIXELS)}
