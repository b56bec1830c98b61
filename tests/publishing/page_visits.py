"""What a visitor of the page does and sees in Chromium, for its tests."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.postprocessing import to_sprite
from tests.app.test_browser import TIMEOUT_MS, Page, expect, pytestmark
from tests.publishing.page_runs import assert_same, pixels_of

SHARE = """
    navigator.canShare = ({ files = [1], url }) => Boolean(files.length && url);
    navigator.share = async (shared) => { window.shared = shared; };
    const post = Worker.prototype.postMessage;
    window.requests = [];
    Worker.prototype.postMessage = function (message) {
        if (message.request) requests.push(message.request);
        return post.call(this, message);
    };
"""  # a browser that shares, and what it asks the worker for
BATCH = re.compile(r"^4 sprites in ")
PAGE_MARKS = [pytestmark, pytest.mark.skipif(not shutil.which("npm"), reason="no npm, which downloads the runtime")]


def ready(page: Page) -> None:
    """Waits for the model, and for what starts by itself."""
    expect(page.locator("#credits")).to_contain_text("WebAssembly")
    expect(page.locator("#made")).to_have_attribute("aria-busy", "false")


def expect_sprite(page: Page, name: str) -> None:
    """Waits for a finished large sprite of the recipe in one line."""
    expect(page.locator("#title")).to_have_attribute("title", name)
    expect(page.locator("#gif")).to_be_enabled()


def titles(page: Page) -> list[str]:
    return page.locator("#made button").evaluate_all("all => all.map((each) => each.title)")


def click(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def forget(page: Page) -> None:
    page.evaluate("indexedDB.databases().then((all) => all.forEach(({ name }) => indexedDB.deleteDatabase(name)))")


def until(page: Page, code: str) -> None:
    """Waits until an expression holds. `wait_for_function` needs eval, which the page's policy forbids."""
    for _ in range(TIMEOUT_MS // 100):
        if page.evaluate(code):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{code} does not hold.")


def wait_until_kept(page: Page) -> None:
    """Waits until the service worker has all that the page needs without a connection."""
    code = """async () => {
        const name = (await caches.keys()).find((each) => each.startsWith(`pokemon-ddpm ${new URL("./", location)} `));
        const urls = (await (await caches.open(name)).keys()).map(({ url }) => url);
        return ["unet.onnx", ".wasm", "ort.wasm.min.mjs"].every((end) => urls.some((url) => url.endsWith(end)));
    }"""
    until(page, code)


def wish(page: Page, text: str) -> None:
    page.get_by_label("Description").fill(text)
    page.get_by_label("Description").press("Enter")


def copied_link(page: Page) -> str:
    click(page, "Copy link")
    expect(page.locator("#status")).to_have_text("The link is copied.")
    return page.evaluate("navigator.clipboard.readText()")


def sample_of(page: Page, expected: Image.Image) -> np.ndarray:
    """The sample of the sprite in the open dialog, uint8 (S, S, 4), at most two gray levels from what is expected."""
    sample, wanted = pixels_of(page, "#steps canvas:last-child"), np.asarray(expected)
    same_alpha, visible = sample[..., 3] == wanted[..., 3], wanted[..., 3] > 0
    assert same_alpha.mean() >= 0.99 and np.abs(sample.astype(int) - wanted)[same_alpha & visible].max() <= 2
    return sample


def assert_made_by_pipeline(page: Page, expected: Image.Image, exactly: bool = True) -> None:
    """The sprite of the open dialog, before and after its reduction to 16 colors.

    The reduction amplifies differences of one gray level, so if not `exactly`, it is that of the page's own sample.
    """
    sample = sample_of(page, expected)
    assert_same(pixels_of(page, "#large"), to_sprite(expected if exactly else Image.fromarray(sample, "RGBA")))


def saved(page: Page, name: str):
    """What a button saves: (suggested name, bytes)."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    name = download.value.suggested_filename
    expect(page.locator("[role=status]").first).to_have_text(f"Saved as {name}.")
    return name, Path(download.value.path()).read_bytes()
