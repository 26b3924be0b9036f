"""`import-checkpoint`: weights of the published ContextWM, APV (vanilla) and PreLAR world models as a run of ours."""

from __future__ import annotations

import math
import pickle
import re
import shlex
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ipv_bench.atomic_file import write_json
from ipv_bench.bounded_file import reading_errors
from ipv_bench.checkpoint_index import FOLDER, newest_as_recorded
from ipv_bench.config import flatten
from ipv_bench.errors import CheckpointError, OutputError
from ipv_bench.exports.run_usage import finetune_command
from ipv_bench.progress import say
from ipv_bench.run_record import RUN_FILE, RunRecord, package_versions, write_record
from ipv_bench.shard_set import file_sha256
from models.methods.base import find_method
from models.pretraining.config import resolve_pretraining
from models.published.prelar_names import as_contextwm, has_latent_actions, latent_model_name
from models.published.published_names import our_name
from models.training.checkpoint import save_checkpoint
from models.training.module_tensors import check_shapes, load_tensors
from models.world_models.config import WorldModelConfig
from models.world_models.weight_facts import FACTS, weight_facts

REPORT_FILE = "import_report.json"
NOT_IN_SHAPES = ("image.offset", "image.gain", "rssm.stoch", "rssm.discrete", "context.heads")
"""What no tensor shows: taken as the release has it, and compared with the run that starts from these weights."""
_PART_FILE = re.compile(r"(va_encoder|encoder|rssm|decoder)_(variables.*)\.pt")
_PREFIX = {"encoder": "wm.encoder.", "rssm": "wm.rssm.", "decoder": "wm.heads.decoder."}
_LATENT_PREFIX = {"va_encoder": "wm.va_encoder."}
"""Of a fourth file, which only PreLAR's pre-training writes."""
_WORLD_MODEL = "world_model."
_PRETRAINED = ("world_model.vision.", "world_model.action_free_rssm.")
_LATENT = ("world_model.vision.", "world_model.rssm.", "world_model.action_encoder.")
_INPUTS = {6: "concat", 3: "diff", 9: "catdiff"}
"""What PreLAR's action encoder sees, by the channels of its first layer. (Optical flow has 3 as well.)"""
_UNUSED = ("_expl_behavior.", "_task_behavior.rewnorm.")
"""Second copies of the actor-critic, and a norm that is never used."""
_SHOWN = 20
_NEEDED = {
    "vision.encoder.conv_in.weight": 4,
    "vision.decoder.dense.weight": 2,
    "vision.decoder.conv_out.weight": 4,
    "RSSM.img_in.weight": 2,
    "RSSM.gru.norm.weight": 1,
    "RSSM.img_logit.weight": 2,
    "RSSM.obs_out.weight": 2,
}
"""Tensors that tell the sizes, and their numbers of dimensions; RSSM stands for the pre-trained one's name."""
_NEEDED_LATENT = {"action_encoder.encoder.conv_in.weight": 4, "action_encoder.out.weight": 2}
"""Those of PreLAR's action encoder."""


@dataclass(frozen=True)
class Published:
    """What was read from published files.

    Attributes:
        files: path → sha256 of each file read.
        tensors: our name → tensor of the world model.
        names: published key → our name; None for parts of a fine-tuned agent, which are left out.
    """

    files: dict[str, str]
    tensors: dict[str, Tensor]
    names: dict[str, str | None]


def import_published(file: Path, out: Path | None = None) -> Path:
    """Turn published weights into a finished pre-training run of ours.

    Args:
        file: `variables*.pt`, or one of `encoder_variables*.pt`, `rssm_variables*.pt`, `decoder_variables*.pt` (its
            siblings are read as well, and PreLAR's `va_encoder_variables*.pt`), or a folder with the latter.
        out: run folder; None for `runs/imported/<name of the file>`.

    Returns:
        The run folder: `run.json`, `checkpoints/0/`, and `import_report.json` with every key.

    Raises:
        CheckpointError: a file is absent, holds pickled code, unknown keys, or tensors of the wrong shape.
        OutputError: the run folder is in use.
    """
    published = read_published(file)
    config = infer_config(published.tensors)
    try:
        with torch.device("meta"):  # shapes only: sizes that tensors claim may not fit into any memory
            sketch = find_method(config.method).video_model(config)
        check_shapes(sketch, published.tensors | _own_buffers(sketch, published.tensors), file)
        model = find_method(config.method).video_model(config)
        tensors = published.tensors | _own_buffers(model, published.tensors)
        load_tensors(model, tensors, file)
    except CheckpointError as error:
        raise _not_published(file, error.found) from None
    out = out or Path("runs/imported") / file.stem
    if (out / RUN_FILE).exists():
        raise OutputError(
            f"{out} already holds a run",
            expected="a new folder",
            fix="choose another folder with --out, or delete this one",
        )
    names = {
        Path(path).name: sha256 for path, sha256 in published.files.items()
    }  # no places: checkpoints are passed on
    state = {"updates": 0, "imported": names, FACTS: weight_facts(config.model_dump(mode="json"))}
    save_checkpoint(out, 0, model.state_dict(), {}, state)
    write_json(out / REPORT_FILE, _report(published, config))
    record = _record(config, published).model_copy(update={"checkpoint": newest_as_recorded(out)})
    write_record(out, record)
    _say_report(out, config, published, model)
    say(f"start from it: {finetune_command(record, out / FOLDER / '0', shlex.quote(str(out)))}")
    return out


