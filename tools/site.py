"""The book as a website that needs no kernel and no network: build/site.

python tools/site.py             all chapters
python tools/site.py 00 05       these chapters only: quicker, for a look

The pages are the executed notebooks, put together in build/site-source and given to Sphinx, whose warnings are errors.
On the way
- each numbered equation gets an anchor (eq-5-10), and each "(5.10)" in the text becomes a link to it;
- a figure's alternative text is the caption that stands below it;
- the first cell gets a link that downloads the notebook;
- a chapter ends with the functions of the package that it uses, and a function's page names the chapters that use it.
MathJax comes from the npm registry, once, and then from the user's cache.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools import links, slides  # noqa: E402

CHAPTERS = ROOT / "chapters"
SITE = ROOT / "docs" / "site"
SOURCE, OUT = ROOT / "build" / "site-source", ROOT / "build" / "site"
PAGES = (
    "errata.md",
    "equations.md",
    "glossary.md",
    "conventions.md",
    "instructors.md",
    "colab.md",
    "authoring.md",
    "decisions.md",
)
MODULES = (
    "diffedu.core", "diffedu.sampling", "diffedu.guidance", "diffedu.flow", "diffedu.editing", "diffedu.nn",
    "diffedu.train", "diffedu.data", "diffedu.evaluate", "diffedu.verify", "diffedu.exercises", "diffedu.show",
)  # fmt: skip
TAG = re.compile(r"\\tag\{(\d+\.\d+)\}")
DISPLAY = re.compile(r"^([ >]*)(\$\$.+?\$\$)", re.DOTALL | re.MULTILINE)
ALIGNED = re.compile(r"^\\begin\{align\*\}.+?\\end\{align\*\}", re.DOTALL | re.MULTILINE)
# What must stay as it is: code, formulas, links, headings, comments.
KEPT = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|<!--.*?-->|\\begin\{align\*\}.*?\\end\{align\*\}|^#.*?$"
    r"|^\([\w-]+\)=$",
    re.DOTALL | re.MULTILINE,
)


# --- chapters -----------------------------------------------------------------------------------------------


def anchor(number: str) -> str:
    return f"eq-{number.replace('.', '-')}"


def entry(name: str) -> str:
    """The anchor of a function's entry. Anchors know no capitals, and `V`, `v` and `velocity` must stay apart."""
    return "api-" + re.sub(r"([A-Z])", r"-\1", name).lower()


def with_anchors(text: str) -> str:
    """A target before every display equation that has a number."""

    def marked(equation: re.Match[str]) -> str:
        indent = equation[1] if equation.re is DISPLAY else ""
        targets = "".join(f"{indent}({anchor(number)})=\n" for number in TAG.findall(equation[0]))
        return targets + equation[0]

    return ALIGNED.sub(marked, DISPLAY.sub(marked, text))


def with_links(text: str, known: set[str]) -> str:
    """ "(5.10)" in the prose as a link to the equation, where there is one of that number."""

    def linked(number: re.Match[str]) -> str:
        return f"[({number[1]})](#{anchor(number[1])})" if number[1] in known else number[0]

    parts, last = [], 0
    for kept in KEPT.finditer(text):
        parts += [re.sub(r"\((\d+\.\d+)\)", linked, text[last : kept.start()]), kept[0]]
        last = kept.end()
    return "".join([*parts, re.sub(r"\((\d+\.\d+)\)", linked, text[last:])])


def alternative(after: str) -> str:
    """The caption with which a cell begins, as plain words."""
    caption = slides.caption_of(after.strip())
    plain = re.sub(r"[$*`\\{}]", "", slides.one_line(caption))
    return plain or "Figure; the text around it says what it shows"


