"""The variational bound against Bayes' rule, numeric integration, and data for which everything has a closed form.

That data is Gaussian, each pixel from N(M, S^2) on its own: then the best denoiser, the reverse process and the bound
are all known. What is quadratic in x_0 and the noise has its expectation at -1 and +1 standard deviations of both, all
four combinations, so the four pixels of one picture give expectations without drawing anything.
"""

import math

import numpy as np
import pytest
import torch

from pokemon_ddpm.noise_schedule import NoiseSchedule, make_scheduler
from pokemon_ddpm.objectives import PREDICTION_TYPES, add_noise, predicted_clean
from pokemon_ddpm.variational_bound import (
    bits,
    bound_term,
    gaussian_kl,
    learned_variance_loss,
    log_variance,
    pixel_nll,
    posterior_mean,
    prior_term,
    split_prediction,
)
from tests.test_noise_schedule import cosine_betas, linear_betas

T = 100
BETA = cosine_betas(T)
ALPHA_BAR = np.cumprod(1 - BETA)
BEFORE = np.concatenate([[1], ALPHA_BAR[:-1]])
BETA_TILDE = (1 - BEFORE) / (1 - ALPHA_BAR) * BETA
COSINE = NoiseSchedule.of(make_scheduler(T))
ZERO_SNR = NoiseSchedule.of(make_scheduler(T, rescale_betas_zero_snr=True))
LINEAR = NoiseSchedule.of(make_scheduler(T, "linear"))
M, S = 0.1, 0.3
# Variance type, and what the network says of the variance where it is learned.
VARIANCES = [("fixed_small", None), ("fixed_large", None), *(("learned_range", v) for v in (-1.0, -0.4, 1.0, 1.5))]
# Black, white, and some of what lies between.
LEVELS = torch.tensor([0, 1, 100, 127, 128, 254, 255], dtype=torch.float64) / 127.5 - 1


def normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def density(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def upper_tail(z: float) -> float:
    """Mass of N(0, 1) above z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


@pytest.mark.parametrize("t", [1, 5, 50, 98])
def test_the_posterior_is_that_of_bayes_rule(t):
    """q(x_{t-1} | x_t, x_0) in proportion to q(x_t | x_{t-1}) q(x_{t-1} | x_0), integrated over a grid."""
    x = np.linspace(-8, 8, 400_001)
    for clean, noise in ((0.5, 0.2), (-1.0, -1.7)):
        noisy = math.sqrt(ALPHA_BAR[t]) * clean + math.sqrt(1 - ALPHA_BAR[t]) * noise
        mass = density(noisy, math.sqrt(1 - BETA[t]) * x, BETA[t])
        mass = mass * density(x, math.sqrt(BEFORE[t]) * clean, 1 - BEFORE[t])
        mass /= mass.sum()
        mean = (mass * x).sum()
        variance = (mass * (x - mean) ** 2).sum()
        pictures = (torch.full((1, 1, 2, 2), value, dtype=torch.float64) for value in (clean, noisy))
        computed = posterior_mean(COSINE, *pictures, torch.tensor([t]))
        np.testing.assert_allclose(computed.numpy(), mean, rtol=0, atol=1e-5)
        assert COSINE.posterior_variance[t].item() == pytest.approx(variance, rel=1e-5)
        small = log_variance(COSINE, "fixed_small", torch.tensor([t]))
        assert small.item() == pytest.approx(math.log(variance), abs=1e-5)


def test_the_posterior_before_the_first_timestep_is_the_clean_picture():
    clean, noisy = normal((2, 3, 2, 2), 0), normal((2, 3, 2, 2), 1)
    mean = posterior_mean(COSINE, clean, noisy, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(mean, clean)


def test_the_posterior_mean_is_that_of_each_picture_s_timestep_and_float64():
    clean, noisy, timesteps = normal((3, 3, 2, 2), 2).float(), normal((3, 3, 2, 2), 3).float(), [70, 0, 20]
    together = posterior_mean(COSINE, clean, noisy, torch.tensor(timesteps))
    assert together.dtype == torch.float64
    for i, t in enumerate(timesteps):
        alone = posterior_mean(COSINE, clean[i : i + 1], noisy[i : i + 1], torch.tensor([t]))
        assert torch.equal(together[i : i + 1], alone)


def test_the_fixed_log_variances():
    timesteps = torch.arange(T)
    small, large = (log_variance(COSINE, name, timesteps) for name in ("fixed_small", "fixed_large"))
    assert small.shape == large.shape == (T, 1, 1, 1) and small.dtype == large.dtype == torch.float64
    np.testing.assert_allclose(small.flatten()[1:].exp().numpy(), BETA_TILDE[1:], rtol=2e-6)
    np.testing.assert_allclose(large.flatten()[1:].exp().numpy(), BETA[1:], rtol=2e-6)
    # beta_tilde is 0 at the first timestep: both take that of the next one.
    assert small[0] == small[1] and large[0] == small[1]


def test_the_learned_log_variance_lies_between_both():
    """Nichol & Dhariwal 2021, equation 15, with v = (learned + 1) / 2; only here beta_1 is itself."""
    learned = normal((T, 3, 2, 2), 4)
    log_var = log_variance(COSINE, "learned_range", torch.arange(T), learned)
    assert log_var.shape == (T, 3, 2, 2) and log_var.dtype == torch.float64
    v = (learned.numpy() + 1) / 2
    least = np.concatenate([BETA_TILDE[1:2], BETA_TILDE[1:]]).reshape(-1, 1, 1, 1)
    expected = BETA.reshape(-1, 1, 1, 1) ** v * least ** (1 - v)
    np.testing.assert_allclose(log_var.exp().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("schedule", [COSINE, LINEAR, ZERO_SNR])
@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
def test_log_variances_are_finite_and_leave_the_schedule_as_it_is(schedule, variance_type, learned):
    before = {name: table.clone() for name, table in vars(schedule).items()}
    said = None if learned is None else torch.full((T, 1, 1, 1), learned)
    assert log_variance(schedule, variance_type, torch.arange(T), said).isfinite().all()
    assert all(torch.equal(table, before[name]) for name, table in vars(schedule).items())


def test_gaussian_kl_is_the_integral():
    x = np.linspace(-12, 12, 200_001)
    width = x[1] - x[0]
    for mean, variance, other_mean, other_variance in ((0, 1, 0, 1), (0.5, 0.3, -0.2, 0.8), (-1, 2, 0.7, 0.5)):
        p, q = density(x, mean, variance), density(x, other_mean, other_variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            integral = np.where(p > 0, p * np.log(p / q), 0).sum() * width
        arguments = (mean, math.log(variance), other_mean, math.log(other_variance))
        computed = gaussian_kl(*(torch.tensor(float(value), dtype=torch.float64) for value in arguments))
        assert computed.item() == pytest.approx(integral, abs=1e-9)


def test_the_probabilities_of_all_grey_levels_sum_to_1():
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    mean = torch.tensor([-1.7, -1.0, -0.3, 0.001, 0.9999, 1.2], dtype=torch.float64).view(-1, 1, 1)
    log_var = torch.tensor([1e-4, 1e-3, 0.01, 0.2, 3.0], dtype=torch.float64).log().mul(2).view(-1, 1)
    total = (-pixel_nll(levels, mean, log_var)).exp().sum(dim=-1)
    assert total.shape == (6, 5)
    np.testing.assert_allclose(total.numpy(), 1, rtol=0, atol=1e-10)


@pytest.mark.parametrize("std", [0.003, 0.05, 0.4, 2.0])
@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.003, 0.7, 1.0, 1.1])
def test_pixel_nll_is_the_mass_of_the_cell(mean, std):
    """Ho et al. 2020, equation 13, by math.erf: where that does not cancel."""

    def below(edge: float) -> float:
        return 0.5 * (1 + math.erf((edge - mean) / std / math.sqrt(2)))

    nearest = max(min(round((mean + 1) * 127.5), 255), 0) / 127.5 - 1
    levels = torch.cat([LEVELS, torch.tensor([nearest], dtype=torch.float64)])
    arguments = (torch.tensor(value, dtype=torch.float64) for value in (mean, 2 * math.log(std)))
    compared = 0
    for level, nll in zip(levels.tolist(), pixel_nll(levels, *arguments).tolist(), strict=True):
        upper = 1.0 if level > 0.999 else below(level + 1 / 255)
        lower = 0.0 if level < -0.999 else below(level - 1 / 255)
        if upper - lower > 1e-9:
            assert nll == pytest.approx(-math.log(upper - lower), rel=1e-6, abs=1e-6)
            compared += 1
    assert compared


@pytest.mark.parametrize("side", [-1, 1])
def test_pixel_nll_is_accurate_in_the_tails(side):
    """The cell's mass as a difference of complementary error functions, which keep their digits down to 1e-300."""
    for std, distance in ((0.1, 0.8), (0.05, 1.4), (0.05, 0.3), (0.9, 0.9), (0.01, 0.36)):
        mean = side * 0.5
        level = round((mean - side * distance + 1) * 127.5) / 127.5 - 1
        away = abs(level - mean)
        mass = upper_tail((away - 1 / 255) / std) - upper_tail((away + 1 / 255) / std)
        values = (torch.tensor(value, dtype=torch.float64) for value in (level, mean, 2 * math.log(std)))
        assert pixel_nll(*values).item() == pytest.approx(-math.log(mass), rel=1e-9)


@pytest.mark.parametrize(("std", "distance"), [(0.01, 0.6), (1e-3, 1.0), (1e-4, 1.9), (1e-6, 1.5)])
@pytest.mark.parametrize("side", [-1, 1])
def test_pixel_nll_is_accurate_where_the_mass_is_no_float(std, distance, side):
    """By the asymptotic series of the normal tail; the far edge has no share in it."""
    mean = side * 0.95
    level = round((mean - side * distance + 1) * 127.5) / 127.5 - 1
    z = (abs(level - mean) - 1 / 255) / std
    expected = z * z / 2 + math.log(z * math.sqrt(2 * math.pi)) - math.log1p(-1 / z**2 + 3 / z**4 - 15 / z**6)
    level, mean, log_var = (torch.tensor(value, dtype=torch.float64) for value in (level, mean, 2 * math.log(std)))
    nll = pixel_nll(level, mean.requires_grad_(), log_var.requires_grad_())
    assert nll.item() == pytest.approx(expected, rel=1e-9)
    # Density over tail is z + 1 / z. torch's gradient of the tail has 4 digits at z = 10^6.
    nll.backward()
    assert mean.grad.item() == pytest.approx(side * (z + 1 / z) / std, rel=1e-3)
    assert log_var.grad.item() == pytest.approx(-(z + 1 / z) * z / 2, rel=1e-3)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_black_and_white_reach_out_to_infinity(side):
    std = 0.02
    log_var = torch.tensor(2 * math.log(std), dtype=torch.float64)
    level = torch.tensor(side, dtype=torch.float64)

    def nll(mean: float) -> float:
        return pixel_nll(level, side * torch.tensor(mean, dtype=torch.float64), log_var).item()

    # Beyond them nothing is left to be wrong; in front of them it is the mass beyond their one edge.
    assert nll(3.0) == 0 and 0 <= nll(1.2) < 1e-22
    for mean in (1.01, 1.0, 0.99, 0.9, 0.5):
        assert nll(mean) == pytest.approx(-math.log(upper_tail((1 - 1 / 255 - mean) / std)), rel=1e-9)
    z = (2 - 1 / 255) / std  # from the opposite end, where erfc is 0
    assert nll(-1.0) == pytest.approx(z * z / 2 + math.log(z * math.sqrt(2 * math.pi)) + 1 / z**2, rel=1e-8)


def test_gradients_of_pixel_nll_are_the_numeric_ones():
    mean = torch.tensor([-1.4, -0.95, 0.11, 0.93, 1.3], dtype=torch.float64).view(-1, 1, 1).requires_grad_()
    log_var = torch.tensor([0.05, 0.2, 1.0], dtype=torch.float64).log().mul(2).view(-1, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: pixel_nll(LEVELS, m, v), (mean, log_var), rtol=1e-5, atol=1e-7)


def test_pixel_nll_and_its_gradients_are_finite_everywhere():
    mean = torch.linspace(-20, 20, 81, dtype=torch.float64).view(-1, 1, 1).requires_grad_()
    log_var = torch.linspace(-25, 5, 31, dtype=torch.float64).view(-1, 1).requires_grad_()
    nll = pixel_nll(LEVELS.float(), mean, log_var)
    assert nll.dtype == torch.float64 and nll.shape == (81, 31, 7)
    assert nll.isfinite().all() and (nll >= 0).all()
    nll.sum().backward()
    assert mean.grad.isfinite().all() and log_var.grad.isfinite().all()


def test_the_prior_term():
    """KL(N(sqrt(alpha_bar) x_0, 1 - alpha_bar) || N(0, 1)), the mean over the pixels."""
    for schedule, betas in ((COSINE, BETA), (LINEAR, linear_betas(T))):
        clean = normal((3, 3, 2, 2), 5)
        bar = np.prod(1 - betas)
        expected = 0.5 * (bar * clean.numpy() ** 2 + (1 - bar) - 1 - math.log(1 - bar)).mean(axis=(1, 2, 3))
        # Tiny: what is left of the signal is 1 - 0.999 in float32 for the cosine.
        np.testing.assert_allclose(prior_term(schedule, clean).numpy(), expected, rtol=2e-4, atol=1e-15)


def test_with_zero_terminal_snr_the_prior_term_is_zero():
    assert torch.equal(prior_term(ZERO_SNR, normal((2, 3, 2, 2), 6)), torch.zeros(2, dtype=torch.float64))


def batch(timesteps: torch.Tensor, schedule: NoiseSchedule = COSINE) -> tuple[torch.Tensor, torch.Tensor]:
    """x_0 and x_t, (B, 1, 2, 2), whose four pixels stand for N(M, S^2) and the noise."""
    clean = (M + S * torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)).view(1, 1, 2, 2)
    noise = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64).view(1, 1, 2, 2)
    clean, noise = (values.repeat(len(timesteps), 1, 1, 1) for values in (clean, noise))
    return clean, add_noise(schedule, clean, noise, timesteps)


