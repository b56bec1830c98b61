import math
from itertools import product

import numpy as np
import pytest
import torch

from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.metrics import averages, condition_accuracy, frechet, kid, pixel_statistics
from pokemon_ddpm.vocabulary import TYPES


def gaussian(n: int, dimension: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kid_closed_form():
    """In one dimension (xy + 1)^3 compares the first three moments."""
    mu = 0.7
    truth = 3 * mu**2 + 3 * mu**4 + (mu**3 + 3 * mu) ** 2
    estimates = [kid(gaussian(200, 1, 2 * s) + mu, gaussian(240, 1, 2 * s + 1)) for s in range(24)]
    # The interval of 95 % is that of Student with 9 degrees of freedom.
    scores = np.array([2.262 * (part.value - truth) / (part.high - part.value) for part in estimates])
    assert abs(scores.mean()) < 4 / math.sqrt(24) and 0.5 < scores.std() < 1.5
    assert sum(part.low <= truth <= part.high for part in estimates) >= 20
    assert (estimates[0].n, estimates[0].m) == (200, 240)


def test_precision_and_recall_by_definition_far_from_the_origin():
    samples, reference = gaussian(70, 3), 1.5 * gaussian(70, 3, 1)

    def covered(one: np.ndarray, other: np.ndarray) -> float:
        radii = [sorted(math.dist(a, b) for b in other)[3] for a in other]
        return np.mean([any(math.dist(a, b) <= r for b, r in zip(other, radii, strict=True)) for a in one])

    precision, recall = metrics.precision_recall(samples + 1e6, reference + 1e6)
    assert precision.value == pytest.approx(covered(samples.numpy(), reference.numpy()))
    assert recall.value == pytest.approx(covered(reference.numpy(), samples.numpy()))
    smaller, _ = metrics.precision_recall(samples[:40], samples)
    assert smaller.low < smaller.value == 1 and smaller.n == smaller.m == 40


def test_the_frechet_distance_of_known_moments():
    """|m - m'|^2 + sum((s - s')^2) for independent features: here their variances are 2/3 and 6."""
    points = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    distance = frechet(points, 3 * points + torch.tensor([5.0, 0]))
    assert distance.value == pytest.approx(25 + 2 * (6**0.5 - (2 / 3) ** 0.5) ** 2) and distance.n == distance.m == 4
    assert frechet(points, points[[3, 1, 0, 2]]).value == pytest.approx(0, abs=1e-12)
    assert frechet(gaussian(30, 4), gaussian(50, 4, 1)).m == 30


VALUES = ("fire", "water", "grass")


def of(count: int, n: int) -> metrics.Estimate:
    return metrics.share(torch.arange(n) < count)


def table(*rows: str, values: tuple[str, ...] = VALUES) -> torch.Tensor:
    return torch.tensor([[value in row.split() for value in values] for row in rows])


def test_all_given_values_must_be_recognized():
    given = table("fire", "fire", "fire water", "fire water", "water", "", "grass")
    predicted = table("fire grass", "water", "fire water", "fire", "water", "fire", "grass")
    shares = condition_accuracy(VALUES, predicted, given)
    assert shares["accuracy"] == of(4, 6)
    by_value = {value: of_value["accuracy"] for value, of_value in shares["by_value"].items()}
    assert by_value == {"fire": of(3, 4), "water": of(2, 3), "grass": of(1, 1)}
    assert shares["real"] is shares["by_value"]["fire"]["real"] is None
    labels = table("fire", "fire", "water grass", "water", "", "grass")
    seen = table("fire", "water", "water", "water", "fire", "grass")
    shares = condition_accuracy(VALUES, given, given, (seen, labels))
    assert shares["real"] == of(3, 5) and shares["accuracy"] == of(6, 6)
    assert [shares["by_value"][value]["real"] for value in ("fire", "water")] == [of(1, 2), of(2, 2)]
    missing = condition_accuracy(VALUES, table("grass"), table("grass"), (seen[:2], labels[:2]))
    assert missing["by_value"]["grass"]["real"].n == 0


def test_chance_and_majority_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    predicted, given = (torch.rand(40, 5, generator=generator) < 0.4 for _ in range(2))
    shares, has = condition_accuracy(TYPES[:5], predicted, given), given.any(dim=1)
    seen, wanted = ([{*row.nonzero().flatten().tolist()} for row in ids[has]] for ids in (predicted, given))
    assert shares["accuracy"] == of(sum(b <= a for a, b in zip(seen, wanted, strict=True)), len(wanted))
    assert shares["chance"] == pytest.approx(sum(b <= a for a, b in product(seen, wanted)) / len(wanted) ** 2)
    frequent = sorted(range(5), key=lambda k: -sum(k in types for types in wanted))[: max(map(len, wanted))]
    assert shares["majority"] == pytest.approx(sum(types <= set(frequent) for types in wanted) / len(wanted))


def test_values_of_conditions_and_labels():
    values = {"type": VALUES, "legendary": ("no", "yes")}
    conditions = [
        {"type": "fire"}, {"type": ["water", "grass"], "legendary": "yes"},
        {"type": ("grass", "none"), "legendary": "no"}, {"type": "any", "view": "front"}, {"type": None},
    ]  # fmt: skip
    given = metrics.given_values(conditions, values)
    assert torch.equal(given["type"], table("fire", "water grass", "grass", "", ""))
    assert torch.equal(given["legendary"], table("", "yes", "no", "", "", values=values["legendary"]))
    types = torch.tensor([[0, 3], [2, 1], [-1, -1], [1, 4]])  # 3 is `none`, 4 is `any`
    assert torch.equal(metrics.label_values(types, 3), table("fire", "water grass", "", "water"))
    assert torch.equal(metrics.label_values(torch.tensor([2, -1, 3]), 3), table("grass", "", ""))


COLORS = {".": (255, 255, 255, 0), "k": (0, 0, 0, 255), "r": (220, 30, 30, 255), "s": (222, 32, 30, 255)}
COLORS |= {"w": (255, 255, 255, 255), "~": (255, 255, 255, 40)}

CLEAN_AND_FAULTY = """
........ ~.......
.kkkkkk. .rrrrr.k
.krrrrk. .r...r..
.krrsrk. .r.r.r..
.krrrrk. .r...r..
.krrrrk. .rrrkr..
.kkkkkk. ......r.
........ kk......
""".split()


def drawn(*pictures: list[str]) -> torch.Tensor:
    pixels = np.array([[[COLORS[letter] for letter in row] for row in picture] for picture in pictures])
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.uint8).copy())


