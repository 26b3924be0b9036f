"""`adapt` that was interrupted or killed goes on to the same numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_record, write_record
from models.adapting.labelled_training import LabelledTraining
from tests.models.adapting.adapt_runs import adapt, adapt_command
from tests.models.finetuning.finetune_runs import run_until
from tests.models.pretraining.small_pretraining import learned, weights


def test_an_interrupted_run_goes_on_to_the_same_numbers(labelled, parents, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert adapt(parents["apv"], labelled, whole, training__threads=1) == 0
    real = LabelledTraining.step

    def step(self: LabelledTraining, batch: Any) -> dict[str, float]:
        if self.updates == 3:  # after the checkpoint of update 2
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(LabelledTraining, "step", step)
        assert adapt(parents["apv"], labelled, stopped, training__threads=1) == 130
    assert read_record(stopped).status == "interrupted"
    assert adapt(parents["apv"], labelled, stopped, training__threads=1) == 0
    assert weights(stopped) == weights(whole)
    assert learned(stopped) == learned(whole)
    assert adapt(parents["contextwm"], labelled, whole, training__threads=1) == 2  # another method's run


@pytest.mark.parametrize("usual", [False, True])
def test_a_begun_run_goes_on_without_the_run_that_it_started_from(
    labelled, parents, tmp_path, capsys, monkeypatch, usual
):
    """Deleted, or (in the usual place, whose name is made from its record) with other checkpoints by now."""
    monkeypatch.chdir(tmp_path)
    parent, whole = Path("parent"), tmp_path / "whole"
    shutil.copytree(parents["apv"], parent)
    command = adapt_command(parent, labelled, tmp_path / "run", training__threads=1)
    if usual:
        place = command.index("--run")
        command = [*command[:place], *command[place + 2 :]]
    assert run(command) == 0
    [folder] = [path.parent for path in tmp_path.glob("**/run.json") if read_record(path.parent).kind == "adapt"]
    shutil.copytree(folder, whole)
    shutil.rmtree(latest_checkpoint(folder))
    before = read_record(folder).model_copy(update={"status": "interrupted"})
    write_record(folder, before)
    newest = latest_checkpoint(parent)
    if usual:
        shutil.rmtree(newest)
        shutil.copytree(latest_checkpoint(parents["contextwm"]), newest)
    else:
        shutil.rmtree(parent)
    capsys.readouterr()
    assert run(command) == 0
    told = capsys.readouterr()
    assert "the run goes on from its own checkpoint" in told.out + told.err
    assert read_record(folder).parent == before.parent
    assert weights(folder) == weights(whole)
    # another parent is another run, and one without a checkpoint of its own needs its parent
    assert (
        run([*command[:1], str(parents["contextwm"]), *command[2:], *(() if not usual else ("--run", str(folder)))])
        == 2
    )
    shutil.rmtree(folder / "checkpoints")
    write_record(folder, before)
    assert run(command) == 2


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(labelled, parents, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert adapt(parents["apv"], labelled, whole, training__threads=1) == 0
    command = adapt_command(parents["apv"], labelled, killed, training__threads=1)
    run_until(command, "adapting.labelled_training", "module.LabelledTraining", "step", 4)
    assert run([*command, "--quiet"]) == 0
    assert weights(killed) == weights(whole)
    assert learned(killed) == learned(whole)
