"""Lecture slides from the executed chapters: build/slides/NN_*.html, which need no network and no notebook server.

python tools/slides.py             all chapters
python tools/slides.py 05 09       these chapters only
python tools/slides.py --out DIR   somewhere else than build/slides

What goes on a slide is decided here; the chapters hold no marks for it. A section ("##") is a column of slides:
- its heading, and those of its parts ("###");
- display equations, with the sentence that leads to each, and the half-sentence ("where ...") that may follow;
- figures with their captions; the code that draws them is not shown;
- functions and classes with a docstring, of at most 15 lines: the chapter's algorithms;
- questions ("Before you read on"), tables, and lists, of a long point its first sentence;
- printed results of two to ten lines, without the lines of `verify`;
- of exercises the titles, and nothing of the references.
The full text is in the speaker notes (press S). Slides are a scaffold: prose can't be shortened by a program.

reveal.js and MathJax come from the npm registry, once, and then from the user's cache.
"""

from __future__ import annotations

import argparse
import ast
import base64
import re
import struct
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
TEMPLATE = Path(__file__).resolve().parent / "slides.html.j2"
REGISTRY = "https://registry.npmjs.org"
# name, version, SHA-256 of the tarball, and the files of it that the slides use: inside -> beside the slides
FONT = "dist/theme/fonts/source-sans-pro"
PACKAGES = (
    (
        "reveal.js",
        "5.2.1",
        "359b575dd51bbda32f89b2fd4c7dc46ad7389a805572158916c29252f7a27333",
        {
            "LICENSE": "reveal/LICENSE",
            "dist/reset.css": "reveal/reset.css",
            "dist/reveal.css": "reveal/reveal.css",
            "dist/reveal.js": "reveal/reveal.js",
            "plugin/notes/notes.js": "reveal/notes.js",
            f"{FONT}/LICENSE": "font/LICENSE",
            **{
                f"{FONT}/source-sans-pro-{style}.woff": f"font/{style}.woff"
                for style in ("regular", "italic", "semibold", "semibolditalic")
            },
        },
    ),
    (
        "mathjax",
        "3.2.2",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        {"LICENSE": "mathjax/LICENSE", "es5/tex-svg-full.js": "mathjax/tex-svg-full.js"},
    ),
)
# A slide is 1280 x 720. The estimates below need not be exact: the page shrinks a slide that is still too tall (see the
# template, which has the same EM).
EM = 30  # pixels: the size of the letters
HEIGHT, WIDTH = 14, 86  # what fits under the heading: lines of text, and letters in a line
PICTURE = 18.3, 39.5  # em: the room for a picture and its caption, tall and wide
MAX_CODE, MAX_TEXT = 15, 10  # lines
QUESTION = "**Before you read on"
CHECKED = re.compile(r"^\(\d+\.\d+\w?\) holds")  # what `verify` prints
EXERCISE = re.compile(r"^\*\*(Exercise (\d+\.\d+)|Mini-project[^*]*?)\s*(★*)\s*(?:[—:-]\s*(.+?))?\.?\*\*", re.DOTALL)
MATH = re.compile(r"\$[^$]+\$", re.DOTALL)


# --- pieces of a chapter ------------------------------------------------------------------------------------


@dataclass
class Item:
    """One thing on a slide."""

    kind: str  # text, equation, question, code, output, figure
    source: str  # markdown, Python, printed text, or a PNG in base64
    lines: float  # how tall it will be, about
    caption: str = ""


@dataclass
class Slide:
    title: str
    section: str = ""  # the heading above it, where the title is that of a part
    starts_column: bool = False
    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> float:
        return sum(item.lines for item in self.items)


def plain(text: str) -> str:
    """Without comments, and without links: on a slide nobody clicks, and their targets are other files."""
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    return re.sub(r"(?<!!)\[([^\]\n]+(?:\n[^\]\n]+)?)\]\((?:https?:|[\w./-]+\.)[^)\s]*\)", r"\1", text)


