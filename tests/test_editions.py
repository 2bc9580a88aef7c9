"""The editions of a small made-up chapter, and of every chapter of the book."""

from __future__ import annotations

import ast
import re
import subprocess
import symtable
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbformat import NotebookNode

from diffedu.exercises import judge
from tools import editions
from tools.build_notebooks import load
from tools.editions import EditionError

DEFINITIONS = """
from diffedu.exercises import exercise, expect_close, expect_number, check


@exercise("96.1", title="double", stars=2, hints=["twice"])
def _(answer, rng):
    x = torch.randn(4, generator=rng)
    expect_close(answer(x), 2 * x)
    return "Twice."


@exercise("96.2", title="read", hints=["look"], kind="numeric")
def _(answer, rng):
    expect_number(answer, 8.0)
    return "Eight."
"""
CHAPTER = f'''# %% [markdown]
"""
# A chapter
"""

# %%
%matplotlib inline
import torch

SIZE = 4
device = torch.device("cpu")
{DEFINITIONS}
# %%
slow = 1 / 0 if SIZE == 5 else 1

# %% tags=["exercise"]
def double(x):
    """Twice x."""
    ...

# %%
check("96.1", double)

# %% [markdown]
"""
More.
"""

# %% tags=["exercise"]
mine = ...

# %%
check("96.2", mine)
'''
SOLUTIONS = '''# %% [markdown]
"""
Addition will do.
"""

# %% tags=["solution-96.1"]
def double(x):
    """Twice x."""
    return x + x

# %% [markdown]
"""
Count them.
"""

# %% tags=["solution-96.2"]
mine = float(double(torch.tensor(SIZE)))
'''
SEED = 31415


# Here for this process, and in the chapter for the kernel that runs it.
exec(DEFINITIONS, {"__name__": "chapter", "torch": torch})


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[NotebookNode, dict[str, editions.Solution]]:
    return read(tmp_path, CHAPTER, SOLUTIONS)


def read(folder: Path, chapter: str, solutions: str) -> tuple[NotebookNode, dict[str, editions.Solution]]:
    (folder / "solutions").mkdir()
    source, answers = folder / "96_made_up.py", folder / "solutions" / "96_made_up.py"
    source.write_text(chapter)
    answers.write_text(solutions)
    return load(source), editions.find_solutions(answers)


