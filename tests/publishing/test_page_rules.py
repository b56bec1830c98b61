"""The rules of the page in JavaScript, run by Node, beside those of Python."""

import itertools
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.pipelines.sampling import WHITE_QUANTILE
from pokemon_ddpm.publishing.onnx_export import SPRITE_SETTINGS
from pokemon_ddpm.publishing.page import RULES, SOURCE, words_of
from pokemon_ddpm.sketch import SKETCHES, TABLE
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.publishing.page_runs import assert_same, equal_pixels, joined
from tests.test_golden import CASES, CONDITIONERS, PIPELINE, VOCABULARIES, pair, sample, sprite
from tests.test_names import OFFENSIVE, is_species

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node, which runs JavaScript")
SEEDS = (0, 1, 7, 63, 1000, 99_999, 123_456_789, 2**31 - 1, 2**31, 2**32 - 1)


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
            'import { readFileSync } from "fs";\nimport { createHash } from "crypto";\n'
            f"{imports}const run = {code};\n"
            'console.log(JSON.stringify(await run(JSON.parse(readFileSync("argument.json", "utf8")))));'
        )
        done = subprocess.run(["node", "run.js"], cwd=folder, capture_output=True, text=True, timeout=300)
        assert not done.returncode, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


def test_noise_is_that_of_pytorch(run):
    numbers = run({"random": "normal"}, "(seeds) => seeds.map((seed) => [...normal(4096, seed)])", SEEDS)
    for seed, each in zip(SEEDS, numbers, strict=True):
        expected = torch.randn(4096, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(torch.tensor(each), expected, rtol=0, atol=1e-5)


MODULES = {
    "random": "sampleSeed", "draw": "candidatesOf, drawConditions, drawnBeside",
    "sketch": "drawnLike, sketchPixels, withDrawnSketch",
    "description": "parseDescription", "palettes": "closeOutline, matchColors, sharePalette, shiny",
    "sprite": "toSprite", "likeness": "likeness", "pixels": "grown", "sheet": "squash", "creature": "hasRoom",
}  # fmt: skip
# Rule of golden.json -> what makes of a case what Python makes of it.
JAVASCRIPT = {
    "seeds": "sampleSeed",
    "conditions": "(table, conditions, seed) => drawConditions(configs[table], conditions, seed)",
    "candidates": """(asked, seed, number, count, without) => {
        const seeds = Array.from({ length: count }, (_, candidate) => sampleSeed(seed, number, candidate));
        const conditions = drawnBeside(configs.candidates, asked, seed, number, seeds[0], without);
        const made = candidatesOf(configs.candidates, conditions, asked, seeds, number, without);
        return made.map(({ seed, conditions }) => [seed, conditions]);
    }""",
    "poses": """(types, shape, seed, without) => {
        const type = types.length ? { type: types.join("/") } : {}, asked = shape ? { shape } : {};
        return withDrawnSketch(type, asked, configs.usual.sketches, seed, without).pose ?? null;
    }""",
    "alike": "(name, given, seed, number) => drawnLike(name, given, seed, number, configs.usual)",
    "descriptions": "(text, name) => Object.values(parseDescription(text, configs[name], words[name]))",
    "sketches": "(name, given, side, seed) => sha(sketchPixels(name, given, configs.usual, side, seed))",
    "sprites": "(seed, sample) => sha(toSprite(sample, sprite))",
    "colors": """(seed, types, one, other) => {
        const made = [sharePalette(one, other, rules.palettes), shiny(one, one, types, seed, rules.palettes)];
        made.push(shiny(other, one, types, seed, rules.palettes), closeOutline(one, rules.palettes));
        made.push(matchColors(one, other, rules.palettes));
        return made.map(sha);
    }""",
    "likeness": "(_, one, other) => [likeness.same, likeness.next].map((alike) => alike(one, other, rules.likeness))",
    "larger": "(seed, sprite) => [sha(grown(sprite, rules.creature.enlargement)), hasRoom(sprite, rules)]",
    "idle": "(seed, sprite) => sha(squash(sprite, rules.sheets))",
}
IMAGES = {
    "sprites": lambda seed: [sample(seed)],
    "colors": lambda seed, _: pair(seed),
    "likeness": pair,
    "larger": lambda seed: [sprite(seed)],
    "idle": lambda seed: [sprite(seed, 64)],
}


@pytest.mark.parametrize("rule", CASES)
def test_the_page_makes_what_python_makes(run, rule):
    configs = {name: {"vocabulary": each} for name, each in VOCABULARIES.items()}
    for name, each in CONDITIONERS.items():
        vocabulary = each.vocabulary | dict.fromkeys(("sketch", "pose"), [*SKETCHES])  # as on the page
        configs[name] = {"vocabulary": vocabulary, "training_conditions": each.config.training_conditions}
    configs = {name: each | {"rules": RULES, "sketches": TABLE} for name, each in configs.items()}
    words = {name: words_of(vocabulary) for name, vocabulary in VOCABULARIES.items()}
    given = [given for *given, _ in CASES[rule]]
    images = [[each.ravel().tolist() for each in IMAGES.get(rule, lambda *_: [])(*each)] for each in given]
    found = run(
        MODULES,
        f"""([cases, images, {{ configs, words, rules, sprite }}]) => {{
            const sha = (pixels) => createHash("sha256").update(pixels).digest("hex").slice(0, 12);
            const make = {JAVASCRIPT[rule]};
            return cases.map((given, i) => make(...given, ...images[i].map((each) => Uint8ClampedArray.from(each))));
        }}""",
        [given, images, {"configs": configs, "words": words, "rules": RULES, "sprite": SPRITE_SETTINGS}],
    )
    expected = [made for *_, made in CASES[rule]]
    assert found == (pytest.approx(np.array(expected), abs=1e-6) if rule == "likeness" else expected)


def test_an_attribute_can_have_the_name_of_a_member_of_every_object(run):
    config = {"vocabulary": {"type": ["a"], "constructor": ["x", "y"]}, "weights": "", "rules": RULES}
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
    for image, each in zip(PIPELINE.postprocess(samples * 0.5, "pil"), found, strict=True):
        assert_same(np.array(each, dtype=np.uint8).reshape(16, 16, 4), image)


def test_a_head_on_a_body_is_in_a_box_between_both(run):
    """The sprites of every second pair fill different parts of the square."""
    cases = [(*pair(seed), share) for seed, share in itertools.product(range(8), (0.25, 0.55, 1))]
    code = "(cases) => cases.map(([one, other, share]) => [...joined(one, other, share)])"
    found = run(
        {"pixels": "joined"}, code, [[*(each.ravel().tolist() for each in case[:2]), case[2]] for case in cases]
    )
    for (one, other, share), pixels in zip(cases, found, strict=True):
        expected = joined(*map(Image.fromarray, (one, other)), share)
        assert equal_pixels(np.array(pixels, dtype=np.uint8).reshape(16, 16, 4), expected) == 1


def test_names_and_cards_read_well(run):
    """Of all types, sizes and 20 seeds; two creatures that are fused have a name of both, which no species has."""
    names, cards = (json.loads((SOURCE / f"{each}.json").read_text(encoding="utf-8")) for each in ("names", "cards"))
    code = """([cases, names, cards]) => {
        const found = cases.map(([seed, types, size, legendary]) => rulesOf(seed, types, { size, legendary }, cards));
        const stages = cases.map(([seed, [type]]) => [1, 2, 3].map((stage) => nameOf(type, seed, stage, names)));
        const blended = cases.map(([seed, [type, other]]) => blend([type, seed], [other ?? type, seed + 7], 1, names));
        return [found, stages, blended];
    }"""
    pairs = [[one] if i % 2 else [one, TYPES[i - 3]] for i, one in enumerate(TYPES)] + [["orcs"], ["fire", "none"]]
    sizes = itertools.cycle([*CONDITIONS["size"], None])
    cases = [[seed, types, next(sizes), "yes" if seed == 3 else "no"] for types in pairs for seed in range(20)]
    modules = {"trading": "rulesOf", "names": "blend, nameOf"}
    found, stages, blended = run(modules, code, [cases, names, cards])
    assert stages[0] == ["Larvalpip", "Larvalvex", "Larvalmond"]  # as links of earlier versions name them
    assert all(one[:3] == two[:3] and len({one, two, three}) == 3 for one, two, three in stages)
    assert not any(is_species(name.lower()) for name in blended)
    assert not any(word in name.lower() for name in blended for word in OFFENSIVE.split())
    texts = [card["text"] for card in found]
    assert len(set(texts)) > 0.9 * len(texts) and max(map(len, texts)) < 130
    for one, two in (card["moves"] for card in found):
        assert one["name"] != two["name"] and two["damage"] > one["damage"]
    weaknesses = {tuple(card["types"]): card["weaknesses"] for card in found}
    assert weaknesses["water",] == ["electric", "grass"] and weaknesses["orcs",] == []
    assert weaknesses["ground", "flying"] == ["ice"] and weaknesses["dragon", "water"] == ["dragon", "fairy"]
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
        *(f"type=fire&seed=1&doodle={each}" for each in ("", "a4096", "a4000h96", "b99", "a9999", "a0b4096")),
    ]
    others = "type=any/any&seed=7&make=vary-007.vary-0.vary-000", "type=fire/any&seed=007&make=next"
    code = """([vocabulary, recipes, queries, others]) => {
        const names = { begin: { any: "A" }, middle: "b", end: { 1: "c", 2: "d", 3: "e" }, avoid: "z" };
        const read = (query) => recipeOf(new URLSearchParams(query), { vocabulary });
        const found = recipes.map((recipe) => read(`${queryOf(recipe, "0123")}`));
        const broken = [{ share: 0.9, makes: [] }, { makes: [["shiny"]] }, { makes: ["vary-07"] }];
        broken.push({ conditions: { type: "fire/any" }, makes: [] });
        const isAny = broken.some((each) => isRecipe({ conditions: {}, seed: 1, ...each }, { vocabulary }));
        return [found, queries.map(read), nameFor(recipes[1], names), isAny, others.map(read)];
    }"""
    modules = {"recipe": "isRecipe, nameFor, queryOf, recipeOf"}
    *found, read = run(modules, code, [CONDITIONS | names, recipes, queries, others])
    assert found == [recipes, [None] * len(queries), "Abd, shiny", False]
    assert read == [  # each sprite has one form
        {"conditions": {}, "seed": 7, "makes": ["vary-7", "vary-0", "vary-0"]},
        {"conditions": {"type": "fire"}, "seed": 7, "makes": ["evolve"]},
    ]


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


