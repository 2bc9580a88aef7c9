"""Grading a class: honest, careless and hostile submissions."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tools import confine, editions, grade

NAME = "05_forward_process"
SEED = 31415
IDS = [f"5.{k}" for k in range(1, 11)]

posix = pytest.mark.skipif(not confine.POSSIBLE, reason="grading needs Linux or macOS")
with_nbgrader = pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None, reason='nbgrader is not installed: pip install -e ".[grading]"'
)


def released(notebook: NotebookNode) -> NotebookNode:
    """The grading edition as nbgrader releases it."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        for name in ("SOLUTION", "HIDDEN TESTS"):
            head, begin, rest = cell.source.partition(f"### BEGIN {name}\n")
            cell.source = (head + rest.partition(f"### END {name}")[2]).strip() if begin else cell.source
    return copy


@pytest.fixture(scope="module")
def chapter() -> grade.Chapter:
    (source,) = editions.sources("05")
    notebook = editions.load(source)
    solutions = editions.find_solutions(editions.SOLUTIONS / source.name)
    release = released(editions.grading_edition(notebook, solutions, SEED))
    return grade.Chapter(source, notebook, editions.find_stubs(notebook), editions.namespace(notebook), SEED, release)


def solved(release: NotebookNode, **changed: str) -> NotebookNode:
    """A submission with every solution in its place, and some other codes: solved(release, a5_3="...")."""
    solutions = editions.find_solutions(editions.SOLUTIONS / f"{NAME}.py")
    copy = nbformat.from_dict(release)
    for cell in copy.cells:
        id = grade.grade_id(cell).removeprefix("answer-").replace("-", ".")
        if id in solutions:
            cell.source = changed.get(f"a{id.replace('.', '_')}", solutions[id].code)
    return copy


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if grade.grade_id(cell) == name)


READS = """\
import inspect, os
seen = []
def add_noise(x0, eps, t, alpha_bar):
    seen.append(inspect.currentframe().f_back.f_locals)
    for folder, _, files in os.walk("COURSE"):
        seen.extend(open(os.path.join(folder, file)).read() for file in files)
    return open("COURSE/course_seed.txt").read()
"""


def hostile(release: NotebookNode, course: Path) -> dict[str, NotebookNode]:
    loop = solved(release, a5_3="while True:\n    pass")
    crash = solved(release, a5_1="import os\nos._exit(0)")
    prints = solved(release, a5_2="for _ in range(300):\n    print('spam ' * 20_000)\nshrunk_picture = 'clearer'")
    deletes = solved(release)
    gone = {"answer-5-2", "grade-5-2", "grade-5-4", "answer-5-9"}
    deletes.cells = [cell for cell in deletes.cells if grade.grade_id(cell) not in gone]
    edits = solved(release, a5_1="def add_noise(x0, eps, t, alpha_bar):\n    return x0")
    for cell in edits.cells:
        if grade.grade_id(cell).startswith("grade-"):
            cell.source = "print('all right')"
            cell.metadata.nbgrader.points = 100
    edits.cells.append(nbformat.from_dict(cell_of(edits, "grade-5-1")))
    reads = solved(release, a5_1=READS.replace("COURSE", str(course)))
    return {"loop": loop, "crash": crash, "prints": prints, "deletes": deletes, "edits": edits, "reads": reads}


# ------------------------------------------------------------------------------------ names, cells and answers


@pytest.mark.parametrize(
    ("files", "students"),
    [
        (["anna/homework.ipynb", "ben/homework.ipynb"], ["anna", "ben"]),
        (["anna_lee.ipynb", "anna_kim.ipynb"], ["anna_kim", "anna_lee"]),
        ([f"dora_lee_{NAME}.ipynb", f"dora_kim_{NAME}-1.ipynb"], ["dora_kim", "dora_lee"]),
        ([f"{NAME}_anna.ipynb", f"{NAME}_ben.ipynb"], ["anna", "ben"]),
        ([f"{NAME}.ipynb", "e f.ipynb"], [NAME, "e-f"]),
        ([f"zoë/{NAME}/{NAME}.ipynb", "zoë/.ipynb_checkpoints/homework-checkpoint.ipynb"], ["zoë"]),
        (["<img src=x>.ipynb"], ["-img-src-x-"]),
    ],
)
def test_no_two_students_become_one(tmp_path, files, students):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert [name for name, _ in grade.submitted(tmp_path)] == students


