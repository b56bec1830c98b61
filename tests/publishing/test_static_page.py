"""The page that generates in the browser: numbers of PyTorch, sprites of the pipeline, and what a visitor does."""

import functools
import http.server
import io
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytest.importorskip("playwright", reason="the browser tests need Playwright: pip install playwright")

from playwright.sync_api import Browser, Page, expect, sync_playwright

from pokemon_ddpm import RELEASED_FAST_MODEL, SpriteConditioner
from pokemon_ddpm.creature import ATTEMPTS, REFINE_STRENGTH, CreatureSettings, generate_creature
from pokemon_ddpm.description import parse_description
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.likeness import MAX_LIKENESS, MIN_GROWTH, growth, likeness, shared_drawing
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.palette_transport import SHINY_DRAWS, share_palette, shiny, shiny_table
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.publishing import static_page
from pokemon_ddpm.publishing.hub import ISOLATED
from pokemon_ddpm.publishing.static_page import RUNTIME, SOURCE, write_pages
from pokemon_ddpm.ranking import RANKER_FILE, SpriteRanker
from pokemon_ddpm.sheets import sheet_description, squash
from pokemon_ddpm.studio import generate_sprites, sample_seed
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES, USUAL
from tests.app.test_browser import CHROMIUM, TIMEOUT_MS
from tests.commands import run
from tests.test_package import ROOT
from tests.tiny_models import RELATIONS, drawing_pipeline, ranking_student, seeded, tiny_pipeline, tiny_student
from tests.training.runs import full_disk, wait_until

