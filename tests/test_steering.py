"""Steering: nine attributes together and one by one, blends, embeddings given, and the way between two sprites."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.conftest import tiny_pipeline
from tests.drawing import ANY, FIRE, FLYING, WATER, draw, record_calls, seeded, with_scheduler

NONE = 18
# A word of each attribute with its id, which is its position in the vocabulary.
ASKED = {
    "color": ("red", 7), "shape": ("wings", 13), "game": ("gen5", 4), "view": ("back", 1), "finish": ("shiny", 1),
    "size": ("large", 3), "form": ("mega", 1), "legendary": (True, 1),
}  # fmt: skip
WORDS = {name: word for name, (word, _) in ASKED.items()}


@pytest.fixture
def knowing() -> PokemonDDPMPipeline:
    """A tiny pipeline whose conditioner knows all nine attributes."""
    pipeline = tiny_pipeline()
    torch.manual_seed(1)
    words = {name: list(names) for name, names in CONDITIONS.items()}
    pipeline.register_modules(conditioner=SpriteConditioner(words, embedding_dim=32).eval())
    return with_scheduler(pipeline, DDIMScheduler)


def told(pipeline: PokemonDDPMPipeline, *asked, **arguments) -> torch.Tensor:
    """The class embeddings that the network is given."""
    given: list[torch.Tensor] = []
    hook = pipeline.unet.register_forward_pre_hook(
        lambda _, __, named: given.append(named["class_labels"]), with_kwargs=True
    )
    draw(pipeline, *asked, steps=1, guidance_scale=1, **arguments)
    hook.remove()
    return given[0]


def row(pipeline: PokemonDDPMPipeline, slots: tuple[int, int] = (ANY, ANY), **ids: int) -> torch.Tensor:
    """The sum of the tables' rows: of two types and of each attribute the row of its id, else the last one, any."""
    tables = pipeline.conditioner.state_dict()
    total = tables["tables.type_embedding.weight"].double()[list(slots)].sum(dim=0)
    for name in pipeline.conditioner.vocabulary.keys() - {"type"}:
        total = total + tables[f"tables.{name}_embedding.weight"].double()[ids.get(name, -1)]
    return total.float()


# Attributes


def test_nine_attributes_are_asked_for_together(knowing):
    assert len(knowing.conditioner.vocabulary) == 9
    expected = row(knowing, (FIRE, FLYING), **{name: number for name, (_, number) in ASKED.items()})
    torch.testing.assert_close(told(knowing, ("fire", "flying"), **WORDS)[0], expected)


@pytest.mark.parametrize("left_out", ASKED)
def test_each_attribute_can_be_left_out(knowing, left_out):
    words = {name: word for name, word in WORDS.items() if name != left_out}
    expected = row(knowing, (FIRE, ANY), **{name: number for name, (_, number) in ASKED.items() if name != left_out})
    torch.testing.assert_close(told(knowing, "fire", **words)[0], expected)


@pytest.mark.parametrize("name", ASKED)
def test_each_attribute_can_be_asked_for_alone(knowing, name):
    word, number = ASKED[name]
    torch.testing.assert_close(told(knowing, **{name: word})[0], row(knowing, **{name: number}))


def test_all_ways_of_asking_differ_in_the_picture(knowing):
    ways = [{}, WORDS, *({name: word} for name, word in WORDS.items())]
    pictures = [draw(knowing, "fire", 2, generator=seeded(0), **way) for way in ways]
    assert min((one - other).abs().max() for one, other in itertools.combinations(pictures, 2)) > 1e-3


@pytest.mark.parametrize("name", ASKED)
def test_an_attribute_that_the_model_was_not_trained_on_is_refused_by_name(pipeline, name):
    calls = record_calls(pipeline)
    with pytest.raises(ValueError, match=f"This model was not trained on {name}; it knows type."):
        draw(pipeline, "fire", **{name: WORDS[name]})
    assert calls == []


