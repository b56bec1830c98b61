"""The pipeline: what it draws, for whom, with which noise, and what it writes and reads."""

import copy
import inspect
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    ModelMixin,
    UniPCMultistepScheduler,
)
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner, generation
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import set_timesteps
from pokemon_ddpm.vocabulary import TYPES
from tests.conftest import tiny_pipeline

FIRE, FLYING, WATER, ANY = 6, 7, 17, 19
ANY_STEPS = [DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler]
SCHEDULERS = [DDIMScheduler, *ANY_STEPS]  # DDIM's number of steps must divide that of training
SHAPE = (3, 16, 16)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def with_scheduler(pipeline: PokemonDDPMPipeline, scheduler_class: type) -> PokemonDDPMPipeline:
    pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config)
    return pipeline


def record_calls(pipeline: PokemonDDPMPipeline) -> list[tuple[int, int]]:
    """The (batch size, timestep) of every later call of the network."""
    calls: list[tuple[int, int]] = []
    pipeline.unet.register_forward_pre_hook(lambda _, given: calls.append((len(given[0]), int(given[1]))))
    return calls


def draw(pipeline: PokemonDDPMPipeline, pokemon_type=None, steps: int = 3, output_type: str = "pt", **arguments):
    return pipeline(pokemon_type, num_inference_steps=steps, output_type=output_type, **arguments).images


def grey_levels(one: list[Image.Image], other: list[Image.Image]) -> int:
    """The largest difference of any pixel."""
    assert len(one) == len(other)
    return max(
        int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())
        for a, b in zip(one, other, strict=True)
    )


# What comes out


def test_images_are_rgb_pictures_of_the_models_size(pipeline):
    images = pipeline("fire", num_images_per_type=2, num_inference_steps=2).images
    assert [(image.mode, image.size) for image in images] == [("RGB", (16, 16))] * 2


def test_output_types_show_the_same_pictures(pipeline):
    pil, array, tensor, latent = (
        draw(pipeline, "fire", output_type=output_type, generator=seeded(0, 1), num_images_per_type=2)
        for output_type in ("pil", "np", "pt", "latent")
    )
    assert array.shape == (2, 16, 16, 3) and array.dtype == np.float32
    assert tensor.shape == (2, *SHAPE) and tensor.dtype == torch.float32
    assert latent.shape == (2, *SHAPE) and latent.dtype == torch.float32
    assert torch.equal(tensor, (latent / 2 + 0.5).clamp(0, 1))
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(np.stack([np.asarray(image) for image in pil]), (array * 255).round().astype(np.uint8))
    assert latent.min() < 0 < latent.max()


def test_a_sample_out_of_range_is_clipped(pipeline):
    pixels = pipeline.postprocess(torch.tensor([-1.5, -1, 0, 1, 1.5]).view(1, 1, 1, 5), "pt")
    torch.testing.assert_close(pixels.flatten(), torch.tensor([0, 0, 0.5, 1, 1]), rtol=0, atol=1e-7)


def test_without_return_dict_it_is_a_tuple(pipeline):
    result = pipeline("fire", num_inference_steps=2, return_dict=False, generator=seeded(0), output_type="pt")
    assert type(result) is tuple and len(result) == 1
    assert torch.equal(result[0], draw(pipeline, "fire", 2, generator=seeded(0)))


def test_no_gradient_is_kept(pipeline):
    assert not draw(pipeline, "fire", output_type="latent").requires_grad


def test_progress_bar_counts_the_steps(pipeline, capsys):
    pipeline.set_progress_bar_config(disable=False)
    draw(pipeline, "fire", 4)
    assert "4/4" in capsys.readouterr().err
    pipeline.set_progress_bar_config(disable=True)
    draw(pipeline, "fire", 4)
    assert capsys.readouterr().err == ""


# Who is drawn


def test_every_entry_has_its_images_one_after_the_other(pipeline):
    listed = draw(pipeline, ["fire", "water/ice", None], num_images_per_type=2, generator=seeded(*range(6)))
    assert len(listed) == 6
    for i, request in enumerate(["fire", "fire", "water/ice", "water/ice", None, None]):
        alone = draw(pipeline, request, generator=seeded(i))
        torch.testing.assert_close(listed[i], alone[0], rtol=0, atol=1e-4)


