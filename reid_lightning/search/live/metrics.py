"""The `/metrics` page, for Prometheus: names of cameras are labels, addresses are nowhere on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.live.status import CameraStatus, ReceiverStatus

with extra("watch"):
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

_CAMERA = (
    ("frames", "frames that came"),
    ("dropped", "frames that were dropped because nobody had time for them"),
    ("vehicles", "vehicles that were saved"),
    ("hits", "sightings of what is on a watch list"),
    ("hits_dropped", "hits that were dropped for want of room in the spool"),
    ("connections", "connections that were made"),
)
_RECEIVER = (("delivered", "hits that have arrived"), ("failed", "tries to deliver a hit that failed"))


@dataclass(frozen=True)
class Standing:
    """How everything stands at a moment; `restarts` of processes that had died."""

    cameras: Sequence[CameraStatus]
    receivers: Sequence[ReceiverStatus] = ()
    restarts: int = 0


class Metrics:
    """A collector of Prometheus: asks for the standing whenever the page is asked for."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """All there is."""
        now = self._standing()
        for name, what in _CAMERA:
            counter = CounterMetricFamily(f"reid_watch_{name}", f"Of a camera: {what}.", labels=["camera"])
            for camera in now.cameras:
                counter.add_metric([camera.name], getattr(camera, name))
            yield counter
        up = GaugeMetricFamily("reid_watch_camera_up", "Whether a camera's frames come.", labels=["camera"])
        last = GaugeMetricFamily(
            "reid_watch_last_frame_timestamp_seconds",
            "When its last frame came; 0: none has.",
            labels=["camera"],
        )
        for camera in now.cameras:
            up.add_metric([camera.name], camera.state == "watching")
            last.add_metric([camera.name], camera.last_frame)
        yield from (up, last)
        for name, what in _RECEIVER:
            counter = CounterMetricFamily(f"reid_watch_{name}", f"Of a receiver: {what}.", labels=["receiver"])
            for receiver in now.receivers:
                counter.add_metric([receiver.name], getattr(receiver, name))
            yield counter
        waiting = GaugeMetricFamily("reid_watch_waiting", "Hits that wait in the spool.", labels=["receiver"])
        for receiver in now.receivers:
            waiting.add_metric([receiver.name], receiver.waiting)
        yield waiting
        yield CounterMetricFamily(
            "reid_watch_process_restarts", "Processes that had died and were started again.", value=now.restarts
        )


@contextmanager
def serving_metrics(standing: Callable[[], Standing], *, host: str, port: int) -> Iterator[int]:
    """Serve the page while the body runs; gives the port, a free one for 0. ReIDError: it cannot listen there."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Metrics(standing))
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        raise ReIDError(
            f"metrics_host={host} metrics_port={port}: nothing can listen there ({error}). Choose another port, or "
            "metrics_port=null for no page."
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
