"""Samplers by name: they keep the model's noise schedule, and ask the network as often as they say."""

import inspect

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, SchedulerMixin

from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler, network_evaluations, sampler_name
from tests.conftest import tiny_pipeline
from tests.drawing import draw, record_calls, seeded
from tests.test_schedulers import MEAN, STD, gaussian_pipeline


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_keeps_what_the_model_was_trained_with(name: str) -> None:
    trained = tiny_pipeline().scheduler
    sampler = make_sampler(name, trained)
    assert type(sampler) is SAMPLERS[name] and sampler_name(sampler) == name
    assert torch.equal(sampler.betas, trained.betas)
    assert sampler.config.prediction_type == "v_prediction"
    assert sampler.config.timestep_spacing == "trailing"


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_saved_model_has_the_same_sampler(name: str, tmp_path) -> None:
    trained = tiny_pipeline().scheduler
    trained.save_pretrained(tmp_path)
    loaded = make_sampler(name, DDPMScheduler.from_pretrained(tmp_path))
    one, other = (
        {key: value for key, value in each.config.items() if not key.startswith("_")}
        for each in (make_sampler(name, trained), loaded)
    )
    assert one == other


@pytest.mark.parametrize("before", [*SAMPLERS, "student"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_the_same_whichever_came_before(name: str, before: str) -> None:
    trained = tiny_pipeline().scheduler
    earlier = student_scheduler(trained) if before == "student" else make_sampler(before, trained)
    one, other = (own_settings(make_sampler(name, each)) for each in (trained, earlier))
    assert one == other


def own_settings(sampler: SchedulerMixin) -> dict:
    """What its class knows, not what is only carried along for others."""
    return {key: sampler.config[key] for key in inspect.signature(type(sampler)).parameters}


@pytest.mark.parametrize("steps", [1, 5, 10])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_network_is_asked_as_often_as_is_said(name: str, steps: int) -> None:
    pipeline = tiny_pipeline()
    pipeline.scheduler = make_sampler(name, pipeline.scheduler)
    calls = record_calls(pipeline)
    draw(pipeline, "fire", steps, guidance_scale=1, generator=seeded(0))
    assert len(calls) == network_evaluations(name, steps)
    assert calls[0] == (1, 999) and min(timestep for _, timestep in calls) >= 0


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="There is no scheduler 'euler'. Known: ddpm, ddim, dpmsolver"):
        make_sampler("euler", tiny_pipeline().scheduler)


def test_another_scheduler_is_named_by_its_class() -> None:
    class Own(DPMSolverMultistepScheduler):
        pass

    assert sampler_name(Own()) == "Own"


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "heun"])  # which begins at another noise
def test_a_small_error_of_an_epsilon_network_does_not_become_the_picture(name: str) -> None:
    pipeline = gaussian_pipeline(DDPMScheduler, "epsilon")
    exact, error = pipeline.unet.forward, 0.02 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    pipeline.unet.forward = lambda *asked, **named: (exact(*asked, **named)[0] + error,)
    pipeline.scheduler = make_sampler(name, pipeline.scheduler)
    samples = draw(pipeline, "fire", 20, "latent", generator=seeded(*range(4)), num_images_per_type=4)
    # At the first timestep alpha is 5e-5: unclipped, an error of 0.02 would be one of 400 in the expected picture.
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert samples.std().item() == pytest.approx(STD, rel=0.35)


def test_nothing_is_cut_off_where_no_error_is_amplified() -> None:
    trained = tiny_pipeline().scheduler  # of a network that predicts v
    for name in ("unipc", "dpmsolver++", "deis"):
        assert not make_sampler(name, trained).config.thresholding
