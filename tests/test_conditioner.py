"""The conditioner: every way of asking for a type, what it refuses, and what its embedding must not depend on."""

import numpy as np
import pytest
import torch

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.vocabulary import COLORS, TYPES

FIRE, FLYING, NONE, ANY = 6, 7, 18, 19  # the 18 types come in alphabetical order, then none, then any


@pytest.fixture(scope="module")
def conditioner() -> SpriteConditioner:
    torch.manual_seed(0)
    return SpriteConditioner({"type": list(TYPES)}, embedding_dim=16)


@pytest.fixture(scope="module")
def with_color() -> SpriteConditioner:
    torch.manual_seed(0)
    return SpriteConditioner({"type": list(TYPES), "color": list(COLORS)}, embedding_dim=16)


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        ("fire", (FIRE, ANY)),
        (" FIRE ", (FIRE, ANY)),
        ("fire/flying", (FIRE, FLYING)),
        (" Fire / FLYING ", (FIRE, FLYING)),
        (("fire", "flying"), (FIRE, FLYING)),
        (("flying", "fire"), (FLYING, FIRE)),
        ((FIRE, "flying"), (FIRE, FLYING)),
        (("fire",), (FIRE, ANY)),
        ("fire/none", (FIRE, NONE)),
        (("fire", "none"), (FIRE, NONE)),
        ("fire/any", (FIRE, ANY)),
        ("any", (ANY, ANY)),
        (0, (0, ANY)),
        (17, (17, ANY)),
        (np.int64(FIRE), (FIRE, ANY)),
        (np.uint8(FIRE), (FIRE, ANY)),
        (torch.tensor(FIRE), (FIRE, ANY)),
        ((FIRE, FLYING), (FIRE, FLYING)),
        (None, (ANY, ANY)),
    ],
)
def test_ids_of_every_way_of_asking(conditioner, request_, ids):
    assert conditioner.type_ids(request_) == ids
    assert all(type(number) is int for number in conditioner.type_ids(request_))


def test_every_name_has_the_id_of_its_position(conditioner):
    assert [conditioner.type_ids(name)[0] for name in TYPES] == list(range(18))
    assert (conditioner.none_id, conditioner.any_id("type")) == (NONE, ANY)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("fier", "fire"), ("Watter", "water"), ("fire/flyin", "flying"), (("psychc", "fire"), "psychic")],
)
def test_unknown_name_is_told_with_the_nearest_and_the_full_list(conditioner, wrong, nearest):
    with pytest.raises(ValueError) as error:
        conditioner.type_ids(wrong)
    message = str(error.value)
    assert f"Did you mean '{nearest}'?" in message
    assert ", ".join([*TYPES, "none", "any"]) in message


def test_a_name_near_to_none_gets_the_list_only(conditioner):
    with pytest.raises(ValueError, match="^Unknown type 'xyzzy'. Known: bug, dark, "):
        conditioner.type_ids("xyzzy")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("fire/fire", "same type twice"),
        (("fire", "FIRE"), "same type twice"),
        (("fire", FIRE), "same type twice"),
        ("none", "names no type"),
        ("none/any", "names no type"),
        ("any/none", "names no type"),
        ("none/none", "names no type"),
        ("fire/flying/water", "one type or two.*names 3"),
        (("fire", "flying", "water"), "one type or two.*names 3"),
        ((), "one type or two.*names 0"),
        ("", "Unknown type ''"),
        ("fire/", "Unknown type ''"),
        (-1, "Unknown type id -1: the ids are 0 .bug. to 17 .water."),
        (18, "Unknown type id 18"),
        (19, "Unknown type id 19"),
        ((0, 18), "Unknown type id 18"),
    ],
)
def test_wrong_values_are_refused(conditioner, wrong, message):
    with pytest.raises(ValueError, match=message):
        conditioner.type_ids(wrong)


@pytest.mark.parametrize(
    "wrong", [True, False, np.True_, 1.0, np.float32(1), 1 + 0j, b"fire", ["fire"], {"fire"}, (None,)]
)
def test_what_is_no_type_at_all_is_a_type_error(conditioner, wrong):
    with pytest.raises(TypeError):
        conditioner.type_ids(wrong)


def test_a_true_inside_a_tensor_is_no_type_either(conditioner):
    with pytest.raises(TypeError):
        conditioner.type_ids(torch.tensor(True))


