"""Find the files that ship with the book, and refuse those that are not what they should be.

Every shipped file has an entry in ``data/checksums.json``: its name relative to ``data/``, its SHA-256 and
its size. From a clone the files lie in ``data/``; an installed wheel carries them in ``diffedu/_assets``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from diffedu._errors import unknown

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel's copy comes first: beside an installed package there is no `data/` of ours.
_FOLDERS = (_PACKAGE / "_assets", _PACKAGE.parent / "data")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Args:
        path: The file to read.

    Returns:
        The digest in lower case.

    Example:
        >>> sha256(asset("mnist10k.npz"))[:8]
        '0217e13b'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def asset(name: str) -> Path:
    """The path of a file that ships with the book, after its checksum was compared.

    A file is read for its checksum once per process; later calls cost nothing.

    Args:
        name: The file's name relative to ``data/``, with forward slashes: ``"mnist10k.npz"``.

    Returns:
        The path of the file on this machine.

    Raises:
        FileNotFoundError: The file (or the list of checksums) is not there.
        ValueError: No file of this name ships, or its bytes are not the ones that shipped.

    Example:
        >>> asset("emoji32.npz").name
        'emoji32.npz'
    """
    folder = _folder()
    entries = json.loads((folder / "checksums.json").read_text(encoding="utf-8"))
    if name not in entries:
        raise unknown("data file", name, entries)
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the data file {name!r} should be in {folder}, but is not there; restore or reinstall it"
        )
    _verify(path, name, entries[name]["sha256"])
    return path


def _folder() -> Path:
    for folder in _FOLDERS:
        if (folder / "checksums.json").is_file():
            return folder
    raise FileNotFoundError(
        "the book's data files were not found: looked for checksums.json in " + " and ".join(str(f) for f in _FOLDERS)
    )


@functools.cache
def _verify(path: Path, name: str, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise ValueError(
            f"the data file {name!r} is damaged or foreign: its SHA-256 is {found[:12]}…, "
            f"expected {expected[:12]}…; restore or reinstall it"
        )
