import pytest
import torch

from pokemon_ddpm.evaluation.comparison import CORRUPTED_SETS, blur, comparisons, posterise, shuffle_patches
from pokemon_ddpm.evaluation.metrics import fid_value
from tests.sprite_sets import MeanExtractor, blob_images


def test_comparisons_are_of_equally_many_images():
    extractor = MeanExtractor()
    images = [blob_images(count, seed)[0] for seed, count in enumerate((150, 160, 100))]
    samples, train, held_out = map(extractor.features, images)
    rows = comparisons(samples, train, held_out, images[2], extractor, 0)
    found = {(row["name"], row["to"]): row for row in rows}
    assert found["all samples", "train"]["fid"].value == fid_value(samples, train)
    assert found["held-out", "train"]["fid"].value == pytest.approx(fid_value(held_out, train))
    for (name, to), row in found.items():
        expected = (150 if name == "all samples" else 100, 160 if to == "train" else 100)
        assert (row["fid"].n, row["fid"].m) == expected
    assert len(found) == 6 + len(CORRUPTED_SETS)
    assert found["blurred", "train"]["kid"].value > found["held-out", "train"]["kid"].high


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
