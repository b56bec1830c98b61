"""The studio: candidates against the samples of their seeds."""

import torch
from PIL import Image

from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.studio import generate_sprites
from tests.tiny_models import tiny_pipeline


class Reddest:
    """Ranks by the mean of red."""

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0].float().mean(dim=(1, 2))


def test_the_best_candidate_is_the_sample_of_its_seed():
    pipeline, seed = tiny_pipeline(channels=4), 7
    requests = [SpriteRequest(seed, "fire"), SpriteRequest(seed + 3, "ice")]
    found = list(generate_sprites(pipeline, requests, 3, Reddest(), num_inference_steps=2))
    for i, sprite in enumerate(found):
        chosen = sprite.chosen
        seeds = [seed + 3 * i + k for k in range(3)]
        alone = [
            next(generate(pipeline, [SpriteRequest(each, chosen.pokemon_type)], num_inference_steps=2))
            for each in seeds
        ]
        reds = [red(image) for image in alone]
        assert len(set(reds)) == 3 and chosen.seed == seeds[reds.index(max(reds))]
        assert sprite.request == requests[i] and sprite.sample.tobytes() == alone[reds.index(max(reds))].tobytes()
    only, *_ = generate_sprites(pipeline, requests, 1, Reddest(), num_inference_steps=2)
    assert only.chosen == only.request == requests[0]


def red(image: Image.Image) -> float:
    return Reddest().score(as_tensor([to_sprite(image)])).item()
