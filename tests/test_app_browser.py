"""The app as its visitors see it: in Chromium, with a tiny model."""

import base64
import io
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("playwright", reason="the browser tests need Playwright: pip install playwright")

from playwright.sync_api import Browser, Locator, Page, expect

from pokemon_ddpm.app import workshop
from pokemon_ddpm.app.drawing import Look
from pokemon_ddpm.app.orders import Order
from pokemon_ddpm.app.style import type_color
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.postprocessing import enlarge
from tests.app_running import running
from tests.browser import CONTRAST, TIMEOUT_MS, chromium, nameless, visit
from tests.generating import knowing_all

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")

PHONE = {"viewport": {"width": 390, "height": 844}}
SIDES = ("--first", "--second")
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    knowing_all().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the app, running."""
    with running([str(model)], tmp_path_factory.mktemp("gradio"), public=False) as page:
        yield page.local_url


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with visit(browser, url, **DESKTOP) as page:
        yield page


@pytest.fixture(scope="module")
def drawn(model: Path) -> Callable[..., list[Image.Image]]:
    """What the pipeline draws for a type and seeds."""
    drawing = Drawing(str(model), "unipc", 16, 2.0)
    pipeline = drawing.load("cpu")

    def draw(pokemon_type: str, *seeds: int) -> list[Image.Image]:
        requests = [SpriteRequest(seed, pokemon_type, {"view": "front", "finish": "normal"}) for seed in seeds]
        return list(generate(pipeline, requests, **drawing.arguments()))

    return draw


def choose(page: Page, box: str, word: str) -> None:
    """Chooses a word of a drop-down list."""
    field = page.locator(f"#{box} input")
    field.click()
    page.locator(f"#{field.get_attribute('aria-controls')}").get_by_role("option", name=word, exact=True).click()
    expect(field).to_have_value(word)


def ask(page: Page, *, count: int, seed: int | None, first: str = "fire", second: str = "any") -> None:
    """Fills in what is to be drawn."""
    choose(page, "first-type", first)
    choose(page, "second-type", second)
    page.locator("#count input[type=number]").fill(str(count))
    page.get_by_label("New seed every time").set_checked(seed is None)
    if seed is not None:
        page.get_by_label("Seed", exact=True).fill(str(seed))
        page.get_by_label("Seed", exact=True).press("Tab")


def generate_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Generate", exact=True)


def sprites(page: Page) -> Locator:
    """The sprites that are finished, which have captions with their seeds."""
    return page.locator("#sprites button img[alt*='seed']")


def draw(page: Page, **asked: object) -> list[Image.Image]:
    """Fills in, generates, waits for the sprites, and returns them as the browser fetched them."""
    ask(page, **asked)
    before = [image.get_attribute("src") for image in sprites(page).all()]
    generate_button(page).click()
    for source in before:
        expect(page.locator(f"#sprites img[src='{source}']")).to_have_count(0)
    expect(sprites(page)).to_have_count(asked["count"])
    sources = [image.get_attribute("src") for image in sprites(page).all()]
    return [picture(page.request.get(source).body()) for source in sources]


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def same(shown: list[Image.Image], expected: list[Image.Image], scale: int = 16) -> bool:
    return [image.tobytes() for image in shown] == [enlarge(image, scale).tobytes() for image in expected]


class TestDrawing:
    def test_as_many_as_asked_for_as_the_pipeline_draws_them(self, page: Page, drawn: Callable) -> None:
        assert same(draw(page, count=3, seed=7), drawn("fire", 7, 8, 9))
        assert [image.get_attribute("alt") for image in sprites(page).all()] == [
            f"fire · front · normal · seed {seed}" for seed in (7, 8, 9)
        ]

    def test_of_two_types(self, page: Page, drawn: Callable) -> None:
        assert same(draw(page, count=1, seed=7, first="water", second="flying"), drawn("water/flying", 7))

    def test_the_seed_that_is_shown_draws_the_same_again(self, page: Page) -> None:
        first = draw(page, count=2, seed=None)
        seed = int(page.get_by_label("Seed", exact=True).input_value())
        assert same(draw(page, count=2, seed=seed), first, scale=1)
        assert not same(draw(page, count=2, seed=None), first, scale=1)

    def test_the_steps_are_shown_and_those_of_another_sprite_on_a_click(self, page: Page, drawn: Callable) -> None:
        draw(page, count=2, seed=7)
        for number, seed in ((1, 7), (2, 8)):
            sprites(page).nth(number - 1).click()
            expect(page.get_by_label("Chosen sprite")).to_have_value(str(number))
            (expected,) = drawn("fire", seed)
            last = page.locator("#strip img").nth(-2)  # the sample after the last step is the sprite
            expect(last).to_have_attribute("src", re.compile(re.escape(data_of(expected))))
            page.keyboard.press("Escape")

    def test_a_drawing_can_be_cancelled(self, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
        before = draw(page, count=1, seed=7)
        whole = workshop.draw

        def held(order: Order, see: Callable[[Look], None], stop: threading.Event, seconds: float | None) -> list:
            return whole(order, lambda look: (see(look), stop.wait(TIMEOUT_MS / 1000)), stop, seconds)

        with monkeypatch.context() as patch:
            patch.setattr(workshop, "draw", held)
            ask(page, count=4, seed=20)
            generate_button(page).click()
            expect(page.locator("#status")).to_contain_text("1/16")
            page.get_by_role("button", name="Cancel").click()
            expect(page.get_by_test_id("toast-body")).to_contain_text("The drawing was cancelled.")
        expect(page.locator("#sprites img[alt*='seed 20']")).to_have_count(0)
        assert same(draw(page, count=1, seed=7), before, scale=1)


class TestKeeping:
    def test_a_download_is_the_sprite(self, page: Page, drawn: Callable) -> None:
        draw(page, count=2, seed=7)
        with page.expect_download() as download:
            page.get_by_role("button", name="The sprite, PNG").click()
        assert same([picture(Path(download.value.path()).read_bytes())], drawn("fire", 7), scale=8)
        assert download.value.suggested_filename.endswith(".png")


class TestModels:
    def test_one_that_is_not_there_is_told_and_the_one_before_stays(self, page: Page, drawn: Callable) -> None:
        page.get_by_role("button", name="Another model").click()
        page.get_by_label("Folder or Hub name").fill("/nowhere")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(page.get_by_test_id("toast-text")).to_have_text("There is no model folder '/nowhere'.")
        expect(page.get_by_label("Model", exact=True)).to_have_value("tiny")
        assert same(draw(page, count=1, seed=7), drawn("fire", 7))


class TestExplanation:
    def test_the_timestep_is_moved_by_the_keyboard(self, page: Page) -> None:
        page.get_by_role("tab", name="How it works").click()
        slider = page.get_by_role("slider", name="Timestep t")
        line = page.locator(".chart i").first
        before = line.get_attribute("style")
        slider.press("ArrowRight")
        expect(page.get_by_alt_text("A fire sprite at timestep 101 of the cosine schedule")).to_be_visible()
        expect(line).not_to_have_attribute("style", before)
        choose(page, "creature-type", "water")
        expect(page.get_by_alt_text("A water sprite at timestep 101 of the linear schedule")).to_be_visible()

    def test_the_last_sprite_appears(self, page: Page, drawn: Callable) -> None:
        draw(page, count=1, seed=7)
        page.get_by_role("tab", name="How it works").click()
        steps = page.locator("#appearing img")
        expect(steps).to_have_count(20)
        assert data_of(*drawn("fire", 7)) in steps.nth(-2).get_attribute("src")

    def test_its_formulas_are_set(self, page: Page) -> None:
        page.get_by_role("tab", name="How it works").click()
        expect(page.locator("#explanation .katex").first).to_be_visible()
        assert "$" not in page.locator("#explanation").inner_text()


class TestLooks:
    def test_a_phone_never_scrolls_sideways(self, browser: Browser, url: str) -> None:
        with visit(browser, url, **PHONE) as page:
            page.get_by_role("button", name="Another model").click()
            page.get_by_role("button", name="More ▼").click()
            draw(page, count=4, seed=7)
            for tab in ("Draw", "How it works"):
                page.get_by_role("tab", name=tab).click()
                assert page.evaluate("document.documentElement.scrollWidth") <= 390
                wide = (
                    "all => all.filter(each => each.getBoundingClientRect().right > 390).map(each => each.outerHTML)"
                )
                assert not page.eval_on_selector_all("button:visible, input:visible, img:visible", wide)

    def test_it_works_by_keyboard_alone(self, page: Page) -> None:
        ask(page, count=1, seed=7)
        page.locator("body").focus()
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "generate":
                break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(sprites(page)).to_have_count(1)

    def test_everything_has_a_name_for_screen_readers(self, page: Page) -> None:
        draw(page, count=2, seed=7)
        for tab in ("Draw", "How it works"):
            page.get_by_role("tab", name=tab).click()
            assert not nameless(page)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_is_legible(self, browser: Browser, url: str, scheme: str) -> None:
        with visit(browser, url, **DESKTOP, color_scheme=scheme) as page:
            draw(page, count=1, seed=7)
            page.locator("#strip figcaption").first.wait_for()
            texts = ".prose p, button, .info-text, .caption-label, [data-testid=block-info], figcaption, svg text"
            for tab in ("Draw", "How it works"):
                page.get_by_role("tab", name=tab).click()
                seen = page.locator(texts).filter(visible=True)
                least, worst = min(seen.evaluate_all(f"all => all.map(each => [({CONTRAST})(each), each.outerHTML])"))
                assert least >= 4.5, worst

    def test_cards_have_the_colours_of_their_types(self, page: Page) -> None:
        draw(page, count=1, seed=7, first="water", second="flying")
        card = page.locator("#sprites .gallery-item button")
        colors = [card.evaluate(f"card => getComputedStyle(card).getPropertyValue('{name}')") for name in SIDES]
        assert colors == [type_color("water"), type_color("flying")]


def data_of(image: Image.Image) -> str:
    """How a picture is written into a page."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()
