"""How an exercise checks itself: one message per try, and a mistake that is recognised is named.

A chapter holds a stub and calls ``check("5.3", answer)``. The check stands in ``diffedu/exercises/ch05.py``,
a plain function under the decorator :func:`exercise`. It calls the student's function on seeded random inputs
and compares with a reference; the helpers ``expect_*`` turn a difference into a sentence. docs/authoring.md
shows a whole one.
"""

from __future__ import annotations

import dis
import importlib
import inspect
import linecache
import os
import pkgutil
import sysconfig
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Literal, NoReturn, get_args

import numpy as np
import torch
from torch import Tensor

from diffedu._errors import unknown
from diffedu.exercises._targets import show_target

Kind = Literal["coding", "numeric", "prediction", "find-and-fix", "derivation"]
Mistake = tuple[Any, str]
"""A wrong value (or a function without arguments that computes it), and the sentence that names it."""

CheckFunction = Callable[[Any, torch.Generator], str]

# A second seed is what tells a computed answer from a remembered one; grading takes more.
CHECK_SEEDS = 2
GRADE_SEEDS = 5

_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARY = Path(sysconfig.get_paths()["stdlib"]).resolve()


class Wrong(Exception):
    """The answer is not right yet. The message says what is wrong and why, in the chapter's terms."""


class NotAttempted(Exception):
    """The stub still stands. A find-and-fix check raises it when the planted mistake is still there."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: what a list of exercises shows, and the function that checks an answer."""

    id: str
    title: str
    stars: int
    kind: Kind
    hints: tuple[str, ...]
    function: CheckFunction = field(repr=False)

    @property
    def chapter(self) -> int:
        return int(self.id.partition(".")[0])

    @property
    def points(self) -> int:
        """What a right answer is worth when it is graded: one point a star."""
        return self.stars

    def __str__(self) -> str:
        return f"{self.id} {'★' * self.stars} {self.title} ({self.kind})"


@dataclass(frozen=True)
class Outcome:
    """What became of a try: its state, and the sentence that belongs to it."""

    state: Literal["not attempted", "not yet", "solved"]
    sentence: str


_exercises: dict[str, Exercise] = {}
_hints_shown: dict[str, int] = {}


# ---------------------------------------------------------------------------------------------- for authors


