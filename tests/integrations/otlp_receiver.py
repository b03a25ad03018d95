"""A receiver of OTLP over HTTP: it writes the body of each request to a file of its own in a folder. Its first line names its port."""

import itertools
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1])
NUMBERS = itertools.count()


class Receiver(BaseHTTPRequestHandler):
    """Takes in whatever is posted."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (FOLDER / f"{next(NUMBERS):06}{self.path.replace('/', '-')}").write_bytes(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


with HTTPServer(("127.0.0.1", 0), Receiver) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
