"""Backs and shinies: the configuration `all` trains with them, and they can be asked for."""

from pathlib import Path

import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner, load_sprites
from pokemon_ddpm.training.export import save_sheet
from pokemon_ddpm.vocabulary import FINISHES, TYPES, VIEWS
from tests.conftest import tiny_pipeline
from tests.drawing import FIRE, draw, seeded
from tests.training_runs import tiny_flags, train, trainer

ANY_TYPE, ANY_VIEW, ANY_FINISH = len(TYPES) + 1, len(VIEWS), len(FINISHES)


def knowing_views() -> PokemonDDPMPipeline:
    """`tiny_pipeline` with a conditioner that knows views and finishes."""
    pipeline = tiny_pipeline()
    words = {"type": list(TYPES), "view": list(VIEWS), "finish": list(FINISHES)}
    torch.manual_seed(1)
    pipeline.register_modules(conditioner=SpriteConditioner(words, embedding_dim=32).eval())
    return pipeline


def asked(pipeline: PokemonDDPMPipeline, *words: object, **arguments: object) -> torch.Tensor:
    """The class embeddings that the network is given."""
    given: list[torch.Tensor] = []
    hook = pipeline.unet.register_forward_pre_hook(
        lambda _, __, named: given.append(named["class_labels"]), with_kwargs=True
    )
    draw(pipeline, *words, steps=1, **arguments)
    hook.remove()
    return given[0]


def embedding(pipeline: PokemonDDPMPipeline, types: tuple[int, int], view: int, finish: int) -> torch.Tensor:
    tables = {name: pipeline.conditioner.tables[f"{name}_embedding"].weight for name in ("type", "view", "finish")}
    return tables["finish"][finish] + tables["type"][list(types)].sum(dim=0) + tables["view"][view]


def test_what_is_asked_for_is_what_the_network_is_told() -> None:
    pipeline = knowing_views()
    told = asked(pipeline, "fire", view="back", finish="shiny", guidance_scale=2)
    expected = [
        embedding(pipeline, (ANY_TYPE, ANY_TYPE), ANY_VIEW, ANY_FINISH),
        embedding(pipeline, (FIRE, ANY_TYPE), 1, 1),
    ]
    torch.testing.assert_close(told, torch.stack(expected))


def test_a_list_asks_for_each_entry_and_none_for_nothing() -> None:
    pipeline = knowing_views()
    told = asked(
        pipeline, ["fire", None], view=[None, " Back "], finish="normal", num_images_per_type=2, guidance_scale=1
    )
    expected = [
        embedding(pipeline, (FIRE, ANY_TYPE), ANY_VIEW, 0),
        embedding(pipeline, (ANY_TYPE, ANY_TYPE), 1, 0),
    ]
    torch.testing.assert_close(told, torch.stack(expected).repeat_interleave(2, dim=0))


def test_a_view_alone_is_a_condition_for_guidance() -> None:
    pipeline = knowing_views()
    assert len(asked(pipeline, None, view="back", guidance_scale=2)) == 2
    assert len(asked(pipeline, None, view="any", finish=None, guidance_scale=2)) == 1


def test_view_and_finish_change_the_picture() -> None:
    pipeline = knowing_views()
    ways = [{}, {"view": "back"}, {"finish": "shiny"}, {"view": "back", "finish": "shiny"}, {"view": "front"}]
    pictures = [draw(pipeline, "fire", generator=seeded(0), **way) for way in ways]
    for i in range(len(ways)):
        for j in range(i):
            assert (pictures[i] - pictures[j]).abs().max() > 0.01, (ways[i], ways[j])


def test_a_sheet_shows_normal_fronts(tmp_path: Path) -> None:
    pipeline = knowing_views()
    given: list[torch.Tensor] = []
    pipeline.unet.register_forward_pre_hook(lambda _, __, named: given.append(named["class_labels"]), with_kwargs=True)
    pipeline.register_to_config(num_inference_steps=1)
    save_sheet(pipeline, tmp_path / "sheet.png", 0, lambda: False)
    unconditional, told = (torch.cat(part) for part in zip(*(each.chunk(2) for each in given), strict=True))
    assert torch.equal(unconditional[0], embedding(pipeline, (ANY_TYPE, ANY_TYPE), ANY_VIEW, ANY_FINISH))
    torch.testing.assert_close(told[2 * FIRE], embedding(pipeline, (FIRE, ANY_TYPE), 0, 0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"view": "side"}, "Unknown view 'side'. Known: front, back, any."),
        ({"finish": "gold"}, "Unknown finish 'gold'. Known: normal, shiny, any."),
        ({"view": ["back", "front"]}, "A list of view must have one a pokemon_type, 1, but has 2."),
        ({"finish": []}, "A list of finish must have one a pokemon_type, 1, but has 0."),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError) as error:
        draw(knowing_views(), "fire", **arguments)
    assert str(error.value) == said


