"""Cards: the README.md of a data set or model on the hub, with the fields that the hub reads at its top.

What files of other people say (labels, notes, licences) enters a card as text of one line without markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from ipv_bench import __version__
from ipv_bench.exports.episodes import EpisodeSource
from ipv_bench.shard_set import Manifest

LICENCE_UNKNOWN = "other"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MARKUP = re.compile(r"[`<>\[\]|*_\\#]|[\x00-\x1f\x7f]")


def plain(text: object, limit: int = 400) -> str:
    """Foreign text for a card: one line, without markup, not long."""
    return _MARKUP.sub(
        lambda found: " " if found[0] < " " or found[0] == "\x7f" else f"\\{found[0]}", str(text)[:limit]
    )


def front_matter(fields: Mapping[str, Any]) -> str:
    """The YAML block at the top of a card; empty fields are left out."""
    text = yaml.safe_dump({key: value for key, value in fields.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; cells are made plain."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(plain(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def size_category(count: int) -> str:
    """The hub's word for a number of samples."""
    return next((name for limit, name in _SIZES if count < limit), "n>1M")


def lerobot_card(source: EpisodeSource, info: Mapping[str, Any], tracks: Sequence[str]) -> str:
    """Card of a LeRobot data set."""
    top = front_matter(
        {
            "license": LICENCE_UNKNOWN,
            "task_categories": ["robotics"],
            "tags": ["LeRobot", "ipv-bench"],
            "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
        }
    )
    camera = next(key for key, feature in info["features"].items() if feature["dtype"] == "video")
    shifted = [name for name in ("action", "reward", "success") if name in tracks]
    parts = [
        f"{top}\n# LeRobot data set\n",
        f"{info['total_episodes']:,} episodes, {info['total_frames']:,} frames at {info['fps']:g} frames per second, "
        f"{info['total_tasks']:,} tasks; camera `{camera}`. Written by ipv-bench {__version__} (`export --to lerobot`) "
        "in layout v3.0.\n",
        f"**Licence.** {plain(source.licence) or 'Not stated by the source.'} Put it into the field `license` above "
        "before you share this folder.\n",
    ]
    if shifted:
        parts.append(
            f"**When actions were taken.** The source holds the {', '.join(shifted)} that led into a frame; here they "
            "stand at the frame before, as in every LeRobot data set. At the last frame of an episode nothing was done "
            "any more: it has zeros there, and `next.done`.\n"
        )
    for words in source.left_out:
        parts.append(f"**Left out.** {plain(words)}\n")
    return "\n".join(parts)