SIDE = 64
VERSION = RUNTIME.split("@")[1].split("/")[0]
AXE = "axe-core@4.14.1"
PHASER = "phaser@3.90.0"
FAST = "--js-flags=--liftoff-only"  # the runtime of each page is compiled once, not optimized
WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]  # computed on the CPU
SEEDS = (0, 1, 7, 63, 1000, 99_999, 123_456_789, 2**31 - 1, 2**31, 2**32 - 1)
ADDRESS = "https://example.org/p&q"
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
PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm, which downloads onnxruntime-web"),
]
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def pipeline():
    vocabulary = {**{name: list(values) for name, values in CONDITIONS.items()}, "relation": list(RELATIONS)}
    pipeline = tiny_student(SIDE, vocabulary)
    pipeline.register_to_config(default_conditions=USUAL)
    pipeline.unet.register_to_config(mirrors_references=True)
    return pipeline


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with its runtime, which npm serves."""
    folder = tmp_path_factory.mktemp("page")
    package = npm_package(f"onnxruntime-web@{VERSION}", tmp_path_factory.mktemp("npm"))
    write_pages({"tiny": pipeline}, folder, print, str(package / "dist"), ADDRESS)
    return folder


@pytest.fixture(scope="module")
def weights(pipeline) -> str:
    return weights_digest(pipeline.unet, pipeline.conditioner)


def npm_package(name: str, folder: Path) -> Path:
    done = subprocess.run(["npm", "pack", name], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm cannot download {name}: {done.stderr[-200:]}")
    shutil.unpack_archive(folder / done.stdout.split()[-1], folder)
    return folder / "package"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word; cuts the answers to the paths in `broken` once each, and waits in `halves`."""

    broken: list[str] = []  # noqa: RUF012
    halves: dict[str, threading.Event] = {}  # noqa: RUF012
    extra_headers: dict[str, str] = {}  # noqa: RUF012

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")  # as of a CDN
        for name, value in self.extra_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:
        if self.path in self.broken:
            self.broken.remove(self.path)
            outputfile.write(source.read(100))
        elif self.path in self.halves:
            outputfile.write(source.read(Path(source.name).stat().st_size // 2))
            self.halves[self.path].wait(TIMEOUT_MS / 1000)
            super().copyfile(source, outputfile)
        else:
            super().copyfile(source, outputfile)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=[FAST])


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page on a phone. In the end no script has failed, and nothing came from another host."""
    outside, failures = [], []
    with browser.new_context(**PHONE) as context:
        context.set_default_timeout(TIMEOUT_MS)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.on("request", lambda request: outside.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
        page.goto(url)
        yield page
    assert {urlsplit(address).hostname for address in outside} <= {None, "127.0.0.1"}
    assert not failures


def ready(page: Page) -> None:
    """Waits for the model, and for the first sprites, which start by themselves if there are none."""
    expect(page.locator("#credits")).to_contain_text("WebAssembly")
    expect(page.locator("#generate")).to_be_enabled()


def expect_sprite(page: Page, name: str) -> None:
    """Waits for a finished large sprite of the recipe in one line."""
    expect(page.locator("#title")).to_have_attribute("title", name)
    expect(page.locator("#gif")).to_be_enabled()


def pixels_of(page: Page, selector: str) -> np.ndarray:
    """The pixels of a canvas, uint8 (S, S, 4)."""
    code = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    pixels = np.array(page.locator(selector).first.evaluate(code), dtype=np.uint8)
    return pixels.reshape(math.isqrt(len(pixels) // 4), -1, 4)


def equal_pixels(found: np.ndarray, expected: Image.Image) -> float:
    """The share of equal pixels; a canvas forgets the colors of transparent ones."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape and expected[..., 3].any()
    return ((found == expected).all(axis=2) | ((found[..., 3] == 0) & (expected[..., 3] == 0))).mean()


def assert_same(found: np.ndarray, expected: Image.Image) -> None:
    assert equal_pixels(found, expected) >= 0.99


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


def test_normal_numbers_are_those_of_pytorch(page):
    code = """async (seeds) => {
        const { normal } = await import("./random.js");
        return seeds.map((seed) => [...normal(4096, seed)]);
    }"""
    for seed, found in zip(SEEDS, page.evaluate(code, list(SEEDS)), strict=True):
        expected = torch.randn(4096, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-5)


def test_seeds_of_samples_are_those_of_python(page):
    expected = json.loads((Path(__file__).parents[1] / "sample_seeds.json").read_text())
    code = """async (all) => {
        const { sampleSeed } = await import("./random.js");
        return all.map(([...key]) => [...key.slice(0, 3), sampleSeed(...key)]);
    }"""
    assert page.evaluate(code, expected) == expected


def test_conditions_are_drawn_as_in_python(page):
    conditioner = drawing_pipeline().conditioner
    rows = [*conditioner.config.training_conditions["rows"], "12 6 7 2 3", "12 6 18 10 3", "14 7 18 1 2"]
    table = {**conditioner.config.training_conditions, "rows": rows}
    conditioner = SpriteConditioner(**conditioner.config | {"training_conditions": table})
    asked = [{"type": "fire"}, {"type": "fire/flying"}, {"color": "red"}, {"type": "ice/none", "shape": "fish"}, {}]
    cases = [[conditions, seed] for conditions in asked for seed in range(30)]
    code = """async ([config, cases]) => {
        const { drawConditions } = await import("./draw.js");
        return cases.map(([conditions, seed]) => drawConditions(config, conditions, seed));
    }"""
    config = {"training_conditions": table, "vocabulary": conditioner.vocabulary}
    for (conditions, seed), found in zip(cases, page.evaluate(code, [config, cases]), strict=True):
        given = {name: value for name, value in conditions.items() if name != "type"}
        expected = conditioner.draw(conditions.get("type"), given, seed)
        assert found == {name: value for name, value in expected.items() if value != "any"}


def test_sprites_are_finished_as_in_python(page, folder):
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(6):  # colors around a few, with holes and fragments
        centers = rng.integers(0, 256, (5, 3))[rng.integers(0, 5, (16, 16))].repeat(4, axis=0).repeat(4, axis=1)
        color = (centers + rng.normal(0, 25, centers.shape)).clip(0, 255)
        alpha = 255 * (rng.random((SIDE, SIDE, 1)) < 0.6)
        samples.append(np.where(alpha, np.concatenate([color, alpha], axis=2), [255, 255, 255, 0]).astype(np.uint8))
    code = """async ([samples, settings]) => {
        const { toSprite } = await import("./sprite.js");
        return samples.map((sample) => [...toSprite(Uint8ClampedArray.from(sample), settings)]);
    }"""
    settings = json.loads((folder / "config.json").read_text())["sprite"]
    found = page.evaluate(code, [[sample.ravel().tolist() for sample in samples], settings])
    for sample, each in zip(samples, found, strict=True):
        assert_same(np.array(each, dtype=np.uint8).reshape(sample.shape), to_sprite(Image.fromarray(sample, "RGBA")))


def test_parts_of_a_creature_are_those_of_python(page):
    """Colors and likeness, of 100 pairs of sprites with up to 16 colors; the transport is that of scipy."""
    rng = np.random.default_rng(0)
    palettes = rng.integers(0, 256, (200, 16, 3))
    palettes[::5] //= 5  # dark bodies
    colors = [palette[rng.choice(16, (16, 16), p=rng.dirichlet(np.ones(16)))] for palette in palettes]
    sprites = np.concatenate([colors, 255 * (rng.random((200, 16, 16, 1)) < 0.7)], axis=3).astype(np.uint8)
    sprites[::3, :, 0, 3] = 0  # the mirror images of odd widths are not in the middle
    sprites[7, ..., :3] = 16  # nothing of it becomes another color
    sprites[150:] = np.roll(sprites[50:100, :, ::-1], (2, 1), (1, 2))  # moved and mirrored
    code = """async ([sprites, types, shinies]) => {
        const { likeness, sharePalette, shiny } = await import("./creature.js");
        const pixels = sprites.map((sprite) => Uint8ClampedArray.from(sprite));
        const pairs = pixels.slice(100).map((other, i) => [pixels[i], other]);
        const colors = pairs.map(([one, other], i) =>
            [sharePalette(one, other), shiny(one, one, types[i], shinies, i), shiny(other, one, types[i], shinies, i)]
                .map((each) => [...each]));
        const alike = pairs.map((pair) => [likeness.same(...pair), likeness.next(...pair)]);
        return [colors, alike];
    }"""
    types = [["any"], ["elves"], *([each, "none"] for each in TYPES), *([each, "fire"] for each in TYPES)] * 3
    colors, alike = page.evaluate(code, [sprites.reshape(200, -1).tolist(), types, shiny_table()])
    images = [Image.fromarray(sprite) for sprite in sprites]
    expected = []
    for i, (one, other) in enumerate(zip(images, images[100:], strict=False)):
        seeds = [sample_seed(i, "shiny", draw) for draw in range(SHINY_DRAWS)]
        expected.append([share_palette(one, other), *(shiny(each, one, types[i], seeds) for each in (one, other))])
    assert colors == [[np.asarray(image).ravel().tolist() for image in each] for each in expected]
    centered = [
        as_tensor(Image.fromarray(fit_square(np.asarray(each), 16)) for each in images[i : i + 100]) for i in (0, 100)
    ]
    expected = torch.stack([shared_drawing(*centered), likeness(*centered)[0]], dim=1)
    np.testing.assert_allclose(alike, expected, atol=1e-6)
    assert expected[50:, 0].min() > MAX_LIKENESS["same"] > expected[:50, 0].max()


def part(pipeline, front: Image.Image, name: str, relation: str = "same", **arguments) -> Image.Image:
    """A part of a creature of seed 5: the first attempt without a fault, or else that is no copy."""
    sprites, faults = [], []
    for attempt in range(ATTEMPTS[relation]):
        seed, given = sample_seed(5, name, attempt), {}
        if relation == "same":  # refined without its reference
            sample = pipeline("water", generator=seeded(seed), reference_image=front, **arguments).images[0]
            given = {"image": to_sprite(sample), "strength": REFINE_STRENGTH}
        sample = pipeline("water", generator=seeded(seed), **given, **arguments).images[0]
        sprites.append(share_palette(to_sprite(sample), front))
        one, other = (
            as_tensor([Image.fromarray(fit_square(np.asarray(each), SIDE))]) for each in (front, sprites[-1])
        )
        alike = shared_drawing(one, other) if relation == "same" else likeness(one, other)[0]
        is_small = relation == "next" and growth(one, other) < MIN_GROWTH
        faults.append(2 if is_small else alike > MAX_LIKENESS[relation])
    return sprites[np.argmin(faults)]


def test_a_link_makes_the_sprite_of_the_pipeline_and_what_follows_from_it(page, url, pipeline, weights):
    page.goto(f"{url}?type=water&seed=5")
    expect_sprite(page, "water 5")
    image = pipeline("water", generator=seeded(5)).images[0]
    assert_made_by_pipeline(page, image)
    sprite = to_sprite(image)
    back = part(pipeline, sprite, "1-back", view="back")
    draws = [sample_seed(5, "shiny", draw) for draw in range(SHINY_DRAWS)]
    made = part(pipeline, sprite, "2-front", relation="next")
    for label, expected in {
        "Back": back,
        "Shiny": shiny(sprite, sprite, ["water"], draws),
        "Evolve": made,
    }.items():
        page.goto(f"{url}?type=water&seed=5")
        page.get_by_role("button", name=label, exact=True).click()
        expect_sprite(page, f"water 5 {label.lower()}")
        assert_same(pixels_of(page, "#large"), expected)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#status")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{url}?type=water&seed=5&make=evolve&w={weights[:8]}"
    page.reload()
    ready(page)
    page.locator("#made button").first.click()
    expect_sprite(page, "water 5 evolve")
    expect(page.locator("#steps canvas")).to_have_count(0)  # they are made again only when they are saved
    with page.expect_download() as download:
        page.get_by_role("button", name="GIF").click()
    with Image.open(download.value.path()) as animation:
        assert animation.format == "GIF" and animation.n_frames == 5 and animation.size == (4 * SIDE, 4 * SIDE)
        animation.seek(4)
        assert_same(np.asarray(animation.convert("RGBA"))[::4, ::4], made)
    assert_same(saved_png(page), made)
    page.goto(f"{url}?type=water&seed=5&make=vary-9")
    expect_sprite(page, "water 5 vary-9")
    assert_made_by_pipeline(page, pipeline("water", generator=seeded(9), image=sprite).images[0], exactly=False)


@pytest.mark.slow
def test_a_link_makes_the_sprite_of_the_released_student(browser, folder, tmp_path):
    """50 seeds, types in turn: 99 % of all pixels are those of Python."""
    pipeline = GenerationSettings(RELEASED_FAST_MODEL).load("cpu")
    write_pages({"student": pipeline}, tmp_path, print, str(folder / "runtime"))
    equal = []
    with served(tmp_path) as url, browser.new_context(service_workers="block") as context:
        page = context.new_page()
        for seed in range(50):
            name = TYPES[seed % len(TYPES)]
            page.goto(f"{url}?type={name}&seed={seed}")
            expect_sprite(page, f"{name} {seed}")
            image = pipeline(name, generator=seeded(seed)).images[0]
            sample_of(page, image)
            equal.append(equal_pixels(pixels_of(page, "#large"), to_sprite(image)))
    assert np.mean(equal) >= 0.99


def saved_png(page: Page) -> np.ndarray:
    """The sprite of the open dialog as it is saved, made small again."""
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG ×4").click()
    return np.asarray(Image.open(download.value.path()))[1::4, 1::4]


def test_attributes_and_two_types(page, url, pipeline, weights):
    ready(page)
    page.get_by_text("Second type and attributes").click()
    page.get_by_label("second type").select_option("flying")
    page.get_by_label("color").select_option("red")
    page.get_by_label("size").select_option("large")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#status")).to_contain_text("4 sprites in ")
    page.locator("#made button").first.click()
    name, seed = page.locator("#title").get_attribute("title").rsplit(" ", 1)
    assert name == "fire/flying red large"
    made = pipeline("fire/flying", color="red", size="large", generator=seeded(int(seed))).images[0]
    assert_made_by_pipeline(page, made)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#status")).to_have_text("The link is copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{url}?type=fire%2Fflying&color=red&size=large&seed={seed}&w={weights[:8]}"
    page.evaluate("localStorage.clear()")
    page.goto(link)
    expect_sprite(page, f"{name} {seed}")
    assert_same(pixels_of(page, "#large"), to_sprite(made))
    page.reload()  # the sprite is there already
    expect_sprite(page, f"{name} {seed}")
    expect(page.locator("#made button")).to_have_count(1)
    expect(page.locator("#steps canvas")).to_have_count(4)  # they are made again


def test_a_visit(page):
    """Generating on a phone; a reload keeps the sprites; without the network the page still works."""
    ready(page)
    expect(page.locator("#credits")).to_have_text("Model tiny, WebAssembly, threads: 1.")
    page.get_by_role("radio", name="ghost").check(force=True)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#status")).to_contain_text("4 sprites in ")
    expect(page.locator("#made button")).to_have_count(8)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#made button").first.click()
    before = pixels_of(page, "#large")
    page.context.set_offline(True)
    page.reload()
    ready(page)
    expect(page.locator("#made button")).to_have_count(8)
    assert np.array_equal(pixels_of(page, "#made canvas"), before)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#made button")).to_have_count(12)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("#made button")).to_have_count(0)


def test_a_morph_is_the_interpolation_of_the_pipeline(page, url, pipeline):
    for type, seed in (("grass", 7), ("fire", 6), ("water", 5)):
        page.goto(f"{url}?type={type}&seed={seed}")
        expect_sprite(page, f"{type} {seed}")
    page.get_by_label("Interpolate to").select_option("fire 6")
    between = pipeline.interpolate({"pokemon_type": "water"}, {"pokemon_type": "fire"}, 5, seeded(5, 6)).images
    for share, image in zip((0.25, 1, 0.5), (between[1], between[4], between[2]), strict=True):
        page.get_by_label("How far").fill(str(share))
        expect_sprite(page, f"water 5 to fire 6 {share}")
        expect(page.locator("#large")).to_have_attribute(
            "aria-label", re.compile(f"{round(100 * share)} % of the way")
        )
        assert_same(pixels_of(page, "#large"), to_sprite(image))
        assert_same(saved_png(page), to_sprite(image))
    expect(page.locator("#made button")).to_have_count(3)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#status")).to_have_text("The link is copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{url}?type=water&seed=5&to-type=fire&to-seed=6&share=0.5&w=")
    page.get_by_role("button", name="Back").click()  # it is kept, since something was made of it
    expect_sprite(page, "water 5 to fire 6 0.5 back")
    expect(page.locator("#made button")).to_have_count(5)
    page.evaluate("localStorage.clear()")
    page.goto(link)
    expect_sprite(page, "water 5 to fire 6 0.5")
    assert_same(pixels_of(page, "#large"), to_sprite(between[2]))


def test_descriptions_and_names_are_those_of_the_tables(page):
    files = [Path(__file__).parents[1] / name for name in ("descriptions.json", "negated_descriptions.json")]
    phrases = [text for file in files for text, *_ in json.loads(file.read_text(encoding="utf-8"))]
    code = """async ([texts, vocabulary, types]) => {
        const read = async (file) => (await fetch(file)).json();
        const [{ parseDescription }, { nameOf }] = [await import("./description.js"), await import("./names.js")];
        const [words, names] = [await read("words.json"), await read("names.json")];
        const parsed = texts.map((text) => parseDescription(text, vocabulary, words));
        const stages = (type, seed) => [1, 2, 3].map((stage) => nameOf(type, seed, stage, names));
        const found = types.map((type) => Array.from({ length: 100 }, (_, seed) => stages(type, seed)));
        return [parsed.map(({ conditions, unknown }) => [conditions, unknown]), found, names];
    }"""
    vocabulary = {name: list(values) for name, values in CONDITIONS.items()}
    types = [*TYPES, "any"]
    parsed, found, names = page.evaluate(code, [phrases, vocabulary, types])
    assert parsed == [list(parse_description(text, CONDITIONS)) for text in phrases]
    for type, creatures in zip(types, found, strict=True):
        roots = {"".join(pair) for pair in itertools.product(names["begin"][type].split(), names["middle"].split())}
        ends = [set(names["end"][stage].split()) for stage in "123"]
        for creature in creatures:  # of one root
            endings = ([name.removeprefix(root) for name in creature] for root in roots)
            assert any(all(map(set.__contains__, ends, each)) for each in endings)
        assert len({first for first, *_ in creatures}) > 50


def test_a_description_chooses_what_is_generated(page):
    ready(page)
    field, chips = page.get_by_label("Description"), page.locator("#chips button")
    field.fill("a small blue dragon with wings and shoes")
    field.press("Enter")
    expect(page.locator("#chips")).to_contain_text("Not understood: shoes")
    expect(chips).to_have_text(["blue ×", "wings ×", "small ×"])
    expect(page.locator("#made button")).to_have_count(8)
    expect(page.locator("#generate")).to_be_enabled()
    titles = page.locator("#made button").evaluate_all("all => all.slice(0, 4).map((each) => each.title)")
    assert all(title.startswith("dragon blue wings small ") for title in titles)
    page.get_by_role("button", name="Remove small").click()
    expect(chips).to_have_text(["blue ×", "wings ×"])
    expect(field).to_be_focused()
    field.press("Enter")  # the same description again does not bring it back
    expect(chips).to_have_text(["blue ×", "wings ×"])
    field.fill("a red fire bird")
    field.press("Tab")
    expect(chips).to_have_text(["flying ×", "red ×", "wings ×"])


CARD_PARTS = ([], ["shiny"], ["back"], ["evolve"], ["evolve", "evolve"])


def test_a_card_is_shown_shared_and_saved(page, url, weights):
    """Each sprite is made once; the link has the same card; the sheet for games is that of Python."""
    page.add_init_script(SHARE)
    page.goto(f"{url}?type=water/fairy&size=small&seed=5")
    expect_sprite(page, "water/fairy small 5")
    link = f"{url}?type=water%2Ffairy&size=small&seed=5&w={weights[:8]}"
    page.get_by_role("button", name="Share").click()
    page.wait_for_function("window.shared")
    assert page.evaluate("[shared.url, shared.files[0].type]") == [link, "image/png"]
    page.get_by_role("button", name="Card").press("Enter")
    expect(page.locator("#card")).to_be_visible()
    expected = [" ".join(["water/fairy small 5", *makes]) for makes in CARD_PARTS]
    assert page.locator("#made button").evaluate_all("all => all.map((each) => each.title)") == expected
    requests = page.evaluate("requests.map(({ reference, seed }) => [Boolean(reference), seed])")
    assert requests.count([False, 5]) == 1
    label = re.compile(r"The card of \w+, water and fairy, small. It evolves into \w+, then \w+.")
    expect(page.locator("#card-image")).to_have_attribute("aria-label", label)
    page.locator("#share").click()
    link = f"{link}&card=1"
    assert page.evaluate("[shared.url, shared.files[0].type]") == [link, "image/png"]
    page.locator("#card-link").click()
    expect(page.locator("#card [role=status]")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == link
    with page.expect_download() as card:
        page.get_by_role("button", name="Save card").click()
    assert Image.open(card.value.path()).size == (600, 860)
    with page.expect_download() as sheet:
        page.get_by_role("button", name="Game sheet").click()
    assert_is_game_sheet(sheet.value.path(), weights, link)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Card")).to_be_focused()
    page.get_by_role("button", name="Card").press("Enter")  # nothing is left to make
    expect(page.locator("#card")).to_be_visible()
    assert page.evaluate("requests.length") == len(requests)
    before = page.locator("#card-image").evaluate("each => each.toDataURL()")
    page.evaluate("localStorage.clear()")
    page.goto(link)
    expect(page.locator("#card")).to_be_visible()
    assert page.locator("#card-image").evaluate("each => each.toDataURL()") == before


def assert_is_game_sheet(path: Path, weights: str, link: str) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.namelist() == ["creature.png", "creature.json"]
        description = json.loads(archive.read("creature.json"))
        sheet = Image.open(io.BytesIO(archive.read("creature.png"))).convert("RGBA")
    parts = "1-front 1-front-shiny 1-back 2-front 3-front".split()
    names = [f"{part}{end}.png" for end in ("", "-idle") for part in parts]
    conditions = {"type": "water/fairy", "size": "small"}
    recipes = [{"conditions": conditions, "seed": 5, "makes": list(makes)} for makes in CARD_PARTS]
    about = {"model": "tiny", "weights": weights, "link": link}
    assert description == sheet_description("creature.png", (SIDE, SIDE), 5, names, 2 * recipes, about)
    assert sheet.size == (5 * SIDE, 2 * SIDE)
    for i in range(5):
        sprite, idle = (sheet.crop((i * SIDE, y, (i + 1) * SIDE, y + SIDE)) for y in (0, SIDE))
        assert equal_pixels(np.asarray(idle), squash(sprite)) == 1


def test_the_lines_for_phaser_play_the_idle_animation(browser, pipeline, tmp_path):
    """Those of docs/generation.md, with the sheet of `pokemon-ddpm creature --idle`."""
    (lines,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "generation.md").read_text(encoding="utf-8"), re.DOTALL)
    shutil.copy(npm_package(PHASER, tmp_path) / "dist" / "phaser.min.js", tmp_path)
    list(generate_creature(pipeline, GenerationSettings("tiny"), CreatureSettings("fire", 7), tmp_path, idle=True))
    (tmp_path / "index.html").write_text(f'<script src="phaser.min.js"></script><script>{lines}</script>')
    code = """() => {
        const [sprite] = game.scene.scenes[0].children.list, { frames } = game.textures.get("creature");
        const cell = ({ cutX: x, cutY: y, cutWidth: w, cutHeight: h }) => ({ x, y, w, h });
        const cells = Object.fromEntries(Object.values(frames).map((frame) => [frame.name, cell(frame)]));
        return [cells, sprite.anims.currentAnim.frames.map(({ textureFrame }) => textureFrame)];
    }"""
    with served(tmp_path) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        for name in ("1-front.png", "1-front-idle.png", "1-front.png"):
            page.wait_for_function(f"game.scene.scenes[0]?.children.list[0]?.frame.name === '{name}'")
        cells, animation = page.evaluate(code)
    described = json.loads((tmp_path / "creature.json").read_text(encoding="utf-8"))["frames"]
    assert len(described) == 8 and {frame["filename"]: frame["frame"] for frame in described}.items() <= cells.items()
    assert animation == ["1-front.png", "1-front-idle.png"]


def test_idle_frames_are_those_of_python(page):
    """Of sprites of 0 to 63 rows, with holes, and with equal rows."""
    rng = np.random.default_rng(0)
    sprites = rng.integers(0, 256, (8, SIDE, SIDE, 4), dtype=np.uint8)
    for i, sprite in enumerate(sprites):
        sprite[:, :, 3] = 255 * (rng.random((SIDE, SIDE)) < 0.5)
        sprite[: SIDE - 9 * i, :, 3] = 0
        sprite[::2] = sprite[1::2] if i % 2 else sprite[::2]
        sprite[sprite[..., 3] == 0] = [255, 255, 255, 0]
    code = """async (sprites) => {
        const { squash } = await import("./sheet.js");
        return sprites.map((sprite) => [...squash(Uint8ClampedArray.from(sprite))]);
    }"""
    found = page.evaluate(code, sprites.reshape(8, -1).tolist())
    assert found == [np.asarray(squash(Image.fromarray(sprite))).ravel().tolist() for sprite in sprites]


def test_without_storage_and_clipboard(browser, url, weights):
    """As in a frame of another origin, or with plain http."""
    with browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.add_init_script("""
            Object.defineProperty(window, "localStorage", { get() { throw new DOMException("Access is denied"); } });
            Object.defineProperty(navigator, "clipboard", { value: undefined });
            Object.defineProperty(navigator, "serviceWorker", { value: undefined });
        """)
        page.goto(f"{url}?type=any&seed=7")
        expect_sprite(page, "any 7")
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator("#status")).to_have_text(f"{url}?type=any&seed=7&w={weights[:8]}")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete all").click()
        expect(page.locator("#made button")).to_have_count(0)


