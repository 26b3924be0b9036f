"""Moving pictures (GIF) that an analysis left beside its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from ipv_bench.analysis_record import Picture, picture_path
from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import InputError
from reports.readers.analyses import Analysis
from reports.scores.findings import Finding, refusal

MAX_BYTES = 4 << 20
"""A larger one is left out: predictions of some models side by side take 1 to 2 MB."""
_STARTS, _END = (b"GIF87a", b"GIF89a"), b";"
_FIX = "run `ipv-bench analyze` again, with fewer runs or strips where it is too large"


@dataclass(frozen=True)
class MovingPicture:
    """A GIF.

    Attributes:
        name: file name without ending.
        title: heading on the page.
        caption: what is in it.
        data: the file.
        made_from: folder of the analysis, for the report's record.
    """

    name: str
    title: str
    caption: str
    data: bytes = field(repr=False)
    made_from: tuple[str, ...] = ()


def moving_pictures(name: str, analysis: Analysis) -> tuple[list[MovingPicture], list[Finding]]:
    """GIFs of an analysis, and a finding for each that is absent, damaged, or too large.

    Args:
        name: of the analysis, for file names.
        analysis: whose record lists them.
    """
    found: list[MovingPicture] = []
    findings: list[Finding] = []
    for picture in (one for one in analysis.record.pictures if one.file.lower().endswith(".gif")):
        try:
            data = _read(analysis, picture)
        except InputError as error:
            findings.append(refusal("bad_picture", error.found, error.fix, [str(analysis.folder)]))
            continue
        title = f"Moving: {picture.title}"
        file = f"{name}_moving_{len(found) + 1}"
        found.append(MovingPicture(file, title, picture.caption, data, (str(analysis.folder),)))
    return found, findings


def _read(analysis: Analysis, picture: Picture) -> bytes:
    path = picture_path(analysis.folder, picture)
    data = read_bytes(path, limit=MAX_BYTES, fix=_FIX)
    if not data.startswith(_STARTS) or not data.endswith(_END):
        raise InputError(f"{path} is no whole GIF", expected="the file that `analyze` wrote", fix=_FIX)
    return data
