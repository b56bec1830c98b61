"""What the network is trained to predict, and how the timesteps are weighted. Pure functions.

For the notation see `pokemon_ddpm.noise_schedule`.
"""

import torch

from pokemon_ddpm.noise_schedule import NoiseSchedule

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def add_noise(
    schedule: NoiseSchedule, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """x_t, (B, C, S, S), from x_0 and epsilon (B, C, S, S) and t (B,) (Ho et al. 2020, equation 4)."""
    alpha, sigma = schedule.alpha_sigma(timesteps)
    return alpha * clean + sigma * noise


def target(
    schedule: NoiseSchedule, prediction_type: str, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """What the network should answer at x_t.

    epsilon (Ho et al. 2020, equation 14), v = alpha_t epsilon - sigma_t x_0 (Salimans & Ho 2022, section 4), or x_0.

    Args:
        schedule: The noise schedule.
        prediction_type: "epsilon", "v_prediction" or "sample".
        clean: x_0, (B, C, S, S) in [-1, 1].
        noise: epsilon, (B, C, S, S).
        timesteps: int64 (B,).

    Raises:
        ValueError: If the prediction type is another.
    """
    match prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return clean
        case "v_prediction":
            alpha, sigma = schedule.alpha_sigma(timesteps)
            return alpha * noise - sigma * clean
    raise ValueError(f"prediction_type must be one of {', '.join(PREDICTION_TYPES)}, but is {prediction_type!r}.")


def predicted_clean(
    schedule: NoiseSchedule,
    prediction_type: str,
    prediction: torch.Tensor,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """x_0 as the network's answer at x_t implies it, (B, C, S, S): the inverse of `target`."""
    if prediction_type == "sample":
        return prediction
    alpha, sigma = schedule.alpha_sigma(timesteps)
    if prediction_type == "epsilon":
        return (noisy - sigma * prediction) / alpha
    return alpha * noisy - sigma * prediction


def loss_weight(
    schedule: NoiseSchedule, prediction_type: str, timesteps: torch.Tensor, snr_gamma: float | None
) -> torch.Tensor:
    """Factor on the squared error of the prediction, float32 (B,).

    A weighting is defined by what it makes of the error of x_0: SNR for the simple loss (Ho et al. 2020, equation
    14, an unweighted error of epsilon), min(SNR, gamma) for Min-SNR (Hang et al. 2023, section 3.4). Since the error
    of epsilon is SNR times and that of v is SNR + 1 times the error of x_0, the same denoiser has the same loss
    however its prediction is written.

    With zero-terminal SNR both would be 0 at the last timestep, where sampling starts. The weight of x_0 is then at
    least 1, which is the truncated SNR weighting max(SNR, 1) of Salimans & Ho 2022, section 4.

    Args:
        schedule: The noise schedule.
        prediction_type: "epsilon", "v_prediction" or "sample".
        timesteps: int64 (B,).
        snr_gamma: gamma of Min-SNR, at least 1 with zero-terminal SNR; None for the simple loss.
    """
    snr = schedule.snr
    of_clean = snr if snr_gamma is None else snr.clamp(max=snr_gamma)
    of_clean = torch.where(snr[-1] == 0, of_clean.clamp(min=1), of_clean)
    per_clean_error = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[prediction_type]
    return (of_clean / per_clean_error)[timesteps].float()


def denoising_loss(
    schedule: NoiseSchedule,
    prediction_type: str,
    prediction: torch.Tensor,
    clean: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    snr_gamma: float | None,
) -> torch.Tensor:
    """Weighted mean squared error of each picture, float32 (B,). See `target` and `loss_weight` for the arguments."""
    wanted = target(schedule, prediction_type, clean, noise, timesteps)
    error = (prediction.float() - wanted).square().mean(dim=(1, 2, 3))
    return loss_weight(schedule, prediction_type, timesteps, snr_gamma) * error