def test_it_is_accessible_and_fits(page, url, tmp_path):
    """axe finds nothing; types and Generate are below a large sprite on the first screen, a card is on one screen."""
    page.add_init_script(SHARE)
    axe = (npm_package(AXE, tmp_path) / "axe.min.js").read_text(encoding="utf-8")
    page.goto(f"{url}?type=water&seed=5")
    expect_sprite(page, "water 5")
    page.evaluate(axe)
    for is_open in (False, True):
        if is_open:
            page.get_by_role("button", name="Card").click()
            expect(page.locator("#card")).to_be_visible()
        for (width, height, side), scheme in itertools.product(((360, 640, 256), (1280, 900, 384)), ("light", "dark")):
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            result = page.evaluate("axe.run()")
            assert not result["violations"]
            assert "color-contrast" in {rule["id"] for rule in result["passes"]}
            names = ("#card-image", "#share", "#close") if is_open else ("#large", "#link", "#types", "#generate")
            boxes = [page.locator(name).bounding_box() for name in names]
            assert boxes[0]["width"] >= side and all(0 <= box["y"] <= height - box["height"] for box in boxes)


def test_while_the_model_loads(browser, url):
    """A sprite comes out of noise; a type can be chosen, and be described, of which the first sprites are."""
    held, words = [], []
    with browser.new_context(service_workers="block", reduced_motion="reduce") as context:
        page = context.new_page()
        page.route("**/unet.onnx", lambda route: held.append(route))
        page.goto(f"{url}?type=water&seed=5")
        expect(page.locator("#title")).to_have_attribute("title", "water 5")
        expect(page.locator("#intro")).to_have_class("noise")
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
        expect(page.locator("#status")).to_have_text(re.compile(r"Loading the model: \d+\.\d (of \d+\.\d )?MB"))
        held.pop().continue_()
        ready(page)
        titles = page.locator("#made button").evaluate_all("all => all.map((each) => each.title)")
        assert all(title.startswith("ghost red ") for title in titles)
        expect(page.locator("#made button")).to_have_count(4)
        expect(page.locator("#intro")).to_be_hidden()


