"""What a visitor does on the page, in Chromium, with the sprites of the pipeline."""

import io
import itertools
import json
import math
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.torch import save_file

pytest.importorskip("playwright", reason="the browser tests need Playwright: pip install playwright")

from playwright.sync_api import Page, expect

from pokemon_ddpm import RELEASED_FAST_MODEL, SpriteConditioner
from pokemon_ddpm.creature import ATTEMPTS, BACK_STRENGTH, VIEW_SCALE, CreatureSettings, generate_creature
from pokemon_ddpm.description import DRAWN_STRENGTH, SKETCH_STRENGTH, SKETCHES, sketch_image
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.likeness import MAX_LIKENESS, MIN_GROWTH, growth, overlaps, shared_drawing
from pokemon_ddpm.palettes import SHINY_DRAWS, share_palette, shiny
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.publishing.hub import ISOLATED
from pokemon_ddpm.publishing.page import write_pages
from pokemon_ddpm.ranking import RANKER_FILE, SpriteRanker
from pokemon_ddpm.sheets import sheet_description, squash
from pokemon_ddpm.studio import generate_sprites, sample_seed
from pokemon_ddpm.trading_card import trading_card
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.app.test_browser import CHROMIUM, TIMEOUT_MS
from tests.publishing.conftest import FAST, PHONE
from tests.publishing.page_runs import SIDE, Handler, assert_same, equal_pixels, npm_package, pixels_of, served
from tests.test_package import ROOT
from tests.tiny_models import RELATIONS, ranking_student, seeded
from tests.training.runs import wait_until

AXE = "axe-core@4.14.1"
PHASER = "phaser@3.90.0"
WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]  # computed on the CPU
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
SLOW = """
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message) { setTimeout(() => post.call(this, message), 300); };
"""
BATCH = re.compile(r"^4 sprites in ")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm, which downloads onnxruntime-web"),
]
expect.set_options(timeout=TIMEOUT_MS)


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


def wait_until_kept(page: Page) -> None:
    """Waits until the service worker has all that the page needs without a connection."""
    code = """async () => {
        const name = (await caches.keys()).find((each) => each.startsWith(`pokemon-ddpm ${new URL("./", location)} `));
        const urls = (await (await caches.open(name)).keys()).map(({ url }) => url);
        return ["unet.onnx", ".wasm", "ort.wasm.min.mjs"].every((end) => urls.some((url) => url.endsWith(end)));
    }"""
    page.wait_for_function(code)


def wish(page: Page, text: str) -> None:
    page.get_by_label("Description").fill(text)
    page.get_by_label("Description").press("Enter")


def observe(page: Page, place: str) -> None:
    """Keeps in `said` each text that an element has from now on."""
    code = """(place) => {
        const found = document.querySelector(place);
        window.said = [];
        new MutationObserver(() => said.push(found.textContent)).observe(found, { childList: true });
    }"""
    page.evaluate(code, place)


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


def part(pipeline, front: Image.Image, name: str, relation: str = "same", **arguments) -> Image.Image:
    """A part of a creature of seed 5: the first attempt without a fault, or else that is no copy."""
    sprites, faults = [], []
    for attempt in range(ATTEMPTS[relation]):
        seed = sample_seed(5, name, attempt)
        if relation == "same":  # from its mirrored front
            values = {key: [value] for key, value in ({"finish": "normal"} | arguments).items()}
            any_view = pipeline.conditioner.encode(["water"], **values | {"view": ["any"]})
            stronger = any_view + VIEW_SCALE * (pipeline.conditioner.encode(["water"], **values) - any_view)
            given = {"image": ImageOps.mirror(front), "strength": BACK_STRENGTH, "class_embeddings": stronger}
        else:
            given = {"pokemon_type": "water", **arguments}
        sample = pipeline(generator=seeded(seed), **given).images[0]
        sprites.append(share_palette(to_sprite(sample), front))
        one, other = (
            as_tensor([Image.fromarray(fit_square(np.asarray(each), SIDE))]) for each in (front, sprites[-1])
        )
        alike = shared_drawing(one, other) if relation == "same" else overlaps(one, other).diagonal()
        is_small = relation == "next" and growth(one, other) < MIN_GROWTH
        faults.append(2 if is_small else alike > MAX_LIKENESS[relation])
    return sprites[np.argmin(faults)]


def test_the_first_visit(visit, url, monkeypatch):
    """Four types hatch; the layout stays; address, choices and sprites are there after a reload, also offline."""
    with visit(None) as page:
        halves = threading.Event()
        monkeypatch.setattr(Handler, "halves", {"/unet.onnx": halves})
        try:
            page.goto(url)
            expect(page.locator("#status")).to_have_text(re.compile(r"Loading the model: (0\.[1-9]|[1-9]).* MB"))
            expect(page.locator("#loaded")).to_have_attribute("value", re.compile(r"^0\.\d"))  # the bar is not full
            assert page.locator("#loaded").evaluate("each => each.value") < 0.999
            before = page.locator("#generate").bounding_box()["y"]
            wish(page, "small")  # while it loads: this row comes first
        finally:
            halves.set()
        ready(page)
        expect(page.locator("#credits")).to_have_text("Model tiny, WebAssembly, threads: 1.")
        expect(page.locator("#status")).to_have_text(BATCH)
        assert all(title.startswith("any small ") for title in titles(page)) and len(titles(page)) == 4
        expect(page.locator("#badges")).to_have_text("small")
        assert page.locator("#generate").bounding_box()["y"] == before
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        click(page, "Surprise me")
        expect(page.locator("#status")).to_have_text(BATCH)
        assert len(titles(page)) == 8 and len({title.split()[0] for title in titles(page)[:4]} & {*TYPES}) == 4
        page.get_by_role("radio", name="ghost").check(force=True)
        page.locator("#made button").nth(2).click()
        name = page.locator("#title").get_attribute("title")
        shown = pixels_of(page, "#large")
        wait_until_kept(page)
        page.context.set_offline(True)
        page.reload()
        ready(page)
        expect_sprite(page, name)
        assert np.array_equal(pixels_of(page, "#large"), shown) and len(titles(page)) == 8
        expect(page.get_by_role("radio", name="ghost")).to_be_checked()
        expect(page.get_by_label("Description")).to_have_value("small")
        click(page, "Generate")
        expect(page.locator("#made button")).to_have_count(12)
        ready(page)
        assert all(title.startswith("ghost small ") for title in titles(page)[:4])


