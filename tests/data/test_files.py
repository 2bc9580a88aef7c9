"""Shipped files are found, and damaged or foreign ones are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from diffedu.data import asset, files, sha256

REPOSITORY_DATA = Path(__file__).resolve().parents[2] / "data"
ENTRIES = json.loads((REPOSITORY_DATA / "checksums.json").read_text(encoding="utf-8"))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two empty places to look in: a wheel's assets and a clone's data."""
    places = (tmp_path / "_assets", tmp_path / "data")
    for place in places:
        place.mkdir()
    monkeypatch.setattr(files, "_FOLDERS", places)
    return places


def ship(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "checksums.json").write_text(json.dumps({name: entry}), encoding="utf-8")


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_listed_file_ships_unchanged(name):
    path = asset(name)
    assert path.stat().st_size == ENTRIES[name]["bytes"]
    assert sha256(path) == ENTRIES[name]["sha256"]


def test_every_data_file_is_listed_with_its_origin():
    found = {p.relative_to(REPOSITORY_DATA).as_posix() for p in REPOSITORY_DATA.rglob("*.np[yz]")}
    readme = (REPOSITORY_DATA / "README.md").read_text(encoding="utf-8")
    for name in found:
        assert name in ENTRIES
        assert name in readme
        assert ENTRIES[name]["sha256"] in readme


def test_sha256_of_known_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # the first example of FIPS 180-2
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data file 'mnist1k.npz'; did you mean 'mnist10k.npz'"):
        asset("mnist1k.npz")


def test_wheel_comes_before_clone(folders):
    wheel, clone = folders
    ship(clone, "a/b.bin", b"clone")
    assert asset("a/b.bin") == clone / "a/b.bin"
    ship(wheel, "a/b.bin", b"wheel")
    assert asset("a/b.bin") == wheel / "a/b.bin"


def test_damaged_file_is_refused(folders):
    ship(folders[1], "a.bin", b"right")
    (folders[1] / "a.bin").write_bytes(b"wrong")
    with pytest.raises(ValueError, match=r"'a.bin' is damaged or foreign: its SHA-256 is .*, expected .*restore"):
        asset("a.bin")
    (folders[1] / "a.bin").write_bytes(b"right")
    assert asset("a.bin").read_bytes() == b"right", "a failure must not be remembered"


def test_missing_file_and_missing_folder(folders):
    with pytest.raises(FileNotFoundError, match=r"looked for checksums.json in .*_assets and .*data"):
        asset("a.bin")
    ship(folders[1], "a.bin", b"here")
    (folders[1] / "a.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"'a.bin' should be in .*data, but is not there"):
        asset("a.bin")


def test_checksum_is_read_once(folders, monkeypatch):
    ship(folders[1], "a.bin", b"once")
    calls = []
    monkeypatch.setattr(files, "sha256", lambda path: calls.append(path) or sha256(path))
    asset("a.bin")
    asset("a.bin")
    assert len(calls) == 1
