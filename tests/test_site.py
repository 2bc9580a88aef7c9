"""The website: links and anchors of its pages, the numbers of its pictures, and how the built pages behave."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from diffedu import DDIM, Cosine, GaussianMixture, cosine_betas, linear_betas, scaled_linear_betas
from diffedu.guidance import ClassifierFree
from tools import site

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "site"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the pages were not opened")
needs_site = pytest.mark.skipif(not (BUILT / "index.html").exists(), reason="no build/site: run python run.py site")


# --- text ---------------------------------------------------------------------------------------------------


def test_equations_get_anchors():
    aligned = "\\begin{align*}\nc &= d \\tag{5.2} \\\\ e &= f \\tag{5.3}\n\\end{align*}"
    text = f"Now\n\n$$a = b. \\tag{{5.1}}$$\n\nand\n\n{aligned}"
    found = site.with_anchors(text)
    assert "(eq-5-1)=\n$$a = b." in found
    assert "(eq-5-2)=\n(eq-5-3)=\n\\begin{align*}" in found
    assert site.with_anchors("$$a = b$$") == "$$a = b$$"


def test_numbers_become_links_outside_of_code_and_formulas():
    text = "## By (5.1)\nBy (5.1), `f(5.1)` is $g(5.1)$, see [this (5.1)](x.md) and (7.7); so\n$$h(5.1) \\tag{5.1}$$"
    assert site.with_links(text, {"5.1"}) == text.replace("By (5.1),", "By [(5.1)](#eq-5-1),")


def test_anchors_of_functions_tell_capitals_apart():
    names = site.offered()
    assert {"V", "velocity", "DDIM", "SCORE", "score"} <= names
    assert len({site.entry(name) for name in names}) == len(names)


def test_reference_has_every_name_once_and_its_chapters():
    pages = site.reference({"DDIM": [Path("08_ddim.ipynb")]})
    headings = re.findall(r"^## (\w+)$", "\n".join(pages.values()), re.MULTILINE)
    assert sorted(headings) == sorted(site.offered())
    entry = pages["sampling.md"].split("## DDIM\n")[1].split("\n## ")[0]
    assert "Used in chapter [08](08_ddim.ipynb)." in entry
    assert " at 0x" not in "".join(pages.values())


def test_alternative_text_is_the_caption():
    assert site.alternative("*Left: $x$ at `t`. Right:\nnoise.* More.") == "Left: x at t. Right: noise."
    assert site.alternative("No caption.") != ""


def test_glossary_names_chapters_that_exist():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    assert len(terms) >= 55
    assert terms == sorted(terms, key=str.lower)
    for target in re.findall(r"\]\((.+?)\)", text):
        assert (ROOT / "docs" / target).exists()


# --- the browser's numbers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@needs_browser
def test_the_browser_computes_what_the_package_computes(browser: Any):
    page = browser.new_page()
    page.add_script_tag(path=str(ROOT / "docs" / "site" / "static" / "mixture.js"))

    def there(code: str, *arguments: object) -> torch.Tensor:
        return torch.tensor(
            page.evaluate(f"([{', '.join('abcdef'[: len(arguments)])}]) => {code}", list(arguments))
        ).double()

    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)
    means = torch.tensor([[-1.2, 0.6], [1.1, 0.9], [0.2, -1.2]], dtype=torch.double)
    std = 0.22
    spread = std**2 * torch.eye(2, dtype=torch.double).expand(3, 2, 2)
    mixture = GaussianMixture(weights, means, spread)
    same = {"weights": weights.tolist(), "means": means.tolist(), "std": std}
    generator = torch.Generator("cpu").manual_seed(0)
    x, z = torch.randn(2, 40, 2, generator=generator, dtype=torch.double)
    path, t, s = Cosine(), torch.tensor(0.7, dtype=torch.double), torch.tensor(0.4, dtype=torch.double)
    exact = mixture.denoiser(path)

    got = there("a.map(x => Mixture.denoise(b, x, Mixture.path(c)))", x.tolist(), same, 0.7)
    torch.testing.assert_close(got, exact(x, t), rtol=0, atol=1e-6)
    for eta in (0.0, 0.6, 1.0):
        step, _ = DDIM(eta=eta).step(exact, x, t, s, (), z)
        code = "a.map((x, k) => Mixture.ddim((y, c) => Mixture.denoise(b, y, c), x, 0.7, 0.4, c, d[k]))"
        torch.testing.assert_close(there(code, x.tolist(), same, eta, z.tolist()), step, rtol=0, atol=1e-6)

    h = 0.01
    near = mixture.sample(40, generator)
    (clean,) = torch.autograd.grad(mixture.log_prob(near.requires_grad_()).sum(), near)
    near = near.detach()
    got = there("a.map((x, k) => Mixture.langevin(b, x, c, d[k]))", near.tolist(), same, h, z.tolist())
    torch.testing.assert_close(got, near + h * clean + (2 * h) ** 0.5 * z, rtol=0, atol=1e-6)

    one = GaussianMixture(weights[:1] / weights[0], means[:1], spread[:1])
    bent = ClassifierFree(one.denoiser(path), exact, 3.0)(x, t)
    alone = {"weights": [1.0], "means": means[:1].tolist(), "std": std}
    code = "a.map(x => Mixture.guided(b, c, 3)(x, Mixture.path(0.7)))"
    torch.testing.assert_close(there(code, x.tolist(), same, alone), bent, rtol=0, atol=1e-6)

    for name, betas in (("linear", linear_betas(1000)), ("scaled linear", scaled_linear_betas(1000))):
        bars = torch.cat([torch.ones(1, dtype=torch.double), torch.cumprod(1 - betas.double(), 0)])
        torch.testing.assert_close(there("Mixture.alphaBar(a)", name), bars, rtol=0, atol=1e-6)
    bars = torch.cumprod(1 - cosine_betas(1000).double(), 0)
    torch.testing.assert_close(there("Mixture.alphaBar(a)", "cosine")[1:], bars, rtol=0, atol=1e-6)
    page.close()


# --- the pages, as they were built --------------------------------------------------------------------------


def pages() -> list[str]:
    names = [
        "index.html",
        "play.html",
        "equations.html",
        "api/core.html",
        "05_forward_process.html",
        "15_fast_sampling.html",
    ]
    return [name for name in names if (BUILT / name).exists()]


@needs_site
def test_the_site_is_small_and_whole():
    size = sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file())
    assert size < 60e6
    chapters = {path.stem for path in BUILT.glob("[0-9][0-9]_*.html")}
    assert chapters == {path.stem for path in (ROOT / "chapters").glob("[0-9][0-9]_*.ipynb")}
    text = (BUILT / "05_forward_process.html").read_text(encoding="utf-8")
    assert 'id="eq-5-10"' in text
    assert 'href="#eq-5-10"' in text


@needs_site
@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(browser: Any, width: int):
    """Nothing from elsewhere, no errors, alternative texts, no scrolling sideways, quick to show."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    context.set_offline(True)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    for name in pages():
        page.goto((BUILT / name).as_uri())
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{name} scrolls sideways at {width}"
        )
        assert page.evaluate("[...document.images].every(image => image.alt)"), f"{name}: an image without a text"
        first = page.evaluate("performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)")
        assert not first or first[0] < 10_000, f"{name}: first view after {first[0]:.0f} ms"
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert said == []
    context.close()


@needs_site
@needs_browser
def test_knobs_change_the_pictures(browser: Any):
    page = browser.new_page()
    page.goto((BUILT / "play.html").as_uri())
    page.wait_for_selector("body[data-playing]")
    boxes = page.locator("[data-play]")
    assert boxes.count() == 4
    for k in range(4):
        box = boxes.nth(k)
        picture = box.locator("canvas")
        before, told = picture.evaluate("c => c.toDataURL()"), picture.get_attribute("aria-label")
        knob = box.locator("input").first
        knob.focus()
        knob.press("ArrowRight")
        page.wait_for_function("([c, old]) => c.toDataURL() !== old", arg=[picture.element_handle(), before])
        assert picture.get_attribute("aria-label") != told
        box.locator("button").click()
        page.wait_for_function("([c, old]) => c.toDataURL() === old", arg=[picture.element_handle(), before])
    page.close()
