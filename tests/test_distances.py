"""Distances against closed forms, which sets with exact moments have exactly, and against independent computations."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("torch_fidelity")
ot = pytest.importorskip("ot")

from scipy.optimize import linear_sum_assignment  # noqa: E402

from pokemon_ddpm.evaluation.distances import fid, kid, kid_by_word, kid_difference, precision_recall  # noqa: E402
from pokemon_ddpm.evaluation.intervals import Estimate, basic_bootstrap, check_pair, share  # noqa: E402
from pokemon_ddpm.evaluation.picture_statistics import picture_statistics  # noqa: E402
from pokemon_ddpm.evaluation.transport import (  # noqa: E402
    exact_wasserstein,
    sliced_wasserstein,
    wasserstein_of_statistics,
)


def gaussian(n: int, dimension: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n: int, dimension: int, seed: int = 0, ddof: int = 1) -> torch.Tensor:
    """Of mean 0 and covariance 1, exactly."""
    values = gaussian(n, dimension, seed)
    values = values - values.mean(dim=0)
    covariance = values.T @ values / (n - ddof)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), values.T, upper=False).T


# FID


def test_fid_of_gaussians_has_its_closed_form() -> None:
    """Covariances with the same axes: the squared distance of the means and of the standard deviations."""
    axes = torch.linalg.qr(gaussian(4, 4, 9)).Q
    one, other = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), torch.tensor([2.0, 2.0, 1.0, 0.1]).double()
    shift = torch.tensor([3.0, 0.0, -4.0, 1000.0]).double()
    samples = (whitened(60, 4, 1) * one) @ axes.T + 5
    reference = (whitened(90, 4, 2) * other) @ axes.T + 5 + shift
    found = fid(samples, reference, num_bootstraps=0)
    assert found.value == pytest.approx(float(shift.square().sum() + (one - other).square().sum()), rel=1e-9)
    assert (found.n, found.m) == (60, 90) and math.isnan(found.low)


def test_fid_of_one_feature_and_of_a_set_to_itself() -> None:
    assert fid(3 * whitened(30, 1) + 1, whitened(20, 1, 1), 0).value == pytest.approx(1 + 4)
    for n in (20, 200):  # fewer and more than features
        features = gaussian(n, 32)
        assert 0 <= fid(features, features, 0).value < 1e-5


def test_fid_agrees_with_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image.fid")

    class Features(torch.nn.Identity):
        num_features = 8

    metric = image.FrechetInceptionDistance(feature=Features()).set_dtype(torch.float64)
    samples, reference = gaussian(100, 8) ** 3, gaussian(80, 8, 1)
    metric.update(reference, real=True)
    metric.update(samples, real=False)
    assert fid(samples.float(), reference.float(), 0).value == pytest.approx(metric.compute().item(), rel=1e-5)


@pytest.mark.parametrize(("n", "complaint"), [(16, "no more pictures"), (100, "biased upwards"), (160, None)])
def test_fid_warns_of_few_pictures(n: int, complaint: str | None) -> None:
    warnings = fid(gaussian(n, 16), gaussian(200, 16, 1), 0).warnings
    assert (complaint is None) == (not warnings) and all(complaint in each and str(n) in each for each in warnings)


def test_the_bootstrap_covers_the_distributions_distance() -> None:
    """Also where bias puts the value itself above the interval, at equal distributions."""
    for shift in (0.0, 1.0):
        found = [fid(gaussian(150, 4, 2 * s) + shift, gaussian(150, 4, 2 * s + 1), 60, seed=s) for s in range(30)]
        covered = sum(each.low <= 4 * shift**2 <= each.high for each in found)
        assert covered >= 26
    assert np.mean([each.value for each in found]) > 4  # biased upwards


def test_the_basic_bootstrap_reflects_resamples() -> None:
    """Of a mean of many, twice 1.96 standard errors wide; below 0 it is cut."""
    one, other = gaussian(1000, 1) + 3, torch.zeros(5, 1)
    low, high = basic_bootstrap(lambda a, b: float(a.mean()), one, other, float(one.mean()), 400)
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(1000), rel=0.15)
    assert (low + high) / 2 == pytest.approx(float(one.mean()), abs=0.01)
    assert basic_bootstrap(lambda a, b: 1.0, one, other, 0.2, 3) == (0, 0)


# KID


def test_kid_of_gaussians_has_its_closed_form() -> None:
    """In one dimension (xy + 1)^3 compares the first three moments; the errors are as large as is said."""
    mu = 0.7
    truth = 3 * mu**2 + 3 * mu**4 + (mu**3 + 3 * mu) ** 2
    found = [kid(gaussian(200, 1, 2 * s) + mu, gaussian(240, 1, 2 * s + 1)) for s in range(24)]
    scores = np.array([(each.value - truth) / each.standard_error for each in found])
    assert abs(scores.mean()) < 4 / math.sqrt(24)
    assert 0.5 < scores.std() < 1.5
    assert sum(each.low <= truth <= each.high for each in found) >= 20
    assert (found[0].n, found[0].m, found[0].warnings) == (200, 240, ())


def test_kid_is_unbiased_between_equal_distributions() -> None:
    values = np.array([kid(gaussian(60, 8, 2 * s), gaussian(60, 8, 2 * s + 1)).value for s in range(16)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(16)
    assert values.min() < 0 < values.max()


def test_kid_of_few_pictures_is_one_subset() -> None:
    """With the terms written out."""
    samples, reference = gaussian(6, 3), gaussian(6, 3, 1) + 1

    def mean(one: torch.Tensor, other: torch.Tensor, same: bool) -> float:
        terms = [(x @ y / 3 + 1) ** 3 for i, x in enumerate(one) for j, y in enumerate(other) if not (same and i == j)]
        return float(sum(terms) / len(terms))

    expected = mean(samples, samples, True) + mean(reference, reference, True) - 2 * mean(samples, reference, False)
    found = kid(samples, reference)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert math.isnan(found.standard_error) and math.isnan(found.low)
    assert "6 pictures" in found.warnings[0]


def test_kid_by_word_compares_like_with_like_and_hides_no_small_word() -> None:
    """The first word's samples are right, the second's are far off, the third has one real picture."""
    asked, labels = (torch.nn.functional.one_hot(torch.arange(90) % 3, 3).bool() for _ in range(2))
    labels[5:, 2] = False
    samples, reference = gaussian(90, 4), gaussian(90, 4, 1)
    samples[asked[:, 1]] += 3
    found = kid_by_word(samples, asked, reference, labels, ("fire", "water", "flying"))
    assert (found["fire"].n, found["fire"].m) == (30, 30) and abs(found["fire"].value) < 1 < found["water"].value
    assert found["water"] == kid(samples[asked[:, 1]], reference[labels[:, 1]])
    flying = found["flying"]
    assert (flying.n, flying.m) == (30, 1) and math.isnan(flying.value) and "30 and 1" in flying.warnings[0]


# Precision and recall


def test_precision_and_recall_of_known_sets() -> None:
    same, far = gaussian(120, 4), gaussian(120, 4, 1) + 100
    both = precision_recall(same, same)
    assert (both.precision.value, both.recall.value) == (1, 1)
    neither = precision_recall(far, same)
    assert (neither.precision.value, neither.recall.value) == (0, 0) and neither.precision.high < 0.04
    half = precision_recall(torch.cat([same[:60], far[:60]]), same)
    assert half.precision.value == 0.5 and half.precision.low < 0.5 < half.precision.high
    collapsed = precision_recall(same[:1] + 0.01 * gaussian(120, 4, 2), same)
    assert collapsed.precision.value == 1 and collapsed.recall.value < 0.1


def test_precision_and_recall_agree_with_their_definition_far_from_the_origin() -> None:
    samples, reference = gaussian(70, 3), 1.5 * gaussian(70, 3, 1)

    def covered(one: np.ndarray, other: np.ndarray) -> float:
        distances = [sorted(math.dist(a, b) for b in other)[3] for a in other]
        return np.mean([any(math.dist(a, b) <= r for b, r in zip(other, distances, strict=True)) for a in one])

    found = precision_recall(samples + 1e6, reference + 1e6)
    assert found.precision.value == pytest.approx(covered(samples.numpy(), reference.numpy()))
    assert found.recall.value == pytest.approx(covered(reference.numpy(), samples.numpy()))


def test_the_larger_set_is_reduced() -> None:
    found = precision_recall(gaussian(40, 2), gaussian(100, 2, 1), seed=3)
    assert found.precision.n == found.precision.m == found.recall.n == 40
    assert "40 pictures" in found.precision.warnings[0]
    with pytest.raises(ValueError, match="At least 4 pictures .* 3 and 100"):
        precision_recall(gaussian(3, 2), gaussian(100, 2))


# Wasserstein


def test_sliced_wasserstein_has_its_closed_form() -> None:
    """Of a set and the same set spread and moved; along every direction it has variance 1."""
    features = whitened(80, 6, ddof=0)
    assert sliced_wasserstein(3 * features, features, num_bootstraps=0).value == pytest.approx(2, rel=1e-9)
    assert sliced_wasserstein(features, features, num_bootstraps=0).value == 0
    moved = features + torch.tensor([3.0, 0, 0, 4.0, 0, 0])
    found = sliced_wasserstein(moved, features, num_projections=4000, num_bootstraps=0)
    assert found.value == pytest.approx(math.sqrt(25 / 6), rel=0.05)


def test_sliced_wasserstein_between_sets_of_different_sizes() -> None:
    """Repeating every picture changes nothing, and the interval holds the distributions' distance."""
    samples, reference = gaussian(60, 3) + 1, gaussian(80, 3, 1)
    found = sliced_wasserstein(samples, reference, num_bootstraps=60)
    assert sliced_wasserstein(samples, reference.repeat(2, 1), num_bootstraps=0).value == pytest.approx(found.value)
    assert found.low < 1 < found.high and (found.n, found.m) == (60, 80)
    assert "60 pictures" in found.warnings[0]