def clean_variance(alpha_bar: np.ndarray) -> np.ndarray:
    """Var(x_0 | x_t) of the Gaussian data."""
    return S**2 * (1 - alpha_bar) / (alpha_bar * S**2 + 1 - alpha_bar)


def best_prediction(prediction_type: str, noisy: torch.Tensor, timesteps, alpha_bar: np.ndarray) -> torch.Tensor:
    """E[x_0 | x_t] of the Gaussian data, as epsilon, v or itself."""
    bar = torch.from_numpy(alpha_bar)[timesteps].view(-1, 1, 1, 1)
    alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
    clean = M + S**2 * alpha / (bar * S**2 + 1 - bar) * (noisy - alpha * M)
    if prediction_type == "sample":
        return clean
    epsilon = (noisy - alpha * clean) / sigma
    return epsilon if prediction_type == "epsilon" else alpha * epsilon - sigma * clean


def with_variance(prediction: torch.Tensor, learned: float | torch.Tensor | None) -> torch.Tensor:
    if learned is None:
        return prediction
    learned = torch.as_tensor(learned, dtype=prediction.dtype)
    return torch.cat([prediction, learned.expand(prediction.shape)], dim=1)


def of_clean(betas: np.ndarray, alpha_bar: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Weight of x_0 in the posterior's mean."""
    return np.sqrt(before) * betas / (1 - alpha_bar)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
def test_the_terms_of_gaussian_data(prediction_type, variance_type, learned):
    """E[L_{t-1}] with the exact denoiser: the means differ by their x_0's, which differ by Var(x_0 | x_t)."""
    timesteps = torch.tensor([1, 2, 10, 50, 97, 98])
    t = timesteps.numpy()
    clean, noisy = batch(timesteps)
    prediction = with_variance(best_prediction(prediction_type, noisy, timesteps, ALPHA_BAR), learned)
    computed = bound_term(COSINE, prediction_type, variance_type, prediction, clean, noisy, timesteps)
    assert computed.shape == (6,) and computed.dtype == torch.float64

    v = {"fixed_small": 0, "fixed_large": 1}.get(variance_type, ((learned or 0) + 1) / 2)
    variance = BETA[t] ** v * BETA_TILDE[t] ** (1 - v)
    error = of_clean(BETA, ALPHA_BAR, BEFORE)[t] ** 2 * clean_variance(ALPHA_BAR[t])
    expected = 0.5 * (np.log(variance / BETA_TILDE[t]) - 1 + (BETA_TILDE[t] + error) / variance)
    np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-4, atol=1e-9)


