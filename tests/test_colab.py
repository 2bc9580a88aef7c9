"""What can be tried of Colab from here: its old ipywidgets, the package from its wheel, notebooks elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.wheels import build_wheel, environment, install, run, site_packages

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
# What Colab had in August 2026 (pip-freeze.txt of github.com/googlecolab/backend-info) of what chapters are made with.
# torch is lent: Colab's build of it is on no package index.
COLABS = [
    "ipykernel==6.17.1",
    "ipython==7.34.0",
    "ipython-genutils==0.2.0",
    "ipywidgets==7.7.1",
    "jupyter-client==7.4.9",
    "matplotlib==3.10.0",
    "numpy==2.1.3",
    "pillow==11.3.0",
    "pyzmq==26.2.1",
    "scipy==1.16.3",
    "tornado==6.5.7",
    "tqdm==4.67.3",
    "traitlets==5.7.1",
    "widgetsnbextension==3.6.10",
    *("backcall==0.2.0", "decorator==4.4.2", "entrypoints==0.4", "nest-asyncio==1.6.0", "pickleshare==0.7.5"),  # theirs
]
# The module by which a notebook knows Colab. Ours only notes that it was asked.
STUB = "from . import output\n"
OUTPUT = "asked = []\ndef enable_custom_widget_manager():\n    asked.append(True)\n"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel and Colab's versions; torch and the rest are lent by this one."""
    home = tmp_path_factory.mktemp("colab")
    there = environment(build_wheel(home), home / "venv")
    try:
        install(there, *COLABS)
    except AssertionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package index was reached, so there is no old ipywidgets to try: {str(error)[-200:]}")
    site = site_packages(there)
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").write_text(STUB, encoding="utf-8")
    (site / "google" / "colab" / "output.py").write_text(OUTPUT, encoding="utf-8")
    kernel = home / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    argv = [str(there), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return there


def test_the_environment_is_colabs(colab: Path, tmp_path: Path) -> None:
    program = "import IPython, ipywidgets, matplotlib, numpy, diffedu, google.colab; print(*[m.__version__ for m in "
    program += "(IPython, ipywidgets, matplotlib, numpy)], diffedu.__file__)"
    *versions, place = run(colab, "-c", program, cwd=tmp_path).split()
    assert versions == ["7.34.0", "7.7.1", "3.10.0", "2.1.3"]
    assert Path(place).resolve().is_relative_to(colab.parent.parent.resolve())


def test_nothing_that_colab_has_is_installed_again(colab: Path) -> None:
    """The package's requirements are ranges that Colab's versions of the last two years satisfy."""
    from packaging.requirements import Requirement

    text = next(colab.parent.parent.glob("**/diffedu-*.dist-info/METADATA")).read_text(encoding="utf-8")
    lines = [line.removeprefix("Requires-Dist: ") for line in text.splitlines() if line.startswith("Requires-Dist")]
    wanted = {r.name: r.specifier for r in map(Requirement, lines) if not r.marker}
    there = {"torch": "2.6.0", "numpy": "2.0.2", "matplotlib": "3.10.0", "scipy": "1.14.1", "ipywidgets": "7.7.1"}
    there |= {"tqdm": "4.67.1", "safetensors": "0.5.3", "pooch": "1.8.2"}
    assert set(wanted) == set(there)
    for name, version in there.items():
        assert wanted[name].contains(version), f"{name} {version} would be replaced"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_first_code_cell_installs_only_what_is_missing(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert first.startswith("import importlib.util\n\nif importlib.util.find_spec(")
    assert "pip" in first
    assert "torch" not in first


@pytest.mark.parametrize("number", ["00", "05"])
def test_chapter_runs_with_colabs_widgets(colab: Path, number: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(colab.parent.parent.parent / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (path,) = (ROOT / "chapters").glob(f"{number}_*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    probe = nbformat.v4.new_code_cell("import diffedu, ipywidgets; print(ipywidgets.__version__, diffedu.__file__)")
    notebook.cells.append(probe)
    NotebookClient(
        notebook, timeout=600, kernel_name="colab", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    version, place = notebook.cells[-1].outputs[0].text.split()
    assert version == "7.7.1"
    assert not Path(place).resolve().is_relative_to(ROOT)
    views = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert views, "no widget was shown"
    assert all("image/png" in data for data in views)
