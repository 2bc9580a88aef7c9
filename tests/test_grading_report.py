"""The grading report: its mutants, its verdicts, and what it says of a check with a hole."""

from __future__ import annotations

import time
from types import FunctionType
from typing import Any

import pytest
import torch

from diffedu.exercises import _framework, exercise, expect_choice, expect_close, expect_number
from tools import grading_report
from tools.grading_report import Reference, Result, Verdict, judged, mutants, time_limit

CODE = """
def step(x, sigma, t):
    \"\"\"The number 3 in a docstring is left alone.\"\"\"
    y = -x[t] + math.sqrt(2 * sigma) ** 2
    return y.sum(dim=1), y[:, None].mean()
"""


def changes(code: str) -> list[str]:
    return [what.partition(": ")[2] for what, _ in mutants(code)]


@pytest.mark.parametrize(
    "change",
    [
        "`-x[t] + math.sqrt(2 * sigma) ** 2` becomes `-x[t] - math.sqrt(2 * sigma) ** 2`",
        "`2 * sigma` becomes `2 / sigma`",
        "`math.sqrt(2 * sigma)` becomes `2 * sigma`",
        "`math.sqrt(2 * sigma) ** 2` becomes `math.sqrt(2 * sigma)`",
        "`-x[t]` becomes `x[t]`",
        "`t` becomes `t + 1`",
        "`2` becomes `1`",
        "`1` becomes `0`",
        "`y.sum(dim=1)` becomes `y.mean(dim=1)`",
        "`y.sum(dim=1)` becomes `2 * y.sum(dim=1)`",
        "`y[:, None].mean()` becomes `-y[:, None].mean()`",
        "`y[:, None]` becomes `y[None, :]`",
        "`y[:, None]` becomes `y`",
        "`sigma` becomes `t`",
    ],
)
def test_small_mistakes_are_made(change):
    assert change in changes(CODE)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("def f(t):\n    for s in range(t):\n        s += 1", "`t` becomes `t + 1`"),
        ("def f(t):\n    for s in range(t):\n        s += 1", "`s += 1` becomes `s -= 1`"),
        ("def f(t):\n    return t if t < 1 else 0", "`t < 1` becomes `t <= 1`"),
        ("def f(a, b):\n    return a @ b", "`a @ b` becomes `b @ a`"),
        ("def f(x):\n    x.clear()\n    return x", "`x.clear()` becomes `pass`"),
        ("f = 0.5", "`0.5` becomes `1`"),
        ("def f(x):\n    return x.exp()", "`x.exp()` becomes `x`"),
        ("def f(g, x, t):\n    return g(x, t)", "`g(x, t)` becomes `g(t, x)`"),
    ],
)
def test_more_small_mistakes(code, change):
    assert change in changes(code)


def test_mutants_are_code_and_each_is_another_one():
    found = [code for _, code in mutants(CODE)]
    assert len(set(found)) == len(found)
    for code in found:
        compile(code, "<mutant>", "exec")
        assert "The number 3 in a docstring" in code
        assert "def step(x, sigma, t):" in code


def test_time_limit_ends_an_endless_loop():
    def endless() -> Any:
        while True:
            pass

    start = time.perf_counter()
    with pytest.raises(grading_report.TimedOut), time_limit(0.2):
        endless()
    assert time.perf_counter() - start < 5
    verdict = judged("94.1", "a loop", endless, seconds=0.2)
    assert verdict.state == "timed out"


# ----------------------------------------------------------------------------- a chapter with good and bad checks


