"""From rows of a data set to the tensors that training indexes."""

import math
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import load_sprites
from pokemon_ddpm.data import SpriteTensors, size_classes, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import COLORS, FINISHES, SIZES

LABELS = {
    "type",
    "color",
    "shape",
    "game",
    "view",
    "finish",
    "form",
    "frame",
    "legendary",
    "height",
    "weight",
    "dex_number",
    "index",
    "line",
    "size",
}


@pytest.fixture(scope="module")
def starter(sprites_cache: Path) -> datasets.DatasetDict:
    return load_sprites(cache_dir=sprites_cache)


@pytest.fixture(scope="module")
def real(sprites_dir: Path, sprites_cache: Path) -> datasets.Dataset:
    return load_sprites(sprites_dir, split="test", cache_dir=sprites_cache)


def made(**columns: list) -> datasets.Dataset:
    """Two rows with all columns of the sprites, of which some are given."""
    picture = Image.new("RGB", (96, 96), "white")
    picture.paste((10, 120, 230), (30, 30, 40, 60))
    values = {
        name: [""] * 2 if getattr(feature, "dtype", "") == "string" else [0] * 2 for name, feature in FEATURES.items()
    }
    return datasets.Dataset.from_dict({**values, "image": [picture] * 2, **columns}, features=FEATURES)


def size_of(height: int) -> str:
    """The class of a height in decimetres: each begins at twice the height of the one before."""
    return SIZES[min(4, max(0, int(math.log2(height)) - 1))]


def assert_matches(tensors: SpriteTensors, dataset: datasets.Dataset) -> None:
    """Every label of every row, and the pictures of some, read one by one from the data set."""
    count = len(dataset)
    assert tensors.labels.keys() == LABELS
    for name, ids in tensors.labels.items():
        assert ids.dtype == torch.int64
        assert ids.shape == ((count, 2) if name == "type" else (count,))
    for number, row in enumerate(dataset.remove_columns("image")):
        assert tensors.labels["type"][number].tolist() == [row["type1"], row["type2"]]
        assert SIZES[tensors.labels["size"][number]] == size_of(row["height"])
        color = len(COLORS) if FINISHES[row["finish"]] == "shiny" else row["color"]
        assert tensors.labels["color"][number].item() == color
        for name in LABELS - {"type", "size", "color"}:
            expected = -1 if row[name] is None else int(row[name])
            assert tensors.labels[name][number].item() == expected, (number, name)
    for number in range(0, count, 40):
        expected = preprocess(dataset[number]["image"], tensors.images.shape[-1])
        assert np.array_equal(tensors.images[number].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("resolution", [32, 64])
def test_the_starter_set_becomes_tensors(resolution: int, starter: datasets.DatasetDict) -> None:
    tensors = sprite_tensors(starter["validation"], resolution)
    assert len(tensors) == 108
    assert tensors.images.shape == (108, 3, resolution, resolution)
    assert tensors.images.dtype == torch.uint8
    assert_matches(tensors, starter["validation"])
    types = tensors.labels["type"]
    assert torch.bincount(types[:, 0]).tolist() == [6] * 18
    assert int((types[:, 1] == 18).sum()) == 54  # half have no second type, which is the id after the eighteen


def test_real_sprites_become_tensors(real: datasets.Dataset) -> None:
    tensors = sprite_tensors(real, 32)
    assert tensors.images.shape == (409, 3, 32, 32)
    assert_matches(tensors, real)
    assert int((tensors.labels["weight"] == -1).sum()) == real["weight"][:].count(None) > 0
    assert int((tensors.labels["legendary"] == 1).sum()) == real["legendary"][:].count(True) > 0


def test_channels_and_axes_are_in_order() -> None:
    picture = np.full((96, 96, 3), 255, dtype=np.uint8)
    picture[10:30, 20:30] = (1, 2, 3)  # higher than wide
    images = sprite_tensors(made(image=[Image.fromarray(picture)] * 2), 32).images
    expected = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    expected[:, 6:26, 11:21] = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None]
    assert torch.equal(images, expected.expand(2, 3, 32, 32))


