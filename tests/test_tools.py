"""The notebook builder: what it writes is stable, and what must not be printed is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import build_notebooks as builder

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = '''# %% [markdown]
"""
# A chapter
"""

# %% tags=["a-tag"]
import time, random
from IPython.display import display
import ipywidgets as widgets
from tqdm.auto import tqdm

for _ in tqdm(range(3)):
    time.sleep(random.random() / 50)
start = time.perf_counter()
time.sleep(random.random() / 50)
print(f"took {1000 * (time.perf_counter() - start):.1f} ms")

# %%
slider = widgets.FloatSlider(value=0.5, description="noise")
label = widgets.HTML(value=f"redraw {random.randint(1, 99)} ms")
number = widgets.FloatText()
link = widgets.jslink((slider, "value"), (number, "value"))
display(widgets.VBox([slider, label, number]))

# %%
{"answer": 6 * 7}
'''


def write(folder: Path, text: str = CHAPTER) -> Path:
    source = folder / "01_a_chapter.py"
    source.write_text(text, encoding="utf-8")
    return source


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = write(tmp_path_factory.mktemp("chapters"))
    builder.build(source)
    return source


def copy(built: Path, folder: Path) -> Path:
    for suffix in (".py", ".ipynb"):
        (folder / built.name).with_suffix(suffix).write_bytes(built.with_suffix(suffix).read_bytes())
    return folder / built.name


def test_a_second_build_changes_no_byte(built: Path, tmp_path: Path) -> None:
    source = copy(built, tmp_path)
    before = source.with_suffix(".ipynb").read_bytes()
    builder.build(source)
    assert source.with_suffix(".ipynb").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_a_chapter.ipynb", "01_a_chapter.py"], "nothing is left"


def test_twin_holds_outputs_tags_widgets_and_links(built: Path) -> None:
    assert builder.check(built) == []
    notebook = nbformat.read(built.with_suffix(".ipynb"), as_version=4)
    assert notebook.cells[1].metadata.tags == ["a-tag"]
    assert notebook.cells[3].outputs[0].data["text/plain"] == "{'answer': 42}"
    state = notebook.metadata["widgets"][builder.STATE]["state"]
    names = {model["model_name"] for model in state.values()}
    assert {"FloatSliderModel", "HTMLModel", "LinkModel", "FloatProgressModel"} <= names
    assert sorted(state) == [f"{k:032x}" for k in range(len(state))]
    views = [
        o.data[builder.VIEW]["model_id"]
        for c in notebook.cells
        for o in c.get("outputs", [])
        if builder.VIEW in o.get("data", {})
    ]
    assert views
    assert set(views) <= set(state)
    assert not [k for k in notebook.metadata if k not in ("jupytext", "kernelspec", "language_info", "widgets")]


def test_ids_survive_an_inserted_cell(tmp_path: Path) -> None:
    before = [c["id"] for c in builder.load(write(tmp_path)).cells]
    longer = CHAPTER.replace("# %%\nslider", "# %%\nnew = 1\n\n# %%\nslider")
    after = [c["id"] for c in builder.load(write(tmp_path, longer)).cells]
    assert len(after) == len(before) + 1
    assert set(before) < set(after)
    twice = [c["id"] for c in builder.load(write(tmp_path, "# %%\n1\n\n# %%\n1\n")).cells]
    assert len(set(twice)) == 2


def test_changed_text_needs_no_run_and_changed_code_does(built: Path, tmp_path: Path) -> None:
    source = copy(built, tmp_path)
    outputs = [c.get("outputs") for c in nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells]
    source.write_text(CHAPTER.replace("# A chapter", "# A better chapter"))
    assert "differ from cell 0 on" in builder.check(source)[0]
    assert builder.retext(source)
    assert builder.check(source) == []
    assert [c.get("outputs") for c in nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells] == outputs
    source.write_text(CHAPTER.replace("6 * 7", "6 * 8"))
    assert not builder.retext(source)
    assert "differ from cell 0 on" in builder.check(source)[0]


def test_check_refuses_a_stripped_or_foreign_notebook(built: Path, tmp_path: Path) -> None:
    source = copy(built, tmp_path)
    target = source.with_suffix(".ipynb")
    notebook = nbformat.read(target, as_version=4)
    notebook.cells[3].execution_count = None
    notebook.cells[3].outputs = []
    nbformat.write(notebook, target)
    assert builder.check(source) == ["01_a_chapter.ipynb: code cell 3 was never run (run: python run.py book)"]
    notebook.cells[3].execution_count = 3
    notebook.cells[3]["id"] = "another"
    nbformat.write(notebook, target)
    assert "saved by another program" in builder.check(source)[0]
    target.unlink()
    assert builder.check(source) == ["01_a_chapter.ipynb is missing (run: python run.py book)"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise KeyError('lost')", "KeyError"),
        ("import warnings\nwarnings.warn('careful')", "catch the warning and print its text"),
        ("import ipywidgets\nprint(ipywidgets.__file__)", "a trace of the machine"),
        ("print('x' * 1_600_000)", "draw fewer or smaller pictures"),
    ],
)
def test_what_must_not_be_printed_is_refused_and_the_old_twin_stays(tmp_path: Path, code: str, sentence: str) -> None:
    source = write(tmp_path, f"# %%\n{code}\n")
    target = source.with_suffix(".ipynb")
    target.write_text("as it was")
    if "raise" in code:
        with pytest.raises(Exception, match=sentence):  # nbclient's own error, which names the cell
            builder.execute(builder.load(source), tmp_path)
    else:
        notebook = builder.load(source)
        builder.execute(notebook, tmp_path)
        assert sentence in builder.faults(notebook, "n.ipynb")[0]
    assert target.read_text() == "as it was"


def test_writing_is_all_or_nothing(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.ipynb"
    target.write_text("as it was")

    def cut_short(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(builder.nbformat, "writes", cut_short)
    with pytest.raises(KeyboardInterrupt):
        builder.write(target, builder.load(built))
    assert [p.name for p in tmp_path.iterdir()] == ["x.ipynb"]
    assert target.read_text() == "as it was"


def test_book_rebuilds_what_changed_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "diffedu").mkdir()
    (tmp_path / "constraints.txt").write_text("")
    module = tmp_path / "diffedu" / "m.py"
    module.write_text("x = 1\n")
    source = write(tmp_path / "chapters", "# %%\n6 * 7\n")
    monkeypatch.setattr(builder, "ROOT", tmp_path)
    monkeypatch.setattr(builder, "CHAPTERS", tmp_path / "chapters")
    monkeypatch.setattr(builder, "RECORD", tmp_path / "build" / "notebooks.json")
    runs: list[str] = []

    def executed(notebook: nbformat.NotebookNode, folder: Path) -> None:
        runs.append(folder.name)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.execution_count = 1

    monkeypatch.setattr(builder, "execute", executed)
    assert builder.main([]) == 0
    assert builder.main([]) == 0
    assert len(runs) == 1, "nothing changed: no run"
    module.write_text("x = 2\n")
    assert builder.main(["01"]) == 0
    assert len(runs) == 2, "the package changed"
    source.write_text('# %% [markdown]\n"""\nNew text.\n"""\n\n# %%\n6 * 7\n')
    assert builder.main([]) == 0
    assert len(runs) == 2, "new text needs no run"
    assert builder.main(["--check"]) == 0
    source.write_text("# %%\n6 * 8\n")
    assert builder.main(["--check"]) == 1
    assert builder.main([]) == 0
    assert builder.main(["--all"]) == 0
    assert len(runs) == 4
    (tmp_path / "chapters" / "02_lost.ipynb").write_text(json.dumps({}))
    capsys.readouterr()
    assert builder.main(["--check"]) == 1
    assert "02_lost.ipynb has no source 02_lost.py" in capsys.readouterr().out


def test_unknown_chapter_gets_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        builder.main(["99"])
    assert "no chapter '99'; chapters: " in capsys.readouterr().err


@pytest.mark.parametrize("argument", [[], ["help"], ["tets"]])
def test_front_script_explains_itself_without_setting_anything_up(argument: list[str], tmp_path: Path) -> None:
    alone = tmp_path / "run.py"
    alone.write_bytes((ROOT / "run.py").read_bytes())
    done = subprocess.run([sys.executable, str(alone), *argument], capture_output=True, text=True)
    if argument == ["tets"]:
        assert done.returncode == 2
        assert "unknown command 'tets'; known: lab, test, check" in done.stderr
    else:
        assert "python run.py lab" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["run.py"]


def test_make_knows_every_command_of_the_front_script() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = next(line for line in text.splitlines() if line.endswith("clean:")).removesuffix(":").split()
    done = subprocess.run([sys.executable, str(ROOT / "run.py"), "nothing"], capture_output=True, text=True)
    assert listed == done.stderr.strip().split("known: ")[1].split(", ")


def test_quotes_that_jupytext_left_in_a_cell_are_refused() -> None:
    cell = nbformat.v4.new_markdown_cell('r"""\n## A section\n"""  # noqa: E501')
    found = builder.faults(nbformat.v4.new_notebook(cells=[cell]), "n.ipynb")
    assert found == ["n.ipynb: cell 0 shows its triple quotes: they must stand alone on their lines"]
