"""What a run needs before its first step, checked in the order of what it costs: a mistake is told at once."""

import importlib.util
import os
import shutil
from pathlib import Path

import datasets
import psutil
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import ProjectConfiguration
from diffusers import DDPMScheduler, UNet2DModel

from pokemon_ddpm.class_folders import has_class_folders
from pokemon_ddpm.compilation import check_compiler
from pokemon_ddpm.data import SpriteTensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.dataset_scripts.sprite_archive import POKEDEX
from pokemon_ddpm.labelled_images import class_folder_tensors, labelled_tensors
from pokemon_ddpm.models import (
    ConditionalDenoiser,
    build_conditioner,
    build_unet,
    unet_config,
    varying_attributes,
)
from pokemon_ddpm.noise_schedule import make_scheduler
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.saving import CODE_FILES
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.released_models import locate
from pokemon_ddpm.training.checkpoint import checkpoints
from pokemon_ddpm.training.config import CONFIG_FILE, EVALUATION_FILE, TrainingConfig, as_text
from pokemon_ddpm.training.continuation import find_checkpoints
from pokemon_ddpm.training.distillation import DistillationObjective, check_teacher
from pokemon_ddpm.training.objective import Objective
from pokemon_ddpm.vocabulary import CONDITIONS

# Ways of several devices that divide the weights, of which a checkpoint here would hold a part only.
DIVIDING = {DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM}

# What of a run may lie in its folder; --overwrite_output_dir deletes these and nothing else.
RUN_CONTENTS = (
    "model_index.json",
    *CODE_FILES,
    "unet",
    "conditioner",
    "scheduler",
    CONFIG_FILE,
    EVALUATION_FILE,
    "samples",
    "logs",
)


def cores_a_process() -> int:
    """Physical cores that this machine has for each training process on it."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """The accelerator, with the machine prepared as the configuration says.

    Raises:
        ValueError: If the processes or the precision cannot be had, or the network would be divided over devices.
    """
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            log_with=None if config.report_to == "none" else config.report_to,
            project_config=ProjectConfiguration(config.output_dir, logging_dir=f"{config.output_dir}/logs"),
        )
    except ImportError as error:  # what the launcher's configuration asks for
        raise ValueError(f"`accelerate config` asks for what is not installed: {error}") from error
    if int(os.environ.get("WORLD_SIZE", 1)) != accelerator.num_processes:
        raise ValueError("The processes do not see each other; on CPUs, set ACCELERATE_USE_CPU=true.")
    if accelerator.distributed_type in DIVIDING:
        raise ValueError(
            f"The networks here fit any GPU and are not divided by {accelerator.distributed_type.value}: choose plain "
            "multi-GPU training in `accelerate config`."
        )
    if config.compile:
        check_compiler(accelerator.device)
    if accelerator.device.type == "cpu":
        torch.set_num_threads(config.num_cpu_threads or cores_a_process())
        if accelerator.mixed_precision == "fp16":
            raise ValueError("--mixed_precision fp16 needs a GPU; on a CPU use bf16 or no.")
    config.mixed_precision = accelerator.mixed_precision  # resolved: a continuation must compute alike
    return accelerator


def check_tracker(name: str) -> None:
    """Raises ValueError if a tracker is asked for and not installed (Accelerate would drop it silently)."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise ValueError(f"--report_to {name}: {name} is not installed. Install it with: pip install {name}")


