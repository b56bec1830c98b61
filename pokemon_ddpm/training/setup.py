"""What a run needs before its first step. What is cheap to check comes first, so that a mistake is refused at once."""

import math
import os
import warnings
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import ProjectConfiguration
from diffusers import UNet2DModel
from filelock import FileLock, Timeout

from pokemon_ddpm.data import SpriteTensors, labelled_tensors, load_named, load_tensors, sprite_tensors
from pokemon_ddpm.diffusion import ConditionalDenoiser
from pokemon_ddpm.models import LICENSE_FILE, locate_model
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.preprocessing import CHANNELS, channels_of
from pokemon_ddpm.publishing.hub import open_repository
from pokemon_ddpm.training.checkpoint import checkpoints, delete, find_checkpoints
from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig, as_text
from pokemon_ddpm.training.losses import check_teacher
from pokemon_ddpm.training.networks import build_conditioner, build_unet, other_values, unet_config
from pokemon_ddpm.vocabulary import CONDITIONS

ERROR_LOG = "error.log"  # tracebacks
# A run's files in its folder, beside checkpoints; --overwrite_output_dir deletes these and nothing else.
RUN_CONTENTS = (
    *("model_index.json", "unet", "conditioner", "scheduler"),
    *(LICENSE_FILE, CONFIG_FILE, ERROR_LOG, "samples", "logs"),
)


def cores_per_process() -> int:
    """Physical cores of this machine for each of its training processes."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Creates the accelerator, and sets the number of threads.

    Raises:
        ValueError: If the tracker or the precision is not available, weights would be sharded, or each of several
            processes would train alone.
    """
    tracker = config.report_to
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # or Accelerate does not see other processes on the CPU
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=None if tracker == "none" else tracker,
        project_config=ProjectConfiguration(config.output_dir, logging_dir=f"{config.output_dir}/logs"),
    )
    if (count := int(os.environ.get("WORLD_SIZE", 1))) != accelerator.num_processes:
        raise ValueError(
            f"WORLD_SIZE is {count}, but this process would train alone. Use one process, or ACCELERATE_USE_CPU=true."
        )
    if tracker != "none" and not accelerator.log_with:  # it was dropped silently
        raise ValueError(f"--report_to {tracker}: {tracker} is not installed. Install it with: pip install {tracker}")
    # These shard the weights: a checkpoint would contain a part only.
    if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM):
        name = accelerator.distributed_type.value
        raise ValueError(f"{name} is not supported. Choose multi-GPU training in `accelerate config`.")
    if config.compile:
        _check_compiler(accelerator.device)
    if accelerator.device.type == "cpu":
        torch.set_num_threads(config.num_cpu_threads or cores_per_process())
        if accelerator.mixed_precision == "fp16":
            raise ValueError("--mixed_precision fp16 needs a GPU; on a CPU use bf16 or no.")
    config.mixed_precision = accelerator.mixed_precision  # a resumed run must have the same
    return accelerator