def test_the_intervals_hold_0_where_the_distributions_are_equal() -> None:
    for dimension in (1, 6):
        found = []
        for seed in range(15):
            samples, reference = gaussian(60, dimension, 2 * seed), gaussian(90, dimension, 2 * seed + 1)
            if dimension > 1:
                found.append(sliced_wasserstein(samples, reference, 16, 50, seed))
            else:
                statistics = ({"ink": values[:, 0]} for values in (samples, reference))
                found.append(wasserstein_of_statistics(*statistics, 50, seed)["ink"])
        assert sum(each.low == 0 for each in found) >= 13
        assert all(each.low <= each.high and each.value > 0 for each in found)


def test_exact_wasserstein_has_its_closed_form() -> None:
    features = gaussian(50, 5)
    found = exact_wasserstein(features + torch.tensor([0, 3.0, 0, 4.0, 0]), features)
    assert found.value == pytest.approx(5, rel=1e-9)
    assert (found.n, found.m) == (50, 50) and math.isnan(found.low) and len(found.warnings) == 2


def test_exact_wasserstein_agrees_with_an_assignment() -> None:
    samples, reference = gaussian(30, 4), gaussian(30, 4, 1) + 1
    cost = torch.cdist(samples, reference).square().numpy()
    expected = math.sqrt(cost[linear_sum_assignment(cost)].mean())
    assert exact_wasserstein(samples, reference, subset_size=30).value == pytest.approx(expected, rel=1e-9)


