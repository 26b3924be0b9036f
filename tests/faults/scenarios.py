"""What `crash_points` kills: each builds its shared inputs once in a folder and gives a `Scenario`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipv_bench.run_record import JsonlLog, RunRecord, read_jsonl, read_record, write_record
from ipv_bench.shard_set import file_sha256
from tests.faults.crash_points import Scenario


def command(*arguments: str) -> None:
    """Run `ipv-bench`; another exit status than 0 ends the process."""
    from ipv_bench.cli import run

    status = run(list(arguments))
    if status:
        raise SystemExit(status)


def hashes(folder: Path, *without: str) -> dict[str, str]:
    """Relative path → sha256 of all files, hidden ones included."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in without]
    return {str(path.relative_to(folder)): file_sha256(path) for path in paths}


# Shard sets.


def _release(shared: Path) -> Path:
    from tests.pipelines.ssv2_maker import make_release

    source = shared / "raw"
    make_release(source, (30, 26, 12))
    (source / "20bn-something-something-v2" / "1001.webm").write_text("no video")  # so that there is a quarantine
    return source


def _prepare(source: Path, *options: str) -> Callable[[Path], None]:
    import av  # noqa: F401  (imported once, before the forks)
    import pyarrow.parquet  # noqa: F401

    import pipelines.prepare
    import pipelines.shards.index_tables  # noqa: F401

    fixed = ("--quiet", "--workers", "1", "--set", "shard_videos=2", "--set", "max_failure_rate=0.9")
    return lambda out: command("prepare", "ssv2", "--source", str(source), "--out", str(out), *fixed, *options)


def _nothing(folder: Path) -> None:
    return


def _set_contents(out: Path) -> dict[str, str]:
    return hashes(out, "prepare_log.jsonl")


def _no_half_set(out: Path) -> str:
    """A set that has a manifest is whole, whenever the job was killed."""
    from pipelines.shards.verify import verify

    if not (out / "manifest.json").exists():
        return ""
    found = verify(out)
    return "" if not found.findings else f"a manifest, and {found.findings[0]}"


def prepare_fresh(shared: Path) -> Scenario:
    """A job from the beginning."""
    act = _prepare(_release(shared))
    return Scenario("`prepare` of 3 videos, one of them broken", _nothing, act, _set_contents, _no_half_set)


def prepare_repair(shared: Path) -> Scenario:
    """A job that makes one damaged shard anew."""
    act = _prepare(_release(shared))
    act(shared / "set")

    def begin(out: Path) -> None:
        shutil.copytree(shared / "set", out)
        tar = out / "ssv2-000001.tar"
        tar.write_bytes(tar.read_bytes()[:-1])

    return Scenario("`prepare` that repairs a damaged shard", begin, act, _set_contents)


def prepare_retry(shared: Path) -> Scenario:
    """A job that tries a quarantined video again."""
    source = _release(shared)
    _prepare(source)(shared / "set")
    act = _prepare(source, "--retry-failed", "all")
    return Scenario(
        "`prepare --retry-failed all`", lambda out: _copy(shared / "set", out), act, _set_contents, _no_half_set
    )


def prepare_decoder(shared: Path) -> Scenario:
    """The decoder process, not the job, is killed."""
    act = _prepare(_release(shared))
    return Scenario("the decoder process of `prepare`", _nothing, act, _set_contents, in_decoder=True)


def _copy(source: Path, out: Path) -> None:
    shutil.copytree(source, out)


# Checkpoints, replay, logs: the parts alone, so that every state is reached in seconds.


def _tensors(number: int) -> dict[str, Any]:
    import torch

    return {"weight": torch.full((4,), float(number))}


def _save(run: Path, step: int, number: int, **options: int) -> None:
    from models.training.checkpoint import save_checkpoint

    save_checkpoint(run, step, _tensors(number), {}, {"number": number}, **options)


def _newest(run: Path) -> tuple[str, int, list[str]]:
    """Name and contents of the newest checkpoint, and the names of all entries."""
    from ipv_bench.checkpoint_index import latest_checkpoint
    from models.training.checkpoint import load_checkpoint, remove_unfinished

    remove_unfinished(run)
    path = latest_checkpoint(run)
    assert path is not None
    return path.name, load_checkpoint(path).state["number"], sorted(p.name for p in path.parent.iterdir())