def test_the_mode_is_passed_on() -> None:
    dataset = made()
    fit, thesis = (sprite_tensors(dataset, 32, mode).images[0].permute(1, 2, 0).numpy() for mode in ("fit", "thesis"))
    assert not np.array_equal(fit, thesis)
    assert np.array_equal(thesis, preprocess(dataset[0]["image"], 32, "thesis"))


@pytest.mark.parametrize("weights, expected", [([None, 905], [-1, 905]), ([12, 34], [12, 34]), ([None] * 2, [-1] * 2)])
def test_an_unknown_weight_is_minus_one(weights: list, expected: list[int]) -> None:
    ids = sprite_tensors(made(weight=weights), 8).labels["weight"]
    assert ids.dtype == torch.int64
    assert ids.tolist() == expected


def test_a_truth_value_is_zero_or_one() -> None:
    assert sprite_tensors(made(legendary=[True, False]), 8).labels["legendary"].tolist() == [1, 0]


def test_labels_of_other_columns_are_left_out() -> None:
    dataset = made().select_columns(["image", "type1", "type2", "name"])
    assert sprite_tensors(dataset, 8).labels.keys() == {"type"}


@pytest.mark.parametrize(
    "missing, said",
    [
        (["image"], "lacks the column image;"),
        (["type1"], "lacks the column type1;"),
        (["type1", "type2"], "lacks the columns type1, type2;"),
    ],
)
def test_missing_columns_are_named(missing: list[str], said: str) -> None:
    with pytest.raises(ValueError) as error:
        sprite_tensors(made().remove_columns(missing), 32)
    assert said in str(error.value)
    # and what there is, so that a misspelt name is seen
    assert "shape, game" in str(error.value)


def test_types_that_are_no_class_labels_are_refused() -> None:
    dataset = made().cast_column("type1", datasets.Value("string"))
    with pytest.raises(ValueError, match="type1"):
        sprite_tensors(dataset, 32)


@pytest.mark.parametrize("column", ["color", "legendary"])
def test_words_of_somebody_else_are_refused(column: str) -> None:
    dataset = made().cast_column(column, datasets.ClassLabel(names=["red", "green"]))
    with pytest.raises(ValueError, match=f"The column {column} must be a .* map, rename or remove it."):
        sprite_tensors(dataset, 8)


def test_columns_of_somebody_else_say_nothing() -> None:
    dataset = made().remove_columns("height").add_column("size", [12, 99]).add_column("taste", [1, 2])
    assert not {"size", "taste"} & sprite_tensors(dataset, 8).labels.keys()


def test_classes_of_size_begin_at_their_limits() -> None:
    heights = torch.tensor([1, 3, 4, 7, 8, 15, 16, 31, 32, 1000, 0, -1])
    assert size_classes(heights).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # 5 is any: unknown


@pytest.mark.parametrize("resolution", [33, 0, -8])
def test_a_wrong_resolution_is_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        sprite_tensors(made(), resolution)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="fit, thesis"):
        sprite_tensors(made(), 32, "crop")


def test_tensors_move_to_a_device() -> None:
    moved = sprite_tensors(made(), 8).to(torch.device("meta"))
    assert moved.images.device.type == "meta"
    assert moved.labels.keys() == LABELS
    assert {ids.device.type for ids in moved.labels.values()} == {"meta"}


def test_a_shiny_has_not_the_colour_of_its_species() -> None:
    tensors = sprite_tensors(made(color=[3, 3], finish=[0, 1]), 8)
    assert tensors.labels["color"].tolist() == [3, len(COLORS)]


def test_what_is_unknown_says_nothing() -> None:
    data = SpriteTensors(
        torch.zeros(3, 3, 8, 8), {"color": torch.tensor([2, -1, 0]), "height": torch.tensor([1, 2, 3])}
    )
    described = data.described({"color": 10, "view": 2})
    assert described.labels.keys() == {"color", "view"}
    assert described.labels["color"].tolist() == [2, 10, 0]
    assert described.labels["view"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("column", ["type1", "type2"])
def test_a_missing_type_is_refused(column: str) -> None:
    with pytest.raises(ValueError, match=f"The column {column} is empty in some rows; say 'none'"):
        sprite_tensors(made(**{column: [0, None]}), 8)