def set_card(
    manifest: Manifest, licence: str, private: bool, manifest_sha256: str, quarantine: Mapping[str, int]
) -> str:
    """Card of a shard set."""
    totals = manifest.totals
    top = front_matter(
        {
            "license": licence or LICENCE_UNKNOWN,
            "pretty_name": f"{manifest.name} as ipv-bench shards",
            "size_categories": [size_category(totals.get("num_samples", 0))],
            "tags": ["video", "webdataset", "ipv-bench", *(["robotics"] if manifest.tracks else [])],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}],
        }
    )
    member = "mjpeg" if manifest.encoding == "mjpeg" else "npy"
    parts = [
        f"{top}\n# {manifest.name}: {totals.get('num_samples', 0):,} samples, {totals.get('num_frames', 0):,} frames\n",
        f"A shard set of ipv-bench (format {manifest.format}): tars that plain "
        f"webdataset reads, each sample a `.json` and a `.{member}`"
        + (" and a `.tracks.npz`" if manifest.tracks else "")
        + ", with an index for random segments.\n",
        "## Licence\n",
        (plain(manifest.licence, 1000) or "The set states none.")
        + (f" Shared under: {plain(licence)}." if licence else "")
        + (" **This copy is for a private target.**" if private else "")
        + "\n",
        "## Counts\n",
        table(("rule", "here", "paper", "official lists", "note"), map(_count_cells, manifest.counts)) + "\n",
    ]
    left_out = {name: totals.get(f"num_{name}", 0) for name in ("quarantined", "too_short", "excluded")}
    parts.append(
        f"Of {totals.get('num_sources', 0):,} source items "
        + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in left_out.items())
        + " (each with its reason in `sources.parquet`"
        + "".join(f"; {plain(reason)}: {count:,}" for reason, count in quarantine.items())
        + ").\n"
    )
    if manifest.tracks:
        parts.append("## Tracks\n")
        rows = [(name, f"{one.dtype} {one.shape}", one.unit, one.note) for name, one in sorted(manifest.tracks.items())]
        parts.append(table(("track", "entry of a frame", "unit", "note"), rows) + "\n")
    parts += [
        "## How it was made\n",
        f"`ipv-bench prepare {manifest.dataset} --profile {plain(manifest.profile)}`, with these options:\n",
        table(("option", "value"), sorted(manifest.options.items())) + "\n",
        table(("package", "version"), sorted(manifest.versions.items())) + "\n",
        "## Hashes\n",
        table(
            ("what", "sha256"),
            [("manifest.json", manifest_sha256), ("inventory of the source", manifest.inventory_sha256),
             ("plan", manifest.plan_sha256)],
        ) + "\n",
        "`ipv-bench verify .` compares every file with the manifest, which lists the sha256 of each.\n",
        "## Reading\n",
        _reading(manifest, member),
    ]  # fmt: skip
    return "\n".join(parts)


def _count_cells(count: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple("" if count.get(key) is None else count[key] for key in ("rule", "ours", "paper", "official", "note"))


def _reading(manifest: Manifest, member: str) -> str:
    decode = (
        '    video = av.open(io.BytesIO(row["mjpeg"]), format="mjpeg")\n'
        '    frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]'
        if member == "mjpeg"
        else '    frames = row["npy"]                     # (T, H, W, 3)'
    )
    tracks = ', tracks=("action",)' if "action" in manifest.tracks else ""
    return (
        "```python\n"
        "import io, av, datasets\n"
        'rows = datasets.load_dataset("webdataset", data_files={"train": "*.tar"}, split="train", streaming=True)\n'
        "for row in rows:\n"
        f"{decode}\n"
        "```\n\n"
        "```python\n"
        "from ipv_bench.segments import open_segments    # random segments, one byte range each\n"
        f'segments = open_segments(".", length=25, seed=0{tracks})\n'
        "```\n"
    )


def run_card(facts: Mapping[str, Any], licence: str, private: bool) -> str:
    """Card of a run; `facts` are those of `ipv_bench.exports.hf_run.run_facts`."""
    top = front_matter(
        {
            "license": licence or LICENCE_UNKNOWN,
            "library_name": "ipv-bench",
            "pipeline_tag": "reinforcement-learning" if facts["task"] else "",
            "tags": ["world-model", "video", "ipv-bench", facts["method"], *([facts["task"]] if facts["task"] else [])],
            "datasets": [],
        }
    )
    name = plain(facts["name"])
    title = f"{name} on {plain(facts['task'])}" if facts["task"] else f"{name}, {facts['made']}"
    parts = [
        f"{top}\n# {title}\n",
        table(("", ""), facts["rows"]) + "\n",
        "## Licence\n",
        (f"Weights: {plain(licence)}." if licence else "Not stated.")
        + "".join(f" {plain(words)}" for words in facts["licences"])
        + (" **This copy is for a private target.**" if private else "")
        + "\n",
        "## Scores\n",
        facts["scores"] + "\n",
        "## Where it comes from\n",
        table(("what", "which", "sha256"), facts["parents"]) + "\n",
        "## Files\n",
        table(("file", "bytes", "sha256"), facts["files"]) + "\n",
        "Weights are safetensors, everything else is JSON: loading them runs no code.\n",
        "## Use\n",
        f"```sh\n{facts['use']}\n```\n",
    ]
    return "\n".join(parts)
