"""The scheduler, the targets and the weights against closed forms written here from the papers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pokemon_ddpm.objectives import denoising_loss, loss_weight, sample_timesteps, snr, target
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.setup import make_scheduler

T = 1000


def cosine_alpha_bar() -> np.ndarray:
    """Nichol & Dhariwal 2021, equation 17 and the text below it, float64 (T,) for t = 1 ... T."""
    s = 0.008
    f = np.array([math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 for t in range(T + 1)])
    betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    return np.cumprod(1 - betas)


ALPHA_BAR = cosine_alpha_bar()
# The scheduler's tables are float32: 1 - alpha_bar, 4e-5 at t = 0, is off by up to 6e-8 there, its root by 5e-6.
ATOL = 3e-5
TIMESTEPS = torch.tensor([0, 1, 10, 100, 250, 500, 750, 900, 990])


def scheduler_for(prediction_type: str) -> DDPMScheduler:
    return make_scheduler(TrainingConfig(prediction_type=prediction_type))


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def gaussian(count: int, seed: int) -> torch.Tensor:
    return torch.randn((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alpha_sigma(timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    alpha_bar = torch.from_numpy(ALPHA_BAR)[timesteps].view(-1, 1, 1, 1)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def test_alpha_bar_is_the_cosine_of_nichol_and_dhariwal():
    scheduler = make_scheduler(TrainingConfig())
    assert scheduler.config.num_train_timesteps == T
    alpha_bar = scheduler.alphas_cumprod.double().numpy()
    np.testing.assert_allclose(alpha_bar[:-1], ALPHA_BAR[:-1], rtol=2e-6)
    np.testing.assert_allclose(alpha_bar[-1], ALPHA_BAR[-1], rtol=1e-4)  # 1 - 0.999 in float32
    # Only the last step is capped: without the cap, equation 17 ends at zero.
    assert scheduler.betas.double().max().item() == pytest.approx(0.999, rel=1e-6)
    assert (scheduler.betas > 0.9989).sum() == 1


def test_the_schedule_follows_the_number_of_training_steps():
    alpha_bar = make_scheduler(TrainingConfig(ddpm_num_steps=100)).alphas_cumprod
    assert len(alpha_bar) == 100
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert alpha_bar[49].item() == pytest.approx(half, rel=1e-5)


def test_add_noise_is_the_forward_process():
    clean, noise = pictures(len(TIMESTEPS), 0), gaussian(len(TIMESTEPS), 1)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    noisy = make_scheduler(TrainingConfig()).add_noise(clean, noise, TIMESTEPS)
    torch.testing.assert_close(noisy, alpha * clean + sigma * noise, rtol=0, atol=ATOL)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("steps", "t", "previous"), [(1000, 500, 499), (1000, 1, 0), (50, 599, 579)])
def test_a_ddpm_step_draws_from_the_posterior(prediction_type, steps, t, previous):
    """Ho et al. 2020, equations 6 and 7; for fewer steps beta_t is that of the step between the two timesteps."""
    clean, noise = pictures(2, 2), gaussian(2, 3)
    alpha, sigma = alpha_sigma(torch.tensor([t, t]))
    noisy = alpha * clean + sigma * noise
    prediction = noise if prediction_type == "epsilon" else alpha * noise - sigma * clean
    bar, bar_before = ALPHA_BAR[t], ALPHA_BAR[previous]
    alpha_t = bar / bar_before
    beta_t = 1 - alpha_t
    mean = (
        math.sqrt(bar_before) * beta_t / (1 - bar) * clean + math.sqrt(alpha_t) * (1 - bar_before) / (1 - bar) * noisy
    )
    variance = (1 - bar_before) / (1 - bar) * beta_t
    drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    scheduler = scheduler_for(prediction_type)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(4)
    after = scheduler.step(prediction, t, noisy, generator=generator).prev_sample
    torch.testing.assert_close(after, mean + math.sqrt(variance) * drawn, rtol=0, atol=ATOL)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_last_ddpm_step_is_the_clean_picture_without_noise(prediction_type):
    clean, noise = pictures(2, 5), gaussian(2, 6)
    alpha, sigma = alpha_sigma(torch.tensor([19, 19]))
    prediction = noise if prediction_type == "epsilon" else alpha * noise - sigma * clean
    scheduler = scheduler_for(prediction_type)
    scheduler.set_timesteps(50)
    after = scheduler.step(prediction, 19, alpha * clean + sigma * noise).prev_sample
    torch.testing.assert_close(after, clean, rtol=0, atol=ATOL)


def test_the_target_is_epsilon_or_v():
    clean, noise = pictures(len(TIMESTEPS), 7), gaussian(len(TIMESTEPS), 8)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    assert torch.equal(target(scheduler_for("epsilon"), clean, noise, TIMESTEPS), noise)
    v = target(scheduler_for("v_prediction"), clean, noise, TIMESTEPS)
    torch.testing.assert_close(v, alpha * noise - sigma * clean, rtol=0, atol=ATOL)


def test_clean_picture_and_noise_come_back_from_v():
    """Salimans & Ho 2022: x_0 = alpha x_t - sigma v, epsilon = sigma x_t + alpha v."""
    clean, noise = pictures(len(TIMESTEPS), 9), gaussian(len(TIMESTEPS), 10)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    noisy = alpha * clean + sigma * noise
    v = target(scheduler_for("v_prediction"), clean, noise, TIMESTEPS)
    torch.testing.assert_close(alpha * noisy - sigma * v, clean, rtol=0, atol=ATOL)
    torch.testing.assert_close(sigma * noisy + alpha * v, noise, rtol=0, atol=ATOL)


def test_snr():
    timesteps = torch.arange(T)
    values = snr(make_scheduler(TrainingConfig()), timesteps)
    assert values.dtype == torch.float32
    exact = ALPHA_BAR / (1 - ALPHA_BAR)
    # 1 - alpha_bar cancels near t = 0: float32 keeps 3 digits of 4e-5 there.
    np.testing.assert_allclose(values.double().numpy(), exact, rtol=2e-3)
    np.testing.assert_allclose(values[100:-1].double().numpy(), exact[100:-1], rtol=1e-5)


@pytest.mark.parametrize("gamma", [None, 1.0, 5.0])
def test_loss_weights(gamma):
    timesteps = torch.arange(T)
    ratio = ALPHA_BAR / (1 - ALPHA_BAR)
    of_x0 = ratio if gamma is None else np.minimum(ratio, gamma)
    for_epsilon = loss_weight(scheduler_for("epsilon"), timesteps, gamma).double().numpy()
    for_v = loss_weight(scheduler_for("v_prediction"), timesteps, gamma).double().numpy()
    np.testing.assert_allclose(for_epsilon, of_x0 / ratio, rtol=2e-3)
    np.testing.assert_allclose(for_v, of_x0 / (ratio + 1), rtol=2e-3)
    if gamma is None:
        assert (for_epsilon == 1).all()  # equation 14 of Ho et al. 2020


@pytest.mark.parametrize("gamma", [None, 5.0])
def test_the_same_denoiser_has_the_same_loss_as_epsilon_and_as_v(gamma):
    """And that loss is the weighted error of its x_0."""
    count = len(TIMESTEPS)
    clean, noise, guess = pictures(count, 11), gaussian(count, 12), pictures(count, 13)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    noisy = alpha * clean + sigma * noise
    epsilon = (noisy - alpha * guess) / sigma
    v = alpha * epsilon - sigma * guess
    as_epsilon = denoising_loss(scheduler_for("epsilon"), epsilon, clean, noise, TIMESTEPS, gamma)
    as_v = denoising_loss(scheduler_for("v_prediction"), v, clean, noise, TIMESTEPS, gamma)
    ratio = torch.from_numpy(ALPHA_BAR / (1 - ALPHA_BAR))[TIMESTEPS]
    weight = ratio if gamma is None else ratio.clamp(max=gamma)
    expected = weight * (guess - clean).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(as_epsilon.double(), expected, rtol=5e-3, atol=0)
    torch.testing.assert_close(as_v.double(), expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_has_no_loss_and_the_loss_is_float32(prediction_type):
    clean, noise = pictures(len(TIMESTEPS), 14).float(), gaussian(len(TIMESTEPS), 15).float()
    scheduler = scheduler_for(prediction_type)
    perfect = target(scheduler, clean, noise, TIMESTEPS)
    loss = denoising_loss(scheduler, perfect, clean, noise, TIMESTEPS, 5.0)
    assert torch.equal(loss, torch.zeros(len(TIMESTEPS)))
    coarse = denoising_loss(scheduler, perfect.bfloat16(), clean, noise, TIMESTEPS, 5.0)
    assert coarse.dtype == torch.float32 and coarse.max() < 1e-3


@pytest.mark.parametrize("sampling", ["uniform", "stratified"])
@pytest.mark.parametrize(("count", "steps"), [(1, 1000), (7, 1000), (64, 1000), (1000, 1000), (2500, 1000), (64, 3)])
def test_timesteps_are_in_range_and_a_function_of_the_generator(sampling, count, steps):
    one, other = (sample_timesteps(count, steps, torch.Generator().manual_seed(3), sampling) for _ in range(2))
    assert one.dtype == torch.int64 and one.shape == (count,)
    assert one.min() >= 0 and one.max() < steps
    assert torch.equal(one, other)


@pytest.mark.parametrize(("count", "steps"), [(1, 1000), (50, 1000), (1000, 1000), (8, 1000)])
def test_stratified_timesteps_hold_exactly_one_of_each_part(count, steps):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        timesteps = sample_timesteps(count, steps, generator, "stratified")
        assert (timesteps.sort().values // (steps // count)).tolist() == list(range(count))


def test_stratified_timesteps_come_in_random_order():
    timesteps = sample_timesteps(64, T, torch.Generator().manual_seed(0), "stratified")
    assert not torch.equal(timesteps, timesteps.sort().values)


def chi_square(values: torch.Tensor, bins: int) -> float:
    counts = torch.bincount(values, minlength=bins).double()
    assert len(counts) == bins
    return ((counts - counts.mean()).square() / counts.mean()).sum().item()


def test_uniform_timesteps_are_uniform():
    timesteps = sample_timesteps(100_000, T, torch.Generator().manual_seed(0), "uniform")
    assert chi_square(timesteps // 20, 50) < 85.4  # the 99.9 % quantile for 49 degrees of freedom


@pytest.mark.parametrize("row", [0, 2])
def test_every_row_of_stratified_timesteps_is_uniform(row):
    """Also where the parts (3) do not divide the range (10)."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.stack([sample_timesteps(3, 10, generator, "stratified") for _ in range(5000)])
    assert chi_square(drawn[:, row], 10) < 27.9  # the 99.9 % quantile for 9 degrees of freedom
