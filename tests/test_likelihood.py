"""Bits per dimension against Gaussian data, for whose best denoiser every term has a closed form.

Each pixel is N(M, S^2) on its own, rounded to 8 bits. For given pictures the terms' expectation over the noise is then
a function of the grey level alone, which is computed here for all 256 levels.
"""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, SchedulerMixin

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.evaluation.likelihood import BitsPerDim, bits_per_dim, drawn_timesteps
from pokemon_ddpm.noise_schedule import make_scheduler
from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.vocabulary import TYPES
from tests.test_noise_schedule import cosine_betas

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
# Variance type, and what the network says of the variance where it is learned.
VARIANCES = [("fixed_small", None), ("fixed_large", None), ("learned_range", 0.4)]


class BestDenoiser:
    """Stands for a `UNet2DModel` and keeps what it was called with."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, learned: float | None):
        self.learned = learned
        self.calls: list[tuple[torch.Tensor, ...]] = []

    def __call__(self, noisy: torch.Tensor, t: torch.Tensor, class_labels: torch.Tensor, return_dict: bool) -> Any:
        self.calls.append((noisy, t, class_labels))
        alpha, sigma, slope, offset = (
            torch.from_numpy(table)[t].view(-1, 1, 1, 1) for table in (ALPHA, SIGMA, SLOPE, OFFSET)
        )
        clean = offset + slope * noisy
        v = alpha * (noisy - alpha * clean) / sigma - sigma * clean
        if self.learned is not None:
            v = torch.cat([v, torch.full_like(v, self.learned)], dim=1)
        return (v.float(),)


def model(variance_type: str = "fixed_small", learned: float | None = None) -> SimpleNamespace:
    """What of a pipeline is measured."""
    torch.manual_seed(0)
    return SimpleNamespace(
        unet=BestDenoiser(learned),
        conditioner=SpriteConditioner({"type": list(TYPES)}, embedding_dim=4).requires_grad_(False),
        scheduler=make_scheduler(T, variance_type=variance_type),
    )


def pictures(count: int, seed: int = 0) -> SpriteTensors:
    values = M + S * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    images = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return SpriteTensors(images, {"type": torch.arange(2 * count).view(count, 2) % 18, "color": torch.zeros(count)})


def variance_at(variance_type: str, learned: float | None) -> np.ndarray:
    """Of the reverse process, (T,); the first has the next one's beta_tilde for its own, which is 0."""
    least = np.concatenate([BETA_TILDE[1:2], BETA_TILDE[1:]])
    if variance_type == "learned_range":
        v = (learned + 1) / 2
        return BETA**v * least ** (1 - v)
    return least if variance_type == "fixed_small" else np.concatenate([least[:1], BETA[1:]])


