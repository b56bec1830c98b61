"""The randomness of training: a function of what is being done, and distributed as it should be."""

import dataclasses
import itertools
from collections import Counter

import pytest
import torch

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.timesteps import LossSecondMoment
from pokemon_ddpm.training.batches import Batch, draw_batch
from pokemon_ddpm.training.conditions import forget
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.randomness import batch_indices, derive_seed, generator_for
from pokemon_ddpm.vocabulary import COLORS, TYPES

FIRE, FLYING, NONE, ANY = 6, 7, 18, 19
RED, ANY_COLOR = 7, 10


def conditioner_of(*attributes: str) -> SpriteConditioner:
    words = {"type": list(TYPES), "color": list(COLORS)}
    return SpriteConditioner({attribute: words[attribute] for attribute in attributes}, embedding_dim=4)


# Seeds


def test_different_keys_have_different_seeds():
    keys = [key for length in (1, 2, 3) for key in itertools.product(range(8), repeat=length)]
    keys += [(2**32,), (2**32, 1), (1, 2**32), (2**63,)]
    seeds = {derive_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_seed_of_a_key_never_changes():
    """Else a run could not be gone on with by a later version: change this number only with a note to users."""
    assert derive_seed(7, 1, 3) == 282382800626693288


def test_a_generator_is_a_function_of_its_key():
    one, same, other = (
        torch.rand(4, generator=generator_for("cpu", *key)) for key in [(0, 1, 2), (0, 1, 2), (0, 2, 1)]
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


# Order of the pictures


def stream(size: int, seed: int, batch_size: int, steps: int) -> torch.Tensor:
    return torch.cat([batch_indices(size, seed, step, batch_size) for step in range(steps)])


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (10, 4), (7, 3), (5, 5), (3, 8), (1, 4), (13, 1)])
def test_every_epoch_holds_every_picture_once(size, batch_size):
    epochs = 4
    indices = stream(size, 0, batch_size, steps=-(-size * epochs // batch_size))
    assert indices.dtype == torch.int64
    for epoch in indices[: size * epochs].view(epochs, size):
        assert epoch.sort().values.tolist() == list(range(size))


@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (3, 8), (5, 5)])
def test_every_batch_is_full(size, batch_size):
    assert all(len(batch_indices(size, 0, step, batch_size)) == batch_size for step in range(12))


def test_epochs_differ_and_seeds_differ():
    first, second = stream(50, 0, 50, 2).view(2, 50)
    assert not torch.equal(first, second)
    assert not torch.equal(first, batch_indices(50, 1, 0, 50))
    assert not torch.equal(first, torch.arange(50))


def test_a_batch_is_a_function_of_seed_and_step_only():
    in_order = [batch_indices(10, 3, step, 4) for step in range(20)]
    for step in reversed(range(20)):
        batch_indices(11, 4, step, 4)
        assert torch.equal(batch_indices(10, 3, step, 4), in_order[step])


def test_the_order_of_pictures_does_not_depend_on_how_it_is_cut():
    assert torch.equal(stream(10, 0, 4, 15), stream(10, 0, 6, 10))


def test_changing_a_batch_does_not_change_the_next_call():
    batch = batch_indices(10, 0, 0, 10)
    before = batch.clone()
    batch.zero_()
    assert torch.equal(batch_indices(10, 0, 0, 10), before)


# Batches


@pytest.fixture(scope="module")
def data() -> SpriteTensors:
    """60 pictures without symmetry; picture i has the value 4 i at its upper left corner."""
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(60, dtype=torch.uint8) * 4
    types = torch.stack([torch.arange(60) % 17, torch.full((60,), 17)], dim=1)
    return SpriteTensors(images, {"type": types, "color": torch.arange(60) % 10, "index": torch.arange(60)})


AUGMENTED = {f"{kind}_prob": 0.2 for kind in ("translate", "scale", "rotate", "brightness", "hue")}


def tensors_of(batch: Batch) -> dict[str, torch.Tensor]:
    """All tensors of a batch by name."""
    found = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    labels = {f"labels.{name}": ids for name, ids in found.pop("labels").items()}
    return labels | {name: tensor for name, tensor in found.items() if tensor is not None}


def assert_same(one: Batch | dict, other: Batch) -> None:
    one, other = one if isinstance(one, dict) else tensors_of(one), tensors_of(other)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def known_history(count: int = 1000) -> LossSecondMoment:
    """A history with ten losses of each timestep, high for the late ones."""
    history = LossSecondMoment(count)
    for _ in range(10):
        history.record(torch.arange(count), torch.arange(count) / count + 0.1)
    return history


