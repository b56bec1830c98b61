"""What diffusers leaves open in sampling: whose noise is whose, timesteps that can be trusted, a learned variance."""

import math

import torch
from diffusers import DDIMParallelScheduler, DDIMScheduler, DDPMParallelScheduler, DDPMScheduler, SchedulerMixin

ANCESTRAL = (DDPMScheduler, DDPMParallelScheduler)


def image_generators(generator: torch.Generator | list[torch.Generator] | None, count: int) -> list[torch.Generator]:
    """One generator an image.

    Args:
        generator: A list of `count` generators, returned as it is; or a single one, or None for torch's default one.
            A single one that has just been seeded with s gives image i the generator of seed s + i. One that has
            been used gives seeds drawn from it, so that calling again draws new pictures.
        count: Number of images.
    """
    if isinstance(generator, list):
        return generator
    generator = generator or torch.default_generator
    seed = generator.initial_seed()
    fresh = torch.equal(generator.get_state(), torch.Generator(generator.device).manual_seed(seed).get_state())
    drawn = int(torch.randint(2**62, (), generator=generator, device=generator.device))  # drawing marks it as used
    first = seed if fresh else drawn
    return [torch.Generator().manual_seed((first + i) % 2**64) for i in range(count)]


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device) -> torch.Tensor:
    """Sets a scheduler's timesteps, int64 (num_inference_steps,) for most, and returns them.

    With "trailing" spacing diffusers appends, by a rounding error, a timestep of -1 for some numbers of steps (61,
    103, ...), which means nothing to the network. It is taken off again, here and from the noise levels.

    Raises:
        ValueError: If the scheduler cannot do this number of steps, or would go wrong at it.
    """
    name, limit = type(scheduler).__name__, scheduler.config.num_train_timesteps
    spacing = scheduler.config.get("timestep_spacing", "leading")
    if isinstance(scheduler, (DDIMScheduler, DDIMParallelScheduler)) and spacing != "leading":
        # Its step goes back by num_train_timesteps // num_inference_steps, wherever the next timestep lies. The error
        # adds up over the steps; up to 2 % it makes no difference that can be seen.
        possible = [n for n in range(1, limit + 1) if limit / n - limit // n <= 0.02 * limit / n]
        if spacing != "trailing" or num_inference_steps not in possible:
            near = sorted(sorted(possible, key=lambda n: abs(n - num_inference_steps))[:3])
            raise ValueError(
                f"{name} with timestep_spacing={spacing!r} goes wrong at {num_inference_steps} steps: use 'trailing' "
                f"and a number like {', '.join(map(str, near))}, or another scheduler."
            )
    scheduler.set_timesteps(num_inference_steps, device=device)
    if scheduler.timesteps[-1] < 0:
        scheduler.timesteps = scheduler.timesteps[:-1]
        sigmas = getattr(scheduler, "sigmas", None)
        if sigmas is not None:
            if len(sigmas) != num_inference_steps + 2:
                raise ValueError(f"{name} cannot do {num_inference_steps} steps; try {num_inference_steps - 1}.")
            scheduler.sigmas = torch.cat([sigmas[:num_inference_steps], sigmas[-1:]])
    return scheduler.timesteps


def takes_variance(scheduler: SchedulerMixin) -> bool:
    """Whether a scheduler's step wants the network's prediction of the variance beside that of the mean."""
    return isinstance(scheduler, ANCESTRAL) and scheduler.config.variance_type in ("learned", "learned_range")


def alpha_bar_at(scheduler: SchedulerMixin, t: torch.Tensor) -> float:
    """alpha_bar of a scheduler's training at one timestep, which for some solvers lies between two."""
    return scheduler.alphas_cumprod[int(t.round())].item()


def predicted_clean(
    scheduler: SchedulerMixin, prediction: torch.Tensor, t: torch.Tensor, sample: torch.Tensor
) -> torch.Tensor:
    """The clean sample that a prediction means, x_0 (N, C, S, S), not clipped.

    Args:
        scheduler: Says what is predicted.
        prediction: epsilon, v (Salimans & Ho 2022, appendix D) or x_0; what follows its first C channels is left out.
        t: The timestep.
        sample: x_t (N, C, S, S), scaled as the network takes it.
    """
    mean, alpha_bar = prediction[:, : sample.shape[1]], alpha_bar_at(scheduler, t)
    alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if scheduler.config.prediction_type == "sample":
        return mean
    if scheduler.config.prediction_type == "v_prediction":
        return alpha * sample - sigma * mean
    return (sample - sigma * mean) / alpha


def step(
    scheduler: SchedulerMixin, prediction: torch.Tensor, t: torch.Tensor, sample: torch.Tensor, **arguments: object
) -> torch.Tensor:
    """One step of any scheduler, (N, C, S, S); what of a prediction (N, 2C, S, S) it cannot take is left out."""
    if prediction.shape[1] > sample.shape[1] and not takes_variance(scheduler):
        prediction = prediction[:, : sample.shape[1]]
    result = scheduler.step(prediction, t, sample, **arguments)
    if isinstance(scheduler, ANCESTRAL) and t == scheduler.timesteps[-1]:
        # The last step leads to the clean sample. diffusers adds noise to it wherever that timestep is above 0.
        return result.pred_original_sample
    return result.prev_sample
