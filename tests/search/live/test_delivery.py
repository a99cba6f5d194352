"""Hits to receivers that are away, refuse, redirect or come back: at least once, never lost, no password anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from webhook_server import WebhookServer

from reid_lightning.search.live.cameras import Receiver
from reid_lightning.search.live.delivery import Delivery, UndeliveredError
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.webhook import Webhook


class Server(WebhookServer):
    def receiver(self) -> Receiver:
        return Receiver("webhook", "http", "127.0.0.1", self.server_port, "/hits?key=7", "me", "geheim")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", ["webhook"], most=100)


def put(spool, *names):
    for number, name in enumerate(names):
        spool.put(name, json.dumps({"id": name}).encode(), seen=float(number))


def waiting(spool):
    return [one.id for one in spool.waiting("webhook")]


def test_a_hit_arrives_as_json_with_its_id_and_the_password(server, spool):
    put(spool, "a")
    Delivery(spool, Webhook(server.receiver())).round()
    ((path, headers, body),) = server.got
    assert path == "/hits?key=7" and json.loads(body) == {"id": "a"}
    assert headers["Idempotency-Key"] == "a" and headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:geheim"
    assert waiting(spool) == []


def test_a_server_that_fails_is_asked_again_with_growing_pauses_and_nothing_overtakes(server, spool, clock):
    put(spool, "a", "b")
    server.answers = [500, 503, 429]
    delivery = Delivery(spool, Webhook(server.receiver()), clock=clock)
    tries = []
    for _ in range(20):
        delivery.round()
        tries.append((clock.seconds - 1000, [json.loads(body)["id"] for _, _, body in server.got]))
        clock.seconds += 0.5
    when = {len(ids): at for at, ids in reversed(tries)}  # when so many had come, first
    assert when == {1: 0.0, 2: 1.0, 3: 3.0, 5: 7.0}
    assert tries[-1][1] == ["a", "a", "a", "a", "b"] and waiting(spool) == []
    assert (delivery.status.delivered, delivery.status.failed, delivery.status.error) == (2, 3, "")


def test_a_hit_that_is_refused_waits_and_the_others_do_not(server, spool, clock):
    put(spool, "a", "b")
    server.answers = [422]
    delivery = Delivery(spool, Webhook(server.receiver()), clock=clock)
    delivery.round()
    assert waiting(spool) == ["a"] and delivery.status.delivered == 1
    delivery.round()
    assert len(server.got) == 2
    clock.seconds += 1.0
    delivery.round()
    assert waiting(spool) == []


def test_a_redirect_is_not_followed(server, spool):
    put(spool, "a")
    server.answers = [307]
    delivery = Delivery(spool, Webhook(server.receiver()))
    delivery.round()
    assert [path for path, _, _ in server.got] == ["/hits?key=7"] and waiting(spool) == ["a"]
    assert "status 307. It sends elsewhere, which is not followed" in delivery.status.error
    assert "geheim" not in delivery.status.error + delivery.status.address and "key=7" not in delivery.status.error


def test_nobody_there_is_said_without_the_password(spool):
    put(spool, "a")
    delivery = Delivery(spool, Webhook(Receiver("webhook", "http", "127.0.0.1", 1, "/", "me", "geheim")))
    delivery.round()
    assert delivery.status.failed == 1 and delivery.status.waiting == 1
    assert delivery.status.error.startswith("http://127.0.0.1:1/ does not answer: ")
    assert "geheim" not in str(delivery.status)


class Memory:
    """A sender that keeps what it is given, and fails as it is told."""

    name, address = "webhook", "here"

    def __init__(self, *faults: Exception | None) -> None:
        self.faults, self.sent, self.closed = list(faults), [], False

    def send(self, hit: str, content: bytes) -> None:
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        self.sent.append(hit)

    def close(self) -> None:
        self.closed = True


def test_at_the_end_what_waits_is_tried_once_more_and_kept_if_that_fails(spool, clock):
    put(spool, "a", "b")
    sender = Memory(UndeliveredError("away"), None, UndeliveredError("away"))
    delivery = Delivery(spool, sender, clock=clock)
    delivery.round()
    delivery.end()
    assert sender.sent == ["a"] and sender.closed and waiting(spool) == ["b"]


def test_who_is_killed_after_the_answer_delivers_again_under_the_same_id(spool, monkeypatch):
    put(spool, "a")
    sender = Memory()
    with monkeypatch.context() as patched:
        patched.setattr("reid_lightning.search.live.spool.Waiting.delivered", lambda self: None)
        Delivery(spool, sender).round()
    Delivery(spool, sender).round()
    assert sender.sent == ["a", "a"] and waiting(spool) == []


def test_pauses_never_grow_beyond_five_minutes(spool, clock):
    put(spool, "a")
    delivery = Delivery(spool, Memory(*[UndeliveredError("away")] * 40), clock=clock)
    tries = []
    for _ in range(2500):
        before = delivery.status.failed
        delivery.round()
        if delivery.status.failed > before:
            tries.append(clock.seconds)
        clock.seconds += 1.0
    apart = [later - earlier for earlier, later in pairwise(tries)]
    assert apart[:5] == [1, 2, 4, 8, 16] and max(apart) == 300 and len(tries) > 12
