"""Grade a class: a folder of submissions -> nbgrader's gradebook, grades.csv and feedback pages.

python run.py grade --assign 05 07             make the assignment; the notebooks to hand out are named at the end
python run.py grade FOLDER                     grade all that came back
python run.py grade FOLDER --cell-limit 20     seconds for one exercise

FOLDER holds NAME/anything.ipynb, NAME_05_forward_process.ipynb, 05_forward_process_NAME.ipynb or NAME.ipynb, a file for
each chapter that was assigned.
The course (build/editions/grading) is the one that tools/editions.py writes.

A student's notebook is never run as it came. Its answers are taken out, by grade_id or else by the names they
define, and each is run and tested in a process of its own, confined (tools/confine.py), with the tests from the
instructor's copy. Of the chapter only that runs which an answer needs. What came out is written into a short clean
notebook, which nbgrader grades without executing it: no student's code ever runs in nbgrader.
"""

from __future__ import annotations

import argparse
import ast
import csv
import dis
import functools
import importlib.util
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # two submissions run at a time, and a fork must find no threads
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # nor a GPU, which no forked process can use
os.environ["MPLBACKEND"] = "agg"

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools import confine, editions  # noqa: E402
from tools.editions import Stub  # noqa: E402

LARGEST_FILE = 50e6  # bytes of a submitted notebook
LARGEST_CELL = 100_000  # characters
MOST_CELLS = 2000
TELLING = {"builtins", "ctypes", "gc", "importlib", "inspect", "io", "linecache", "multiprocessing", "os", "pathlib"}
TELLING |= {"pickle", "shutil", "signal", "socket", "subprocess", "sys", "traceback", "urllib", "requests"}
TELLING |= {"open", "eval", "exec", "compile", "globals", "vars", "__import__", "getattr", "setattr", "grade", "judge"}
TELLING |= {"attrgetter", "methodcaller"}

# As in torch.os; other names, such as that of signal, are also those of honest attributes.
TELLING_PARTS = {"builtins", "ctypes", "gc", "importlib", "inspect", "os", "subprocess", "sys", "exercises", "_exit"}


@dataclass
class Work:
    """What a student handed in for one exercise."""

    id: str
    own: list[str] = field(default_factory=list)  # the student's own code cells before it
    code: str | None = None


@dataclass
class Result:
    """What became of it: no sentence means full points."""

    id: str
    sentence: str = ""
    printed: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Submission:
    student: str
    work: list[Work]
    notes: list[str]


# ------------------------------------------------------------------------------------- reading what came back


def submitted(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each notebook in the folder with its student's name.

    A file that lies loose is named by all that is not the chapter's name: to split it would be to guess, and two
    students would become one.
    """
    stems = "|".join(source.stem for source in editions.sources())
    for path in sorted(folder.rglob("*.ipynb")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts):  # .ipynb_checkpoints
            continue
        name = parts[0]
        if len(parts) == 1:
            around = [part.strip("_ -") for part in re.split(stems, path.stem, maxsplit=1)]
            name = around[0] or around[-1] or path.stem  # before the chapter's name, or else behind it
        yield plain(name), path


def plain(name: str) -> str:
    """A name that no page and no table takes for more than a name."""
    return re.sub(r"[^\w.@-]", "-", name)[:100]


def read(path: Path) -> NotebookNode | str:
    """The notebook, or a sentence that says why it can't be read."""
    name = plain(path.name)
    if path.is_symlink() or not path.is_file():  # a link could lead to the solutions
        return f"{name} is not a plain file and was not opened"
    if path.stat().st_size > LARGEST_FILE:
        return f"{name} is larger than {LARGEST_FILE / 1e6:.0f} MB and was not opened"
    try:
        notebook = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8")))
        cells = [cell for cell in notebook["cells"] if isinstance(cell, dict) and cell.get("cell_type") == "code"]
        for cell in cells:
            # The format also allows a list of lines.
            cell["source"] = confine.speakable("".join(cell.get("source", "")))
            if not isinstance(cell.get("metadata"), dict):
                cell["metadata"] = nbformat.from_dict({})
    except Exception as error:  # whatever a broken file raises
        return f"{name} can't be read as a notebook ({type(error).__name__})"
    if len(cells) > MOST_CELLS or any(len(cell["source"]) > LARGEST_CELL for cell in cells):
        return f"{name} has more than {MOST_CELLS} cells, or one of more than {LARGEST_CELL:,} characters"
    return nbformat.from_dict({"cells": cells})


def grade_id(cell: NotebookNode) -> str:
    entry = cell.metadata.get("nbgrader", {})
    return str(entry.get("grade_id", "")) if isinstance(entry, dict) else ""


def defined(code: str) -> set[str]:
    """The names that a cell's own lines, outside of its functions, give a value to; "*" for an import of all."""
    names: set[str] = set()
    for node in syntax(code).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                names.add(part.id)
            elif isinstance(part, ast.alias):
                names.add((part.asname or part.name).partition(".")[0])
            elif isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load):
                names |= {one.id for one in ast.walk(part.value) if isinstance(one, ast.Name)}  # x[0] = 1 changes x
    return names


