"""The website: links and anchors of its pages, the numbers of its pictures, and how built pages behave in a browser."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

import diffedu
from diffedu import (
    DDIM,
    VP,
    Cosine,
    EulerMaruyama,
    GaussianMixture,
    RectifiedFlow,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
    sigmoid_betas,
)
from diffedu.flow import PairsDenoiser, straightness
from diffedu.guidance import ClassifierFree
from diffedu.sampling import Euler, Heun
from tools import site

ROOT = Path(__file__).resolve().parent.parent
WHOLE = ROOT / "build" / "site"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the pages were not opened")


# --- text ---------------------------------------------------------------------------------------------------


def test_equations_sections_and_exercises_get_anchors():
    aligned = "\\begin{align*}\nc &= d \\tag{5.2} \\\\ e &= f \\tag{5.3}\n\\end{align*}"
    text = f"## 5.1 Now\n\n$$a = b. \\tag{{5.1}}$$\n\nand\n\n{aligned}\n\n**Exercise 5.1 ★ — go.** Do it."
    found = site.with_anchors(text)
    assert "(eq-5-1)=\n$$a = b." in found
    assert "(eq-5-2)=\n(eq-5-3)=\n\\begin{align*}" in found
    assert "(section-5-1)=\n## 5.1 Now" in found
    assert "(exercise-5-1)=\n**Exercise 5.1" in found
    assert site.with_anchors("$$a = b$$") == "$$a = b$$"


KNOWN = site.Known(
    anchors={"eq-5-1", "section-5-1", "exercise-5-1", "exercise-5-2"},
    chapters={"04": "04_score_matching.ipynb", "05": "05_forward_process.ipynb", "07": "07_noise_prediction.ipynb"},
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("By (5.1), not by (7.7)", "By [(5.1)](#eq-5-1), not by (7.7)"),
        ("see chapter 4.", "see [chapter 4](04_score_matching.ipynb)."),
        ("chapters 4, 6 and 7", "chapters [4](04_score_matching.ipynb), 6 and [7](07_noise_prediction.ipynb)"),
        ("this is chapter 5", "this is chapter 5"),
        ("section 5.1, section 4.1", "[section 5.1](#section-5-1), section 4.1"),
        ("Exercises 5.1 and\n5.2", "Exercises [5.1](#exercise-5-1) and\n[5.2](#exercise-5-2)"),
        ("- Bishop (2006), *Patterns*: chapter 4, (5.1)", "- Bishop (2006), *Patterns*: chapter 4, [(5.1)](#eq-5-1)"),
        ("`f(5.1)` is $g(5.1)$", "`f(5.1)` is $g(5.1)$"),
        ("[this (5.1)](x.md) and [chapter 4](y.md)", "[this (5.1)](x.md) and [chapter 4](y.md)"),
        ("## After chapter 4 and (5.1)", "## After chapter 4 and (5.1)"),
        ("$$h(5.1) \\tag{5.1}$$", "$$h(5.1) \\tag{5.1}$$"),
    ],
)
def test_mentions_become_links(text: str, wanted: str):
    assert site.with_links(text, KNOWN, own="05") == wanted


def test_alternative_text_is_the_caption_or_says_where_the_figure_stands():
    caption = new_markdown_cell("*Left: $x$ at `t`. Right:\nnoise.* More.")
    code = new_code_cell("check()")
    figure = new_code_cell(outputs=[new_output("display_data", {"image/png": ""})])
    assert site.alternative([caption], "", "5.1") == "Left: x at t. Right: noise."
    assert site.alternative([code, caption], "", "5.1") == "Left: x at t. Right: noise."
    assert site.alternative([figure, caption], "Turn [it](x).", "5.1 Go") == "Figure in section 5.1 Go. Turn it."


def test_a_chapter_is_made_ready(tmp_path: Path):
    widget = {site.VIEW: {}, "image/png": "", "text/plain": "Widget()"}
    bar = {site.VIEW: {}, "text/plain": "HBox()"}
    notebook = nbformat.v4.new_notebook(
        cells=[
            new_markdown_cell("# 5. T\n\n[Open in Colab](https://example.org/x)\n\nBy (5.1).\n\n$$a \\tag{5.1}$$"),
            new_code_cell('find_spec("diffedu")'),
            new_code_cell("from diffedu import DDIM", outputs=[new_output("display_data", widget)]),
            new_code_cell("", outputs=[new_output("display_data", bar)]),
        ]
    )
    path = tmp_path / "05_t.ipynb"
    nbformat.write(notebook, path)
    found, used = site.prepare(path, site.known_from([path]), set(site.offered()))
    assert used == {"DDIM"}
    first, shown, live, progress, package = found.cells
    assert '<a href="notebooks/05_t.ipynb" download>' in first.source
    assert "[(5.1)](#eq-5-1)" in first.source
    assert list(shown.outputs[0]["data"]) == ["image/png"]
    assert 'data-play="schedule"' in live.source
    assert progress.outputs == []
    assert f"[`DDIM`](#{site.entry('DDIM')})" in package.source


def test_every_live_picture_has_its_chapter_and_a_caption():
    page = (ROOT / "docs" / "site" / "play.md").read_text(encoding="utf-8")
    assert re.findall(r'data-play="(\w+)"', page) == list(site.LIVE.values())
    for number in site.LIVE:
        assert re.search(r"\n\n\*[^*]+\*$", site.live(number).source)


def test_glossary_names_chapters_that_exist():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    assert len(terms) >= 55
    assert terms == sorted(terms, key=str.lower)
    for target in re.findall(r"\]\((.+?)\)", text):
        assert (ROOT / "docs" / target).exists()


# --- the reference ------------------------------------------------------------------------------------------


def test_anchors_of_functions_tell_capitals_apart():
    names = site.offered()
    assert {"V", "velocity", "DDIM", "SCORE", "score"} <= set(names)
    assert len({site.entry(name) for name in names}) == len(names)


def test_reference_has_every_name_once_and_its_chapters():
    known = site.known_from([])
    pages = site.reference({"DDIM": [Path("08_ddim.ipynb")]}, known)
    text = "\n".join(pages.values())
    assert sorted(re.findall(r"^## (\w+)$", text, re.MULTILINE)) == sorted(site.offered())
    entry = pages["sampling.md"].split("## DDIM\n")[1].split("\n## ")[0]
    assert "Used in chapter [8](../08_ddim.ipynb)." in entry
    assert f"[`Ancestral`](#{site.entry('Ancestral')})" in entry
    assert "### GaussianMixture.denoiser\n" in pages["core.md"]
    assert " at 0x" not in text


def test_docstrings_become_markdown():
    doc = """Denoise |x_t|, as `DDIM` does.

        x_s = a * x_t

    with a > 0.

    Args:
        eta: in [0, 1];
            two lines.

    Returns:
        Shape (B, *).

    Reference: Song et al. 2021.

    Example:
        >>> 1 + 1
        2
    """
    assert site.as_markdown(doc, site.known_from([])).split("\n\n") == [
        r"Denoise \|x\_t\|, as [`DDIM`](#api--d-d-i-m) does.",
        "~~~text\nx_s = a * x_t\n~~~",
        r"with a \> 0.",
        "**Args**",
        r"- `eta`: in \[0, 1\]; two lines.",
        "**Returns**",
        r"Shape (B, \*).",
        "Reference: Song et al. 2021.",
        "**Example**",
        "```pycon\n>>> 1 + 1\n2\n```",
    ]


def test_signatures_are_plain():
    assert site.signature("DDIM", DDIM) == "DDIM(eta: float = 0.0) -> None"
    long = site.signature("sample", diffedu.sample)
    assert long.startswith("sample(\n    denoiser: Denoiser,\n")
    assert "'" not in long
    assert "ForwardRef" not in "".join(site.signature(name, thing) for name, thing in site.offered().items())


# --- the browser's numbers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.double)


@needs_browser
def test_the_browser_computes_what_the_package_computes(browser: Any):
    page = browser.new_page()
    page.add_script_tag(path=str(ROOT / "docs" / "site" / "static" / "mixture.js"))

    def there(code: str, *arguments: object) -> torch.Tensor:
        """What the browser makes of an expression in a, b, c ...; tensors among them become lists."""
        plain = [a.tolist() if isinstance(a, torch.Tensor) else a for a in arguments]
        return torch.tensor(
            page.evaluate(f"([{', '.join('abcdef'[: len(plain)])}]) => {code}", plain), dtype=torch.double
        )

    def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)

    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)
    means = torch.tensor([[-1.2, 0.6], [1.1, 0.9], [0.2, -1.2]], dtype=torch.double)
    spread = 0.22**2 * torch.eye(2, dtype=torch.double).expand(3, 2, 2)
    mixture = GaussianMixture(weights, means, spread)
    there_mixture = {"weights": weights.tolist(), "means": means.tolist(), "std": 0.22}
    x, z = normal(2, 40, 2)
    t, s = torch.tensor([0.7, 0.4], dtype=torch.double)
    end = torch.tensor(0.0, dtype=torch.double)

    paths = {"cosine": Cosine(), "vp": VP(), "straight": RectifiedFlow()}
    for name, path in paths.items():
        c = path(t)
        got = there(f"Object.values(Mixture.{name}(a))", 0.7)
        same(got, torch.stack([c.alpha, c.sigma, c.drift, c.diffusion_squared]))
        got = there(f"a.map(x => Mixture.denoise(b, x, Mixture.{name}(0.7)))", x, there_mixture)
        same(got, mixture.denoiser(path)(x, t))

    exact = mixture.denoiser(Cosine())
    for eta in (0.0, 0.6, 1.0):
        step, _ = DDIM(eta=eta).step(exact, x, t, s, (), z)
        code = "a.map((x, k) => Mixture.ddim((y, c) => Mixture.denoise(b, y, c), Mixture.cosine, x, 0.7, 0.4, c, d[k]))"
        same(there(code, x, there_mixture, eta, z), step)
    for k in (0.0, 0.5, 2.0):
        for to in (s, end):
            step, _ = EulerMaruyama(k).step(mixture.denoiser(VP()), x, t, to, (), z)
            code = (
                "a.map((x, k) => Mixture.reverse((y, c) => Mixture.denoise(b, y, c), Mixture.vp, x, 0.7, e, c, d[k]))"
            )
            same(there(code, x, there_mixture, k, z, to.item()), step)

    near = mixture.sample(40, torch.Generator("cpu").manual_seed(1)).requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_prob(near).sum(), near)
    near, h = near.detach(), 0.01
    got = there("a.map((x, k) => Mixture.langevin(b, x, c, d[k]))", near, there_mixture, h, z)
    same(got, near + h * score + (2 * h) ** 0.5 * z)

    one = GaussianMixture(weights[:1] / weights[0], means[:1], spread[:1])
    alone = {"weights": [1.0], "means": means[:1].tolist(), "std": 0.22}
    got = there("a.map(x => Mixture.guided(b, c, 3)(x, Mixture.cosine(0.7)))", x, there_mixture, alone)
    same(got, ClassifierFree(one.denoiser(Cosine()), exact, 3.0)(x, t))

    starts, ends = normal(2, 30, 2, seed=2)
    pairs = PairsDenoiser(ends, starts, RectifiedFlow(), 0.15)
    for to in (s, end):
        for name, solver in (("euler", Euler()), ("heun", Heun())):
            step, _ = solver.step(pairs, x, t, to, (), z)
            code = f"a.map(x => Mixture.{name}(Mixture.ofPairs(b, c, 0.15), x, 0.7, d))"
            same(there(code, x, ends, starts, to.item()), step)
    film = normal(5, 40, 2, seed=3)
    same(there("Mixture.straightness(a)", film), straightness(film, torch.linspace(1, 0, 5, dtype=torch.double)))

    families = {
        "linear": linear_betas(1000),
        "scaled linear": scaled_linear_betas(1000),
        "cosine": cosine_betas(1000),
        "sigmoid": sigmoid_betas(1000),
    }
    for name, betas in families.items():
        bars = torch.cat([torch.ones(1, dtype=torch.double), torch.cumprod(1 - betas.double(), 0)])
        same(there("Mixture.alphaBar(a)", name), bars)
    page.close()


# --- built pages --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two chapters."""
    if importlib.util.find_spec("myst_nb") is None:
        pytest.skip("no Sphinx in this environment: `python run.py site` installs it; the pages were not built")
    folder = tmp_path_factory.mktemp("site")
    chapters = [next((ROOT / "chapters").glob(f"{number}_*.ipynb")) for number in ("00", "05")]
    try:
        site.assemble(chapters, folder / "source")
    except OSError as error:
        pytest.skip(f"the pages were not built: {error}")
    assert site.build(folder / "source", folder / "out") == 0, "Sphinx warned: see above"
    return folder / "out"


