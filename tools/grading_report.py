"""Proof that grading works: what every check says to wrong answers, written by hand and made by a tool.

python tools/grading_report.py                     all exercises, into build/grading-report.md
python tools/grading_report.py --only 9.1 12       one exercise, or all of a chapter

The named wrong answers stand in tests/exercises/wrong_answers/. The others are mutants: the reference solution
with one change (+ for -, a root dropped, an index shifted, a result doubled, ...), or another number or choice.
A mutant that a check takes for right is a hole in the check, unless nothing could tell it from the reference:
then it is an "equivalent", and is not counted. The status is 1 when a reference fails, when a named wrong
answer does not fail in its own way, or when less than 98 % of the mutants are rejected.
"""

from __future__ import annotations

import _thread
import argparse
import ast
import contextlib
import copy
import functools
import importlib
import importlib.util
import inspect
import io
import linecache
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, Python puts tools/ there instead
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the processor already

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from diffedu.exercises import chapters, exercises, find, judge  # noqa: E402
from tools import editions  # noqa: E402
from tools.build_notebooks import load  # noqa: E402

OUT = ROOT / "build" / "grading-report.md"
WRONG_ANSWERS = ROOT / "tests" / "exercises" / "wrong_answers"
WANTED = 0.98
LEAST_NAMED = 3
CHECK_SEEDS = range(2)  # what a student's check takes
MORE_SEEDS = range(5)  # reference outputs are compared on these
MOST_CALLS = 200  # some checks call an answer very often
SECONDS = 10.0  # for one mutant; no check takes two

# Equivalents that no run can show, by exercise and change, each with the reason.
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "7.7",
        "`mean + variance ** 0.5 * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)` becomes "
        "`mean - variance ** 0.5 * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)`",
    ): "the exercise asks for a draw from a law, and minus the noise has the law of the noise",
}


@dataclass(frozen=True)
class Verdict:
    """What became of a wrong answer: "rejected", "timed out", "equivalent" or "passed", and the sentence."""

    what: str
    state: str
    sentence: str


@dataclass
class Result:
    """What the report says about one exercise."""

    id: str
    title: str
    kind: str
    reference: str = ""  # why it fails; empty when it passes
    named: list[Verdict] = field(default_factory=list)
    mutants: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """What is wrong apart from mutants that pass."""
        found = [f"the reference fails: {self.reference}"] if self.reference else []
        found += [f"the wrong answer {one.what!r} passes" for one in self.named if one.state == "passed"]
        if len(self.named) < LEAST_NAMED:
            found.append(f"{len(self.named)} named wrong answers, expected {LEAST_NAMED} or more")
        said = Counter(one.sentence for one in self.named)
        found += [f"two named wrong answers get the same message: {text}" for text, n in said.items() if n > 1]
        return found

    def count(self, *states: str) -> int:
        return sum(one.state in states for one in self.mutants)


class TimedOut(BaseException):
    """Not an Exception: a check turns those into sentences, and would go on."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimedOut in the main thread when the body takes longer; works on Windows too."""

    def stop(signum: int, frame: object) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGINT, stop)
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


# --------------------------------------------------------------------------------------------- mutants of code

OPERATORS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COMPARISONS: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
}
# fmt: off
DROPPED = [
    "sqrt", "square", "exp", "log", "abs", "clamp", "clip", "clamp_min", "clamp_max", "cumsum", "cumprod", "flip",
    "log1p", "expm1", "logsumexp", "inv",
]
PAIRS = [
    ("mean", "sum"), ("cumsum", "cumprod"), ("sin", "cos"), ("max", "min"), ("amax", "amin"), ("argmax", "argmin"),
    ("floor", "ceil"), ("std", "var"), ("zeros_like", "ones_like"), ("clamp_min", "clamp_max"),
]
TAKE_DIM_FIRST = [
    "sum", "mean", "std", "var", "amax", "amin", "argmax", "argmin", "cumsum", "cumprod", "logsumexp", "softmax",
    "flip", "any", "all",
]
TAKE_DIM_SECOND = ["stack", "cat", "softmax", "log_softmax", "cumsum", "cumprod", "logsumexp", "flip", "split", "chunk"]
# fmt: on
EXCHANGED = dict(PAIRS) | {b: a for a, b in PAIRS}


