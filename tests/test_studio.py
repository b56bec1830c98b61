"""The studio: seeds as everywhere, and candidates against the samples of their seeds."""

import threading
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, studio
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, generate, read_settings
from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.sketch import SKETCHES, drawn_like, drawn_sketch
from pokemon_ddpm.studio import Job, candidates_of, generate_files, generate_sprites, rows_of, sample_seed
from pokemon_ddpm.vocabulary import TYPES
from tests.tiny_models import drawing_pipeline, tiny_pipeline


class Reddest:
    """Ranks by the mean of red, or of blue if that was asked for; scores differ about as overlaps do."""

    def score(self, images: torch.Tensor, asked=MappingProxyType({})) -> torch.Tensor:
        return images[:, 2 if asked.get("color") == "blue" else 0].float().mean(dim=(1, 2)) / 20


PIPELINE = tiny_pipeline(channels=4)


def test_neighboring_seeds_and_sprites_share_no_candidate():
    requests = [SpriteRequest(seed, "fire", number=number) for seed in range(50) for number in range(16)]
    seeds = [candidate.seed for request in requests for candidate in candidates_of(PIPELINE, request, 8)]
    assert len({*seeds}) == len(seeds) and max(seeds) < 2**31
    assert candidates_of(PIPELINE, SpriteRequest(7), 1) == [SpriteRequest(7)]  # the seed of a sample
    seeds = [candidate.seed for candidate in candidates_of(PIPELINE, SpriteRequest(7), 2)]
    assert seeds == [sample_seed(7, 0, k) for k in range(2)]


def test_the_best_candidate_is_the_sample_of_its_seed():
    pipeline = tiny_pipeline(channels=4, vocabulary={"type": [*TYPES], "color": ["blue"]})
    requests = [SpriteRequest(7, "fire", number=0), SpriteRequest(7, "ice", {"color": "blue"}, number=1)]
    sprites = list(generate_sprites(pipeline, requests, 3, Reddest(), num_inference_steps=2))
    for i, sprite in enumerate(sprites):
        seeds = [sample_seed(7, i, k) for k in range(3)]
        given = [replace(requests[i], seed=seed, number=None) for seed in seeds]
        alone = [next(generate(pipeline, [request], num_inference_steps=2)) for request in given]
        scores = Reddest().score(as_tensor(map(to_sprite, alone)), requests[i].attributes).tolist()
        assert len(set(scores)) == 3 and sprite.chosen == given[best := scores.index(max(scores))]
        assert sprite.request == requests[i] and sprite.sample.tobytes() == alone[best].tobytes()
    exact = SpriteRequest(7, "fire")
    (only,) = generate_sprites(pipeline, [exact], 1, num_inference_steps=2)
    assert only.chosen == only.request == exact


@pytest.mark.parametrize("is_shared", [False, True])
def test_samples_are_generated_ahead_unless_the_ranker_has_the_same_network(monkeypatch, is_shared):
    threads, ranker = set(), Reddest()
    ranker.unet = PIPELINE.unet if is_shared else None
    PIPELINE.unet.register_forward_pre_hook(lambda *_: threads.add(threading.current_thread()))
    requests = [SpriteRequest(7, "fire", number=i) for i in range(3)]
    assert len(list(generate_sprites(PIPELINE, requests, 2, ranker, num_inference_steps=1))) == 3
    assert (threads == {threading.main_thread()}) == is_shared and len(threads) == 1