def decoder_bits(variance: float) -> np.ndarray:
    """E[L_0] of every grey level, (256,): the mass of its cell, integrated over the noise."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    upper_tail = np.vectorize(lambda z: 0.5 * math.erfc(z / math.sqrt(2)))
    means = OFFSET[0] + SLOPE[0] * (ALPHA[0] * LEVELS[:, None] + SIGMA[0] * nodes)
    std = math.sqrt(variance)
    above = np.where(LEVELS < -0.999, 1.0, upper_tail((LEVELS - 1 / 255 - means.T) / std))
    beyond = np.where(LEVELS > 0.999, 0.0, upper_tail((LEVELS + 1 / 255 - means.T) / std))
    return (weights[:, None] * -np.log2(np.maximum(above - beyond, 1e-300))).sum(axis=0)


def expected(data: SpriteTensors, variance_type: str, learned: float | None) -> dict[str, float]:
    """The bound in bits, without the clipping, which at 4 standard deviations hardly matters."""
    variance = variance_at(variance_type, learned)
    x = LEVELS[:, None]
    error = (OFFSET + (SLOPE * ALPHA - 1) * x) ** 2 + (SLOPE * SIGMA) ** 2  # E[(guess - x_0)^2], (256, T)
    of_clean = np.sqrt(BEFORE) * BETA / (1 - ALPHA_BAR)
    between = 0.5 * (
        np.log(variance[1:] / BETA_TILDE[1:]) - 1 + (BETA_TILDE + of_clean**2 * error)[:, 1:] / variance[1:]
    )
    bar = ALPHA_BAR[-1]
    prior = 0.5 * (bar * LEVELS**2 + (1 - bar) - 1 - math.log(1 - bar)) / math.log(2)
    of_level = {"prior": prior, "decoder": decoder_bits(variance[0]), "between": between.sum(axis=1) / math.log(2)}
    levels = data.images.flatten().numpy()
    means = {name: table[levels].mean() for name, table in of_level.items()}
    return means | {"mean": sum(means.values())}


@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
def test_the_full_bound_of_gaussian_data(variance_type: str, learned: float | None) -> None:
    data = pictures(60)
    found = bits_per_dim(model(variance_type, learned), data, timesteps_a_picture=None)
    terms = expected(data, variance_type, learned)
    assert found.count == 60
    assert found.prior == pytest.approx(terms["prior"], rel=1e-3)  # of float32 tables
    # The noise's chance: of 11,520 squared Gaussians in each term, of which the first weighs most.
    assert found.decoder == pytest.approx(terms["decoder"], rel=0.01)
    assert found.mean == pytest.approx(terms["mean"], rel=0.004)


@pytest.mark.parametrize("each", [1, 3, 10])
def test_some_of_the_terms_estimate_the_whole(each: int) -> None:
    data = pictures(400)
    found = bits_per_dim(model(), data, each, seed=1)
    mean = expected(data, "fixed_small", None)["mean"]
    assert found.mean == pytest.approx(mean, abs=4 * found.standard_error)
    assert 0 < found.standard_error < 0.1 * mean


def test_more_timesteps_make_the_error_smaller_down_to_that_of_the_pictures() -> None:
    data = pictures(100)
    errors = [bits_per_dim(model(), data, each).standard_error for each in (1, 4, None)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2] > 0


def test_the_standard_error_is_the_spread_of_the_estimates() -> None:
    """Of one picture again and again, so that all of it is the chance of timesteps and noise."""
    data = pictures(1)
    data = SpriteTensors(data.images.repeat(50, 1, 1, 1), {"type": data.labels["type"].repeat(50, 1)})
    found = [bits_per_dim(model(), data, 2, seed) for seed in range(60)]
    spread = np.std([each.mean for each in found], ddof=1)
    # Of 60 estimates the standard deviation is known to 9 %.
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.3)


# Which terms are computed


@pytest.mark.parametrize(("terms", "each"), [(999, 40), (39, 10), (10, 3), (5, 4), (7, 1)])
def test_the_drawn_terms_add_up_to_all_of_them_on_average(terms: int, each: int) -> None:
    """For any values of the terms: each is drawn as often as any other."""
    draws = 20_000
    timesteps, factor = drawn_timesteps(draws, terms + 1, each, torch.Generator().manual_seed(0))
    assert timesteps.shape == (draws, each) and timesteps.dtype == torch.int64
    assert timesteps.min() == 1 and timesteps.max() == terms
    counts = np.bincount(timesteps.flatten().numpy(), minlength=terms + 1)[1:]
    share = each / terms
    assert np.abs(counts / draws - share).max() < 5 * math.sqrt(share / draws)
    values = np.linspace(0, 1, terms) ** 2 * 100
    estimates = factor * np.concatenate([[0.0], values])[timesteps.numpy()].sum(axis=1)
    assert estimates.mean() == pytest.approx(values.sum(), abs=4.5 * estimates.std() / math.sqrt(draws))


def test_the_drawn_terms_are_one_of_each_part() -> None:
    timesteps, factor = drawn_timesteps(50, 1 + 400, 40, torch.Generator().manual_seed(0))
    assert factor == 10
    assert ((timesteps - 1) // 10 == torch.arange(40)).all()
    assert not (timesteps[0] == timesteps[1]).all()


@pytest.mark.parametrize("each", [T - 1, T, 10 * T])
def test_where_enough_are_asked_for_every_term_is_computed_once(each: int) -> None:
    timesteps, factor = drawn_timesteps(3, T, each, torch.Generator())
    assert factor == 1
    assert timesteps.tolist() == [list(range(1, T))] * 3


def test_the_decoder_s_term_is_computed_for_every_picture() -> None:
    measured = model()
    bits_per_dim(measured, pictures(9), 2)
    timesteps = torch.cat([t for _, t, _ in measured.unet.calls])
    assert len(timesteps) == 9 * 3 and (timesteps == 0).sum() == 9


def test_every_picture_is_measured_under_its_own_labels() -> None:
    """At the first timestep, where there is little noise, the pictures can be told apart."""
    data = pictures(70)
    measured = model()
    bits_per_dim(measured, data, 1)
    noisy, timesteps, embedding = (torch.cat(parts) for parts in zip(*measured.unet.calls, strict=True))
    first = timesteps == 0
    clean = data.images.float() / 127.5 - 1
    nearest = torch.cdist(noisy[first].flatten(1), clean.flatten(1)).argmin(dim=1)
    assert nearest.sort().values.tolist() == list(range(70))
    assert torch.equal(embedding[first], measured.conditioner({"type": data.labels["type"][nearest]}))


def white_for(scheduler: DDPMScheduler, answer: float) -> BitsPerDim:
    """Of white pictures, by a network that always says this of them."""
    data = SpriteTensors(torch.full((4, 3, 8, 8), 255, dtype=torch.uint8), {"type": torch.tensor([[0, 18]] * 4)})
    measured = model()
    measured.unet = lambda noisy, t, **_: (torch.full_like(noisy, answer),)
    measured.unet.device, measured.unet.dtype = BestDenoiser.device, BestDenoiser.dtype
    measured.scheduler = scheduler
    return bits_per_dim(measured, data, None)


def test_the_predicted_picture_is_clipped() -> None:
    """As in sampling: a prediction beyond white is no worse than white."""
    scheduler = make_scheduler(T, prediction_type="sample")
    white, beyond = white_for(scheduler, 1.0), white_for(scheduler, 5.0)
    assert white == beyond
    # Then there is nothing between, and the first step's Gaussian has a little more than half of itself above white.
    above = 0.5 * math.erfc(-1 / 255 / math.sqrt(2 * BETA_TILDE[1]))
    assert white.decoder == pytest.approx(-math.log2(above), rel=1e-4)
    assert white.mean == pytest.approx(white.decoder, abs=1e-4)


def test_what_the_forward_process_leaves_of_the_picture_counts() -> None:
    """KL(N(sqrt(alpha_bar) 1, 1 - alpha_bar) || N(0, 1)) with alpha_bar = 0.9^5."""
    found = white_for(DDPMScheduler(5, trained_betas=[0.1] * 5, prediction_type="sample"), 1.0)
    assert found.prior == pytest.approx(-0.5 * math.log2(1 - 0.9**5), rel=1e-5)
    assert found.mean == pytest.approx(found.prior + found.decoder, rel=1e-9)


def test_a_measurement_is_a_function_of_its_seed() -> None:
    measured, data, state = model(), pictures(20), torch.get_rng_state()
    one, again, other = (bits_per_dim(measured, data, 3, seed) for seed in (0, 0, 1))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("count", "each"), [(0, 3), (4, 0), (4, -1)])
def test_nothing_to_measure_is_refused(count: int, each: int) -> None:
    with pytest.raises(ValueError, match="at least one picture and one timestep a picture"):
        bits_per_dim(model(), pictures(count), each)


def test_of_a_single_picture_there_is_no_error() -> None:
    assert math.isnan(bits_per_dim(model(), pictures(1), 3).standard_error)


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(num_train_timesteps=T),
        DPMSolverMultistepScheduler(num_train_timesteps=T),
        DDPMScheduler(num_train_timesteps=T, variance_type="fixed_small_log"),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_scheduler_that_the_model_was_not_trained_with_is_refused(scheduler: SchedulerMixin) -> None:
    """Without a variance of the reverse process that is known here there is no bound."""
    measured = model()
    measured.scheduler = scheduler
    with pytest.raises(ValueError, match="scheduler"):
        bits_per_dim(measured, pictures(2), 3)


def test_the_sampler_that_a_model_draws_with_changes_nothing() -> None:
    measured, data = model(), pictures(4)
    expected = bits_per_dim(measured, data, 3)
    measured.scheduler = make_sampler("dpmsolver++", measured.scheduler)
    assert bits_per_dim(measured, data, 3) == expected


def test_a_student_and_a_model_of_other_classes_are_refused() -> None:
    measured, data = model(), pictures(4)
    with pytest.raises(ValueError, match="trained on other classes"):
        bits_per_dim(measured, replace(data, type_names=("cat", "dog")), 3)
    measured.scheduler = student_scheduler(measured.scheduler)
    with pytest.raises(ValueError, match="distilled to a few; take its teacher"):
        bits_per_dim(measured, data, 3)
