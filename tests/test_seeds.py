"""The picture of a seed is the same alone, in any batch, and by any way of naming the seed."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from PIL import Image

from tests.conftest import tiny_pipeline
from tests.drawing import draw, grey_levels, seeded, with_scheduler

SEED = 7


def fresh(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "scheduler_class", [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler]
)
def test_seed_seven_is_one_picture_in_every_way(scheduler_class):
    pipeline = with_scheduler(tiny_pipeline(), scheduler_class)

    def drawn(count: int, generator: torch.Generator | list[torch.Generator]) -> list[Image.Image]:
        return draw(pipeline, "fire", 5, "pil", num_images_per_type=count, generator=generator)

    (alone,) = drawn(1, seeded(SEED))
    ways = [
        drawn(1, fresh(SEED))[0],
        drawn(64, seeded(*range(64)))[SEED],
        drawn(64, fresh(0))[SEED],
        drawn(64, [*seeded(*range(100, 163)), fresh(SEED)])[63],
    ]
    assert [grey_levels([alone], [picture]) <= 1 for picture in ways] == [True] * 4
    assert grey_levels([alone], drawn(1, seeded(SEED + 1))) > 50


def test_what_the_other_images_are_asked_for_does_not_matter(pipeline):
    (alone,) = draw(pipeline, "ice", 5, "pil", generator=seeded(SEED), guidance_scale=3)
    requests = ["fire"] * 63 + ["ice"]
    scales = [1.0, 7.0, 3.0] * 21 + [3.0]
    batch = draw(pipeline, requests, 5, "pil", generator=seeded(*range(100, 163), SEED), guidance_scale=scales)
    assert grey_levels([alone], [batch[-1]]) <= 1


def test_the_noise_of_a_seed_is_torchs_own(pipeline):
    """One step of a scheduler without noise: the network is given torch.randn of the seed."""
    with_scheduler(pipeline, DDIMScheduler)
    given: list[torch.Tensor] = []
    pipeline.unet.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    draw(pipeline, "fire", 1, num_images_per_type=64, generator=fresh(0), guidance_scale=1)
    assert torch.equal(given[0], torch.stack([torch.randn(3, 16, 16, generator=fresh(seed)) for seed in range(64)]))
