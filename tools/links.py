"""Write the repository's address, which stands in pyproject.toml only, wherever else it is needed.

python tools/links.py              write
python tools/links.py --check      change nothing; exit 1 and name what differs
python tools/links.py --set URL    first make URL the address (a course's fork), then write

What is governed:
- every chapter's link to Colab, on a line of its own under the title (put there where it is missing);
- every chapter's first code cell, which installs the package where it is missing, as on Colab;
- the table of chapters between the markers in README.md (and in chapters/ and docs/, where the markers are);
- "git clone" and "git+https" addresses in README.md, CONTRIBUTING.md, docs/ and CITATION.cff.
A chapter's executed twin is brought along without running it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
BEGIN, END = "<!-- chapters: written by `python run.py links` -->", "<!-- end of chapters -->"
GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")
COLAB = re.compile(r"^\[Open in\s+Colab\]\(https://colab\.research\.google\.com/github/[^)\s]*\)[ \t]*$", re.MULTILINE)
INSTALL = re.compile(r"git\+https://github\.com/[\w.-]+/[\w.-]+")
CLONE = re.compile(r"git clone https://github\.com/[\w.-]+/[\w.-]+")
CITATION = re.compile(r'^repository-code: ".*"$', re.MULTILINE)
TITLE = re.compile(r"^# (?!%%)(.+)$", re.MULTILINE)
FIRST_CODE = re.compile(r"^# %%(?! \[markdown\]).*$", re.MULTILINE)
INSTALL_CELL = """# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+{address}")

"""


def repository(root: Path) -> str:
    """The address in pyproject.toml, without a slash or .git at its end."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return checked(project["urls"]["Repository"])


def checked(address: str) -> str:
    address = address.strip().rstrip("/").removesuffix(".git")
    if not GITHUB.fullmatch(address):
        raise ValueError(f"the repository's address is {address!r}; Colab opens only https://github.com/OWNER/NAME")
    return address


@dataclass(frozen=True)
class Chapter:
    name: str  # 05_forward_process
    title: str
    summary: str  # the line in italics under the title; may be empty

    @property
    def number(self) -> str:
        return self.name.split("_")[0]


def chapter_sources(root: Path) -> list[Path]:
    return sorted((root / "chapters").glob("[0-9][0-9]_*.py"))


def front(text: str, name: str) -> re.Match[str]:
    """Where the title stands: the first heading of a source whose first cell is markdown."""
    found = re.match(r'\s*# %% \[markdown\]\n"""\n', text)
    title = TITLE.search(text, found.end()) if found else None
    if title is None:
        raise ValueError(f'{name}: the first cell must be markdown in triple quotes that begins with a title, "# ..."')
    return title


def chapter(source: Path) -> Chapter:
    text = source.read_text(encoding="utf-8")
    title = front(text, source.name)
    cell = text[title.end() : text.index('"""', title.end())]
    summary = re.search(r"^\*([^*\n]+(?:\n[^*\n]+)?)\*$", cell, re.MULTILINE)
    heading = re.sub(r"^(chapter\s+)?\d+\s*[.:·—–-]\s*", "", title[1].strip(), flags=re.IGNORECASE)
    return Chapter(source.stem, heading, summary[1].replace("\n", " ") if summary else "")


def colab(address: str, name: str) -> str:
    path = address.removeprefix("https://github.com/")
    return f"[Open in Colab](https://colab.research.google.com/github/{path}/blob/{BRANCH}/chapters/{name}.ipynb)"


def table(chapters: list[Chapter], address: str, folder: str) -> str:
    """The table of chapters; `folder` is where they lie, seen from the file that holds the table."""
    rows = ["| | chapter | what it is about | in the browser |", "|---|---|---|---|"]
    for c in chapters:
        rows.append(f"| {c.number} | [{c.title}]({folder}{c.name}.ipynb) | {c.summary} | {colab(address, c.name)} |")
    return "\n".join([BEGIN, "", *rows, "", END])