def test_teams_and_opponents_are_fronts_of_different_creatures(run):
    """Those with a heart come first, then the newest."""
    water, fire = ({"conditions": {"type": each}, "seed": 5} for each in ("water", "fire"))
    given = [(water, ["back"], 1), (water, ["evolve"], 0), (water, [], 0), (water, ["shiny"], 0), (fire, ["back"], 1)]
    given += [(water, ["vary-1"], 0), (water, ["evolve", "vary-1", "shiny"], 1), (water, [], None)]
    sprites = [{"recipe": each | {"makes": makes}, "heart": heart, "pixels": heart is not None}
               for each, makes, heart in given]  # fmt: skip
    code = "(made) => { Object.assign(page, { made }); return fronts().map((each) => made.indexOf(each)); }"
    assert run({"state": "fronts, page"}, code, sprites) == [6, 1, 5]


def test_what_has_no_room_evolves_from_noise_alone(run):
    """Into the least alike one that is not smaller."""
    code = """async (config) => {
        const square = (side) => squareOf(16, (x, y) => x < side && y < side && [90, 120, 150]);
        const evolve = async (side) => {
            const asked = [], sides = [side, 8, 16, 15], { length } = sides;
            const sample = async (request) => square(sides[(asked.push(request) - 1) % length]);
            const recipe = { conditions: { size: "small" }, seed: 3, makes: ["evolve"] }, tries = {};
            await make(recipe, config, sample, undefined, tries);
            return [asked.length, asked[1].conditions.size, Boolean(asked[1].image), tries["2-front"]];
        };
        return [await evolve(8), await evolve(16)];
    }"""
    config = {"vocabulary": CONDITIONS, "rules": RULES, "sample_shape": [4, 16, 16]}
    found = run({"creature": "make", "pixels": "squareOf"}, code, config)
    assert found == [[3, "medium", True, 1], [18, "large", False, 2]]


