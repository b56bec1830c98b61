"""Against Gaussian data: each pixel is N(M, S^2), rounded to 8 bits.

For the best denoiser the expectation of each term over the noise is a function of the pixel's value, computed here for
all 256 values.
"""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.diffusion import make_scheduler
from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.evaluation.likelihood import bits_per_dim, sampled_terms
from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.vocabulary import TYPES
from tests.test_diffusion import cosine_betas

T, M, S = 40, 0.1, 0.2
BETA = cosine_betas(T)
ALPHA_BAR = np.cumprod(1 - BETA)
BEFORE = np.concatenate([[1], ALPHA_BAR[:-1]])
BETA_TILDE = (1 - BEFORE) / (1 - ALPHA_BAR) * BETA
ALPHA, SIGMA = np.sqrt(ALPHA_BAR), np.sqrt(1 - ALPHA_BAR)
# E[x_0 | x_t] = OFFSET + SLOPE x_t
SLOPE = ALPHA * S**2 / (ALPHA_BAR * S**2 + 1 - ALPHA_BAR)
OFFSET = M - SLOPE * ALPHA * M
LEVELS = np.arange(256) / 127.5 - 1


class BestDenoiser:
    """In place of a `UNet2DModel` that predicts v; records its inputs."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.calls = []

    def __call__(self, noisy: torch.Tensor, t: torch.Tensor, class_labels: torch.Tensor, return_dict: bool) -> Any:
        self.calls.append((noisy, t, class_labels))
        tables = (torch.from_numpy(table)[t].view(-1, 1, 1, 1) for table in (ALPHA, SIGMA, SLOPE, OFFSET))
        alpha, sigma, slope, offset = tables
        clean = offset + slope * noisy
        return ((alpha * (noisy - alpha * clean) / sigma - sigma * clean).float(),)


def model() -> SimpleNamespace:
    """In place of a pipeline."""
    torch.manual_seed(0)
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4).requires_grad_(False)
    return SimpleNamespace(unet=BestDenoiser(), conditioner=conditioner, scheduler=make_scheduler(T))


def gaussian_images(count: int) -> SpriteTensors:
    values = M + S * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return SpriteTensors(images, {"type": torch.arange(2 * count).view(count, 2) % 18, "color": torch.zeros(count)})


def decoder_bits(std: float) -> np.ndarray:
    """E[L_0] of every value, (256,): the mass of its cell, integrated over the noise."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    upper_tail = np.vectorize(lambda z: 0.5 * math.erfc(z / math.sqrt(2)))
    means = OFFSET[0] + SLOPE[0] * (ALPHA[0] * LEVELS[:, None] + SIGMA[0] * nodes)
    above = np.where(LEVELS < -0.999, 1.0, upper_tail((LEVELS - 1 / 255 - means.T) / std))
    beyond = np.where(LEVELS > 0.999, 0.0, upper_tail((LEVELS + 1 / 255 - means.T) / std))
    return ((weights / weights.sum())[:, None] * -np.log2(np.maximum(above - beyond, 1e-300))).sum(axis=0)


def expected(data: SpriteTensors) -> dict[str, float]:
    """The bound in bits, without clipping, which hardly matters at 4 standard deviations.

    The variance of the reverse process is beta_tilde, at the first timestep that of the next one.
    """
    x, bar = LEVELS[:, None], ALPHA_BAR[-1]
    error = (OFFSET + (SLOPE * ALPHA - 1) * x) ** 2 + (SLOPE * SIGMA) ** 2  # of the predicted x_0, squared, (256, T)
    of_clean = np.sqrt(BEFORE) * BETA / (1 - ALPHA_BAR)
    terms = {
        "prior": 0.5 * (bar * LEVELS**2 + (1 - bar) - 1 - math.log(1 - bar)) / math.log(2),
        "decoder": decoder_bits(math.sqrt(BETA_TILDE[1])),
        "between": 0.5 * (of_clean**2 * error / BETA_TILDE.clip(1e-30))[:, 1:].sum(axis=1) / math.log(2),
    }
    means = {name: table[data.images.flatten().numpy()].mean() for name, table in terms.items()}
    return means | {"mean": sum(means.values())}


def test_all_terms_of_gaussian_data():
    data = gaussian_images(60)
    found, terms = bits_per_dim(model(), data, None), expected(data)
    assert found.count == 60
    assert found.prior == pytest.approx(terms["prior"], rel=1e-3)  # from float32 tables
    assert found.decoder == pytest.approx(terms["decoder"], rel=0.01)
    assert found.mean == pytest.approx(terms["mean"], rel=0.004)


