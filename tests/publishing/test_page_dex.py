"""What the page keeps: My Dex, the day, starters, earlier visits and other tabs, in Chromium."""

import io
import json
import re

import numpy as np
from PIL import Image

from tests.publishing.page_runs import pixels_of
from tests.publishing.page_visits import (
    PAGE_MARKS,
    click,
    expect,
    expect_sprite,
    ready,
    saved,
    titles,
)

pytestmark = PAGE_MARKS


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
        expect(page.locator("#choice-list button")).to_have_count(3)
        click(page, "Close")
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
        _, older = saved(page, "Export")
        (tmp_path / "older.json").write_bytes(older)
        heart = page.get_by_role("button", name=re.compile("^Heart for")).last
        heart.click()
        expect(heart).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#progress-text")).to_contain_text("1 with a heart")
        page.get_by_role("button", name=re.compile("^Delete (?!all)")).nth(1).click()
        expect(page.locator("#dex-list li")).to_have_count(3)
        page.locator("#dex").get_by_role("button", name="Undo").click()
        expect(page.locator("#dex-list li")).to_have_count(4)
        name, sheet = saved(page, "Nine cards")
        sheet = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
        assert sheet.shape == (3508, 2480, 3) and name == "my-cards.png"  # A4 of 300 dots an inch
        middles = [sheet[154 + 1066 * row + 533, 124 + 744 * column + 9] for row in range(3) for column in range(3)]
        assert [bool(np.any(color < 250)) for color in middles] == [True] * 4 + [False] * 5  # the frames of the cards
        kind = page.locator("#dex-list li:last-child .large").evaluate("each => each.style.getPropertyValue('--type')")
        assert np.abs(middles[0] - np.array([*bytes.fromhex(kind[1:])], int)).max() < 4  # that with a heart
        name, album = saved(page, "Export")
        album = json.loads(album)
        album["sprites"][0]["name"] = "Mia"
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
        page.get_by_label("Import").set_input_files(tmp_path / "older.json")
        expect(page.locator("#dex [role=status]")).to_have_text("4 sprites are in older.json.")
        expect(page.locator("#dex-list .heart[aria-pressed=true]")).to_have_count(1)
        expect(page.locator("#dex-list .large", has_text="Mia")).to_have_count(1)
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
        page.locator("#choice-list button").nth(1).click()
        expect(page.locator("#status")).to_have_text(re.compile("is your starter. Its heart keeps it.$"))
        expect(page.locator("#made .heart button")).to_have_attribute("title", trio[1])
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


def test_two_tabs_have_one_dex(visit):
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
        other.get_by_role("button", name=re.compile("^Delete (?!all)")).click()
        expect(page.locator("#made button")).to_have_count(0)
        expect(page.locator("#title")).to_have_text("Out of noise")