def check_output_dir(config: TrainingConfig) -> None:
    """Raises ValueError if the output folder holds a run that neither is to be resumed nor may be overwritten.

    So it does if the checkpoint to resume from is not there.
    """
    folder = Path(config.output_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output_dir {folder} is a file.")
    present = _run_contents(folder)
    if present and not (config.overwrite_output_dir or config.resume_from_checkpoint):
        raise ValueError(
            f"{folder} already holds a run ({present[0].name}). Go on with it by --resume_from_checkpoint latest, "
            "choose another --output_dir, or throw it away by --overwrite_output_dir."
        )
    if config.resume_from_checkpoint:
        found = find_checkpoints(folder, config.resume_from_checkpoint)
        if present and any(each.parent.resolve() != folder.resolve() for each in found):
            raise ValueError(
                f"{folder} already holds a run, and {found[0]} is of another; choose another --output_dir."
            )
        if not found and (folder / "model_index.json").exists():
            raise ValueError(
                f"{folder} holds a model but no checkpoint to go on from. Start from its weights by "
                f"--pretrained_model_name_or_path {folder} with another --output_dir, or throw it away by "
                "--overwrite_output_dir."
            )


def prepare_output_dir(config: TrainingConfig) -> None:
    """Makes the output folder and, with --overwrite_output_dir, takes the older run out of it.

    Raises:
        ValueError: If it cannot be written.
    """
    folder = Path(config.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--output_dir {folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"--output_dir {folder} cannot be written.")
    for path in _run_contents(folder) if config.overwrite_output_dir else []:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run_contents(folder: Path) -> list[Path]:
    is_run = any((folder / name).exists() for name in ("model_index.json", CONFIG_FILE)) or checkpoints(folder)
    names = [*RUN_CONTENTS, *(path.name for path in checkpoints(folder))]
    return [folder / name for name in names if (folder / name).exists()] if is_run else []


def load_split(config: TrainingConfig, split: str) -> SpriteTensors:
    """One split of the configured data as tensors.

    Raises:
        ValueError: If the data cannot be used (`SpriteDataError` for the sprites' own).
    """
    size, mode = config.resolution, config.preprocessing
    if config.dataset_name:
        dataset = _load_named(config, split)
        try:
            if config.label_column:
                return labelled_tensors(dataset, size, mode, config.image_column, config.label_column)
            return sprite_tensors(dataset, size, mode, config.image_column)
        except ValueError as error:
            raise ValueError(f"--dataset_name {config.dataset_name}: {error}") from error
    folder, skip, deduplicate = config.train_data_dir, config.skip_bad_images, config.deduplicate
    if folder and has_class_folders(folder):
        return class_folder_tensors(folder, split, size, mode, skip, deduplicate)
    if folder:
        _check_folder(Path(folder).expanduser())
    dataset = load_sprites(
        folder,
        config.dataset_config_name,
        split=split,
        exclude_faulty=config.exclude_faulty,
        deduplicate=deduplicate,
        skip_bad_images=skip,
        cache_dir=config.cache_dir,
    )
    return sprite_tensors(dataset, size, mode)


def _load_named(config: TrainingConfig, split: str) -> datasets.Dataset:
    """A split of --dataset_name."""
    name = config.dataset_name
    if name.startswith((".", os.sep)) and not os.path.exists(name):
        raise ValueError(f"--dataset_name {name} does not exist.")
    try:
        return datasets.load_dataset(name, config.dataset_config_name, split=split, cache_dir=config.cache_dir)
    # Not there, damaged, or a script, which datasets refuses.
    except (OSError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
        hint = " Without held-out pictures, train with --validation_steps 0 and without --eval_steps."
        hint = hint if split == "validation" else ""
        raise ValueError(f"--dataset_name {name}: {error}{hint}") from error


def _check_folder(path: Path) -> None:
    """Raises ValueError if a folder has nothing in it that could be meant by --train_data_dir."""
    if path.is_dir() and not any(any(path.glob(each)) for each in (POKEDEX, f"*/{POKEDEX}", "sprites", "*.zip")):
        raise ValueError(
            f"--train_data_dir {path} is neither the sprite archive ({POKEDEX} and sprites/), nor are there "
            "sub-folders with pictures in it, one for each class."
        )


def noise_scheduler(config: TrainingConfig) -> DDPMScheduler:
    """The noise schedule of the training."""
    return make_scheduler(
        config.ddpm_num_steps,
        config.ddpm_beta_schedule,
        config.prediction_type,
        config.variance_type,
        config.rescale_betas_zero_snr,
    )


def make_unet(config: TrainingConfig) -> tuple[UNet2DModel, SpriteConditioner | None]:
    """A new network, or that of --pretrained_model_name_or_path or --distill_from with its conditioner.

    Raises:
        ValueError: If the configuration does not fit the network.
        OSError: If there is no such pretrained model.
    """
    source = config.distill_from or config.pretrained_model_name_or_path
    if source is None:
        network = unet_config(config.model_config_name_or_path or "small")
        learned = config.variance_type == "learned_range"
        return build_unet(network, config.resolution, learned, config.ddpm_num_steps), None
    pipeline = PokemonDDPMPipeline.from_pretrained(locate(source))
    if config.distill_from:
        check_teacher(pipeline, config)
    trained = pipeline.scheduler.config
    needed = {
        "resolution": pipeline.unet.config.sample_size,
        "prediction_type": trained.prediction_type,
        "ddpm_num_steps": trained.num_train_timesteps,
        "ddpm_beta_schedule": trained.beta_schedule,
        "rescale_betas_zero_snr": trained.get("rescale_betas_zero_snr", False),
    }
    # Fixed variances are a matter of sampling; only a learned one has outputs of its own.
    if (pipeline.unet.config.out_channels == 6) != (config.variance_type == "learned_range"):
        needed["variance_type"] = "learned_range" if pipeline.unet.config.out_channels == 6 else "fixed_small"
    if config.conditions:  # what it knows stays
        known = {*config.conditions, *pipeline.conditioner.vocabulary}
        needed["conditions"] = [name for name in CONDITIONS if name in known]
    for name, value in needed.items():
        if getattr(config, name) != value:
            raise ValueError(f"{source} needs --{name} {as_text(value)}.")
    return pipeline.unet, pipeline.conditioner


def make_denoiser(
    config: TrainingConfig, unet: UNet2DModel, trained: SpriteConditioner | None, data: SpriteTensors
) -> ConditionalDenoiser:
    """The network with the conditioner for what the training pictures can be told apart by, or what of it is chosen.

    A student's is its teacher's, which could not teach it anything else.

    Raises:
        ValueError: If a trained conditioner knows other words, or --conditions names what never varies.
    """
    attributes = [] if config.distill_from else varying_attributes(data.labels)
    if config.conditions:
        known = trained.vocabulary if trained else {}
        constant = [name for name in config.conditions if name not in attributes and name not in known]
        if constant:
            raise ValueError(
                f"--conditions: the training pictures do not differ in {', '.join(constant)}, only in "
                f"{', '.join(attributes)}."
            )
        attributes = config.conditions
    try:
        return ConditionalDenoiser(unet, build_conditioner(unet, attributes, trained, data.type_names))
    except ValueError as error:
        flag = "--distill_from" if config.distill_from else "--pretrained_model_name_or_path"
        raise ValueError(f"{flag} cannot be gone on with: {error}.") from error


def make_objective(
    config: TrainingConfig, scheduler: DDPMScheduler, denoiser: ConditionalDenoiser
) -> Objective | DistillationObjective:
    """What the run minimises; a teacher is a copy of the denoiser as it is now, in place and precision, too."""
    device = next(denoiser.parameters()).device
    if config.distill_from:
        return DistillationObjective.of(config, scheduler, denoiser, device)
    return Objective.of(scheduler, config.snr_gamma, device)


def make_optimizer(config: TrainingConfig, denoiser: ConditionalDenoiser) -> torch.optim.AdamW:
    """AdamW in one kernel, which can be told on the device to skip an update."""
    return torch.optim.AdamW(
        denoiser.parameters(),
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        weight_decay=config.adam_weight_decay,
        eps=config.adam_epsilon,
        fused=True,
    )
