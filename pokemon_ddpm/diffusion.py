"""The diffusion process: schedulers, noise schedule, what a network predicts and its loss, the bound, and timesteps.

x_0 is a clean image, epsilon unit Gaussian noise, and the forward process (Ho et al. 2020, equation 4)

    x_t = alpha_t x_0 + sigma_t epsilon,   alpha_t = sqrt(alpha_bar_t),   sigma_t = sqrt(1 - alpha_bar_t).

The papers count t from 1 to T, the code from 0 to T - 1. Where a network has a scaling factor s, s x_0 takes the place
of x_0 (Chen 2023, section 2.2); weights stay functions of alpha_t and sigma_t alone.

The variational bound on the negative log-likelihood, L_0 + L_1 + ... + L_T (Nichol & Dhariwal 2021, equations 4 to 7),
is in nats per dimension and float64: L_{t-1} compares the reverse step at t with the forward process's posterior, and
L_0 is the negative log-likelihood of the 8-bit pixels. L_T, which no network changes, is not computed.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short_repr
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UNet2DModel
from torch import Tensor, nn
from torch.special import log_ndtr

from pokemon_ddpm.pipelines.sampling import SAMPLERS, predicted_original_sample
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner

# Without these, `from_config` would pass one solver's settings on to another.
SAMPLER_SETTINGS: dict[str, dict[str, str | int | bool]] = {
    "dpmsolver++": {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    "sde-dpmsolver++": {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    "unipc": {"solver_order": 2, "solver_type": "bh2"},
}


def make_scheduler(
    num_train_timesteps: int = 1000,
    beta_schedule: str = "squaredcos_cap_v2",
    prediction_type: str = "sample",
    variance_type: str = "fixed_small",
    scaling_factor: float = 1.0,
) -> DDPMScheduler:
    """diffusers' DDPM scheduler with the settings of the training; the predicted x_0 is clipped to the scaling factor.

    The schedules are the cosine of Nichol & Dhariwal 2021, equation 17, and "linear", beta from 1e-4 to 0.02 at T =
    1,000 (Ho et al. 2020, section 4), scaled for another T. The variances of the reverse process are "fixed_small"
    (beta_tilde_t) and "fixed_large" (beta_t), Ho et al. 2020, section 3.2, and "learned_range" (Nichol & Dhariwal
    2021, equation 15).
    """
    scale = 1000 / num_train_timesteps
    settings = {"beta_schedule": beta_schedule, "beta_start": 1e-4 * scale, "beta_end": 0.02 * scale}
    settings |= {"prediction_type": prediction_type, "variance_type": variance_type}
    settings["timestep_spacing"] = "trailing"  # few-step sampling then starts at pure noise, where training ended
    return DDPMScheduler(num_train_timesteps, clip_sample_range=scaling_factor, **settings)


def make_sampler(name: str, trained: SchedulerMixin) -> SchedulerMixin:
    """A sampler, by its name in `SAMPLERS`, with the noise schedule of any scheduler of a trained model.

    If the network predicts epsilon, the predicted x_0 is clipped in each step, as DDPM and DDIM do by default: it is
    (x_t - sigma epsilon) / alpha, and the cosine's alpha begins below 1e-4.
    """
    if name not in SAMPLERS:
        raise ValueError(f"Unknown scheduler {short_repr(name)}. Known: {', '.join(SAMPLERS)}.")
    sampler, settings = SAMPLERS[name], dict(SAMPLER_SETTINGS.get(name, {}))
    # Schedulers with `clip_sample` have it from the trained scheduler's configuration.
    if "clip_sample" not in inspect.signature(sampler).parameters:
        settings["thresholding"] = trained.config.prediction_type == "epsilon"
    return sampler.from_config(full_config(trained), **settings)


def student_scheduler(trained: SchedulerMixin) -> DPMSolverMultistepScheduler:
    """The sampler of a distilled model: the steps that `training.losses.DistillationLoss` trains.

    First-order DPM-Solver++ is DDIM (Lu et al. 2022, section 4). diffusers' own DDIM goes back by T // n wherever the
    next timestep is, which for example for 16 steps of 1,000 is not what was trained.
    """
    settings = {"algorithm_type": "dpmsolver++", "solver_order": 1, "timestep_spacing": "trailing"}
    settings |= {"final_sigmas_type": "zero", "thresholding": False, "use_karras_sigmas": False}
    return DPMSolverMultistepScheduler.from_config(full_config(trained), **settings)


def full_config(scheduler: SchedulerMixin) -> dict[str, Any]:
    """A scheduler's configuration with its defaults, which `from_config` of another class would replace by its own."""
    return {key: value for key, value in scheduler.config.items() if key != "_use_default_values"}


