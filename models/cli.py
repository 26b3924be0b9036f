"""The commands of this room: `pretrain`, `finetune`, `evaluate`, `record`, `adapt`, `import-checkpoint`, `analyze`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ipv_bench.cli import common_options
from ipv_bench.extras import missing_modules, require
from ipv_bench.progress import say
from models.analysis.analyses import ANALYSES, AnalysisRequest

Command = TypeVar("Command", bound=Callable[..., Any])


def _training_options(preset: str) -> Callable[[Command], Command]:
    """The options that `pretrain` and `finetune` share."""

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--dry-run", is_flag=True, help="Print the resolved config and where the run goes; train nothing."
            ),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the run."),
            click.option("--run", "run_folder", type=click.Path(path_type=Path, file_okay=False), help="Run folder."),
            click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config field."),
            click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file over the preset."),
            click.option("--preset", default=preset, show_default=True, help="Preset: tiny, small, paper, ..."),
        ):
            command = option(command)
        return command

    return add


def _chosen(config_file: Path | None, overrides: tuple[str, ...], key: str) -> list[Any]:
    """Values of a field in the config file and the overrides, as they stand there; none where it is not named."""
    from ipv_bench.config import flatten, merge, nested, parse_override, read_config_file

    values = read_config_file(config_file) if config_file else {}
    for name, value in map(parse_override, overrides):
        values = merge(values, nested(name, value))
    found = flatten(values).get(key)
    return list(found) if isinstance(found, list) else [found] if found else []


def _mirrors(config_file: Path | None, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """The extra for W&B where a run asks for it; W&B without the TensorBoard of that extra will do."""
    return ("tracking",) if missing_modules(("wandb",)) and _chosen(config_file, overrides, "training.wandb") else ()


def _simulator_of(run: Path) -> tuple[str, ...]:
    """The extra that a run's task needs; what is wrong with the run is for the command to say."""
    from ipv_bench.errors import IpvBenchError
    from ipv_bench.run_record import read_record

    try:
        record = read_record(run)
        return _simulator(f"{record.suite}/{record.task}")
    except IpvBenchError:
        return ()


def _simulator(task: str) -> tuple[str, ...]:
    """The extra that a task's suite needs."""
    from models.envs.registry import extra_of, suite_of

    extra = extra_of(suite_of(task))
    return (extra,) if extra else ()


@click.command()
@_training_options("tiny")
@click.option("--data", multiple=True, metavar="SHARDS", help="Shard set; repeat for several [data/shards/ssv2].")
@common_options
def pretrain(
    preset: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
    data: tuple[str, ...],
    run_folder: Path | None,
    seed: int,
    dry_run: bool,
) -> None:
    """Pre-train a world model on shard sets, without actions. Run it again to go on after an interruption."""
    places = [*data, *_chosen(config_file, overrides, "data.sets")]
    remote = ["s3"] if any("://" in str(place) for place in places) else []
    require("`ipv-bench pretrain`", "train", *remote, *_mirrors(config_file, overrides))
    if not dry_run:
        from models.features.early_check import check_pretraining

        check_pretraining(preset, config_file, overrides)

    options: dict[str, Any] = {
        "preset": preset, "config_file": config_file, "overrides": overrides, "data": data,
        "run": run_folder, "seed": seed,
    }  # fmt: skip
    if dry_run:
        from models.pretraining.plan import describe, plan_pretraining

        say(describe(plan_pretraining(**options)))
        return

    from models.pretrain import pretrain as run_pretraining

    run_pretraining(**options)


@click.command()
@_training_options("tiny")
@click.option("--task", required=True, metavar="SUITE/TASK", help="Task, such as dmc/cheetah_run.")
@click.option(
    "--init",
    metavar="RUN",
    help="Pre-training run or checkpoint to start from; `none` for random weights; with --dry-run also `later`, for a "
    "model that is still to be made.",
)
@common_options
def finetune(
    preset: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
    task: str,
    init: str | None,
    run_folder: Path | None,
    seed: int,
    dry_run: bool,
) -> None:
    """Train an agent on a task by model-based RL. Run it again to go on after an interruption."""
    require("`ipv-bench finetune`", "train", *_simulator(task), *_mirrors(config_file, overrides))

    options: dict[str, Any] = {
        "preset": preset, "config_file": config_file, "overrides": overrides, "task": task, "init": init,
        "run": run_folder, "seed": seed,
    }  # fmt: skip
    if dry_run:
        from models.finetuning.plan import show_plan

        show_plan(**options)
        return

    from models.finetune import finetune as run_finetuning

    run_finetuning(**options)


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(min=1), help="Episodes to play [the run's config says how many].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the episodes.")
@click.option("--video", type=click.Path(path_type=Path), help="Write a video of the episodes to this file.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="What the run's record does not decide: env.module."
)
@common_options
def evaluate(
    run_folder: Path, episodes: int | None, seed: int, video: Path | None, overrides: tuple[str, ...]
) -> None:  # fmt: skip
    """Play episodes with the agent of a run's newest checkpoint and print its scores as JSON."""
    require("`ipv-bench evaluate`", "train", *_simulator_of(run_folder))

    from models.evaluate import evaluate as run_evaluation

    run_evaluation(
        run=run_folder, episodes=episodes, seed=seed, video=video, overrides=overrides,
        on_scores=lambda scores: click.echo(json.dumps(scores, sort_keys=True)),
    )  # fmt: skip