def test_a_list_of_two_names_is_two_images_and_not_a_pair(pipeline):
    images = draw(pipeline, ["fire", "flying"], generator=seeded(0, 0))
    pair = draw(pipeline, ("fire", "flying"), generator=seeded(0))
    assert len(images) == 2 and len(pair) == 1
    assert not torch.allclose(images[0], pair[0], atol=1e-3)
    assert torch.equal(pair, draw(pipeline, "fire/flying", generator=seeded(0)))
    assert torch.equal(pair, draw(pipeline, [("flying", "fire")], generator=seeded(0)))


def test_the_type_changes_the_picture(pipeline):
    pictures = [draw(pipeline, request, generator=seeded(0)) for request in ("fire", "water", "fire/none", None)]
    for i in range(4):
        for j in range(i):
            assert (pictures[i] - pictures[j]).abs().max() > 0.01


def test_none_is_the_unconditional_model(pipeline):
    unconditional = draw(pipeline, None, generator=seeded(0), guidance_scale=1)
    assert torch.equal(unconditional, draw(pipeline, generator=seeded(0), guidance_scale=1))
    assert torch.equal(unconditional, draw(pipeline, "any", generator=seeded(0), guidance_scale=1))
    # uncond + s * (uncond - uncond)
    torch.testing.assert_close(
        draw(pipeline, None, generator=seeded(0), guidance_scale=7), unconditional, atol=1e-4, rtol=0
    )


# Guidance


def sampled_by_hand(pipeline: PokemonDDPMPipeline, steps: int, prediction_at, seed: int) -> torch.Tensor:
    """One picture by the scheduler alone, from a prediction (sample, t) -> prediction; the final sample."""
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(SHAPE, generator=generator)[None]
    noise = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    with torch.no_grad():
        for t in scheduler.timesteps:
            sample = scheduler.step(prediction_at(sample, t), t, sample, **noise).prev_sample
    return sample


def network(pipeline: PokemonDDPMPipeline, *slots: int):
    """The network's own prediction for two type slots."""
    table = pipeline.conditioner.state_dict()["tables.type_embedding.weight"]
    embedding = (table[slots[0]] + table[slots[1]])[None]
    return lambda sample, t: pipeline.unet(sample, t, class_labels=embedding).sample


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler_class", SCHEDULERS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_guidance_over_a_whole_run(prediction_type, scheduler_class, scale):
    pipeline = with_scheduler(tiny_pipeline(prediction_type), scheduler_class)
    conditional, unconditional = network(pipeline, FIRE, FLYING), network(pipeline, ANY, ANY)

    def guided(sample, t):
        without = unconditional(sample, t)
        return without + scale * (conditional(sample, t) - without)

    expected = sampled_by_hand(pipeline, 5, guided, seed=3)
    found = draw(pipeline, "fire/flying", 5, "latent", generator=seeded(3), guidance_scale=scale)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-4)


def test_guidance_moves_the_picture(pipeline):
    one, three = (draw(pipeline, "fire", generator=seeded(0), guidance_scale=scale) for scale in (1.0, 3.0))
    assert (one - three).abs().max() > 0.01


@pytest.mark.parametrize(("scale", "rows"), [(1, 2), (1.0, 2), (2.0, 4), (0.5, 4)])
def test_guidance_of_one_costs_half(pipeline, scale, rows):
    calls = record_calls(pipeline)
    draw(pipeline, ["fire", "water"], 3, guidance_scale=scale)
    assert [batch for batch, _ in calls] == [rows] * 3


# Noise


@pytest.mark.parametrize("scheduler_class", [DDPMScheduler, DDIMScheduler])
def test_one_generator_an_image_gives_the_same_picture_in_every_batch(pipeline, scheduler_class):
    with_scheduler(pipeline, scheduler_class)
    requests = list(TYPES[:8])
    whole = draw(pipeline, requests, 10, "pil", generator=seeded(*range(8)))
    for size in (1, 3):
        parts = []
        for start in range(0, 8, size):
            seeds = range(8)[start : start + size]
            parts += draw(pipeline, requests[start : start + size], 10, "pil", generator=seeded(*seeds))
        assert grey_levels(whole, parts) <= 1
    assert grey_levels(whole[:7], whole[1:]) > 50


