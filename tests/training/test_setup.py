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
from tests.labelled_images import labelled, parquet
from tests.small_archives import write_small_archive
from tests.tiny_models import tiny_pipeline
from tests.training.runs import full_disk, own_process, tiny_flags, train

FIRE, FLYING = 6, 7


# The machine


def test_a_tracker_that_is_not_installed_is_named(monkeypatch):
    setup.check_tracker("none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--report_to wandb: wandb is not installed. Install it with: pip install wa"):
        setup.check_tracker("wandb")


@pytest.mark.parametrize(("cores", "processes", "expected"), [(8, 1, 8), (8, 3, 2), (2, 4, 1), (None, 1, 1)])
def test_the_processes_of_a_machine_share_its_physical_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(100), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert setup.cores_per_process() == expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1), raising=False)
    assert setup.cores_per_process() == 1


def accelerator(tmp_path: Path, **settings: object):
    return setup.make_accelerator(TrainingConfig(output_dir=str(tmp_path / "run"), **settings))


def test_the_accelerator_sets_precision_threads_and_kernels(tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for settings, deterministic in (({}, False), ({"deterministic": True}, True)):
        with own_process():
            config = TrainingConfig(output_dir=str(tmp_path), num_cpu_threads=1, **settings)
            assert setup.make_accelerator(config).device.type == "cpu" and torch.get_num_threads() == 1
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            assert config.mixed_precision == "no"  # part of the run from now on
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with own_process():
        assert accelerator(tmp_path).mixed_precision == "bf16"


@pytest.mark.parametrize("kind", [DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM])
def test_training_that_shards_the_weights_is_refused(tmp_path, monkeypatch, kind):
    found = SimpleNamespace(num_processes=1, distributed_type=kind)
    monkeypatch.setattr(setup, "Accelerator", lambda **_: found)
    with pytest.raises(ValueError, match=f"{kind.value} is not supported: these networks fit any GPU"):
        accelerator(tmp_path)


def test_what_the_accelerator_cannot_do_is_refused(tmp_path, monkeypatch):
    with own_process(), pytest.raises(ValueError, match="--mixed_precision fp16 needs a GPU; on a CPU use bf16 or no"):
        accelerator(tmp_path, mixed_precision="fp16")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(setup, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    with pytest.raises(ValueError, match="processes are not connected; on CPUs, set ACCELERATE_USE_CPU=true"):
        accelerator(tmp_path)

    def missing(**_: object) -> None:
        raise ImportError("DeepSpeed is not installed")

    monkeypatch.setattr(setup, "Accelerator", missing)
    with pytest.raises(ValueError, match="`accelerate config` needs a package that is not installed: DeepSpeed"):
        accelerator(tmp_path)


# The output folder


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        (["model_index.json"], {}, "already contains a run (model_index.json). Continue it with --resume_from_check"),
        ([CONFIG_FILE], {}, f"already contains a run ({CONFIG_FILE})"),
        (["checkpoint-3/manifest.json"], {}, "already contains a run (checkpoint-3)"),
        (["model_index.json"], {"resume_from_checkpoint": "latest"}, "contains a model but no checkpoint. Start from"),
        ([], {"resume_from_checkpoint": "checkpoint-3"}, "there is no checkpoint-3; checkpoints in {}: none."),
        (
            [CONFIG_FILE, "../other/checkpoint-3/manifest.json"],
            {"resume_from_checkpoint": "{}/../other/checkpoint-3"},
            "contains a run, and {}/../other/checkpoint-3 is of another; choose another --output_dir.",
        ),
        (["notes.txt", "samples/mine.png", "checkpoint-best/x"], {}, None),
        (["model_index.json"], {"overwrite_output_dir": True}, None),
        ([CONFIG_FILE], {"resume_from_checkpoint": "latest"}, None),
        (["../other/checkpoint-3/manifest.json"], {"resume_from_checkpoint": "{}/../other/checkpoint-3"}, None),
    ],
)
def test_which_output_folders_can_be_used(tmp_path, files, settings, message):
    folder = tmp_path / "run"
    for name in ["", *files]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).mkdir() if not name else (folder / name).touch()
    settings = {name: value.format(folder) if isinstance(value, str) else value for name, value in settings.items()}
    config = TrainingConfig(output_dir=str(folder), **settings)
    if message is None:
        setup.check_output_dir(config)
        return
    with pytest.raises(ValueError) as error:
        setup.check_output_dir(config)
    assert message.format(folder) in str(error.value)


def test_a_folder_has_one_run_at_a_time(tmp_path):
    folder = tmp_path / "a" / "run"
    lock = setup.lock_output_dir(folder)
    with pytest.raises(ValueError, match=f"in use by another run, process {os.getpid()} on .* Wait for it, stop it"):
        setup.lock_output_dir(folder)
    lock.release()
    (folder / ".checkpoint-3.replaced").mkdir(), (folder / ".checkpoint-4.partial").mkdir()
    setup.lock_output_dir(folder).release()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", ".lock-holder", "checkpoint-3"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="--output_dir .*file cannot be written: File exists"):
        setup.lock_output_dir(tmp_path / "file")
    with full_disk(), pytest.raises(ValueError, match="--output_dir .*run cannot be written: File too large"):
        setup.lock_output_dir(tmp_path / "run")


def test_only_the_run_is_deleted_from_its_folder(tmp_path):
    train([*tiny_flags(tmp_path), "--max_train_steps=1", "--save_images_steps=1", "--report_to=tensorboard"])
    run = tmp_path / "run"
    for name in ("notes.txt", "checkpoint-best"):
        (run / name).touch()
    (run / "checkpoint-7").symlink_to(tmp_path / "small")
    setup.delete_run(run)
    left = {path.name for path in run.iterdir()} - {".lock", ".lock-holder"}
    assert left == {"notes.txt", "checkpoint-best", "README.md"} and (tmp_path / "small" / "pokedex.csv").exists()
    (run / "logs").mkdir()
    setup.delete_run(run)  # what is no run stays
    assert (run / "logs").is_dir()


