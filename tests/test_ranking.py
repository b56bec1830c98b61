"""The ranker against its formula by hand, and candidates against the samples of their seeds."""

import pytest
import torch
from PIL import Image

from pokemon_ddpm import ranking
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.ranking import CANDIDATES, VERDICTS, WEIGHTS, SpriteRanker, generate_best
from tests.tiny_models import tiny_pipeline, tiny_student

UNET = {
    "sample_size": 32,
    "block_out_channels": (4, 8, 8, 12),
    "down_block_types": ("DownBlock2D",) * 4,
    "up_block_types": ("UpBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "add_attention": False,
    "class_embed_type": "identity",
    "patch_size": 2,
    "in_channels": 4,
}


@pytest.fixture(scope="module")
def ranker() -> SpriteRanker:
    torch.manual_seed(0)
    ranker = SpriteRanker(UNET, 300, 0.8).eval()
    torch.nn.init.normal_(ranker.noise), torch.nn.init.normal_(ranker.class_embedding)
    return ranker


def sprites(count: int) -> torch.Tensor:
    return torch.randint(256, (count, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_verdicts_are_linear_in_the_activations(ranker, tmp_path):
    images, unet, seen = sprites(3), ranker.unet, []
    clean = 0.5 * (images.float() / 127.5 - 1)
    noisy = 0.8**0.5 * clean + 0.2**0.5 * ranker.noise
    blocks = (unet.mid_block, unet.up_blocks[1], unet.up_blocks[2])
    hooks = [block.register_forward_hook(lambda *given: seen.append(given[2].double())) for block in blocks]
    predicted = unet(noisy, 300, ranker.class_embedding.expand(3, -1)).sample
    [hook.remove() for hook in hooks]
    features = [((predicted - clean) ** 2).mean(dim=(1, 2, 3)).log()[:, None]]
    for each in seen:
        features += [each.mean(dim=(2, 3)), each.amax(dim=(2, 3)), each.std(dim=(2, 3))]
    expected = torch.cat(features, dim=1).float() @ ranker.head.weight.T + ranker.head.bias
    torch.testing.assert_close(ranker(images), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ranker.score(images), expected @ torch.tensor(WEIGHTS), rtol=1e-4, atol=1e-4)
    ranker.save_pretrained(tmp_path)
    again = SpriteRanker.from_pretrained(tmp_path)
    assert torch.equal(again(images), ranker(images)) and expected.shape == (3, len(VERDICTS))


class Reddest:
    """Ranks by the mean of red."""

    noise = torch.zeros(4, 16, 16)

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0].float().mean(dim=(1, 2))


def test_the_best_candidate_is_the_sample_of_its_seed():
    pipeline, seed = tiny_pipeline(channels=4), 7
    requests = [SpriteRequest(seed, "fire"), SpriteRequest(seed + 3, "ice")]
    found = list(generate_best(pipeline, requests, 3, Reddest(), num_inference_steps=2))
    for i, (request, image) in enumerate(found):
        seeds = [seed + 3 * i + k for k in range(3)]
        alone = [
            next(generate(pipeline, [SpriteRequest(each, request.pokemon_type)], num_inference_steps=2))
            for each in seeds
        ]
        reds = [red(image) for image in alone]
        assert len(set(reds)) == 3 and request.seed == seeds[reds.index(max(reds))]
        assert image.tobytes() == alone[reds.index(max(reds))].tobytes()
    (only, _), *_ = generate_best(pipeline, requests, 1, Reddest(), num_inference_steps=2)
    assert only == requests[0]


def red(image: Image.Image) -> float:
    return Reddest().score(as_tensor([to_sprite(image)])).item()


def test_a_model_of_another_size_has_no_candidates():
    with pytest.raises(ValueError, match="needs samples of 4x16x16, but this model makes 3x16x16; choose 1 candidate"):
        next(generate_best(tiny_pipeline(), [SpriteRequest(0)], 2, Reddest()))


def test_the_ranker_is_for_sprites_of_its_size_with_types():
    own = tiny_student(64, {"type": ["orcs", "elves"]})
    assert [ranking.can_rank(each) for each in (tiny_student(64), tiny_student(16), own)] == [True, False, False]


def test_by_default_only_distilled_models_of_its_size_have_candidates(monkeypatch):
    monkeypatch.setattr(ranking, "can_rank", lambda pipeline: pipeline.sample_shape[0] == 4)
    students = [tiny_student(16), tiny_pipeline(channels=4), tiny_pipeline()]
    assert [ranking.default_candidates(each) for each in students] == [CANDIDATES, 1, 1]
