"""The instructor's guide speaks of chapters, exercises and minutes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffedu.exercises import exercises

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "docs" / "course"
PAGES = sorted(COURSE.glob("*.md")) + [ROOT / "docs" / "instructors.md"]
CHAPTERS = {path.name[:2]: path.read_text(encoding="utf-8") for path in (ROOT / "chapters").glob("[0-9][0-9]_*.py")}


def minutes(chapter: str) -> int:
    """To read a chapter, as its first page says."""
    found = re.search(r"(\d+)\s+minutes\s+to\s+read", CHAPTERS[chapter])
    assert found, f"chapter {chapter} does not say how long it takes to read"
    return int(found[1])


def plans() -> dict[str, list[list[str]]]:
    """The rows of both tables of the syllabus: cells, after the week's number."""
    found: dict[str, list[list[str]]] = {}
    name = ""
    for line in (COURSE / "syllabus.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            name = line[3:]
        elif re.match(r"\| \d", line):
            found.setdefault(name, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return found


@pytest.mark.parametrize(("name", "weeks"), [("Thirteen weeks", 13), ("Six weeks", 6)])
def test_weeks_minutes_and_exercises(name: str, weeks: int) -> None:
    rows = plans()[name]
    assert [int(row[0]) for row in rows] == list(range(1, weeks + 1))
    for row in rows:
        chapters = re.findall(r"\d\d", row[1])
        assert set(chapters) <= set(CHAPTERS)
        total = minutes(chapters[0]) if " or " in row[1] else sum(map(minutes, chapters))
        assert int(row[2]) == total, f"{name}, week {row[0]}: {row[2]} minutes, but the chapters say {total}"
        known = {one.id for chapter in chapters for one in exercises(int(chapter))}
        named = re.findall(r"\b\d+\.\d+\b", " ".join(row[4:]))
        assert named
        assert set(named) <= known, (
            f"{name}, week {row[0]}: {sorted(set(named) - known)} are no exercises of its chapters"
        )


def test_the_long_course_leaves_nothing_out() -> None:
    chapters = {number for row in plans()["Thirteen weeks"] for number in re.findall(r"\d\d", row[1])}
    assert chapters == set(CHAPTERS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).resolve().exists(), f"{page.name} links to {target}, which does not exist"
    commands = re.findall(r"python run\.py ([a-z-]+)", text)
    known = (ROOT / "run.py").read_text(encoding="utf-8")
    for command in commands:
        assert f"def {command.replace('-', '_')}(" in known, f"{page.name}: python run.py {command} does not exist"


def test_exam_questions_are_numbered_and_answered() -> None:
    text = (COURSE / "exam.md").read_text(encoding="utf-8")
    questions = re.split(r"^\*\*\d+\.\*\* ", text, flags=re.MULTILINE)[1:]
    assert [int(n) for n in re.findall(r"^\*\*(\d+)\.\*\* ", text, re.MULTILINE)] == list(range(1, len(questions) + 1))
    for number, question in enumerate(questions, 1):
        assert re.search(r"\?\s+\*\S", question) or re.search(r"[.?]\s+\*\S", question), (
            f"question {number} has no answer"
        )