def lock_output_dir(folder: Path) -> FileLock:
    """Creates the output folder and locks it until the process ends; raises ValueError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (lock := FileLock(folder / ".lock", timeout=0)).acquire()
    except Timeout as error:
        raise ValueError(f"--output_dir {folder} is in use by another run. Wait for it, or stop it.") from error
    return lock


def check_output_dir(config: TrainingConfig) -> None:
    """Checks the output folder.

    Raises:
        ValueError: If it has another run, no checkpoint to resume from, or weights of this run that it would delete.
    """
    folder, name = Path(config.output_dir), config.resume_from_checkpoint
    found = name and find_checkpoints(folder, name)
    needed = (config.initial_weights, config.autoguidance_from, config.autoguidance_better)
    for weights in filter(None, needed if config.overwrite_output_dir else ()):
        if Path(locate_model(weights)).resolve() == folder.resolve():
            raise ValueError(f"--overwrite_output_dir would delete {weights}, which the training needs.")
    # A run that was killed before its first checkpoint starts again.
    saved = [*filter(Path.exists, [folder / "model_index.json"]), *checkpoints(folder)]
    if saved and not (config.overwrite_output_dir or found):
        continued = "Continue it with --resume_from_checkpoint latest, choose another --output_dir"
        if not checkpoints(folder):
            start = f"start from its weights with --pretrained_model_name_or_path {folder}"
            continued = f"It has no checkpoint; choose another --output_dir, in which you can {start}"
        other = "or delete it with --overwrite_output_dir."
        raise ValueError(f"{folder} already contains a run ({saved[0].name}). {continued}, {other}")


def _run_contents(folder: Path) -> list[Path]:
    known = [*(folder / name for name in RUN_CONTENTS if (folder / name).exists()), *checkpoints(folder)]
    is_run = any((folder / name).exists() for name in ("model_index.json", CONFIG_FILE)) or checkpoints(folder)
    return known if is_run else []


def prepare_output(config: TrainingConfig) -> str | None:
    """Creates the Hub repository and returns its name, and deletes an older run, where the flags say so.

    Raises:
        ValueError: If the repository cannot be created.
    """
    repository, folder = None, Path(config.output_dir)
    if config.push_to_hub:
        name = config.hub_model_id or folder.resolve().name
        repository = open_repository(name, config.hub_private_repo or None, None).info.id
    for path in _run_contents(folder) if config.overwrite_output_dir else ():
        delete(path)
    return repository


def load_splits(config: TrainingConfig) -> dict[str, SpriteTensors]:
    """The "training" split of the configured data, and the "validation" split where it is needed."""
    splits = {"training": _load_split(config, "train")}
    if config.validation_steps:
        splits["validation"] = _load_split(config, "validation")
    return splits


def _load_split(config: TrainingConfig, split: str) -> SpriteTensors:
    size, mode, name = config.resolution, config.preprocessing, config.dataset_name
    if not name:
        flags = ("exclude_faulty", "deduplicate", "skip_bad_images", "cache_dir")
        options = {"config_name": config.dataset_config_name, "mode": mode}
        return load_tensors(config.train_data_dir, split, size, **options, **{f: getattr(config, f) for f in flags})
    try:
        dataset = load_named(name, config.dataset_config_name, split, config.cache_dir)
        if config.label_column:
            return labelled_tensors(dataset, size, mode, config.image_column, config.label_column)
        return sprite_tensors(dataset, size, mode, config.image_column)
    except ValueError as error:
        raise ValueError(f"--dataset_name {name}: {error}") from error


def _check_compiler(device: torch.device | str) -> None:
    """Raises ValueError if torch.compile does not work on this machine, for example without a C++ compiler."""
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # in diffusers
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(4, device=device))
    except Exception as error:  # the compiler's backends have their own exceptions
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"torch.compile does not work on this machine: {reason}") from error


def make_unet(config: TrainingConfig) -> tuple[UNet2DModel, SpriteConditioner | None]:
    """A new network, or that of --pretrained_model_name_or_path or --distill_from with its conditioner.

    Raises:
        ValueError: If the configuration does not fit the network.
        OSError: If the pretrained model does not exist.
    """
    source, conditioner = config.initial_weights, None
    if source:
        unet, conditioner = _trained_unet(config, source)
    else:
        network = unet_config(config.model_config_name_or_path or ("packed" if config.resolution >= 64 else "small"))
        channels, learned = channels_of(config.preprocessing), config.variance_type == "learned_range"
        unet = build_unet(network, config.resolution, channels, learned, config.ddpm_num_steps)
    if config.reference_prob and unet.config.get("reference_channels") != unet.config.in_channels:
        raise ValueError(
            "--reference_prob needs --preprocessing pixel and a network with 4 reference_channels, such as packed."
        )
    if config.reference_prob and not config.distill_from:  # a student has the references of its teacher
        unet.register_to_config(mirrors_references=True)
    # Solvers that clip the predicted x_0, which epsilon needs, can only clip it to [-1, 1].
    if unet.config.get("scaling_factor", 1) != 1 and config.prediction_type == "epsilon":
        raise ValueError("--prediction_type epsilon needs a network with a scaling_factor of 1.")
    return unet, conditioner


def _trained_unet(config: TrainingConfig, source: str) -> tuple[UNet2DModel, SpriteConditioner]:
    """The network and the conditioner of a model; see `make_unet`.

    It is in evaluation mode, so it trains without dropout. With dropout, after 16,000 images of two classes the loss
    of held-out images is lower (0.0139 instead of 0.0147), but readers name the class of fewer samples (86 instead of
    93 %).
    """
    pipeline = PokemonDDPMPipeline.from_pretrained(source)
    if config.distill_from:
        check_teacher(pipeline, config)
    trained, unet = pipeline.scheduler.config, pipeline.unet
    known_modes = [mode for mode, count in CHANNELS.items() if count == unet.config.in_channels]
    required = {
        "resolution": unet.config.sample_size,
        "preprocessing": config.preprocessing if config.preprocessing in known_modes else known_modes[0],
        "prediction_type": trained.prediction_type,
        "ddpm_num_steps": trained.num_train_timesteps,
        "ddpm_beta_schedule": trained.beta_schedule,
        "rescale_betas_zero_snr": trained.get("rescale_betas_zero_snr", False),
    }
    # Fixed variances concern sampling only; a learned one has outputs of its own.
    learned = config.variance_type == "learned_range"
    if (unet.config.out_channels > unet.config.in_channels) != learned:
        required["variance_type"] = "fixed_small" if learned else "learned_range"
    if config.conditions and not config.own_classes:  # those that the model has are kept
        known = {*config.conditions, *pipeline.conditioner.vocabulary}
        required["conditions"] = [name for name in CONDITIONS if name in known]
    for name, value in required.items():
        if getattr(config, name) != value:
            raise ValueError(f"{source} needs --{name} {as_text(value)}.")
    return unet, pipeline.conditioner


def make_denoiser(
    config: TrainingConfig, unet: UNet2DModel, trained: SpriteConditioner | None, data: SpriteTensors
) -> ConditionalDenoiser:
    """The network with a conditioner for --conditions, by default for all attributes that vary in the data.

    A student has those of its teacher. For a trained conditioner see `build_conditioner`.

    Raises:
        ValueError: If a teacher has other values, or --conditions has an attribute that does not vary.
    """
    varying = data.varying_attributes()
    attributes = [] if config.distill_from else config.conditions or varying
    other = other_values(trained, data.vocabulary) if trained else []
    known = {} if other or not trained else trained.vocabulary
    constant = [name for name in attributes if name not in varying and name not in known]
    if constant:
        raise ValueError(
            f"--conditions: the training images do not differ in {', '.join(constant)}, only in {', '.join(varying)}."
        )
    if config.distill_from and other:
        raise ValueError(f"{config.distill_from} has other values of {', '.join(other)} than the data.")
    attributes = [*attributes, *(["relation"] if config.reference_prob else [])]
    conditioner = build_conditioner(unet, attributes, trained, data.vocabulary, bool(config.mirror_prob), data)
    return ConditionalDenoiser(unet, conditioner)


def number_of_updates(config: TrainingConfig, images: int, batch_size: int) -> int:
    """The number of updates for so many training images, if it is not given by other settings.

    Fine-tuning sees 16,000 to 25,000 images: of two classes with 40 images each, fewer left the classes mixed.
    """
    if config.max_train_steps:
        return config.max_train_steps
    if config.fine_tunes and not config.num_epochs:
        return math.ceil(min(max(16_000, 800 * math.sqrt(images)), 25_000) / batch_size)
    steps = math.ceil((config.num_epochs or 100) * images / batch_size)
    return steps if config.num_epochs else max(steps, 1000)
