"""A web server on this machine that is told of hits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebhookServer(ThreadingHTTPServer):
    """Answers with what `answers` says next, then with 204; `got` has what came: path, headers, body."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.more = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with server.more:
                    server.got.append((self.path, dict(self.headers), body))
                    status = server.answers.pop(0) if server.answers else 204
                    server.more.notify_all()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    def hits(self) -> list[dict[str, object]]:
        """All that came."""
        with self.more:
            return [json.loads(body) for _, _, body in self.got]

    def wait_for(self, enough: Callable[[], bool], patience: float = 120.0) -> bool:
        """Until what came is enough."""
        with self.more:
            return self.more.wait_for(enough, patience)

    def __enter__(self) -> WebhookServer:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