def test_exact_wasserstein_depends_on_the_subsets_size_not_on_the_sets() -> None:
    few = exact_wasserstein(gaussian(96, 8), gaussian(100, 8, 1), subset_size=32)
    many = exact_wasserstein(gaussian(600, 8, 2), gaussian(400, 8, 3), subset_size=32)
    larger = exact_wasserstein(gaussian(600, 8, 2), gaussian(400, 8, 3), subset_size=128)
    assert few.low < many.value < few.high and few.warnings == ()
    assert larger.value < many.low < many.value < many.high
    assert (few.n, few.m, many.n, larger.n) == (96, 96, 8 * 32, 3 * 128)


def test_statistics_are_compared_in_their_own_units() -> None:
    reference = {"width": torch.arange(40.0), "ink": torch.rand(200, generator=torch.Generator().manual_seed(0))}
    samples = {"width": torch.arange(40.0) + 3, "ink": reference["ink"] ** 0.5}
    found = wasserstein_of_statistics(samples, reference)
    assert found["width"].value == pytest.approx(3)
    assert found["ink"].value == pytest.approx(1 / 6, abs=0.03)  # the integral of sqrt(u) - u
    assert found["ink"].low < 1 / 6 < found["ink"].high
    assert "40 pictures" in found["width"].warnings[0] and not found["ink"].warnings
    with pytest.raises(ValueError, match="The statistics differ"):
        wasserstein_of_statistics(samples, {"width": reference["width"]})


