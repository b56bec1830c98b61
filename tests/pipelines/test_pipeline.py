"""The pipeline: conditions, guidance, noise, callbacks, variations, and what it refuses."""

import math

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from examples.interpolate import interpolate
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.diffusion import make_sampler, student_scheduler
from pokemon_ddpm.pipelines.sampling import SAMPLERS, compress_range
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.test_diffusion import ALPHA_BAR, PREDICTION_TYPES, SOLVERS, as_prediction, cosine_betas
from tests.tiny_models import drawing_pipeline, network_calls, seeded, tiny_pipeline

FIRE, FLYING, ICE, WATER, NONE, ANY = 6, 7, 11, 17, 18, 19
NAN = math.nan
SHAPE = (3, 16, 16)
FIRST_ORDER = ["ddpm", "ddim", *SOLVERS]  # one evaluation of the network a step
DEFAULT = {"view": "back", "legendary": "no"}
VALUES = {name: values[1] for name, values in CONDITIONS.items() if name != "type"}  # with id 1


def generate(pipeline, pokemon_type=None, steps: int = 3, output_type: str = "latent", **arguments):
    return pipeline(pokemon_type, num_inference_steps=steps, output_type=output_type, **arguments).images


def with_sampler(name: str, *arguments, **settings) -> PokemonDDPMPipeline:
    pipeline = tiny_pipeline(*arguments, **settings)
    pipeline.scheduler = make_sampler(name, pipeline.scheduler)
    return pipeline


def with_scheduler(name: str, settings: dict, *arguments) -> PokemonDDPMPipeline:
    pipeline = tiny_pipeline(*arguments)
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **settings)
    return pipeline


@pytest.fixture
def conditioned() -> PokemonDDPMPipeline:
    """A pipeline that is conditioned on all nine attributes."""
    return tiny_pipeline(vocabulary=CONDITIONS)


def embedding(pipeline: PokemonDDPMPipeline, slots: tuple[int, int] = (ANY, ANY), **ids: int) -> torch.Tensor:
    """(D,): the sum of the rows of two types and of each attribute, by default the last row, any."""
    tables = pipeline.conditioner.state_dict()
    total = tables["tables.type_embedding.weight"].double()[list(slots)].sum(dim=0)
    for name in pipeline.conditioner.vocabulary.keys() - {"type"}:
        total = total + tables[f"tables.{name}_embedding.weight"].double()[ids.get(name, -1)]
    return total.float()


def predict(pipeline: PokemonDDPMPipeline, sample: torch.Tensor, t: int, slots: tuple[int, int]) -> torch.Tensor:
    with torch.no_grad():
        return pipeline.unet(sample, t, class_labels=embedding(pipeline, slots).expand(len(sample), -1)).sample


def network_inputs(pipeline: PokemonDDPMPipeline) -> list[tuple[torch.Tensor, int, torch.Tensor]]:
    """(sample, timestep, class labels) of every later call of the network."""
    inputs: list[tuple[torch.Tensor, int, torch.Tensor]] = []
    pipeline.unet.register_forward_pre_hook(
        lambda _, given, named: inputs.append((given[0].clone(), int(given[1]), named["class_labels"])),
        with_kwargs=True,
    )
    return inputs


def noise_of(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.randn(SHAPE, generator=generator) for generator in seeded(*seeds)])


@pytest.mark.parametrize(("channels", "mode", "factor"), [(3, "RGB", 1), (4, "RGBA", 0.5)])
def test_output_types_contain_the_same_images(channels, mode, factor):
    """Samples with transparency are half of the images; as "pil" alpha is 0 or 255, with white where it is 0."""
    pipeline = tiny_pipeline(channels=channels)
    pil, array, tensor, latent = (
        generate(pipeline, "fire", np.int64(3), output_type, num_images_per_type=np.int64(2), generator=seeded(0, 1))
        for output_type in ("pil", "np", "pt", "latent")
    )
    assert pipeline.scaling_factor == factor
    assert [(image.mode, image.size) for image in pil] == [(mode, (16, 16))] * 2
    assert array.shape == (2, 16, 16, channels) and array.dtype == np.float32
    assert tensor.shape == latent.shape == (2, channels, 16, 16) and tensor.dtype == latent.dtype == torch.float32
    assert torch.equal(tensor, (compress_range(latent / factor) / 2 + 0.5).clamp(0, 1)) and not latent.requires_grad
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    expected = (array * 255).round()
    if channels == 4:
        clear = array[..., 3:] <= 0.5
        expected[..., 3] = 255
        expected = np.where(clear, (255, 255, 255, 0), expected)
        assert 0.1 < clear.mean() < 0.9
    assert np.array_equal(np.stack([np.asarray(image) for image in pil]), expected)