def test_a_fresh_generator_of_seed_s_gives_image_i_the_picture_of_seed_s_plus_i(pipeline):
    images = draw(pipeline, "fire", 5, "pil", num_images_per_type=3, generator=torch.Generator().manual_seed(40))
    for i, image in enumerate(images):
        assert grey_levels([image], draw(pipeline, "fire", 5, "pil", generator=seeded(40 + i))) <= 1
        alone = draw(pipeline, "fire", 5, "pil", generator=torch.Generator().manual_seed(40 + i))
        assert grey_levels([image], alone) <= 1


def test_a_generator_used_again_draws_other_pictures(pipeline):
    generator = torch.Generator().manual_seed(40)
    calls = [draw(pipeline, "fire", num_images_per_type=2, generator=generator) for _ in range(3)]
    pictures = torch.cat(calls).flatten(1)
    assert (torch.cdist(pictures, pictures) + 100 * torch.eye(6)).min() > 1
    generator.manual_seed(40)
    assert torch.equal(draw(pipeline, "fire", num_images_per_type=2, generator=generator), calls[0])


def test_without_a_generator_torchs_own_seed_counts(pipeline):
    torch.manual_seed(7)
    first, second = draw(pipeline, "fire"), draw(pipeline, "fire")
    assert not torch.allclose(first, second, atol=0.01)
    torch.manual_seed(7)
    assert torch.equal(draw(pipeline, "fire"), first)


def test_a_list_of_generators_goes_on(pipeline):
    generators = seeded(1, 2)
    first, second = (draw(pipeline, "fire", num_images_per_type=2, generator=generators) for _ in range(2))
    assert not torch.allclose(first, second, atol=0.01)


def test_the_largest_seed_is_followed_by_the_smallest(pipeline):
    generator = torch.Generator().manual_seed(2**63 - 1)
    assert draw(pipeline, "fire", 1, num_images_per_type=2, generator=generator).shape == (2, *SHAPE)


def test_given_latents_are_the_start(pipeline):
    with_scheduler(pipeline, DDIMScheduler)
    latents = torch.stack([torch.randn(SHAPE, generator=g) for g in seeded(5, 6)])
    before = latents.clone()
    given = draw(pipeline, ["fire", "water"], 4, latents=latents)
    assert torch.equal(latents, before)
    torch.testing.assert_close(given, draw(pipeline, ["fire", "water"], 4, generator=seeded(5, 6)), rtol=0, atol=1e-4)
    assert not torch.allclose(given, draw(pipeline, ["fire", "water"], 4, latents=-latents), atol=0.01)


def test_many_sprites_by_their_own_seeds(pipeline, monkeypatch):
    monkeypatch.setattr(generation, "MAX_BATCH", 2)
    requests = ["fire", "water", None, "fire/flying", 3]
    images = generation.generate(pipeline, requests, seed=10, num_inference_steps=3, guidance_scale=1.5)
    alone = [
        draw(pipeline, request, 3, "pil", generator=seeded(10 + i), guidance_scale=1.5)[0]
        for i, request in enumerate(requests)
    ]
    assert grey_levels(images, alone) <= 1


# Callback


def test_callback_is_called_after_each_step(pipeline):
    seen = []

    def callback(given_pipeline, step, timestep, tensors):
        assert given_pipeline is pipeline
        seen.append((step, int(timestep), tensors["latents"].clone()))
        assert set(tensors) == {"latents"}

    images = draw(pipeline, "fire", 4, "latent", callback_on_step_end=callback, generator=seeded(0))
    assert [(step, timestep) for step, timestep, _ in seen] == [(0, 999), (1, 749), (2, 499), (3, 249)]
    assert torch.equal(seen[-1][2], images)


def test_callback_can_replace_the_latents(pipeline):
    replacement = torch.full((1, *SHAPE), 0.25)
    inputs = []
    pipeline.unet.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))

    def callback(_, step, timestep, tensors):
        return {"latents": replacement} if step in (0, 2) else {}

    images = draw(pipeline, "fire", 3, "latent", callback_on_step_end=callback, guidance_scale=1)
    assert torch.equal(inputs[1], replacement) and not torch.equal(inputs[2], replacement)
    assert torch.equal(images, replacement)