def mentioned(code: str) -> set[str]:
    return {node.id for node in ast.walk(syntax(code)) if isinstance(node, ast.Name)}


def divided(code: str, setup: bool = False) -> tuple[list[str], str]:
    """A cell's imports, functions and literals (of a setup cell all), and the rest of it."""
    body = syntax(code).body
    quick = [ast.unparse(node) for node in body if setup or editions.is_plain(node)]
    rest = [ast.unparse(node) for node in body if not (setup or editions.is_plain(node))]
    return quick, "\n".join(rest)


@functools.lru_cache(maxsize=4096)
def used(code: str) -> frozenset[str]:
    """The names that a cell takes from outside: not its functions' arguments, nor what it gave a value to before."""
    found: set[str] = set()
    own: set[str] = set()
    try:
        parts = [compile(syntax(code), "<cell>", "exec")]
    except (SyntaxError, ValueError, RecursionError):  # such as a return outside of a function
        return frozenset()
    while parts:
        part = parts.pop()
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL") and step.argval not in own:
                found.add(step.argval)
            elif step.opname in ("STORE_NAME", "STORE_GLOBAL") and part.co_name == "<module>":
                own.add(step.argval)
        parts += [one for one in part.co_consts if isinstance(one, types.CodeType)]
    return frozenset(found)


