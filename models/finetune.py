"""`ipv-bench finetune`: an agent by model-based RL, exact and resumable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.checkpoint_index import latest_checkpoint, newest_as_recorded, run_of
from ipv_bench.errors import CheckpointError, ConfigError, InterruptedRunError, RunError, UsageError
from ipv_bench.folder_kind import refuse_other_kind
from ipv_bench.plugins import plugin_names
from ipv_bench.progress import progress, say, say_aside
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import (
    METRICS_FILE,
    RUN_FILE,
    RunRecord,
    check_same_config,
    git_commit,
    read_jsonl,
    read_record,
    write_record,
)
from models.finetuning.config import (
    FinetuneConfig,
    FinetuneTrainingConfig,
    resolve_finetuning,
    resumable_keys,
    saved_config,
)
from models.finetuning.counters import Counters
from models.finetuning.drift import drift_warnings
from models.finetuning.env_groups import open_envs
from models.finetuning.episode_limits import refuse_longer_windows
from models.finetuning.fingerprint import fingerprint_changes, told_changes
from models.finetuning.loop import FinetuneLoop
from models.finetuning.plan import LATER, FinetunePlan, plan_finetuning
from models.finetuning.random_policy import open_silent_env, random_policy_scores
from models.finetuning.short_episodes import short_episodes_told
from models.finetuning.unlearned_ends import unlearned_ends
from models.methods.base import Agent, find_method
from models.training.begun_run import has_begun, take_back
from models.training.checkpoint import (
    count_of,
    load_checkpoint,
    refuse_unknown_checkpoints,
    remove_unfinished,
    state_errors,
)
from models.training.hardware import (
    check_compile,
    check_cuda_graph,
    check_precision,
    choose_device,
    hardware_record,
    prepare_torch,
    settled,
    warn_of_imitated_bf16,
)
from models.training.tracking import check_mirrors, wandb_id
from models.world_models.unread_settings import refuse_unread
from models.world_models.weight_facts import check_own_weights

MAX_ACTION_DIM = 4096
"""Of a checkpoint that is opened; the largest of the suites is 56."""


def finetune(
    preset: str,
    task: str,
    *,
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    init: str | Path | None = None,
    run: str | Path | None = None,
    seed: int = 0,
    root: str | Path = "runs",
) -> Path:
    """Train an agent, or go on with a run that was interrupted; arguments as in `plan_finetuning`.

    Returns:
        The run folder.

    Raises:
        IpvBenchError: see `plan_finetuning`; and RunError when the folder holds a run of another config,
            OutputError when the disk is full, TrainingError when training cannot go on, InterruptedRunError on
            SIGINT and SIGTERM.
    """
    if str(init) == LATER:
        raise UsageError(
            "--init later stands for a model that is still to be made",
            expected="a pre-training run or checkpoint folder, or none",
            fix="make the model first; later is for --dry-run",
        )
    plan = plan_finetuning(
        preset, task, config_file=config_file, overrides=overrides, init=init, run=run, seed=seed, root=root
    )
    plan = _settled(plan)
    if _is_finished(plan):
        say(f"{plan.folder} is finished; nothing to do")
        return plan.folder
    check_mirrors(plan.config.training.wandb)
    with run_lock(plan.folder):
        if not _is_finished(plan):  # looked at again: another process may have held the folder meanwhile
            _finetune(plan)
    return plan.folder


def _settled(plan: FinetunePlan) -> FinetunePlan:
    """The plan with what `auto` means on the device here; `run.json` holds that."""
    device = choose_device(plan.config.training.device)
    record = plan.record.model_copy(update={"config": settled(plan.config, device).model_dump(mode="json")})
    config = settled(plan.config, device, graph_too=False)
    return replace(plan, resolved=replace(plan.resolved, config=config), record=record)


def _finetune(plan: FinetunePlan) -> None:
    """Train, and keep `run.json`'s status true whatever happens."""
    record, agent = _start_record(plan)
    try:
        said = [*_train(plan, record, agent), *(f"warning: {text}" for text in _finish(plan))]
    except (InterruptedRunError, KeyboardInterrupt):
        _set_status(plan.folder, "interrupted")
        raise
    except Exception as error:
        if not (isinstance(error, UsageError) and take_back(plan.folder)):
            _set_status(plan.folder, "failed", str(error) or type(error).__name__)
        raise
    say("; ".join([f"{plan.folder}", *said]))