@pytest.fixture
def chapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chapter 94: a sound check, one that looks at the sign alone, a number and a choice."""
    monkeypatch.setattr(_framework, "_exercises", dict(_framework._exercises))
    codes = {
        "94.1": "def f(x):\n    if len(x) < 1:\n        return x\n    return 2 * x",
        "94.2": "def f(x):\n    return 2 * x",
        "94.3": "f = 3.0",
        "94.4": "f = 'noise'",
        "94.5": "def f(x, a):\n    return x * a",
    }

    @exercise("94.1", title="double", hints=["twice"])
    def _(answer, rng):
        x = torch.randn(4, generator=rng)
        expect_close(answer(x), 2 * x)
        return "Twice."

    @exercise("94.2", title="a check with a hole", hints=["twice"])
    def _(answer, rng):
        x = torch.randn(4, generator=rng)
        expect_close(answer(x).sign(), x.sign())
        return "Twice."

    @exercise("94.3", title="a number", kind="numeric", hints=["three"])
    def _(answer, rng):
        expect_number(answer, 3.0)
        return "Three."

    @exercise("94.4", title="a choice", kind="prediction", hints=["noise"])
    def _(answer, rng):
        expect_choice(answer, "noise", {"data": "not that", "neither": "nor that"})
        return "Noise."

    @exercise("94.5", title="a check that tries one value only", hints=["times"])
    def _(answer, rng):
        x = torch.randn(4, generator=rng)
        expect_close(answer(x, 1.0), x)
        return "Times."

    found = {}
    for id, code in codes.items():
        scope: dict[str, Any] = {}
        exec(code, scope)
        found[id] = Reference(code, "f", {}, scope["f"])
    named = {"94.1": [("sign", lambda x: -2 * x), ("once", lambda x: 1 * x), ("right", lambda x: x + x)]}
    monkeypatch.setattr(grading_report, "references", lambda number: found)
    monkeypatch.setattr(grading_report, "named_wrong_answers", lambda number: named)


def states(result: Result) -> dict[str, str]:
    return {one.what.removeprefix("line 2: ").removeprefix("line 4: "): one.state for one in result.mutants}


@pytest.mark.usefixtures("chapter")
def test_sound_check_rejects_and_equivalents_are_recognised():
    result = grading_report.examine("94.1")
    said = states(result)
    assert said["`2 * x` becomes `2 / x`"] == "rejected"
    assert said["always its first answer"] == "rejected"
    assert said["`len(x) < 1` becomes `len(x) <= 1`"] == "equivalent"  # no call has one element
    assert said["`len(x) < 1` becomes `len(x) > 1`"] == "rejected"
    assert result.count("passed") == 0
    assert result.faults == ["the wrong answer 'right' passes"]


@pytest.mark.usefixtures("chapter")
def test_hole_in_a_check_is_reported():
    result = grading_report.examine("94.2")
    said = states(result)
    assert said["`2 * x` becomes `-(2 * x)`"] == "rejected"
    assert said["`2 * x` becomes `2 / x`"] == "passed"
    text = grading_report.report([result], 60.0)
    assert "- 94.2, line 2: `2 * x` becomes `2 / x`" in text
    assert "0 named wrong answers, expected 3 or more" in text
    assert not grading_report.passes([result])


@pytest.mark.usefixtures("chapter")
def test_mutant_that_differs_only_elsewhere_is_no_equivalent():
    """The check's own inputs cannot tell x * 1 from x / 1; that is the check's fault, not the mutant's merit."""
    result = grading_report.examine("94.5")
    said = states(result)
    assert said["`x * a` becomes `x / a`"] == "passed"
    assert said["always its first `a`"] == "passed"
    assert said["always its first `x`"] == "rejected"
    assert all("shaken" in one.sentence for one in result.mutants if one.state == "passed")


@pytest.mark.usefixtures("chapter")
def test_numbers_and_choices():
    number, choice = grading_report.examine("94.3"), grading_report.examine("94.4")
    assert {"just too large", "just too small", "doubled", "negated", "the reciprocal"} <= set(states(number))
    assert number.count("rejected") == len(number.mutants)
    assert states(choice) == {"the choice 'data'": "rejected", "the choice 'neither'": "rejected"}


def test_share_counts_no_equivalents():
    result = Result("94.1", "", "coding")
    result.mutants = [Verdict("", state, "") for state in ("rejected", "timed out", "passed", "equivalent")]
    assert grading_report.rejected_share([result]) == pytest.approx(2 / 3)


def test_equivalents_written_by_hand_exist_and_are_few():
    assert len(grading_report.EQUIVALENT) <= 25
    for id, change in grading_report.EQUIVALENT:
        reference = grading_report.references(int(id.partition(".")[0]))[id]
        assert change in changes(reference.code), f"{id}: {change}"


def test_one_exercise_of_the_book(tmp_path):
    out = tmp_path / "report.md"
    assert grading_report.main(["--only", "9.6", "--processes", "1", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "| exercises | 1 |" in text
    assert "right up to a factor of 2" in text
    assert isinstance(grading_report.references(9)["9.6"].answer, FunctionType)


@pytest.mark.slow
def test_every_exercise_of_the_book(tmp_path):
    assert grading_report.main(["--out", str(tmp_path / "report.md")]) == 0
