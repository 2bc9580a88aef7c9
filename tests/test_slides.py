"""Slides: what stands on them, what is left out, and that they ask for nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import struct
import tarfile
from pathlib import Path

import nbformat
import pytest

from tools import slides

ROOT = Path(__file__).resolve().parent.parent
# The header of a PNG is all that the tool reads of it.
WIDE, SQUARE = (
    base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(40)).decode()
    for width, height in ((1200, 300), (400, 400))
)
OPENING = """# 95. Small talk

[Open in Colab](https://colab.research.google.com/github/a/b/blob/main/chapters/95_small_talk.ipynb)

*A chapter about nothing*

Some prose."""
FIRST = r"""*Two crowds. What **matters** is $a^*$, on the left.*

**Before you read on.** Which one is it?

**You will be able to**
- say nothing;
- say it well.

## 95.1 A sum
We begin. Take $a = 1.5$. Now add
$b$ to it:

$$a + b = \frac{c}{2}, \tag{95.1}$$
<!-- definition 95.1: names c -->

with $c$ from [chapter 3](03_fokker_planck.ipynb). Much more is said here.

### The part
- **A short one.** It has a second sentence which explains the first at some length, so that the whole of it is long.
  And a third sentence, which would only be read in the notes of the speaker.
- short
"""
CODE = '''def add(a, b):
    """(95.1)."""
    return a + b


def unexplained(a):
    return a


def long(a):
    """Too long."""
''' + "\n".join(["    a += 1"] * 15)
LAST = r"""
## 95.3 What the field does with it
Nothing.

### What to remember
- That there is nothing.

### References
- Nobody (2020), *Nothing*.
"""


def cell(source: str, *, tags: tuple[str, ...] = (), text: str = "", png: str = "") -> nbformat.NotebookNode:
    result = nbformat.v4.new_code_cell(source, metadata={"tags": [*tags]})
    if text:
        result.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=text))
    if png:
        result.outputs.append(nbformat.v4.new_output("display_data", {"image/png": png, "text/plain": "<Figure>"}))
    return result


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    text = nbformat.v4.new_markdown_cell
    return nbformat.v4.new_notebook(
        cells=[
            text(OPENING),
            cell("import torch\nplot_something()", png=WIDE),
            text(FIRST),
            cell(CODE, text="(95.1) holds: largest difference 0\nsmall 1\nlarge 2\n"),
            cell("figure", png=SQUARE),
            text("*A square picture.* It is followed by prose."),
            text("## 95.2 Exercises\nA sentence about exercises."),
            text("**Exercise 95.1 ★★ — add\nthem up.** The full text of the exercise."),
            cell("def answer(a): ...", tags=("exercise",)),
            cell('check("95.1", answer)', text="95.1 not attempted yet.\nFirst hint: 1 + 1\n"),
            text(LAST),
        ]
    )


@pytest.fixture(scope="module")
def deck(notebook: nbformat.NotebookNode) -> list[slides.Slide]:
    return slides.deck_of(notebook)


@pytest.fixture(scope="module")
def html(notebook: nbformat.NotebookNode) -> str:
    return slides.page(notebook, "95_small_talk")[0]


def shown(deck: list[slides.Slide]) -> str:
    return "\n".join(item.source for slide in deck for item in slide.items)


def test_a_section_is_a_column(deck: list[slides.Slide]) -> None:
    # Where a section begins with a part, one slide bears both headings.
    columns = [slide.section or slide.title for slide in deck if slide.starts_column]
    assert columns == ["95. Small talk", "95.1 A sum", "95.2 Exercises", "95.3 What the field does with it"]
    part = next(slide for slide in deck if slide.title == "The part")
    assert part.section == "95.1 A sum"


def test_goals_and_questions(deck: list[slides.Slide]) -> None:
    goals = next(slide for slide in deck if slide.title == "You will be able to")
    assert goals.items[0].source == "- say nothing;\n- say it well."
    assert [item.source for slide in deck for item in slide.items if item.kind == "question"] == [
        "**Before you read on.** Which one is it?"
    ]


def test_an_equation_brings_its_sentence(deck: list[slides.Slide]) -> None:
    items = next(slide for slide in deck if slide.title == "95.1 A sum").items
    assert [item.kind for item in items[:3]] == ["text", "equation", "text"]
    assert items[0].source == "Take $a = 1.5$. Now add $b$ to it:"  # a short last sentence brings the one before
    assert r"\tag{95.1}" in items[1].source
    assert items[2].source == "with $c$ from chapter 3."  # no link, and no further sentence


def test_lists_are_cut_to_sentences(deck: list[slides.Slide]) -> None:
    assert "explains the first" in shown(deck)
    assert "third sentence" not in shown(deck)
    assert "third sentence" in "\n".join(note for slide in deck for note in slide.notes)


def test_figures_have_captions(deck: list[slides.Slide]) -> None:
    figures = [item for slide in deck for item in slide.items if item.kind == "figure"]
    assert [item.caption for item in figures] == [
        "Two crowds. What **matters** is $a^*$, on the left.",
        "A square picture.",
    ]
    outputs = [slides.picture(item).outputs[0] for item in figures]
    assert [output.metadata.beside for output in outputs] == [False, True]
    for output in outputs:
        assert 5 < output.metadata.height <= slides.PICTURE[0]


def test_code_is_shown_when_short_and_documented(deck: list[slides.Slide]) -> None:
    assert [item.source for slide in deck for item in slide.items if item.kind == "code"] == [
        'def add(a, b):\n    """(95.1)."""\n    return a + b'
    ]
    assert "small 1\nlarge 2" in shown(deck)
    assert "holds" not in shown(deck)


def test_exercises_are_titles_only(deck: list[slides.Slide], html: str) -> None:
    exercises = next(slide for slide in deck if slide.title == "95.2 Exercises")
    assert exercises.items[0].source == "- Exercise 95.1 ★★ — add them up"
    for left_out in ("full text of the exercise", "not attempted", "def answer", "Nobody (2020)", "plot_something"):
        assert left_out not in html


def test_the_notes_hold_the_text(deck: list[slides.Slide], html: str) -> None:
    notes = "\n".join(note for slide in deck for note in slide.notes)
    for said in ("Some prose.", "We begin.", "Much more is said here.", "It is followed by prose."):
        assert said in notes
        assert said not in shown(deck)
    assert html.count('<aside class="notes">') == sum(bool(slide.notes) for slide in deck)


def test_columns_and_slides_are_sections(html: str, deck: list[slides.Slide]) -> None:
    inner = len(deck)
    outer = sum(slide.starts_column for slide in deck)
    assert len(re.findall("<section", html)) == len(re.findall("</section>", html)) == inner + outer


def test_nothing_comes_from_the_network(html: str) -> None:
    asked = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)|import\s+["'(]?([^"')\s;]+)""", html)
    wanted = {name for _, _, _, files in slides.PACKAGES for name in files.values()}
    for address in {part for found in asked for part in found if part and not part.startswith("data:")}:
        assert address.startswith("assets/"), address
        assert address.removeprefix("assets/") in wanted
    assert "http" not in html.replace("http-equiv", "")
    assert not re.search(r'<h\d id="', html)  # one heading stands on several slides