def mutants(code: str) -> Iterator[tuple[str, str]]:
    """Every version of the code with one small mistake, as (what was changed, code); none occurs twice."""
    tree = ast.parse(code)
    seen = {ast.unparse(tree)}
    for parent, name, at, node, role, parameters in list(_places(tree, "", [])):
        for new in (*_changes(node, role), *_other_names(node, parameters)):
            _put(parent, name, at, new)
            text = ast.unparse(tree)
            _put(parent, name, at, node)
            if text not in seen:
                seen.add(text)
                line = getattr(node, "lineno", 0)
                yield f"line {line}: `{_short(node)}` becomes `{_short(new)}`", text


def _put(parent: ast.AST, name: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[at] = node


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:87]}..."


Place = tuple[ast.AST, str, int | None, ast.AST, str, list[str]]
"""Where a node hangs (parent, field, index), the node, the part that it plays there, its function's parameters."""


def _places(parent: ast.AST, role: str, parameters: list[str]) -> Iterator[Place]:
    """Every node that may be changed."""
    if isinstance(parent, ast.FunctionDef):
        parameters = [argument.arg for argument in parent.args.args]
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns", "decorator_list", "args", "ctx") and not isinstance(parent, ast.Call):
            continue  # a signature is given by the exercise
        for number, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            part = _role(parent, name, number, role)
            yield parent, name, number if isinstance(value, list) else None, node, part, parameters
            yield from _places(node, part, parameters)


