"""docs/errata.md: every errata museum exercise stands in the table, and every exercise named there exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_museum_is_complete():
    table = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")
    rows = [line.split("|")[-2] for line in table.splitlines() if line.startswith("|")][2:]
    named = set(re.findall(r"\d+\.\d+", " ".join(rows)))
    stands = set()
    for chapter in sorted((ROOT / "chapters").glob("*.py")):
        text = chapter.read_text(encoding="utf-8")
        stands |= set(re.findall(r"\*\*Exercise (\d+\.\d+)[^*]*errata museum", text))
    assert len(stands) > 25
    assert named == stands