@pytest.mark.parametrize(("truth", "number"), [(False, 0), (True, 1), ("no", 0), ("yes", 1), (" YES ", 1), ("any", 2)])
def test_legendary_is_a_truth_value_or_a_word(knowing, truth, number):
    torch.testing.assert_close(told(knowing, legendary=truth)[0], row(knowing, legendary=number))


def test_a_list_has_one_an_entry_and_a_word_is_for_all(knowing):
    found = told(knowing, ["fire", None], color=["red", None], legendary=[None, False], size="large")
    expected = [row(knowing, (FIRE, ANY), color=7, size=3), row(knowing, legendary=0, size=3)]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("wrong", [{"legendary": "maybe"}, {"color": True}, {"size": 3}, {"shape": "wing s"}], ids=str)
def test_an_unknown_word_is_refused_with_those_that_are_known(knowing, wrong):
    ((name, word),) = wrong.items()
    known = ", ".join([*CONDITIONS[name], "any"])
    calls = record_calls(knowing)
    with pytest.raises(ValueError, match=f"Unknown {name} {word!r}.*Known: {known}"):
        draw(knowing, "fire", **wrong)
    assert calls == []


@pytest.mark.parametrize("words", [["red"], ["red"] * 3, []], ids=len)
def test_a_list_of_another_length_is_refused(knowing, words):
    with pytest.raises(ValueError, match=f"color must have one a pokemon_type, 2, but has {len(words)}"):
        draw(knowing, ["fire", "water"], color=words)


# Blends


def test_a_blend_is_the_weighted_mean_of_the_embeddings(knowing):
    expected = 0.7 * row(knowing, (FIRE, ANY), color=7) + 0.3 * row(knowing, (WATER, ANY), color=7)
    torch.testing.assert_close(told(knowing, {"fire": 0.7, "water": 0.3}, color="red")[0], expected)


@pytest.mark.parametrize("weights", [(7, 3), (1.4, 0.6), (7e-9, 3e-9)])
def test_only_the_ratio_of_the_weights_counts(knowing, weights):
    blend = dict(zip(("fire", "water"), weights, strict=True))
    torch.testing.assert_close(told(knowing, blend), told(knowing, {"fire": 0.7, "water": 0.3}))


def test_a_blend_may_hold_pairs_and_any(knowing):
    found = told(knowing, {"fire/flying": 1, ("water", "none"): 2, None: 1})[0]
    parts = [row(knowing, slots) for slots in ((FIRE, FLYING), (WATER, NONE), (ANY, ANY))]
    torch.testing.assert_close(found, (parts[0] + 2 * parts[1] + parts[2]) / 4)


@pytest.mark.parametrize("blend", [{"fire": 1}, {"fire": 0.3}, {"fire": 2, "water": 0}], ids=str)
def test_a_blend_of_one_is_that_type(knowing, blend):
    one, other = (draw(knowing, asked, generator=seeded(0)) for asked in (blend, "fire"))
    assert torch.equal(one, other)


def test_the_order_of_a_blend_does_not_matter(knowing):
    parts = {"fire": 0.2, "water": 0.5, "ice/flying": 0.3}
    orders = [dict(order) for order in itertools.permutations(parts.items())]
    found = [told(knowing, order) for order in orders]
    torch.testing.assert_close(torch.cat(found), found[0].expand(len(found), -1))


def test_a_list_mixes_blends_and_types(knowing):
    found = told(knowing, ["ice", {"fire": 1, "water": 1}, None], color=["red", "red", None])
    middle = (row(knowing, (FIRE, ANY), color=7) + row(knowing, (WATER, ANY), color=7)) / 2
    torch.testing.assert_close(found, torch.stack([row(knowing, (11, ANY), color=7), middle, row(knowing)]))


