"""The tables of descriptions and sketches; what descriptions ask for is in test_golden.py."""

import numpy as np
import pytest

from pokemon_ddpm.description import FUNCTIONS, WORDS, parse_description, plain, said
from pokemon_ddpm.sketch import DRAWN, SKETCHES, TABLE, drawn_like, sketch_image, strength_of
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES


def test_every_synonym_names_values_and_no_word_is_one_and_ignored():
    known, words = {*SKETCHES}, []
    for group, listed in WORDS["meanings"].items():
        for name, value in (pair.split(" ", 1) for pair in group.split(", ")):
            assert value in (known if name == "sketch" else CONDITIONS[name]), group
        words += [word.replace("_", " ") for word in listed.split()]
    assert len(words) == len({*words}) and not {*FUNCTIONS} & {*words}
    assert all(len(word.split()) <= 3 and word == plain(word) for word in words)


def test_names_of_other_languages_are_of_known_words_as_they_are_read():
    listed = " ".join(WORDS["meanings"].values()).replace("_", " ")
    values = {value for name in ("type", "color", "size", "shape") for value in CONDITIONS[name]}
    for word, names in WORDS["names"].items():
        assert word in values or word in listed, word
        assert all(name == plain(name) for name in names.split()), word
    for name in "gato chat katze кошка ねこ 고양이 猫 🐈 🐱".split():
        assert name in WORDS["names"]["cat"].split()


def test_what_is_denied_is_said_with_whether_it_is_kept():
    text = "a cat without wings, not a dragon, no fur"
    without = parse_description(text, CONDITIONS | {"sketch": [*SKETCHES]}).without
    assert said(without) == {"without wings": False, "no dragon": True, "no fur": False}


def test_a_model_with_other_classes_knows_its_own_words_only():
    vocabulary = {"type": ["elf archer", "orc"], "color": ["green"]}
    understood = parse_description("Two green elf-archers with wings and an orc dragon", vocabulary)
    assert understood == ({"type": "elf archer/orc", "color": "green"}, {}, {}, ["two", "wings", "dragon"])
    plurals = {"type": ["orcs", "undead-spirits", "wolves", "ants"], "color": ["orc"]}
    assert parse_description("an orc, an undead spirit and a wolf", plurals)[0]["type"] == "undead-spirits/wolves"
    assert parse_description("an ant with no hat", {**plurals, "hat": ["no hat"]})[0]["hat"] == "no hat"
    assert parse_description("an orc's bär", {"type": ["Bär", "Orc's"]}) == ({"type": "Orc's/Bär"}, {}, {}, [])
    assert parse_description("elephantine orcs", {"type": ["火", "orc"], "tags": ["日本"]})[0] == {"type": "orc"}


def test_the_table_has_whole_sketches_of_known_colors():
    assert TABLE["colors"].keys() == {*CONDITIONS["color"]} and TABLE["sizes"].keys() == {*CONDITIONS["size"]}
    assert TABLE["lifts"].keys() == {*TYPES} and all(len(own.split()[0]) == 10 for own in TABLE["lifts"].values())
    for name, sketch in SKETCHES.items():
        assert len(sketch["rows"]) % 16 == 0 < len(sketch["rows"]) and max(map(len, sketch["rows"])) <= 16, name
        assert {*"".join(sketch["rows"])} <= {*".#ox"} and 0.5 <= strength_of(name) <= 1, name
        assert [*map(len, sketch["drawn"].split())] == [len(CONDITIONS[each]) for each in DRAWN], name
        assert any(f"sketch {name}" in group.split(", ") for group in WORDS["meanings"]), name


def test_a_row_has_colors_in_proportion_and_unlike_each_other():
    """Of many numbers each value comes as often as the table says; what is said or denied is kept."""
    drawn = [drawn_like("cat", {"type": "any", "size": "any"}, 7, number) for number in range(1000)]
    digits = SKETCHES["cat"]["drawn"].split()[1]
    shares = {value: int(digit) for value, digit in zip(CONDITIONS["color"], digits, strict=True)}
    for value, share in shares.items():
        count = sum(each["color"] == value for each in drawn)
        assert abs(count / 1000 - share / sum(shares.values())) < 0.004
    assert all(each.keys() == {"shape", "color"} for each in drawn)
    rows = [len({each["color"] for each in drawn[i : i + 8]}) for i in range(0, 1000, 8)]
    assert min(rows) >= 5  # independent draws have three now and then
    denied = [drawn_like("cat", {}, 7, number, [("color", "blue"), ("type", "dark")]) for number in range(50)]
    assert not [each for each in denied if each["color"] == "blue" or each["type"] == "dark"]


def test_sketches_of_other_seeds_are_turned_scaled_and_bent():
    """The mean of the masks of many seeds is the drawing, blurred; their areas spread as their scales do."""
    masks = np.array([np.array(sketch_image("star", {}, 64, seed))[..., 3] > 0 for seed in range(200)])
    areas = np.log(masks.sum(axis=(1, 2)))
    assert areas.std() == pytest.approx(0.15 * 2**0.5, rel=0.25)
    mean, middle = masks.mean(axis=0), np.indices((64, 64)) - 31.5
    assert np.abs((mean * middle).sum(axis=(1, 2)) / mean.sum()).max() < 3
    same = np.array(sketch_image("star", {"color": "any"}, 64, 3))
    assert (same == np.array(sketch_image("star", {}, 64, 3))).all() and len(np.unique(masks, axis=0)) == 200
