"""What a progress line says of pace and time left."""

from __future__ import annotations

import re

import pytest

from ipv_bench import progress as module
from ipv_bench.progress import progress


class Clock:
    """A clock that is moved by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def lines_of(text: str) -> list[dict[str, float]]:
    """Done, steps a second, seconds left and frames a second of each line."""
    found = re.findall(r"run: (\d+)/\d+ \(([\d.]+) steps/s, ([\d.]+) frames/s, (\d+):(\d+):(\d+) left\)", text)
    return [
        {"done": int(done), "pace": float(pace), "frames": float(frames), "left": 3600 * int(h) + 60 * int(m) + int(s)}
        for done, pace, frames, h, m, s in found
    ]


def test_the_time_left_follows_the_pace_of_late(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """100 quick steps a second at first, then one: the quick ones say nothing about the rest."""
    with progress("run", 6000, "steps") as bar:
        for _ in range(30):
            clock.now += 1
            bar.advance(100, frames=200)
        for _ in range(600):
            clock.now += 1
            bar.advance(1, frames=3)
    told = lines_of(capsys.readouterr().err)
    assert len(told) == 21
    assert (told[0]["pace"], told[0]["frames"], told[0]["left"]) == (100, 200, 30)
    assert told[-1]["done"] == 3600
    assert (told[-1]["pace"], told[-1]["frames"], told[-1]["left"]) == (1, 3, 2400)


def test_what_an_earlier_run_did_is_not_in_the_pace(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("run", 1000, "steps", done=900) as bar:
        for _ in range(31):
            clock.now += 1
            bar.advance(2, frames=1)
    told = lines_of(capsys.readouterr().err)
    assert (told[0]["done"], told[0]["pace"], told[0]["left"]) == (960, 2, 20)


def test_few_long_steps_have_a_pace_too(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("run", 10, "steps") as bar:
        for _ in range(4):
            clock.now += 1000
            bar.advance(1, frames=5)
    told = lines_of(capsys.readouterr().err)
    assert [line["left"] for line in told] == [9000, 8000, 7000, 6000]