@click.command()
@click.argument("task", metavar="SUITE/TASK")
@click.option(
    "--policy", default="uniform", show_default=True, metavar="NAME|RUN",
    help="uniform, smooth, expert, or the folder of a fine-tuning run.",
)  # fmt: skip
@click.option("--episodes", type=click.IntRange(min=1), default=10, show_default=True, help="How many episodes.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [data/raw/<suite>-<task>].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the recording.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config field.")
@common_options
def record(
    task: str, policy: str, episodes: int, out: Path | None, seed: int, overrides: tuple[str, ...]
) -> None:  # fmt: skip
    """Record episodes with their actions, as files for `prepare episodes`. Run it again to go on, or to add more."""
    require("`ipv-bench record`", "train", *_simulator(task))

    from models.record import record as run_recording

    folder = out or Path("data/raw") / task.replace("/", "-")
    run_recording(task, policy, episodes, folder, seed=seed, overrides=overrides)


@click.command()
@click.argument("parent", metavar="RUN")
@click.option("--data", multiple=True, metavar="SHARDS", help="Labelled shard set; repeat for several.")
@click.option("--run", "run_folder", type=click.Path(path_type=Path, file_okay=False), help="Run folder.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the run.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config field.")
@click.option("--dry-run", is_flag=True, help="Print the resolved config and where the run goes; train nothing.")
@common_options
def adapt(
    parent: str,
    data: tuple[str, ...],
    run_folder: Path | None,
    seed: int,
    overrides: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train RUN's model on videos with actions, without an environment. Run it again to go on.

    RUN is a pre-training run, an adapted one, one of their checkpoints, or `none` for random weights.
    """
    places = [*data, *_chosen(None, overrides, "data.sets")]
    remote = ["s3"] if any("://" in str(place) for place in places) else []
    require("`ipv-bench adapt`", "train", *remote, *_mirrors(None, overrides))
    if not dry_run:
        from models.features.early_check import check_adapting

        check_adapting(parent, run_folder, seed, overrides)

    options: dict[str, Any] = {"data": data, "run": run_folder, "seed": seed, "overrides": overrides}
    if dry_run:
        from models.adapting.plan import plan_adapting

        say(plan_adapting(parent, **options).describe())
        return

    from models.adapt import adapt as run_adapting

    run_adapting(parent, **options)


@click.command("import-checkpoint")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Run folder [runs/imported/<name>].")
@common_options
def import_checkpoint(file: Path, out: Path | None) -> None:
    """Turn published ContextWM or APV weights (`variables*.pt`, or the encoder/rssm/decoder files) into our run."""
    require("`ipv-bench import-checkpoint`", "train")

    from models.published.import_published import import_published

    import_published(file, out)


@click.group()
def analyze() -> None:
    """What a world model sees, predicts and separates: arrays, numbers with intervals, pictures."""


def _analysis_command(kind: str) -> click.Command:
    """The command of one analysis; all of them take the same options."""
    analysis = ANALYSES[kind]

    @click.command(kind, help=analysis.help)
    @click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
    @click.option("--data", multiple=True, metavar="SHARDS", help="Shard set; repeat for several [data/shards/ssv2].")
    @click.option("--out", type=click.Path(path_type=Path), help=f"Folder of the analysis [analysis/{kind}].")
    @click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with config fields.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config field.")
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of clips and draws.")
    @common_options
    def command(
        runs: tuple[Path, ...],
        data: tuple[str, ...],
        out: Path | None,
        config_file: Path | None,
        overrides: tuple[str, ...],
        seed: int,
    ) -> None:
        places = [*data, *_chosen(config_file, overrides, "sets")]
        remote = ["s3"] if any("://" in str(place) for place in places) else []
        require(f"`ipv-bench analyze {kind}`", "train", *remote, *analysis.extras)
        from models.features.early_check import check_run

        for run in runs:
            check_run(run)
        analysis.load()(AnalysisRequest(kind, runs, data, out, config_file, overrides, seed))

    return command


for _kind in ANALYSES:
    analyze.add_command(_analysis_command(_kind))