@pytest.mark.parametrize("channels", [3, 4])
def test_colors_out_of_range_are_brought_back_and_others_stay(channels):
    outside = torch.randn(1, channels, 20, 20, generator=torch.Generator().manual_seed(1)) * 2
    for same in (outside.clamp(-1, 1), -outside.new_ones(1, 4, 2, 2)):  # of the last, nothing is opaque
        assert torch.equal(compress_range(same), same)
    colors = outside[0, :3].double().numpy()
    opaque = outside[0, 3].numpy() > 0 if channels == 4 else np.ones((20, 20), dtype=bool)
    white = np.quantile(np.abs(colors[:, opaque]), 0.9)
    expected, compressed = colors * (1 + np.abs(colors) / white**2) / (1 + np.abs(colors)), compress_range(outside)
    np.testing.assert_allclose(compressed[0, :3], expected, rtol=1e-5)
    assert white > 2 and torch.equal(compressed[:, 3:], outside[:, 3:])


@pytest.mark.parametrize(("defaults", "pokemon_type", "attributes", "expected"), [
    ({}, None, {}, [{}]),
    ({}, ("fire", "flying"), VALUES, [{"slots": (FIRE, FLYING), **dict.fromkeys(VALUES, 1)}]),
    *(({}, None, {name: value}, [{name: 1}]) for name, value in VALUES.items()),
    ({}, ["fire/none", None], {"color": ["red", None], "legendary": [None, False], "size": "large"},
     [{"slots": (FIRE, NONE), "color": 7, "size": 3}, {"legendary": 0, "size": 3}]),
    (DEFAULT, None, {}, [{"view": 1, "legendary": 0}]),
    (DEFAULT, "fire", {"view": None, "color": "red"}, [{"slots": (FIRE, ANY), "view": 1, "legendary": 0, "color": 7}]),
    (DEFAULT, ["fire", "ice", None], {"view": ["front", "Any", None], "legendary": True},
     [{"slots": (FIRE, ANY), "view": 0, "legendary": 1}, {"slots": (ICE, ANY), "legendary": 1},
      {"view": 1, "legendary": 1}]),
    (DEFAULT, None, {"view": "any", "legendary": "any"}, [{}]),
], ids=str)  # fmt: skip
def test_the_network_gets_the_embeddings_of_the_conditions(conditioned, defaults, pokemon_type, attributes, expected):
    """Those of a call, or the default ones; the unconditional prediction has no default."""
    pipeline = PokemonDDPMPipeline(*conditioned.components.values(), default_conditions=defaults)
    assert pipeline.config.default_conditions == defaults and conditioned.config.default_conditions == {}
    inputs, rows = network_inputs(pipeline), torch.stack([embedding(pipeline, **ids) for ids in expected])
    generate(pipeline, pokemon_type, 1, guidance_scale=3, **attributes)
    anything = embedding(pipeline).expand_as(rows)
    torch.testing.assert_close(inputs[0][2], torch.cat([anything, rows]) if expected != [{}] else rows)