def _finish(plan: FinetunePlan) -> list[str]:
    """Write what a complete run's log shows, and that it is finished; the warnings of it."""
    warnings = drift_warnings(plan.folder)
    newest = newest_as_recorded(plan.folder)
    update: dict[str, Any] = {"status": "finished", "warnings": warnings, "checkpoint": newest}
    ends = unlearned_ends(read_jsonl(plan.folder / METRICS_FILE), plan.config)
    if ends:
        update["ends_not_learned"] = ends
        warnings = [*warnings, ends["warning"]]
    write_record(plan.folder, read_record(plan.folder).model_copy(update=update))
    return warnings


def build_agent(
    preset: str,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    obs_space: Any = None,
    act_space: Any = 1,
    *,
    seed: int = 0,
) -> Agent:
    """An agent with random weights, apart from any run: for measurements and for other people's loops.

    Args:
        preset: fine-tuning preset; "paper/<suite>" for a preset by suite.
        overrides: dotted key → value over it.
        obs_space: what the agent will see: a Gymnasium space (Box, or Dict with `image`), an image shape (H, W, 3), or
            None for the preset's size.
        act_space: a Gymnasium Box with one axis, its shape, or the number of action components.
        seed: decides the weights and every later draw.

    Returns:
        An agent with `.update(batch)` and `.act(obs)`.

    Raises:
        ConfigError: the images are of another size or dtype than the config's, or the actions are not in [-1, 1]^A; or
            an override that the others leave without effect.
    """
    name, _, part = preset.partition("/")
    suite = part.partition("-")[0]
    suite = suite if suite in plugin_names("suites") else ""
    resolved = resolve_finetuning(name, suite, parts=(part,) if part else (), overrides=overrides)
    config = resolved.config
    refuse_unread(resolved.overrides, config.unread())
    _check_image_shape(obs_space, config.image.size)
    return _make_agent(config, _action_dim(act_space), seed)


def open_agent(folder: str | Path, record: RunRecord | None = None) -> tuple[Agent, FinetuneConfig, Counters]:
    """The agent of a run's newest checkpoint or of the checkpoint folder given, its config, and where the run stood.

    Raises:
        RunError: not a run folder.
        CheckpointError: no checkpoint yet, or a damaged one.
    """
    record = record or read_record(run_of(folder))
    config = saved_config(record)
    # Where a run was trained says nothing about the machine that plays it.
    config = config.model_copy(update={"training": _training_here(config.training)})
    path = latest_checkpoint(folder) if run_of(folder) == Path(folder) else Path(folder)
    if path is None:
        raise CheckpointError(
            f"{folder} has no checkpoint yet",
            expected="a run that has saved one",
            fix="let `ipv-bench finetune` go on until it has",
        )
    checkpoint = load_checkpoint(path)
    check_own_weights(checkpoint.state, record.config, path)
    with state_errors(path):
        agent = _make_agent(config, _saved_action_dim(checkpoint.state["agent"]), record.seed)
        agent.load(checkpoint)
        return agent, config, Counters.of(checkpoint.state["counters"])


def _training_here(training: FinetuneTrainingConfig) -> FinetuneTrainingConfig:
    """The training section on the machine that plays an agent: its device, and an arithmetic that it has."""
    changes: dict[str, Any] = {"device": "auto", "compile": False, "cuda_graph": False}  # for updates alone
    try:
        check_precision(choose_device("auto"), training.precision)
    except ConfigError:
        changes["precision"] = "fp32"
        say_aside(f"the run was trained in {training.precision}, which the device here does not have: played in fp32")
    return training.model_copy(update=changes)


