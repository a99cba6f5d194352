"""A hit as an HTTP POST of JSON; 2xx means that it has arrived. Redirects are not followed."""

from __future__ import annotations

import base64
import http.client
import ssl

from reid_lightning.search.live.cameras import Receiver
from reid_lightning.search.live.delivery import UndeliveredError

_TIMEOUT = 10.0  # seconds for a connection, and for each part of an answer
_LATER = (408, 425, 429)  # of those that begin with 4, what says "not now"


class Webhook:
    """A web server that is told, with its certificate checked where it is https.

    The hit's id goes along as the header `Idempotency-Key`: one that comes twice is the same.
    """

    def __init__(self, receiver: Receiver, *, timeout: float = _TIMEOUT) -> None:
        self.name, self.address = receiver.kind, receiver.shown
        self._receiver, self._timeout = receiver, timeout

    def send(self, hit: str, content: bytes) -> None:
        """UndeliveredError: nobody answers, or not with 2xx."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": hit, "User-Agent": "reid_lightning"}
        if self._receiver.user is not None:
            pair = f"{self._receiver.user}:{self._receiver.password or ''}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        connection = self._connection()
        try:
            connection.request("POST", self._receiver.path, body=content, headers=headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UndeliveredError(f"{self.address} does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if 200 <= status < 300:
            return
        moved = " It sends elsewhere, which is not followed: name that address." if 300 <= status < 400 else ""
        refused = 400 <= status < 500 and status not in _LATER
        raise UndeliveredError(f"{self.address} answers with status {status}.{moved}", is_refused=refused)

    def close(self) -> None:
        """Each hit has a connection of its own."""

    def _connection(self) -> http.client.HTTPConnection:
        where = self._receiver.host, self._receiver.port
        if self._receiver.scheme == "https":
            return http.client.HTTPSConnection(*where, timeout=self._timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(*where, timeout=self._timeout)
