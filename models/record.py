"""`ipv-bench record`: episodes of a task with their actions, as files that `ipv-bench prepare episodes` reads.

    <out>/record.json   what is recorded: task, policy, seed, config, the environment's fingerprint
    <out>/<number>-<steps>.npz and .json   see `models.recording.episode`

Each episode is a function of (seed, its number): they are played by any number of workers in any order, and what a
killed recording left is kept. Asking for more episodes later adds to those that are there.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.atomic_file import write_json
from ipv_bench.bounded_json import read_json
from ipv_bench.checkpoint_index import checkpoint_sha256, find_checkpoint, run_of
from ipv_bench.config import differences, flatten
from ipv_bench.errors import (
    ConfigError,
    InputError,
    InterruptedRunError,
    RunError,
    UsageError,
    nearest_name,
)
from ipv_bench.folder_kind import RECORDING_FILE
from ipv_bench.progress import progress, say, say_aside
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import RUN_FILE, RunRecord, package_versions, read_record
from models.envs.registry import suite_of
from models.envs.workers import DEFAULT_MAKER, WorkerEnvs
from models.finetune import open_agent
from models.finetuning.fingerprint import fingerprint_changes, told_changes
from models.finetuning.played_env import withheld_is_told
from models.methods.base import Agent
from models.recording.config import RESOURCE_KEYS, RecordConfig, resolve_recording
from models.recording.episode import find_episodes, play_episode, write_episode
from models.recording.expert_env import MAKER as EXPERT_MAKER
from models.recording.folder import FORMAT, refuse_other_files
from models.recording.policies import policy_maker
from models.training.interruption import StopRequest

POLICIES = ("uniform", "smooth", "expert")
PACKAGES = ("ipv-bench", "numpy", "mujoco", "dm-control", "metaworld")
LATER_PACKAGES = "later_packages"


@dataclass(frozen=True)
class _Player:
    """Who plays.

    Attributes:
        kind: "uniform", "smooth", "expert" or "run".
        agent: of the run.
        env: fields of the run's `env`, which hold unless they are overridden.
        facts: for `record.json`.
        trained: record of the run.
    """

    kind: str
    agent: Agent | None
    env: Mapping[str, Any]
    facts: Mapping[str, Any]
    trained: RunRecord | None = None


def record(
    task: str,
    policy: str,
    episodes: int,
    out: str | Path,
    *,
    seed: int = 0,
    overrides: Mapping[str, Any] | Iterable[str] = (),
) -> Path:
    """Record episodes 0 … `episodes` - 1 of a task, or those of them that are not there yet.

    Args:
        task: `<suite>/<task>`.
        policy: "uniform", "smooth", "expert", or a fine-tuning run or one of its checkpoints.
        episodes: how many.
        out: folder of the files.
        seed: of the recording.
        overrides: `key=value` texts, or dotted key → value; see `RecordConfig`.

    Returns:
        `out`.

    Raises:
        UnknownNameError: no such task.
        UsageError: no such policy, or the suite has no expert.
        ConfigError: unknown key or wrong value, or the run's actions or images are not the task's.
        RunError: `out` holds another recording, or a damaged record, or another process records there.
        OutputError: `out` holds other files (hidden ones aside), or the disk is full.
        InterruptedRunError: SIGINT or SIGTERM arrived; finished episodes are kept.
    """
    out = Path(out)
    player = _player(policy, task)
    config = resolve_recording(task, player.kind, overrides, player.env)
    with run_lock(out):
        refuse_other_files(out)
        done, damaged = find_episodes(out)
        wanted = [number for number in range(episodes) if number not in done]
        if done:
            say(f"going on: {len(done)} episodes are there")
        trained = player.trained
        ours = trained is not None and trained.suite == suite_of(task).name
        with withheld_is_told(trained, config.env) if trained is not None and ours else nullcontext():
            stage = _Stage(task, player, config, seed, min(config.workers, max(len(wanted), 1)))
        try:
            _tell_changes(stage)
            _write_record(out, stage, bound=bool(done or damaged))
            _make_room(wanted, damaged)
            if wanted:
                _record_all(out, stage, wanted, f"record {task}")
        finally:
            stage.close()
    say(f"{task}, {policy}: {len({*done, *range(episodes)})} episodes → {out}")
    return out


class _Stage:
    """Environments with their processes, lent to one episode at a time."""

    def __init__(self, task: str, player: _Player, config: RecordConfig, seed: int, workers: int) -> None:
        self.task, self.player, self.config, self.seed, self.workers = task, player, config, seed, workers
        maker = EXPERT_MAKER if player.kind == "expert" else DEFAULT_MAKER
        self._all = [
            WorkerEnvs(task, config.env, 1, 1, config.step_timeout_seconds, maker=maker, first=place)
            for place in range(workers)
        ]
        self._free: queue.SimpleQueue[WorkerEnvs] = queue.SimpleQueue()
        for envs in self._all:
            self._free.put(envs)
        self.action_dim, self.fingerprint = self._all[0].action_dim, self._all[0].fingerprint()
        _check_agent(player.agent, self.action_dim, task)
        _check_pictures(player.trained, config)
        self._policy = policy_maker(
            player.kind, self.action_dim, seed, config.smoothness, player.agent, config.explore
        )  # fmt: skip

    def play(self, number: int, out: Path) -> None:
        """Play and write one episode; one whose environment is lost is played again, by a fresh process."""
        envs = self._free.get()
        try:
            episode = None
            while episode is None:  # an environment that is lost several times in a row raises
                episode = play_episode(envs, self._policy(number), number, self.seed)
            write_episode(out, number, episode)
        finally:
            self._free.put(envs)

    def close(self) -> None:
        """End the processes."""
        for envs in self._all:
            envs.close()


def _record_all(out: Path, stage: _Stage, wanted: list[int], title: str) -> None:
    with (
        StopRequest() as stop,
        ThreadPoolExecutor(stage.workers, thread_name_prefix="record") as pool,
        progress(title, len(wanted), "episodes") as bar,
    ):
        numbers = iter(wanted)
        running: set[Future[None]] = set()
        try:
            while True:
                while len(running) < stage.workers and not stop.requested:
                    number = next(numbers, None)
                    if number is None:
                        break
                    running.add(pool.submit(stage.play, number, out))
                if not running:
                    break
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    bar.advance(1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if stop.requested and next(numbers, None) is not None:
            raise InterruptedRunError(
                f"{stop.requested}; finished episodes are in {out}", fix="run the same command again to go on"
            )


def _player(policy: str, task: str) -> _Player:
    suite_of(task)
    if policy in POLICIES:
        return _Player(policy, None, {}, {"kind": policy})
    if not Path(policy).exists():
        near = nearest_name(policy, POLICIES)
        raise UsageError(
            f"the policy {policy!r} is neither a name nor a folder",
            expected=f"{', '.join(POLICIES)}, or the folder of a fine-tuning run",
            fix=f"did you mean {near!r}?" if near else f"correct the path (it was looked for from {Path.cwd()})",
        )
    run = run_of(policy)
    found = read_record(run)
    if found.kind != "finetune":
        raise InputError(
            f"{policy} is a run of kind {found.kind!r}, which has no policy",
            expected="a run made by `ipv-bench finetune`",
            fix="name one, or record with " + ", ".join(POLICIES[:-1]) + f" or {POLICIES[-1]}",
        )
    agent, config, _ = open_agent(policy, found)
    env = config.env.model_dump() if found.suite == suite_of(task).name else {
        name: getattr(config.env, name) for name in ("image_size", "action_repeat")
    }  # fmt: skip
    sha256 = checkpoint_sha256(find_checkpoint(policy))
    facts = {"kind": "run", "run": str(run / RUN_FILE), "checkpoint_sha256": sha256, "method": found.method}
    return _Player("run", agent, env, facts, found)


def _tell_changes(stage: _Stage) -> None:
    """Say where a run plays another task than its own, or its own in another environment than it was trained in."""
    trained = stage.player.trained
    if trained is None:
        return
    own = f"{trained.suite}/{trained.task}"
    if own != stage.task:
        now, of_run = stage.config.env.model_dump(), stage.player.env
        kept = [f"env.{name}" for name, value in of_run.items() if now.get(name) == value]
        told = f"; here {', '.join(kept)} are its own" if kept else ""
        others = f"{stage.task}'s" + (" or as set" if len(kept) < len(of_run) else "")
        say_aside(f"warning: the policy was trained on {own}{told}, all else is {others}")
        return
    changes = fingerprint_changes(trained, stage.fingerprint)
    if changes:
        say_aside(f"warning: the policy was trained in another environment ({told_changes(changes)})")


def _check_agent(agent: Agent | None, action_dim: int, task: str) -> None:
    if agent is not None and agent.action_dim != action_dim:
        raise ConfigError(
            f"the run's actions have {agent.action_dim} components, those of {task} {action_dim}",
            expected="a run of this task, or of one with the same actions",
            fix=f"name a run that was fine-tuned on {task}",
        )


def _check_pictures(trained: RunRecord | None, config: RecordConfig) -> None:
    """Whether a run sees pictures of the size that it was trained on: `env` comes from it, and may be overridden."""
    known = flatten(trained.config).get("image.size") if trained is not None else None
    size = getattr(config.env, "image_size", known)
    if known is not None and size != known:
        raise ConfigError(
            f"the run sees pictures of {known}x{known}, and env.image_size is {size}",
            expected=f"env.image_size={known}",
            fix="leave env.image_size out: it is the run's",
        )


def _make_room(wanted: list[int], damaged: Mapping[Path, int]) -> None:
    """Delete what is left of damaged episodes that are played again: equal bytes take their place."""
    again = [path for path, number in damaged.items() if number in wanted]
    beyond = sorted(number for number in damaged.values() if number not in wanted)
    if beyond:
        say_aside(
            f"warning: {len(beyond)} further episodes are damaged and stay so (number {', '.join(map(str, beyond[:5]))}"
            f"{', …' if len(beyond) > 5 else ''}): record with --episodes {max(beyond) + 1} to have them played again"
        )
    for path in again:
        path.unlink()
    if again:
        names = ", ".join(path.name for path in again[:5]) + (", …" if len(again) > 5 else "")
        say(f"{len(again)} damaged episodes are played again (cut off, or without their .json): {names}")


def _write_record(out: Path, stage: _Stage, *, bound: bool) -> None:
    """Write what is recorded; where episodes are there (`bound`), hold it against their record.

    Raises:
        RunError: it is another recording.
    """
    config = stage.config
    facts: dict[str, Any] = {
        "format": FORMAT,
        "task": stage.task,
        "policy": dict(stage.player.facts),
        "seed": stage.seed,
        "config": config.model_dump(mode="json"),
        "action_dim": stage.action_dim,
        "env_fingerprint": stage.fingerprint,
        "exact": not config.env.inexact,
        "inexact_because": [config.env.inexact] if config.env.inexact else [],
        "packages": package_versions(PACKAGES),
    }
    path = out / RECORDING_FILE
    if bound and path.exists():
        before = read_json(path, error=RunError, expect=dict, fix="restore it, or choose another --out")
        free = [*RESOURCE_KEYS, *(f"env.{name}" for name in config.env.resource_fields)]
        ignored = ("policy.run", "packages", LATER_PACKAGES, *(f"config.{key}" for key in free))
        changed = [line for line in differences(before, facts) if not line.split(": ", 1)[0].startswith(ignored)]
        if changed:
            raise RunError(
                f"{out} holds another recording: " + "; ".join(changed[:10]),
                expected="the same task, policy, seed and config, so that it can go on",
                fix="undo the change, or choose another --out",
            )
        facts = facts | _packages_of_all(before, facts["packages"])
    write_json(path, facts)


def _packages_of_all(before: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, Any]:
    """The versions that the first episodes were recorded with stay; others since then are listed after them."""
    known = [before.get("packages", now), *(before.get(LATER_PACKAGES) or ())]
    first, *later = [versions for versions in known if isinstance(versions, Mapping)] or [now]
    last = later[-1] if later else first
    if now != last:
        changes = "; ".join(differences(last, now))
        say_aside(f"warning: the episodes that are there were recorded with other packages: {changes}")
        later = [*later, dict(now)]
    return {"packages": first, **({LATER_PACKAGES: later} if later else {})}
