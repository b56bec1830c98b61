"""The card of the data set: its numbers are those of the data, and what people wrote into it stays."""

import re
from pathlib import Path

import datasets
import pytest
from huggingface_hub import DatasetCard

from pokemon_ddpm import load_sprites
from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES, SPLITS
from pokemon_ddpm.publishing.dataset_card import dataset_card

NAME = "ash/pokemon-sprites"


@pytest.fixture
def sprites(small: Path, cache: Path) -> dict[str, datasets.DatasetDict]:
    return {name: load_sprites(small, name, cache_dir=cache) for name in ("front", "all")}


def test_the_numbers_and_fields_are_those_of_the_data(sprites):
    card = dataset_card(NAME, sprites)
    data = DatasetCard(card.content).data
    assert data.license_name == "research-and-education-only"
    assert [each["config_name"] for each in data["configs"] if each.get("default")] == ["front"]
    infos = {each["config_name"]: each for each in data["dataset_info"]}
    assert datasets.Features._from_yaml_list(infos["all"]["features"]) == FEATURES
    sizes = [len(sprites["all"][split]) for split in SPLITS]
    assert [each["num_examples"] for each in infos["all"]["splits"]] == sizes
    assert f"| `all` | {sum(sizes)} | {' | '.join(map(str, sizes))} | all images: " in card.text
    assert 'load_dataset("ash/pokemon-sprites")' in card.text and "Nintendo" in card.text
    for name, (_, meaning) in COLUMNS.items():
        assert re.search(rf"^\| `{name}` \| \w+ \| {re.escape(meaning)} \|", card.text, flags=re.MULTILINE), name


def test_the_starter_set(cache):
    card = dataset_card(NAME, {"starter": load_sprites(cache_dir=cache)})
    assert card.data.license == "apache-2.0"
    assert "Pixel-art procedural creatures, labelled" in card.text and "Nintendo" not in card.text
