"""For each chapter that shows a widget, a small notebook: the widget's cell and the statements that it needs."""

from __future__ import annotations

import ast
import symtable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from diffedu.show.widgets.picture import VIEW


def shows_widget(cell: NotebookNode) -> bool:
    """Whether a code cell shows one of the book's widgets: a view with a picture beside it, which tqdm's lacks."""
    return any({VIEW, "image/png"} <= set(output.get("data", {})) for output in cell.get("outputs", []))


def widgets(folder: Path) -> list[tuple[str, int]]:
    """Of every widget that the executed notebooks of a folder show: the notebook's name, and which of its widgets."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        found += [(path.name, k) for k in range(sum(map(shows_widget, cells)))]
    return found


def _of_one(code: str) -> tuple[set[str], set[str]]:
    """What a statement binds, and what it reads of outside, functions in it included."""
    bound: set[str] = set()
    read: set[str] = set()
    waiting = [symtable.symtable(code, "cell", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            outermost = table.get_type() == "module"
            if outermost and (symbol.is_assigned() or symbol.is_imported()):
                bound.add(symbol.get_name())
            if symbol.is_referenced() and (outermost or symbol.is_global()):
                read.add(symbol.get_name())
    return bound, read


def _scan(statements: list[ast.stmt], bound: set[str], read: set[str], late: set[str]) -> None:
    """Go through statements in their order. A name counts as read only where nothing before has bound it.

    `late` collects what functions read: they run after the cell, or within it, when all of it may be bound.
    """
    for statement in statements:
        if isinstance(statement, ast.For | ast.With):
            headers: list[ast.AST] = (
                [statement.iter] if isinstance(statement, ast.For) else [item.context_expr for item in statement.items]
            )
            for header in headers:
                read |= _of_one(ast.unparse(header))[1] - bound
            targets = (
                [statement.target] if isinstance(statement, ast.For) else [i.optional_vars for i in statement.items]
            )
            for target in filter(None, targets):
                bound |= {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
            _scan(statement.body, bound, read, late)
            continue
        new, needed = _of_one(ast.unparse(statement))
        (late if isinstance(statement, ast.FunctionDef | ast.ClassDef) else read).update(needed - bound)
        bound |= new


def names(statement: ast.stmt) -> tuple[set[str], set[str], set[str]]:
    """What a statement binds; what it reads of earlier ones (or of Python); what its functions read once called."""
    bound: set[str] = set()
    read: set[str] = set()
    late: set[str] = set()
    _scan([statement], bound, read, late)
    return bound, read, late


def _text(lines: list[str], statement: ast.stmt) -> str:
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(lines[first - 1 : statement.end_lineno])


def _needed_of(cells: list[NotebookNode], last: str, called: set[str]) -> tuple[list[str], set[str]]:
    """The needed part of each cell that has one, in their order, and all names that the kept functions read."""
    kept: list[str] = []
    needed, late = set(called), set[str]()
    for statement in ast.parse(last).body:
        _, read, inside = names(statement)
        needed |= read | inside
    for cell in reversed(cells):
        chosen: list[str] = []
        for statement in reversed(ast.parse(cell.source).body):
            bound, read, inside = names(statement)
            if bound & needed:
                chosen.insert(0, _text(cell.source.splitlines(), statement))
                needed = (needed - bound) | read | inside
                late |= inside
        if chosen:
            kept.insert(0, "\n".join(chosen))
    return kept, late


@dataclass
class Derived:
    """A small notebook, and how much of the chapter's code it has."""

    notebook: NotebookNode
    lines: int
    of: int


def derived(path: Path, which: int = -1) -> Derived:
    """One of the widgets' cells of a chapter, behind the statements whose names it needs; nothing is executed.

    From the widget's cell backwards: a statement is kept if it binds a name that a later kept one reads. What it binds
    is then no longer needed, what it reads is. The first cell, which sees to the installation, is kept. A statement
    that only changes an object in place, as the training of a network, is left out.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    shown = [k for k, cell in enumerate(cells) if shows_widget(cell)]
    if not shown:
        raise ValueError(f"{path.name} shows no widget; expected a code cell with a widget's view among its outputs")
    last = cells[shown[which]].source
    called: set[str] = set()
    while True:
        kept, more = _needed_of(cells[1 : shown[which]], last, called)
        if more <= called:
            break
        called |= more  # a function is called later than it is made: what it reads may be bound in between
    kept = [cells[0].source, *kept, last]
    small = nbformat.v4.new_notebook(metadata={"kernelspec": notebook.metadata["kernelspec"]})
    small.cells = [nbformat.v4.new_code_cell(text) for text in kept]
    return Derived(small, *(sum(len(t.splitlines()) for t in texts) for texts in (kept, [c.source for c in cells])))
