"""Many sprites: each is the same whatever is drawn beside it, and can be watched."""

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.generation import SpriteRequest, denoise, generate, watch
from tests.drawing import draw, grey_levels, record_calls, seeded
from tests.generating import knowing_all

REQUESTS = [
    SpriteRequest(0, "fire"),
    SpriteRequest(1, "fire/flying", {"color": "red"}),
    SpriteRequest(2, None, {"view": "back", "size": "huge"}),
    SpriteRequest(3, {"fire": 0.7, "water": 0.3}),
    SpriteRequest(4, ("water", "none"), {"legendary": "yes"}),
    SpriteRequest(5),
]


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def model(request: pytest.FixtureRequest) -> PokemonDDPMPipeline:
    return knowing_all(steps=3).to(dtype=request.param)


@pytest.fixture(scope="module")
def together(model: PokemonDDPMPipeline) -> list[bytes]:
    return pictures(model, REQUESTS)


@pytest.fixture
def known() -> PokemonDDPMPipeline:
    return knowing_all(steps=3)


def pictures(pipeline: PokemonDDPMPipeline, requests: list[SpriteRequest], **arguments: object) -> list[bytes]:
    return [image.tobytes() for image in generate(pipeline, requests, **arguments)]


def test_six_requests_are_six_different_pictures(together: list[bytes]) -> None:
    assert len(together) == len(set(together)) == 6


@pytest.mark.parametrize("i", range(6))
def test_a_picture_alone_is_the_one_among_others(model: PokemonDDPMPipeline, together: list[bytes], i: int) -> None:
    assert pictures(model, [REQUESTS[i]]) == [together[i]]


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [2, 0, 5, 1], [4, 1, 1, 0, 3]])
def test_the_order_changes_no_picture(model: PokemonDDPMPipeline, together: list[bytes], order: list[int]) -> None:
    assert pictures(model, [REQUESTS[i] for i in order]) == [together[i] for i in order]


def test_a_picture_is_that_of_a_free_call(known: PokemonDDPMPipeline) -> None:
    (image,) = generate(known, [REQUESTS[1]], guidance_scale=1.5)
    expected = draw(known, ("flying", "fire"), 3, "pil", color="red", guidance_scale=1.5, generator=seeded(1))
    assert grey_levels([image], expected) <= 1


@pytest.mark.parametrize("way", ["type", "word", "seed", "scale"])
def test_everything_that_is_asked_changes_the_picture(known: PokemonDDPMPipeline, way: str) -> None:
    asked = {"seed": 0, "pokemon_type": "fire", "words": {"color": "red"}}
    other = {"type": {"pokemon_type": "water"}, "word": {"words": {"color": "blue"}}, "seed": {"seed": 1}}
    before = pictures(known, [SpriteRequest(**asked)], guidance_scale=2)
    scale = 3 if way == "scale" else 2
    assert pictures(known, [SpriteRequest(**asked | other.get(way, {}))], guidance_scale=scale) != before


