"""What a visitor does on the page, in Chromium, with the sprites of the pipeline."""

import io
import re
import threading

import numpy as np
from PIL import Image, ImageOps

from pokemon_ddpm import likeness, palettes
from pokemon_ddpm.creature import ATTEMPTS, BACK_STRENGTH, NEXT_STRENGTH, enlarged, has_room
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.publishing.page import RULES
from pokemon_ddpm.studio import sample_seed
from pokemon_ddpm.vocabulary import TYPES
from tests.publishing.page_runs import SIDE, Handler, assert_same, pixels_of
from tests.publishing.page_visits import (
    BATCH,
    PAGE_MARKS,
    assert_made_by_pipeline,
    click,
    copied_link,
    expect,
    expect_sprite,
    ready,
    saved,
    titles,
    wait_until_kept,
    wish,
)
from tests.tiny_models import seeded

pytestmark = PAGE_MARKS


def part(pipeline, front: Image.Image, name: str, relation: str = "same", **arguments) -> Image.Image:
    """A part of a creature of seed 5: the back most like its front, or the first next stage without a fault."""
    sprites, faults, middle = [], [], Image.fromarray(fit_square(np.asarray(front), SIDE))
    least = likeness.MIN_GROWTH if has_room(middle) else 1 / likeness.MIN_GROWTH
    for attempt in range(ATTEMPTS[relation]):
        seed = sample_seed(5, name, attempt)
        if relation == "same":  # from its mirrored front
            values = {key: [value] for key, value in ({"finish": "normal"} | arguments).items()}
            any_view = pipeline.conditioner.encode(["water"], **values | {"view": ["any"]})
            scale = RULES["creature"]["view_scale"]
            stronger = any_view + scale * (pipeline.conditioner.encode(["water"], **values) - any_view)
            given = {"image": ImageOps.mirror(front), "strength": BACK_STRENGTH, "class_embeddings": stronger}
        else:
            larger = {"image": enlarged(middle), "strength": NEXT_STRENGTH}
            given = {"pokemon_type": "water"} | (larger if has_room(middle) else {"size": "large"})
        image = pipeline(generator=seeded(seed), **given).images[0]
        image = palettes.match_colors(image, front) if relation == "same" else image
        shared = palettes.share_palette(to_sprite(image), front)
        sprites.append(palettes.close_outline(shared) if relation == "same" else shared)
        one, other = (
            as_tensor([Image.fromarray(fit_square(np.asarray(image), SIDE))]) for image in (front, sprites[-1])
        )
        alike, most = float(likeness.overlaps(one, other)), likeness.MAX_LIKENESS
        if relation == "same":
            faults.append(1 - alike if likeness.shared_drawing(one, other) <= most["same"] else 2)
        else:
            faults.append(max(0, alike - most["next"]) if likeness.growth(one, other) >= least else 2)
    return sprites[np.argmin(faults)]


def test_the_first_visit(visit, url, monkeypatch):
    """Four types hatch; the layout stays; address, choices and sprites are there after a reload, also offline."""
    with visit(None) as page:
        halves = threading.Event()
        monkeypatch.setattr(Handler, "halves", {"/unet.onnx": halves})
        try:
            page.goto(url)
            expect(page.locator("#status")).to_have_text(re.compile(r"Loading the model: (0\.[1-9]|[1-9]).* MB"))
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


