"""The repository's address stands in pyproject.toml only; every link and install line agrees with it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from tools import build_notebooks, links

ROOT = Path(__file__).resolve().parent.parent
FORK = "https://github.com/a-course/our.book"
SOURCE = '''# %% [markdown]
"""
# 7. A chapter

*What it is about.*

It says $x$.
"""

# %%
print(1 + 1)
'''


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_that_a_page_links_to_exist(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", prose)
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A small book with one chapter, written and run."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").write_text(f"Get it: git clone {FORK}\n\n{links.BEGIN}\nold\n{links.END}\nThe end.\n")
    source = tmp_path / "chapters" / "07_a_chapter.py"
    source.write_text(SOURCE)
    links.write(tmp_path)
    build_notebooks.build(source)
    return tmp_path


def test_every_link_of_this_repository_is_current() -> None:
    assert [path.relative_to(ROOT).as_posix() for path in links.differing(ROOT)] == []


def test_writing_puts_link_install_cell_and_table_in_place(book: Path) -> None:
    address = links.repository(book)
    source = (book / "chapters" / "07_a_chapter.py").read_text()
    assert source.index("# 7. A chapter") < source.index(links.colab(address, "07_a_chapter")) < source.index("*What")
    assert source.index(f"git+{address}") < source.index("print(1 + 1)")
    readme = (book / "README.md").read_text()
    assert "| 07 | [A chapter](chapters/07_a_chapter.ipynb) | What it is about. | [Open in Colab](" in readme
    assert f"git clone {address}\n" in readme
    assert "old" not in readme
    assert readme.endswith(f"{links.END}\nThe end.\n")
    assert links.differing(book) == []
    assert links.write(book) == [], "writing twice changes nothing"


def test_a_fork_gets_its_own_links_with_one_command(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = nbformat.read(book / "chapters" / "07_a_chapter.ipynb", as_version=4)
    old = links.repository(book)
    links.set_address(book, FORK + ".git")
    assert links.main(["--check", "--root", str(book)]) == 1
    named = capsys.readouterr().out
    for name in ("chapters/07_a_chapter.py", "chapters/07_a_chapter.ipynb", "README.md", "CITATION.cff"):
        assert name in named
    links.set_address(book, old)
    assert links.main(["--set", FORK, "--root", str(book)]) == 0
    assert links.main(["--check", "--root", str(book)]) == 0
    for path in [*book.glob("*"), *(book / "chapters").glob("*")]:
        if path.is_file():
            assert old not in path.read_text(), f"{path.name} still names the old address"
    after = nbformat.read(book / "chapters" / "07_a_chapter.ipynb", as_version=4)
    assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells], "it was not run again"
    assert build_notebooks.check(book / "chapters" / "07_a_chapter.py") == []


def test_other_repositories_links_are_left_alone(book: Path) -> None:
    other = "See [their code](https://github.com/others/work) and [a notebook](https://colab.research.google.com/github/o/w)."
    page = book / "docs" / "guide.md"
    page.write_text(other)
    links.set_address(book, FORK)
    links.write(book)
    assert page.read_text() == other


@pytest.mark.parametrize("address", ["https://gitlab.com/a/b", "https://github.com/a", "github.com/a/b", ""])
def test_address_that_colab_cannot_open_is_refused(book: Path, address: str) -> None:
    with pytest.raises(ValueError, match=r"the repository's address is '.*'; Colab opens only https://github"):
        links.set_address(book, address)


def test_chapter_without_title_is_refused() -> None:
    with pytest.raises(ValueError, match=r"07_x\.py: the first cell must be markdown .* begins with a title"):
        links.with_address("# %%\nprint(1)\n", "07_x.py", FORK)


def test_a_wrapped_or_repeated_link_becomes_one() -> None:
    link = links.colab(FORK, "07_x")
    wrapped = link.replace("Open in Colab", "Open in\nColab")
    source = f'# %% [markdown]\n"""\n# 7. X\n\n{link}\n\n{wrapped}\n\n*why*\n"""\n'
    written = links.with_address(source, "07_x.py", FORK)
    assert written.startswith(f'# %% [markdown]\n"""\n# 7. X\n\n{link}\n\n*why*\n"""\n')
    assert written.count("[Open in") == 1
    assert links.with_address(written, "07_x.py", FORK) == written