def read_published(file: Path) -> Published:
    """Read published files and give every tensor our name.

    Raises:
        CheckpointError: see `import_published`.
    """
    with reading_errors(file, error=CheckpointError):
        paths = _paths(file)
        files = {str(path): file_sha256(path) for path in paths.values()}
        contents = {prefix + key: tensor for prefix, path in paths.items() for key, tensor in _read(path).items()}
    latent = has_latent_actions(contents)
    if not latent and any(key.startswith("wm.action_encoder.") for key in contents):
        raise _not_published(file, "it is a fine-tuned PreLAR agent, which does not hold the network of latent actions")
    stacked = any(key.startswith("wm.af_rssm.") for key in contents)
    tensors: dict[str, Tensor] = {}
    names: dict[str, str | None] = {}
    unknown = []
    for key, tensor in contents.items():
        name = latent_model_name(key) if latent else our_name(as_contextwm(key), stacked=stacked)
        if name is None and not key.startswith(_UNUSED):
            unknown.append(f"{key} {tuple(tensor.shape)}")
        elif name is not None and name.startswith(_LATENT if latent else _PRETRAINED):
            names[key] = name.removeprefix(_WORLD_MODEL)
            tensors[names[key] or ""] = tensor
        else:
            names[key] = None
    if unknown:
        raise _not_published(file, f"{len(unknown)} unknown keys: " + "; ".join(unknown[:_SHOWN]))
    return Published(files, tensors, names)


def infer_config(tensors: dict[str, Tensor]) -> WorldModelConfig:
    """Sizes of the model from the shapes of its tensors (our names); what shapes do not tell is as published.

    Raises:
        CheckpointError: a tensor that tells a size is absent, or sizes do not fit together.
    """
    latent = any(name.startswith("action_encoder.") for name in tensors)
    rssm = "rssm" if latent else "action_free_rssm"
    needed = {name.replace("RSSM", rssm): ndim for name, ndim in _NEEDED.items()} | (_NEEDED_LATENT if latent else {})
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise _not_published("the checkpoint", "it has no " + ", ".join(missing))
    odd = [name for name, ndim in needed.items() if tensors[name].ndim != ndim or not tensors[name].numel()]
    if odd:
        raise _not_published(
            "the checkpoint", "; ".join(f"{name} has shape {tuple(tensors[name].shape)}" for name in odd)
        )
    shape = {name: tuple(tensors[name].shape) for name in needed}
    depth, latents = shape["vision.encoder.conv_in.weight"][0], shape[f"{rssm}.img_logit.weight"][0]
    deter, hidden = shape[f"{rssm}.gru.norm.weight"][0] // 3, shape[f"{rssm}.img_in.weight"][0]
    stoch = math.isqrt(latents)
    side = math.isqrt((shape[f"{rssm}.obs_out.weight"][1] - deter) // (4 * depth))
    if stoch**2 != latents or 4 * depth * side**2 != shape[f"{rssm}.obs_out.weight"][1] - deter:
        raise _not_published(
            "the checkpoint", f"{latents} latent classes in all are no square, or the embedding is no square map"
        )
    context = any(name.startswith("vision.context_encoder.") for name in tensors)
    sizes: dict[str, Any] = {
        "method": "prelar" if latent else "contextwm" if context else "apv",
        "image.size": 16 * side,
        "encoder.cnn_depth": depth,
        "decoder.cnn_depth": 2 * shape["vision.decoder.conv_out.weight"][0],
        "rssm.deter": deter, "rssm.hidden": hidden, "rssm.stoch": stoch, "rssm.discrete": stoch,
        "rssm.action_dim": shape[f"{rssm}.img_in.weight"][1] - latents,
    }  # fmt: skip
    if latent:
        channels = shape["action_encoder.encoder.conv_in.weight"][1]
        if channels not in _INPUTS:
            raise _not_published("the checkpoint", f"its action encoder sees {channels} channels, not 6, 3 or 9")
        gaussian = shape["action_encoder.out.weight"][0] == 2 * sizes["rssm.action_dim"]
        sizes["latent_action.inputs"] = _INPUTS[channels]
        sizes["latent_action.posterior"] = "stochastic" if gaussian else "deterministic"
    config: Any = resolve_pretraining("paper", overrides=sizes).config
    return cast(WorldModelConfig, config)


def _paths(file: Path) -> dict[str, Path]:
    """What comes before a file's keys in a whole agent's → file."""
    if file.is_dir():
        found = sorted(path for path in file.glob("encoder_variables*.pt"))
        if len(found) != 1:
            raise CheckpointError(
                f"{file} holds {len(found)} files encoder_variables*.pt", expected="one", fix="name one of them instead"
            )
        file = found[0]
    if not file.is_file():
        raise CheckpointError(
            f"{file} does not exist",
            expected="a published checkpoint (variables*.pt)",
            fix=f"correct the path (it was looked for from {Path.cwd()})",
        )
    match = _PART_FILE.fullmatch(file.name)
    if match is None:
        return {"": file}
    paths = {prefix: file.with_name(f"{part}_{match[2]}.pt") for part, prefix in _PREFIX.items()}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{file.parent} lacks {', '.join(missing)}",
            expected=f"all three parts beside {file.name}",
            fix="put the three files of one training step into one folder",
        )
    latent = {prefix: file.with_name(f"{part}_{match[2]}.pt") for part, prefix in _LATENT_PREFIX.items()}
    return paths | {prefix: path for prefix, path in latent.items() if path.is_file()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = next(
            (line for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line),
            (str(error).splitlines() or ["unreadable"])[0],
        )[:300]
        raise CheckpointError(
            f"{path} holds pickled code, which is never run: {first.strip()}",
            expected="a state dictionary of tensors alone",
            fix="save model.state_dict() again where you trust the file",
        ) from None
    except (
        RuntimeError, EOFError, OSError, zipfile.BadZipFile, LookupError, ValueError, TypeError, AttributeError,
        AssertionError, ArithmeticError, MemoryError, struct.error,
    ) as error:  # fmt: skip
        words = str(error).splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{path} is no torch checkpoint, or is truncated: {words[0][:300]}",
            expected="a whole file of torch.save",
            fix="copy or download the file again",
        ) from None
    if not isinstance(contents, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in contents.items()
    ):
        odd = (
            [f"{key}: {type(value).__name__}" for key, value in contents.items() if not isinstance(value, Tensor)]
            if isinstance(contents, dict) else [type(contents).__name__]
        )  # fmt: skip
        raise _not_published(path, "it holds values that are no tensors: " + "; ".join(odd[:_SHOWN]))
    strange = [key for key, value in contents.items() if not _is_plain(value)]
    if strange:
        raise _not_published(path, "no plain tensors of numbers: " + ", ".join(strange[:_SHOWN]))
    return contents


