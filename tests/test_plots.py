import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.plots import forward_process_figure, reverse_process_figure

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
COLUMNS, SEED = 5, 3
SCHEDULES = ("linear", "cosine")
ALPHA_BARS = [
    NoiseSchedule.of(make_scheduler(beta_schedule=name)).alpha_bar.numpy() for name in ("linear", "squaredcos_cap_v2")
]


@pytest.fixture(scope="module")
def figure() -> Figure:
    return forward_process_figure(IMAGE, COLUMNS, SEED)


def panels(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Title and pixels of the images in a figure, row by row."""
    return [(axes.get_title(), np.asarray(axes.images[0].get_array())) for axes in figure.axes if axes.images]


@pytest.mark.parametrize("row", [0, 1])
def test_the_images_are_those_of_the_forward_process(figure, row):
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(SEED))[0].permute(1, 2, 0).numpy()
    shown = panels(figure)[row * COLUMNS : (row + 1) * COLUMNS]
    for (title, pixels), t in zip(shown, (0, 250, 500, 749, 999), strict=True):
        bar = ALPHA_BARS[row][t]
        noisy = np.sqrt(bar) * (IMAGE / 127.5 - 1) + np.sqrt(1 - bar) * noise
        assert title == f"t = {t}"
        assert np.abs(pixels - (np.clip(noisy, -1, 1) + 1) * 127.5).max() <= 0.51


@pytest.mark.parametrize("i", [0, 1])
def test_the_curves_are_those_of_the_schedules(figure, i):
    snr, information = (axes for axes in figure.axes if not axes.images)
    bar = ALPHA_BARS[i]
    # Two Gaussian variables with correlation rho share -1/2 log2(1 - rho^2) bits; x_0 and x_t of unit variance have
    # the correlation sqrt(alpha_bar).
    bits = -np.log2(1 - bar) / 2
    for axes, expected in ((snr, np.maximum(bar / (1 - bar), 1e-8)), (information, bits)):
        assert axes.lines[i].get_label().startswith(SCHEDULES[i])
        np.testing.assert_allclose(axes.lines[i].get_ydata(), expected, rtol=1e-3, atol=1e-6 * (axes is not snr))
    assert list(snr.lines[2].get_ydata()) == [1, 1]


def test_samples_are_above_the_predicted_clean_ones():
    images = [Image.new("RGB", (4, 4), (shade,) * 3) for shade in range(6)]
    shown = panels(reverse_process_figure(list(zip([900, 500, 100], images[:3], images[3:], strict=True))))
    assert [title for title, _ in shown] == ["t = 900", "t = 500", "t = 100", "", "", ""]
    assert [pixels.flat[0] for _, pixels in shown] == [0, 1, 2, 3, 4, 5]
