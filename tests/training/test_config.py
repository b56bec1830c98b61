"""The settings of a run: flags, files, one line for each mistake, and what becomes of them."""

import dataclasses
import json

import pytest

from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig, parse_config
from tests.labelled_images import folder_of_classes

BOTH = ["type", "size"]


def parse_file(tmp_path, content: str | bytes, *flags: str) -> TrainingConfig:
    file = tmp_path / "run.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_config([str(file), *flags])


def test_flags(capsys):
    assert parse_config([]) == TrainingConfig() and TrainingConfig().output_dir == "outputs/starter-64"
    config = parse_config(
        "--train_data_dir my/sprites --resolution 32 --learning_rate 1e-3 --random_flip --no_use_ema "
        "--max-train-steps=7 --mixed_precision bf16 --push_to_hub false --conditions size type type".split()
    )
    changed = {"resolution": 32, "learning_rate": 1e-3, "max_train_steps": 7, "mixed_precision": "bf16"}
    changed |= {"random_flip": True, "use_ema": False, "conditions": ["type", "size"]}
    assert config == TrainingConfig(train_data_dir="my/sprites", **changed)
    assert (config.dataset_config_name, config.output_dir) == ("front", "outputs/front-32")
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and all(f"--{field.name}" in out for field in dataclasses.fields(TrainingConfig))


@pytest.mark.parametrize(("content", "expected"), [
    ("resolution: 64 # px\nlearning_rate: 1e-3", {"resolution": 64, "learning_rate": 1e-3}),
    ("mixed_precision: no\nreport_to: none\nrandom_flip: true\n", {"mixed_precision": "no", "random_flip": True}),
    ("output_dir: -a b/c d\nmax_train_steps: null\nhub_model_id:\nseed: ~\n", {"output_dir": "-a b/c d"}),
    ("conditions: [size, type]\ncheckpoints_total_limit: 0", {"conditions": BOTH, "checkpoints_total_limit": 0}),
    (json.dumps({"learning_rate": 1e-5, "use_ema": False, "seed": None}), {"learning_rate": 1e-5, "use_ema": 0}),
])  # fmt: skip
def test_files_in_yaml_and_json(tmp_path, content, expected):
    assert parse_file(tmp_path, content) == TrainingConfig(**expected)
    config = parse_file(tmp_path, content, "--no_use_ema", "--conditions", "type")  # flags override the file
    assert config == TrainingConfig(**{**expected, "use_ema": False, "conditions": ["type"]})


STUDENT = "--distill_from a --distill_teacher_steps 32"


@pytest.mark.parametrize(("flags", "message"), [
    ("--learning_rat 3", "unknown argument --learning_rat. Did you mean --learning_rate?"),
    ("missing.yaml", "cannot read missing.yaml: "),
    ("--resolution 30", "resolution must be a multiple of 8 to 1024"),
    ("--output_dir=", "--output_dir is empty; leave it out."),
    ("--train_data_dir a --dataset_name b", "--train_data_dir cannot be used with --dataset_name."),
    ("--conditions type colour", "--conditions: unknown attribute 'colour'. Did you mean 'color'?"),
    ("--conditions color view", "--conditions must include type, but is color view."),
    ("--distill_from a", "--distill_teacher_steps must be even and at most 1000, but is None."),
    (f"{STUDENT} --snr_gamma 16", "--snr_gamma cannot be used with --distill_from."),
    (f"{STUDENT} --ddpm_num_inference_steps 50", "The student takes 16 steps; leave out"),
    (
        "--pretrained_model_name_or_path a --autoguidance_from b --autoguidance_interval 0.8 0.2",
        "--autoguidance_interval must be two shares, the lower first, but is 0.8 0.2.",
    ),
    ("--lr_scheduler constant --lr_warmup_steps 7", "use constant_with_warmup."),
    ("--prediction_type epsilon --snr_floor 0.3", "--snr_floor cannot be used with --prediction_type epsilon"),
])  # fmt: skip
def test_a_mistake_in_the_flags_is_one_line(capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        parse_config(flags.split())
    usage, error = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and usage.startswith("usage: ") and ": error: " in error and message in error


@pytest.mark.parametrize(("content", "message"), [
    ("", "It needs flags and values, as `resolution: 32`."),
    ("conditions: [type, {a: b}]\n", "--conditions: unknown attribute"),
    ("seed: !!python/object/apply:os.abort []\n", "argument --seed: expected one argument"),
    ("- " * 50_000, "cannot read "),
    (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot read "),
])  # fmt: skip
def test_a_mistake_in_a_file_is_one_line(tmp_path, capsys, content, message):
    with pytest.raises(SystemExit):
        parse_file(tmp_path, content)
    _, error = capsys.readouterr().err.splitlines()
    assert message in error


def test_class_folders_have_their_own_rules(tmp_path):
    folder = str(folder_of_classes(tmp_path / "fruit", {"apple": 1, "pear": 1}))
    config = TrainingConfig(train_data_dir=folder, conditions=["type"])
    assert (config.dataset_config_name, config.output_dir) == (None, "outputs/fruit-64")
    with pytest.raises(ValueError, match="fruit has labelled images"):
        TrainingConfig(train_data_dir=folder, dataset_config_name="all")
    assert TrainingConfig(train_data_dir=folder, conditions=["type", "mood", "type"]).conditions == ["type", "mood"]
    for settings, expected in (({}, (4e-4, 20)), ({"learning_rate": 6e-4, "lr_warmup_steps": 100}, (6e-4, 100))):
        for data, plan in (({"train_data_dir": folder}, expected), ({}, (6e-4, 100))):
            config = TrainingConfig(pretrained_model_name_or_path="pokemon-ddpm-64", **data, **settings)
            assert (config.learning_rate, config.lr_warmup_steps) == plan


@pytest.mark.parametrize("settings", [
    {"train_data_dir": "a b.zip", "learning_rate": 1e-5, "max_train_seconds": 0.5, "output_dir": "-a b"},
    {"dataset_name": "user/boxes", "image_column": "a b", "label_column": "kind", "conditions": ["type"]},
    {"distill_from": "a", "distill_teacher_steps": 4, "mixed_precision": "no", "checkpoints_total_limit": 0},
])  # fmt: skip
def test_a_saved_configuration_can_be_read_again(tmp_path, settings):
    TrainingConfig(**settings, push_to_hub=True, overwrite_output_dir=True).save(tmp_path)
    assert parse_config([str(tmp_path / CONFIG_FILE)]) == TrainingConfig(**settings, push_to_hub=True)
