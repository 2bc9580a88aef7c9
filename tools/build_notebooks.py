"""Execute chapters/*.py (jupytext percent) into committed, byte-stable .ipynb files.

python tools/build_notebooks.py             rebuild what changed: a chapter's code, the package, the data
python tools/build_notebooks.py --all       rebuild everything
python tools/build_notebooks.py 05 14       rebuild these chapters only (--all: though nothing changed)
python tools/build_notebooks.py --check     change nothing; exit 1 when a notebook isn't up to date
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
RECORD = ROOT / "build" / "notebooks.json"  # what each notebook was last executed from, on this machine
MAX_BYTES = 1_500_000
CELL_TIMEOUT = 600  # seconds
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
METADATA = {
    "jupytext": {"cell_metadata_filter": "tags", "notebook_metadata_filter": "kernelspec,-jupytext"},
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},  # no patch version: it would change with every machine
}
MODEL_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
ADDRESS = re.compile(r"github(\.com)?/[\w.-]+/[\w.-]+")  # the repository's address, in links and in the install line
# Traces of the machine that ran the notebook; they would be printed in everybody's copy of the book.
BASE64 = re.compile(r"base64,[A-Za-z0-9+/=\\\s]+")
MACHINE = re.compile(r"/home/|/Users/|/tmp/|/root/|[A-Za-z]:\\\\|site-packages|dist-packages|ipykernel_\d+")


# --- source and twin ----------------------------------------------------------------------------------------


def load(source: Path) -> NotebookNode:
    """The notebook that a source describes, not executed. A cell's id depends on its text alone."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(METADATA)
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return notebook


def inputs(notebook: NotebookNode) -> list[tuple[str, str, tuple[str, ...]]]:
    """What the author wrote: of every cell its kind, its text and its tags."""
    return [(c.cell_type, c.source.rstrip("\n"), tuple(c.metadata.get("tags", []))) for c in notebook.cells]


def code(notebook: NotebookNode) -> list[str]:
    """The texts of the code cells, without the repository's address: a fork has run the same code."""
    return [ADDRESS.sub("github", c.source.rstrip("\n")) for c in notebook.cells if c.cell_type == "code"]


def never_run(notebook: NotebookNode) -> list[int]:
    return [
        k
        for k, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]


def digest(source: Path) -> str:
    """Of all that a notebook's outputs depend on: its code cells, the package, the data, the pins."""
    total = hashlib.sha256(json.dumps(code(load(source))).encode())
    files = [p for folder in ("diffedu", "data") for p in (ROOT / folder).rglob("*") if p.is_file()]
    for path in sorted([*files, ROOT / "constraints.txt"]):
        if "__pycache__" not in path.parts:
            total.update(
                path.relative_to(ROOT).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest()
            )
    return total.hexdigest()


# --- byte-stable outputs ------------------------------------------------------------------------------------


def sanitizers(path: Path = ROOT / "nbval_sanitize.cfg") -> list[tuple[re.Pattern[str], str]]:
    """The same replacements that nbval makes before it compares: addresses, durations, progress."""
    parser = configparser.RawConfigParser()
    parser.read_string(path.read_text(encoding="utf-8"))
    return [(re.compile(parser[s]["regex"]), parser[s]["replace"]) for s in parser.sections()]


def sanitized(value: Any, rules: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, dict):
        return {k: sanitized(v, rules) for k, v in value.items()}
    if isinstance(value, list):
        return [sanitized(v, rules) for v in value]
    if isinstance(value, str):
        for pattern, replacement in rules:
            value = pattern.sub(replacement, value)
    return value


