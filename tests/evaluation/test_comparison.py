import pytest
import torch

from pokemon_ddpm.evaluation.comparison import blur, comparisons
from pokemon_ddpm.evaluation.metrics import fid_value
from tests.sprite_sets import RedNetwork, blob_images


def test_comparisons_are_of_equally_many_images():
    network = RedNetwork()
    images = [blob_images(count, seed)[0] for seed, count in enumerate((150, 160, 100))]
    samples, train, held_out = map(network.features, images)
    found = {(row["name"], row["to"]): row for row in comparisons(samples, train, held_out, images[2], network, 0)}
    assert found["all samples", "train"]["fid"].value == fid_value(samples, train)
    assert found["held-out", "train"]["fid"].value == pytest.approx(fid_value(held_out, train))
    for (name, to), row in found.items():
        expected = (150 if name == "all samples" else 100, 160 if to == "train" else 100)
        assert (row["fid"].n, row["fid"].m) == expected
    assert len(found) == 7 and found["blurred", "train"]["kid"].value > found["held-out", "train"]["kid"].high


def test_blur_has_the_given_standard_deviation_within_an_image_and_a_channel():
    images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    images[0, 1, 12:20, 12:20] = 0
    found = blur(images, 2)
    assert (found[1] == 255).all() and (found[0, [0, 2]] == 255).all()
    profile = (255 - found[0, 1].float()).sum(dim=0)
    assert profile.sum().item() == pytest.approx(64 * 255, rel=0.02)
    variance = (profile / profile.sum() * (torch.arange(32) - 15.5) ** 2).sum().item()
    assert variance == pytest.approx((8**2 - 1) / 12 + 2**2, rel=0.05)