def test_a_link_makes_the_sprite_of_the_pipeline_and_what_follows_from_it(visit, url, pipeline, weights):
    """And the address names what is shown; nothing is made twice, and nothing evolves past its third stage."""
    with visit("?type=water&seed=5") as page:
        expect_sprite(page, "water 5")
        expect(page.get_by_role("radio", name="any")).to_be_checked()  # a link chooses nothing for what is made later
        image = pipeline("water", generator=seeded(5)).images[0]
        assert_made_by_pipeline(page, image)
        sprite = to_sprite(image)
        draws = [sample_seed(5, "shiny", draw) for draw in range(palettes.SHINY_DRAWS)]
        made = part(pipeline, sprite, "2-front", relation="next")
        back, recolored = (
            part(pipeline, sprite, "1-back", view="back"),
            palettes.shiny(sprite, sprite, ["water"], draws),
        )
        for label, expected in {"Back": back, "Shiny": recolored, "Evolve": made}.items():
            for _ in range(2):
                page.locator("#made button[title='water 5']").click()
                click(page, label)
                expect_sprite(page, f"water 5 {label.lower()}")
            assert_same(pixels_of(page, "#large"), expected)
        page.locator("#made button[title='water 5 back']").click()
        click(page, "Evolve")  # the next stage of the front
        expect_sprite(page, "water 5 evolve")
        click(page, "Today")
        page.evaluate("history.back()")
        expect(page.locator("#today")).to_be_hidden()
        page.wait_for_url("**&make=evolve&*")  # Back closes a dialog, and nothing else
        expect_sprite(page, "water 5 evolve")
        for step, name in (("back", "water 5 back"), ("forward", "water 5 evolve")):
            page.evaluate(f"history.{step}()")
            expect_sprite(page, name)
        expect(page.locator("#made button")).to_have_count(4)
        page.locator("#made [tabindex='0']").press("End")  # one stop of the Tab key, however many there are
        expect(page.locator("#made button").last).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.locator("#surprise")).to_be_focused()
        assert copied_link(page) == page.url == f"{url}?type=water&seed=5&make=evolve&w={weights[:8]}"
        page.reload()
        ready(page)
        expect_sprite(page, "water 5 evolve")
        name, animation = saved(page, "GIF")
        with Image.open(io.BytesIO(animation)) as animation:  # the stage before flashes, then it denoises
            assert animation.format == "GIF" and animation.n_frames == 10 and animation.size == (4 * SIDE, 4 * SIDE)
            animation.seek(9)
            assert_same(np.asarray(animation.convert("RGBA"))[::4, ::4], made)
        _, png = saved(page, "PNG ×4")
        assert_same(np.asarray(Image.open(io.BytesIO(png)))[::4, ::4], made)
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


def test_a_sprite_lives_where_nothing_can_be_kept(visit, url, weights):
    """As in a frame of another origin, or with plain http. With motion, an egg hatches."""
    with visit(None, service_workers="block", reduced_motion="no-preference") as page:
        page.add_init_script("""
            for (const name of ["localStorage", "indexedDB"]) {
                Object.defineProperty(window, name, { get() { throw new DOMException("Access is denied"); } });
            }
            Object.defineProperty(navigator, "clipboard", { value: undefined });
            Object.defineProperty(navigator, "serviceWorker", { value: undefined });
            const post = Worker.prototype.postMessage;
            window.delay = 0;
            Worker.prototype.postMessage = function (message) { setTimeout(() => post.call(this, message), delay); };
        """)
        page.goto(f"{url}?type=water&seed=5")
        expect_sprite(page, "water 5")
        expect(page.locator("#unkept")).to_be_visible()
        expect(page.locator("#large")).to_have_class("hatch")
        page.evaluate("delay = 1e9")  # a machine that never ends
        click(page, "Generate")
        expect(page.locator("#made button")).to_have_count(5)
        click(page, "Cancel")
        expect(page.locator("#status")).to_have_text("Canceled.")
        expect(page.locator("#made button")).to_have_count(1)
        expect_sprite(page, "water 5")
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
        click(page, "Copy link")
        expect(page.locator("#status")).to_have_text(f"{url}?type=water&seed=5&w={weights[:8]}")
        page.evaluate("delay = 500")
        click(page, "Generate")
        page.locator("#made button[title='water 5']").click()
        click(page, "Delete")  # while others are made
        expect(page.locator("#status")).to_have_text(BATCH)
        assert len(titles(page)) == 4 and "water 5" not in titles(page)
