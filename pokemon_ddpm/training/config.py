"""The configuration of a training run: one documented dataclass, read from flags and from YAML or JSON files."""

import argparse
import dataclasses
import difflib
import json
import sys
from collections.abc import Iterator
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser

from pokemon_ddpm.class_folder import is_class_folder
from pokemon_ddpm.files import write_file
from pokemon_ddpm.preprocessing import check_preprocessing
from pokemon_ddpm.vocabulary import CONDITIONS, nearest

CONFIG_FILE = "training_config.json"
OTHER_DATA = "train_data_dir (or dataset_name, label_column), share, lowest_timestep, source, dataset_config_name"
NOT_GIVEN = ("", "null", "~")  # values in a file, as texts
NUM_TRAIN_TIMESTEPS = 1000  # T
LIMITS = {"low": ("at least", ge), "above": ("above", gt), "high": ("at most", le), "below": ("below", lt)}

AUTOGUIDANCE_INTERVAL = [0.1, 0.8]  # where images get better, and colors not too strong

# Flags that have no effect without another one, and those that another one excludes.
NEEDED_BY = {
    "dataset_name": "image_column label_column",
    "distill_from": "distill_teacher_steps",
    "pretrained_model_name_or_path": "autoguidance_from adversarial_from",
    "autoguidance_from": "autoguidance_better autoguidance_interval autoguidance_scale",
    "adversarial_from": "adversarial_steps",
    "push_to_hub": "hub_model_id",
}
EXCLUDED_BY = {
    "dataset_name": "train_data_dir",
    "distill_from": "model_config_name_or_path pretrained_model_name_or_path conditions snr_gamma snr_floor",
    "pretrained_model_name_or_path": "model_config_name_or_path",
    "adversarial_from": "autoguidance_from distill_from conditions snr_gamma snr_floor",
    "resume_from_checkpoint": "overwrite_output_dir",
}


@strict
@dataclasses.dataclass
class OtherData:
    """An entry of `other_data`: a further set of images, of which each batch has a share."""

    share: float  # the first set has what is left
    lowest_timestep: int = 0  # below it these images are not seen, where they have details that should not be learned
    source: str | None = None  # value of the condition "source", unless the metadata have this column
    train_data_dir: str | None = None
    dataset_name: str | None = None
    dataset_config_name: str | None = None
    label_column: str | None = None

    def validate_values(self) -> None:
        in_range = 0 < self.share < 1 and 0 <= self.lowest_timestep < NUM_TRAIN_TIMESTEPS
        if not (in_range and (self.train_data_dir or self.dataset_name)):
            needed = "train_data_dir or dataset_name, a share between 0 and 1, and a lowest_timestep from 0"
            raise ValueError(f"it needs {needed} below {NUM_TRAIN_TIMESTEPS}")


def _option(default: Any, help: str, **metadata: Any) -> Any:
    """A field with metadata: the `LIMITS` of a number; `resume`, whether a resumed run may change it; `card`, False
    if it says nothing about the model, so that the model card does not have it.
    """
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


def _free(default: Any, help: str, **options: Any) -> Any:
    """An option of one start of the run, which says nothing about the model."""
    return _option(default, help, resume=True, card=False, **options)


