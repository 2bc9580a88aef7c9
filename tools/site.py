"""The book as a website that needs no kernel and no network: build/site.

python tools/site.py             all chapters
python tools/site.py 00 05       these chapters only: quicker, for a look

The pages are the executed notebooks, put together in build/site-source and given to Sphinx, whose warnings are errors.
On the way
- numbered equations, sections and exercises get anchors (eq-5-10), and each mention of one becomes a link to it;
- a figure's alternative text is the caption that stands below it;
- the first cell gets buttons: Colab, and the notebook to download;
- below a widget's still picture stands a smaller one that the browser computes, where there is one (docs/site/play.md);
- a chapter ends with the functions of the package that it uses, and a function's entry names the chapters that use it.
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
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from diffedu.show.widgets.picture import VIEW  # noqa: E402
from tools import links, slides  # noqa: E402

CHAPTERS = ROOT / "chapters"
SITE = ROOT / "docs" / "site"
SOURCE, OUT = ROOT / "build" / "site-source", ROOT / "build" / "site"
LOOK_UP = ("errata.md", "equations.md", "glossary.md", "conventions.md")
TEACH = ("instructors.md", "colab.md", "authoring.md", "decisions.md")
PAGES = (*LOOK_UP, *TEACH)
MODULES = (
    "diffedu.core", "diffedu.sampling", "diffedu.guidance", "diffedu.flow", "diffedu.editing", "diffedu.nn",
    "diffedu.train", "diffedu.data", "diffedu.evaluate", "diffedu.verify", "diffedu.exercises", "diffedu.show",
)  # fmt: skip
LIVE = {
    "00": "first",
    "02": "langevin",
    "05": "schedule",
    "08": "sampler",
    "10": "stochasticity",
    "12": "guidance",
    "13": "reflow",
}
"""Chapter -> the picture of docs/site/play.md that stands below the chapter's first widget."""

