"""The settings of a run: flags, files, and a short answer to a wrong one."""

import dataclasses
import json

import pytest

from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig, parse_config

DISTILL = "--distill_from a --distill_teacher_steps 32"


def error_of(arguments: list[str], capsys: pytest.CaptureFixture) -> str:
    """The message of refused arguments: status 2, nothing on standard output, one line beside the hint to --help."""
    with pytest.raises(SystemExit) as stop:
        parse_config(arguments)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.strip().splitlines()
    assert len(lines) == 2, output.err
    assert lines[1].startswith("See ") and lines[1].endswith("--help.")
    assert len(lines[0]) < 250
    assert "Traceback" not in output.err and "usage" not in output.err
    return lines[0]


def test_no_flag_at_all_gives_the_defaults():
    config = parse_config([])
    assert config == TrainingConfig()
    assert (config.resolution, config.seed, config.train_data_dir, config.use_ema) == (32, 0, None, True)
    assert (config.prediction_type, config.snr_gamma, config.conditioning_dropout_prob) == ("v_prediction", 5.0, 0.1)
    assert (config.validation_steps, config.metric_for_best_model) == (500, "validation_loss")
    assert (config.max_bad_steps, config.load_best_model_at_end) == (10, False)


def test_every_field_has_a_help_text_and_is_a_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(TrainingConfig):
        assert field.metadata["help"].endswith(".")
        assert f"--{field.name}" in text


def test_flags():
    config = parse_config(
        (
            "--train_data_dir path/to/sprites --resolution 64 --learning_rate 1e-3 --prediction_type epsilon "
            "--random_flip --use_ema false --max_train_steps=7 --mixed_precision bf16 --snr_gamma 0 "
            "--max_train_seconds 1.5 --seed 3"
        ).split()
    )
    assert config == TrainingConfig(
        train_data_dir="path/to/sprites", resolution=64, learning_rate=1e-3, prediction_type="epsilon",
        random_flip=True, use_ema=False, max_train_steps=7, mixed_precision="bf16", snr_gamma=0.0,
        max_train_seconds=1.5, seed=3,
    )  # fmt: skip


def test_flags_with_hyphens_are_the_same():
    assert parse_config(["--max-train-steps", "7"]).max_train_steps == 7


def test_a_flag_that_is_on_can_be_switched_off_by_its_negation():
    assert parse_config(["--no_use_ema"]).use_ema is False


YAML = """\
# A comment
resolution: 64
learning_rate: 1e-3
random_flip: true
use_ema: false
lr_scheduler: constant
max_train_steps: null
output_dir: a folder/with spaces
"""


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_yaml_file(tmp_path, suffix):
    file = tmp_path / f"run{suffix}"
    file.write_text(YAML)
    assert parse_config([str(file)]) == TrainingConfig(
        resolution=64, learning_rate=1e-3, random_flip=True, use_ema=False, lr_scheduler="constant",
        output_dir="a folder/with spaces",
    )  # fmt: skip


def test_json_file(tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"resolution": 64, "learning_rate": 1e-5, "use_ema": False, "max_train_steps": None}))
    assert parse_config([str(file)]) == TrainingConfig(resolution=64, learning_rate=1e-5, use_ema=False)


@pytest.mark.parametrize(
    "text", ["conditions: [size, type]", "conditions:\n- size\n- type\n- type", "conditions: [type, size]\nseed: 0"]
)
def test_conditions_in_a_file_are_a_list(tmp_path, text):
    """Their order means nothing."""
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert parse_config([str(file)]) == TrainingConfig(conditions=["type", "size"])
    assert parse_config("--conditions size type".split()) == TrainingConfig(conditions=["type", "size"])
    assert parse_config([str(file), "--conditions", "type"]).conditions == ["type"]