def _other_names(node: ast.AST, parameters: list[str]) -> Iterator[ast.AST]:
    """The next parameter in a parameter's place: alpha for sigma, x0 for eps."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in parameters and len(parameters) > 1:
        yield ast.Name(parameters[(parameters.index(node.id) + 1) % len(parameters)], ast.Load())


def _role(parent: ast.AST, name: str, number: int, role: str) -> str:
    """ "index", "bound" of a range, "dim" or "returned": the parts whose nodes change in ways of their own."""
    if isinstance(parent, ast.Return) or (isinstance(parent, ast.Lambda) and name == "body"):
        return "returned"
    if role == "returned" and isinstance(parent, ast.Tuple):
        return "returned"  # each of several results
    if isinstance(parent, ast.Subscript) and name == "slice":
        return "index"
    if role == "index" and isinstance(parent, ast.Tuple | ast.Slice | ast.UnaryOp):
        return "index"
    if role == "dim" and isinstance(parent, ast.UnaryOp | ast.Tuple):
        return "dim"
    if isinstance(parent, ast.keyword):
        return "dim" if parent.arg in ("dim", "axis") else ""
    if isinstance(parent, ast.Call) and name == "args":
        called = _called(parent)
        on_module = isinstance(parent.func, ast.Attribute) and _is_module(parent.func.value)
        if called == "range":
            return "bound"
        if (number == 0 and called in TAKE_DIM_FIRST and not on_module) or (number == 1 and called in TAKE_DIM_SECOND):
            return "dim"
    return ""


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _is_module(node: ast.AST) -> bool:
    return ast.unparse(node) in ("torch", "math", "np", "F", "nn.functional", "torch.linalg", "torch.nn.functional")


def _changes(node: Any, role: str) -> Iterator[ast.AST]:
    if role == "returned" and not isinstance(node, ast.Tuple | ast.Lambda | ast.List | ast.Dict):
        yield from _scaled(node)
    if role in ("index", "bound") and isinstance(node, ast.Name | ast.BinOp | ast.Call | ast.Attribute):
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
    if isinstance(node, ast.Constant):
        yield from (ast.Constant(value) for value in _constants(node.value, role))
    elif isinstance(node, ast.BinOp):
        if type(node.op) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        if isinstance(node.op, ast.Pow):
            yield node.left  # a square or a root dropped
        if isinstance(node.op, ast.MatMult):
            yield ast.BinOp(node.right, ast.MatMult(), node.left)
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
        yield ast.Pass()
    elif isinstance(node, ast.Expr):
        yield ast.Pass()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS.get(type(node.ops[0]), []):
            yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        axes = node.slice.elts
        if any(isinstance(axis, ast.Constant) and axis.value is None for axis in axes):
            yield ast.Subscript(node.value, ast.Tuple(axes[::-1], ast.Load()), ast.Load())  # [:, None], [None, :]
            yield node.value
    elif isinstance(node, ast.Call):
        yield from _calls(node)


def _scaled(node: ast.expr) -> Iterator[ast.AST]:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, bool | str | None)):
        yield ast.BinOp(ast.Constant(2), ast.Mult(), node)
        yield ast.UnaryOp(ast.USub(), node)


def _constants(value: Any, role: str) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if not isinstance(value, int | float):
        return []
    if role == "dim":
        return [1 - value] if value in (0, 1) else [value - 1, value + 1]
    if role in ("index", "bound"):
        return [value + 1, value - 1]
    if value == 0.5:
        return [1]
    if isinstance(value, int):
        return {0: [1], 1: [2, 0], 2: [1, 3]}.get(value, [value + 1, value - 1])
    return [2 * value, value / 2]


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    called = _called(node)
    if isinstance(node.func, ast.Attribute):
        on_module = _is_module(node.func.value)
        if called in DROPPED and not (on_module and not node.args):
            yield node.args[0] if on_module else node.func.value
        if called in EXCHANGED:
            new = ast.Attribute(node.func.value, EXCHANGED[called], ast.Load())
            yield ast.Call(new, node.args, node.keywords)
    elif called in ("min", "max"):
        yield ast.Call(ast.Name(EXCHANGED[called], ast.Load()), node.args, node.keywords)
    if called in ("where", "lerp") and len(node.args) == 3:
        yield ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
    elif len(node.args) > 1 and not any(isinstance(part, ast.Starred) for part in node.args):
        yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)


# ------------------------------------------------------------------------------------------- mutants of values


@dataclass
class Asked:
    """What a check compares values with, noted while it looks at the reference."""

    tolerances: list[tuple[float, float]] = field(default_factory=list)  # (right number, absolute tolerance)
    choices: list[tuple[str, list[str]]] = field(default_factory=list)  # (right choice, the others)


@contextlib.contextmanager
def noting(id: str) -> Iterator[Asked]:
    """Note what the check of this exercise asks of its helpers."""
    asked = Asked()
    module = importlib.import_module(find(id).function.__module__)
    number, choice = getattr(module, "expect_number", None), getattr(module, "expect_choice", None)

    def expect_number(answer: Any, expected: float, *, rtol: float = 0.01, atol: float = 0.0, **rest: Any) -> None:
        asked.tolerances.append((float(expected), atol + rtol * abs(float(expected))))
        number(answer, expected, rtol=rtol, atol=atol, **rest)  # type: ignore[misc]

    def expect_choice(answer: Any, right: str, wrong: Any, **rest: Any) -> None:
        asked.choices.append((right, list(wrong)))
        choice(answer, right, wrong, **rest)  # type: ignore[misc]

    with contextlib.ExitStack() as patches:
        for spy, original in ((expect_number, number), (expect_choice, choice)):
            if original is not None:
                patches.enter_context(mock.patch.object(module, spy.__name__, spy))
        yield asked


def changed_values(answer: Any, asked: Asked) -> Iterator[tuple[str, Any]]:
    """Other numbers and other choices: in a tuple, one part at a time."""
    parts = answer if isinstance(answer, tuple | list) else (answer,)
    for number, part in enumerate(parts):
        for what, new in _other_values(part, asked):
            name = f"part {number + 1}: {what}" if len(parts) > 1 else what
            yield name, (*parts[:number], new, *parts[number + 1 :]) if isinstance(answer, tuple | list) else new


def _other_values(value: Any, asked: Asked) -> Iterator[tuple[str, Any]]:
    if isinstance(value, str):
        others = {other for right, wrong in asked.choices if _plain(right) == _plain(value) for other in wrong}
        for other in sorted(others):
            yield f"the choice {other!r}", other
    elif isinstance(value, int | float) and not isinstance(value, bool):
        tolerances = [t for right, t in asked.tolerances if abs(value - right) <= t] or [0.05 * abs(value)]
        # The next number of the same sort that lies outside the tolerance.
        step = max(1.5 * max(tolerances), 1e-12)
        step = math.floor(step) + 1 if isinstance(value, int) else step
        yield "just too large", value + step
        yield "just too small", value - step
        if value != 0:
            yield "doubled", 2 * value
            yield "negated", -value
            if abs(value) != 1:
                yield "the reciprocal", 1 / value


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())


# --------------------------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Reference:
    """A solution as the check receives it, and what is needed to evaluate a changed version."""

    code: str
    expression: str
    scope: dict[str, Any]
    answer: Any

    def changed(self, id: str, code: str) -> Any:
        return _evaluate(id, code, self.expression, dict(self.scope))


@functools.cache
def references(chapter: int) -> dict[str, Reference]:
    """The reference answers of a chapter, by id; the functions of earlier exercises are in their scope."""
    (source,) = editions.sources(f"{chapter:02d}_")
    notebook = load(source)
    solutions = editions.find_solutions(editions.SOLUTIONS / source.name)
    stubs = editions.find_stubs(notebook)
    editions.match(stubs, solutions)
    scope = editions.namespace(notebook)
    found = {}
    for stub in stubs:
        before, code = dict(scope), solutions[stub.id].code
        found[stub.id] = Reference(code, stub.answer, before, _evaluate(stub.id, code, stub.answer, scope))
    return found


def _evaluate(id: str, code: str, expression: str, scope: dict[str, Any]) -> Any:
    name = f"<exercise {id}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    exec(compile(code, name, "exec"), scope)
    return eval(expression, scope)


@functools.cache
def named_wrong_answers(chapter: int) -> dict[str, list[tuple[str, Any]]]:
    path = WRONG_ANSWERS / f"ch{chapter:02d}.py"
    spec = importlib.util.spec_from_file_location(f"wrong_answers_ch{chapter:02d}", path)
    if spec is None or spec.loader is None or not path.exists():
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WRONG


# ----------------------------------------------------------------------------------------------- equivalents


Calls = list[list[tuple[Any, Any]]]
"""For each function of an answer the calls, as (args, kwargs); empty for an answer that is no function."""


class Recorder:
    """A reference function that notes what it is called with, and then answers."""

    def __init__(self, function: Callable[..., Any], calls: list[tuple[Any, Any]]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.calls = function, calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(self.calls) < MOST_CALLS:
            self.calls.append((_clone(args), _clone(kwargs)))
        return self.function(*args, **kwargs)


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(_clone(part) for part in value)
    if isinstance(value, torch.Generator):
        return torch.Generator(value.device).set_state(value.get_state())
    if inspect.isfunction(value) or inspect.ismethod(value):
        return value
    return copy.deepcopy(value)


def recorded_calls(id: str, answer: Any) -> Calls:
    """For each function of the reference answer, the arguments with which the check calls it at five seeds."""
    functions = answer if isinstance(answer, tuple | list) else (answer,)
    if not all(inspect.isfunction(function) for function in functions):
        return []
    calls: Calls = [[] for _ in functions]
    recorders = tuple(Recorder(function, noted) for function, noted in zip(functions, calls, strict=True))
    for seed in MORE_SEEDS:
        judge(id, recorders if isinstance(answer, tuple | list) else recorders[0], [seed])
    return calls


def moved(value: Any, how: str, rng: torch.Generator) -> Any:
    """The argument at a place that the check did not choose: "shaken" by 5 %, "shrunk", or "stretched"."""
    if isinstance(value, Tensor) and value.is_floating_point():
        old = value.detach()
        if how == "shaken":
            new = old * (1 + 0.05 * torch.rand(old.shape, generator=rng, dtype=old.dtype))
        else:
            new = old * _factor(how, bool(((old >= 0) & (old <= 1)).all()))
        return new.requires_grad_(value.requires_grad)
    if isinstance(value, float):
        if how == "shaken":
            return value * (1 + 0.05 * torch.rand((), generator=rng).item())
        return value * _factor(how, 0 <= value <= 1)
    if isinstance(value, int) and not isinstance(value, bool):
        return value + (how == "stretched")
    if type(value) in (tuple, list):
        return type(value)(moved(part, how, rng) for part in value)
    value = _clone(value)
    if isinstance(value, torch.nn.Module):
        with torch.no_grad():
            for weight in value.parameters():
                weight.copy_(moved(weight, how, rng) + (how == "stretched"))  # not all zero
    return value


def _factor(how: str, may_be_a_share: bool) -> float:
    return 0.2 if how == "shrunk" else 1.0 if may_be_a_share else 3.0


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What a call returns and what it leaves in its arguments; None when it stops with an error."""
    args, kwargs = _clone(args), _clone(kwargs)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            output = function(*args, **kwargs)
        except Exception:
            return None
    return (output, args, kwargs)


