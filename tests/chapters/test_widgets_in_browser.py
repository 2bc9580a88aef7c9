"""Every widget of the book as a reader uses it: JupyterLab, a browser, keyboard and mouse.

To run all cells of all chapters here would take a quarter of an hour; nbval runs them, without a browser. So for each
widget a small notebook is made of its chapter's code: the widget's cell, and those statements of earlier cells that it
needs, as they stand (`widget_notebooks.derived`; a network that the chapter trains before is shown untrained). They are
opened one after another in one JupyterLab and one browser, and run by "Run All". `test_browser.py` does the same with
all of chapter 5.

Each widget: every control moved by keyboard, each followed by the reset button, and one slider moved by mouse; the
drawing in the page must change each time. No error in a cell or in the page, nothing new in any cell's output. Then
labels and contrasts are looked at by program, in the light theme and in the dark one at a zoom of 125 %. Screenshots
are kept in build/screenshots.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from tests.chapters.browser import need_browser
from tests.chapters.hands import Reader, reader
from tests.chapters.widget_notebooks import derived, widgets

ROOT = Path(__file__).resolve().parent.parent.parent
WIDGETS = widgets(ROOT / "chapters")
TYPED = {"strokes": "erase 6 6 5", "points": "0 0; 1 1"}
"""For controls that take text: what a reader types."""


def small_name(chapter: str, which: int) -> str:
    return f"{Path(chapter).stem}_{which + 1}.ipynb"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    need_browser()
    folder = tmp_path_factory.mktemp("widgets")
    for chapter, which in WIDGETS:
        nbformat.write(derived(ROOT / "chapters" / chapter, which).notebook, folder / small_name(chapter, which))
    with reader(folder, ROOT / "build" / "screenshots") as someone:
        yield someone


def test_the_book_has_its_widgets() -> None:
    assert len(WIDGETS) >= 20, "a notebook without outputs has no widget: rebuild it"


@pytest.mark.browser
@pytest.mark.parametrize("name", [small_name(*widget) for widget in WIDGETS])
def test_widget_in_a_browser(lab: Reader, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    began, stem = time.monotonic(), Path(name).stem
    with lab.notebook(name):
        assert lab.errors() == []
        assert lab.wait_for_picture(bool, 20), "the widget's picture did not appear"
        ran = time.monotonic()
        first, before = lab.picture(), lab.outputs()
        controls = [control for control in lab.controls() if control["name"] != "reset"]
        assert controls
        unnamed = [control for control in controls if not control["name"]]
        assert unnamed == []
        lab.shot(f"{stem}_light")
        light = lab.complaints()

        dead, kept = [], []
        for control in controls:
            if not lab.by_keyboard(control, TYPED.get(control["name"].split(" ")[0], "")):
                dead.append(f"{control['name']} by keyboard")
            lab.reset()
            if not lab.wait_for_picture(first.__eq__, 20):
                kept.append(control["name"])
                first = lab.picture()
        slider = next(control for control in controls if control["kind"] == "slider")
        if not lab.by_mouse(slider):
            dead.append(f"{slider['name']} by mouse")
        lab.shot(f"{stem}_moved")
        with lab.dark_and_large():
            dark = lab.complaints()
            lab.shot(f"{stem}_dark_125")
        with capsys.disabled():
            print(f"\n{stem}: {len(controls)} controls, run {ran - began:.1f} s, used {time.monotonic() - ran:.1f} s")
        assert dead == [], "these did not change the drawing"
        assert kept == [], "reset did not restore the first drawing after these were moved"
        assert lab.errors() == []
        assert lab.outputs() == before, "moving controls left something in a cell's output"
        assert {"light, 100 %": light, "dark, 125 %": dark} == {"light, 100 %": [], "dark, 125 %": []}


@pytest.mark.browser
def test_painting_by_mouse(lab: Reader) -> None:
    page = lab.page
    with lab.notebook("00_start_here_2.ipynb"):
        assert lab.wait_for_picture(bool, 20)
        field, first = page.locator(".diffedu-points input:visible").first, lab.picture()
        before = field.input_value()
        picture = page.locator(".diffedu-picture:visible").first
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        places = [(0.12 + 0.02 * k, 0.2 + 0.03 * k) for k in range(8)]  # shares of the picture, in its left panel
        for k, (u, v) in enumerate(places):
            page.mouse.move(box["x"] + u * box["width"], box["y"] + v * box["height"])
            if k == 0:
                page.mouse.down()
        page.mouse.up()
        assert lab.wait_for_picture(lambda now: now != first, 20), "painting did not change the drawing"
        lab.rest()
        after = field.input_value()
        lab.shot("00_start_here_2_painted")
        assert after.startswith(before + "; ")
        new = [tuple(map(float, point.split())) for point in after[len(before) + 2 :].split("; ")]
        assert len(new) == len(places)
        assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(new)), "from the upper left to the lower right"
        page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_timeout(300)
        assert field.input_value() == after, "the right panel is not for painting"
        assert lab.errors() == []
