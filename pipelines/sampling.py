"""The two things of sampling that diffusers leaves open: whose noise is whose, and timesteps that can be trusted."""

import torch
from diffusers import DDIMParallelScheduler, DDIMScheduler, SchedulerMixin


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
