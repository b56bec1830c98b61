"""The noise schedules, and diffusers' step along them, against closed forms written here from the papers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pokemon_ddpm.noise_schedule import BETA_SCHEDULES, NoiseSchedule, at, make_scheduler
from pokemon_ddpm.variational_bound import log_variance

T = 1000
PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"]
# diffusers' tables are float32: 1 - alpha_bar, 4e-5 at t = 0, is off by up to 6e-8 there, its root by 5e-6.
ATOL = 3e-5
# Variance type, and what the network says of the variance where it is learned.
VARIANCES = [("fixed_small", None), ("fixed_large", None), *(("learned_range", v) for v in (-1.0, 0.0, 1.0))]


def cosine_betas(steps: int = T) -> np.ndarray:
    """Nichol & Dhariwal 2021, equation 17 and the text below it, float64 (T,) for t = 1 ... T."""
    s = 0.008
    f = np.array([math.cos((t / steps + s) / (1 + s) * math.pi / 2) ** 2 for t in range(steps + 1)])
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def linear_betas(steps: int = T) -> np.ndarray:
    """Ho et al. 2020, section 4, with the scale of the authors' successors for another T."""
    return np.linspace(1e-4, 0.02, steps) * 1000 / steps


BETAS = {"squaredcos_cap_v2": cosine_betas, "linear": linear_betas}
ALPHA_BAR = np.cumprod(1 - cosine_betas())