def statistics(*pictures: list[str]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in pixel_statistics(drawn(*pictures)).items()}


def test_a_clean_sprite_and_one_with_faults():
    figures = statistics(CLEAN_AND_FAULTY[::2], CLEAN_AND_FAULTY[1::2])
    assert list(figures) == list(metrics.STATISTICS) and figures["colors"] == [3, 2] and figures["parts"] == [0, 1]
    # The hole is not connected to the border; one of the 35 background pixels is not clear.
    assert figures["clear_background"] == pytest.approx([1, 34 / 35])
    # All pixels of the frame but the k are red: outline are 16 of the frame, its r at the corner, and three k.
    assert figures["dark_outline"] == pytest.approx([1, 4 / 20])
    assert figures["dark"] == pytest.approx([20 / 36, 4 / 21])


def test_outlines_at_the_border_and_empty_images():
    figures = statistics(["kkkkkkkk"] * 8, ["........"] * 8)
    assert figures["dark_outline"][0] == 1 and np.isnan(figures["clear_background"][0])
    assert figures["colors"] == [1, 0] and np.isnan(figures["dark"][1])
    average = averages({name: np.array(values) for name, values in figures.items()})
    assert average["colors"]["value"] == 0.5 and average["clear_background"]["n"] == 0


def test_averages_are_means_and_a_median_with_intervals():
    values = np.arange(100.0)
    values[0] = np.nan
    means = averages({"colors": np.array([1.0, 2, 30] * 30), "dark": values})
    assert means["colors"]["value"] == 2 and (means["dark"]["value"], means["dark"]["n"]) == (50, 99)
    half = 1.96 * values[1:].std() / 99**0.5
    assert (means["dark"]["low"], means["dark"]["high"]) == pytest.approx((50 - half, 50 + half), rel=0.05)
    assert means == averages({"colors": np.array([1.0, 2, 30] * 30), "dark": values})


def test_colors_are_those_of_the_foreground():
    """Red and blue, which Ottosson 2020 has as (0.628, 0.225, 0.126) and (0.452, -0.032, -0.312)."""
    images = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1).repeat(3, 1, 32, 32)
    for image, left, color in zip(images, (2, 2, 11), ([255, 0, 0], [0, 0, 255], [255, 0, 0]), strict=True):
        image[:, 2:7, left : left + 9] = torch.tensor([*color, 255])[:, None, None]
    distances = metrics.color_distances(images)
    expected = math.dist((0.62796, 0.22486, 0.12585), (0.45201, -0.03246, -0.31153))
    assert distances[0, 1] == pytest.approx(expected, abs=1e-4)
    assert distances[0, 2] == distances[0, 0] == 0
