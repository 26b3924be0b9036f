"""A plain web server's answers to byte ranges, for tests of sets that are read from the web."""

from __future__ import annotations

import hashlib
import re
from http.server import SimpleHTTPRequestHandler
from pathlib import Path


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