@dataclasses.dataclass
class TrainingConfig:
    """Every setting of a training run, each a flag of train_conditional.py; ValueError if some do not fit."""

    # Data
    train_data_dir: str | None = _free(None, "Sprite archive, or folder of classes. Default: the starter sprites.")
    dataset_name: str | None = _option(None, "Data set on the Hub, or folder of Parquet files.", card=False)
    dataset_config_name: str | None = _option(None, "front (default), all, starter, or of --dataset_name.", card=False)
    image_column: str = _option("image", "Column of --dataset_name with the images.")
    label_column: str | None = _option(None, "ClassLabel column of --dataset_name; it replaces all other labels.")
    other_data: list[str] | None = _option(
        None, "Further sets, in a file: `train_data_dir`, `share` of a batch, `lowest_timestep`, `source`.", card=False
    )
    resolution: int = _option(64, "Side of the images in pixels; 32 and 64 are usual.")
    preprocessing: Literal["pixel", "fit", "thesis"] = _option("pixel", "pixel: whole pixels; fit: smooth, on white.")
    class_balance: float = _option(0.0, "0: all images come up equally often; 1: all classes.", low=0, high=1)

    # Augmentation; except for the warping, the network is conditioned on it (Karras et al. 2022)
    random_flip: bool = _option(False, "Mirror every image with probability 1/2, which doubles the images.")
    translate_prob: float = _option(0.0, "Probability of shifting the sprite inside the image.", low=0, high=1)
    hue_prob: float = _option(0.0, "Probability of another palette, by rotating the hues.", low=0, high=1)
    warp_prob: float = _option(0.0, "Probability of warping images whose details noise hides.", low=0, high=1)

    # Model
    model_config_name_or_path: str | None = _option(
        None, "packed (from 64 px), small (below), base, thesis-vanilla, -attention, -final, or JSON.", resume=True
    )
    pretrained_model_name_or_path: str | None = _option(None, "Start from the weights of this pipeline.", resume=True)
    conditions: list[str] | None = _option(None, "Attributes, such as `type color`. Default: all that vary.")
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = _option("sample", "Noise, v, or the clean image.")
    variance_type: Literal["fixed_small", "fixed_large", "learned_range"] = _option(
        "fixed_small", "Variance of the reverse process; with learned_range it is learned (Nichol & Dhariwal 2021)."
    )
    ddpm_beta_schedule: Literal["squaredcos_cap_v2", "linear"] = _option("squaredcos_cap_v2", "Cosine, or linear.")

    # Objective
    snr_gamma: float = _option(5.0, "gamma of Min-SNR weighting (Hang et al. 2023); 0 gives the simple loss.", low=0)
    snr_floor: float = _option(0.0, "Lowest weight of the error of x_0; 1 is max(SNR, 1) (Salimans & Ho 2022).", low=0)

    # Progressive distillation (Salimans & Ho 2022), one halving a run
    distill_from: str | None = _option(None, "Train a student with half as many steps as this pipeline, its teacher.")
    distill_teacher_steps: int | None = _option(None, "Even number of steps; the student takes half.")

    # Autoguidance (Karras et al. 2024)
    autoguidance_from: str | None = _option(None, "Learn guidance with this worse model of the same conditions.")
    autoguidance_better: str | None = _option(None, "The better model. Default: the network at the start.")
    autoguidance_interval: list[float] | None = _option(None, "Shares of the timesteps. Default: from 0.1, below 0.8.")
    autoguidance_scale: float = _option(2.0, "Autoguidance scale; 1 means no guidance.", low=1)

    # Adversarial training of a distilled model's last steps (Sauer et al. 2024)
    adversarial_from: str | None = _option(None, "Sharpen a student, with a discriminator on this teacher's features.")
    adversarial_steps: int = _option(2, "How many of the last steps are trained.", above=0)

    # Optimization
    train_batch_size: int = _option(32, "Images per process and pass.", above=0, high=100_000, resume=True)
    gradient_accumulation_steps: int = _option(1, "Forward passes per update.", above=0, high=100_000, resume=True)
    max_train_steps: int | None = _option(
        None, "Default: 100 epochs, at least 1,000 updates; in fine-tuning up to 25,000 images.", above=0, resume=True
    )
    max_train_seconds: float | None = _free(None, "Save everything and stop after so many seconds.", above=0)
    optimizer: Literal["adamw", "muon"] = _option("adamw", "muon: AdamW, and orthogonal updates of matrices.")
    learning_rate: float | None = _option(None, "Peak. Default: 6e-4, in fine-tuning 4e-4.", above=0, resume=True)
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = _option(
        "cosine", "Learning rate schedule. Only constant has no warm-up."
    )
    lr_warmup_steps: int | None = _option(None, "Updates. Default: 100, in fine-tuning 20.", low=0, resume=True)
    adam_weight_decay: float = _option(1e-4, "Weight decay of the optimizer.", low=0)
    use_ema: bool = _option(True, "Keep an exponential moving average of the weights, and save it as the model.")
    ema_decay: float = _option(0.999, "Decay of the EMA; it warms up as (1 + n) / (10 + n).", low=0, below=1)
    mixed_precision: Literal["no", "bf16", "fp16"] | None = _option(None, "Default: as in `accelerate config`.")
    num_cpu_threads: int | None = _free(None, "Threads per process. Default: its share of cores.", above=0, high=1024)
    seed: int = _option(0, "Seed of all randomness.", low=0)

    # Validation
    validation_steps: int = _free(500, "Updates between validation losses; 0 for none.", low=0)

    # Output
    output_dir: str | None = _free(None, "Output folder. Default: outputs/DATA-RESOLUTION.")
    overwrite_output_dir: bool = _free(False, "Delete an existing run in --output_dir.")
    checkpointing_steps: int = _free(500, "Updates between checkpoints.", above=0)
    checkpoints_total_limit: int = _free(3, "Newest checkpoints to keep; 0 for all.", low=0)
    resume_from_checkpoint: str | None = _free(None, "Resume from latest, or from a checkpoint name in --output_dir.")
    save_images_steps: int = _free(1000, "Updates between sample sheets; 0 for none.", low=0)
    ddpm_num_inference_steps: int = _option(
        25, "Default denoising steps of the pipeline.", above=0, high=NUM_TRAIN_TIMESTEPS, resume=True
    )
    report_to: str = _free("none", "Tracker for the log, such as tensorboard, trackio or wandb.")
    push_to_hub: bool = _free(False, "Push the model to the Hub at the end.")
    hub_model_id: str | None = _free(None, "user/name to push to. Default: the name of the output folder.")

    def __post_init__(self) -> None:
        check_preprocessing(self.resolution, self.preprocessing)
        if self.conditions is not None:
            self.conditions = " ".join(self.conditions).split()  # a file may have them in one value
        if self.dataset_config_name is None and not (self.dataset_name or self._is_class_folder):
            self.dataset_config_name = "front" if self.train_data_dir else "starter"
        for mistake in self._mistakes():
            raise ValueError(mistake)
        self.parts()
        if self.conditions is not None:  # in the order of the vocabulary; images with own classes may have any
            known = dict.fromkeys(self.conditions if self.own_classes else CONDITIONS)
            self.conditions = [name for name in known if name in self.conditions]
        if self.distill_from:
            self.ddpm_num_inference_steps = self.distill_teacher_steps // 2
        if self.output_dir is None:
            data = Path(self.dataset_name or self.dataset_config_name or self.train_data_dir).resolve().name
            self.output_dir = f"outputs/{data}-{self.resolution}"
        if self.learning_rate is None:
            self.learning_rate = 4e-4 if self.fine_tunes else 6e-4
        if self.lr_warmup_steps is None:
            self.lr_warmup_steps = 0 if self.lr_scheduler == "constant" else 20 if self.fine_tunes else 100

    def parts(self) -> list[tuple[OtherData, "TrainingConfig"]]:
        """The entries of `other_data`, each with a configuration that loads its images; ValueError if one is wrong."""
        parts = []
        for text in self.other_data or ():
            try:
                values = json.loads(text)
                numbers = {"share": float(values["share"]), "lowest_timestep": int(values.get("lowest_timestep", 0))}
                entry = OtherData(**values | numbers)
                loaded = ("train_data_dir", "dataset_name", "dataset_config_name", "label_column")
                given = {name: getattr(entry, name) for name in loaded}
                part = TrainingConfig(**given, resolution=self.resolution, preprocessing=self.preprocessing)
                parts.append((entry, part))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError, StrictDataclassError) as error:
                reason = " ".join(str(error).split()).rstrip(".")
                raise ValueError(f"other_data, {text}: {reason}. An entry has {OTHER_DATA}.") from error
        if sum(entry.share for entry, _ in parts) >= 1:
            raise ValueError("other_data: the shares must have a sum below 1; the rest is that of the first set.")
        return parts

    @property
    def source(self) -> str:
        """The name of the first set, where there are others."""
        return Path(self.train_data_dir or self.dataset_name).resolve().name if self.own_classes else "pokemon"

    @property
    def _is_class_folder(self) -> bool:
        return bool(self.train_data_dir) and is_class_folder(self.train_data_dir)

    @property
    def own_classes(self) -> bool:
        """Whether the images have classes of their own instead of types."""
        return bool(self.label_column) or not (self.dataset_name or self.dataset_config_name)

    @property
    def initial_weights(self) -> str | None:
        """The pipeline whose weights the training starts from, if any."""
        return self.distill_from or self.pretrained_model_name_or_path

    @property
    def fine_tunes(self) -> bool:
        """Whether trained weights are continued on images with classes of their own."""
        return bool(self.pretrained_model_name_or_path) and self.own_classes

    def _mistakes(self) -> Iterator[str]:
        """What is wrong with values, then with combinations of them."""
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), f"--{field.name}"
            if value == "":
                yield f"{flag} is empty; leave it out."
            for key in LIMITS.keys() & field.metadata.keys() if value is not None else ():
                (relation, holds), limit = LIMITS[key], field.metadata[key]
                if not holds(value, limit):
                    yield f"{flag} must be {relation} {limit}, but is {value}."
        for table, required in ((NEEDED_BY, True), (EXCLUDED_BY, False)):
            for other, name in ((other, name) for other, names in table.items() for name in names.split()):
                if getattr(self, name) != getattr(TrainingConfig, name) and bool(getattr(self, other)) != required:
                    yield f"--{name} {'needs' if required else 'cannot be used with'} --{other}."

        steps = self.distill_teacher_steps
        if self._is_class_folder and self.dataset_config_name:
            yield f"{self.train_data_dir} has labelled images; leave out --dataset_config_name."
        for name in () if self.own_classes else self.conditions or ():
            if name not in CONDITIONS:
                yield f"--conditions: unknown attribute {name!r}. {nearest(name, list(CONDITIONS))}"
        if "type" not in (self.conditions or ("type",)):
            yield f"--conditions must include type, but is {' '.join(self.conditions)}."
        if self.distill_from:
            if steps not in range(2, NUM_TRAIN_TIMESTEPS + 1, 2):
                yield f"--distill_teacher_steps must be even and at most {NUM_TRAIN_TIMESTEPS}, but is {steps}."
            if self.ddpm_num_inference_steps not in (steps // 2, TrainingConfig.ddpm_num_inference_steps):
                yield f"The student takes {steps // 2} steps; leave out --ddpm_num_inference_steps."
        limits = [0, *(AUTOGUIDANCE_INTERVAL if self.autoguidance_interval is None else self.autoguidance_interval), 1]
        if len(limits) != 4 or limits != sorted(limits) or limits[1] == limits[2]:
            yield f"--autoguidance_interval must be two shares, the lower first, but is {as_text(limits[1:-1])}."
        if self.autoguidance_from and self.variance_type == "learned_range":
            yield "--autoguidance_from cannot be used with --variance_type learned_range."
        if self.prediction_type == "epsilon" and self.snr_floor:
            yield "--snr_floor cannot be used with --prediction_type epsilon; its weight has no limit."
        if self.lr_scheduler == "constant" and self.lr_warmup_steps:
            yield "--lr_warmup_steps has no effect with --lr_scheduler constant; use constant_with_warmup."

    def reported(self) -> dict[str, Any]:
        """The settings for a model card: those that describe the model and differ from the default."""
        return {
            field.name: as_text(value)
            for field in dataclasses.fields(self)
            if field.metadata.get("card", True) and (value := getattr(self, field.name)) not in (None, field.default)
        }

    def save(self, folder: Path) -> None:
        """Writes `CONFIG_FILE` for train_conditional.py, without what was meant for this start only."""
        excluded = ("overwrite_output_dir", "resume_from_checkpoint")
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in excluded}
        write_file(folder / CONFIG_FILE, json.dumps(values, indent=2) + "\n")


