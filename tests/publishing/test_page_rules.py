"""The rules of the page in JavaScript, run by Node, beside those of Python."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.creature import enlarged
from pokemon_ddpm.description import SKETCHES, TABLE, drawn_sketch, parse_description, sketch_image
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.likeness import (
    MAX_LIKENESS,
    SHINY_DRAWS,
    close_outline,
    overlaps,
    share_palette,
    shared_drawing,
    shiny,
    shiny_table,
)
from pokemon_ddpm.pipelines.sampling import WHITE_QUANTILE
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.publishing.onnx_export import SPRITE_SETTINGS
from pokemon_ddpm.publishing.page import SOURCE
from pokemon_ddpm.sheets import squash
from pokemon_ddpm.studio import candidates_of, sample_seed
from pokemon_ddpm.trading_card import CARDS_FILE, NAMES_FILE, creature_name, trading_card
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.publishing.page_runs import SIDE, assert_same
from tests.test_description import SKETCHED, TAGGED, TAGS
from tests.test_names import OFFENSIVE, is_species
from tests.test_tags import tagged_conditioner
from tests.tiny_models import drawing_pipeline

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node, which runs JavaScript")
SEEDS = (0, 1, 7, 63, 1000, 99_999, 123_456_789, 2**31 - 1, 2**31, 2**32 - 1)
TESTS = Path(__file__).parents[1]
FILES = ("descriptions.json", "negated_descriptions.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """Calls a function of JavaScript, which uses these names of modules, with an argument as JSON has it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(modules: dict[str, str], code: str, argument: object) -> object:
        (folder / "argument.json").write_text(json.dumps(argument))
        imports = "".join(f'import {{ {names} }} from "./{module}.js";\n' for module, names in modules.items())
        (folder / "run.js").write_text(
            f'import {{ readFileSync }} from "fs";\n{imports}const run = {code};\n'
            'console.log(JSON.stringify(run(JSON.parse(readFileSync("argument.json", "utf8")))));'
        )
        done = subprocess.run(["node", "run.js"], cwd=folder, capture_output=True, text=True, timeout=300)
        assert not done.returncode, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


