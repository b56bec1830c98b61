import numpy as np
import pytest
import torch

from pokemon_ddpm.evaluation.pixel_statistics import STATISTICS, averages, pixel_statistics

COLORS = {".": (255, 255, 255, 0), "k": (0, 0, 0, 255), "r": (220, 30, 30, 255), "s": (222, 32, 30, 255)}
COLORS |= {"w": (255, 255, 255, 255), "~": (255, 255, 255, 40)}

BOX = """
........
.kkkkkk.
.krrrrk.
.krrsrk.
.krrrrk.
.krrrrk.
.kkkkkk.
........
"""
WITH_FAULTS = """
~.......
.rrrrr.k
.r...r..
.r.r.r..
.r...r..
.rrrkr..
......r.
kk......
"""


def drawn(*pictures: str) -> torch.Tensor:
    pixels = np.array([[[COLORS[letter] for letter in row] for row in picture.split()] for picture in pictures])
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.uint8).copy())


def statistics(*pictures: str) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in pixel_statistics(drawn(*pictures)).items()}


def test_a_clean_sprite_and_one_with_faults():
    found = statistics(BOX, WITH_FAULTS)
    assert list(found) == list(STATISTICS)
    assert found["colors"] == [3, 2]
    assert found["parts"] == [0, 1]
    # The hole is not connected to the border; one of the 35 background pixels is not clear.
    assert found["clear_background"] == pytest.approx([1, 34 / 35])
    # All pixels of the frame but the k are red: outline are 16 of the frame, its r at the corner, and three k.
    assert found["dark_outline"] == pytest.approx([1, 4 / 20])
    assert found["dark"] == pytest.approx([20 / 36, 4 / 21])
    assert found["palette_shift"] == [0, 0]


def test_outlines_at_the_border_and_empty_images():
    found = statistics("\n".join(["kkkkkkkk"] * 8), "\n".join(["........"] * 8))
    assert found["dark_outline"][0] == 1 and np.isnan(found["clear_background"][0])
    assert found["colors"] == [1, 0] and np.isnan(found["dark"][1])
    average = averages({name: np.array(values) for name, values in found.items()})
    assert average["colors"]["value"] == 0.5 and average["clear_background"]["n"] == 0


def test_many_colors_are_shifted_by_quantization():
    images = torch.full((1, 4, 8, 8), 255, dtype=torch.uint8)
    images[0, 0] = torch.arange(64).view(8, 8) * 4
    gradient = pixel_statistics(images)
    assert gradient["colors"].tolist() == [64] and 0.001 < gradient["palette_shift"][0] < 0.05
    images[0, 0] = images[0, 0] // 16 * 16
    assert pixel_statistics(images)["palette_shift"].tolist() == [0]


def test_averages_are_means_and_a_median_with_intervals():
    values = np.arange(100.0)
    values[0] = np.nan
    found = averages({"colors": np.array([1.0, 2, 30] * 30), "dark": values})
    assert found["colors"]["value"] == 2 and (found["dark"]["value"], found["dark"]["n"]) == (50, 99)
    half = 1.96 * values[1:].std() / 99**0.5
    assert (found["dark"]["low"], found["dark"]["high"]) == pytest.approx((50 - half, 50 + half), rel=0.05)
    assert found == averages({"colors": np.array([1.0, 2, 30] * 30), "dark": values})