def as_text(value: object) -> object:
    """A setting for trackers, cards and messages: a list as its values in a row."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


class _Parser(HfArgumentParser):
    """The fields' metadata beside the help are not argparse's."""

    def add_argument(self, *names: str, **options: Any) -> Any:
        options = {name: value for name, value in options.items() if name not in {*LIMITS, "resume", "card"}}
        return super().add_argument(*names, **options)


def parse_config(arguments: list[str] | None = None) -> TrainingConfig:
    """The configuration from flags, by default of `sys.argv`, after an optional YAML or JSON file with more of them.

    Exits with status 2 and one line if something is wrong.
    """
    parser: argparse.ArgumentParser = _Parser(
        TrainingConfig,
        description="Trains a class-conditional DDPM on Pokémon sprites. For several processes: accelerate launch "
        "--multi_gpu --num_processes 4 train_conditional.py (without a clone: -m pokemon_ddpm.cli train).",
        usage="%(prog)s [configuration.yaml|.json] [--flag value ...]",
        allow_abbrev=False,
    )
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments and not arguments[0].startswith("-"):
            arguments[:1] = _flags_in(arguments[0])
        values, unknown = parser.parse_known_args(arguments)
        if unknown:
            flag, known = unknown[0].split("=")[0], [f"--{field.name}" for field in dataclasses.fields(TrainingConfig)]
            near = [f" Did you mean {name}?" for name in difflib.get_close_matches(flag, known, n=1)]
            raise ValueError(f"unknown argument {flag}.{''.join(near)}")
        return TrainingConfig(**vars(values))
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))


def _flags_in(path: str) -> list[str]:
    """The flags in a file, so that those after it override them; JSON is YAML too."""
    try:
        # All values as text: other loaders make a bool of `mixed_precision: no`.
        values = dict(yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    except (OSError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read {path}: {error}. It needs flags and values, as `resolution: 32`.") from error
    flags = []
    for name, value in values.items():
        if isinstance(value, list):
            parts = [json.dumps(_given(part)) if isinstance(part, dict) else str(part) for part in value]
            flags += [f"--{name}", *parts]
        elif value not in NOT_GIVEN:
            flags.append(f"--{name}={value}")
    return flags


def _given(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value not in NOT_GIVEN}
