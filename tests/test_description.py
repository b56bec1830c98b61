"""The tables of descriptions and sketches; what descriptions ask for is in test_golden.py."""

import json

import numpy as np

from pokemon_ddpm.description import EYE, SKETCHES, TABLE, WORDS_FILE, parse_description, sketch_image
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES


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
    assert parse_description("elephantine orcs", {"type": ["火", "orc"], "tags": ["日本"]})[0] == {"type": "orc"}


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
