"""What a visitor asks the page for, fuses and draws, in Chromium."""

import math
import re

import numpy as np
from PIL import Image

from pokemon_ddpm.palettes import share_palette
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.sketch import sketch_image, strength_of
from pokemon_ddpm.studio import sample_seed
from pokemon_ddpm.vocabulary import TYPES
from tests.publishing.page_runs import SIDE, joined, pixels_of
from tests.publishing.page_visits import (
    PAGE_MARKS,
    assert_made_by_pipeline,
    click,
    copied_link,
    expect,
    expect_sprite,
    forget,
    ready,
    titles,
    wish,
)
from tests.tiny_models import seeded

pytestmark = PAGE_MARKS


def test_what_is_asked_for(visit, pipeline):
    with visit() as page:
        ready(page)
        page.evaluate("let last = 0; Math.random = () => (last = (last + 0.37) % 1)")  # of which no seed is a shiny
        field, chips = page.get_by_label("Description"), page.locator("#chips button")
        wish(page, "a small blue jellyfish and shoes, legendary")
        expect(page.locator("#chips")).to_contain_text("Not understood: shoes")
        expect(chips).to_have_text(["blue ×", "legendary ×", "small ×", "jellyfish ×"])
        wish(page, "green snake")  # while the first row is made
        ready(page)
        expect(page.locator("#title")).to_have_attribute("title", re.compile("^[a-z]+ green squiggle [a-z]+ snake "))
        expect(chips).to_have_text(["green ×", "snake ×"])
        rows = [title.split() for title in titles(page)[:4]]
        assert all(["green", "squiggle", "snake"] == [row[1], row[2], row[4]] for row in rows)
        assert len({row[0] for row in rows}) > 1 and {row[0] for row in rows} <= {*TYPES}  # drawn for each
        kind, *kept, _, seed = page.locator("#title").get_attribute("title").split()
        conditions = dict(zip(("color", "shape", "size"), kept, strict=True))
        sketch = sketch_image("snake", conditions, SIDE, int(seed))
        given = {"image": sketch, "strength": strength_of("snake"), "generator": seeded(int(seed)), **conditions}
        assert_made_by_pipeline(page, pipeline(kind, **given).images[0])
        assert "&sketch=snake&" in page.url
        page.get_by_role("button", name="Remove snake").click()
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
        field.fill("")
        field.press("Tab")
        expect(chips).to_have_count(0)
        click(page, "Surprise me")  # of the chosen type
        ready(page)
        assert all(title.startswith("ghost ") for title in titles(page)[:4])
        wish(page, "a brid, not a dragon, no claws")
        expect(page.locator("#chips")).to_contain_text("brid: bird?Not promised: without claws")
        expect(chips).to_contain_text(["bird ×", "no dragon ×", "without claws ×"])
        page.get_by_role("button", name="Remove no dragon").click()
        expect(chips).to_contain_text(["bird ×", "without claws ×"])


def test_fuse_and_doodle(visit, url, pipeline, weights):
    """A child has one head, another body, the types of both, and colors by its share; a drawing becomes a sprite."""
    head, body = (
        to_sprite(pipeline(kind, generator=seeded(i)).images[0]) for kind, i in (("fire", 6), ("water/ice", 5))
    )
    with visit("?type=water/ice&seed=5") as page:
        expect_sprite(page, "water/ice 5")
        one = page.locator("#title").inner_text()
        page.goto(f"{url}?type=fire&seed=6")
        expect_sprite(page, "fire 6")
        two = page.locator("#title").inner_text()
        page.get_by_label("Partner").select_option(index=1)
        seeds = [sample_seed(6, "fused-5", number) for number in range(3)]
        for share, colors in (("0.3", "head"), ("0.55", "both")):
            page.locator("#made button[title='fire 6']").click()
            page.get_by_label("Share of its body").fill(share)
            expect(page.locator("#colors")).to_have_text(colors)
            click(page, "Fuse")
            expect(page.locator("#choice-list button")).to_have_count(3)
            page.locator("#choice-list button").nth(1).click()
            name = f"fire 6 to water/ice 5 {share} vary-{seeds[1]}"
            expect(page.locator("#title")).to_have_attribute("title", name)
            ready(page)
            of_body = body if colors == "both" else share_palette(body, head)
            middle = joined(head, of_body, float(share))
            made = pipeline("fire/water", generator=seeded(seeds[1]), image=middle).images[0]
            assert_made_by_pipeline(page, made, exactly=False)
        expect(page.locator("#title")).to_have_text(two[: math.ceil(len(two) / 2)] + one[len(one) // 2 :])
        large, parent = (page.locator(each).bounding_box() for each in ("#large", "#parents canvas >> nth=1"))
        assert parent["y"] >= large["y"] + large["height"]  # they cover no head
        link = f"{url}?type=fire&seed=6&to-type=water%2Fice&to-seed=5&share=0.55&make=vary-{seeds[1]}"
        assert copied_link(page).startswith(link)
        page.get_by_role("radio", name="fire").check(force=True)
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
        page.get_by_role("checkbox", name="fine").check(force=True)
        page.get_by_role("radio", name="white").check(force=True)
        page.mouse.click(*middle)
        drawn = pixels_of(page, "#doodle-canvas")
        click(page, "Clear")
        expect(page.get_by_role("button", name="Bring to life")).to_be_disabled()
        click(page, "Undo")
        assert drawn[32, 32].tolist() == [248] * 3 + [255] and drawn[32, 36].tolist() == [72, 152, 80, 255]
        assert 0.05 < (drawn[..., 3] > 0).mean() < 0.5
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
