"""The page in a real browser: Chromium, driven through chromedriver by the W3C WebDriver protocol over plain HTTP."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer import report
from gossamer.io.seal import seal
from gossamer.studies.findings import Figure, Findings, Table, write

MakeRun = Callable[..., Path]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver")


class Browser:
    """One session of a headless Chromium."""

    def __init__(self, address: str, profile: Path) -> None:
        self.address = address
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"],
        }
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/session/{session['sessionId']}"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None

    def run(self, script: str) -> Any:
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path, *, width: int = 1200, scheme: str = "light", motion: str = "no-preference") -> None:
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        described = [{"name": name, "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", media="", features=described)
        self.call("POST", "/url", {"url": page.as_uri()})

    def element(self, selector: str) -> str:
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return str(next(iter(found.values())))

    def press(self, selector: str, keys: str) -> None:
        self.call("POST", f"/element/{self.element(selector)}/value", {"text": keys})

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self.call("POST", f"/element/{self.element(selector)}/click")

    @staticmethod
    def wait(until: Callable[[], bool]) -> None:
        for _ in range(600):
            if until():
                return
            time.sleep(0.05)
        raise AssertionError("what was waited for didn't happen")

    def complaints(self) -> list[str]:
        """What the console said since it was last asked: errors, refused requests, violations of the policy."""
        return [str(entry["message"]) for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file, for a person to look at."""
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMEDRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([CHROMEDRIVER, f"--port={port}"], env=os.environ | {"no_proxy": "*"}, **quiet) as driver:  # type: ignore[call-overload]
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(200):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/status", timeout=5):
                    break
                time.sleep(0.05)
            session = Browser(address, tmp_path_factory.mktemp("profile"))
            yield session
            session.call("DELETE", "")
        finally:
            driver.terminate()


@pytest.fixture(scope="module")
def pages(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    nasty = [f"</script><script>window.broken=1</script> {i}" if i == 0 else f'"size" <b>{i}</b>' for i in range(30)]
    image = make_run(root / "image", evaluated=True)
    table = make_run(
        root / "table",
        evaluated=True,
        seeds=1,
        image=False,
        feature_names=nasty,
        name="<img src=x onerror=window.broken=1>",
    )
    once = make_run(root / "a run with a rather long name", evaluated=True, seeds=1)
    bare = make_run(root / "bare", dense=False, rewire=False, epochs=0)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        strength=np.zeros((1, 784), dtype=np.float32),
        degree=np.zeros((1, 784), dtype=np.int32),
        epochs=np.zeros(1, dtype=np.int64),
    )
    (bare / "connectivity.npz").write_bytes(seal(buffer.getvalue()))
    return {
        "bare": report.write(bare),
        "image": report.write(image),
        "table": report.write(table),
        "comparison": report.write([image, table, once], root / "comparison.html"),
    }


ALL = pytest.mark.parametrize("name", ["image", "table", "comparison"])


@ALL
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_loads_without_a_complaint_in_both_schemes(
    browser: Browser, pages: dict[str, Path], name: str, scheme: str
) -> None:
    browser.open(pages[name], scheme=scheme)
    assert browser.complaints() == []
    assert browser.run("return window.broken") is None
    drawn = browser.run("return [...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('svg *').length)")
    assert drawn
    assert min(drawn) > 3
    ink, paper = browser.run(
        "const s = getComputedStyle(document.body);"
        "return [s.color, s.backgroundColor].map(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0))"
    )
    assert (ink > paper) == (scheme == "dark")


def test_run_with_nothing_to_draw_loads_without_a_complaint(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["bare"])
    assert browser.complaints() == []
    assert browser.run("return document.querySelector('[data-chart=curves]').textContent") == "Nothing finite to draw."
    assert "NaN" not in browser.run("return document.querySelector('main').innerHTML")


def test_paper_is_white_even_from_a_dark_screen(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["image"], width=720, scheme="dark")
    dark = browser.run(CANVAS)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.devtools("Emulation.setEmulatedMedia", media="print", features=features)
    assert browser.run("return getComputedStyle(document.documentElement).colorScheme") == "light"
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
    browser.wait(lambda: browser.run(CANVAS) != dark)  # redrawn at the browser's next frame
    assert browser.run("return document.documentElement.scrollWidth") <= 720
    assert browser.run("return document.querySelector('.choices').offsetHeight") == 0