def uses(source: str) -> set[str]:
    """Names that a cell imports from the package."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffedu"):
            found |= {alias.name for alias in node.names}
    return found


def prepare(path: Path, known: set[str], names: set[str]) -> tuple[NotebookNode, set[str]]:
    """A chapter for the site, and the public names that it uses."""
    notebook = nbformat.read(path, as_version=4)
    used: set[str] = set()
    cells: list[NotebookNode] = []
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text = re.sub(r"<!--.*?-->\n?", "", cell.source, flags=re.DOTALL)
            cell.source = with_anchors(with_links(text, known))
            if k == 0:
                download = f"{{download}}`Download the notebook <{path.name}>`"
                cell.source = re.sub(r"(\[Open in Colab\]\([^)]*\))", rf"\1 · {download}", cell.source)
        elif "find_spec" in cell.source:
            continue  # the cell that installs the package in Colab
        else:
            used |= uses(cell.source) & names
            below = notebook.cells[k + 1].source if k + 1 < len(notebook.cells) else ""
            cell.metadata["mystnb"] = {"image": {"alt": alternative(below), "width": "100%"}}
            for output in cell.outputs:
                data = output.get("data", {})
                if "image/png" in data:  # of a widget, the still picture that stands in for it
                    output["data"] = {"image/png": data["image/png"]}
        cells.append(cell)
    if used:
        listed = ", ".join(f"[`{name}`](#{entry(name)})" for name in sorted(used))
        cells.append(nbformat.v4.new_markdown_cell(f"**From the package, in this chapter:** {listed}."))
    notebook.cells = cells
    notebook.metadata.pop("widgets", None)
    return notebook, used


def equations(paths: list[Path]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        found |= set(TAG.findall("".join(c.source for c in nbformat.read(path, as_version=4).cells)))
    return found


# --- the package --------------------------------------------------------------------------------------------


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What a module offers: its functions, classes and documented values."""
    for name in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
        thing = getattr(module, name)
        if not inspect.ismodule(thing) and (inspect.getmodule(thing) is None or "__all__" in vars(module) or
                                            inspect.getmodule(thing) is module):  # fmt: skip
            yield name, thing


def signature(name: str, thing: object) -> str:
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    # Addresses of default values differ from run to run, and annotations name private places.
    text = re.sub(r"<[^<>]*>", "...", text)
    return name + re.sub(r"\b(?:torch|diffedu|collections|typing|pathlib)(?:\.\w+)*\.(\w+)", r"\1", text)


