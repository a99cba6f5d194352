"""The page of metrics and the table: right numbers, no address with a password, this machine alone."""

from __future__ import annotations

import io
import logging
import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from reid_lightning.errors import ReIDError
from reid_lightning.search.live.metrics import Standing, serving_metrics
from reid_lightning.search.live.status import CameraStatus, ReceiverStatus
from reid_lightning.search.live.status_table import Changes, shown_status, table_of

GATE = CameraStatus("gate", "watching", frames=1000, dropped=25, vehicles=12, hits=3, connections=2, last_frame=1e9)
YARD = CameraStatus("yard", "pausing", error="http://10.0.0.9/1 cannot be opened", hits_dropped=4)
STANDING = Standing([GATE, YARD], [ReceiverStatus("webhook", "https://h:443/hits", 2, 7, 5, "status 500")], 1)


def samples(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (one.name, "".join(one.labels.values())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_the_page_has_what_stands_now():
    standing = [STANDING]
    with serving_metrics(lambda: standing[0], host="127.0.0.1", port=0) as port:
        found = samples(port)
        standing[0] = Standing([CameraStatus("gate", frames=1001)])
        assert samples(port)["reid_watch_frames_total", "gate"] == 1001
    assert found["reid_watch_frames_total", "gate"] == 1000 and found["reid_watch_dropped_total", "gate"] == 25
    assert found["reid_watch_vehicles_total", "gate"] == 12 and found["reid_watch_hits_total", "gate"] == 3
    assert found["reid_watch_connections_total", "gate"] == 2 and found["reid_watch_hits_dropped_total", "yard"] == 4
    assert (found["reid_watch_camera_up", "gate"], found["reid_watch_camera_up", "yard"]) == (1, 0)
    assert found["reid_watch_last_frame_timestamp_seconds", "gate"] == 1e9
    assert found["reid_watch_delivered_total", "webhook"] == 7 and found["reid_watch_failed_total", "webhook"] == 5
    assert found["reid_watch_waiting", "webhook"] == 2 and found["reid_watch_process_restarts_total", ""] == 1


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ReIDError, match=rf"metrics_port={port}: nothing can listen there .* metrics_port=null"),
            serving_metrics(lambda: STANDING, host="127.0.0.1", port=port),
        ):
            pass


def drawn(standing: Standing, width: int = 120) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table_of(standing, {"gate": "rtsp://10.0.0.8/1"}, now=1e9 + 4))
    return text.getvalue()


def test_the_table_says_what_stands():
    said = drawn(STANDING)
    assert "1 of 2 cameras watched" in said and "4 s ago" in said and "1,000" in said and "rtsp://10.0.0.8/1" in said
    assert "yard: http://10.0.0.9/1 cannot be opened" in said
    assert "webhook https://h:443/hits: 7 delivered, 2 waiting: status 500" in said
    assert "4 hits were dropped: the spool was full" in said
    assert all(len(line) <= 80 for line in drawn(STANDING, 80).splitlines())


def test_without_a_terminal_changes_are_logged_and_the_table_is_printed_once(caplog):
    caplog.set_level(logging.INFO)
    text = io.StringIO()
    with shown_status(Console(file=text, width=100), {}) as table:
        table.show(Standing([CameraStatus("gate", "connecting")]))
        for frames in (1, 2):
            table.show(Standing([CameraStatus("gate", "watching", frames=frames)]))
        table.show(Standing([CameraStatus("gate", "pausing", error="away")]))
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == ["gate is watching", "gate is pausing: away"]
    assert text.getvalue().count("cameras watched") == 1


def test_a_camera_that_is_tried_again_and_again_in_vain_is_one_line(caplog):
    caplog.set_level(logging.INFO)
    changes = Changes()
    for state in ("pausing", "connecting") * 5:
        changes.look([CameraStatus("gate", state, error="away")])
    assert len(caplog.records) == 1
