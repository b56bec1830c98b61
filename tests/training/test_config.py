"""The settings of a run: flags, files, one line for each mistake, and what becomes of them."""

import dataclasses
import json
from pathlib import Path

import pytest

from pokemon_ddpm.training.config import CONFIG_FILE, MAX_NUMBER, TrainingConfig, parse_config
from tests.labelled_images import folder_of_classes

HUGE, BOTH = "9" * 400, ["type", "size"]


def parse_file(tmp_path: Path, content: str | bytes, *flags: str) -> TrainingConfig:
    file = tmp_path / "run.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_config([str(file), *flags])


def test_flags(capsys):
    assert parse_config([]) == TrainingConfig() and TrainingConfig().output_dir == "outputs/starter-64"
    config = parse_config(
        "--train_data_dir my/sprites --resolution 32 --learning_rate 1e-3 --random_flip --no_use_ema "
        "--max-train-steps=7 --mixed_precision bf16 --deduplicate false --conditions size type type".split()
    )
    changed = {"resolution": 32, "learning_rate": 1e-3, "max_train_steps": 7, "mixed_precision": "bf16"}
    changed |= {"random_flip": True, "use_ema": False, "conditions": ["type", "size"]}
    assert config == TrainingConfig(train_data_dir="my/sprites", **changed)
    assert (config.dataset_config_name, config.output_dir) == ("front", "outputs/front-32")
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"])
    out, groups = capsys.readouterr().out, []
    assert stop.value.code == 0 and "Turns --use_ema off." in " ".join(out.split())
    for field in dataclasses.fields(TrainingConfig):
        assert f"--{field.name}" in out and field.metadata["help"].endswith(".")
        groups += [out.index(f"\n{title}:\n  --{field.name}")] if (title := field.metadata.get("group")) else []
    assert groups == sorted(groups) and len(groups) == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "resolution: 64 # px\nlearning_rate: 1e-3\nuse_ema: false",
            {"resolution": 64, "learning_rate": 1e-3, "use_ema": 0},
        ),
        ("mixed_precision: no\nreport_to: none\nrandom_flip: true\n", {"mixed_precision": "no", "random_flip": True}),
        ("output_dir: -a b/c d\nmax_train_steps: null\ncache_dir:\nseed: ~\n", {"output_dir": "-a b/c d"}),
        ("conditions: [size, type]\ncheckpoints_total_limit: 0", {"conditions": BOTH, "checkpoints_total_limit": 0}),
        ("conditions:\n- type\n- size\n- type", {"conditions": BOTH}),
        ("conditions: size type", {"conditions": BOTH}),
        ("conditions: null", {}),
        (json.dumps({"learning_rate": 1e-5, "use_ema": False, "seed": None}), {"learning_rate": 1e-5, "use_ema": 0}),
    ],
)
def test_files_in_yaml_and_json(tmp_path, content, expected):
    assert parse_file(tmp_path, content) == TrainingConfig(**expected)
    config = parse_file(tmp_path, content, "--no_use_ema", "--conditions", "type")  # flags override the file
    assert config == TrainingConfig(**{**expected, "use_ema": False, "conditions": ["type"]})


def assert_refused(capsys: pytest.CaptureFixture, message: str, parse, *arguments: object) -> None:
    """Status 2 and one line on standard error beside the hint to --help."""
    with pytest.raises(SystemExit) as stop:
        parse(*arguments)
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert stop.value.code == 2 and output.out == ""
    assert len(lines) == 2 and lines[1].startswith("See ") and lines[1].endswith(" --help.")
    assert ": error: " in lines[0] and message in lines[0]


