import pytest
import torch

from pokemon_ddpm.evaluation.corruptions import (
    CORRUPTIONS,
    add_noise,
    blur,
    move_pixels,
    posterise,
    shuffle_patches,
    swap_palette,
)


def sprites(count: int = 6, side: int = 16) -> torch.Tensor:
    """Noise of muted colors on white."""
    images = torch.full((count, 3, side, side), 255, dtype=torch.uint8)
    shape, generator = (count, 3, side - 4, side - 4), torch.Generator().manual_seed(0)
    images[:, :, 2:-2, 2:-2] = torch.randint(60, 196, shape, generator=generator, dtype=torch.uint8)
    return images


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_strength_changes_more(name):
    images = sprites()
    found = [CORRUPTIONS[name](images, strength, 3) for strength in (0, 0.25, 0.5, 0.75, 1)]
    assert all(each.dtype == torch.uint8 for each in found)
    changes = [(each.float() - sprites()).abs().mean().item() for each in found]
    assert changes[0] == 0 and changes == sorted(set(changes))
    assert torch.equal(images, sprites())
    assert torch.equal(CORRUPTIONS[name](images[:2], 0.5, 3), found[2][:2])
    if name not in ("blur", "posterise"):
        assert not torch.equal(CORRUPTIONS[name](images, 0.5, 4), found[2])
    if name != "add_noise":
        white = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
        assert torch.equal(CORRUPTIONS[name](white, 0.7, 0), white)


def test_blur_has_the_given_standard_deviation_within_an_image_and_a_channel():
    images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    images[0, 1, 12:20, 12:20] = 0
    found = blur(images, 0.5)
    assert (found[1] == 255).all() and (found[0, [0, 2]] == 255).all()
    profile = (255 - found[0, 1].float()).sum(dim=0)
    assert profile.sum().item() == pytest.approx(64 * 255, rel=0.02)
    variance = (profile / profile.sum() * (torch.arange(32) - 15.5) ** 2).sum().item()
    assert variance == pytest.approx((8**2 - 1) / 12 + 2**2, rel=0.05)


@pytest.mark.parametrize(("strength", "levels"), [(0, 256), (4 / 7, 16), (6 / 7, 4), (1, 2)])
def test_posterise_rounds_to_levels(strength, levels):
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    found = posterise(ramp, strength)
    assert found.unique().tolist() == [round(i * 255 / (levels - 1)) for i in range(levels)]
    assert (found.float() - ramp).abs().max() <= 255 / (levels - 1) / 2 + 0.5


@pytest.mark.parametrize("strength", [0.25, 0.5, 1])
def test_shuffle_patches_moves_a_share_of_whole_patches(strength):
    numbers = torch.arange(16, dtype=torch.uint8).view(4, 4)
    images = numbers.repeat_interleave(3, 0).repeat_interleave(3, 1).expand(5, 3, -1, -1)
    found = shuffle_patches(images, strength)
    patches = found[:, 0, ::3, ::3]
    assert torch.equal(patches.repeat_interleave(3, 1).repeat_interleave(3, 2), found[:, 0])
    assert torch.equal(patches.flatten(1).sort(dim=1).values, numbers.flatten().expand(5, -1))
    assert ((patches != numbers).sum(dim=(1, 2)) == round(strength * 16)).all()
    assert not torch.equal(patches[0], patches[1])


def test_add_noise_has_the_given_standard_deviation():
    found = add_noise(torch.full((4, 3, 32, 32), 128, dtype=torch.uint8), 0.2).float() - 128
    assert found.std().item() == pytest.approx(0.2 * 127.5, rel=0.03) and abs(found.mean().item()) < 1.5


def test_move_pixels_exchanges_a_share_of_the_pixels_with_neighbors():
    images = torch.arange(4 * 256).view(4, 1, 16, 16).to(torch.int16).repeat(1, 4, 1, 1)  # all pixels differ
    inner = [move_pixels(images, 1 / 256, seed) for seed in range(4)]
    for before, after in ((images[k], each[k]) for each in inner for k in range(4)):
        moved = (before != after).any(dim=0).nonzero()
        assert len(moved) in (0, 2)  # a pixel at the border may stay
        if len(moved):
            here, there = moved.tolist()
            assert abs(here[0] - there[0]) + abs(here[1] - there[1]) == 1
            assert torch.equal(after[:, here[0], here[1]], before[:, there[0], there[1]])
    found = move_pixels(images, 0.05, 3)
    assert torch.equal(found.flatten(2).sort(dim=2).values, images.flatten(2))
    assert 0.07 < (found != images).any(dim=1).float().mean() < 0.11
    assert torch.equal(move_pixels(images, 0), images)


def test_swap_palette_exchanges_a_share_of_the_colors():
    """Twelve rows of different colors on white; colors exchanged at a lower strength are also at a higher one."""
    colors = torch.arange(12, dtype=torch.uint8)
    rows = torch.stack([20 * colors, 240 - 20 * colors, (70 * colors) % 200])
    images = torch.full((4, 3, 14, 14), 255, dtype=torch.uint8)
    images[:, :, 1:13, 1:13] = rows[..., None].expand(4, 3, 12, 12)
    earlier = torch.zeros(4, 12, dtype=torch.bool)
    for strength in (0.25, 0.5, 1):
        found = swap_palette(images, strength, 1)
        after = found[:, :, 1:13, 1]
        assert torch.equal(found[:, :, 1:13, 1:13], after[..., None].expand(-1, -1, -1, 12))
        assert all(sorted(each.T.tolist()) == sorted(rows.T.tolist()) for each in after)
        moved = (after != rows).any(dim=1)
        assert (moved.sum(dim=1) == round(strength * 12)).all() and not (earlier & ~moved).any()
        assert not torch.equal(after[0], after[1]) and (found[:, :, 0] == 255).all()
        earlier = moved


def test_swap_palette_keeps_differences_within_a_group():
    ramp = (2 * torch.arange(64, dtype=torch.uint8) + 40).view(1, 1, 8, 8).repeat(1, 3, 1, 1)
    steps = swap_palette(ramp, 1.0).int()[0, 0].flatten().diff()
    assert 2 <= ((steps - 2).abs() > 1).sum() < 16