def _equal(a: Any, b: Any) -> bool:
    """Equal but for rounding. What cannot be compared counts as different."""
    if type(a) is not type(b) and not (isinstance(a, int | float) and isinstance(b, int | float)):
        return False
    if isinstance(a, np.ndarray):
        a, b = torch.as_tensor(a), torch.as_tensor(b)
    if isinstance(a, Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        tolerance = 1e-5 if a.dtype in (torch.float16, torch.float32, torch.complex64) else 1e-10
        scale = float(a.detach().abs().max()) if a.numel() and a.is_floating_point() else 0.0
        return torch.allclose(a.detach(), b.detach(), rtol=tolerance, atol=tolerance * min(scale, 1e6), equal_nan=True)
    if isinstance(a, bool | str | None):
        return a == b
    if isinstance(a, int | float):
        return math.isclose(a, b, rel_tol=1e-10) or (a != a and b != b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, torch.nn.Module):
        return a.training == b.training and _equal(dict(a.state_dict()), dict(b.state_dict()))
    if isinstance(a, torch.Generator):
        return torch.equal(a.get_state(), b.get_state())
    return a is b


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, tuple | list):
        return all(_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)


def compared(reference: Any, mutant: Any, calls: Calls) -> tuple[int, str]:
    """On how many calls both functions answer alike, and where they differ first ("" when they never do).

    They are called with the check's own arguments, and with these moved. Where the reference itself has no
    finite answer, nothing is asked of the mutant.
    """
    functions = reference if isinstance(reference, tuple | list) else (reference,)
    others = mutant if isinstance(mutant, tuple | list) else (mutant,)
    rng = torch.Generator("cpu").manual_seed(0)
    alike = 0
    for function, other, noted in zip(functions, others, calls, strict=True):
        for args, kwargs in noted:
            for how in ("as the check calls it", "shaken", "stretched", "shrunk"):
                given = args, kwargs
                if how != "as the check calls it":
                    given = moved(args, how, rng), {key: moved(value, how, rng) for key, value in kwargs.items()}
                right = _outcome(function, *given)
                if right is None or not _finite(right[0]):
                    continue
                if not _equal(right, _outcome(other, *given)):
                    return alike, how
                alike += 1
    return alike, ""