@ALL
@pytest.mark.parametrize("width", [320, 375, 740, 768])
def test_page_fits_the_width_of_a_phone(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    browser.open(pages[name], width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    clipped = browser.run(
        "return [...document.querySelectorAll('h1, p, .versus td, .versus th, .options div, .choice')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .hidden'))"
        ".map(e => e.textContent.slice(0, 40))"
    )
    assert clipped == []
    assert browser.complaints() == []


CANVAS = "const c = document.getElementById('map'); return c.toDataURL()"
RANKED = "return [...document.querySelectorAll('#ranked li')].map(l => l.getAttribute('style') + l.textContent).join()"


@pytest.mark.parametrize(("name", "state"), [("image", CANVAS), ("table", RANKED)])
def test_slider_moves_the_map_by_keyboard(browser: Browser, pages: dict[str, Path], name: str, state: str) -> None:
    browser.open(pages[name])
    last = browser.run(state)
    text = browser.run("return document.getElementById('connectivity-text').textContent")
    browser.press("#epoch", "\ue011")  # Home
    assert browser.run("return document.getElementById('epoch').value") == "0"
    assert browser.run("return document.getElementById('epoch').getAttribute('aria-valuetext')") == "epoch 0"
    first = browser.run(state)
    assert first != last
    assert browser.run("return document.getElementById('connectivity-text').textContent") != text
    browser.press("#epoch", "\ue014")  # right arrow
    assert browser.run(state) not in (first, last)
    browser.press("#epoch", "\ue010")  # End
    assert browser.run(state) == last
    assert browser.complaints() == []


def test_numbers_are_shown_in_full(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["image"])
    browser.press("[data-chart=rewired]", "\ue011")  # Home
    grown = json.loads(browser.run("return document.getElementById('data').textContent"))["rewired"]["grown"][0]
    shown = f"{round(grown):,}".replace(",", "\u202f")
    assert f"grown {shown}, dropped {shown}" in browser.run("return document.getElementById('tip').textContent")
    browser.click('input[name="quantity"][value="loss"]')
    browser.press("[data-chart=curves]", "\ue010")  # End
    tip = browser.run("return document.getElementById('tip').textContent")
    assert re.search(r"^sparse 0\.\d+ ", tip, re.MULTILINE)


def test_accuracy_under_attack_is_read_with_its_interval(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["image"])
    browser.press('[data-chart="robustness:1"]', "\ue010")  # End
    line = json.loads(browser.run("return document.getElementById('data').textContent"))["robustness"][1]["lines"][0]
    low, center, high = (f"{100 * line[name][-1]:.1f}" for name in ("low", "accuracy", "high"))
    tip = browser.run("return document.getElementById('tip').textContent")
    assert tip.startswith("radius 0.1\n")
    assert f"sparse {center}\u00a0% ({low} to {high}\u00a0%)" in tip


def test_corruptions_are_drawn_when_they_are_opened(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["image"], width=390)
    browser.click("#robustness ~ details summary, section[aria-labelledby=robustness] details summary")
    width = "return document.querySelector('details .chart[data-chart^=robustness] svg').viewBox.baseVal.width"
    browser.wait(lambda: browser.run(width) > 300)
    assert browser.complaints() == []


def test_names_of_lines_stay_apart_and_inside(browser: Browser, pages: dict[str, Path]) -> None:
    for width in (390, 1200):
        browser.open(pages["comparison"], width=width)
        boxes = browser.run(
            "return [...document.querySelectorAll('[data-chart=\"robustness:0\"] .end')].map(e => {"
            "const b = e.getBoundingClientRect(); return [b.top, b.bottom, b.right]; })"
        )
        assert len(boxes) >= 4
        boxes.sort()
        for (_, bottom, _), (top, _, _) in itertools.pairwise(boxes):
            assert top >= bottom - 5
        assert max(right for _, _, right in boxes) <= width


def test_grown_and_dropped_connections_of_a_layer_are_shares_of_its_connections(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["image"])
    browser.press('[data-chart="moved:1"]', "\ue011")  # Home
    data = json.loads(browser.run("return document.getElementById('data').textContent"))["rewired"]
    layer = data["layers"][1]
    tip = browser.run("return document.getElementById('tip').textContent")
    assert tip.startswith("epoch 1\ngrown ")
    assert f"{100 * layer['grown'][0] / layer['connections']:.1f}\u00a0% of the layer's connections" in tip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_page_of_a_study_shows_its_pictures_and_fits(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 30" width="900" height="300"><rect width="9"/></svg>'
    table = Table("Wide", [f"column {i}" for i in range(30)], [[0.123456] * 30])
    found = Findings(
        "A study", "It works (Nobody 2020).", "quick", tables=[table], figures=[Figure("f", svg, "c", "a")]
    )
    browser.open(write(found, tmp_path)[0], width=width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.run("return document.querySelector('.card img').naturalWidth") == 900
    assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("name", "state"), [("image", CANVAS), ("table", RANKED)])
def test_measure_of_the_connectivity_can_be_changed(
    browser: Browser, pages: dict[str, Path], name: str, state: str
) -> None:
    browser.open(pages[name])
    degree = browser.run(state)
    browser.click('input[name="metric"][value="strength"]')
    assert browser.run(state) != degree
    browser.click('input[name="metric"][value="degree"]')
    assert browser.run(state) == degree


def test_play_button_runs_through_the_epochs_and_stops(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["image"], motion="reduce")
    browser.click("#play")
    assert browser.run("return document.getElementById('play').getAttribute('aria-label')") == "Pause"
    pressed = "return document.getElementById('play').getAttribute('aria-pressed')"
    browser.wait(lambda: browser.run(pressed) == "false")
    assert browser.run("return document.getElementById('epoch').value") == "20"
    browser.click("#play")
    browser.click("#play")
    stopped = browser.run("return document.getElementById('epoch').value")
    time.sleep(1.0)
    assert browser.run("return document.getElementById('epoch').value") == stopped
    assert browser.complaints() == []


@pytest.mark.parametrize(
    ("name", "chart", "choice"),
    [
        ("image", "curves", "quantity"),
        ("image", "curves", "split"),
        ("image", "curves", "axis"),
        ("comparison", "tradeoff", "cost"),
    ],
)
def test_choices_redraw_their_chart(
    browser: Browser, pages: dict[str, Path], name: str, chart: str, choice: str
) -> None:
    browser.open(pages[name])
    state = f"return document.querySelector('[data-chart={chart}]').innerHTML"
    values = browser.run(f"return [...document.querySelectorAll('input[name={choice}]')].map(i => i.value)")
    drawings = []
    for value in values:
        browser.click(f'input[name="{choice}"][value="{value}"]')
        drawings.append(browser.run(state))
    assert len(set(drawings)) == len(values)
    assert "NaN" not in "".join(drawings)
    assert browser.complaints() == []


@ALL
def test_every_chart_reads_its_values_to_the_keyboard(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    charts = browser.run("return [...document.querySelectorAll('.chart')].map(c => c.dataset.chart)")
    for chart in charts:
        browser.run(f"document.querySelector('[data-chart=\"{chart}\"]').focus()")
        browser.press(f'[data-chart="{chart}"]', "\ue014")
        first = browser.run(
            "return document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"
        )
        assert first, chart
        assert "NaN" not in first
        assert "undefined" not in first
        browser.press(f'[data-chart="{chart}"]', "\ue00c")  # Escape
        assert browser.run("return document.getElementById('tip').hidden")


@ALL
def test_layout_does_not_shift_while_loading(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    shift = browser.call(
        "POST",
        "/execute/async",
        {
            "script": "const done = arguments[0]; let sum = 0;"
            "new PerformanceObserver(l => l.getEntries().forEach(e => { sum += e.value; }))"
            ".observe({type: 'layout-shift', buffered: true}); setTimeout(() => done(sum), 200)",
            "args": [],
        },
    )
    assert shift < 0.01


@ALL
def test_page_asks_for_nothing(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    fetched = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [address for address in fetched if not address.startswith("data:")] == []
