"""The noise schedule: diffusers' scheduler for it, and its quantities as tables.

x_0 is a clean picture, epsilon unit Gaussian noise, and the forward process (Ho et al. 2020, equation 4)

    x_t = alpha_t x_0 + sigma_t epsilon,   alpha_t = sqrt(alpha_bar_t),   sigma_t = sqrt(1 - alpha_bar_t).

The papers count t from 1 to T, the code from 0 to T - 1.
"""

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, SchedulerMixin

BETA_SCHEDULES = ("squaredcos_cap_v2", "linear")
VARIANCE_TYPES = ("fixed_small", "fixed_large", "learned_range")


def make_scheduler(
    num_train_timesteps: int = 1000,
    beta_schedule: str = "squaredcos_cap_v2",
    prediction_type: str = "v_prediction",
    variance_type: str = "fixed_small",
    rescale_betas_zero_snr: bool = False,
) -> DDPMScheduler:
    """diffusers' scheduler with the settings that this project trains with.

    Args:
        num_train_timesteps: T.
        beta_schedule: "squaredcos_cap_v2": the cosine of Nichol & Dhariwal 2021, equation 17. "linear": beta from 1e-4
            to 0.02 at T = 1,000 (Ho et al. 2020, section 4), for another T so that the same noise is added in all.
        prediction_type: "epsilon", "v_prediction" or "sample".
        variance_type: Of the reverse process: "fixed_small" (beta_tilde_t) or "fixed_large" (beta_t), section 3.2 of
            Ho et al. 2020; "learned_range" (Nichol & Dhariwal 2021, equation 15).
        rescale_betas_zero_snr: Whether to end at pure noise (Lin et al. 2023, algorithm 1).

    Raises:
        ValueError: If T is too small for the linear schedule.
    """
    scale = 1000 / num_train_timesteps
    if beta_schedule == "linear" and 0.02 * scale >= 1:
        raise ValueError(f"The linear schedule needs more than 20 timesteps, not {num_train_timesteps}.")
    return DDPMScheduler(
        num_train_timesteps=num_train_timesteps,
        beta_schedule=beta_schedule,
        beta_start=1e-4 * scale,
        beta_end=0.02 * scale,
        prediction_type=prediction_type,
        variance_type=variance_type,
        rescale_betas_zero_snr=rescale_betas_zero_snr,
        timestep_spacing="trailing",  # few-step sampling then starts at pure noise, where training ended
    )


@dataclass(frozen=True)
class NoiseSchedule:
    """Tables of a noise schedule, all float64 (T,), on one device.

    In float32, 1 - alpha_bar would keep three digits only at the first timesteps.

    Attributes:
        beta: beta_t.
        alpha_bar: Product of 1 - beta up to t.
        alpha_bar_before: alpha_bar_{t-1}, 1 at the first timestep.
    """

    beta: torch.Tensor
    alpha_bar: torch.Tensor
    alpha_bar_before: torch.Tensor

    @classmethod
    def of(cls, scheduler: SchedulerMixin, device: torch.device | str = "cpu") -> "NoiseSchedule":
        """The tables of one of diffusers' discrete-time schedulers."""
        beta = scheduler.betas.double().cpu()
        alpha_bar = torch.cumprod(1 - beta, dim=0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        # MPS has no float64.
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        return cls(*(table.to(device, dtype) for table in (beta, alpha_bar, before)))

    def __len__(self) -> int:
        return len(self.beta)

    @property
    def snr(self) -> torch.Tensor:
        """Signal-to-noise ratio alpha_t^2 / sigma_t^2 (Kingma et al. 2021, equation 2)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def posterior_variance(self) -> torch.Tensor:
        """beta_tilde_t, the variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, equation 7); 0 at the first."""
        return (1 - self.alpha_bar_before) / (1 - self.alpha_bar) * self.beta

    def alpha_sigma(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """alpha_t and sigma_t of timesteps (B,), float32 (B, 1, 1, 1)."""
        alpha_bar = at(self.alpha_bar, timesteps)
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()


def at(table: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Values of a table (T,) at timesteps (B,), as (B, 1, 1, 1) to go with pictures."""
    return table[timesteps].view(-1, 1, 1, 1)