# The data


def test_the_splits_of_each_kind_of_data(tmp_path):
    common = {"resolution": 16, "cache_dir": str(tmp_path / "cache")}
    archive = str(write_small_archive(tmp_path / "small"))
    for name, sizes in (("all", (4, 2)), ("front", (2, 2))):
        config = TrainingConfig(train_data_dir=archive, dataset_config_name=name, **common)
        assert tuple(len(setup.load_split(config, split)) for split in ("train", "validation")) == sizes
    folder = parquet(tmp_path / "boxes", train=labelled([0, 1, 2, 1]))
    config = TrainingConfig(dataset_name=str(folder), image_column="art", label_column="kind", **common)
    assert setup.load_split(config, "train").type_names == ("Tall", "flat", "wide box")
    with pytest.raises(ValueError, match=f"--dataset_name {folder}: .*--validation_steps 0 and without --eval_steps"):
        setup.load_split(config, "validation")
    config.label_column = "art"
    with pytest.raises(ValueError, match=f"^--dataset_name {folder}: "):
        setup.load_split(config, "train")


def varying_data() -> SpriteTensors:
    """Four images that differ in type, color and size; all are front views of unknown games."""
    labels = {
        "type": torch.tensor([[FIRE, FLYING]]).repeat(4, 1),
        "color": torch.arange(4),
        "size": torch.tensor([-1, 0, 1, 1]),
        "view": torch.zeros(4, dtype=torch.int64),
        "game": torch.full((4,), -1),
    }
    return SpriteTensors(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), labels)


# The network


@pytest.mark.parametrize("preset", PRESETS)
def test_all_presets_can_be_built(preset):
    config = TrainingConfig(model_config_name_or_path=preset, resolution=32, variance_type="learned_range")
    unet, trained = setup.make_unet(config)
    assert (unet.config.sample_size, unet.config.out_channels, trained) == (32, 6, None)
    assert tuple(unet.config.block_out_channels) == PRESETS[preset]["block_out_channels"]


@pytest.fixture
def pretrained(tmp_path):
    """Saves a pipeline that knows these attributes, and returns settings to train it further."""

    def save(*attributes: str, **pipeline: object) -> dict[str, object]:
        vocabulary = {name: list(CONDITIONS[name]) for name in attributes or ("type",)}
        tiny_pipeline(vocabulary=vocabulary, **pipeline).save_pretrained(tmp_path / "model")
        return {"pretrained_model_name_or_path": str(tmp_path / "model"), "resolution": 16}

    return save


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
def test_settings_that_do_not_fit_a_pretrained_model_are_refused(pretrained, pipeline, settings, message):
    config = TrainingConfig(**{**pretrained(**pipeline), **settings})
    with pytest.raises(ValueError, match=f"model {message}$"):
        setup.make_unet(config)


def conditioned_on(settings: dict[str, object], *conditions: str) -> set[str]:
    """The attributes of the conditioner of a run."""
    config = TrainingConfig(**settings, conditions=list(conditions) or None)
    return set(setup.make_denoiser(config, *setup.make_unet(config), varying_data()).conditioner.vocabulary)


def test_the_conditions_of_a_new_network():
    new = {"resolution": 16, "model_config_name_or_path": "small"}
    assert conditioned_on(new) == {"type", "color", "size"}
    assert conditioned_on(new, "type", "size") == {"type", "size"}
    with pytest.raises(ValueError, match="do not differ in game, view, only in type, color, size"):
        conditioned_on(new, "type", "color", "view", "game")


def test_the_conditions_of_a_pretrained_network(pretrained):
    model = pretrained("type", "color")
    assert conditioned_on(model) == conditioned_on(model, "type", "color", "size") == {"type", "color", "size"}
    assert conditioned_on(model, "type", "color") == {"type", "color"}
    model = pretrained("type", "view")  # need not vary any more, but cannot be left out
    assert conditioned_on(model, "type", "view") == {"type", "view"}
    with pytest.raises(ValueError, match=r"model needs --conditions type view size\.$"):
        conditioned_on(model, "type", "size")
    with pytest.raises(ValueError, match="do not differ in game, only in"):
        conditioned_on(model, "type", "view", "game")


def test_a_student_has_the_conditions_of_its_teacher_and_other_classes_are_refused(pretrained):
    teacher = pretrained("type", "view")["pretrained_model_name_or_path"]
    config = TrainingConfig(distill_from=teacher, distill_teacher_steps=4, resolution=16)
    unet, trained = setup.make_unet(config)
    assert config.distill_guidance_scale == 2.0
    assert set(setup.make_denoiser(config, unet, trained, varying_data()).conditioner.vocabulary) == {"type", "view"}
    fruit = SpriteConditioner({"type": ["apple", "pear"]}, embedding_dim=32)
    with pytest.raises(ValueError, match="^--distill_from cannot be used: .* other values of type than the data"):
        setup.make_denoiser(config, unet, fruit, varying_data())


def test_the_optimizer_is_fused_and_has_the_settings():
    config = TrainingConfig(learning_rate=0.1, adam_beta1=0.5, adam_weight_decay=0.2, adam_epsilon=1e-6)
    group = setup.make_optimizer(config, torch.nn.Linear(2, 2)).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"], group["eps"]) == (0.1, (0.5, 0.999), 0.2, 1e-6)
    assert group["fused"]