def test_random_numbers_and_seeds_are_those_of_pytorch_and_python(run):
    seeds = json.loads((TESTS / "sample_seeds.json").read_text())
    code = """([seeds, keys]) => [
        seeds.map((seed) => [...normal(4096, seed)]),
        keys.map((key) => [...key.slice(0, 3), sampleSeed(...key)]),
    ]"""
    numbers, found = run({"random": "normal, sampleSeed"}, code, [list(SEEDS), seeds])
    for seed, each in zip(SEEDS, numbers, strict=True):
        expected = torch.randn(4096, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(torch.tensor(each), expected, rtol=0, atol=1e-5)
    assert found == seeds


def test_conditions_are_drawn_as_in_python(run):
    conditioner = drawing_pipeline().conditioner
    rows = [*conditioner.config.training_conditions["rows"], "12 6 7 2 3", "12 6 18 10 3", "14 7 18 1 2"]
    table = {**conditioner.config.training_conditions, "rows": rows}
    conditioner = SpriteConditioner(**conditioner.config | {"training_conditions": table})
    asked = [{"type": "fire"}, {"type": "fire/flying"}, {"color": "red"}, {"type": "ice/none", "shape": "fish"}, {}]
    cases = [[conditions, seed] for conditions in asked for seed in range(30)]
    code = "([config, cases]) => cases.map(([conditions, seed]) => drawConditions(config, conditions, seed))"
    config = {"training_conditions": table, "vocabulary": conditioner.vocabulary}
    drawn = run({"draw": "drawConditions"}, code, [config, cases])
    for (conditions, seed), found in zip(cases, drawn, strict=True):
        given = {name: value for name, value in conditions.items() if name != "type"}
        expected = conditioner.draw(conditions.get("type"), given, seed)
        assert found == {name: value for name, value in expected.items() if value != "any"}


def test_tags_are_drawn_as_in_python(run):
    conditioner = tagged_conditioner()
    config = {"training_conditions": conditioner.config.training_conditions, "vocabulary": conditioner.vocabulary}
    asked = [{"type": "electric"}, {"tags": "part1 part2 part3 build4"}, {"tags": "any"}, {}]
    cases = [[conditions, seed] for conditions in asked for seed in range(20)]
    code = "([config, cases]) => cases.map(([conditions, seed]) => drawConditions(config, conditions, seed))"
    for (conditions, seed), found in zip(cases, run({"draw": "drawConditions"}, code, [config, cases]), strict=True):
        given = {name: value for name, value in conditions.items() if name != "type"}
        assert found == conditioner.draw(conditions.get("type"), given, seed)


def test_half_of_the_candidates_are_sketched_as_in_python(run):
    pipeline = drawing_pipeline()
    conditioner = pipeline.conditioner
    asked = ({"type": "fire"}, {"type": "fire/flying", "shape": "wings"}, {})
    cases = [*itertools.product(asked, (7, 2**31), range(4), range(1, 6))]
    code = """([config, cases]) => cases.map(([asked, seed, number, count]) => {
        const seeds = Array.from({ length: count }, (_, candidate) => sampleSeed(seed, number, candidate));
        return candidatesOf(config, { ...asked, ...drawConditions(config, asked, seeds[0]) }, asked, seeds, number);
    })"""
    vocabulary = conditioner.vocabulary | {"sketch": [*SKETCHES], "pose": [*SKETCHES]}
    config = {"training_conditions": conditioner.config.training_conditions, "vocabulary": vocabulary}
    modules = {"draw": "candidatesOf, drawConditions", "random": "sampleSeed"}
    found = run(modules, code, [config | {"sketches": TABLE}, cases])
    for (conditions, seed, number, count), each in zip(cases, found, strict=True):
        given = {name: value for name, value in conditions.items() if name != "type"}
        request = SpriteRequest(seed, conditions.get("type"), given, number)
        expected = []
        for candidate in candidates_of(pipeline, request, count):
            own = {"type": candidate.pokemon_type, **candidate.attributes, "pose": candidate.sketch}
            known = {name: value for name, value in own.items() if value not in (None, "any")}
            expected.append({"seed": candidate.seed, "conditions": known})
        assert each == expected
    assert {sum("pose" in one["conditions"] for one in each) for each in found} == {0, 1, 2}


def test_an_attribute_can_have_the_name_of_a_member_of_every_object(run):
    config = {"vocabulary": {"type": ["a"], "constructor": ["x", "y"]}, "weights": ""}
    config["training_conditions"] = {"attributes": ["constructor"], "drawn": ["constructor"], "rows": ["0 0 1 1"]}
    code = """(config) => [drawConditions(config, {}, 0), drawConditions(config, { constructor: "x" }, 0),
        candidatesOf(config, { type: "a" }, {}, [1], 0)]"""
    expected = [{"constructor": "y"}, {}, [{"seed": 1, "conditions": {"type": "a"}}]]
    assert run({"draw": "candidatesOf, drawConditions"}, code, config) == expected


def test_colors_out_of_range_are_brought_back_as_in_python(run):
    noise = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    samples = noise * torch.tensor([0.2, 1, 2.5]).view(3, 1, 1, 1)
    code = "([samples, quantile]) => samples.map((sample) => [...toPixels(Float32Array.from(sample), quantile)])"
    found = run({"sampling": "toPixels"}, code, [samples.flatten(1).tolist(), WHITE_QUANTILE])
    for sample, each in zip(drawing_pipeline().postprocess(samples * 0.5, "pil"), found, strict=True):
        assert_same(np.array(each, dtype=np.uint8).reshape(16, 16, 4), sample)


def test_sprites_are_finished_as_in_python(run):
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(6):  # colors around a few, with holes and fragments
        centers = rng.integers(0, 256, (5, 3))[rng.integers(0, 5, (16, 16))].repeat(4, axis=0).repeat(4, axis=1)
        color = (centers + rng.normal(0, 25, centers.shape)).clip(0, 255)
        alpha = 255 * (rng.random((SIDE, SIDE, 1)) < 0.6)
        samples.append(np.where(alpha, np.concatenate([color, alpha], axis=2), [255, 255, 255, 0]).astype(np.uint8))
    code = """([samples, settings]) =>
        samples.map((sample) => [...toSprite(Uint8ClampedArray.from(sample), settings)])"""
    found = run({"sprite": "toSprite"}, code, [[sample.ravel().tolist() for sample in samples], SPRITE_SETTINGS])
    for sample, each in zip(samples, found, strict=True):
        assert_same(np.array(each, dtype=np.uint8).reshape(sample.shape), to_sprite(Image.fromarray(sample, "RGBA")))


def test_parts_of_a_creature_are_those_of_python(run):
    """Colors and likeness, of 100 pairs of sprites with up to 16 colors; the transport is that of scipy."""
    rng = np.random.default_rng(0)
    palettes = rng.integers(0, 256, (200, 16, 3))
    palettes[::5] //= 5  # dark bodies
    colors = [palette[rng.choice(16, (16, 16), p=rng.dirichlet(np.ones(16)))] for palette in palettes]
    sprites = np.concatenate([colors, 255 * (rng.random((200, 16, 16, 1)) < 0.7)], axis=3).astype(np.uint8)
    sprites[::3, :, 0, 3] = 0  # the mirror images of odd widths are not in the middle
    sprites[7, ..., :3] = 16  # nothing of it becomes another color
    sprites[150:] = np.roll(sprites[50:100, :, ::-1], (2, 1), (1, 2))  # moved and mirrored
    sprites[20:30, :, 10:, 3] = sprites[20:30, :5, :, 3] = 0  # these can be enlarged
    sprites[sprites[..., 3] == 0] = 255, 255, 255, 0
    code = """([sprites, types, shinies]) => {
        const pixels = sprites.map((sprite) => Uint8ClampedArray.from(sprite));
        const pairs = pixels.slice(100).map((other, i) => [pixels[i], other]);
        const colors = pairs.map(([one, other], i) =>
            [sharePalette(one, other), shiny(one, one, types[i], shinies, i), shiny(other, one, types[i], shinies, i)]
                .map((each) => [...each]));
        const alike = pairs.map((pair) => [likeness.same(...pair), likeness.next(...pair)]);
        return [colors, alike, ...[enlarged, closeOutline].map((change) => pixels.map((each) => [...change(each)]))];
    }"""
    types = [["any"], ["elves"], *([each, "none"] for each in TYPES), *([each, "fire"] for each in TYPES)] * 3
    given = [sprites.reshape(200, -1).tolist(), types, shiny_table()]
    colors, alike, large, closed = run(
        {"creature": "closeOutline, enlarged, likeness, sharePalette, shiny"}, code, given
    )
    images = [Image.fromarray(sprite) for sprite in sprites]
    expected = []
    for i, (one, other) in enumerate(zip(images, images[100:], strict=False)):
        seeds = [sample_seed(i, "shiny", draw) for draw in range(SHINY_DRAWS)]
        expected.append([share_palette(one, other), *(shiny(each, one, types[i], seeds) for each in (one, other))])
    assert colors == [[np.asarray(image).ravel().tolist() for image in each] for each in expected]
    assert closed == [np.asarray(close_outline(each)).ravel().tolist() for each in images]
    centered = [Image.fromarray(fit_square(each, 16)) for each in sprites]
    assert large == [np.asarray(enlarged(each)).ravel().tolist() for each in centered]
    centered = [as_tensor(each) for each in (centered[:100], centered[100:])]
    expected = torch.stack([shared_drawing(*centered), overlaps(*centered).diagonal()], dim=1)
    np.testing.assert_allclose(alike, expected, atol=1e-6)
    assert expected[50:, 0].min() > MAX_LIKENESS["same"] > expected[:50, 0].max()


def test_idle_frames_are_those_of_python(run):
    rng = np.random.default_rng(0)
    sprites = rng.integers(0, 256, (8, SIDE, SIDE, 4), dtype=np.uint8)
    for i, sprite in enumerate(sprites):
        sprite[:, :, 3] = 255 * (rng.random((SIDE, SIDE)) < 0.5)
        sprite[: SIDE - 9 * i, :, 3] = 0
        sprite[::2] = sprite[1::2] if i % 2 else sprite[::2]
        sprite[sprite[..., 3] == 0] = [255, 255, 255, 0]
    code = "(sprites) => sprites.map((sprite) => [...squash(Uint8ClampedArray.from(sprite))])"
    found = run({"sheet": "squash"}, code, sprites.reshape(8, -1).tolist())
    assert found == [np.asarray(squash(Image.fromarray(sprite))).ravel().tolist() for sprite in sprites]


def test_descriptions_are_read_as_in_python(run):
    phrases = [text for file in FILES for text, *_ in json.loads((TESTS / file).read_text(encoding="utf-8"))]
    phrases += [text for text, _ in SKETCHED + TAGGED]
    code = """([texts, ...tables]) =>
        texts.map((text) => parseDescription(text, ...tables)).map(Object.values)"""
    words = json.loads((SOURCE / "words.json").read_text(encoding="utf-8"))
    for more in ({}, {"sketch": [*SKETCHES]}, {"tags": TAGS}):
        vocabulary = CONDITIONS | more
        found = run({"description": "parseDescription"}, code, [phrases, vocabulary, words, TABLE])
        assert found == [list(parse_description(text, vocabulary)) for text in phrases]


def test_sketches_are_drawn_as_in_python(run):
    sizes = itertools.cycle([*CONDITIONS["size"], None, "any"])
    cases = [
        [name, {"color": color, "size": next(sizes)}, seed]
        for name in SKETCHES
        for seed, color in enumerate(["any", "blue", None], 2**31 - 99)
    ]
    code = """([cases, table, side]) =>
        cases.map(([name, conditions, seed]) => [...sketchPixels(name, conditions, table, side, seed)])"""
    for side in (SIDE, 64):
        expected = [sketch_image(name, conditions, side, seed) for name, conditions, seed in cases]
        found = run({"sketch": "sketchPixels"}, code, [cases, TABLE, side])
        assert found == [np.asarray(each).ravel().tolist() for each in expected]


def test_poses_are_drawn_as_in_python(run):
    types = [(), *((name,) for name in TYPES), ("fire", "water")]
    cases = [
        [list(own), shape, seed]
        for own, seed in itertools.product(types, [*SEEDS, 126, 251])
        for shape in (None, *CONDITIONS["shape"][seed % 3 :: 5])
    ]
    code = """([cases, table]) => cases.map(([types, shape, seed]) => {
        const type = types.length ? { type: types.join("/") } : {}, asked = shape ? { shape } : {};
        const all = { ...type, color: "red", shape: shape ?? "arms" };
        const { pose, ...conditions } = withDrawnSketch(all, asked, table, seed);
        return [pose, conditions];
    })"""
    for (own, shape, seed), found in zip(cases, run({"sketch": "withDrawnSketch"}, code, [cases, TABLE]), strict=True):
        pose, own_type = drawn_sketch(own, shape, seed), {"type": "/".join(own)} if own else {}
        assert found == [pose, {"color": "red", "shape": shape or SKETCHES[pose]["shape"]} | own_type]


def test_names_and_cards_are_those_of_python_and_read_well(run):
    """Of all types, sizes and 20 seeds; two creatures that are fused have a name of both, which no species has."""
    names, cards = (json.loads(file.read_text(encoding="utf-8")) for file in (NAMES_FILE, CARDS_FILE))
    code = """([cases, names, cards]) => {
        const found = cases.map(([seed, types, size, legendary]) => ({
            name: nameOf(types[0], seed, 1, names),
            ...rulesOf(seed, types, { size, legendary: legendary ? "yes" : "no" }, cards),
        }));
        const stages = cases.map(([seed, [type]]) => [1, 2, 3].map((stage) => nameOf(type, seed, stage, names)));
        const blended = cases.map(([seed, [type, other]]) => blend([type, seed], [other ?? type, seed + 7], 1, names));
        return [found, stages, blended];
    }"""
    pairs = [[one] if i % 2 else [one, TYPES[i - 3]] for i, one in enumerate(TYPES)] + [["orcs"], ["fire", "none"]]
    sizes = itertools.cycle([*CONDITIONS["size"], None])
    cases = [[seed, types, next(sizes), seed == 3] for types in pairs for seed in range(20)]
    modules = {"trading": "rulesOf", "names": "blend, nameOf"}
    found, stages, blended = run(modules, code, [cases, names, cards])
    assert found == [trading_card(*case) for case in cases]
    assert stages == [[creature_name(types[0], seed, stage) for stage in (1, 2, 3)] for seed, types, *_ in cases]
    assert all(one[:3] == two[:3] and len({one, two, three}) == 3 for one, two, three in stages)
    assert not any(is_species(name.lower()) for name in blended)
    assert not any(word in name.lower() for name in blended for word in OFFENSIVE.split())
    texts = [card["text"] for card in found]
    assert len(set(texts)) > 0.9 * len(texts) and max(map(len, texts)) < 130
    assert sum(card["rare"] for card in found) < 0.2 * len(found)
    for one, two in (card["moves"] for card in found):
        assert one["name"] != two["name"] and two["damage"] > one["damage"]
    assert not any(card["weakness"] in card["types"][:1] for card in found)
    assert all(re.match(r"[A-Z][^,;]+, it [^,;]+; [^,;]+\.$", text) for text in texts)


def test_recipes_of_links(run):
    names = {"seed": ["pea"], "make": ["ford"], "doodle": ["dandy"]}
    recipes = [
        {"conditions": {"type": "fire", "seed": "pea", "make": "ford"}, "seed": 7, "makes": []}
        | {"to": {"conditions": {"make": "ford"}, "seed": 8}, "share": 0.5},
        {"conditions": {"doodle": "dandy"}, "seed": 1, "makes": ["shiny", "evolve"], "doodle": "a4000c96"},
    ]
    queries = [
        *("type=plastic&seed=1", "type=fire&seed=-1", "type=fire&seed=1&color=loud"),
        *(f"type=fire&seed=1&to-seed=2&{end}" for end in ("share=0", "share=1.5", "share=x", "to-type=x&share=0.5")),
        *(f"type=fire&seed=1&make={name}" for name in ("explode", "constructor", "__proto__", "back" + 16 * ".back")),
        *(f"type=fire&seed=1&doodle={each}" for each in ("", "a4096", "a4000f96", "b99", "a9999", "a0b4096")),
    ]
    code = """([vocabulary, recipes, queries]) => {
        const names = { begin: { any: "A" }, middle: "b", end: { 1: "c", 2: "d", 3: "e" }, avoid: "z" };
        const read = (query) => recipeOf(new URLSearchParams(query), { vocabulary });
        const found = recipes.map((recipe) => read(`${queryOf(recipe, "0123")}`));
        const broken = [{ share: 0.9, makes: [] }, { makes: [["shiny"]] }];
        const isAny = broken.some((each) => isRecipe({ conditions: {}, seed: 1, ...each }, { vocabulary }));
        return [found, queries.map(read), nameFor(recipes[1], names), isAny];
    }"""
    modules = {"recipe": "isRecipe, nameFor, queryOf, recipeOf"}
    found = run(modules, code, [CONDITIONS | names, recipes, queries])
    assert found == [recipes, [None] * len(queries), "Abd, shiny", False]


def test_what_decides_a_sprite_is_in_its_id(run):
    """Two attributes with the same values are two sprites; the order of attributes and of words is none."""
    conditions = [
        *({"type": "water", "sketch": "alien"}, {"type": "water", "pose": "alien"}, {"type": "water", "flies": "yes"}),
        *({"type": "water", "swims": "yes"}, {"tags": "red-wings"}, {"tags": "red wings"}),
    ]
    different = [{"conditions": each, "seed": 9, "makes": []} for each in conditions]
    different += [
        {**different[0], "makes": ["shiny"]},
        {**different[0], "seed": 8},
        {**different[0], "doodle": "b4096"},
    ]
    different += [{**different[0], "to": {"conditions": each, "seed": 5}, "share": 0.5} for each in conditions]
    pairs = [({"a": "1", "b": "2"}, {"b": "2", "type": "any", "a": "1"})]
    pairs += [({"tags": "wings red"}, {"tags": "red wings red"})]
    equal = [[{"conditions": each, "seed": 9, "makes": []} for each in pair] for pair in pairs]
    code = "([one, two]) => [one.map(identity), two.map((pair) => pair.map(identity))]"
    ids, same = run({"recipe": "identity"}, code, [different, equal])
    assert len({*ids}) == len(ids) and all(one == other for one, other in same)


def test_names_and_days_from_outside(run):
    names = ["\u202eaiM\x00", " Mia\u200b\u2066\n<b> ", "Mia\u2028", "\ud800é🐉" + 30 * "x", "\u200e ", None]
    days = ["2025-01-02", "2024-02-29", "2025-02-29", "2025-99-99", "2025-01-03", "2025", "today", "", None]
    code = """([names, days, now]) =>
        [names.map((each) => givenName(each) ?? null), days.filter((each) => isDay(each, now))]"""
    found, known = run({"recipe": "givenName, isDay"}, code, [names, days, 1735819200000])
    assert found == ["aiM", "Mia<b>", "Mia", "é🐉" + 22 * "x", None, None]
    assert known == ["2025-01-02", "2024-02-29"]


def test_what_is_fused_has_the_types_of_both(run):
    code = """(pairs) =>
        pairs.map(([one, other]) => typesOfBoth(one ?? undefined, other ?? undefined) ?? null)"""
    pairs = [["fire", "water"], ["fire/flying", "water/ice"], ["fire/flying", "fire"], ["fire", "fire/none"]]
    pairs += [[None, "ice"], [None, None]]
    found = run({"recipe": "typesOfBoth"}, code, pairs)
    assert found == ["fire/water", "fire/water", "fire/flying", "fire", "ice", None]


def test_the_creature_of_a_day_cries_and_surprise_shinies_follow_from_date_and_seed(run):
    code = """(types) => {
        const dates = Array.from({ length: 60 }, (_, day) => new Date(864e5 * (20000 + day)).toISOString());
        const days = dates.map((date) => ofDay(date.slice(0, 10), types));
        const cries = days.map(({ seed }) => notesOf({ seed, makes: [] }, "tiny"));
        const shinies = Array.from({ length: 6400 }, (_, seed) => seed).filter(isSurprise).length;
        return [days, cries, shinies, notesOf({ seed: 5, makes: [] }), notesOf({ seed: 5, makes: [] })];
    }"""
    modules = {"notes": "notesOf", "recipe": "isSurprise, ofDay"}
    days, cries, shinies, one, again = run(modules, code, TYPES)
    assert 70 < shinies < 130  # 100 are expected, with a standard deviation of 10
    assert len({day["seed"] for day in days}) == 60 and len({day["type"] for day in days}) > 12
    assert one == again and len({json.dumps(each) for each in cries}) == 60
    assert all(0.1 < sum(note[1] for note in each) < 0.9 for each in cries)
    assert all(150 < value < 5000 for each in cries for note in each for value in note[2:])