@pytest.mark.parametrize("scale", [1, 3.0, -2.0, 0.5])
def test_guidance(scale):
    """The network predicts the sample, so the only step returns the guided prediction."""
    one_step = with_scheduler("DDIMScheduler", {"clip_sample": False}, "sample")
    noise = noise_of(0, 1)
    samples = generate(one_step, ["fire"] * 2, 1, latents=noise, guidance_scale=scale)
    uncond, cond = (predict(one_step, noise, 999, slots).double() for slots in ((ANY, ANY), (FIRE, ANY)))
    torch.testing.assert_close(samples, (uncond + scale * (cond - uncond)).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("types", "scale", "rows"), [
    (["fire", "water"], np.float32(1), 2),
    (["fire", "water"], torch.tensor(0.5), 4),
    ([None, "any"], 5, 2),  # both predictions are equal
], ids=str)  # fmt: skip
def test_the_cost_of_guidance(pipeline, types, scale, rows):
    calls = network_calls(pipeline)
    samples = generate(pipeline, types, generator=seeded(0, 1), guidance_scale=scale)
    assert [batch for batch, _ in calls] == [rows] * 3
    assert torch.equal(samples, generate(pipeline, types, generator=seeded(0, 1), guidance_scale=1)) == (rows == 2)


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_the_image_of_a_seed_is_the_same_in_any_batch(name):
    pipeline, fresh = with_sampler(name), seeded(7, 0)
    alone, next_one = (generate(pipeline, "ice", 5, "pt", generator=seeded(seed)) for seed in (7, 8))
    batches = [(fresh[0], 1, 0), (fresh[1], 9, 7), (seeded(*range(100, 108), 7), 9, 8)]
    alike = [generate(pipeline, "ice", 5, "pt", num_images_per_type=n, generator=seeds)[i] for seeds, n, i in batches]
    alike.append(generate(pipeline, ["fire"] * 6 + ["ice"], 5, "pt", generator=seeded(*range(6), 7))[6])
    torch.testing.assert_close(torch.stack(alike), alone.expand(4, *SHAPE), rtol=0, atol=1 / 255)
    assert (alone - next_one).abs().max() > 0.2


def test_the_noise_of_a_seed_is_that_of_torch(pipeline):
    inputs = network_inputs(pipeline)
    generate(pipeline, "fire", 1, num_images_per_type=3, generator=seeded(2**64 - 2)[0], guidance_scale=1)
    assert torch.equal(inputs[0][0], noise_of(2**64 - 2, 2**64 - 1, 0))
    latents = noise_of(5)
    generate(pipeline, "fire", 1, latents=latents, guidance_scale=1)
    assert torch.equal(inputs[1][0], latents) and torch.equal(latents, noise_of(5))


def test_a_used_generator_gives_other_images(pipeline):
    (generator,), generators = seeded(40), seeded(1, 2)
    torch.manual_seed(7)
    calls = [generate(pipeline, "fire", num_images_per_type=2, generator=generator) for _ in range(2)]
    calls += [generate(pipeline, "fire", num_images_per_type=2, generator=generators) for _ in range(2)]
    calls += [generate(pipeline, "fire", num_images_per_type=2) for _ in range(2)]  # torch's default generator
    noises = torch.cat(calls).flatten(1)
    assert (torch.cdist(noises, noises) + 100 * torch.eye(12)).min() > 1
    torch.manual_seed(7)
    assert torch.equal(generate(pipeline, "fire", num_images_per_type=2, generator=seeded(40)[0]), calls[0])
    assert torch.equal(generate(pipeline, "fire", num_images_per_type=2), calls[4])


def test_embeddings_are_interpolated_linearly_and_noise_spherically(conditioned):
    inputs = network_inputs(conditioned)
    interpolate(conditioned, ("fire", {"water": 1}), (5, 6), 5)
    noise, _, embeddings = inputs[0]
    one, other = noise_of(5, 6).double()
    angle = torch.acos((one * other).sum() / (one.norm() * other.norm()))
    for i, w in enumerate((0, 0.25, 0.5, 0.75, 1)):
        slerp = (torch.sin((1 - w) * angle) * one + torch.sin(w * angle) * other) / torch.sin(angle)
        torch.testing.assert_close(noise[i], slerp.float(), rtol=1e-4, atol=1e-5)
        lerp = (1 - w) * embedding(conditioned, (FIRE, ANY)) + w * embedding(conditioned, (WATER, ANY))
        torch.testing.assert_close(embeddings[5:][i], lerp)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_callback_gets_the_latents_and_the_predicted_clean_sample_of_each_step(prediction_type):
    pipeline, predictions, steps = with_sampler("ddim", prediction_type), [], []
    pipeline.unet.register_forward_hook(lambda _, given, output: predictions.append((given[0][0], output[0])))

    def callback(of, step, timestep, tensors):
        assert of is pipeline
        steps.append((step, int(timestep), tensors["latents"].clone(), tensors["pred_original_sample"].double()))
        return {}

    samples = generate(
        pipeline, "fire", 4, guidance_scale=3, generator=seeded(0), callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["latents", "pred_original_sample"],
    )  # fmt: skip
    assert [step[:2] for step in steps] == [(0, 999), (1, 749), (2, 499), (3, 249)]
    assert torch.equal(steps[-1][2], samples)
    for (x, (uncond, cond)), (_, t, _, clean) in list(zip(predictions, steps, strict=True))[1:]:
        alpha, sigma = math.sqrt(ALPHA_BAR[t]), math.sqrt(1 - ALPHA_BAR[t])
        prediction = as_prediction(prediction_type, clean[0], x.double(), alpha, sigma)
        torch.testing.assert_close(prediction, (uncond + 3 * (cond - uncond)).double(), rtol=0, atol=2e-3)


