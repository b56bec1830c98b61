"""Generation from requests: the same image in any order, every step of it, and files that can be repeated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, generation
from pokemon_ddpm.diffusion import make_sampler
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, generate, read_settings
from pokemon_ddpm.postprocessing import enlarge, remove_background, to_sprite
from pokemon_ddpm.preprocessing import on_white
from pokemon_ddpm.studio import Job, generate_files, generate_sprites
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.tiny_models import network_calls, seeded, tiny_pipeline

REQUESTS = [
    SpriteRequest(0, "fire"),
    SpriteRequest(1, "fire/flying", {"color": "red"}),
    SpriteRequest(2, None, {"view": "back", "size": "huge"}),
    SpriteRequest(3, {"fire": 0.7, "water": 0.3}),
    SpriteRequest(4, ("water", "none"), {"legendary": "yes"}),
    SpriteRequest(2**64 - 1),
]
SETTINGS = GenerationSettings("a", "ddpm", 2, 3.0, transparent=True, palette=4, min_fragment=3, scale=2, chunk_size=3)


@pytest.fixture
def known() -> PokemonDDPMPipeline:
    """A pipeline of three steps that is conditioned on every attribute."""
    return tiny_pipeline(vocabulary=CONDITIONS, defaults={"num_inference_steps": 3})


def contents(pipeline: PokemonDDPMPipeline, requests: list[SpriteRequest], **arguments: object) -> list[bytes]:
    return [image.tobytes() for image in generate(pipeline, requests, **arguments)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_request_is_the_same_image_bit_for_bit_alone_and_in_any_order(known, dtype):
    together = contents(known.to(dtype=dtype), REQUESTS)
    assert len(together) == len(set(together)) == 6
    for order in ([1], [4], [5], [5, 4, 3, 2, 1, 0]):
        assert contents(known, [REQUESTS[i] for i in order]) == [together[i] for i in order]


@pytest.mark.parametrize(("chunk_size", "scale"), [(8, 1), (8, 2), (4, 2), (1, 1)])
def test_chunks_are_whole_and_yielded_when_they_are_finished(known, chunk_size, scale):
    calls, chunk = network_calls(known), [chunk_size * scale] * 3
    requests = [SpriteRequest(seed, "fire") for seed in range(chunk_size + 1)]
    images = generate(known, requests, guidance_scale=scale, **({} if chunk_size == 8 else {"chunk_size": chunk_size}))
    next(images)
    assert [size for size, _ in calls] == chunk
    assert len(list(images)) == chunk_size and [size for size, _ in calls] == 2 * chunk
    assert list(generate(known, [])) == list(generate_sprites(known, [])) == []
    with pytest.raises(ValueError, match="Unknown type 'fyre'"):
        next(generate(known, [SpriteRequest(0, "fyre")]))


def test_steps_contain_the_sample_and_the_predicted_clean_image(known):
    requests = [REQUESTS[3], REQUESTS[1], *REQUESTS[1:4]]
    made = generate_sprites(known, requests, with_steps=True, guidance_scale=1)
    predicted, names = [], ["pred_original_sample"]
    keep = {"callback_on_step_end": lambda *given: predicted.append(given[3][names[0]]) or {}}
    keep |= {"callback_on_step_end_tensor_inputs": names, "generator": seeded(3)}
    known({"fire": 0.7, "water": 0.3}, guidance_scale=1, **keep)  # the first of them
    for sprite, expected in zip(made, contents(known, requests, guidance_scale=1), strict=True):
        assert sprite.sample.tobytes() == sprite.steps[-1].sample.tobytes() == expected
        assert [step.timestep for step in sprite.steps] == [999, 666, 332]
        for step, tensor in zip(sprite.steps, predicted, strict=True) if sprite.request is requests[0] else ():
            (image,) = known.postprocess(tensor, "pil")
            assert np.abs(np.asarray(step.pred_original_sample, dtype=int) - image).max() <= 1


def test_a_sample_becomes_the_image_of_a_file(known):
    (sample,) = generate(known, REQUESTS[:1])
    for settings, expected in (
        ({}, sample),
        ({"transparent": True}, remove_background(sample)),
        ({"transparent": False, "min_fragment": 4, "scale": 3}, enlarge(on_white(to_sprite(sample, None, 4)), 3)),
    ):
        assert GenerationSettings("somewhere", **settings).postprocess(sample) == expected


def test_a_file_contains_its_settings_and_its_request(tmp_path, known):
    files = generate_files(Job(known, SETTINGS, REQUESTS), tmp_path)
    first = next(files)
    assert [first] == list(tmp_path.iterdir())  # each is written when it is finished
    assert [read_settings(path) for path in [first, *files]] == [(SETTINGS, request) for request in REQUESTS]


def test_only_files_that_are_missing_or_damaged_are_generated(tmp_path, known):
    first, *rest = generate_files(Job(known, SETTINGS, REQUESTS), tmp_path)
    content, calls = first.read_bytes(), network_calls(known)
    assert [first, *rest] == list(generate_files(Job(known, SETTINGS, REQUESTS), tmp_path)) and calls == []
    first.write_bytes(content[:-40])
    before = [path.stat().st_mtime_ns for path in rest]
    list(generate_files(Job(known, SETTINGS, REQUESTS), tmp_path))
    assert first.read_bytes() == content and len(calls) == 2
    assert [path.stat().st_mtime_ns for path in rest] == before
    kept = generate_files(Job(known, replace(SETTINGS, chunk_size=4), REQUESTS[:2]), tmp_path)  # as of versions before
    assert {read_settings(path)[0].chunk_size for path in kept} == {3} and len(calls) == 2
    known.to(torch.bfloat16)
    for change in ({}, {"model": "other"}, {"palette": 5}):
        files = generate_files(Job(known, replace(SETTINGS, **change), REQUESTS[:2]), tmp_path)
        assert {read_settings(path)[0].palette for path in files} == {change.get("palette", 4)}
    assert len(calls) == 2 + 3 * 2


@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "fire\0"])
@pytest.mark.parametrize("where", ["type", "color"])
def test_a_hostile_value_is_refused_and_writes_nothing(tmp_path, known, text, where):
    request = SpriteRequest(0, text) if where == "type" else SpriteRequest(0, "fire", {"color": text})
    assert (tmp_path / request.stem).parent == tmp_path
    with pytest.raises(ValueError, match="Unknown|must be one type, two"):
        list(generate_files(Job(known, SETTINGS, [request]), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_settings_load_their_model(tmp_path, known):
    known.save_pretrained(tmp_path)
    loaded = GenerationSettings(str(tmp_path)).load()
    assert loaded.device == generation.best_device() == torch.device("cpu")
    known.scheduler = make_sampler("dpmsolver++", known.scheduler)
    known.scheduler.register_to_config(solver_order=1)  # as a distilled model has it
    known.save_pretrained(tmp_path / "fast")
    assert GenerationSettings(str(tmp_path / "fast"), "dpmsolver++").load("cpu").scheduler.config.solver_order == 1


@pytest.mark.parametrize(("device", "flags", "expected"), [
    ("cpu", {"avx512_bf16": True}, "bfloat16"),
    ("cpu", {"avx512_f": True, "architecture": "x86_64"}, "float32"),
    ("cpu", None, "float32"),
    ("mps", {"avx512_bf16": True}, "float32"),
])  # fmt: skip
def test_the_best_dtype_is_that_of_the_processor(monkeypatch, device, flags, expected):
    monkeypatch.setattr(generation, "best_device", lambda: torch.device(device))
    if flags is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert generation.best_dtype() == expected