def test_picture_statistics() -> None:
    images = torch.full((3, 3, 8, 8), 255, dtype=torch.uint8)
    images[0, :, 2:5, 1:7] = torch.tensor([200, 100, 50]).view(3, 1, 1)  # 3 x 6
    images[0, :, 4, 6] = torch.tensor([0, 0, 0])
    images[1] -= 8  # white but for noise
    images[2] = 128
    found = {name: values.tolist() for name, values in picture_statistics(images).items()}
    assert found["width"] == [6, 0, 8] and found["height"] == [3, 0, 8] and found["colors"] == [2, 0, 1]
    assert found["ink"] == [18 / 64, 0, 1]
    assert found["red"] == pytest.approx([200 * 17 / 18, 255, 128])
    assert found["blue"] == pytest.approx([50 * 17 / 18, 255, 128])
    assert found["saturation"] == pytest.approx([0.75 * 17 / 18, 0, 0])


# What all have in common


@pytest.mark.parametrize("distance", [fid, kid, sliced_wasserstein, exact_wasserstein])
def test_numbers_are_a_function_of_the_seed(distance) -> None:
    samples, reference, state = gaussian(30, 4), gaussian(40, 4, 1), torch.get_rng_state()
    one, again, other = (repr(distance(samples, reference, seed=seed)) for seed in (0, 0, 1))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("distance", [fid, kid, sliced_wasserstein, exact_wasserstein, precision_recall])
def test_what_cannot_be_compared_is_refused(distance) -> None:
    features = gaussian(10, 4)
    with pytest.raises(ValueError, match=r"\(10, 4\) and \(10, 3\): both must come from one network"):
        distance(features, features[:, :3])
    with pytest.raises(ValueError, match="pictures are needed in each set, but there are 10 and 1"):
        distance(features, features[:1])
    broken = features.clone()
    broken[3, 1] = math.nan
    with pytest.raises(ValueError, match="1 of 10 rows of features are not finite"):
        distance(features, broken)


def test_features_are_compared_in_float64() -> None:
    assert all(each.dtype == torch.float64 for each in check_pair(gaussian(3, 2).float(), gaussian(3, 2).half()))
    assert isinstance(kid(gaussian(30, 2).float(), gaussian(30, 2, 1).float()), Estimate)


def test_shares_have_wilson_s_interval() -> None:
    found, z = share(3, 20), 1.959964
    middle, half = 0.15 + z**2 / 40, z * math.sqrt(0.15 * 0.85 / 20 + z**2 / 1600)
    assert [found.low, found.high] == pytest.approx(
        [(middle - half) / (1 + z**2 / 20), (middle + half) / (1 + z**2 / 20)]
    )
    assert math.isnan(share(0, 0).value) and share(0, 0).n == 0


def test_the_difference_of_two_sets_from_the_same_noise_is_that_of_their_kids_and_surer() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, reference = (torch.randn(300, 8, generator=generator) for _ in range(2))
    worse = noise + 0.3
    found = kid_difference(worse, noise, reference)
    one, other = kid(worse, reference), kid(noise, reference)
    assert found.value == pytest.approx(one.value - other.value, abs=1e-12)
    assert found.low > 0 and found.high - found.low < one.high - one.low
    same = kid_difference(noise, noise, reference)
    assert (same.value, same.standard_error) == (0, 0)
    with pytest.raises(ValueError, match="but these 300 and 299"):
        kid_difference(noise, noise[1:], reference)