def test_an_empty_list_of_tensors_gives_the_callback_none(pipeline):
    seen = []
    draw(
        pipeline, "fire", 2, callback_on_step_end_tensor_inputs=[],
        callback_on_step_end=lambda _, step, timestep, tensors: seen.append(dict(tensors)),
    )  # fmt: skip
    assert seen == [{}, {}]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"pokemon_type": "fier"}, ValueError, "Did you mean 'fire'.*Known: bug, .*water, none, any"),
        ({"pokemon_type": ["fire", "watr"]}, ValueError, "Unknown type 'watr'. Did you mean 'water'"),
        ({"pokemon_type": "fire/fire"}, ValueError, "same type twice"),
        ({"pokemon_type": ("fire", "water", "ice")}, ValueError, "names 3"),
        ({"pokemon_type": ()}, ValueError, "names 0"),
        ({"pokemon_type": []}, ValueError, "empty list"),
        ({"pokemon_type": 18}, ValueError, "Unknown type id 18"),
        ({"pokemon_type": "none"}, ValueError, "names no type"),
        ({"pokemon_type": True}, TypeError, "True"),
        ({"pokemon_type": 1.0}, TypeError, "1.0"),
        ({"pokemon_type": [["fire", "water"]]}, TypeError, "list"),
        ({"num_images_per_type": 0}, ValueError, "num_images_per_type must be .* 0"),
        ({"num_images_per_type": True}, (TypeError, ValueError), "num_images_per_type must be .* True"),
        ({"num_images_per_type": 1.5}, ValueError, "num_images_per_type must be .* 1.5"),
        ({"num_images_per_type": "2"}, ValueError, "num_images_per_type must be .* '2'"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps must be from 1 to 1000"),
        ({"num_inference_steps": 1001}, ValueError, "num_inference_steps must be from 1 to 1000, but is 1001"),
        ({"num_inference_steps": 2.5}, ValueError, "num_inference_steps must be .* 2.5"),
        ({"num_inference_steps": None}, ValueError, "num_inference_steps must be .* None"),
        ({"guidance_scale": float("nan")}, ValueError, "guidance_scale must be .* nan"),
        ({"guidance_scale": float("inf")}, ValueError, "guidance_scale must be .* inf"),
        ({"guidance_scale": "2"}, ValueError, "guidance_scale must be .* '2'"),
        ({"guidance_scale": None}, ValueError, "guidance_scale must be .* None"),
        ({"output_type": "PIL"}, ValueError, "output_type must be one of pil, np, pt, latent, but is 'PIL'"),
        ({"output_type": ["pil"]}, ValueError, "output_type must be one of"),
        ({"generator": seeded(0, 1)}, ValueError, "1 images? needs? one generator"),
        ({"generator": []}, ValueError, "the list has 0"),
        ({"generator": 42}, (TypeError, ValueError), "generator"),
        ({"generator": [42]}, (TypeError, ValueError), "generator"),
        ({"generator": (torch.Generator(),)}, (TypeError, ValueError), "generator"),
        ({"latents": torch.zeros(2, *SHAPE)}, ValueError, r"the shape \(1, 3, 16, 16\), but have .*\[2,"),
        ({"latents": torch.zeros(1, 3, 8, 8)}, ValueError, r"latents must be a tensor of the shape"),
        ({"latents": torch.zeros(SHAPE)}, ValueError, r"latents must be a tensor of the shape"),
        ({"latents": [[0.0]]}, (TypeError, ValueError), "latents must"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, ValueError, r"knows \['latents'\], but got \['noise'\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_wrong_arguments_are_refused_before_the_network_is_asked(pipeline, arguments, kind, message):
    calls = record_calls(pipeline)
    with pytest.raises(kind, match=message):
        pipeline(**{"pokemon_type": "fire", "num_inference_steps": 2} | arguments)
    assert calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_inference_steps": np.int64(2)},
        {"num_images_per_type": np.int64(2)},
        {"guidance_scale": np.float32(1.5)},
        {"pokemon_type": np.int64(3)},
    ],
    ids=lambda value: next(iter(value)),
)
def test_numpys_numbers_are_numbers(pipeline, arguments):
    images = pipeline(**{"pokemon_type": "fire", "num_inference_steps": 2} | arguments).images
    assert len(images) == arguments.get("num_images_per_type", 1)


