"""A real browser in tests: the system's Chromium, driven by Playwright, which reaches nothing but 127.0.0.1."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
NOWHERE_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
TIMEOUT_MS = 60_000
"""How long anything may take before a test fails: long, since other tests may take the same cores."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Starts the browser, or skips where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[NOWHERE_ELSE])
        yield browser
        browser.close()


@contextlib.contextmanager
def visit(browser: Browser, url: str, **looks: Any) -> Iterator[Page]:
    """Opens a page as somebody new, and afterwards looks for what must not have happened.

    Args:
        browser: See `chromium`.
        url: On 127.0.0.1.
        **looks: Of the window, as `Browser.new_context` takes them.

    Raises:
        AssertionError: If the page asked another host for anything, or one of its scripts failed.
    """
    outside: list[str] = []
    failures: list[str] = []

    def note(request: Request) -> None:
        host = urlsplit(request.url).hostname  # none of what lies in the page itself
        if host not in (None, "127.0.0.1"):
            outside.append(request.url)

    with browser.new_context(reduced_motion="reduce", **looks) as context:
        context.set_default_timeout(TIMEOUT_MS)
        context.on("request", note)
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(url)
        yield page
    assert not outside, outside
    assert not failures, failures


def nameless(page: Page) -> list[str]:
    """What can be used on a page, or is a picture on it, but says nothing of itself to a screen reader."""
    roles = {"button", "checkbox", "combobox", "link", "listbox", "radio", "slider", "spinbutton", "tab", "textbox"}
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    seen = [(node["role"]["value"], node["name"]["value"]) for node in nodes if not node["ignored"]]
    pictures = page.eval_on_selector_all("img:not([alt])", "images => images.map(image => image.src)")
    return [role for role, name in seen if role in roles and not name.strip()] + pictures


# The contrast of WCAG 2 between the text of an element and the first colour behind it.
CONTRAST = """element => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = color => parts(color).slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element;
  while (behind.parentElement && parts(getComputedStyle(behind).backgroundColor)[3] === 0)
    behind = behind.parentElement;
  const [bright, dark] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]
    .map(luminance).sort((one, other) => other - one);
  return (bright + 0.05) / (dark + 0.05);
}"""