def test_images_of_other_formats_are_converted():
    pipeline, transparent = tiny_pipeline(), tiny_pipeline(channels=4)
    assert pipeline.prepare_image("image", SPRITE.convert("P"), 1).shape == (1, *SHAPE)
    assert (pipeline.prepare_image("image", Image.new("RGBA", (16, 16), (0, 0, 0, 0)), 1) == 1).all()  # on white
    boxed = Image.new("RGBA", (20, 18), (255, 255, 255, 0))  # an outline, and white inside that is no background
    for color, box in (("black", (3, 2, 15, 14)), ("red", (4, 3, 14, 13)), ("white", (6, 5, 8, 7))):
        boxed.paste(color, box)
    for image in (boxed, boxed.resize((160, 144), Image.Resampling.NEAREST)):  # as for training
        pixels = (transparent.prepare_image("image", image, 1)[0] + 1) * 127.5
        assert np.array_equal(pixels.round().byte().permute(1, 2, 0), preprocess(image.convert("RGB"), 16))


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_a_callback_can_interrupt_and_replace_the_latents(name):
    pipeline, states = with_sampler(name), []

    def keep(_, step, t, tensors):
        assert set(tensors) == {"latents"}
        states.append(tensors["latents"].clone())

    def interrupt(pipeline, step, t, tensors):
        pipeline._interrupt = step == 2

    def replace(_, step, t, tensors):
        return {"latents": 2 * states[step]} if step in (1, 3) else {}

    whole = generate(pipeline, "fire", 4, generator=seeded(0), callback_on_step_end=keep)
    inputs = network_inputs(pipeline)
    samples = generate(pipeline, "fire", 4, generator=seeded(0), callback_on_step_end=interrupt)
    assert len(inputs) == 3 and torch.equal(samples, states[2])
    assert torch.equal(generate(pipeline, "fire", 4, generator=seeded(0)), whole)  # nothing of that call is left
    samples = generate(pipeline, "fire", 4, generator=seeded(0), callback_on_step_end=replace)
    assert torch.equal(samples, 2 * states[3]) and torch.equal(inputs[9][0][:1], 2 * states[1])


def test_the_corrector_does_not_undo_a_change_of_the_latents():
    pipeline = with_sampler("unipc")

    def replace(_, step, t, tensors):
        return {"latents": tensors["latents"] + (step == 1)} if step == 1 else tensors

    samples = generate(pipeline, "fire", 4, generator=seeded(0), callback_on_step_end=replace)
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, disable_corrector=[1])
    assert torch.equal(generate(pipeline, "fire", 4, generator=seeded(0), callback_on_step_end=replace), samples)


