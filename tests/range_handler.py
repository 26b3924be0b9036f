"""A plain web server's answers to byte ranges, for tests of sets that are read from the web."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

Server = TypeVar("Server", bound=ThreadingHTTPServer)


class RangeHandler(SimpleHTTPRequestHandler):
    """Files of a folder; the server says whether it knows ranges (`ranges`), and keeps names and bytes (`sent`)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(match[1]), int(match[2]) + 1) if match and self.server.ranges else (0, len(data))
        body = data[start:end]
        self.server.sent.append((path.name, len(body)))
        self.send_response(206 if match and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        if match and self.server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()[:16]}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


class RangeServer(ThreadingHTTPServer):
    """A server of a folder on loopback; `.ranges = False` makes it answer with whole files."""

    daemon_threads = True

    def __init__(self, folder: Path, handler: type[RangeHandler] = RangeHandler) -> None:
        super().__init__(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self.ranges, self.sent = True, list[tuple[str, int]]()
        self.address = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let a server answer for as long as the block lasts."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