def zero_terminal(betas: np.ndarray) -> np.ndarray:
    """alpha_bar of Lin et al. 2023, algorithm 1."""
    root = np.sqrt(np.cumprod(1 - betas))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def gaussian(count: int, seed: int) -> torch.Tensor:
    return torch.randn((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alpha_sigma(timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the cosine, float64 (B, 1, 1, 1)."""
    alpha_bar = torch.from_numpy(ALPHA_BAR)[timesteps].view(-1, 1, 1, 1)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def as_prediction(prediction_type: str, clean, noise, alpha, sigma):
    return {"epsilon": noise, "v_prediction": alpha * noise - sigma * clean, "sample": clean}[prediction_type]


def test_alpha_bar_is_the_cosine_of_nichol_and_dhariwal():
    scheduler = make_scheduler()
    assert scheduler.config.num_train_timesteps == T
    alpha_bar = scheduler.alphas_cumprod.double().numpy()
    np.testing.assert_allclose(alpha_bar[:-1], ALPHA_BAR[:-1], rtol=2e-6)
    np.testing.assert_allclose(alpha_bar[-1], ALPHA_BAR[-1], rtol=1e-4)  # 1 - 0.999 in float32
    # Only the last step is capped: without the cap, equation 17 ends at zero.
    assert scheduler.betas.double().max().item() == pytest.approx(0.999, rel=1e-6)
    assert (scheduler.betas > 0.9989).sum() == 1


def test_the_schedule_follows_the_number_of_training_steps():
    alpha_bar = make_scheduler(100).alphas_cumprod
    assert len(alpha_bar) == 100
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert alpha_bar[49].item() == pytest.approx(half, rel=1e-5)


def test_the_linear_betas_are_those_of_ho_et_al():
    betas = make_scheduler(beta_schedule="linear").betas
    assert len(betas) == T
    assert betas[0].item() == pytest.approx(1e-4, rel=1e-6) and betas[-1].item() == pytest.approx(0.02, rel=1e-6)
    np.testing.assert_allclose(betas.diff().double().numpy(), 0.0199 / 999, rtol=2e-4)  # float32


def test_fewer_linear_steps_add_the_same_noise_in_all():
    ends = [np.log(make_scheduler(steps, "linear").alphas_cumprod[-1].item()) for steps in (250, 1000, 4000)]
    # Equal sums of beta; log(1 - beta) differs by beta^2 / 2, the more the larger the steps.
    np.testing.assert_allclose(ends, -0.01005 * 1000, rtol=0.03)
    np.testing.assert_allclose(make_scheduler(250, "linear").betas.double().numpy(), linear_betas(250), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 10, 20])
def test_the_linear_schedule_refuses_too_few_timesteps(steps):
    with pytest.raises(ValueError, match=f"more than 20 timesteps, not {steps}"):
        make_scheduler(steps, "linear")
    assert len(make_scheduler(steps).betas) == steps  # the cosine takes any number


def test_the_linear_schedule_takes_just_enough_timesteps():
    betas = make_scheduler(21, "linear").betas
    assert (betas > 0).all() and (betas < 1).all()


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
@pytest.mark.parametrize("steps", [50, T])
def test_zero_terminal_snr_is_algorithm_1_of_lin_et_al(beta_schedule, steps):
    scheduler = make_scheduler(steps, beta_schedule, rescale_betas_zero_snr=True)
    schedule = NoiseSchedule.of(scheduler)
    alpha_bar = zero_terminal(BETAS[beta_schedule](steps))
    for computed in (scheduler.alphas_cumprod.double().numpy(), schedule.alpha_bar.numpy()):
        np.testing.assert_allclose(computed, alpha_bar, rtol=0, atol=5e-6)
        assert computed[-1] == 0
        assert (computed[:-1] > 0).all() and (np.diff(computed) < 0).all()
        assert computed[0] == pytest.approx(1 - BETAS[beta_schedule](steps)[0], abs=1e-6)
    assert schedule.snr[-1] == 0
    assert schedule.beta[-1] == 1
    assert schedule.posterior_variance[-1] == 1 - schedule.alpha_bar[-2]


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
def test_without_it_some_signal_is_left_at_the_end(beta_schedule):
    assert NoiseSchedule.of(make_scheduler(beta_schedule=beta_schedule)).alpha_bar[-1] > 0


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
@pytest.mark.parametrize("steps", [50, T])
def test_the_tables_are_those_of_the_papers(beta_schedule, steps):
    schedule = NoiseSchedule.of(make_scheduler(steps, beta_schedule))
    beta = BETAS[beta_schedule](steps)
    alpha_bar = np.cumprod(1 - beta)
    assert len(schedule) == steps
    assert all(table.dtype == torch.float64 and table.shape == (steps,) for table in vars(schedule).values())
    np.testing.assert_allclose(schedule.beta.numpy(), beta, rtol=2e-6)
    # The capped beta, 0.999 in float32, leaves 1 - beta with 4 digits.
    np.testing.assert_allclose(schedule.alpha_bar[:-1].numpy(), alpha_bar[:-1], rtol=5e-6)
    np.testing.assert_allclose(schedule.alpha_bar[-1].item(), alpha_bar[-1], rtol=1e-4)
    assert schedule.alpha_bar_before[0] == 1
    assert torch.equal(schedule.alpha_bar_before[1:], schedule.alpha_bar[:-1])
    # Also at the first timesteps, where 1 - alpha_bar cancels in float32.
    np.testing.assert_allclose(schedule.snr[:-1].numpy(), (alpha_bar / (1 - alpha_bar))[:-1], rtol=1e-5)


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
def test_the_posterior_variance_is_that_of_bayes_rule(beta_schedule):
    """Precisions add: q(x_{t-1} | x_0) knows 1 / (1 - alpha_bar_{t-1}), x_t another (1 - beta_t) / beta_t."""
    beta = BETAS[beta_schedule]()
    before = np.concatenate([[1], np.cumprod(1 - beta)[:-1]])
    computed = NoiseSchedule.of(make_scheduler(beta_schedule=beta_schedule)).posterior_variance.numpy()
    precision = 1 / (1 - before[1:]) + (1 - beta[1:]) / beta[1:]
    np.testing.assert_allclose(computed[1:], 1 / precision, rtol=1e-5)
    assert computed[0] == 0


def test_alpha_and_sigma_go_with_pictures():
    timesteps = torch.tensor([999, 0, 500, 500])
    alpha, sigma = NoiseSchedule.of(make_scheduler()).alpha_sigma(timesteps)
    assert alpha.shape == sigma.shape == (4, 1, 1, 1)
    assert alpha.dtype == sigma.dtype == torch.float32
    exact_alpha, exact_sigma = alpha_sigma(timesteps)
    torch.testing.assert_close(alpha.double(), exact_alpha, rtol=5e-5, atol=0)
    torch.testing.assert_close(sigma.double(), exact_sigma, rtol=1e-6, atol=0)


def test_a_table_is_read_at_every_timestep_of_a_batch():
    values = at(torch.arange(5) * 10, torch.tensor([3, 0, 3]))
    assert values.tolist() == [[[[30]]], [[[0]]], [[[30]]]]


def test_trailing_steps_start_at_the_last_timestep():
    scheduler = make_scheduler()
    scheduler.set_timesteps(10)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -100))


def step_after(scheduler: DDPMScheduler, prediction, learned, t, noisy):
    """What diffusers draws at t, and the unit noise that it draws with."""
    if learned is not None:
        prediction = torch.cat([prediction, torch.full_like(prediction, learned)], dim=1)
    # diffusers draws as many numbers as the mean's part of the prediction has.
    drawn = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    return scheduler.step(prediction, t, noisy, generator=generator).prev_sample, drawn


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
@pytest.mark.parametrize(("steps", "t", "previous"), [(1000, 500, 499), (1000, 1, 0), (50, 599, 579)])
def test_a_ddpm_step_draws_from_the_posterior(prediction_type, variance_type, learned, steps, t, previous):
    """Ho et al. 2020, equations 6 and 7; for fewer steps beta_t is that of the step between the two timesteps."""
    clean, noise = pictures(2, 2), gaussian(2, 3)
    alpha, sigma = alpha_sigma(torch.tensor([t, t]))
    noisy = alpha * clean + sigma * noise
    bar, bar_before = ALPHA_BAR[t], ALPHA_BAR[previous]
    alpha_t = bar / bar_before
    large = 1 - alpha_t
    small = (1 - bar_before) / (1 - bar) * large
    mean = (
        math.sqrt(bar_before) * large / (1 - bar) * clean + math.sqrt(alpha_t) * (1 - bar_before) / (1 - bar) * noisy
    )
    variance = {"fixed_small": small, "fixed_large": large}.get(variance_type)
    if learned is not None:  # Nichol & Dhariwal 2021, equation 15: a geometric mean
        variance = large ** ((learned + 1) / 2) * small ** ((1 - learned) / 2)

    scheduler = make_scheduler(prediction_type=prediction_type, variance_type=variance_type)
    scheduler.set_timesteps(steps)
    prediction = as_prediction(prediction_type, clean, noise, alpha, sigma)
    after, drawn = step_after(scheduler, prediction, learned, t, noisy)
    torch.testing.assert_close(after, mean + math.sqrt(variance) * drawn, rtol=0, atol=ATOL)


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
def test_the_variance_of_every_ddpm_step_is_the_one_that_training_counts_with(
    beta_schedule, zero_snr, variance_type, learned
):
    scheduler = make_scheduler(100, beta_schedule, "sample", variance_type, zero_snr)
    scheduler.set_timesteps(100)
    schedule = NoiseSchedule.of(scheduler)
    zeros = torch.zeros(1, 3, 8, 8, dtype=torch.float64)  # x_0 and x_t, so that the mean is zero
    for t in range(1, 100):
        after, drawn = step_after(scheduler, zeros, learned, t, zeros)
        said = None if learned is None else torch.full((1, 3, 8, 8), learned)
        log_var = log_variance(schedule, variance_type, torch.tensor([t]), said)
        torch.testing.assert_close(after, (0.5 * log_var).exp() * drawn, rtol=1e-3, atol=0)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
def test_the_last_ddpm_step_is_the_clean_picture_without_noise(prediction_type, variance_type, learned):
    clean, noise = pictures(2, 5), gaussian(2, 6)
    alpha, sigma = alpha_sigma(torch.tensor([0, 0]))
    scheduler = make_scheduler(prediction_type=prediction_type, variance_type=variance_type)
    scheduler.set_timesteps(T)
    prediction = as_prediction(prediction_type, clean, noise, alpha, sigma)
    after, _ = step_after(scheduler, prediction, learned, 0, alpha * clean + sigma * noise)
    torch.testing.assert_close(after, clean, rtol=0, atol=ATOL)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_with_zero_terminal_snr_the_first_step_looks_at_the_prediction_only(prediction_type):
    """At alpha = 0 the picture is pure noise, v is -x_0, and beta_T = 1: x_T has no weight in the posterior."""
    scheduler = make_scheduler(prediction_type=prediction_type, rescale_betas_zero_snr=True)
    scheduler.set_timesteps(T)
    clean, noise = pictures(2, 7), gaussian(2, 8)
    alpha_bar = zero_terminal(cosine_betas())
    prediction = as_prediction(prediction_type, clean, noise, 0, 1)
    after, drawn = step_after(scheduler, prediction, None, 999, noise)
    wanted = math.sqrt(alpha_bar[998]) * clean + math.sqrt(1 - alpha_bar[998]) * drawn
    torch.testing.assert_close(after, wanted, rtol=0, atol=ATOL)