# Schedulers


class GaussianDenoiser(ModelMixin, ConfigMixin):
    """The best possible prediction where every pixel of the data is N(mean, std^2), in closed form.

    With x_t = a x_0 + b epsilon, E[x_0 | x_t] = mean + a std^2 / (a^2 std^2 + b^2) (x_t - a mean).
    """

    @register_to_config
    def __init__(self, mean: float, std: float, prediction_type: str, sample_size: int = 64, in_channels: int = 3):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.alpha_bar = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
        self.timesteps: list[int] = []

    def forward(self, sample, timestep, class_labels, return_dict):
        self.timesteps.append(int(timestep))
        mean, std = self.config.mean, self.config.std
        alpha_bar = self.alpha_bar[timestep]
        a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        x = sample.double()
        clean = mean + a * std**2 / (a**2 * std**2 + b**2) * (x - a * mean)
        epsilon = (x - a * clean) / b
        prediction = epsilon if self.config.prediction_type == "epsilon" else a * epsilon - b * clean
        return (prediction.to(sample.dtype),)


MEAN, STD = 0.3, 0.15


def gaussian_pipeline(scheduler_class: type, prediction_type: str = "v_prediction") -> PokemonDDPMPipeline:
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type, timestep_spacing="trailing"
    )
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4)
    pipeline = PokemonDDPMPipeline(GaussianDenoiser(MEAN, STD, prediction_type), conditioner, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return with_scheduler(pipeline, scheduler_class)


def exact_moments(scheduler_class: type, steps: int) -> tuple[float, float]:
    """Mean and standard deviation of DDPM (Ho et al. 2020, equations 6, 7, 11) and DDIM (Song et al. 2021, equation
    12 with eta 0) samples of that Gaussian: with a linear denoiser every step is linear, so both follow by recursion.
    """
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    bars = np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))
    timesteps = [1000 - 1000 // steps * i - 1 for i in range(steps)]
    mean, variance = 0.0, 1.0
    for t, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        bar, bar_after = bars[t], bars[following] if following >= 0 else 1.0
        a, b = math.sqrt(bar), math.sqrt(1 - bar)
        slope = a * STD**2 / (a**2 * STD**2 + b**2)  # clean = offset + slope * x
        offset = MEAN - slope * a * MEAN
        if scheduler_class is DDPMScheduler:
            beta = 1 - bar / bar_after
            of_clean = math.sqrt(bar_after) * beta / (1 - bar)
            of_x = math.sqrt(1 - beta) * (1 - bar_after) / (1 - bar)
            noise = (1 - bar_after) / (1 - bar) * beta
        else:
            of_x = math.sqrt(1 - bar_after) / b
            of_clean = math.sqrt(bar_after) - of_x * a
            noise = 0.0
        mean = of_clean * (offset + slope * mean) + of_x * mean
        variance = (of_clean * slope + of_x) ** 2 * variance + noise
    return mean, math.sqrt(variance)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler_class", SCHEDULERS)
def test_an_exact_denoiser_gives_samples_of_the_data(scheduler_class, prediction_type):
    pipeline = gaussian_pipeline(scheduler_class, prediction_type)
    count = 16
    samples = draw(pipeline, "fire", 50, "latent", generator=seeded(*range(count)), num_images_per_type=count)
    pixels = samples.numel()
    assert pixels == count * 3 * 64 * 64
    mean, std = samples.mean().item(), samples.std().item()
    if scheduler_class in (DDPMScheduler, DDIMScheduler):
        expected, expected_std = exact_moments(scheduler_class, 50)
        slack = 1e-4  # float32 tables
    else:
        expected, expected_std, slack = MEAN, STD, 0.005  # second-order solvers: 3 % of the spread at 50 steps
    assert mean == pytest.approx(expected, abs=4.5 * STD / math.sqrt(pixels) + slack)
    assert std == pytest.approx(expected_std, abs=4.5 * STD / math.sqrt(2 * pixels) + slack)
    # All of them come near the data itself: fewer than 1000 steps lose some of the spread.
    assert mean == pytest.approx(MEAN, abs=0.005)
    assert std == pytest.approx(STD, abs=0.03)


def test_the_full_ancestral_chain_has_the_spread_of_the_data():
    mean, std = exact_moments(DDPMScheduler, 1000)
    assert mean == pytest.approx(MEAN, abs=1e-3) and std == pytest.approx(STD, abs=2e-3)


@pytest.mark.parametrize("steps", [300, 520])
@pytest.mark.parametrize("scheduler_class", ANY_STEPS)
def test_a_number_of_steps_that_does_not_divide_the_training_steps(scheduler_class, steps):
    """A step must end where the next one starts, also where T / steps is no whole number."""
    samples = draw(gaussian_pipeline(scheduler_class), "fire", steps, "latent", generator=seeded(0))
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert samples.std().item() == pytest.approx(STD, abs=0.01)


@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 67), ("trailing", 520), ("linspace", 50)])
def test_ddim_is_refused_where_it_goes_wrong(pipeline, spacing, steps):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing=spacing)
    with pytest.raises(ValueError, match=f"goes wrong at {steps} steps: use 'trailing' and a number like"):
        pipeline("fire", num_inference_steps=steps)