def test_two_tabs(visit, url):
    with visit("?type=fire&seed=1") as page:
        expect_sprite(page, "fire 1")
        other = page.context.new_page()
        other.goto(f"{url}?type=water&seed=5")
        expect_sprite(other, "water 5")
        expect(page.locator("#made button[title='water 5']")).to_be_enabled()
        page.locator("#made button[title='fire 1']").click()
        click(page, "Shiny")
        expect_sprite(page, "fire 1 shiny")
        expect(other.locator("#made button[title='fire 1 shiny']")).to_be_enabled()
        click(page, "Delete")
        expect(other.locator("#made button")).to_have_count(2)
        page.get_by_role("button", name="Heart", exact=True).click()
        expect(other.locator("#made .heart")).to_have_count(1)
        for each in (page, other):
            each.reload()
            ready(each)
            assert sorted(titles(each)) == ["fire 1", "water 5"]


def test_a_link_makes_the_sprite_of_the_pipeline_and_what_follows_from_it(visit, url, pipeline, weights):
    """And the address names what is shown; nothing is made twice, and nothing evolves past its third stage."""
    with visit("?type=water&seed=5") as page:
        expect_sprite(page, "water 5")
        image = pipeline("water", generator=seeded(5)).images[0]
        assert_made_by_pipeline(page, image)
        sprite = to_sprite(image)
        draws = [sample_seed(5, "shiny", draw) for draw in range(SHINY_DRAWS)]
        made = part(pipeline, sprite, "2-front", relation="next")
        for label, expected in {
            "Back": part(pipeline, sprite, "1-back", view="back"),
            "Shiny": shiny(sprite, sprite, ["water"], draws),
            "Evolve": made,
        }.items():
            for _ in range(2):
                page.locator("#made button[title='water 5']").click()
                click(page, label)
                expect_sprite(page, f"water 5 {label.lower()}")
            assert_same(pixels_of(page, "#large"), expected)
        page.locator("#made button[title='water 5 shiny']").click()
        expect(page.get_by_role("button", name="Shiny", exact=True)).to_be_disabled()
        page.get_by_role("button", name="Shiny", exact=True).dispatch_event("click")
        expect(page.locator("#status")).to_have_text("It is shiny already.")
        page.locator("#made button[title='water 5 back']").click()
        click(page, "Evolve")  # the next stage of the front
        expect_sprite(page, "water 5 evolve")
        for step, name in (("back", "water 5 back"), ("back", "water 5 shiny"), ("forward", "water 5 back")):
            page.evaluate(f"history.{step}()")
            expect_sprite(page, name)
        page.evaluate("history.forward()")
        expect_sprite(page, "water 5 evolve")
        expect(page.locator("#made button")).to_have_count(4)
        link = copied_link(page)
        assert link == page.url == f"{url}?type=water&seed=5&make=evolve&w={weights[:8]}"
        page.reload()
        ready(page)
        expect_sprite(page, "water 5 evolve")
        name, animation = saved(page, "GIF")
        with Image.open(io.BytesIO(animation)) as animation:  # the stage before flashes, then it denoises
            assert animation.format == "GIF" and animation.n_frames == 10 and animation.size == (4 * SIDE, 4 * SIDE)
            before = np.asarray(animation.convert("RGBA"))[::4, ::4]
            assert ((before[..., 3] > 0) == (np.asarray(sprite)[..., 3] > 0)).all()
            animation.seek(9)
            assert_same(np.asarray(animation.convert("RGBA"))[::4, ::4], made)
        names = []
        for scale in (1, 4, 8):
            name, png = saved(page, f"PNG ×{scale}" if scale > 1 else "PNG")
            names.append(name)
            assert_same(np.asarray(Image.open(io.BytesIO(png)))[::scale, ::scale], made)
        assert len({*names}) == 3
        click(page, "Evolve")
        expect_sprite(page, "water 5 evolve evolve")
        expect(page.get_by_role("button", name="Evolve", exact=True)).to_be_disabled()
        page.goto(f"{url}?type=water&seed=5&make=vary-9")
        expect_sprite(page, "water 5 vary-9")
        assert_made_by_pipeline(page, pipeline("water", generator=seeded(9), image=sprite).images[0], exactly=False)
        page.goto(f"{url}?type=water&seed=6&card=1-back-3.2-front-0&w=01234567&fbclid=x&constructor=x")
        expect(page.locator("#status")).to_contain_text("Another model made the sprite of this link.")
        expect(page.locator("#save-card")).to_be_enabled()  # of this model's sprites, whose attempts are its own
        page.locator("#card-link").click()
        expect(page.locator("#card [role=status]")).to_have_text("The link is copied.")
        assert "card=1-back-3.2-front-0&" not in page.evaluate("navigator.clipboard.readText()") + "&"
        page.keyboard.press("Escape")
        expect_sprite(page, "water 6")
        page.goto(f"{url}?type=plastic&seed=1")
        expect(page.locator("#status")).to_have_text("This link names no sprite. Here are others.")


@pytest.mark.slow
def test_a_link_makes_the_sprite_of_the_released_student(browser, folder, tmp_path):
    pipeline = GenerationSettings(RELEASED_FAST_MODEL).load("cpu")
    write_pages({"student": pipeline}, tmp_path, print, str(folder / "runtime"))
    equal = []
    still = {"reduced_motion": "reduce"}  # without idle frames
    with served(tmp_path) as url, browser.new_context(service_workers="block", **still) as context:
        page = context.new_page()
        for seed in range(50):
            name = TYPES[seed % len(TYPES)]
            page.goto(f"{url}?type={name}&seed={seed}")
            expect_sprite(page, f"{name} {seed}")
            drawn = dict.fromkeys(("color", "shape", "size"), "any")  # a link gives all conditions
            image = pipeline(name, generator=seeded(seed), **drawn).images[0]
            sample_of(page, image)
            equal.append(equal_pixels(pixels_of(page, "#large"), to_sprite(image)))
    assert np.mean(equal) >= 0.99


