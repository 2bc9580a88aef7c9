#!/usr/bin/env python3
"""One command for everything; needs only Python 3.11 or newer, makes .venv at its first use.

python run.py lab        open the book in JupyterLab
python run.py test       run all tests, every notebook among them (with arguments: one pytest run of these)
python run.py check      lint, types and unit tests, in under three minutes
python run.py lint       only the lint and the types
python run.py book       rebuild the executed notebooks of what changed (--all, or chapter numbers: 05 14)
python run.py links      write pyproject.toml's repository address wherever it is needed (--set URL)
python run.py slides     lecture slides of the chapters, for any browser: build/slides (or chapter numbers: 05 14)
python run.py site       the book as a website, offline: build/site (or chapter numbers: 05 14)
python run.py editions   write the student, solved and grading editions of the chapters
python run.py grade      grade a class: --assign 05 makes an assignment, a folder of submissions is graded
python run.py grading-report   prove that the checks reject wrong answers: build/grading-report.md
python run.py clean      remove .venv, build/ and caches
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CHAPTERS = ROOT / "chapters"
START_PAGE = "00_start_here.ipynb"
IMAGES = "14"  # from this chapter on, networks see images: the arithmetic that torch shares out between threads
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "ready"
NEEDED = (3, 11)
SET_UP_INPUTS = ("run.py", "pyproject.toml", "constraints.txt")


def run(*command: object, **variables: str) -> int:
    """Run a command in the repository's root, with environment variables added; returns its exit status."""
    print("+", *(f"{name}={value}" for name, value in variables.items()), *command, flush=True)
    return subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, **variables}).returncode


def must(*command: object, **variables: str) -> None:
    status = run(*command, **variables)
    if status:
        sys.exit(status)


# --- set-up -------------------------------------------------------------------------------------------------


