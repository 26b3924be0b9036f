"""A web server for benchmarks: byte ranges of one folder's files, each answer after a fixed wait.

    python benchmarks/range_server.py FOLDER SECONDS

It listens on a free port of this machine alone, prints its address, and ends when its standard input does: with the
process that started it, however that ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ipv_bench.file_names import is_file_name

MOST_CONNECTIONS = 64
LONGEST_ANSWER = 64 << 20


@contextmanager
def serving(folder: Path, seconds: float) -> Iterator[str]:
    """The address of a server over `folder` in a process of its own, gone behind the block."""
    command = [sys.executable, __file__, str(folder), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(timeout=10)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body
    disable_nagle_algorithm = True

    def __init__(self, folder: Path, seconds: float, *rest: object) -> None:
        self._folder, self._seconds = folder, seconds
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """A file, or the one range of it that is asked for."""
        time.sleep(self._seconds)
        name = self.path.rsplit("/", 1)[-1]
        path = self._folder / name
        if not (is_file_name(name) and path.is_file()):
            self.send_error(404)
            return
        size = path.stat().st_size
        match = re.fullmatch(r"bytes=(\d{1,18})-(\d{1,18})", self.headers.get("Range", ""))
        start, end = (int(match[1]), min(int(match[2]) + 1, size)) if match else (0, size)
        if not 0 <= start < end or end - start > LONGEST_ANSWER:
            self.send_error(416)
            return
        with path.open("rb") as file:
            body = os.pread(file.fileno(), end - start, start)
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(body)))
        if match:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *words: object) -> None:
        """Nothing is logged."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Answers, folder, seconds))
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: object, client_address: object) -> None:
        """A thread for each connection, so many at most; further ones wait."""
        self._free.acquire()
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """The thread of a connection."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()


def main() -> None:
    """Serve until standard input ends."""
    with _Server(Path(sys.argv[1]), float(sys.argv[2])) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