@pytest.mark.parametrize("metadata", [{"nbgrader": 3}, {"nbgrader": {"grade_id": ["a"]}}, {"tags": 5}])
def test_odd_cells_are_read(chapter, metadata):
    notebook = nbformat.v4.new_notebook()
    for code in ("a" + "[0]" * 400 + " = 1", "a" + ".b" * 900, "(" * 5000, "-" * 5000 + "1", "x = 1\0", "%%bash\nls"):
        cell = nbformat.v4.new_code_cell(code)
        cell.metadata = nbformat.from_dict(metadata)
        notebook.cells.append(cell)
    submission = grade.submission_of("anna", notebook, chapter)
    assert len(submission.work) == 10
    assert not any("by hand" in note for note in submission.notes)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "a.ipynb").symlink_to(editions.CHAPTERS / f"{NAME}.ipynb")
    assert grade.read(tmp_path / "a.ipynb") == "a.ipynb is not a plain file and was not opened"


def test_chapter_is_known_without_metadata(chapter):
    names = ["04_score_matching", NAME]
    bare = nbformat.from_dict(chapter.release)
    for cell in bare.cells:
        cell.metadata = nbformat.from_dict({})
    assert grade.chapter_of(Path("homework.ipynb"), bare, names) == NAME
    bare.cells = []
    assert grade.chapter_of(Path("homework.ipynb"), bare, names) is None


def test_notes_of_a_chapter_stay_when_another_is_graded(tmp_path):
    assert grade.remembered_notes(tmp_path, {"anna"}, {("05", "anna"): ["a"], ("", "anna"): ["no chapter"]}) == {
        "anna": ["no chapter", "a"]
    }
    assert grade.remembered_notes(tmp_path, {"anna"}, {("07", "anna"): ["b"]}) == {"anna": ["a", "b"]}
    assert grade.remembered_notes(tmp_path, {"anna"}, {("05", "anna"): []}) == {"anna": ["b"]}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code", "source": 4}]}'])
def test_broken_file_gives_a_sentence(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    assert "a.ipynb can't be read as a notebook" in str(grade.read(path))


def test_answers_of_an_untouched_and_a_solved_notebook(chapter):
    work, notes = grade.collect(chapter.release, chapter.stubs, chapter.release)
    assert [one.id for one in work] == IDS
    assert [one.code for one in work] == [stub.code for stub in chapter.stubs]
    assert not notes
    work, notes = grade.collect(solved(chapter.release), chapter.stubs, chapter.release)
    assert "return" in str(work[0].code)
    assert not notes
    assert not any(one.own for one in work)


def test_answer_without_metadata_in_another_cell_or_twice(chapter):
    right = cell_of(solved(chapter.release), "answer-5-1").source
    bare = solved(chapter.release)
    for cell in bare.cells:
        cell.metadata = nbformat.from_dict({})
    work, notes = grade.collect(bare, chapter.stubs, chapter.release)
    assert work[0].code == right
    assert "the answer cell of 5.1 was missing: another was taken" in notes

    other = nbformat.from_dict(chapter.release)
    other.cells.append(nbformat.v4.new_code_cell(right))
    work, notes = grade.collect(other, chapter.stubs, chapter.release)
    assert (work[0].code, notes) == (right, ["the answer to 5.1 was found in another cell"])

    twice = solved(chapter.release, a5_1="def add_noise(): 1")
    copied = nbformat.from_dict(cell_of(twice, "answer-5-1"))
    copied.source = right
    twice.cells.append(copied)
    work, notes = grade.collect(twice, chapter.stubs, chapter.release)
    assert (work[0].code, notes) == (right, ["5.1 stood there 2 times: the last was graded"])


def test_deleted_and_edited_tests_are_noted(chapter):
    made = hostile(chapter.release, Path("/nowhere"))
    _, notes = grade.collect(made["deletes"], chapter.stubs, chapter.release)
    assert notes == [
        "the answer cell of 5.2 was missing",
        "the answer cell of 5.9 was missing",
        "tests were missing (5.2, 5.4): the course's own were used",
    ]
    _, notes = grade.collect(made["edits"], chapter.stubs, chapter.release)
    assert notes == [f"tests were edited ({', '.join(IDS)}): the course's own were used"]


def test_what_an_answer_needs(chapter):
    """A student's helper and the chapter's `path` are run for it; what it does not use is not."""
    work = [grade.Work(stub.id, code=stub.code) for stub in chapter.stubs]
    work[1].own = ["import itertools", "helper = path.T", "helper[0] = 1", "1 / 0"]
    work[2].code = "first_noisy_step = helper"
    cells = grade.needed(chapter, work, 2)
    assert cells[-2:] == ["helper = path.T", "helper[0] = 1"]
    assert any("path = DiscreteDDPM" in cell for cell in cells)
    assert len(cells) < 6
    work[2].code = "first_noisy_step = 3"
    assert grade.needed(chapter, work, 2) == []
    work[2].code = "path = 3\nfirst_noisy_step = path"  # a name of one's own, though the chapter has it too
    assert grade.needed(chapter, work, 2) == []


def test_of_an_earlier_answer_only_what_is_wanted_runs(chapter):
    work = [grade.Work(stub.id) for stub in chapter.stubs]
    work[0].code = "import itertools\nwhile True:\n    pass"
    work[1].code = "ones = [1]\nones.append(2)"
    work[2].code = "first_noisy_step = itertools.count()"
    assert grade.needed(chapter, work, 2) == ["import itertools"]
    work[2].code = "first_noisy_step = ones"
    assert grade.needed(chapter, work, 2) == [work[1].code]


def test_chapters_function_brings_what_it_uses(chapter):
    """A function is loaded once for all, but the model that it calls is trained in another cell."""
    cells = [
        nbformat.v4.new_code_cell("limit = 2\nmodel = max([1, limit])"),
        nbformat.v4.new_code_cell("def use():\n    return model\n\nuse()"),
        nbformat.v4.new_code_cell("", metadata={"tags": ["exercise"]}),
    ]
    small = nbformat.v4.new_notebook(cells=cells)
    stub = editions.Stub("5.1", 2, 3, "", "answer")
    made = grade.Chapter(chapter.source, small, [stub], {}, SEED, chapter.release)
    assert grade.needed(made, [grade.Work("5.1", code="answer = use()")], 0) == [cells[0].source]
    assert grade.needed(made, [grade.Work("5.1", code="answer = limit")], 0) == []


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import os\nx = 1", "os"),
        ("from diffedu.exercises import _framework", "diffedu.exercises"),
        ("f = (lambda: 0).__globals__", "__globals__"),
        ("x = open('a')", "open"),
        ("import torch\ntorch.os.getcwd()", "os"),
    ],
)
def test_telling_answers_are_named(code, names):
    assert grade.telling(grade.Work("5.3", code=code)) == f"read 5.3 yourself: it uses {names}"


