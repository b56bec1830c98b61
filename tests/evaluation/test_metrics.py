import math

import numpy as np
import ot
import pytest
import torch

from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.metrics import (
    NUM_PROJECTIONS,
    basic_bootstrap,
    disjoint_blocks,
    exact_wasserstein,
    fid,
    fid_value,
    kid,
    precision_recall,
    sliced_wasserstein,
)


def gaussian(n: int, dimension: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n: int, dimension: int, seed: int = 0, ddof: int = 1) -> torch.Tensor:
    """A set with mean 0 and covariance 1 exactly."""
    values = gaussian(n, dimension, seed)
    values = values - values.mean(dim=0)
    covariance = values.T @ values / (n - ddof)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), values.T, upper=False).T


def test_basic_bootstrap(monkeypatch: pytest.MonkeyPatch):
    """The interval of a mean is twice 1.96 standard errors wide, and ends at 0."""
    monkeypatch.setattr(metrics, "NUM_BOOTSTRAPS", 400)
    samples, reference = gaussian(1000, 1) + 3, torch.zeros(5, 1)
    found = basic_bootstrap(lambda one, other: float(one.mean()), samples, reference, 0)
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(1000), rel=0.15)
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=0.01)
    values = iter([0.2] + 400 * [1.0])
    below = basic_bootstrap(lambda one, other: next(values), samples, reference, 0)
    assert (below.value, below.low, below.high) == (0.2, 0, 0)


def test_disjoint_blocks():
    pairs = list(disjoint_blocks(torch.arange(20), torch.arange(100, 115), blocks=3, size=5, seed=1))
    first, second = (torch.stack(each) for each in zip(*pairs, strict=True))
    assert first.shape == second.shape == (3, 5)
    assert len(first.unique()) == 15 and first.max() < 20
    assert torch.equal(second.flatten().sort().values, torch.arange(100, 115))


def test_fid_closed_form():
    """For covariances with the same axes: squared distances of the means and of the standard deviations."""
    axes = torch.linalg.qr(gaussian(4, 4, 9)).Q
    one, other = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), torch.tensor([2.0, 2.0, 1.0, 0.1]).double()
    shift = torch.tensor([3.0, 0.0, -4.0, 1000.0]).double()
    samples = (whitened(60, 4, 1) * one) @ axes.T + 5
    reference = (whitened(90, 4, 2) * other) @ axes.T + 5 + shift
    found = fid(samples, reference)
    assert found.value == fid_value(samples, reference)
    assert found.value == pytest.approx(float(shift.square().sum() + (one - other).square().sum()), rel=1e-9)
    assert (found.n, found.m, found.warnings) == (60, 90, ())
    singular = fid(gaussian(20, 32), gaussian(20, 32))
    assert 0 <= singular.value < 1e-5 and "20 images" in singular.warnings[0]


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_fid_interval_contains_the_distance_of_the_distributions(shift):
    found = [fid(gaussian(150, 4, 2 * s) + shift, gaussian(150, 4, 2 * s + 1), seed=s) for s in range(20)]
    assert sum(each.low <= 4 * shift**2 <= each.high for each in found) >= 17


def test_kid_closed_form():
    """In one dimension (xy + 1)^3 compares the first three moments."""
    mu = 0.7
    truth = 3 * mu**2 + 3 * mu**4 + (mu**3 + 3 * mu) ** 2
    found = [kid(gaussian(200, 1, 2 * s) + mu, gaussian(240, 1, 2 * s + 1)) for s in range(24)]
    scores = np.array([(each.value - truth) / each.standard_error for each in found])
    assert abs(scores.mean()) < 4 / math.sqrt(24) and 0.5 < scores.std() < 1.5
    assert sum(each.low <= truth <= each.high for each in found) >= 20
    assert (found[0].n, found[0].m, found[0].warnings) == (200, 240, ())


