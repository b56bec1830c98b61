"""The tables of descriptions and sketches; what descriptions ask for is in test_golden.py."""

from pokemon_ddpm.description import FUNCTIONS, SKETCHES, TABLE, WORDS, parse_description, plain, said
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
    assert {*TABLE["types"]} <= {*TYPES} and {*TABLE["types"].values()} <= {*CONDITIONS["color"]}
    for name, sketch in SKETCHES.items():
        assert len(sketch["rows"]) == 16 >= max(map(len, sketch["rows"])), name
        assert {*"".join(sketch["rows"])} <= {*".#ox"} and sketch["color"] in CONDITIONS["color"], name
        assert any(f"sketch {name}" in group.split(", ") for group in WORDS["meanings"]), name
