"""What a run needs before its first step, checked in the order of what it costs: a mistake is told at once."""

import importlib.util
import os
import shutil
from pathlib import Path

import datasets
import psutil
from diffusers import DDPMScheduler

from pokemon_ddpm.data import SpriteTensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.models import CONDITIONS, ConditionalDenoiser, build_denoiser, unet_config
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training.checkpoint import checkpoints, find_checkpoints
from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig

BETA_SCHEDULE = "squaredcos_cap_v2"

# What of a run may lie in its folder; --overwrite_output_dir deletes these and nothing else.
RUN_CONTENTS = (
    "model_index.json",
    "pipeline.py",
    "sampling.py",
    "unet",
    "conditioner",
    "scheduler",
    CONFIG_FILE,
    "samples",
    "logs",
)


def cores_a_process() -> int:
    """Physical cores that this machine has for each training process on it."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


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
        find_checkpoints(folder, config.resume_from_checkpoint)


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
    if config.dataset_name:
        try:
            dataset = datasets.load_dataset(
                config.dataset_name, config.dataset_config_name, split=split, cache_dir=config.cache_dir
            )
        # Not there, damaged, or a script, which datasets refuses.
        except (OSError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise ValueError(f"--dataset_name {config.dataset_name}: {error}") from error
    else:
        dataset = load_sprites(
            config.train_data_dir,
            config.dataset_config_name,
            split=split,
            exclude_faulty=config.exclude_faulty,
            deduplicate=config.deduplicate,
            skip_bad_images=config.skip_bad_images,
            cache_dir=config.cache_dir,
        )
    return sprite_tensors(dataset, config.resolution, config.preprocessing)


def make_denoiser(config: TrainingConfig) -> ConditionalDenoiser:
    """A new network, or that of --pretrained_model_name_or_path.

    Raises:
        ValueError: If the configuration does not fit the network.
        OSError: If there is no such pretrained model.
    """
    if config.pretrained_model_name_or_path is None:
        return build_denoiser(unet_config(config.model_config_name_or_path or "small"), config.resolution)
    pipeline = PokemonDDPMPipeline.from_pretrained(config.pretrained_model_name_or_path)
    trained = {
        "resolution": pipeline.unet.config.sample_size,
        "prediction_type": pipeline.scheduler.config.prediction_type,
        "ddpm_num_steps": pipeline.scheduler.config.num_train_timesteps,
    }
    for name, value in trained.items():
        if getattr(config, name) != value:
            raise ValueError(f"{config.pretrained_model_name_or_path} needs --{name} {value}.")
    known = {attribute: list(words) for attribute, words in CONDITIONS.items()}
    if pipeline.scheduler.config.beta_schedule != BETA_SCHEDULE or pipeline.conditioner.vocabulary != known:
        raise ValueError(
            f"{config.pretrained_model_name_or_path} has another noise schedule or other types than here."
        )
    return ConditionalDenoiser(pipeline.unet, pipeline.conditioner)


def make_scheduler(config: TrainingConfig) -> DDPMScheduler:
    """The noise schedule: the cosine of Nichol & Dhariwal 2021, equation 17."""
    return DDPMScheduler(
        num_train_timesteps=config.ddpm_num_steps,
        beta_schedule=BETA_SCHEDULE,
        prediction_type=config.prediction_type,
        timestep_spacing="trailing",  # few-step sampling then starts at pure noise, where training ended
    )