def test_what_is_asked_for(visit, pipeline, url, weights):
    """Attributes and words are chips; those of the last description go with it; a new row replaces one."""
    with visit() as page:
        ready(page)
        field, chips = page.get_by_label("Description"), page.locator("#chips button")
        wish(page, "a small blue jellyfish and shoes, legendary")
        expect(page.locator("#chips")).to_contain_text("Not understood: shoes")
        expect(chips).to_have_text(["water ×", "blue ×", "legendary ×", "tentacles ×", "small ×", "jellyfish ×"])
        observe(page, "#status")
        wish(page, "green snake")  # while the first row is made
        ready(page)
        assert page.evaluate("said.length") and "Canceled." not in page.evaluate("said")
        expect(page.locator("#title")).to_have_attribute("title", re.compile("^any green squiggle large snake "))
        expect(chips).to_have_text(["green ×", "squiggle ×", "large ×", "snake ×"])
        assert all(title.startswith("any green squiggle large snake ") for title in titles(page)[:4])
        assert not [title for title in titles(page) if title.startswith("water") and title.count("blue") > 1]
        *kept, seed = page.locator("#title").get_attribute("title").split()
        conditions = dict(zip(("color", "shape", "size"), kept[1:], strict=False))
        sketch = sketch_image("snake", conditions, SIDE, int(seed))
        made = pipeline(
            "any", image=sketch, strength=SKETCH_STRENGTH, generator=seeded(int(seed)), **conditions
        ).images[0]
        assert_made_by_pipeline(page, made)
        assert "&sketch=snake&" in page.url
        for each in ("squiggle", "large", "snake"):
            page.get_by_role("button", name=f"Remove {each}").click()
        expect(field).to_be_focused()
        field.press("Enter")  # the same description again does not bring it back
        ready(page)
        expect(chips).to_have_text(["green ×"])
        wish(page, "shiny water dragon from behind")
        expect(chips).to_have_text(["water ×", "dragon ×", "shiny ×", "from behind ×"])
        ready(page)
        assert all(title.startswith("water/dragon ") for title in titles(page)[:4])
        assert all({"back", "shiny"} <= {*title.split()} for title in titles(page)[:4])
        page.get_by_role("radio", name="ghost").check(force=True)  # by hand: it does not go with the description
        expect(chips).to_have_text(["dragon ×", "shiny ×", "from behind ×"])
        wish(page, "синий дракон")
        expect(page.locator("#chips")).to_have_text("Not understood: синий дракон")
        ready(page)
        click(page, "Surprise me")  # of the chosen type
        ready(page)
        assert all(title.startswith("ghost ") for title in titles(page)[:4])
        page.get_by_role("radio", name="any").check(force=True)
        field.fill("")
        field.press("Tab")
        expect(chips).to_have_count(0)
        page.get_by_text("Second type and attributes").click()
        page.get_by_role("radio", name="fire").check(force=True)
        page.get_by_label("second type").select_option("flying")
        page.get_by_label("color").select_option("red")
        page.get_by_label("size").select_option("large")
        click(page, "Generate")
        ready(page)
        page.locator("#made button").first.click()
        name, seed = page.locator("#title").get_attribute("title").rsplit(" ", 1)
        assert name == "fire/flying red large"
        made = pipeline("fire/flying", color="red", size="large", generator=seeded(int(seed))).images[0]
        assert_made_by_pipeline(page, made)
        link = copied_link(page)
        assert link == page.url == f"{url}?type=fire%2Fflying&color=red&size=large&seed={seed}&w={weights[:8]}"
        loud = "each => { each.append(new Option('loud')); each.value = 'loud'; }"  # the worker fails
        page.locator("select[name=color]").evaluate(loud)
        count = len(titles(page))
        click(page, "Generate")
        expect(page.locator("#status")).to_contain_text("Unknown conditions: ")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        assert len(titles(page)) == count


