"""Cards and duels by link, in Chromium."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from examples import tuxemon_monster
from pokemon_ddpm.sheets import sheet_description, squash
from pokemon_ddpm.studio import sample_seed
from tests.publishing.page_runs import SIDE, equal_pixels
from tests.publishing.page_visits import (
    PAGE_MARKS,
    SHARE,
    click,
    expect,
    expect_sprite,
    ready,
    saved,
    titles,
    until,
)

pytestmark = PAGE_MARKS


def folder_of(page, engine: str, to: Path) -> Path:
    """The one folder in what a button saves."""
    name, content = saved(page, engine)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert file.testzip() is None
        file.extractall(to / engine)
    (folder,) = (to / engine).iterdir()
    assert name == f"{folder.name}-{engine.lower()}.zip"
    return folder


def assert_monsters_of_the_example(mod: Path, sheet: Image.Image, parts: list[str], folder: Path) -> None:
    """A mod has what examples/tuxemon_monster.py writes of the same sprites; the sheet has the fronts, and a back."""
    entries = sorted(
        (json.loads(path.read_text()) for path in mod.glob("db/monster/*.yaml")), key=lambda each: each["stage"]
    )
    slugs = [each["slug"] for each in entries]
    assert len(slugs) == 3 and entries[0]["types"] == ["water", "aether"]
    frames = [{"filename": f"{stage}-front.png", "condition": {"type": "water/fairy"}} for stage in (1, 2, 3)]
    (folder / "creature.json").write_text(json.dumps({"frames": frames}))
    for place, part in enumerate(parts):
        sheet.crop((place * SIDE, 0, (place + 1) * SIDE, SIDE)).save(folder / f"{part}.png")
    own = [Image.open(mod / f"gfx/sprites/battle/{slug}-sheet.png").convert("RGBA") for slug in slugs]
    for stage in (2, 3):
        own[stage - 1].crop((SIDE, 0, 2 * SIDE, SIDE)).save(folder / f"{stage}-back.png")
    tuxemon_monster.main(str(folder), str(folder / "mod"), *slugs)
    for slug, entry, image in zip(slugs, entries, own, strict=True):
        assert entry == json.loads((folder / f"mod/db/monster/{slug}.yaml").read_text())
        expected = Image.open(folder / f"mod/gfx/sprites/battle/{slug}-sheet.png")
        assert equal_pixels(np.asarray(image), expected) == 1


def test_a_card_is_shown_shared_and_saved(visit, url, weights, tmp_path):
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
        files = folder_of(page, "Godot", tmp_path)
        assert {path.name for path in files.iterdir()} == {"creature.png", "creature.json", "creature.gd"}
        description, sheet = (
            json.loads((files / "creature.json").read_text()),
            Image.open(files / "creature.png").convert("RGBA"),
        )
        parts = {"1-front": [], "1-front-shiny": ["shiny"], "1-back": ["back"], "2-front": ["evolve"]}
        parts["3-front"] = ["evolve", "evolve"]
        names = [f"{part}{end}.png" for end in ("", "-idle") for part in parts]
        conditions = {"type": "water/fairy", "size": "small"}
        recipes = [{"conditions": conditions, "seed": 5, "makes": makes} for makes in parts.values()]
        about = {"model": "tiny", "weights": weights, "link": link}
        assert description == sheet_description("creature.png", (SIDE, SIDE), 5, names, 2 * recipes, **about)
        assert sheet.size == (5 * SIDE, 2 * SIDE)
        for i in range(5):
            sprite, idle = (sheet.crop((i * SIDE, y, (i + 1) * SIDE, y + SIDE)) for y in (0, SIDE))
            assert equal_pixels(np.asarray(idle), squash(sprite)) == 1
        assert_monsters_of_the_example(folder_of(page, "Tuxemon", tmp_path), sheet, [*parts], tmp_path)
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
        page.keyboard.press("Escape")
        click(page, "Evolve")
        ready(page)
        evolved = page.locator("#title").inner_text()
        page.get_by_role("button", name="Card").press("Enter")
        expect(page.locator("#save-card")).to_be_enabled()
        label = re.compile(rf"^The card of {evolved}, .*\. Stage 2 of 3\. It evolves into \w+\.$")
        expect(page.locator("#card-image")).to_have_attribute("aria-label", label)


def test_a_challenge_is_a_duel_that_ends_and_challenges_back(visit, url, weights):
    with visit("?type=water&seed=5&duel=type%3Dfire%26seed%3D6%26called%3DMia") as page:
        page.reload()  # a challenge stays until its end
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
        own = f"{url}?type=water&seed=5&w={weights[:8]}"
        page.wait_for_url(own)
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
        page.evaluate("history.back()")  # at the first step of the history, too
        expect(page.locator("#duel-open")).to_be_focused()
        assert titles(page) == ["water 5"] and page.url == own
        click(page, "Today")
        page.keyboard.press("Escape")
        page.evaluate("history.back()")
        page.wait_for_url("about:blank")  # what is closed already is no step