def test_random_draws_have_the_same_expectation():
    generator = torch.Generator().manual_seed(0)
    timesteps = torch.tensor([3, 50]).repeat_interleave(100)
    clean, noise = (torch.randn(200, 3, 8, 8, generator=generator) for _ in range(2))
    clean = M + S * clean
    noisy = add_noise(COSINE, clean, noise, timesteps)
    prediction = best_prediction("v_prediction", noisy.double(), timesteps, ALPHA_BAR).float()
    terms = bound_term(COSINE, "v_prediction", "fixed_small", prediction, clean, noisy, timesteps)
    error = of_clean(BETA, ALPHA_BAR, BEFORE) ** 2 * clean_variance(ALPHA_BAR) / BETA_TILDE.clip(1e-20)
    # The mean of 19,200 squared Gaussians has a relative standard deviation of sqrt(2 / 19200) = 1 %.
    np.testing.assert_allclose(terms.view(2, 100).mean(dim=1).numpy(), 0.5 * error[[3, 50]], rtol=0.03)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize(("variance_type", "learned"), VARIANCES)
def test_the_term_of_the_first_timestep_is_the_likelihood_of_the_pixels(prediction_type, variance_type, learned):
    """Around the predicted x_0, which is the mean of the reverse step there."""
    timesteps = torch.zeros(1, dtype=torch.int64)
    clean = torch.tensor([[[[0.0, 100], [180, 255]]]], dtype=torch.float64) / 127.5 - 1
    noisy = add_noise(COSINE, clean, torch.tensor([[[[-0.5, 0.3], [-1, 0.8]]]]), timesteps)
    guess = best_prediction("sample", noisy, timesteps, ALPHA_BAR)
    prediction = with_variance(best_prediction(prediction_type, noisy, timesteps, ALPHA_BAR), learned)
    computed = bound_term(COSINE, prediction_type, variance_type, prediction, clean, noisy, timesteps)

    v = ((learned or 0) + 1) / 2 if variance_type == "learned_range" else 0
    std = math.sqrt(BETA[0] ** v * BETA_TILDE[1] ** (1 - v))
    nll = []
    for level, mean in zip(clean.flatten().tolist(), guess.flatten().tolist(), strict=True):
        lower = 1.0 if level == -1 else upper_tail((level - 1 / 255 - mean) / std)
        upper = 0.0 if level == 1 else upper_tail((level + 1 / 255 - mean) / std)
        nll.append(-math.log(lower - upper))
    assert computed.item() == pytest.approx(sum(nll) / 4, rel=1e-4)