def test_a_card_is_shown_shared_and_saved(visit, url, weights):
    """Each sprite is made once; it can have another name; the link has the same card; the sheet is that of Python."""
    with visit(None) as page:
        page.add_init_script(SHARE)
        page.goto(f"{url}?type=water/fairy&size=small&seed=5")
        expect_sprite(page, "water/fairy small 5")
        link = f"{url}?type=water%2Ffairy&size=small&seed=5&w={weights[:8]}"
        click(page, "Share")
        page.wait_for_function("window.shared")
        assert page.evaluate("[shared.url, shared.files[0].type]") == [link, "image/png"]
        page.get_by_role("button", name="Card").press("Enter")
        expect(page.locator("#save-card")).to_be_enabled()
        assert titles(page) == ["water/fairy small 5"]  # its parts are in no list
        requests = page.evaluate("requests.map(({ reference, seed }) => [Boolean(reference), seed])")
        assert requests.count([False, 5]) == 1
        card = trading_card(5, ["water", "fairy"], "small")
        moves = "; ".join(f"{move['name']}, {move['damage']}" for move in card["moves"])
        label = f"The card of {card['name']}, water and fairy, {card['hp']} HP. Moves: {moves}. {card['text']}"
        expect(page.locator("#card-image")).to_have_attribute(
            "aria-label", re.compile(f"^{re.escape(label)} It evolves")
        )
        before = page.locator("#card-image").evaluate("each => each.toDataURL()")
        page.locator("#share").click()
        link, kind = page.evaluate("[shared.url, shared.files[0].type]")
        best = re.fullmatch(r".*&card=1-back-(\d)\.2-front-(\d+)\.3-front-(\d+)", link)
        assert best and kind == "image/png"
        page.locator("#card-link").click()
        expect(page.locator("#card [role=status]")).to_have_text("The link is copied.")
        assert page.evaluate("navigator.clipboard.readText()") == link
        both = [
            page.expect_download(lambda each, end=end: each.suggested_filename.endswith(end))
            for end in ("png", "json")
        ]
        with both[0] as image, both[1] as text:
            page.get_by_role("button", name="Game sheet").click()
        image, text = image.value, text.value
        description, sheet = json.loads(text.path().read_text()), Image.open(image.path()).convert("RGBA")
        parts = {"1-front": [], "1-front-shiny": ["shiny"], "1-back": ["back"], "2-front": ["evolve"]}
        parts["3-front"] = ["evolve", "evolve"]
        names = [f"{part}{end}.png" for end in ("", "-idle") for part in parts]
        conditions = {"type": "water/fairy", "size": "small"}
        recipes = [{"conditions": conditions, "seed": 5, "makes": makes} for makes in parts.values()]
        about = {"model": "tiny", "weights": weights, "link": link}
        assert description == sheet_description(image.suggested_filename, (SIDE, SIDE), 5, names, 2 * recipes, about)
        assert sheet.size == (5 * SIDE, 2 * SIDE)
        for i in range(5):
            sprite, idle = (sheet.crop((i * SIDE, y, (i + 1) * SIDE, y + SIDE)) for y in (0, SIDE))
            assert equal_pixels(np.asarray(idle), squash(sprite)) == 1
        page.get_by_label("Name").fill("Mia/<b>")
        page.get_by_label("Name").press("Enter")
        expect(page.locator("#title")).to_have_text("Mia/<b>")
        name, image = saved(page, "Save card")
        assert Image.open(io.BytesIO(image)).size == (1200, 1720) and name == "Mia-b-card.png"
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Card")).to_be_focused()
        page.get_by_role("button", name="Card").press("Enter")  # nothing is left to make
        expect(page.locator("#save-card")).to_be_enabled()
        assert page.evaluate("requests.length") == len(requests)
        page.reload()
        ready(page)
        expect(page.locator("#title")).to_have_text("Mia/<b>")
    with visit(None) as page:  # only the best attempts are made
        page.add_init_script(SHARE)
        page.goto(link)
        expect(page.locator("#save-card")).to_be_enabled()
        assert page.locator("#card-image").evaluate("each => each.toDataURL()") == before
        names = ("1-back", "2-front", "3-front")
        back, *stages = (sample_seed(5, name, int(each)) for name, each in zip(names, best.groups(), strict=True))
        assert sorted(page.evaluate("requests.map(({ seed }) => seed)")) == sorted([5, back, *stages])