def blocks(text: str) -> list[str]:
    """Markdown cut at blank lines, with display equations and fenced code as blocks of their own."""
    whole = re.compile(r"(\$\$.+?\$\$|\\begin\{align\*\}.+?\\end\{align\*\}|^```.*?^```)", re.DOTALL | re.MULTILINE)
    found = []
    for k, part in enumerate(whole.split(plain(text))):
        found += [part] if k % 2 else re.split(r"\n\s*\n", part)
    # A heading may stand right on its paragraph.
    cut = [piece for block in found for piece in re.split(r"(?<=\n)(?=#)|(?<=^)(#+ .*)\n", block.strip()) if piece]
    return [piece.strip() for piece in cut if piece.strip()]


def masked(text: str) -> str:
    """The same length, with formulas blanked: their points end no sentence, their stars no caption."""
    return MATH.sub(lambda m: "x" * len(m[0]), text)


END = re.compile(r"(?<=[.?!:])[)\"*”]*\s+(?=[^a-z\s])")
ABBREVIATION = re.compile(r"\b(eq|e\.g|i\.e|fig|vs|al|cf|no|Eq)\.$")


def sentences(text: str) -> list[str]:
    hidden, found, start = masked(text), [], 0
    for end in END.finditer(hidden):
        if hidden[end.start() - 1] == ":" or ABBREVIATION.search(hidden[: end.start()]):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    return [*found, text[start:].strip()] if text[start:].strip() else found


def leading(text: str) -> str:
    """The last sentence; the last two where it is only "So" or "After t steps"."""
    found = sentences(text)
    short = len(found[-1]) < 30 and len(found) > 1 and found[-2].count("(") == found[-2].count(")")
    return " ".join(found[-2:]) if short else found[-1]


def balanced(text: str) -> str:
    """A sentence cut out of an emphasis keeps its words and loses the lone stars."""
    return text.replace("**", "") if masked(text).count("**") % 2 else text


def caption_of(text: str) -> str:
    """The words in italics with which a text begins; empty when there are none."""
    found = re.match(r"\*(?!\*)((?:\*\*|[^*])+)\*(?!\*)", masked(text))
    return text[1 : found.end(1)].strip() if found else ""


