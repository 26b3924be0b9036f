"""Where a model of `transformers` is on this machine: a local folder, or the Hugging Face cache. Nothing is downloaded.

`from_pretrained` with a bare name tries the network again and again, and answers after half a minute where there is
none; a run must not depend on that, nor on what a name means next month. Looking takes no import of `transformers`.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ipv_bench.bounded_file import MEGABYTE, read_bytes, reading_errors
from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import InputError
from ipv_bench.extras import require

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
SUFFIX = ".safetensors"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model.pt", "model.pt", "model.ckpt")
EXTRA = "latent-actions"
_WHOLE = "copy or download the whole folder again"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""What a repository of the Hugging Face hub may be called; anything else can only be a path."""


@dataclass(frozen=True)
class FoundModel:
    """A model on this machine.

    Attributes:
        folder: with `config.json`.
        weights: its weight files, safetensors; empty where none are needed.
    """

    folder: Path
    weights: tuple[Path, ...]

    def digest(self) -> bytes:
        """sha256 over the weight files."""
        found = hashlib.sha256()
        for path in self.weights:
            with reading_errors(path), path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.digest()


def find_model(name: str, *, weights: bool = True) -> FoundModel:
    """The model called `name`: a local folder, or a repository in the Hugging Face cache.

    Args:
        name: as in `features.name`.
        weights: its weights are needed, not only its config.

    Raises:
        MissingDependencyError: `transformers` is not installed.
        InputError: it is not here, is incomplete, or holds pickled weights alone.
    """
    require(f"features.name={name}", EXTRA)
    with reading_errors(name):
        return _found(name, weights)


def _found(name: str, weights: bool) -> FoundModel:
    folder = Path(name).expanduser()
    if not folder.is_dir() and REPOSITORY.fullmatch(name):
        folder = _cached(name)
    if not folder.is_dir():
        raise InputError(
            f"features.name={name} is no folder", expected=f"a folder with {CONFIG} and {WEIGHTS}",
            fix=f"copy them there, or correct the path (it was looked for from {Path.cwd()})",
        )  # fmt: skip
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} has no {CONFIG}", expected=f"a folder with {CONFIG} and {WEIGHTS}, as transformers saves it",
            fix="copy the whole folder, or correct features.name",
        )  # fmt: skip
    if (folder / ADAPTER).is_file():  # transformers would go to the model that it names, wherever that lies
        raise InputError(
            f"{folder} holds {ADAPTER}: changes of another model, not a model", expected="a whole model",
            fix="merge the two and save the result (`merge_and_unload` of peft)",
        )  # fmt: skip
    return FoundModel(folder, _weight_files(folder) if weights else ())


def cache_folder() -> Path:
    """The Hugging Face cache, by the environment variables that its own tools go by."""
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if hub:
        return Path(hub).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def _cached(name: str) -> Path:
    repository = cache_folder() / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / "main"
    snapshots = repository / "snapshots"
    if reference.is_file():
        revision = reference.read_text(errors="replace").strip()
        if revision.isalnum() and (snapshots / revision).is_dir():
            return snapshots / revision
    raise InputError(
        f"features.name={name} is neither a folder nor a model in the Hugging Face cache ({cache_folder()})",
        expected=f"a folder with {CONFIG} and {WEIGHTS}, or the name of a model that was downloaded before",
        fix=f"on a machine with network: `hf download {name} {CONFIG} {WEIGHTS} --local-dir FOLDER`, bring the folder "
        "here, and set features.name=FOLDER; without published weights: features.kind=own trains a small masked "
        "autoencoder on the run's own videos",
    )  # fmt: skip


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if (folder / INDEX).is_file():
        return _listed(folder)
    pickled = next((folder / name for name in PICKLED if (folder / name).is_file()), None)
    if pickled is not None:
        raise InputError(
            f"{pickled} holds pickled weights, which can run code and are never read",
            expected=f"{WEIGHTS} beside it",
            fix="download the model's safetensors, or let whoever trusts the file write them "
            "(`model.save_pretrained(folder, safe_serialization=True)`)",
        )
    raise InputError(
        f"{folder} has no {WEIGHTS}", expected="weights in the safetensors format, as `save_pretrained` writes them",
        fix="copy the whole folder, or set features.weights=random for a network that nobody has trained",
    )  # fmt: skip


def _listed(folder: Path) -> tuple[Path, ...]:
    where = f"{folder / INDEX}"
    text = read_bytes(folder / INDEX, error=InputError, limit=16 * MEGABYTE, fix=_WHOLE)
    contents = parse_json(text, where, error=InputError, fix=_WHOLE)
    listed = contents.get("weight_map") if isinstance(contents, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise InputError(f"{where} names no files", expected="a weight_map, from weights to files", fix=_WHOLE)
    names = sorted({str(name) for name in listed.values()})
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(
                f"{where} names {name!r}, which is not in the folder", expected="all of its files beside it", fix=_WHOLE
            )
        if not name.endswith(SUFFIX):  # transformers would unpickle it, safetensors asked for or not
            raise InputError(
                f"{where} names {name!r}, which may hold pickled weights: these can run code and are never read",
                expected=f"files that end in {SUFFIX}, as `save_pretrained` writes them",
                fix="download the model's safetensors, and the index that belongs to them",
            )
    return tuple(folder / name for name in names)