def test_the_embedding_is_the_sum_of_the_two_rows_of_one_table(conditioner):
    table = conditioner.state_dict()["tables.type_embedding.weight"]
    assert table.shape == (20, 16)
    embedded = conditioner({"type": torch.tensor([[FIRE, FLYING], [FIRE, NONE], [ANY, ANY]])})
    expected = torch.stack([table[FIRE] + table[FLYING], table[FIRE] + table[NONE], table[ANY] + table[ANY]])
    torch.testing.assert_close(embedded, expected)


def test_the_order_of_a_pair_does_not_change_the_embedding(conditioner):
    pairs = torch.combinations(torch.arange(20), 2)
    assert torch.equal(conditioner({"type": pairs}), conditioner({"type": pairs.flip(1)}))


def test_different_requests_have_different_embeddings(conditioner):
    requests = ["fire", "fire/none", "fire/flying", "flying", "flying/none", None]
    embedded = conditioner({"type": torch.tensor([conditioner.type_ids(request) for request in requests])})
    distances = torch.cdist(embedded, embedded) + torch.eye(len(requests))
    assert distances.min() > 0.1


def test_a_second_attribute_is_one_more_table_that_is_added(with_color):
    tables = with_color.state_dict()
    assert set(tables) == {"tables.type_embedding.weight", "tables.color_embedding.weight"}
    types, colors = tables["tables.type_embedding.weight"], tables["tables.color_embedding.weight"]
    assert colors.shape == (len(COLORS) + 1, 16)
    assert with_color.any_id("color") == len(COLORS)
    embedded = with_color({"type": torch.tensor([[FIRE, NONE]]), "color": torch.tensor([7])})
    torch.testing.assert_close(embedded[0], types[FIRE] + types[NONE] + colors[7])


def test_an_attribute_left_out_counts_as_any(with_color):
    types, colors = torch.tensor([[FIRE, ANY], [3, NONE]]), torch.tensor([0, 4])
    any_color = torch.full((2,), len(COLORS))
    assert torch.equal(with_color({"type": types}), with_color({"type": types, "color": any_color}))
    any_type = torch.full((2, 2), ANY)
    assert torch.equal(with_color({"color": colors}), with_color({"type": any_type, "color": colors}))


def test_the_order_of_the_attributes_does_not_matter(with_color):
    types, colors = torch.tensor([[FIRE, ANY], [3, NONE]]), torch.tensor([0, 4])
    one, other = with_color({"type": types, "color": colors}), with_color({"color": colors, "type": types})
    assert torch.equal(one, other)


def test_an_unknown_attribute_is_refused_by_name(conditioner):
    labels = {"type": torch.tensor([[FIRE, ANY]]), "colour": torch.tensor([0]), "shape": torch.tensor([0])}
    with pytest.raises(ValueError, match="Not trained on colour, shape; it knows type"):
        conditioner(labels)


def test_no_label_at_all_is_refused_with_a_message(conditioner):
    with pytest.raises(ValueError):
        conditioner({})


@pytest.mark.parametrize("vocabulary", [{}, {"color": ["red"]}, {"type": []}])
def test_a_vocabulary_without_types_is_refused(vocabulary):
    with pytest.raises(ValueError, match="must hold 'type'"):
        SpriteConditioner(vocabulary, embedding_dim=8)


def test_the_embedding_starts_with_unit_variance():
    torch.manual_seed(0)
    conditioner = SpriteConditioner({"type": list(TYPES), "color": list(COLORS)}, embedding_dim=4096)
    embedded = conditioner({"type": torch.tensor([[FIRE, FLYING]]), "color": torch.tensor([2])})
    # The variance of 4096 unit Gaussians has a standard deviation of sqrt(2 / 4096) = 0.022.
    assert embedded.var().item() == pytest.approx(1, abs=0.09)


def test_gradients_reach_the_rows_that_were_asked_for_and_no_others(conditioner):
    conditioner({"type": torch.tensor([[FIRE, NONE]])}).sum().backward()
    gradient = conditioner.tables["type_embedding"].weight.grad
    assert gradient.abs().sum(dim=1).nonzero().flatten().tolist() == [FIRE, NONE]