def with_table(text: str, written: str) -> str:
    before, marker, rest = text.partition(BEGIN)
    if not marker:
        return text
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"the marker {BEGIN!r} has no {END!r} after it")
    return before + written + after


def with_address(text: str, name: str, address: str) -> str:
    """A chapter's source with its link to Colab and its install cell."""
    title = front(text, name)
    link = colab(address, Path(name).stem)
    cell_end = text.index('"""', title.end())
    head, body = text[:cell_end], text[cell_end:]
    before, *after = COLAB.split(head)
    if after:  # one link, however many there were
        head = before + link + "".join(part for part in after if part.strip())
    else:
        head = f"{head[: title.end()]}\n\n{link}{head[title.end() :]}"
    body = COLAB.sub(lambda _: link, body)
    if INSTALL.search(body):
        body = INSTALL.sub(f"git+{address}", body)
    else:
        first = FIRST_CODE.search(body)
        at = first.start() if first else len(body)
        body = body[:at] + INSTALL_CELL.format(address=address) + body[at:]
    return head + body


def wanted(root: Path) -> dict[Path, str]:
    """Every governed file with the text that it should have."""
    address = repository(root)
    sources = chapter_sources(root)
    chapters = [chapter(source) for source in sources]
    result = {}
    for source in sources:
        text = with_address(source.read_text(encoding="utf-8"), source.name, address)
        result[source] = with_table(text, table(chapters, address, ""))
    for page in [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("**/*.md"))]:
        if page.exists():
            text = CLONE.sub(f"git clone {address}", page.read_text(encoding="utf-8"))
            text = INSTALL.sub(f"git+{address}", text)
            folder = Path(os.path.relpath(root / "chapters", page.parent)).as_posix() + "/"
            result[page] = with_table(text, table(chapters, address, folder))
    citation = root / "CITATION.cff"
    if citation.exists():
        result[citation] = CITATION.sub(f'repository-code: "{address}"', citation.read_text(encoding="utf-8"))
    return result


def differing(root: Path) -> list[Path]:
    """The governed files whose text differs, and the twins that name another repository."""
    found = [path for path, text in wanted(root).items() if path.read_text(encoding="utf-8") != text]
    address = repository(root)
    for twin in sorted((root / "chapters").glob("*.ipynb")):
        text = twin.read_text(encoding="utf-8")
        installs = INSTALL.findall(text)
        links = re.findall(r"\[Open in Colab\]\([^)\s]*\)", text)
        if colab(address, twin.stem) not in links or {*installs} != {f"git+{address}"}:
            found.append(twin)
    return found


def write_atomically(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    with open(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.chmod(temporary, path.stat().st_mode & 0o777)
    os.replace(temporary, path)


def set_address(root: Path, address: str) -> None:
    path = root / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    new, count = re.subn(r'^Repository = ".*"$', f'Repository = "{checked(address)}"', text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f'pyproject.toml must have exactly one line Repository = "..."; found {count}')
    write_atomically(path, new)


def write(root: Path) -> list[Path]:
    """Write what differs, and return those files. A twin follows its source without being run."""
    changed = []
    for path, text in wanted(root).items():
        if path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
            changed.append(path)
    stale = [path for path in differing(root) if path.suffix == ".ipynb"]
    if stale:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        from build_notebooks import retext

        changed += [twin for twin in stale if twin.with_suffix(".py").exists() and retext(twin.with_suffix(".py"))]
    return changed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; name the files that differ")
    parser.add_argument("--set", metavar="URL", help="make this the repository's address first")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    try:
        if options.check:
            found = differing(root)
            for path in found:
                print(f"{path.relative_to(root)}: not what pyproject.toml's address makes it (run.py links)")
            return bool(found)
        if options.set:
            set_address(root, options.set)
        for path in write(root):
            print(f"wrote {path.relative_to(root)}")
        left = differing(root)
        for path in left:
            print(f"{path.relative_to(root)}: its source has changed (run.py book)", file=sys.stderr)
        return 0
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
