"""What a student reads: one message per try, and mistakes called by their names."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffedu.exercises import (
    NotAttempted,
    Wrong,
    check,
    exercise,
    exercises,
    expect_choice,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
    grade,
    hint,
    judge,
)


@exercise("97.1", title="add noise", stars=2, hints=["shrink, then add", "alpha x0 + sigma eps"])
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x0, eps = torch.randn(2, 6, 3, generator=rng)
    alpha_bar = 0.1 + 0.8 * torch.rand(6, generator=rng)
    alpha, sigma = alpha_bar.sqrt()[:, None], (1 - alpha_bar).sqrt()[:, None]
    swapped = (sigma * x0 + alpha * eps, "the coefficients of data and noise are swapped.")
    squares = (alpha**2 * x0 + sigma**2 * eps, "alpha_bar is alpha squared: take the square roots.")
    x_t = alpha * x0 + sigma * eps
    expect_close(answer(x0, eps, alpha_bar), x_t, what="x_t", mistakes=[swapped, squares])
    return "The variance stays 1."


@exercise("97.2", title="how many steps", hints=["think"], kind="numeric")
def _(answer: object, rng: torch.Generator) -> str:
    expect_number(answer, 50.0, what="the number of steps", mistakes=[(49.0, "the first step counts, too.")])
    return "Fifty."


@exercise("97.3", title="which falls faster", hints=["plot both"], kind="prediction")
def _(answer: object, rng: torch.Generator) -> str:
    expect_choice(answer, "linear", {"cosine": "the cosine keeps its signal longer."})
    return "Linear it is."


@exercise("97.4", title="mend it", hints=["look at the sign"], kind="find-and-fix")
def _(answer: Callable[[Tensor], Tensor], rng: torch.Generator) -> str:
    x = torch.randn(5, generator=rng)
    value = answer(x)
    if torch.allclose(value, x):
        raise NotAttempted
    expect_close(value, -x, what="the score")
    return "Density falls outwards."


@exercise("97.10", title="two functions", stars=3, hints=["both"])
def _(answer: tuple[Callable[..., Tensor], Callable[..., Tensor]], rng: torch.Generator) -> str:
    x = torch.randn(3, generator=rng)
    first, second = expect_parts(answer, 2)
    expect_close(second(first(x)), x, what="there and back")
    return "Inverse."


def right(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    alpha_bar = alpha_bar[:, None]
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def told(capsys: pytest.CaptureFixture[str], id: str, answer: object) -> str:
    assert check(id, answer) is None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return lines[0]


def stub(x0, eps, alpha_bar):
    """Add noise."""
    ...


def unfinished(x0, eps, alpha_bar):
    raise NotImplementedError


def half_a_stub(x0, eps, alpha_bar):
    alpha_bar = alpha_bar[:, None]
    x_t = ...
    return x_t


@pytest.mark.parametrize("answer", [None, ..., stub, unfinished, half_a_stub, (None, ...), [...]])
def test_stub_is_not_attempted(answer, capsys):
    expected = "97.1 not attempted yet. First hint: shrink, then add"
    assert told(capsys, "97.1", answer) == expected


def test_planted_mistake_is_not_attempted(capsys):
    assert told(capsys, "97.4", lambda x: x).startswith("97.4 not attempted yet.")
    assert told(capsys, "97.4", lambda x: -x) == "97.4 solved. Density falls outwards."


def test_right_answer_is_solved_and_graded(capsys):
    assert told(capsys, "97.1", right) == "97.1 solved. The variance stays 1."
    assert grade("97.1", right, seed=5) == 2


def forgot_return(x0, eps, alpha_bar):
    right(x0, eps, alpha_bar)


def divides_by_zero(x0, eps, alpha_bar):
    return 1 / 0


def wrong_broadcast(x0, eps, alpha_bar):
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def changes_its_argument(x0, eps, alpha_bar):
    x0 *= alpha_bar[:, None].sqrt()
    return x0 + (1 - alpha_bar[:, None]).sqrt() * eps


NAMED = {
    "swapped": (lambda x0, eps, a: right(eps, x0, a), "the coefficients of data and noise are swapped."),
    "squares": (lambda x0, eps, a: a[:, None] * x0 + (1 - a[:, None]) * eps, "take the square roots"),
    "sign": (lambda *given: -right(*given), "x_t has the opposite sign"),
    "factor 2": (lambda *given: 2 * right(*given), "up to a factor of 2"),
    "half": (lambda *given: right(*given) / 2, "up to a factor of 1/2"),
    "factor": (lambda *given: 3 * right(*given), "up to a constant factor of 3"),
    "offset": (lambda *given: right(*given) + 1, "a constant that is added: 1"),
    "late": (lambda *given: right(*given).roll(1, 0), "belongs at k - 1"),
    "early": (lambda *given: right(*given).roll(-1, 0), "belongs at k + 1"),
    "reversed": (lambda *given: right(*given).flip(0), "reversed order"),
    "constant": (lambda *given: torch.zeros(6, 3), "the same values whatever its arguments"),
    "hard-coded": (lambda *given: torch.arange(18.0).reshape(6, 3), "the same values whatever its arguments"),
    "forgot return": (forgot_return, "forgot_return returns None: is a `return` missing?"),
    "exception": (divides_by_zero, "ZeroDivisionError: division by zero (line "),
    "broadcast": (wrong_broadcast, "Make (B,) into (B, 1)"),
    "in place": (changes_its_argument, "changes one of its arguments in place"),
    "shape": (lambda *given: right(*given).sum(1), "x_t has shape (6,), expected (6, 3)"),
    "transposed": (lambda *given: right(*given).T, "its axes are swapped"),
    "dtype": (lambda *given: right(*given).double(), "x_t has dtype float64, expected float32"),
    "NaN": (lambda *given: right(*given).log(), "x_t is NaN in"),
    "NaN everywhere": (lambda *given: 0 * right(*given) / 0, "x_t is NaN in 18 of 18 places"),
    "infinite": (lambda *given: right(*given) / 0, "x_t is infinite in 18 of 18 places"),
    "text": (lambda *given: "noise", "should be a tensor or a number, but it is a str"),
    "signature": (lambda x0: x0, "cannot be called as the exercise asks: too many positional arguments"),
    "not a function": (3.0, "asks for a function, but you gave a float"),
    "something else": (lambda x0, eps, a: x0 + eps.sin(), "x_t differs most at index ("),
}


@pytest.mark.parametrize("name", NAMED)
def test_mistake_is_named(name, capsys):
    answer, message = NAMED[name]
    line = told(capsys, "97.1", answer)
    assert line.startswith("97.1 not yet: ")
    assert message in line
    with pytest.raises(AssertionError, match=r"97\.1 not yet"):
        grade("97.1", answer, seed=3)


def test_exception_quotes_the_line(capsys):
    assert "`return 1 / 0`" in told(capsys, "97.1", divides_by_zero)


def test_remembered_output_fails():
    """An answer that passes on the first inputs only, as one copied from a neighbour's screen does."""
    memory: list[Tensor] = []

    def remembered(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        memory.append(right(x0, eps, alpha_bar))
        return memory[0]

    with pytest.raises(AssertionError, match="the same values whatever"):
        grade("97.1", remembered, seed=0)


def test_everyone_has_inputs_of_their_own(monkeypatch):
    seen: list[Tensor] = []

    def looks(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        seen.append(x0.clone())
        return right(x0, eps, alpha_bar)

    for name in ("", "ada", "ben", " Ada "):
        monkeypatch.setenv("DIFFEDU_STUDENT", name)
        check("97.1", looks)
    plain, ada, ben, ada_again = seen[:: len(seen) // 4]
    assert torch.equal(ada, ada_again)
    assert not torch.equal(plain, ada)
    assert not torch.equal(ada, ben)


@pytest.mark.parametrize(
    ("value", "wrong", "message"),
    [
        (torch.tensor([0.5, 2.0]), torch.tensor([0.25, 4.0]), "is the square of the right one"),
        (torch.tensor([0.25, 4.0]), torch.tensor([0.5, 2.0]), "is the square root of the right one"),
        (torch.tensor([0.2, 4.0]), torch.tensor([5.0, 0.25]), "is the reciprocal"),
        (torch.tensor([[1.0, 2], [4, 3]]), torch.tensor([[1.0, 4], [2, 3]]), "last two axes swapped"),
        (torch.tensor([1.0, 2.0]), torch.ones(2, 2), "a broadcast has paired"),
        (torch.tensor([1.0, 2.0, 5.0]), [1.0, 1.0, 1.0], "the same value, 1, everywhere"),
        (2.0, 3.0, "yours is 3, expected 2."),
        (2.0, float("nan"), "is NaN."),
        (2.0, -2.0, "opposite sign"),
    ],
)
def test_generic_diagnosis(value: Any, wrong: Any, message: str):
    with pytest.raises(Wrong) as caught:
        expect_close(wrong, value)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor])
def test_lists_arrays_and_tensors_are_equally_right(kind):
    expect_close(kind([1.0, 2.0]), [1.0, 2.0])
    expect_shape(kind([1.0, 2.0]), (2,))


def test_tolerance_separates():
    expect_close(torch.tensor([1.0, 2.0001]), torch.tensor([1.0, 2.0]))
    with pytest.raises(Wrong):
        expect_close(torch.tensor([1.0, 2.001]), torch.tensor([1.0, 2.0]))


def test_as_many_digits_are_shown_as_tell_the_two_apart():
    with pytest.raises(Wrong, match=r"yours is 1\.95004, expected 1\.95003"):
        expect_close(
            torch.tensor([0.3, 1.95004], dtype=torch.float64), torch.tensor([0.3, 1.95003], dtype=torch.float64)
        )


def test_shape_gives_its_reason():
    with pytest.raises(Wrong, match=r"has shape \(2,\), expected \(3,\): one for each point\."):
        expect_shape(torch.zeros(2), (3,), because="one for each point")


@pytest.mark.parametrize(
    ("got", "want", "why"),
    [
        ((4, 4), (4,), "a broadcast has paired"),
        ((4, 3), (4,), "an axis that was not summed"),
        ((4, 1), (4,), "an axis of length 1 is too many"),
        ((4, 4, 2), (4, 2), "a broadcast has paired"),
        ((4, 2, 3), (4, 2), "an axis that was not summed"),
        ((2, 4), (4, 2), "its axes are swapped"),
    ],
)
def test_a_wrong_shape_is_explained(got, want, why):
    with pytest.raises(Wrong, match=why):
        expect_shape(torch.zeros(got), want)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (49, "the first step counts, too."),
        (60.0, "the number of steps, 60, is too large."),
        (-50, "has the wrong sign"),
        (float("nan"), "is nan"),
        ("50", "should be a number, but you gave a str"),
        (True, "should be a number, but you gave a bool"),
        (torch.tensor([49.0, 50.0]), "should be one number, but you gave 2"),
        (lambda: 50, "you gave a function"),
    ],
)
def test_number(answer, message, capsys):
    line = told(capsys, "97.2", answer)
    assert line.startswith("97.2 not yet: ")
    assert message in line
    assert "expected 50" not in line