def _make_agent(config: FinetuneConfig, action_dim: int, seed: int) -> Agent:
    device = choose_device(config.training.device)
    config = settled(config, device, graph_too=False)
    check_precision(device, config.training.precision)
    warn_of_imitated_bf16(device, config.training.precision)
    prepare_torch(device, config.training.threads, config.training.deterministic)
    return find_method(config.method).agent(config, action_dim, seed, device)


def _is_finished(plan: FinetunePlan) -> bool:
    """Whether the run is complete; one that exists must be the same run.

    Also where it is complete, and only how its evaluations were batched differs (`evaluation.parallel`): sums over
    another batch size round otherwise, so an episode can take another course, and "nothing to do" would say that the
    scores which are there are those of this command.
    """
    if not has_begun(plan.folder):
        return False
    check_same_config(plan.folder, plan.record, ignore=resumable_keys(plan.config, plan.record.suite))
    return read_record(plan.folder).status == "finished"


def _start_record(plan: FinetunePlan) -> tuple[RunRecord, Agent | None]:
    """Write `run.json` of a new run, or mark that of an interrupted one as running.

    Whatever can be refused of a new run is refused first: its agent is made for the actions that the environment has,
    and takes the pre-trained weights over, before an episode is played or anything is written.

    Returns:
        The record, and the agent of a new run.
    """
    agent: Agent | None = None
    project = plan.config.training.wandb
    if plan.config.training.compile:
        check_compile()
    if has_begun(plan.folder):
        record = read_record(plan.folder)
        update = {"status": "running", "failure": "", **wandb_id(project, record)}
        record = record.model_copy(update=update)
        remove_unfinished(plan.folder)
    else:
        refuse_unknown_checkpoints(plan.folder)
        refuse_other_kind(plan.folder, RUN_FILE, "--run", RunError)
        device = choose_device(plan.config.training.device)
        check_precision(device, plan.config.training.precision)
        if plan.config.training.cuda_graph is True:
            check_cuda_graph(device, plan.config.training.precision)
        prepare_torch(device, plan.config.training.threads, plan.config.training.deterministic)
        env = open_silent_env(plan.task, plan.config.env, plan.config.envs)
        with closing(env):
            refuse_longer_windows(plan.config, plan.task, env.time_limit)
            agent = _start_agent(plan, env.action_dim)
            scores = random_policy_scores(env, plan.config.evaluation.random_episodes, plan.record.seed)
            found: dict[str, Any] = {
                "env_fingerprint": env.fingerprint(),
                "random_policy": scores,
                "git_commit": git_commit(),
                "hardware": hardware_record(device),
                **wandb_id(project, plan.record),
            }
        if plan.config.env.inexact:
            found |= {"exact": False, "inexact_because": [plan.config.env.inexact]}
        record = plan.record.model_copy(update=found)
    plan.folder.mkdir(parents=True, exist_ok=True)
    write_record(plan.folder, record)
    return record, agent


def _start_agent(plan: FinetunePlan, action_dim: int) -> Agent:
    """The agent of a new run, with the weights that it starts from.

    Raises:
        ConfigError: the config makes no agent for such actions.
        CheckpointError: the pre-trained weights are damaged, or of another model.
    """
    agent = _make_agent(plan.config, action_dim, plan.record.seed)
    if plan.init is not None:
        agent.load_pretrained(load_checkpoint(plan.init))
    return agent


