"""The ranker against its formula by hand, and which sprites it is for."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pokemon_ddpm import RELEASED, PokemonDDPMPipeline, ranking
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.ranking import MATCH_WEIGHT, PROBES_FILE, RANKER_FILE, VERDICTS, WEIGHTS, SpriteRanker
from pokemon_ddpm.studio import CANDIDATES, default_candidates, generate_sprites
from pokemon_ddpm.vocabulary import TYPES
from tests.tiny_models import ranking_student, tiny_pipeline, tiny_student


def sprites(count: int) -> torch.Tensor:
    return torch.randint(256, (count, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_verdicts_are_linear_in_the_activations(tmp_path, monkeypatch):
    student = ranking_student(32)
    images, unet, seen = sprites(3), student.unet, []
    alpha_bar = student.scheduler.alphas_cumprod[300]
    clean = 0.5 * (images.float() / 127.5 - 1)
    noise = torch.randn((4, 32, 32), generator=torch.Generator().manual_seed(0))
    noisy = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
    blocks = (unet.mid_block, unet.up_blocks[1], unet.up_blocks[2])
    hooks = [block.register_forward_hook(lambda *given: seen.append(given[2].double())) for block in blocks]
    predicted = unet(noisy, 300, student.conditioner({"type": torch.full((3, 2), len(TYPES) + 1)})).sample
    [hook.remove() for hook in hooks]
    features = [((predicted - clean) ** 2).mean(dim=(1, 2, 3)).log()[:, None]]
    for activation in seen:
        features += [activation.mean(dim=(2, 3)), activation.amax(dim=(2, 3)), activation.std(dim=(2, 3))]
    ranker = SpriteRanker(student)
    expected = torch.cat(features, dim=1).float() @ ranker.head.weight.T + ranker.head.bias
    torch.testing.assert_close(ranker.verdicts(images), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ranker.score(images), expected @ torch.tensor(WEIGHTS), rtol=1e-4, atol=1e-4)
    assert expected.shape == (3, len(VERDICTS)) and not unet.mid_block._forward_hooks
    student.save_pretrained(tmp_path)
    save_file(ranker.head.state_dict(), tmp_path / RANKER_FILE)
    monkeypatch.setattr(ranking, "RANKING_MODELS", (str(tmp_path / "none"), str(tmp_path)))
    again = ranking.ranker_for(student)
    assert (
        torch.equal(again.verdicts(images), ranker.verdicts(images)) and ranking.ranker_for(tiny_student(16)) is None
    )


@torch.no_grad()
def test_what_was_asked_for_adds_its_log_probability(tmp_path):
    student, images = ranking_student(32, {"type": [*TYPES], "color": ["red", "blue"]}), sprites(3)
    ranker = SpriteRanker(student)
    save_file(ranker.head.state_dict(), tmp_path / RANKER_FILE)
    weight, bias = torch.randn(2, ranker.head.in_features, generator=torch.Generator().manual_seed(2)), torch.ones(2)
    save_file({"color.weight": weight, "color.bias": bias}, tmp_path / PROBES_FILE)
    again = ranking.read_ranker(student, str(tmp_path))
    logits, plain = ranker.features(images) @ weight.T + bias, ranker.score(images)
    blue = (logits[:, 1].exp() / logits.exp().sum(dim=1)).log()
    torch.testing.assert_close(again.score(images, {"color": "blue", "type": "ice"}), plain + MATCH_WEIGHT * blue)
    assert torch.equal(again.score(images, {"color": "green", "mood": "sad"}), plain) and blue.std() > 0.01
    assert again.same_shape(images[:1], images).tolist() == [0, 0, 0]  # without a probe
    again.probes["shape"] = again.probes["color"]
    red, blue = logits.softmax(dim=1).T
    likely = (red[0] * red + blue[0] * blue).log()
    torch.testing.assert_close(again.same_shape(images[:1], images), MATCH_WEIGHT * likely)


@torch.no_grad()
def test_tags_that_were_asked_for_add_the_mean_of_their_log_probabilities():
    tags = ["fox", "owl", "wings"]
    student, images = ranking_student(32, {"type": [*TYPES], "tags": tags}), sprites(3)
    ranker = SpriteRanker(student)
    plain, features = ranker.score(images), ranker.features(images)
    ranker.probes["tags"] = probe = torch.nn.Linear(features.shape[1], 3)
    probability = 1 / (1 + (-probe(features)).exp())
    expected = plain + MATCH_WEIGHT * (probability[:, 0].log() + probability[:, 2].log()) / 2
    torch.testing.assert_close(ranker.score(images, {"tags": "wings fox new"}), expected)
    for nothing in ({"tags": "any"}, {"tags": None}, {}):
        assert torch.equal(ranker.score(images, nothing), plain)


@pytest.mark.parametrize("forged", ["text", "shape", "nan", "huge", "link", "probe"])
def test_a_forged_ranker_is_refused(tmp_path, forged):
    student, file = ranking_student(32), tmp_path / RANKER_FILE
    weights = SpriteRanker(student).head.state_dict()
    if forged == "text":
        file.write_text("x" * 100)
    elif forged == "probe":
        save_file(weights, file)
        save_file({"training.weight": torch.ones(3, 3)}, file := tmp_path / PROBES_FILE)
    elif forged == "link":
        file.symlink_to("/etc/hostname")
    else:
        save_file({**weights, "bias": {"shape": torch.ones(7)}.get(forged, weights["bias"] * torch.nan)}, file)
    if forged == "huge":
        with file.open("ab") as opened:
            opened.truncate(9 * 2**30)
    with pytest.raises(ValueError, match=f"^{file} is no ranker of this model: "):
        ranking.read_ranker(student, str(tmp_path))


@pytest.mark.parametrize("model", ranking.RANKING_MODELS)
def test_a_released_ranker_is_of_its_network(model):
    """When weights are released anew, benchmarks/train_ranker.py and fit_probes.py fit it again."""
    pipeline = PokemonDDPMPipeline.from_pretrained(model)
    for path in (Path(model, name) for name in (RANKER_FILE, PROBES_FILE)):
        if path.name == RANKER_FILE or ranking.load_ranker(model).probes:
            with safe_open(path, "pt") as file:
                assert file.metadata() == {"weights": weights_digest(pipeline.unet, pipeline.conditioner)}


@pytest.mark.parametrize(("vocabulary", "size", "model"), [
    (None, 64, "pokemon-ddpm-64-fast"),
    ({"type": [*TYPES, "stellar"], "mood": ["sad"]}, 64, "pokemon-ddpm-64-fast"),
    ({"type": ["ice", "rock", "ground"]}, 64, None),
    ({"type": ["fire", "water", "grass"]}, 64, None),
    ({"type": ["orcs", "elves-wood"]}, 64, "wesnoth-ddpm-64-fast"),
    ({"type": ["orcs", "cars"]}, 64, None),
    (None, 16, None),
])  # fmt: skip
def test_a_ranker_is_for_sprites_of_its_size_and_classes(vocabulary, size, model):
    pipeline = tiny_student(size, vocabulary)
    assert ranking.ranker_for(pipeline) is (model and ranking.load_ranker(str(RELEASED / model), "cpu"))
    assert default_candidates(pipeline) == (CANDIDATES if model else 1)
    assert default_candidates(tiny_pipeline(size=size, vocabulary=vocabulary, channels=4)) == 1  # no student
    if not model:
        with pytest.raises(ValueError, match="Only sprites like those of pokemon-ddpm-64-fast and wesnoth.* 1 cand"):
            next(generate_sprites(pipeline, [SpriteRequest(0)], 2))