def test_saved_and_loaded_it_is_the_same(with_color, tmp_path):
    with_color.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    loaded = SpriteConditioner.from_pretrained(tmp_path)
    assert loaded.vocabulary == {"type": list(TYPES), "color": list(COLORS)}
    assert loaded.config.embedding_dim == 16
    assert loaded.type_ids("fire/flying") == (FIRE, FLYING)
    for name, tensor in with_color.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.fixture
def with_augmentation() -> SpriteConditioner:
    torch.manual_seed(0)
    return SpriteConditioner({"type": list(TYPES), "color": list(COLORS)}, embedding_dim=16, augmentation_dim=8)


LABELS = {"type": torch.tensor([[FIRE, NONE], [3, ANY]]), "color": torch.tensor([1, 4])}


def parameters(seed: int) -> torch.Tensor:
    return torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))


def trained(conditioner: SpriteConditioner) -> SpriteConditioner:
    """With other weights for the augmentation than those of the start."""
    torch.nn.init.normal_(conditioner.augmentation_embedding.weight, generator=torch.Generator().manual_seed(1))
    return conditioner


def test_a_fresh_network_does_not_see_the_augmentation(with_augmentation, with_color):
    plain = with_augmentation(LABELS)
    assert torch.equal(with_augmentation(LABELS, parameters(0)), plain)
    # Nor does it make a difference for the tables.
    assert torch.equal(plain, with_color(LABELS))


def test_an_augmentation_of_zero_changes_nothing_ever(with_augmentation):
    conditioner = trained(with_augmentation)
    assert torch.equal(conditioner(LABELS, torch.zeros(2, 8)), conditioner(LABELS))
    assert not torch.allclose(conditioner(LABELS, parameters(0)), conditioner(LABELS))


def test_the_embedding_moves_linearly_with_the_augmentation(with_augmentation):
    """And the same way for all labels."""
    conditioner = trained(with_augmentation)
    assert "augmentation_embedding.bias" not in conditioner.state_dict()
    weight = conditioner.state_dict()["augmentation_embedding.weight"]
    assert weight.shape == (16, 8)
    one, other = parameters(0), parameters(1)
    moved = conditioner(LABELS, 2 * one - 3 * other) - conditioner(LABELS)
    torch.testing.assert_close(moved, 2 * one @ weight.T - 3 * other @ weight.T, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_augmentation_from_the_start(with_augmentation):
    with_augmentation(LABELS, parameters(0)).sum().backward()
    gradient = with_augmentation.augmentation_embedding.weight.grad
    torch.testing.assert_close(gradient, parameters(0).sum(dim=0).expand(16, 8))


def test_without_augmentation_there_are_no_weights_for_it(with_color):
    assert with_color.augmentation_embedding is None
    assert with_color.config.augmentation_dim == 0


def test_the_augmentation_is_saved_too(with_augmentation, tmp_path):
    conditioner = trained(with_augmentation)
    conditioner.save_pretrained(tmp_path)
    loaded = SpriteConditioner.from_pretrained(tmp_path)
    assert loaded.config.augmentation_dim == 8
    assert torch.equal(loaded(LABELS, parameters(0)), conditioner(LABELS, parameters(0)))


@pytest.mark.parametrize("position", range(len(COLORS)))
def test_a_name_of_another_attribute_has_the_id_of_its_position(with_color, position):
    name = COLORS[position]
    assert with_color.attribute_id("color", name) == position
    assert with_color.attribute_id("color", f" {name.upper()} ") == position


@pytest.mark.parametrize("nothing", ["any", " ANY", None])
def test_nothing_said_of_another_attribute_is_any(with_color, nothing):
    assert with_color.attribute_id("color", nothing) == with_color.any_id("color") == len(COLORS)


def test_an_attribute_that_it_was_not_trained_on_is_refused(with_color):
    with pytest.raises(ValueError, match="not trained on view; it knows color, type"):
        with_color.attribute_id("view", "front")
    with pytest.raises(ValueError, match="not trained on view"):
        with_color.attribute_id("view", None)


@pytest.mark.parametrize("wrong", ["rde", "", "none", 3])
def test_an_unknown_name_of_another_attribute_is_told_with_the_full_list(with_color, wrong):
    with pytest.raises(ValueError) as error:
        with_color.attribute_id("color", wrong)
    said = str(error.value)
    assert said.startswith(f"Unknown color {wrong!r}. ") and said.endswith(f"Known: {', '.join([*COLORS, 'any'])}.")