def _train(plan: FinetunePlan, record: RunRecord, agent: Agent | None) -> list[str]:
    """Train to the end; what is to be said then of episodes that were left out."""
    config = plan.config
    envs = open_envs(plan.task, config.env, config.envs, config.envs.count)
    # Numbered after those of the training: a suite whose environments are servers has others for each.
    scored = min(config.evaluation.parallel, config.evaluation.episodes)
    evaluation_envs = open_envs(plan.task, config.env, config.envs, scored, config.envs.count)
    with closing(envs), closing(evaluation_envs):
        _check_fingerprint(plan.folder, record, envs.fingerprint())
        if config.env.own_process:  # servers of somebody else's, perhaps: better known now than at the first score
            _check_fingerprint(plan.folder, record, evaluation_envs.fingerprint())
        checkpoint = latest_checkpoint(plan.folder)
        if agent is None and checkpoint is None:
            agent = _start_agent(plan, envs.action_dim)
        elif agent is None:
            agent = _make_agent(config, envs.action_dim, record.seed)
        loop = FinetuneLoop(plan.folder, record, config, agent, envs, evaluation_envs, checkpoint)
        title = f"{plan.task} {record.method} seed {record.seed}"
        done = loop.counters.env_steps
        with closing(loop), progress(title, config.training.env_steps, "env steps", done) as bar:
            loop.run(bar)
        return short_episodes_told(loop.short_episodes())


def _check_fingerprint(folder: Path, record: RunRecord, found: Mapping[str, Any]) -> None:
    """A run does not go on in another environment: its scores would mix two."""
    changes = fingerprint_changes(record, found)
    if changes:
        raise RunError(
            f"{folder} was started in another environment: {told_changes(changes)}",
            expected="the same versions and settings",
            fix="install those versions again, or start a new run with --run",
        )


def _set_status(folder: Path, status: str, failure: str = "") -> None:
    record = read_record(folder)
    write_record(folder, record.model_copy(update={"status": status, "failure": failure}))


def _check_image_shape(obs_space: Any, size: int) -> None:
    if obs_space is None:
        return
    spaces: Any = getattr(obs_space, "spaces", obs_space)
    image: Any = spaces.get("image") if isinstance(spaces, Mapping) else obs_space
    shape = getattr(image, "shape", image)
    if not isinstance(shape, tuple | list) or tuple(shape) != (size, size, 3):
        raise ConfigError(
            f"the observations are {obs_space if image is None else f'images of shape {shape}'}",
            expected=f"({size}, {size}, 3), as image.size says",
            fix="set image.size and env.image_size",
        )
    dtype = getattr(image, "dtype", np.uint8)
    if dtype != np.uint8:
        raise ConfigError(
            f"the observations are images of {dtype}", expected="uint8, 0 to 255", fix="give them as the camera does"
        )


def _saved_action_dim(state: Mapping[str, Any]) -> int:
    found = count_of(state["action_dim"])
    if not 1 <= found <= MAX_ACTION_DIM:
        raise ValueError(f"actions of size {found}")
    return found


def _action_dim(act_space: Any) -> int:
    """Size of one continuous action.

    Raises:
        ConfigError: the space is another one. Agents act in [-1, 1]^A alone.
    """
    shape, dtype = getattr(act_space, "shape", act_space), getattr(act_space, "dtype", np.float32)
    if isinstance(act_space, int) and not isinstance(act_space, bool):
        shape = (act_space,)
    one_axis = isinstance(shape, tuple | list) and len(shape) == 1 and int(shape[0]) > 0
    if not one_axis or not np.issubdtype(dtype, np.floating):
        raise ConfigError(
            f"the action space is {act_space}",
            expected="continuous actions of one axis: a Box of floats (A,), its shape, or A",
            fix="map discrete actions to numbers in [-1, 1] in the environment",
        )
    low, high = getattr(act_space, "low", -1.0), getattr(act_space, "high", 1.0)
    if not (np.allclose(low, -1) and np.allclose(high, 1)):
        raise ConfigError(
            f"the actions of {act_space} lie in [{np.min(low):.4g}, {np.max(high):.4g}]",
            expected="[-1, 1], where agents act",
            fix="scale them in the environment: gymnasium.wrappers.RescaleAction(env, -1, 1)",
        )
    return int(shape[0])
