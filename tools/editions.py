"""One source, three editions of each chapter: the student's, the solved one and the grading one.

python tools/editions.py                              all editions of all chapters, into build/editions/
python tools/editions.py --chapter 05 --edition solved
python tools/editions.py --edition solved --execute   with outputs; stops at the first cell that fails
python tools/editions.py --edition grading --course-seed 271828

The chapter (chapters/NN_topic.py) holds stubs in cells tagged "exercise"; the next code cell calls
check("N.k", answer). chapters/solutions/NN_topic.py holds for each a cell tagged "solution-N.k" below a
markdown cell that explains it. student: the chapter. solved: solutions in the places of the stubs. grading:
an nbgrader course directory (docs/instructors.md).
"""

from __future__ import annotations

import argparse
import ast
import linecache
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, Python puts tools/ there instead
    sys.path.insert(0, str(ROOT))

from tools.build_notebooks import load  # noqa: E402

CHAPTERS = ROOT / "chapters"
SOLUTIONS = CHAPTERS / "solutions"
OUT = ROOT / "build" / "editions"
EDITIONS = ("student", "solved", "grading")
CELL_TIMEOUT = 900  # seconds

NBGRADER_CONFIG = '''\
"""Written by tools/editions.py, read by nbgrader when it runs in this folder."""

from nbgrader.preprocessors import ClearHiddenTests, GetGrades
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "diffedu"
c.CourseDirectory.root = "."
# Each stub stands in front of its solution region, so nothing that raises is needed in the region's place.
c.ClearSolutions.code_stub = {"python": "# Write your answer in this cell."}
# Without this the feedback would show the students the hidden tests, and with them the course's seed.
c.GenerateFeedback.preprocessors = [GetGrades, ClearHiddenTests, CSSHTMLHeaderPreprocessor]
# For those who run nbgrader autograde by hand; tools/grade.py runs nothing in nbgrader.
# Students' code runs with your rights: a limit for each cell, and better a container around the whole.
c.ExecutePreprocessor.timeout = 180
c.ExecutePreprocessor.interrupt_on_timeout = True
'''


class EditionError(ValueError):
    """A chapter and its solutions don't fit together; the message names the exercise."""


@dataclass(frozen=True)
class Stub:
    """An exercise's place in a chapter."""

    id: str
    cell: int  # of the stub
    check: int  # of the cell that calls check
    code: str
    answer: str  # the expression that check is given


@dataclass(frozen=True)
class Solution:
    id: str
    code: str
    explanation: str


# ---------------------------------------------------------------------------------------------------- reading


def sources(prefix: str = "") -> list[Path]:
    """The chapters' sources, or those whose name begins so."""
    return sorted(path for path in CHAPTERS.glob("[0-9][0-9]_*.py") if path.name.startswith(prefix))


def parse(cell: NotebookNode) -> ast.Module:
    """A code cell's syntax tree, without the notebook's own commands."""
    lines = cell.source.split("\n")
    return ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines))