def test_one_condition_in_a_file_can_be_a_word(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("conditions: type\n")
    assert parse_config([str(file)]).conditions == ["type"]
    file.write_text("conditions: null\n")
    assert parse_config([str(file)]).conditions is None


def test_flags_override_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(YAML)
    config = parse_config([str(file), "--resolution", "16", "--use_ema", "true"])
    assert (config.resolution, config.use_ema, config.learning_rate) == (16, True, 1e-3)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_every_precision_can_be_written_in_yaml_without_quotes(tmp_path, precision):
    file = tmp_path / "run.yaml"
    file.write_text(f"mixed_precision: {precision}\n")
    assert parse_config([str(file)]).mixed_precision == precision


def test_an_empty_word_in_a_file_is_no_value_left_out(tmp_path, capsys):
    for name, text in {"run.yaml": "train_data_dir:\nseed: 1\n", "run.json": '{"train_data_dir": null}'}.items():
        (tmp_path / name).write_text(text)
        assert parse_config([str(tmp_path / name)]).train_data_dir is None
    for name, text in {"run.yaml": "train_data_dir: ''\n", "run.json": '{"train_data_dir": ""}'}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(SystemExit):
            parse_config([str(tmp_path / name)])
        assert "--train_data_dir is empty" in capsys.readouterr().err


def test_none_in_yaml_is_the_tracker_none(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("report_to: none\n")
    assert parse_config([str(file)]).report_to == "none"


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [
        ("--learning_rat", "--learning_rate"),
        ("--batch_size", "--train_batch_size"),
        ("--resolutoin=64", "--resolution"),
        ("--max-train-step", "--max_train_steps"),
    ],
)
def test_an_unknown_flag_is_told_with_the_nearest(flag, nearest, capsys):
    message = error_of([flag, "3"], capsys)
    assert f"unknown argument {flag}" in message
    assert message.endswith(f"Did you mean {nearest}?")


def test_a_flag_is_not_abbreviated(capsys):
    assert "unknown argument --learning" in error_of(["--learning", "1"], capsys)


def test_a_stray_word_is_refused(capsys):
    assert "unknown argument pikachu" in error_of(["--seed", "1", "pikachu"], capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--resolution 30", ["resolution", "multiple of 8", "30"]),
        ("--resolution 0", ["resolution", "multiple of 8"]),
        ("--resolution abc", ["--resolution", "int", "abc"]),
        ("--resolution", ["--resolution", "expected one argument"]),
        ("--train_batch_size 0", ["--train_batch_size", "above 0"]),
        ("--train_batch_size 1.5", ["--train_batch_size", "1.5"]),
        ("--gradient_accumulation_steps -1", ["--gradient_accumulation_steps", "above 0"]),
        ("--num_epochs 0", ["--num_epochs", "above 0"]),
        ("--max_train_steps 0", ["--max_train_steps", "above 0"]),
        ("--max_train_seconds 0", ["--max_train_seconds", "above 0"]),
        ("--learning_rate 0", ["--learning_rate", "above 0"]),
        ("--learning_rate nan", ["--learning_rate", "nan"]),
        ("--learning_rate inf", ["--learning_rate", "inf"]),
        ("--learning_rate fast", ["--learning_rate", "fast"]),
        ("--snr_gamma -5", ["--snr_gamma", "0 or more"]),
        ("--conditioning_dropout_prob 1", ["--conditioning_dropout_prob", "below 1"]),
        ("--conditioning_dropout_prob -0.1", ["--conditioning_dropout_prob", "from 0"]),
        ("--ema_decay 1.0", ["--ema_decay", "below 1"]),
        ("--adam_beta1 1", ["--adam_beta1", "below 1"]),
        ("--max_grad_norm 0", ["--max_grad_norm", "above 0"]),
        ("--lr_scheduler wavy", ["--lr_scheduler", "wavy", "cosine"]),
        ("--prediction_type score", ["--prediction_type", "score", "v_prediction"]),
        ("--variance_type learned", ["--variance_type", "learned", "learned_range"]),
        ("--timestep_sampling odd", ["--timestep_sampling", "odd", "stratified"]),
        ("--mixed_precision fp8", ["--mixed_precision", "fp8", "bf16"]),
        ("--report_to paper", ["--report_to", "paper", "tensorboard"]),
        ("--preprocessing none", ["--preprocessing", "none", "thesis"]),
        ("--random_flip perhaps", ["--random_flip", "perhaps"]),
        ("--seed -1", ["--seed", "0 or more"]),
        ("--lr_warmup_steps -1", ["--lr_warmup_steps", "0 or more"]),
        ("--exclude_faulty", ["--exclude_faulty", "need --train_data_dir"]),
        ("--deduplicate --dataset_name a/b", ["--deduplicate", "need --train_data_dir"]),
        (
            "--model_config_name_or_path small --pretrained_model_name_or_path a/b",
            ["--model_config_name_or_path and --pretrained_model_name_or_path exclude each other"],
        ),
        ("--checkpoints_total_limit=-1", ["--checkpoints_total_limit", "0 or more"]),
        ("--max_bad_steps=-1", ["--max_bad_steps", "0 or more"]),
        ("--validation_steps=-1", ["--validation_steps", "0 or more"]),
        ("--metric_for_best_model loss", ["--metric_for_best_model", "loss", "validation_loss"]),
        ("--load_best_model_at_end --validation_steps 0", ["--load_best_model_at_end", "--validation_steps"]),
        ("--load_best_model_at_end --metric_for_best_model none", ["--load_best_model_at_end", "--metric_for"]),
        ("--translate_prob 1.5", ["--translate_prob", "from 0 to 1"]),
        ("--scale_prob=-0.1", ["--scale_prob", "from 0 to 1"]),
        ("--rotate_prob nan", ["--rotate_prob", "nan"]),
        ("--brightness_prob 2", ["--brightness_prob", "from 0 to 1"]),
        ("--hue_prob 2", ["--hue_prob", "from 0 to 1"]),
        ("--rescale_betas_zero_snr --prediction_type epsilon", ["--rescale_betas_zero_snr", "v_prediction or sample"]),
        ("--rescale_betas_zero_snr --snr_gamma 0.5", ["--rescale_betas_zero_snr", "--snr_gamma of 0, or of 1"]),
        ("--num_cpu_threads 0", ["--num_cpu_threads", "above 0"]),
        ("--ddpm_num_steps 4 --lr_warmup_steps 0", ["--ddpm_num_inference_steps", "--ddpm_num_steps"]),
        ("--distill_from a", ["--distill_from", "even --distill_teacher_steps", "None"]),
        ("--distill_from a --distill_teacher_steps 5", ["--distill_from", "even --distill_teacher_steps", "5"]),
        ("--distill_from a --distill_teacher_steps 0", ["even --distill_teacher_steps", "0"]),
        ("--distill_from a --distill_teacher_steps 1002", ["up to --ddpm_num_steps", "1002"]),
        ("--distill_from a --distill_teacher_steps four", ["--distill_teacher_steps", "int", "four"]),
        ("--distill_teacher_steps 4", ["--distill_teacher_steps", "need --distill_from"]),
        ("--distill_guidance_scale 2", ["--distill_guidance_scale", "need --distill_from"]),
        (f"{DISTILL} --distill_guidance_scale=-1", ["--distill_guidance_scale", "0 or more"]),
        (f"{DISTILL} --distill_guidance_scale nan", ["--distill_guidance_scale", "nan"]),
        (f"{DISTILL} --variance_type learned_range", ["--distill_from excludes --variance_type", "no noise"]),
        (f"{DISTILL} --prediction_type epsilon", ["--distill_from excludes --prediction_type epsilon", "pure noise"]),
        (f"{DISTILL} --timestep_sampling loss_second_moment", ["--distill_from excludes", "uniform or stratified"]),
        (f"{DISTILL} --snr_gamma 1", ["--distill_from excludes --snr_gamma", "max(SNR, 1)"]),
        (f"{DISTILL} --conditions type", ["--distill_from excludes --conditions", "its teacher's"]),
        (f"{DISTILL} --ddpm_num_inference_steps 50", ["--distill_from excludes --ddpm_num_inference_steps", "16"]),
        (
            f"{DISTILL} --pretrained_model_name_or_path b",
            ["--pretrained_model_name_or_path and --distill_from exclude each other"],
        ),
        (f"{DISTILL} --model_config_name_or_path base", ["--model_config_name_or_path and --distill_from exclude"]),
        ("--conditions type colour", ["--conditions", "no 'colour'", "Did you mean 'color'?", "legendary"]),
        ("--conditions color view", ["--conditions must hold type", "color view"]),
        ("--conditions", ["--conditions", "expected at least one argument"]),
        ("--conditions type size --dataset_name a/b --label_column kind", ["type size", "it can only be type"]),
        ("--train_data_dir a --dataset_name b", ["--train_data_dir", "--dataset_name", "exclude"]),
        ("--image_column picture", ["--image_column and --label_column need --dataset_name"]),
        ("--label_column kind --train_data_dir a", ["need --dataset_name", "those folders' names"]),
        ("--label_column= --dataset_name a/b", ["--label_column", "empty"]),
        ("--image_column= --dataset_name a/b", ["--image_column", "empty"]),
        ("--resume_from_checkpoint latest --overwrite_output_dir", ["--resume_from_checkpoint", "exclude"]),
        ("--hub_model_id me/model", ["--hub_model_id", "--push_to_hub"]),
        ("missing.yaml", ["cannot read missing.yaml"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_in_one_line(arguments, said, capsys):
    message = error_of(arguments.split(), capsys)
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("resolutoin: 64\n", "Did you mean --resolution?"),
        ("resolution: [32, 64]\n", "--resolution"),
        ("resolution: big\n", "--resolution"),
        ("- resolution\n", "must hold flags and their values"),
        ("", "must hold flags and their values"),
        ("resolution: 64\n  seed: [\n", "cannot read"),
        ("\tresolution: 64\n", "cannot read"),
        ("resolution: 30\n", "multiple of 8"),
        ("conditions: []\n", "--conditions"),
        ("conditions: [type, {a: b}]\n", "--conditions"),
        ("conditions: type color\n", "--conditions"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(content, said, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    assert said in error_of([str(file)], capsys)


def test_a_picture_is_no_configuration_file(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    assert "cannot read" in error_of([str(file)], capsys)


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig(),
        TrainingConfig(
            train_data_dir="my sprites/of 2026.zip", learning_rate=1e-5, use_ema=False, random_flip=True,
            snr_gamma=0.0, mixed_precision="no", max_train_steps=12, max_train_seconds=2700.0, resolution=64,
            report_to="tensorboard", dataset_config_name="all", output_dir="-odd = name", adam_epsilon=1e-12,
        ),
        TrainingConfig(checkpoints_total_limit=0),
        TrainingConfig(dataset_name="user/boxes", image_column="my picture", label_column="kind"),
        TrainingConfig(conditions=["type"]),
        TrainingConfig(conditions=["type", "color", "view"], seed=1),
    ],
    ids=["defaults", "many", "all checkpoints kept", "other columns", "one condition", "several conditions"],
)  # fmt: skip
def test_a_saved_configuration_is_read_again_as_it_was(config, tmp_path):
    config.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG_FILE]
    assert parse_config([str(tmp_path / CONFIG_FILE)]) == config


def test_a_student_is_drawn_in_its_own_steps(tmp_path):
    config = parse_config(DISTILL.split())
    assert config.student_steps == config.ddpm_num_inference_steps == 16
    config.save(tmp_path)
    assert parse_config([str(tmp_path / CONFIG_FILE)]) == config
    assert parse_config([]).student_steps is None


def test_all_checkpoints_can_be_kept_by_a_setting_of_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("checkpoints_total_limit: 0\nmax_train_steps: null\n")
    config = parse_config([str(file)])
    assert config.checkpoints_total_limit == 0 and config.max_train_steps is None


def test_the_token_is_never_written(tmp_path):
    config = parse_config("--push_to_hub --hub_model_id me/model --hub_token hf_SECRET".split())
    assert config.hub_token == "hf_SECRET"
    config.save(tmp_path)
    assert "SECRET" not in (tmp_path / CONFIG_FILE).read_text()
    assert "hub_token" not in config.public()
    assert parse_config([str(tmp_path / CONFIG_FILE)]) == dataclasses.replace(config, hub_token=None)


def test_the_token_is_not_shown_with_the_configuration():
    """What is printed, logged or shown in a traceback."""
    assert "SECRET" not in repr(TrainingConfig(push_to_hub=True, hub_token="hf_SECRET"))


def test_a_refused_flag_does_not_tell_the_token(capsys):
    assert "SECRET" not in error_of(["--hub_token", "hf_SECRET"], capsys)
