"""Run or analysis → the checkpoint it started from → the run that made it → shard sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.analysis_record import read_analysis
from ipv_bench.checkpoint_index import FOLDER, INDEX_FILE, RESTORE, latest_checkpoint, read_index
from ipv_bench.errors import CheckpointError, InputError, IpvBenchError, RunError
from ipv_bench.file_names import path_inside
from ipv_bench.run_record import RUN_FILE, RunRecord, read_record
from ipv_bench.tracing.checked_file import difference, sha256_of
from ipv_bench.tracing.link import Link, Links, text_of
from ipv_bench.tracing.places import find
from ipv_bench.tracing.set_links import recorded_set


def run_link(links: Links, folder: Path) -> Link:
    """The link of a run that is here."""
    return links.once("run", os.path.realpath(folder), lambda: _run_link(links, folder))


def _run_link(links: Links, folder: Path) -> Link:
    link = Link("run", str(folder))
    try:
        record = read_record(folder)
    except IpvBenchError as problem:
        return link.broken(problem)
    sha256 = sha256_of(folder / RUN_FILE)
    link.facts = {
        "run.json": sha256, "method": record.method, "variant": record.variant, "seed": record.seed,
        "status": record.status, "exact": record.exact, "git_commit": record.git_commit,
    }  # fmt: skip
    what = f"{record.suite}/{record.task}, " if record.kind == "finetune" else ""
    exact = "" if record.exact else "; NOT exact: " + "; ".join(record.inexact_because)
    name = f"{what}{_named(record.method, record.variant)}, seed {record.seed}"
    link.words = f"{name}, {record.status}; {RUN_FILE} sha256 {sha256}{exact}"
    link.made_from += _own_checkpoint(links, link, folder, record)
    link.made_from += _origins(links, folder, record)
    return link


def _named(method: str, variant: str) -> str:
    return method + (f"@{variant}" if variant else "")


def _own_checkpoint(links: Links, run: Link, folder: Path, record: RunRecord) -> Iterator[Link]:
    """What the run left: its newest checkpoint, held against the record. Where it is the one that led here, it is the
    record that may be of another run."""
    try:
        path = latest_checkpoint(folder)
    except CheckpointError as problem:
        yield Link("checkpoint", str(folder / FOLDER)).broken(problem)
        return
    if path is None:
        yield Link("checkpoint", str(folder / FOLDER), "not here", "no weights are kept of this run")
        return
    recorded = text_of(record.checkpoint, "sha256")
    if links.is_open("checkpoint", os.path.realpath(path)):
        is_newest = record.checkpoint.get("step") == int(path.name)  # else that one is not kept here
        if recorded and is_newest and recorded != _index_sha256(path):
            run.broken(
                RunError(
                    f"{folder / RUN_FILE} names {recorded} as the run's newest checkpoint",
                    expected=f"{_index_sha256(path)}, that of {path}, which led here",
                    fix="restore the record (run.json) from a backup: it is another run's, or was changed",
                )
            )
        return
    link = _checkpoint_link(path, "of this run, the newest: ")
    if link.state == "ok" and not recorded:
        link.state = "not recorded"
        link.words += "; its files fit their index, and the run's record names no hash of it"
    elif link.state == "ok" and recorded != link.facts["sha256"]:
        link.broken(
            CheckpointError(
                f"{path} has sha256 {link.facts['sha256']}",
                expected=f"{recorded}, that of the newest checkpoint when {folder} was finished",
                fix="restore that checkpoint from a backup, or make the run again",
            )
        )
    yield link


def _origins(links: Links, folder: Path, record: RunRecord) -> Iterator[Link]:
    """What the run was made from: the checkpoint that it started from, and the videos that it saw itself."""
    parent = record.parent
    if "files" in parent:
        yield _published(parent["files"], folder)
    elif parent:
        above = _parent(links, parent, folder)
        yield above
        if record.kind != "adapt":
            _compare_sets(above, record, folder)
            if not above.made_from:  # that run is not here: what this one says of its videos is
                above.made_from += [recorded_set(links, entry, folder) for entry in record.shard_sets]
            return
    yield from (recorded_set(links, entry, folder) for entry in record.shard_sets)


def _published(files: object, folder: Path) -> Link:
    """Weights of other people, of which the record has the hashes."""
    link = Link("published files", "published weights", "not here")
    hashes = {str(name): str(sha256) for name, sha256 in files.items()} if isinstance(files, dict) else {}
    link.facts = {"sha256": hashes}
    link.words = "; ".join(f"{name} sha256 {sha256}" for name, sha256 in hashes.items()) or "the record names none"
    found = [find(name, folder, Path.is_file, lambda path, want=sha256: sha256_of(path) == want)  # type: ignore[misc]
             for name, sha256 in hashes.items()]  # fmt: skip
    if found and all(place.fits for place in found):
        link.state = "ok"
    for sha256, place in zip(hashes.values(), found, strict=True):
        if place.path is not None and not place.fits:
            problem = difference(place.path, sha256, "restore the file, or import the weights again")
            if problem:
                link.broken(problem)
    return link


def _parent(links: Links, parent: Mapping[str, Any], holder: Path) -> Link:
    """The checkpoint that a run started from, and the run that made it."""
    return recorded_checkpoint(
        links, text_of(parent, "checkpoint"), text_of(parent, "run"), text_of(parent, "checkpoint_sha256"), holder
    )


def recorded_checkpoint(links: Links, recorded: str, run: str, sha256: str, holder: Path) -> Link:
    """The link of a checkpoint that a record names.

    Args:
        links: of the chain.
        recorded: path of its folder, as recorded; empty where only the run is.
        run: path of its run, as recorded.
        sha256: of its index, which holds the hashes of its files; empty where the record has none.
        holder: folder of the record.
    """
    facts = {"sha256": sha256, "recorded_path": recorded or run}
    if not sha256:
        link = Link("checkpoint", recorded or run or "a checkpoint", "not recorded", "no hash of it is recorded", facts)
        return _with_run(links, link, run, holder)
    place = find(recorded, holder, _has_index, lambda path: _index_sha256(path) == sha256)
    path = place.path if place.fits else _in_run(run, sha256, holder) or place.path
    if path is None:
        words = f"sha256 {sha256}; the weights are not kept here"
        return _with_run(links, Link("checkpoint", recorded or run, "not here", words, facts), run, holder)
    if _index_sha256(path) != sha256:
        problem = CheckpointError(
            f"{path / INDEX_FILE} has sha256 {_index_sha256(path)}",
            expected=f"{sha256}, that of the checkpoint that {holder} started from",
            fix=f"restore that checkpoint; or {holder} has to be made again from the one that is here",
        )
        return Link("checkpoint", str(path), facts=facts).broken(problem)
    return links.once("checkpoint", os.path.realpath(path), lambda: _with_own_run(links, path))


def _has_index(path: Path) -> bool:
    return (path / INDEX_FILE).is_file()


def _index_sha256(path: Path) -> str:
    return sha256_of(path / INDEX_FILE)


def _in_run(run: str, sha256: str, holder: Path) -> Path | None:
    """The checkpoint of that hash anywhere in a recorded run: its folder may have been renamed."""
    place = find(run, holder, lambda path: (path / FOLDER).is_dir(), lambda path: bool(_of_hash(path, sha256)))
    return _of_hash(place.path, sha256) if place.path is not None else None


def _of_hash(run: Path, sha256: str) -> Path | None:
    try:
        inside = sorted((run / FOLDER).iterdir())
    except OSError:
        return None
    return next((path for path in inside if _index_sha256(path) == sha256), None)


def _with_run(links: Links, link: Link, run: str, holder: Path) -> Link:
    """A checkpoint that is not here, with the record of its run where that is: nothing proves that they belong
    together, which the words say."""
    place = find(run, holder, lambda path: (path / RUN_FILE).is_file(), lambda path: True)
    if place.path is not None and place.path.resolve() != holder.resolve():
        link.words += "; its run by its recorded place, without proof"
        link.made_from.append(run_link(links, place.path))
    return link


def _with_own_run(links: Links, path: Path) -> Link:
    link = _checkpoint_link(path, "")
    folder = path.parent.parent
    if path.parent.name == FOLDER and (folder / RUN_FILE).is_file():
        link.made_from.append(run_link(links, folder))
    else:
        link.words += f"; no {RUN_FILE} says which run made it"
    return link


def checkpoint_link(links: Links, path: Path) -> Link:
    """The link of a checkpoint that is here, whichever it is."""
    return links.once("checkpoint", os.path.realpath(path), lambda: _with_own_run(links, path))


def _checkpoint_link(path: Path, before: str) -> Link:
    """A checkpoint whose files are held against its index."""
    link = Link("checkpoint", str(path))
    try:
        files = {name: entry.sha256 for name, entry in read_index(path, fix=RESTORE).files.items()}
        for name in files:
            path_inside(path, name, str(path / INDEX_FILE), CheckpointError)
    except IpvBenchError as problem:
        return link.broken(problem)
    sha256 = _index_sha256(path)
    link.facts = {"sha256": sha256, "files": files}
    link.words = f"{before}sha256 {sha256}; {len(files)} files"
    for name, recorded in files.items():
        changed = difference(path / name, recorded, f"restore {path} from a backup, or make its run again")
        if changed is not None:
            link.broken(changed)
    return link


def _compare_sets(above: Link, record: RunRecord, folder: Path) -> None:
    """A run and the one that it starts from must name the same videos."""
    for run in (below for below in above.made_from if below.kind == "run" and below.state != "broken"):
        try:
            before = read_record(run.name)
        except IpvBenchError:
            continue
        own, others = (_manifests(one.shard_sets) for one in (record, before))
        if own != others:
            problem = RunError(
                f"{run.name} names the shard sets {_short(others)}",
                expected=f"{_short(own)}, as {folder} has them of it",
                fix="restore the record that was changed from a backup",
            )
            run.broken(problem)


def _manifests(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    return [text_of(entry, "manifest_sha256") for entry in entries]


def _short(hashes: Sequence[str]) -> str:
    return ", ".join(one[:12] for one in hashes) or "none"


def analysis_link(links: Links, folder: Path) -> Link:
    """The link of an analysis that is here: its models, and the videos that it looked at."""
    return links.once("analysis", os.path.realpath(folder), lambda: _analysis_link(links, folder))


def _analysis_link(links: Links, folder: Path) -> Link:
    link = Link("analysis", str(folder))
    try:
        record = read_analysis(folder)
    except InputError as problem:
        return link.broken(problem)
    link.words = f"{record.kind} of {len(record.models)} models, seed {record.seed}"
    link.facts = {"kind": record.kind, "seed": record.seed, "git_commit": record.git_commit}
    for model in record.models:
        checkpoint = f"{model.run}/{FOLDER}/{model.step}"
        link.made_from.append(recorded_checkpoint(links, checkpoint, model.run, model.checkpoint_sha256, folder))
    link.made_from += [recorded_set(links, entry, folder) for entry in record.shard_sets]
    return link
