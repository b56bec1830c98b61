"""The variational bound against Bayes' rule, numerical integration, and Gaussian data, where all is in closed form.

Each pixel of that data is an independent N(M, S^2), so the best denoiser, the reverse process and the bound are known.
What is quadratic in x_0 and the noise has its exact expectation over the four combinations of -1 and +1 standard
deviations of both, which are the four pixels of each image here: no random numbers are needed.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pokemon_ddpm.diffusion import NoiseSchedule, bound_term, gaussian_kl, make_scheduler, pixel_nll
from tests.test_diffusion import BETAS, PREDICTION_TYPES, as_prediction, cosine_betas

T = 100
BETA = cosine_betas(T)
ALPHA_BAR = np.cumprod(1 - BETA)
BEFORE = np.concatenate([[1], ALPHA_BAR[:-1]])
BETA_TILDE = (1 - BEFORE) / (1 - ALPHA_BAR) * BETA
COSINE = NoiseSchedule.of(make_scheduler(T))
M, S = 0.1, 0.3
LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1  # of 8-bit pixels


def upper_tail(z: float) -> float:
    """Mass of N(0, 1) above z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


@pytest.mark.parametrize("s", [1.0, 0.1])
@pytest.mark.parametrize("std", [0.003, 0.02, 0.05, 0.4, 2.0])
@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.003, 0.5, 0.99, 1.2])
def test_pixel_nll_is_the_mass_of_the_cell(mean, std, s):
    """Ho et al. 2020, equation 13, where erfc keeps its digits, down to 1e-300, and for any scale of samples."""
    expected, compared = [], []
    moments = torch.tensor([s * mean, 2 * math.log(s * std)], dtype=torch.float64)
    for level, nll in zip(LEVELS.tolist(), pixel_nll(s * LEVELS, *moments, s).tolist(), strict=True):
        low = -math.inf if level < -0.999 else (level - 1 / 255 - mean) / std
        high = math.inf if level > 0.999 else (level + 1 / 255 - mean) / std
        mass = upper_tail(low) - upper_tail(high) if low + high > 0 else upper_tail(-high) - upper_tail(-low)
        if mass > 1e-290:
            expected.append(-math.log(mass))
            compared.append(nll)
    np.testing.assert_allclose(compared, expected, rtol=1e-8, atol=1e-12)
    assert compared


def test_pixel_nll_and_its_gradients_are_finite_everywhere():
    mean = torch.linspace(-20, 20, 81, dtype=torch.float64).view(-1, 1, 1).requires_grad_()
    log_var = torch.linspace(-25, 5, 31, dtype=torch.float64).view(-1, 1).requires_grad_()
    nll = pixel_nll(LEVELS[::5].float(), mean, log_var)
    assert nll.dtype == torch.float64 and nll.isfinite().all() and (nll >= 0).all()
    nll.sum().backward()
    assert mean.grad.isfinite().all() and log_var.grad.isfinite().all()


def batch(timesteps: torch.Tensor, schedule: NoiseSchedule = COSINE) -> tuple[torch.Tensor, torch.Tensor]:
    """x_0 and x_t, (B, 1, 2, 2), with all combinations of -1 and +1 standard deviations of data and noise."""
    clean = (M + S * torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)).view(1, 1, 2, 2)
    noise = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64).view(1, 1, 2, 2)
    clean, noise = (values.repeat(len(timesteps), 1, 1, 1) for values in (clean, noise))
    return clean, schedule.add_noise(clean, noise, timesteps)


def clean_variance(alpha_bar: np.ndarray) -> np.ndarray:
    """Var(x_0 | x_t) of the Gaussian data."""
    return S**2 * (1 - alpha_bar) / (alpha_bar * S**2 + 1 - alpha_bar)