class GaussianBound:
    """Everything about the bound of the Gaussian data for one schedule."""

    def __init__(self, beta_schedule: str, steps: int):
        betas = {"squaredcos_cap_v2": cosine_betas, "linear": linear_betas}[beta_schedule](steps)
        alpha_bar = np.cumprod(1 - betas)
        before = np.concatenate([[1], alpha_bar[:-1]])
        least = (1 - before) / (1 - alpha_bar) * betas
        # The variance that x_{t-1} really has given x_t, as the network would have to say it.
        self.best = least + of_clean(betas, alpha_bar, before) ** 2 * clean_variance(alpha_bar)
        least[0] = least[1]
        learned = 2 * (np.log(self.best) - np.log(least)) / (np.log(betas) - np.log(least)) - 1
        self.learned = torch.from_numpy(learned).view(-1, 1, 1, 1)
        self.schedule = NoiseSchedule.of(make_scheduler(steps, beta_schedule))
        self.timesteps = torch.arange(steps)
        self.clean, self.noisy = batch(self.timesteps, self.schedule)
        self.prediction = best_prediction("epsilon", self.noisy, self.timesteps, alpha_bar)
        last = alpha_bar[-1]
        self.start = 0.5 * (last * (S**2 + M**2) - last - math.log(last * S**2 + 1 - last))
        self.entropy = 0.5 * math.log(2 * math.pi * math.e * S**2) + math.log(255 / 2)

    def terms(self, variance_type: str, learned: torch.Tensor | None = None) -> torch.Tensor:
        arguments = (with_variance(self.prediction, learned), self.clean, self.noisy, self.timesteps)
        return bound_term(self.schedule, "epsilon", variance_type, *arguments)

    def total(self, variance_type: str, learned: torch.Tensor | None = None) -> float:
        return (self.terms(variance_type, learned).sum() + prior_term(self.schedule, self.clean)[0]).item()


