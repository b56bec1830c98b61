"""What a pipeline samples with: schedulers, noise, checks of its arguments, and what makes images of its samples."""

from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.schedulers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from PIL import Image
from torch import Tensor

Value = TypeVar("Value")
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


def require(holds: bool, problem: str) -> None:
    """Raises ValueError with what is wrong, unless something holds."""
    if not holds:
        raise ValueError(problem)


def check_scheduler(scheduler: SchedulerMixin, trained: SchedulerMixin, learns_variance: bool) -> None:
    """Raises ValueError if a scheduler gives wrong images with a model that was trained with another one."""
    name, config, wrong = type(scheduler).__name__, scheduler.config, ["use_flow_sigmas"]
    known = ", ".join(kind.__name__ for kind in SCHEDULERS)
    require(isinstance(scheduler, SCHEDULERS), f"{name} is not supported; use one of {known}.")
    if config.get("beta_schedule") == "squaredcos_cap_v2":  # two of their noise levels would be one timestep
        wrong += ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
    given, own = config.get("prediction_type"), trained.config.get("prediction_type")
    # With zero-terminal SNR some schedulers change the last alpha_bar so as not to divide by 0.
    alpha_bar, expected = scheduler.alphas_cumprod, trained.alphas_cumprod
    variances = ("fixed_small", "fixed_small_log", "fixed_large", *["learned_range"] * learns_variance)
    is_same = len(alpha_bar) == len(expected) and torch.allclose(alpha_bar, expected, atol=1e-5)
    variance = config.variance_type if isinstance(scheduler, DDPMScheduler) else "fixed_small"
    for holds, problem in (
        (given == own, f"prediction_type {given!r}, but the model was trained with {own!r}"),
        (is_same, "another noise schedule than the model was trained with"),
        *((not config.get(flag), f"{flag}=True, which gives wrong images with this model") for flag in wrong),
        (variance in variances, f"variance_type {variance!r}, not one of {', '.join(variances)}"),
    ):
        require(holds, f"{name} has {problem}; create it with from_config(pipeline.scheduler.config).")


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device | str) -> Tensor:
    """Sets and returns a scheduler's timesteps, corrected or refused where diffusers' rounding goes wrong."""
    total, spacing = scheduler.config.num_train_timesteps, scheduler.config.get("timestep_spacing", "leading")
    if isinstance(scheduler, DDIMScheduler) and spacing != "leading":
        # DDIM's step goes back by T // n wherever the next timestep is. An error of up to 2 % a step is not visible.
        error = total % num_inference_steps / total  # of a step of total / n
        require(
            spacing == "trailing" and error <= 0.02,
            f"DDIMScheduler with timestep_spacing={spacing!r} gives wrong results in {num_inference_steps} steps; "
            f"use 'trailing' and a divisor of {total}, or another scheduler.",
        )
    scheduler.set_timesteps(num_inference_steps, device=device)
    if scheduler.timesteps[-1] == -1:  # "trailing" appends a timestep of -1 for some numbers of steps (61, 103, ...)
        scheduler.timesteps = scheduler.timesteps[:-1]
        if getattr(scheduler, "sigmas", None) is not None:
            scheduler.sigmas = torch.cat([scheduler.sigmas[:num_inference_steps], scheduler.sigmas[-1:]])
    last, first = scheduler.timesteps.aminmax()
    wrong = f"timesteps from {first:g} to {last:g}, outside {total - 1} to 0; change its steps_offset"
    require(0 <= last <= first < total, f"{type(scheduler).__name__} has {wrong}.")
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
    result = []
    for image in images:
        colors = image[:3]
        opaque = (colors[:, image[3] > 0] if len(image) == 4 else colors).detach()
        white = max(1.0, float(opaque.abs().quantile(WHITE_QUANTILE))) if opaque.numel() else 1.0
        result.append(torch.cat([colors * ((1 + colors.abs() / white**2) / (1 + colors.abs())), image[3:]]))
    return torch.stack(result)


def postprocess(images: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
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
    are_generators = all(isinstance(one, torch.Generator) for one in generators)
    wanted = "a torch.Generator, or a list with one per image"
    require(are_generators, f"generator must be {wanted}, but is {generator!r}.")
    if isinstance(generator, list):
        return generators
    generator = generators[0]
    seed = generator.initial_seed()
    fresh = torch.equal(generator.get_state(), torch.Generator(generator.device).manual_seed(seed).get_state())
    sampled = int(torch.randint(2**62, (), generator=generator, device=generator.device))  # it counts as used from now
    first = seed if fresh else sampled
    return [torch.Generator().manual_seed((first + i) % 2**64) for i in range(count)]


def one_each(name: str, value: Value | list[Value], count: int, entry: str = "image") -> list[Value]:
    """An argument's value for each image: those of a list, which must be as many, or the same one for all."""
    values = list(value) if isinstance(value, list) else [value] * count
    require(len(values) == count, f"{name} must have one entry for each {entry} ({count}), but has {len(values)}.")
    return values


def check_tensor(name: str, tensor: Any, shape: tuple[int, ...], in_range: bool = False) -> None:
    """Raises ValueError unless it is a finite floating-point tensor of the shape, with `in_range` in [-1, 1]."""
    given = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
    require(given == shape, f"{name} must be a tensor of shape {shape}, but is {given}.")
    fits = tensor.is_floating_point() and (tensor.abs() <= (1 if in_range else torch.finfo(tensor.dtype).max)).all()
    within = " in [-1, 1]" * in_range
    require(fits, f"{name} must have finite floating-point values{within}, but is {tensor.dtype}.")