def _still_complete(*numbers: int) -> Callable[[Path], str]:
    """Before anything is put right, and after it, there is a checkpoint that can be loaded."""

    def check(run: Path) -> str:
        from ipv_bench.checkpoint_index import latest_checkpoint
        from models.training.checkpoint import load_checkpoint, remove_unfinished

        for moment in ("right after the kill", "after remove_unfinished"):
            path = latest_checkpoint(run)
            if path is None:
                return f"no checkpoint {moment}"
            if load_checkpoint(path).state["number"] not in numbers:
                return f"other contents {moment}"
            remove_unfinished(run)
        return ""

    return check


def _checkpoint(what: str, act: Callable[[Path], None]) -> Scenario:
    return Scenario(what, lambda run: _save(run, 5, 1), act, _newest, _still_complete(1, 2))


def checkpoint_next(shared: Path) -> Scenario:
    """A newer checkpoint; the old one goes."""
    return _checkpoint("a newer checkpoint, `keep_last=1`", lambda run: _save(run, 6, 2, keep_last=1))


def checkpoint_replaced(shared: Path) -> Scenario:
    """A checkpoint takes the place of one of the same step, in one step."""
    return _checkpoint("a checkpoint of the same step", lambda run: _save(run, 5, 2, keep_last=1))


def checkpoint_replaced_in_two(shared: Path) -> Scenario:
    """The same where the file system cannot exchange names."""

    def act(run: Path) -> None:
        import models.training.whole_folder as module

        module.exchange = lambda first, second: False
        _save(run, 5, 2, keep_last=1)

    return _checkpoint("the same on a file system that cannot exchange names", act)


def replay_and_checkpoints(shared: Path) -> Scenario:
    """Episodes, evictions and checkpoints in the order of a run; the state must be that of an undisturbed one."""
    import numpy as np

    from ipv_bench.checkpoint_index import latest_checkpoint
    from models.finetuning.replay import Replay, ReplayConfig
    from models.training.checkpoint import load_checkpoint, remove_unfinished, save_checkpoint

    config = ReplayConfig(capacity=14, batch_size=4, length=3)

    def act(run: Path) -> None:
        remove_unfinished(run)
        path = latest_checkpoint(run)
        state = load_checkpoint(path).state if path is not None else None
        replay = Replay(run / "replay", config, 2, state and state["replay"])
        for number in range(state["episodes"] if state else 0, 5):
            episode = {
                "image": np.full((6, 4, 4, 3), number, np.uint8),
                "action": np.full((6, 2), number, np.float32),
                "reward": np.full(6, number, np.float32),
                "is_first": np.arange(6) == 0,
                "is_terminal": np.zeros(6, bool),
            }
            replay.add(episode, number, {"episode": number})
            if number in (0, 3, 4):
                state = {"replay": replay.state(), "episodes": number + 1}
                save_checkpoint(run, number + 1, _tensors(number), {}, state, keep_last=1)
                replay.forget_evicted()
        replay.close()

    def contents(run: Path) -> Any:
        path = latest_checkpoint(run)
        assert path is not None
        replay = Replay(run / "replay", config, 2, load_checkpoint(path).state["replay"])
        batch = replay.sample(np.random.default_rng(0))
        files = sorted(p.name for p in (run / "replay").iterdir() if p.name != "dropped")
        return replay.damaged, files, list(read_jsonl(run / "replay" / "index.jsonl")), batch["reward"].tolist()

    return Scenario("5 episodes into the replay, 2 of them dropped again, and 3 checkpoints", _nothing, act, contents)


def record_and_log(shared: Path) -> Scenario:
    """`run.json` replaced, and a log written, cut and written on."""
    record = RunRecord(kind="pretrain", method="m", seed=0, preset="p", config={})

    def act(run: Path) -> None:
        run.mkdir(exist_ok=True)
        write_record(run, record)
        log = JsonlLog(run / "metrics.jsonl")
        log.cut(0)
        for number in range(3):
            log.append({"n": number})
        size = log.size_bytes()
        log.append({"n": 3})
        log.cut(size)
        log.close()
        write_record(run, record.model_copy(update={"status": "finished"}))

    def readable(run: Path) -> str:
        if (run / "run.json").exists():
            read_record(run)
        if (run / "metrics.jsonl").exists():
            found = [line["n"] for line in read_jsonl(run / "metrics.jsonl")]
            if found != list(range(len(found))):
                return f"lines {found}"
        return ""

    return Scenario("`run.json` and a log", _nothing, act, hashes, readable)


# Whole runs.


