"""The targets and the weights against closed forms written here from the papers."""

import numpy as np
import pytest
import torch

from pokemon_ddpm.noise_schedule import NoiseSchedule, make_scheduler
from pokemon_ddpm.objectives import (
    PREDICTION_TYPES,
    add_noise,
    denoising_loss,
    loss_weight,
    predicted_clean,
    target,
)
from tests.test_noise_schedule import ALPHA_BAR, T, alpha_sigma, cosine_betas, gaussian, pictures, zero_terminal

COSINE = NoiseSchedule.of(make_scheduler())
ZERO_SNR = NoiseSchedule.of(make_scheduler(rescale_betas_zero_snr=True))
SNR = ALPHA_BAR / (1 - ALPHA_BAR)
TIMESTEPS = torch.tensor([0, 1, 10, 100, 250, 500, 750, 900, 990])
GAMMAS = [None, 1.0, 5.0]
# alpha and sigma are float32.
ATOL = 1e-6


def as_prediction(prediction_type: str, clean, noisy, alpha, sigma):
    """A guess of x_0 at x_t as epsilon, v or itself (Salimans & Ho 2022, section 4)."""
    if prediction_type == "sample":
        return clean
    epsilon = (noisy - alpha * clean) / sigma
    return epsilon if prediction_type == "epsilon" else alpha * epsilon - sigma * clean


def test_add_noise_is_the_forward_process():
    clean, noise = pictures(len(TIMESTEPS), 0), gaussian(len(TIMESTEPS), 1)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    noisy = add_noise(COSINE, clean, noise, TIMESTEPS)
    torch.testing.assert_close(noisy, alpha * clean + sigma * noise, rtol=0, atol=ATOL)


