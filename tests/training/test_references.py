"""Reference sprites: pairs by form and evolution against the labels themselves, and what is done to them."""

import pytest
import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.training import batches
from pokemon_ddpm.training.batches import (
    AUGMENTATION_DIM,
    BACK_PROB,
    DRAWING,
    FORM,
    FRONT,
    ReferencePairs,
    augment,
    prepare_references,
    sample_augmentation,
)
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.vocabulary import RELATIONS, TYPES, VIEWS

# Forms 10 (three images) and 40 (two); the others have one image. The first two images of form 10 are front and back
# of one drawing, those of form 40 are of two games, and image 6 is another frame.
LABELS = {
    "index": torch.tensor([20, 10, 40, 10, 30, 50, 10, 40]),
    "game": torch.tensor([5, 3, 2, 3, 1, 1, 3, 1]),
    "frame": torch.tensor([1, 1, 1, 1, 1, 1, 2, 1]),
    "view": torch.tensor([0, 0, 0, 1, 0, 0, 0, 1]),
}
EXPECTED = {
    0: {-1},
    1: {3, 6},
    2: {7},
    5: {-1},
    6: {1, 3},
}


def pairs_of(labels: dict[str, torch.Tensor], **own_values: tuple[str, ...]) -> ReferencePairs:
    return ReferencePairs.of(SpriteTensors(torch.zeros(len(labels["index"]), 4, 8, 8), labels, own_values=own_values))


def candidates(pairs: ReferencePairs, kind: int, image: int) -> list[int]:
    first = pairs.first[kind, image]
    return pairs.references[first : first + pairs.count[kind, image]].tolist()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampled(pairs: ReferencePairs, image: int, count: int = 6000) -> list[int]:
    """References of an image, where no back has replaced it."""
    images, number = pairs.sample(torch.full((count,), image), seeded(image))
    return number[images == image].tolist()


@pytest.mark.parametrize("mirrors", [False, True])
def test_a_batch_has_the_references_of_its_images_mirrored_as_they_are(monkeypatch, mirrors: bool) -> None:
    """Each image has its own gray level, and a black mark at the left. References of the other view are mirrored."""
    monkeypatch.setattr(batches, "AUGMENTED", 0)
    labels = {**LABELS, "type": torch.zeros(8, 2, dtype=torch.int64), "finish": torch.zeros(8, dtype=torch.int64)}
    labels["view"] = torch.tensor([0, 0, 0, 1, 0, 0, 2, 1])  # 2: unknown
    images = (20 * torch.arange(1, 9)).view(-1, 1, 1, 1).expand(8, 4, 4, 4).contiguous().byte()
    images[:, 3] = 255
    images[:, :3, 0, 0] = 0
    vocabulary = {"type": list(TYPES), "relation": list(RELATIONS), "view": list(VIEWS)}
    conditioner = SpriteConditioner(vocabulary, embedding_dim=4, augmentation_dim=AUGMENTATION_DIM)
    data, pairs = SpriteTensors(images, labels).conditioned_on(conditioner.any_ids), pairs_of(labels)
    config = TrainingConfig(reference_prob=1, mirror_prob=0.3)
    batch = batches.sample_batch(data, conditioner, config, 0, 2000, pairs=pairs, mirrors_references=mirrors)
    reference = ((batch.reference + 1) * 127.5).round()
    targets, numbers = (each[:, 0, 2, 2].long() // 20 - 1 for each in (batch.images, reference))
    given = batch.labels["relation"] < len(RELATIONS)
    found = set(zip(*(each[given].tolist() for each in (targets, numbers)), strict=True))
    expected = {(image, number) for image in range(8) for number in candidates(pairs, FORM, image)}
    assert found == expected and not batch.reference[~given].any()
    left, reference_left = (each[given][:, 0, 0, 0] == 0 for each in (batch.images, reference))  # the mark
    assert torch.equal(batch.augmentation[given][:, 4] == 1, ~left) and 0.6 < left.float().mean() < 0.8
    views, shown = (labels["view"][each[given]] for each in (targets, numbers))
    turned = (views + shown == 1) & mirrors  # front and back
    assert torch.equal(left ^ turned, reference_left) and turned.any() == mirrors and (views + shown > 1).any()


def test_references_are_of_the_same_form() -> None:
    pairs = pairs_of(LABELS)
    for image, expected in EXPECTED.items():
        assert set(sampled(pairs, image)) == expected
    found = sampled(pairs, 1)  # two lots of three for its drawing, one for its form
    assert found.count(3) / len(found) == pytest.approx(2 / 3 + 1 / 6, abs=0.03)


def test_any_attribute_but_view_finish_and_color_tells_drawings_apart() -> None:
    """Images 0 and 1 are one drawing in two finishes; image 2 is another pose."""
    labels = {"index": [7, 7, 7], "finish": [0, 1, 0], "color": [3, 5, 3], "pose": [4, 4, 9], "view": [0, 0, 0]}
    pairs = pairs_of({name: torch.tensor(column) for name, column in labels.items()})
    assert [candidates(pairs, DRAWING, image) for image in range(3)] == [[1], [0], []]
    assert [candidates(pairs, FORM, image) for image in range(3)] == [[1, 2], [0, 2], [0, 1]]


def test_backs_with_their_fronts_replace_other_images() -> None:
    """Image 3 is the only back whose front is of the same game and frame."""
    images, number = pairs_of(LABELS).sample(torch.full((6000,), 5), seeded())
    assert set(zip(images.tolist(), number.tolist(), strict=True)) == {(5, -1), (3, 1)}
    assert (images == 3).float().mean() == pytest.approx(BACK_PROB, abs=0.03)
    turned = pairs_of({**LABELS, "view": 1 - LABELS["view"]}, view=("back", "front"))  # another order of the views
    assert torch.equal(turned.count, pairs_of(LABELS).count)
    assert not pairs_of(LABELS, view=("side", "back")).count[FRONT].any()
    no_backs = pairs_of({**LABELS, "view": torch.zeros(8, dtype=torch.int64)})
    assert (no_backs.sample(torch.arange(8), seeded())[0] == torch.arange(8)).all()


def test_images_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="two images of one form"):
        pairs_of({**LABELS, "index": torch.arange(8)})
    data = SpriteTensors(torch.zeros(8, 4, 8, 8), {name: ids for name, ids in LABELS.items() if name != "index"})
    with pytest.raises(ValueError, match="needs images with the column index"):
        ReferencePairs.of(data)


