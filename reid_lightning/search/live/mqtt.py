"""A hit as a message to an MQTT broker, with quality of service 1: the broker says when it has it."""

from __future__ import annotations

from threading import Event

from reid_lightning.errors import extra
from reid_lightning.search.live.cameras import Receiver
from reid_lightning.search.live.delivery import UndeliveredError

with extra("watch"):
    from paho.mqtt.client import Client, MQTTMessageInfo
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.reasoncodes import ReasonCode

_TIMEOUT = 10.0  # seconds for a connection, and for an answer


class _Answer:
    """Of a broker, to whoever asks to be let in."""

    def __init__(self) -> None:
        self.event, self.refusal = Event(), ""

    def __call__(self, client: Client, data: object, flags: object, reason: ReasonCode, properties: object) -> None:
        self.refusal = str(reason) if reason.is_failure else ""
        self.event.set()


class Broker:
    """An MQTT broker that is told, with its certificate checked where it is mqtts. The message holds the hit's id: one
    that comes twice is the same."""

    def __init__(self, receiver: Receiver, *, timeout: float = _TIMEOUT) -> None:
        self.name, self.address = receiver.kind, receiver.shown
        self._receiver, self._timeout = receiver, timeout
        self._client: Client | None = None

    def send(self, hit: str, content: bytes) -> None:
        """UndeliveredError: nobody answers, or does not say that it has it."""
        try:
            client = self._connected()
            info: MQTTMessageInfo = client.publish(self._receiver.path, content, qos=1)
            info.wait_for_publish(self._timeout)
            arrived = info.is_published()
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise UndeliveredError(f"{self.address} does not answer: {error or type(error).__name__}") from error
        if not arrived:
            self.close()
            raise UndeliveredError(f"{self.address} has not said within {self._timeout:g} s that it has the hit.")

    def close(self) -> None:
        """Say goodbye."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connected(self) -> Client:
        """One that the broker has let in."""
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = self._timeout
        if self._receiver.user is not None:
            client.username_pw_set(self._receiver.user, self._receiver.password)
        if self._receiver.scheme == "mqtts":
            client.tls_set()
        answered = _Answer()
        client.on_connect = answered
        client.connect(self._receiver.host, self._receiver.port)
        client.loop_start()
        self._client = client
        if not answered.event.wait(self._timeout):
            raise OSError("no answer in time")
        if answered.refusal:
            raise OSError(answered.refusal)
        return client