def test_solutions_tell_nothing(chapter):
    work, _ = grade.collect(solved(chapter.release), chapter.stubs, chapter.release)
    assert [grade.telling(one) for one in work] == [""] * 10


def test_clean_keeps_the_grades_of_a_class(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("run_for_test", editions.ROOT / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    kept = tmp_path / "build" / "editions" / "grading" / "gradebook.db"
    gone = [tmp_path / "build" / "slides" / "a.html", tmp_path / "build" / "editions" / "solved" / "a.ipynb"]
    for path in (kept, *gone):
        path.parent.mkdir(parents=True)
        path.touch()
    run.clean()
    assert kept.exists()
    assert not any(path.exists() for path in gone)
    kept.unlink()
    run.clean()
    assert not (tmp_path / "build").exists()


# -------------------------------------------------------------------------------------------------- confinement


def confined(job, tmp_path: Path, seconds: float = 5, **limits: float) -> confine.Outcome:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return confine.run(job, confine.Limits(**limits), seconds, scratch, [tmp_path / "hidden"])


@posix
def test_confined_result_and_output(tmp_path):
    def job(printed):
        print("x" * 10_000)
        return "done"

    outcome = confined(job, tmp_path)
    assert (outcome.sentence, outcome.characters, len(outcome.printed)) == ("done", 10_001, confine.SHOWN)


@posix
def test_confined_loop_and_exit(tmp_path):
    def loop(printed):
        while True:
            pass

    began = time.monotonic()
    assert confined(loop, tmp_path, 1).killed == "it ran longer than 1 s and was stopped"
    assert time.monotonic() - began < 5


@posix
def test_confined_exit(tmp_path):
    import os

    assert "ended the Python process" in confined(lambda printed: os._exit(0), tmp_path).killed


@posix
def test_confined_answer_writes_no_result_of_its_own(tmp_path):
    import os

    def forge(printed):
        for pipe in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(pipe, b'{"token": "", "sentence": "", "printed": "", "characters": 0, "refused": []}')
        os._exit(0)

    assert "ended the Python process" in confined(forge, tmp_path).killed


@posix
def test_confined_files_are_limited_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(confine, "ALL_FILES", 3_000_000)

    def fill(printed):
        for k in range(8):
            Path(f"{k}").write_bytes(bytes(1_000_000))
        time.sleep(30)
        return "done"

    assert confined(fill, tmp_path, 20).killed == "it wrote more than 3 MB of files and was stopped"


@posix
def test_confined_half_characters_and_deep_folders(tmp_path):
    import os

    def job(printed):
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        print("\ud800")
        time.sleep(3 * confine.LOOK)  # long enough to be looked at
        return "\udfff"

    outcome = confined(job, tmp_path)
    assert (outcome.sentence, outcome.printed, outcome.killed) == ("?", "?\n", "")
    subprocess.run(["rm", "-rf", tmp_path / "scratch"], check=True)  # pytest's own would fail


@posix
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux enforces a limit of memory")
def test_confined_memory(tmp_path):
    def job(printed):
        try:
            return str(len(bytearray(1_000_000_000)))
        except MemoryError:
            return "MemoryError"

    assert confined(job, tmp_path, memory=5e8).sentence == "MemoryError"


@posix
def test_confined_files_network_and_processes(tmp_path):
    (tmp_path / "hidden").mkdir()
    secret = tmp_path / "hidden" / "seed"
    secret.write_text("1")

    def job(printed):
        said = []
        for attempt in (
            lambda: secret.read_text(),
            lambda: socket.create_connection(("127.0.0.1", 9)),
            lambda: subprocess.run(["true"], check=False),
            lambda: Path("mine").write_text("may be written"),
        ):
            try:
                attempt()
                said.append("done")
            except PermissionError:
                said.append("refused")
        return " ".join(said)

    outcome = confined(job, tmp_path)
    assert outcome.sentence == "refused refused refused done"
    assert outcome.refused == (
        "was refused the course's files",
        "was refused the network",
        "was refused another program",
    )


@posix
def test_kernel_closes_files(tmp_path):
    """What the audit hook does not look at, Landlock closes."""
    if "by the kernel" not in confine.what_holds():
        pytest.skip("this kernel has no Landlock")
    outside = tmp_path / "outside"
    outside.write_text("x")

    def job(printed):
        said = []
        devices = Path("/dev")
        for attempt in (
            outside.read_text,
            lambda: outside.write_text("y"),
            outside.unlink,
            lambda: list(devices.iterdir()),
        ):
            try:
                attempt()
                said.append("done")
            except PermissionError:
                said.append("refused")
        return " ".join(said)

    assert confined(job, tmp_path).sentence == "refused refused refused refused"
    assert outside.read_text() == "x"


# ------------------------------------------------------------------------------------------ graded, no nbgrader


def failed(chapter: grade.Chapter, notebook: NotebookNode, tmp_path: Path) -> tuple[dict[str, str], list[str]]:
    work, notes = grade.collect(notebook, chapter.stubs, chapter.release)
    submission = grade.Submission("anna", work, notes)
    results = grade.run_submission(chapter, submission, confine.Limits(4, 60), [tmp_path])
    return {one.id: one.sentence for one in results if one.sentence}, [n for one in results for n in one.notes]


@posix
def test_right_answers_get_all_and_stubs_nothing(chapter, tmp_path):
    assert failed(chapter, solved(chapter.release), tmp_path) == ({}, [])
    assert list(failed(chapter, chapter.release, tmp_path)[0]) == IDS


@posix
@pytest.mark.slow
def test_hostile_answers_cost_their_own_exercise(chapter, tmp_path):
    (tmp_path / "course_seed.txt").write_text("31415")
    made = hostile(chapter.release, tmp_path)
    said = {name: failed(chapter, notebook, tmp_path) for name, notebook in made.items()}
    lost = {name: list(sentences) for name, (sentences, _) in said.items()}
    assert lost == {
        "loop": ["5.3"],
        "crash": ["5.1"],
        "prints": ["5.2"] if said["prints"][0] else [],
        "deletes": ["5.2", "5.9"],
        "edits": ["5.1"],
        "reads": ["5.1"],
    }
    assert said["loop"][1] == ["the cell of 5.3: it ran longer than 4 s and was stopped"]
    assert said["crash"][1][0].startswith("the cell of 5.1: it ended the Python process")
    assert said["prints"][1] == ["5.2 printed 30,000,300 characters"]
    assert said["reads"][1] == ["5.1 was refused the course's files"]


@posix
def test_odd_answers_are_described_as_what_they_are(chapter, tmp_path):
    odd = {
        "a5_1": "return 3",
        "a5_2": "class E(Exception):\n    def __str__(self):\n        raise self\nraise E",
        "a5_3": "await 3",
        "a5_4": "raise SystemExit(0)",
    }
    sentences, notes = failed(chapter, solved(chapter.release, **odd), tmp_path)
    assert list(sentences) == ["5.1", "5.2", "5.3", "5.4"]
    assert "not Python ('return' outside function" in sentences["5.1"]
    assert sentences["5.2"] == "5.2 not yet: your cell stops with E"
    assert "not Python ('await' outside function" in sentences["5.3"]
    assert sentences["5.4"] == "5.4 not yet: your cell stops with SystemExit: 0"
    assert notes == []


@posix
def test_a_failure_of_the_grader_stops_nobody_else(chapter, tmp_path, monkeypatch):
    work, notes = grade.collect(solved(chapter.release), chapter.stubs, chapter.release)
    real = grade.run_submission

    def run(chapter, submission, limits, hidden):
        if submission.student == "ben":
            raise RecursionError
        if submission.student == "cem":
            import os

            os._exit(1)
        return real(chapter, submission, limits, hidden)

    monkeypatch.setattr(grade, "run_submission", run)
    submissions = [grade.Submission(name, work, notes) for name in ("anna", "ben", "cem", "dora")]
    done = grade.run_all(chapter, submissions, confine.Limits(10, 60), [tmp_path])
    assert [sum(not one.sentence for one in results) for results in done] == [10, 0, 0, 10]
    assert done[1][0].notes == ["grade this by hand: the grader failed with RecursionError"]
    assert done[2][0].notes == ["grade this by hand: it ended the grader's process"]


@posix
def test_answer_may_build_on_an_earlier_one_and_on_own_cells(chapter, tmp_path):
    notebook = solved(chapter.release, a5_3="first_noisy_step = find()")
    place = notebook.cells.index(cell_of(notebook, "answer-5-3"))
    right = cell_of(solved(chapter.release), "answer-5-3").source
    body = "\n".join(f"    {line}" for line in right.splitlines())
    own = nbformat.v4.new_code_cell(f"def find():\n{body}\n    return first_noisy_step")
    notebook.cells.insert(place, own)
    assert failed(chapter, notebook, tmp_path) == ({}, [])


# ----------------------------------------------------------------------------------------------- with nbgrader


@posix
@with_nbgrader
@pytest.mark.slow
def test_a_class_with_hostile_submissions(tmp_path):
    command = [sys.executable, str(grade.ROOT / "tools" / "grade.py"), "--course", str(tmp_path / "course")]
    subprocess.run([*command, "--assign", "05"], check=True)
    release = nbformat.read(tmp_path / "course" / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    seed = (tmp_path / "course" / "course_seed.txt").read_text().strip()
    assert seed not in nbformat.writes(release)
    folder = tmp_path / "back"
    made = hostile(release, tmp_path / "course") | {"right": solved(release), "stubs": release}
    for name, notebook in made.items():
        editions.write(folder / name / "homework.ipynb", json.dumps(notebook))  # as it is, ids twice and all
    half = solved(release, a5_2="print('\\ud800<script>')\nshrunk_picture = 'clearer'")  # half a character
    half.cells.append(nbformat.v4.new_code_cell("# HALF"))
    text = json.dumps(half).replace("HALF", "\\ud800")
    editions.write(folder / "half.ipynb", text)
    editions.write(folder / "broken.ipynb", "{")
    subprocess.run([*command, str(folder), "--cell-limit", "5"], check=True)
    with (tmp_path / "course" / "grades.csv").open(encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    total = int(rows["right"]["total"])
    points = {id: int(rows["right"][id]) for id in IDS}
    assert total == sum(points.values()) > 10
    lost = {name: [id for id in IDS if row[id] == "0"] for name, row in rows.items()}
    assert lost["right"] == []
    assert lost["stubs"] == lost["broken"] == IDS
    assert (lost["loop"], lost["crash"], lost["edits"], lost["reads"]) == (["5.3"], ["5.1"], ["5.1"], ["5.1"])
    assert lost["deletes"] == ["5.2", "5.9"]
    for name, note in {
        "loop": "the cell of 5.3: it ran longer than 5 s",
        "crash": "ended the Python process",
        "prints": "5.2 printed 30,000,300 characters",
        "deletes": "tests were missing (5.2, 5.4)",
        "edits": "tests were edited (5.1, 5.2, ",
        "reads": "read 5.1 yourself: it uses ",
        "broken": "can't be read as a notebook",
    }.items():
        assert note in rows[name]["note"]
    for name in rows:
        page = (tmp_path / "course" / "feedback" / name / NAME / f"{NAME}.html").read_text(encoding="utf-8")
        assert seed not in page
        assert "<script>'" not in page
    page = (tmp_path / "course" / "feedback" / "loop" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "not yet" in page
    assert re.search(r'<a href="#grade-\d+-\d+">Exercise \d+\.\d+</a>', page)
    assert ">Test cell</a>" not in page
