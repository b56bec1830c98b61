"""Between the steps: the clean sprite as predicted, and the end of a call before its last step."""

import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)

from tests.conftest import tiny_pipeline
from tests.drawing import SHAPE, alpha_bar, draw, record_calls, seeded, with_scheduler


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_predicted_clean_sprite_follows_its_formula(kind):
    """x_t = alpha x_0 + sigma epsilon and v = alpha epsilon - sigma x_0, solved for x_0."""
    pipeline = with_scheduler(tiny_pipeline(kind), DDIMScheduler)
    asked, seen = [], []
    pipeline.unet.register_forward_hook(lambda _, args, output: asked.append((args[0], int(args[1]), output[0])))
    draw(
        pipeline, "fire", 4, generator=seeded(0), guidance_scale=1,
        callback_on_step_end=lambda _, step, t, tensors: seen.append(tensors["pred_original_sample"].clone()),
        callback_on_step_end_tensor_inputs=["pred_original_sample"],
    )  # fmt: skip
    assert len(seen) == 4
    for (x, t, output), found in list(zip(asked, seen, strict=True))[1:]:  # at 999 there is hardly any signal
        alpha, sigma = math.sqrt(alpha_bar(t)), math.sqrt(1 - alpha_bar(t))
        formulas = {
            "epsilon": (x - sigma * output) / alpha,
            "v_prediction": alpha * x - sigma * output,
            "sample": output,
        }
        torch.testing.assert_close(found, formulas[kind], rtol=1e-3, atol=1e-3)


def interrupting(step_to_end: int):
    def callback(pipeline, step, _, tensors):
        pipeline._interrupt = step == step_to_end
        return {}

    return callback


@pytest.mark.parametrize("last", [0, 2])
def test_an_interrupted_call_gives_the_pictures_as_they_are(pipeline, last):
    states: list[torch.Tensor] = []
    draw(pipeline, "fire", 5, generator=seeded(0),
         callback_on_step_end=lambda _, step, t, tensors: states.append(tensors["latents"].clone()))  # fmt: skip
    calls = record_calls(pipeline)
    found = draw(pipeline, "fire", 5, "latent", generator=seeded(0), callback_on_step_end=interrupting(last))
    assert len(calls) == last + 1 and found.shape == (1, *SHAPE)
    assert torch.equal(found, states[last])


def test_the_call_after_an_interrupted_one_goes_to_its_end(pipeline):
    whole = draw(pipeline, "fire", 4, generator=seeded(0))
    draw(pipeline, "fire", 4, callback_on_step_end=interrupting(1))
    assert torch.equal(draw(pipeline, "fire", 4, generator=seeded(0)), whole)


@pytest.mark.parametrize(
    "scheduler_class", [DPMSolverMultistepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler]
)
def test_a_solver_forgets_the_steps_of_an_interrupted_call(pipeline, scheduler_class):
    with_scheduler(pipeline, scheduler_class)
    whole = draw(pipeline, "fire", 4, generator=seeded(0))
    draw(pipeline, "water", 4, generator=seeded(9), callback_on_step_end=interrupting(2))
    assert torch.equal(draw(pipeline, "fire", 4, generator=seeded(0)), whole)


def test_the_predicted_clean_sprite_is_the_guided_one():
    pipeline = with_scheduler(tiny_pipeline("sample"), DDIMScheduler)
    asked, seen = [], []
    pipeline.unet.register_forward_hook(lambda _, args, output: asked.append(output[0]))
    draw(
        pipeline, "fire", 2, guidance_scale=3,
        callback_on_step_end=lambda _, step, t, tensors: seen.append(tensors["pred_original_sample"].clone()),
        callback_on_step_end_tensor_inputs=["latents", "pred_original_sample"],
    )  # fmt: skip
    for (without, told), found in zip(asked, seen, strict=True):
        torch.testing.assert_close(found[0], without + 3 * (told - without), rtol=1e-4, atol=1e-5)


def test_replaced_latents_are_what_the_next_step_begins_with(pipeline):
    """Without noise on the way and from the same latents, it ends as another call that has been there."""
    with_scheduler(pipeline, DDIMScheduler)
    states: list[torch.Tensor] = []

    def keep(_, step, t, tensors):
        states.append(tensors["latents"].clone())

    def replace(_, step, t, tensors):
        return {"latents": states[1]} if step == 1 else None

    other = draw(pipeline, "fire", 4, "latent", generator=seeded(1), callback_on_step_end=keep)
    found = draw(pipeline, "fire", 4, "latent", generator=seeded(0), callback_on_step_end=replace)
    assert torch.equal(found, other)
