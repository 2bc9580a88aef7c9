"""Every exercise: the solution passes, the stub is known as one, and plausible mistakes are called by name.

The wrong answers stand in wrong_answers/chNN.py: ``WRONG = {"5.3": [("name", answer), ...]}``, at least three
for each exercise; a coding exercise has one whose name begins with "hard-coded" and whose output is fixed.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from diffedu.data.files import asset
from diffedu.exercises import Exercise, chapters, check, exercises, grade, judge, target_figure, targets
from tools import editions
from tools.build_notebooks import load

EVERY = [one for chapter in chapters() for one in exercises(chapter)]
# What is said of a difference that nobody recognised; a plausible mistake deserves better.
UNNAMED = ("differs most", "is too large", "is too small", "the check could not use", "is none of")
every_exercise = pytest.mark.parametrize("one", EVERY, ids=lambda one: one.id)


@functools.cache
def loaded(chapter: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The chapter's stubs and solutions, as the check receives them, by id."""
    (source,) = editions.sources(f"{chapter:02d}_")
    notebook = load(source)
    solutions = editions.find_solutions(editions.SOLUTIONS / source.name)
    stubs = editions.find_stubs(notebook)
    editions.match(stubs, solutions)
    unsolved = editions.answers(notebook, {stub.id: stub.code for stub in stubs})
    solved = editions.answers(notebook, {id: solution.code for id, solution in solutions.items()})
    return unsolved, solved


@functools.cache
def wrong_answers(chapter: int) -> dict[str, list[tuple[str, Any]]]:
    path = Path(__file__).parent / "wrong_answers" / f"ch{chapter:02d}.py"
    spec = importlib.util.spec_from_file_location(f"wrong_answers_ch{chapter:02d}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WRONG


@pytest.mark.parametrize("chapter", chapters())
def test_chapter_and_checks_have_the_same_exercises(chapter):
    unsolved, _ = loaded(chapter)
    assert sorted(unsolved) == sorted(one.id for one in exercises(chapter))


@pytest.mark.parametrize("source", editions.sources(), ids=lambda source: source.stem)
def test_exercises_of_a_chapter_have_checks(source):
    """The other direction: a chapter whose checks were never written would be missed above."""
    found = {stub.id for stub in editions.find_stubs(load(source))}
    assert found <= {one.id for one in EVERY}


@every_exercise
def test_solution_passes_at_five_seeds(one: Exercise):
    solution = loaded(one.chapter)[1][one.id]
    assert grade(one.id, solution, seed=1000) == one.points


@every_exercise
def test_stub_is_not_attempted(one: Exercise):
    assert judge(one.id, loaded(one.chapter)[0][one.id], [0]).state == "not attempted"


@every_exercise
def test_check_is_fast(one: Exercise, capsys):
    solution = loaded(one.chapter)[1][one.id]
    start = time.process_time()
    check(one.id, solution)
    assert time.process_time() - start < 2.0
    assert capsys.readouterr().out.startswith(f"{one.id} solved. ")


@every_exercise
def test_wrong_answers_are_named(one: Exercise):
    wrong = wrong_answers(one.chapter)[one.id]
    assert len(wrong) >= 3
    said: dict[str, str] = {}
    for name, answer in wrong:
        outcome = judge(one.id, answer, range(2))
        assert outcome.state == "not yet", f"{name}: {outcome}"
        sentence = outcome.sentence
        assert not any(words in sentence for words in UNNAMED), f"{name} is not named: {sentence}"
        assert sentence not in said, f"{name} and {said[sentence]} get the same message"
        said[sentence] = name
        with pytest.raises(AssertionError, match=f"{one.id} not yet"):
            grade(one.id, answer, seed=1000)
    if one.kind in ("coding", "find-and-fix"):
        assert any(name.startswith("hard-coded") for name, _ in wrong)


# --------------------------------------------------------------------------------------- pictures of the solutions

PICTURES = [one for one in EVERY if one.id in targets()]
every_picture = pytest.mark.parametrize("one", PICTURES, ids=lambda one: one.id)


def drawn(id: str, answer: Any) -> torch.Tensor | None:
    """What an answer draws; None where it draws nothing."""
    try:
        return targets()[id].values(answer)
    except Exception:
        return None


def looks_like(first: torch.Tensor | None, second: torch.Tensor, share: float) -> bool:
    """Whether two pictures differ by less than a share of the second's height, wherever one looks."""
    if first is None or first.shape != second.shape:
        return False
    return float((first - second).abs().max()) < share * float(second.max() - second.min())


def test_every_stored_picture_belongs_to_an_exercise():
    stored = json.loads(asset("targets.json").read_text(encoding="utf-8"))
    assert sorted(stored) == sorted(one.id for one in PICTURES)


@every_picture
def test_picture_is_the_solutions(one: Exercise):
    stored = json.loads(asset("targets.json").read_text(encoding="utf-8"))[one.id]
    now = targets()[one.id].values(loaded(one.chapter)[1][one.id])
    assert looks_like(torch.tensor(stored), now, 0.003), "python tools/targets.py, then tools/checksums.py"


@every_picture
def test_picture_tells_right_from_wrong(one: Exercise):
    """At least one of the named wrong answers, and code that is to be mended, looks different from the solution."""
    aim = targets()[one.id].values(loaded(one.chapter)[1][one.id])
    pictures = (drawn(one.id, answer) for _, answer in wrong_answers(one.chapter)[one.id])  # until one differs
    assert any(picture is not None and not looks_like(picture, aim, 0.03) for picture in pictures)
    if one.kind == "find-and-fix":
        assert not looks_like(drawn(one.id, loaded(one.chapter)[0][one.id]), aim, 0.03)


@pytest.mark.parametrize("id", ["0.6", "5.1", "5.5", "12.4", "13.8"])  # every kind of picture
def test_picture_is_drawn_with_and_without_an_answer(id: str):
    solution = loaded(int(id.partition(".")[0]))[1][id]
    for answer in (None, solution, lambda *args: torch.full((2,), torch.nan)):
        assert target_figure(id, answer) is not None