def test_right_numbers(capsys):
    for answer in (50, 50.2, np.float64(50), torch.tensor(50.0)):
        assert told(capsys, "97.2", answer) == "97.2 solved. Fifty."


@pytest.mark.parametrize("answer", ["Linear", " linear. ", "(LINEAR)"])
def test_right_choice(answer, capsys):
    assert told(capsys, "97.3", answer) == "97.3 solved. Linear it is."


@pytest.mark.parametrize("answer", [["linear", "cosine"], ("cosine", "linear"), {"linear", "cosine"}])
def test_all_choices_at_once_are_refused(answer, capsys):
    assert "as a string, but you gave a " in told(capsys, "97.3", answer)


def test_wrong_choices(capsys):
    assert told(capsys, "97.3", "cosine") == "97.3 not yet: the cosine keeps its signal longer."
    assert "is none of 'cosine', 'linear'" in told(capsys, "97.3", "linear cosine")


def test_parts(capsys):
    assert told(capsys, "97.10", (torch.exp, torch.log)).startswith("97.10 solved")
    assert "should have 2 parts, but it has 1" in told(capsys, "97.10", (torch.exp,))
    assert "part 2 of your answer is still open" in told(capsys, "97.10", (torch.exp, ...))
    assert "should have 2 parts" in told(capsys, "97.10", torch.exp)
    assert told(capsys, "97.10", (stub, stub)) != ""


