"""`export`: finds out what SOURCE is, and writes it in the layout that is asked for; complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors, fsync_folder
from ipv_bench.config import build, check_key, merge, nested, parse_overrides
from ipv_bench.errors import InputError, OutputError, UsageError
from ipv_bench.exports.config import HfExportConfig, LeRobotExportConfig
from ipv_bench.exports.episodes import EpisodeSource
from ipv_bench.progress import say
from ipv_bench.run_record import RUN_FILE
from ipv_bench.shard_set import LOG_FILE, MANIFEST_FILE

Target = Literal["hf", "lerobot"]


def export(source: str, target: Target, out: Path | None = None, overrides: Sequence[str] = ()) -> Path:
    """Write a shard set or a run for other people's tools.

    Args:
        source: folder of a shard set or of a run; for `lerobot` also the address of a shard set.
        target: "hf" or "lerobot".
        out: new folder; None: `export/<target>/<name of the source>`.
        overrides: config fields, as `key=value`.

    Returns:
        The folder.

    Raises:
        UsageError, ConfigError: an option or a field is wrong; the card would have no licence.
        ShardSetError, RunError, CheckpointError: the source is unfinished, damaged or may not be shared.
        OutputError: `out` exists, or cannot be written.
    """
    place = source if "://" in source else os.path.abspath(source)  # "." has a name, too
    out = out or Path("export") / target / (place.rstrip("/").rpartition("/")[2] or "set")
    if os.path.lexists(out):
        raise OutputError(f"{out} exists", expected="a new folder", fix="choose another with --out, or delete this one")
    kind = _kind(source)
    if target == "lerobot":
        config = _config(LeRobotExportConfig, overrides)
        _write_lerobot(_episodes(source, kind), out, config)
    else:
        _write_hf(source, kind, out, _config(HfExportConfig, overrides))
    return out


def _config(config_class: type[Any], overrides: Sequence[str]) -> Any:
    values: dict[str, Any] = {}
    for key, value in parse_overrides(overrides).items():
        check_key(config_class, key)
        values = merge(values, nested(key, value))
    return build(config_class, values)


def _kind(source: str) -> Literal["set", "run"]:
    if "://" in source:
        return "set"
    folder = Path(source)
    is_set, is_run = os.path.lexists(folder / MANIFEST_FILE), os.path.lexists(folder / RUN_FILE)
    if is_set and is_run:
        raise UsageError(
            f"{folder} holds a {MANIFEST_FILE} and a {RUN_FILE}",
            expected="a shard set or a run",
            fix="move the one that does not belong there away",
        )
    if is_set or is_run:
        return "set" if is_set else "run"
    unfinished = (folder / LOG_FILE).exists()
    raise InputError(
        f"{folder} " + ("is an unfinished shard set" if unfinished else "is neither a shard set nor a run")
        + ("" if folder.exists() else ": it does not exist"),
        expected=f"a folder with {MANIFEST_FILE} or {RUN_FILE}",
        fix="run its `ipv-bench prepare` command again: it goes on" if unfinished else "name such a folder",
    )  # fmt: skip


def _episodes(source: str, kind: Literal["set", "run"]) -> EpisodeSource:
    if kind == "set":
        from ipv_bench.exports.set_episodes import SetEpisodes

        found: EpisodeSource = SetEpisodes(source)
        return found
    from ipv_bench.exports.replay_episodes import ReplayEpisodes

    return ReplayEpisodes(Path(source))


def _write_lerobot(source: EpisodeSource, out: Path, config: LeRobotExportConfig) -> None:
    from ipv_bench.exports.lerobot import frame_rate, write_lerobot

    frame_rate(source, config)  # before anything is written
    written = _complete_or_absent(out, lambda folder: write_lerobot(source, folder, config))
    for warning in written.warnings:
        say(f"warning: {warning}")
    say(f"{written.num_episodes:,} episodes, {written.num_frames:,} frames, {written.num_tasks:,} tasks → {out}")


def _write_hf(source: str, kind: Literal["set", "run"], out: Path, config: HfExportConfig) -> None:
    from ipv_bench.exports.hf_run import check_run, write_hf_run
    from ipv_bench.exports.hf_set import check_set, write_hf_set

    if "://" in source:
        raise UsageError(f"export --to hf of {source}", expected="a folder", fix="copy the set here first")
    place = Path(source)
    check, write = (check_set, write_hf_set) if kind == "set" else (check_run, write_hf_run)
    check(place, config)
    size = _complete_or_absent(out, lambda folder: write(place, folder, config))
    what = " --repo-type dataset" if kind == "set" else ""
    private = " --private" if config.private else ""
    say(f"{size / 1e6:,.1f} MB → {out}")
    say(f"to upload it: hf upload <user>/<name> {out}{what}{private}")


def _complete_or_absent(out: Path, write: Callable[[Path], Any]) -> Any:
    """Let `write` fill a hidden folder beside `out`, which gets its name at the end."""
    temporary = out.absolute().with_name(f".{out.name}.{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
    with disk_errors(out):
        try:
            temporary.mkdir(parents=True)
            result = write(temporary)
            temporary.rename(out.absolute())
            fsync_folder(out.absolute().parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return result
