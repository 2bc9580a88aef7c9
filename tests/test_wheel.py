"""The wheel works away from the clone: its data, its checkpoints, its commands."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.wheels import build_wheel, environment, run

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(wheel, tmp_path_factory.mktemp("elsewhere") / "venv")


def test_wheel_carries_package_data_and_licences_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"diffedu", f"{wheel.name.split('-py3')[0]}.dist-info"}
    data = [p.relative_to(ROOT / "data").as_posix() for p in (ROOT / "data").rglob("*") if p.is_file()]
    assert data
    assert {f"diffedu/_assets/{name}" for name in data} <= set(names)
    assert {Path(n).name for n in names if "/licenses/" in n and ".dist-info/" in n} == {
        "LICENSE",
        "LICENSE-TEXT",
    }
    assert not [n for n in names if "__pycache__" in n or n.endswith(".ipynb")]


def test_package_is_found_in_the_wheel_not_in_the_clone(python: Path, tmp_path: Path) -> None:
    place = run(python, "-c", "import diffedu; print(diffedu.__file__)", cwd=tmp_path).strip()
    assert Path(place).resolve().is_relative_to(python.parent.parent.resolve())


def test_data_is_found(python: Path, tmp_path: Path) -> None:
    program = "from diffedu.data import digits; print(*[len(digits(s).images) for s in ('train', 'test')])"
    assert run(python, "-c", program, cwd=tmp_path).split() == ["9000", "1000"]


def test_commands_work(python: Path, tmp_path: Path) -> None:
    command = python.with_name("diffedu")
    assert "digits-ddpm" in run(command, "list", cwd=tmp_path)
    run(command, "sample", "digits-ddpm", "--label", 7, "--n", 4, "--out", "grid.png", cwd=tmp_path)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert "digits-ddpm" in run(python, "-m", "diffedu", "list", cwd=tmp_path)
