"""Every format is detected and read; files that nobody can read are listed."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipv_bench.config import build
from ipv_bench.errors import ConfigError, InputError
from reports.readers.base import ReadOptions
from reports.readers.registry import read_sources
from reports.readers.text_table import table_header
from reports.scores.score_table import Collection, matches, tidy
from tests.reports.synthetic_runs import write_finetuning, write_pretraining


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def jsonl(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def codes(found: Collection) -> set[str]:
    return {finding.code for finding in found.findings}


def test_run_format_1(tmp_path: Path) -> None:
    write_finetuning(tmp_path, "metaworld/reach", "contextwm", 3, data=["ssv2"], points=4)
    write_finetuning(tmp_path, "dmcr/walker_run", "apv", 0, points=4)
    write_pretraining(tmp_path, "contextwm")
    found = read_sources([tmp_path])
    dmcr, metaworld = found.runs
    assert (metaworld.metric, dmcr.metric) == ("success", "return")
    assert metaworld.seed == "3"
    assert metaworld.action_repeat == 1
    assert metaworld.env_steps.tolist() == pytest.approx([83333, 166666, 250000], abs=1)
    assert metaworld.episodes is not None
    assert metaworld.episodes.tolist() == [10, 10, 10]
    assert matches(metaworld, {"method": "contextwm", "pretraining.data": ["ssv2"]})
    assert matches(metaworld, {"pretraining": {"data": {"any": [["human36m"], ["ssv2"]]}}})
    assert not matches(dmcr, {"pretraining.data": ["ssv2"]})
    assert matches(dmcr, {"context.fusion": "none", "reward.dual": False})
    (pretrained,) = found.pretraining
    assert pretrained.updates[-1] == 400
    assert pretrained.values["image_loss"][0] > np.nanmin(pretrained.values["image_loss"])


def test_a_run_that_left_out_its_short_episodes_has_a_finding(tmp_path: Path) -> None:
    for seed, short in enumerate(
        [{"episodes": 9, "played": 20, "warning": "9 of 20 …"}, {"episodes": 1, "played": 20}]
    ):
        write_finetuning(tmp_path, "highway/highway_fast", "apv", seed, dropped_short=short)
    (finding,) = [f for f in read_sources([tmp_path]).findings if f.code == "episodes_not_learned_from"]
    assert finding.level == "warning"
    assert finding.text.endswith("9 of 20 …")


def test_a_run_whose_ends_were_not_learned_has_a_finding(tmp_path: Path) -> None:
    ends = {"episodes": 9, "of": 20, "warning": "9 of 20 …"}
    write_finetuning(tmp_path, "highway/highway_fast", "apv", 0, ends_not_learned=ends)
    (finding,) = [f for f in read_sources([tmp_path]).findings if f.code == "ends_not_learned"]
    assert (finding.level, finding.text[-8:]) == ("warning", "9 of 20 …"[-8:])


def test_metric_can_be_chosen(tmp_path: Path) -> None:
    write_finetuning(tmp_path, "metaworld/reach", "contextwm", 0)
    (run,) = read_sources([tmp_path], build(ReadOptions, {"metric": "return"})).runs
    assert run.metric == "return"
    assert run.scores.max() > 1


def test_cut_off_last_line_is_used_up_to_there_and_noted(tmp_path: Path) -> None:
    folder = write_finetuning(tmp_path, "dmc/walker_run", "apv", 0, points=4)
    log = folder / "evaluations.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    found = read_sources([tmp_path])
    assert found.runs[0].num_points == 2
    assert codes(found) == {"cut_off_log"}


def test_null_scores_become_nan(tmp_path: Path) -> None:
    folder = write_finetuning(tmp_path, "dmc/walker_run", "apv", 0)
    write(
        folder / "evaluations.jsonl",
        jsonl({"env_steps": 5, "returns": [1.0, None]}, {"env_steps": 9, "returns": [3, 5]}),
    )
    (run,) = read_sources([tmp_path]).runs
    assert np.isnan(run.scores[0])
    assert run.scores[1] == 4


def test_damaged_run_in_a_folder_is_listed_and_alone_is_an_error(tmp_path: Path) -> None:
    write_finetuning(tmp_path, "dmc/walker_run", "apv", 0)
    bad = write_finetuning(tmp_path, "dmc/walker_run", "apv", 1)
    text = (bad / "evaluations.jsonl").read_text().splitlines()
    write(bad / "evaluations.jsonl", "\n".join([text[0], "{broken", *text[1:]]) + "\n")
    newer = write_finetuning(tmp_path, "dmc/walker_run", "apv", 2, format=99)
    found = read_sources([tmp_path])
    assert len(found.runs) == 1
    assert [finding.level for finding in found.findings] == ["refusal", "refusal"]
    assert {file.path for file in found.unknown} == {str(bad), str(newer)}
    with pytest.raises(InputError, match="line 2 is not JSON"):
        read_sources([bad])
    with pytest.raises(InputError, match="run format 99"):
        read_sources([newer])


def test_wrong_evaluation_line_names_its_keys(tmp_path: Path) -> None:
    folder = write_finetuning(tmp_path, "dmc/walker_run", "apv", 0)
    write(folder / "evaluations.jsonl", jsonl({"step": 5, "returns": [1.0]}))
    with pytest.raises(InputError, match=r"line 1 has no env_steps or no returns: it has step, returns") as caught:
        read_sources([folder])
    assert "env_steps (a number)" in caught.value.expected
    assert "take that line out" in caught.value.fix


CONTEXTWM = {"task": "metaworld_drawer_open", "seed": 4, "action_repeat": 1}


def test_dreamer_metrics_with_a_config(tmp_path: Path) -> None:
    folder = tmp_path / "metaworld_drawer_open" / "contextwm_ssv2" / "4"
    lines = jsonl(
        {"step": 1000, "train_success": 1.0, "train_return": 9.0},
        {"step": 5000, "eval_success": 0.2, "eval_return": 100.0},
        {"step": 9000, "kl_loss": 3.0},
        {"step": 10000, "eval_success": 0.6, "eval_return": 300.0},
    )
    write(folder / "metrics.jsonl", lines + '{"step": 15000, "eval_succ')
    write(folder / "config.yaml", json.dumps(CONTEXTWM))
    found = read_sources([tmp_path])
    (run,) = found.runs
    assert run.name == "metaworld/drawer_open/contextwm_ssv2/seed4"
    assert run.env_steps.tolist() == [5000, 10000]
    assert run.scores.tolist() == [0.2, 0.6]
    assert run.action_repeat == 1
    assert codes(found) == {"cut_off_log", "score_name"}


def test_dreamer_metrics_without_a_config_are_named_by_their_path(tmp_path: Path) -> None:
    write(
        tmp_path / "dmc_walker_walk" / "dreamerv2" / "7" / "metrics.jsonl", jsonl({"step": 2000, "eval_return": 55.5})
    )
    write(tmp_path / "dreamerv3-run2" / "scores.jsonl", jsonl({"step": 64, "episode/score": 12.0}))
    write(tmp_path / "dreamerv3-run2" / "config.yaml", "logdir: x\ntask: crafter_reward\nseed: 2\n")
    first, second = sorted(read_sources([tmp_path]).runs, key=lambda run: run.method)
    assert first.name == "dmc/walker_walk/dreamerv2/seed7"
    assert (second.name, second.scores.tolist()) == ("crafter/reward/dreamerv3/seed2", [12.0])


def test_run_fields_say_what_a_log_does_not(tmp_path: Path) -> None:
    write(tmp_path / "x" / "metrics.jsonl", jsonl({"step": 100, "my/score": 2.0}, {"step": 200, "my/score": 3.0}))
    with pytest.raises(InputError, match="nothing says which method and task and seed"):
        read_sources([tmp_path / "x"])
    fields = "method: sac\nsuite: gym\ntask: ant\nseed: 5\nsteps_are: agent_steps\naction_repeat: 2\n"
    write(tmp_path / "x" / "run_fields.yaml", fields)
    with pytest.raises(InputError, match="has no line with a score; its values are my/score, step"):
        read_sources([tmp_path / "x"])
    write(tmp_path / "x" / "run_fields.yaml", fields + "score: my/score\n")
    (run,) = read_sources([tmp_path]).runs
    assert run.name == "gym/ant/sac/seed5"
    assert run.env_steps.tolist() == [200, 400]
    write(tmp_path / "x" / "run_fields.yaml", "metod: sac\n")
    with pytest.raises(ConfigError, match="metod"):
        read_sources([tmp_path / "x"])


def test_dreamerv3_scores(tmp_path: Path) -> None:
    entries = [
        {"task": "atari_pong", "method": "dreamerv3", "seed": "0", "xs": [1e5, 2e5], "ys": [-20.0, 3.0]},
        {"task": "atari_boxing", "method": "dreamerv3", "seed": "1", "xs": [1e5], "ys": [7.0]},
    ]
    path = tmp_path / "atari100k-dreamerv3.json.gz"
    path.write_bytes(gzip.compress(json.dumps(entries).encode()))
    found = read_sources([path])
    assert [run.name for run in found.runs] == ["atari100k/boxing/dreamerv3/seed1", "atari100k/pong/dreamerv3/seed0"]
    assert found.runs[1].scores.tolist() == [-20, 3]
    whole = entries[0]
    for wrong, words in (
        ({}, "is not a list of runs\n.*{task, method"),
        ([{"task": "x", "xs": [1]}], "entry 0 has no method, seed, ys; it has task, xs\n.*task, method"),
        ([whole, whole | {"ys": [1, "high"]}], "entry 1 has xs or ys that are not numbers\n.*numbers"),
        ([whole | {"ys": [1]}], "entry 0 has 2 xs and 1 ys\n.*one y per x"),
    ):
        path.write_bytes(gzip.compress(json.dumps(wrong).encode()))
        with pytest.raises(InputError, match=f"{words}.*\n.*restore the file, or leave it out"):
            read_sources([path])
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="cannot be read.*\n.*whole where it is packed\n.*restore the file"):
        read_sources([path])


TDMPC2_TASKS = (("walker-run", "reward", 900), ("mw-push", "success", 1), ("pick-ycb", "success", 1))


def write_tdmpc2(root: Path) -> None:
    """Files in the layout of TD-MPC2's repository."""
    source = np.random.default_rng(0)
    for method in ("tdmpc2", "sac"):
        for task, column, scale in (
            ("walker-run", "reward", 900),
            ("mw-push", "success", 1),
            ("pick-ycb", "success", 1),
        ):
            rows = [f"step,{column},seed"]
            for seed in (1, 2, 3):
                rows += [f"{step},{scale * source.random():.1f},{seed}" for step in range(0, 500_000, 100_000)]
            write(root / "results" / method / f"{task}.csv", "\n".join(rows) + "\n")