def test_fuse_and_doodle(visit, url, pipeline, weights):
    """A fused creature is between two, with the types of both; a drawing becomes one."""
    with visit("?type=water/ice&seed=5") as page:
        expect_sprite(page, "water/ice 5")
        one = page.locator("#title").inner_text()
        page.evaluate("history.replaceState(null, '', '/')")
        page.goto(f"{url}?type=fire&seed=6")
        expect_sprite(page, "fire 6")
        two = page.locator("#title").inner_text()
        page.get_by_label("Partner").select_option("water/ice 5")
        click(page, "Fuse")
        name = re.compile(r"^fire/water 6 to fire/water 5 0\.5 vary-\d+$")
        expect(page.locator("#title")).to_have_attribute("title", name)
        ready(page)
        expect(page.locator("#title")).to_have_text(two[: math.ceil(len(two) / 2)] + one[len(one) // 2 :])
        expect(page.locator("#parents canvas")).to_have_count(2)
        ends = ({"pokemon_type": "fire/water"},) * 2
        middle = to_sprite(pipeline.interpolate(*ends, 3, seeded(6, 5)).images[1])
        seed = sample_seed(6, "fused-5")
        assert page.locator("#title").get_attribute("title").endswith(f"vary-{seed}")
        made = pipeline("fire/water", generator=seeded(seed), image=middle).images[0]
        assert_made_by_pipeline(page, made, exactly=False)
        expect(page.locator("#fuse")).to_have_attribute("title", "It is fused already.")
        link = copied_link(page)
        page.reload()
        ready(page)
        expect(page.locator("#parents canvas")).to_have_count(2)  # kept
        assert link.startswith(f"{url}?type=fire%2Fwater&seed=6&to-type=fire%2Fwater&to-seed=5&share=0.5&make=vary-")
        page.goto(f"{url}?type=fire&seed=1&to-type=water&to-seed=2&share=0.25")  # of an earlier page
        expect_sprite(page, "fire 1 to water 2 0.25")
        between = pipeline.interpolate({"pokemon_type": "fire"}, {"pokemon_type": "water"}, 5, seeded(1, 2)).images[1]
        assert_same(pixels_of(page, "#large"), to_sprite(between))
        click(page, "Doodle one")
        page.evaluate("() => { Math.random = () => 0.3; }")
        expect(page.get_by_role("button", name="Bring to life")).to_be_disabled()
        page.get_by_role("radio", name="green").check(force=True)
        box = page.locator("#doodle-canvas").bounding_box()
        middle, side = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), box["width"]
        page.mouse.move(*middle)
        page.mouse.down()
        for x, y in ((0.1, 0.2), (-0.2, 0.1), (0.2, -0.2), (-0.1, -0.2)):
            page.mouse.move(middle[0] + x * side, middle[1] + y * side, steps=4)
        page.mouse.up()
        drawn = pixels_of(page, "#doodle-canvas")
        page.mouse.click(middle[0] + 0.4 * side, middle[1])
        assert not np.array_equal(pixels_of(page, "#doodle-canvas"), drawn)
        click(page, "Undo")
        assert np.array_equal(pixels_of(page, "#doodle-canvas"), drawn)
        click(page, "Clear")
        expect(page.get_by_role("button", name="Bring to life")).to_be_disabled()
        click(page, "Undo")
        assert drawn[32, 32].tolist() == [72, 152, 80, 255] and 0.05 < (drawn[..., 3] > 0).mean() < 0.5
        click(page, "Bring to life")
        expect(page.locator("#title")).to_have_attribute("title", re.compile(r"^fire green \d+ doodle-\d+$"))
        ready(page)
        seed = int(page.locator("#title").get_attribute("title").split()[2])
        image = Image.fromarray(np.where(drawn[..., 3:] > 0, drawn, [255, 255, 255, 0]).astype(np.uint8))
        made = pipeline("fire", color="green", generator=seeded(seed), image=image, strength=0.75).images[0]
        assert_made_by_pipeline(page, made, exactly=False)
        shown, link = pixels_of(page, "#large"), copied_link(page)
        assert len(link) < 2000
        name = page.locator("#title").get_attribute("title")
        forget(page)
        page.goto(link)
        expect_sprite(page, name)
        assert np.array_equal(pixels_of(page, "#large"), shown)


def test_my_dex_the_day_and_starters(visit, url, tmp_path):
    """The creature of a day is the same in every browser; three starters have one link; everything is one file."""
    with visit("?day=2026-01-02") as page:
        ready(page)
        expect(page.locator("#status")).to_have_text("The creature of 2026-01-02, the same for everybody.")
        (day,) = titles(page)
        click(page, "Starter trio")
        expect(page.locator("#status")).to_contain_text("Choose your starter!")
        trio = titles(page)[:3]
        assert [title.split()[:2] for title in trio] == [["grass", "small"], ["fire", "small"], ["water", "small"]]
        click(page, "Copy the trio's link")
        expect(page.locator("#status")).to_have_text("The link is copied.")
        link = page.evaluate("navigator.clipboard.readText()")
        page.locator(f"#made button[title='{day}']").click()
        expect(page.locator("#trio-link")).to_be_hidden()
        page.get_by_role("button", name="My Dex").click()
        expect(page.locator("#progress-text")).to_have_text(re.compile(r"of 18 types, 4 sprites, 0 with a heart"))
        heart = page.get_by_role("button", name=re.compile("^Heart for")).last
        heart.click()
        expect(heart).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#progress-text")).to_contain_text("1 with a heart")
        page.get_by_role("button", name=re.compile("^Delete (?!all)")).nth(1).click()
        expect(page.locator("#dex-list li")).to_have_count(3)
        page.locator("#dex").get_by_role("button", name="Undo").click()
        expect(page.locator("#dex-list li")).to_have_count(4)
        name, team = saved(page, "Team of six")
        team, first = np.asarray(Image.open(io.BytesIO(team))), pixels_of(page, "#dex-list li:last-child canvas")
        assert team.shape == (592, 768, 4) and name == "my-team.png"
        assert np.array_equal(team[:256:4, :256:4][first[..., 3] > 0], first[first[..., 3] > 0])  # that with a heart
        expect(page.locator("#team")).to_have_attribute("title", "The newest, those with a heart first")
        name, album = saved(page, "Export")
        damaged = [None, {"recipe": None}, {"recipe": {}, "time": 1, "pixels": "AAAA"}]  # are left out
        album = json.loads(album)
        (tmp_path / name).write_text(json.dumps({**album, "sprites": [*damaged, *album["sprites"]]}))
        page.on("dialog", lambda dialog: dialog.accept())
        click(page, "Delete all")
        expect(page.locator("#dex-list li")).to_have_count(0)
        page.get_by_label("Import").set_input_files(tmp_path / name)
        expect(page.locator("#dex [role=status]")).to_have_text(f"4 sprites are in {name}.")
        expect(page.locator("#dex-list .heart[aria-pressed=true]")).to_have_count(1)
        (tmp_path / "bad.json").write_text('{"app": "other"}')
        page.get_by_label("Import").set_input_files(tmp_path / "bad.json")
        expect(page.locator("#dex [role=status]")).to_contain_text("bad.json is no collection")
        page.locator("#dex .large").first.click()
        expect(page.locator("#dex")).to_be_hidden()
        page.reload()
        ready(page)
        assert sorted(titles(page)) == sorted([day, *trio])
    with visit(link.removeprefix(url)) as page:
        ready(page)
        assert titles(page) == trio
        page.goto(f"{url}?day=2026-01-02")
        expect(page.locator("#title")).to_have_attribute("title", day)


def test_a_sprite_lives_where_nothing_can_be_kept(visit, url, weights):
    """As in a frame of another origin, or with plain http. With motion, an egg hatches, and the idle frame plays."""
    with visit(None, service_workers="block", reduced_motion="no-preference") as page:
        page.add_init_script("""
            for (const name of ["localStorage", "indexedDB"]) {
                Object.defineProperty(window, name, { get() { throw new DOMException("Access is denied"); } });
            }
            Object.defineProperty(navigator, "clipboard", { value: undefined });
            Object.defineProperty(navigator, "serviceWorker", { value: undefined });
            Object.assign(window, { tones: 0, delay: 0 });
            const { start } = OscillatorNode.prototype, post = Worker.prototype.postMessage;
            OscillatorNode.prototype.start = function (time) { tones++; return start.call(this, time); };
            Worker.prototype.postMessage = function (message) { setTimeout(() => post.call(this, message), delay); };
        """)
        page.goto(f"{url}?type=water&seed=5")
        expect_sprite(page, "water 5")
        expect(page.locator("#large")).to_have_class("hatch")
        first = pixels_of(page, "#large")
        assert page.evaluate("tones") == 0
        click(page, "Cry")
        assert page.evaluate("tones") >= 2
        for _ in range(40):
            page.wait_for_timeout(50)
            if not np.array_equal(idle := pixels_of(page, "#large"), first):
                break
        assert any(equal_pixels(one, squash(Image.fromarray(two))) == 1 for one, two in ((idle, first), (first, idle)))
        page.evaluate("delay = 2000")  # a slow machine
        click(page, "Generate")
        expect(page.locator("#made button")).to_have_count(5)
        click(page, "Cancel")
        expect(page.locator("#status")).to_have_text("Canceled.")
        expect(page.locator("#made button")).to_have_count(1)
        expect_sprite(page, "water 5")
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
        click(page, "Copy link")
        expect(page.locator("#status")).to_have_text(f"{url}?type=water&seed=5&w={weights[:8]}")
        click(page, "Delete")
        expect(page.locator("#made button")).to_have_count(0)
        click(page, "Undo")
        expect_sprite(page, "water 5")


def test_the_lines_for_phaser_play_the_idle_animation(browser, pipeline, tmp_path):
    """Those of docs/generation.md, with the sheet of `pokemon-ddpm creature --idle`."""
    (lines,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "generation.md").read_text(encoding="utf-8"), re.DOTALL)
    shutil.copy(npm_package(PHASER, tmp_path) / "dist" / "phaser.min.js", tmp_path)
    list(generate_creature(pipeline, GenerationSettings("tiny"), CreatureSettings("fire", 7), tmp_path, idle=True))
    preload, create = lines.split("\n\n")
    scene = f"{{ preload() {{\n{preload}\n}}, create() {{\n{create}\n}} }}"
    start = f"const game = new Phaser.Game({{ pixelArt: true, scene: {scene} }});"
    (tmp_path / "index.html").write_text(f'<script src="phaser.min.js"></script><script>{start}</script>')
    with served(tmp_path) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        for name in ("1-front.png", "1-front-idle.png", "1-front.png"):
            shown = f"game.scene.scenes[0]?.children.list[0]?.frame.name === '{name}'"
            assert page.wait_for_function(shown).json_value()


