"""What Resend documents of POST /emails (https://resend.com/docs/api-reference), on loopback, with faults."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "re_not_a_real_key"
DAY_SECONDS = 24 * 3600.0
NEEDED = ("from", "to", "subject")


class ResendServer(ThreadingHTTPServer):
    """Takes each idempotency key once within a day. `faults` befall the next requests, one each:

    a status is answered instead; "silence after taking" and "drop after taking" take the mail and say nothing;
    "concurrent" is what a key that is at work just now is answered. `mails` is what it sent, `asked` counts the requests. `took` is called
    with the path of a request whose mail was taken, before it is answered.
    """

    daemon_threads = False

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.now = now
        self.faults: list[Any] = []
        self.mails: list[dict[str, Any]] = []
        self.keys: dict[str, tuple[float, bytes, str]] = {}
        self.asked: list[dict[str, str]] = []
        self.took: Callable[[str], None] = lambda path: None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request of Resend's interface."""

    server: ResendServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(dict(self.headers))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "concurrent":
            told = "Same idempotency key used while original request is still in progress."
            self.refuse(409, "concurrent_idempotent_requests", told)
        elif isinstance(fault, int):
            self.refuse(fault, "fault", "Told to fail.", {"Retry-After": "7"} if fault == 429 else {})
        elif (mail_id := self.take(body)) is not None and fault is None:
            self.server.took(self.path)
            self.answer(200, {"id": mail_id})
        elif fault == "silence after taking":
            self.rfile.read(1)  # until the client has given up

    def take(self, body: bytes) -> str | None:
        key, mail = self.headers.get("Idempotency-Key"), json.loads(body)
        if "Authorization" not in self.headers:
            return self.refuse(401, "missing_api_key", "Missing API key in the authorization header.")
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return self.refuse(403, "invalid_api_key", "API key is invalid.")
        if key is not None and not 1 <= len(key) <= 256:
            return self.refuse(400, "invalid_idempotency_key", "The key must be between 1-256 chars.")
        if missing := [name for name in NEEDED if not mail.get(name)]:
            return self.refuse(422, "missing_required_field", f"Missing `{missing[0]}` field.")
        taken_at, known, mail_id = self.server.keys.get(key or "", (-DAY_SECONDS, b"", ""))
        if key is not None and self.server.now() - taken_at < DAY_SECONDS:
            if known != body:
                return self.refuse(409, "invalid_idempotent_request", "Same idempotency key used with a different request payload.")
            return mail_id
        self.server.mails.append(mail)
        mail_id = f"49a3999c-0ce1-4ea6-ab68-{len(self.server.mails):012}"
        self.server.keys[key or ""] = (self.server.now(), body, mail_id)
        return mail_id

    def refuse(self, status: int, name: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.answer(status, {"statusCode": status, "name": name, "message": message}, headers or {})

    def answer(self, status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def resend_server(now: Callable[[], float] = lambda: 0.0) -> Iterator[ResendServer]:
    server = ResendServer(now)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
