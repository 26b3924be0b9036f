"""Shard set → shards → source files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipv_bench.addresses import public_address
from ipv_bench.bounded_file import read_bytes
from ipv_bench.bounded_json import parse_json
from ipv_bench.bounded_tables import read_table
from ipv_bench.errors import InputError, IpvBenchError, ShardSetError
from ipv_bench.file_names import is_relative_path
from ipv_bench.progress import progress
from ipv_bench.shard_set import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    SAMPLES_FILE,
    SAMPLES_SCHEMA,
    SOURCES_FILE,
    SOURCES_SCHEMA,
    Manifest,
    noted_source,
    parse_manifest,
)
from ipv_bench.tracing.checked_file import sha256_of
from ipv_bench.tracing.link import Link, Links, text_of
from ipv_bench.tracing.places import Place, find

DECODED_AGAIN = 2
"""Source videos that are decoded again and compared with what is stored, spread over the set."""
SOURCES_LOOKED_FOR = 100
"""Recorded sources of which one must lie in a folder before it is listed as their release."""


def recorded_set(links: Links, entry: Mapping[str, Any], holder: Path) -> Link:
    """The link of a shard set that a run records.

    Args:
        links: of the chain.
        entry: of the record: name, path, manifest_sha256, ...
        holder: folder of the record.
    """
    recorded, sha256 = text_of(entry, "path"), text_of(entry, "manifest_sha256")
    facts = {
        "manifest_sha256": sha256,
        "inventory_sha256": text_of(entry, "inventory_sha256"),
        "recorded_path": recorded,
    }
    name = text_of(entry, "name") or "a shard set"
    counts = f"{entry.get('num_samples', '?')} samples, {entry.get('num_frames', '?')} frames"
    if "://" in recorded:
        words = f"{counts}; its manifest has sha256 {sha256}; an address is not opened here"
        return Link("shard set", public_address(recorded), "not here", words, facts)
    place = find(recorded, holder, _has_manifest, lambda folder: sha256_of(folder / MANIFEST_FILE) == sha256)
    if place.path is None:
        return Link("shard set", recorded or name, "not here", f"{counts}; its manifest has sha256 {sha256}", facts)
    if not place.fits:
        found = sha256_of(place.path / MANIFEST_FILE)
        problem = ShardSetError(
            f"{place.path / MANIFEST_FILE} has sha256 {found}",
            expected=f"{sha256}, that of the set that the run was trained on",
            fix="put that set back (the same release, options and versions give the same bytes), or train again",
        )
        return Link("shard set", str(place.path), facts=facts).broken(problem)
    link = set_link(links, place.path)
    return link


def _has_manifest(folder: Path) -> bool:
    return (folder / MANIFEST_FILE).is_file()


def set_link(links: Links, folder: Path) -> Link:
    """The link of a shard set that is here, whichever it is: every file of it is checked."""
    return links.once("shard set", os.path.realpath(folder), lambda: _set_link(folder))


def _set_link(folder: Path) -> Link:
    link = Link("shard set", str(folder))
    try:
        text = read_bytes(folder / MANIFEST_FILE, error=ShardSetError, limit=MAX_MANIFEST_BYTES)
        manifest = parse_manifest(text, str(folder / MANIFEST_FILE))
    except IpvBenchError as problem:
        return link.broken(problem)
    sha256 = sha256_of(folder / MANIFEST_FILE)
    totals = manifest.totals
    link.facts = {"manifest_sha256": sha256, "inventory_sha256": manifest.inventory_sha256, **totals}
    link.words = (
        f"{manifest.called}, profile {manifest.profile}: {totals.get('num_samples', '?')} samples in "
        f"{len(manifest.shards)} shards; manifest sha256 {sha256}"
    )
    source = _source_place(folder, manifest)
    with progress(f"trace: checking {folder}", None, "sets"):
        checked = _verified(folder, source)
    if checked.error is not None:
        return link.broken(checked.error)
    _add_shards(link, folder, manifest, checked)
    link.made_from.append(_source_link(folder, manifest, source, checked))
    return link


def _source_place(folder: Path, manifest: Manifest) -> Place:
    """A folder where the release may lie: where the log says, or where `prepare` looks for it without `--source`.

    Only the place that the log names fits as it is; whether the release lies at another one, its videos have to show.
    """
    noted = noted_source(folder)
    at_its_place = Path(noted) if os.path.isabs(noted) else None
    for release in (noted,) if noted else (f"data/raw/{manifest.name}", f"data/raw/{manifest.dataset}"):
        place = find(release, folder, lambda path: path.is_dir() and not path.samefile(folder), lambda path: True)
        if place.path is not None:
            break
    return Place(place.path, place.path is not None and place.path == at_its_place)


def _source_names(folder: Path) -> list[str]:
    """Paths of some of the sources, relative to their release; empty where the table cannot be read."""
    try:
        table = read_table(folder / SOURCES_FILE, SOURCES_SCHEMA, error=ShardSetError)
    except IpvBenchError:
        return []
    names = (str(name) for name in table["path"][:SOURCES_LOOKED_FOR].to_pylist())
    return [name for name in names if is_relative_path(name)]


def _may_hold(place: Path, names: list[str]) -> bool:
    """Whether one of the sources lies in a folder, or an archive of them, whose pieces have its name."""
    if not names or any((place / name).exists() for name in names):
        return True
    first = tuple({name.split("/", 1)[0] for name in names if "/" in name})
    return bool(first) and any(entry.name.startswith(first) and entry.is_file() for entry in os.scandir(place))


@dataclass
class _Checked:
    """What `ipv-bench verify` says.

    Attributes:
        error: why it could not look at the set at all.
        findings: defects of the set: file, message, repair.
        of_source: defects of the sources.
        not_compared: why the set was not compared with its sources; empty when it was.
        num_decoded: source items that were decoded again.
        num_equal: those of them whose frames are the stored ones.
        items_not_compared: those that a machine could not decode within its limits, and why.
    """

    error: IpvBenchError | None = None
    findings: list[dict[str, str]] = field(default_factory=list)
    of_source: list[dict[str, str]] = field(default_factory=list)
    not_compared: str = ""
    num_decoded: int = 0
    num_equal: int = 0
    items_not_compared: list[str] = field(default_factory=list)

    def decoded_again(self) -> str:
        """What decoding some of the sources again has shown."""
        equal = f"{self.num_equal} of {self.num_decoded} decoded again are equal to what is stored"
        without = self.num_decoded - self.num_equal - len(self.items_not_compared)
        is_sound = not (self.findings or self.of_source)  # of a damaged shard's items nothing is said
        as_said = [f"{without} gave no frames, as the set says"] if without > 0 and is_sound else []
        return "; ".join([equal, *as_said, *(f"not compared: {one}" for one in self.items_not_compared)])


def _verified(folder: Path, source: Place) -> _Checked:
    """All that `ipv-bench verify` checks, by that command: this room knows formats, not releases.

    The log that names the release is no part of what the manifest vouches for: a folder in which none of the sources
    lies is not listed, so that a foreign set cannot have the whole disk listed.
    """
    if source.path is not None and not _may_hold(source.path, _source_names(folder)):
        checked = _verify(folder)
        if isinstance(checked, IpvBenchError):
            return _Checked(checked)
        checked.of_source = [{"message": "none of the set's sources lies there"}]
        return checked
    if source.path is not None:
        found = _verify(folder, "--source", str(source.path), "--decode", str(DECODED_AGAIN))
        if not isinstance(found, IpvBenchError):
            return found
        checked = _verify(folder)
        if isinstance(checked, IpvBenchError):
            return _Checked(checked)
        checked.not_compared = found.found
        return checked
    checked = _verify(folder)
    return _Checked(checked) if isinstance(checked, IpvBenchError) else checked


def _verify(folder: Path, *options: str) -> _Checked | IpvBenchError:
    command = [sys.executable, "-P", "-m", "ipv_bench", "verify", str(folder), "--json", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode not in (0, 4):
        return _as_error(done.stderr)
    values = parse_json(done.stdout, "the output of ipv-bench verify", expect=dict)
    findings = [{key: str(one.get(key, "")) for key in ("kind", "file", "message", "repair")}
                for one in values.get("findings", [])]  # fmt: skip
    own = [one for one in findings if one["kind"] != "source"]
    damaged = {one["file"] for one in own}  # what a damaged shard holds says nothing about its sources
    return _Checked(
        findings=own,
        of_source=[one for one in findings if one["kind"] == "source" and one["file"] not in damaged],
        num_decoded=int(values.get("num_sources_decoded", 0)),
        num_equal=int(values.get("num_sources_equal", 0)),
        items_not_compared=list(map(str, values.get("not_compared", []))),
    )


def _as_error(stderr: str) -> IpvBenchError:
    """The error that a command printed."""
    _, _, text = stderr.rpartition("error: ")
    found, _, rest = text.strip().partition("\n  expected: ")
    expected, _, fix = rest.partition("\n  to do:    ")
    if not rest:
        found, _, fix = found.partition("\n  to do:    ")
    return InputError(found or "ipv-bench verify ended without a word", expected=expected, fix=fix)


def _problem(finding: Mapping[str, str], folder: Path) -> IpvBenchError:
    return ShardSetError(
        f"{folder / finding['file']}: {finding['message']}", expected="the set as it was made", fix=finding["repair"]
    )


def _add_shards(link: Link, folder: Path, manifest: Manifest, checked: _Checked) -> None:
    """One link per shard, with the videos in it; defects at the file that has them."""
    videos = _videos(folder, link)
    shards = {}
    for number, entry in enumerate(manifest.shards):
        inside = videos.get(number, [])
        shown = ", ".join(inside[:2]) + (f" and {len(inside) - 2} more" if len(inside) > 2 else "")
        shard = Link("shard", entry.file, words=f"sha256 {entry.sha256}; from {shown or 'no video'}")
        shard.facts = {"sha256": entry.sha256, "num_samples": entry.num_samples, "sources": inside}
        shards[entry.file] = shard
    for finding in checked.findings:
        shards.get(finding["file"], link).broken(_problem(finding, folder))
    link.made_from += shards.values()


def _videos(folder: Path, link: Link) -> dict[int, list[str]]:
    """Shard → paths of the source items whose frames it holds, in order of storage."""
    try:
        samples = read_table(folder / SAMPLES_FILE, SAMPLES_SCHEMA, error=ShardSetError)
        sources = read_table(folder / SOURCES_FILE, SOURCES_SCHEMA, error=ShardSetError)
    except IpvBenchError as problem:
        link.broken(problem)
        return {}
    paths = dict(zip(sources["source_id"].to_pylist(), sources["path"].to_pylist(), strict=True))
    found: dict[int, dict[str, None]] = {}
    for shard, source_id in zip(samples["shard"].to_pylist(), samples["source_id"].to_pylist(), strict=True):
        found.setdefault(shard, {})[paths.get(source_id, source_id)] = None
    return {shard: list(inside) for shard, inside in found.items()}


def _source_link(folder: Path, manifest: Manifest, source: Place, checked: _Checked) -> Link:
    noted = noted_source(folder)
    total = manifest.totals.get("num_sources", 0)
    facts = {"inventory_sha256": manifest.inventory_sha256, "num_sources": total, "recorded_path": noted}
    inventory = f"inventory sha256 {manifest.inventory_sha256}"
    again = f"`ipv-bench verify {folder} --source RELEASE` compares it"
    unproved = ("not here", noted) if noted else ("not recorded", f"the {manifest.dataset} release")
    not_found = Link("source", unproved[1], unproved[0], f"{total} items; {inventory}; {again}", facts)  # type: ignore[arg-type]
    if source.path is None:
        return not_found
    link = Link("source", str(source.path), facts=facts)
    if checked.not_compared:
        if source.fits:
            link.state, link.words = "not here", f"not compared: {checked.not_compared}"
            return link
        not_found.words += f"; {source.path} was not compared: {checked.not_compared}" if noted else ""
        return not_found
    if checked.of_source:
        if not noted or not (source.fits or checked.num_equal):
            not_found.words += f"; what lies in {source.path} is another" if noted else ""
            return not_found
        link.facts |= _decoded(checked)
        link.words = f"{total} items; {checked.decoded_again()}; {inventory}"
        first, more = checked.of_source[0], len(checked.of_source) - 1
        problem = ShardSetError(
            f"{source.path}: {first['message']}" + (f" (and {more} more)" if more else ""),
            expected="the release that the set was made from",
            fix=f"restore the release; `ipv-bench verify {folder} --source {source.path}` lists every difference",
        )
        return link.broken(problem)
    link.facts |= _decoded(checked)
    link.words = f"{total} items, names and sizes as in the inventory; {checked.decoded_again()}; {inventory}"
    return link


def _decoded(checked: _Checked) -> dict[str, Any]:
    return {
        "num_decoded_again": checked.num_decoded, "num_equal": checked.num_equal,
        "not_compared": checked.items_not_compared,
    }  # fmt: skip
