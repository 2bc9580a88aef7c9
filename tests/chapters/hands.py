"""A reader's hands on a widget in JupyterLab: every control by keyboard, one by mouse, and a look at the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chapters.browser import ALL_RAN, CODE, ERRORS, KERNEL_IDLE, browser_page, jupyterlab

OPEN = """async name => {
    const panel = await window.jupyterapp.commands.execute('docmanager:open', {path: name});
    window.jupyterapp.shell.activateById(panel.id);
}"""
OUTPUTS = f"() => JSON.stringify({CODE}.map(c => c.model.outputs.toJSON()))"
# What the page shows of the widget's picture. The bytes are the kernel's; that they are decoded is seen by their width.
PICTURE = """async () => {
    const image = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .diffedu-picture');
    if (!image || !image.complete || !image.naturalWidth) return '';
    try {
        const bytes = await (await fetch(image.src)).arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
        return Array.from(digest, b => b.toString(16).padStart(2, '0')).join('');
    } catch { return ''; }  // replaced while we looked
}"""
# Everything that a reader can move, in the order of the page, with a number to find it by.
CONTROLS = """() => {
    const root = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .diffedu-picture')
        .closest('.jp-OutputArea-output');
    const seen = [];
    const kinds = {slider: '.widget-slider', choice: '.widget-dropdown', box: '.widget-checkbox', text: '.widget-text',
                   button: '.widget-button'};
    for (const element of root.querySelectorAll(Object.values(kinds).join(','))) {
        if (element.offsetParent === null) continue;
        const kind = Object.keys(kinds).find(name => element.matches(kinds[name]));
        const name = (element.querySelector('.widget-label') || element).innerText.trim();
        element.setAttribute('data-control', seen.length);
        for (let hand = 0; hand < Math.max(1, element.querySelectorAll('.noUi-handle').length); hand++)
            seen.push({kind, name, at: Number(element.getAttribute('data-control')), hand});
    }
    return seen;
}"""
# What a reader could not read: cut labels, controls and pictures that stick out, letters too like their ground.
COMPLAINTS = """() => {
    const root = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .diffedu-picture')
        .closest('.jp-OutputArea-output');
    const edge = root.getBoundingClientRect().right, found = [];
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = element => { for (let e = element; e; e = e.parentElement) {
        const rgb = channels(getComputedStyle(e).backgroundColor);
        if (rgb.length === 3 || rgb[3] > 0.5) return rgb; } return [255, 255, 255]; };
    const readable = '.widget-label, .widget-readout, .diffedu-takeaway, .diffedu-redraw, .widget-button,'
        + '.widget-checkbox, .widget-dropdown select, .widget-text input';
    for (const e of root.querySelectorAll(readable)) {
        if (e.offsetParent === null) continue;
        const words = (e.innerText || e.value || '').trim();
        if (e.matches('.widget-label, .widget-button') && e.scrollWidth > e.clientWidth + 1)
            found.push('cut off: ' + words);
        if (!words) continue;
        const [a, b] = [light(channels(getComputedStyle(e).color)), light(ground(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) found.push('contrast ' + contrast.toFixed(1) + ': ' + words);
    }
    const solid = '.widget-slider, .widget-dropdown, .widget-checkbox, .widget-text, .widget-button,'
        + '.diffedu-sheet';
    for (const e of root.querySelectorAll(solid))
        if (e.offsetParent !== null && e.getBoundingClientRect().right > edge + 2)
            found.push('sticks out by ' + Math.round(e.getBoundingClientRect().right - edge) + ' px: '
                       + (e.innerText || 'picture').trim());
    return found;
}"""


class Reader:
    """One JupyterLab and one browser, for one notebook after another."""

    def __init__(self, page: Any, folder: Path, shots: Path) -> None:
        self.page, self.folder, self.shots = page, folder, shots
        self.page_errors: list[str] = []
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))

    def ask(self, program: str, *arguments: Any) -> Any:
        return self.page.evaluate(program, *arguments)

    @contextmanager
    def notebook(self, name: str, *, seconds: float = 120.0) -> Iterator[None]:
        """Open a notebook of the folder and run all its cells; close it and end its kernel at the end."""
        self.page_errors.clear()
        self.ask(OPEN, name)
        self.page.wait_for_function(
            "name => window.jupyterapp.shell.currentWidget?.context?.path === name"
            " && window.jupyterapp.shell.currentWidget.context.isReady",
            arg=name,
        )
        try:
            self.page.wait_for_function(KERNEL_IDLE)
            self.ask("() => {window.jupyterapp.commands.execute('notebook:run-all-cells')}")
            self.page.wait_for_function(f"() => ({ALL_RAN})() || ({ERRORS})().length > 0", timeout=1000 * seconds)
            yield
        finally:
            self.ask(
                "async () => {const panel = window.jupyterapp.shell.currentWidget;"
                " await panel.sessionContext.shutdown(); panel.dispose()}"
            )

    def errors(self) -> list[str]:
        """Of the cells that ran, and of the page."""
        return self.ask(ERRORS) + self.page_errors

    def outputs(self) -> str:
        return str(self.ask(OUTPUTS))

    def picture(self) -> str:
        """Hash of the picture that the page shows; empty while there is none."""
        return str(self.ask(PICTURE))

    def wait_for_picture(self, wanted: Callable[[str], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = self.picture()
            if now and wanted(now):
                return True
            self.page.wait_for_timeout(40)
        return False

    def controls(self) -> list[dict[str, Any]]:
        return list(self.ask(CONTROLS))

    def element(self, control: dict[str, Any]) -> Any:
        same = [c for c in self.controls() if all(c[key] == control[key] for key in ("kind", "name", "hand"))]
        return self.page.locator(f"[data-control='{same[0]['at']}']").first  # as it is now: it may have been made anew

    def by_keyboard(self, control: dict[str, Any], text: str = "") -> bool:
        """Move a control with keys alone until the picture changes; whether it did."""
        before, element, kind = self.picture(), self.element(control), control["kind"]
        if kind == "button":
            element.focus()
            self.page.keyboard.press("Enter")
            return self.wait_for_picture(lambda now: now != before, 30)
        if kind == "text":
            element.locator("input").focus()
            self.page.keyboard.press("Control+a")
            self.page.keyboard.type(text)
            self.page.keyboard.press("Enter")
            return self.wait_for_picture(lambda now: now != before, 15)
        if kind == "box":
            element.locator("input").focus()
            self.page.keyboard.press("Space")
            return self.wait_for_picture(lambda now: now != before, 15)
        if kind == "choice":
            # Arrows alone belong to JupyterLab, which moves on to another cell; the space bar opens the list.
            choice = element.locator("select")
            last = choice.evaluate("e => e.selectedIndex === e.options.length - 1")
            choice.focus()
            for key in ("Space", "ArrowUp" if last else "ArrowDown", "Enter"):
                self.page.keyboard.press(key)
            return self.wait_for_picture(lambda now: now != before, 20)
        handle = element.locator(".noUi-handle").nth(control["hand"])
        handle.focus()
        high = handle.evaluate("e => e.getAttribute('aria-valuenow') === e.getAttribute('aria-valuemax')")
        key = "ArrowLeft" if high else "ArrowRight"
        for press in range(12):  # a film of a few frames needs several steps of a fine slider
            self.page.keyboard.press(key)
            if self.wait_for_picture(lambda now: now != before, 0.5 if press < 4 else 2.0):
                self.rest()
                return True
        changed = self.wait_for_picture(lambda now: now != before, 20)
        self.rest()
        return changed

    def rest(self) -> None:
        """Wait until nothing moves any more: a slider's last value may still be on its way to a busy kernel."""
        quiet, last = 0, self.picture()
        while quiet < 2:
            self.page.wait_for_timeout(200)
            now = self.picture()
            quiet = quiet + 1 if now and now == last and self.ask(KERNEL_IDLE) else 0
            last = now

    def by_mouse(self, control: dict[str, Any]) -> bool:
        """Drag a slider's handle; whether the picture changed."""
        before, element = self.picture(), self.element(control)
        handle = element.locator(".noUi-handle").nth(control["hand"])
        handle.scroll_into_view_if_needed()
        box, track = handle.bounding_box(), element.locator(".noUi-target").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        to = track["x"] + track["width"] * (0.2 if x > track["x"] + track["width"] / 2 else 0.8)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(to, y, steps=6)
        self.page.mouse.up()
        return self.wait_for_picture(lambda now: now != before, 20)

    def reset(self) -> None:
        """Press the widget's reset button, by keyboard."""
        self.page.locator(".diffedu-reset:visible").first.focus()
        self.page.keyboard.press("Enter")

    def complaints(self) -> list[str]:
        """What a reader could not read of the widget, as the page now stands."""
        return list(self.ask(COMPLAINTS))

    @contextmanager
    def dark_and_large(self) -> Iterator[None]:
        """The dark theme, laid out as at a zoom of 125 %: the window has a fifth fewer of CSS's pixels each way."""
        size = self.page.viewport_size
        theme = "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
        self.ask(theme, "JupyterLab Dark")
        self.page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
        self.page.set_viewport_size({name: round(value / 1.25) for name, value in size.items()})
        self.page.wait_for_timeout(300)  # the page lays itself out anew
        try:
            yield
        finally:
            self.page.set_viewport_size(size)
            self.ask(theme, "JupyterLab Light")
            self.page.wait_for_selector("body[data-jp-theme-light='true']", state="attached")

    def shot(self, name: str) -> None:
        """A picture of the widget alone, as it now stands in the page."""
        widget = self.page.locator(".jp-OutputArea-output:has(.diffedu-picture):visible").first
        widget.screenshot(path=self.shots / f"{name}.png")


@contextmanager
def reader(folder: Path, shots: Path) -> Iterator[Reader]:
    """A reader who sits before a JupyterLab on a copy of this folder."""
    shots.mkdir(parents=True, exist_ok=True)
    with jupyterlab(folder) as address, browser_page() as page:
        page.goto(address(""), wait_until="domcontentloaded")
        page.wait_for_function("() => window.jupyterapp?.restored")
        page.evaluate("async () => {await window.jupyterapp.restored}")
        yield Reader(page, folder, shots)