@pytest.mark.parametrize("arguments", [{"view": "back"}, {"finish": "shiny"}])
def test_a_model_without_them_refuses_them_by_name(pipeline: PokemonDDPMPipeline, arguments: dict) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"This model was not trained on {name}; it knows type."):
        draw(pipeline, "fire", **arguments)
    draw(pipeline, "fire", view=None, finish=None)


def test_saved_and_loaded_it_draws_the_same(tmp_path: Path) -> None:
    pipeline = knowing_views()
    pipeline.save_pretrained(tmp_path)
    loaded = PokemonDDPMPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    way = {"view": "back", "finish": "shiny"}
    found, expected = (draw(each, "fire", generator=seeded(0), **way) for each in (loaded, pipeline))
    assert torch.equal(found, expected)


# Training


@pytest.fixture
def flags(small: Path, cache: Path, tmp_path: Path) -> list[str]:
    """A run on the small archive, of whose pictures one is a back and one a shiny."""
    flags = [*tiny_flags(tmp_path, cache), f"--train_data_dir={small}"]
    views = load_sprites(small, "all", split="train", cache_dir=cache)["view"]
    assert set(views) == {0, 1}
    return flags


def test_training_on_all_learns_views_and_finishes(flags: list[str]) -> None:
    with trainer([*flags, "--dataset_config_name=all", "--adam_weight_decay=0"]) as run:
        vocabulary = run.unwrapped.conditioner.vocabulary
        assert vocabulary["finish"] == list(FINISHES) and vocabulary["view"] == list(VIEWS)
        assert f"told apart by {', '.join(vocabulary)}" in run.summary()
        before = {name: table.clone() for name, table in run.unwrapped.conditioner.state_dict().items()}
        for _ in range(4):
            run.train_step()
        after = run.unwrapped.conditioner.state_dict()
        for name in ("view", "finish"):
            key = f"tables.{name}_embedding.weight"
            assert (after[key] != before[key]).any(dim=1).all()  # of both words, and of any


def test_a_model_of_all_draws_what_it_is_asked_for(flags: list[str], tmp_path: Path) -> None:
    train([*flags, "--dataset_config_name=all", "--max_train_steps=1", "--save_images_steps=1"])
    assert (tmp_path / "run" / "samples" / "step-000001.png").is_file()
    pipeline = PokemonDDPMPipeline.from_pretrained(tmp_path / "run")
    pipeline.set_progress_bar_config(disable=True)
    back, front = (draw(pipeline, "fire", view=view, finish="shiny", generator=seeded(0)) for view in VIEWS[::-1])
    assert (back - front).abs().max() > 1e-3


def test_training_on_fronts_knows_no_views_and_finishes(flags: list[str]) -> None:
    with trainer([*flags, "--dataset_config_name=front"]) as run:
        vocabulary = run.unwrapped.conditioner.vocabulary
        assert "type" in vocabulary and not {"view", "finish"} & vocabulary.keys()


def test_a_model_of_fronts_can_be_gone_on_with_on_all(flags: list[str], tmp_path: Path) -> None:
    train([*flags, "--dataset_config_name=front", "--max_train_steps=1"])
    more = [flag for flag in flags if "output_dir" not in flag and "model_config" not in flag]
    more += [f"--pretrained_model_name_or_path={tmp_path / 'run'}", f"--output_dir={tmp_path / 'more'}"]
    with trainer([*more, "--dataset_config_name=all"]) as run:
        tables = run.unwrapped.conditioner.tables
        for name in ("view", "finish"):
            weight = tables[f"{name}_embedding"].weight
            assert not weight[-1].any() and weight[:-1].any(dim=1).all()  # nothing changes where nothing is said
        before = PokemonDDPMPipeline.from_pretrained(tmp_path / "run").conditioner.tables["type_embedding"]
        assert torch.equal(tables["type_embedding"].weight, before.weight)
        for _ in range(4):
            run.train_step()
        assert tables["view_embedding"].weight[-1].any()