def test_threads(browser, url, monkeypatch):
    """With cross-origin isolation, with which the runtime of another origin must load as well."""
    monkeypatch.setattr(Handler, "extra_headers", ISOLATED)
    with browser.new_context(service_workers="block") as context:
        other = f"{url.replace('127.0.0.1', 'localhost')}runtime/"
        answer = {**context.request.get(f"{url}config.json").json(), "runtime": other}
        context.route("**/config.json", lambda route: route.fulfill(json=answer))
        page = context.new_page()
        page.goto(url)
        ready(page)
        assert page.evaluate("crossOriginIsolated")
        threads = min(8, page.evaluate("navigator.hardwareConcurrency"))
        expect(page.locator("#credits")).to_have_text(f"Model tiny, WebAssembly, threads: {threads}.")


def test_webgpu(browser, url, pipeline):
    with browser.browser_type.launch(executable_path=CHROMIUM, args=[FAST, *WEBGPU]) as gpu:
        page = gpu.new_page()
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


def test_the_first_visit_shows_the_progress_of_its_downloads(browser, url, monkeypatch):
    """Although a service worker keeps what is downloaded."""
    go_on = threading.Event()
    names = ("unet.onnx", "conditioner.onnx", "runtime/ort-wasm-simd-threaded.wasm")
    monkeypatch.setattr(Handler, "halves", {f"/{name}": go_on for name in names})
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#status")).to_have_text(re.compile(r"Loading the model: (0\.[1-9]|[1-9]).* MB"))
        go_on.set()
        ready(page)