def use_new_enough_python() -> None:
    """Go on under a Python that is new enough: this one, or else the newest on the search path."""
    if sys.version_info >= NEEDED:
        return
    for minor in range(14, NEEDED[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other:
            sys.exit(subprocess.run([other, *sys.argv]).returncode)
    sys.exit(
        f"Python {NEEDED[0]}.{NEEDED[1]} or newer is needed; this is Python {sys.version.split()[0]}, "
        "and no newer one was found. Install one from https://www.python.org/downloads/ and try again."
    )


def make_venv() -> None:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        sys.exit(
            f"This Python ({sys.executable}) cannot make virtual environments. On Debian and Ubuntu:\n"
            f"    sudo apt install python3-venv      (or python{version}-venv)\nThen run the command again."
        )
    if run(sys.executable, "-m", "venv", "--clear", VENV):
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit("The virtual environment could not be made: see the message above. Nothing was left behind.")


def install(*what: str) -> int:
    """Into .venv, at the pinned versions."""
    return run(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", "constraints.txt", *what)


def set_up() -> None:
    """Make .venv and install the book into it, unless that was done for these inputs in this place."""
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in SET_UP_INPUTS)).hexdigest()
    wanted = f"{digest}\n{ROOT}\n"
    stamp = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
    if stamp == wanted and PYTHON.exists():
        return
    print(
        "Setting up .venv: a few minutes and about 1.5 GB the first time (more with a CUDA build of torch).",
        flush=True,
    )
    moved = stamp and stamp.splitlines()[1:] != [str(ROOT)]
    if moved or not PYTHON.exists():
        make_venv()
    STAMP.unlink(missing_ok=True)
    if install("-e", ".[all]"):
        sys.exit("The installation failed: see pip's message above. Run the command again to go on.")
    # JupyterLab: chapter sources open as notebooks, no news pop-up. In .venv: the user's own stay.
    settings = VENV / "etc" / "jupyter" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    overrides = {
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Jupytext Notebook"}},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    settings.write_text(json.dumps(overrides, indent=1), encoding="utf-8")
    STAMP.write_text(wanted, encoding="utf-8")  # only now: a set-up that was cut short is begun again


# --- commands -----------------------------------------------------------------------------------------------


def lab(*arguments: str) -> int:
    command = [PYTHON, "-m", "jupyterlab", f"--ServerApp.root_dir={CHAPTERS}"]
    if (CHAPTERS / START_PAGE).exists():
        command.append(f"--LabApp.default_url=/lab/tree/{START_PAGE}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    try:
        return run(*command, *arguments)
    except KeyboardInterrupt:  # Ctrl-C is how one leaves JupyterLab
        return 0


def pytest(*arguments: object, threads: int = 1) -> int:
    return run(PYTHON, "-m", "pytest", "-q", *arguments, OMP_NUM_THREADS=str(threads))


def notebooks(first: str = "") -> list[object]:
    """Arguments that make pytest run every chapter from `first` on and compare its outputs with the recorded ones."""
    found = sorted(path.relative_to(ROOT) for path in CHAPTERS.glob("*.ipynb") if path.name >= first)
    how = [
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with=nbval_sanitize.cfg",
        "--nbval-cell-timeout=600",
    ]
    return [*how, *found] if found else []


WORKERS = ("-n", "2", "--dist", "loadfile")  # nbval needs a file's cells in one worker


def test(*arguments: str) -> int:
    if arguments:
        return pytest(*arguments)
    parts = {"the notebooks are built": lambda: run(PYTHON, "tools/build_notebooks.py", "--check")}
    # Alone on the machine, since it measures how fast a widget redraws.
    parts["browser"] = lambda: pytest("-s", "-m", "browser", "tests/chapters")
    if notebooks(IMAGES):
        parts["notebooks with images, two threads"] = lambda: pytest(*notebooks(IMAGES), threads=2)
    parts["unit tests, doctests, notebooks with one thread"] = lambda: pytest(
        *WORKERS, "--durations=10", "-m", "not browser", "--doctest-modules", "diffedu", "tests", *notebooks()
    )
    if os.environ.get("CI"):  # last, since nbgrader changes JupyterLab
        parts["the site"] = lambda: site() or pytest("tests/test_site.py")
        parts["a class graded with nbgrader"] = lambda: (
            with_extra("grading", "nbgrader") or pytest("tests/test_grade.py", "-k", "class")
        )
    failed = [name for name, part in parts.items() if part()]
    if failed:
        print(f"\nFAILED: {'; '.join(failed)} ({len(failed)} of {len(parts)} parts)", flush=True)
    return bool(failed)


def lint() -> int:
    parts = [
        run(PYTHON, "-m", "ruff", "check"),
        run(PYTHON, "-m", "ruff", "format", "--check"),
        run(PYTHON, "-m", "mypy"),
        run(PYTHON, "-m", "codespell_lib"),
        run(BIN / "lint-imports"),
        run(PYTHON, "tools/links.py", "--check"),
    ]
    return any(parts)


def check(*arguments: str) -> int:
    parts = [
        lint(),
        pytest(*WORKERS, "-m", "not slow and not browser", "--doctest-modules", "diffedu", "tests", *arguments),
    ]
    return any(parts)


def book(*arguments: str) -> int:
    must(PYTHON, "tools/links.py")
    must(PYTHON, "tools/build_notebooks.py", *arguments)
    return run(PYTHON, "tools/equations.py")


def links(*arguments: str) -> int:
    return run(PYTHON, "tools/links.py", *arguments)


def slides(*arguments: str) -> int:
    return run(PYTHON, "tools/slides.py", *arguments)


def site(*arguments: str) -> int:
    return with_extra("site", "myst_nb") or run(PYTHON, "tools/site.py", *arguments)


def editions(*arguments: str) -> int:
    return run(PYTHON, "tools/editions.py", *arguments)


def with_extra(name: str, module: str) -> int:
    """Install an extra of pyproject.toml when it is first needed: no reader needs it."""
    if not run(PYTHON, "-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"):
        return 0
    print(f"Installing what `{name}` needs into .venv.", flush=True)
    return install("-e", f".[{name}]")


def grade(*arguments: str) -> int:
    return with_extra("grading", "nbgrader") or run(PYTHON, "tools/grade.py", *arguments)


def grading_report(*arguments: str) -> int:
    return run(PYTHON, "tools/grading_report.py", *arguments, OMP_NUM_THREADS="1")


def clean() -> int:
    graded = ROOT / "build" / "editions" / "grading"
    if (graded / "gradebook.db").exists():
        print(f"{graded} stays: it holds the grades of a class. Delete it yourself if nobody needs it.")
        for path in [*(ROOT / "build").iterdir(), *graded.parent.iterdir()]:
            if path.is_file():
                path.unlink()
            elif path not in (graded, graded.parent):
                shutil.rmtree(path, ignore_errors=True)
    else:
        shutil.rmtree(ROOT / "build", ignore_errors=True)
    for name in (
        ".venv",
        "dist",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".import_linter_cache",
        ".hypothesis",
    ):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for folder in ("diffedu", "tools", "tests", "chapters"):
        for cache in [*(ROOT / folder).rglob("__pycache__"), *(ROOT / folder).rglob(".ipynb_checkpoints")]:
            shutil.rmtree(cache, ignore_errors=True)
    return 0


COMMANDS = {
    f.__name__.replace("_", "-"): f
    for f in (lab, test, check, lint, book, links, slides, site, editions, grade, grading_report, clean)
}


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in ("", "-h", "--help", "help"):
        print(__doc__.strip())
        return 0 if name else 2
    if name not in COMMANDS:
        print(f"unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    use_new_enough_python()
    if name != "clean":
        set_up()
    return int(COMMANDS[name](*arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
