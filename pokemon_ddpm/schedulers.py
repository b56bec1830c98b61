"""The samplers that commands and benchmarks know by name: diffusers' schedulers on a model's noise schedule."""

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


def make_sampler(name: str, trained: SchedulerMixin) -> SchedulerMixin:
    """A sampler on the noise schedule that a model was trained with.

    Args:
        name: A key of `SAMPLERS`.
        trained: Any scheduler of the model.

    Raises:
        ValueError: If there is no such sampler.
    """
    if name not in SAMPLERS:
        raise ValueError(f"There is no scheduler {name!r}. Known: {', '.join(SAMPLERS)}.")
    # What the model's scheduler left at its own class's default is kept too, as it is once saved and loaded.
    config = {key: value for key, value in trained.config.items() if key != "_use_default_values"}
    return SAMPLERS[name].from_config(config)


def sampler_name(scheduler: SchedulerMixin) -> str:
    """The name of a scheduler's class in `SAMPLERS`, or the class's own name."""
    return next((name for name, cls in SAMPLERS.items() if type(scheduler) is cls), type(scheduler).__name__)


def network_evaluations(name: str, num_inference_steps: int) -> int:
    """How many times a sampler asks the network: Heun's method twice a step, but once at the last."""
    return 2 * num_inference_steps - 1 if name == "heun" else num_inference_steps
