"""The tables of descriptions and sketches; what descriptions ask for is in test_golden.py."""

import json

from pokemon_ddpm.description import SKETCHES, TABLE, WORDS_FILE, parse_description
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES


def test_every_synonym_names_values_and_no_word_is_one_and_ignored():
    table = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    for phrase, values in table["words"].items():
        assert values and all(value in CONDITIONS[name] for name, value in values.items()), phrase
        assert phrase not in f"{table['ignored']} {table['negations']}".split()
        assert len(phrase.split()) <= 3 and phrase not in {value for names in CONDITIONS.values() for value in names}


def test_a_model_with_other_classes_knows_its_own_words_only():
    vocabulary = {"type": ["elf archer", "orc"], "color": ["green"]}
    understood = parse_description("Two green elf-archers with wings and an orc dragon", vocabulary)
    assert understood == ({"type": "elf archer/orc", "color": "green"}, ["two", "wings", "dragon"])
    plurals = {"type": ["orcs", "undead-spirits", "wolves", "ants"], "color": ["orc"]}
    assert parse_description("an orc, an undead spirit and a wolf", plurals)[0]["type"] == "undead-spirits/wolves"
    assert parse_description("an ant with no hat", {**plurals, "hat": ["no hat"]})[0]["hat"] == "no hat"
    assert parse_description("an orc's bär", {"type": ["Bär", "Orc's"]}) == ({"type": "Orc's/Bär"}, [])
    assert parse_description("elephantine orcs", {"type": ["火", "orc"], "tags": ["日本"]})[0] == {"type": "orc"}


def test_the_table_has_whole_sketches_of_known_colors_and_no_word_twice():
    assert TABLE["colors"].keys() == {*CONDITIONS["color"]} and TABLE["sizes"].keys() == {*CONDITIONS["size"]}
    assert {*TABLE["types"]} <= {*TYPES} and {*TABLE["types"].values()} <= {*CONDITIONS["color"]}
    words = [word for sketch in SKETCHES.values() for word in sketch["words"].split()]
    assert len(words) == len({*words})
    for name, sketch in SKETCHES.items():
        assert [len(row) for row in sketch["rows"]] == [16] * 16 and {*"".join(sketch["rows"])} <= {*".#ox"}, name
        assert sketch["color"] in CONDITIONS["color"] and name in sketch["words"].split(), name