TAG = re.compile(r"\\tag\{(\d+\.\d+)\}")
DISPLAY = re.compile(r"^([ >]*)(\$\$.+?\$\$)", re.DOTALL | re.MULTILINE)
ALIGNED = re.compile(r"^\\begin\{align\*\}.+?\\end\{align\*\}", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^(?=##+ (\d+\.\d+) )", re.MULTILINE)
EXERCISE = re.compile(r"^(?=\*\*Exercise (\d+\.\d+) )", re.MULTILINE)
# What must stay as it is: code, formulas, links, comments, headings, names of exercises, anchors, raw HTML.
KEPT = (
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|<!--.*?-->|\\begin\{align\*\}.*?\\end\{align\*\}|^#.*?$"
    r"|^\*\*Exercise.*?\*\*|^\([\w-]+\)=$|<[^>]*>"
)
# A book or paper in a list: its chapters and sections are not ours.
CITED = r"^- [^\n]*?\((?:1[89]|20)\d\d\).*?(?=^- |^$|\Z)"


# --- links in prose -----------------------------------------------------------------------------------------


def anchor(number: str, kind: str = "eq") -> str:
    return f"{kind}-{number.replace('.', '-')}"


def entry(name: str) -> str:
    """The anchor of an entry in the reference. Anchors know no capitals, and `V`, `v`, `velocity` must stay apart."""
    return "api-" + re.sub(r"([A-Z])", r"-\1", name).lower().replace(".", "-of-")


def with_anchors(text: str) -> str:
    """A target before every numbered display equation, section and exercise."""

    def marked(equation: re.Match[str]) -> str:
        indent = equation[1] if equation.re is DISPLAY else ""
        targets = "".join(f"{indent}({anchor(number)})=\n" for number in TAG.findall(equation[0]))
        return targets + equation[0]

    text = ALIGNED.sub(marked, DISPLAY.sub(marked, text))
    text = SECTION.sub(lambda found: f"({anchor(found[1], 'section')})=\n", text)
    return EXERCISE.sub(lambda found: f"({anchor(found[1], 'exercise')})=\n", text)


@dataclass
class Known:
    """What the site has: anchors of equations, sections, exercises and entries, and files of chapters by number."""

    anchors: set[str] = field(default_factory=set)
    chapters: dict[str, str] = field(default_factory=dict)

    def link(self, label: str, to: str) -> str:
        return f"[{label}](#{to})" if to in self.anchors else label


def outside(kept: str, text: str, pattern: str, replace: object) -> str:
    """re.sub in all of a text but what must stay as it is."""
    parts, last = [], 0
    for found in re.finditer(kept, text, re.DOTALL | re.MULTILINE):
        parts += [re.sub(pattern, replace, text[last : found.start()]), found[0]]  # type: ignore[call-overload]
        last = found.end()
    return "".join([*parts, re.sub(pattern, replace, text[last:])])  # type: ignore[call-overload]


def with_links(text: str, known: Known, own: str = "", up: str = "") -> str:
    """Mentions of equations, chapters, sections and exercises become links, where the site has them.

    They look like "(5.10)", "chapter 4", "chapters 6, 7 and 9", "exercise 5.2". "section 5.5" is one in chapter 5 only
    (`own`): elsewhere it may be a section of a paper. `up` leads from the page to the chapters.
    """

    def numbered(kind: str, pattern: str, only: str = "") -> object:
        def mended(found: re.Match[str]) -> str:
            numbers = re.findall(pattern, found[0])
            if len(numbers) > 1:
                return re.sub(pattern, lambda n: named(kind, n[0], only), found[0])
            to = re.fullmatch(r"\[.*\](\(.+\))", named(kind, numbers[0], only))
            return f"[{found[0]}]{to[1]}" if to else found[0]

        return mended

    def named(kind: str, number: str, only: str) -> str:
        if kind == "chapter":
            file = known.chapters.get(number.zfill(2))
            return f"[{number}]({up}{file})" if file and number.zfill(2) != own else number
        if only and number.partition(".")[0].zfill(2) != only:
            return number
        return known.link(number, anchor(number, kind))

    several = r"(?:(?:, |\s+and\s+|, and\s+|\s+to\s+){n})*"
    text = outside(KEPT, text, r"\((\d+\.\d+)\)", lambda n: known.link(n[0], anchor(n[1])))
    kept = f"{KEPT}|{CITED}"
    chapter = r"\b[Cc]hapters?\s+\d+\b" + several.replace("{n}", r"\d+\b(?!\.\d)")
    text = outside(kept, text, chapter, numbered("chapter", r"\d+"))
    for kind in ("section", "exercise"):
        mention = rf"\b[{kind[0].upper()}{kind[0]}]{kind[1:]}s?\s+\d+\.\d+\b(?!\.\d)"
        mention += several.replace("{n}", r"\d+\.\d+\b")
        text = outside(kept, text, mention, numbered(kind, r"\d+\.\d+", own if kind == "section" else ""))
    return text


# --- chapters -----------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Markdown as words, without links and marks."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[$*`\\{}]", "", slides.one_line(text))


def alternative(after: list[NotebookNode], before: str, heading: str) -> str:
    """What a figure shows: the caption below it, or else where it stands and the sentence before it.

    Code cells without pictures may stand between a figure and its caption.
    """
    for cell in after:
        if cell.cell_type == "markdown":
            caption = slides.caption_of(cell.source.strip())
            if caption:
                return plain(caption)
            break
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            break
    words = [plain(block) for block in before.split("\n\n") if not block.startswith(("#", "$$", "- ", "|", "```"))]
    told = next((block for block in reversed(words) if block), "")
    return f"Figure in section {heading}. {told}".strip()


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


def buttons(text: str, name: str) -> str:
    """The line with the link to Colab, as two buttons."""

    def row(found: re.Match[str]) -> str:
        return (
            f'<p class="buttons"><a href="{found[1]}">Open in Colab</a> '
            f'<a href="notebooks/{name}" download>Download the notebook</a></p>'
        )

    return re.sub(r"^\[Open in Colab\]\(([^)]*)\)$", row, text, count=1, flags=re.MULTILINE)


def live(number: str) -> NotebookNode:
    """What stands below the still picture of a chapter's first widget."""
    still, name = "<small>A still picture of a widget. In the notebook it has knobs.", LIVE.get(number)
    if name is None:
        return nbformat.v4.new_markdown_cell(f"{still}</small>")
    play = (SITE / "play.md").read_text(encoding="utf-8")
    caption = re.search(rf'data-play="{name}"></div>\n```\n\n(\*.+?\*)\n', play, re.DOTALL)
    assert caption is not None
    return nbformat.v4.new_markdown_cell(
        f"{still} The one below has, too: your browser computes it.</small>\n\n"
        f'<div class="play" data-play="{name}"></div>\n\n{caption[1]}'
    )


def prepare(path: Path, known: Known, names: set[str]) -> tuple[NotebookNode, set[str]]:
    """A chapter for the site, and the public names that it uses."""
    notebook = nbformat.read(path, as_version=4)
    used: set[str] = set()
    cells: list[NotebookNode] = []
    number, text, heading, widgets = path.stem[:2], "", "", 0
    for k, cell in enumerate(notebook.cells):
        cells.append(cell)
        if cell.cell_type == "markdown":
            text = cell.source
            headings = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
            heading = plain(headings[-1]) if headings else heading
            source = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
            cell.source = with_anchors(with_links(source, known, own=number))
            if k == 0:
                cell.source = buttons(cell.source, path.name)
        elif "find_spec" in cell.source:
            cells.pop()  # the cell that installs the package in Colab
        else:
            used |= uses(cell.source) & names
            checked = re.match(r'check\("([0-9.]+)"', cell.source)
            if checked:
                alt = f"What the solution of exercise {checked[1]} draws."
            else:
                alt = alternative(notebook.cells[k + 1 :], text, heading)
            cell.metadata["mystnb"] = {"image": {"alt": alt, "width": "100%"}}
            is_widget = any(VIEW in output.get("data", {}) for output in cell.outputs)
            for output in list(cell.outputs):
                data = output.get("data", {})
                if "image/png" in data:  # of a widget, the still picture that stands in for it
                    output["data"] = {"image/png": data["image/png"]}
                elif VIEW in data:  # a progress bar
                    cell.outputs.remove(output)
            if is_widget and cell.outputs:
                cells.append(live(number if widgets == 0 else ""))
                widgets += 1
    if used:
        listed = ", ".join(f"[`{name}`](#{entry(name)})" for name in sorted(used))
        cells.append(nbformat.v4.new_markdown_cell(f"**From the package, in this chapter:** {listed}."))
    notebook.cells = cells
    notebook.metadata.pop("widgets", None)
    return notebook, used


def known_from(paths: list[Path]) -> Known:
    """Everything that can be linked to, in these chapters and in the package."""
    known = Known(chapters={path.stem[:2]: path.name for path in paths})
    for path in paths:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        known.anchors |= {anchor(number) for number in TAG.findall(text)}
        known.anchors |= {anchor(number, "section") for number in SECTION.findall(text)}
        known.anchors |= {anchor(number, "exercise") for number in EXERCISE.findall(text)}
    for name, thing in offered().items():
        known.anchors |= {entry(name), *(entry(f"{name}.{method}") for method, _ in methods(thing))}
    return known


# --- the package --------------------------------------------------------------------------------------------


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What a module offers: its `__all__`, or else its own functions and classes and its values; no modules."""
    listed = getattr(module, "__all__", None)
    for name in listed or [name for name in vars(module) if not name.startswith("_")]:
        thing = getattr(module, name)
        if not inspect.ismodule(thing) and (listed or inspect.getmodule(thing) in (None, module)):
            yield name, thing


def offered() -> dict[str, object]:
    found: dict[str, object] = {}
    for title in MODULES:
        for name, thing in public(importlib.import_module(title)):
            found.setdefault(name, thing)
    return found


def methods(thing: object) -> Iterator[tuple[str, object]]:
    """A class's own methods and properties that have a docstring."""
    if not inspect.isclass(thing):
        return
    for name, member in vars(thing).items():
        member = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        called = inspect.isfunction(member) or isinstance(member, property)
        if called and member.__doc__ and not name.startswith("_"):
            yield name, member


def signature(name: str, thing: object) -> str:
    """How a function is called, one parameter a line where it is long."""
    try:
        found = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name

    def tidy(text: str) -> str:
        # Addresses of default values differ from run to run, and annotations name private places.
        text = re.sub(r"<[^<>]*>", "...", text)
        text = re.sub(r"ForwardRef\((['\"])(.*?)\1\)", r"\2", text)
        text = re.sub(r"(: |-> )(['\"])(.*?)\2(?=$|, | = |\)|:)", r"\1\3", text)
        return re.sub(r"\b(?:torch|diffedu|collections|typing|pathlib)(?:\.\w+)*\.(\w+)", r"\1", text)

    whole = name + tidy(str(found))
    if len(whole) <= 88:
        return whole
    lines, kind = [], None
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and kind not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            lines.append("    *,")
        kind = parameter.kind
        lines.append(f"    {tidy(str(parameter))},")
    ends = whole.rpartition(") -> ")[2] if ") -> " in whole else ""
    return "\n".join([f"{name}(", *lines, f") -> {ends}" if ends else ")"])


def words(text: str, known: Known, up: str = "../") -> str:
    """A docstring's prose as Markdown: names in backticks become links, signs of formulas stay signs."""
    parts = []
    for part in re.split(r"(`[^`]+`)", text):
        if part.startswith("`"):
            parts.append(known.link(part, entry(part.strip("`").partition("(")[0])))
        else:
            parts.append(re.sub(r"([\\*_\[\]<>$|#~])", r"\\\1", part))
    return with_links("".join(parts), known, up=up)


def as_markdown(doc: str, known: Known) -> str:
    """A docstring of the package (its parts are Args, Returns, Raises, Example and the like) as Markdown."""
    parts: list[str] = []
    lines = inspect.cleandoc(doc).splitlines()
    while lines:
        if not lines[0].strip():
            lines.pop(0)
            continue
        heading = re.fullmatch(r"([A-Z]\w+):", lines[0])
        indented = lines[0].startswith("    ")
        if heading:
            lines.pop(0)
        block: list[str] = []
        while lines and (
            (not lines[0].strip() and (heading or indented)) or lines[0].startswith("    ") == bool(heading or indented)
        ):
            if not heading and not indented and (not lines[0].strip() or re.fullmatch(r"[A-Z]\w+:", lines[0])):
                break
            block.append(lines.pop(0))
        text = textwrap.dedent("\n".join(block)).strip()
        if indented:
            parts.append(f"~~~text\n{text}\n~~~")
        elif heading and heading[1].startswith("Example"):
            parts.append(f"**{heading[1]}**\n\n```pycon\n{text}\n```")
        elif heading:
            parts.append(f"**{heading[1]}**\n\n{items(text, known)}")
        else:
            parts.append(words(text, known))
    return "\n\n".join(parts)


def items(text: str, known: Known) -> str:
    """The lines of "Args:" and the like: "name: what it is", gone on with deeper lines; or plain prose."""
    found = re.split(r"\n(?=\S)", text)
    if not all(re.match(r"[\w*][\w*, ]*: ", item) for item in found):
        return words(slides.one_line(text), known)
    pairs = [slides.one_line(item).partition(": ") for item in found]
    return "\n".join(f"- `{name}`: {words(told, known)}" for name, _, told in pairs)


def reference(used_in: dict[str, list[Path]], known: Known) -> dict[str, str]:
    """Pages of the reference: file name -> text. A name stands where it is first offered."""
    pages, seen = {}, set[str]()
    for title in MODULES:
        module = importlib.import_module(title)
        parts = [f"# {title}", as_markdown(inspect.getdoc(module) or "", known)]
        for name, thing in public(module):
            if name in seen:
                continue
            seen.add(name)
            parts.append(f"({entry(name)})=\n## {name}")
            if callable(thing):
                parts.append(f"```python\n{signature(name, thing)}\n```")
                parts.append(as_markdown(inspect.getdoc(thing) or "", known))
            elif len(repr(thing)) < 200:
                parts.append(f"```python\n{name} = {thing!r}\n```")
            chapters = [f"[{int(path.stem[:2])}](../{path.name})" for path in used_in.get(name, [])]
            if chapters:
                parts.append(f"Used in {'chapter' if len(chapters) == 1 else 'chapters'} {', '.join(chapters)}.")
            for method, member in methods(thing):
                full = f"{name}.{method}"
                shown = full if isinstance(member, property) else signature(full, member)
                shown = re.sub(r"\((?:self|cls)(?:, )?", "(", shown).replace("(\n    self,\n", "(\n")
                parts.append(f"({entry(full)})=\n### {full}\n\n```python\n{shown}\n```")
                parts.append(as_markdown(member.__doc__ or "", known))
        pages[title.partition(".")[2] + ".md"] = "\n\n".join(part for part in parts if part) + "\n"
    return pages


# --- pages of docs/ -----------------------------------------------------------------------------------------


def plain_page(path: Path, known: Known) -> str:
    """A page of docs/, its links bent to where things stand on the site."""
    text = path.read_text(encoding="utf-8")
    up = "../" if path.parent.name == "course" else ""

    def bent(link: re.Match[str]) -> str:
        label, target = link[1], link[2]
        if target.startswith(("http", "#")):
            return link[0]
        name = Path(target).name
        if name.endswith(".ipynb") and name in known.chapters.values():
            return f"[{label}]({up}{name})"
        if name in PAGES or (path.parent.parent.name == "docs" or target.startswith("course/")):
            return link[0] if (path.parent / target).exists() else label
        return label  # a file of the repository that is no page

    text = re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", bent, text)
    if path.name == "equations.md":
        text = text.replace("Written by tools/equations.py; don't edit. ", "")
        text = re.sub(r"`diffedu\.([\w.]+)`", lambda found: at_entry(found[1], known), text)
    if path.name == "errata.md":  # the last column names exercises
        rows = re.compile(r"(?<=[|,] )(\d+\.\d+)(?=,| \|)")
        text = rows.sub(lambda n: known.link(n[1], anchor(n[1], "exercise")), text)
    if path.name in ("equations.md", "glossary.md", "errata.md", "conventions.md"):
        text = with_links(text, known, up=up)
    return text


def at_entry(dotted: str, known: Known) -> str:
    """`core.path.Cosine` as a link to the entry of `Cosine`; a private name as it is."""
    parts = dotted.split(".")
    for name in (".".join(parts[-2:]), parts[-1]):
        if entry(name) in known.anchors:
            return known.link(f"`{name}`", entry(name))
    return f"`{parts[-1]}`"


def without_absent(text: str, chapters: set[str]) -> str:
    """A link to a chapter that is not on the site stays as words."""
    link = r"\[([^\]]+)\]\((\d\d_\w+\.ipynb)(?:#[^)]*)?\)"
    return re.sub(link, lambda found: found[0] if found[2] in chapters else found[1], text)


def own_page(name: str, chapters: set[str]) -> str:
    """A page of docs/site/. Where it lies is not where it goes, so that its links lose the way up."""
    text = (SITE / name).read_text(encoding="utf-8")
    return without_absent(re.sub(r"\]\((?:\.\./\.\./chapters/|\.\./)", "](", text), chapters)


def contents(title: str, entries: list[str]) -> str:
    return "\n".join(["```{toctree}", ":maxdepth: 1", f":caption: {title}", ":hidden:", "", *entries, "```", ""])


# --- all of it ----------------------------------------------------------------------------------------------


def assemble(paths: list[Path], source: Path = SOURCE) -> None:
    """Write everything that Sphinx needs into a folder, anew."""
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("api", "course", "extra/notebooks"):
        (source / folder).mkdir(parents=True)
    known, names = known_from(paths), set(offered())
    chapters = {path.name for path in paths}
    used_in: dict[str, list[Path]] = {}
    for path in paths:
        notebook, used = prepare(path, known, names)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = without_absent(cell.source, chapters)
        nbformat.write(notebook, source / path.name)
        shutil.copy(path, source / "extra" / "notebooks")
        for name in used:
            used_in.setdefault(name, []).append(path)
    for name, text in reference(used_in, known).items():
        (source / "api" / name).write_text(text, encoding="utf-8")
    course = sorted((ROOT / "docs" / "course").glob("*.md"))
    for page in [*(ROOT / "docs" / name for name in PAGES), *course]:
        (source / page.relative_to(ROOT / "docs")).write_text(plain_page(page, known), encoding="utf-8")
    index = own_page("index.md", chapters)
    found = [links.chapter(path.with_suffix(".py")) for path in paths]
    index += "".join(f"- [{int(c.number)}. {c.title}]({c.name}.ipynb). {c.summary}.\n" for c in found) + "\n"
    index += contents("Chapters", [*(path.stem for path in paths), "play"])
    index += contents("Look up", [page.removesuffix(".md") for page in LOOK_UP])
    index += contents("Package", [f"api/{title.partition('.')[2]}" for title in MODULES])
    first, *others = (page.removesuffix(".md") for page in TEACH)
    index += contents("Teach", [first, *(f"course/{page.stem}" for page in course), *others])
    (source / "index.md").write_text(index, encoding="utf-8")
    (source / "play.md").write_text(own_page("play.md", chapters), encoding="utf-8")
    shutil.copy(SITE / "conf.py", source)
    shutil.copytree(SITE / "static", source / "static")
    slides.unpack("mathjax", source / "static")


def build(source: Path = SOURCE, out: Path = OUT) -> int:
    """Let Sphinx make the pages; its status. What it keeps for the next build stays beside the source."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-j", "2"]
    kept = source.with_name(source.name + "-read")
    return subprocess.run([*command, "-d", str(kept), str(source), str(out)], check=False).returncode


def main(arguments: list[str]) -> int:
    try:
        paths = slides.chosen(arguments)
        assemble(paths)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    shutil.rmtree(OUT, ignore_errors=True)  # pages of chapters that were not chosen this time
    status = build()
    if status == 0:
        size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file()) / 1e6
        print(f"{OUT.relative_to(ROOT)}: {len(paths)} chapters, {size:.0f} MB. Open index.html in a browser.")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