@pytest.mark.parametrize(
    ("blend", "kind", "message"),
    [
        ({}, ValueError, "must not be negative and sum up to a positive number, but pokemon_type is {}"),
        ({"fire": 0}, ValueError, "sum up to a positive number"),
        ({"fire": 0, "water": 0.0}, ValueError, "sum up to a positive number"),
        ({"fire": 2, "water": -1}, ValueError, "must not be negative"),
        ({"fire": math.nan}, ValueError, "sum up to a positive number"),
        ({"fire": 1, "water": math.nan}, ValueError, "sum up to a positive number"),
        ({"fire": 1, "water": math.inf}, ValueError, "sum up to a positive number"),
        ({"fire": "1"}, TypeError, "weights of a blend are numbers"),
        ({"fire": None}, TypeError, "weights of a blend are numbers"),
        ({"fire": True}, TypeError, "weights of a blend are numbers"),
        ({"fier": 1}, ValueError, "Unknown type 'fier'. Did you mean 'fire'"),
        ({"fire/fire": 1}, ValueError, "same type twice"),
    ],
    ids=str,
)
def test_a_blend_that_means_nothing_is_refused(pipeline, blend, kind, message):
    calls = record_calls(pipeline)
    with pytest.raises(kind, match=message):
        draw(pipeline, blend)
    assert calls == []


# Embeddings


def test_encode_gives_what_the_call_tells_the_network(knowing):
    encoded = knowing.conditioner.encode(["fire", {"ice": 1, None: 1}], **{name: [w, w] for name, w in WORDS.items()})
    torch.testing.assert_close(encoded, told(knowing, ["fire", {"ice": 1, None: 1}], **WORDS))
    numbers = {name: number for name, (_, number) in ASKED.items()}
    torch.testing.assert_close(encoded[0], row(knowing, (FIRE, ANY), **numbers))


def test_embeddings_stand_in_place_of_words(knowing):
    embeddings = knowing.conditioner.encode(["fire", "water/ice"], color=["red", None])
    given = draw(knowing, class_embeddings=embeddings, generator=seeded(0, 1))
    assert torch.equal(given, draw(knowing, ["fire", "water/ice"], color=["red", None], generator=seeded(0, 1)))


def test_each_embedding_has_its_images(knowing):
    embeddings = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    found = told(knowing, class_embeddings=embeddings, num_images_per_type=2)
    assert torch.equal(found, embeddings[[0, 0, 1, 1]])


@pytest.mark.parametrize(
    "arguments",
    [{"pokemon_type": "fire"}, {"color": "red"}, {"pokemon_type": [None, None]}, {"legendary": False}],
    ids=str,
)
def test_embeddings_beside_words_are_refused(knowing, arguments):
    calls = record_calls(knowing)
    with pytest.raises(ValueError, match="class_embeddings stand in place of"):
        knowing(class_embeddings=torch.zeros(1, 32), **arguments)
    assert calls == []


@pytest.mark.parametrize(
    "wrong", [torch.zeros(2, 31), torch.zeros(32), torch.zeros(0, 32), torch.tensor(1.0), [[0.0] * 32]], ids=str
)
def test_embeddings_of_another_shape_are_refused(knowing, wrong):
    calls = record_calls(knowing)
    with pytest.raises(ValueError, match="class_embeddings"):
        draw(knowing, class_embeddings=wrong)
    assert calls == []


# The way between two sprites


def ends_of(pipeline: PokemonDDPMPipeline) -> list[torch.Tensor]:
    """The final samples of the two ends, drawn alone."""
    words = ({"pokemon_type": "fire", "color": "red"}, {"pokemon_type": "water"})
    return [
        pipeline(**asked, num_inference_steps=4, generator=seeded(seed), output_type="latent").images[0]
        for asked, seed in zip(words, (5, 6), strict=True)
    ]


@pytest.mark.parametrize("single", [True, False])
def test_the_ends_of_the_way_are_the_sprites_themselves(knowing, single):
    generator = seeded(5)[0] if single else seeded(5, 6)
    asked = {"pokemon_type": "fire", "color": "red"}
    way = knowing.interpolate(asked, "water", 3, generator, num_inference_steps=4, output_type="latent").images
    first, last = ends_of(knowing)
    torch.testing.assert_close(torch.stack([way[0], way[-1]]), torch.stack([first, last]), rtol=0, atol=1e-4)
    assert (way[1] - first).abs().max() > 0.01 and (way[1] - last).abs().max() > 0.01


