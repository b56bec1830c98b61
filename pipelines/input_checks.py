"""Checks of a call's arguments and of its scheduler, whose messages say what was given and what to do.

A saved model carries a copy of this file.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from torch import Tensor

SAMPLERS: dict[str, type[SchedulerMixin]] = {
    "ddpm": DDPMScheduler,  # ancestral, Ho et al. 2020
    "ddim": DDIMScheduler,  # Song et al. 2021, eta 0
    "dpmsolver++": DPMSolverMultistepScheduler,  # 2M, Lu et al. 2022
    "sde-dpmsolver++": DPMSolverMultistepScheduler,  # its SDE solver, 2M with noise in each step
    "unipc": UniPCMultistepScheduler,  # order 2, Zhao et al. 2023
}
SCHEDULERS = tuple(dict.fromkeys(SAMPLERS.values()))


def one_each(name: str, value: Any, count: int, kinds: Any = list, entry: str = "image") -> list:
    """An argument's value for each image: those of a list, which must be as many, or the same one for all."""
    values = list(value) if isinstance(value, kinds) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must have one entry for each {entry} ({count}), but has {len(values)}.")
    return values


def check_tensor(name: str, tensor: Any, shapes: list[tuple[int, ...]], low: float | None = None) -> None:
    """Raises ValueError unless it is a finite tensor of one of the shapes, with values in [low, 1] if low is given."""
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) not in shapes:
        given = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a tensor of shape {shapes[0]}, but is {given}.")
    if not (tensor.is_floating_point() or (low == 0 and not tensor.is_complex())):  # a mask may be of integers
        raise ValueError(f"{name} must be a tensor of floating-point numbers, but is {tensor.dtype}.")
    if not torch.isfinite(tensor).all() or (low is not None and not ((tensor >= low) & (tensor <= 1)).all()):
        raise ValueError(f"{name} must have finite values" + ("." if low is None else f" in [{low}, 1]."))


def check_names(names: Iterable[str], call: Callable, argument: str, vocabulary: Mapping) -> None:
    """Raises ValueError for further keywords of a call that are no attributes, with the nearest known name.

    `argument` is the call's name of the attribute "type".
    """
    attributes = [name for name in vocabulary if name != "type"]
    for name in [each for each in names if each not in attributes]:
        known = [*inspect.signature(call).parameters][:-1] + attributes  # without that of the further keywords
        near = difflib.get_close_matches(name, known, n=1)
        near = {"prompt": [argument], "type": [argument], "timesteps": ["num_inference_steps"]}.get(name, near)
        hint = f"did you mean {near[0]}?" if near else f"the conditions are {', '.join([argument, *attributes])}."
        raise ValueError(f"Unexpected argument {name}; {hint}")


def is_distilled(scheduler: SchedulerMixin) -> bool:
    """Whether a pipeline with this scheduler is a distilled one, which knows only its own timesteps."""
    return isinstance(scheduler, DPMSolverMultistepScheduler) and scheduler.config.solver_order == 1


def check_scheduler(scheduler: SchedulerMixin, trained: SchedulerMixin, learns_variance: bool) -> None:
    """Raises ValueError if a scheduler gives wrong images with a model that was trained with another one."""
    name, config = type(scheduler).__name__, scheduler.config
    remedy = "create it with from_config(pipeline.scheduler.config)."
    if not isinstance(scheduler, SCHEDULERS):
        raise ValueError(f"{name} is not supported; use one of {', '.join(each.__name__ for each in SCHEDULERS)}.")
    given, own = config.get("prediction_type"), trained.config.get("prediction_type")
    if given != own:
        raise ValueError(f"{name} has prediction_type {given!r}, but the model was trained with {own!r}; {remedy}")
    # With zero-terminal SNR some schedulers change the last alpha_bar so as not to divide by 0.
    alpha_bar, own = scheduler.alphas_cumprod, trained.alphas_cumprod
    if len(alpha_bar) != len(own) or not torch.allclose(alpha_bar, own, atol=1e-5):
        raise ValueError(f"{name} has another noise schedule than the model was trained with; {remedy}")
    wrong = ["use_flow_sigmas"]
    if config.get("beta_schedule") == "squaredcos_cap_v2":  # two of their noise levels would be one timestep
        wrong += ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
    for flag in filter(config.get, wrong):
        raise ValueError(f"{name} with {flag}=True gives wrong images with this model; set {flag}=False.")
    allowed = ("fixed_small", "fixed_small_log", "fixed_large", *["learned_range"] * learns_variance)
    if isinstance(scheduler, DDPMScheduler) and config.variance_type not in allowed:
        raise ValueError(f"{name} has variance_type {config.variance_type!r}; use one of {', '.join(allowed)}.")


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device | str) -> Tensor:
    """Sets and returns a scheduler's timesteps, corrected where diffusers' rounding goes wrong.

    Raises:
        ValueError: If the scheduler gives wrong results with this number of steps.
    """
    name, total = type(scheduler).__name__, scheduler.config.num_train_timesteps
    spacing = scheduler.config.get("timestep_spacing", "leading")
    if isinstance(scheduler, DDIMScheduler) and spacing != "leading":
        # DDIM's step goes back by T // n wherever the next timestep is. An error of up to 2 % a step is not visible.
        possible = [n for n in range(1, total + 1) if total / n - total // n <= 0.02 * total / n]
        if spacing != "trailing" or num_inference_steps not in possible:
            near = sorted(possible, key=lambda n: abs(n - num_inference_steps))[:3]
            raise ValueError(
                f"{name} with timestep_spacing={spacing!r} gives wrong results in {num_inference_steps} steps; use "
                f"'trailing' and one of {sorted(near)} steps, or another scheduler."
            )
    scheduler.set_timesteps(num_inference_steps, device=device)
    if scheduler.timesteps[-1] < 0:
        # "trailing" spacing appends a timestep of -1 for some numbers of steps (61, 103, ...).
        scheduler.timesteps = scheduler.timesteps[:-1]
        sigmas = getattr(scheduler, "sigmas", None)
        if sigmas is not None:
            scheduler.sigmas = torch.cat([sigmas[:num_inference_steps], sigmas[-1:]])
    return scheduler.timesteps
