import numpy as np
import pytest
import torch
from scipy import ndimage

from pokemon_ddpm.data import load_tensors
from pokemon_ddpm.evaluation import two_sample
from pokemon_ddpm.evaluation.images import as_rgba
from pokemon_ddpm.evaluation.two_sample import balanced_accuracy, classifier_input, classifier_logits, line_bootstrap
from tests.sprite_sets import blobs

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.integers(-3, 4, 30).astype(np.float64)  # with ties, and 0, which is "real"
IS_GENERATED = GENERATOR.random(30) < 0.4


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 15, "HALF_BATCH": 8, "WIDTHS": (8, 16, 16, 16)}.items():  # 60 steps at 32 px
        monkeypatch.setattr(two_sample, name, value)


def test_the_accuracy_counts_both_classes_alike():
    shares = (LOGITS[IS_GENERATED] > 0).mean(), (LOGITS[~IS_GENERATED] <= 0).mean()
    assert balanced_accuracy(LOGITS, IS_GENERATED) == pytest.approx(sum(shares) / 2)


def test_lines_are_resampled_as_a_whole():
    lines = np.arange(30)
    single = line_bootstrap(LOGITS, IS_GENERATED, lines, 1)
    copied = line_bootstrap(LOGITS.repeat(9), IS_GENERATED.repeat(9), lines.repeat(9), 1)
    apart = line_bootstrap(LOGITS.repeat(9), IS_GENERATED.repeat(9), np.full(270, -1), 1)
    assert (copied.value, copied.low, copied.high) == pytest.approx((single.value, single.low, single.high))
    assert single.low < single.value < single.high and apart.value == pytest.approx(single.value)
    assert apart.high - apart.low < 0.5 * (single.high - single.low)
    assert (single.n, single.m) == (IS_GENERATED.sum(), (~IS_GENERATED).sum())
    assert line_bootstrap(LOGITS, IS_GENERATED, np.full(30, -1), 1) == single


def test_the_input_shows_which_neighbors_are_equal():
    image = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1).repeat(1, 1, 5, 5)
    image[0, :, 2, 2:4] = torch.tensor([[100, 104], [0, 0], [0, 0], [255, 255]], dtype=torch.uint8)
    channels = classifier_input(image)[0]
    assert channels[:4, 2, 2].tolist() == pytest.approx([155 / 255, 1, 1, 1]) and channels.sum(dim=(1, 2))[3] == 2
    right, below, below_right, below_left = channels[4:]
    assert right[2].tolist() == pytest.approx([0, 1, 0.5, 1, 0]) and right[[0, 1, 3, 4]].sum() == 0
    assert below[1:3].tolist() == [[0, 0, 1, 1, 0]] * 2 and below[[0, 3, 4]].sum() == 0
    assert below_right[1].tolist() == [0, 1, 1, 0, 0] and below_left[1].tolist() == [0, 0, 0, 1, 1]
    assert torch.equal(classifier_input(image[:, :3])[0], channels)


def test_the_classifier_is_a_function_of_the_seed_and_scores_mirror_images_alike(monkeypatch):
    state, (real, generated) = torch.get_rng_state(), as_rgba(blobs(80, 0).images).split(40)
    classifiers = [two_sample.fit_classifier(real, generated, seed) for seed in (3, 3, 4)]
    first, again, other = (classifier_logits(classifier, generated) for classifier in classifiers)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(classifier_logits(classifiers[0], generated.flip(3)), first, atol=1e-5)
    monkeypatch.setattr(two_sample, "STEPS", 10)  # as many at 64 px, none of which would be left to warm up
    two_sample.fit_classifier(*torch.zeros(2, 4, 4, 64, 64, dtype=torch.uint8))


def test_blur_of_half_a_pixel_is_seen_and_unchanged_sprites_are_not():
    """A half of the starter sprites is treated as if a model had made it."""
    train, held_out = (load_tensors(None, split, 32, mode="pixel") for split in ("train", "validation"))
    generator = torch.Generator().manual_seed(0)
    orders = (torch.randperm(len(images), generator=generator) for images in (train, held_out))
    (real, other), (held_real, held_other) = (order.tensor_split(2) for order in orders)
    lines = held_out.labels["line"][torch.cat([held_real, held_other])]

    def lightly_blurred(images: torch.Tensor) -> torch.Tensor:
        """The alpha stays, since it would give the blur away."""
        pixels = images[:, :3].numpy().astype(np.float32)
        blurred = ndimage.gaussian_filter(pixels, (0, 0, 0.5, 0.5), mode="constant", cval=255).round()
        blurred = torch.from_numpy(blurred.astype(np.uint8))
        return torch.cat([torch.where(images[:, 3:] > 0, blurred, 255), images[:, 3:]], dim=1)

    def accuracy(train_other: torch.Tensor, tested_other: torch.Tensor):
        sets = (train.images[real], train_other, held_out.images[held_real], tested_other)
        return two_sample.two_sample_test(sets, lines, seed=0, device="cpu")

    others = train.images[other], held_out.images[held_other]
    same = accuracy(*others)
    assert same.low < 0.5 and (same.n, same.m) == (len(held_other), len(held_real))
    assert accuracy(*map(lightly_blurred, others)).low > 0.9
