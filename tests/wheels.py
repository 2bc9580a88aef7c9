"""The book's wheel, and an environment with it, for tests that must not see the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip"]
QUIETLY = ["-q", "--disable-pip-version-check", "--no-deps"]


def run(*command: object, cwd: Path) -> str:
    """What a command prints; it must succeed. Nothing of this clone is on its module path."""
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(folder: Path) -> Path:
    run(*PIP, "wheel", *QUIETLY, "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("diffedu-*.whl")
    return built


def install(python: Path, *what: object) -> None:
    """Into another environment, by this one's pip."""
    run(*PIP, "--python", python, "install", *QUIETLY, *what, cwd=python.parent)


def site_packages(python: Path) -> Path:
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=python.parent).strip())


def environment(wheel: Path, home: Path) -> Path:
    """Python of a new environment with the wheel; torch and the like are lent by this one."""
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home.parent)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    install(python, "--no-index", wheel)
    # Of a folder that a .pth file adds, the .pth files (such as the editable install's) are not read.
    (site_packages(python) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python