def test_it_is_accessible_and_fits(visit, url, tmp_path):
    """axe finds nothing; all targets have 44 pixels; a large sprite, types and Generate are on the first screen."""
    axe = (npm_package(AXE, tmp_path) / "axe.min.js").read_text(encoding="utf-8")
    small = """() => [...document.querySelectorAll("button, #types span, select, #wish, input:not([type])")]
        .filter((each) => each.checkVisibility())
        .filter((each) => Math.min(each.getBoundingClientRect().width, each.getBoundingClientRect().height) < 43.5)
        .map((each) => each.outerHTML)"""
    with visit(None) as page:
        page.add_init_script(SHARE)
        page.goto(f"{url}?type=water&seed=5")
        expect_sprite(page, "water 5")
        wish(page, "small red dragon")
        ready(page)
        page.evaluate(axe)
        for name in (None, "Card", "Doodle one", "My Dex"):
            if name:
                page.get_by_role("button", name=name).first.click()
                expect(page.locator("dialog[open]")).to_be_visible()
                ready(page)
            for (width, height), scheme in itertools.product(((360, 640), (1280, 900)), ("light", "dark")):
                page.set_viewport_size({"width": width, "height": height})
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                result = page.evaluate("axe.run()")
                assert not result["violations"], (name, result["violations"])
                assert "color-contrast" in {rule["id"] for rule in result["passes"]}
                assert not page.evaluate(small)
            if name:
                page.keyboard.press("Escape")
        wish(page, "")
        ready(page)
        for width, height, side, *names in (
            *((360, 640, 192, "#types"), (320, 568, 192), (640, 360, 128), (390, 844, 320, "#types")),
            (1280, 900, 450, "#types", "#actions", "#made"),
        ):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            boxes = [
                page.locator(each).bounding_box() for each in ("#large", "#link", "#surprise", "#generate", *names)
            ]
            assert boxes[0]["width"] >= side
            assert all(0 <= box["y"] <= height - box["height"] for box in boxes), (width, boxes)
        page.set_viewport_size({"width": 360, "height": 640})
        click(page, "Card")
        expect(page.locator("#card[open]")).to_be_visible()
        boxes = [page.locator(each).bounding_box() for each in ("#card-image", "#share", "#card .close")]
        assert boxes[0]["width"] >= 256 and all(0 <= box["y"] <= 640 - box["height"] for box in boxes), boxes


def test_while_the_model_loads(visit, url):
    """A sprite comes out of noise; a type can be chosen, and be described, of which the first sprites are."""
    held, words = [], []
    with visit(None, service_workers="block") as page:
        page.route("**/unet.onnx", lambda route: held.append(route))
        page.goto(f"{url}?type=water&seed=5")
        expect(page.locator("#title")).to_have_attribute("title", "water 5")
        expect(page.locator("#intro")).to_have_class("noise")
        wait_until(lambda: page.evaluate("1") and held)
        page.route("**/words.json", lambda route: words.append(route))
        page.goto(url, wait_until="commit")
        page.locator("#wish").fill("red")
        page.locator("#wish").press("Enter")  # before the words are there
        wait_until(lambda: page.evaluate("1") and words)
        words.pop().continue_()
        page.get_by_role("radio", name="ghost").check(force=True)
        style = page.locator("#intro").evaluate("each => ({...getComputedStyle(each)})")
        assert style["animationName"] == "none" and style["backgroundSize"].startswith("400% 100%")  # of four images
        assert page.evaluate("fetch('intro.png').then((found) => found.ok)")
        wait_until(lambda: page.evaluate("1") and len(held) == 2)
        held.pop().continue_()
        ready(page)
        assert len(titles(page)) == 4 and all(title.startswith("ghost red ") for title in titles(page))
        expect(page.locator("#intro")).to_be_hidden()


