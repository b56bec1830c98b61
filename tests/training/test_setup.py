"""What a run needs before its first step, and what is refused."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.models import PRESETS
from pokemon_ddpm.training import setup
from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.tiny_models import tiny_pipeline
from tests.training.runs import full_disk, own_process, tiny_flags, train


def test_the_processes_of_a_machine_share_its_physical_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(9), raising=False)
    for cores, processes, expected in ((8, 1, 8), (8, 3, 2), (2, 4, 1), (None, 1, 1), (64, 2, 4)):
        monkeypatch.setattr("psutil.cpu_count", lambda logical=True, cores=cores: cores)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert setup.cores_per_process() == expected


def accelerator(folder: Path, **settings: object):
    return setup.make_accelerator(TrainingConfig(output_dir=str(folder), **settings))


def test_the_accelerator_sets_precision_threads_and_kernels(tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    for deterministic in (False, True):
        with own_process():
            config = TrainingConfig(output_dir=str(tmp_path), num_cpu_threads=1, deterministic=deterministic)
            assert setup.make_accelerator(config).device.type == "cpu" and torch.get_num_threads() == 1
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            assert config.mixed_precision == "bf16"  # part of the run from now on


def test_what_the_launcher_must_not_ask_for(tmp_path, monkeypatch):
    def fail(**_: object) -> None:
        raise ImportError("DeepSpeed is not installed")

    for kind in (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM):
        found = SimpleNamespace(num_processes=1, distributed_type=kind)
        monkeypatch.setattr(setup, "Accelerator", lambda found=found, **_: found)
        with pytest.raises(ValueError, match=f"{kind.value} is not supported: these networks fit any GPU"):
            accelerator(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="processes are not connected; on CPUs, set ACCELERATE_USE_CPU=true"):
        accelerator(tmp_path)
    monkeypatch.setattr(setup, "Accelerator", fail)
    with pytest.raises(ValueError, match="`accelerate config` needs a package that is not installed: DeepSpeed"):
        accelerator(tmp_path)


# The output folder


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        (["model_index.json"], {}, "already contains a run (model_index.json). Continue it with --resume_from_check"),
        ([CONFIG_FILE], {}, f"already contains a run ({CONFIG_FILE})"),
        (["checkpoint-3/x"], {}, "already contains a run (checkpoint-3)"),
        (["model_index.json"], {"resume_from_checkpoint": "latest"}, "contains a model but no checkpoint. Start from"),
        ([CONFIG_FILE, "../checkpoint-3/x"], {"resume_from_checkpoint": "../checkpoint-3"}, "3 is of another; choose"),
        (["notes.txt", "samples/mine.png", "checkpoint-best/x"], {}, None),
        (["model_index.json"], {"overwrite_output_dir": True}, None),
        ([CONFIG_FILE], {"resume_from_checkpoint": "latest"}, None),
        (["../checkpoint-3/x"], {"resume_from_checkpoint": "../checkpoint-3"}, None),
    ],
)
def test_which_output_folders_can_be_used(tmp_path, files, settings, message):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True), (folder / name).touch()
    config = TrainingConfig(output_dir=str(folder), **settings)
    if message is None:
        return setup.check_output_dir(config)
    with pytest.raises(ValueError) as error:
        setup.check_output_dir(config)
    assert message in str(error.value)


def test_a_folder_has_one_run_at_a_time(tmp_path):
    folder = tmp_path / "a" / "run"
    lock = setup.lock_output_dir(folder)
    with pytest.raises(ValueError, match=f"in use by another run, process {os.getpid()} on .* Wait for it, stop it"):
        setup.lock_output_dir(folder)
    lock.release()
    (folder / ".checkpoint-3.replaced").mkdir(), (folder / ".checkpoint-4.partial").mkdir()
    setup.lock_output_dir(folder).release()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", ".lock-holder", "checkpoint-3"]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="--output_dir .*file cannot be written: File exists"):
        setup.lock_output_dir(tmp_path / "file")
    with full_disk(), pytest.raises(ValueError, match="--output_dir .*full cannot be written: File too large"):
        setup.lock_output_dir(tmp_path / "full")


def test_only_the_run_is_deleted_from_its_folder(tmp_path):
    train([*tiny_flags(tmp_path), "--max_train_steps=1", "--save_images_steps=1", "--report_to=tensorboard"])
    run = tmp_path / "run"
    (run / "notes.txt").touch(), (run / "checkpoint-best").touch()
    (run / "checkpoint-7").symlink_to(tmp_path / "small")
    setup.delete_run(run)
    left = {path.name for path in run.iterdir()} - {".lock", ".lock-holder"}
    assert left == {"notes.txt", "checkpoint-best", "README.md"} and (tmp_path / "small" / "pokedex.csv").exists()
    (run / "logs").mkdir()
    setup.delete_run(run)  # what is no run stays
    assert (run / "logs").is_dir()


# The network


@pytest.mark.parametrize("preset", PRESETS)
def test_all_presets_can_be_built(preset):
    config = TrainingConfig(model_config_name_or_path=preset, variance_type="learned_range")
    unet, trained = setup.make_unet(config)
    assert (unet.config.sample_size, unet.config.out_channels, trained) == (32, 6, None)
    assert tuple(unet.config.block_out_channels) == PRESETS[preset]["block_out_channels"]


@pytest.mark.parametrize(
    ("pipeline", "settings", "message"),
    [
        ({}, {"resolution": 32}, "needs --resolution 16."),
        ({"prediction_type": "epsilon"}, {}, "needs --prediction_type epsilon."),
        ({"num_train_timesteps": 100}, {}, "needs --ddpm_num_steps 100."),
        ({"beta_schedule": "linear"}, {}, "needs --ddpm_beta_schedule linear."),
        ({"rescale_betas_zero_snr": True}, {}, "needs --rescale_betas_zero_snr True."),
        ({"out_channels": 6}, {}, "needs --variance_type learned_range."),
        ({}, {"variance_type": "learned_range"}, "needs --variance_type fixed_small."),
    ],
)
def test_settings_that_do_not_fit_a_pretrained_model_are_refused(tmp_path, pipeline, settings, message):
    tiny_pipeline(**pipeline).save_pretrained(tmp_path / "model")
    config = {"pretrained_model_name_or_path": str(tmp_path / "model"), "resolution": 16, **settings}
    with pytest.raises(ValueError, match=f"model {message}$"):
        setup.make_unet(TrainingConfig(**config))


@pytest.fixture
def conditioned(tmp_path):
    """Returns the attributes of the conditioner of a run, on images that differ in type, color and size."""

    def attributes(trained: str, conditions: str = "", **settings: object) -> str:
        labels = {"type": torch.tensor([[6, 7]]).repeat(4, 1), "color": torch.arange(4)}
        labels |= {"size": torch.tensor([-1, 0, 1, 1]), "view": torch.zeros(4).long(), "game": torch.full((4,), -1)}
        data = SpriteTensors(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), labels)
        if trained:
            vocabulary = {name: list(CONDITIONS[name]) for name in trained.split()}
            tiny_pipeline(vocabulary=vocabulary).save_pretrained(tmp_path / "model")
            settings = settings or {"pretrained_model_name_or_path": str(tmp_path / "model")}
        config = TrainingConfig(**settings, resolution=16, conditions=conditions.split() or None)
        vocabulary = setup.make_denoiser(config, *setup.make_unet(config), data).conditioner.vocabulary
        return " ".join(name for name in CONDITIONS if name in vocabulary)

    return attributes


def test_the_conditions_of_a_network(conditioned, tmp_path):
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
    with pytest.raises(ValueError, match="^--distill_from cannot be used: .* other values of type than the data"):
        config, other = TrainingConfig(**student), SpriteConditioner({"type": ["apple"]}, embedding_dim=32)
        data = SpriteTensors(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), {"type": torch.zeros(1, 2).long()})
        setup.make_denoiser(config, tiny_pipeline().unet, other, data)


def test_the_optimizer_is_fused_and_has_the_settings():
    config = TrainingConfig(learning_rate=0.1, adam_beta1=0.5, adam_weight_decay=0.2, adam_epsilon=1e-6)
    group = setup.make_optimizer(config, torch.nn.Linear(2, 2)).param_groups[0]
    found = [group[name] for name in ("lr", "betas", "weight_decay", "eps", "fused")]
    assert found == [0.1, (0.5, 0.999), 0.2, 1e-6, True]