def test_in_place_answers_may_return_nothing():
    @exercise("97.5", title="average", hints=["lerp"])
    def _(answer, rng):
        average = torch.zeros(3)
        answer.in_place(average, torch.ones(3))
        expect_close(average, torch.full((3,), 0.1), what="the average")
        return "Good."

    def towards(average: Tensor, new: Tensor) -> None:
        average.lerp_(new, 0.1)

    assert grade("97.5", towards, seed=0) == 1
    with pytest.raises(AssertionError, match="the stub still stands"):
        grade("97.5", lambda average, new: None, seed=0)


def test_class_answers():
    @exercise("97.6", title="a class", hints=["a method"])
    def _(answer, rng):
        expect_close(answer(2.0).double(), 4.0)
        return "Good."

    class Right:
        def __init__(self, x):
            self.x = x

        def double(self):
            return 2 * self.x

    class Stub(Right):
        def double(self): ...

    class Stops(Right):
        def double(self):
            return self.y

    assert grade("97.6", Right, seed=0) == 1
    with pytest.raises(AssertionError, match="not attempted"):
        grade("97.6", Stub, seed=0)
    with pytest.raises(AssertionError, match=r"no attribute 'y' \(line \d+: `return self.y`"):
        grade("97.6", Stops, seed=0)


