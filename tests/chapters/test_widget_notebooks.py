"""The small notebooks of the browser test: what is kept of a chapter, and that it is enough."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.chapters.widget_notebooks import VIEW, derived, widgets

ROOT = Path(__file__).resolve().parent.parent.parent
CELLS = [
    "import sys",
    "import math\nimport random\nlimit = 3\nlimit = limit + 1\nother = 2",
    "for limit_of_a_loop in range(2):\n    other = limit\nx = [limit for limit in range(3)]",
    "@property\ndef late():\n    return scale * math.pi\nscale = limit",
    "show(late, limit)",
    "other = 5",
]


def chapter(path: Path, shown: int | None) -> Path:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    if shown is not None:
        data = {VIEW: {"model_id": "0"}, "image/png": "", "text/plain": ""}
        notebook.cells[shown].outputs = [nbformat.v4.new_output("display_data", data=data)]
    nbformat.write(notebook, path)
    return path


def test_only_what_the_widget_needs_is_kept(tmp_path: Path):
    small = derived(chapter(tmp_path / "01_a.ipynb", 4))
    assert [cell.source for cell in small.notebook.cells] == [
        "import sys",
        "import math\nlimit = 3\nlimit = limit + 1",
        "@property\ndef late():\n    return scale * math.pi\nscale = limit",
        "show(late, limit)",
    ]
    assert (small.lines, small.of) == (9, 15)


def test_a_notebook_without_a_widget_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"01_a\.ipynb shows no widget"):
        derived(chapter(tmp_path / "01_a.ipynb", None))


@pytest.mark.parametrize("widget", widgets(ROOT / "chapters"), ids=lambda widget: f"{widget[0][:2]}, {widget[1] + 1}")
def test_every_name_of_a_small_notebook_is_bound_in_it(widget: tuple[str, int]):
    """A linter's look: no name is read that nothing binds. (That it runs, the browser shows.)"""
    import builtins
    import symtable

    small = derived(ROOT / "chapters" / widget[0], widget[1])
    code = "\n".join(cell.source for cell in small.notebook.cells)
    known = {*dir(builtins), "get_ipython"}
    waiting, read = [symtable.symtable(code, "small", "exec")], set()
    bound = {symbol.get_name() for symbol in waiting[0].get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        read |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}
    assert read - bound - known == set()