def test_every_image_has_an_alternative(html: str) -> None:
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) == 2
    assert all(re.search(r'alt="[^"]+"', image) for image in images)


def test_a_notebook_without_a_heading_is_refused() -> None:
    with pytest.raises(ValueError, match="no heading"):
        slides.page(nbformat.v4.new_notebook(cells=[cell("1")]), "x")


# --- the packages -------------------------------------------------------------------------------------------


def packed(name: str, files: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in files:
            info = tarfile.TarInfo(f"package/{file}")
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


def test_packages_are_put_beside_the_slides_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def tarball(name: str, version: str, digest: str) -> Path:
        fetched.append(name)
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert re.fullmatch("[0-9a-f]{64}", digest)
        files = next(files for known, _, _, files in slides.PACKAGES if known == name)
        path = tmp_path / f"{name}.tgz"
        path.write_bytes(packed(name, [*files, "not/wanted.js"]))
        return path

    monkeypatch.setattr(slides, "tarball", tarball)
    out = tmp_path / "slides"
    for name in ("reveal.js", "mathjax") * 2:
        slides.unpack(name, out / "assets")
    assert fetched == ["reveal.js", "mathjax"]
    assert (out / "assets/reveal/reveal.js").read_text() == "reveal.js"
    assert (out / "assets/mathjax/LICENSE").exists()
    assert not list(out.rglob("wanted.js"))


def test_without_network_and_cache_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pooch

    def unreachable(*arguments: object, **options: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", unreachable)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    assert slides.main(["--out", str(tmp_path / "slides")]) == 1
    assert "Run this once with a network" in capsys.readouterr().err
    assert not list((tmp_path / "slides").glob("*.html"))


def test_a_changed_package_is_refused(tmp_path: Path) -> None:
    import pooch

    # A file that lies in the cache with another checksum is fetched anew, so the pin must be what pooch compares.
    good = packed("mathjax", ["LICENSE"])
    (tmp_path / "mathjax-3.2.2.tgz").write_bytes(good)
    digest = hashlib.sha256(good).hexdigest()
    assert slides.tarball("mathjax", "3.2.2", digest, tmp_path).read_bytes() == good
    with pytest.MonkeyPatch.context() as patch:

        def changed(*arguments: object, **options: object) -> str:
            raise ValueError("hash does not match")

        patch.setattr(pooch, "retrieve", changed)
        with pytest.raises(ValueError, match="not the file that was pinned"):
            slides.tarball("mathjax", "3.2.2", digest, tmp_path)


def test_unknown_chapters_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slides.main(["77", "--out", str(tmp_path)]) == 1
    assert "no executed chapter '77'" in capsys.readouterr().err


def test_every_chapter_has_slides() -> None:
    for path in slides.chosen([]):
        deck = slides.deck_of(nbformat.read(path, as_version=4))
        columns = [slide.title for slide in deck if slide.starts_column]
        assert len(columns) >= 4, path.stem
        exercises = next(slide for slide in deck if slide.starts_column and slide.title.endswith("Exercises"))
        assert exercises.items[0].source.count("★ — ") >= 5, path.stem