# ---------------------------------------------------------------------------------------------------- judging


def judged(id: str, what: str, answer: Callable[[], Any], seconds: float = SECONDS) -> Verdict:
    """A wrong answer's verdict, at the first seed, and where that is not enough at the student's two."""
    try:
        with time_limit(seconds), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                value = answer()
            except Exception as error:  # the mutated cell itself stops
                return Verdict(what, "rejected", f"your code stops with {type(error).__name__}: {error}")
            outcome = judge(id, value, CHECK_SEEDS[:1])
            if outcome.state == "solved":
                outcome = judge(id, value, CHECK_SEEDS)
    except TimedOut:
        return Verdict(what, "timed out", f"no answer after {seconds:g} seconds")
    if outcome.state == "not attempted":
        return Verdict(what, "rejected", "(taken for the stub)")
    return Verdict(what, "passed" if outcome.state == "solved" else "rejected", outcome.sentence)


def judged_named(id: str, name: str, answer: Any) -> Verdict:
    """A named wrong answer's verdict at the student's seeds."""
    outcome = judge(id, answer, CHECK_SEEDS)
    sentence = outcome.sentence if outcome.state != "not attempted" else "(taken for the stub)"
    return Verdict(name, "passed" if outcome.state == "solved" else "rejected", sentence)