def test_a_broken_download_is_tried_again(browser, url):
    Handler.broken[:] = ["/unet.onnx"]
    with browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.goto(url, wait_until="commit")
        expect(page.locator("#status")).to_have_text("The download of unet.onnx broke off. Trying again.")
        ready(page)
    assert not Handler.broken


def test_a_failure_is_named(page):
    """Also after the last sprite."""
    ready(page)
    page.locator("select[name=color]").evaluate("each => { each.append(new Option('loud')); each.value = 'loud'; }")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#status")).to_contain_text("Unknown conditions: ")
    expect(page.locator("#made button")).to_have_count(4)


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
        context.set_offline(True)  # the new version also has the model and the runtime
        page.reload()
        ready(page)


def test_links_that_name_nothing(page, url):
    queries = [
        "type=plastic&seed=1",
        "type=fire&seed=-1",
        "type=fire&seed=1&color=loud",
        *(f"type=fire&seed=1&to-seed=2&{end}" for end in ("share=0", "share=1.5", "share=x", "to-type=x&share=0.5")),
        *(f"type=fire&seed=1&make={name}" for name in ("explode", "constructor", "__proto__", "back" + 16 * ".back")),
    ]
    recipes = page.evaluate(
        """async (queries) => {
            const { recipeOf } = await import("./recipe.js");
            const config = await (await fetch("config.json")).json();
            return queries.map((query) => recipeOf(new URLSearchParams(query), config));
        }""",
        ["type=fire&seed=1", *queries],
    )
    assert recipes[0]["seed"] == 1 and recipes[1:] == [None] * len(queries)
    page.goto(f"{url}?{queries[0]}")
    expect(page.locator("#status")).to_have_text("This link names no sprite.")


