"""Guidance: its formula, where it applies, what it costs, and what it leads away from."""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.guidance import Guidance
from tests.conftest import tiny_pipeline
from tests.drawing import ANY, FIRE, SHAPE, WATER, alpha_bar, draw, record_calls, seeded, trained_with

ELECTRIC = 3


@pytest.fixture
def showing() -> PokemonDDPMPipeline:
    """Predicts the sample: its only step, which ends at a noise of zero, shows the guided prediction itself."""
    pipeline = tiny_pipeline("sample")
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    return pipeline


def of_network(pipeline: PokemonDDPMPipeline, slots: tuple[int, int], noise: torch.Tensor) -> torch.Tensor:
    """What the network says of noise (N, C, S, S) at the last timestep for a pair of types, asked directly."""
    rows = pipeline.conditioner.state_dict()["tables.type_embedding.weight"][list(slots)]
    with torch.no_grad():
        return pipeline.unet(noise, 999, class_labels=rows.sum(dim=0).expand(len(noise), -1)).sample


def noises(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.randn(SHAPE, generator=generator) for generator in seeded(*seeds)])


def guided(pipeline: PokemonDDPMPipeline, scales: list[float], against: tuple[int, int] = (ANY, ANY)) -> torch.Tensor:
    """uncond + s (cond - uncond) of fire, an image a scale."""
    noise, scale = noises(*range(len(scales))), torch.tensor(scales).view(-1, 1, 1, 1)
    without = of_network(pipeline, against, noise)
    return without + scale * (of_network(pipeline, (FIRE, ANY), noise) - without)


def drawn(pipeline: PokemonDDPMPipeline, scales: list[float], **arguments) -> torch.Tensor:
    start = noises(*range(len(scales)))
    return draw(pipeline, ["fire"] * len(scales), 1, "latent", guidance_scale=scales, latents=start, **arguments)


# Formula


@pytest.mark.parametrize("scales", [[3.0], [0.0, 7.5], [1.0, 3.0, -2.0, 0.5]])
def test_each_image_has_its_own_scale(showing, scales):
    torch.testing.assert_close(drawn(showing, scales), guided(showing, scales), rtol=1e-4, atol=1e-5)


def test_scales_may_be_a_tensor(showing):
    expected = guided(showing, [1.0, 3.0])
    torch.testing.assert_close(drawn(showing, torch.tensor([1.0, 3.0])), expected, rtol=1e-4, atol=1e-5)


def test_a_scalar_tensor_is_a_number(pipeline):
    same = [draw(pipeline, "fire", guidance_scale=scale, generator=seeded(0)) for scale in (3.0, torch.tensor(3.0))]
    assert torch.equal(*same)


def test_an_image_of_scale_one_beside_one_of_three_is_the_conditional_prediction_to_the_bit(showing):
    given: list[torch.Tensor] = []
    showing.unet.register_forward_hook(lambda _, __, output: given.append(output[0].clone()))
    found = drawn(showing, [1.0, 3.0], guidance_rescale=0.7)
    conditional = given[0][2:]
    assert torch.equal(found[0], conditional[0])
    assert not torch.allclose(found[1], conditional[1], atol=1e-3)