def test_kid_of_few_images_is_computed_from_one_block():
    samples, reference = gaussian(6, 3), gaussian(6, 3, 1) + 1
    own, others, between = (
        (x @ y.T / 3 + 1) ** 3 for x, y in ((samples,) * 2, (reference,) * 2, (samples, reference))
    )
    within = [(kernel.sum() - kernel.trace()) / 30 for kernel in (own, others)]
    found = kid(samples, reference)
    assert found.value == pytest.approx(float(sum(within) - 2 * between.mean()), rel=1e-9)
    assert math.isnan(found.standard_error) and math.isnan(found.low) and "6 images" in found.warnings[0]


def test_precision_and_recall_by_definition_far_from_the_origin():
    samples, reference = gaussian(70, 3), 1.5 * gaussian(70, 3, 1)

    def covered(one: np.ndarray, other: np.ndarray) -> float:
        radii = [sorted(math.dist(a, b) for b in other)[3] for a in other]
        return np.mean([any(math.dist(a, b) <= r for b, r in zip(other, radii, strict=True)) for a in one])

    precision, recall = precision_recall(samples + 1e6, reference + 1e6)
    assert precision.value == pytest.approx(covered(samples.numpy(), reference.numpy()))
    assert recall.value == pytest.approx(covered(reference.numpy(), samples.numpy()))
    smaller, _ = precision_recall(samples[:40], samples)
    assert smaller.low < smaller.value == 1 and smaller.n == smaller.m == 40 and "40 images" in smaller.warnings[0]


def test_sliced_wasserstein_closed_form():
    """Every projection of a whitened set has variance 1, and a shift moves it by its projection."""
    features, shift = whitened(80, 6, ddof=0), np.array([3.0, 0, 0, 4.0, 0, 0])
    assert sliced_wasserstein(3 * features, features).value == pytest.approx(2, rel=1e-9)
    moved = sliced_wasserstein(features + torch.from_numpy(shift), features, seed=2)
    projections = shift @ ot.sliced.get_random_projections(6, NUM_PROJECTIONS, 2)
    assert moved.value == pytest.approx(math.sqrt(np.mean(projections**2)))
    repeated = sliced_wasserstein(3 * features, features.repeat(2, 1))
    assert repeated.value == pytest.approx(2) and (repeated.n, repeated.m) == (80, 160)


def test_wasserstein_intervals_contain_0_for_equal_distributions():
    found = [sliced_wasserstein(gaussian(60, 6, 2 * s), gaussian(90, 6, 2 * s + 1), seed=s) for s in range(12)]
    assert sum(each.low == 0 for each in found) >= 10
    assert all(each.low <= each.high and each.value > 0 for each in found)


def test_exact_wasserstein_closed_form(monkeypatch: pytest.MonkeyPatch):
    features = gaussian(50, 5)
    moved = exact_wasserstein(features + torch.tensor([0, 3.0, 0, 4.0, 0]), features)
    assert moved.value == pytest.approx(5, rel=1e-9)
    assert (moved.n, moved.m) == (50, 50) and math.isnan(moved.low) and "50 images" in moved.warnings[0]
    found = []
    for size in (32, 128):
        monkeypatch.setattr(metrics, "SUBSET_SIZE", size)
        found.append(exact_wasserstein(gaussian(600, 8, 2), gaussian(400, 8, 3)))
    small, large = found
    assert (small.n, large.n, small.warnings) == (8 * 32, 3 * 128, ())
    assert large.value < small.low < small.value < small.high


@pytest.mark.parametrize("metric", [fid, kid, sliced_wasserstein, exact_wasserstein])
def test_metrics_are_a_function_of_the_seed(metric):
    one, again, other = (repr(metric(gaussian(30, 4), gaussian(40, 4, 1), seed)) for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize("metric", [fid, kid, sliced_wasserstein, exact_wasserstein, precision_recall])
def test_metrics_refuse_too_few_images_and_features_that_are_not_finite(metric):
    features = gaussian(10, 4)
    with pytest.raises(ValueError, match="images, but they have 10 and 1"):
        metric(features, features[:1])
    broken = features.clone()
    broken[3, 1] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        metric(features, broken)