def released(notebook: NotebookNode) -> NotebookNode:
    """What a student gets of a grading edition: nbgrader takes solutions and hidden tests out."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        for name in ("SOLUTION", "HIDDEN TESTS"):
            region = re.compile(rf"### BEGIN {name}\n.*?### END {name}\n?", re.DOTALL)
            cell.source = region.sub("", cell.source)
    return copy


def graded(notebook: NotebookNode, submitted: NotebookNode) -> dict[str, str]:
    """The message of each hidden test cell ("" for a pass), run on a submission in this process."""
    tests = {cell.metadata.nbgrader.grade_id: cell.source for cell in notebook.cells if is_test(cell)}
    scope = editions.namespace(submitted)
    results = {}
    for cell in submitted.cells:
        role = cell.metadata.get("nbgrader", {})
        if role.get("solution"):
            exec(cell.source, scope)
        elif role.get("grade"):
            try:
                exec(tests[role.grade_id], scope)
                results[role.grade_id] = ""
            except AssertionError as error:
                results[role.grade_id] = str(error)
    return results


def is_test(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


# ------------------------------------------------------------------------------------------- the made-up one


def test_stubs_are_found_with_their_checks(made_up):
    found = editions.find_stubs(made_up[0])
    assert [(stub.id, stub.answer) for stub in found] == [("96.1", "double"), ("96.2", "mine")]


def test_student_edition_is_the_chapter_and_not_attempted(made_up):
    notebook, _ = made_up
    codes = {stub.id: stub.code for stub in editions.find_stubs(notebook)}
    for id, answer in editions.answers(notebook, codes).items():
        assert judge(id, answer, [0]).state == "not attempted"


def test_solved_edition(made_up):
    notebook, solutions = made_up
    merged = editions.solved_edition(notebook, solutions)
    nbformat.validate(merged)
    text = "\n".join(cell.source for cell in merged.cells)
    assert "**Solution 96.1.** Addition will do." in text
    assert "return x + x" in text
    assert "..." not in text
    assert len(merged.cells) == len(notebook.cells) + 2
    assert notebook.cells[3].source.endswith("...")  # the chapter itself is left as it was


@pytest.mark.slow
def test_solved_edition_runs_and_says_solved(made_up):
    executed = editions.execute(editions.solved_edition(*made_up))
    assert editions.printed(executed) == ["96.1 solved. Twice.", "96.2 solved. Eight."]


def test_namespace_leaves_slow_cells_out(made_up):
    scope = editions.namespace(made_up[0])
    assert scope["SIZE"] == 4
    assert "slow" not in scope
    assert "device" not in scope


def test_setup_cells_run_whole(tmp_path):
    chapter = CHAPTER.replace("# %%\n%matplotlib", '# %% tags=["setup"]\n%matplotlib')
    assert str(editions.namespace(read(tmp_path, chapter, SOLUTIONS)[0])["device"]) == "cpu"


def test_missing_name_asks_for_setup(tmp_path):
    notebook, solutions = read(tmp_path, CHAPTER, SOLUTIONS.replace("SIZE", "len(device.type)"))
    with pytest.raises(EditionError, match=r"96\.2: name 'device' is not defined: give the cell .* 'setup'"):
        editions.answers(notebook, {id: solution.code for id, solution in solutions.items()})


def test_grading_edition_is_nbgraders_format(made_up):
    merged = editions.grading_edition(*made_up, SEED)
    nbformat.validate(merged)
    roles = [cell.metadata.nbgrader for cell in merged.cells if "nbgrader" in cell.metadata]
    assert [role.grade_id for role in roles] == ["answer-96-1", "grade-96-1", "answer-96-2", "grade-96-2"]
    assert all(role.schema_version == 3 and role.task is False for role in roles)
    assert [role.get("points") for role in roles] == [None, 2, None, 1]
    assert [role.solution for role in roles] == [True, False, True, False]
    assert [role.locked for role in roles] == [False, True, False, True]
    hidden = next(cell.source for cell in merged.cells if is_test(cell))
    assert f"grade('96.1', double, seed={SEED})" in hidden
    ids = [cell.id for cell in merged.cells]
    assert len(set(ids)) == len(ids)


def test_release_holds_the_chapters_stubs_and_no_secret(made_up):
    merged = editions.grading_edition(*made_up, SEED)
    release = released(merged)
    text = "\n".join(cell.source for cell in release.cells)
    assert str(SEED) not in text
    assert "x + x" not in text
    answers = [cell for cell in release.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    stubs = [cell.source.strip() for cell in answers]
    assert stubs == [stub.code.strip() for stub in editions.find_stubs(made_up[0])]


def test_grading_passes_solutions_and_fails_stubs(made_up):
    merged = editions.grading_edition(*made_up, SEED)
    assert graded(merged, merged) == {"grade-96-1": "", "grade-96-2": ""}
    failed = graded(merged, released(merged))
    assert failed["grade-96-1"] == "96.1 not attempted: the stub still stands."
    assert failed["grade-96-2"] == "96.2 not attempted: the stub still stands."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('# %% tags=["exercise"]\ndef', "# %%\ndef", "no cell tagged 'exercise' comes before check"),
        ('# %%\ncheck("96.1", double)\n', "", "no check follows the exercise 'def double"),
        ('check("96.2", mine)', "print(mine)", "after the exercise 'mine = ...' come 0 calls of check"),
        ('check("96.2", mine)', 'check("96.1", mine)', "exercise 96.1 occurs twice"),
        ("def double(x):", "def double(x, y=1):", r"solution 96.1: double is \(x\), in the stub \(x, y=1\)"),
        ("mine = ...", "other = ...", "solution 96.2 does not define other"),
        ('check("96.2", mine)', 'check("96.3", mine)', "no solution of 96.3"),
    ],
)
def test_chapter_that_does_not_fit(tmp_path, old, new, message):
    assert CHAPTER.count(old) == 1
    notebook, solutions = read(tmp_path, CHAPTER.replace(old, new), SOLUTIONS)
    with pytest.raises(EditionError, match=message):
        editions.solved_edition(notebook, solutions)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("solution-96.2", "solution-96.1", "two solutions of 96.1"),
        ('# %% [markdown]\n"""\nCount them.\n"""\n', "", "no markdown cell explains solution 96.2"),
    ],
)
def test_solutions_that_do_not_fit(tmp_path, old, new, message):
    assert SOLUTIONS.count(old) == 1
    with pytest.raises(EditionError, match=message):
        read(tmp_path, CHAPTER, SOLUTIONS.replace(old, new))


def test_solution_without_exercise(made_up):
    notebook, solutions = made_up
    extra = solutions | {"96.9": editions.Solution("96.9", "", "why")}
    with pytest.raises(EditionError, match=r"no exercise in the chapter: 96\.9"):
        editions.solved_edition(notebook, extra)


def test_written_cells_carry_no_layout_notes(made_up):
    merged = editions.tidy(editions.grading_edition(*made_up, SEED))
    assert {key for cell in merged.cells for key in cell.metadata} == {"tags", "nbgrader"}


def test_students_exception_in_a_kernel_shows_its_line(made_up):
    """A cell has no file to quote from; the kernel keeps its text."""
    notebook, _ = made_up
    stub = editions.find_stubs(notebook)[0]
    notebook.cells[stub.cell].source = stub.code.replace("...", "return x[7]")
    del notebook.cells[stub.check + 1 :]
    (line,) = editions.printed(editions.execute(notebook))
    assert line.startswith("96.1 not yet: your code stops with IndexError: index 7 is out of bounds")
    assert line.endswith("(line 3: `return x[7]`).")


def test_course_seed_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(editions, "OUT", tmp_path)
    first = editions.remembered_seed(None)
    assert editions.remembered_seed(None) == first
    assert editions.remembered_seed(5) == 5
    assert editions.remembered_seed(None) == 5


def test_methods_are_compared_too():
    old = "class A:\n    def step(self, x): ..."
    stub = editions.Stub("96.1", 0, 1, old, "A")
    solution = editions.Solution("96.1", old.replace("x", "y"), "why")
    with pytest.raises(EditionError, match=r"A.step is \(self, y\), in the stub \(self, x\)"):
        editions.match([stub], {"96.1": solution})


def test_command_writes_the_editions():
    """The command on the real chapters: a student's and a grading edition of each, and a helpful refusal."""
    command = [sys.executable, str(editions.ROOT / "tools" / "editions.py")]
    refused = subprocess.run([*command, "--chapter", "99"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "no chapter begins with '99'" in refused.stderr


# -------------------------------------------------------------------------- the example of docs/authoring.md


def example(part: str) -> str:
    text = (editions.ROOT / "docs" / "authoring.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {part} -->\n```python\n(.*?)\n```", text, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_example_for_authors_works(tmp_path):
    exec(example("check"), {"__name__": "diffedu.exercises.ch95"})
    notebook, solutions = read(tmp_path, example("chapter"), example("solution"))
    stubs = {stub.id: stub.code for stub in editions.find_stubs(notebook)}
    unsolved = editions.answers(notebook, stubs)["95.1"]
    assert judge("95.1", unsolved, [0]).state == "not attempted"
    editions.match(editions.find_stubs(notebook), solutions)
    solved = editions.answers(notebook, {id: solution.code for id, solution in solutions.items()})["95.1"]
    assert judge("95.1", solved, range(5)).state == "solved"
    scope: dict[str, Any] = {"__name__": "wrong_answers"}
    exec(example("wrong answers"), scope)
    said = {name: judge("95.1", answer, range(2)) for name, answer in scope["WRONG"]["95.1"]}
    assert all(outcome.state == "not yet" for outcome in said.values())
    assert len({outcome.sentence for outcome in said.values()}) == len(said)
    assert not any("differs most" in outcome.sentence for outcome in said.values())


# --------------------------------------------------------------------------------------------- the book's own

every_chapter = pytest.mark.parametrize("source", editions.sources(), ids=lambda source: source.stem)


def book(source: Path) -> tuple[NotebookNode, dict[str, editions.Solution]]:
    return load(source), editions.find_solutions(editions.SOLUTIONS / source.name)


@every_chapter
def test_grading_edition_of_a_chapter(source):
    merged = editions.grading_edition(*book(source), SEED)
    nbformat.validate(merged)
    messages: dict[str, Any] = graded(merged, merged)
    assert all(message == "" for message in messages.values()), messages
    unsolved = graded(merged, released(merged))
    assert all(unsolved.values())
    assert set(unsolved) == set(messages)


@pytest.mark.slow
@every_chapter
def test_solved_edition_of_a_chapter_runs(source):
    """In a kernel, every solution before its check. What no answer needs is left out: it runs with the chapter."""
    notebook, solutions = book(source)
    said = editions.printed(editions.execute(quick(editions.solved_edition(notebook, solutions))))
    for id in solutions:
        assert any(line.startswith(f"{id} solved. ") for line in said), f"{id} is not solved"


def quick(solved: NotebookNode) -> NotebookNode:
    """Of a solved edition the solutions, their checks, and what `editions.namespace` keeps for them."""
    cells = [cell for cell in solved.cells if cell.cell_type == "code"]
    for before, cell in zip([None, *cells], cells, strict=False):
        whole = {"setup", "solution"} & set(cell.metadata.get("tags", []))
        if not whole and not (before is not None and "solution" in before.metadata.get("tags", [])):
            cell.source = "\n".join(map(ast.unparse, filter(editions.is_plain, editions.parse(cell).body)))
    solved.cells = cells
    return solved


@every_chapter
def test_solutions_leave_the_names_of_their_chapter_alone(source):
    """Else a solved edition could stop at a cell behind the solution, where the chapter with its stubs runs through."""
    notebook, solutions = book(source)
    bound = [names_bound(cell) if cell.cell_type == "code" else set() for cell in notebook.cells]
    for stub in editions.find_stubs(notebook):
        new = names_bound(NotebookNode(source=solutions[stub.id].code)) - bound[stub.cell]
        others = set().union(*bound[: stub.cell], *bound[stub.cell + 1 :])
        assert not new & others, f"{stub.id} binds {new & others}, as another cell does"


def names_bound(cell: NotebookNode) -> set[str]:
    """The names that a cell gives a value to, outside of functions."""
    table = symtable.symtable(ast.unparse(editions.parse(cell)), "cell", "exec")
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