def pages(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical",) and "href" in given:
            self.loads.append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])


@pytest.mark.slow
def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(built: Path):
    parsed = {path: Page(path) for path in pages(built)}
    broken = []
    for path, page in parsed.items():
        assert len(page.ids) == len(set(page.ids)), f"{path.name}: an id stands twice"
        for load in page.loads:
            assert not urlsplit(load).netloc, f"{path.name} loads {load}"
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not link:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in parsed and anchor not in parsed[target].ids):
                broken.append(f"{path.name}: {link}")
    assert broken == []


@pytest.mark.slow
def test_a_chapter_has_its_parts(built: Path):
    text = (built / "05_forward_process.html").read_text(encoding="utf-8")
    assert 'id="eq-5-10"' in text
    assert 'href="#eq-5-10"' in text
    assert 'id="section-5-5"' in text
    assert r"\begin{split}" not in text  # MathJax allows no number in it
    assert 'href="notebooks/05_forward_process.ipynb" download' in text
    assert "Open in Colab" in text
    assert 'href="00_start_here.html"' in text  # the previous one
    assert 'data-play="schedule"' in text
    notebook = "05_forward_process.ipynb"
    assert (built / "notebooks" / notebook).read_bytes() == (ROOT / "chapters" / notebook).read_bytes()
    assert (built / "searchindex.js").stat().st_size > 10_000


