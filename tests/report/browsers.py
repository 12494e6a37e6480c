"""Chromium for tests: the system's own, driven by playwright; a test that finds either missing is skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CONTRASTS = (Path(__file__).parent / "contrast.js").read_text().split("\n", 1)[1]


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
