"""The page while it loads, with other models and versions, and beside other tools, in Chromium."""

import json
import os
import re
import shutil

from PIL import Image
from safetensors.torch import save_file

from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.publishing.hub import ISOLATED
from pokemon_ddpm.publishing.page import RUNTIME_FILES, write_pages
from pokemon_ddpm.ranking import RANKER_FILE, SpriteRanker
from pokemon_ddpm.studio import generate_sprites, sample_seed
from pokemon_ddpm.vocabulary import TYPES
from tests.publishing.conftest import PHONE
from tests.publishing.page_runs import Handler, assert_same, pixels_of, served
from tests.publishing.page_visits import (
    PAGE_MARKS,
    SHARE,
    click,
    expect,
    forget,
    ready,
    saved,
    titles,
    wait_until_kept,
)
from tests.tiny_models import ranking_student, seeded

pytestmark = PAGE_MARKS


def test_what_fails_can_be_tried_again(browser, url, monkeypatch):
    """A file of the page, a damaged configuration, a download that breaks off, and the runtime, of another origin;
    where it cannot be reached, or is another one, this is the last word. It has threads, and attributes have any name.
    """
    monkeypatch.setattr(Handler, "extra_headers", ISOLATED)
    with browser.new_context(service_workers="block") as context:
        config = context.request.get(f"{url}config.json").json()
        assert config["integrity"] == RUNTIME_FILES
        page = context.new_page()
        page.clock.install()
        for file, answer in {
            "page.js": lambda route: route.abort(),
            "random.js": lambda route: route.fulfill(status=404),
            "pixels.js": lambda route: route.fulfill(body="export {}", content_type="text/javascript"),  # older
            "recipe.js": lambda _: None,  # the server does not answer
        }.items():
            context.route(f"**/{file}", answer)
            page.goto(url, wait_until="commit")
            expect(page.locator("#wish")).to_be_visible()
            page.clock.fast_forward(31_000)
            expect(page.locator("#status")).to_contain_text("A part of the page cannot be loaded.")
            expect(page.get_by_role("button", name="Try again")).to_be_visible()
            context.unroute(f"**/{file}")
        page.close()
        Handler.broken[:] = ["/unet.onnx"]
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
        context.route("**/runtime/ort.wasm.min.mjs", lambda route: route.fulfill(body="export {}"))  # no such digest
        click(page, "Try again")
        expect(page.locator("#status")).to_have_text(re.compile("^Loading"))
        expect(page.locator("#status")).to_have_text(message)
        for pattern in ("**/runtime/ort.wasm.min.mjs", "**/config.json"):
            context.unroute(pattern)
        code = context.request.get(f"{url}worker.js").text()
        script = {"content_type": "text/javascript", "headers": ISOLATED}
        for is_fallback, runtime in ((False, "webgpu"), (True, "wasm")):  # a processor may imitate a graphics card
            adapter = json.dumps({"info": {"isFallbackAdapter": is_fallback}})
            gpu = f"{{ value: {{ requestAdapter: async () => ({adapter}) }} }}"
            script["body"] = f"{code}Object.defineProperty(navigator, 'gpu', {gpu});"
            context.route("**/worker.js", lambda route: route.fulfill(**script))
            with page.expect_request(f"**/ort.{runtime}.min.mjs"):
                page.goto(url)
        ready(page)  # with WebAssembly
        expect(page.locator("#generate")).to_be_enabled()
        context.route("**/gifenc.esm.js", lambda route: route.fulfill(body="export {}"))  # no such digest
        click(page, "GIF")
        expect(page.locator("#status")).to_have_text("What makes GIFs cannot be loaded. Check the connection.")
        context.unroute("**/gifenc.esm.js")
        saved(page, "GIF")
        context.route("**/unet.onnx", lambda route: route.fulfill(body=b"no model"))
        page.goto(url)
        expect(page.locator("#status")).to_contain_text("unet.onnx is damaged, or this browser")


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

    It has a ranker, so each sprite is the best of four seeds, unlike those before it in its row and in the list.
    """
    vocabulary = {"type": ["orcs", "elves"], "action": ["attack", "idle"], "view": ["front", "back"]}
    student = ranking_student(32, vocabulary)
    student.register_to_config(default_conditions={"view": "front"})
    student.save_pretrained(tmp_path / "units")
    ranker = SpriteRanker(student)
    save_file(ranker.head.state_dict(), tmp_path / "units" / RANKER_FILE)
    card, site = tmp_path / "units" / "README.md", tmp_path / "page"
    card.write_text(card.read_text(encoding="utf-8").replace("---\n", "---\nlicense: gpl-3.0\n", 1), encoding="utf-8")
    (tmp_path / "units" / "LICENSE").write_text("Free.", encoding="utf-8")
    site.mkdir()
    write_pages({"user/tiny": pipeline, str(tmp_path / "units"): student}, site, print, str(folder / "runtime"))
    with served(site) as url, browser.new_context(**PHONE) as context:
        page = context.new_page()
        page.add_init_script(f"{SHARE} let last = 0; Math.random = () => (last = (last + 0.37) % 1)")
        page.goto(url)
        ready(page)
        page.get_by_role("link", name="units").click()
        ready(page)
        url += "units/"
        assert page.url.split("?")[0] == url and "Pok" not in page.content() and "Nintendo" not in page.content()
        for link, start in {"card": "---\nlicense: gpl-3.0\n", "license": "Free."}.items():
            path = page.get_by_role("link", name=link, exact=True).get_attribute("href")
            assert page.request.get(url + path).text().startswith(start)
        expect(page.locator("#credits")).to_contain_text("Model units, WebAssembly")
        expect(page.locator("footer")).to_contain_text("The license of the model is gpl-3.0.")
        expect(page.locator("[data-make]:visible")).to_have_text(["Shiny", "Back", "Variation"])
        expect(page.locator("#wish")).to_be_hidden()
        page.get_by_text("Attributes").click()
        page.locator("#types label", has_text="elves").click()  # not what stays in view above it
        page.get_by_label("action").select_option("idle")
        page.evaluate("Math.random = () => 0.25")
        before = [Image.fromarray(pixels_of(page, f"#made li:nth-child({place}) canvas")) for place in range(1, 5)]
        click(page, "Generate")
        expect(page.locator("#made button")).to_have_count(8)
        ready(page)
        requests = [SpriteRequest(2**30, "elves", {"action": "idle"}, number) for number in range(4)]
        of_row = [each.chosen.seed for each in generate_sprites(student, requests, 4, ranker)]
        sprites = generate_sprites(student, requests, 4, ranker, rows=[before] * 4)
        chosen = [each.chosen.seed for each in sprites]
        alone = [next(generate_sprites(student, [each], 4, ranker)).chosen.seed for each in requests]
        assert chosen != of_row != alone
        made = [title.removesuffix(" shiny") for title in titles(page)[:4]]  # by chance
        assert made == [f"elves idle {seed}" for seed in chosen]
        seeds = [sample_seed(2**30, 0, candidate) for candidate in range(4)]
        (other, seed), *_ = ((place, seed) for place, seed in enumerate(seeds) if seed != chosen[0])
        click(page, "Choose yourself")
        expect(page.locator("#choice-list button")).to_have_count(4)
        page.locator("#choice-list button").nth(other).click()
        expect(page.locator("#title")).to_have_attribute("title", re.compile(f"^elves idle {seed}"))
        expect(page.locator("#made button")).to_have_count(9)
        image = student("elves", action="idle", generator=seeded(seed)).images[0]
        if "shiny" not in titles(page)[0]:
            assert_same(pixels_of(page, "#large"), to_sprite(image))
        expect(page.locator("#choose")).to_have_attribute("aria-disabled", "true")  # it has no other ones
        forget(page)
        page.goto(f"{url}?type=elves&action=idle&seed=5&card=1")
        expect(page.locator("#save-card")).to_be_enabled()
        assert titles(page) == ["elves idle 5"]
        image = student("elves", action="idle", generator=seeded(5)).images[0]
        assert_same(pixels_of(page, "#made canvas"), to_sprite(image))
        page.goto(f"{url}?type=elves&seed=5&make=evolve")
        expect(page.locator("#status")).to_have_text("This link names no sprite. Here are others.")
