"""Figures of variety against closed forms and loops over pairs."""

import itertools
import math

import numpy as np
import pytest
import torch

from pokemon_ddpm.evaluation import variety as module
from pokemon_ddpm.evaluation.images import GeneratedSets, as_rgba
from pokemon_ddpm.evaluation.variety import bodies_of, color_distances, evaluate_variety, load_probe, rke, variety
from pokemon_ddpm.vocabulary import BODIES
from tests.sprite_sets import RedNetwork, as_samples, blobs, type_names
from tests.tiny_models import tiny_pipeline


def test_colors_are_those_of_the_foreground():
    """Red and blue, which Ottosson 2020 has as (0.628, 0.225, 0.126) and (0.452, -0.032, -0.312)."""
    images = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1).repeat(3, 1, 32, 32)
    for image, left, color in zip(images, (2, 2, 11), ([255, 0, 0], [0, 0, 255], [255, 0, 0]), strict=True):
        image[:, 2:7, left : left + 9] = torch.tensor([*color, 255])[:, None, None]
    found = color_distances(images)
    expected = math.dist((0.62796, 0.22486, 0.12585), (0.45201, -0.03246, -0.31153))
    assert found[0, 1] == pytest.approx(expected, abs=1e-4)
    assert found[0, 2] == found[0, 0] == 0


def test_kernel_diversity_counts_modes():
    apart = 100 * torch.eye(5)
    assert rke(torch.ones(7, 3)) == pytest.approx(1) and rke(apart) == pytest.approx(5)
    assert rke(apart.repeat(4, 1)) == pytest.approx(5)
    near = torch.zeros(2, 6)
    near[1, 2] = 1.5
    assert rke(near) == pytest.approx(2 / (1 + math.exp(-2 * 1.5**2 / 6)))
    independent = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert 1 / rke(independent) == pytest.approx((1 + 8 / 64) ** -32 + 1 / 4000, rel=0.05)


def test_the_effective_number_is_that_of_equal_shares():
    counts = np.array([[3, 3, 3, 0], [0, 9, 0, 0], [4, 2, 2, 0]])
    np.testing.assert_allclose(module.effective_number(counts), [3, 1, 2**1.5])


def test_figures_are_those_of_all_pairs():
    images = as_rgba(blobs(12, 3).images)
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    found, masks = variety(images, features), images[:, 3].numpy() > 127
    pairs = []
    for i, j in itertools.combinations(range(12), 2):
        best = 0
        for other in (masks[j], masks[j][:, ::-1]):
            centered = []
            for mask in (masks[i], other):
                y, x = mask.nonzero()
                y, x = (each - (each.min() + each.max() - 31) / 2 for each in (y, x))
                centered.append({*zip(y, x, strict=True)})
            best = max(best, len(centered[0] & centered[1]) / len(centered[0] | centered[1]))
        pairs.append(best)
    assert found["overlap"] == pytest.approx(np.mean(pairs)) and found["near"] == np.mean(np.array(pairs) >= 0.7)
    assert 0 < found["near"] < 1 and found["rke"] == rke(features) and np.isnan(variety(images, None)["rke"])


def test_samples_that_are_too_alike_stand_beside_as_many_training_images():
    train, samples = blobs(60, 0), blobs(24, 1)
    one = as_samples(samples.images[:3].repeat(8, 1, 1, 1), type_names(samples))
    rows = torch.arange(24)
    sets = GeneratedSets(as_samples(samples.images, type_names(samples)), one, one, rows, rows)
    found = evaluate_variety(sets, train, RedNetwork())
    alike, real = found["by type alone"], found["real"]
    assert alike["n"] == real["n"] == found["these images"]["n"] == 24
    assert (alike["near"]["value"], alike["color"]["value"], alike["rke"]["value"]) == pytest.approx((1, 0, 1))
    assert real["near"]["n"] == 3 and real["near"]["value"] < 0.9 and real["rke"]["value"] > 1
    without = evaluate_variety(sets, train, None)["real"]
    assert np.isnan(without["rke"]["value"]) and without["near"] == real["near"]
    bodies = module.count_bodies(sets, train, Areas())
    large = ((samples.images.amin(dim=1) < 255).sum(dim=(1, 2)) > 150).float().mean().item()
    counted = bodies["by conditions of training images"]
    assert counted["shares"] == pytest.approx(dict.fromkeys(BODIES, 0) | {"blob": 1 - large, "biped": large})
    assert counted["effective"] == pytest.approx(large**-large * (1 - large) ** (large - 1))
    assert {each["n"] for each in bodies.values()} == {24}


class Areas:
    """In place of a ranker: its feature is the number of foreground pixels; of many it sees a biped, else a blob."""

    probes = {"body": lambda area: torch.cat([area, 0 * area + 150, area.expand(-1, 9) - 10_000], dim=1)}

    def all_features(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, 3:] > 127).float().sum(dim=(2, 3))


def test_the_released_probe_is_for_sprites_of_its_size():
    probe = load_probe(tiny_pipeline(size=64, channels=4))
    assert bodies_of(probe, torch.randint(256, (3, 4, 64, 64), dtype=torch.uint8)).max() < len(BODIES)
    assert load_probe(tiny_pipeline(size=32, channels=4)) is None
