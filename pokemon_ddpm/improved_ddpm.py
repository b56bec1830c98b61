"""Improved DDPM (Nichol & Dhariwal 2021): the variational bound, a learned variance, and resampled timesteps.

The bound on the negative log-likelihood is computed term by term, in nats per dimension and float64:

    L_vlb = L_0 + L_1 + ... + L_{T-1} + L_T      (equations 4 to 7)

L_T compares the end of the forward process with pure noise, L_{t-1} the reverse step at t with the forward process's
posterior, and L_0 is the negative log-likelihood of the 8-bit pixels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.special import log_ndtr

from pokemon_ddpm.diffusion import NoiseSchedule, at, denoising_loss
from pokemon_ddpm.pipelines.guidance import predicted_original_sample

if TYPE_CHECKING:
    from pokemon_ddpm.training.batches import Batch
    from pokemon_ddpm.training.config import TrainingConfig

VLB_WEIGHT = 0.001  # of L_vlb beside L_simple (equation 16)
LOSSES_KEPT = 10  # of each timestep, for resampling (section 3.3)
UNIFORM_SHARE = 0.001  # of resampling, so that weights stay bounded and no timestep is left out


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
    zero = torch.zeros_like(last)
    return gaussian_kl(last.sqrt() * clean, torch.log1p(-last), zero, zero).mean(dim=(1, 2, 3))


def bound_term(
    schedule: NoiseSchedule,
    prediction_type: str,
    variance_type: str,
    prediction: Tensor,
    clean: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    scaling_factor: float = 1.0,
    clip_clean: bool = False,
) -> Tensor:
    """L_0 of images at the first timestep, L_{t-1} of the others, (B,), in nats per dimension.

    The network's prediction at x_t is (B, C, S, S), with "learned_range" (B, 2C, S, S); x_0 is in [-1, 1] times
    the scaling factor. With `clip_clean` the predicted x_0 is clipped to that range, as in sampling.
    """
    learned = None
    if variance_type == "learned_range":
        prediction, learned = prediction.chunk(2, dim=1)
    dtype = schedule.beta.dtype
    levels = schedule.alpha_sigma(timesteps)
    predicted = predicted_original_sample(prediction_type, prediction.to(dtype), noisy.to(dtype), *levels)
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


def learned_variance_loss(
    denoiser: nn.Module, batch: "Batch", schedule: NoiseSchedule, config: "TrainingConfig", scaling_factor: float
) -> Tensor:
    """The hybrid objective, the plain loss + lambda L_vlb, of each image, float32 (B,).

    With uniform timesteps, T L_{t-1} is an unbiased estimate of L_vlb. For it the mean is detached: this part of the
    objective trains the variance only (section 3.1).
    """
    kind, timesteps = config.prediction_type, batch.timesteps
    clean, noisy, prediction = batch.noise_and_predict(denoiser, schedule, scaling_factor, timesteps)
    mean, learned = prediction.chunk(2, dim=1)
    noise, weights = batch.noise, (config.snr_gamma, config.snr_floor)
    losses = denoising_loss(schedule, kind, mean, clean, noise, timesteps, *weights)
    prediction = torch.cat([mean.detach(), learned], dim=1)
    arguments = (prediction, clean, noisy, timesteps)
    terms = bound_term(schedule, kind, "learned_range", *arguments, scaling_factor=scaling_factor)
    return losses + (VLB_WEIGHT * len(schedule) * terms).float()


class TimestepResampler:
    """Importance sampling of timesteps by the loss's second moment (equation 18).

    p_t is proportional to sqrt(E[L_t^2]) over the last `LOSSES_KEPT` losses of each timestep, and uniform until every
    timestep has as many. Nothing here waits for the device.

    Attributes:
        losses: float32 (T, LOSSES_KEPT), a ring buffer for each timestep.
        recorded: int64 (T,), number of losses recorded so far.
    """

    def __init__(self, num_train_timesteps: int, device: torch.device | str = "cpu"):
        # The last row takes the losses that are not kept.
        self._losses = torch.zeros(num_train_timesteps + 1, LOSSES_KEPT, device=device)
        self._recorded = torch.zeros(num_train_timesteps + 1, dtype=torch.int64, device=device)
        self.losses, self.recorded = self._losses[:-1], self._recorded[:-1]

    def probabilities(self) -> Tensor:
        """p_t, float64 (T,)."""
        share = self.losses.double().square().mean(dim=1).sqrt()
        share = share / share.sum()
        uniform = torch.full_like(share, 1 / len(share))
        known = (self.recorded >= LOSSES_KEPT).all() & share.isfinite().all()  # not finite if all losses are 0
        return torch.where(known, (1 - UNIFORM_SHARE) * share + UNIFORM_SHARE * uniform, uniform)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Timesteps, int64 (count,), and weights 1 / (T p_t), float32 (count,), that keep the loss's expectation."""
        probabilities = self.probabilities()
        # Sums of integers do not depend on their order, so CUDA's result is repeatable too.
        edges = (probabilities * 2**40).long().cumsum(0)
        position = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
        position = position.to(edges.device) * edges[-1]
        timesteps = torch.searchsorted(edges, position.long(), right=True).clamp(max=len(edges) - 1)
        return timesteps, (1 / (len(edges) * probabilities[timesteps])).float()

    def record(self, timesteps: Tensor, losses: Tensor) -> None:
        """Adds the unweighted losses (B,) of images at timesteps (B,); values that are not finite are left out."""
        unused = len(self._losses) - 1
        timesteps = torch.where(losses.isfinite(), timesteps, unused)
        timesteps, order = timesteps.sort(stable=True)
        # The k-th image of a timestep goes k places further; of more than LOSSES_KEPT images the last ones stay.
        first = torch.searchsorted(timesteps, timesteps)
        last = torch.searchsorted(timesteps, timesteps, right=True)
        position = torch.arange(len(timesteps), device=timesteps.device)
        place = (self._recorded[timesteps] + position - first) % LOSSES_KEPT
        row = torch.where(last - position > LOSSES_KEPT, unused, timesteps)
        self._losses[row, place] = losses[order].float()
        self._recorded.scatter_add_(0, timesteps, torch.ones_like(timesteps))

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors themselves, which can be set in place."""
        return {"losses": self.losses, "recorded": self.recorded}
