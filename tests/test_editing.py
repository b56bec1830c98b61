"""Variations of a sprite, and repainting a part of it."""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image

from tests.drawing import SHAPE, alpha_bar, draw, record_calls, seeded, with_scheduler

CLASSES = [
    DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler,
]  # fmt: skip
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
CLEAN = torch.from_numpy(PIXELS).permute(2, 0, 1)[None].float() / 127.5 - 1
LEFT = torch.zeros(1, 1, 16, 16).index_fill(3, torch.arange(8), 1)  # the left half may change
AS_PICTURE = Image.fromarray((LEFT[0, 0] * 255).byte().numpy())


@pytest.mark.parametrize("scheduler_class", CLASSES)
@pytest.mark.parametrize(("strength", "taken"), [(1, 10), (0.6, 6), (0.3, 3), (0.01, 1), (None, 6)])
def test_the_strength_is_the_share_of_the_steps(pipeline, scheduler_class, strength, taken):
    calls = record_calls(with_scheduler(pipeline, scheduler_class))
    draw(pipeline, "fire", 10, image=PICTURE, strength=strength, guidance_scale=1)
    assert [t for _, t in calls] == list(range(999, 0, -100))[-taken:]


@pytest.mark.parametrize("scheduler_class", CLASSES)
def test_a_variation_starts_from_the_forward_process(pipeline, scheduler_class):
    given: list[torch.Tensor] = []
    with_scheduler(pipeline, scheduler_class).unet.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    draw(pipeline, "fire", 10, image=PICTURE, strength=0.5, generator=seeded(3), guidance_scale=1)
    noise, bar = torch.randn(SHAPE, generator=seeded(3)[0]), alpha_bar(499)
    expected = math.sqrt(bar) * CLEAN + math.sqrt(1 - bar) * noise
    torch.testing.assert_close(given[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mask", [LEFT, AS_PICTURE], ids=["tensor", "picture"])
@pytest.mark.parametrize("scheduler_class", CLASSES)
def test_what_is_not_repainted_stays_to_the_bit(pipeline, scheduler_class, mask):
    with_scheduler(pipeline, scheduler_class)
    found = draw(pipeline, "fire", 10, "pil", image=PICTURE, mask_image=mask, generator=seeded(0))[0]
    pixels = np.asarray(found).astype(int)
    assert np.array_equal(pixels[:, 8:], PIXELS[:, 8:])
    assert (np.abs(pixels[:, :8] - PIXELS[:, :8]) > 0).mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_image": LEFT}, "give image as well"),
        ({"image": PICTURE, "strength": 0}, "strength must be above 0 and at most 1, but is 0"),
        ({"image": PICTURE, "strength": 1.1}, "strength must be above 0"),
        ({"image": PICTURE, "strength": math.nan}, "strength must be above 0"),
        ({"image": PICTURE.resize((8, 16))}, "image is 8x16, but the model draws 16x16"),
        ({"image": PICTURE.convert("RGBA")}, "must be in RGB, but is in RGBA"),
        ({"image": [PICTURE] * 2}, "image must have one an image, 1, but has 2"),
        ({"image": "sprite.png"}, "image must be a PIL image"),
        ({"image": 2 * CLEAN}, "numbers in .-1, 1."),
        ({"image": CLEAN * math.nan}, "image must hold finite numbers"),
        ({"image": CLEAN[0]}, "image must be a tensor of the shape"),
        ({"image": PICTURE, "mask_image": AS_PICTURE.resize((8, 8))}, "mask_image is 8x8, but image is 16x16"),
        ({"image": PICTURE, "mask_image": LEFT[0]}, "mask_image must have the shape"),
        ({"image": PICTURE, "mask_image": 255 * LEFT}, "mask_image must hold numbers from 0 to 1"),
        ({"image": PICTURE, "mask_image": LEFT / 0}, "mask_image must hold numbers from 0 to 1"),
        ({"image": PICTURE, "mask_image": "mask.png"}, "mask_image must be a PIL image or a tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_edited_is_refused_before_the_network_is_asked(pipeline, arguments, message):
    calls = record_calls(pipeline)
    with pytest.raises(ValueError, match=message):
        draw(pipeline, "fire", **arguments)
    assert calls == []


def test_a_scheduler_that_goes_every_step_twice_is_refused(pipeline):
    with_scheduler(pipeline, HeunDiscreteScheduler)
    calls = record_calls(pipeline)
    with pytest.raises(ValueError, match="HeunDiscreteScheduler goes every step twice and cannot begin with image"):
        draw(pipeline, "fire", 4, image=Image.new("RGB", (16, 16)))
    assert calls == []


def test_a_strength_without_a_picture_is_refused(pipeline):
    with pytest.raises(ValueError, match="strength says how far image is taken back to noise; give image as well"):
        pipeline("fire", strength=0.5)


def test_noise_that_is_no_number_is_refused(pipeline):
    with pytest.raises(ValueError, match="latents must hold finite numbers"):
        pipeline("fire", latents=torch.full((1, 3, 16, 16), math.nan))


@pytest.mark.parametrize(
    ("a", "arguments", "reason"),
    [
        ("fire", {"color": "red"}, "takes what is asked for in a and b, .* not as color"),
        ("fire", {"latents": torch.zeros(2, 3, 16, 16)}, "not as latents"),
        (["fire", "ice"], {}, "a and b cannot be lists"),
    ],
)
def test_what_interpolate_does_not_take_is_said(pipeline, a, arguments, reason):
    with pytest.raises(ValueError, match=reason):
        pipeline.interpolate(a, "water", steps=2, **arguments)