def same_answer(reference: Any, mutant: Any, calls: Calls, asked: Asked) -> tuple[bool, str]:
    """Whether a mutant that passed is an equivalent, and what was seen."""
    parts = reference if isinstance(reference, tuple | list) else (reference,)
    if calls:
        alike, where = compared(reference, mutant, calls)
        if alike and not where:
            return True, f"answers as the reference does in {alike} calls, also where the check does not call it"
        return False, f"differs from the reference: {where or 'in every call'}"
    if any(callable(part) for part in parts):
        return False, "not compared"
    others = mutant if isinstance(mutant, tuple | list) else (mutant,)
    if len(others) == len(parts) and all(map(_as_good, parts, others, [asked] * len(parts))):
        return True, "a number within the tolerance that the exercise grants"
    return False, f"another value: {mutant!r}"


def _as_good(value: Any, other: Any, asked: Asked) -> bool:
    if not isinstance(value, int | float) or not isinstance(other, int | float):
        return value == other
    # A tolerance of more than a tenth would itself be a hole. Twice, since both may lie at its edges.
    granted = [t for right, t in asked.tolerances if abs(value - right) <= t and t <= 0.1 * abs(right)]
    return abs(value - other) <= 2 * max([*granted, 1e-9 * abs(value)])


def behaving(answer: Any, calls: Calls) -> Iterator[tuple[str, Any]]:
    """Functions that compute too little: always the first answer, zeros, or one argument always as it was first."""
    functions = answer if isinstance(answer, tuple | list) else (answer,)
    for number, noted in enumerate(calls):
        if not noted:
            continue
        for what, new in _lazy(functions[number], *noted[0]):
            name = f"part {number + 1}: {what}" if len(functions) > 1 else what
            yield name, (*functions[:number], new, *functions[number + 1 :]) if len(functions) > 1 else new


