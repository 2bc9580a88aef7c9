"""Chapter 5 as a reader uses it: JupyterLab in a browser, run all, the schedule explorer moved by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chapters.browser import need_browser, use_widget

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "05_forward_process.ipynb"


@pytest.mark.browser
def test_schedule_explorer_in_a_browser(capsys: pytest.CaptureFixture[str]) -> None:
    need_browser()
    seen = use_widget(ROOT / "chapters", CHAPTER, ROOT / "build" / "screenshots")
    assert seen.cell_errors == []
    assert seen.page_errors == []
    first, keyboard, mouse = seen.pictures.values()
    with capsys.disabled():
        values = " -> ".join(seen.readouts.values())
        print(f"\n{CHAPTER}: slider {values}; {seen.redraw}")
    assert keyboard != first, "the picture did not change when the slider was moved by keyboard"
    assert mouse != keyboard, "the picture did not change when the slider was moved by mouse"
    assert len(set(seen.readouts.values())) == 3
    assert (
        seen.redraw_ms > 0
    )  # how fast it is, is measured in benchmarks/schedule_explorer.py: here a browser draws beside it
