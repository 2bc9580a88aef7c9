"""Imports point one way, the public names exist, and importing the package stays light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import diffedu

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "diffedu"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for f in FILES if f.stem != "__main__"
]
# Heavy packages, and the parts of diffedu that may import them when they are themselves imported.
HEAVY = {
    "matplotlib": ("show",),
    "ipywidgets": ("show",),
    "IPython": ("show",),
    "scipy": ("evaluate",),
    "pooch": (),
}


def test_layers_contract_is_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_import_stays_light() -> None:
    program = "import sys, diffedu; print(sorted({n.split('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert "torch" in loaded
    assert loaded & set(HEAVY) == set()


@pytest.mark.parametrize("name", MODULES)
def test_public_names_exist(name: str) -> None:
    names = getattr(importlib.import_module(name), "__all__", [])
    assert len(names) == len(set(names)), "a name is listed twice"
    missing = [n for n in names if not hasattr(sys.modules[name], n)]
    assert missing == []


def test_package_lists_its_public_names() -> None:
    assert diffedu.__all__
    assert [n for n in diffedu.__all__ if not hasattr(diffedu, n)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_heavy_imports_stand_where_they_belong(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:  # of the module itself; inside functions is fine
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        for name in names:
            heavy = name.split(".")[0]
            assert heavy not in HEAVY or part in HEAVY[heavy], f"{heavy} is imported when {path.name} is"


def test_networks_know_no_diffusion() -> None:
    for path in (PACKAGE / "nn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            own = [n for n in names if n.startswith("diffedu")]
            assert all(n.startswith(("diffedu._tensor", "diffedu._errors", "diffedu.nn")) for n in own), (
                f"{path.name}: {own}"
            )


def test_every_source_file_begins_as_the_others_do() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body:
            assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no module docstring"
