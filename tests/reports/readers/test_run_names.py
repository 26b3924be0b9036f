"""Names from paths: the layouts that tools write are read right, and nothing else is guessed at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.config import build
from ipv_bench.errors import ConfigError, InputError
from reports.config import ReportConfig
from reports.readers.base import ReadOptions
from reports.readers.name_patterns import match_names
from reports.readers.registry import read_sources
from tests.reports.readers.small_logs import events, jsonl, write

LAYOUTS = [
    ("runs/Hopper-v4__sac__3__1669000058", "Hopper-v4/sac/seed3"),
    ("runs/ALE/Pong-v5__dqn_atari__1__1669000058", "ALE/Pong-v5/dqn_atari/seed1"),
    ("tb/CartPole-v1/PPO_2", "CartPole-v1/PPO/seed2"),
    ("logs/ppo/CartPole-v1_4", "CartPole-v1/ppo/seed4"),
    (
        "logs/runs/dreamer_v3/walker_walk/2024-03-01_10-20-30_dreamer_v3_walker_walk_7/version_0",
        "dmc/walker_walk/dreamer_v3/seed7",
    ),
    ("ray_results/PPO_CartPole-v1_ab12c_00000_0_lr=0.01,seed=3_2024-01-01_12-00-00", "CartPole-v1/PPO/seed3"),
    ("ray_results/PPO/PPO_CartPole-v1_ab12c_00001_1_seed=4_2020-01-01_12-00-00abcd1234", "CartPole-v1/PPO/seed4"),
    ("data/sac-Ant-v4/sac-Ant-v4_s10", "Ant-v4/sac/seed10"),
    ("myproject/sac-Ant-v4/sac-Ant-v4_s10", "Ant-v4/sac/seed10"),
    ("dmc_walker_walk/drqv2/5/eval", "dmc/walker_walk/drqv2/seed5"),
    ("sac/walker_walk/0/train", "dmc/walker_walk/sac/seed0"),
    ("dmc_walker_walk/dreamerv3/4/20240101T120000", "dmc/walker_walk/dreamerv3/seed4"),
    ("exp_local/2021.01.01/120000_agent=drqv2,seed=2,task=walker_walk", "dmc/walker_walk/drqv2/seed2"),
    ("walker_walk/sac/2024-01-01_10-10-10/seed3", "dmc/walker_walk/sac/seed3"),
    ("mw-drawer-open/tdmpc2/1/tb", "metaworld/drawer_open/tdmpc2/seed1"),
    ("metaworld/drawer_open/apv/seed1", "metaworld/drawer_open/apv/seed1"),
]


@pytest.mark.parametrize(("folder", "name"), LAYOUTS)
def test_known_layouts_are_read_right(tmp_path: Path, folder: str, name: str) -> None:
    events(tmp_path / folder)
    (run,) = read_sources([tmp_path]).runs
    assert run.name == name


@pytest.mark.parametrize(
    "folder",
    [
        "logdir/20240101T120000",
        "outputs/2024-01-01/12-00-00",
        "multirun/2024-01-01/12-00-00/0",
        "tb/PPO_1",
        "results/sac/0",
        "mine/lightning_logs/version_3",
        "walker_walk/seed_1/sac",
        "my_env/my_method/3",
        "metaworld/sac/drawer_open/0",
        "dmc_walker_walk/sac/20240101T120000",
    ],
)
def test_other_layouts_are_asked_for_and_the_line_in_the_message_works(tmp_path: Path, folder: str) -> None:
    events(tmp_path / folder)
    with pytest.raises(InputError) as caught:
        read_sources([tmp_path])
    pattern = caught.value.fix.split('names: "')[1].split('"')[0]
    assert folder.split("/")[-1] in caught.value.fix  # an example from the paths
    (run,) = read_sources([tmp_path], ReadOptions(names=(pattern,))).runs
    assert not run.task.isdigit()
    assert not run.method.startswith("20")


def test_one_question_for_many_logs_of_a_layout_and_the_rest_is_read(tmp_path: Path) -> None:
    events(tmp_path / "good" / "dmc_walker_walk" / "sac" / "0")
    for number in range(5):
        events(tmp_path / "tb" / f"PPO_{number}")
    found = read_sources([tmp_path])
    assert len(found.runs) == 1
    asked = [finding for finding in found.findings if finding.code == "names_needed"]
    assert [finding.level for finding in asked] == ["refusal"]
    assert "and 4 more logs of this layout" in asked[0].text
    assert "{method}_{seed}" in asked[0].fix
    assert len(found.unknown) == 5


def test_a_config_beside_the_log_names_task_and_seed(tmp_path: Path) -> None:
    folder = tmp_path / "logdir" / "mine" / "20240101T120000"
    write(folder / "metrics.jsonl", jsonl({"step": 10, "episode/score": 2.0}))
    write(folder / "config.yaml", "logdir: x\ntask: atari_pong\nseed: 12\n")
    hydra = tmp_path / "outputs" / "2024-01-01" / "12-00-00"
    write(hydra / "eval.csv", "frame,step,episode_reward\n2000,1000,5.5\n")
    write(hydra / ".hydra" / "config.yaml", "task_name: cheetah_run\nseed: 3\nagent_name: drqv2\naction_repeat: 2\n")
    zoo = tmp_path / "logs" / "ppo" / "Ant-v4_1"
    events(zoo)
    ordered = "!!python/object/apply:collections.OrderedDict\n- - - env\n    - Ant-v4\n  - - seed\n    - 41\n"
    write(zoo / "Ant-v4" / "args.yml", ordered)
    assert [run.name for run in read_sources([tmp_path]).runs] == [
        "Ant-v4/ppo/seed41",
        "atari/pong/mine/seed12",
        "dmc/cheetah_run/drqv2/seed3",
    ]


def test_patterns(tmp_path: Path) -> None:
    events(tmp_path / "exp7" / "big_walker_sac_3")
    (run,) = read_sources([tmp_path], ReadOptions(names=("{variant}_{task}_{method}_{seed}",))).runs
    assert run.name == "walker/sac@big/seed3"
    (run,) = read_sources([tmp_path], ReadOptions(names=("{no}", "{}/{}_{seed}{task=ant}{method=sac}")[1:])).runs
    assert run.name == "ant/sac/seed3"
    assert match_names(["{suite}_{task}/{method}/{seed}"], ["/x/dmc_walker_run/sac_2/20240101"]) == {
        "suite": "dmc", "task": "walker_run", "method": "sac_2", "seed": "20240101",
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["{methd}/{seed}", "runs/{}", "{task}/{task}"])
def test_wrong_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="placeholder"):
        build(ReportConfig, {"names": pattern})


def test_train_and_eval_folders_are_one_run_and_the_evaluation_is_used(tmp_path: Path) -> None:
    run_folder = tmp_path / "dmc_walker_walk" / "sac" / "0"
    events(run_folder / "train", {"Metrics/AverageReturn": [(10, 1.0), (20, 2.0)]})
    events(run_folder / "eval", {"Metrics/AverageReturn": [(10, 5.0), (20, 6.0)]})
    found = read_sources([tmp_path])
    (run,) = found.runs
    assert (run.scores.tolist(), run.origin) == ([5.0, 6.0], "evaluation")
    assert "mirrors" in {finding.code for finding in found.findings}


def test_a_swallowing_folder(tmp_path: Path) -> None:
    """A log at the top of a tree takes nothing away from the runs below it."""
    events(tmp_path, {"loss": [(1, 1.0), (2, 1.0)]})
    for seed in range(2):
        events(tmp_path / "dmc_walker_walk" / "sac" / str(seed))
    assert len(read_sources([tmp_path]).runs) == 2


def test_a_file_may_be_named_like_its_run(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "sac_Ant-v4_s3.csv", "step,episode_reward\n10,1.5\n20,2.5\n")
    write(tmp_path / "logs" / "Ant-v4__td3__4.jsonl", jsonl({"step": 10, "eval_return": 2.0}))
    assert [run.name for run in read_sources([tmp_path]).runs] == ["Ant-v4/sac/seed3", "Ant-v4/td3/seed4"]


def test_what_a_config_says_is_not_asked_for_again(tmp_path: Path) -> None:
    for job, seed in enumerate((5, 6)):
        folder = tmp_path / "multirun" / "2024-01-01" / "10-10-10" / str(job)
        write(folder / "eval.csv", "frame,episode_reward\n2000,1\n")
        write(folder / ".hydra" / "config.yaml", f"task_name: cheetah_run\nseed: {seed}\n")
    with pytest.raises(InputError, match="nothing says which method") as caught:
        read_sources([tmp_path])
    pattern = caught.value.fix.split('names: "')[1].split('"')[0]
    names = [run.name for run in read_sources([tmp_path], ReadOptions(names=(pattern,))).runs]
    assert names == ["dmc/cheetah_run/MY_METHOD/seed5", "dmc/cheetah_run/MY_METHOD/seed6"]
