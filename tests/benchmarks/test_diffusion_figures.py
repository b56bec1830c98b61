"""The figures of the two processes: the images and curves are those of the formulas."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import diffusion_figures
from tests.tiny_models import tiny_pipeline


def test_the_forward_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion_figures, "COLUMNS", 5)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    figure = diffusion_figures.forward_process_figure(image, seed=3)
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))[0].permute(1, 2, 0).numpy()
    shown = [axes for axes in figure.axes if axes.images]
    snr, bits = (axes for axes in figure.axes if not axes.images)
    for row, schedule in enumerate(diffusion_figures.SCHEDULES.values()):
        alpha_bar = schedule.alpha_bar.numpy()
        for axes, t in zip(shown[5 * row :], (0, 250, 500, 749, 999), strict=False):
            noisy = np.sqrt(alpha_bar[t]) * (image / 127.5 - 1) + np.sqrt(1 - alpha_bar[t]) * noise
            pixels = np.asarray(axes.images[0].get_array())
            assert axes.get_title() == f"t = {t}"
            assert np.abs(pixels - (np.clip(noisy, -1, 1) + 1) * 127.5).max() <= 0.51
        np.testing.assert_allclose(
            snr.lines[row].get_ydata(), np.maximum(alpha_bar / (1 - alpha_bar), 1e-8), rtol=1e-3
        )
        # Two Gaussian variables with correlation rho share -1/2 log2(1 - rho^2) bits; that of x_0 and x_t of unit
        # variance is sqrt(alpha_bar).
        expected = -np.log2(1 - alpha_bar) / 2
        np.testing.assert_allclose(bits.lines[row].get_ydata(), expected, rtol=1e-3, atol=1e-6)


def test_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_pipeline(size=32).save_pretrained(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", "--model", str(tmp_path), "--output-dir", str(tmp_path)])
    diffusion_figures.main()
    assert Image.open(tmp_path / "forward_process.png").size == (1080, 600)
    assert Image.open(tmp_path / "reverse_process.png").size == (1080, 320)
