"""The batch of a step: a function of (seed, step), with condition dropout and augmentation."""

import dataclasses
import hashlib
import itertools
from collections import Counter

import pytest
import torch

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.training import batches
from pokemon_ddpm.training.batches import Batch, derive_seed, epoch_indices
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.vocabulary import CONDITIONS

FIRE, FLYING, NONE, ANY = 6, 7, 18, 19  # ids of types
COUNT = 20_000


def conditioner_of(*attributes: str) -> SpriteConditioner:
    return SpriteConditioner({name: list(CONDITIONS[name]) for name in attributes}, embedding_dim=4)


def test_a_seed_is_the_beginning_of_the_sha256_of_its_key():
    """It must never change, because runs could not be resumed exactly."""
    assert derive_seed(2**63 - 1, 5) == int(hashlib.sha256(b"(9223372036854775807, 5)").hexdigest()[:16], 16) // 2
    assert derive_seed(7, 1, 3) == 282382800626693288
    generator, expected = batches.generator_for("cpu", 7, 1, 3), torch.Generator().manual_seed(282382800626693288)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=expected))


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (7, 3), (3, 8), (1, 4)])
def test_each_epoch_is_a_permutation_whatever_the_batch_size(size, batch_size):
    whole = torch.cat([epoch_indices(size, 3, epoch * size, (epoch + 1) * size) for epoch in range(4)])
    starts = range(0, size * 4, batch_size)
    parts = [epoch_indices(size, 3, start, start + batch_size) for start in starts]
    assert {len(part) for part in parts} == {batch_size} and parts[0].dtype == torch.int64
    assert torch.equal(torch.cat(parts)[: size * 4], whole)
    assert torch.equal(whole.view(4, size).sort(dim=1).values, torch.arange(size).expand(4, size))


@pytest.mark.parametrize("balance", [0, 0.5, 1])
def test_images_of_rare_classes_come_up_more_often(balance):
    classes = torch.tensor([0] * 36 + [1] * 4 + [-1])
    epochs = torch.arange(41).repeat(1000)
    chosen = batches.balance_classes(epochs, [classes], balance, torch.Generator().manual_seed(0))
    classes = classes % 3
    share = classes[chosen].bincount() / len(epochs)
    expected = torch.tensor([36.0, 4, 1]) ** (1 - balance)
    torch.testing.assert_close(share, expected / expected.sum(), rtol=0.01, atol=0)
    counts = chosen.bincount(minlength=41)
    assert counts.min() > 0 and (counts[:36].float() / counts[:36].sum() * 36 - 1).abs().max() < 0.25
    if not balance:
        assert torch.equal(chosen, epochs)
    # The factors of two kinds of classes are multiplied: of the 36 images, 4 have a rare body.
    bodies = torch.tensor([0] * 32 + [1] * 4 + [0] * 5)
    counts = batches.balance_classes(epochs, [classes, bodies], balance, torch.Generator().manual_seed(0)).bincount()
    expected = torch.tensor([36.0, 4, 1])[classes] ** -balance * torch.tensor([37.0, 4])[bodies] ** -balance
    torch.testing.assert_close(counts / len(epochs), expected / expected.sum(), rtol=0.15, atol=0)


def test_a_batch_has_the_classes_of_class_balance(data):
    rare = (torch.arange(60) < 6).long()[:, None] * torch.tensor([[1, 0]])
    labels = data.labels | {"type": rare + torch.tensor([[0, 17]])}
    images = sampled(dataclasses.replace(data, labels=labels), 0, 600, class_balance=1.0).images
    share = (images[:, None] == data.images[:6]).all(dim=(2, 3, 4)).any(dim=1).float().mean()
    assert abs(share - 0.5) < 0.03  # 0.1 without


TYPE_AND_COLOR = conditioner_of("type", "color")
AUGMENTED = {"translate_prob": 0.3, "hue_prob": 0.3}


