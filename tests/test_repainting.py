"""Variations and repainting against closed forms: the noise of what stays, and where a variation ends."""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image

from tests.drawing import SHAPE, alpha_bar, draw, record_calls, seeded, with_scheduler
from tests.test_schedulers import MEAN, STD, gaussian_pipeline

SOLVERS = [DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler]
PIXELS = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
PICTURES = [Image.fromarray(pixels) for pixels in PIXELS]
CLEAN = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 127.5 - 1
LEFT = torch.zeros(1, 1, 16, 16).index_fill(3, torch.arange(8), 1)


@pytest.mark.parametrize("scheduler_class", [DDPMScheduler, *SOLVERS])
def test_what_stays_has_the_noise_of_each_timestep(pipeline, scheduler_class):
    """Lugmayr et al. 2022, equation 8a, with one noise all the way."""
    given: list[tuple[torch.Tensor, int]] = []
    with_scheduler(pipeline, scheduler_class).unet.register_forward_pre_hook(
        lambda _, args: given.append((args[0], int(args[1])))
    )
    draw(pipeline, "fire", 5, image=PICTURES[0], mask_image=LEFT, generator=seeded(3), guidance_scale=1)
    noise = torch.randn(SHAPE, generator=seeded(3)[0])
    assert [t for _, t in given] == [999, 799, 599, 399, 199]  # with a mask the strength is 1
    for sample, t in given:
        expected = math.sqrt(alpha_bar(t)) * CLEAN[:1] + math.sqrt(1 - alpha_bar(t)) * noise
        torch.testing.assert_close(sample[..., 8:], expected[..., 8:], rtol=1e-3, atol=1e-3)
    assert (given[-1][0] - expected)[..., :8].abs().max() > 0.1  # the other half has gone its own way


@pytest.mark.parametrize("scheduler_class", SOLVERS)
@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_a_variation_ends_where_the_flow_leads(scheduler_class, strength):
    """For data N(mean, std^2) the probability flow (Song et al. 2021) keeps how many deviations a pixel lies away:
    x_0 = mean + std (x_t - a mean) / sqrt(a^2 std^2 + b^2).
    """
    clean = 2 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 1
    pipeline = gaussian_pipeline(scheduler_class)
    found = draw(pipeline, "fire", 100, "latent", image=clean, strength=strength, generator=seeded(3))
    bar = alpha_bar(pipeline.unet.timesteps[0])
    start = math.sqrt(bar) * clean + math.sqrt(1 - bar) * torch.randn(3, 64, 64, generator=seeded(3)[0])
    expected = MEAN + STD * (start - math.sqrt(bar) * MEAN) / math.sqrt(bar * STD**2 + 1 - bar)
    assert len(pipeline.unet.timesteps) == round(100 * strength)
    assert (found - expected).square().mean().sqrt() < 0.15 * STD


@pytest.mark.parametrize("image", [PICTURES, CLEAN], ids=["pictures", "tensor"])
def test_each_image_has_its_own_original(pipeline, image):
    found = draw(
        pipeline, ["fire", "water"], image=image, mask_image=LEFT, output_type="latent", generator=seeded(0, 1)
    )
    assert torch.equal(found[..., 8:], CLEAN[..., 8:])


def test_a_single_picture_is_the_original_of_all(pipeline):
    found = draw(pipeline, ["fire", "water"], image=PICTURES[1], mask_image=LEFT, output_type="latent")
    assert torch.equal(found[..., 8:], CLEAN[[1, 1]][..., 8:])


def test_each_image_can_have_its_own_mask(pipeline):
    masks = torch.cat([LEFT, 1 - LEFT])
    found = draw(pipeline, ["fire", "water"], image=CLEAN, mask_image=masks, output_type="latent")
    changed = (found != CLEAN).any(dim=1, keepdim=True).float()
    assert (changed * (1 - masks)).sum() == 0 and (changed * masks).sum() > 0.9 * masks.sum()


def test_a_white_mask_changes_nothing_of_a_variation(pipeline):
    arguments = {"image": PICTURES[0], "strength": 0.7, "output_type": "latent"}
    plain = draw(pipeline, "fire", 10, **arguments, generator=seeded(0))
    masked = draw(pipeline, "fire", 10, **arguments, mask_image=torch.ones_like(LEFT), generator=seeded(0))
    assert torch.equal(plain, masked)


def test_a_black_mask_gives_the_picture_itself(pipeline):
    (found,) = draw(pipeline, "fire", output_type="pil", image=PICTURES[0], mask_image=Image.new("L", (16, 16)))
    assert np.array_equal(np.asarray(found), PIXELS[0])


@pytest.mark.parametrize("grey", [127, 128])
def test_the_mask_is_what_is_lighter_than_middle_grey(pipeline, grey):
    (found,) = draw(pipeline, "fire", output_type="pil", image=PICTURES[0], mask_image=Image.new("L", (16, 16), grey))
    assert np.array_equal(np.asarray(found), PIXELS[0]) == (grey == 127)


def test_a_weaker_variation_stays_nearer():
    pipeline = gaussian_pipeline(DDIMScheduler)
    clean = torch.full((1, 3, 64, 64), MEAN + 3 * STD)
    varied = [
        draw(pipeline, "fire", 100, "latent", image=clean, strength=strength, generator=seeded(0))
        for strength in (0.05, 0.2, 0.5, 1)
    ]
    away = [(each - clean).abs().mean() for each in varied]
    assert away == sorted(away) and away[-1] > 2 * away[0]


def test_the_next_call_without_an_image_begins_at_the_beginning(pipeline):
    with_scheduler(pipeline, DPMSolverMultistepScheduler)
    whole = draw(pipeline, "fire", 5, generator=seeded(0))
    draw(pipeline, "fire", 5, image=PICTURES[0], strength=0.4)
    calls = record_calls(pipeline)
    assert torch.equal(draw(pipeline, "fire", 5, generator=seeded(0)), whole)
    assert [t for _, t in calls] == [999, 799, 599, 399, 199]