def test_the_middle_has_the_mean_embedding_and_the_spherical_mean_of_the_noises(knowing):
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    knowing.unet.register_forward_pre_hook(
        lambda _, sample, named: given.append((sample[0], named["class_labels"])), with_kwargs=True
    )
    knowing.interpolate("fire", {"water": 1}, 5, seeded(5, 6), num_inference_steps=1, guidance_scale=1)
    ((noise, embeddings),) = given
    one, other = (torch.randn(3, 16, 16, generator=generator).double() for generator in seeded(5, 6))
    angle = torch.acos((one * other).sum() / (one.norm() * other.norm()))
    for i, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        slerp = (
            torch.sin((1 - share) * angle) / torch.sin(angle) * one
            + torch.sin(share * angle) / torch.sin(angle) * other
        )
        torch.testing.assert_close(noise[i], slerp.float(), rtol=1e-4, atol=1e-5)
        embedding = (1 - share) * row(knowing, (FIRE, ANY)) + share * row(knowing, (WATER, ANY))
        torch.testing.assert_close(embeddings[i], embedding)


def test_with_noise_on_the_way_all_sprites_are_given_the_same(knowing):
    with_scheduler(knowing, DDPMScheduler)
    way = knowing.interpolate("fire", "fire", 3, seeded(5, 5), num_inference_steps=4, output_type="latent").images
    torch.testing.assert_close(way, way[:1].expand_as(way), rtol=0, atol=1e-4)
    alone = draw(knowing, "fire", 4, "latent", generator=seeded(5))
    torch.testing.assert_close(way[:1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 0, -2, 2.5, "3", True, None])
def test_a_way_of_fewer_than_two_sprites_is_refused(knowing, steps):
    with pytest.raises(ValueError, match="steps must be a whole number from 2"):
        knowing.interpolate("fire", "water", steps)


def test_a_way_needs_two_generators(knowing):
    with pytest.raises(ValueError, match="generators must have one an image, 2, but has 3"):
        knowing.interpolate("fire", "water", 3, seeded(1, 2, 3))


@pytest.mark.parametrize("name", ASKED)
def test_a_way_to_what_the_model_was_not_trained_on_is_refused_by_name(pipeline, name):
    with pytest.raises(ValueError, match=f"This model was not trained on {name}; it knows type."):
        pipeline.interpolate("fire", {name: WORDS[name]}, 3)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("num_inference_step", "num_inference_steps"), ("colour", "color"), ("generators", "generator")],
)
@pytest.mark.parametrize("value", [3, None])
def test_a_misspelt_argument_is_no_attribute(knowing, given: str, meant: str, value: int | None) -> None:
    with pytest.raises(TypeError, match=f"There is no argument '{given}'. Did you mean '{meant}'?"):
        draw(knowing, "fire", **{given: value})


def test_an_attribute_that_the_project_does_not_know_is_one_like_any_other(knowing) -> None:
    knowing.register_modules(conditioner=SpriteConditioner({"type": ["fire"], "mood": ["sad", "merry"]}, 32).eval())
    tables = knowing.conditioner.tables
    expected = tables["type_embedding"].weight[[0, 2]].sum(dim=0) + tables["mood_embedding"].weight[1]
    torch.testing.assert_close(told(knowing, "fire", mood="merry")[0], expected)
    with pytest.raises(ValueError, match="Unknown mood 'angry'"):
        draw(knowing, "fire", mood="angry")
    with pytest.raises(ValueError, match="not trained on color; it knows mood, type"):
        draw(knowing, "fire", color="red")
    ends = [{"pokemon_type": "fire", "mood": mood} for mood in ("sad", "merry")]
    assert len(knowing.interpolate(*ends, steps=2, num_inference_steps=1).images) == 2