def _is_plain(tensor: Tensor) -> bool:
    """Dense numbers that all lie in the file: a tensor that repeats one number a million million times is none."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _own_buffers(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Buffers that the published model has as constants in its code (the image offset of 0.5)."""
    return {name: value for name, value in model.named_buffers() if name not in tensors and "scaling" in name}


def _report(published: Published, config: WorldModelConfig) -> dict[str, Any]:
    facts = weight_facts(config.model_dump(mode="json"))
    return {
        "files": published.files,
        "taken_as_published": {key: facts[key] for key in NOT_IN_SHAPES},
        "keys": {
            key: None if name is None else {"name": name, "shape": list(published.tensors[name].shape)}
            for key, name in published.names.items()
        },
    }


def _record(config: WorldModelConfig, published: Published) -> RunRecord:
    preset = resolve_pretraining("paper")
    before, after = flatten(preset.config.model_dump(mode="json")), flatten(config.model_dump(mode="json"))
    return RunRecord(
        kind="pretrain",
        method=config.method,
        display_name=find_method(config.method).display_name,
        variant="imported",
        seed=0,
        preset="paper",
        overrides={key: value for key, value in after.items() if before.get(key) != value},
        config=config.model_dump(mode="json"),
        pretraining={"kind": "published", "data": ["published"], "num_videos": None, "updates": None},
        parent={"files": published.files},
        packages=package_versions(("ipv-bench", "torch")),
        status="finished",
    )


def _say_report(out: Path, config: WorldModelConfig, published: Published, model: nn.Module) -> None:
    left_out = [key for key, name in published.names.items() if name is None]
    rssm, num_parameters = config.rssm, sum(p.numel() for p in model.parameters())
    say(
        f"{config.method}: {len(published.tensors)} tensors, {num_parameters:,} parameters, "
        f"depth {config.encoder.cnn_depth}, deter {rssm.deter}, hidden {rssm.hidden}, "
        f"{rssm.stoch}x{rssm.discrete} latents (shapes give the product; taken as square), "
        f"{config.context.heads} heads (shapes do not tell; as published)"
    )
    if left_out:
        say(f"{len(left_out)} tensors of the fine-tuned agent are left out (upper RSSM, rewards, bonus, actor, critic)")
    say(f"every key: {out / REPORT_FILE}")


def _not_published(where: str | Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is no published ContextWM, APV or PreLAR checkpoint: {found}",
        expected="the keys of thuml/ContextWM's or PreLAR's pre-training: variables*.pt, or "
        "encoder_/rssm_/decoder_variables*.pt and PreLAR's va_encoder_variables*.pt",
        fix="check that the file is from pre-training or fine-tuning with that code",
    )
