"""SIGTERM while the server of a remote shard set is away: the state is saved and the process ends, soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ipv_bench.checkpoint_index import checkpoint_steps
from ipv_bench.cli import run
from ipv_bench.patience import Patience, be_patient, give_up
from ipv_bench.run_record import read_record
from models.pretraining.video_training import VideoTraining
from tests.models.pretraining.small_pretraining import arguments, small_shard_set
from tests.range_handler import RangeHandler, RangeServer, serving

SOON_SECONDS = 30
"""An outage is waited for twice as long; a stop takes a second or two."""


class Away(RangeServer):
    """A web server over a folder; once it is away it answers 503, and has this process stopped at the first try."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _Handler)
        self.is_away, self.stopped_at = False, 0.0

    def stop_us(self) -> None:
        if not self.stopped_at:
            self.stopped_at = time.monotonic()
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()  # it waits for its next try by then


class _Handler(RangeHandler):
    server: Away

    def do_GET(self) -> None:
        if self.server.is_away:
            self.server.stop_us()
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Away]:
    torch.set_num_threads(1)
    with serving(Away(small_shard_set(tmp_path / "set"))) as server:
        yield server


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_while_the_server_is_away_takes_no_minute(
    server: Away, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    real = VideoTraining.step

    def step(self: VideoTraining, batch: Any) -> dict[str, float]:
        server.is_away = server.is_away or self.updates == 1
        return real(self, batch)

    changes = {"data__workers": workers, "data__prefetch": 1, "training__checkpoint_every": 100, "validation__every": 0}
    command = arguments(server.address, tmp_path / "run", **changes)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(VideoTraining, "step", step)
        assert run(command) == 130
    for thread in threading.enumerate():
        if thread.name.startswith(("decode", "read")):  # the interpreter waits for these at its end
            thread.join(SOON_SECONDS)
            assert not thread.is_alive()
    assert time.monotonic() - server.stopped_at < SOON_SECONDS
    (saved,) = checkpoint_steps(tmp_path / "run")
    assert 2 <= saved <= 4  # one batch is read ahead by a thread
    assert read_record(tmp_path / "run").status == "interrupted"


def test_who_waits_in_a_thread_gives_up_and_who_begins_later_waits() -> None:
    first, second = Patience(), Patience()
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(first.wait(60, at_least=50)))
    thread.start()
    give_up()
    thread.join(SOON_SECONDS)
    assert found == [False]
    assert not Patience().wait(60)
    be_patient()
    assert not second.wait(60)  # it was begun before
    assert Patience().wait(60)
