"""What a visitor sees on screens of all sizes, in Chromium."""

import itertools

from tests.publishing.page_runs import npm_package
from tests.publishing.page_visits import (
    PAGE_MARKS,
    SHARE,
    expect,
    expect_sprite,
    ready,
    wish,
)

pytestmark = PAGE_MARKS


def test_it_is_accessible_and_fits(visit, url, tmp_path):
    """axe finds nothing; all targets have 44 pixels; a large sprite, types and Generate are on the first screen."""
    small = """() => [...document.querySelectorAll("button, #types span, select, #wish, input:not([type])")]
        .filter((each) => each.checkVisibility())
        .filter((each) => Math.min(each.getBoundingClientRect().width, each.getBoundingClientRect().height) < 43.5)
        .map((each) => each.outerHTML)"""
    with visit(None) as page:
        page.add_init_script(SHARE)
        page.goto(f"{url}?type=water&seed=5")
        expect_sprite(page, "water 5")
        expect(page.locator("#chips")).to_be_hidden()  # without any
        wish(page, "small red dragon")
        ready(page)
        page.evaluate((npm_package("axe-core@4.14.1", tmp_path) / "axe.min.js").read_text(encoding="utf-8"))
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
                names = ("#card-image", "#card-name", "#share", "#card .close") if name == "Card" else ()
                boxes = [page.locator(name).bounding_box() for name in names]
                assert all(0 <= box["y"] <= height - box["height"] for box in boxes)
                assert not boxes or boxes[0]["width"] > 280
            if name:
                page.keyboard.press("Escape")
        wish(page, "legendary small red fire water dragon with wings, horns, tail, claws, quux, corge and grault")
        ready(page)  # the chips scroll in themselves
        for width, height, side, *names in (
            *((360, 640, 192, "#types"), (320, 568, 192), (640, 360, 128), (390, 844, 320, "#types :text('any')")),
            (1280, 900, 450, "#types", "#actions", "#made"),
        ):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            boxes = [
                page.locator(name).bounding_box() for name in ("#large", "#link", "#surprise", "#generate", *names)
            ]
            assert boxes[0]["width"] >= side
            assert all(0 <= box["y"] <= height - box["height"] for box in boxes), (width, boxes)
            assert all(0 <= box["x"] <= width - box["width"] for box in boxes), (width, boxes)