def clean_weight(beta: np.ndarray, alpha_bar: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Weight of x_0 in the mean of the posterior."""
    return np.sqrt(before) * beta / (1 - alpha_bar)


def best_prediction(prediction_type: str, noisy: torch.Tensor, timesteps, alpha_bar: np.ndarray) -> torch.Tensor:
    """E[x_0 | x_t] of the Gaussian data, as epsilon, v or itself."""
    bar = torch.from_numpy(alpha_bar)[timesteps].view(-1, 1, 1, 1)
    clean = M + S**2 * bar.sqrt() / (bar * S**2 + 1 - bar) * (noisy - bar.sqrt() * M)
    return as_prediction(prediction_type, clean, noisy, bar.sqrt(), (1 - bar).sqrt())


def terms(schedule: NoiseSchedule, prediction: torch.Tensor, learned, clean, noisy, timesteps) -> torch.Tensor:
    """`bound_term` of a network's outputs, of which the one for the variance is -1 for beta_tilde and 1 for beta."""
    log_var = schedule.learned_log_variance(torch.as_tensor(learned), timesteps)
    return bound_term(schedule, schedule.clean(prediction, noisy, timesteps), log_var, clean, noisy, timesteps)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("learned", [-1.0, -0.4, 1.0, 1.5])
def test_the_terms_of_gaussian_data(prediction_type, learned):
    """E[L_{t-1}] of the best denoiser: the means differ by the error of x_0, which has the variance of x_0 | x_t."""
    timesteps = torch.tensor([1, 2, 10, 50, 97, 98])
    t = timesteps.numpy()
    clean, noisy = batch(timesteps)
    prediction = best_prediction(prediction_type, noisy, timesteps, ALPHA_BAR)
    schedule = replace(COSINE, prediction_type=prediction_type)
    computed = terms(schedule, prediction, learned, clean, noisy, timesteps)
    assert computed.shape == (6,) and computed.dtype == torch.float64
    variance = BETA[t] ** ((1 + learned) / 2) * BETA_TILDE[t] ** ((1 - learned) / 2)
    error = clean_weight(BETA, ALPHA_BAR, BEFORE)[t] ** 2 * clean_variance(ALPHA_BAR[t])
    expected = 0.5 * (np.log(variance / BETA_TILDE[t]) - 1 + (BETA_TILDE[t] + error) / variance)
    np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("beta_schedule", "steps"), [("squaredcos_cap_v2", 8), ("linear", 40)])
def test_the_whole_bound_of_gaussian_data_is_its_entropy(beta_schedule, steps):
    """With the true variance it is tight for any T: the differential entropy of the data, with log(255 / 2) for the
    density of a cell of width 2 / 255, plus KL(q(x_T) || N(0, 1)).
    """
    beta = BETAS[beta_schedule](steps)
    alpha_bar = np.cumprod(1 - beta)
    before = np.concatenate([[1], alpha_bar[:-1]])
    least = (1 - before) / (1 - alpha_bar) * beta
    true = least + clean_weight(beta, alpha_bar, before) ** 2 * clean_variance(alpha_bar)
    least[0] = least[1]
    learned = 2 * (np.log(true) - np.log(least)) / (np.log(beta) - np.log(least)) - 1
    schedule = NoiseSchedule.of(make_scheduler(steps, beta_schedule, "epsilon"))
    timesteps = torch.arange(steps)
    clean, noisy = batch(timesteps, schedule)
    best = best_prediction("epsilon", noisy, timesteps, alpha_bar)

    last, zero = alpha_bar[-1], torch.zeros(())
    prior = gaussian_kl(math.sqrt(last) * clean[0], torch.tensor(1 - last).log(), zero, zero).mean()

    def total(learned: torch.Tensor | float) -> float:
        return (terms(schedule, best, learned, clean, noisy, timesteps).sum() + prior).item()

    start = 0.5 * (last * (S**2 + M**2) - last - math.log(last * S**2 + 1 - last))
    entropy = 0.5 * math.log(2 * math.pi * math.e * S**2) + math.log(255 / 2)
    tight = total(torch.from_numpy(learned).view(-1, 1, 1, 1))
    # L_0 has the mass of a cell, not its density; on average they differ by the fourth power of the cell's width.
    assert tight == pytest.approx(entropy + start, abs=1e-5)
    assert min(map(total, (-1.0, 0.0, 1.0))) > tight