def test_tdmpc2_results(tmp_path: Path) -> None:
    write_tdmpc2(tmp_path)
    write(tmp_path / "LICENSE", "MIT")
    found = read_sources([tmp_path])
    assert len(found.runs) == 18
    assert {(run.task_id, run.metric) for run in found.runs} == {
        ("dmc/walker_run", "return"), ("metaworld/push", "success"), ("maniskill/pick_ycb", "success"),
    }  # fmt: skip
    assert {run.method for run in found.runs} == {"tdmpc2", "sac"}
    assert [file.path for file in found.unknown] == [str(tmp_path / "LICENSE")]


def test_archive_reads_as_its_folder(tmp_path: Path) -> None:
    write_tdmpc2(tmp_path / "in")
    archive = tmp_path / "results.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "in", arcname=".")
    inside, outside = read_sources([archive]), read_sources([tmp_path / "in"])
    assert [run.name for run in inside.runs] == [run.name for run in outside.runs]
    assert all(run.source.startswith(f"{archive}/results/") for run in inside.runs)
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be unpacked.*\n.*a whole tar archive\n.*download it again"):
        read_sources([archive])


def test_an_archive_of_files_without_a_folder_names_their_method(tmp_path: Path) -> None:
    table = tmp_path / "walker-run.csv"
    table.write_text("step,reward,seed\n0,1.0,1\n1000,2.0,1\n")
    with tarfile.open(tmp_path / "ours.tar.gz", "w:gz") as file:
        file.add(table, "walker-run.csv")
    (first,), (again,) = (read_sources([tmp_path / "ours.tar.gz"]).runs for _ in range(2))
    assert (first.method, first.task_id, first.source) == (
        "ours", "dmc/walker_run", f"{tmp_path}/ours.tar.gz/walker-run.csv",
    )  # fmt: skip
    assert again.method == "ours"