def lines_of(text: str, width: int = WIDTH) -> float:
    shown = re.sub(r"\\[A-Za-z]+|[{}$*^_]", "", text)
    return sum(1 + len(line) // width for line in shown.splitlines() if line.strip()) + 0.6


def one_line(text: str) -> str:
    return " ".join(text.split())


def height_of_equation(tex: str) -> float:
    rows = 1 + tex.count(r"\\")
    tall = any(word in tex for word in (r"\frac", r"\sum", r"\int", r"\prod", r"\underbrace", r"\dfrac"))
    return rows * (2.1 if tall else 1.5) + 0.9


def size_of_png(data: str) -> tuple[int, int]:
    """Width and height, from the header of a PNG in base64."""
    return struct.unpack(">II", base64.b64decode(data[:64])[16:24])


def algorithms(source: str) -> list[str]:
    """The functions and classes of a cell that are documented and short enough to be read from the last row."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic: nothing to teach
        return []
    found = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if node.end_lineno - first < MAX_CODE:
                found.append("\n".join(source.splitlines()[first - 1 : node.end_lineno]))
    return found


def printed(cell: NotebookNode) -> str:
    """What a cell printed, without the lines of `verify`; empty where that is no small table."""
    text = "".join(o["text"] for o in cell.outputs if o["output_type"] == "stream" and o["name"] == "stdout")
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not CHECKED.match(line)]
    fits = 2 <= len(lines) <= MAX_TEXT and max(map(len, lines)) <= 100 and any(c.isdigit() for c in "".join(lines))
    return "\n".join(lines) if fits else ""


def pictures(cell: NotebookNode) -> list[str]:
    """PNGs in base64. Of a widget it is the static picture that stands in where no kernel runs."""
    found = [o.get("data", {}).get("image/png") for o in cell.outputs]
    return ["".join(png).replace("\n", "") for png in found if png]


# --- from pieces to slides ----------------------------------------------------------------------------------


class Deck:
    """Slides in the making. An item that no longer fits begins the next slide of the column."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []

    @property
    def now(self) -> Slide:
        return self.slides[-1]

    def column(self, title: str) -> None:
        self.slides.append(Slide(title, starts_column=True))

    def part(self, title: str) -> None:
        if not self.now.items and not self.now.section:  # the section begins with it: one slide is enough
            self.now.section, self.now.title = self.now.title, title
        else:
            self.slides.append(Slide(title, self.now.section or self.now.title))

    def below(self) -> None:
        self.slides.append(Slide(self.now.title, self.now.section))

    def add(self, *items: Item, alone: bool = False, lead: str = "") -> None:
        """Items that belong together. `alone`: with nothing else but the heading. `lead`: a note that comes along."""
        taken = {item.kind for item in self.now.items}
        full = self.now.lines + sum(item.lines for item in items) > HEIGHT
        if self.now.items and (full or alone or taken & {"figure", "question"}):
            notes = self.now.notes
            self.below()
            if lead and notes and notes[-1] == lead:
                self.note(notes.pop())
        self.now.items += items

    def note(self, text: str) -> None:
        self.now.notes.append(text)


def figure(png: str, caption: str) -> Item:
    return Item("figure", png, HEIGHT, one_line(caption))


def points(block: str) -> Item:
    """A list; of a long point its first sentence."""
    shown = []
    for point in re.split(r"^(?=(?:[-*]|\d+\.) )", block, flags=re.MULTILINE):
        text = one_line(point)
        if text:
            shown.append(balanced(first_sentence(text)) if len(text) > 170 else text)
    return Item("text", "\n".join(shown), sum(lines_of(line) - 0.2 for line in shown))


def first_sentence(text: str) -> str:
    """The first sentence; the first two where it is only a catchword."""
    found = sentences(text)
    return " ".join(found[:2]) if len(found[0]) < 40 else found[0]


def is_list(block: str) -> bool:
    return bool(re.match(r"(?:[-*]|\d+\.) ", block))


def add_text(deck: Deck, text: str, after_figure: list[str]) -> None:
    """The blocks of one markdown cell. `after_figure`: pictures above the cell, which wait for their caption."""
    found = blocks(text)
    if after_figure:
        caption = caption_of(found[0]) if found else ""
        for png in after_figure[:-1]:
            deck.add(figure(png, ""), alone=True)
        deck.add(figure(after_figure[-1], caption), alone=True)
    before = ""  # the paragraph that an equation may end
    for k, block in enumerate(found):
        heading = re.match(r"(#+)\s+(.+)", block)
        if heading and len(heading[1]) == 2:
            deck.column(heading[2])
        elif heading:
            deck.part(heading[2])
        elif block.startswith(("$$", r"\begin{align*}")):
            items = [Item("equation", block, height_of_equation(block))]
            if before:
                lead = balanced(one_line(leading(before)))
                items.insert(0, Item("text", lead, lines_of(lead)))
            rest = found[k + 1] if k + 1 < len(found) else ""
            if re.match(r"(where|with|and with|for|if)\b", rest):  # the equation's sentence goes on
                tail = balanced(one_line(sentences(rest)[0]))
                items.append(Item("text", tail, lines_of(tail)))
            deck.add(*items, lead=before)
        elif block.startswith(QUESTION):
            deck.add(Item("question", one_line(block), 6), alone=True)
        elif block.startswith("|"):
            rows = block.count("\n") + 1
            if rows <= 10:
                deck.add(Item("text", block, 1.6 * rows))
        elif is_list(block):
            deck.add(points(block))
        prose = not heading and not block.startswith(("$$", "\\begin", "|", "```", QUESTION)) and not is_list(block)
        before = block if prose and not (k == 0 and after_figure and caption_of(block)) else ""
        if not heading:
            deck.note(block)


def add_code(deck: Deck, cell: NotebookNode) -> None:
    room, shown = MAX_CODE, list[str]()
    for source in algorithms(cell.source):
        lines = source.count("\n") + 1
        if shown and lines > room:
            deck.add(Item("code", "\n\n\n".join(shown), 0.95 * (MAX_CODE - room) + 1), alone=True)
            room, shown = MAX_CODE, []
        shown.append(source)
        room -= lines + 2
    if shown:
        source = "\n\n\n".join(shown)
        deck.add(Item("code", source, 0.95 * (source.count("\n") + 1) + 1))
    text = printed(cell)
    if text:
        deck.add(Item("output", text, 0.95 * (text.count("\n") + 1) + 1))


def in_sections(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each cell with the kind of section that it stands in: opening, section, exercises."""
    kind = "opening"
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            yield kind, cell
            continue
        # A section may begin in the middle of a cell.
        for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
            if not part.strip():
                continue
            if part.startswith("## "):
                kind = "exercises" if re.match(r"## [\d.]*\s*Exercises", part) else "section"
            yield kind, nbformat.v4.new_markdown_cell(part)


def deck_of(notebook: NotebookNode) -> list[Slide]:
    deck, exercises, waiting = Deck(), list[str](), list[str]()
    for kind, cell in in_sections(notebook):
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            if waiting:  # a picture without a caption
                add_text(deck, "", waiting)
            waiting = []
            if kind == "exercises" or "exercise" in tags or "setup" in tags:
                continue
            if kind == "section":
                add_code(deck, cell)
            waiting = pictures(cell)
            continue
        text = cell.source
        exercise = EXERCISE.match(text.strip())
        if exercise:
            name, stars, title = exercise[1], exercise[3], one_line(exercise[4] or "")
            exercises.append(" ".join(part for part in (f"- {name}", stars, title and f"— {title}") if part))
            continue
        if kind == "exercises":
            if text.startswith("## "):
                deck.column(text.splitlines()[0].removeprefix("## "))
                deck.now.items.append(Item("exercises", "", 0))
            continue
        if not deck.slides:
            title = re.search(r"^# (.+)$", text, re.MULTILINE)
            deck.column(title[1] if title else "")
            deck.now.items.append(Item("title", one_line(caption_of_any(text)), HEIGHT))
            for block in blocks(text.split(title[0], 1)[1] if title else text):
                if "Open in Colab" not in block and not caption_of(block):
                    goals(deck, block)
            continue
        if kind == "opening":
            add_opening(deck, text, waiting)
        else:
            text = re.split(r"^#+ References\s*$", text, flags=re.MULTILINE)[0]
            add_text(deck, text, waiting)
        waiting = []
    if waiting:
        add_text(deck, "", waiting)
    for slide in deck.slides:
        for item in slide.items:
            if item.kind == "exercises":
                item.kind, item.source = "text", "\n".join(exercises)
    return deck.slides


def caption_of_any(text: str) -> str:
    return next((caption_of(block) for block in blocks(text) if caption_of(block)), "")


def goals(deck: Deck, block: str) -> None:
    """What stands before the first section: the goals are shown, all else is for the notes."""
    if block.startswith("**You will be able to**"):
        deck.slides.append(Slide("You will be able to", deck.slides[0].title))
        rest = block.removeprefix("**You will be able to**").strip()
        if rest:
            deck.add(points(rest))
    elif is_list(block) and deck.now.title == "You will be able to":
        deck.add(points(block))
    elif block.startswith(QUESTION):
        deck.slides.append(Slide(deck.slides[0].title))
        deck.add(Item("question", one_line(block), 6))
    deck.note(block)


def add_opening(deck: Deck, text: str, waiting: list[str]) -> None:
    found = blocks(text)
    if waiting:
        deck.slides.append(Slide(deck.slides[0].title))
        deck.add(figure(waiting[-1], caption_of(found[0]) if found else ""))
    for block in found:
        goals(deck, block)


# --- from slides to a page ----------------------------------------------------------------------------------


def heading(slide: Slide) -> str:
    if slide.items and slide.items[0].kind == "title":
        return f"# {slide.title}\n\n{slide.items[0].source}"
    above = f'<p class="section">{slide.section}</p>\n\n' if slide.section else ""
    return f"{above}## {slide.title}"


def markdown(source: str, kind: str, **metadata: object) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}, **metadata})


def picture(item: Item) -> NotebookNode:
    """The picture at the size that fits, and its caption beside it when it is narrow."""
    width, height = size_of_png(item.source)
    beside = bool(item.caption) and width < 1.45 * height
    room, widest = PICTURE
    if beside:
        widest *= 0.6
    elif item.caption:
        room -= 1.2 * lines_of(item.caption, 100)
    tall = min(room, widest * height / width)
    cell = nbformat.v4.new_code_cell("", metadata={"slideshow": {"slide_type": "-"}})
    output = nbformat.v4.new_output("display_data", {"image/png": item.source})
    output.metadata |= {"height": round(tall, 2), "caption": item.caption, "beside": beside}
    cell.outputs = [output]
    return cell


def cells_of(slide: Slide) -> Iterator[NotebookNode]:
    yield markdown(heading(slide), "slide" if slide.starts_column else "subslide")
    for item in slide.items:
        if item.kind in ("text", "equation"):
            yield markdown(item.source, "-")
        elif item.kind == "question":
            yield markdown(f'<div class="question">\n\n{item.source}\n\n</div>', "-")
        elif item.kind == "code":
            yield nbformat.v4.new_code_cell(item.source, metadata={"slideshow": {"slide_type": "-"}})
        elif item.kind == "output":
            cell = nbformat.v4.new_code_cell("", metadata={"slideshow": {"slide_type": "-"}})
            cell.outputs = [nbformat.v4.new_output("stream", text=item.source)]
            yield cell
        elif item.kind == "figure":
            yield picture(item)
    if slide.notes:
        yield markdown("\n\n".join(slide.notes), "notes")


def page(notebook: NotebookNode, name: str) -> tuple[str, int]:
    """The slides of an executed chapter as one HTML page, and their number."""
    slides = deck_of(notebook)
    if not slides:
        raise ValueError(f"{name} has no heading, so it has no slides")
    result = nbformat.v4.new_notebook(cells=[cell for slide in slides for cell in cells_of(slide)])
    result.metadata["title"] = re.sub(r"[$\\]", "", slides[0].title)
    exporter = SlidesExporter(
        config=Config(HTMLExporter={"exclude_anchor_links": True}),
        template_file=TEMPLATE.name,
        extra_template_paths=[str(TEMPLATE.parent)],
    )
    html, _ = exporter.from_notebook_node(result, {"metadata": {"name": name}})
    # One heading stands on several slides, and an id only once on a page.
    return re.sub(r'(<h[1-6]) id="[^"]*"', r"\1", html), len(slides)


# --- what the slides need from elsewhere --------------------------------------------------------------------


def tarball(name: str, version: str, digest: str, folder: Path | None = None) -> Path:
    """An npm package, from the user's cache or, the first time, from the registry."""
    import pooch

    target = folder or Path(pooch.os_cache("diffedu")) / "npm"
    file = f"{name}-{version}.tgz"
    try:
        target.mkdir(parents=True, exist_ok=True)
        return Path(
            pooch.retrieve(f"{REGISTRY}/{name}/-/{file}", known_hash=f"sha256:{digest}", fname=file, path=target)
        )
    except OSError as error:
        raise OSError(
            f"The slides need {name} {version}, which is not yet in {target}, and the npm registry could not be "
            f"reached ({type(error).__name__}). Run this once with a network, or put {file} there."
        ) from error
    except ValueError as error:
        raise ValueError(f"{file} from the npm registry is not the file that was pinned; nothing was used") from error


def unpack(name: str, folder: Path) -> None:
    """What the pages use of a package, into a folder, unless it lies there."""
    version, digest, wanted = next(about for known, *about in PACKAGES if known == name)
    stamp = folder / f"{name}-{version}"
    if stamp.exists():
        return
    with tarfile.open(tarball(name, version, digest)) as archive:
        for inside, beside in wanted.items():
            path = folder / beside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(f"package/{inside}").read())
    stamp.touch()


def chosen(names: list[str]) -> list[Path]:
    everything = sorted(CHAPTERS.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return everything
    found = [path for name in names for path in everything if path.name.startswith(name)]
    missing = [name for name in names if not any(path.name.startswith(name) for path in everything)]
    if missing:
        raise ValueError(f"no executed chapter {missing[0]!r}; there are {', '.join(p.stem for p in everything)}")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="chapter numbers or beginnings of names; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "slides")
    options = parser.parse_args(arguments)
    try:
        paths = chosen(options.chapters)
        options.out.mkdir(parents=True, exist_ok=True)
        for name, *_ in PACKAGES:
            unpack(name, options.out / "assets")
        for path in paths:
            start = time.perf_counter()
            html, count = page(nbformat.read(path, as_version=4), path.stem)
            target = options.out / f"{path.stem}.html"
            target.write_text(html, encoding="utf-8", newline="\n")
            seconds, size = time.perf_counter() - start, target.stat().st_size / 1e6
            print(f"{path.stem}: {count} slides, {size:.2f} MB, {seconds:.1f} s", flush=True)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Open a page of {options.out} in a browser: arrows or space to move, S for notes, O for an overview.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