def reference(used_in: dict[str, list[Path]]) -> dict[str, str]:
    """Pages of the reference: file name -> text. A name stands where it is first offered."""
    pages, seen = {}, set[str]()
    for title in MODULES:
        module = importlib.import_module(title)
        parts = [f"# {title}", (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")]
        for name, thing in public(module):
            if name in seen:
                continue
            seen.add(name)
            parts.append(f"({entry(name)})=\n## {name}")
            if callable(thing):
                parts.append(f"```python\n{signature(name, thing)}\n```")
            text = inspect.getdoc(thing) if callable(thing) else ""
            if text:
                parts.append(f"~~~text\n{text}\n~~~")
            chapters = [f"[{path.stem[:2]}]({path.name})" for path in used_in.get(name, [])]
            if chapters:
                parts.append(f"Used in {'chapter' if len(chapters) == 1 else 'chapters'} {', '.join(chapters)}.")
        pages[title.partition(".")[2] + ".md"] = "\n\n".join(part for part in parts if part) + "\n"
    return pages


def offered() -> set[str]:
    return {name for title in MODULES for name, _ in public(importlib.import_module(title))}


# --- all of it ----------------------------------------------------------------------------------------------


def plain_page(path: Path, known: set[str], chapters: set[str]) -> str:
    """A page of docs/, its links bent to where things stand on the site."""
    text = path.read_text(encoding="utf-8")

    def bent(link: re.Match[str]) -> str:
        label, target = link[1], link[2]
        if target.startswith(("http", "#")):
            return link[0]
        name = Path(target).name
        if name.endswith(".ipynb") and name in chapters:
            return f"[{label}]({'../' if path.parent.name == 'course' else ''}{name})"
        if name in PAGES or (path.parent.parent.name == "docs" or target.startswith("course/")):
            return link[0] if (path.parent / target).exists() else label
        return label  # a file of the repository that is no page

    text = re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", bent, text)
    return with_links(text, known) if path.name in ("equations.md", "glossary.md") else text


def without_absent(text: str, chapters: set[str]) -> str:
    """A link to a chapter that is not on the site stays as words."""
    text = text.replace("](../../chapters/", "](")  # where docs/site/ lies is not where its pages go
    link = r"\[([^\]]+)\]\((\d\d_\w+\.ipynb)(?:#[^)]*)?\)"
    return re.sub(link, lambda found: found[0] if found[2] in chapters else found[1], text)


def contents(title: str, entries: list[str]) -> str:
    return "\n".join(["```{toctree}", ":maxdepth: 1", f":caption: {title}", ":hidden:", "", *entries, "```", ""])


def assemble(paths: list[Path]) -> None:
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    known, names = equations(paths), offered()
    chapters = {path.name for path in paths}
    used_in: dict[str, list[Path]] = {}
    for path in paths:
        notebook, used = prepare(path, known, names)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = without_absent(cell.source, chapters)
        nbformat.write(notebook, SOURCE / path.name)
        for name in used:
            used_in.setdefault(name, []).append(path)
    (SOURCE / "api").mkdir()
    for name, text in reference(used_in).items():
        (SOURCE / "api" / name).write_text(re.sub(r"\]\((\d\d_)", r"](../\1", text), encoding="utf-8")
    (SOURCE / "course").mkdir()
    for page in PAGES:
        if (ROOT / "docs" / page).exists():
            (SOURCE / page).write_text(plain_page(ROOT / "docs" / page, known, chapters), encoding="utf-8")
    course = sorted((ROOT / "docs" / "course").glob("*.md"))
    for page in course:
        (SOURCE / "course" / page.name).write_text(plain_page(page, known, chapters), encoding="utf-8")
    index = without_absent((SITE / "index.md").read_text(encoding="utf-8"), chapters)
    found = [links.chapter(path.with_suffix(".py")) for path in paths]
    index += "".join(f"- [{c.number}. {c.title}]({c.name}.ipynb). {c.summary}.\n" for c in found) + "\n"
    index += contents("Chapters", [path.stem for path in paths])
    index += contents("Look up", [p.removesuffix(".md") for p in PAGES[:4] if (SOURCE / p).exists()])
    index += contents("Package", [f"api/{title.partition('.')[2]}" for title in MODULES])
    index += contents(
        "Teach", ["instructors", *(f"course/{p.stem}" for p in course), "colab", "authoring", "decisions"]
    )
    (SOURCE / "index.md").write_text(index, encoding="utf-8")
    play = without_absent((SITE / "play.md").read_text(encoding="utf-8"), chapters)
    (SOURCE / "play.md").write_text(play, encoding="utf-8")
    shutil.copy(SITE / "conf.py", SOURCE)
    shutil.copytree(SITE / "static", SOURCE / "static")
    mathjax(SOURCE / "static" / "mathjax")


def mathjax(folder: Path) -> None:
    """The one file that turns TeX into pictures, with its licence."""
    name, version, digest, wanted = next(package for package in slides.PACKAGES if package[0] == "mathjax")
    folder.mkdir()
    with tarfile.open(slides.tarball(name, version, digest)) as archive:
        for inside, beside in wanted.items():
            file = archive.extractfile(f"package/{inside}")
            assert file is not None
            (folder / Path(beside).name).write_bytes(file.read())


def main(arguments: list[str]) -> int:
    try:
        paths = slides.chosen(arguments)
        assemble(paths)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-j", "2"]
    done = subprocess.run([*command, str(SOURCE), str(OUT)], check=False)
    if done.returncode:
        return done.returncode
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file()) / 1e6
    print(f"{OUT.relative_to(ROOT)}: {len(paths)} chapters, {size:.0f} MB. Open index.html in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
