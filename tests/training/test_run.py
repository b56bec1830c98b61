"""What a run needs before its first step, and what is refused."""

import contextlib

import pytest
import torch

from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.training import networks, run
from pokemon_ddpm.training.batches import ImageSet
from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.labelled_images import folder_of_classes
from tests.tiny_models import tiny_pipeline
from tests.training.runs import own_process, tiny_flags

LATEST = {"resume_from_checkpoint": "latest"}


@pytest.mark.parametrize(("files", "settings", "message"), [
    (["checkpoint-3/x"], {}, r"already contains a run \(checkpoint-3\). Continue it with --resume_from"),
    (["model_index.json"], LATEST, "already contains .* Choose another --output_dir, or delete it"),
    ([CONFIG_FILE], LATEST, None),
    ([CONFIG_FILE], {}, None),  # it was killed before the first checkpoint
    (["model_index.json"], {"overwrite_output_dir": True}, None),
    (["samples/mine.png", "checkpoint-best/x"], {}, None),
])  # fmt: skip
def test_which_output_folders_can_be_used(tmp_path, files, settings, message):
    for path in map(tmp_path.joinpath, files):
        path.parent.mkdir(exist_ok=True), path.touch()
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        run.check_output_dir(TrainingConfig(output_dir=str(tmp_path), **settings))


def test_processes_that_would_train_alone_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)  # such as MPS, which takes one process
    monkeypatch.setenv("WORLD_SIZE", "2"), monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    with own_process(), pytest.raises(ValueError, match="WORLD_SIZE is 2, but this process would train alone"):
        run.make_accelerator(TrainingConfig(output_dir=str(tmp_path)))


def test_the_weights_to_start_from_are_not_overwritten(tmp_path):
    own = {"output_dir": str(tmp_path / "." / "run"), "overwrite_output_dir": True}
    (tmp_path / "run").mkdir()
    base, old = {"pretrained_model_name_or_path": "pokemon-ddpm-64"}, str(tmp_path / "run")
    for settings in (
        {"pretrained_model_name_or_path": old},
        {"distill_from": old, "distill_teacher_steps": 8},
        {**base, "autoguidance_from": old},
        {**base, "autoguidance_from": "pokemon-ddpm-64", "autoguidance_better": old},
    ):
        with pytest.raises(ValueError, match="--overwrite_output_dir would delete .*run, which the training needs"):
            run.check_output_dir(TrainingConfig(**own, **settings))
    run.check_output_dir(TrainingConfig(pretrained_model_name_or_path="pokemon-ddpm-64", **own))