def test_a_link_of_another_model_with_what_others_added(page, url):
    page.goto(f"{url}?type=water&seed=5&w=01234567&fbclid=x&constructor=x")
    expect_sprite(page, "water 5")
    expect(page.locator("#status")).to_contain_text("Another model made the sprite of this link.")


@pytest.mark.parametrize(
    "stored",
    [
        "{",
        '{"weights": WEIGHTS, "entries": [null, {"recipe": RECIPE}]}',
        '{"weights": WEIGHTS, "entries": [{"recipe": RECIPE, "pixels": "AAAA"}]}',
    ]
    + [
        pytest.param(each, marks=pytest.mark.slow)
        for each in (
            "null",
            "7",
            '{"weights": WEIGHTS, "entries": {}}',
            '{"weights": WEIGHTS, "entries": [{"recipe": null, "pixels": "AAAA"}]}',
            '{"weights": WEIGHTS, "entries": [{"recipe": {}, "pixels": "AAAA"}]}',
        )
    ],
)
def test_damaged_storage_is_passed_over(page, weights, stored):
    recipe = '{"conditions": {"type": "fire"}, "seed": 1, "makes": []}'
    stored = stored.replace("RECIPE", recipe).replace("WEIGHTS", f'"{weights}"')
    page.add_init_script(f"localStorage.setItem('pokemon-ddpm-sprites /', {json.dumps(stored)})")
    page.reload()
    ready(page)
    expect(page.locator("#made button")).to_have_count(4)  # new ones