def test_tensorboard_events(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = tmp_path / "dmc_cheetah_run" / "sac" / "2"
    writer = EventFileWriter(str(folder))
    for step, score in ((1000, 10.5), (2000, 20.25)):
        writer.add_event(Event(step=step, summary=Summary(value=[
            Summary.Value(tag="scalars/eval_return", simple_value=score),
            Summary.Value(tag="loss", simple_value=1.0),
            Summary.Value(tag="picture", image=Summary.Image(height=1, width=1, encoded_image_string=b"x" * 300)),
        ])))  # fmt: skip
    tensor = TensorProto(dtype=1, float_val=[30.0])
    writer.add_event(Event(step=3000, summary=Summary(value=[Summary.Value(tag="eval_return", tensor=tensor)])))
    writer.close()
    found = read_sources([tmp_path])
    (run,) = found.runs
    assert run.name == "dmc/cheetah_run/sac/seed2"
    assert run.env_steps.tolist() == [1000, 2000, 3000]
    assert run.scores.tolist() == [10.5, 20.25, 30.0]
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    found = read_sources([tmp_path])
    assert found.runs[0].num_points == 2
    assert "cut_off_log" in codes(found)
    file.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(InputError, match="its values are none"):
        read_sources([folder])


HEADER = "method,suite,task,seed,step,score,variant\n"


@pytest.mark.parametrize(
    ("task", "task_id", "metric"),
    [
        ("dmc/walker_run", "dmc/walker_run", "return"),
        ("metaworld/drawer_open", "metaworld/drawer_open", "success"),
        ("highway/highway_fast", "highway/highway_fast", "score"),
        ("ALE/Pong-v5", "ALE/Pong-v5", "score"),
        ("lab3/reach", "lab3/reach", "score"),  # no suite: one name
    ],
)
def test_a_task_in_a_table_may_bring_its_suite(task: str, task_id: str, metric: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"method,task,seed,step,score\nsac,{task},0,10,0.5\n")
    (run,) = read_sources([tmp_path / "a.csv"]).runs
    assert (run.task_id, run.metric, bool(run.suite)) == (task_id, metric, task != "lab3/reach")


def test_odd_cells_of_one_table_cost_no_report(tmp_path: Path) -> None:
    """Seeds that look like numbers and are none, and an action repeat that fits into no column."""
    head = "method,task,seed,step,score"
    (tmp_path / "seeds.csv").write_text(f"{head}\nsac,dmc/walker_run,²,10,1\nsac,dmc/walker_run,--5,10,2\n")
    (tmp_path / "repeat.csv").write_text(f"{head},action_repeat\nsac,dmc/walker_run,0,10,1,99999999999999999999\n")
    found = read_sources([tmp_path])
    assert {run.seed for run in found.runs} == {"²", "--5"}
    assert len(tidy(found.runs)) == 2
    said = " ".join([*(one.reason for one in found.unknown), *(one.text for one in found.findings)])
    assert "action_repeat '99999999999999999999'" in said


def test_a_long_header_is_not_cut_within_a_letter(tmp_path: Path) -> None:
    """The first mebibyte ends in the middle of the two bytes of an ö, ü or ß, wherever the rows begin."""
    rows = f"sac,dmc/walker_run,0,10,0.5,{'ö' * (1 << 20)}\n"
    for shift in range(2):
        path = tmp_path / f"{shift}.csv"
        path.write_text(f"method,task,seed,step,score,größe{'x' * shift}\n{rows}")
        assert path.stat().st_size > 1 << 20
        assert table_header(path)[-1] == "größe" + "x" * shift


def test_plain_csv(tmp_path: Path) -> None:
    rows = "a,dmc,walker,0,10,1.5,\na,dmc,walker,0,20,nan,\na,dmc,walker,1,10,2.5,big\n"
    path = write(tmp_path / "scores.csv", "# made by hand\n" + HEADER.replace("variant", "variant,note").replace(
        "\n", "\n") + rows.replace(",\n", ",,x\n").replace("big\n", "big,y\n"))  # fmt: skip
    found = read_sources([path])
    assert [run.name for run in found.runs] == ["dmc/walker/a/seed0", "dmc/walker/a@big/seed1"]
    assert found.runs[0].num_points == 2
    assert codes(found) == {"ignored_columns"}
    assert found.runs[0].metric == "return"


@pytest.mark.parametrize(
    ("text", "message", "expected", "fix"),
    [
        (
            "method,suite,task,seed,steps,score\n",
            "no column 'step'; its columns are method, suite, task, seed, steps",
            "step",
            "step",
        ),
        (HEADER + "a,dmc,w,0,10,high,\n", "score 'high' in data row 1", "a number", "an empty value or nan"),
        (HEADER + "a,dmc,w,0,10,1,\na,dmc,w\n", "data row 2 has 3 values", "7, as the header", "complete that row"),
        (HEADER + ",dmc,w,0,10,1,\n", "a row has no method", "a name in every row", "fill the column method"),
        (HEADER + "a,dmc,w,0,10,1,\0\n", "is not text", "a table with one header line", "save it as CSV"),
        (HEADER.replace("variant", "score") + "a,dmc,w,0,1,1,2\n", "has 2 columns 'score'", "one", "rename the others"),
        (HEADER.replace("variant", "metric") + "a,dmc,w,0,1,1,reward\n", "metric 'reward'", "return", "column metric"),
        (
            HEADER.replace("variant", "action_repeat") + "a,dmc,w,0,1,1,two\n",
            "action_repeat 'two'",
            "from 1 to",
            "empty",
        ),
    ],
)
def test_wrong_csv_is_refused(tmp_path: Path, text: str, message: str, expected: str, fix: str) -> None:
    path = write(tmp_path / "scores.csv", text)
    with pytest.raises(InputError, match=message) as caught:
        read_sources([path])
    assert expected in caught.value.expected
    assert fix in caught.value.fix


def test_unknown_files_are_listed_and_many_are_summed_up(tmp_path: Path) -> None:
    write(tmp_path / "scores.csv", HEADER + "a,dmc,w,0,10,1,\n")
    write(tmp_path / "notes.txt", "hello")
    write(tmp_path / ".hidden", "x")
    for number in range(30):
        write(tmp_path / "episodes" / f"{number}.npz", "x")
    found = {file.path: file.reason for file in read_sources([tmp_path]).unknown}
    assert found == {
        str(tmp_path / "notes.txt"): "no known format",
        f"{tmp_path / 'episodes'}/*.npz": "30 files: no known format",
    }


def test_paths_given_twice_are_read_once(tmp_path: Path) -> None:
    folder = write_finetuning(tmp_path, "dmc/walker_run", "apv", 0)
    assert len(read_sources([tmp_path, folder, tmp_path / "."]).runs) == 1


def test_earlier_reports_are_passed_over(tmp_path: Path) -> None:
    write_finetuning(tmp_path, "dmc/walker_run", "apv", 0)
    for name in ("report.html", "report.json", "tables/final.csv"):
        write(tmp_path / "report" / name, "method,suite,task\n")
    found = read_sources([tmp_path])
    assert codes(found) == {"earlier_report"}
    assert not found.unknown


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no runs in"):
        read_sources([tmp_path])
    with pytest.raises(InputError, match="does not exist"):
        read_sources([tmp_path / "none"])
    with pytest.raises(InputError, match="no known format"):
        read_sources([write(tmp_path / "a.txt", "x")])
    with pytest.raises(InputError, match=r"a\.txt \(no known format\)"):
        read_sources([tmp_path])


def test_lines_without_a_score_are_not_parsed(tmp_path: Path) -> None:
    # A log of hundreds of megabytes is mostly such lines; that they are not even looked into shows in a damaged one.
    lines = jsonl({"step": 1, "eval_return": 3.0}) + '{"step": 2, "loss": broken}\n'
    write(tmp_path / "dmc_a_b" / "m" / "0" / "metrics.jsonl", lines)
    assert read_sources([tmp_path]).runs[0].scores.tolist() == [3.0]
    write(tmp_path / "dmc_a_b" / "m" / "0" / "metrics.jsonl", lines + '{"step": 2, "eval_return": broken}\n')
    with pytest.raises(InputError, match="line 3 is damaged"):
        read_sources([tmp_path / "dmc_a_b" / "m" / "0"])
