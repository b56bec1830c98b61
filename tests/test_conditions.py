"""What the network is conditioned on: all that varies in the training pictures, or what of it --conditions names."""

from pathlib import Path

import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner, SpriteTensors
from pokemon_ddpm.training.batches import draw_batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.setup import make_denoiser, make_unet
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.conftest import tiny_pipeline
from tests.labelled_pictures import folder_of_classes
from tests.training_runs import logged, tiny_flags, train, trainer

FIRE, FLYING = 6, 7
VARYING = ["type", "color", "size"]


def pictures() -> SpriteTensors:
    """Four that differ in type, color and size, are all seen from the front, and of which nobody knows the game."""
    labels = {
        "type": torch.tensor([[FIRE, FLYING]]).repeat(4, 1),
        "color": torch.arange(4),
        "size": torch.tensor([-1, 0, 1, 1]),
        "view": torch.zeros(4, dtype=torch.int64),
        "game": torch.full((4,), -1),
    }
    return SpriteTensors(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), labels)


def conditioned_on(*conditions: str) -> set[str]:
    """What the conditioner of a new network for these pictures knows."""
    config = TrainingConfig(resolution=16, conditions=list(conditions) or None)
    return set(make_denoiser(config, tiny_pipeline().unet, None, pictures()).conditioner.vocabulary)


def trained(folder: Path, *attributes: str) -> str:
    """A folder with a pipeline that knows these."""
    pipeline = tiny_pipeline()
    pipeline.register_modules(conditioner=SpriteConditioner({name: list(CONDITIONS[name]) for name in attributes}, 32))
    pipeline.save_pretrained(folder)
    return str(folder)


def going_on_with(model: str, *conditions: str) -> set[str]:
    """What the conditioner knows where a run starts from a trained pipeline."""
    config = TrainingConfig(resolution=16, conditions=list(conditions) or None, pretrained_model_name_or_path=model)
    return set(make_denoiser(config, *make_unet(config), pictures()).conditioner.vocabulary)


def test_by_default_it_is_all_that_varies():
    assert conditioned_on() == set(VARYING)


@pytest.mark.parametrize("conditions", [["type"], ["type", "size"], VARYING])
def test_it_is_what_is_named(conditions):
    assert conditioned_on(*conditions) == set(conditions)


def test_what_does_not_vary_is_refused():
    with pytest.raises(ValueError, match="do not differ in game, view, only in type, color, size"):
        conditioned_on("type", "color", "view", "game")


def test_what_is_left_out_is_never_said(tmp_path, cache):
    with trainer([*tiny_flags(tmp_path, cache), "--conditions", "type"]) as run:
        assert list(run.data.labels) == ["type"]
        batch = draw_batch(run.data, run.unwrapped.conditioner, run.config, 0, run.batch_size)
        assert list(batch.labels) == ["type"]


class TestGoingOnWithATrainedModel:
    def test_what_it_lacks_is_added(self, tmp_path):
        model = trained(tmp_path / "model", "type", "color")
        assert going_on_with(model) == going_on_with(model, *VARYING) == set(VARYING)
        assert going_on_with(model, "type", "color") == {"type", "color"}

    def test_what_it_knows_cannot_be_left_out(self, tmp_path):
        """It would stay in the network, whatever the flag says."""
        model = trained(tmp_path / "model", "type", "color", "view")
        with pytest.raises(ValueError, match=r"model needs --conditions type color view\.$"):
            going_on_with(model, "type")
        with pytest.raises(ValueError, match=r"model needs --conditions type color view size\.$"):
            going_on_with(model, "type", "size")

    def test_what_it_knows_need_not_vary_any_more(self, tmp_path):
        model = trained(tmp_path / "model", "type", "view")
        assert going_on_with(model, "type", "view") == {"type", "view"}
        with pytest.raises(ValueError, match="do not differ in game, only in"):
            going_on_with(model, "type", "view", "game")


def test_classes_of_ones_own_are_the_only_condition(tmp_path):
    folder = folder_of_classes(tmp_path / "fruit", {"apple": 1, "pear": 1})
    assert TrainingConfig(train_data_dir=str(folder), conditions=["type"]).conditions == ["type"]
    with pytest.raises(ValueError, match="type color, but it can only be type"):
        TrainingConfig(train_data_dir=str(folder), conditions=["type", "color"])


def test_they_are_part_of_the_run(tmp_path, cache):
    flags = [*tiny_flags(tmp_path, cache), "--validation_steps=0", "--report_to=tensorboard"]
    train([*flags, "--max_train_steps=1", "--conditions", "size", "type"])
    run = tmp_path / "run"
    assert "| `conditions` | type size |" in (run / "README.md").read_text()
    assert set(PokemonDDPMPipeline.from_pretrained(run).conditioner.vocabulary) == {"type", "size"}

    again = [*flags, "--max_train_steps=2", "--resume_from_checkpoint=latest"]
    for others, now in ((["--conditions", "type"], "type"), ([], "None")):
        with pytest.raises(SystemExit, match=rf"settings: --conditions was type size, now {now}\W"):
            train([*again, *others])
    train([str(run / "training_config.json"), *again[-2:]])
    assert len(logged(run, "loss")) == 2