@pytest.mark.parametrize("steps", [61, 103])
@pytest.mark.parametrize("scheduler_class", ANY_STEPS)
def test_no_timestep_of_minus_one_reaches_the_network(scheduler_class, steps):
    pipeline = gaussian_pipeline(scheduler_class)
    latents = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    odd = draw(pipeline, "fire", steps, "latent", latents=latents, generator=seeded(1))
    timesteps = pipeline.unet.timesteps[:]
    assert len(timesteps) == steps
    assert timesteps[0] == 999 and min(timesteps) >= 0
    assert timesteps == sorted(set(timesteps), reverse=True)
    even = draw(pipeline, "fire", steps - 1, "latent", latents=latents, generator=seeded(1))
    assert odd.isfinite().all()
    if scheduler_class is DDPMScheduler:  # other noise: only the distribution is the same
        assert odd.mean().item() == pytest.approx(even.mean().item(), abs=6 * STD / math.sqrt(odd.numel()))
        assert odd.std().item() == pytest.approx(even.std().item(), abs=6 * STD / math.sqrt(2 * odd.numel()))
    else:  # the same noise goes almost the same way
        assert (odd - even).square().mean().sqrt() < 0.05 * STD


@pytest.mark.parametrize("scheduler_class", ANY_STEPS)
def test_every_number_of_steps_has_its_timesteps(scheduler_class):
    base = DDPMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    scheduler = scheduler_class.from_config(base.config)
    for steps in [*range(1, 65), 103, 121, 122, 201, 250, 999, 1000]:
        timesteps = set_timesteps(scheduler, steps, torch.device("cpu"))
        assert torch.equal(timesteps, scheduler.timesteps)
        assert len(timesteps) == steps
        assert timesteps[0] == 999 and timesteps[-1] >= 0
        assert (timesteps.diff() < 0).all()
        if hasattr(scheduler, "sigmas"):
            assert len(scheduler.sigmas) == steps + 1
            assert (scheduler.sigmas.diff() < 0).all() and scheduler.sigmas[-1] == 0


# Saving and loading


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved tiny pipeline; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