def test_some_terms_are_an_unbiased_estimate():
    data = gaussian_images(400)
    found = bits_per_dim(model(), data, 3, seed=1)
    assert found.mean == pytest.approx(expected(data)["mean"], abs=4 * found.standard_error)
    assert 0 < found.standard_error < 0.1 * found.mean


def test_the_standard_error_is_the_spread_of_the_estimates():
    """Of repetitions of one image, so that all of it is from timesteps and noise."""
    data = gaussian_images(1).rows(torch.zeros(50, dtype=torch.long))
    found = [bits_per_dim(model(), data, 2, seed) for seed in range(60)]
    spread = np.std([each.mean for each in found], ddof=1)
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.3)
    assert math.isnan(bits_per_dim(model(), data.rows(torch.tensor([0])), 3).standard_error)


def test_sampled_terms_are_one_of_each_part_and_add_up_to_all_terms_on_average():
    count, terms, generator = 20_000, 999, torch.Generator().manual_seed(0)
    timesteps, factor = sampled_terms(count, terms + 1, 40, generator)
    assert (((timesteps - 1) * 40 / terms).long() - torch.arange(40)).abs().max() <= 1
    assert timesteps.min() == 1 and timesteps.max() == terms
    values = np.concatenate([[0.0], np.linspace(0, 1, terms) ** 2 * 100])
    estimates = factor * values[timesteps.numpy()].sum(axis=1)
    assert estimates.mean() == pytest.approx(values.sum(), abs=4.5 * estimates.std() / math.sqrt(count))
    timesteps, factor = sampled_terms(3, T, T - 1, generator)
    assert factor == 1 and timesteps.tolist() == [list(range(1, T))] * 3


def test_every_image_has_a_decoder_term_and_its_own_labels():
    """At the first timestep there is so little noise that the images can be recognized."""
    data, measured = gaussian_images(70), model()
    bits_per_dim(measured, data, 2)
    noisy, timesteps, embedding = (torch.cat(parts) for parts in zip(*measured.unet.calls, strict=True))
    first = timesteps == 0
    assert len(timesteps) == 3 * 70 and first.sum() == 70
    nearest = torch.cdist(noisy[first].flatten(1), data.images.flatten(1).float() / 127.5 - 1).argmin(dim=1)
    assert nearest.sort().values.tolist() == list(range(70))
    assert torch.equal(embedding[first], measured.conditioner({"type": data.labels["type"][nearest]}))


@pytest.mark.parametrize("prediction", [1.0, 5.0])
def test_the_predicted_image_is_clipped(prediction: float):
    """The predictions are white and beyond, so nothing remains between L_0 and L_T with alpha_bar = 0.9^5."""
    measured = model()
    measured.unet = lambda noisy, t, **_: (torch.full_like(noisy, prediction),)
    measured.unet.device, measured.unet.dtype = BestDenoiser.device, BestDenoiser.dtype
    measured.scheduler = DDPMScheduler(5, trained_betas=[0.1] * 5, prediction_type="sample")
    white = torch.full((4, 3, 8, 8), 255, dtype=torch.uint8)
    found = bits_per_dim(measured, SpriteTensors(white, {"type": torch.tensor([[0, 18]] * 4)}), None)
    beta_tilde = (1 - 0.9) / (1 - 0.9**2) * 0.1
    above = 0.5 * math.erfc(-1 / 255 / math.sqrt(2 * beta_tilde))  # the cell of white extends to infinity
    assert found.decoder == pytest.approx(-math.log2(above), rel=1e-4)
    assert found.prior == pytest.approx(-0.5 * math.log2(1 - 0.9**5), rel=1e-5)
    assert found.mean == pytest.approx(found.prior + found.decoder, rel=1e-6)


def test_the_result_is_a_function_of_the_seed_and_not_of_the_sampler():
    measured, data, state = model(), gaussian_images(20), torch.get_rng_state()
    one, again, other = (bits_per_dim(measured, data, 3, seed) for seed in (0, 0, 1))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)
    measured.scheduler = make_sampler("dpmsolver++", measured.scheduler)
    assert bits_per_dim(measured, data, 3) == one


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DDIMScheduler(T), "this DDIMScheduler does not have"),
        (DPMSolverMultistepScheduler(T), "needs a scheduler with a variance_type of fixed_small"),
        (DDPMScheduler(T, variance_type="fixed_small_log"), "needs a scheduler"),
        (student_scheduler(make_scheduler(T)), "distilled .* measure its teacher"),
    ],
)
def test_other_schedulers_and_classes_are_refused(scheduler, message):
    measured, data = model(), gaussian_images(4)
    with pytest.raises(ValueError, match="other classes"):
        bits_per_dim(measured, replace(data, type_names=("cat", "dog")))
    measured.scheduler = scheduler
    with pytest.raises(ValueError, match=message):
        bits_per_dim(measured, data)