def is_exercise(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and "exercise" in cell.metadata.get("tags", [])


def find_stubs(notebook: NotebookNode) -> list[Stub]:
    """Every exercise of a chapter, in order.

    Raises:
        EditionError: a stub without its check, a check without its stub, or an id that is used twice.
    """
    found: list[Stub] = []
    waiting: int | None = None
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if is_exercise(cell):
            if waiting is not None:
                raise EditionError(f"no check follows the exercise {_first_line(notebook.cells[waiting])}")
            waiting = number
            continue
        checks = [call for call in ast.walk(parse(cell)) if isinstance(call, ast.Call) and is_check(call)]
        if waiting is None and checks:
            raise EditionError(f"no cell tagged 'exercise' comes before {ast.unparse(checks[0])}")
        if waiting is None:
            continue
        if len(checks) != 1:
            first = _first_line(notebook.cells[waiting])
            raise EditionError(f"after the exercise {first} come {len(checks)} calls of check, expected 1")
        id, answer = ast.literal_eval(checks[0].args[0]), ast.unparse(checks[0].args[1])
        if any(stub.id == id for stub in found):
            raise EditionError(f"exercise {id} occurs twice")
        found.append(Stub(id, waiting, number, notebook.cells[waiting].source, answer))
        waiting = None
    if waiting is not None:
        raise EditionError(f"no check follows the exercise {_first_line(notebook.cells[waiting])}")
    return found


def find_solutions(path: Path) -> dict[str, Solution]:
    """The solutions of one file by id; none where the file is absent (an instructor may take them away).

    Raises:
        EditionError: a solution without an explanation above it, or two with one id.
    """
    found: dict[str, Solution] = {}
    if not path.exists():
        return found
    explanation = ""
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "markdown":
            explanation = cell.source.strip()
            continue
        tags = [tag for tag in cell.metadata.get("tags", []) if tag.startswith("solution-")]
        if not tags:
            continue
        id = tags[0].removeprefix("solution-")
        if id in found:
            raise EditionError(f"{path.name} has two solutions of {id}")
        if not explanation:
            raise EditionError(f"{path.name}: no markdown cell explains solution {id}; it comes before it")
        found[id] = Solution(id, cell.source, explanation)
        explanation = ""
    return found


def match(stubs: list[Stub], solutions: Mapping[str, Solution]) -> None:
    """Raise EditionError unless every stub has a solution with the same signatures, and vice versa."""
    missing = [stub.id for stub in stubs if stub.id not in solutions]
    if missing:
        raise EditionError(f"no solution of {', '.join(missing)}")
    extra = sorted(set(solutions) - {stub.id for stub in stubs})
    if extra:
        raise EditionError(f"a solution, but no exercise in the chapter: {', '.join(extra)}")
    for stub in stubs:
        solved = _signatures(ast.parse(solutions[stub.id].code).body)
        for name, signature in _signatures(ast.parse(stub.code).body).items():
            if name not in solved:
                raise EditionError(f"solution {stub.id} does not define {name}")
            if solved[name] != signature:
                raise EditionError(f"solution {stub.id}: {name} is {solved[name]}, in the stub {signature}")


def _signatures(body: list[ast.stmt], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            found[prefix + node.name] = f"({ast.unparse(node.args)}){returns}"
        elif isinstance(node, ast.ClassDef):
            found[prefix + node.name] = f"class({', '.join(ast.unparse(base) for base in node.bases)})"
            found |= _signatures(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not prefix:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            found |= dict.fromkeys(names, "a value")
    return found


def is_check(call: ast.Call) -> bool:
    name = getattr(call.func, "id", getattr(call.func, "attr", None))
    return name == "check" and len(call.args) == 2 and isinstance(call.args[0], ast.Constant)


def _first_line(cell: NotebookNode) -> str:
    return repr(cell.source.split("\n")[0])


# ---------------------------------------------------------------------------------------------------- merging


def solved_edition(notebook: NotebookNode, solutions: Mapping[str, Solution]) -> NotebookNode:
    """The chapter with each stub replaced by its solution, below the explanation."""
    stubs = find_stubs(notebook)
    match(stubs, solutions)
    at = {stub.cell: solutions[stub.id] for stub in stubs}
    merged = nbformat.from_dict(notebook)
    merged.cells = []
    for number, cell in enumerate(notebook.cells):
        if number in at:
            solution, slug = at[number], _slug(at[number].id)
            text = f"**Solution {solution.id}.** {solution.explanation}"
            merged.cells.append(nbformat.v4.new_markdown_cell(text, id=f"explanation-{slug}"))
            code = nbformat.v4.new_code_cell(solution.code, id=f"solution-{slug}")
            merged.cells.append(nbformat.from_dict(code | {"metadata": {"tags": ["solution"]}}))
        else:
            merged.cells.append(nbformat.from_dict(cell))
    return merged


def grading_edition(notebook: NotebookNode, solutions: Mapping[str, Solution], course_seed: int) -> NotebookNode:
    """The chapter in nbgrader's format (schema 3): solution regions, and hidden tests that call ``grade``.

    The stub stands before the solution region, so what nbgrader releases is the chapter's own stub, also
    where it holds code to be mended. The visible check stays and counts nothing.
    """
    from diffedu.exercises import find

    stubs = find_stubs(notebook)
    match(stubs, solutions)
    by_stub = {stub.cell: stub for stub in stubs}
    by_check = {stub.check: stub for stub in stubs}
    merged = nbformat.from_dict(notebook)
    merged.cells = []
    for number, cell in enumerate(notebook.cells):
        copy = nbformat.from_dict(cell)
        merged.cells.append(copy)
        if number in by_stub:
            stub = by_stub[number]
            region = ["### BEGIN SOLUTION", solutions[stub.id].code, "### END SOLUTION"]
            copy.source = "\n".join([stub.code, *region])
            copy.metadata["nbgrader"] = _nbgrader(f"answer-{_slug(stub.id)}", solution=True)
        if number in by_check:
            stub = by_check[number]
            test = [
                f"# Exercise {stub.id} is graded here.",
                "### BEGIN HIDDEN TESTS",
                "from diffedu.exercises import grade",
                f"_ = grade({stub.id!r}, {stub.answer}, seed={course_seed})",
                "### END HIDDEN TESTS",
            ]
            graded = nbformat.v4.new_code_cell("\n".join(test), id=f"grade-{_slug(stub.id)}")
            points = find(stub.id).points
            graded.metadata["nbgrader"] = _nbgrader(f"grade-{_slug(stub.id)}", points=points)
            merged.cells.append(nbformat.from_dict(graded))
    return merged


def _nbgrader(grade_id: str, *, solution: bool = False, points: int | None = None) -> dict[str, Any]:
    graded = points is not None
    entry = {
        "schema_version": 3,
        "grade_id": grade_id,
        "grade": graded,
        "solution": solution,
        "locked": graded,
        "task": False,
    }
    return entry | ({"points": points} if graded else {})


def _slug(id: str) -> str:
    return id.replace(".", "-")


# ---------------------------------------------------------------------------------- answers without a kernel


def namespace(notebook: NotebookNode) -> dict[str, Any]:
    """What an answer needs of its chapter: imports, functions, classes, literal constants and "setup" cells.

    Everything else (training, plots) is left out, so that a chapter's answers load in a moment.
    """
    scope: dict[str, Any] = {"__name__": "chapter"}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or is_exercise(cell):
            continue
        whole = "setup" in cell.metadata.get("tags", [])
        tree = parse(cell)
        tree.body = [node for node in tree.body if whole or is_plain(node)]
        try:
            exec(compile(tree, f"<cell {number}>", "exec"), scope)
        except NameError as error:
            raise EditionError(f"{error}: give the cell that defines it the tag 'setup'") from error
    return scope


def answers(notebook: NotebookNode, codes: Mapping[str, str]) -> dict[str, Any]:
    """What each exercise's check would be given if the cells held these codes, by id."""
    scope = namespace(notebook)
    found = {}
    for stub in find_stubs(notebook):
        try:
            run_cell(codes[stub.id], f"<exercise {stub.id}>", scope)
            found[stub.id] = eval(stub.answer, scope)
        except NameError as error:
            text = f"{stub.id}: {error}: give the cell that defines it the tag 'setup'"
            raise EditionError(text) from error
    return found


def run_cell(code: str, name: str, scope: dict[str, Any]) -> None:
    """Run a cell's code in a namespace, its lines kept for messages that quote them."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    exec(compile(parse(NotebookNode(source=code)), name, "exec"), scope)


def is_plain(node: ast.stmt) -> bool:
    """Whether a statement only imports, defines or names a literal: quick, and the same wherever it runs."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
        return True
    if not isinstance(node, ast.Assign):
        return False
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------- writing


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run a notebook from the top in a kernel, in the chapters' folder; an error in a cell is raised."""
    from nbclient import NotebookClient

    place = {"metadata": {"path": str(CHAPTERS)}}
    return NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=place).execute()


def tidy(notebook: NotebookNode) -> NotebookNode:
    """The notebook without jupytext's notes on how its source was laid out."""
    for cell in notebook.cells:
        for key in set(cell.metadata) - {"tags", "nbgrader"}:
            del cell.metadata[key]
    return notebook


def printed(notebook: NotebookNode) -> list[str]:
    """All lines that an executed notebook's cells printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream").splitlines()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def write_grading(source: Path, course: Path, given: int | None = None) -> Path:
    """Write a chapter's grading edition into a course's folder."""
    seed = remembered_seed(given, course)
    notebook = grading_edition(load(source), find_solutions(SOLUTIONS / source.name), seed)
    path = course / "source" / source.stem / f"{source.stem}.ipynb"
    write(course / "nbgrader_config.py", NBGRADER_CONFIG)
    write(path, nbformat.writes(tidy(notebook)) + "\n")
    return path


def remembered_seed(given: int | None, course: Path | None = None) -> int:
    """The course's seed: the given one, or the one used before, or a new random one; written down."""
    path = (course or OUT / "grading") / "course_seed.txt"
    if given is None:
        given = int(path.read_text()) if path.exists() else secrets.randbelow(2**31)
    write(path, f"{given}\n")
    return given


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--chapter", default="", help="the beginning of a chapter's file name, such as 05")
    parser.add_argument("--edition", choices=EDITIONS, action="append", help="default: all three")
    parser.add_argument("--course-seed", type=int, help="seeds the hidden tests; see docs/instructors.md")
    parser.add_argument("--execute", action="store_true", help="run the solved edition and keep its outputs")
    arguments = parser.parse_args()
    found = sources(arguments.chapter)
    if not found:
        print(f"no chapter begins with {arguments.chapter!r}", file=sys.stderr)
        return 1
    for source in found:
        for edition in arguments.edition or EDITIONS:
            path = OUT / edition / f"{source.stem}.ipynb"
            try:
                if edition == "grading":
                    path = write_grading(source, OUT / "grading", arguments.course_seed)
                else:
                    notebook = load(source)
                    if edition == "solved":
                        notebook = solved_edition(notebook, find_solutions(SOLUTIONS / source.name))
                        notebook = execute(notebook) if arguments.execute else notebook
                    write(path, nbformat.writes(tidy(notebook)) + "\n")
            except EditionError as error:
                print(f"{source.name}: {error}", file=sys.stderr)
                return 1
            print(path.relative_to(ROOT).as_posix())
    return 0


if __name__ == "__main__":
    sys.exit(main())
