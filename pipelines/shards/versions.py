"""Versions of everything that determines the bytes of a shard."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import Any

import av
import numpy as np
import simplejpeg

from ipv_bench import __version__
from ipv_bench.config import differences
from ipv_bench.errors import ShardSetError
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.pixels_revision import PIXELS_REVISION, REVISIONS, pixels_revision


def versions(config: PrepareConfig) -> dict[str, str]:
    """Package and library versions on this machine."""
    found = {
        "ipv-bench": __version__,
        "decoder": config.decoder,
        "av": av.__version__,
        "simplejpeg": str(simplejpeg.__version__),
        "pyarrow": _installed("pyarrow"),
        "numpy": np.__version__,
    }
    found |= {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}
    if config.decoder == "decord":
        found["decord"] = _installed("decord")
    return found


@cache
def _installed(package: str) -> str:
    return metadata.version(package)


def refuse_mixed(file: str, made_by: dict[str, str], current: dict[str, str]) -> None:
    """Refuse to complete a set with other versions than it was begun with, here or on a cluster's node.

    Raises:
        ShardSetError: they differ; the message says in what.
    """
    changed = differences(made_by, current)
    if changed:
        raise ShardSetError(
            f"{file} was made by other versions: " + "; ".join(changed),
            expected="one set, one version: other ones may decode to other bytes",
            fix="install the versions that the job was begun with (on every node), or delete that shard's .tar and "
            ".json: it is made anew",
        )


def refuse_other_pixels(where: str, options: dict[str, Any], complete: bool) -> None:
    """Refuse to complete or repair a set whose pixels follow another revision of the rules.

    Args:
        where: the set or shard, for the message.
        options: that it was made with.
        complete: whether it is finished.

    Raises:
        ShardSetError: it is of another revision; the message says what that means.
    """
    found = pixels_revision(options)
    if found == PIXELS_REVISION:
        return
    meaning = REVISIONS.get(found, "of a newer ipv-bench")
    raise ShardSetError(
        f"{where} has pixels of revision {found} ({meaning}); this ipv-bench makes revision {PIXELS_REVISION} "
        f"({REVISIONS[PIXELS_REVISION]})",
        expected="one set, one revision: its frames would not go together",
        fix="choose another --out"
        + ("; the finished set stays readable" if complete else ", or delete what is in that folder")
        + f", or take the ipv-bench that makes revision {found}",
    )
