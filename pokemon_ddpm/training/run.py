"""A run's processes, output folder, data, log and end: what is needed around its steps.

What is cheap to check comes first, so that a mistake is refused at once.
"""

import contextlib
import copy
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from accelerate.utils.memory import should_reduce_batch_size
from diffusers import DDPMScheduler
from filelock import FileLock, Timeout
from huggingface_hub.utils import tqdm

from pokemon_ddpm.data import SpriteTensors, join, labelled_tensors, load_named, load_tensors, sprite_tensors
from pokemon_ddpm.diffusion import ConditionalDenoiser, make_sampler, student_scheduler
from pokemon_ddpm.models import COMPONENTS, LICENSE_FILE, locate_model
from pokemon_ddpm.pipelines.hub_mixin import INDEX_FILE
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training.batches import ImageSet
from pokemon_ddpm.training.checkpoint import TrainingTensors, checkpoints, delete, find_checkpoints
from pokemon_ddpm.training.config import CONFIG_FILE, TrainingConfig, as_text
from pokemon_ddpm.vocabulary import USUAL, shown_name

ERROR_LOG = "error.log"  # tracebacks
# A run's files in its folder, beside checkpoints; --overwrite_output_dir deletes these and nothing else.
RUN_CONTENTS = (INDEX_FILE, *COMPONENTS, LICENSE_FILE, CONFIG_FILE, ERROR_LOG, "samples", "logs")
DEFAULT_SAMPLER = "sde-dpmsolver++"  # as the default number of steps, see docs/sampling.md
GUIDANCE_SCALE = 3.0
MAX_SKIPPED_UPDATES = 10
GO_BACK = (
    "Go back to an earlier checkpoint with --resume_from_checkpoint, with a lower --learning_rate or a longer "
    "--lr_warmup_steps; --mixed_precision no may help too."
)


