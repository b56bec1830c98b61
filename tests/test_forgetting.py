"""What a picture forgets of itself in training, counted with all nine attributes (design: 10, 30, 20 and 40 %)."""

import pytest
import torch

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.training.conditions import forget
from pokemon_ddpm.vocabulary import CONDITIONS

DRAWN = 200_000
FIRE, FLYING, ANY = 6, 7, 19
OTHERS = [name for name in CONDITIONS if name != "type"]
# A random part is one of the 2^9 - 1 sets that are not empty; of a given size k there are 9 choose k.
SETS = 2**9 - 1


def knowing_all() -> SpriteConditioner:
    return SpriteConditioner({name: list(words) for name, words in CONDITIONS.items()}, embedding_dim=4)


@pytest.fixture(scope="module")
def said() -> dict[str, torch.Tensor]:
    """Whether each picture says its first type, its second, and each other attribute, (DRAWN,) each."""
    conditioner = knowing_all()
    labels = {name: torch.ones(DRAWN, dtype=torch.int64) for name in OTHERS}
    labels["type"] = torch.tensor([[FIRE, FLYING]]).repeat(DRAWN, 1)
    kept = forget(labels, conditioner, 0.1, torch.Generator().manual_seed(0))
    assert all(((kept[name] == 1) | (kept[name] == len(CONDITIONS[name]))).all() for name in OTHERS)
    found = {name: kept[name] == 1 for name in OTHERS}
    return found | {"first": kept["type"][:, 0] == FIRE, "second": kept["type"][:, 1] == FLYING}


def assert_share(found: torch.Tensor, share: float) -> None:
    assert found.double().mean().item() == pytest.approx(share, abs=4.5 * (share * (1 - share) / DRAWN) ** 0.5)


def test_the_share_of_every_kind(said):
    types = said["first"].int() + said["second"].int()
    others = sum(said[name].int() for name in OTHERS)
    assert_share((types == 0) & (others == 0), 0.1)
    only = 0.3 + 0.4 / SETS  # the random part can be the types alone
    assert_share((types == 2) & (others == 0), only / 2)
    assert_share((types == 1) & (others == 0), only / 2)
    assert_share((types == 2) & (others == 8), 0.2 + 0.4 / SETS / 2)
    assert_share((types == 1) & (others == 8), 0.4 / SETS / 2)
    assert_share((others > 0) & (others < 8), 0.4 * (SETS - 3) / SETS)


@pytest.mark.parametrize("name", OTHERS)
def test_how_often_each_attribute_is_said(said, name):
    """Everything 20 %, and of the random parts the 2^8 sets that hold it."""
    assert_share(said[name], 0.2 + 0.4 * 2**8 / SETS)


@pytest.mark.parametrize("slot", ["first", "second"])
def test_how_often_each_type_is_said(said, slot):
    """Everything 20 %; where types are said otherwise, three times in four: both half of the time, else either."""
    assert_share(said[slot], 0.2 + (0.3 + 0.4 * 2**8 / SETS) * 3 / 4)


def test_a_random_part_holds_at_least_one_attribute():
    """If it could be empty, one picture in 1280 would say nothing: of these, 156."""
    labels = {name: torch.ones(DRAWN, dtype=torch.int64) for name in OTHERS}
    labels["type"] = torch.tensor([[FIRE, FLYING]]).repeat(DRAWN, 1)
    kept = forget(labels, knowing_all(), 0.0, torch.Generator().manual_seed(0))
    says = (kept["type"] != ANY).any(dim=1)
    for name in OTHERS:
        says |= kept[name] == 1
    assert says.all()


def test_what_is_not_known_of_a_picture_is_never_said():
    """Neither an attribute that is unknown (-1) nor one that the data set lacks; the others are."""
    conditioner, count = knowing_all(), 1000
    labels = {"type": torch.tensor([[FIRE, FLYING]]).repeat(count, 1), "color": torch.arange(count) % 11 - 1}
    any_ids = {name: conditioner.any_id(name) for name in conditioner.vocabulary}
    data = SpriteTensors(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), labels).described(any_ids)
    kept = forget(data.labels, conditioner, 0.1, torch.Generator().manual_seed(0))
    assert all((kept[name] == conditioner.any_id(name)).all() for name in OTHERS if name != "color")
    told = kept["color"] != conditioner.any_id("color")
    assert torch.equal(kept["color"][told], labels["color"][told]) and not told[labels["color"] < 0].any()
    assert told.sum() > 300