def stabilise_widgets(notebook: NotebookNode) -> None:
    """Number the widget models in the order in which outputs reach them, and drop those that none reaches."""
    store = notebook.metadata.get("widgets", {}).get(STATE)
    if not store:
        return
    state: dict[str, Any] = store["state"]
    new: dict[str, str] = {}

    def references(model: str) -> list[str]:
        return [m for m in MODEL_ID.findall(json.dumps(state[model]["state"], sort_keys=True)) if m in state]

    def visit(model: str) -> None:
        if model in state and model not in new:
            new[model] = f"{len(new):032x}"
            for reference in references(model):
                visit(reference)

    views = [o["data"][VIEW] for c in notebook.cells for o in c.get("outputs", []) if VIEW in o.get("data", {})]
    for view in views:
        visit(view["model_id"])
        view["model_id"] = new.get(view["model_id"], "0" * 32)
    # No widget refers to a link between two of them, yet the page needs it.
    links = [m for m in state if m not in new and "Link" in state[m].get("model_name", "")]
    links = [m for m in links if references(m) and all(r in new for r in references(m))]
    for link in sorted(links, key=lambda m: [new[r] for r in references(m)]):
        visit(link)
    text = json.dumps({model: state[model] for model in new})
    store["state"] = json.loads(MODEL_ID.sub(lambda m: new.get(m[0], m[0]), text))
    if not new:
        del notebook.metadata["widgets"]


def keep_old(notebook: NotebookNode, old: NotebookNode | None) -> None:
    """Where only durations, progress or addresses differ from the recorded outputs, keep these."""
    if old is None:
        return
    rules = sanitizers()
    recorded = {c.get("id"): c for c in old.cells}
    for cell in notebook.cells:
        twin = recorded.get(cell["id"])
        same_code = cell.cell_type == "code" and twin is not None and twin.cell_type == "code"
        if same_code and sanitized(cell.outputs, rules) == sanitized(twin.outputs, rules):
            cell.outputs = twin.outputs
    widgets, before = notebook.metadata.get("widgets"), old.metadata.get("widgets")
    if widgets and before and sanitized(widgets, rules) == sanitized(before, rules):
        notebook.metadata["widgets"] = before


def write(path: Path, notebook: NotebookNode) -> None:
    """All or nothing: a build that is cut short leaves the old file."""
    nbformat.validate(notebook)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(nbformat.writes(notebook).rstrip("\n") + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# --- what a printed notebook must not hold ------------------------------------------------------------------


def faults(notebook: NotebookNode, name: str) -> list[str]:
    """Sentences about what does not belong in a printed notebook; empty when all is well."""
    found = []
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and '"""' in cell.source:
            found.append(f"{name}: cell {k} shows its triple quotes: they must stand alone on their lines")
        for output in cell.get("outputs", []):
            where = f"{name}: cell {k}"
            kind = output["output_type"]
            if kind == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                found.append(f"{where} ends in {output['ename']}: {output['evalue']}")
            if kind == "stream" and output["name"] == "stderr":
                text = output["text"].strip().splitlines()
                found.append(f"{where} writes to stderr ({text[:1]}): catch the warning and print its text")
            texts = [output.get("text", ""), *output.get("traceback", [])]
            texts += [v for m, v in output.get("data", {}).items() if m.startswith("text/") and isinstance(v, str)]
            trace = MACHINE.search(BASE64.sub("", "\n".join(texts)))
            if trace:
                found.append(f"{where} prints a trace of the machine that ran it ({trace[0]!r})")
    size = len(nbformat.writes(notebook).encode())
    if size > MAX_BYTES:
        found.append(f"{name}: {size / 1e6:.2f} MB, more than {MAX_BYTES / 1e6:.1f} MB: draw fewer or smaller pictures")
    return found


def check(source: Path) -> list[str]:
    """Sentences about what a build would change or refuse; empty when the notebook is up to date."""
    target = source.with_suffix(".ipynb")
    if not target.exists():
        return [f"{target.name} is missing (run: python run.py book)"]
    wanted, notebook = load(source), nbformat.read(target, as_version=4)
    a, b = inputs(wanted), inputs(notebook)
    found = []
    if a != b:
        k = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        found.append(f"{source.name} and {target.name} differ from cell {k} on (run: python run.py book)")
    elif [c["id"] for c in wanted.cells] != [c["id"] for c in notebook.cells]:
        found.append(f"{target.name} was saved by another program than the builder (run: python run.py book)")
    found += [f"{target.name}: code cell {k} was never run (run: python run.py book)" for k in never_run(notebook)]
    return found + faults(notebook, target.name)


# --- building -----------------------------------------------------------------------------------------------


def execute(notebook: NotebookNode, folder: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if k not in ("DIFFEDU_FULL", "MPLBACKEND", "PYTHONSTARTUP")}
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as profile:  # the author's own IPython configuration must not leak in
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env=variables | {"IPYTHONDIR": profile})
    CoalesceStreamsPreprocessor().preprocess(notebook, {})  # a busy kernel sends what it prints in several parts
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata["language_info"] = nbformat.from_dict(METADATA["language_info"])