@pytest.mark.parametrize(("scale", "rows"), [(1, 4), (2, 8)])
@pytest.mark.parametrize("count", [1, 4, 5])
def test_the_network_is_always_asked_for_whole_chunks(
    known: PokemonDDPMPipeline, count: int, scale: float, rows: int
) -> None:
    calls = record_calls(known)
    found = list(generate(known, [SpriteRequest(seed, "fire") for seed in range(count)], guidance_scale=scale))
    assert len(found) == count
    assert [size for size, _ in calls] == [rows] * 3 * (-(-count // 4))


def test_no_requests_are_no_pictures(known: PokemonDDPMPipeline) -> None:
    calls = record_calls(known)
    assert list(generate(known, [])) == denoise(known, []) == calls == []


def test_pictures_come_as_soon_as_their_chunk_is_drawn(known: PokemonDDPMPipeline) -> None:
    calls = record_calls(known)
    drawn = generate(known, [SpriteRequest(seed) for seed in range(8)])
    next(drawn)
    assert len(calls) == 3
    assert len(list(drawn)) == 7 and len(calls) == 6


def test_a_mistake_is_raised_before_anything_is_drawn(known: PokemonDDPMPipeline) -> None:
    calls = record_calls(known)
    with pytest.raises(ValueError, match="Unknown type 'fyre'"):
        next(generate(known, [SpriteRequest(0, "fyre")]))
    assert calls == []


# Denoising


def test_denoising_ends_with_the_picture(model: PokemonDDPMPipeline, together: list[bytes]) -> None:
    frames = denoise(model, REQUESTS)
    assert [len(each) for each in frames] == [4] * 6  # three steps and the end
    assert [each[-1].tobytes() for each in frames] == together


def test_the_frames_of_a_sprite_are_the_same_alone(model: PokemonDDPMPipeline) -> None:
    (alone,) = denoise(model, [REQUESTS[4]])
    assert [frame.tobytes() for frame in alone] == [frame.tobytes() for frame in denoise(model, REQUESTS)[4]]


def _expected_clean(pipeline: PokemonDDPMPipeline, noisy: torch.Tensor, t: int) -> torch.Tensor:
    """x_0 from a prediction of v, without guidance (Salimans & Ho 2022, section 4)."""
    bar = np.cumprod(1 - pipeline.scheduler.betas.double().numpy())[t]
    with torch.no_grad():
        v = pipeline.unet(noisy, t, class_labels=pipeline.conditioner.encode(["fire"]), return_dict=False)[0]
    return (bar**0.5 * noisy - (1 - bar) ** 0.5 * v).clamp(-1, 1)


def _as_pixels(sample: torch.Tensor) -> np.ndarray:
    return ((sample[0].float() / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).numpy()


def _distance(image: Image.Image, sample: torch.Tensor) -> float:
    return float(np.abs(np.asarray(image, dtype=np.float32) - _as_pixels(sample)).max())


def test_the_first_frame_is_what_the_network_expects_of_the_noise(known: PokemonDDPMPipeline) -> None:
    (frames,) = denoise(known, [SpriteRequest(7, "fire")], guidance_scale=1)
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    assert _distance(frames[0], _expected_clean(known, noise, 999)) <= 1.5  # one grey level, and rounding


# Watching


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_watching_sees_every_step(known: PokemonDDPMPipeline, steps: int) -> None:
    calls = record_calls(known)
    seen = watch(known, REQUESTS[0], num_inference_steps=steps)
    assert [timestep for timestep, _, _ in seen] == [timestep for _, timestep in calls]
    assert len(seen) == steps and seen[0][0] == 999


def test_the_last_sample_that_is_watched_is_the_picture(model: PokemonDDPMPipeline, together: list[bytes]) -> None:
    assert [watch(model, each)[-1][1].tobytes() for each in REQUESTS] == together


def test_what_is_expected_is_that_of_denoising(known: PokemonDDPMPipeline) -> None:
    (frames,) = denoise(known, [REQUESTS[0]])
    assert [expected.tobytes() for _, _, expected in watch(known, REQUESTS[0])] == [f.tobytes() for f in frames[:-1]]


def test_what_is_watched_are_the_samples_of_the_steps(known: PokemonDDPMPipeline) -> None:
    samples: list[torch.Tensor] = []

    def see(pipeline, step, timestep, tensors):
        samples.append(tensors["latents"])
        return {}

    draw(known, "fire", 3, guidance_scale=1, generator=seeded(0), callback_on_step_end=see)
    seen = watch(known, REQUESTS[0], guidance_scale=1)
    for i, (timestep, after, expected) in enumerate(seen):
        assert _distance(after, samples[i]) <= 1.5
        before = samples[i - 1] if i else torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert _distance(expected, _expected_clean(known, before, timestep)) <= 1.5
