"""What the network is trained to predict, and how the timesteps are weighted. Pure functions.

x_0 is a clean picture, epsilon unit Gaussian noise, and the forward process (Ho et al. 2020, equation 4)

    x_t = alpha_t x_0 + sigma_t epsilon,   alpha_t = sqrt(alpha_bar_t),   sigma_t = sqrt(1 - alpha_bar_t).
"""

import torch
from diffusers import DDPMScheduler


def snr(scheduler: DDPMScheduler, timesteps: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise ratio alpha_t^2 / sigma_t^2 of timesteps (B,), float32 (B,) (Kingma et al. 2021, equation 2)."""
    alpha_bar = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    return alpha_bar / (1 - alpha_bar)


def target(
    scheduler: DDPMScheduler, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """What the network should answer at x_t, by the scheduler's prediction type.

    epsilon (Ho et al. 2020), or v = alpha_t epsilon - sigma_t x_0 (Salimans & Ho 2022, section 4).

    Args:
        scheduler: Its configuration names the prediction type.
        clean: x_0, (B, C, S, S) in [-1, 1].
        noise: epsilon, (B, C, S, S).
        timesteps: int64 (B,).

    Raises:
        ValueError: If the prediction type is neither.
    """
    match scheduler.config.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return scheduler.get_velocity(clean, noise, timesteps)
        case other:
            raise ValueError(f"There is no training objective for prediction_type {other!r}.")


def loss_weight(scheduler: DDPMScheduler, timesteps: torch.Tensor, snr_gamma: float | None) -> torch.Tensor:
    """Factor on the squared error of the prediction, (B,).

    A weighting is defined by what it makes of the error of x_0: SNR for the simple loss (Ho et al. 2020, equation
    14, an unweighted error of epsilon), min(SNR, gamma) for Min-SNR (Hang et al. 2023, section 3.4). Since the error
    of epsilon is SNR times and that of v is SNR + 1 times the error of x_0, the same denoiser has the same loss
    however its prediction is written.

    Args:
        scheduler: Its configuration names the prediction type.
        timesteps: int64 (B,).
        snr_gamma: gamma of Min-SNR; None for the simple loss.
    """
    ratio = snr(scheduler, timesteps)
    weight_of_x0 = ratio if snr_gamma is None else ratio.clamp(max=snr_gamma)
    return weight_of_x0 / (ratio if scheduler.config.prediction_type == "epsilon" else ratio + 1)


def denoising_loss(
    scheduler: DDPMScheduler,
    prediction: torch.Tensor,
    clean: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    snr_gamma: float | None,
) -> torch.Tensor:
    """Weighted mean squared error of each picture, float32 (B,). See `target` and `loss_weight` for the arguments."""
    error = (prediction.float() - target(scheduler, clean, noise, timesteps)).square().mean(dim=(1, 2, 3))
    return loss_weight(scheduler, timesteps, snr_gamma) * error


def sample_timesteps(count: int, num_train_timesteps: int, generator: torch.Generator, sampling: str) -> torch.Tensor:
    """Draws timesteps, int64 (count,) in [0, num_train_timesteps), each uniformly distributed.

    Args:
        count: How many.
        num_train_timesteps: T.
        generator: Where from; the result lies on its device.
        sampling: "uniform": independent (Algorithm 1 of Ho et al. 2020). "stratified": the i-th lies in the i-th of
            `count` equal parts of the range, in random order, which lowers the variance of the loss's gradient.
    """
    device = generator.device
    if sampling == "uniform":
        return torch.randint(num_train_timesteps, (count,), generator=generator, device=device)
    order = torch.randperm(count, generator=generator, device=device)
    position = (order + torch.rand(count, generator=generator, device=device, dtype=torch.float64)) / count
    return (position * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)
