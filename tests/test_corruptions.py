"""What makes sprites worse: nothing at strength 0, more at more, and each in its own way."""

import pytest
import torch

pytest.importorskip("scipy")

from pokemon_ddpm.evaluation.corruptions import (  # noqa: E402
    CORRUPTIONS,
    PALETTE,
    PATCHES,
    add_noise,
    blur,
    posterise,
    shuffle_patches,
    swap_palette,
)

NAMES = list(CORRUPTIONS)


def sprites(count: int = 6, side: int = 16, seed: int = 0) -> torch.Tensor:
    """Noise of muted colours on white."""
    images = torch.full((count, 3, side, side), 255, dtype=torch.uint8)
    ink = torch.randint(60, 196, (count, 3, side - 4, side - 4), generator=torch.Generator().manual_seed(seed))
    images[:, :, 2:-2, 2:-2] = ink.to(torch.uint8)
    return images


@pytest.mark.parametrize("name", NAMES)
def test_strength_0_changes_nothing(name: str) -> None:
    images = sprites()
    assert torch.equal(CORRUPTIONS[name](images, 0.0, 3), images)


@pytest.mark.parametrize("name", NAMES)
def test_more_strength_changes_more(name: str) -> None:
    images, before = sprites(20), sprites(20)
    changes = [
        (CORRUPTIONS[name](images, strength, 0).float() - images).abs().mean().item()
        for strength in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert changes == sorted(changes) and len(set(changes)) == 5
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_does_not_depend_on_those_after_it(name: str) -> None:
    images, state = sprites(), torch.get_rng_state()
    found = CORRUPTIONS[name](images, 0.5, 7)
    assert found.dtype == torch.uint8 and found.shape == images.shape
    assert torch.equal(found, CORRUPTIONS[name](images, 0.5, 7))
    assert torch.equal(found[:2], CORRUPTIONS[name](images[:2], 0.5, 7))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["shuffle_patches", "add_noise", "swap_palette"])
def test_chance_follows_the_seed(name: str) -> None:
    images = sprites()
    assert not torch.equal(CORRUPTIONS[name](images, 0.5, 0), CORRUPTIONS[name](images, 0.5, 1))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "add_noise"])
def test_white_stays_white(name: str) -> None:
    white = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.equal(CORRUPTIONS[name](white, 0.7, 0), white)


def test_blur_spreads_within_a_picture_and_a_channel() -> None:
    images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    images[0, 1, 12:20, 12:20] = 0
    found = blur(images, 0.5)  # a standard deviation of 2 pixels
    assert (found[1] == 255).all() and (found[0, [0, 2]] == 255).all()
    ink = 255 - found[0, 1].float()
    assert ink.sum().item() == pytest.approx(64 * 255, rel=0.02)
    places = torch.arange(32) - 15.5
    profile = ink.sum(dim=0) / ink.sum()
    assert (profile * places**2).sum().item() == pytest.approx((8**2 - 1) / 12 + 2**2, rel=0.05)


@pytest.mark.parametrize(("strength", "levels"), [(0, 256), (4 / 7, 16), (6 / 7, 4), (1, 2)])
def test_posterise_leaves_few_levels(strength: float, levels: int) -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    found = posterise(ramp, strength)
    assert found.unique().tolist() == [round(i * 255 / (levels - 1)) for i in range(levels)]
    assert (found.float() - ramp).abs().max() <= 255 / (levels - 1) / 2 + 0.5


@pytest.mark.parametrize("strength", [0.25, 0.5, 1])
def test_shuffling_moves_that_share_of_the_patches_whole(strength: float) -> None:
    size = 3
    numbers = torch.arange(PATCHES**2, dtype=torch.uint8).view(PATCHES, PATCHES)
    image = numbers.repeat_interleave(size, 0).repeat_interleave(size, 1).expand(5, 3, -1, -1)
    found = shuffle_patches(image, strength)
    patches = found[:, 0, ::size, ::size]
    assert torch.equal(patches.repeat_interleave(size, 1).repeat_interleave(size, 2), found[:, 0])
    assert torch.equal(patches.flatten(1).sort(dim=1).values, numbers.flatten().expand(5, -1))
    assert ((patches != numbers).sum(dim=(1, 2)) == round(strength * PATCHES**2)).all()
    assert not torch.equal(patches[0], patches[1])


def test_noise_is_as_strong_as_is_said() -> None:
    gray = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    found = add_noise(gray, 0.2).float() - 128
    assert found.std().item() == pytest.approx(0.2 * 127.5, rel=0.03) and abs(found.mean().item()) < 1.5


def flat_colors(count: int) -> torch.Tensor:
    """Sprites of 12 rows on white, each row of another colour."""
    colors = torch.arange(12, dtype=torch.uint8)
    rows = torch.stack([20 * colors, 240 - 20 * colors, (70 * colors) % 200]).view(3, 12, 1)
    images = torch.full((count, 3, 14, 14), 255, dtype=torch.uint8)
    images[:, :, 1:13, 1:13] = rows.expand(count, 3, 12, 12)
    return images


@pytest.mark.parametrize("strength", [0.25, 0.5, 1])
def test_a_swapped_palette_has_the_same_colours_that_share_of_them_at_other_places(strength: float) -> None:
    images = flat_colors(4)
    found = swap_palette(images, strength, 1)
    before, after = images[:, :, 1:13, 1], found[:, :, 1:13, 1]
    assert torch.equal(found[:, :, 1:13, 1:13], after[..., None].expand(-1, -1, -1, 12))
    assert ((before != after).any(dim=1).sum(dim=1) == round(strength * 12)).all()
    for one, other in zip(before, after, strict=True):
        assert sorted(one.T.tolist()) == sorted(other.T.tolist())
    assert not torch.equal(after[0], after[1]) and (found[:, :, 0] == 255).all()


def test_colours_that_moved_move_at_more_strength_too() -> None:
    images = flat_colors(3)
    moved = [(swap_palette(images, strength, 1) != images).any(dim=1) for strength in (0.25, 0.5, 1)]
    assert not (moved[0] & ~moved[1]).any() and not (moved[1] & ~moved[2]).any()


def test_differences_between_similar_colours_survive_another_palette() -> None:
    ramp = (2 * torch.arange(64, dtype=torch.uint8) + 40).view(1, 1, 8, 8).repeat(1, 3, 1, 1)
    found = swap_palette(ramp, 1.0).int()
    steps = found[0, 0].flatten().diff()
    kept = (steps - 2).abs() <= 1  # rounded
    assert 2 <= (~kept).sum() < PALETTE  # only from group to group
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])  # greys stay grey


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 1, but is 1.5"):
        CORRUPTIONS[name](sprites(), 1.5, 0)
    for wrong in (sprites().float(), sprites()[0], sprites()[:, :2], sprites()[..., 1:]):
        with pytest.raises(ValueError, match="Pictures must be uint8"):
            CORRUPTIONS[name](wrong, 0.5, 0)


def test_pictures_that_cannot_be_cut_into_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4 .* but is 18"):
        shuffle_patches(sprites(side=18), 0.5)