def retext(source: Path) -> bool:
    """Bring the twin's text up to date where the code is the same. False where a run is needed."""
    target = source.with_suffix(".ipynb")
    if not target.exists():
        return False
    notebook, old = load(source), nbformat.read(target, as_version=4)
    if code(notebook) != code(old) or never_run(old):
        return False
    ran = [c for c in old.cells if c.cell_type == "code"]
    for cell, twin in zip((c for c in notebook.cells if c.cell_type == "code"), ran):
        cell.outputs, cell.execution_count = twin.outputs, twin.execution_count
    if "widgets" in old.metadata:
        notebook.metadata["widgets"] = old.metadata["widgets"]
    if faults(notebook, target.name):
        return False
    if (nbformat.writes(notebook).rstrip("\n") + "\n").encode() != target.read_bytes():
        write(target, notebook)
    return True


def build(source: Path) -> Path:
    """Execute a chapter and write its twin. ValueError where the outputs hold what must not be printed."""
    target = source.with_suffix(".ipynb")
    notebook = load(source)
    execute(notebook, source.parent)
    stabilise_widgets(notebook)
    keep_old(notebook, nbformat.read(target, as_version=4) if target.exists() else None)
    found = faults(notebook, target.name)
    if found:
        raise ValueError("\n".join(found))
    write(target, notebook)
    return target


def sources(names: list[str]) -> list[Path]:
    """Chapter sources by number, by the beginning of their name, or by path; all of them for no names."""
    everything = sorted(CHAPTERS.glob("[0-9][0-9]_*.py"))
    if not names:
        return everything
    chosen = []
    for name in names:
        path = Path(name)
        found = (
            [path.with_suffix(".py")] if path.parent != Path() else [p for p in everything if p.name.startswith(name)]
        )
        if not found or not found[0].exists():
            known = ", ".join(p.stem for p in everything) or "none"
            raise ValueError(f"no chapter {name!r}; chapters: {known}")
        chosen += found
    return chosen


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; report what a build would change")
    parser.add_argument("--all", action="store_true", help="rebuild even what did not change")
    parser.add_argument("chapters", nargs="*", help="chapter numbers, names or paths; default: all")
    options = parser.parse_args(arguments)
    try:
        chosen = sources(options.chapters)
    except ValueError as error:
        parser.error(str(error))
    if options.check:
        found = [sentence for source in chosen for sentence in check(source)]
        if not options.chapters:
            orphans = [p for p in sorted(CHAPTERS.glob("*.ipynb")) if not p.with_suffix(".py").exists()]
            found += [f"{p.name} has no source {p.stem}.py" for p in orphans]
        print("\n".join(found) or f"{len(chosen)} notebooks are up to date")
        return bool(found)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    failed = 0
    for source in chosen:
        wanted, start = digest(source), time.perf_counter()
        if not options.all and record.get(source.name) == wanted and retext(source):
            print(f"{source.stem}: up to date", flush=True)
            continue
        try:
            target = build(source)
        except Exception as error:
            failed += 1
            print(f"{source.stem}: not built\n{error}", file=sys.stderr, flush=True)
            continue
        seconds = time.perf_counter() - start
        print(
            f"{source.stem}: built in {seconds:.1f} s, {target.stat().st_size / 1e6:.2f} MB",
            flush=True,
        )
        record[source.name] = wanted
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
