"""A private JupyterLab and a real browser, for tests that use a chapter as a reader does."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",  # root, as in containers, cannot use the sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
USUAL_PLACES = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
]
# The notebook that is open, as JupyterLab's own objects show it (--expose-app-in-browser).
KERNEL_IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
CODE = "window.jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code')"
ALL_RAN = f"""() => {{const code = {CODE}.filter(c => c.model.sharedModel.getSource().trim());
    return code.length > 0 && code.every(c => c.model.executionCount !== null)
        && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'}}"""
NONE_RAN = f"() => {CODE}.every(c => c.model.executionCount === null && c.model.outputs.length === 0)"
ERRORS = f"""() => {CODE}.flatMap(c => c.model.outputs.toJSON())
    .filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue)"""


def find_chromium() -> str | None:
    """Path of a Chromium-like browser, or None. The variable CHROMIUM names one that stands elsewhere."""
    names = [
        os.environ.get("CHROMIUM", ""),
        "chromium",
        "chromium-browser",
        "google-chrome",
        "chrome",
        *USUAL_PLACES,
    ]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def need_browser() -> None:
    """Skip the test, saying why, where there is no browser; in continuous integration that is a failure."""
    missing = []
    if importlib.util.find_spec("playwright") is None:
        missing.append("the Python package playwright")
    if find_chromium() is None:
        missing.append("a Chromium browser (on Debian: apt install chromium; elsewhere name it in CHROMIUM)")
    if missing:
        sentence = f"the browser test needs {' and '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def browser_page(width: int = 1200, height: int = 1400) -> Iterator[Any]:
    """A page of a fresh browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Callable[[str], str]]:
    """A JupyterLab of its own settings on a copy of a folder; yields notebook name (empty: none) -> address."""
    home = Path(tempfile.mkdtemp(prefix="diffedu-lab-"))
    work = home / "work"
    shutil.copytree(folder, work, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    overrides = home / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(
        json.dumps(
            {
                "@jupyterlab/apputils-extension:notification": {
                    "fetchNews": "false",
                    "checkForUpdates": False,
                },
                "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # every cell is in the page
            }
        )
    )
    places = {"CONFIG_DIR": "config", "RUNTIME_DIR": "runtime", "DATA_DIR": "data"}
    variables = {f"JUPYTER_{k}": str(home / v) for k, v in places.items()}
    variables |= {f"JUPYTERLAB_{k}_DIR": str(home / k.lower()) for k in ("SETTINGS", "WORKSPACES")}
    variables |= {"IPYTHONDIR": str(home / "ipython")}
    port, token, log = free_port(), secrets.token_hex(16), home / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={work}",
    ]
    command += ["--expose-app-in-browser"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    with open(log, "w") as file:
        server = subprocess.Popen(command, env=os.environ | variables, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield lambda name: f"http://127.0.0.1:{port}/lab{name and '/tree/' + name}?token={token}&reset"
    finally:
        server.terminate()  # which ends the kernels, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(home, ignore_errors=True)


def wait_for_server(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with status {server.returncode}:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not answer within a minute:\n{log.read_text()}")


@dataclass
class Seen:
    """What a reader saw of a widget; `pictures` are hashes of the pixels as they were drawn in the page."""

    cell_errors: list[str]
    page_errors: list[str]
    pictures: dict[str, str]
    readouts: dict[str, str]
    redraw: str

    @property
    def redraw_ms(self) -> float:
        found = re.search(r"(\d+(?:\.\d+)?) ?ms", self.redraw)
        if found is None:
            raise ValueError(f"the element of class diffedu-redraw says {self.redraw!r}; expected a time in ms")
        return float(found[1])


def settled(element: Any, *, other_than: str = "", seconds: float = 30.0) -> str:
    """Hash of an element's pixels once they rest (two looks alike) and differ from what they were, if asked.

    Returns the last hash seen when the time is over: the caller compares.
    """
    deadline, last = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        now = hashlib.sha256(element.screenshot()).hexdigest()
        if now == last and now != other_than:
            return now
        last = now
        time.sleep(0.25)
    return last


def use_widget(folder: Path, name: str, shots: Path, *, seconds: float = 300.0) -> Seen:
    """Open a notebook, run all, move its first slider by keyboard and by mouse, and report what was seen.

    The notebook has a slider, a picture of CSS class diffedu-picture, and a text of class diffedu-redraw.
    """
    shots.mkdir(parents=True, exist_ok=True)
    stem = Path(name).stem
    with jupyterlab(folder) as address, browser_page() as page:
        page_errors: list[str] = []
        page.on("pageerror", lambda error: page_errors.append(str(error)))
        page.goto(address(name), wait_until="domcontentloaded")
        page.wait_for_selector(".jp-NotebookPanel .jp-Notebook")
        page.wait_for_function(KERNEL_IDLE)
        page.screenshot(path=shots / f"{stem}_1_opened.png")
        # The printed outputs go first: they must not be taken for those of this run.
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        page.wait_for_function(NONE_RAN)
        page.evaluate("() => {window.jupyterapp.commands.execute('notebook:run-all-cells')}")
        page.wait_for_function(f"() => ({ALL_RAN})() || ({ERRORS})().length > 0", timeout=1000 * seconds)
        cell_errors = page.evaluate(ERRORS)
        page.screenshot(path=shots / f"{stem}_2_ran.png")
        if cell_errors:
            return Seen(cell_errors, page_errors, {}, {}, "")

        picture = page.locator(".diffedu-picture").first
        picture.wait_for(state="visible")
        slider = page.locator(".widget-slider").first
        handle, readout = slider.locator(".noUi-handle").first, slider.locator(".widget-readout").first
        pictures, readouts = {}, {}

        def look(when: str, before: str = "") -> None:
            picture.scroll_into_view_if_needed()
            pictures[when] = settled(picture, other_than=before)
            readouts[when] = readout.inner_text() if readout.count() else handle.get_attribute("aria-valuetext") or ""
            page.screenshot(path=shots / f"{stem}_{len(pictures) + 2}_{when}.png")

        look("at first")
        handle.focus()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(50)
        look("after the keyboard", pictures["at first"])
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 60, middle[1], steps=6)
        page.mouse.up()
        look("after the mouse", pictures["after the keyboard"])
        redraw = page.locator(".diffedu-redraw").first.inner_text()
    return Seen(cell_errors, page_errors, pictures, readouts, redraw)