@functools.lru_cache(maxsize=4096)
def syntax(code: str) -> ast.Module:
    """A cell's syntax tree, empty where it has none."""
    try:
        return editions.parse(NotebookNode(source=code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def collect(notebook: NotebookNode, stubs: list[Stub], release: NotebookNode) -> tuple[list[Work], list[str]]:
    """The answers, whatever was done to the notebook around them, and what was done."""
    notes: list[str] = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    given = {cell.source.strip() for cell in release.cells if cell.cell_type == "code"}
    given_ids = {cell.id for cell in release.cells if cell.cell_type == "code" and not grade_id(cell)}
    missing: list[str] = []
    edited: list[str] = []
    places: dict[int, int] = {}  # the number of a cell -> the number of the exercise that it answers
    for number, stub in enumerate(stubs):
        wanted, slug = defined(stub.code), stub.id.replace(".", "-")
        named = [k for k, cell in enumerate(cells) if grade_id(cell) == f"answer-{slug}"]
        # An answer may stand in another cell than the stub's, and Colab or a copied cell may lose the metadata.
        loose = [k for k, c in enumerate(cells) if not grade_id(c) and wanted and wanted <= defined(c.source)]
        changed = [k for k in named if cells[k].source.strip() != stub.code.strip()]
        loose = [k for k in loose if cells[k].source.strip() not in given]  # the chapter may define that name, too
        if len(changed) > 1:
            notes.append(f"{stub.id} stood there {len(changed)} times: the last was graded")
        if not named:
            notes.append(f"the answer cell of {stub.id} was missing" + (": another was taken" if loose else ""))
        elif loose and not changed:
            notes.append(f"the answer to {stub.id} was found in another cell")
        found = changed or loose or named
        if found:
            places[found[-1]] = number
        tests = [cell for cell in cells if grade_id(cell) == f"grade-{slug}"]
        ours = next(cell.source.strip() for cell in release.cells if grade_id(cell) == f"grade-{slug}")
        if not tests:
            missing.append(stub.id)
        elif any(cell.source.strip() != ours for cell in tests):
            edited.append(stub.id)
    for what, ids in (("missing", missing), ("edited", edited)):
        if ids:
            notes.append(f"tests were {what} ({', '.join(ids)}): the course's own were used")
    work = [Work(stub.id) for stub in stubs]
    own: list[str] = []
    for k, cell in enumerate(cells):
        if k in places:
            work[places[k]].code, work[places[k]].own = cell.source, own
            own = []
        elif not grade_id(cell) and cell.source.strip() not in given and cell.get("id") not in given_ids:
            own = [*own, cell.source]
    return work, notes


def telling(work: Work) -> str:
    """A note where an answer uses what no answer needs: a person should read it."""
    found = set()
    for node in ast.walk(syntax("\n".join([*work.own, work.code or ""]))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found |= {name for name in modules if name.partition(".")[0] in TELLING or "exercises" in name}
        elif isinstance(node, ast.Name) and node.id in TELLING:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and (
            node.attr in TELLING_PARTS or node.attr.startswith(("__", "f_", "_get"))
        ):
            found.add(node.attr)
    found.discard("__init__")
    return f"read {work.id} yourself: it uses {', '.join(sorted(found))}" if found else ""


def submission_of(student: str, notebook: NotebookNode, chapter: Chapter) -> Submission:
    try:
        submission = Submission(student, *collect(notebook, chapter.stubs, chapter.release))
        submission.notes += [note for note in map(telling, submission.work) if note]
        return submission
    except Exception as error:  # whatever was made of the cells, the others go on
        why = f"grade this by hand: its cells could not be read ({type(error).__name__})"
        return Submission(student, [Work(stub.id) for stub in chapter.stubs], [why])


# ---------------------------------------------------------------------------------------------- running answers


@dataclass
class Chapter:
    source: Path
    notebook: NotebookNode
    stubs: list[Stub]
    scope: dict[str, Any]
    seed: int
    release: NotebookNode

    @property
    def name(self) -> str:
        return self.source.stem


def needed(chapter: Chapter, work: list[Work], number: int) -> list[str]:
    """The cells, in order, that an exercise builds upon: the student's own, earlier answers, the chapter's.

    So a hostile answer cannot touch the next one, unless that uses it, and no training runs unless an answer
    asks for what was trained.
    """
    stub = chapter.stubs[number]
    before: list[tuple[float, str, bool, bool]] = []  # place, code, whether the student's, whether a setup cell
    for k, cell in enumerate(chapter.notebook.cells[: stub.cell]):
        if cell.cell_type == "code" and not editions.is_exercise(cell):
            before.append((k, cell.source, False, "setup" in cell.metadata.get("tags", [])))
    for other, one in zip(chapter.stubs[: number + 1], work):
        before += [(other.cell - 0.5, code, True, False) for code in one.own]
        if one.code is not None and other.id != stub.id:
            before.append((other.cell, one.code, True, False))
    before.sort(key=lambda entry: entry[0])
    mine = work[number].code or ""
    wanted = used(mine) | (used(stub.answer) - defined(mine))
    chosen: list[str] = []
    for _, code, theirs, setup in reversed(before):
        names = defined(code) & (wanted | {"*"})
        quick, rest = divided(code, setup)
        if not names:
            continue
        if names & (mentioned(rest) if theirs else defined(rest)):
            chosen.append(code)
            wanted |= used(code)
            continue
        # Only imports, functions and literals are wanted: no need to run the loop that stands below them.
        parts = [part for part in quick if defined(part) & names]
        wanted = (wanted - names).union(*map(used, parts))
        if theirs:  # the chapter's are loaded once for all
            chosen.append("\n".join(parts))
    return chosen[::-1]


def said(error: BaseException) -> str:
    """An error's name and message, whatever its class makes of str."""
    name = type(error).__name__[:100]
    try:
        return f"{name}: {str(error)[:1000]}".rstrip(": ")
    except BaseException:
        return name


def run_exercise(chapter: Chapter, work: list[Work], number: int, seed: int, printed: confine.Printed) -> str:
    """In the confined process: run one answer and its test. Returns "" or what is wrong, as a sentence."""
    from diffedu.exercises import grade

    stub, scope = chapter.stubs[number], chapter.scope | {"display": lambda *_, **__: None}
    code = work[number].code
    if code is None:
        return f"{stub.id} not attempted: there is no answer in the notebook."
    try:
        compile(editions.parse(NotebookNode(source=code)), "<your cell>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{stub.id} not yet: your cell is not Python ({error})."
    earlier = needed(chapter, work, number)
    for cell in [*earlier, code]:
        last = cell is code
        printed.on = last
        try:
            editions.run_cell(cell, f"<exercise {stub.id}>" if last else "<an earlier cell>", scope)
        except BaseException as error:  # SystemExit too
            if last:
                return f"{stub.id} not yet: your cell stops with {said(error)}"
    try:
        grade(stub.id, eval(stub.answer, scope), seed=seed)
    except AssertionError as error:
        return said(error).removeprefix("AssertionError: ")
    except BaseException as error:
        return f"{stub.id} not yet: your code stops with {said(error)}"
    return ""


def run_submission(
    chapter: Chapter, submission: Submission, limits: confine.Limits, hidden: list[Path]
) -> list[Result]:
    """Each exercise in a process of its own."""
    from diffedu.exercises import seed_of

    results = []
    seed = seed_of(f"{chapter.seed} {submission.student}")  # the course's secret, and inputs of one's own
    until = time.monotonic() + limits.submission
    for number, work in enumerate(submission.work):
        left = min(limits.cell, until - time.monotonic())
        if left <= 1:
            sentence = f"{work.id} was not run: the exercises before it took {limits.submission:.0f} s."
            results.append(Result(work.id, sentence, notes=[sentence.rstrip(".")]))
            continue

        def job(printed: confine.Printed, number: int = number) -> str:
            return run_exercise(chapter, submission.work, number, seed, printed)

        scratch = tempfile.mkdtemp(prefix="diffedu-")
        try:
            outcome = confine.run(job, limits, left, Path(scratch), hidden)
        finally:  # rm, since Python's own fails at folders in folders in folders
            subprocess.run(["rm", "-rf", scratch], stderr=subprocess.DEVNULL, check=False)
        result = Result(work.id, outcome.sentence, outcome.printed, list(outcome.refused))
        if outcome.killed:
            result.sentence = f"{work.id} not yet: {outcome.killed}."
            result.notes.insert(0, f"the cell of {work.id}: {outcome.killed}")
        if outcome.characters > confine.SHOWN:
            result.notes.append(f"{work.id} printed {outcome.characters:,} characters")
        if "allocate memory" in result.sentence or "MemoryError" in result.sentence:
            result.notes.append(f"{work.id} asked for more than {limits.memory / 1e9:.1f} GB of memory")
        result.notes = [note if work.id in note else f"{work.id} {note}" for note in result.notes]
        results.append(result)
    return results


_shared: dict[str, Any] = {}  # what forked lanes inherit: a namespace can't be pickled


def _lane(number: int) -> list[Result]:
    submission = _shared["submissions"][number]
    try:
        return run_submission(_shared["chapter"], submission, _shared["limits"], _shared["hidden"])
    except Exception as error:  # whatever it is, the others go on
        return ungraded(submission, f"grade this by hand: the grader failed with {type(error).__name__}")


def ungraded(submission: Submission, why: str) -> list[Result]:
    return [
        Result(work.id, f"{work.id} was not graded.", notes=[] if k else [why])
        for k, work in enumerate(submission.work)
    ]


def run_all(
    chapter: Chapter, submissions: list[Submission], limits: confine.Limits, hidden: list[Path], lanes: int = 2
) -> list[list[Result]]:
    """Two submissions at a time. Who breaks a whole lane gets nothing and a note; the others go on."""
    _shared.update(chapter=chapter, submissions=submissions, limits=limits, hidden=hidden)
    fork = multiprocessing.get_context("fork")
    done: dict[int, list[Result]] = {}
    alone = False
    while len(done) < len(submissions):
        waiting = [k for k in range(len(submissions)) if k not in done]
        # Ctrl-C ends a lane at once, and with it (confine.py) the answer that it runs.
        end = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_DFL)}
        with ProcessPoolExecutor(1 if alone else lanes, mp_context=fork, **end) as pool:
            jobs = {k: pool.submit(_lane, k) for k in (waiting[:1] if alone else waiting)}
            for k, future in jobs.items():
                try:
                    done[k] = future.result()
                    print(f"  {submissions[k].student}", flush=True)
                except BrokenProcessPool:
                    if alone:
                        done[k] = ungraded(submissions[k], "grade this by hand: it ended the grader's process")
                    alone = True
                    break
            else:
                alone = False
    return [done[k] for k in range(len(submissions))]


# ------------------------------------------------------------------------------------------------- for nbgrader


def clean_notebook(chapter: Chapter, submission: Submission, results: list[Result]) -> NotebookNode:
    """Exercise, answer, test and outcome, in nbgrader's format; nothing else of the student's file."""
    cells = {grade_id(cell): cell for cell in chapter.release.cells if grade_id(cell)}
    notes = [*submission.notes, *(note for result in results for note in result.notes)]
    title = f"# {chapter.name}: {submission.student}"
    made = [nbformat.v4.new_markdown_cell("\n".join([title, "", *(f"- {note}" for note in notes)]), id="notes")]
    for stub, work, result in zip(chapter.stubs, submission.work, results, strict=True):
        slug = stub.id.replace(".", "-")
        above = [c for c in chapter.notebook.cells[: stub.cell] if c.cell_type == "markdown"]
        made.append(nbformat.v4.new_markdown_cell(above[-1].source if above else stub.id, id=f"text-{slug}"))
        for k, code in enumerate(work.own):
            made.append(nbformat.v4.new_code_cell(code, id=f"own-{slug}-{k}"))
        answer = nbformat.from_dict(cells[f"answer-{slug}"])
        answer.source, answer.outputs = work.code or "", []
        if result.printed:
            answer.outputs = [nbformat.v4.new_output("stream", name="stdout", text=result.printed)]
        test = nbformat.from_dict(cells[f"grade-{slug}"])
        test.outputs = []
        if result.sentence:
            test.outputs = [
                nbformat.v4.new_output("error", ename="Exercise", evalue=result.sentence, traceback=[result.sentence])
            ]
        made += [answer, test]
    metadata = nbformat.from_dict(chapter.release.metadata)
    return nbformat.v4.new_notebook(cells=made, metadata=metadata)


def nbgrader(course: Path, *arguments: str) -> None:
    """One of nbgrader's commands in the course's folder; its log stays in nbgrader.log unless it fails."""
    command = [sys.executable, "-W", "ignore", "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, check=False)
    with (course / "nbgrader.log").open("a", encoding="utf-8") as log:
        log.write(f"$ nbgrader {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        sys.exit(f"nbgrader {arguments[0]} failed (all of it: {course / 'nbgrader.log'}):\n{last}")


def assign(course: Path, prefixes: list[str], again: bool) -> list[Path]:
    """Write the grading edition of chapters and release it; what is to be handed out."""
    found = []
    for prefix in prefixes:
        sources = editions.sources(prefix.zfill(2))  # 5 will do for 05
        if len(sources) != 1:
            sys.exit(f"{prefix!r} is the beginning of {len(sources)} chapters' names; give one, such as 05.")
        (source,) = sources
        release = course / "release" / source.stem / f"{source.stem}.ipynb"
        if again or not release.exists():
            editions.write_grading(source, course)
            nbgrader(course, "generate_assignment", source.stem, "--force")
        found.append(release)
    return found


def load(course: Path, name: str) -> Chapter:
    source = editions.CHAPTERS / f"{name}.py"
    notebook = editions.load(source)
    release = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    seed = int((course / "course_seed.txt").read_text())
    stubs, ids = editions.find_stubs(notebook), {grade_id(cell) for cell in release.cells}
    if not stubs or any(f"grade-{stub.id.replace('.', '-')}" not in ids for stub in stubs):
        sys.exit(f"{name} has changed since it was assigned: take the sources of that time.")
    return Chapter(source, notebook, stubs, editions.namespace(notebook), seed, release)


def grades(course: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """From nbgrader's gradebook: student -> exercise -> points, with what a person changed there."""
    from nbgrader.api import Gradebook

    found: dict[str, dict[str, float]] = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for name in names:
            for submission in book.assignment_submissions(name):
                row = found.setdefault(submission.student_id, {})
                for notebook in submission.notebooks:
                    for one in notebook.grades:
                        row[one.name.removeprefix("grade-").replace("-", ".")] = one.score
    return found


def remembered_notes(course: Path, students: set[str], found: dict[tuple[str, str], list[str]]) -> dict[str, list[str]]:
    """Student -> notes, of this time and of the chapters that were graded before, as the gradebook keeps them."""
    path = course / "notes.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for student in students:
        kept.get(student, {}).pop("", None)  # about files of no chapter
    for (name, student), notes in found.items():
        kept.setdefault(student, {})[name] = notes
    editions.write(path, json.dumps(kept, indent=1, ensure_ascii=False))
    return {student: [note for name in sorted(by) for note in by[name]] for student, by in kept.items()}


def chapter_of(path: Path, notebook: NotebookNode | str, names: list[str]) -> str | None:
    for name in names:
        if name in path.name:
            return name
    if isinstance(notebook, str):
        return names[0] if len(names) == 1 else None
    text = " ".join(f"{grade_id(cell)} {cell.source}" for cell in notebook.cells)
    found = [name for name in names if f"answer-{int(name[:2])}-" in text or f'check("{int(name[:2])}.' in text]
    return found[0] if found else (names[0] if len(names) == 1 else None)


def name_the_exercises(course: Path, name: str) -> None:
    """nbgrader's list of marks calls each of them "Test cell": say which exercise it is."""
    for page in (course / "feedback").glob(f"*/{name}/{name}.html"):
        text = page.read_text(encoding="utf-8")
        editions.write(page, re.sub(r'(<a href="#grade-(\d+)-(\d+)">)Test cell</a>', r"\1Exercise \2.\3</a>", text))


def grade_class(course: Path, folder: Path, limits: confine.Limits) -> int:
    began = time.monotonic()
    names = sorted(path.parent.name for path in course.glob("release/*/*.ipynb"))
    if not names:
        sys.exit("Nothing was assigned yet. Begin with: python run.py grade --assign 05")
    files: dict[tuple[str, str], tuple[Path, NotebookNode | str]] = {}
    found: dict[tuple[str, str], list[str]] = {}  # (chapter, student) -> notes
    for student, path in submitted(folder):
        notebook = read(path)
        name = chapter_of(path, notebook, names)
        if name is None:
            why = notebook if isinstance(notebook, str) else f"{plain(path.name)} is none of the assigned chapters"
            found.setdefault(("", student), []).append(why)
            continue
        if (name, student) in files:
            older, _ = sorted((files[name, student][0], path), key=lambda one: one.lstat().st_mtime)
            found.setdefault((name, student), []).append(f"an older file, {plain(older.name)}, was not graded")
            if older == path:
                continue
        files[name, student] = (path, notebook)
    students = {student for _, student in [*files, *found]}
    if not students:
        sys.exit(f"No .ipynb file was found in {folder}.")
    if len(students) == 1 and any(name for name, _ in found):
        below = folder / next(iter(students))
        sys.exit(f"All files of {folder} seem to be one student's. Is {below} the folder that you meant?")
    hidden = [course.resolve(), folder.resolve(), editions.SOLUTIONS]
    print(confine.what_holds())
    for name in [name for name in names if any(name == other for other, _ in files)]:
        chapter = load(course, name)
        submissions = []
        for student, (_, notebook) in sorted((s, entry) for (n, s), entry in files.items() if n == name):
            if isinstance(notebook, str):
                submission = Submission(student, [Work(stub.id) for stub in chapter.stubs], [notebook])
            else:
                submission = submission_of(student, notebook, chapter)
            submissions.append(submission)
        print(f"{name}: {len(submissions)} submissions", flush=True)
        for submission, results in zip(submissions, run_all(chapter, submissions, limits, hidden)):
            text = nbformat.writes(clean_notebook(chapter, submission, results))
            editions.write(course / "submitted" / submission.student / name / f"{name}.ipynb", text)
            theirs = found.setdefault((name, submission.student), [])
            theirs += [*submission.notes, *(note for result in results for note in result.notes)]
        nbgrader(course, "autograde", name, "--no-execute", "--force")
        nbgrader(course, "generate_feedback", name, "--force")
        name_the_exercises(course, name)
    notes = remembered_notes(course, students, found)
    table = grades(course, names)
    ids = sorted({id for row in table.values() for id in row}, key=lambda id: [int(part) for part in id.split(".")])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["student", *ids, "total", "note"])
    for student in sorted({*table, *notes}):
        row = table.get(student, {})
        points = [f"{row[id]:g}" if id in row else "" for id in ids]
        writer.writerow([student, *points, f"{sum(row.values()):g}", "; ".join(notes.get(student, []))])
    editions.write(course / "grades.csv", file.getvalue())
    noted = sum(bool(notes.get(student)) for student in students)
    print(f"{len(students)} students in {time.monotonic() - began:.0f} s; {noted} with a note for you in grades.csv")
    for what in ("grades.csv", "feedback", "gradebook.db"):
        print(f"  {course / what}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="what the students handed in")
    parser.add_argument("--assign", nargs="+", metavar="NN", help="make an assignment of these chapters")
    parser.add_argument("--again", action="store_true", help="with --assign: also where one was made before")
    parser.add_argument("--course", type=Path, default=editions.OUT / "grading", help="the course's folder")
    parser.add_argument("--cell-limit", type=float, default=60, help="seconds for one exercise (60)")
    parser.add_argument("--limit", type=float, default=240, help="seconds for one submission (240)")
    parser.add_argument("--memory", type=float, default=2, help="GB beyond what the chapter needs (2)")
    arguments = parser.parse_args()
    if not confine.POSSIBLE:
        sys.exit("Grading needs Linux or macOS: Windows can't confine students' code this way. WSL will do.")
    if importlib.util.find_spec("nbgrader") is None:
        sys.exit(
            'nbgrader is missing. `python run.py grade` installs it; or: pip install -c constraints.txt -e ".[grading]"'
        )
    # nbgrader starts a program of its own environment (alembic) by name, which that need not have on the path.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    course = arguments.course.resolve()
    if arguments.assign:
        made = assign(course, arguments.assign, arguments.again)
        print("Hand out:", *made, sep="\n  ")
        return 0
    if arguments.folder is None or not arguments.folder.is_dir():
        sys.exit(
            f"There is no folder {arguments.folder.resolve()}."
            if arguments.folder
            else "Name the folder of submissions."
        )
    limits = confine.Limits(arguments.cell_limit, arguments.limit, arguments.memory * 1e9)
    try:
        return grade_class(course, arguments.folder, limits)
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command begins again.")


if __name__ == "__main__":
    sys.exit(main())