@pytest.mark.parametrize(
    ("beta_schedule", "steps"), [("squaredcos_cap_v2", 8), ("squaredcos_cap_v2", 50), ("linear", 40)]
)
def test_the_whole_bound_of_gaussian_data_is_its_entropy(beta_schedule, steps):
    """With the variance that the reverse process really has the bound is tight, for any T.

    It then is the differential entropy of the data, with log(255 / 2) for the density of a cell of width 2 / 255, and
    KL(q(x_T) || N(0, 1)) for starting at N(0, 1).
    """
    bound = GaussianBound(beta_schedule, steps)
    tight = bound.total("learned_range", bound.learned)
    # L_0 holds a cell's mass, not its density, which on average differ by the fourth power of the cell's width only.
    assert tight == pytest.approx(bound.entropy + bound.start, abs=1e-5)
    assert bound.total("fixed_small") > tight
    assert bound.total("fixed_large") > tight
    assert bound.total("learned_range", torch.zeros(())) > tight


def test_with_many_steps_beta_is_the_right_variance_of_all_but_the_first():
    excess = []
    for steps in (40, 400):
        bound = GaussianBound("linear", steps)
        excess.append((bound.terms("fixed_large") - bound.terms("learned_range", bound.learned))[1:].sum().item())
    assert 0 < excess[1] < 0.2 * excess[0]


def test_timesteps_of_a_batch_do_not_meet():
    """Neither do the pictures at the first timestep and the others."""
    timesteps = torch.tensor([0, 40, 0, 99])
    clean, noisy = batch(timesteps)
    prediction = with_variance(normal(clean.shape, 7), normal(clean.shape, 8))
    together = bound_term(COSINE, "v_prediction", "learned_range", prediction, clean, noisy, timesteps)
    for i in range(4):
        one = slice(i, i + 1)
        arguments = (prediction[one], clean[one], noisy[one], timesteps[one])
        alone = bound_term(COSINE, "v_prediction", "learned_range", *arguments)
        assert torch.equal(together[one], alone)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_with_zero_terminal_snr_the_last_term_is_finite(prediction_type):
    timesteps = torch.tensor([T - 1])
    clean, noisy = batch(timesteps, ZERO_SNR)
    prediction = (M if prediction_type == "sample" else -M) * torch.ones_like(clean)  # E[x_0], of x_T independent
    computed = bound_term(ZERO_SNR, prediction_type, "fixed_large", prediction, clean, noisy, timesteps)
    bar = ZERO_SNR.alpha_bar[-2].item()  # x_{T-1} is drawn anew: its mean is sqrt(bar) x_0, its variance beta_T = 1
    expected = 0.5 * (-math.log(1 - bar) - 1 + (1 - bar) + bar * S**2)
    assert computed.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_clipping_is_of_the_predicted_clean_picture():
    timesteps = torch.tensor([0, 30])
    clean, noisy = batch(timesteps)
    wild = torch.tensor([-3.0, -0.5, 0.5, 1.01], dtype=torch.float64).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    clipped = bound_term(COSINE, "sample", "fixed_small", wild, clean, noisy, timesteps, clip_clean=True)
    tame = bound_term(COSINE, "sample", "fixed_small", wild.clamp(-1, 1), clean, noisy, timesteps)
    assert torch.equal(clipped, tame)
    assert (bound_term(COSINE, "sample", "fixed_small", wild, clean, noisy, timesteps) > tame).all()
    # Of epsilon and v, too, what they imply is clipped, not themselves.
    for prediction_type in ("epsilon", "v_prediction"):
        alpha, sigma = (table.double() for table in COSINE.alpha_sigma(timesteps))
        epsilon = (noisy - alpha * wild) / sigma
        prediction = epsilon if prediction_type == "epsilon" else alpha * epsilon - sigma * wild
        same = bound_term(COSINE, prediction_type, "fixed_small", prediction, clean, noisy, timesteps, clip_clean=True)
        torch.testing.assert_close(same, tame, rtol=1e-6, atol=0)


