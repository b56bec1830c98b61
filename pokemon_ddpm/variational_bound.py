"""The variational bound on the negative log-likelihood, term by term, in nats per dimension and float64.

    L_vlb = L_0 + L_1 + ... + L_{T-1} + L_T      (Nichol & Dhariwal 2021, equations 4 to 7)

L_T compares the end of the forward process with pure noise, L_{t-1} the reverse step at t with the forward process's
posterior, and L_0 is the negative log-likelihood of the 8-bit pixels.
"""

import torch
from torch import Tensor
from torch.special import log_ndtr

from pokemon_ddpm.diffusion import NoiseSchedule, at, predicted_clean

VLB_WEIGHT = 0.001  # of L_vlb beside L_simple (Nichol & Dhariwal 2021, equation 16)


def posterior_mean(schedule: NoiseSchedule, clean: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0), float64 (B, C, S, S) (Ho et al. 2020, equation 7)."""
    of_clean = schedule.alpha_bar_before.sqrt() * schedule.beta / (1 - schedule.alpha_bar)
    of_noisy = (1 - schedule.beta).sqrt() * (1 - schedule.alpha_bar_before) / (1 - schedule.alpha_bar)
    return at(of_clean, timesteps) * clean + at(of_noisy, timesteps) * noisy


def log_variance(
    schedule: NoiseSchedule, variance_type: str, timesteps: Tensor, learned: Tensor | None = None
) -> Tensor:
    """Logarithm of the variance of the reverse process at t, float64 (B, 1, 1, 1) or (B, C, S, S).

    At the first timestep beta_tilde is 0, and L_0 would be infinite; the next value replaces it there, for the fixed
    beta_t too, as in the code of both papers.

    "fixed_small" is beta_tilde_t, "fixed_large" beta_t, and "learned_range" exp(v log beta_t + (1 - v) log
    beta_tilde_t) (Nichol & Dhariwal 2021, equation 15). The network's output `learned`, (B, C, S, S), is -1 for v = 0
    and 1 for v = 1.
    """
    small = schedule.posterior_variance
    small = torch.cat([small[1:2], small[1:]]).log()
    if variance_type == "fixed_small":
        return at(small, timesteps)
    if variance_type == "fixed_large":
        return at(torch.cat([small[:1], schedule.beta[1:].log()]), timesteps)
    share = (learned.to(small.dtype) + 1) / 2
    return share * at(schedule.beta.log(), timesteps) + (1 - share) * at(small, timesteps)


def gaussian_kl(mean: Tensor, log_var: Tensor, other_mean: Tensor, other_log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(other_mean, exp(other_log_var))), elementwise, in nats."""
    of_variances = other_log_var - log_var - 1 + (log_var - other_log_var).exp()
    return 0.5 * (of_variances + (mean - other_mean).square() * (-other_log_var).exp())


def pixel_nll(clean: Tensor, mean: Tensor, log_var: Tensor, scaling_factor: float = 1.0) -> Tensor:
    """-log p(x_0) of 8-bit pixels scaled to [-1, 1] times s, elementwise, in nats (Ho et al. 2020, equation 13).

    The probability of a pixel is the Gaussian's mass within half a gray level (s/255) of it; the cells of black and
    white extend to infinity.
    """
    clean = clean.to(log_var.dtype)
    inverse_std = (-0.5 * log_var).exp()
    # By symmetry all tails are taken from the upper side, where differences do not cancel.
    distance, half_level = (clean - mean).abs(), scaling_factor / 255
    black, white = clean < -0.999 * scaling_factor, clean > 0.999 * scaling_factor
    outer = torch.where(clean >= mean, white, black)  # the cell extends to infinity away from the mean
    inner = torch.where(clean >= mean, black, white)  # the cell extends to infinity across the mean
    # The logarithms of the mass beyond the near and the far edge.
    near = torch.where(inner, 0.0, log_ndtr(-(distance - half_level) * inverse_std))
    far = torch.where(outer, -torch.inf, log_ndtr(-(distance + half_level) * inverse_std))
    return -(near + torch.log1p(-(far - near).exp()))


def prior_term(schedule: NoiseSchedule, clean: Tensor) -> Tensor:
    """L_T of each image, (B,), in nats per dimension (Nichol & Dhariwal 2021, equation 7)."""
    last = schedule.alpha_bar[-1]
    mean, log_var = last.sqrt() * clean, torch.log1p(-last)
    zero = torch.zeros((), dtype=mean.dtype, device=mean.device)
    return gaussian_kl(mean, log_var, zero, zero).mean(dim=(1, 2, 3))


def bound_term(
    schedule: NoiseSchedule,
    prediction_type: str,
    variance_type: str,
    prediction: Tensor,
    clean: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    clip_clean: bool = False,
    scaling_factor: float = 1.0,
) -> Tensor:
    """L_0 of images at the first timestep, L_{t-1} of the others, (B,), in nats per dimension.

    The network's prediction at x_t is (B, C, S, S), with "learned_range" (B, 2C, S, S); x_0 is in [-1, 1] times
    the scaling factor. With `clip_clean` the predicted x_0 is clipped to that range, as in sampling.
    """
    prediction, learned = split_prediction(prediction, variance_type)
    dtype = schedule.beta.dtype
    predicted = predicted_clean(schedule, prediction_type, prediction.to(dtype), noisy.to(dtype), timesteps)
    predicted = predicted.clamp(-scaling_factor, scaling_factor) if clip_clean else predicted
    mean = posterior_mean(schedule, predicted, noisy, timesteps)
    log_var = log_variance(schedule, variance_type, timesteps, learned)
    true_mean = posterior_mean(schedule, clean, noisy, timesteps)
    true_log_var = log_variance(schedule, "fixed_small", timesteps)
    divergence = gaussian_kl(true_mean, true_log_var, mean, log_var)
    # Both terms are computed for all images, so that the cost does not depend on the timesteps.
    first = (timesteps == 0).view(-1, 1, 1, 1)
    nll = pixel_nll(clean, torch.where(first, mean, clean), torch.where(first, log_var, 0.0), scaling_factor)
    return torch.where(first, nll, divergence).mean(dim=(1, 2, 3))


def split_prediction(prediction: Tensor, variance_type: str) -> tuple[Tensor, Tensor | None]:
    """The prediction of the mean and, with "learned_range", that of the variance."""
    if variance_type != "learned_range":
        return prediction, None
    mean, learned = prediction.chunk(2, dim=1)
    return mean, learned


def learned_variance_loss(
    schedule: NoiseSchedule,
    prediction_type: str,
    prediction: Tensor,
    clean: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    scaling_factor: float = 1.0,
) -> Tensor:
    """lambda L_vlb of the hybrid objective, float32 (B,), from predictions (B, 2C, S, S).

    With uniform timesteps, T L_{t-1} is an unbiased estimate of L_vlb. The mean is detached: this part of the
    objective trains the variance only (Nichol & Dhariwal 2021, section 3.1).
    """
    mean, learned = prediction.chunk(2, dim=1)
    prediction = torch.cat([mean.detach(), learned], dim=1)
    arguments = (prediction, clean, noisy, timesteps)
    terms = bound_term(schedule, prediction_type, "learned_range", *arguments, scaling_factor=scaling_factor)
    return (VLB_WEIGHT * len(schedule) * terms).float()
