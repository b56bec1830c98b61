"""What a visitor does on the page, in Chromium, with the sprites of the pipeline."""

import io
import json
import math
import re
import threading

import numpy as np
from PIL import Image, ImageOps

from pokemon_ddpm import likeness
from pokemon_ddpm.creature import ATTEMPTS, BACK_STRENGTH, NEXT_STRENGTH, enlarged
from pokemon_ddpm.description import SKETCH_STRENGTH, sketch_image
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.publishing.page import RULES
from pokemon_ddpm.sheets import sheet_description, squash
from pokemon_ddpm.studio import sample_seed
from pokemon_ddpm.vocabulary import TYPES
from tests.publishing.page_runs import SIDE, Handler, assert_same, equal_pixels, joined, pixels_of
from tests.publishing.page_visits import (
    BATCH,
    PAGE_MARKS,
    SHARE,
    assert_made_by_pipeline,
    click,
    copied_link,
    expect,
    expect_sprite,
    forget,
    ready,
    saved,
    titles,
    until,
    wait_until_kept,
    wish,
)
from tests.tiny_models import seeded

pytestmark = PAGE_MARKS


def part(pipeline, front: Image.Image, name: str, relation: str = "same", **arguments) -> Image.Image:
    """A part of a creature of seed 5: the first attempt without a fault, or else that is no copy."""
    sprites, faults = [], []
    for attempt in range(ATTEMPTS[relation]):
        seed = sample_seed(5, name, attempt)
        if relation == "same":  # from its mirrored front
            values = {key: [value] for key, value in ({"finish": "normal"} | arguments).items()}
            any_view = pipeline.conditioner.encode(["water"], **values | {"view": ["any"]})
            scale = RULES["creature"]["view_scale"]
            stronger = any_view + scale * (pipeline.conditioner.encode(["water"], **values) - any_view)
            given = {"image": ImageOps.mirror(front), "strength": BACK_STRENGTH, "class_embeddings": stronger}
        else:
            larger = enlarged(Image.fromarray(fit_square(np.asarray(front), SIDE)))
            given = {"pokemon_type": "water", "image": larger, "strength": NEXT_STRENGTH, **arguments}
        shared = likeness.share_palette(to_sprite(pipeline(generator=seeded(seed), **given).images[0]), front)
        sprites.append(likeness.close_outline(shared) if relation == "same" else shared)
        one, other = (
            as_tensor([Image.fromarray(fit_square(np.asarray(each), SIDE))]) for each in (front, sprites[-1])
        )
        alike = likeness.shared_drawing(one, other) if relation == "same" else likeness.overlaps(one, other).diagonal()
        is_small = relation == "next" and likeness.growth(one, other) < likeness.MIN_GROWTH
        faults.append(2 if is_small else int(alike > likeness.MAX_LIKENESS[relation]))
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
        draws = [sample_seed(5, "shiny", draw) for draw in range(likeness.SHINY_DRAWS)]
        made = part(pipeline, sprite, "2-front", relation="next")
        back, recolored = (
            part(pipeline, sprite, "1-back", view="back"),
            likeness.shiny(sprite, sprite, ["water"], draws),
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
            assert animation.format == "GIF" and animation.n_frames == 9 and animation.size == (4 * SIDE, 4 * SIDE)
            animation.seek(8)
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


def test_what_is_asked_for(visit, pipeline):
    with visit() as page:
        ready(page)
        page.evaluate("let last = 0; Math.random = () => (last = (last + 0.37) % 1)")  # of which no seed is a shiny
        field, chips = page.get_by_label("Description"), page.locator("#chips button")
        wish(page, "a small blue jellyfish and shoes, legendary")
        expect(page.locator("#chips")).to_contain_text("Not understood: shoes")
        expect(chips).to_have_text(["water ×", "blue ×", "legendary ×", "tentacles ×", "small ×", "jellyfish ×"])
        wish(page, "green snake")  # while the first row is made
        ready(page)
        expect(page.locator("#title")).to_have_attribute("title", re.compile("^any green squiggle large snake "))
        expect(chips).to_have_text(["green ×", "squiggle ×", "large ×", "snake ×"])
        assert all(title.startswith("any green squiggle large snake ") for title in titles(page)[:4])
        assert not [title for title in titles(page) if title.startswith("water") and title.count("blue") > 1]
        *kept, seed = page.locator("#title").get_attribute("title").split()
        conditions = dict(zip(("color", "shape", "size"), kept[1:], strict=False))
        sketch = sketch_image("snake", conditions, SIDE, int(seed))
        given = {"image": sketch, "strength": SKETCH_STRENGTH, "generator": seeded(int(seed)), **conditions}
        assert_made_by_pipeline(page, pipeline("any", **given).images[0])
        assert "&sketch=snake&" in page.url
        for word in ("squiggle", "large", "snake"):
            page.get_by_role("button", name=f"Remove {word}").click()
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


def test_a_card_is_shown_shared_and_saved(visit, url, weights):
    with visit(None) as page:
        page.add_init_script(SHARE)
        page.goto(f"{url}?type=water/fairy&size=small&seed=5")
        expect_sprite(page, "water/fairy small 5")
        link = f"{url}?type=water%2Ffairy&size=small&seed=5&w={weights[:8]}"
        click(page, "Share")
        until(page, "Boolean(window.shared)")
        assert page.evaluate("[shared.url, shared.files[0].type]") == [link, "image/png"]
        page.get_by_role("button", name="Card").press("Enter")
        expect(page.locator("#save-card")).to_be_enabled()
        assert titles(page) == ["water/fairy small 5"]  # its parts are in no list
        requests = page.evaluate("requests.map(({ seed }) => seed)")
        assert requests.count(5) == 1
        label = re.compile(
            "^The card of Brinobit, water and fairy, 70 HP. Moves: Teacup Tsunami, 30; Ribbon Snap, 60. "
        )
        expect(page.locator("#card-image")).to_have_attribute("aria-label", label)
        before = page.locator("#card-image").evaluate("each => each.toDataURL()")
        page.locator("#share").click()
        link, kind = page.evaluate("[shared.url, shared.files[0].type]")
        best = re.fullmatch(r".*&card=1-back-(\d)\.2-front-(\d+)\.3-front-(\d+)", link)
        assert best and kind == "image/png"
        page.locator("#card-link").click()
        expect(page.locator("#card [role=status]")).to_have_text("The link is copied.")
        assert page.evaluate("navigator.clipboard.readText()") == link
        with page.expect_download(lambda file: file.suggested_filename.endswith("png")) as image:
            with page.expect_download(lambda file: file.suggested_filename.endswith("json")) as text:
                page.get_by_role("button", name="Game sheet").click()
        image, text = image.value, text.value
        description, sheet = json.loads(text.path().read_text()), Image.open(image.path()).convert("RGBA")
        parts = {"1-front": [], "1-front-shiny": ["shiny"], "1-back": ["back"], "2-front": ["evolve"]}
        parts["3-front"] = ["evolve", "evolve"]
        names = [f"{part}{end}.png" for end in ("", "-idle") for part in parts]
        conditions = {"type": "water/fairy", "size": "small"}
        recipes = [{"conditions": conditions, "seed": 5, "makes": makes} for makes in parts.values()]
        about = {"model": "tiny", "weights": weights, "link": link}
        assert description == sheet_description(image.suggested_filename, (SIDE, SIDE), 5, names, 2 * recipes, **about)
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


def test_a_challenge_is_a_duel_that_ends_and_challenges_back(visit, url, weights):
    with visit("?type=water&seed=5&duel=type%3Dfire%26seed%3D6%26called%3DMia") as page:
        field, said, moves = (
            page.locator(each) for each in ("#duel-field li", "#duel [role=status]", "#duel-choices button")
        )
        expect(moves.first).to_be_focused()
        expect(field.last).to_have_text(re.compile(r"^Mia.*fire(\d+) of \1 HP$"))
        name, strong = field.first.locator("b").inner_text(), moves.nth(1)
        expect(strong).to_contain_text(re.compile(r"water \d0 ×2$"))
        strong.press("Enter")
        expect(said).to_have_text("A strong move needs another one before it.")
        for turn in range(20):
            if page.locator("#duel-end").is_visible():
                break
            moves.nth(turn % 2).press("Enter")
        expect(page.locator("#duel-share")).to_be_focused()
        assert "0 of" in field.last.inner_text() and f"{name} wins!" == page.locator("#duel-title").inner_text()
        click(page, "Share result")
        expect(said).to_have_text("The result is copied, with a link to challenge you back.")
        text = page.evaluate("navigator.clipboard.readText()")
        line, link = text.rsplit(" ", 1)
        assert re.fullmatch(rf"⚔️ {name} beat Mia in \d turns, \d+ of \d+ HP left [🟢🔴⚪]+", line)
        mine = f"type%3Dwater%26seed%3D5%26w%3D{weights[:8]}"
        assert link == f"{url}?type=fire&seed=6&called=Mia&w={weights[:8]}&duel={mine}"
        click(page, "Another opponent")
        page.get_by_label("Link of an opponent").fill("https://example.org/?type=plastic")
        click(page, "Use link")
        expect(said).to_have_text("This link names no opponent. Choose one here.")
        page.get_by_label("Link of an opponent").fill(text)
        page.get_by_label("Link of an opponent").press("Enter")
        page.get_by_label("Auto").check(force=True)
        expect(page.locator("#duel-title")).to_have_text(re.compile("wins"))
        expect(field.last).to_contain_text(name)  # it met itself
        page.keyboard.press("Escape")
        expect(page.locator("#duel-open")).to_be_focused()
        assert titles(page) == ["water 5"]


def test_fuse_and_doodle(visit, url, pipeline, weights):
    """A fused creature has the head of one and the body of another, and the types of both; a drawing becomes one."""
    with visit("?type=water/ice&seed=5") as page:
        expect_sprite(page, "water/ice 5")
        one = page.locator("#title").inner_text()
        page.goto(f"{url}?type=fire&seed=6")
        expect_sprite(page, "fire 6")
        two = page.locator("#title").inner_text()
        page.get_by_label("Partner").select_option(index=1)
        click(page, "Fuse")
        name = re.compile(r"^fire 6 to water/ice 5 0\.55 vary-\d+$")
        expect(page.locator("#title")).to_have_attribute("title", name)
        ready(page)
        expect(page.locator("#title")).to_have_text(two[: math.ceil(len(two) / 2)] + one[len(one) // 2 :])
        head, body = (
            to_sprite(pipeline(kind, generator=seeded(i)).images[0]) for kind, i in (("fire", 6), ("water/ice", 5))
        )
        middle = joined(head, body, 0.55)
        seed = sample_seed(6, "fused-5")
        assert page.locator("#title").get_attribute("title").endswith(f"vary-{seed}")
        made = pipeline("fire/water", generator=seeded(seed), image=middle).images[0]
        assert_made_by_pipeline(page, made, exactly=False)
        link = f"{url}?type=fire&seed=6&to-type=water%2Fice&to-seed=5&share=0.55&make=vary-"
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


def test_my_dex_the_day_and_starters(visit, url, tmp_path):
    with visit("?day=2026-01-02") as page:
        ready(page)
        expect(page.locator("#status")).to_have_text("The creature of 2026-01-02, the same for everybody.")
        (day,) = titles(page)
        click(page, "Today")
        expect(page.locator("#egg")).to_have_text("An egg: it hatches tomorrow")
        expect(page.locator("#quests li").first).to_have_text(re.compile(r"^○ Each of 18 types: [12] of 18$"))
        page.keyboard.press("Escape")
        egg = "localStorage[Object.keys(localStorage)[0]]"
        page.evaluate(f"{egg} = {egg}.replace(/20\\d\\d-\\d\\d-\\d\\d/, '2025-01-01')")
        click(page, "Today")
        click(page, "Hatch the egg")
        expect(page.locator("#status")).to_contain_text("hatched of the egg.")
        click(page, "Today")
        expect(page.locator("#egg")).to_be_disabled()
        page.keyboard.press("Escape")
        click(page, "Delete")
        click(page, "Starter trio")
        expect(page.locator("#status")).to_contain_text("Choose your starter!")
        trio = titles(page)[:3]
        assert [title.split()[:2] for title in trio] == [["grass", "small"], ["fire", "small"], ["water", "small"]]
        click(page, "Copy the trio's link")
        expect(page.locator("#status")).to_have_text("The link is copied.")
        link = page.evaluate("navigator.clipboard.readText()")
        page.locator("#skip").press("Enter")
        expect(page.locator("#surprise")).to_be_focused()
        page.get_by_role("button", name="My Dex").click()
        page.locator("#dex-list [tabindex='0']").press("ArrowRight")
        expect(page.locator("#dex-list .heart").first).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.locator("#dex-list .heart").nth(2)).to_be_focused()  # a row is two sprites
        page.emulate_media(forced_colors="active")
        outline = "getComputedStyle(document.querySelector('#types :checked + span')).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.emulate_media(forced_colors="none")
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
        name, album = saved(page, "Export")
        album = json.loads(album)
        damaged = [None, {"recipe": None}, {"recipe": {}, "time": 1, "pixels": "AAAA"}]  # are left out
        broken = {"share": 0.9}, {"makes": [["shiny"]]}
        damaged += [{**album["sprites"][0], "recipe": album["sprites"][0]["recipe"] | each} for each in broken]
        (tmp_path / name).write_text(json.dumps({**album, "sprites": [*damaged, *album["sprites"]]}))
        page.on("dialog", lambda dialog: dialog.accept())
        click(page, "Delete all")
        expect(page.locator("#dex-list li")).to_have_count(0)
        page.get_by_label("Import").set_input_files(tmp_path / name)
        said = f"4 sprites are in {name}. 5 were left out: damaged, or of another page."
        expect(page.locator("#dex [role=status]")).to_have_text(said)
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


def test_sprites_of_earlier_visits_stay_and_links_name_them_for_a_view(visit, url):
    with visit("?type=water&sketch=alien&seed=9") as page:
        expect_sprite(page, "water alien 9")
        name, sketched = page.locator("#title").inner_text(), pixels_of(page, "#large")
        page.goto(f"{url}?type=water&pose=alien&seed=9")
        expect(page.locator("#made button:enabled")).to_have_count(2)
        assert not np.array_equal(pixels_of(page, "#made button >> nth=0 >> canvas"), sketched)
        page.get_by_role("button", name="Heart", exact=True).click()
        expect(page.locator("#made .heart")).to_have_count(1)
        database = """async (change) => {
            const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
            const database = await done(indexedDB.open((await indexedDB.databases())[0].name));
            const store = database.transaction("sprites", "readwrite").objectStore("sprites");
            const records = await done(store.getAll());
            for (const [i, record] of change ? records.entries() : []) {
                store.delete(record.id);
                store.put({ ...record, id: `water alien 9${i ? " " : ""}` });
                store.put({ ...record, id: `water alien 9 again${i}`, heart: false });
            }
            return records.map(({ id, heart, name }) => [id, Boolean(heart), name ?? null]).sort();
        }"""
        kept = page.evaluate(database)
        assert sorted(heart for _, heart, _ in kept) == [False, True]
        page.evaluate(database, True)
        page.goto(f"{url}?type=water&sketch=alien&seed=9&called=%E2%80%AEaiM%00")
        expect(page.locator("#title")).to_have_text("aiM")
        page.get_by_role("button", name="Heart", exact=True).click()
        expect(page.locator("#made .heart")).to_have_count(2)
        page.locator("#made button").first.click()
        page.locator("#made button").last.click()
        expect(page.locator("#title")).to_have_text(name)
        page.reload()
        ready(page)
        assert page.evaluate(database) == [[id, True, None] for id, *_ in kept]
        full = "() => { IDBObjectStore.prototype.put = () => { throw new DOMException('There is no room'); }; }"
        page.evaluate(full)
        expect(page.locator("#unkept")).to_be_hidden()
        page.get_by_role("button", name="Heart", exact=True).click()
        expect(page.locator("#unkept")).to_be_visible()


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


def test_a_heart_is_in_all_tabs(visit):
    with visit("?type=water&seed=5") as page:
        expect_sprite(page, "water 5")
        with page.context.expect_page() as other:
            page.evaluate("open(location.href)")
        other = other.value
        expect_sprite(other, "water 5")
        other.get_by_role("button", name="My Dex").click()
        page.get_by_role("button", name="Heart", exact=True).click()
        expect(other.locator("#dex-list .heart[aria-pressed=true]")).to_have_count(1)
        expect(other.locator("#heart")).to_have_attribute("aria-pressed", "true")