def open_page(browser: Any, width: int, **settings: object) -> tuple[Any, list[str]]:
    """A page without a network that keeps whatever goes wrong on it."""
    context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
    context.set_offline(True)
    page = context.new_page()
    wrong: list[str] = []
    near = ("file:", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(near) else wrong.append(f"asked for {r.url}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    return page, wrong


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(browser: Any, built: Path, width: int):
    """No errors, formulas drawn, alternative texts, no scrolling sideways, a first view in time."""
    page, wrong = open_page(browser, width)
    for path in [built / name for name in ("index.html", "play.html", "05_forward_process.html", "api/core.html")]:
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        if page.locator(".math").count():
            page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
            page.evaluate("MathJax.startup.promise.then(() => true)")
            assert page.locator("mjx-container").count() > 0, f"{path.name}: no formula was drawn"
            assert page.locator("[data-mjx-error]").count() == 0, f"{path.name}: MathJax refuses a formula"
        sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert sideways <= 0, f"{path.name} scrolls sideways by {sideways} at {width}"
        assert page.evaluate("[...document.images].every(image => image.alt.length > 9)"), f"{path.name}: a bare image"
        unnamed = "input:not([type=hidden]), select, button, canvas"
        names = "e => e.labels?.length || e.textContent.trim() || e.ariaLabel || e.title || e.placeholder"
        unnamed = page.evaluate(
            f"[...document.querySelectorAll('{unnamed}')].filter(e => !({names})(e)).map(e => e.outerHTML)"
        )
        assert unnamed == [], f"{path.name}: controls without a name"
        first = page.evaluate("performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)")
        assert not first or first[0] < 10_000, f"{path.name}: first view after {first[0]:.0f} ms"
    assert wrong == []
    page.context.close()


@pytest.mark.slow
@needs_browser
def test_the_search_finds_a_word(browser: Any, built: Path):
    page, wrong = open_page(browser, 1280)
    page.goto((built / "search.html").as_uri() + "?q=schedules")
    page.wait_for_selector("#search-results li a")
    assert any(
        "05_forward_process" in link
        for link in page.eval_on_selector_all("#search-results li a", "l => l.map(a => a.href)")
    )
    assert wrong == []
    page.context.close()


@pytest.mark.slow
@needs_browser
def test_knobs_change_the_pictures(browser: Any, built: Path):
    page, wrong = open_page(browser, 1280)
    page.goto((built / "play.html").as_uri())
    page.wait_for_selector("body[data-playing]")
    boxes = page.locator("[data-play]")
    assert boxes.count() == len(site.LIVE)
    changed = "([canvas, old]) => canvas.toDataURL() !== old"
    for k in range(boxes.count()):
        box = boxes.nth(k)
        picture = box.locator("canvas")
        before, told = picture.evaluate("c => c.toDataURL()"), picture.get_attribute("aria-label")
        for knob in box.locator("input").all():
            knob.focus()
            knob.press("ArrowRight")
            page.wait_for_function(changed, arg=[picture.element_handle(), before])
            assert picture.get_attribute("aria-label") != told
            box.locator("button").click()
            page.wait_for_function(changed.replace("!==", "==="), arg=[picture.element_handle(), before])
        for knob in box.locator("select").all():
            knob.select_option(index=1)
            page.wait_for_function(changed, arg=[picture.element_handle(), before])
    # The colours follow the theme.
    picture = boxes.first.locator("canvas")
    before = picture.evaluate("c => c.toDataURL()")
    page.evaluate("document.body.dataset.theme = 'dark'")
    page.wait_for_function(changed, arg=[picture.element_handle(), before])
    assert wrong == []
    page.context.close()


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_front_page_moves_unless_the_reader_would_rather_not(browser: Any, built: Path, motion: str):
    page, wrong = open_page(browser, 1280, reduced_motion=motion)
    page.goto((built / "index.html").as_uri())
    page.wait_for_selector("body[data-playing]")
    button = page.locator("[data-front] button")
    picture = page.locator("[data-front] canvas")
    before = picture.evaluate("c => c.toDataURL()")
    if motion == "reduce":
        assert button.text_content() == "Move"
        page.wait_for_timeout(4000)  # a round rests for 2.5 seconds before it starts
        assert picture.evaluate("c => c.toDataURL()") == before
        button.click()  # asked for, it moves
    page.wait_for_function("([c, old]) => c.toDataURL() !== old", arg=[picture.element_handle(), before])
    assert button.text_content() == "Pause"
    button.click()
    page.wait_for_timeout(100)
    paused = picture.evaluate("c => c.toDataURL()")
    page.wait_for_timeout(500)
    assert picture.evaluate("c => c.toDataURL()") == paused
    assert wrong == []
    page.context.close()


def test_the_whole_site_is_small():
    chapters = {path.stem for path in (ROOT / "chapters").glob("[0-9][0-9]_*.ipynb")}
    if {path.stem for path in WHOLE.glob("[0-9][0-9]_*.html")} != chapters:
        pytest.skip("build/site does not hold all chapters: `python run.py site` builds it; its size was not checked")
    assert sum(path.stat().st_size for path in WHOLE.rglob("*") if path.is_file()) < 60e6