def copy_of(folder: Path, tmp_path: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            target = tmp_path / "model" / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "model"


def load(folder: Path, **arguments) -> PokemonDDPMPipeline:
    pipeline = PokemonDDPMPipeline.from_pretrained(folder, **arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


FILES = [
    "conditioner/config.json",
    "conditioner/diffusion_pytorch_model.safetensors",
    "conditioner/sprite_conditioner.py",
    "model_index.json",
    "pipeline.py",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
]


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_saved_folder_holds_its_code_and_names_it(folder):
    assert set(FILES) <= set(files_of(folder))
    assert not [name for name in files_of(folder) if name.endswith((".bin", ".pt", ".pkl", ".pth"))]
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
    assert index["conditioner"] == ["sprite_conditioner", "SpriteConditioner"]
    root = Path(inspect.getfile(PokemonDDPMPipeline)).parent
    assert (folder / "pipeline.py").read_text() == (root / "pipeline_pokemon_ddpm.py").read_text()
    conditioner = (folder / "conditioner" / "sprite_conditioner.py").read_text()
    assert conditioner == (root / "sprite_conditioner.py").read_text()
    for code in ((folder / "pipeline.py").read_text(), conditioner):
        assert "import pokemon_ddpm" not in code and "from pokemon_ddpm" not in code


@pytest.mark.parametrize("scheduler_class", SCHEDULERS)
def test_saved_and_loaded_it_draws_bit_equal_pictures(pipeline, scheduler_class, tmp_path):
    with_scheduler(pipeline, scheduler_class)
    pipeline.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert type(loaded) is PokemonDDPMPipeline and type(loaded.scheduler) is scheduler_class
    assert not loaded.unet.training and not loaded.conditioner.training
    arguments = {"pokemon_type": ["fire", "water/ice", None], "steps": 5, "output_type": "latent"}
    assert torch.equal(
        draw(loaded, **arguments, generator=seeded(0, 1, 2)), draw(pipeline, **arguments, generator=seeded(0, 1, 2))
    )


def test_a_second_saving_is_the_same(folder, tmp_path):
    load(folder).save_pretrained(tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(folder)
    for name in files_of(folder):
        if name.endswith((".py", ".safetensors")):
            assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_second_saving_tells_nothing_of_the_folders_of_this_machine(folder, tmp_path):
    load(folder).save_pretrained(tmp_path / "again")
    for name in files_of(tmp_path / "again"):
        assert str(folder).encode() not in (tmp_path / "again" / name).read_bytes(), name


def test_ready_made_components_are_taken(folder, tmp_path):
    copied = copy_of(folder, tmp_path)
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet = tiny_pipeline().unet
    scheduler = DDIMScheduler.from_config(tiny_pipeline().scheduler.config)
    loaded = load(copied, unet=unet, scheduler=scheduler)
    assert loaded.unet is unet and loaded.scheduler is scheduler


CANARY = "\nimport pathlib\npathlib.Path({!r}).write_text('code ran')\n"


def test_from_pretrained_runs_no_code_of_the_folder(folder, tmp_path):
    copied, canary = copy_of(folder, tmp_path), tmp_path / "canary"
    for path in copied.rglob("*.py"):
        path.write_text(path.read_text() + CANARY.format(str(canary)))
    for name in ("__init__.py", "unet/unet.py", "scheduler/scheduler.py", "conditioner/__init__.py"):
        (copied / name).write_text(CANARY.format(str(canary)))
    load(copied)
    load(copied, trust_remote_code=True)
    assert not canary.exists()
    program = (
        "import sys; from pokemon_ddpm import PokemonDDPMPipeline; "
        "p = PokemonDDPMPipeline.from_pretrained(sys.argv[1]); p('fire', num_inference_steps=1); print('drawn')"
    )
    assert "drawn" in python(program, tmp_path, copied)
    assert not canary.exists()
    # Run, the code would have been noticed:
    exec(compile((copied / "conditioner" / "sprite_conditioner.py").read_text(), "canary", "exec"), {"__name__": "x"})
    assert canary.exists()


def python(program: str, tmp_path: Path, *arguments: object) -> str:
    """Runs Python lines in a fresh process, without the network and without this machine's caches."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# Draws two sprites with a saved model where pokemon_ddpm cannot be imported, and saves the model again.
WITHOUT_THE_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pokemon_ddpm":
            raise ImportError("blocked")

sys.meta_path.insert(0, Blocker())
import torch
from diffusers import DiffusionPipeline
source, images, resaved = sys.argv[1:]
pipeline = DiffusionPipeline.from_pretrained(source, trust_remote_code=True)
pipeline.set_progress_bar_config(disable=True)
generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
drawn = pipeline(["fire", "fire/flying"], num_inference_steps=4, generator=generators, output_type="pt").images
torch.save(drawn, images)
pipeline.save_pretrained(resaved)
again = type(pipeline).from_pretrained(resaved, trust_remote_code=True)
assert again.conditioner.type_ids("fire") == (6, 19)
assert "pokemon_ddpm" not in sys.modules
"""


def test_a_saved_folder_needs_nothing_of_ours(folder, tmp_path):
    expected = draw(load(folder), ["fire", "fire/flying"], 4, generator=seeded(0, 1))
    source = folder
    for name in ("first", "second"):  # the second time from what the first one saved
        images, resaved = tmp_path / f"{name}.pt", tmp_path / f"resaved-{name}"
        (tmp_path / name).mkdir()
        python(WITHOUT_THE_PACKAGE, tmp_path / name, source, images, resaved)
        torch.testing.assert_close(torch.load(images), expected, rtol=0, atol=1e-4)
        assert files_of(resaved) == files_of(folder)
        for file in files_of(folder):
            if file.endswith((".py", ".safetensors")):
                assert (resaved / file).read_bytes() == (folder / file).read_bytes(), file
        index = json.loads((resaved / "model_index.json").read_text())
        assert index["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
        assert index["conditioner"] == ["sprite_conditioner", "SpriteConditioner"]
        assert torch.equal(draw(load(resaved), ["fire", "fire/flying"], 4, generator=seeded(0, 1)), expected)
        source = resaved


def test_the_remote_code_is_refused_unasked(folder, tmp_path):
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(copy_of(folder, tmp_path))


@pytest.mark.parametrize("component", ["unet", "conditioner"])
@pytest.mark.parametrize("arguments", [{}, {"use_safetensors": False}, {"use_safetensors": None}], ids=str)
def test_pickled_weights_are_refused(folder, tmp_path, component, arguments):
    copied = copy_of(folder, tmp_path)
    (copied / component / "diffusion_pytorch_model.safetensors").unlink()
    module = getattr(tiny_pipeline(), component)
    torch.save(module.state_dict(), copied / component / "diffusion_pytorch_model.bin")
    with pytest.raises((OSError, TypeError), match="safetensors"):
        load(copied, **arguments)


def test_weights_are_not_saved_as_pickles(pipeline, tmp_path):
    with pytest.raises(ValueError, match="safetensors only"):
        pipeline.save_pretrained(tmp_path / "model", safe_serialization=False)
    assert not (tmp_path / "model").exists()


def test_a_folder_of_another_pipeline_is_refused(tmp_path):
    tiny = tiny_pipeline()
    DDPMPipeline(tiny.unet, tiny.scheduler).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a DDPMPipeline, not a PokemonDDPMPipeline"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["NoSuchScheduler", "UNet2DModel", None])
def test_an_unknown_scheduler_is_refused(folder, tmp_path, name):
    copied = copy_of(folder, tmp_path)
    index = json.loads((copied / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", name]
    (copied / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"scheduler .*{name}.*diffusers does not have"):
        load(copied)


@pytest.mark.parametrize("name", ["no/such/folder", "./no-such-folder", "/no/such/folder"])
def test_a_missing_folder_is_told_without_asking_the_network(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="no model folder"):
        load(name)


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(OSError, match="model_index.json"):
        load(tmp_path)


def test_half_precision_files_load_as_float32(tmp_path):
    half = tiny_pipeline().to(dtype=torch.float16)
    half.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    rounded = tiny_pipeline()
    for name in ("unet", "conditioner"):
        expected = getattr(rounded, name).state_dict()
        for key, tensor in getattr(loaded, name).state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, expected[key].half().float())
    assert draw(loaded, "fire").dtype == torch.float32
    assert load(tmp_path, dtype=torch.bfloat16).unet.dtype == torch.bfloat16


def test_the_older_name_of_dtype_means_the_same_or_is_refused(folder):
    try:
        loaded = load(folder, torch_dtype=torch.float16)
    except TypeError:
        return
    assert loaded.unet.dtype == loaded.conditioner.dtype == torch.float16


def test_a_variant_is_saved_and_found(pipeline, tmp_path):
    copy.deepcopy(pipeline).save_pretrained(tmp_path, variant="fp16")
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in files_of(tmp_path)
    loaded = load(tmp_path, variant="fp16")
    assert torch.equal(draw(loaded, "fire", generator=seeded(0)), draw(pipeline, "fire", generator=seeded(0)))
    with pytest.raises(OSError):
        load(tmp_path)
