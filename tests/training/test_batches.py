"""The batch of a step: a function of (seed, step), with condition dropout, augmentation and references."""

import dataclasses
import hashlib
import itertools
import math
from collections import Counter

import pytest
import torch

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.training import batches
from pokemon_ddpm.training.batches import BACK_PROB, FORM, Batch, ReferencePairs, augment, batch_indices, derive_seed
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.vocabulary import CONDITIONS, RELATIONS

FIRE, FLYING, NONE, ANY = 6, 7, 18, 19  # ids of types
COUNT = 20_000


def conditioner_of(*attributes: str) -> SpriteConditioner:
    return SpriteConditioner({name: list(CONDITIONS[name]) for name in attributes}, embedding_dim=4)


def test_a_seed_is_the_beginning_of_the_sha256_of_its_key():
    """It must never change, because runs could not be resumed exactly."""
    assert derive_seed(2**63 - 1, 5) == int(hashlib.sha256(b"(9223372036854775807, 5)").hexdigest()[:16], 16) // 2
    assert derive_seed(7, 1, 3) == 282382800626693288
    found, expected = batches.generator_for("cpu", 7, 1, 3), torch.Generator().manual_seed(282382800626693288)
    assert torch.equal(torch.rand(3, generator=found), torch.rand(3, generator=expected))


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (7, 3), (3, 8), (1, 4)])
def test_each_epoch_is_a_permutation_whatever_the_batch_size(size, batch_size):
    whole = torch.cat([batch_indices(size, 3, epoch, size) for epoch in range(4)])
    parts = [batch_indices(size, 3, step, batch_size) for step in range(-(-size * 4 // batch_size))]
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
    each = chosen.bincount(minlength=41)
    assert each.min() > 0 and (each[:36].float() / each[:36].sum() * 36 - 1).abs().max() < 0.25
    if not balance:
        assert torch.equal(chosen, epochs)
    # The factors of two kinds of classes are multiplied: of the 36 images, 4 have a rare body.
    bodies = torch.tensor([0] * 32 + [1] * 4 + [0] * 5)
    found = batches.balance_classes(epochs, [classes, bodies], balance, torch.Generator().manual_seed(0)).bincount()
    expected = torch.tensor([36.0, 4, 1])[classes] ** -balance * torch.tensor([37.0, 4])[bodies] ** -balance
    torch.testing.assert_close(found / len(epochs), expected / expected.sum(), rtol=0.15, atol=0)


def test_a_batch_has_the_classes_of_class_balance(data):
    rare = (torch.arange(60) < 6).long()[:, None] * torch.tensor([[1, 0]])
    labels = data.labels | {"type": rare + torch.tensor([[0, 17]])}
    settings = {"class_balance": 1.0, "conditioning_dropout_prob": 0.0}
    images = sampled(dataclasses.replace(data, labels=labels), 0, 600, **settings).images
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
    found = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    labels = {f"labels.{name}": ids for name, ids in found.pop("labels").items()}
    return labels | {name: tensor for name, tensor in found.items() if tensor is not None}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_a_batch_contains(data):
    batch, indices = sampled(data), batch_indices(60, 0, 2, 24)
    assert torch.equal(batch.images, data.images[indices]) and batch.augmentation is None
    assert batch.labels.keys() == {"type", "color"}
    given = batch.labels["color"] != TYPE_AND_COLOR.any_ids["color"]
    assert given.any() and torch.equal(batch.labels["color"][given], data.labels["color"][indices][given])
    # The order of the random numbers must never change.
    generator = torch.Generator().manual_seed(derive_seed(0, batches.BATCH, 2))
    assert torch.equal(batch.noise, torch.randn(24, 4, 8, 8, generator=generator))
    assert torch.equal(batch.timesteps, torch.randint(1000, (24,), generator=generator))
    torch.testing.assert_close(batch.clean(), batch.images / 127.5 - 1)


@pytest.mark.parametrize("sampling", ["uniform", "stratified"])
def test_a_batch_is_a_function_of_seed_and_step_and_can_be_sliced(data, sampling):
    settings = {"random_flip": True, "timestep_sampling": sampling, **AUGMENTED}
    before = torch.get_rng_state()
    found = [tensors_of(sampled(data, step, seed=5, **settings)) for step in range(3)]
    assert torch.equal(torch.get_rng_state(), before)
    again = sampled(data, 2, seed=5, **settings)
    assert_equal(tensors_of(again), found[2])
    for count in (1, 3, 8, 12):
        parts = [tensors_of(again.rows(slice(start, start + count))) for start in range(0, 24, count)]
        assert_equal({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, found[2])
    for other in (found[1], tensors_of(sampled(data, 2, seed=6, **settings))):
        assert not [name for name in other if torch.equal(other[name], found[2][name])]


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
            found = list(types)
            if drops_one and default != 0.2:  # where not all attributes are kept
                found[types.index(NONE) if NONE in types else slot] = ANY
            found = found if "type" in part else [ANY, ANY]
            found += [name in part for name in ("color", "view") if name in attributes]
            shares[tuple(found)] += share / len(parts) / 4
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
    found = Counter(zip(*(column.tolist() for column in (*dropped["type"].T, *kept)), strict=True))
    expected = outcomes(types, attributes, nothing)
    assert sum(expected.values()) == pytest.approx(1) and found.keys() == expected.keys()
    for outcome, share in expected.items():
        assert found[outcome] == pytest.approx(COUNT * share, abs=4.5 * (COUNT * share * (1 - share)) ** 0.5)


SIZE = 8
COLUMNS = {"translate": [0, 1], "hue": [2, 3]}
ALL = dict.fromkeys(COLUMNS, 1.0)


def boxes(count: int, side: int = SIZE, top: int = 0, left: int = 0, height: int = 1, width: int = 1) -> torch.Tensor:
    """The same box of random colors on a transparent background, uint8 (count, 4, side, side)."""
    images = torch.full((count, 4, side, side), 255, dtype=torch.uint8)
    images[:, 3] = 0
    box = torch.randint(256, (4, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    box[3] = 255
    images[:, :, top : top + height, left : left + width] = box
    return images


CENTERED = boxes(20_000, 17, 8, 8)  # has room for nearly four standard deviations on each side
INNER = boxes(6, SIZE, 3, 2, 2, 3)


def sample(images: torch.Tensor, probabilities: dict[str, float], seed: int = 0) -> torch.Tensor:
    return batches.sample_augmentation(images, probabilities, torch.Generator().manual_seed(seed))


def scaled(images: torch.Tensor) -> torch.Tensor:
    return images / 127.5 - 1


def parameters(right: int = 0, down: int = 0, hue: float = 0.0) -> torch.Tensor:
    """(1, AUGMENTATION_DIM) as documented; the translation in pixels, the hue in degrees."""
    color = math.radians(hue)
    return torch.tensor([[right / SIZE, down / SIZE, math.cos(color) - 1, math.sin(color), 0]])


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_each_kind_has_its_probability_independently_of_the_others():
    found, count = sample(CENTERED, {"translate": 0.12, "hue": 0.7}), len(CENTERED)
    translated, hued = (found[:, columns].any(dim=1).double() for columns in COLUMNS.values())
    unmoved = math.erf(0.5 / (0.125 * 17) / math.sqrt(2)) ** 2  # both translations are rounded to 0
    expected = 0.12 * (1 - unmoved)
    # The standard deviation of a share is at most sqrt(0.25 / 20000) = 0.0035.
    shares = [each.sum().item() / count for each in (translated, hued, translated * hued)]
    assert shares == pytest.approx([expected, 0.7, 0.7 * expected], abs=0.015)


def test_the_distributions():
    """The translation is that of Karras et al. 2022, table 6, by whole pixels; angles are uniform."""
    found = sample(CENTERED, ALL).double()[:, :4]
    pixels, (cos, sin) = found[:, :2] * 17, found[:, 2:].unbind(dim=1)
    assert_near(pixels, pixels.round())
    # Rounding adds the variance of a uniform error of half a pixel to each side.
    std = torch.full((2,), math.sqrt((0.125 * 17) ** 2 + 1 / 12), dtype=torch.float64)
    torch.testing.assert_close(pixels.std(dim=0), std, rtol=0.02, atol=0)
    fourth = (pixels / std).pow(4).mean(dim=0)
    torch.testing.assert_close(fourth, torch.full_like(fourth, 3.0), rtol=0.1, atol=0)
    assert (torch.corrcoef(found.T) - torch.eye(4)).abs().max() < 0.04
    torch.testing.assert_close((cos + 1).square() + sin.square(), torch.ones_like(cos), rtol=0, atol=1e-6)
    counts = torch.histc(torch.atan2(sin, cos + 1) / (2 * math.pi) + 0.5, bins=20, min=0, max=1)
    assert ((counts - 1000).square() / 1000).sum() < 43.8  # the 99.9 % quantile for 19 degrees of freedom


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("top", "left", "height", "width"), [(3, 2, 2, 3), (0, 1, 8, 5)])
def test_a_translation_keeps_every_pixel_of_the_sprite(channels, top, left, height, width):
    images = boxes(500, SIZE, top, left, height, width)[:, :channels]
    images[:, :, top, left] = images[:, :, top + height - 1, left + width - 1] = 0  # not white
    images[:, 3:, top : top + height, left : left + width] = 255
    given = sample(images, {"translate": 1.0}, seed=1)
    moved, pixels = augment(scaled(images), given), (given[:, :2] * SIZE).round().long()
    assert pixels.amin(dim=0).tolist() == [-left, -top]
    assert pixels.amax(dim=0).tolist() == [SIZE - left - width, SIZE - top - height]
    box = scaled(images[0, :, top : top + height, left : left + width])
    background = torch.tensor([1.0, 1, 1, -1])[:channels]
    for image, (right, down) in zip(moved, pixels.tolist(), strict=True):
        expected = background.view(-1, 1, 1).repeat(1, SIZE, SIZE)
        expected[:, top + down : top + down + height, left + right : left + right + width] = box
        assert torch.equal(image, expected)


def test_images_with_zero_parameters_are_unchanged_bit_for_bit():
    images, given = scaled(INNER), sample(INNER, ALL, seed=5)
    given[::2] = 0
    found = augment(images, given)
    assert torch.equal(found[::2], images[::2]) and torch.equal(images, scaled(INNER))
    assert all(not torch.allclose(found[i], images[i], atol=1e-3) for i in (1, 3, 5))
    for i in range(6):  # each as if it was alone
        assert_near(augment(images[i : i + 1], given[i : i + 1])[0], found[i])
    empty = torch.full((50, 4, SIZE, SIZE), 255, dtype=torch.uint8).index_fill(1, torch.tensor([3]), 0)
    assert not sample(empty, {"translate": 1.0}).any() and not sample(empty[:, :3], {"translate": 1.0}).any()


@pytest.mark.parametrize("hue", [-140, 90])
def test_hue_rotates_about_the_gray_axis(hue):
    """Grays, among them black and white, and alpha stay."""
    images = torch.rand(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) - 0.5  # nothing is clipped
    images[:, :3, 0] = torch.linspace(-1, 1, SIZE)
    found = augment(images, parameters(hue=hue))
    assert torch.equal(found[:, 3], images[:, 3])
    assert_near(found[:, :, 0], images[:, :, 0])
    one, other = (each[:, :3, 1:] for each in (images, found))
    assert_near(other.sum(dim=1), one.sum(dim=1))
    assert_near(other.square().sum(dim=1), one.square().sum(dim=1))
    one, other = (each - each.mean(dim=1, keepdim=True) for each in (one, other))
    cos = (one * other).sum(dim=1) / one.square().sum(dim=1)
    torch.testing.assert_close(cos, torch.full_like(cos, math.cos(math.radians(hue))), rtol=0, atol=1e-3)


def test_both_kinds_together():
    """A third of a turn of the hue moves red to green to blue; what leaves [-1, 1] is clipped."""
    images = scaled(INNER[:1])
    expected = torch.roll(images, (2, -1), dims=(2, 3))[:, [2, 0, 1, 3]]
    assert_near(augment(images, parameters(right=-1, down=2, hue=120)), expected)
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1)
    assert_near(augment(red, parameters(hue=180)).flatten(), torch.tensor([-1.0, 1 / 3, 1 / 3]))


# Forms 10 (three images) and 40 (two); the others have one image. The first two images of form 10 are front and back
# of one drawing, those of form 40 are of two games, and image 6 is another frame.
LABELS = {
    "index": torch.tensor([20, 10, 40, 10, 30, 50, 10, 40]),
    "game": torch.tensor([5, 3, 2, 3, 1, 1, 3, 1]),
    "frame": torch.tensor([1, 1, 1, 1, 1, 1, 2, 1]),
    "view": torch.tensor([0, 0, 0, 1, 0, 0, 0, 1]),
}


def pairs_of(labels: dict[str, torch.Tensor], **own_values: tuple[str, ...]) -> ReferencePairs:
    return ReferencePairs.of(SpriteTensors(torch.zeros(len(labels["index"]), 4, 8, 8), labels, own_values=own_values))


def candidates(pairs: ReferencePairs, kind: int, image: int) -> list[int]:
    first = pairs.first[kind, image]
    return pairs.references[first : first + pairs.count[kind, image]].tolist()


def references_of(pairs: ReferencePairs, image: int, count: int = 6000) -> list[int]:
    """References of an image, where no back has replaced it."""
    images, number = pairs.sample(torch.full((count,), image), torch.Generator().manual_seed(image))
    return number[images == image].tolist()


@pytest.mark.parametrize("mirrors", [False, True])
def test_a_batch_has_the_references_of_its_images_mirrored_as_they_are(monkeypatch, mirrors: bool) -> None:
    """Each image has its own gray level, and a black mark at the left. References of the other view are mirrored.

    Beside a reference, an image keeps its view and finish.
    """
    monkeypatch.setattr(batches, "AUGMENTED", 0)
    labels = {**LABELS, "type": torch.zeros(8, 2, dtype=torch.int64), "finish": torch.zeros(8, dtype=torch.int64)}
    labels["view"] = torch.tensor([0, 0, 0, 1, 0, 0, 2, 1])  # 2: unknown
    images = (20 * torch.arange(1, 9)).view(-1, 1, 1, 1).expand(8, 4, 4, 4).contiguous().byte()
    images[:, 3] = 255
    images[:, :3, 0, 0] = 0
    vocabulary = {name: list(CONDITIONS[name]) for name in ("type", "view", "finish")} | {"relation": list(RELATIONS)}
    conditioner = SpriteConditioner(vocabulary, embedding_dim=4, augmentation_dim=batches.AUGMENTATION_DIM)
    data, pairs = SpriteTensors(images, labels).conditioned_on(conditioner.any_ids), pairs_of(labels)
    config = TrainingConfig(reference_prob=0.5, mirror_prob=0.3)
    batch = batches.sample_batch(data, conditioner, config, 0, 2000, pairs=pairs, mirrors_references=mirrors)
    reference = ((batch.reference + 1) * 127.5).round()
    targets, numbers = (each[:, 0, 2, 2].long() // 20 - 1 for each in (batch.images, reference))
    given = batch.labels["relation"] < len(RELATIONS)
    found = set(zip(*(each[given].tolist() for each in (targets, numbers)), strict=True))
    expected = {(image, number) for image in range(8) for number in candidates(pairs, FORM, image)}
    assert found == expected and not batch.reference[~given].any()
    assert given.float().mean() == pytest.approx(0.5 * (6 + BACK_PROB) / 8, abs=0.04)  # two images have no reference
    for name in ("view", "finish"):
        own, any_id = labels[name][targets], conditioner.any_ids[name]
        known = batch.labels[name] != any_id
        assert torch.equal(known[given], (own != any_id)[given]) and torch.equal(batch.labels[name][known], own[known])
        assert 0.3 < known[~given].float().mean() < 0.6
    left, reference_left = (each[given][:, 0, 0, 0] == 0 for each in (batch.images, reference))  # the mark
    assert torch.equal(batch.augmentation[given][:, 4] == 1, ~left) and 0.6 < left.float().mean() < 0.8
    views, shown = (labels["view"][each[given]] for each in (targets, numbers))
    turned = (views + shown == 1) & mirrors  # front and back
    assert torch.equal(left ^ turned, reference_left) and turned.any() == mirrors and (views + shown > 1).any()


def test_references_are_of_the_same_form() -> None:
    pairs = pairs_of(LABELS)
    for image, expected in ((0, {-1}), (1, {3, 6}), (2, {7}), (5, {-1}), (6, {1, 3})):
        assert set(references_of(pairs, image)) == expected
    found = references_of(pairs, 1)  # two lots of three for its drawing, one for its form
    assert found.count(3) / len(found) == pytest.approx(2 / 3 + 1 / 6, abs=0.03)


def test_any_attribute_but_view_finish_and_color_tells_drawings_apart() -> None:
    """Images 0 and 1 are one drawing in two finishes; image 2 is another pose."""
    labels = {"index": [7, 7, 7], "finish": [0, 1, 0], "color": [3, 5, 3], "pose": [4, 4, 9], "view": [0, 0, 0]}
    pairs = pairs_of({name: torch.tensor(column) for name, column in labels.items()})
    assert [candidates(pairs, batches.DRAWING, image) for image in range(3)] == [[1], [0], []]
    assert [candidates(pairs, FORM, image) for image in range(3)] == [[1, 2], [0, 2], [0, 1]]


def test_backs_with_their_fronts_replace_other_images() -> None:
    """Image 3 is the only back whose front is of the same game and frame."""
    images, number = pairs_of(LABELS).sample(torch.full((6000,), 5), torch.Generator().manual_seed(0))
    assert set(zip(images.tolist(), number.tolist(), strict=True)) == {(5, -1), (3, 1)}
    assert (images == 3).float().mean() == pytest.approx(BACK_PROB, abs=0.03)
    turned = pairs_of({**LABELS, "view": 1 - LABELS["view"]}, view=("back", "front"))  # another order of the views
    assert torch.equal(turned.count, pairs_of(LABELS).count)
    assert not pairs_of(LABELS, view=("side", "back")).count[batches.FRONT].any()
    no_backs = pairs_of({**LABELS, "view": torch.zeros(8, dtype=torch.int64)})
    assert (no_backs.sample(torch.arange(8), torch.Generator().manual_seed(0))[0] == torch.arange(8)).all()


def test_images_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="two images of one form"):
        pairs_of({**LABELS, "index": torch.arange(8)})
    data = SpriteTensors(torch.zeros(8, 4, 8, 8), {name: ids for name, ids in LABELS.items() if name != "index"})
    with pytest.raises(ValueError, match="needs images with the column index"):
        ReferencePairs.of(data)


@pytest.fixture
def noisy() -> torch.Tensor:
    images = torch.randint(0, 256, (400, 4, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, :3, :3], images[:, :3, 9:] = 255, 255
    images[:, 3] = 0
    images[:, 3, 3:9] = 255
    return images


def test_some_references_are_shifted_and_some_noised(noisy: torch.Tensor) -> None:
    given = torch.arange(400) % 4 > 0
    found = batches.prepare_references(noisy, given, torch.zeros_like(given), None, torch.Generator().manual_seed(0))
    assert found.dtype == torch.float32 and not found[~given].any()
    # Outside the sprite the alpha is -1 but for noise, unless a sprite was shifted to the border.
    noise = found[given][:, 3, [0, -1]].flatten(1) + 1
    std = torch.where(noise.abs() > 1, 0, noise).std(dim=1)
    assert 0.15 < (std > 1e-6).float().mean() < 0.35 and 0.07 < std[std > 1e-6].median() < 0.13
    assert 0.45 < (found == noisy.float() / 127.5 - 1)[given].flatten(1).all(dim=1).float().mean() < 0.7


def test_a_reference_is_mirrored_and_recolored_with_its_target(noisy: torch.Tensor) -> None:
    parameters = batches.sample_augmentation(noisy, {"translate": 1.0, "hue": 1.0}, torch.Generator().manual_seed(1))
    mirrored, all_of_them = torch.arange(400) % 2 == 0, torch.ones(400, dtype=torch.bool)
    found = batches.prepare_references(noisy, all_of_them, mirrored, parameters, torch.Generator().manual_seed(0))
    hue_only = torch.cat([torch.zeros(400, 2), parameters[:, 2:]], dim=1)
    flipped = torch.where(mirrored.view(-1, 1, 1, 1), noisy.flip(-1), noisy)
    expected = augment(flipped.float() / 127.5 - 1, hue_only)
    same = torch.isclose(found, expected, atol=1e-5).flatten(1).all(dim=1)
    assert 0.45 < same.float().mean() < 0.7  # the others are shifted or noised
    assert same[mirrored].any() and same[~mirrored].any()