def test_what_fails_can_be_tried_again(browser, url, monkeypatch):
    """A damaged configuration, a download that breaks off, and the runtime, of another origin; where it cannot be
    reached, this is the last word. It has threads, and attributes have any name.
    """
    monkeypatch.setattr(Handler, "extra_headers", ISOLATED)
    Handler.broken[:] = ["/unet.onnx"]
    with browser.new_context(service_workers="block") as context:
        config = context.request.get(f"{url}config.json").json()
        config["runtime"] = f"{url.replace('127.0.0.1', 'localhost')}runtime/"
        names = {"status": ["new"], "generate": ["now"], "second": ["one"], "seed": ["pea"], "make": ["ford"]}
        answers = [{**config["vocabulary"], **names}, {"type": ["fire"], "color": None}, None]
        context.route(
            "**/config.json",
            lambda route: route.fulfill(json={**config, "vocabulary": answers.pop() if answers[1:] else answers[0]}),
        )
        page = context.new_page()
        page.goto(url)
        for _ in range(2):
            expect(page.locator("#status")).to_contain_text("config.json or another file is damaged")
            click(page, "Try again")
        expect(page.locator("#status")).to_have_text("The download of unet.onnx broke off. Trying again.")
        ready(page)
        assert not Handler.broken and page.evaluate("crossOriginIsolated")
        threads = min(8, page.evaluate("navigator.hardwareConcurrency"))
        expect(page.locator("#credits")).to_have_text(f"Model tiny, WebAssembly, threads: {threads}.")
        expect(page.locator("#types input")).to_have_count(len(TYPES) + 1)
        page.locator("select[name=status]").select_option("new")
        conditions = page.evaluate("[...document.querySelectorAll('#attributes select')].map(({value}) => value)")
        assert conditions[0] == "any" and "new" in conditions
        assert page.evaluate("document.querySelectorAll('#status, #generate, #second').length") == 3
        context.route("**/runtime/*", lambda route: route.abort())
        page.goto(url)
        message = re.compile("^The runtime cannot be loaded from localhost")
        expect(page.locator("#status")).to_have_text(message)
        page.wait_for_timeout(2500)  # other downloads go on, and are tried again after a second
        expect(page.locator("#status")).to_have_text(message)
        context.unroute("**/runtime/*")
        click(page, "Try again")
        ready(page)
        expect(page.locator("#generate")).to_be_enabled()


def test_webgpu(browser, url, pipeline):
    with browser.browser_type.launch(executable_path=CHROMIUM, args=[FAST, *WEBGPU]) as gpu:
        page = gpu.new_page(reduced_motion="reduce")  # #large is the sprite, not a frame of its idle animation
        failures = []
        page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
        page.goto(url)
        if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
            pytest.skip("this Chromium has no SwiftShader")
        page.goto(f"{url}?type=water&seed=5")
        expect(page.locator("#gif")).to_be_enabled(timeout=5 * TIMEOUT_MS)  # it compiles shaders
        expect(page.locator("#credits")).to_have_text("Model tiny, WebGPU.")
        assert_made_by_pipeline(page, pipeline("water", generator=seeded(5)).images[0], exactly=False)
        assert not failures


def publish_version(folder, title, page):
    """Another version of the page in `folder`, which the browser then finds, as it does after a while by itself."""
    for name, old, new in (
        ("index.html", r"<h1>\w+", f"<h1>{title}"),
        ("service-worker.js", r"CACHE = `\$\{OWN\}", f"CACHE = `${{OWN}}{title} "),
    ):
        path = folder / name
        path.write_text(re.sub(old, new, path.read_text(encoding="utf-8")), encoding="utf-8")
        os.utime(path, (2**31 + len(title),) * 2)  # the server compares whole seconds
    page.evaluate("navigator.serviceWorker.getRegistration().then((found) => void found.update())")


def test_a_new_version_replaces_all_of_the_one_before(browser, folder, tmp_path, monkeypatch):
    """Also where the server lets the browser keep files for an hour; what another page on this host keeps stays."""
    monkeypatch.setattr(Handler, "extra_headers", {"Cache-Control": "max-age=3600"})
    shutil.copytree(folder, tmp_path / "page")
    with served(tmp_path / "page") as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        ready(page)
        other = f"pokemon-ddpm {url}other/ 1"
        page.evaluate("name => caches.open(name).then(() => {})", other)
        for text in ("old", "new"):
            (tmp_path / "page" / "post.txt").write_text(text)
            assert page.evaluate("fetch('post.txt', {cache: 'reload'}).then((found) => found.text())") == text
        page.goto(f"{url}?type=water&seed=5&w=01234567")
        expect(page.locator("#status")).to_contain_text("Another model made the sprite of this link.")
        model = (tmp_path / "page" / "conditioner.onnx").rename(tmp_path / "conditioner.onnx")  # for a while
        publish_version(tmp_path / "page", "Newer", page)
        expect(page.locator("h1")).to_have_text(re.compile("^Newer "))  # which may have the model of the link
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        shutil.copyfile(model, tmp_path / "page" / "conditioner.onnx")
        publish_version(tmp_path / "page", "Newest", page)
        expect(page.locator("h1")).to_have_text(re.compile("^Newest "))  # at once, since no model is loaded
        ready(page)
        one, two = sorted(page.evaluate("caches.keys()"))
        assert one.startswith(f"pokemon-ddpm {url} Newest ") and two == other
        wait_until_kept(page)
        context.set_offline(True)  # the new version also has the model and the runtime
        page.reload()
        ready(page)