@pytest.mark.parametrize("damaged", [None, {"type": ["fire"], "color": None}])
def test_a_damaged_configuration_can_be_tried_again_and_attributes_have_any_name(browser, url, damaged):
    with browser.new_context(service_workers="block") as context:
        config = context.request.get(f"{url}config.json").json()
        names = {"status": ["new"], "generate": ["now"], "second": ["one"], "seed": ["pea"], "make": ["ford"]}
        vocabulary = {**config["vocabulary"], **names}
        answers = [{**config, "vocabulary": damaged}, {**config, "vocabulary": vocabulary}]
        context.route("**/config.json", lambda route: route.fulfill(json=answers.pop(0)))
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#status")).to_have_text("The page cannot use its model: config.json is damaged.")
        page.get_by_role("button", name="Try again").click()
        ready(page)
        expect(page.locator("#types input")).to_have_count(len(TYPES) + 1)
        page.locator("select[name=status]").select_option("new")
        conditions = page.evaluate("[...document.querySelectorAll('#attributes select')].map(({value}) => value)")
        assert conditions[0] == "any" and "new" in conditions
        assert page.evaluate("document.querySelectorAll('#status, #generate, #second').length") == 3
        recipe = {"conditions": {"type": "fire", "seed": "pea", "make": "ford"}, "seed": 7, "makes": []}
        recipe |= {"to": {"conditions": {"make": "ford"}, "seed": 8}, "share": 0.5}
        code = """async ([recipe, vocabulary]) => {
            const { queryOf, recipeOf } = await import("./recipe.js");
            return recipeOf(new URLSearchParams(`${queryOf(recipe, "0123")}`), { vocabulary });
        }"""
        assert page.evaluate(code, [recipe, vocabulary]) == recipe