@pytest.fixture
def sprites() -> torch.Tensor:
    images = torch.randint(0, 256, (400, 4, 12, 12), generator=seeded(), dtype=torch.uint8)
    images[:, :3, :3], images[:, :3, 9:] = 255, 255
    images[:, 3] = 0
    images[:, 3, 3:9] = 255
    return images


def test_some_references_are_shifted_and_some_noised(sprites: torch.Tensor) -> None:
    given = torch.arange(400) % 4 > 0
    found = prepare_references(sprites, given, torch.zeros_like(given), None, seeded())
    assert found.dtype == torch.float32 and not found[~given].any()
    # Outside the sprite the alpha is -1 but for noise, unless a sprite was shifted to the border.
    noise = found[given][:, 3, [0, -1]].flatten(1) + 1
    std = torch.where(noise.abs() > 1, 0, noise).std(dim=1)
    assert 0.15 < (std > 1e-6).float().mean() < 0.35 and 0.07 < std[std > 1e-6].median() < 0.13
    unchanged = (found == sprites.float() / 127.5 - 1)[given].flatten(1).all(dim=1).float().mean()
    assert 0.45 < unchanged < 0.7


def test_a_reference_is_mirrored_and_recolored_with_its_target(sprites: torch.Tensor) -> None:
    parameters = sample_augmentation(sprites, {"translate": 1.0, "hue": 1.0}, seeded(1))
    mirrored, all_of_them = torch.arange(400) % 2 == 0, torch.ones(400, dtype=torch.bool)
    found = prepare_references(sprites, all_of_them, mirrored, parameters, seeded())
    hue_only = torch.cat([torch.zeros(400, 2), parameters[:, 2:]], dim=1)
    flipped = torch.where(mirrored.view(-1, 1, 1, 1), sprites.flip(-1), sprites)
    expected = augment(flipped.float() / 127.5 - 1, hue_only)
    same = torch.isclose(found, expected, atol=1e-5).flatten(1).all(dim=1)
    assert 0.45 < same.float().mean() < 0.7  # the others are shifted or noised
    assert same[mirrored].any() and same[~mirrored].any()
