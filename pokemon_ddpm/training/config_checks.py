"""What settings of a run exclude each other, beyond the range of a single one."""

import dataclasses
from typing import TYPE_CHECKING

from pokemon_ddpm.class_folders import has_class_folders
from pokemon_ddpm.vocabulary import CONDITIONS, nearest

if TYPE_CHECKING:
    from pokemon_ddpm.training.config import TrainingConfig

LEAST_EVAL_IMAGES = 20
"""Of fewer pictures KID has no standard error."""


def check_data(config: "TrainingConfig") -> None:
    """Checks what says where the pictures come from, and settles which of the sprites are meant.

    Raises:
        ValueError: If two settings exclude each other, or one needs another.
    """
    if config.train_data_dir == "":
        raise ValueError("--train_data_dir is empty; leave it out for the starter set.")
    if config.train_data_dir and config.dataset_name:
        raise ValueError("--train_data_dir and --dataset_name exclude each other.")
    if (config.label_column is not None or config.image_column != "image") and not config.dataset_name:
        raise ValueError(
            "--image_column and --label_column need --dataset_name; in a --train_data_dir with one sub-folder a "
            "class, the classes are those folders' names."
        )
    if not config.image_column or config.label_column == "":
        raise ValueError("--image_column and --label_column take the name of a column; leave out what is empty.")
    if (config.exclude_faulty or config.deduplicate or config.skip_bad_images) and not config.train_data_dir:
        raise ValueError("--exclude_faulty, --deduplicate and --skip_bad_images need --train_data_dir.")
    if config.train_data_dir and has_class_folders(config.train_data_dir):
        if config.dataset_config_name or config.exclude_faulty:
            raise ValueError(
                "--dataset_config_name and --exclude_faulty are about the sprite archive, but "
                f"{config.train_data_dir} has one sub-folder of pictures for each class."
            )
    elif config.dataset_config_name is None and not config.dataset_name:
        config.dataset_config_name = "front" if config.train_data_dir else "starter"


def check_together(config: "TrainingConfig") -> None:
    """Checks what a run is made of, once the data are settled and every value is in its range.

    Raises:
        ValueError: If two settings exclude each other, or one needs another.
    """
    _check_conditions(config)
    _check_distillation(config)
    _check_network(config)
    _check_noise(config)
    _check_best(config)
    _check_output(config)
    if config.lr_scheduler == "polynomial" and config.learning_rate <= 1e-7:
        raise ValueError("--lr_scheduler polynomial ends at 1e-7 and needs a --learning_rate above it.")


def _check_conditions(config: "TrainingConfig") -> None:
    """Checks what the network is to be conditioned on, and brings it into the order of `CONDITIONS`.

    Raises:
        ValueError: If it is none of these, lacks the type, or goes with no pictures that have classes of their own.
    """
    if config.conditions is None:
        return
    for name in config.conditions:
        if name not in CONDITIONS:
            raise ValueError(f"--conditions: there is no {name!r}. {nearest(name, list(CONDITIONS))}")
    if "type" not in config.conditions:
        raise ValueError(f"--conditions must hold type, but is {' '.join(config.conditions)}.")
    config.conditions = [name for name in CONDITIONS if name in config.conditions]
    own_classes = config.label_column or not (config.dataset_name or config.dataset_config_name)
    if own_classes and config.conditions != ["type"]:
        raise ValueError(
            f"--conditions is {' '.join(config.conditions)}, but it can only be type: of pictures with classes of "
            "their own nothing else is known."
        )


def _check_noise(config: "TrainingConfig") -> None:
    """Checks that the loss has a finite value at every noise level of the schedule.

    Raises:
        ValueError: If it has not.
    """
    if config.rescale_betas_zero_snr and config.prediction_type == "epsilon":
        raise ValueError(
            "--rescale_betas_zero_snr needs --prediction_type v_prediction or sample: at the last timestep there is "
            "only noise, of which nothing can be told by predicting it."
        )
    if config.rescale_betas_zero_snr and 0 < config.snr_gamma < 1:
        raise ValueError("--rescale_betas_zero_snr needs an --snr_gamma of 0, or of 1 or more.")


def _check_network(config: "TrainingConfig") -> None:
    """Checks that the network is named once.

    Raises:
        ValueError: If it is not.
    """
    names = ("model_config_name_or_path", "pretrained_model_name_or_path", "distill_from")
    given = [f"--{name}" for name in names if getattr(config, name)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other.")


def _check_distillation(config: "TrainingConfig") -> None:
    """Checks the settings of a distillation, and has the sample sheets drawn in the student's steps.

    Raises:
        ValueError: If one is missing, or goes with no distillation.
    """
    if not config.distill_from:
        if config.distill_teacher_steps is not None or config.distill_guidance_scale is not None:
            raise ValueError("--distill_teacher_steps and --distill_guidance_scale need --distill_from.")
        return
    steps = config.distill_teacher_steps
    if steps is None or steps < 2 or steps % 2 or steps > config.ddpm_num_steps:
        raise ValueError(
            f"--distill_from needs an even --distill_teacher_steps up to --ddpm_num_steps, but it is {steps}."
        )
    default = {field.name: field.default for field in dataclasses.fields(config)}
    for name, value, reason in (
        ("variance_type", "learned_range", "its steps add no noise"),
        ("prediction_type", "epsilon", "at pure noise, where a step starts, that tells nothing of the picture"),
        ("timestep_sampling", "loss_second_moment", "it has few timesteps; take uniform or stratified"),
    ):
        if getattr(config, name) == value:
            raise ValueError(f"--distill_from excludes --{name} {value}: {reason}.")
    if config.conditions is not None:
        raise ValueError("--distill_from excludes --conditions: a student's are its teacher's.")
    if config.snr_gamma != default["snr_gamma"]:
        raise ValueError("--distill_from excludes --snr_gamma: its loss is weighted by max(SNR, 1).")
    if config.ddpm_num_inference_steps not in (config.student_steps, default["ddpm_num_inference_steps"]):
        raise ValueError(f"--distill_from excludes --ddpm_num_inference_steps: it draws in {config.student_steps}.")
    config.ddpm_num_inference_steps = config.student_steps


def _check_best(config: "TrainingConfig") -> None:
    """Checks that what is to decide on the best checkpoint is measured.

    Raises:
        ValueError: If it is not.
    """
    metric = config.metric_for_best_model
    if metric == "kid" and not config.eval_steps:
        raise ValueError("--metric_for_best_model kid needs --eval_steps, which measures it.")
    if config.load_best_model_at_end and (
        metric == "none" or (metric == "validation_loss" and not config.validation_steps)
    ):
        raise ValueError(
            "--load_best_model_at_end needs a --metric_for_best_model that is measured: validation_loss is by "
            "--validation_steps, kid by --eval_steps."
        )


def _check_output(config: "TrainingConfig") -> None:
    """Checks what is to become of an older run, and of the model.

    Raises:
        ValueError: If two settings exclude each other, or one needs another.
    """
    if config.resume_from_checkpoint and config.overwrite_output_dir:
        raise ValueError("--resume_from_checkpoint and --overwrite_output_dir exclude each other.")
    asked = config.hub_model_id or config.hub_private_repo or config.hub_token or config.hub_strategy != "end"
    if asked and not config.push_to_hub:
        raise ValueError("--hub_model_id, --hub_private_repo, --hub_strategy and --hub_token need --push_to_hub.")
