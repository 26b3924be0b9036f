"""Logs of other projects: the right numbers, and a line that would read what is nearly readable."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipv_bench.config import build
from ipv_bench.errors import InputError
from reports.config import ReportConfig
from reports.readers.base import ReadOptions
from reports.readers.registry import read_sources
from reports.scores.checks import check
from tests.reports.readers.small_logs import events, jsonl, write

HEADER = "method,suite,task,seed,step,score"
ROWS = ["a,dmc,walker_run,0,10,1.5", "a,dmc,walker_run,0,20,2.5", "b,dmc,walker_run,0,10,7.5"]


def codes(path: Path) -> set[str]:
    return {finding.code for finding in read_sources([path]).findings}


def as_bytes(kind: str) -> bytes:
    text = "\n".join([HEADER, *ROWS]) + "\n"
    spread = "\r\n".join(line.replace(".", ",").replace(",", ";", 5) for line in [HEADER, *ROWS]) + "\r\n"
    return {
        "semicolon": text.replace(",", ";").encode(),
        "decimal comma": spread.encode(),
        "tab": text.replace(",", "\t").encode(),
        "gz": gzip.compress(text.encode()),
        "utf-16": text.encode("utf-16"),
        "utf-16-le without mark": text.encode("utf-16-le"),
        "capitals": text.replace(HEADER, "Method,SUITE,Task,Seed,Step,Score").encode(),
        "quoted, mark": b"\xef\xbb\xbf" + text.replace(HEADER, HEADER.replace("score", '"score"')).encode(),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("semicolon", "a.csv"),
        ("decimal comma", "a.csv"),
        ("tab", "a.tsv"),
        ("gz", "a.csv.gz"),
        ("utf-16", "a.csv"),
        ("utf-16-le without mark", "a.csv"),
        ("capitals", "A.CSV"),
        ("quoted, mark", "a.txt"),
    ],
)
def test_tables_in_every_dress(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(as_bytes(kind))
    first, second = read_sources([tmp_path]).runs
    assert (first.name, second.name) == ("dmc/walker_run/a/seed0", "dmc/walker_run/b/seed0")
    assert (first.env_steps.tolist(), first.scores.tolist()) == ([10, 20], [1.5, 2.5])
    assert second.scores.tolist() == [7.5]


def test_a_near_miss_names_the_columns_and_the_line_that_reads_it(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", "Algo,env_id,seed,timesteps,mean reward\nsac,walker_run,0,10,1.5\n")
    with pytest.raises(InputError) as caught:
        read_sources([path])
    assert "its columns are Algo, env_id, seed, timesteps, mean reward" in caught.value.found
    line = 'columns: {method: Algo, task: env_id, step: timesteps, score: "mean reward"}'
    assert line in caught.value.fix
    write(tmp_path / "report.yaml", line)
    columns = {"method": "Algo", "task": "env_id", "step": "timesteps", "score": "mean reward"}
    config = build(ReportConfig, {"columns": columns})
    (run,) = read_sources([path], config.read_options).runs
    assert (run.name, run.scores.tolist()) == ("dmc/walker_run/sac/seed0", [1.5])


def test_columns_with_any_names_and_a_log_of_one_run(tmp_path: Path) -> None:
    path = write(tmp_path / "Ant-v4" / "sac" / "3" / "mine.csv", "n,R\n10,1.5\n20,2.5\n")
    (run,) = read_sources([tmp_path], ReadOptions(columns={"step": "n", "score": "R"})).runs
    assert (run.name, run.scores.tolist()) == ("Ant-v4/sac/seed3", [1.5, 2.5])
    write(path, "m,t,s,n,R\nsac,ant,0,10,1.5\n")
    columns = {"method": "m", "task": "t", "seed": "s", "step": "n", "score": "R"}
    (run,) = read_sources([tmp_path], ReadOptions(columns=columns)).runs
    assert run.name == "ant/sac/seed0"


def test_a_name_that_no_column_holds_comes_from_the_path(tmp_path: Path) -> None:
    write(tmp_path / "sac.csv", "task,seed,step,score\nwalker_run,0,10,1.5\n")
    found = write(tmp_path / "good.csv", "\n".join([HEADER, *ROWS])).parent
    listed = {file.path: file.reason for file in read_sources([found]).unknown}
    assert "has no column 'method'" in listed[str(tmp_path / "sac.csv")]
    runs = read_sources([tmp_path / "sac.csv"], ReadOptions(names=("{method}.csv",))).runs
    assert [run.name for run in runs] == ["dmc/walker_run/sac/seed0"]


def test_whole_floats_are_whole_seeds_and_copies_are_named(tmp_path: Path) -> None:
    rows = [f"a,dmc,walker_run,{seed},{step},{step}" for seed in ("0", "0.0", "1", " 1.0") for step in (10, 20)]
    found = check(read_sources([write(tmp_path / "a.csv", "\n".join([HEADER, *rows]) + "\n")]))
    assert [(run.seed, run.scores.tolist()) for run in found.runs] == [("0", [10, 20]), ("1", [10, 20])]
    by_code = {finding.code: finding for finding in found.findings}
    assert {"copied_rows", "equal_runs", "few_seeds"} <= set(by_code)
    assert set(by_code["equal_runs"].subjects) == {"dmc/walker_run/a/seed0", "dmc/walker_run/a/seed1"}


def test_names_in_two_spellings_are_named(tmp_path: Path) -> None:
    rows = ["SAC,dmc,walker_run,0,10,1", "sac,dmc,walker-run,1,10,2"]
    found = check(read_sources([write(tmp_path / "a.csv", "\n".join([HEADER, *rows]) + "\n")]))
    texts = [finding.text for finding in found.findings if finding.code == "similar_names"]
    assert any("'SAC', 'sac'" in text for text in texts)
    assert any("'dmc/walker-run', 'dmc/walker_run'" in text for text in texts)


def test_statistics_are_no_tasks(tmp_path: Path) -> None:
    entries = [
        {"task": task, "method": "dreamerv2", "seed": "0", "xs": [1e6, 2e6], "ys": [1.0, 2.0]}
        for task in ("atari_pong", "atari_stats_gamer_mean", "stats_mean", "dmc_humanoid_walk")
    ]
    write(tmp_path / "atari-dreamerv2.json", json.dumps(entries))
    assert [run.task_id for run in read_sources([tmp_path]).runs] == ["atari/pong", "dmc/humanoid_walk"]
    assert "pseudo_tasks" in codes(tmp_path)


def test_wandb_export(tmp_path: Path) -> None:
    metric = "charts/episodic_return"
    runs = ["Hopper-v4__sac__1", "Hopper-v4__sac__2"]
    header = ["global_step", *(f"{run} - {metric}{end}" for run in runs for end in ("", "__MIN", "__MAX"))]
    rows = ['"0","1","1","1","","",""', '"10","","2","2","5","5","5"', '"20","4","3","5","6","6","6"']
    path = write(tmp_path / "wandb.csv", ",".join(f'"{name}"' for name in header) + "\n" + "\n".join(rows) + "\n")
    first, second = read_sources([path]).runs
    assert (first.name, first.origin) == ("Hopper-v4/sac/seed1", "training_episode")
    assert (first.env_steps.tolist(), first.scores.tolist()) == ([0, 10, 20], [1, 2, 4])
    assert (second.env_steps.tolist(), second.scores.tolist()) == ([10, 20], [5, 6])
    assert "merged_points" in codes(path)
    write(path, path.read_text().replace("global_step", "Step"))
    assert "wandb_steps" in codes(path)
    write(path, path.read_text().replace("Step", "Relative Time (Process)"))
    with pytest.raises(InputError, match="the x-axis is 'Relative Time"):
        read_sources([path])


def test_wandb_runs_without_names_are_asked_for(tmp_path: Path) -> None:
    header = ["Step", *(f"fluent-sun-12 - eval/return{end}" for end in ("", "__MIN", "__MAX"))]
    path = write(tmp_path / "wandb.csv", ",".join(f'"{name}"' for name in header) + '\n"1","2","2","2"\n')
    with pytest.raises(InputError, match="nothing says which method and task run 'fluent-sun-12'"):
        read_sources([path])
    (run,) = read_sources([path], ReadOptions(names=("{}-{method}-{seed}{task=ant}",))).runs
    assert run.name == "ant/sun/seed12"


def test_sb3_evaluations_and_monitor(tmp_path: Path) -> None:
    folder = tmp_path / "ppo" / "Ant-v4_1"
    for number, rows in enumerate(("1.0,10,0.5\n3.0,30,9.0\n", "2.0,20,0.2\n4.0,40,99.0\n5.0")):
        header = json.dumps({"t_start": 100.0 + number, "env_id": "Ant-v4"})
        write(folder / f"{number}.monitor.csv", f"#{header}\nr,l,t\n{rows}")
    (monitored,) = read_sources([tmp_path]).runs
    assert (monitored.name, monitored.origin) == ("Ant-v4/ppo/seed1", "training_episode")
    assert monitored.env_steps.tolist() == [10, 30, 60, 100]  # in the order of time over both files
    assert monitored.scores.tolist() == [1, 2, 3, 4]
    results = np.array([[1.0, 3.0], [5.0, 7.0]])
    np.savez(folder / "evaluations.npz", timesteps=[1000, 2000], results=results, ep_lengths=[[1, 2], [3, 4]])
    (run,) = read_sources([tmp_path]).runs  # the evaluations of the run, and not its training episodes
    assert (run.origin, run.env_steps.tolist(), run.scores.tolist()) == ("evaluation", [1000, 2000], [2, 6])
    assert run.episodes is not None
    assert run.episodes.tolist() == [2, 2]
    np.savez(folder / "evaluations.npz", timesteps=[1], results=np.array([{"a": 1}], dtype=object))
    found = read_sources([tmp_path])
    assert found.runs[0].origin == "training_episode"
    assert [Path(file.path).name for file in found.unknown] == ["evaluations.npz"]


TABLES = {
    "garage/progress.csv": (
        "Evaluation/AverageReturn,Evaluation/StdReturn,TotalEnvSteps\n1.5,0.1,4000\n2.5,0.1,8000\n",
        "evaluation",
    ),
    "rllib/progress.csv": (
        "env_runners/episode_return_mean,num_env_steps_sampled_lifetime,training_iteration\n1.5,4000,1\n2.5,8000,2\n",
        "training_mean",
    ),
    "rllib_old/progress.csv": ("episode_reward_mean,timesteps_total\n1.5,4000\n2.5,8000\n", "training_mean"),
    "spinningup/progress.txt": (
        "Epoch\tAverageTestEpRet\tAverageEpRet\tTotalEnvInteracts\n0\t1.5\t9\t4000\n1\t2.5\t9\t8000\n",
        "evaluation",
    ),
    "acme/logs/evaluator/logs.csv": (
        "actor_steps,episode_length,episode_return,evaluator_steps\n4000,9,1.5,70\n8000,9,2.5,80\n",
        "evaluation",
    ),
    "drqv2/eval.csv": (
        "episode,episode_length,episode_reward,frame,step\n1,9,1.5,4000,2000\n2,9,2.5,8000,4000\n",
        "evaluation",
    ),
    "rlkit/progress.csv": (
        "evaluation/Average Returns,exploration/num steps total\n1.5,4000\n2.5,8000\n",
        "evaluation",
    ),
    "wandb/history.csv": (
        "_step,charts/episodic_return,global_step,_runtime\n1,1.5,4000,3\n2,,,\n3,2.5,8000,4\n",
        "training_episode",
    ),
    "killed/eval.csv": ("env_step,episode_reward\n4000,1.5\n8000,2.5\n120", "evaluation"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_one_run(tmp_path: Path, name: str) -> None:
    text, origin = TABLES[name]
    write(tmp_path / "Ant-v4" / "sac" / "3" / name.partition("/")[2], text)
    write(tmp_path / "Ant-v4" / "sac" / "3" / "config.json", json.dumps({"seed": 3, "env_name": "Ant-v4"}))
    (run,) = read_sources([tmp_path]).runs
    assert (run.name, run.origin) == ("Ant-v4/sac/seed3", origin)
    assert (run.env_steps.tolist(), run.scores.tolist()) == ([4000, 8000], [1.5, 2.5])


def test_an_evaluator_without_the_actors_steps_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "Ant-v4" / "sac" / "3" / "logs.csv", "episode_return,evaluator_steps\n1.5,70\n")
    with pytest.raises(InputError, match="counts evaluator_steps and no env steps"):
        read_sources([path])


RESULT = {"training_iteration": 1, "episode_reward_mean": 1.5, "config": {"env": "Ant-v4", "seed": 7}}
LOGS = {
    "no counts": (
        "PPO_Ant/result.json", json.dumps(RESULT) + "\n", "counts no env steps", "timesteps_total", "columns: {step",
    ),
    "no result": (
        "PPO_Ant/result.json", json.dumps(RESULT) + "\n{'a'\n", "line 2 is not JSON", "one JSON", "take that line out",
    ),
    "no rewards": ("Ant/0.monitor.csv", "#{}\nl,t\n5,1\n", "has the columns l, t", "r, l, t", "restore the file"),
    "no header": ("Ant/0.monitor.csv", "#{'a'\nr,l,t\n1,5,1\n", "the first line of", "one JSON", "restore the file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOGS)
def test_what_other_tools_logs_lack_is_said_with_what_to_do(tmp_path: Path, kind: str) -> None:
    name, text, found, expected, fix = LOGS[kind]
    with pytest.raises(InputError, match=found) as caught:
        read_sources([write(tmp_path / name, text)])
    assert expected in caught.value.expected
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("arrays", "found", "expected"),
    [
        ({"timesteps": [1, 2]}, "has no results", "timesteps, results"),
        ({"timesteps": [1, 2], "results": ["a", "b"]}, "results is of type <U1", "numbers"),
        (
            {"timesteps": [1, 2], "results": [[1.0], [2.0], [3.0]]},
            r"shape \(2,\) and results of shape",
            "(T, episodes)",
        ),
    ],
)
def test_evaluations_that_do_not_fit_are_said(
    tmp_path: Path, arrays: dict[str, Any], found: str, expected: str
) -> None:
    folder = tmp_path / "sac" / "Ant-v4_1"
    folder.mkdir(parents=True)
    np.savez(folder / "evaluations.npz", **arrays)
    with pytest.raises(InputError, match=found) as caught:
        read_sources([folder / "evaluations.npz"])
    assert expected in caught.value.expected
    assert caught.value.fix == "restore the file, or leave it out"


def test_rllib_results(tmp_path: Path) -> None:
    lines = [
        {"training_iteration": number, "env_runners": {"episode_return_mean": score}, "timesteps_total": step,
         "config": {"env": "Ant-v4", "seed": 7}}
        for number, score, step in ((1, 1.5, 4000), (2, float("nan"), 6000), (3, 2.5, 8000))
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"training_itera'
    write(tmp_path / "PPO_Ant-v4_ab12c_00000_0_2024-01-01_12-00-00" / "result.json", text)
    (run,) = check(read_sources([tmp_path])).runs
    assert run.name == "Ant-v4/PPO/seed7"
    assert (run.env_steps.tolist(), run.scores.tolist()) == ([4000, 8000], [1.5, 2.5])
    assert {"cut_off_log", "score_name"} == codes(tmp_path)


def test_an_iteration_of_rllib_without_a_score_is_counted_once_there_was_one(tmp_path: Path) -> None:
    scores = (float("nan"), 1.5, float("inf"), 2.5)  # no episode has ended in the first iteration
    lines = [
        {"training_iteration": number, "episode_reward_mean": score, "timesteps_total": 1000 * number,
         "config": {"env": "Ant-v4", "seed": 7}}
        for number, score in enumerate(scores)
    ]  # fmt: skip
    write(tmp_path / "PPO_Ant-v4_ab12c_00000_0_2024-01-01_12-00-00" / "result.json", jsonl(*lines))
    found = check(read_sources([tmp_path]))
    assert found.runs[0].scores.tolist() == [1.5, 2.5]
    assert ["1 of 3 evaluations" in one.text for one in found.findings if one.code == "not_finite"] == [True]


@pytest.mark.parametrize("name", ["eval.jsonl", "eval_2.jsonl", "metrics.jsonl"])
def test_a_log_of_evaluations_is_one_by_its_name(tmp_path: Path, name: str) -> None:
    lines = [{"step": 10 * number, "episode_reward": float(number)} for number in range(5)]
    write(tmp_path / "walker_walk" / "drq" / "1" / name, jsonl(*lines))
    (run,) = read_sources([tmp_path]).runs
    assert run.origin == ("training_episode" if name == "metrics.jsonl" else "evaluation")


def test_a_score_that_is_named_is_what_it_is_unnamed(tmp_path: Path) -> None:
    folder = tmp_path / "walker_walk" / "sac" / "1"
    lines = [{"env_steps": 10 * number, "charts/episodic_return": float(number)} for number in range(5)]
    write(folder / "metrics.jsonl", jsonl(*lines))
    (unnamed,) = read_sources([tmp_path]).runs
    (named,) = read_sources([tmp_path], ReadOptions(columns={"score": "charts/episodic_return"})).runs
    write(folder / "run_fields.yaml", "score: charts/episodic_return\n")
    (beside,) = read_sources([tmp_path]).runs
    assert {(run.origin, run.metric) for run in (unnamed, named, beside)} == {("training_episode", "return")}


def test_steps_of_the_environment_go_before_a_plain_step(tmp_path: Path) -> None:
    place = tmp_path / "walker_walk" / "drq" / "1" / "metrics.jsonl"
    write(place, jsonl(*({"step": n, "frame": 2 * n, "eval_return": 1.0} for n in (10, 20))))
    assert read_sources([tmp_path]).runs[0].env_steps.tolist() == [20, 40]
    assert "the env steps are 'frame'" in read_sources([tmp_path]).findings[0].text
    write(place, jsonl({"step": 10, "frame": 20, "eval_return": 1.0}, {"step": 20, "eval_return": 2.0}))
    assert read_sources([tmp_path]).runs[0].env_steps.tolist() == [10, 20]  # a frame of some lines is of no use


def test_sheeprl(tmp_path: Path) -> None:
    folder = tmp_path / "ppo" / "Ant-v4" / "2024-01-01_12-00-00_ppo_Ant-v4_5" / "version_0"
    events(folder, {"Rewards/rew_avg": [(10, 1.0), (20, 2.0)], "Test/cumulative_reward": [(0, 50.0)]})
    (run,) = read_sources([tmp_path]).runs
    assert (run.name, run.origin, run.scores.tolist()) == ("Ant-v4/ppo/seed5", "training_mean", [1, 2])


def test_drqv2_curves(tmp_path: Path) -> None:
    text = ",agent,task,seed,frame,episode_reward,hour\n"
    text += "0,DrQ-v2,cheetah_run,1,0,0.25,0.1\n1,DrQ-v2,cheetah_run,1,20000,9.5,1\n"
    (run,) = read_sources([write(tmp_path / "dmc_cheetah_run.csv", text)]).runs
    assert (run.name, run.env_steps.tolist(), run.scores.tolist()) == (
        "dmc/cheetah_run/DrQ-v2/seed1",
        [0, 20000],
        [0.25, 9.5],
    )


def test_numbers_that_may_be_thousands_or_ones_are_refused(tmp_path: Path) -> None:
    rows = "a;dmc;walker_run;0;10.000;1,5\na;dmc;walker_run;0;20.000;2,5\n"
    path = write(tmp_path / "a.csv", HEADER.replace(",", ";") + "\n" + rows)
    with pytest.raises(InputError, match="step '10.000' may be a thousand or one"):
        read_sources([path])


def test_means_over_seeds_are_refused_in_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "method,task,step,mean,std\nsac,walker_run,10,2.0,0.1\n")
    with pytest.raises(InputError, match="has no column 'seed', 'score'") as caught:
        read_sources([path])
    assert "give the scores of each seed" in caught.value.fix


def test_a_header_that_comes_again_and_excels_first_line(tmp_path: Path) -> None:
    rows = "a;dmc;walker_run;0;10;1\na;dmc;walker_run;0;20;2\n"
    header = HEADER.replace(",", ";") + "\n"
    path = write(tmp_path / "a.csv", "sep=;\n" + header + rows + header + rows.replace("20;2", "20;3"))
    (run,) = check(read_sources([path])).runs
    assert (run.env_steps.tolist(), run.scores.tolist()) == ([10, 20], [1, 3])


def test_iterations_as_steps_are_named(tmp_path: Path) -> None:
    events(tmp_path / "Ant-v4" / "dqn" / "0", {"Eval/AverageReturns": [(step, float(step)) for step in range(20)]})
    assert "counted_steps" in {finding.code for finding in check(read_sources([tmp_path])).findings}
    write(tmp_path / "Ant-v4" / "dqn" / "0" / "run_fields.yaml", "steps_are: agent_steps\naction_repeat: 250000\n")
    found = check(read_sources([tmp_path]))
    assert found.runs[0].env_steps[-1] == 19 * 250_000
    assert "counted_steps" not in {finding.code for finding in found.findings}
