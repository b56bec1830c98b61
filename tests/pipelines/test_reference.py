"""Generation from a reference sprite: both guidances, what can be a reference, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import TYPES, VIEWS
from tests.pipelines.test_pipeline import ANY, FIRE, embedding, generate, network_inputs, with_scheduler
from tests.tiny_models import RELATIONS, network_calls, tiny_pipeline

SAME = 0
SHAPE = (4, 16, 16)


@pytest.fixture
def pipeline():
    """The network predicts the sample, so the only step of `generate` returns the guided prediction."""
    pipeline = tiny_pipeline("sample", channels=4, vocabulary={"type": TYPES, "view": VIEWS, "relation": RELATIONS})
    torch.nn.init.normal_(pipeline.unet.conv_in.weight, std=0.1)  # it starts without a reference
    pipeline.scheduler = with_scheduler("DDIMScheduler", {"clip_sample": False}, "sample").scheduler
    return pipeline


def sprite(side: int = 12, mode: str = "RGB") -> Image.Image:
    """A square with a black outline, and white inside that is no background."""
    pixels = np.full((side + 6, side + 8, 4), (255, 255, 255, 0), dtype=np.uint8)
    pixels[2 : side + 2, 3 : side + 3] = (0, 0, 0, 255)
    pixels[3 : side + 1, 4 : side + 2] = (200, 40, 60, 255)
    pixels[5:7, 6:8] = 255
    return Image.fromarray(pixels).convert(mode) if mode == "RGBA" else Image.fromarray(pixels[..., :3])


@pytest.mark.parametrize(("scale", "image_scale"), [(3.0, 1.0), (1.0, 2.0), (2.5, 1.5), (1.0, 1.0), (0.0, 0.0)])
def test_both_guidances(pipeline, scale, image_scale):
    """uncond + s_I (image - uncond) + s (cond - image), Brooks et al. 2023, equation 3."""
    noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    reference = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(2)) * 2 - 1

    def predict(slots: tuple[int, int], given: torch.Tensor, **ids: int) -> torch.Tensor:
        labels = embedding(pipeline, slots, **ids).expand(2, -1)
        with torch.no_grad():
            return pipeline.unet(noise, 999, class_labels=labels, reference=given).sample.double()

    cond = predict((FIRE, ANY), reference, relation=SAME, view=1)
    image, uncond = predict((ANY, ANY), reference, relation=SAME, view=1), predict((ANY, ANY), torch.zeros(2, *SHAPE))
    calls = network_calls(pipeline)
    arguments = {"reference_image": reference, "view": "back", "latents": noise}
    found = generate(pipeline, ["fire"] * 2, 1, guidance_scale=scale, image_guidance_scale=image_scale, **arguments)
    expected = uncond + image_scale * (image - uncond) + scale * (cond - image)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    assert [batch for batch, _ in calls] == [2 * (3 if image_scale != 1 else 2 if scale != 1 else 1)]


@pytest.mark.parametrize(("own", "given", "same_as"), [
    ({}, {}, {"guidance_scale": 2.0, "image_guidance_scale": 1.0, "relation": ["same", None]}),
    ({"image_guidance_scale": 2.0}, {}, {"image_guidance_scale": 2.0}),
    ({"reference_guidance_scale": 3.0}, {}, {"guidance_scale": 3.0}),
    ({"reference_guidance_scale": 3.0}, {"reference_image": None}, {"guidance_scale": 2.0}),
])  # fmt: skip
def test_the_defaults_are_the_same_creature_and_the_scales_of_the_model(pipeline, own, given, same_as):
    pipeline.register_to_config(**own)
    arguments = {"reference_image": sprite(), "latents": torch.randn(2, *SHAPE), **given}
    found = generate(pipeline, ["fire", "water"], 2, **arguments)
    assert torch.equal(found, generate(pipeline, ["fire", "water"], 2, **arguments | same_as))


@pytest.mark.parametrize("mirrors", [False, True])
def test_references_of_another_view_are_mirrored_for_networks_that_learned_so(pipeline, mirrors):
    pipeline.unet.register_to_config(mirrors_references=mirrors)
    references, given = torch.rand(3, *SHAPE) * 2 - 1, []
    forward = pipeline.unet.forward
    pipeline.unet.forward = lambda *args, **kwargs: given.append(kwargs["reference"]) or forward(*args, **kwargs)
    views = {"view": ["back", "front", "any"], "guidance_scale": 1, "reference_image": references}
    for shown, turned in {"front": [True, False, False], "back": [False, True, False], None: [False] * 3}.items():
        generate(pipeline, ["fire"] * 3, 1, reference_view=shown, **views)
        expected = torch.where(torch.tensor(turned).view(3, 1, 1, 1) & mirrors, references.flip(-1), references)
        assert torch.equal(given.pop(), expected)
    pipeline.register_to_config(default_conditions={"view": "front"})
    generate(pipeline, ["fire"] * 3, 1, **views)
    assert torch.equal(given[0][0], references[0].flip(-1) if mirrors else references[0])


def test_an_interpolation_with_a_reference_is_of_the_same_creature(pipeline):
    seeds, arguments = [torch.Generator().manual_seed(5) for _ in range(3)], {"reference_image": sprite()}
    arguments |= {"num_inference_steps": 2, "output_type": "latent"}
    ends = pipeline.interpolate("fire", "fire", 2, seeds[:2], **arguments).images
    alone = pipeline("fire", generator=seeds[2], **arguments).images
    torch.testing.assert_close(ends, alone.expand_as(ends), rtol=0, atol=1e-4)


def test_an_image_of_the_same_view_begins_with_the_noised_reference(pipeline):
    pipeline.register_to_config(default_conditions={"view": "front"})
    reference, noise = torch.rand(2, *SHAPE) * 2 - 1, torch.randn(2, *SHAPE)
    inputs = network_inputs(pipeline)

    def first(count: int, **arguments) -> torch.Tensor:
        inputs.clear()
        generate(pipeline, ["fire"] * 2, 10, latents=noise, guidance_scale=1, reference_image=reference, **arguments)
        assert len(inputs) == count
        return inputs[0][0]

    for arguments in ({}, {"view": "Front"}, {"view": "back", "reference_view": "back"}):
        found = first(9, **arguments)
        start = pipeline.scheduler.timesteps[1:2]
        noised = pipeline.scheduler.add_noise(reference * pipeline.scaling_factor, noise, start)
        torch.testing.assert_close(found, noised)
    for arguments in ({"view": "back"}, {"view": ["front", "back"]}, {"reference_view": "back"}):
        assert torch.equal(first(10, **arguments), noise)
    with pytest.raises(ValueError, match="Unknown view 'bakc'. Did you mean 'back'"):
        first(0, reference_view="bakc")
    inputs.clear()
    embeddings = pipeline.conditioner.encode(["fire"] * 2, view=["back"] * 2)
    generate(pipeline, None, 10, latents=noise, reference_image=reference, class_embeddings=embeddings)
    assert len(inputs) == 10  # their view is not known
    assert len(first(6, image=reference, strength=0.6)) == 2


@pytest.mark.parametrize(("side", "zoom", "mode"), [(12, 1, "RGB"), (12, 1, "RGBA"), (12, 8, "RGB"), (40, 1, "RGB")])
def test_an_image_is_prepared_as_for_training(pipeline, side, zoom, mode):
    image = sprite(side, mode)
    image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    expected = preprocess(image.convert("RGB"), 16)
    found = pipeline.prepare_image("reference_image", [image], 1)
    assert np.array_equal(((found[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy(), expected)


def refused(pipeline, **arguments) -> str:
    calls = network_calls(pipeline)
    with pytest.raises(ValueError) as error:
        generate(pipeline, ["fire", "water"], 1, **arguments)
    assert not calls
    return str(error.value)


def test_what_is_refused(pipeline):
    assert "relation can only be 'same', with a reference_image" in refused(pipeline, relation="same")
    for empty in (Image.new("RGB", (20, 20), "white"), Image.new("RGBA", (20, 20), (1, 2, 3, 0))):
        assert "shows nothing" in refused(pipeline, reference_image=empty)
    assert "one entry for each image (2), but has 1" in refused(pipeline, reference_image=[sprite()])
    assert "shape (2, 4, 16, 16)" in refused(pipeline, reference_image=torch.zeros(2, 3, 16, 16))
    for message, arguments in {
        "relation can only be 'same', with a reference_image": {"relation": ["same", "next"]},
        "image_guidance_scale must be a number": {"image_guidance_scale": float("nan")},
    }.items():
        assert message in refused(pipeline, reference_image=sprite(), **arguments)
    assert "not trained with reference sprites" in refused(tiny_pipeline(channels=4), reference_image=sprite())
