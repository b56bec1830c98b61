"""Descriptions in words, as conditions; the page's tests read the same phrases."""

import json
from pathlib import Path

import numpy as np
import pytest

from pokemon_ddpm.description import EYE, SKETCHES, TABLE, WORDS_FILE, parse_description, sketch_image
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES

PHRASES, NEGATED = (
    json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    for name in ("descriptions.json", "negated_descriptions.json")
)


@pytest.mark.parametrize(("text", "conditions", "unknown"), PHRASES)
def test_what_a_description_asks_for(text, conditions, unknown):
    assert parse_description(text, CONDITIONS) == (conditions, unknown)


SKETCHED = [
    ("sleepy mushroom guy", "grass red large mushroom"),
    ("un petit renard de glace", "ice blue quadruped small fox"),
    ("robot crab", "steel/water gray armor large crab"),
    ("a green cat with mouse ears", "green quadruped large cat"),
    ("un petit fantôme", "ghost purple small ghost"),
    ("blue jelyfish", "water blue tentacles large jellyfish"),
    ("not a snake", ""),
    ("fish out of water", "water blue fish large fish"),
    ("red fire thing", "fire red"),
]


@pytest.mark.parametrize(("text", "expected"), SKETCHED)
def test_animals_and_things_are_sketches_in_a_usual_color_and_size(text, expected):
    found, _ = parse_description(text, CONDITIONS | {"sketch": tuple(SKETCHES)})
    assert " ".join(found.values()) == expected
    known, _ = parse_description(text, {"type": CONDITIONS["type"], "sketch": tuple(SKETCHES)})
    assert known == {name: found[name] for name in ("type", "sketch") if name in found}


TAGGED = [
    ("a small blue dragon with wings", "dragon blue wings small / dragon wings"),
    ("a robot fox with big ears and flames", "steel/fire quadruped / robot fox big-ears flames-on-body"),
    ("leaves, horn", "grass / leaves-on-body horns"),
    ("an owl without wings", "flying wings / owl"),
    ("a dargon bird of prey", "dragon / dragon bird-of-prey"),
]
TAGS = tuple("big-ears bird-of-prey dragon flames-on-body fox horns leaves-on-body owl robot wings".split())


@pytest.mark.parametrize(("text", "expected"), TAGGED)
def test_words_are_tags_beside_what_else_they_mean(text, expected):
    found, unknown = parse_description(text, CONDITIONS | {"tags": TAGS})
    tags = found.pop("tags")
    assert (" ".join(found.values()), tags) == tuple(expected.split(" / "))
    assert unknown == ["wings"] * ("without" in text)


@pytest.mark.parametrize(("text", "meant", "opposite"), NEGATED)  # written by somebody who had not seen the rules
def test_no_description_gives_the_opposite(text, meant, opposite):
    conditions, unknown = parse_description(text, CONDITIONS)
    assert not any(conditions.get(name) in values for name, values in opposite.items())
    for name, value in meant.items():
        assert conditions.get(name) == value or {name, value, *opposite.get(name, [])} & set(unknown)


def test_every_synonym_names_values_and_no_word_is_one_and_ignored():
    table = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    for phrase, values in table["words"].items():
        assert values and all(value in CONDITIONS[name] for name, value in values.items()), phrase
        assert phrase not in f"{table['ignored']} {table['negations']}".split()
        assert len(phrase.split()) <= 3 and phrase not in {each for names in CONDITIONS.values() for each in names}


def test_a_model_with_other_classes_knows_its_own_words_only():
    vocabulary = {"type": ["elf archer", "orc"], "color": ["green"]}
    found = parse_description("Two green elf-archers with wings and an orc dragon", vocabulary)
    assert found == ({"type": "elf archer/orc", "color": "green"}, ["two", "wings", "dragon"])
    plurals = {"type": ["orcs", "undead-spirits", "wolves", "ants"], "color": ["orc"]}
    assert parse_description("an orc, an undead spirit and a wolf", plurals)[0]["type"] == "undead-spirits/wolves"
    assert parse_description("an ant with no hat", {**plurals, "hat": ["no hat"]})[0]["hat"] == "no hat"
    assert parse_description("an orc's bär", {"type": ["Bär", "Orc's"]}) == ({"type": "Orc's/Bär"}, [])


STRAIGHT = 4 + 5 * 4 + 25 * 2  # a seed of the whole width and height that does not lean


def test_the_table_has_whole_sketches_of_known_colors_and_no_word_twice():
    assert TABLE["colors"].keys() == {*CONDITIONS["color"]} and TABLE["sizes"].keys() == {*CONDITIONS["size"]}
    assert {*TABLE["types"]} <= {*TYPES} and {*TABLE["types"].values()} <= {*CONDITIONS["color"]}
    words = [word for sketch in SKETCHES.values() for word in sketch["words"].split()]
    assert len(words) == len({*words})
    for name, sketch in SKETCHES.items():
        assert [len(row) for row in sketch["rows"]] == [16] * 16 and {*"".join(sketch["rows"])} <= {*".#ox"}, name
        assert sketch["color"] in CONDITIONS["color"] and name in sketch["words"].split(), name


def test_a_sketch_has_its_cells_in_the_color_and_the_size_that_are_asked_for():
    whole = np.asarray(sketch_image("mushroom", {"color": "blue", "size": "huge"}, 64, STRAIGHT))
    cells, rows = whole[2::4, 2::4], np.array([[*row] for row in SKETCHES["mushroom"]["rows"]])
    assert np.array_equal(whole, cells.repeat(4, axis=0).repeat(4, axis=1))
    light = [value + (255 - value) * 13 // 20 for value in (0x50, 0x82, 0xDC)]
    colors = {"#": [0x50, 0x82, 0xDC, 255], "o": [*light, 255], "x": [*EYE, 255], ".": [255, 255, 255, 0]}
    for letter, rgba in colors.items():
        assert np.array_equal((cells == rgba).all(axis=2), rows == letter)
    left, _, right, _ = sketch_image("mushroom", {"size": "tiny"}, 64, STRAIGHT).getbbox()
    assert abs(right - left - 0.6 * 64) < 1 and abs(left + right - 64) <= 1
    for usual in ({"color": "any", "size": None}, {"color": "red", "size": "large"}):
        assert sketch_image("mushroom", {}, 64, 7) == sketch_image("mushroom", usual, 64, 7)


def test_another_seed_gives_it_less_width_and_height_and_leans_it():
    images = [sketch_image("cake", {"size": "huge"}, 100, seed) for seed in range(126)]
    assert images[0] == images[125] and len({each.tobytes() for each in images[:125]}) == 125
    boxes = [each.getbbox() for each in images[50:75]]  # upright
    assert [right - left for left, _, right, _ in boxes[:5]] == [80, 85, 90, 95, 100]
    heights = [below - above for _, above, _, below in boxes]
    assert heights == sorted(heights) and abs(heights[0] / heights[-1] - 0.8) < 0.02
    tops = [np.argwhere(np.asarray(each)[:40, :, 3])[:, 1].mean() for each in images[24:125:25]]
    assert tops == sorted(tops, reverse=True) and tops[0] - tops[-1] > 8
