"""The index of the book's equations: where each stands, what executes it, which function it became.

python tools/equations.py           write docs/equations.md
python tools/equations.py --check   change nothing; exit 1 on an unexecuted equation or a stale index

An equation is a \\tag{N.k} in a chapter's markdown. It is executed by verify("N.k", ...) or
verify_mean("N.k", ...) in the chapter, or by a test marked @pytest.mark.equation("N.k"). A definition has
nothing to execute and says so in its cell: <!-- definition 5.1: reason -->. A function that implements an
equation is named in its cell: <!-- code 5.4: diffedu.core.path.GaussianPath.add_noise -->.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INDEX = Path("docs") / "equations.md"
TAG = re.compile(r"\\tag\{([^}]*)\}")
NUMBER = re.compile(r"\d+\.\d+[a-z]?")
NOTE = re.compile(r"<!--\s*(definition|code)\s+(\S+?):\s*(.*?)\s*-->", re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)


@dataclass
class Equation:
    tag: str
    chapter: str  # the source's file name without .py
    heading: str  # the nearest heading above
    checks: list[str] = field(default_factory=list)  # what executes it, as markdown
    definition: str = ""
    functions: list[str] = field(default_factory=list)


def collect(root: Path) -> tuple[list[Equation], list[str]]:
    """Every equation of the chapters below ``root``, and what is wrong, one sentence each."""
    equations: dict[str, Equation] = {}
    notes: list[tuple[str, str, str, str]] = []
    checks: list[tuple[str, str, str]] = []
    faults: list[str] = []
    for path in sorted((root / "chapters").glob("[0-9][0-9]_*.py")):
        heading = path.stem
        for text in _markdown(path):
            places = [(m.start(), "heading", m.group(1)) for m in HEADING.finditer(text)]
            places += [(m.start(), "tag", m.group(1)) for m in TAG.finditer(text)]
            for _, what, value in sorted(places):
                if what == "heading":
                    heading = value.strip()
                elif not NUMBER.fullmatch(value) or int(value.partition(".")[0]) != int(path.name[:2]):
                    faults.append(f"{path.name}: \\tag{{{value}}} is not this chapter's number and a counter")
                elif value in equations:
                    faults.append(f"{path.name}: ({value}) occurs twice, first in {equations[value].chapter}")
                else:
                    equations[value] = Equation(value, path.stem, heading)
            notes += [(path.name, m.group(1), m.group(2), m.group(3)) for m in NOTE.finditer(text)]
        checks += [(tag, path.name, f"`{name}` in the chapter") for tag, name in _calls(path)]
    for path in sorted((root / "tests").rglob("test_*.py")):
        place = path.relative_to(root).as_posix()
        checks += [(tag, place, f"[{name}](../{place})") for tag, name in _marks(path)]
    for tag, place, text in checks:
        if tag not in equations:
            faults.append(f"{place}: checks ({tag}), which no chapter has")
        elif text not in equations[tag].checks:
            equations[tag].checks.append(text)
    for place, kind, tag, text in notes:
        if tag not in equations:
            faults.append(f"{place}: the {kind} note names ({tag}), which no chapter has")
        elif kind == "definition":
            equations[tag].definition = " ".join(text.split())
        elif not _importable(text):
            faults.append(f"{place}: {text}, named as the code of ({tag}), cannot be imported")
        else:
            equations[tag].functions.append(text)
    for equation in equations.values():
        if not equation.checks and not equation.definition:
            place = f"({equation.tag}) in {equation.chapter}"
            faults.append(f"{place} is neither executed nor marked as a definition")
    return sorted(equations.values(), key=_order), faults


def render(equations: list[Equation]) -> str:
    """The index as markdown."""
    lines = [
        "# Equations and what executes them",
        "",
        "Written by tools/equations.py; don't edit. An equation is checked in its chapter or by a test,",
        "against a closed form, quadrature or Monte Carlo with a stated error bar; a definition has nothing",
        "to check.",
    ]
    chapter = ""
    for equation in equations:
        if equation.chapter != chapter:
            chapter = equation.chapter
            title = chapter.partition("_")[2].replace("_", " ")
            lines += ["", f"## [{chapter[:2]} {title}](../chapters/{chapter}.ipynb)", ""]
            lines += ["| equation | section | executed by | code |", "|---|---|---|---|"]
        executed = ", ".join(equation.checks) or f"definition: {equation.definition}"
        code = ", ".join(f"`{name}`" for name in equation.functions)
        cells = (f"({equation.tag})", equation.heading, executed, code)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _order(equation: Equation) -> tuple[int, int, str]:
    chapter, _, rest = equation.tag.partition(".")
    return int(chapter), int(re.match(r"\d+", rest).group()), rest  # type: ignore[union-attr]


def _markdown(path: Path) -> list[str]:
    """The markdown cells of a percent file, in order."""
    import jupytext

    return [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown"]


def _calls(path: Path) -> list[tuple[str, str]]:
    """(tag, name of the function) of each verify in a chapter's code, whose magics are comments."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("verify", "verify_mean"):
                found.append((str(node.args[0].value), name))
    return found


def _marks(path: Path) -> list[tuple[str, str]]:
    """(tag, name of the test) of each mark equation(...) on a test or its class."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                    found += [(str(ast.literal_eval(tag)), node.name) for tag in mark.args]
    return found


def _importable(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[length:]:
                found = getattr(found, part)
        except AttributeError:
            # Perhaps a module's name is a function's, too (diffedu.verify): try the shorter module.
            continue
        return True
    return False


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="change nothing, report what is wrong")
    check = parser.parse_args().check
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    equations, faults = collect(ROOT)
    path, text = ROOT / INDEX, render(equations)
    if check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            faults.append(f"{INDEX.as_posix()} is stale: run python tools/equations.py")
    else:
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name(path.name + ".tmp")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    for fault in faults:
        print(fault, file=sys.stderr)
    done = sum(bool(equation.checks) for equation in equations)
    definitions = sum(bool(equation.definition) for equation in equations)
    print(f"{len(equations)} equations: {done} executed, {definitions} definitions")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
