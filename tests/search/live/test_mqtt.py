"""A real broker on this machine: hits arrive with quality of service 1, also after it was away; no password is said."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid_lightning.search.live.cameras import Receiver
from reid_lightning.search.live.delivery import Delivery, UndeliveredError
from reid_lightning.search.live.spool import Spool

MOSQUITTO = shutil.which("mosquitto") or next(iter(map(str, Path("/usr/sbin").glob("mosquitto"))), None)
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
PATIENCE = 60.0


class MqttBroker:
    """Mosquitto, which lets in whoever knows the password."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.config, passwords = folder / "mosquitto.conf", folder / "passwords"
        subprocess.run([str(shutil.which("mosquitto_passwd")), "-b", "-c", str(passwords), "me", "geheim"], check=True)
        user = "user root\n" if Path("/proc/self").owner() == "root" else ""
        self.config.write_text(f"listener {self.port} 127.0.0.1\npassword_file {passwords}\n{user}")
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [str(MOSQUITTO), "-c", str(self.config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("mosquitto did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def receiver(self, password: str = "geheim") -> Receiver:
        return Receiver("mqtt", "mqtt", "127.0.0.1", self.port, "reid/hits", "me", password)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MqttBroker]:
    broker = MqttBroker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


class Listener:
    """Hears what is said on a topic."""

    def __init__(self, broker: MqttBroker) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[bytes] = []
        self._more, subscribed = threading.Condition(), threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set("me", "geheim")
        self._client.on_message = lambda client, data, message: self._hear(message.payload)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.subscribe("reid/hits", qos=1)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE)

    def _hear(self, payload: bytes) -> None:
        with self._more:
            self.heard.append(payload)
            self._more.notify_all()

    def wait_for(self, number: int) -> list[bytes]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.heard) >= number, PATIENCE)
            return list(self.heard)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_hits_arrive_and_wait_while_the_broker_is_away(broker, tmp_path, clock):
    from reid_lightning.search.live.mqtt import Broker

    spool = Spool(tmp_path / "spool", ["mqtt"], most=9)
    delivery = Delivery(spool, Broker(broker.receiver()), clock=clock)
    spool.put("a", b"first", seen=1.0)
    listener = Listener(broker)
    delivery.round()
    assert listener.wait_for(1) == [b"first"] and delivery.status.waiting == 0
    listener.close()

    broker.kill()
    spool.put("b", b"second", seen=2.0)
    delivery.round()
    assert delivery.status.waiting == 1 and delivery.status.failed == 1
    assert "does not answer" in delivery.status.error or "has not said" in delivery.status.error
    assert "geheim" not in str(delivery.status)

    broker.start()
    listener = Listener(broker)
    clock.seconds += 1.0
    delivery.round()
    assert listener.wait_for(1) == [b"second"] and delivery.status.waiting == 0 and delivery.status.error == ""
    listener.close()
    delivery.end()


def test_a_wrong_password_is_said_and_not_shown(broker):
    from reid_lightning.search.live.mqtt import Broker

    sender = Broker(broker.receiver("falsch"))
    with pytest.raises(UndeliveredError, match="does not answer: Not authorized") as error:
        sender.send("a", b"x")
    assert "falsch" not in str(error.value)
    sender.close()
