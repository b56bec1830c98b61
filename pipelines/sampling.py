"""What a pipeline samples with: schedulers, noise, checks of its arguments, and what makes images of its samples."""

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

SAMPLERS: dict[str, type[SchedulerMixin]] = {
    "ddpm": DDPMScheduler,  # ancestral, Ho et al. 2020
    "ddim": DDIMScheduler,  # Song et al. 2021, eta 0
    "dpmsolver++": DPMSolverMultistepScheduler,  # 2M, Lu et al. 2022
    "sde-dpmsolver++": DPMSolverMultistepScheduler,  # its SDE solver, 2M with noise in each step
    "unipc": UniPCMultistepScheduler,  # order 2, Zhao et al. 2023
}
SCHEDULERS = tuple(dict.fromkeys(SAMPLERS.values()))
WHITE_QUANTILE = 0.9  # of `compress_range`


def is_distilled(scheduler: SchedulerMixin) -> bool:
    """Whether a pipeline with this scheduler is a distilled one, which knows only its own timesteps."""
    return isinstance(scheduler, DPMSolverMultistepScheduler) and scheduler.config.solver_order == 1


def check_scheduler(scheduler: SchedulerMixin, trained: SchedulerMixin, learns_variance: bool) -> None:
    """Raises ValueError if a scheduler gives wrong images with a model that was trained with another one."""
    name, config, wrong = type(scheduler).__name__, scheduler.config, ["use_flow_sigmas"]
    if not isinstance(scheduler, SCHEDULERS):
        raise ValueError(f"{name} is not supported; use one of {', '.join(each.__name__ for each in SCHEDULERS)}.")
    if config.get("beta_schedule") == "squaredcos_cap_v2":  # two of their noise levels would be one timestep
        wrong += ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
    given, own = config.get("prediction_type"), trained.config.get("prediction_type")
    # With zero-terminal SNR some schedulers change the last alpha_bar so as not to divide by 0.
    alpha_bar, expected = scheduler.alphas_cumprod, trained.alphas_cumprod
    variances = ("fixed_small", "fixed_small_log", "fixed_large", *["learned_range"] * learns_variance)
    if given != own:
        problem = f"prediction_type {given!r}, but the model was trained with {own!r}"
    elif len(alpha_bar) != len(expected) or not torch.allclose(alpha_bar, expected, atol=1e-5):
        problem = "another noise schedule than the model was trained with"
    elif flags := [flag for flag in wrong if config.get(flag)]:
        problem = f"{flags[0]}=True, which gives wrong images with this model"
    elif isinstance(scheduler, DDPMScheduler) and config.variance_type not in variances:
        problem = f"variance_type {config.variance_type!r}, not one of {', '.join(variances)}"
    else:
        return
    raise ValueError(f"{name} has {problem}; create it with from_config(pipeline.scheduler.config).")


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device | str) -> Tensor:
    """Sets and returns a scheduler's timesteps, corrected or refused where diffusers' rounding goes wrong."""
    total, spacing = scheduler.config.num_train_timesteps, scheduler.config.get("timestep_spacing", "leading")
    if isinstance(scheduler, DDIMScheduler) and spacing != "leading":
        # DDIM's step goes back by T // n wherever the next timestep is. An error of up to 2 % a step is not visible.
        count = num_inference_steps
        if spacing != "trailing" or total / count - total // count > 0.02 * total / count:
            raise ValueError(
                f"{type(scheduler).__name__} with timestep_spacing={spacing!r} gives wrong results in {count} steps; "
                f"use 'trailing' and a divisor of {total}, or another scheduler."
            )
    scheduler.set_timesteps(num_inference_steps, device=device)
    if scheduler.timesteps[-1] == -1:  # "trailing" appends a timestep of -1 for some numbers of steps (61, 103, ...)
        scheduler.timesteps = scheduler.timesteps[:-1]
        if getattr(scheduler, "sigmas", None) is not None:
            scheduler.sigmas = torch.cat([scheduler.sigmas[:num_inference_steps], scheduler.sigmas[-1:]])
    last, first = scheduler.timesteps.aminmax()
    if not 0 <= last <= first < total:
        wrong = f"timesteps from {first:g} to {last:g}, outside {total - 1} to 0; change its steps_offset"
        raise ValueError(f"{type(scheduler).__name__} has {wrong}.")
    return scheduler.timesteps