def cores_per_process() -> int:
    """Cores of this machine for each of its training processes; on Linux, the threads of a core count as one."""
    threads = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = [Path(f"/sys/devices/system/cpu/cpu{thread}/topology/thread_siblings_list") for thread in threads]
    cores = {path.read_text() if path.exists() else path for path in siblings}
    return max(1, len(cores) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Creates the accelerator, and sets the number of threads; ValueError if the run cannot work as it is launched."""
    tracker = config.report_to
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # or Accelerate does not see other processes on the CPU
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=None if tracker == "none" else tracker,
        project_config=ProjectConfiguration(config.output_dir, logging_dir=f"{config.output_dir}/logs"),
    )
    count, on_cpu = int(os.environ.get("WORLD_SIZE", 1)), accelerator.device.type == "cpu"
    kind, sharded = accelerator.distributed_type, ("DEEPSPEED", "FSDP", "MEGATRON_LM")  # a checkpoint would be a part
    alone = f"WORLD_SIZE is {count}, but this process would train alone. Use one, or ACCELERATE_USE_CPU=true."
    missing = f"--report_to {tracker}: {tracker} is not installed. Install it with: pip install {tracker}."
    for is_wrong, message in (
        (count != accelerator.num_processes, alone),
        (tracker != "none" and not accelerator.log_with, missing),  # it was dropped silently
        (kind in sharded, f"{kind.value} is not supported. Choose multi-GPU training in `accelerate config`."),
        (on_cpu and accelerator.mixed_precision == "fp16", "--mixed_precision fp16 needs a GPU; use bf16 or no."),
    ):
        if is_wrong:
            raise ValueError(message)
    if on_cpu:
        torch.set_num_threads(config.num_cpu_threads or cores_per_process())
    config.mixed_precision = accelerator.mixed_precision  # a resumed run must have the same
    return accelerator


class StopRequest:
    """Notes that the run should stop: a signal, the time limit, or the end of the launcher."""

    def __init__(self, max_seconds: float | None):
        self.reason: str | None = None  # why to stop
        # If its launcher is killed, nobody else would end a training process.
        launched = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
        self._launcher = os.getppid() if launched else None
        self._deadline = time.monotonic() + (max_seconds or math.inf)

    def handle_signals(self) -> None:
        """From now on SIGINT and SIGTERM request a stop; a second SIGINT ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name
        if number == signal.SIGINT:  # the operating system handles the next one, also inside a long backward pass
            signal.signal(number, signal.SIG_DFL)

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether to stop now; the same answer in all processes."""
        if self.reason is None and time.monotonic() >= self._deadline:
            self.reason = "--max_train_seconds"
        if self.reason is None and self._launcher is not None and os.getppid() != self._launcher:
            self.reason = "the end of its launcher"
        stop = self.reason is not None
        if accelerator.num_processes > 1:  # a signal that comes meanwhile counts the next time
            stop = bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)) > 0)
            self.reason = self.reason or ("another process" if stop else None)
        return stop


def lock_output_dir(folder: Path) -> FileLock:
    """Creates the output folder and locks it until the process ends; raises ValueError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (lock := FileLock(folder / ".lock", timeout=0)).acquire()
    except Timeout as error:
        raise ValueError(f"--output_dir {folder} is in use by another run. Wait for it, or stop it.") from error
    return lock


def check_output_dir(config: TrainingConfig) -> None:
    """Raises ValueError if the folder has another run, nothing to resume from, or needed weights it would delete."""
    folder, name = Path(config.output_dir), config.resume_from_checkpoint
    resumable = name and find_checkpoints(folder, name)
    needed = (config.initial_weights, config.autoguidance_from, config.autoguidance_better, config.adversarial_from)
    for weights in filter(None, needed if config.overwrite_output_dir else ()):
        if Path(locate_model(weights)).resolve() == folder.resolve():
            raise ValueError(f"--overwrite_output_dir would delete {weights}, which the training needs.")
    # A run that was killed before its first checkpoint starts again.
    saved = [*filter(Path.exists, [folder / INDEX_FILE]), *checkpoints(folder)]
    if saved and not (config.overwrite_output_dir or resumable):
        start = "Choose another --output_dir, or delete it with --overwrite_output_dir"
        if checkpoints(folder):
            start = f"Continue it with --resume_from_checkpoint latest. {start}"
        raise ValueError(f"{folder} already contains a run ({saved[0].name}). {start}.")


def delete_run(folder: Path) -> None:
    """Deletes the files of a run from its folder; what is no run stays."""
    contents = [*(folder / name for name in RUN_CONTENTS if (folder / name).exists()), *checkpoints(folder)]
    if any(path.name in (INDEX_FILE, CONFIG_FILE) or path.name not in RUN_CONTENTS for path in contents):
        for path in contents:
            delete(path)


def load_splits(config: TrainingConfig) -> tuple[dict[str, SpriteTensors], list[ImageSet]]:
    """The "training" split, where it is needed the "validation" split of the first set, and the sets of the former."""
    entries = config.parts()
    images = [_load_split(part, "train") for part in (config, *(part for _, part in entries))]
    sets = [ImageSet(0, len(images[0]), 1 - sum(entry.share for entry, _ in entries))]
    for (entry, _), split in zip(entries, images[1:], strict=True):
        sets.append(ImageSet(sets[-1].first + sets[-1].count, len(split), entry.share, entry.lowest_timestep))
    sources = [config.source, *(entry.source or part.source for entry, part in entries)]
    training = join(images, sources) if entries else images[0]
    splits = {"training": training.with_frequent_tags()}
    if config.validation_steps:
        validation = _load_split(config, "validation")
        if entries:
            validation = join([validation], [config.source])
        splits["validation"] = validation.with_values(splits["training"].vocabulary)
    return splits, sets


def _load_split(config: TrainingConfig, split: str) -> SpriteTensors:
    size, mode, name = config.resolution, config.preprocessing, config.dataset_name
    if not name:
        options = {"config_name": config.dataset_config_name, "exclude_faulty": True, "deduplicate": True}
        return load_tensors(config.train_data_dir, split, size, mode=mode, **options)
    try:
        dataset = load_named(name, config.dataset_config_name, split)
        if config.label_column:
            return labelled_tensors(dataset, size, mode, config.image_column, config.label_column)
        return sprite_tensors(dataset, size, mode, config.image_column)
    except ValueError as error:
        raise ValueError(f"--dataset_name {name}: {error}") from error


def plan_updates(config: TrainingConfig, processes: int, sets: Sequence[ImageSet]) -> tuple[int, int]:
    """The images of an update, and the number of updates; ValueError if a batch has no place for all sets.

    Fine-tuning sees 16,000 to 25,000 images: of two classes with 40 images each, fewer left the classes mixed.
    """
    batch_size = config.train_batch_size * processes * config.gradient_accumulation_steps
    if batch_size * sets[0].share < len(sets) - 1:
        raise ValueError(f"A batch of {batch_size} is too small for {len(sets)} sets with these shares.")
    if config.max_train_steps:
        return batch_size, config.max_train_steps
    images = sum(part.count for part in sets)
    if config.fine_tunes:
        return batch_size, math.ceil(min(max(16_000, 800 * math.sqrt(images)), 25_000) / batch_size)
    return batch_size, max(math.ceil(100 * images / batch_size), 1000)


def averaged(tensors: TrainingTensors) -> ConditionalDenoiser:
    """A copy of the model in evaluation mode, with the EMA weights if there are any."""
    denoiser = copy.deepcopy(tensors.model).eval()
    if tensors.ema is not None:
        tensors.ema.copy_to(denoiser.parameters())
    return denoiser


def make_pipeline(model: ConditionalDenoiser, scheduler: DDPMScheduler, config: TrainingConfig) -> PokemonDDPMPipeline:
    """The pipeline of a model with a few-step sampler; a student's has no guidance, which it has learned."""
    vocabulary = model.conditioner.vocabulary
    usual = {name: value for name, value in USUAL.items() if value in vocabulary.get(name, ())}
    parts, steps = (model.unet, model.conditioner), config.ddpm_num_inference_steps
    if config.distill_from or config.adversarial_from:
        return PokemonDDPMPipeline(*parts, student_scheduler(scheduler), steps, 1.0, usual)
    return PokemonDDPMPipeline(*parts, make_sampler(DEFAULT_SAMPLER, scheduler), steps, GUIDANCE_SCALE, usual)


class Meter:
    """Means over a log interval, summed on the device and read once an interval."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator, self._sums = accelerator, torch.zeros(3, device=accelerator.device)
        self._images, self._since = 0, time.perf_counter()

    def add(self, loss: torch.Tensor, grad_norm: torch.Tensor, images: int) -> None:
        """Adds an update, of which the loss and the gradient norm are on the device; only finite ones count."""
        values = torch.stack([loss, grad_norm, torch.ones_like(loss)])
        self._sums += torch.where(values.isfinite().all(), values, 0.0)
        self._images += images

    def read(self) -> dict[str, float]:
        """Loss, grad_norm and images_per_second of the interval; starts the next one."""
        sums = self._accelerator.reduce(self._sums, "mean")
        loss, grad_norm = (sums[:2] / sums[2]).tolist()  # NaN without an update
        speed = self._images / (time.perf_counter() - self._since)
        self._sums.zero_()
        self._images, self._since = 0, time.perf_counter()
        return {"loss": loss, "grad_norm": grad_norm, "images_per_second": speed}


@contextlib.contextmanager
def warn_only() -> Iterator[None]:
    """Turns an error that a run survives into a warning."""
    try:
        yield
    except Exception as error:  # trackers have their own
        tqdm.write(f"warning: {str(error).rstrip('.') or type(error).__name__}. The run continues.")


class Log:
    """What the main process prints above the progress bar, and what it writes to the tracker."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        count, precision = accelerator.num_processes, accelerator.mixed_precision.replace("no", "fp32")
        self.print(f"{count} process{'es' if count > 1 else ''} on {accelerator.device.type} ({precision}).")

    def print(self, line: str) -> None:
        if self._accelerator.is_main_process:
            tqdm.write(line)

    def open(self, config: TrainingConfig) -> None:
        """Begins to write to the tracker, with the settings; TensorBoard takes neither None nor lists of them."""
        settings = {name: "" if value is None else as_text(value) for name, value in vars(config).items()}
        with warn_only():
            self._accelerator.init_trackers("pokemon-ddpm", settings)

    def write(self, values: dict[str, float], step: int) -> None:
        """Prints values of a step, and writes them to the tracker."""
        with warn_only():
            self._accelerator.log(values, step)
        numbers = (f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in values.values())
        self.print("  ".join([f"step {step:,}", *map(" ".join, zip(values, numbers, strict=True))]))

    def close(self) -> None:
        with warn_only():
            self._accelerator.end_training()


class SkippedUpdates:
    """The updates of a run that were not finite, and so were skipped."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator, self.total = accelerator, torch.zeros((), device=accelerator.device)

    def skip_if_not_finite(self, optimizer: torch.optim.Optimizer, norm: torch.Tensor, loss: torch.Tensor) -> None:
        """Counts an update that is not finite, and has it skipped on the device: both are scalars there."""
        # A loss scaler skips overflowing gradients itself, to find its scale: only a bad loss counts.
        bad = (~(loss if self._accelerator.scaler else norm).isfinite()).float()
        if not self._accelerator.scaler:
            optimizer.found_inf = bad  # with 1 a fused optimizer does nothing
        self.total += bad

    def count(self, step: int) -> int:
        """How many there were up to a step, of all processes; ValueError if more than `MAX_SKIPPED_UPDATES`."""
        skipped = int(self._accelerator.gather(self.total[None]).max())
        if skipped > MAX_SKIPPED_UPDATES:
            raise ValueError(f"Update {step:,}: {skipped} updates were NaN or infinite. {GO_BACK}")
        return skipped


def exit_with(error: Exception, config: TrainingConfig, accelerator: Accelerator) -> NoReturn:
    """Ends a run with one line, if the error has one; its traceback is in `ERROR_LOG` in the output folder."""
    with contextlib.suppress(OSError), Path(config.output_dir, ERROR_LOG).open("a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    if isinstance(error, RuntimeError) and should_reduce_batch_size(error):
        sys.exit("error: Out of memory. Use a smaller --train_batch_size, with --gradient_accumulation_steps.")
    if not isinstance(error, (ValueError, OSError)):
        raise error
    sys.exit(f"error: {error}" if accelerator.is_main_process else 1)


def summary(model: ConditionalDenoiser, images: int, size: int, batch_size: int, max_steps: int) -> str:
    """What is trained, in one line."""
    vocabulary, count = model.conditioner.vocabulary, sum(p.numel() for p in model.parameters())
    conditions = ", ".join(shown_name(name, vocabulary["type"]) for name in vocabulary)
    given = f"{images:,} images of {size}x{size}, conditioned on {conditions}"
    return f"{count / 1e6:.1f} million parameters, {given}, batch size {batch_size}, {max_steps:,} updates."
