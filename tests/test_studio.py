"""The studio: seeds as everywhere, and candidates against the samples of their seeds."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, generate, read_settings
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.studio import candidates_of, generate_files, generate_sprites, sample_seed
from tests.tiny_models import drawing_pipeline, tiny_pipeline


class Reddest:
    """Ranks by the mean of red."""

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0].float().mean(dim=(1, 2))


PIPELINE = tiny_pipeline(channels=4)
SEEDS = json.loads(Path(__file__).with_name("sample_seeds.json").read_text())  # the page has them, too


def test_seeds_of_samples_are_those_of_every_version():
    assert [[*key, sample_seed(*key)] for *key, _ in SEEDS] == SEEDS
    assert sample_seed(2**63, "1-front") == 1929474508


def test_neighboring_seeds_and_sprites_share_no_candidate():
    requests = [SpriteRequest(seed, "fire", number=number) for seed in range(50) for number in range(16)]
    seeds = [each.seed for request in requests for each in candidates_of(PIPELINE, request, 8)]
    assert len({*seeds}) == len(seeds) and max(seeds) < 2**31
    assert candidates_of(PIPELINE, SpriteRequest(7), 1) == [SpriteRequest(7)]  # the seed of a sample
    found = [each.seed for each in candidates_of(PIPELINE, SpriteRequest(7), 2)]
    assert found == [sample_seed(7, 0, k) for k in range(2)]


def test_the_best_candidate_is_the_sample_of_its_seed():
    pipeline = tiny_pipeline(channels=4)
    requests = [SpriteRequest(7, "fire", number=0), SpriteRequest(7, "ice", number=1)]
    found = list(generate_sprites(pipeline, requests, 3, Reddest(), num_inference_steps=2))
    for i, sprite in enumerate(found):
        seeds = [sample_seed(7, i, k) for k in range(3)]
        given = [replace(requests[i], seed=each, number=None) for each in seeds]
        alone = [next(generate(pipeline, [each], num_inference_steps=2)) for each in given]
        reds = [red(image) for image in alone]
        assert len(set(reds)) == 3 and sprite.chosen == given[reds.index(max(reds))]
        assert sprite.request == requests[i] and sprite.sample.tobytes() == alone[reds.index(max(reds))].tobytes()
    exact = SpriteRequest(7, "fire")
    (only,) = generate_sprites(pipeline, [exact], 1, num_inference_steps=2)
    assert only.chosen == only.request == exact


def test_candidates_share_what_is_drawn_and_the_record_repeats_it(tmp_path):
    pipeline, conditioner = (found := drawing_pipeline()), found.conditioner
    requests = [SpriteRequest(7, "fire", {"shape": "any"}, 3), SpriteRequest(7, None, {"color": None}, 4)]
    sprites = list(generate_sprites(pipeline, requests, 3, Reddest(), num_inference_steps=2))
    for request, sprite in zip(requests, sprites, strict=True):
        drawn = conditioner.draw(request.pokemon_type, request.attributes, sample_seed(7, request.number))
        assert drawn and sprite.chosen.attributes == {**request.attributes, **drawn}
        alone = next(generate(pipeline, [sprite.chosen], num_inference_steps=2))
        assert alone.tobytes() == sprite.sample.tobytes()
    # One candidate is what the pipeline makes of its seed.
    (only,) = generate_sprites(pipeline, [requests[0]], 1, num_inference_steps=2)
    seeds = [torch.Generator().manual_seed(sample_seed(7, 3)) for _ in range(4)]
    made = pipeline(["fire"] * 4, shape="any", generator=seeds, num_inference_steps=2).images[0]
    assert only.sample.tobytes() == made.tobytes()
    settings = GenerationSettings("tiny", num_inference_steps=2)
    for _ in range(2):  # finished files are found again
        (path,) = generate_files(pipeline, settings, requests[:1], tmp_path, candidates=1)
    _, repeated = read_settings(path)
    assert repeated == only.chosen


def red(image: Image.Image) -> float:
    return Reddest().score(as_tensor([to_sprite(image)])).item()
