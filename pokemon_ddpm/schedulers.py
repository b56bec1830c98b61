"""The samplers that commands and benchmarks know by name: diffusers' schedulers on a model's noise schedule."""

import inspect
from typing import Any

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

SAMPLERS: dict[str, type[SchedulerMixin]] = {
    "ddpm": DDPMScheduler,  # ancestral, Ho et al. 2020
    "ddim": DDIMScheduler,  # Song et al. 2021, eta 0
    "dpmsolver++": DPMSolverMultistepScheduler,  # 2M, Lu et al. 2022
    "unipc": UniPCMultistepScheduler,  # order 2, Zhao et al. 2023
    "deis": DEISMultistepScheduler,  # order 2, Zhang & Chen 2023
    "heun": HeunDiscreteScheduler,  # Karras et al. 2022, algorithm 1
}

# One solver's settings would be handed on to the next, which has others of the same name or cannot take them.
SETTINGS: dict[str, dict[str, str | int | bool]] = {
    "dpmsolver++": {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    "unipc": {"solver_order": 2, "solver_type": "bh2"},
    "deis": {"algorithm_type": "deis", "solver_order": 2, "solver_type": "logrho"},
}


def make_sampler(name: str, trained: SchedulerMixin) -> SchedulerMixin:
    """A sampler on the noise schedule that a model was trained with.

    Of a network that predicts epsilon, the expected clean picture is cut off at black and white in each step, as DDPM
    and DDIM do by default. It is (x_t - sigma epsilon) / alpha, and the cosine's alpha begins below 1e-4, so that the
    least error of epsilon would become all of the picture.

    Args:
        name: A key of `SAMPLERS`.
        trained: Any scheduler of the model.

    Raises:
        ValueError: If there is no such sampler.
    """
    if name not in SAMPLERS:
        raise ValueError(f"There is no scheduler {name!r}. Known: {', '.join(SAMPLERS)}.")
    sampler, settings = SAMPLERS[name], dict(SETTINGS.get(name, {}))
    # Those that know `clip_sample` take it from the trained scheduler.
    if "clip_sample" not in inspect.signature(sampler).parameters:
        settings["thresholding"] = trained.config.prediction_type == "epsilon"
    return sampler.from_config(whole_config(trained), **settings)


def whole_config(scheduler: SchedulerMixin) -> dict[str, Any]:
    """What a scheduler is, for another class to be made of it, as it would be once saved and loaded.

    Of a scheduler that was never saved, diffusers would drop what its class has by default, and so lose that the model
    was trained with it.
    """
    return {key: value for key, value in scheduler.config.items() if key != "_use_default_values"}


def sampler_name(scheduler: SchedulerMixin) -> str:
    """The name of a scheduler's class in `SAMPLERS`, or the class's own name."""
    return next((name for name, cls in SAMPLERS.items() if type(scheduler) is cls), type(scheduler).__name__)


def network_evaluations(name: str, num_inference_steps: int) -> int:
    """How many times a sampler asks the network: Heun's method twice a step, but once at the last."""
    return 2 * num_inference_steps - 1 if name == "heun" else num_inference_steps