def exercise(
    id: str, *, title: str, hints: Sequence[str], stars: int = 1, kind: Kind = "coding"
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the decorated function as the check of exercise ``id``.

    The function receives the answer (a student's function arrives guarded, see :class:`Attempt`) and a seeded
    generator on the CPU; it raises :class:`Wrong`, or returns the sentence that follows "solved."

    Args:
        id: chapter and number, as "5.3".
        title: a few words, without the number.
        hints: from a nudge to nearly everything, at least one.
        stars: 1, 2 or 3; also the points when graded.
        kind: "coding" and "find-and-fix" want a function (or several, or a class); "numeric" and "prediction"
            want a number, a word or a tuple of them; "derivation" takes either.

    Returns:
        The decorator; it gives the function back unchanged.

    Raises:
        ValueError: a malformed id, no hints, stars or kind outside their range, or an id that is taken.

    Example:
        >>> @exercise("99.1", title="double it", hints=["multiply by 2"])
        ... def _(answer, rng):
        ...     x = torch.randn(4, generator=rng)
        ...     expect_close(answer(x), 2 * x, what="the doubled x")
        ...     return "Twice as large."
        >>> check("99.1", lambda x: ...)
        99.1 not attempted yet. First hint: multiply by 2
        >>> check("99.1", lambda x: -2 * x)
        99.1 not yet: the doubled x has the opposite sign everywhere.
        >>> check("99.1", lambda x: x + x)
        99.1 solved. Twice as large.
    """
    chapter, dot, number = id.partition(".")
    if not (chapter.isdigit() and dot and number.isdigit()):
        raise ValueError(f"an exercise's id is chapter.number, such as '5.3', but got {id!r}")
    if not hints or isinstance(hints, str):
        raise ValueError(f"exercise {id} needs a list of at least one hint")
    if stars not in (1, 2, 3):
        raise ValueError(f"exercise {id} has stars={stars!r}; expected 1, 2 or 3")
    if kind not in get_args(Kind):
        raise unknown("kind of exercise", kind, get_args(Kind))

    def register(function: CheckFunction) -> CheckFunction:
        taken = _exercises.get(id)
        # A module that is reloaded, or a cell that is run again, may replace its own exercises.
        if taken is not None and taken.function.__module__ != function.__module__:
            raise ValueError(f"exercise {id} is already defined in {taken.function.__module__}")
        _exercises[id] = Exercise(id, title, stars, kind, tuple(hints), function)
        return function

    return register


def expect_shape(actual: Any, shape: Sequence[int], *, what: str = "your result", because: str = "") -> None:
    """Raise :class:`Wrong` unless ``actual`` is a tensor (or array, or number) of the given shape.

    Args:
        actual: what the student's function returned.
        shape: the wanted shape.
        what: how the message calls it.
        because: a clause that ends the message, such as "one value for each point".
    """
    value = _as_tensor(actual, what)
    got, want = tuple(value.shape), tuple(shape)
    if got == want:
        return
    message = f"{what} has shape {got}, expected {want}"
    if because:
        message += f": {because}"
    elif len(got) > len(want) and [n for n in got if n != 1] == [n for n in want if n != 1]:
        message += ": an axis of length 1 is too many (keepdim, or [:, None])"
    elif len(got) > len(want) and got[: len(want)] == want and len(set(got)) > 1:
        message += ": there is an axis that was not summed or averaged over"
    elif len(got) > len(want) or (len(got) == len(want) > 1 and len(set(got)) == 1 and got[0] in want):
        message += ": a broadcast has paired every entry of one argument with every entry of another"
    elif got == want[::-1]:
        message += ": its axes are swapped"
    raise Wrong(message + ".")


def expect_close(
    actual: Any,
    expected: Tensor | float | Sequence[float],
    *,
    what: str = "your result",
    rtol: float | None = None,
    atol: float | None = None,
    mistakes: Iterable[Mistake] = (),
) -> None:
    """Raise :class:`Wrong`, naming the mistake, unless ``actual`` equals ``expected``.

    The values are close when ``|actual - expected| <= atol + rtol * |expected|``. When they are not, the
    listed mistakes are tried first, in order; then the common ones (a sign, a factor, a square or a root, a
    shift by one index, reversed order, a constant); at last the message shows the worst place.

    Args:
        actual: what the student's function returned: a tensor, an array, a number or a list of numbers.
        expected: the right value, of the wanted shape and dtype.
        what: how the messages call the value: "x_t", "the posterior variance".
        rtol: relative tolerance; 1e-4 in float32 and 1e-7 in float64 unless given.
        atol: absolute tolerance; a tenth of ``rtol`` unless given.
        mistakes: pairs of a wrong value (or a function without arguments that computes it) and its sentence.
    """
    if actual is None or actual is ...:  # a method of a class that is a stub ends here
        raise NotAttempted
    want = _as_tensor(expected, "the expected value").detach().cpu()
    got = _as_tensor(actual, what)
    expect_shape(got, want.shape, what=what)
    if isinstance(actual, Tensor) and isinstance(expected, Tensor) and actual.dtype != expected.dtype:
        raise Wrong(f"{what} has dtype {_dtype(actual)}, expected {_dtype(expected)}.")
    got = got.detach().cpu()
    _expect_finite(got, want, what)
    single = want.dtype in (torch.float16, torch.bfloat16, torch.float32) or got.dtype == torch.float32
    rtol = (1e-4 if single else 1e-7) if rtol is None else rtol
    atol = rtol / 10 if atol is None else atol

    def close(value: Any, goal: Any) -> bool:
        value, goal = (torch.as_tensor(v).detach().cpu().double() for v in (value, goal))
        return value.shape == goal.shape and torch.allclose(value, goal, rtol=rtol, atol=atol)

    if close(got, want):
        return
    for wrong, sentence in mistakes:
        if close(got, wrong() if callable(wrong) else wrong):
            raise Wrong(sentence)
    _diagnose(got.double(), want.double(), what, close)


def expect_number(
    answer: Any,
    expected: float,
    *,
    what: str = "your number",
    rtol: float = 0.01,
    atol: float = 0.0,
    mistakes: Iterable[Mistake] = (),
) -> None:
    """Raise :class:`Wrong` unless ``answer`` is ``expected`` within tolerance, never giving it away.

    Args:
        answer: an int or a float, or a tensor or array of one element.
        expected: the right number.
        what: how the message calls it.
        rtol: relative tolerance, generous since a number read from a plot counts as well.
        atol: absolute tolerance, for an expected 0.
        mistakes: pairs of a wrong number (or a function that computes it) and the sentence that names it.
    """
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number | np.ndarray | Tensor):
        raise Wrong(f"{what} should be a number, but you gave {_kind_of(answer)}.")
    value = _as_tensor(answer, what).detach().cpu().double()
    if value.numel() != 1:
        raise Wrong(f"{what} should be one number, but you gave {value.numel()} of them.")
    number = float(value)
    if not np.isfinite(number):
        raise Wrong(f"{what} is {number}.")

    def close(goal: float) -> bool:
        return abs(number - goal) <= atol + rtol * abs(goal)

    if close(expected):
        return
    for wrong, sentence in mistakes:
        if close(float(wrong() if callable(wrong) else wrong)):
            raise Wrong(sentence)
    if expected != 0 and close(-expected):
        raise Wrong(f"{what} has the wrong sign.")
    size = "large" if number > expected else "small"
    raise Wrong(f"{what}, {number:.4g}, is too {size}.")


def expect_choice(answer: Any, right: str, wrong: Mapping[str, str], *, what: str = "your choice") -> None:
    """Raise :class:`Wrong` unless ``answer`` is the one right choice, written in any case.

    Args:
        answer: one string; a collection of several is refused, so that listing them all never passes.
        right: the right choice.
        wrong: every other choice, with the sentence that says why it is not the one.
        what: how the message calls it.
    """

    def plain(text: str) -> str:
        return " ".join(text.lower().strip(" \t\n.()[]'\"").replace("_", " ").replace("-", " ").split())

    choices = sorted([right, *wrong])
    listed = ", ".join(repr(choice) for choice in choices)
    if not isinstance(answer, str):
        raise Wrong(f"{what} should be one of {listed}, as a string, but you gave {_kind_of(answer)}.")
    chosen = plain(answer)
    if chosen == plain(right):
        return
    for choice, sentence in wrong.items():
        if chosen == plain(choice):
            raise Wrong(sentence)
    raise Wrong(f"{what}, {answer!r}, is none of {listed}.")


def expect_parts(answer: Any, count: int, *, what: str = "your answer") -> tuple[Any, ...]:
    """The parts of an answer that has several, or :class:`Wrong` when their number is another.

    Args:
        answer: a tuple or list.
        count: how many parts are wanted.
        what: how the message calls it.

    Returns:
        The parts, a tuple of length ``count``.
    """
    if not isinstance(answer, tuple | list):
        raise Wrong(f"{what} should have {count} parts, as a tuple, but you gave {_kind_of(answer)}.")
    if len(answer) != count:
        raise Wrong(f"{what} should have {count} parts, but it has {len(answer)}.")
    return tuple(answer)


class Attempt:
    """A student's function (or class) under guard: called like the original, its slips become sentences.

    A call raises :class:`NotAttempted` when the stub still stands, and :class:`Wrong` when the signature is
    another, a ``return`` is missing or an argument was changed in place. Other attributes are the original's.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls: list[tuple[list[Any], Any]] = []  # numbers and tensors that went in, and what came out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)

    @property
    def name(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "your function" if name == "<lambda>" else name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = list(_values((args, kwargs)))
        before = [_copy(value) for value in values]
        output = self.in_place(*args, **kwargs)
        if any(not _same(value, copy) for value, copy in zip(values, before, strict=True)):
            raise Wrong(
                f"{self.name} changes one of its arguments in place (an operator such as += or *=, or a "
                "method whose name ends in _); the caller still needs it, so make a new tensor."
            )
        if output is None:
            raise Wrong(f"{self.name} returns None: is a `return` missing?")
        self.calls.append((before, _copy(output)))
        return output

    def in_place(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function that is meant to change its arguments, and may return nothing."""
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # some builtins have no signature to look at
            signature = None
        if signature is not None:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                call = f"{self.name}{signature}"
                raise Wrong(f"{call} cannot be called as the exercise asks: {error}.") from None
        output = self.function(*args, **kwargs)
        if output is ... or (output is None and _is_stub(getattr(self.function, "__code__", None))):
            raise NotAttempted
        return output

    def is_hard_coded(self) -> bool:
        """True when different arguments were given, and the same came out every time."""
        if len(self.calls) < 2:
            return False
        (first_in, first_out), *rest = self.calls
        if isinstance(first_out, str) or not _has_a_number(first_out):  # a word and a NaN have their own messages
            return False
        constant = all(_same(first_out, out) for _, out in rest)
        return constant and any(not _same(first_in, into) for into, _ in rest)


# --------------------------------------------------------------------------------------------- for chapters


def seed_of(name: str) -> int:
    """A seed that belongs to a name: everyone gets inputs of their own, and always the same.

    Example:
        >>> seed_of("ada") == seed_of("ada"), seed_of("ada") == seed_of("ben")
        (True, False)
    """
    return 10 + zlib.crc32(name.strip().lower().encode("utf-8")) % 2**30


def check(id: str, answer: Any, *, seed: int | None = None) -> None:
    """Print one message about an answer: not attempted yet, not yet (and why), or solved.

    In a notebook the solution's picture follows where the exercise has one, and the answer's with it.

    Args:
        id: the exercise, as "5.3".
        answer: what the exercise asks for: a function, a class, a number, a word, or a tuple of them.
        seed: the check's random inputs follow from it. By default from the name in the environment variable
            DIFFEDU_STUDENT, so that everyone in a class has inputs of their own; without a name it is 0.

    Raises:
        ValueError: there is no such exercise.
    """
    if seed is None:
        name = os.environ.get("DIFFEDU_STUDENT", "")
        seed = seed_of(name) if name.strip() else 0
    outcome = judge(id, answer, range(seed, seed + CHECK_SEEDS))
    if outcome.state == "not attempted":
        print(f"{id} not attempted yet. First hint: {outcome.sentence}")
    elif outcome.state == "not yet":
        print(f"{id} not yet: {outcome.sentence}")
    else:
        print(f"{id} solved. {outcome.sentence}")
    # A stub has nothing to draw; code that is to be mended has.
    show_target(id, answer if outcome.state != "not attempted" or find(id).kind == "find-and-fix" else None)


def grade(id: str, answer: Any, *, seed: int) -> int:
    """The points of a right answer; anything else raises, which is what a grader's test cell wants.

    Args:
        id: the exercise, as "5.3".
        answer: as for :func:`check`.
        seed: the course's, or a student's in it. Five sets of inputs follow from it, so that remembered outputs fail.

    Returns:
        The exercise's points.

    Raises:
        AssertionError: the answer is missing or not right; the message is the one that ``check`` would print.
        ValueError: there is no such exercise.
    """
    outcome = judge(id, answer, range(seed, seed + GRADE_SEEDS))
    if outcome.state != "solved":
        reason = outcome.sentence if outcome.state == "not yet" else "the stub still stands."
        raise AssertionError(f"{id} {outcome.state}: {reason}")
    return find(id).points


def hint(id: str, number: int | None = None) -> None:
    """Print a hint: the next one on each call, or the one with the given number.

    Args:
        id: the exercise, as "5.3".
        number: 1 for the first hint; the next one that was not shown yet unless given.

    Raises:
        ValueError: there is no such exercise, or no such hint.
    """
    hints = find(id).hints
    if number is None:
        number = min(_hints_shown.get(id, 0) + 1, len(hints))
    if not 1 <= number <= len(hints):
        raise ValueError(f"exercise {id} has hints 1 to {len(hints)}, but number={number}")
    _hints_shown[id] = max(number, _hints_shown.get(id, 0))
    print(f"Hint {number} of {len(hints)} for {id}: {hints[number - 1]}")


def exercises(chapter: int) -> list[Exercise]:
    """The exercises of a chapter, in the order of their numbers.

    Args:
        chapter: the chapter's number.

    Returns:
        The exercises; an empty list where the chapter has none.
    """
    _load(chapter)
    found = [one for one in _exercises.values() if one.chapter == chapter]
    return sorted(found, key=lambda one: int(one.id.partition(".")[2]))


def find(id: str) -> Exercise:
    """The exercise of that id.

    Args:
        id: the exercise, as "5.3".

    Returns:
        The exercise.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    chapter = id.partition(".")[0]
    if chapter.isdigit():
        _load(int(chapter))
    if id not in _exercises:
        for number in chapters():
            _load(number)
        raise unknown("exercise", id, _exercises)
    return _exercises[id]


def chapters() -> list[int]:
    """The numbers of the chapters that have exercises.

    Returns:
        Sorted numbers, one for each module ``diffedu/exercises/chNN.py``.
    """
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return sorted(int(name[2:]) for name in names if name.startswith("ch") and name[2:].isdigit())


def judge(id: str, answer: Any, seeds: Iterable[int]) -> Outcome:
    """What a check says about an answer, over several seeds; the first that is not right decides.

    Args:
        id: the exercise, as "5.3".
        answer: as for :func:`check`.
        seeds: each gives one set of random inputs.

    Returns:
        The outcome; for a stub that still stands its sentence is the first hint.

    Raises:
        ValueError: there is no such exercise.
    """
    found = find(id)
    if _missing(answer):
        return Outcome("not attempted", found.hints[0])
    refusal = _refusal(found, answer)
    if refusal:
        return Outcome("not yet", refusal)
    guarded = _guard(answer)
    outcomes = []
    # Random numbers drawn without a generator are seeded too, and the chapter's own are left alone.
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.default_generator.manual_seed(seed)
            outcomes.append(_judge_once(found, guarded, torch.Generator("cpu").manual_seed(seed)))
            if outcomes[-1].state == "not attempted":
                break
    failed = next((outcome for outcome in outcomes if outcome.state != "solved"), None)
    if failed is None:
        return outcomes[0]
    attempts = guarded if isinstance(guarded, tuple) else (guarded,)
    for attempt in attempts:
        if failed.state == "not yet" and isinstance(attempt, Attempt) and attempt.is_hard_coded():
            return Outcome("not yet", f"{attempt.name} returns the same values whatever its arguments are.")
    return failed


def student_line(error: BaseException, inside: CodeType | None = None) -> tuple[int, str] | None:
    """The last line of a student's code on an exception's way: where to look.

    Args:
        error: an exception that was caught.
        inside: the code object of the check, which is nobody's answer.

    Returns:
        The line's number in its cell or file, and its text; None when no student's code was involved.
    """
    found = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        ours = _PACKAGE in path.parents or _LIBRARY in path.parents or "site-packages" in path.parts
        if not ours and code is not inside and not code.co_filename.startswith("<frozen"):
            text = linecache.getline(code.co_filename, trace.tb_lineno, trace.tb_frame.f_globals).strip()
            found = (trace.tb_lineno, text)
        trace = trace.tb_next
    return found


# ------------------------------------------------------------------------------------------------ inner parts


def _load(chapter: int) -> None:
    name = f"diffedu.exercises.ch{chapter:02d}"
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # the module is there, and something that it needs is not
            raise


def _missing(answer: Any) -> bool:
    if isinstance(answer, tuple | list) and len(answer) > 0:
        return all(_missing(part) for part in answer)
    return answer is None or answer is ...


def _refusal(found: Exercise, answer: Any) -> str | None:
    """Why an answer is of the wrong sort altogether, or None."""
    parts = answer if isinstance(answer, tuple | list) else (answer,)
    for number, part in enumerate(parts, 1):
        if part is None or part is ...:
            return f"part {number} of your answer is still open."
        if found.kind in ("coding", "find-and-fix") and not callable(part):
            return f"this exercise asks for a function, but you gave {_kind_of(part)}."
        if found.kind in ("numeric", "prediction") and callable(part):
            return "this exercise asks for a value, but you gave a function: give what it returns."
    return None


def _guard(answer: Any) -> Any:
    if isinstance(answer, tuple | list):
        return tuple(_guard(part) for part in answer)
    return Attempt(answer) if callable(answer) else answer


def _judge_once(found: Exercise, guarded: Any, rng: torch.Generator) -> Outcome:
    try:
        sentence = found.function(guarded, rng)
    except NotAttempted:
        return Outcome("not attempted", found.hints[0])
    except Wrong as wrong:
        return Outcome("not yet", str(wrong))
    except Exception as error:  # whatever a student's code may raise becomes a sentence
        where = student_line(error, found.function.__code__)
        if where is not None and isinstance(error, NotImplementedError):
            return Outcome("not attempted", found.hints[0])
        return Outcome("not yet", _exception_sentence(error, where))
    if not isinstance(sentence, str) or not sentence:
        raise TypeError(f"the check of exercise {found.id} must return the sentence that follows 'solved.'")
    return Outcome("solved", sentence)


def _exception_sentence(error: Exception, where: tuple[int, str] | None) -> str:
    message = str(error).strip().split("\n")[0][:200]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if where is None:
        return f"the check could not use what you returned ({text})."
    number, line = where
    sentence = f"your code stops with {text} (line {number}" + (f": `{line}`)." if line else ").")
    if "must match the size of tensor" in message:
        sentence += " Make (B,) into (B, 1) before it meets (B, D); diffedu's expand does it."
    return sentence


def _is_stub(code: CodeType | None) -> bool:
    """True when a function's body is nothing but a docstring, `...` or `pass`."""
    if code is None:
        return False
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS", "MAKE_CELL"}
    return all(instruction.opname in idle for instruction in dis.get_instructions(code))


def _values(thing: Any) -> Iterable[Any]:
    """The numbers, tensors and arrays in nested arguments."""
    if isinstance(thing, Tensor | np.ndarray | int | float):
        yield thing
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from _values(part)
    elif isinstance(thing, dict):
        yield from _values(list(thing.values()))


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple | list):
        return [_copy(part) for part in value]
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        a = a.detach()
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, int | float | str) and isinstance(b, int | float | str):
        return a == b or (a != a and b != b)
    return False


def _has_a_number(output: Any) -> bool:
    """False for what is NaN or infinite throughout: that came of a computation, and of a wrong one."""
    values = list(_values(output))
    sizes = [torch.as_tensor(value) for value in values if not isinstance(value, int)]
    return len(sizes) < len(values) or not sizes or any(bool(torch.isfinite(size).any()) for size in sizes)


def _kind_of(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _as_tensor(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    # float64 for Python's own numbers: they carry that precision
    if isinstance(value, int | float) and not isinstance(value, bool):
        return torch.tensor(value, dtype=torch.float64, device="cpu")
    if isinstance(value, np.ndarray | np.number):
        return torch.as_tensor(np.asarray(value), device="cpu")
    if isinstance(value, tuple | list):
        try:
            return torch.stack([_as_tensor(part, what).detach().cpu() for part in value])
        except RuntimeError:
            raise Wrong(f"{what} is a list of tensors of different shapes; expected one tensor.") from None
    raise Wrong(f"{what} should be a tensor or a number, but it is {_kind_of(value)}.")


def _expect_finite(got: Tensor, want: Tensor, what: str) -> None:
    bad = ~torch.isfinite(got.double())
    if bool(bad.any()) and bool(torch.isfinite(want.double()).all()):
        kind = "NaN" if bool(torch.isnan(got.double()).any()) else "infinite"
        if got.ndim == 0:
            raise Wrong(f"{what} is {kind}.")
        place = tuple(bad.nonzero()[0].tolist())
        count = f"{int(bad.sum())} of {got.numel()} places"
        raise Wrong(f"{what} is {kind} in {count}, first at index {_index(place)}.")


def _index(place: Sequence[int]) -> str:
    return str(place[0]) if len(place) == 1 else str(tuple(place))


def _diagnose(got: Tensor, want: Tensor, what: str, close: Callable[[Any, Any], bool]) -> NoReturn:
    """Name a difference that needs no knowledge of the exercise, or show the worst place."""
    many = want.numel() > 1
    if many and bool((got == got.flatten()[0]).all()):
        value = float(got.flatten()[0])
        raise Wrong(f"{what} has the same value, {value:.4g}, everywhere; the right one varies.")
    if close(got, -want):
        raise Wrong(f"{what} has the opposite sign everywhere.")
    for factor, name in ((2.0, "2"), (0.5, "1/2")):
        if close(got, factor * want):
            raise Wrong(f"{what} is right up to a factor of {name}.")
    if close(got, want.square()):
        raise Wrong(
            f"{what} is the square of the right one: is a square root missing, or is a variance given where "
            "a standard deviation is asked for?"
        )
    if bool((want >= 0).all()) and close(got, want.sqrt()):
        raise Wrong(
            f"{what} is the square root of the right one: is a standard deviation given where a variance is asked for?"
        )
    if bool((want != 0).all()) and close(got, 1 / want):
        raise Wrong(f"{what} is the reciprocal of the right one.")
    if many:
        factor = float((got * want).sum() / (want * want).sum().clamp_min(1e-300))
        if close(got, factor * want):
            raise Wrong(f"{what} is right up to a constant factor of {factor:.3g}.")
        if close(got, want + (got - want).mean()):
            raise Wrong(f"{what} is right up to a constant that is added: {float((got - want).mean()):.3g}.")
    if want.ndim > 0 and want.shape[0] > 3:
        if close(got[1:], want[:-1]):
            raise Wrong(f"{what} is off by one: at index k it holds what belongs at k - 1.")
        if close(got[:-1], want[1:]):
            raise Wrong(f"{what} is off by one: at index k it holds what belongs at k + 1.")
        if close(got, want.flip(0)):
            raise Wrong(f"{what} is in reversed order.")
    if want.ndim > 1 and close(got, want.transpose(-1, -2)):
        raise Wrong(f"{what} has its last two axes swapped.")
    difference = (got - want).abs()
    place = np.unravel_index(int(difference.argmax()), tuple(want.shape)) if want.ndim else ()
    at = f" at index {_index([int(i) for i in place])}" if want.ndim else ""
    yours, right = float(got[place]), float(want[place])
    digits = next((n for n in range(4, 17) if f"{yours:.{n}g}" != f"{right:.{n}g}"), 17)
    raise Wrong(f"{what} differs most{at}: yours is {yours:.{digits}g}, expected {right:.{digits}g}.")
