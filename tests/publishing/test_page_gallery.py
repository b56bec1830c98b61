"""The gallery of the page: creatures to play with while the model loads, in Chromium."""

import io
import json
import threading
from urllib.parse import parse_qs, parse_qsl, urlsplit

import numpy as np
from PIL import Image

from pokemon_ddpm import RELEASED_FAST_MODEL
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.publishing.page import SOURCE
from tests.publishing.page_runs import SIDE, Handler, equal_pixels, pixels_of
from tests.publishing.page_visits import PAGE_MARKS, click, expect, ready, saved, titles, until
from tests.tiny_models import seeded

pytestmark = PAGE_MARKS
COLUMNS = 10


def tiles(count: int) -> Image.Image:
    """Squares of different colors in rows, each in the middle of a cell."""
    image = Image.new("RGBA", (COLUMNS * SIDE, -(-count // COLUMNS) * SIDE))
    for i in range(count):
        left, top = SIDE * (i % COLUMNS), SIDE * (i // COLUMNS)
        image.paste((20 * i, 100, 50, 255), (left + 20, top + 20, left + 44, top + 44))
    return image


def test_a_creature_of_the_gallery_can_be_played_with_before_the_model_is_there(visit, url, weights, monkeypatch):
    links = [f"type=fire&seed={i}&w={weights[:8]}" for i in range(12)]
    links[1] = "type=fire&seed=1&w=00000000"  # of another model
    image, blocked = io.BytesIO(), threading.Event()
    tiles(12).save(image, "WEBP", lossless=True)
    with visit(None) as page:
        page.route("**/gallery.json", lambda route: route.fulfill(body=json.dumps(links)))
        page.route("**/gallery.webp", lambda route: route.fulfill(body=image.getvalue()))
        monkeypatch.setattr(Handler, "halves", {"/unet.onnx": blocked})
        try:
            page.goto(url)
            buttons = page.locator("#gallery-list button")
            expect(buttons).to_have_count(11)
            expect(page.locator("#surprise")).to_be_disabled()
            before = page.locator("#generate").bounding_box()["y"]
            assert buttons.first.bounding_box()["y"] < before  # in place of the list
            buttons.nth(10).click()  # the first one of the second row, and a later one of the links
            expect(page.locator("#title")).to_have_text(buttons.nth(10).get_attribute("title"))
            assert parse_qs(urlsplit(page.url).query)["seed"] == ["11"]
            shown = pixels_of(page, "#large")
            assert np.all(shown[20:44, 20:44] == (220, 100, 50, 255)) and np.sum(shown[..., 3] > 0) == 24**2
            png = Image.open(io.BytesIO(saved(page, "PNG")[1]))
            assert np.array_equal(np.asarray(png)[..., 3], shown[..., 3])
            click(page, "Evolve")  # once the model is there
            expect(page.locator("#made li")).to_have_count(2)
        finally:
            blocked.set()
        ready(page)
        assert titles(page) == ["fire 11 evolve", "fire 11"]
        expect(page.locator("#title")).to_have_attribute("title", "fire 11 evolve")
        assert page.locator("#generate").bounding_box()["y"] == before
        assert buttons.first.bounding_box()["y"] > before
        buttons.first.click()
        expect(page.locator("#title")).to_have_text(buttons.first.get_attribute("title"))
        until(page, "document.querySelectorAll('#made li').length === 3")
        page.reload()
        ready(page)
        assert titles(page) == ["fire 0", "fire 11 evolve", "fire 11"]


def test_gallery_has_what_the_released_model_makes_of_its_links():
    links = json.loads((SOURCE / "gallery.json").read_text(encoding="utf-8"))
    with Image.open(SOURCE / "gallery.webp") as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert len({*links}) == len(links) == 50 and pixels.shape == (5 * SIDE, COLUMNS * SIDE, 4)
    pipeline = GenerationSettings(RELEASED_FAST_MODEL).load("cpu")
    digest = weights_digest(pipeline.unet, pipeline.conditioner)
    for i, link in enumerate(links):
        sprite = pixels[SIDE * (i // COLUMNS) :, SIDE * (i % COLUMNS) :][:SIDE, :SIDE]
        assert 0.1 < np.mean(sprite[..., 3] > 0) < 0.95
        conditions = dict(parse_qsl(link))
        seed, weights = int(conditions.pop("seed")), conditions.pop("w")
        assert digest.startswith(weights)
        if i % 25 == 0:
            made = pipeline(conditions.pop("type"), generator=seeded(seed), **conditions).images[0]
            assert equal_pixels(sprite, to_sprite(made)) > 0.95
