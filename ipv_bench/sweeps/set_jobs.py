"""The jobs that make a sweep's shard sets: `prepare`, after `sample` where they are of sample releases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ipv_bench.errors import IpvBenchError, UsageError
from ipv_bench.frozen_protocol import SampleData
from ipv_bench.progress import say_aside
from ipv_bench.sample_record import read_sample_record
from ipv_bench.set_name import own_name
from ipv_bench.shard_set import read_manifest
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.planned_job import Job


def set_jobs(config: SweepConfig, jobs: Iterable[Job]) -> list[Job]:
    """Jobs that make the shard sets which are not there.

    Raises:
        UsageError: there are such, and the sweep does not say `prepare: true`; or another sample release lies where
            one of the sweep's belongs.
    """
    wanted = dict.fromkeys(place for job in jobs if job.kind == "pretrain" for place in job.needs)
    if not config.protocol:
        _tell_other_names(wanted)
    for name in dict.fromkeys(Path(place).name for place in wanted if "://" not in place):
        if name in config.samples:
            _check_sample(name, config.samples[name])
    missing = [place for place in wanted if not (Path(place) / "manifest.json").is_file() and "://" not in place]
    needed = [place for place in missing if Path(place).name not in config.samples]
    if needed and not config.prepare:
        names = [Path(place).name for place in needed]
        raise UsageError(
            f"not prepared: {', '.join(needed)}",
            expected="shard sets with their manifest.json",
            fix=f"make them with `ipv-bench prepare {names[0]}`" + (" and so on" if names[1:] else "")
            + ", or say `prepare: true` in the sweep",
        )  # fmt: skip
    return [job for place in missing for job in _jobs_of_set(config, place)]


def _check_sample(name: str, sample: SampleData) -> None:
    """Refuse another release where the sample of a set is to be made, whether or not the set is there already.

    Raises:
        UsageError: it is of another data set, number of videos or seed, or no sample.
    """
    raw = Path(raw_folder(name))
    if not raw.is_dir() or not any(raw.iterdir()):
        return
    found, wanted = read_sample_record(raw), sample.model_dump(mode="json")
    if not found:
        say_aside(f"warning: {raw} does not say that it is the sample that the sweep asks for: {_told(wanted)}")
    elif found != wanted:
        raise UsageError(
            f"{raw} is another sample than the sweep's: {_told(found)}",
            expected=_told(wanted),
            fix=f"give the sweep's set another name than {name}, or delete {raw} and the set that was made of it",
        )


def _told(sample: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sample.items())


def raw_folder(name: str) -> str:
    """Where the sample release of a set is written."""
    return f"data/raw/{name}"


def _tell_other_names(places: Iterable[str]) -> None:
    """Warn of sets that are called otherwise than their folders: several of one name are one line in figures."""
    for place in places:
        with suppress(IpvBenchError):  # absent or damaged: `pretrain` says so
            name = read_manifest(place).name
            if name != Path(place).name:
                say_aside(
                    f"warning: the set in {place} is called {name}, and so its runs in figures, beside those of any "
                    f"other set called so; `ipv-bench prepare … --set name={Path(place).name}` gives it its own"
                )


def _jobs_of_set(config: SweepConfig, place: str) -> list[Job]:
    """What makes a shard set: `prepare`, on the release of its name or on a sample release that is written first.

    Sets of samples are called as the sweep calls them, so that two of one kind are two in runs and figures; those of a
    protocol as its runs have always called them.
    """
    sample = config.samples.get(Path(place).name)
    name = Path(place).name
    if sample is None:
        return [Job(place, ("prepare", name, "--out", place))]
    raw = raw_folder(name)
    options = ("--dataset", sample.dataset, "--videos", str(sample.videos), "--seed", str(sample.seed))
    named = ("--set", f"name={json.dumps(name)}") if not config.protocol and own_name(name, sample.dataset) else ()
    return [
        Job(raw, ("sample", raw, *options)),
        Job(place, ("prepare", sample.dataset, "--source", raw, "--out", place, *named), (raw,)),
    ]