def test_a_callback_can_set_the_guidance_scale(pipeline):
    def made(scale: object, after: object) -> torch.Tensor:
        def callback(pipeline, step, t, tensors):
            pipeline._guidance_scale = after

        given = {"generator": seeded(0), "guidance_scale": scale, "callback_on_step_end": callback}
        return generate(pipeline, "fire", 2, **given)

    assert torch.equal(made(3.0, 0.0), made(3.0, 1.0)) and not torch.equal(made(3.0, 5.0), made(3.0, 3.0))
    with pytest.raises(ValueError, match="^guidance_scale must be a number"):
        made(3.0, "x")


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
SPRITES = [Image.fromarray(pixels) for pixels in PIXELS]
CLEAN = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("name", FIRST_ORDER)
@pytest.mark.parametrize(("strength", "taken"), [(1, 10), (torch.tensor(0.3), 3), (0, 1), (None, 6)])
def test_a_variation_takes_its_share_of_the_steps_from_the_noised_sprite(name, strength, taken):
    pipeline = with_sampler(name)
    inputs = network_inputs(pipeline)
    generate(pipeline, "fire", 10, image=SPRITES[0], strength=strength, generator=seeded(3), guidance_scale=1)
    timesteps = list(range(999, 0, -100))
    assert [t for _, t, _ in inputs] == timesteps[-taken:]
    bar = ALPHA_BAR[timesteps[-taken]]
    expected = math.sqrt(bar) * CLEAN[:1] + math.sqrt(1 - bar) * noise_of(3)
    torch.testing.assert_close(inputs[0][0], expected, rtol=1e-3, atol=1e-3)
    inputs.clear()
    generate(pipeline, "fire", 10, guidance_scale=1)
    assert [t for _, t, _ in inputs] == timesteps  # without an image from the first one again


