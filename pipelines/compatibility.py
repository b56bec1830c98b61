"""Schedulers that would crash in the middle, or give wrong pictures without a word, are refused with the reason."""

import diffusers
import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin

from .sampling import ANCESTRAL, takes_variance

# They expect noise levels, networks or arguments of another kind, load all the same, and crash or draw wrong pictures.
WRONG = (
    "IPNDMScheduler",
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "UnCLIPScheduler",
    "DDIMInverseScheduler",
    "CMStochasticIterativeScheduler",
    "PNDMScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "CogVideoXDDIMScheduler",
    "CogVideoXDPMScheduler",
    "DPMSolverMultistepInverseScheduler",
    "RePaintScheduler",
    "LCMScheduler",
    "TCDScheduler",
)
NO_SAMPLE_PREDICTION = ("EulerAncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")


def is_one_of(scheduler: SchedulerMixin, names: tuple[str, ...]) -> bool:
    """Whether a scheduler is of one of diffusers' classes."""
    return isinstance(scheduler, tuple(getattr(diffusers, name) for name in names if hasattr(diffusers, name)))


def check_trained(scheduler: SchedulerMixin, trained: SchedulerMixin) -> None:
    """Refuses a scheduler with another noise schedule or prediction type than a network was trained with.

    Args:
        scheduler: What is to draw.
        trained: What came with the network.

    Raises:
        ValueError: With what differs.
    """
    remedy = "; make it by from_config(pipeline.scheduler.config) of the scheduler that came with the model."
    name, kinds = type(scheduler).__name__, [each.config.get("prediction_type") for each in (scheduler, trained)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{name} expects a network that predicts {kinds[0]}, this one predicts {kinds[1]}{remedy}")
    one, other = (getattr(each, "alphas_cumprod", None) for each in (scheduler, trained))
    if one is None or other is None:
        return
    # Of zero-terminal SNR some keep a trace of the picture at the last timestep, so as not to divide by 0.
    if len(one) != len(other) or not torch.allclose(one, other, atol=1e-5):
        raise ValueError(f"{name} has another noise schedule than the model was trained with{remedy}")


def is_distilled(scheduler: SchedulerMixin) -> bool:
    """Whether a pipeline with this scheduler is a student, which knows no timesteps but its own."""
    return isinstance(scheduler, DPMSolverMultistepScheduler) and scheduler.config.solver_order == 1


def check_student(scheduler: SchedulerMixin, trained: SchedulerMixin, steps: int, own_steps: int) -> None:
    """Refuses to draw with a student at timesteps that it never learned.

    Args:
        scheduler: What is to draw.
        trained: What came with the network.
        steps: In how many steps.
        own_steps: In how many it was distilled.

    Raises:
        ValueError: If they are others.
    """
    if not is_distilled(trained):
        return
    if not is_distilled(scheduler):
        raise ValueError(
            f"This model was distilled to the steps of its own scheduler, and {type(scheduler).__name__} asks for "
            "others; leave the scheduler as it is, or take the teacher."
        )
    if steps != own_steps:
        raise ValueError(
            f"This model was distilled to {own_steps} steps and knows no others; leave num_inference_steps={steps} "
            "out, or take the teacher."
        )


def check_scheduler(scheduler: SchedulerMixin, predicts_variance: bool) -> None:
    """Refuses a scheduler that cannot draw with a DDPM as they are trained here.

    Args:
        scheduler: With its configuration.
        predicts_variance: Whether the network has outputs for the variance.

    Raises:
        ValueError: With the reason and what to take instead.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if not hasattr(scheduler, "alphas_cumprod") or is_one_of(scheduler, WRONG):
        raise ValueError(
            f"{name} does not draw from a network that was trained on discrete timesteps; take DDPMScheduler, "
            "DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler or DEISMultistepScheduler."
        )
    if config.get("use_flow_sigmas"):
        raise ValueError(
            f"{name} with use_flow_sigmas=True goes along noise levels of flow matching, which a DDPM was not trained "
            "on; set use_flow_sigmas=False."
        )
    if config.get("interpolation_type") == "log_linear":
        raise ValueError(
            f'{name} with interpolation_type="log_linear" asks for other noise levels than its timesteps say; set '
            'interpolation_type="linear".'
        )
    for spacing in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        if config.get(spacing) and config.get("beta_schedule") == "squaredcos_cap_v2":
            raise ValueError(
                f"{name} with {spacing}=True asks the cosine schedule twice for the same timestep and crashes or goes "
                f"wrong; set {spacing}=False."
            )
    if config.prediction_type == "epsilon" and config.get("rescale_betas_zero_snr"):
        raise ValueError(
            f"{name} has rescale_betas_zero_snr=True, where the noise alone says nothing of the picture and epsilon "
            "leads to a division by zero; it needs a network that predicts v or the sample."
        )
    if config.prediction_type == "sample" and is_one_of(scheduler, NO_SAMPLE_PREDICTION):
        raise ValueError(f"{name} cannot take a network that predicts the sample; take another scheduler.")
    variance = config.get("variance_type")
    if isinstance(scheduler, ANCESTRAL) and variance in ("learned", "fixed_large_log"):
        raise ValueError(
            f'{name} gives NaN with variance_type="{variance}"; use "fixed_small", "fixed_large", or "learned_range" '
            "where the network predicts the variance."
        )
    if takes_variance(scheduler) and not predicts_variance:
        raise ValueError(
            f"The scheduler's variance_type is {variance!r}, but this network does not predict a variance; use "
            '"fixed_small" or "fixed_large".'
        )
