"""Chromium for tests: the system's own, driven by playwright; a test that finds either missing is skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# The contrast of every text with what lies behind it, and whether it is large: WCAG 2.1, section 1.4.3.
CONTRASTS = """() => {
  const read = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(") ? [...found.slice(0, 3).map((v) => 255 * v), found[3] ?? 1] : [...found.slice(0, 3), found[3] ?? 1];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!walker.currentNode.textContent.trim() || !box.width || style.visibility === "hidden" || element.closest("script, style, :disabled, option, .cut")) continue;
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(read(getComputedStyle(e).backgroundColor));
    const under = chain.reduce((below, layer) => over(layer, below), [255, 255, 255]), ink = over(read(style.color), under);
    const [a, b] = [light(under), light(ink)].sort((x, y) => y - x), contrast = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) faint.push([walker.currentNode.textContent.slice(0, 30), contrast.toFixed(2), element.className]);
  }
  return faint;
}"""


@contextmanager
def chromium() -> Iterator:
    """A browser of playwright's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not here")
    if CHROMIUM is None:
        pytest.skip("Chromium, in which the page is tried, is not here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, path: Path, width: int = 1200, scheme: str = "light", address: str = "") -> Iterator:
    """A page of a file, ready; afterwards it must have asked for nothing else, and complained of nothing."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True)
    asked, said = [], []
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.resolve().as_uri() + address)
    page.wait_for_selector(".bar, .big, td.like, .choice", state="attached")
    yield page
    strangers = [url for url in asked if not url.startswith(("data:", "blob:", path.resolve().as_uri()))]
    assert not strangers, f"the page asked for {strangers}"
    assert not said, f"the page complained: {said}"
    context.close()