def finetune_run(shared: Path) -> Scenario:
    """A whole fine-tuning run, on an environment that costs nothing."""
    import torch

    from ipv_bench.checkpoint_index import latest_checkpoint
    from models.envs.base import EnvConfig
    from models.finetuning import env_groups, random_policy
    from models.training.checkpoint import load_checkpoint
    from tests.models.envs.toy_env import ToyEnv, make
    from tests.models.finetuning.finetune_runs import SMALL, command_line

    torch.set_num_threads(1)

    def toy(task: str, config: EnvConfig) -> ToyEnv:
        return make("toy/x", config)

    def act(run: Path) -> None:
        env_groups.make_env = random_policy.make_env = toy  # type: ignore[assignment,attr-defined]
        changes = {
            "env.action_repeat": 1, "env.time_limit": "null", "training.env_steps": 50, "training.prefill": 20,
            "evaluation.every": 20, "evaluation.random_episodes": 1, "replay.capacity": 20, "training.train_every": 5,
            "evaluation.video_episodes": 1, "method": "dreamerv2",
        }  # fmt: skip
        extra = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        command(*command_line(run, *extra, method="dreamerv2"))

    def contents(run: Path) -> Any:
        path = latest_checkpoint(run)
        assert path is not None
        checkpoint, varies = load_checkpoint(path), ("wall_", "metadata")  # metadata: the toy gives its process number
        logs = {
            name: [{k: v for k, v in line.items() if not k.startswith(varies)} for line in read_jsonl(run / name)]
            for name in ("metrics.jsonl", "evaluations.jsonl", "replay/index.jsonl")
        }
        tensors = {name: tensor.tolist() for name, tensor in checkpoint.model.items()}
        names = [str(p.relative_to(run)) for p in sorted(run.rglob("*")) if p.is_file() and "dropped" not in p.parts]
        record = read_record(run)
        return {"logs": logs, "model": tensors, "files": names, "status": record.status, "exact": record.exact}

    assert SMALL["training.tensorboard"] is False  # its thread writes when it likes
    return Scenario("a whole `finetune` of 5 episodes", _nothing, act, contents)


def pretrain_run(shared: Path) -> Scenario:
    """A whole pre-training run."""
    import torch

    import models.pretrain  # noqa: F401
    from tests.models.pretraining.small_pretraining import arguments, learned, small_shard_set, weights

    torch.set_num_threads(1)
    data = small_shard_set(shared / "set")

    def act(run: Path) -> None:
        command(*arguments(data, run, training__updates=4, validation__every=4))

    def contents(run: Path) -> Any:
        names = [str(p.relative_to(run)) for p in sorted(run.rglob("*")) if p.is_file()]
        return {"learned": learned(run), "weights": weights(run), "files": names, "status": read_record(run).status}

    return Scenario("a whole `pretrain` of 4 updates", _nothing, act, contents)


def report_written(shared: Path) -> Scenario:
    """A report in the place of an earlier one with other figures."""
    from tests.reports.synthetic_runs import write_finetuning

    for seed in range(2):
        write_finetuning(shared / "runs", "dmc/cheetah_run", "contextwm", seed, points=3)

    def act(out: Path) -> None:
        command("report", str(shared / "runs"), "--out", str(out), "--resamples", "20", "--figures", "fig9b")

    def begin(out: Path) -> None:
        command("report", str(shared / "runs"), "--out", str(out), "--resamples", "20")

    def contents(out: Path) -> dict[str, str]:
        found = hashes(out)
        found.pop(".drawn/report.json")  # has the folder's place in it
        return found

    return Scenario("`report` over an earlier one with other figures", begin, act, contents)


def sample_written(shared: Path) -> Scenario:
    """A sample release."""

    def act(folder: Path) -> None:
        if not (folder / "raw").exists():  # complete or absent
            command("sample", str(folder / "raw"), "--dataset", "ssv2", "--videos", "2")

    return Scenario("`sample`", lambda folder: folder.mkdir(), act, hashes)


SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "checkpoint_next": checkpoint_next,
    "checkpoint_replaced": checkpoint_replaced,
    "checkpoint_replaced_in_two": checkpoint_replaced_in_two,
    "replay": replay_and_checkpoints,
    "record_and_log": record_and_log,
    "prepare": prepare_fresh,
    "prepare_repair": prepare_repair,
    "prepare_retry": prepare_retry,
    "prepare_decoder": prepare_decoder,
    "finetune": finetune_run,
    "pretrain": pretrain_run,
    "report": report_written,
    "sample": sample_written,
}
