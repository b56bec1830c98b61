import io
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

pytest.importorskip("playwright", reason="the browser tests need Playwright: pip install playwright")

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.app.running import Network, expected_images, running

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: apt-get install chromium)")
TIMEOUT_MS = 60_000
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
FOLDED = ("Settings", "Attributes", "Download")
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def url(models: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory):
    with running(models, tmp_path_factory.mktemp("app")) as app:
        yield app.url


@pytest.fixture(scope="module")
def browser(url: str):
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


@contextmanager
def visitor(browser: Browser, **options):
    """The page of a new visitor. In the end no script has failed, and nothing came from another host."""
    outside, failures = [], []
    with browser.new_context(**options) as context:
        context.set_default_timeout(TIMEOUT_MS)
        context.on("request", lambda request: outside.append(request.url))
        context.on("weberror", lambda error: failures.append(str(error.error)))
        context.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
        yield context.new_page()
    assert {urlsplit(address).hostname for address in outside} <= {None, "127.0.0.1"}
    assert not failures


@pytest.fixture
def page(browser: Browser, url: str):
    with visitor(browser, reduced_motion="reduce", **DESKTOP) as page:
        page.goto(url)
        expect(page.locator("#status")).to_contain_text("These are examples by")
        for control in ("#type", "#generate", "#sprites button"):
            expect(page.locator(control).first).to_be_in_viewport()  # on the first screen
        yield page


def unfold(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_role("button", name=name).first.click()


def choose(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True).first
    field.click()
    page.locator(f"#{field.get_attribute('aria-controls')}").get_by_role("option", name=value, exact=True).click()


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def captions(page: Page) -> Locator:
    return page.locator("#sprites .caption-label")


def generate(page: Page) -> None:
    """Generates two fire sprites from seed 7 on a page with open settings."""
    choose(page, "Type", "fire")
    page.get_by_label("number input for Number of sprites").fill("2")
    page.get_by_label("New seed every time").uncheck()
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Seed", exact=True).press("Tab")
    button(page, "Generate").click()
    expect(captions(page)).to_have_text(["fire · seed 7-0", "fire · seed 7-1"])
    expect(page.locator("#status")).to_contain_text("2 sprites by")


def pixels(page: Page) -> list[bytes]:
    """Of the images in the gallery."""
    sources = [image.get_attribute("src") for image in page.locator("#sprites button img").all()]
    # Tries again, since the server closes a connection that was idle for five seconds, perhaps at this moment.
    answers = [page.request.get(source, max_retries=3) for source in sources]
    return [Image.open(io.BytesIO(answer.body())).tobytes() for answer in answers]


def test_cancel_ends_quietly(page: Page, network: Network) -> None:
    before = pixels(page)
    network.seconds = 2  # so that it still generates when a busy machine clicks
    button(page, "Generate").click()
    expect(page.locator("#status")).to_contain_text("Generating")
    expect(captions(page).first).to_contain_text("step")
    button(page, "Cancel").click()
    network.seconds = 0.2
    expect(page.locator("#status")).to_have_text("Cancelled.", use_inner_text=True)
    expect(button(page, "Generate")).to_be_enabled()
    expect(button(page, "Cancel")).to_have_count(0)
    assert network.further_evaluations() <= 1
    expect(captions(page).first).not_to_contain_text("step")
    assert pixels(page) == before
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    expect(page.get_by_text("Error", exact=True).filter(visible=True)).to_have_count(0)


def test_models_errors_and_downloads(page: Page, models: tuple[str, str, str]) -> None:
    unfold(page, *FOLDED)
    choose(page, "Model", models[1])
    expect(page.get_by_label("fast", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Attributes")).to_have_count(0)
    choose(page, "Type", "any")
    choose(page, "Second type", "none")
    button(page, "Generate").click()
    expect(page.get_by_test_id("toast-body").last).to_contain_text("or one and 'none', not 'none'")
    choose(page, "Model", models[0])
    expect(page.get_by_label("View", exact=True)).to_have_value("front")  # the default comes back
    choose(page, "Second type", "any")
    generate(page)
    assert pixels(page) == expected_images(models[0], "fire", 7, 2)
    page.get_by_label("number input for Scale").fill("16")
    files = {}
    for label in ("Sprite (PNG)", "Steps (GIF)"):
        with page.expect_download() as download:
            button(page, label).click()
        files[download.value.suggested_filename] = Path(download.value.path())
    assert list(files) == ["fire_front_normal_7-0.png", "fire_front_normal_7-0.gif"]
    assert [Image.open(files["fire_front_normal_7-0.png"]).tobytes()] == expected_images(models[0], "fire", 7, 1)