def test_the_card_of_an_evolved_one_has_its_stage(run):
    """With views of that, and the other stages; of own classes, those with sizes can evolve."""
    code = """([vocabulary, makes, own]) => [
        makes.map((each) => cardRecipes({ conditions: {}, seed: 1, makes: each }, { vocabulary })),
        own.map((vocabulary) => Object.keys(CHANGES)
            .filter((each) => canMake(each, { vocabulary, own_classes: true }))),
    ]"""
    given = [CONDITIONS, [["shiny", "evolve"], ["vary-3", "back"]], [{}, {"size": ["small", "large"]}]]
    (evolved, first), own = run({"recipe": "CHANGES, canMake, cardRecipes"}, code, given)
    assert {name: each["makes"] for name, each in evolved.items()} == {
        "2-front": ["evolve"], "2-front-shiny": ["evolve", "shiny"], "2-back": ["evolve", "back"],
        "1-front": [], "3-front": ["evolve", "evolve"],
    }  # fmt: skip
    assert [*first] == ["1-front", "1-front-shiny", "1-back", "2-front", "3-front"]
    assert first["1-back"]["makes"] == ["vary-3", "back"] and own == [["shiny"], ["shiny", "evolve"]]


def test_names_and_days_from_outside(run):
    names = ["\u202eaiM\x00", " Mia\u200b\u2066\n<b> ", "Mia\u2028", "\ud800é🐉" + 30 * "x", "\u200e ", None]
    names += ["\u3164", "\u3164 \u2800", "❤\ufe0f"]
    days = ["2025-01-02", "2024-02-29", "2025-02-29", "2025-99-99", "2025-01-03", "2025", "today", "", None]
    code = """([names, days, now]) =>
        [names.map((each) => givenName(each) ?? null), days.filter((each) => isDay(each, now))]"""
    found, known = run({"recipe": "givenName, isDay"}, code, [names, days, 1735819200000])
    assert found == ["aiM", "Mia<b>", "Mia", "é🐉" + 22 * "x", None, None, None, None, "❤\ufe0f"]
    assert known == ["2025-01-02", "2024-02-29"]


def test_the_creature_of_a_day_cries_and_surprise_shinies_follow_from_date_and_seed(run):
    code = """(types) => {
        const dates = Array.from({ length: 60 }, (_, day) => new Date(864e5 * (20000 + day)).toISOString());
        const days = dates.map((date) => ofDay(date.slice(0, 10), types));
        const shinies = Array.from({ length: 6400 }, (_, seed) => seed).filter(isSurprise).length;
        return [days, shinies, ...[5, 5, 6].map((seed) => notesOf({ seed, makes: [] }, "tiny"))];
    }"""
    modules = {"cry": "notesOf", "recipe": "isSurprise, ofDay"}
    days, shinies, one, again, other = run(modules, code, TYPES)
    assert 70 < shinies < 130  # 100 are expected, with a standard deviation of 10
    assert len({day["seed"] for day in days}) == 60 and len({day["type"] for day in days}) > 12
    assert one == again != other
