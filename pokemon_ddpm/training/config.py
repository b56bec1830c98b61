"""What a training run is made of: one documented dataclass, read from flags and from YAML or JSON files."""

import dataclasses
import difflib
import json
import math
import sys
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from transformers import HfArgumentParser

from pokemon_ddpm.preprocessing import check_resolution
from pokemon_ddpm.training.config_checks import LEAST_EVAL_IMAGES, check_data, check_together

CONFIG_FILE = "training_config.json"
EVALUATION_FILE = "evaluation.jsonl"  # what another process has measured of the run


def _option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass
class TrainingConfig:
    """Every setting of a training run; each field is a flag of train_conditional.py.

    Raises:
        ValueError: If a value is out of its range or two exclude each other.
    """

    # Data
    train_data_dir: str | None = _option(
        None,
        "The sprite archive from Kaggle, as a folder or .zip; or a folder with one sub-folder of pictures for each "
        "class. Without it the procedural starter set is used.",
    )
    dataset_name: str | None = _option(
        None,
        "A data set with the sprites' columns instead, or with any --label_column: its name on the Hub, or a folder "
        "of Parquet files.",
    )
    dataset_config_name: str | None = _option(
        None, "front (front, not shiny; the sprite archive's default), all, starter, or one of --dataset_name's."
    )
    image_column: str = _option("image", "The column of --dataset_name that holds the pictures.")
    label_column: str | None = _option(
        None, "A ClassLabel column of --dataset_name; its class names take the place of the types, of all labels."
    )
    exclude_faulty: bool = _option(False, "Leave out the few pictures that show something else than their label.")
    deduplicate: bool = _option(False, "Leave out exact duplicates inside a split.")
    skip_bad_images: bool = _option(False, "Go on without unusable pictures instead of stopping.")
    cache_dir: str | None = _option(None, "Where the built data set is cached.")
    resolution: int = _option(32, "Side of the pictures in pixels; 32 and 64 are usual.")
    preprocessing: Literal["fit", "thesis"] = _option("fit", "fit: keep proportions; thesis: as the thesis did.")

    # Augmentation; all but the flip is told to the network, so that samples stay clean (Karras et al. 2022)
    random_flip: bool = _option(False, "Mirror every picture with probability 1/2.")
    translate_prob: float = _option(0.0, "Probability of moving a picture by a few pixels.")
    scale_prob: float = _option(0.0, "Probability of enlarging or shrinking a picture.")
    rotate_prob: float = _option(0.0, "Probability of rotating a picture by any angle.")
    brightness_prob: float = _option(0.0, "Probability of brightening or darkening a picture.")
    hue_prob: float = _option(0.0, "Probability of rotating a picture's colours; fire sprites become blue.")

    # Model
    model_config_name_or_path: str | None = _option(
        None,
        "A preset (small, the default; base, thesis-vanilla, thesis-attention, thesis-final), or a UNet2DModel "
        "configuration in JSON.",
    )
    pretrained_model_name_or_path: str | None = _option(None, "Start from this trained pipeline's weights instead.")
    conditions: list[str] | None = _option(
        None,
        "What the network is told of a picture, such as `type color`; by default all that varies in the training "
        "pictures. The fewer, the sooner each is learned.",
    )
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = _option(
        "v_prediction", "What the network predicts: the noise, v, or the clean picture."
    )
    variance_type: Literal["fixed_small", "fixed_large", "learned_range"] = _option(
        "fixed_small", "Variance of the reverse process; learned_range learns it (Nichol & Dhariwal 2021)."
    )
    ddpm_num_steps: int = _option(1000, "T, the number of diffusion steps.")
    ddpm_beta_schedule: Literal["squaredcos_cap_v2", "linear"] = _option(
        "squaredcos_cap_v2", "Noise schedule: the cosine of Nichol & Dhariwal 2021, or that of Ho et al. 2020."
    )
    rescale_betas_zero_snr: bool = _option(False, "Let the noise schedule end at pure noise (Lin et al. 2023).")

    # Objective
    snr_gamma: float = _option(5.0, "gamma of Min-SNR weighting (Hang et al. 2023); 0 for the simple loss of DDPM.")
    timestep_sampling: Literal["uniform", "stratified", "loss_second_moment"] = _option(
        "uniform",
        "How timesteps are drawn: independently, evenly over the batch, or by the second moment of their losses "
        "(Nichol & Dhariwal 2021).",
    )
    conditioning_dropout_prob: float = _option(0.1, "Share of pictures trained without any condition, for guidance.")

    # Progressive distillation (Salimans & Ho 2022), one halving a run
    distill_from: str | None = _option(
        None, "Learn to draw in half as many steps from this trained pipeline, the teacher, starting at its weights."
    )
    distill_teacher_steps: int | None = _option(
        None, "DDIM steps of the teacher; the student takes half as many. Even; 32 and then 16, 8, 4 are usual."
    )
    distill_guidance_scale: float | None = _option(
        None, "The teacher's guidance, which the student has in itself; by default the one saved with the teacher."
    )

    # Optimisation
    train_batch_size: int = _option(32, "Pictures a process and a forward pass.")
    gradient_accumulation_steps: int = _option(1, "Forward passes an update.")
    num_epochs: int = _option(100, "Passes over the training split.")
    max_train_steps: int | None = _option(None, "Number of updates; goes before --num_epochs.")
    max_train_seconds: float | None = _option(None, "Stop, saving everything, after this time.")
    learning_rate: float = _option(6e-4, "Peak learning rate of AdamW.")
    lr_scheduler: Literal["linear", "cosine", "polynomial", "constant", "constant_with_warmup"] = _option(
        "cosine", "Course of the learning rate; constant is the only one without a warm-up."
    )
    lr_warmup_steps: int = _option(500, "Updates of linear warm-up.")
    adam_beta1: float = _option(0.9, "beta_1 of AdamW.")
    adam_beta2: float = _option(0.999, "beta_2 of AdamW.")
    adam_weight_decay: float = _option(1e-4, "Weight decay of AdamW.")
    adam_epsilon: float = _option(1e-8, "epsilon of AdamW.")
    max_grad_norm: float = _option(1.0, "Gradients are clipped to this norm.")
    use_ema: bool = _option(True, "Average the weights exponentially and save the average.")
    ema_decay: float = _option(0.999, "Decay of the average; it warms up as (1 + n) / (10 + n).")
    mixed_precision: Literal["no", "bf16", "fp16"] | None = _option(
        None, "Computing precision; without it, what `accelerate launch` or its configuration says, else no."
    )
    num_cpu_threads: int | None = _option(
        None, "Threads a process on a CPU; without it the processes share all cores (accelerate launch gives one)."
    )
    compile: bool = _option(False, "Compile the network with torch.compile.")
    deterministic: bool = _option(False, "On a GPU, use only kernels that repeat to the bit; a CPU's always do.")
    max_bad_steps: int = _option(10, "Stop when more updates than this had to be skipped because of NaN or infinity.")
    seed: int = _option(0, "Seed of everything random.")

    # Validation
    validation_steps: int = _option(
        500,
        "Updates between measurements of the denoising loss of held-out and of as many training pictures; 0: never.",
    )
    eval_steps: int = _option(
        0,
        "Updates between measurements of KID and obedience, of samples that are asked for what held-out pictures are; "
        "0: never. They need pip install 'pokemon-ddpm[evaluation]'.",
    )
    num_eval_images: int = _option(256, "How many samples these are measured of.")
    metric_for_best_model: Literal["validation_loss", "kid", "none"] = _option(
        "validation_loss", "Which measurement decides what the best checkpoint is, which is kept; none: none is."
    )
    load_best_model_at_end: bool = _option(
        False, "Make the model of the best checkpoint's weights, not of the last's."
    )

    # Output
    output_dir: str | None = _option(
        None, "Where the model, checkpoints, sheets and logs go; by default outputs/DATA-RESOLUTION."
    )
    overwrite_output_dir: bool = _option(False, "Throw away the run that lies in --output_dir.")
    checkpointing_steps: int = _option(500, "Updates between checkpoints.")
    checkpoints_total_limit: int = _option(3, "How many checkpoints to keep, the newest, beside the best; 0 for all.")
    resume_from_checkpoint: str | None = _option(None, "latest, or a checkpoint folder.")
    save_images_steps: int = _option(1000, "Updates between sample sheets; 0 for none.")
    ddpm_num_inference_steps: int = _option(
        16, "Denoising steps of the sample sheets, and of the saved pipeline if it is not told otherwise."
    )
    logging_steps: int = _option(20, "Updates between log entries.")
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = _option(
        "none", "Where the log goes beside the bar."
    )
    push_to_hub: bool = _option(False, "Push the model to the Hub at the end.")
    hub_strategy: Literal["end", "every_save"] = _option(
        "end", "Push at the end alone, or with every checkpoint as well (the model, not the checkpoint)."
    )
    hub_model_id: str | None = _option(None, "user/name to push to; by default the output folder's name.")
    hub_private_repo: bool = _option(False, "Make the pushed repository private.")
    hub_token: str | None = dataclasses.field(
        default=None, repr=False, metadata={"help": "Token for the push; by default the one of `hf auth login`."}
    )

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        check_data(self)
        if self.output_dir is None:
            data = self.dataset_name or self.dataset_config_name or Path(self.train_data_dir).expanduser()
            self.output_dir = f"outputs/{Path(data).resolve().name}-{self.resolution}"
        for name in (
            "ddpm_num_steps", "train_batch_size", "gradient_accumulation_steps", "num_epochs", "max_train_steps",
            "max_train_seconds", "learning_rate", "adam_epsilon", "max_grad_norm", "checkpointing_steps",
            "ddpm_num_inference_steps", "logging_steps", "num_cpu_threads",
        ):  # fmt: skip
            self._check(name, lambda value: value > 0, "above 0")
        for name in (
            "snr_gamma", "lr_warmup_steps", "adam_weight_decay", "save_images_steps", "checkpoints_total_limit",
            "max_bad_steps", "validation_steps", "eval_steps", "seed", "distill_guidance_scale",
        ):  # fmt: skip
            self._check(name, lambda value: value >= 0, "0 or more")
        for name in ("translate_prob", "scale_prob", "rotate_prob", "brightness_prob", "hue_prob"):
            self._check(name, lambda value: 0 <= value <= 1, "from 0 to 1")
        for name in ("adam_beta1", "adam_beta2", "ema_decay", "conditioning_dropout_prob"):
            self._check(name, lambda value: 0 <= value < 1, "from 0 to below 1")
        self._check("ddpm_num_steps", lambda value: value > 1, "2 or more")
        self._check("num_eval_images", lambda value: value >= LEAST_EVAL_IMAGES, f"{LEAST_EVAL_IMAGES} or more")
        check_together(self)
        self._check("ddpm_num_inference_steps", lambda value: value <= self.ddpm_num_steps, "at most --ddpm_num_steps")

    def _check(self, name: str, holds: Any, allowed: str) -> None:
        value = getattr(self, name)
        if value is not None and not (math.isfinite(value) and holds(value)):
            raise ValueError(f"--{name} must be {allowed}, but is {value}.")

    @property
    def student_steps(self) -> int | None:
        """Denoising steps of a student; None where nothing is distilled."""
        return self.distill_teacher_steps // 2 if self.distill_from else None

    def updates(self, pictures: int, batch_size: int) -> int:
        """How many updates the whole run makes, of so many training pictures, with so many an update."""
        return self.max_train_steps or -(-self.num_epochs * pictures // batch_size)

    def public(self) -> dict[str, Any]:
        """All values but the token."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "hub_token"}

    def save(self, folder: Path) -> None:
        """Writes the configuration as JSON; train_conditional.py reads such a file again.

        The token is left out, and so is what was meant for this one start: read again, it could throw a run away.
        """
        values = self.public()
        for name in ("overwrite_output_dir", "resume_from_checkpoint"):
            del values[name]
        (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, **changed: Any) -> "TrainingConfig":
        """Reads what `save` has written into a run's folder, but for what is to be another.

        Raises:
            ValueError: If there is none, or it is none of this version.
        """
        try:
            values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            return cls(**{**values, **changed})
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{folder} is not the folder of a training run that can be read ({error}).") from error


def as_text(value: Any) -> Any:
    """A setting as trackers, cards and messages show it: a list as its words in a row."""
    return " ".join(value) if isinstance(value, list) else value


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line instead of argparse's usage, which is forty flags long.
        self.exit(2, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def parse_config(arguments: list[str] | None = None) -> TrainingConfig:
    """Reads the configuration from the command line.

    Args:
        arguments: Flags, after an optional YAML or JSON file whose values they override; `sys.argv` if not given.

    Exits with status 2 and one line on standard error if anything is wrong with them.
    """
    parser = _Parser(
        TrainingConfig,
        description="Trains a class-conditional DDPM on Pokémon sprites.",
        usage="%(prog)s [configuration.yaml|.json] [--flag value ...]",
        allow_abbrev=False,
    )
    for action in parser._actions:  # argparse has no public way to them
        if action.option_strings[0].startswith("--no_"):
            action.help = f"Turns --{action.dest} off."
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and not arguments[0].startswith("-"):
        arguments = [*_file_arguments(arguments[0], parser), *arguments[1:]]
    try:
        config, unknown = parser.parse_args_into_dataclasses(
            arguments, return_remaining_strings=True, look_for_args_file=False
        )
    except ValueError as error:
        parser.error(str(error))
    if unknown:
        known = [f"--{field.name}" for field in dataclasses.fields(TrainingConfig)]
        close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        parser.error(f"unknown argument {unknown[0]}." + (f" Did you mean {close[0]}?" if close else ""))
    return config


class _Text(yaml.BaseLoader):
    """Takes values as text, as YAML would make a truth value of `mixed_precision: no`; what is left empty is None."""

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:
        value = super().construct_scalar(node)
        return None if node.style is None and value in ("", "null", "~") else value


def _file_arguments(path: str, parser: _Parser) -> list[str]:
    """A configuration file as flags, so that its values go through the same checks as those of the command line."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Text)  # JSON is YAML, too
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"cannot read {path}: {' '.join(str(error).split())}")
    if not isinstance(values, dict):
        parser.error(f"{path} must hold flags and their values, such as `resolution: 32`.")
    given = {name: value for name, value in values.items() if value is not None}
    listed = given.pop("conditions", None)
    flags = [f"--{name}={value}" for name, value in given.items()]
    if listed is None:
        return flags
    # The one flag that takes several values; argparse wants each as an argument.
    return [*flags, "--conditions", *map(str, listed if isinstance(listed, list) else [listed])]