def sampler_name(scheduler: SchedulerMixin) -> str:
    """The name in `SAMPLERS` of a scheduler's class, or of its algorithm; otherwise the class's own name."""
    algorithm = scheduler.config.get("algorithm_type")
    names = [name for name, cls in SAMPLERS.items() if type(scheduler) is cls]
    return next((name for name in (algorithm, *names) if name in names), type(scheduler).__name__)


@dataclass(frozen=True)
class NoiseSchedule:
    """A noise schedule, and what the network predicts in it.

    That is "epsilon" (Ho et al. 2020, equation 14), "v_prediction", alpha_t epsilon - sigma_t x_0 (Salimans & Ho 2022,
    section 4), or "sample", x_0.
    """

    beta: Tensor  # float64 (T,); in float32, 1 - alpha_bar keeps three digits only
    alpha_bar: Tensor  # the product of 1 - beta up to t, likewise
    prediction_type: str
    scaling_factor: float = 1.0  # what images in [-1, 1] are multiplied by to become samples

    @classmethod
    def of(
        cls, scheduler: SchedulerMixin, device: torch.device | str = "cpu", scaling_factor: float = 1.0
    ) -> "NoiseSchedule":
        """That of one of diffusers' discrete-time schedulers."""
        beta = scheduler.betas.double().cpu()
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64  # MPS has no float64
        tables = (table.to(device, dtype) for table in (beta, torch.cumprod(1 - beta, dim=0)))
        return cls(*tables, scheduler.config.prediction_type, scaling_factor)

    def __len__(self) -> int:
        return len(self.beta)

    @property
    def alpha_bar_before(self) -> Tensor:
        """alpha_bar_{t-1}; 1 at the first timestep."""
        return torch.cat([torch.ones_like(self.alpha_bar[:1]), self.alpha_bar[:-1]])

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_t^2 / sigma_t^2 (Kingma et al. 2021, equation 2)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def posterior_log_variance(self) -> Tensor:
        """log beta_tilde_t, of the variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, equation 7).

        At the first timestep beta_tilde is 0, and L_0 would be infinite; the next value replaces it there, as in the
        code of Nichol & Dhariwal 2021.
        """
        variance = (1 - self.alpha_bar_before) / (1 - self.alpha_bar) * self.beta
        return torch.cat([variance[1:2], variance[1:]]).log()

    def posterior_mean(self, clean: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0), float64 (B, C, S, S) (Ho et al. 2020, equation 7)."""
        of_clean = self.alpha_bar_before.sqrt() * self.beta / (1 - self.alpha_bar)
        of_noisy = (1 - self.beta).sqrt() * (1 - self.alpha_bar_before) / (1 - self.alpha_bar)
        return at(of_clean, timesteps) * clean + at(of_noisy, timesteps) * noisy

    def learned_log_variance(self, learned: Tensor, timesteps: Tensor) -> Tensor:
        """v log beta_t + (1 - v) log beta_tilde_t (Nichol & Dhariwal 2021, equation 15), float64 (B, C, S, S).

        The network's output `learned`, (B, C, S, S), is -1 for v = 0 and 1 for v = 1.
        """
        share = (learned.to(self.beta.dtype) + 1) / 2
        return share * at(self.beta.log(), timesteps) + (1 - share) * at(self.posterior_log_variance, timesteps)

    def alpha_sigma(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t of timesteps (B,), float32 (B, 1, 1, 1)."""
        alpha_bar = at(self.alpha_bar, timesteps)
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t, (B, C, S, S), from x_0 and epsilon (B, C, S, S) and t (B,) (Ho et al. 2020, equation 4)."""
        alpha, sigma = self.alpha_sigma(timesteps)
        return alpha * clean + sigma * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is trained to predict at x_t, (B, C, S, S), see `prediction_type`."""
        if self.prediction_type != "v_prediction":
            return noise if self.prediction_type == "epsilon" else clean
        alpha, sigma = self.alpha_sigma(timesteps)
        return alpha * noise - sigma * clean

    def clean(self, prediction: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """x_0, (B, C, S, S), from the network's prediction at x_t, not clipped: the inverse of `target`."""
        return predicted_original_sample(self.prediction_type, prediction, noisy, *self.alpha_sigma(timesteps))

    def clean_weight(self, snr_gamma: float, snr_floor: float) -> Tensor:
        """Weight of the squared error of x_0 at each timestep, (T,), which defines a weighting.

        It is SNR for the simple loss (Ho et al. 2020, equation 14), which is `snr_gamma` 0, and min(SNR, gamma) for
        Min-SNR (Hang et al. 2023, section 3.4). Both are small at high noise, where composition is decided, so the
        weight is at least `snr_floor`; 1 is the max(SNR, 1) of Salimans & Ho 2022, section 4.
        """
        return (self.snr.clamp(max=snr_gamma) if snr_gamma else self.snr).clamp(min=snr_floor)

    def loss(
        self, prediction: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor, snr_gamma: float, snr_floor: float
    ) -> Tensor:
        """Weighted mean squared error of each image's prediction, float32 (B,).

        The error of epsilon is SNR times and that of v SNR + 1 times that of x_0: every prediction type has one loss.
        """
        snr = self.snr
        error_ratio = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[self.prediction_type]
        weight = (self.clean_weight(snr_gamma, snr_floor) / error_ratio)[timesteps].float()
        return weight * (prediction.float() - self.target(clean, noise, timesteps)).square().mean(dim=(1, 2, 3))


def at(table: Tensor, timesteps: Tensor) -> Tensor:
    """Values of a table (T,) at timesteps (B,), as (B, 1, 1, 1)."""
    return table[timesteps].view(-1, 1, 1, 1)


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


def bound_term(
    schedule: NoiseSchedule, predicted: Tensor, log_var: Tensor, clean: Tensor, noisy: Tensor, timesteps: Tensor
) -> Tensor:
    """L_0 of images at the first timestep, L_{t-1} of the others, (B,), in nats per dimension.

    Images are (B, C, S, S): the predicted x_0, the true one and x_t. The variance of the reverse process, by its
    logarithm, can be (B, 1, 1, 1), too.
    """
    mean, true_mean = (schedule.posterior_mean(x, noisy, timesteps) for x in (predicted, clean))
    divergence = gaussian_kl(true_mean, at(schedule.posterior_log_variance, timesteps), mean, log_var)
    # Both terms are computed for all images, so that the cost does not depend on the timesteps.
    first = (timesteps == 0).view(-1, 1, 1, 1)
    scale = schedule.scaling_factor
    nll = pixel_nll(clean, torch.where(first, mean, clean), torch.where(first, log_var, 0.0), scale)
    return torch.where(first, nll, divergence).mean(dim=(1, 2, 3))


class ConditionalDenoiser(nn.Module):
    """A U-Net and its conditioner as one module, which is optimized, averaged and saved.

    In adversarial training it has a discriminator, too.
    """

    def __init__(self, unet: UNet2DModel, conditioner: SpriteConditioner, discriminator: nn.Module | None = None):
        super().__init__()
        self.unet = unet
        self.conditioner = conditioner
        self.discriminator = discriminator  # of adversarial training

    @property
    def scaling_factor(self) -> float:
        """That of `NoiseSchedule`."""
        return self.unet.config.get("scaling_factor", 1.0)

    def forward(
        self, sample: Tensor, timesteps: Tensor, labels: Mapping[str, Tensor], augmentation: Tensor | None = None
    ) -> Tensor:
        """The prediction, (B, C, S, S), with a learned variance (B, 2C, S, S), for x_t (B, C, S, S) and t (B,).

        For labels and augmentation see `SpriteConditioner.forward`.
        """
        if augmentation is not None:  # models of earlier versions know fewer kinds
            augmentation = augmentation[:, : self.conditioner.config.augmentation_dim]
        embedding = self.conditioner(labels, augmentation)
        return self.unet(sample, timesteps, class_labels=embedding, return_dict=False)[0]


def sample_timesteps(count: int, num_train_timesteps: int, generator: torch.Generator) -> Tensor:
    """Uniformly distributed timesteps, int64 (count,) in [0, num_train_timesteps), on the generator's device.

    There is one in each of `count` equal parts of the range, in random order, which lowers the gradient's variance
    (Kingma et al. 2021, appendix I.1); those of algorithm 1 of Ho et al. 2020 are independent.
    """
    device = generator.device
    order = torch.randperm(count, generator=generator, device=device)
    position = (order + torch.rand(count, generator=generator, device=device, dtype=torch.float64)) / count
    return (position * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)