def _lazy(function: Callable[..., Any], args: Any, kwargs: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    outcome = _outcome(function, args, kwargs)
    if outcome is not None:
        values = {"always its first answer": outcome[0], "zeros": _zeros(outcome[0])}
        for what, value in values.items() if outcome[0] is not None else [("does nothing", None)]:
            yield what, functools.wraps(function)(lambda *args, value=value, **kwargs: _clone(value))
    for at, (name, first) in enumerate(zip(inspect.signature(function).parameters, args)):

        def frozen(*args: Any, at: int = at, first: Any = first, **kwargs: Any) -> Any:
            return function(*args[:at], _clone(first), *args[at + 1 :], **kwargs)

        yield f"always its first `{name}`", functools.wraps(function)(frozen)


def _zeros(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.zeros_like(value)
    if isinstance(value, tuple | list):
        return type(value)(_zeros(part) for part in value)
    return 0 * value if isinstance(value, int | float) else value


def examine(id: str) -> Result:
    """Everything that the report says about one exercise."""
    start = time.perf_counter()
    one = find(id)
    result = Result(id, f"{'★' * one.stars} {one.title}", one.kind)
    try:
        reference = references(one.chapter)[id]
    except Exception as error:  # a chapter that is being written
        result.reference = f"it could not be loaded: {type(error).__name__}: {error}"
        return result
    with noting(id) as asked:
        outcome = judge(id, reference.answer, MORE_SEEDS)
    if outcome.state != "solved":
        result.reference = outcome.sentence
        return result
    for name, answer in named_wrong_answers(one.chapter).get(id, []):
        result.named.append(judged_named(id, name, answer))

    calls = recorded_calls(id, reference.answer)
    tries: list[tuple[str, Callable[[], Any]]] = []
    tries += [(what, functools.partial(reference.changed, id, code)) for what, code in mutants(reference.code)]
    for what, value in (*changed_values(reference.answer, asked), *behaving(reference.answer, calls)):
        tries.append((what, functools.partial(_given, value)))
    for what, make in tries:
        verdict = judged(id, what, make)
        if verdict.state == "passed":
            verdict = explained(id, verdict, make, lambda mutant: same_answer(reference.answer, mutant, calls, asked))
        result.mutants.append(verdict)
    result.seconds = time.perf_counter() - start
    return result


def _given(value: Any) -> Any:
    return value


def explained(
    id: str, verdict: Verdict, make: Callable[[], Any], compare: Callable[[Any], tuple[bool, str]]
) -> Verdict:
    """A mutant that passed: an equivalent, or a hole in the check."""
    change = verdict.what.partition(": ")[2]
    if (id, change) in EQUIVALENT:
        return Verdict(verdict.what, "equivalent", EQUIVALENT[id, change])
    try:
        with time_limit(6 * SECONDS), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            same, sentence = compare(make())
    except TimedOut:
        same, sentence = False, "the comparison took too long"
    return Verdict(verdict.what, "equivalent" if same else "passed", sentence)


# ---------------------------------------------------------------------------------------------------- report


def rejected_share(results: list[Result]) -> float:
    """Of the mutants that are no equivalents."""
    counted = sum(one.count("rejected", "timed out", "passed") for one in results)
    return sum(one.count("rejected", "timed out") for one in results) / counted if counted else 1.0


def passes(results: list[Result]) -> bool:
    return bool(results) and not any(one.faults for one in results) and rejected_share(results) >= WANTED


def report(results: list[Result], seconds: float) -> str:
    """The report in Markdown: totals first, then what passed though it is wrong, then every exercise."""
    every = [mutant for one in results for mutant in one.mutants]
    stopped = sum(one.state == "rejected" and one.sentence.startswith("your code stops") for one in every)
    states = Counter(one.state for one in every)
    lines = [
        "# Grading report",
        "Written by `make grading-report`: what each check says to wrong answers.",
        "",
        "| | |",
        "|---|---|",
        f"| exercises | {len(results)} |",
        f"| references that pass | {sum(not one.reference for one in results)} |",
        f"| named wrong answers | {sum(len(one.named) for one in results)} |",
        f"| of them rejected | {sum(v.state != 'passed' for one in results for v in one.named)} |",
        f"| generic mutants | {len(every)} |",
        f"| equivalent to the reference, not counted | {states['equivalent']} |",
        f"| rejected | {states['rejected'] + states['timed out']} |",
        f"| of them only since they stop with an error | {stopped} |",
        f"| of them out of time | {states['timed out']} |",
        f"| passed | {states['passed']} |",
        f"| **rejected, in percent** (wanted: {100 * WANTED:g}) | **{100 * rejected_share(results):.2f}** |",
        f"| minutes | {seconds / 60:.1f} |",
        "",
    ]
    faults = [f"- {one.id}: {fault}" for one in results for fault in one.faults]
    lines += ["## Faults", "", *(faults or ["None."]), ""]
    holes = [f"- {one.id}, {v.what} ({v.sentence})" for one in results for v in one.mutants if v.state == "passed"]
    lines += ["## Mutants that pass", "", *(holes or ["None."]), ""]
    for one in results:
        lines += [f"## {one.id} {one.title} ({one.kind})", ""]
        wrong, alike = one.count("rejected", "timed out"), one.count("equivalent")
        lines += [f"{len(one.named)} named; {len(one.mutants)} mutants: {wrong} rejected, {alike} equivalent.", ""]
        lines += ["| wrong answer | verdict | message |", "|---|---|---|"]
        lines += [f"| {_cell(v.what)} | {v.state} | {_cell(v.sentence)} |" for v in [*one.named, *one.mutants]]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def run(ids: list[str], processes: int) -> list[Result]:
    """The results in the order of the exercises; a process that takes an exercise keeps its chapter at hand."""
    if processes < 2:
        return [examine(id) for id in ids]
    # Spawned: a forked process would share torch's threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = []
        for result in pool.map(examine, ids, chunksize=4):
            print(f"{result.id}: {len(result.mutants)} mutants, {result.count('passed')} pass", flush=True)
            found.append(result)
        return found


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", nargs="+", default=[], help="ids of exercises, or numbers of chapters")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    every = [one.id for chapter in chapters() for one in exercises(chapter)]
    wanted = {str(int(part)) if part.isdigit() else part for part in given.only}
    ids = [id for id in every if not wanted or id in wanted or id.partition(".")[0] in wanted]
    results = run(ids, given.processes)
    editions.write(given.out, report(results, time.perf_counter() - start))
    share = 100 * rejected_share(results)
    print(f"{len(results)} exercises, {share:.2f} % of the mutants rejected: {given.out}")
    for one in results:
        for fault in one.faults:
            print(f"{one.id}: {fault}")
    return 0 if passes(results) else 1


if __name__ == "__main__":
    sys.exit(main())
