"""The variational bound on the negative log-likelihood, term by term. Pure functions, in nats per dimension.

    L_vlb = L_0 + L_1 + ... + L_{T-1} + L_T      (Nichol & Dhariwal 2021, equations 4 to 7)

L_T compares the end of the forward process with pure noise, L_{t-1} the reverse step at t with the forward process's
posterior, and L_0 is the negative log-likelihood of the 8-bit pixels. All of it is computed in float64.
"""

import math

import torch
from torch.special import log_ndtr

from pokemon_ddpm.noise_schedule import NoiseSchedule, at
from pokemon_ddpm.objectives import predicted_clean

# Weight of L_vlb beside L_simple (Nichol & Dhariwal 2021, equation 16).
VLB_WEIGHT = 0.001


def posterior_mean(
    schedule: NoiseSchedule, clean: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Mean of q(x_{t-1} | x_t, x_0), float64 (B, C, S, S) (Ho et al. 2020, equation 7)."""
    of_clean = schedule.alpha_bar_before.sqrt() * schedule.beta / (1 - schedule.alpha_bar)
    of_noisy = (1 - schedule.beta).sqrt() * (1 - schedule.alpha_bar_before) / (1 - schedule.alpha_bar)
    return at(of_clean, timesteps) * clean + at(of_noisy, timesteps) * noisy


def log_variance(
    schedule: NoiseSchedule, variance_type: str, timesteps: torch.Tensor, learned: torch.Tensor | None = None
) -> torch.Tensor:
    """Logarithm of the reverse process's variance at t, float64 (B, 1, 1, 1) or (B, C, S, S).

    Args:
        schedule: The noise schedule.
        variance_type: "fixed_small": beta_tilde_t. "fixed_large": beta_t. "learned_range": between both,
            exp(v log beta_t + (1 - v) log beta_tilde_t) (Nichol & Dhariwal 2021, equation 15).
        timesteps: int64 (B,).
        learned: For "learned_range" what the network says, (B, C, S, S); -1 is v = 0 and 1 is v = 1.

    At the first timestep beta_tilde is 0, with which L_0 would be infinite. The next one's takes its place there, for
    beta_t too, as both papers' authors do.
    """
    small = schedule.posterior_variance
    small = torch.cat([small[1:2], small[1:]]).log()
    large = torch.cat([small[:1], schedule.beta[1:].log()])
    if variance_type == "fixed_small":
        return at(small, timesteps)
    if variance_type == "fixed_large":
        return at(large, timesteps)
    large[0] = schedule.beta[0].log()
    share = (learned.to(large.dtype) + 1) / 2
    return share * at(large, timesteps) + (1 - share) * at(small, timesteps)


def gaussian_kl(
    mean: torch.Tensor, log_var: torch.Tensor, other_mean: torch.Tensor, other_log_var: torch.Tensor
) -> torch.Tensor:
    """KL(N(mean, exp(log_var)) || N(other_mean, exp(other_log_var))), elementwise, in nats."""
    return 0.5 * (
        other_log_var
        - log_var
        - 1
        + (log_var - other_log_var).exp()
        + (mean - other_mean).square() * (-other_log_var).exp()
    )


def pixel_nll(clean: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """-log p(x_0) of 8-bit pixels scaled to [-1, 1], elementwise, in nats (Ho et al. 2020, equation 13).

    The probability of a pixel is the Gaussian's mass within half a grey level (1/255) of it; black's and white's
    reach out to infinity.
    """
    clean = clean.to(log_var.dtype)
    inverse_std = (-0.5 * log_var).exp()
    # Mass is symmetric: with the pixel above the mean, tails are taken from the upper side, where they do not cancel.
    distance = (clean - mean).abs()
    black, white = clean < -0.999, clean > 0.999
    outer = torch.where(clean >= mean, white, black)  # the cell reaches from its near edge away from the mean
    inner = torch.where(clean >= mean, black, white)  # the cell reaches from its far edge beyond the mean
    near = log_ndtr(-(distance - 1 / 255) * inverse_std)  # log of the mass beyond the near edge
    far = log_ndtr(-(distance + 1 / 255) * inverse_std)
    near = torch.where(inner, 0.0, near)
    far = torch.where(outer, -torch.inf, far)
    return -(near + torch.log1p(-(far - near).exp()))


def prior_term(schedule: NoiseSchedule, clean: torch.Tensor) -> torch.Tensor:
    """L_T of each picture, (B,), in nats per dimension (Nichol & Dhariwal 2021, equation 7)."""
    last = schedule.alpha_bar[-1]
    mean, log_var = last.sqrt() * clean, torch.log1p(-last)
    zero = torch.zeros((), dtype=mean.dtype, device=mean.device)
    return gaussian_kl(mean, log_var, zero, zero).mean(dim=(1, 2, 3))


def bound_term(
    schedule: NoiseSchedule,
    prediction_type: str,
    variance_type: str,
    prediction: torch.Tensor,
    clean: torch.Tensor,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    clip_clean: bool = False,
) -> torch.Tensor:
    """L_0 of pictures at the first timestep, L_{t-1} of the others, (B,), in nats per dimension.

    Args:
        schedule: The noise schedule.
        prediction_type: "epsilon", "v_prediction" or "sample".
        variance_type: See `log_variance`; with "learned_range" the second half of the prediction's channels is v.
        prediction: The network's answer, (B, C, S, S) or (B, 2C, S, S).
        clean: x_0, (B, C, S, S) in [-1, 1].
        noisy: x_t, (B, C, S, S).
        timesteps: int64 (B,).
        clip_clean: Whether the predicted x_0 is clipped to [-1, 1], as sampling does.
    """
    prediction, learned = split_prediction(prediction, variance_type)
    dtype = schedule.beta.dtype
    guess = predicted_clean(schedule, prediction_type, prediction.to(dtype), noisy.to(dtype), timesteps)
    guess = guess.clamp(-1, 1) if clip_clean else guess
    mean = posterior_mean(schedule, guess, noisy, timesteps)
    log_var = log_variance(schedule, variance_type, timesteps, learned)
    true_mean = posterior_mean(schedule, clean, noisy, timesteps)
    true_log_var = log_variance(schedule, "fixed_small", timesteps)
    divergence = gaussian_kl(true_mean, true_log_var, mean, log_var)
    # Both are computed for all, so that nothing depends on how many are at the first timestep.
    first = (timesteps == 0).view(-1, 1, 1, 1)
    nll = pixel_nll(clean, torch.where(first, mean, clean), torch.where(first, log_var, 0.0))
    return torch.where(first, nll, divergence).mean(dim=(1, 2, 3))


def split_prediction(prediction: torch.Tensor, variance_type: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What predicts the mean, and what the variance: None unless that is learned."""
    if variance_type != "learned_range":
        return prediction, None
    mean, learned = prediction.chunk(2, dim=1)
    return mean, learned


def learned_variance_loss(
    schedule: NoiseSchedule,
    prediction_type: str,
    prediction: torch.Tensor,
    clean: torch.Tensor,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """lambda L_vlb as the hybrid objective has it, float32 (B,), of predictions (B, 2C, S, S).

    At a timestep drawn uniformly, T L_{t-1} is an unbiased estimate of L_vlb. The mean is held fixed: this part of the
    objective is to teach the variance only (Nichol & Dhariwal 2021, section 3.1).
    """
    mean, learned = prediction.chunk(2, dim=1)
    prediction = torch.cat([mean.detach(), learned], dim=1)
    terms = bound_term(schedule, prediction_type, "learned_range", prediction, clean, noisy, timesteps)
    return (VLB_WEIGHT * len(schedule) * terms).float()


def bits(nats: torch.Tensor) -> torch.Tensor:
    """From nats to bits."""
    return nats / math.log(2)