def test_a_second_model_has_own_classes(browser, pipeline, folder, tmp_path):
    """Classes for types and nothing of Pokémon but the link; only what the model has learned can be made.

    It has a ranker, so each sprite is the best of four seeds, unlike those before it.
    """
    vocabulary = {"type": ["orcs", "elves"], "action": ["attack", "idle"], "view": ["front", "back"]}
    student = ranking_student(32, {**vocabulary, "relation": list(RELATIONS)})
    student.register_to_config(default_conditions={"view": "front"})
    student.save_pretrained(tmp_path / "units")
    ranker = SpriteRanker(student)
    save_file(ranker.head.state_dict(), tmp_path / "units" / RANKER_FILE)
    card, site = tmp_path / "units" / "README.md", tmp_path / "page"
    card.write_text(card.read_text(encoding="utf-8").replace("---\n", "---\nlicense: gpl-3.0\n", 1), encoding="utf-8")
    (tmp_path / "units" / "LICENSE").write_text("Free.", encoding="utf-8")
    site.mkdir()
    models = {"user/tiny": pipeline, str(tmp_path / "units"): student}
    write_pages(models, site, print, str(folder / "runtime"))
    with served(site) as url, browser.new_context(**PHONE) as context:
        page = context.new_page()
        page.add_init_script(SHARE)
        page.goto(url)
        ready(page)
        wait_until_kept(page)
        page.get_by_role("link", name="units").click()
        ready(page)
        wait_until_kept(page)
        context.set_offline(True)  # after one visit
        page.get_by_role("link", name="tiny").click()
        ready(page)
        assert page.url.split("?")[0] == url
        page.get_by_role("link", name="units").click()
        ready(page)
        context.set_offline(False)
        url += "units/"
        assert page.url.split("?")[0] == url and "Pok" not in page.content() and "Nintendo" not in page.content()
        for link, start in {"card": "---\nlicense: gpl-3.0\n", "license": "Free."}.items():
            path = page.get_by_role("link", name=link, exact=True).get_attribute("href")
            assert page.request.get(url + path).text().startswith(start)
        expect(page.locator("#credits")).to_contain_text("Model units, WebAssembly")
        expect(page.locator("footer")).to_contain_text("The license of the model is gpl-3.0.")
        expect(page.locator("#types input:checked")).to_have_value(re.compile("^(orcs|elves)$"))  # by chance
        expect(page.locator("#made button").first).to_have_attribute("title", re.compile("^(orcs|elves) "))
        expect(page.locator("[data-make]:visible")).to_have_text(["Back", "Variation"])
        expect(page.locator("#wish")).to_be_hidden()
        page.get_by_text("Attributes").click()
        expect(page.locator("#attributes label")).to_have_count(1)
        page.get_by_role("radio", name="elves").check(force=True)
        page.get_by_label("action").select_option("idle")
        page.evaluate("Math.random = () => 0.25")
        observe(page, "#title")
        click(page, "Generate")
        expect(page.locator("#made button")).to_have_count(8)
        ready(page)
        assert {*page.evaluate("said")} == {"Hatching", page.locator("#title").inner_text()}  # of four candidates
        requests = [SpriteRequest(2**30, "elves", {"action": "idle"}, number) for number in range(4)]
        chosen = [each.chosen.seed for each in generate_sprites(student, requests, 4, ranker)]
        alone = [next(generate_sprites(student, [each], 4, ranker)).chosen.seed for each in requests]
        assert chosen[0] == alone[0] and chosen != alone
        assert titles(page)[:4] == [f"elves idle {seed}" for seed in chosen]
        forget(page)
        page.goto(f"{url}?type=elves&action=idle&seed=5&card=1")
        expect(page.locator("#save-card")).to_be_enabled()
        assert titles(page) == ["elves idle 5"]
        image = student("elves", action="idle", generator=seeded(5)).images[0]
        assert_same(pixels_of(page, "#made canvas"), to_sprite(image))
        page.goto(f"{url}?type=elves&seed=5&make=evolve")
        expect(page.locator("#status")).to_have_text("This link names no sprite. Here are others.")


def test_poses_are_drawn_for_half_of_the_candidates(browser, folder, tmp_path):
    """The link of a chosen one makes the sprite that the pipeline makes from its sketch."""
    student = ranking_student(SIDE, {name: list(values) for name, values in CONDITIONS.items()})
    table = {
        "attributes": ["color", "shape"],
        "drawn": ["color", "shape"],
        "rows": [f"{i} {i} 18 {i} {i}" for i in range(10)],
    }
    student.conditioner = SpriteConditioner(**student.conditioner.config | {"training_conditions": table})
    student.save_pretrained(tmp_path / "model")
    save_file(SpriteRanker(student).head.state_dict(), tmp_path / "model" / RANKER_FILE)
    (tmp_path / "page").mkdir()
    write_pages({str(tmp_path / "model"): student}, tmp_path / "page", print, str(folder / "runtime"))
    with served(tmp_path / "page") as url, browser.new_context(service_workers="block", **PHONE) as context:
        page = context.new_page()
        page.add_init_script(SHARE)
        page.goto(url)
        ready(page)
        assert page.evaluate("requests.map(({ image, strength }) => image ? strength : 1)") == 4 * [1, 1, 0.75, 0.75]
        posed = [each.split() for each in titles(page) if each.split()[-2] in SKETCHES]
        for name, color, shape, pose, seed in posed[:2]:
            assert shape == SKETCHES[pose]["shape"] and name in SKETCHES[pose]["types"].split()
            given = {"color": color, "shape": shape, "generator": seeded(int(seed))}
            image = student(
                name, image=sketch_image(pose, given, SIDE, int(seed)), strength=DRAWN_STRENGTH, **given
            ).images[0]
            page.goto(f"{url}?type={name}&color={color}&shape={shape}&pose={pose}&seed={seed}")
            expect_sprite(page, f"{name} {color} {shape} {pose} {seed}")
            assert_same(pixels_of(page, "#large"), to_sprite(image))
        assert posed


def test_slips_of_a_visitor(visit, url):
    """What is deleted while it is made stays so; another tab sees hearts; the shiny of a back is one sprite."""
    with visit(None) as page:
        page.add_init_script(f"if (!location.search) {{ {SLOW} }}")
        page.goto(url)
        expect(page.locator("#made button:enabled")).to_have_count(1)
        first = page.locator("#title").get_attribute("title")
        click(page, "Delete")
        ready(page)
        assert first not in titles(page) and len(titles(page)) == 3
        expect(page.locator("#gif")).to_be_enabled()  # another one is shown
        page.goto(f"{url}?type=water&seed=5")
        expect_sprite(page, "water 5")
        with page.context.expect_page() as other:
            page.evaluate("open(location.href)")
        other = other.value
        expect_sprite(other, "water 5")
        other.get_by_role("button", name="My Dex").click()
        page.get_by_role("button", name="Heart", exact=True).click()
        expect(other.locator("#dex-list .heart[aria-pressed=true]")).to_have_count(1)
        expect(other.locator("#heart")).to_have_attribute("aria-pressed", "true")
        other.close()
        for names in (("Shiny", "Back"), ("Back", "Shiny")):
            for name in names:
                click(page, name)
                ready(page)
            expect_sprite(page, "water 5 back shiny")
            page.locator("#made button[title='water 5']").click()
        expect(page.locator("#made .shiny")).to_have_count(2)
        click(page, "Evolve")
        expect(page.locator("#status")).to_have_text(re.compile(r"^\w+ evolved into \w+!$"))
        click(page, "Delete")
        click(page, "PNG")
        page.get_by_role("button", name="My Dex").click()
        page.locator("#dex").get_by_role("button", name="Undo").click()
        expect_sprite(page, "water 5 evolve")