def test_sprites_with_transparency_are_varied():
    """Alpha becomes 0 or 255, and what is transparent white, as in training."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 4), dtype=np.uint8)
    expected = np.where(pixels[..., 3:] >= 128, pixels | [0, 0, 0, 255], (255, 255, 255, 0))
    pipeline, images = tiny_pipeline(channels=4), [Image.fromarray(image) for image in pixels]
    inputs, arguments = network_inputs(pipeline), {"image": images, "generator": seeded(1, 2), "guidance_scale": 1}
    generate(pipeline, ["fire", "ice"], 10, strength=0.1, **arguments)
    (sample, t, _), noise = inputs[0], torch.stack([torch.randn(4, 16, 16, generator=g) for g in seeded(1, 2)])
    clean = torch.from_numpy(expected).permute(0, 3, 1, 2) / 127.5 - 1
    start = math.sqrt(ALPHA_BAR[t]) * 0.5 * clean + math.sqrt(1 - ALPHA_BAR[t]) * noise
    torch.testing.assert_close(sample, start.float(), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="image shows nothing"):
        generate(pipeline, image=Image.new("RGB", (20, 20), "white"))


def zero_terminal(betas: np.ndarray) -> np.ndarray:
    """alpha_bar of Lin et al. 2023, algorithm 1."""
    root = np.sqrt(np.cumprod(1 - betas))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large", "learned_range"])
@pytest.mark.parametrize(("prediction_type", "scale"), [("epsilon", 2.5), ("v_prediction", 2.5), ("sample", 1.0)])
def test_ancestral_sampling_in_closed_form(prediction_type, variance_type, scale, zero_snr):
    """Ho et al. 2020, algorithm 2; variance: Nichol & Dhariwal 2021, equation 15. The last step has no noise.

    Guidance is of the mean, the variance is that of the condition.
    """
    settings = {"variance_type": variance_type, "rescale_betas_zero_snr": zero_snr}
    pipeline = tiny_pipeline(prediction_type, out_channels=6 if variance_type == "learned_range" else 3, **settings)
    samples = generate(pipeline, "fire", 4, generator=seeded(5), guidance_scale=scale)
    alpha_bar, (generator,) = zero_terminal(cosine_betas()) if zero_snr else ALPHA_BAR, seeded(5)
    x = torch.randn(1, *SHAPE, generator=generator)
    for t, following in ((999, 749), (749, 499), (499, 249), (249, None)):
        uncond, cond = (predict(pipeline, x, t, slots).double() for slots in ((ANY, ANY), (FIRE, ANY)))
        mean, bar = (uncond + scale * (cond - uncond))[:, :3], alpha_bar[t]
        alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
        of_epsilon = (x - sigma * mean) / max(alpha, 1e-20)
        clean = {"epsilon": of_epsilon, "v_prediction": alpha * x - sigma * mean, "sample": mean}[prediction_type]
        clean = clean.clamp(-1, 1)
        if following is not None:
            before = alpha_bar[following]
            beta = 1 - bar / before
            small = (1 - before) / (1 - bar) * beta
            v = {"fixed_small": 0.0, "fixed_large": 1.0, "learned_range": (cond[:, 3:] + 1) / 2}[variance_type]
            std = beta ** (v / 2) * small ** ((1 - v) / 2)
            x = math.sqrt(before) * beta / (1 - bar) * clean + math.sqrt(bar / before) * (1 - before) / (1 - bar) * x
            x = (x + std * torch.randn((1, *SHAPE), generator=generator)).float()
    torch.testing.assert_close(samples.double(), clean, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_variance_that_the_scheduler_does_not_use_is_left_out(name):
    pipeline = with_sampler(name)
    expected = generate(pipeline, ["fire", None], 4, generator=seeded(0, 1))
    pipeline.unet.register_forward_hook(lambda _, __, output: (torch.cat([output[0], output[0]], dim=1),))
    assert torch.equal(generate(pipeline, ["fire", None], 4, generator=seeded(0, 1)), expected)


SPRITE = SPRITES[0]


@pytest.mark.parametrize(("name", "values", "message"), [
    ("pokemon_type", ["fier"], "Did you mean 'fire'.*Known: bug, .*water, none, any"),
    ("pokemon_type", [[]], "empty list"),
    ("size", ["tiny", ["tiny"]], "size is no condition of this model; its conditions are color, pokemon_type."),
    ("types", ["fire"], "types is no condition"), ("pokemon_type+class_labels", ["ice"], "the same argument"),
    ("color", [["red"] * 2, []], "color must have one entry for each pokemon_type .1., but has"),
    ("num_images_per_type", [0, True, 1.5, "2", 10**12], "must be a whole number from 1 to 10000"),
    ("num_inference_steps", [0, 1001, 2.5, "2" * 900_000, True], "num_inference_steps must be a whole number fr"),
    ("guidance_scale", [NAN, math.inf, "2", [2.0], True, 1001, torch.ones(1)], "guidance_scale must be a number"),
    ("strength", [0.5], "strength needs an image"),
    ("image", ["sprite.png", [None]], "image must be a tensor, or an image of 8 bits a channel such as RGB, not"),
    ("image", [SPRITE.convert("F"), SPRITE.convert("I")], "8 bits a channel such as RGB, not one of mode [FI]"),
    ("image", [SPRITES], "image must have one entry for each image .1., but has 2"),
    ("image", [2 * CLEAN[:1], CLEAN[:1] * NAN], "image must have finite floating-point values in .-1, 1."),
    ("image+strength", [-0.1, 1.1, NAN, True, "a"], "strength must be a number from 0 to 1"),
    ("generator", [seeded(0, 1), []], "generator must have one entry for each image .1., but has"),
    ("generator", [42, [42], tuple(seeded(0))], "generator must be a torch.Generator"),
    ("latents", [torch.zeros(2, *SHAPE), torch.zeros(SHAPE), [[0.0]], np.zeros((1, *SHAPE))],
     r"latents must be a tensor of shape \(1, 3, 16, 16\)"),
    ("latents", [torch.zeros(1, *SHAPE).to(dtype) for dtype in (torch.long, torch.cfloat)], "have finite floating"),
    ("pokemon_type+class_embeddings", [torch.zeros(1, 32)], "class_embeddings replaces pokemon_type"),
    ("class_embeddings", [torch.zeros(2, 31), torch.zeros(32), torch.zeros(0, 32), torch.tensor(1.0), [[0.0]]],
     r"class_embeddings must be a tensor of shape \([12], 32\)"),
    ("output_type", ["PIL", ["pil"], None], "output_type must be one of pil, np, pt, latent"),
    ("callback_on_step_end_tensor_inputs", [["noise"], "latents", 5], "a list of latents, pred_original_sample"),
])  # fmt: skip
def test_wrong_arguments_are_refused_before_the_network_is_evaluated(name, values, message):
    pipeline = tiny_pipeline(vocabulary={"type": list(TYPES), "color": ["red"]})
    calls = network_calls(pipeline)
    *others, name = name.split("+")
    for value in values:
        arguments = {other: {"image": SPRITE, "pokemon_type": "fire"}[other] for other in others}
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            pipeline(**{"num_inference_steps": 2, **arguments, name: value})
        assert len(str(caught.value)) < 500
    assert calls == []


@pytest.mark.parametrize(("names", "settings", "message"), [
    (["FlowMatchEulerDiscrete", "DEISMultistep"], {}, "is not supported; use one of DDPMScheduler, "),
    *((["DPMSolverMultistep", "UniPCMultistep"], {f"use_{kind}_sigmas": True},
       f"has use_{kind}_sigmas=True, which gives wrong") for kind in ("karras", "exponential", "beta", "flow")),
    (["DDIM"], {"beta_schedule": "linear"}, "another noise schedule than the model was trained with"),
    (["DDIM"], {"num_train_timesteps": 500}, "another noise schedule"),
    (["DDIM"], {"rescale_betas_zero_snr": True}, "another noise schedule"),
    (["DDIM"], {"prediction_type": "epsilon"}, "prediction_type 'epsilon', but .* with 'v_prediction'"),
    *((["DDPM", "DDIM", "DPMSolverMultistep", "UniPCMultistep"], {"steps_offset": n, "timestep_spacing": "leading"},
       "has timesteps from .*, outside 999 to 0; change its steps_offset") for n in (500, -500)),
    *((["DDPM"], {"variance_type": kind}, f"has variance_type {kind!r}, not one of fixed_small")
      for kind in ("learned", "learned_range", "fixed_large_log")),
])  # fmt: skip
def test_schedulers_that_cannot_work_are_refused(names, settings, message):
    for name in names:
        pipeline = with_scheduler(f"{name}Scheduler", settings)
        calls = network_calls(pipeline)
        with pytest.raises(ValueError, match=f"^{name}Scheduler .*{message}"):
            generate(pipeline, "fire")
        assert calls == []


def test_a_distilled_model_has_its_own_steps_and_scheduler(pipeline):
    own = student_scheduler(pipeline.scheduler)
    student = PokemonDDPMPipeline(pipeline.unet, pipeline.conditioner, own, 4, guidance_scale=1.0)
    calls = network_calls(student)
    with pytest.raises(ValueError, match="distilled to 4 steps of its own scheduler; leave out num_inference_steps"):
        student("fire", num_inference_steps=16)
    student.scheduler = DDIMScheduler.from_config(own.config)
    with pytest.raises(ValueError, match="keep the scheduler, or use its teacher"):
        student("fire")
    student.scheduler = own
    student("fire")
    assert calls == [(1, t) for t in (999, 749, 499, 249)]


def test_infinite_samples_are_refused():
    pipeline = tiny_pipeline()
    torch.nn.init.constant_(pipeline.unet.conv_out.weight, 1e38)
    with pytest.raises(ValueError, match="The samples are NaN or infinite"):
        pipeline("fire", num_inference_steps=2)


def test_each_image_draws_what_is_not_given_from_its_own_seed():
    drawing, kinds, given = drawing_pipeline(), ["fire", "water", None], [None, "any", "red"]
    drawn = [drawing.conditioner.draw(kinds[i], {"color": given[i]}, 11 + i) for i in range(3)]
    assert [set(attributes) for attributes in drawn] == [{"color", "shape"}, {"shape"}, {"shape"}]
    colors, shapes = [drawn[0]["color"], "any", "red"], [attributes["shape"] for attributes in drawn]
    samples = generate(drawing, kinds, color=given, generator=seeded(11, 12, 13))
    assert torch.equal(samples, generate(drawing, kinds, color=colors, shape=shapes, generator=seeded(11)[0]))
    averaged = generate(drawing, kinds, color="any", shape="any", generator=seeded(11)[0])
    assert not torch.isclose(samples, averaged).flatten(1).all(dim=1).any()
    given = {"image": Image.new("RGBA", (16, 16), "red")}  # for which nothing is drawn
    samples = generate(drawing, "fire", generator=seeded(3), **given)
    assert torch.equal(samples, generate(drawing, "fire", generator=seeded(3), color="any", shape="any", **given))