def test_a_batch_holds_the_pictures_of_its_step_with_their_labels(data):
    conditioner = conditioner_of("type", "color")
    batch = draw_batch(data, conditioner, TrainingConfig(conditioning_dropout_prob=0), step=3, batch_size=24)
    indices = batch_indices(60, 0, 3, 24)
    assert torch.equal(batch.images, data.images[indices])
    assert batch.images.dtype == torch.uint8
    assert set(batch.labels) == {"type", "color"}
    for name, anything in [("type", ANY), ("color", ANY_COLOR)]:
        said = batch.labels[name]
        assert ((said == data.labels[name][indices]) | (said == anything)).all()
        assert (said != anything).any()
    assert batch.noise.shape == (24, 3, 8, 8) and batch.noise.dtype == torch.float32
    assert batch.timesteps.shape == (24,) and batch.timesteps.dtype == torch.int64
    assert batch.noise.mean().abs() < 0.06 and (batch.noise.std() - 1).abs() < 0.05  # 4608 values: 4 and 5 sigma


def test_rows_are_slices_of_the_global_batch(data):
    config = TrainingConfig(random_flip=True, **AUGMENTED)
    batch = draw_batch(data, conditioner_of("type", "color"), config, 0, 24, known_history())
    assert batch.weights is not None and batch.augmentation is not None
    parts = [tensors_of(batch.rows(start, 8)) for start in (0, 8, 16)]
    assert_same({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, batch)
    assert torch.equal(parts[1]["noise"], batch.noise[8:16])


@pytest.mark.parametrize("sampling", ["uniform", "stratified", "loss_second_moment"])
def test_the_batch_of_a_step_does_not_depend_on_what_was_drawn_before(data, sampling):
    config = TrainingConfig(random_flip=True, timestep_sampling=sampling, seed=5, **AUGMENTED)
    history = known_history() if sampling == "loss_second_moment" else None
    conditioner = conditioner_of("type")
    batches = [draw_batch(data, conditioner, config, step, 16, history) for step in range(4)]
    torch.rand(7)
    assert_same(draw_batch(data, conditioner, config, 3, 16, history), batches[3])
    assert not torch.equal(batches[0].noise, batches[1].noise)
    other_seed = draw_batch(data, conditioner, TrainingConfig(seed=6), 3, 16)
    assert not torch.equal(other_seed.noise, batches[3].noise)


def test_augmentation_changes_nothing_but_what_is_done_to_the_pictures(data):
    conditioner = conditioner_of("type")
    plain = draw_batch(data, conditioner, TrainingConfig(), 2, 24)
    augmented = draw_batch(data, conditioner, TrainingConfig(**AUGMENTED), 2, 24)
    changed = tensors_of(augmented)
    told = changed.pop("augmentation")
    assert_same(changed, plain)
    untouched = (told == 0).all(dim=1)
    assert 0 < untouched.sum() < 24
    same = (augmented.clean() == plain.clean()).flatten(1).all(dim=1)
    assert torch.equal(same, untouched)


def test_a_history_decides_the_timesteps_and_their_weights(data):
    batch = draw_batch(data, conditioner_of("type"), TrainingConfig(), 0, 2000, known_history())
    assert batch.timesteps.float().mean() > 550  # 500 if drawn uniformly, with a standard deviation of 6.5
    assert torch.corrcoef(torch.stack([batch.timesteps.float(), batch.weights]))[0, 1] < -0.5


def test_drawing_a_batch_leaves_torchs_own_generator_alone(data):
    conditioner = conditioner_of("type")
    before = torch.get_rng_state()
    draw_batch(data, conditioner, TrainingConfig(random_flip=True), 0, 16)
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_are_seen_in_minus_one_to_one():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    clean = Batch(pixels, {}, torch.zeros(1), torch.zeros(1)).clean()
    torch.testing.assert_close(clean.flatten(), torch.tensor([-1.0, -0.6, 1.0]), rtol=0, atol=1e-6)


def test_random_flip_mirrors_about_half_and_only_mirrors(data):
    conditioner = conditioner_of("type")
    mirrored = 0
    for step in range(20):
        plain = draw_batch(data, conditioner, TrainingConfig(), step, 60)
        flipped = draw_batch(data, conditioner, TrainingConfig(random_flip=True), step, 60)
        for before, after in zip(plain.images, flipped.images, strict=True):
            is_mirrored = torch.equal(after, before.flip(-1))
            assert is_mirrored or torch.equal(after, before)
            mirrored += is_mirrored
        assert torch.equal(plain.noise, flipped.noise) and torch.equal(plain.timesteps, flipped.timesteps)
        assert torch.equal(plain.labels["type"], flipped.labels["type"])
    # 1200 fair coins: mean 600, standard deviation 17.3
    assert abs(mirrored - 600) < 70


# What a picture says of itself

DRAWN = 200_000
# Design decision 1: nothing 10 %, types only 30 %, everything 20 %, a random part 40 %. With the two attributes type
# and color the random part is, a third each, the types alone, the color alone, or both. Of the pictures that say their
# types, all but those that say everything forget one of the two half of the time:
#     types, no color    (0.3 + 0.4 / 3) / 2 = 13/60 with both, 13/60 with one of them
#     color only          0.4 / 3            =  8/60
#     types and color     0.2 + 0.4 / 3 / 2  = 16/60 with both, 0.4 / 3 / 2 = 4/60 with one of them
#     nothing             0.1                =  6/60
DOUBLE = {
    (FIRE, FLYING, ANY_COLOR): 13 / 60,
    (FIRE, ANY, ANY_COLOR): 6.5 / 60,
    (ANY, FLYING, ANY_COLOR): 6.5 / 60,
    (ANY, ANY, RED): 8 / 60,
    (FIRE, FLYING, RED): 16 / 60,
    (FIRE, ANY, RED): 2 / 60,
    (ANY, FLYING, RED): 2 / 60,
    (ANY, ANY, ANY_COLOR): 6 / 60,
}
# A sprite of one type forgets `none`, never the type alone.
SINGLE = {
    (FIRE, NONE, ANY_COLOR): 13 / 60,
    (FIRE, ANY, ANY_COLOR): 13 / 60,
    (ANY, ANY, RED): 8 / 60,
    (FIRE, NONE, RED): 16 / 60,
    (FIRE, ANY, RED): 4 / 60,
    (ANY, ANY, ANY_COLOR): 6 / 60,
}


def shares(types: tuple[int, int], attributes: tuple[str, ...], nothing: float = 0.1) -> dict[tuple, float]:
    """The share of every outcome of `forget` for red sprites of these types."""
    labels = {"type": torch.tensor([types]).repeat(DRAWN, 1), "color": torch.full((DRAWN,), RED)}
    said = forget(labels, conditioner_of(*attributes), nothing, torch.Generator().manual_seed(0))
    assert set(said) == set(attributes)
    assert all(said[name].shape == labels[name].shape and said[name].dtype == torch.int64 for name in said)
    rows = torch.cat([said[name].view(DRAWN, -1) for name in ("type", "color") if name in said], dim=1)
    return {outcome: count / DRAWN for outcome, count in Counter(map(tuple, rows.tolist())).items()}


def assert_shares(found: dict[tuple, float], expected: dict[tuple, float]) -> None:
    assert sum(expected.values()) == pytest.approx(1)
    assert set(found) == set(expected)
    for outcome, share in expected.items():
        sigma = (share * (1 - share) / DRAWN) ** 0.5
        assert found[outcome] == pytest.approx(share, abs=4.5 * sigma), outcome


@pytest.mark.parametrize("attributes", [("type", "color"), ("color", "type")])
def test_shares_of_a_sprite_with_two_types(attributes):
    assert_shares(shares((FIRE, FLYING), attributes), DOUBLE)


@pytest.mark.parametrize("attributes", [("type", "color"), ("color", "type")])
def test_shares_of_a_sprite_with_one_type(attributes):
    assert_shares(shares((FIRE, NONE), attributes), SINGLE)


def test_none_is_forgotten_first_in_whichever_slot_it_is():
    mirrored = {(second, first, color): share for (first, second, color), share in SINGLE.items()}
    assert_shares(shares((NONE, FIRE), ("type", "color")), mirrored)


def test_shares_with_types_as_the_only_attribute():
    """Everything 20 %; types only and the random part, which is the types then, 70 % with half of them halved."""
    assert_shares(
        shares((FIRE, FLYING), ("type",)),
        {(FIRE, FLYING): 0.55, (FIRE, ANY): 0.175, (ANY, FLYING): 0.175, (ANY, ANY): 0.1},
    )


def test_without_dropout_no_picture_of_types_alone_says_nothing():
    """The 90 % are then all: types only 1/3, everything 2/9, a random part 4/9."""
    forgetting = 7 / 9 / 2
    assert_shares(
        shares((FIRE, NONE), ("type",), nothing=0.0), {(FIRE, NONE): 1 - forgetting, (FIRE, ANY): forgetting}
    )


def test_pictures_of_a_batch_forget_independently_of_each_other():
    labels = {"type": torch.tensor([[FIRE, FLYING]]).repeat(DRAWN, 1)}
    said = forget(labels, conditioner_of("type"), 0.1, torch.Generator().manual_seed(1))["type"]
    silent = (said == ANY).all(dim=1)
    both = (silent[1:] & silent[:-1]).double().mean().item()
    assert both == pytest.approx(0.01, abs=4.5 * (0.01 * 0.99 / DRAWN) ** 0.5)


def test_labels_are_left_as_they_were():
    labels = {"type": torch.tensor([[FIRE, NONE], [FIRE, FLYING]]).repeat(50, 1)}
    before = labels["type"].clone()
    forget(labels, conditioner_of("type"), 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(labels["type"], before)
