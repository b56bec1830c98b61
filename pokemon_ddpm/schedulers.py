"""The samplers by name: diffusers' schedulers with the noise schedule of a model."""

import inspect
from typing import Any

from diffusers import SchedulerMixin

from pokemon_ddpm.pipelines.input_checks import SAMPLERS

# Without these, `from_config` would pass one solver's settings on to another.
SETTINGS: dict[str, dict[str, str | int | bool]] = {
    "dpmsolver++": {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    "sde-dpmsolver++": {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    "unipc": {"solver_order": 2, "solver_type": "bh2"},
    "deis": {"algorithm_type": "deis", "solver_order": 2, "solver_type": "logrho"},
}


def make_sampler(name: str, trained: SchedulerMixin) -> SchedulerMixin:
    """A sampler, by its name in `SAMPLERS`, with the noise schedule of any scheduler of a trained model.

    If the network predicts epsilon, the predicted x_0 is clipped in each step, as DDPM and DDIM do by default: it is
    (x_t - sigma epsilon) / alpha, and the cosine's alpha begins below 1e-4.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in SAMPLERS:
        raise ValueError(f"Unknown scheduler {name!r}. Known: {', '.join(SAMPLERS)}.")
    sampler, settings = SAMPLERS[name], dict(SETTINGS.get(name, {}))
    # Schedulers with `clip_sample` have it from the trained scheduler's configuration.
    if "clip_sample" not in inspect.signature(sampler).parameters:
        settings["thresholding"] = trained.config.prediction_type == "epsilon"
    return sampler.from_config(full_config(trained), **settings)


def full_config(scheduler: SchedulerMixin) -> dict[str, Any]:
    """A scheduler's configuration with its defaults, which `from_config` of another class would replace by its own."""
    return {key: value for key, value in scheduler.config.items() if key != "_use_default_values"}


def sampler_name(scheduler: SchedulerMixin) -> str:
    """The name in `SAMPLERS` of a scheduler's class, or of its algorithm; otherwise the class's own name."""
    algorithm = scheduler.config.get("algorithm_type")
    names = [name for name, cls in SAMPLERS.items() if type(scheduler) is cls]
    return algorithm if algorithm in names else names[0] if names else type(scheduler).__name__