def test_check_leaves_the_random_state_alone_and_is_reproducible():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    check("97.1", lambda x0, eps, a: x0 + torch.randn(6, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_unseeded_noise_gives_the_same_message_twice(capsys):
    def noisy(x0, eps, alpha_bar):
        return x0 + torch.randn(6, 3)

    assert told(capsys, "97.1", noisy) == told(capsys, "97.1", noisy)


def test_hints_come_in_steps(capsys):
    hint("97.1")
    hint("97.1")
    hint("97.1")
    hint("97.1", 1)
    assert capsys.readouterr().out.splitlines() == [
        "Hint 1 of 2 for 97.1: shrink, then add",
        "Hint 2 of 2 for 97.1: alpha x0 + sigma eps",
        "Hint 2 of 2 for 97.1: alpha x0 + sigma eps",
        "Hint 1 of 2 for 97.1: shrink, then add",
    ]
    with pytest.raises(ValueError, match="has hints 1 to 2, but number=3"):
        hint("97.1", 3)


def test_list_is_in_the_order_of_numbers():
    ids = [one.id for one in exercises(97)]
    assert ids == sorted(ids, key=lambda id: int(id.split(".")[1]))
    assert ids[-1] == "97.10"
    assert str(exercises(97)[0]) == "97.1 ★★ add noise (coding)"


def test_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown exercise '97\.11'; did you mean '97\.1"):
        check("97.11", None)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("five", {"hints": ["a"]}, "chapter.number"),
        ("97.90", {"hints": []}, "at least one hint"),
        ("97.90", {"hints": ["a"], "stars": 4}, "expected 1, 2 or 3"),
        ("97.90", {"hints": ["a"], "kind": "essay"}, "unknown kind of exercise 'essay'"),
    ],
)
def test_bad_definitions_are_refused(id, options, message):
    with pytest.raises(ValueError, match=message):
        exercise(id, title="x", **options)


def test_id_of_another_module_is_refused():
    def other(answer, rng):
        return "x"

    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match=r"97\.1 is already defined in "):
        exercise("97.1", title="x", hints=["a"])(other)


def test_check_that_returns_nothing_is_a_fault_of_its_author():
    @exercise("97.7", title="x", hints=["a"])
    def _(answer, rng):
        return None

    with pytest.raises(TypeError, match="must return the sentence"):
        check("97.7", right)


# ------------------------------------------------------------------------------------------- the solution's picture


@pytest.fixture
def shown(monkeypatch) -> list[object]:
    """What a check displays in a notebook."""
    import diffedu.show  # noqa: F401  before the stand-in: it asks a real notebook for more

    found: list[object] = []
    display = SimpleNamespace(display=found.append)
    notebook = SimpleNamespace(get_ipython=lambda: object(), display=display, version_info=(9, 0))  # matplotlib asks
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    return found


def lines_in(figure) -> int:
    """How many lines stand in the first panel."""
    return len(figure.axes[0].lines)


def test_a_check_in_a_notebook_shows_what_the_solution_draws(shown, capsys):
    check("5.5", lambda T: ...)
    assert lines_in(shown[0]) == 1
    assert "not attempted" in capsys.readouterr().out


def test_an_answer_is_drawn_with_the_solution_and_prints_no_more(shown, capsys):
    def betas(T):
        print("my betas")
        return torch.linspace(0.1, 0.9, T, dtype=torch.float64)

    judge("5.5", betas, [0, 1])
    without_picture = capsys.readouterr().out.count("my betas")
    check("5.5", betas)
    assert lines_in(shown[0]) == 2
    assert capsys.readouterr().out.count("my betas") == without_picture  # the picture's own call is silent


def test_code_to_be_mended_is_drawn_before_it_is_mended(shown):
    def betas_of_cosine(T):
        t = torch.arange(T + 1, dtype=torch.float64)
        f = torch.cos((t / T + 0.008) / 1.008 * math.pi / 2)
        return 1 - f[1:] / f[:-1]

    check("5.5", betas_of_cosine)
    assert lines_in(shown[0]) == 2


@pytest.mark.parametrize("answer", [lambda T: 1 / 0, lambda T: torch.ones(3), lambda T: torch.full((T,), torch.inf), 7])
def test_an_answer_that_draws_nothing_leaves_the_solutions_picture(shown, answer):
    check("5.5", answer)
    assert lines_in(shown[0]) == 1


def test_an_exercise_without_a_picture_shows_none(shown):
    check("97.1", lambda x0, eps, alpha_bar: ...)
    assert shown == []


def test_a_picture_leaves_the_random_numbers_alone(shown):
    torch.default_generator.manual_seed(3)
    expected = torch.rand(2)
    torch.default_generator.manual_seed(3)
    check("0.6", lambda denoiser, x, times: x + torch.randn(x.shape))
    assert len(shown) == 1
    assert torch.equal(torch.rand(2), expected)
