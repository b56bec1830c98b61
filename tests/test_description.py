"""Descriptions in words, as conditions; the page's tests read the same phrases."""

import json
from pathlib import Path

import pytest

from pokemon_ddpm.description import WORDS_FILE, parse_description
from pokemon_ddpm.vocabulary import CONDITIONS

PHRASES, NEGATED = (
    json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    for name in ("descriptions.json", "negated_descriptions.json")
)


@pytest.mark.parametrize(("text", "conditions", "unknown"), PHRASES)
def test_what_a_description_asks_for(text, conditions, unknown):
    assert parse_description(text, CONDITIONS) == (conditions, unknown)


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