def test_candidates_share_what_is_drawn_half_have_a_sketch_and_the_record_repeats_them(tmp_path):
    pipeline = drawing_pipeline()
    requests = [SpriteRequest(7, "fire", {"shape": "any"}, 3), SpriteRequest(7, None, {"color": None}, 4)]
    requests += [SpriteRequest(7, "ice", {"shape": "legs"}, 5), SpriteRequest(7, "ice", {}, 6, sketch="whale")]
    sprites = list(generate_sprites(pipeline, requests, 5, Reddest(), num_inference_steps=4))
    halves = ([0, 1], [3, 4], [], [])  # no sketch has legs
    for request, sprite, places in zip(requests, sprites, halves, strict=True):
        alike = drawn_like("whale", {"type": "ice"}, 7, 6) if request.sketch else {}
        given = {**request.attributes, **{name: alike[name] for name in alike if name in ("color", "shape")}}
        drawn = given | pipeline.conditioner.draw(request.pokemon_type, given, sample_seed(7, request.number))
        expected = []
        for i, seed in enumerate(sample_seed(7, request.number, k) for k in range(5)):
            candidate = replace(request, seed=seed, attributes={**request.attributes, **drawn}, number=None)
            if i in places:
                sketch = drawn_sketch(filter(None, [request.pokemon_type]), None, seed)
                shape = request.attributes.get("shape", SKETCHES[sketch]["shape"])
                with_shape = candidate.attributes | {"shape": shape}
                candidate = replace(candidate, attributes=with_shape, sketch=sketch, strength=0.75)
            expected.append(candidate)
        assert drawn and candidates_of(pipeline, request, 5) == expected and sprite.chosen in expected
        alone = next(generate(pipeline, [sprite.chosen], num_inference_steps=4))
        assert alone.tobytes() == sprite.sample.tobytes()
    assert 0.75 in [sprite.chosen.strength for sprite in sprites]
    # One candidate is what the pipeline makes of its seed.
    (only,) = generate_sprites(pipeline, [requests[0]], 1, num_inference_steps=2)
    seeds = [torch.Generator().manual_seed(sample_seed(7, 3)) for _ in range(8)]
    made = pipeline(["fire"] * 8, shape="any", generator=seeds, num_inference_steps=2).images[0]
    assert only.sample.tobytes() == made.tobytes()
    settings = GenerationSettings("tiny", num_inference_steps=2)
    for _ in range(2):  # finished files are found again
        (path,) = generate_files(Job(pipeline, settings, requests[:1]), tmp_path)
    assert read_settings(path)[1] == only.chosen


def chosen_alone(pipeline: PokemonDDPMPipeline, requests: list[SpriteRequest], weight: float) -> list[SpriteRequest]:
    """The greedy choice in one row, of samples that are made alone."""
    chosen, row = [], []
    for request in requests:
        given = candidates_of(pipeline, request, 4)
        images = [to_sprite(next(generate(pipeline, [candidate], num_inference_steps=2))) for candidate in given]
        alike = [overlaps(as_tensor([image]), as_tensor(row)).max().item() if row else 0 for image in images]
        best = (Reddest().score(as_tensor(images)) - weight * torch.tensor(alike)).argmax()
        chosen.append(given[best])
        row.append(images[best])
    return chosen


ROWS = [[SpriteRequest(5, kind, number=start + i) for i in range(4)] for start, kind in enumerate(("fire", "ice"))]


def test_a_row_is_chosen_one_after_the_other_unlike_those_before():
    made = generate_sprites(PIPELINE, [*ROWS[0], *ROWS[1]], 4, Reddest(), num_inference_steps=2)
    chosen = [sprite.chosen for sprite in made]
    expected = [chosen_alone(PIPELINE, row, studio.LIKENESS_WEIGHT) for row in ROWS]
    assert [chosen[:4], chosen[4:]] == expected
    best = [chosen_alone(PIPELINE, row, 0) for row in ROWS]
    assert all(one != other for one, other in zip(expected, best, strict=True))


def test_rows_have_equal_conditions_and_at_most_16_sprites():
    conditions = [("fire", {}), ("fire", {"color": "red"}), *[(None, {})] * 20, ("fire", {})]
    requests = [SpriteRequest(7, *condition, number=i) for i, condition in enumerate(conditions)]
    numbers = [[request.number for request in row] for row in rows_of(requests)]
    assert numbers == [[0], [1], [*range(2, 18)], [*range(18, 22)], [22]] and rows_of([]) == []


def test_a_folder_that_is_continued_has_the_sprites_of_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr(studio, "ranker_for", lambda _: Reddest())
    settings = GenerationSettings("tiny", num_inference_steps=2, palette=4, scale=3)
    job = Job(PIPELINE, settings, [*ROWS[0], *ROWS[1]], 4)
    whole = {path: path.read_bytes() for path in generate_files(job, tmp_path)}
    for lost in ([1, 2, 6], range(3, 8)):
        for path in (list(whole)[i] for i in lost):
            path.unlink()
        assert {path: path.read_bytes() for path in generate_files(job, tmp_path)} == whole
