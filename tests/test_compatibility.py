"""Schedulers that would crash in the middle or draw something wrong are refused, the others draw."""

import diffusers
import pytest

from pokemon_ddpm.distillation import student_scheduler
from tests.conftest import tiny_pipeline
from tests.drawing import draw, record_calls, trained_with

NOT_DISCRETE = "does not draw from a network that was trained on discrete timesteps; take DDPMScheduler"


@pytest.mark.parametrize(
    ("name", "kind", "settings", "reason"),
    [
        *((name, "epsilon", {}, NOT_DISCRETE) for name in (
            "IPNDMScheduler", "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "UnCLIPScheduler",
            "DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler", "PNDMScheduler", "RePaintScheduler",
            "CMStochasticIterativeScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler",
            "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler", "LCMScheduler", "TCDScheduler",
        )),
        *((f"{solver}Scheduler", "v_prediction", {f"use_{kind}_sigmas": True}, "asks the cosine schedule twice")
          for kind in ("karras", "exponential", "beta")
          for solver in ("DPMSolverMultistep", "UniPCMultistep", "DEISMultistep", "HeunDiscrete")),
        ("DPMSolverMultistepScheduler", "v_prediction", {"use_flow_sigmas": True}, "noise levels of flow matching"),
        ("UniPCMultistepScheduler", "v_prediction", {"use_flow_sigmas": True}, "noise levels of flow matching"),
        ("EulerDiscreteScheduler", "epsilon", {"interpolation_type": "log_linear"}, "other noise levels"),
        ("DDIMScheduler", "epsilon", {"rescale_betas_zero_snr": True}, "a division by zero"),
        ("EulerAncestralDiscreteScheduler", "sample", {}, "cannot take a network that predicts the sample"),
        ("KDPM2DiscreteScheduler", "sample", {}, "cannot take a network that predicts the sample"),
        ("KDPM2AncestralDiscreteScheduler", "sample", {}, "cannot take a network that predicts the sample"),
        ("DDPMScheduler", "epsilon", {"variance_type": "learned"}, 'gives NaN with variance_type="learned"'),
        ("DDPMScheduler", "epsilon", {"variance_type": "fixed_large_log"}, "gives NaN"),
        ("DDPMScheduler", "epsilon", {"variance_type": "learned_range"}, "does not predict a variance"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_refused_before_the_network_is_asked(name, kind, settings, reason):
    pipeline = tiny_pipeline(kind)
    config = {k: v for k, v in pipeline.scheduler.config.items() if name != "UnCLIPScheduler" or k == "clip_sample"}
    pipeline.scheduler = getattr(diffusers, name).from_config(config, **settings)
    calls = record_calls(pipeline)
    with pytest.raises(ValueError, match=f"^{name} .*{reason}|^The scheduler's variance_type .*{reason}"):
        draw(pipeline, "fire")
    assert calls == []


@pytest.mark.parametrize(
    "name",
    ["DDPM", "DDIM", "DPMSolverMultistep", "UniPCMultistep", "DEISMultistep", "EulerDiscrete", "HeunDiscrete"],
)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_what_fits_draws(name, kind):
    pipeline = tiny_pipeline(kind)
    pipeline.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipeline.scheduler.config)
    assert draw(pipeline, "fire", 4, "latent").isfinite().all()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DPMSolverMultistep", {"use_karras_sigmas": True, "beta_schedule": "linear"}),
        ("DPMSolverMultistep", {"use_karras_sigmas": False}),
        ("DDIM", {"rescale_betas_zero_snr": True}),
        ("EulerAncestralDiscrete", {}),
        ("DDPM", {"variance_type": "fixed_large"}),
    ],
    ids=str,
)
def test_what_only_resembles_it_draws(pipeline, name, settings):
    scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipeline.scheduler.config, **settings)
    assert draw(trained_with(pipeline, scheduler), "fire", 4, "latent").isfinite().all()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"beta_schedule": "linear"}, "another noise schedule"),
        ({"num_train_timesteps": 500}, "another noise schedule"),
        ({"rescale_betas_zero_snr": True}, "another noise schedule"),
        ({"prediction_type": "epsilon"}, "expects a network that predicts epsilon, this one predicts v_prediction"),
    ],
)
def test_another_training_than_the_networks_is_refused(pipeline, settings, reason):
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, **settings)
    calls = record_calls(pipeline)
    with pytest.raises(ValueError, match=reason):
        draw(pipeline, "fire")
    assert calls == []


def test_a_student_draws_at_the_timesteps_that_it_learned(pipeline):
    student = trained_with(pipeline, student_scheduler(pipeline.scheduler))
    student.register_to_config(num_inference_steps=4, guidance_scale=1.0)
    calls = record_calls(student)
    with pytest.raises(ValueError, match="distilled to 4 steps and knows no others; leave num_inference_steps=16 out"):
        draw(student, "fire", 16)
    own = student.scheduler
    student.scheduler = diffusers.UniPCMultistepScheduler.from_config(own.config)
    with pytest.raises(ValueError, match="UniPCMultistepScheduler asks for others; leave the scheduler as it is"):
        draw(student, "fire", 4)
    assert calls == []
    student.scheduler = own
    assert draw(student, "fire", 4, "latent").isfinite().all()