@pytest.fixture(scope="module")
def data() -> SpriteTensors:
    images = torch.randint(0, 256, (60, 4, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, 3] = 0
    images[:, 3, 2:6, 1:7] = 255  # the rest is transparent
    types = torch.stack([torch.arange(60) % 17, torch.full((60,), 17)], dim=1)
    return SpriteTensors(images, {"type": types, "color": torch.arange(60) % 10, "index": torch.arange(60)})


def sampled(data: SpriteTensors, step: int = 2, size: int = 24, **settings: object) -> Batch:
    return batches.sample_batch(data, TYPE_AND_COLOR, TrainingConfig(**settings), step, size)


def tensors_of(batch: Batch) -> dict[str, torch.Tensor]:
    tensors = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    labels = {f"labels.{name}": ids for name, ids in tensors.pop("labels").items()}
    return labels | {name: tensor for name, tensor in tensors.items() if tensor is not None}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_a_batch_contains(data):
    batch, indices = sampled(data), epoch_indices(60, 0, 48, 72)
    assert torch.equal(batch.images, data.images[indices]) and batch.augmentation is None
    assert batch.labels.keys() == {"type", "color"}
    given = batch.labels["color"] != TYPE_AND_COLOR.any_ids["color"]
    assert given.any() and torch.equal(batch.labels["color"][given], data.labels["color"][indices][given])
    # The order of the random numbers must never change.
    generator = torch.Generator().manual_seed(derive_seed(0, batches.BATCH, 2))
    assert torch.equal(batch.noise, torch.randn(24, 4, 8, 8, generator=generator))
    assert torch.equal(batch.timesteps, sample_timesteps(24, 1000, generator))
    torch.testing.assert_close(batch.clean(), batch.images / 127.5 - 1)


def test_a_batch_is_a_function_of_seed_and_step_and_can_be_sliced(data):
    settings = {"random_flip": True, **AUGMENTED}
    before = torch.get_rng_state()
    steps = [tensors_of(sampled(data, step, seed=5, **settings)) for step in range(3)]
    assert torch.equal(torch.get_rng_state(), before)
    again = sampled(data, 2, seed=5, **settings)
    assert_equal(tensors_of(again), steps[2])
    for count in (1, 3, 8, 12):
        parts = [tensors_of(again.rows(slice(start, start + count))) for start in range(0, 24, count)]
        assert_equal({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, steps[2])
    for other in (steps[1], tensors_of(sampled(data, 2, seed=6, **settings))):
        assert not [name for name in other if torch.equal(other[name], steps[2][name])]


def test_augmentation_changes_the_images_and_the_color_of_those_with_another_hue(data):
    plain, augmented = sampled(data, size=120), sampled(data, size=120, **AUGMENTED)
    tensors, expected = tensors_of(augmented), tensors_of(plain)
    parameters = tensors.pop("augmentation")
    untouched, hued = (parameters == 0).all(dim=1), (parameters[:, 2:] != 0).any(dim=1)
    assert untouched.any() and hued.any() and not (hued | untouched).all()
    expected["labels.color"] = torch.where(hued, TYPE_AND_COLOR.any_ids["color"], expected["labels.color"])
    assert_equal(tensors, expected)
    assert torch.equal((augmented.clean() == plain.clean()).flatten(1).all(dim=1), untouched)
    types = batches.sample_batch(data, conditioner_of("type"), TrainingConfig(**AUGMENTED), 2, 24)
    assert types.labels.keys() == {"type"} and (types.augmentation != 0).any()


def outcomes(types: tuple[int, int], attributes: tuple[str, ...], nothing: float) -> Counter:
    """Share of every outcome for images of these types, counted over all equally likely choices."""
    shares = Counter()
    subsets = [set(chosen) for k in range(1, 4) for chosen in itertools.combinations(attributes, k)]
    kinds = {0.1: [set()], 0.3: [{"type"}], 0.2: [set(attributes)], 0.4: subsets}  # by their shares by default
    for default, parts in kinds.items():
        share = nothing if default == 0.1 else default / 0.9 * (1 - nothing)
        for part, drops_one, slot in itertools.product(parts, (False, True), (0, 1)):
            outcome = list(types)
            if drops_one and default != 0.2:  # where not all attributes are kept
                outcome[types.index(NONE) if NONE in types else slot] = ANY
            outcome = outcome if "type" in part else [ANY, ANY]
            outcome += [name in part for name in ("color", "view") if name in attributes]
            shares[tuple(outcome)] += share / len(parts) / 4
    return +shares


@pytest.mark.parametrize("nothing", [0.1, 0.0])
@pytest.mark.parametrize("attributes", [("type", "color", "view"), ("color", "type"), ("type",)])
@pytest.mark.parametrize("types", [(FIRE, FLYING), (FIRE, NONE), (NONE, FIRE)])
def test_condition_dropout_has_the_shares_of_a_count(types, attributes, nothing):
    labels = {name: torch.zeros(COUNT, dtype=torch.int64) for name in ("color", "view")}
    labels["type"] = torch.tensor([types]).repeat(COUNT, 1)
    before = {name: ids.clone() for name, ids in labels.items()}
    conditioner = conditioner_of(*attributes)
    dropped = batches.drop_conditions(labels, conditioner, nothing, torch.Generator().manual_seed(0))
    assert_equal(labels, before)
    kept = [dropped[name] != conditioner.any_ids[name] for name in ("color", "view") if name in attributes]
    counts = Counter(zip(*(column.tolist() for column in (*dropped["type"].T, *kept)), strict=True))
    expected = outcomes(types, attributes, nothing)
    assert sum(expected.values()) == pytest.approx(1) and counts.keys() == expected.keys()
    for outcome, share in expected.items():
        assert counts[outcome] == pytest.approx(COUNT * share, abs=4.5 * (COUNT * share * (1 - share)) ** 0.5)