def test_a_learned_variance_is_the_conditional_one():
    without, told = torch.randn(2, 2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    found = Guidance((3.0, 5.0)).combine(without, told, channels=3)
    assert torch.equal(found[:, 3:], told[:, 3:])
    torch.testing.assert_close(found[1, :3], 5 * told[1, :3] - 4 * without[1, :3])


# Cost


def test_scale_one_is_the_conditional_model_to_the_bit(pipeline):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(5)
    rows = pipeline.conditioner.state_dict()["tables.type_embedding.weight"]
    sample = noises(4)
    with torch.no_grad():
        for t in scheduler.timesteps:
            prediction = pipeline.unet(sample, t, class_labels=(rows[FIRE] + rows[WATER])[None]).sample
            sample = scheduler.step(prediction, t, sample).prev_sample
    assert torch.equal(draw(pipeline, "fire/water", 5, "latent", guidance_scale=1, generator=seeded(4)), sample)


@pytest.mark.parametrize(
    ("scales", "rows"), [([1, 1, 1], 3), ([1.0, 1.0, 3.0], 6), ([0, 1, 1], 6), (torch.ones(3), 3)], ids=str
)
def test_one_scale_other_than_one_makes_the_whole_batch_ask_twice(pipeline, scales, rows):
    calls = record_calls(pipeline)
    draw(pipeline, ["fire", "water", None], 4, guidance_scale=scales)
    assert [batch for batch, _ in calls] == [rows] * 4


def test_with_nothing_to_lead_away_from_there_is_one_pass(pipeline):
    calls = record_calls(pipeline)
    draw(pipeline, None, 3, guidance_scale=5)
    draw(pipeline, "fire", 3, guidance_scale=5, negative_pokemon_type="fire")
    assert [batch for batch, _ in calls] == [1] * 6


# Interval


def sigma(t: int) -> float:
    """sqrt((1 - alpha_bar) / alpha_bar) of the cosine schedule."""
    return math.sqrt((1 - alpha_bar(t)) / alpha_bar(t))


@pytest.mark.parametrize(
    ("first", "last"), [(0, 9), (3, 6), (0, 0), (9, 9), (5, 9), (0, 4)], ids=lambda step: f"step {step}"
)
def test_guidance_is_asked_for_between_its_noise_levels_only(pipeline, first, last):
    timesteps = [999 - 100 * i for i in range(10)]
    high, low = (sigma(timesteps[first]) * 1.01, sigma(timesteps[last]) * 0.99)
    calls = record_calls(pipeline)
    draw(pipeline, ["fire", "water"], 10, guidance_scale=3, guidance_interval=(low, high))
    assert calls == [(4 if first <= i <= last else 2, t) for i, t in enumerate(timesteps)]


def test_the_lower_end_is_left_out_and_the_upper_one_is_not():
    guidance = Guidance((3.0,), (0.5, 2.0))
    assert [guidance.applies(level) for level in (0.4, 0.5, 0.51, 1.99, 2.0, 2.01)] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]


def test_an_interval_without_any_of_the_noise_levels_is_the_conditional_model(pipeline):
    plain = draw(pipeline, "fire", guidance_scale=1, generator=seeded(0))
    outside = draw(pipeline, "fire", guidance_scale=9, guidance_interval=(1e9, math.inf), generator=seeded(0))
    assert torch.equal(plain, outside)


def test_an_infinite_noise_level_is_inside_an_open_interval_and_outside_a_closed_one(pipeline):
    """Where the noise schedule ends without any signal (Lin et al. 2023)."""
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, rescale_betas_zero_snr=True)
    pipeline = trained_with(pipeline, scheduler)
    assert pipeline.scheduler.alphas_cumprod[999] == 0
    calls = record_calls(pipeline)
    for high in (math.inf, 1e6):
        draw(pipeline, "fire", 2, guidance_scale=3, guidance_interval=(0, high))
    assert [batch for batch, _ in calls] == [2, 2, 1, 2]


# Rescaling


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescaling_follows_lin_et_al(showing, phi):
    """Equations 15 and 16: x_rescaled = x_cfg std(x_pos) / std(x_cfg), and phi of it with 1 - phi of x_cfg."""
    scales = [7.5, 2.0]
    expected = []
    for x_cfg, x_pos in zip(guided(showing, scales), of_network(showing, (FIRE, ANY), noises(0, 1)), strict=True):
        x_rescaled = x_cfg * (x_pos.double().std() / x_cfg.double().std())
        expected.append(phi * x_rescaled + (1 - phi) * x_cfg)
    found = drawn(showing, scales, guidance_rescale=phi)
    torch.testing.assert_close(found, torch.stack(expected).float(), rtol=1e-4, atol=1e-5)