def test_only_the_run_is_deleted_from_its_folder(tmp_path):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    files = "run/model_index.json run/samples/1.png run/checkpoint-3/x run/error.log run/notes.txt elsewhere/x"
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True), (tmp_path / name).touch()
    (folder / "checkpoint-7").symlink_to(elsewhere)
    run.delete_run(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"] and (elsewhere / "x").exists()
    (folder / "logs").mkdir()
    run.delete_run(folder)  # what is no run stays
    assert (folder / "logs").is_dir()


def test_settings_that_do_not_fit_a_pretrained_model_are_refused(tmp_path):
    for pipeline, message in (
        ({"channels": 3}, "needs --preprocessing fit."),
        ({"prediction_type": "epsilon"}, "needs --prediction_type epsilon."),
        ({"num_train_timesteps": 100}, "has a noise schedule that does not have 1000 timesteps"),
        ({"rescale_betas_zero_snr": True}, "has a noise schedule that .* or ends at pure noise; only earlier"),
        ({"out_channels": 8}, "needs --variance_type learned_range."),
    ):
        tiny_pipeline(**{"prediction_type": "sample", "channels": 4, **pipeline}).save_pretrained(tmp_path / "model")
        with pytest.raises(ValueError, match=f"model {message}"):
            networks.make_unet(TrainingConfig(pretrained_model_name_or_path=str(tmp_path / "model"), resolution=16))


def test_the_network_by_default_and_what_epsilon_needs(tmp_path):
    for resolution, mode, channels, patch_size in ((64, "pixel", 4, 2), (32, "fit", 3, None)):
        config = networks.make_unet(TrainingConfig(resolution=resolution, preprocessing=mode))[0].config
        assert (config.sample_size, config.in_channels, config.get("patch_size")) == (resolution, channels, patch_size)
    tiny_flags(tmp_path, scaling_factor=0.9)
    settings = {"model_config_name_or_path": str(tmp_path / "tiny.json"), "prediction_type": "epsilon"}
    with pytest.raises(ValueError, match="--prediction_type epsilon needs a network with a scaling_factor of 1"):
        networks.make_unet(TrainingConfig(**settings, resolution=16))
    tiny_flags(tmp_path, scaling_factor=1)
    networks.make_unet(TrainingConfig(**settings, resolution=16))


def test_the_conditions_of_a_network(tmp_path):

    def conditioned(trained: str, conditions: str = "", **settings: object) -> str:
        labels = {"type": torch.tensor([[6, 7]]).repeat(4, 1), "color": torch.arange(4)}
        labels |= {"size": torch.tensor([-1, 0, 1, 1]), "view": torch.zeros(4).long(), "game": torch.full((4,), -1)}
        data = SpriteTensors(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), labels)
        if trained:
            vocabulary = {name: list(CONDITIONS[name]) for name in trained.split()}
            tiny_pipeline("sample", vocabulary=vocabulary, channels=4).save_pretrained(tmp_path / "model")
            settings = settings or {"pretrained_model_name_or_path": str(tmp_path / "model")}
        config = TrainingConfig(**settings, resolution=16, conditions=conditions.split() or None)
        vocabulary = networks.make_denoiser(config, *networks.make_unet(config), data).conditioner.vocabulary
        return " ".join(name for name in CONDITIONS if name in vocabulary)

    assert conditioned("") == "type color size" and conditioned("", "type size") == "type size"
    with pytest.raises(ValueError, match="do not differ in game, view, only in type, color, size"):
        conditioned("", "type color view game")
    assert conditioned("type color") == conditioned("type color", "type color size") == "type color size"
    assert conditioned("type color", "type color") == "type color"
    assert conditioned("type view", "type view") == "type view"  # need not vary any more
    for conditions, message in (("type size", "model needs --conditions type view size."), ("type view game", "game")):
        with pytest.raises(ValueError, match=message):
            conditioned("type view", conditions)
    student = {"distill_from": str(tmp_path / "model"), "distill_teacher_steps": 4}
    assert conditioned("type view", **student) == "type view"
    with pytest.raises(ValueError, match="model has other values of type than the data"):
        config, other = TrainingConfig(**student), tiny_pipeline(vocabulary={"type": ["apple"]})
        data = SpriteTensors(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), {"type": torch.zeros(1, 2).long()})
        networks.make_denoiser(config, tiny_pipeline().unet, other, data)


@pytest.mark.parametrize(
    ("given", "images", "updates"),
    [({}, 40, 500), ({}, 400, 500), ({}, 4000, 782), ({"max_train_steps": 7}, 40, 7)],
)
def test_fine_tuning_plans_itself(tmp_path, given, images, updates):
    folder = str(folder_of_classes(tmp_path, {"apple": 1, "pear": 1}))
    config = TrainingConfig(train_data_dir=folder, pretrained_model_name_or_path="pokemon-ddpm-64", **given)
    sets = [ImageSet(0, images)]
    assert run.plan_updates(config, 1, sets) == (32, updates)
    assert run.plan_updates(TrainingConfig(), 1, sets) == (32, max(1000, -(-images * 100 // 32)))
    with pytest.raises(ValueError, match="A batch of 32 is too small for 40 sets with these shares."):
        run.plan_updates(TrainingConfig(), 1, [*sets, *[ImageSet(0, 1, 0.001)] * 39])