def predicted_original_sample(
    prediction_type: str, prediction: Tensor, sample: Tensor, alpha: Tensor | float, sigma: Tensor | float
) -> Tensor:
    """x_0 (N, C, S, S) from the network's output at `sample`, x_t = alpha x_0 + sigma epsilon, not clipped.

    The prediction type is "epsilon" (Ho et al. 2020), "v_prediction" (Salimans & Ho 2022, appendix D) or "sample";
    alpha and sigma are numbers or (N, 1, 1, 1).
    """
    if prediction_type == "sample":
        return prediction
    if prediction_type == "v_prediction":
        return alpha * sample - sigma * prediction
    return (sample - sigma * prediction) / alpha


def compress_range(images: Tensor) -> Tensor:
    """Images (N, C, S, S) with the colors that guidance has driven out of [-1, 1] brought back; alpha is not changed.

    Clipping makes them glaring, and light bodies flat white. As for dynamic thresholding (Saharia et al. 2022, section
    2.3), w is a quantile of the absolute values of the opaque part of each image, at least 1. Of each value v

        v (1 + |v| / w^2) / (1 + |v|)

    (Reinhard et al. 2002, equation 4) 0 stays 0, w becomes 1, and an image with w = 1 stays as it is.
    """
    result = images.clone()
    for image in result:
        colors = image[:3]
        opaque = colors[:, image[3] > 0] if len(image) == 4 else colors
        white = max(1.0, float(opaque.abs().quantile(WHITE_QUANTILE))) if opaque.numel() else 1.0
        image[:3] = colors * ((1 + colors.abs() / white**2) / (1 + colors.abs()))
    return result


def postprocess(images: Tensor, output_type: str) -> Any:
    """Images (N, C, S, S) in about [-1, 1] as "pil", "np" or "pt", in range by `compress_range`."""
    images = compress_range(images)
    if output_type == "pil" and images.shape[1] == 4:
        opaque = images[:, 3:] > 0  # What is transparent is white.
        images = torch.cat([torch.where(opaque, images[:, :3], 1.0), torch.where(opaque, 1.0, -1.0)], dim=1)
    return VaeImageProcessor().postprocess(images, output_type)


def image_generators(generator: torch.Generator | list[torch.Generator] | None, count: int) -> list[torch.Generator]:
    """One generator for each image.

    A single generator that was just seeded with s gives image i the generator of seed s + i. A used one, or None for
    torch's default generator, gives seeds sampled from it, so that the next call makes new images.
    """
    generators = one_each("generator", torch.default_generator if generator is None else generator, count)
    if not all(isinstance(each, torch.Generator) for each in generators):
        raise ValueError(f"generator must be a torch.Generator, or a list with one per image, but is {generator!r}.")
    if isinstance(generator, list):
        return generators
    generator = generators[0]
    seed = generator.initial_seed()
    fresh = torch.equal(generator.get_state(), torch.Generator(generator.device).manual_seed(seed).get_state())
    sampled = int(torch.randint(2**62, (), generator=generator, device=generator.device))  # it counts as used from now
    first = seed if fresh else sampled
    return [torch.Generator().manual_seed((first + i) % 2**64) for i in range(count)]


def one_each(name: str, value: Any, count: int, entry: str = "image") -> list:
    """An argument's value for each image: those of a list, which must be as many, or the same one for all."""
    values = list(value) if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must have one entry for each {entry} ({count}), but has {len(values)}.")
    return values


def check_tensor(name: str, tensor: Any, shape: tuple[int, ...], in_range: bool = False) -> None:
    """Raises ValueError unless it is a finite floating-point tensor of the shape, with `in_range` in [-1, 1]."""
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
        given = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a tensor of shape {shape}, but is {given}.")
    if not (tensor.is_floating_point() and (tensor.abs() <= (1 if in_range else torch.finfo(tensor.dtype).max)).all()):
        within = " in [-1, 1]" if in_range else ""
        raise ValueError(f"{name} must have finite floating-point values{within}, but is {tensor.dtype}.")