def test_rescaled_in_full_it_has_the_contrast_of_the_conditional_prediction(showing):
    plain, rescaled = (drawn(showing, [30.0, 10.0], guidance_rescale=phi).std(dim=(1, 2, 3)) for phi in (0, 1))
    conditional = of_network(showing, (FIRE, ANY), noises(0, 1)).std(dim=(1, 2, 3))
    torch.testing.assert_close(rescaled, conditional, rtol=1e-3, atol=0)
    assert ((plain / conditional - 1).abs() > 0.1).all()


# What it leads away from


def test_a_negative_type_takes_the_place_of_the_unconditional_model(showing):
    found = drawn(showing, [3.0, 5.0], negative_pokemon_type="water/electric")
    expected = guided(showing, [3.0, 5.0], against=(WATER, ELECTRIC))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, guided(showing, [3.0, 5.0]), atol=1e-3)


def test_each_image_can_have_its_own_negative_type(showing):
    found = drawn(showing, [3.0, 3.0], negative_pokemon_type=["water", None])
    with_water, without = guided(showing, [3.0, 3.0], (WATER, ANY)), guided(showing, [3.0, 3.0])
    torch.testing.assert_close(found, torch.stack([with_water[0], without[1]]), rtol=1e-4, atol=1e-5)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"guidance_scale": [1.0, 2.0, 3.0]}, "guidance_scale must have one an image, 2, but has 3"),
        ({"guidance_scale": []}, "guidance_scale must have one an image, 2, but has 0"),
        ({"guidance_scale": [1.0, math.nan]}, "guidance_scale must be .* nan"),
        ({"guidance_scale": [1.0, True]}, "guidance_scale must be .* True"),
        ({"guidance_scale": torch.tensor([1.0, math.inf])}, "guidance_scale must be .* inf"),
        ({"guidance_scale": torch.ones(2, 2)}, "guidance_scale must be a finite number or a list"),
        ({"guidance_interval": (2.0, 1.0)}, r"\(low, high\) with 0 <= low < high, but is \(2.0, 1.0\)"),
        ({"guidance_interval": (1.0, 1.0)}, "guidance_interval must be a pair"),
        ({"guidance_interval": (-1.0, 1.0)}, "guidance_interval must be a pair"),
        ({"guidance_interval": (math.nan, 1.0)}, "guidance_interval must be a pair"),
        ({"guidance_interval": (0.0, math.nan)}, "guidance_interval must be a pair"),
        ({"guidance_interval": (0.0, "1")}, "guidance_interval must be a pair"),
        ({"guidance_interval": (1.0,)}, "guidance_interval must be a pair"),
        ({"guidance_interval": 1.0}, "guidance_interval must be a pair"),
        ({"guidance_interval": None}, "guidance_interval must be a pair"),
        ({"guidance_rescale": 1.1}, "guidance_rescale must be a number from 0 to 1, but is 1.1"),
        ({"guidance_rescale": -0.1}, "guidance_rescale must be a number from 0 to 1"),
        ({"guidance_rescale": math.nan}, "guidance_rescale must be a number from 0 to 1, but is nan"),
        ({"guidance_rescale": None}, "guidance_rescale must be a number from 0 to 1, but is None"),
        ({"negative_pokemon_type": "watr"}, "Unknown type 'watr'. Did you mean 'water'"),
        ({"negative_pokemon_type": ["ice"] * 3}, "negative_pokemon_type must have one an image, 2, not 3"),
        ({"negative_pokemon_type": []}, "negative_pokemon_type must have one an image, 2, not 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_guide_is_refused_before_the_network_is_asked(pipeline, arguments, message):
    calls = record_calls(pipeline)
    with pytest.raises(ValueError, match=message):
        draw(pipeline, ["fire", "water"], **arguments)
    assert calls == []
