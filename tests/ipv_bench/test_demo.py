"""The demo's bookkeeping: what is done is not done again, and a failure stops it with the command's own message.

The whole demo runs in CI (`make demo`); here its steps are quick commands.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench import demo
from ipv_bench.errors import IpvBenchError, OutputError

GOOD = demo.Step("good", ("--version",), "demo.json")
BAD = demo.Step("bad", ("no-such-command",), "never")


def use(monkeypatch, *steps: demo.Step) -> None:
    monkeypatch.setattr(demo, "stages", lambda: [demo.Stage("first", steps[:1]), demo.Stage("then", steps[1:])])


def test_a_second_demo_has_nothing_to_do_and_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    other = demo.Step("help", ("--help",), "demo.json")
    use(monkeypatch, GOOD, other)
    demo.run_demo(tmp_path)
    assert "ipv-bench, version" in capsys.readouterr().out
    state = (tmp_path / "demo.json").read_bytes()
    demo.run_demo(tmp_path)
    assert "nothing to do again" in capsys.readouterr().out
    assert (tmp_path / "demo.json").read_bytes() == state


def test_a_failed_step_stops_the_demo_and_what_was_done_stays_done(tmp_path: Path, monkeypatch, capsys) -> None:
    use(monkeypatch, GOOD, BAD)
    with pytest.raises(IpvBenchError, match="exit status 2") as caught:
        demo.run_demo(tmp_path)
    assert caught.value.exit_status == 2
    assert "unknown command 'no-such-command'" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "demo.json").read_text())["done"]) == [GOOD.command]
    with pytest.raises(IpvBenchError):
        demo.run_demo(tmp_path)
    assert "first: already done" in capsys.readouterr().out


def test_a_demo_killed_before_its_record_takes_what_its_sample_made_and_nobody_elses(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    sample = demo.Step("sample", ("sample", "raw", "--dataset", "folder", "--videos", "1"), "raw", whole=True)
    use(monkeypatch, sample, GOOD)
    monkeypatch.setattr(demo._Progress, "record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path / "own")
    monkeypatch.undo()
    use(monkeypatch, sample, GOOD)
    demo.run_demo(tmp_path / "own")
    assert "first: already done" in capsys.readouterr().out
    others = tmp_path / "others" / "raw"
    others.mkdir(parents=True)
    (others / "video.mp4").write_text("somebody's own")
    with pytest.raises(IpvBenchError, match="exit status 2"):
        demo.run_demo(tmp_path / "others")
    assert "is not empty" in capsys.readouterr().out


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    for text in ('{"version": "0.0.1", "done": {}}', "[]", "{"):
        (tmp_path / "demo.json").write_text(text)
        with pytest.raises(OutputError, match="delete"):
            demo.run_demo(tmp_path)


def test_the_real_plan_names_only_real_commands_and_finishes_in_the_report() -> None:
    from ipv_bench.cli import COMMANDS

    steps = [step for stage in demo.stages() for step in stage.steps]
    assert {step.arguments[0] for step in steps} <= set(COMMANDS)
    assert len({step.command for step in steps}) == len(steps)
    assert steps[-1].makes == "report/report.html"