STUDENT = "--distill_from a --distill_teacher_steps 32"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--learning_rat 3", "unknown argument --learning_rat. Did you mean --learning_rate?"),
        ("--learning 3", "unknown argument --learning."),
        ("--seed 1 pikachu", "unknown argument pikachu."),
        ("--logger=wandb", "unknown argument --logger."),
        ("--save-image-steps 5", "unknown argument --save-image-steps. Did you mean --save_images_steps?"),
        ("missing.yaml", "cannot read missing.yaml: "),
        ("--resolution 30", "resolution must be a multiple of 8 from 8 to 1024"),
        ("--resolution 102400", "resolution must be a multiple of 8 from 8 to 1024"),
        ("--train_batch_size 1000000000", "--train_batch_size must be at most 100000, but is 1000000000."),
        ("--resolution abc", "invalid int value: 'abc'"),
        (f"--resolution {HUGE}", f"--resolution must be a number of at most {MAX_NUMBER}, but"),
        ("--learning_rate nan", "--learning_rate must be a number"),
        ("--learning_rate 0", "--learning_rate must be above 0, but is 0.0."),
        ("--seed -1", "--seed must be at least 0, but is -1."),
        ("--hue_prob 1.5", "--hue_prob must be at most 1, but is 1.5."),
        ("--lr_scheduler wavy", "invalid choice: 'wavy'"),
        ("--random_flip perhaps", "--random_flip"),
        ("--output_dir=", "--output_dir is empty; leave it out."),
        ("--train_data_dir a --dataset_name b", "--dataset_name excludes --train_data_dir."),
        ("--label_column kind --train_data_dir a", "--label_column needs --dataset_name."),
        ("--conditions type colour", "--conditions: unknown attribute 'colour'. Did you mean 'color'?"),
        ("--conditions color view", "--conditions must include type, but is color view."),
        ("--distill_from a", "needs even --distill_teacher_steps up to --ddpm_num_steps, not None."),
        ("--distill_from a --distill_teacher_steps 5", "needs even --distill_teacher_steps"),
        ("--distill_guidance_scale 2", "--distill_guidance_scale needs --distill_from."),
        (
            f"{STUDENT} --timestep_sampling loss_second_moment",
            "--distill_from excludes --timestep_sampling loss_second_moment.",
        ),
        (f"{STUDENT} --snr_gamma 16", "--distill_from excludes --snr_gamma."),
        (f"{STUDENT} --conditions type", "--distill_from excludes --conditions."),
        (f"{STUDENT} --ddpm_num_inference_steps 50", "--ddpm_num_inference_steps: it takes 16 steps."),
        ("--autoguidance_from a", "--autoguidance_from needs --pretrained_model_name_or_path."),
        (
            "--autoguidance_from a --pretrained_model_name_or_path b --variance_type learned_range",
            "--autoguidance_from excludes --variance_type learned_range",
        ),
        ("--autoguidance_scale 3", "--autoguidance_scale needs --autoguidance_from."),
        (
            "--pretrained_model_name_or_path a --autoguidance_from w --autoguidance_low 0.9",
            "--autoguidance_low must be below --autoguidance_high.",
        ),
        ("--lr_scheduler constant --lr_warmup_steps 7", "use constant_with_warmup."),
        (
            "--rescale_betas_zero_snr --snr_gamma 0.5",
            "--rescale_betas_zero_snr excludes --prediction_type epsilon and",
        ),
        ("--ddpm_num_steps 4", "--ddpm_num_inference_steps must be at most --ddpm_num_steps."),
        ("--load_best_model_at_end --validation_steps 0", "--load_best_model_at_end needs --validation_steps."),
        (
            "--resume_from_checkpoint latest --overwrite_output_dir",
            "--resume_from_checkpoint excludes --overwrite_output_dir.",
        ),
        ("--hub_token hf_SECRET", "error: --hub_token needs --push_to_hub."),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(capsys, flags, message):
    assert_refused(capsys, message, parse_config, flags.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("resolutoin: 64\n", "unknown argument --resolutoin. Did you mean --resolution?"),
        ("~: 3\n", "unknown argument --~."),
        ("", "{} must contain flags and their values, such as `resolution: 32`."),
        ("resolution: [32, 64]\n", "unknown argument 64."),
        ("seed: {a: b}\n", "argument --seed: invalid int value: \"{{'a': 'b'}}\""),
        ("conditions: [type, {a: b}]\n", "--conditions: unknown attribute"),
        ("conditions: []\n", "--conditions: expected at least one argument"),
        ("lr_scheduler: wavy\n", "invalid choice: 'wavy'"),
        ("seed: !!python/object/apply:os.abort []\n", "argument --seed: expected one argument"),
        ("resolution: 64\n  seed: [\n", "cannot read {}: "),
        ("[" * 100_000, "cannot read {}: "),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot read {}: "),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path, capsys, content, message):
    assert_refused(capsys, message.format(tmp_path / "run.yaml"), parse_file, tmp_path, content)


def test_class_folders_have_their_own_rules(tmp_path):
    folder = str(folder_of_classes(tmp_path / "fruit", {"apple": 1, "pear": 1}))
    config = TrainingConfig(train_data_dir=folder, conditions=["type"])
    assert (config.dataset_config_name, config.output_dir) == (None, "outputs/fruit-64")
    for settings in ({"dataset_config_name": "all"}, {"exclude_faulty": True}):
        with pytest.raises(ValueError, match="are not for labelled images, .*fruit"):
            TrainingConfig(train_data_dir=folder, **settings)
    assert TrainingConfig(train_data_dir=folder, conditions=["type", "mood", "type"]).conditions == ["type", "mood"]
    for settings, expected in (({}, (4e-4, 20)), ({"learning_rate": 6e-4, "lr_warmup_steps": 100}, (6e-4, 100))):
        for data, plan in (({"train_data_dir": folder}, expected), ({}, (6e-4, 100))):
            config = TrainingConfig(pretrained_model_name_or_path="pokemon-ddpm-64", **data, **settings)
            assert (config.learning_rate, config.lr_warmup_steps) == plan


@pytest.mark.parametrize(
    "settings",
    [
        {"train_data_dir": "a b.zip", "learning_rate": 1e-5, "max_train_seconds": 0.5, "output_dir": "-a b"},
        {"dataset_name": "user/boxes", "image_column": "a b", "label_column": "kind", "conditions": ["type"]},
        {"distill_from": "a", "distill_teacher_steps": 4, "mixed_precision": "no", "checkpoints_total_limit": 0},
    ],
)
def test_a_saved_configuration_can_be_read_again(tmp_path, settings):
    """Without the token and what was meant for one start."""
    config = TrainingConfig(**settings, push_to_hub=True, hub_token="hf_SECRET", overwrite_output_dir=True)
    config.save(tmp_path)
    assert parse_config([str(tmp_path / CONFIG_FILE)]) == TrainingConfig(**settings, push_to_hub=True)
    texts = [repr(config), str(config.public()), str(config.reported()), (tmp_path / CONFIG_FILE).read_text()]
    assert "SECRET" not in "".join(texts)


def test_the_model_card_reports_what_matters_or_was_changed():
    always = {"resolution": 64, "preprocessing": "pixel", "prediction_type": "sample", "seed": 0}
    always |= {"ddpm_beta_schedule": "squaredcos_cap_v2", "train_batch_size": 32, "learning_rate": 6e-4}
    always |= {"lr_warmup_steps": 100}
    assert TrainingConfig().reported() == always
    config = TrainingConfig(train_data_dir="/home/me", logging_steps=1, random_flip=True, conditions=["type", "size"])
    assert config.reported() == {**always, "random_flip": True, "conditions": "type size"}