@pytest.mark.parametrize("beta_schedule", ["squaredcos_cap_v2", "linear"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_add_noise_is_that_of_the_scheduler(beta_schedule, zero_snr):
    scheduler = make_scheduler(beta_schedule=beta_schedule, rescale_betas_zero_snr=zero_snr)
    timesteps = torch.cat([TIMESTEPS, torch.tensor([999])])
    clean, noise = pictures(len(timesteps), 0).float(), gaussian(len(timesteps), 1).float()
    noisy = add_noise(NoiseSchedule.of(scheduler), clean, noise, timesteps)
    assert noisy.dtype == torch.float32
    # diffusers' 1 - alpha_bar is off by 6e-8 a timestep, its root at the first timesteps by 1e-5.
    torch.testing.assert_close(noisy, scheduler.add_noise(clean, noise, timesteps), rtol=0, atol=5e-5)


def test_with_zero_terminal_snr_the_last_timestep_is_pure_noise():
    clean, noise, last = pictures(1, 2), gaussian(1, 3), torch.tensor([999])
    assert torch.equal(add_noise(ZERO_SNR, clean, noise, last), noise)
    assert torch.equal(target(ZERO_SNR, "v_prediction", clean, noise, last), -clean)
    assert torch.equal(predicted_clean(ZERO_SNR, "v_prediction", -clean, noise, last), clean)


def test_the_target_is_epsilon_v_or_the_clean_picture():
    clean, noise = pictures(len(TIMESTEPS), 7), gaussian(len(TIMESTEPS), 8)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    assert torch.equal(target(COSINE, "epsilon", clean, noise, TIMESTEPS), noise)
    assert torch.equal(target(COSINE, "sample", clean, noise, TIMESTEPS), clean)
    v = target(COSINE, "v_prediction", clean, noise, TIMESTEPS)
    torch.testing.assert_close(v, alpha * noise - sigma * clean, rtol=0, atol=ATOL)


def test_another_prediction_type_is_refused():
    clean, noise = pictures(1, 0), gaussian(1, 1)
    with pytest.raises(ValueError, match="must be one of epsilon, v_prediction, sample, but is 'velocity'"):
        target(COSINE, "velocity", clean, noise, torch.tensor([0]))


def test_clean_picture_and_noise_come_back_from_v():
    """Salimans & Ho 2022: x_0 = alpha x_t - sigma v, epsilon = sigma x_t + alpha v."""
    clean, noise = pictures(len(TIMESTEPS), 9), gaussian(len(TIMESTEPS), 10)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    noisy = alpha * clean + sigma * noise
    v = target(COSINE, "v_prediction", clean, noise, TIMESTEPS)
    torch.testing.assert_close(alpha * noisy - sigma * v, clean, rtol=0, atol=ATOL)
    torch.testing.assert_close(sigma * noisy + alpha * v, noise, rtol=0, atol=ATOL)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_clean_picture_comes_back_from_the_target(prediction_type):
    clean, noise = pictures(len(TIMESTEPS), 11), gaussian(len(TIMESTEPS), 12)
    noisy = add_noise(COSINE, clean, noise, TIMESTEPS)
    wanted = target(COSINE, prediction_type, clean, noise, TIMESTEPS)
    back = predicted_clean(COSINE, prediction_type, wanted, noisy, TIMESTEPS)
    torch.testing.assert_close(back, clean, rtol=0, atol=1e-5)  # epsilon's is divided by alpha, 0.016 at t = 990


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_guess_of_the_clean_picture_comes_back_from_its_prediction(prediction_type):
    """Also where it is wrong."""
    alpha, sigma = alpha_sigma(TIMESTEPS)
    guess, noisy = pictures(len(TIMESTEPS), 13), gaussian(len(TIMESTEPS), 14)
    prediction = as_prediction(prediction_type, guess, noisy, alpha, sigma)
    back = predicted_clean(COSINE, prediction_type, prediction, noisy, TIMESTEPS)
    torch.testing.assert_close(back, guess, rtol=0, atol=1e-4)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_loss_weights(gamma):
    timesteps = torch.arange(T)
    of_clean = SNR if gamma is None else np.minimum(SNR, gamma)
    exact = {"epsilon": of_clean / SNR, "v_prediction": of_clean / (SNR + 1), "sample": of_clean}
    for prediction_type, expected in exact.items():
        weight = loss_weight(COSINE, prediction_type, timesteps, gamma)
        assert weight.dtype == torch.float32 and weight.shape == (T,)
        np.testing.assert_allclose(weight[:-1].double().numpy(), expected[:-1], rtol=1e-5)
        np.testing.assert_allclose(weight[-1].item(), expected[-1], rtol=1e-4)  # 1 - 0.999 in float32
        if prediction_type == "epsilon" and gamma is None:
            assert (weight == 1).all()  # equation 14 of Ho et al. 2020


def test_loss_weights_are_read_at_the_timesteps():
    weight = loss_weight(COSINE, "sample", torch.tensor([900, 3, 3]), None)
    np.testing.assert_allclose(weight.double().numpy(), SNR[[900, 3, 3]], rtol=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_with_zero_terminal_snr_the_error_of_the_clean_picture_weighs_at_least_1(gamma):
    """The truncated SNR weighting of Salimans & Ho 2022, section 4, capped by Min-SNR."""
    alpha_bar = zero_terminal(cosine_betas())
    snr = alpha_bar / (1 - alpha_bar)
    of_clean = np.maximum(snr if gamma is None else np.minimum(snr, gamma), 1)
    timesteps = torch.arange(T)
    of_sample = loss_weight(ZERO_SNR, "sample", timesteps, gamma).double().numpy()
    of_v = loss_weight(ZERO_SNR, "v_prediction", timesteps, gamma).double().numpy()
    # diffusers rescales in float32, where 1 - alpha_bar at t = 0 keeps 3 digits.
    np.testing.assert_allclose(of_sample, of_clean, rtol=5e-3)
    np.testing.assert_allclose(of_v, of_clean / (snr + 1), rtol=5e-3)
    assert of_sample.min() == 1 and of_sample[-1] == 1 and of_v[-1] == 1
    assert np.isfinite(of_sample).all() and np.isfinite(of_v).all()


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_same_denoiser_has_the_same_loss_however_its_prediction_is_written(gamma):
    """And that loss is the weighted error of its x_0."""
    count = len(TIMESTEPS)
    clean, noise, guess = pictures(count, 11), gaussian(count, 12), pictures(count, 13)
    alpha, sigma = alpha_sigma(TIMESTEPS)
    noisy = alpha * clean + sigma * noise
    ratio = torch.from_numpy(SNR)[TIMESTEPS]
    weight = ratio if gamma is None else ratio.clamp(max=gamma)
    expected = weight * (guess - clean).square().mean(dim=(1, 2, 3))
    for prediction_type in PREDICTION_TYPES:
        prediction = as_prediction(prediction_type, guess, noisy, alpha, sigma)
        loss = denoising_loss(COSINE, prediction_type, prediction, clean, noise, TIMESTEPS, gamma)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_with_zero_terminal_snr_too(gamma):
    timesteps = torch.tensor([10, 500, 990, 999])
    clean, noise, guess = pictures(4, 14), gaussian(4, 15), pictures(4, 16)
    alpha_bar = torch.from_numpy(zero_terminal(cosine_betas()))[timesteps].view(-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = alpha * clean + sigma * noise
    snr = (alpha_bar / (1 - alpha_bar)).flatten()
    weight = (snr if gamma is None else snr.clamp(max=gamma)).clamp(min=1)
    expected = weight * (guess - clean).square().mean(dim=(1, 2, 3))
    for prediction_type in ("v_prediction", "sample"):
        prediction = as_prediction(prediction_type, guess, noisy, alpha, sigma)
        loss = denoising_loss(ZERO_SNR, prediction_type, prediction, clean, noise, timesteps, gamma)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-3, atol=0)


def test_the_simple_loss_is_the_mean_squared_error_of_epsilon():
    clean, noise, guess = pictures(3, 17), gaussian(3, 18), gaussian(3, 19)
    loss = denoising_loss(COSINE, "epsilon", guess, clean, noise, torch.tensor([0, 500, 999]), None)
    expected = [(guess[i] - noise[i]).pow(2).sum().item() / (3 * 8 * 8) for i in range(3)]
    np.testing.assert_allclose(loss.double().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_perfect_prediction_has_no_loss_and_the_loss_is_float32(prediction_type):
    clean, noise = pictures(len(TIMESTEPS), 14).float(), gaussian(len(TIMESTEPS), 15).float()
    perfect = target(COSINE, prediction_type, clean, noise, TIMESTEPS)
    assert perfect.dtype == torch.float32
    loss = denoising_loss(COSINE, prediction_type, perfect, clean, noise, TIMESTEPS, 5.0)
    assert torch.equal(loss, torch.zeros(len(TIMESTEPS)))
    coarse = denoising_loss(COSINE, prediction_type, perfect.bfloat16(), clean, noise, TIMESTEPS, 5.0)
    assert coarse.dtype == torch.float32 and coarse.max() < 1e-3