def test_a_link_to_the_page_has_a_preview(pipeline, folder, tmp_path, monkeypatch):
    """With the address alone; the icon is there in any case."""
    html = (folder / "index.html").read_text(encoding="utf-8")
    tags = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[\w:]+)" content="([^"]+)"', html))
    assert tags["og:url"] == "https://example.org/p&amp;q/" and tags["twitter:card"] == "summary_large_image"
    assert tags["og:image"] == tags["twitter:image"] == f"{tags['og:url']}preview.png"
    image = folder / "preview.png"
    assert Image.open(image).size == (int(tags["og:image:width"]), int(tags["og:image:height"])) == (1200, 630)
    assert image.stat().st_size < 60_000
    assert Image.open(folder / "icon.png").size == (64, 64) and 'href="icon.png"' in html
    for each in ("export_onnx", "check_export", "_write_service_worker"):
        monkeypatch.setattr(static_page, each, lambda *_, **__: None)
    write_pages({"tiny": pipeline}, tmp_path, print)
    plain = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "og:" not in plain and "twitter:" not in plain and not (tmp_path / "preview.png").exists()
    for address in ("example.org", "ftp://example.org", "https:///page"):
        code, message = run("site", tmp_path, "--url", address)
        assert code == 2 and f"--url {address} is not a complete address" in message


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
    write_pages(models, site, print, str(folder / "runtime"), ADDRESS)
    assert Image.open(site / "units" / "preview.png").size == (1200, 630)
    tags = (site / "units" / "index.html").read_text(encoding="utf-8")
    assert f'content="{ADDRESS.replace("&", "&amp;").rstrip("/")}/units/"' in tags
    with served(site) as url, browser.new_context(**PHONE) as context:
        page = context.new_page()
        page.add_init_script(SHARE)
        page.goto(url)
        ready(page)
        page.get_by_role("link", name="units").click()
        ready(page)
        context.set_offline(True)  # after one visit
        page.get_by_role("link", name="tiny").click()
        ready(page)
        assert page.url == url
        page.get_by_role("link", name="units").click()
        ready(page)
        context.set_offline(False)
        url += "units/"
        assert page.url == url and "Pok" not in page.content() and "Nintendo" not in page.content()
        for link, start in {"card": "---\nlicense: gpl-3.0\n", "license": "Free."}.items():
            path = page.get_by_role("link", name=link, exact=True).get_attribute("href")
            assert page.request.get(url + path).text().startswith(start)
        expect(page.locator("#credits")).to_contain_text("Model units, WebAssembly")
        expect(page.locator("footer")).to_contain_text("The license of the model is gpl-3.0.")
        expect(page.get_by_role("radio", name="orcs")).to_be_checked()
        expect(page.locator("#made button").first).to_have_attribute("title", re.compile("^orcs "))
        expect(page.locator("[data-make]:visible")).to_have_text(["Back", "Variation"])
        expect(page.locator("#wish")).to_be_hidden()
        page.get_by_text("Attributes").click()
        expect(page.locator("#attributes label")).to_have_count(1)
        page.get_by_role("radio", name="elves").check(force=True)
        page.get_by_label("action").select_option("idle")
        page.evaluate("Math.random = () => 0.25")
        page.get_by_role("button", name="Generate").click()
        expect(page.locator("#status")).to_contain_text("4 sprites in ")
        titles = page.locator("#made button").evaluate_all("all => all.map((each) => each.title)")
        requests = [SpriteRequest(2**30, "elves", {"action": "idle"}, number) for number in range(4)]
        chosen = [each.chosen.seed for each in generate_sprites(student, requests, 4, ranker)]
        alone = [next(generate_sprites(student, [each], 4, ranker)).chosen.seed for each in requests]
        assert chosen[0] == alone[0] and chosen != alone
        assert titles[:4] == [f"elves idle {seed}" for seed in chosen]
        page.evaluate("localStorage.clear()")
        page.goto(f"{url}?type=elves&action=idle&seed=5&card=1")
        expect(page.locator("#card")).to_be_visible()
        titles = page.locator("#made button").evaluate_all("all => all.map((each) => each.title)")
        assert titles == ["elves idle 5", "elves idle 5 back"]
        image = student("elves", action="idle", generator=seeded(5)).images[0]
        assert_same(pixels_of(page, "#made canvas"), to_sprite(image))
        page.goto(f"{url}?type=elves&seed=5&make=evolve")
        expect(page.locator("#status")).to_have_text("This link names no sprite.")


def test_what_the_page_cannot_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Distill it first: pokemon-ddpm train --distill_from "):
        write_pages({"tiny": tiny_pipeline(channels=4)}, tmp_path, print)
    with pytest.raises(ValueError, match="not a model of transparent sprites .*: its images have 48x48 pixels in 4"):
        write_pages({"tiny": tiny_student(48)}, tmp_path, print)
    for runtime in ("nowhere/dist", str(SOURCE)):
        with pytest.raises(ValueError, match=f"{runtime} is neither a URL nor the dist folder .* ort.wasm.min.mjs"):
            write_pages({"tiny": tiny_student(SIDE)}, tmp_path, print, runtime)
    student = tiny_student(SIDE)
    student.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "LICENSE").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="model/LICENSE is a link out of the folder"):
        write_pages({str(tmp_path / "model"): student}, tmp_path, print)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(ValueError, match="models with different names"):
        write_pages({"a/tiny": tiny_student(SIDE), "b/tiny": tiny_student(SIDE)}, tmp_path, print)
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_named(pipeline, tmp_path):
    with full_disk(5000), pytest.raises(OSError) as error:
        write_pages({"tiny": pipeline}, tmp_path, print)
    assert Path(error.value.filename).parent == tmp_path and error.value.strerror == "File too large"