def test_the_second_half_of_the_channels_is_the_variance():
    prediction = normal((2, 6, 2, 2), 9)
    mean, learned = split_prediction(prediction, "learned_range")
    assert torch.equal(mean, prediction[:, :3]) and torch.equal(learned, prediction[:, 3:])
    for variance_type in ("fixed_small", "fixed_large"):
        mean, learned = split_prediction(prediction, variance_type)
        assert mean is prediction and learned is None


def test_the_learned_variance_s_loss_is_a_thousandth_of_the_estimated_bound():
    """Nichol & Dhariwal 2021, equation 16: T L_{t-1} estimates the sum over t, and lambda is 0.001."""
    timesteps = torch.tensor([0, 1, 30, 99])
    clean, noisy = batch(timesteps)
    prediction = with_variance(normal(clean.shape, 10), normal(clean.shape, 11))
    terms = bound_term(COSINE, "v_prediction", "learned_range", prediction, clean, noisy, timesteps)
    loss = learned_variance_loss(COSINE, "v_prediction", prediction, clean, noisy, timesteps)
    assert loss.dtype == torch.float32 and loss.shape == (4,)
    torch.testing.assert_close(loss.double(), 0.001 * T * terms, rtol=1e-6, atol=0)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_learned_variance_s_loss_teaches_the_variance_only(prediction_type):
    timesteps = torch.tensor([0, 1, 30, 98])
    clean, noisy = batch(timesteps)
    prediction = with_variance(normal(clean.shape, 12), 0.3).float().requires_grad_()
    loss = learned_variance_loss(COSINE, prediction_type, prediction, clean.float(), noisy.float(), timesteps)
    loss.sum().backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[:, :1] == 0).all()
    assert (prediction.grad[:, 1:] != 0).all()


def test_the_learned_variance_s_loss_is_least_at_the_true_variance():
    """Of x_{t-1} given x_t alone: the posterior's, and that of its mean where x_0 is not known."""
    timesteps = torch.tensor([1, 3, 20, 60, 98])
    t = timesteps.numpy()
    true = BETA_TILDE + of_clean(BETA, ALPHA_BAR, BEFORE) ** 2 * clean_variance(ALPHA_BAR)
    learned = 2 * (np.log(true[t]) - np.log(BETA_TILDE[t])) / (np.log(BETA[t]) - np.log(BETA_TILDE[t])) - 1
    assert (learned > -1).all() and (learned < 1).all()
    learned = torch.from_numpy(learned).view(-1, 1, 1, 1)
    clean, noisy = batch(timesteps)
    mean = best_prediction("v_prediction", noisy, timesteps, ALPHA_BAR)

    def loss(offset: torch.Tensor) -> torch.Tensor:
        prediction = torch.cat([mean, (learned + offset).expand(mean.shape)], dim=1)
        return learned_variance_loss(COSINE, "v_prediction", prediction, clean, noisy, timesteps)

    slopes = []
    for value in (-0.5, 0.0, 0.5):
        offset = torch.full_like(learned, value).requires_grad_()
        loss(offset).sum().backward()
        slopes.append(offset.grad.flatten())
    assert (slopes[0] < 0).all() and (slopes[2] > 0).all()
    assert (slopes[1].abs() < 1e-3 * torch.minimum(slopes[2], -slopes[0])).all()


def test_the_learned_variance_s_loss_is_the_same_however_the_mean_is_written():
    timesteps = torch.tensor([0, 1, 30, 90])
    clean, noisy = batch(timesteps)
    losses = []
    for prediction_type in PREDICTION_TYPES:
        prediction = best_prediction(prediction_type, noisy, timesteps, ALPHA_BAR)
        guess = predicted_clean(COSINE, prediction_type, prediction, noisy, timesteps)
        torch.testing.assert_close(guess, best_prediction("sample", noisy, timesteps, ALPHA_BAR), rtol=0, atol=1e-5)
        prediction = with_variance(prediction, normal(clean.shape, 13))
        losses.append(learned_variance_loss(COSINE, prediction_type, prediction, clean, noisy, timesteps))
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-4, atol=0)
    torch.testing.assert_close(losses[1], losses[2], rtol=1e-4, atol=0)


def test_bits():
    assert bits(torch.tensor(math.log(256.0), dtype=torch.float64)).item() == pytest.approx(8)
