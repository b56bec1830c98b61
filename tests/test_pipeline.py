"""The pipeline: what it draws, for whom, with which noise, and what it refuses."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
)

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.vocabulary import TYPES
from tests.conftest import tiny_pipeline
from tests.drawing import (
    ANY,
    FIRE,
    FLYING,
    SCHEDULERS,
    SHAPE,
    draw,
    grey_levels,
    record_calls,
    seeded,
    with_scheduler,
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
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps must be a whole number from 1 to 1000"),
        ({"num_inference_steps": 1001}, ValueError, "num_inference_steps must be .* from 1 to 1000, but is 1001"),
        ({"num_inference_steps": 2.5}, ValueError, "num_inference_steps must be .* 2.5"),
        ({"guidance_scale": float("nan")}, ValueError, "guidance_scale must be .* nan"),
        ({"guidance_scale": float("inf")}, ValueError, "guidance_scale must be .* inf"),
        ({"guidance_scale": "2"}, ValueError, "guidance_scale must be .* '2'"),
        ({"output_type": "PIL"}, ValueError, "output_type must be one of pil, np, pt, latent, but is 'PIL'"),
        ({"output_type": ["pil"]}, ValueError, "output_type must be one of"),
        ({"generator": seeded(0, 1)}, ValueError, "A list of generators must have one an image, 1, but has 2"),
        ({"generator": []}, ValueError, "A list of generators must have one an image, 1, but has 0"),
        ({"generator": 42}, (TypeError, ValueError), "generator"),
        ({"generator": [42]}, (TypeError, ValueError), "generator"),
        ({"generator": (torch.Generator(),)}, (TypeError, ValueError), "generator"),
        ({"latents": torch.zeros(2, *SHAPE)}, ValueError, r"the shape \(1, 3, 16, 16\), but is \(2,"),
        ({"latents": torch.zeros(1, 3, 8, 8)}, ValueError, r"latents must be a tensor of the shape"),
        ({"latents": torch.zeros(SHAPE)}, ValueError, r"latents must be a tensor of the shape"),
        ({"latents": [[0.0]]}, (TypeError, ValueError), "latents must"),
        ({"latents": np.zeros((1, *SHAPE))}, ValueError, r"latents must be a tensor of the shape"),
        ({"callback_on_step_end": 5}, ValueError, "callback_on_step_end must be callable, but is 5"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, ValueError, "knows latents, pred_.*, but got noise"),
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
