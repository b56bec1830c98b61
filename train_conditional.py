"""Trains a class-conditional DDPM on Pokémon sprites. Read it from top to bottom: loss, build, step, loop, save.

    accelerate launch train_conditional.py --train_data_dir path/to/pokemon-sprites

Without arguments it trains on a small procedural set of sprites. `--help` lists the flags, which can also stand in a
YAML or JSON file given first. The output folder becomes a complete diffusers pipeline.
"""

import contextlib
import dataclasses
import functools
import os
import signal
import sys
import traceback
from pathlib import Path

# OpenMP reads it when torch is imported. Its threads would spin while they wait, at the cost of other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if __name__ == "__main__":  # until training starts there is nothing to save: Ctrl-C ends the process at once
    signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    from pokemon_ddpm.training.config import TrainingConfig, as_text, parse_config
except ModuleNotFoundError:
    sys.exit("Install the project first, in the folder of the clone: pip install -e .")
if __name__ == "__main__":
    parse_config()  # a mistake is refused before the slow import of torch

import torch
from accelerate.utils.memory import should_reduce_batch_size
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from tqdm.auto import tqdm

from pokemon_ddpm.diffusion import ConditionalDenoiser, NoiseSchedule, make_scheduler
from pokemon_ddpm.evaluation.memorization import count_copies
from pokemon_ddpm.files import write_file
from pokemon_ddpm.generation import save_type_sheet
from pokemon_ddpm.models import LICENSE_FILE, locate_model, network_config, weights_digest
from pokemon_ddpm.pipelines.file_checks import read_file
from pokemon_ddpm.pipelines.hub_mixin import LICENSE_KEY, license_terms
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.publishing.cards import run_card, write_card
from pokemon_ddpm.publishing.hub import open_repository, upload_model
from pokemon_ddpm.training import checkpoint, run
from pokemon_ddpm.training.batches import NETWORK, SHEET, WEIGHTS, Batch, derive_seed, sample_batch
from pokemon_ddpm.training.losses import other_loss
from pokemon_ddpm.training.networks import make_denoiser, make_unet
from pokemon_ddpm.training.optimizer import make_optimizer
from pokemon_ddpm.training.run import averaged, make_pipeline
from pokemon_ddpm.vocabulary import shown_name

LOGGING_STEPS = 20  # updates between log lines
MAX_SKIPPED_UPDATES = 10
GO_BACK = (
    "Go back to an earlier checkpoint with --resume_from_checkpoint, with a lower --learning_rate or a longer "
    "--lr_warmup_steps; --mixed_precision no may help too."
)


def plain_loss(
    denoiser: torch.nn.Module, batch: Batch, schedule: NoiseSchedule, config: TrainingConfig
) -> torch.Tensor:
    """The loss of each image, float32 (B,): algorithm 1 of Ho et al. 2020 with the configured prediction."""
    clean, noise, timesteps = schedule.scaling_factor * batch.clean(), batch.noise, batch.timesteps
    noisy = schedule.add_noise(clean, noise, timesteps)
    prediction = denoiser(noisy, timesteps, batch.labels, batch.augmentation)
    return schedule.loss(prediction, clean, noise, timesteps, config.snr_gamma, config.snr_floor)


class Trainer:
    """One training run.

    Raises:
        ValueError, OSError: If the configuration, the data or the output folder cannot be used. Nothing of an older
            run is changed then.
    """

    def __init__(self, config: TrainingConfig):
        self.stop = run.StopRequest(config.max_train_seconds)
        self.config, self.output_dir = config, Path(config.output_dir)
        self.accelerator = run.make_accelerator(config)
        self.device = self.accelerator.device
        count, precision = self.accelerator.num_processes, self.accelerator.mixed_precision.replace("no", "fp32")
        self.print(f"{count} process{'es' if count > 1 else ''} on {self.device.type} ({precision}).")
        if self.accelerator.is_main_process:
            self.lock = run.lock_output_dir(self.output_dir)
        self.accelerator.wait_for_everyone()
        run.check_output_dir(config)  # which no other run changes now

        denoiser, trained, new = self.build()
        self.prepare(denoiser, new)
        schedule = NoiseSchedule.of(self.scheduler, self.device, denoiser.scaling_factor)
        other = other_loss(config, schedule, denoiser, trained)
        self.losses = other or functools.partial(plain_loss, schedule=schedule, config=config)  # of denoiser and batch
        teacher = getattr(other, "frozen_model", None)
        teacher_digest = "" if teacher is None else weights_digest(teacher)
        # Of as many training images, too: where only their loss falls, the network memorizes them.
        splits = {"validation_loss": self.held_out, "train_split_loss": self.data} if self.held_out else {}
        measured = len(self.held_out or ()), config.ddpm_num_steps
        self.probes = {name: run.LossProbe(split, *measured) for name, split in splits.items()}
        self.skipped = torch.zeros((), device=self.device)  # updates that were not finite
        self.step = 0
        self.metrics: dict[str, float] = {}  # measured at the present step
        network, settings = network_config(denoiser.unet), dataclasses.asdict(config)
        of_run = (self.batch_size, settings, network, self.data_digest)
        self.initial_state = checkpoint.TrainingState(0, *of_run, self.metrics, 0, {}, teacher_digest)
        self.hub_model_id = None
        if self.accelerator.is_main_process:
            if config.push_to_hub:
                name = config.hub_model_id or self.output_dir.resolve().name
                self.hub_model_id = open_repository(name, config.hub_private_repo or None)[1].id
            if config.overwrite_output_dir:
                run.delete_run(self.output_dir)
        self.accelerator.wait_for_everyone()
        if config.resume_from_checkpoint:
            self.resume(config.resume_from_checkpoint)
        if self.accelerator.is_main_process:
            config.save(self.output_dir)
        # TensorBoard takes neither None nor lists.
        settings = {name: "" if value is None else as_text(value) for name, value in settings.items()}
        with run.warn_only():
            self.accelerator.init_trackers("pokemon-ddpm", settings)

    def build(self) -> tuple[ConditionalDenoiser, PokemonDDPMPipeline | None, list[str]]:
        """Loads the data; returns the network, the pipeline that it continues, and the attributes with new values."""
        config = self.config
        torch.manual_seed(derive_seed(config.seed, WEIGHTS))
        unet, trained = make_unet(config)
        with self.accelerator.local_main_process_first():  # the first one builds the data set's cache
            splits, self.sets = run.load_splits(config)
        self.counts = {name: len(split) for name, split in splits.items()}
        self.data_digest = splits["training"].digest()
        torch.manual_seed(derive_seed(config.seed, WEIGHTS, 1))  # loading the data may have used random numbers
        denoiser = make_denoiser(config, unet, trained, splits["training"], self.sets[0].count)
        new: list[str] = []
        if config.fine_tunes:
            now, before = denoiser.conditioner.vocabulary, trained.conditioner.vocabulary
            new = [name for name, values in now.items() if before.get(name) != values]
        process = (config.ddpm_num_steps, config.ddpm_beta_schedule, config.prediction_type, config.variance_type)
        self.scheduler = make_scheduler(*process, denoiser.scaling_factor)
        any_ids = denoiser.conditioner.any_ids
        splits = {name: split.conditioned_on(any_ids).to(self.device) for name, split in splits.items()}
        self.data, self.held_out = splits["training"], splits.get("validation")
        if self.device.type == "cuda":
            denoiser = denoiser.to(memory_format=torch.channels_last)  # for tensor cores; CPUs gain nothing
        if config.compile:
            denoiser.compile()
        return denoiser, trained, new

    def prepare(self, denoiser: ConditionalDenoiser, new: list[str]) -> None:
        """Makes the optimizer, the learning rate and the EMA."""
        config = self.config
        self.batch_size = config.train_batch_size * self.accelerator.num_processes * config.gradient_accumulation_steps
        if self.batch_size * self.sets[0].share < len(self.sets) - 1:
            raise ValueError(f"A batch of {self.batch_size} is too small for {len(self.sets)} sets with these shares.")
        self.max_steps = run.number_of_updates(config, len(self.data), self.batch_size)
        adam = {"betas": (config.adam_beta1, config.adam_beta2), "weight_decay": config.adam_weight_decay}
        adam |= {"lr": config.learning_rate, "eps": config.adam_epsilon}
        dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
        optimizer = make_optimizer(config.optimizer, denoiser, dtype, new, **adam)
        # Only its function of the step is used, so there is no scheduler state to save.
        warmup = min(config.lr_warmup_steps, self.max_steps - 1)  # "polynomial" divides by the updates after it
        steps = {"num_warmup_steps": warmup, "num_training_steps": self.max_steps}
        self.lr_factor = get_scheduler(config.lr_scheduler, optimizer, **steps).lr_lambdas[0]
        self.unwrapped = denoiser  # without what Accelerate wraps around it
        self.denoiser, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        self.ema = EMAModel(denoiser.parameters(), decay=config.ema_decay, foreach=True) if config.use_ema else None
        self.tensors = checkpoint.TrainingTensors(denoiser, optimizer, self.ema)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self.config.learning_rate * self.lr_factor(self.step)

    def train_step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One update. Returns this process's loss and the gradient norm, scalars on the device."""
        config, accelerator = self.config, self.accelerator
        rank, per_pass = accelerator.process_index, config.train_batch_size
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["lr_factor"]
        conditioner = self.unwrapped.conditioner
        batch = sample_batch(self.data, conditioner, config, self.step, self.batch_size, self.sets)
        total = torch.zeros((), device=self.device)
        for micro_step in range(config.gradient_accumulation_steps):
            first = (micro_step * accelerator.num_processes + rank) * per_pass
            part = batch.rows(slice(first, first + per_pass))
            torch.manual_seed(derive_seed(config.seed, NETWORK, self.step, rank, micro_step))  # for dropout
            with accelerator.accumulate(self.denoiser):
                loss = self.losses(self.denoiser, part).mean()
                accelerator.backward(loss)
                total += loss.detach() / config.gradient_accumulation_steps
                if accelerator.sync_gradients:
                    grad_norm = accelerator.clip_grad_norm_(self.denoiser.parameters(), config.max_grad_norm)
                    self.skip_if_not_finite(grad_norm, total)
                self.optimizer.step()
                self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.unwrapped.parameters())
        self.step += 1
        self.metrics = {}
        return total, grad_norm

    def skip_if_not_finite(self, grad_norm: torch.Tensor, loss: torch.Tensor) -> None:
        """Counts an update that is not finite, and has it skipped on the device: both are scalars there."""
        # A loss scaler skips overflowing gradients itself, to find its scale: only a bad loss counts.
        bad = (~(loss if self.accelerator.scaler else grad_norm).isfinite()).float()
        if not self.accelerator.scaler:
            self.tensors.optimizer.found_inf = bad  # with 1 a fused optimizer does nothing
        self.skipped += bad

    def skipped_updates(self) -> int:
        """How many updates were skipped so far, of all processes; ValueError if more than `MAX_SKIPPED_UPDATES`."""
        skipped = int(self.accelerator.gather(self.skipped[None]).max())
        if skipped > MAX_SKIPPED_UPDATES:
            raise ValueError(f"Update {self.step:,}: {skipped} updates were NaN or infinite. {GO_BACK}")
        return skipped

    def train(self) -> None:
        """Trains until the last step, or until a stop is requested; ValueError if too many updates were skipped."""
        config, accelerator, meter = self.config, self.accelerator, run.Meter(self.accelerator)
        hidden = not accelerator.is_local_main_process
        with tqdm(total=self.max_steps, initial=self.step, desc="Training", disable=hidden) as bar:
            while self.step < self.max_steps:
                loss, grad_norm = self.train_step()
                meter.add(loss, grad_norm, self.batch_size)
                bar.update()
                if self.is_due(LOGGING_STEPS):
                    counts = {"skipped_updates": self.skipped_updates(), "images_seen": self.step * self.batch_size}
                    self.log({**meter.read(), "lr": self.learning_rate, **counts})
                if self.is_due(config.validation_steps):
                    self.metrics = self.validate()
                    self.log(self.metrics)
                if self.is_due(config.save_images_steps):
                    self.save_samples()
                stop = self.stop.agreed(accelerator)
                if self.is_due(config.checkpointing_steps) or stop:
                    self.save_checkpoint()
                if stop:
                    break

    def is_due(self, every: int) -> bool:
        """Whether this step is one of every so many, or the last one; 0 is never."""
        return every > 0 and (self.step % every == 0 or self.step == self.max_steps)

    def print(self, line: str) -> None:
        """Prints a line above the progress bar, in the main process."""
        if self.accelerator.is_main_process:
            tqdm.write(line)

    def log(self, values: dict[str, float]) -> None:
        """Prints values of this step, and writes them to the tracker."""
        with run.warn_only():
            self.accelerator.log(values, self.step)
        numbers = (f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in values.values())
        self.print("  ".join([f"step {self.step:,}", *map(" ".join, zip(values, numbers, strict=True))]))

    def validate(self) -> dict[str, float]:
        """The loss of the averaged weights on held-out and on training images."""
        denoiser = averaged(self.unwrapped, self.ema)
        return {name: each.measure(self.losses, denoiser, self.accelerator) for name, each in self.probes.items()}

    def save_samples(self) -> None:
        """Saves a sheet of samples of every type into `samples/` in the output folder."""
        if self.accelerator.is_main_process:
            with run.warn_only():
                path = self.output_dir / "samples" / f"step-{self.step:06d}.png"
                pipeline = make_pipeline(averaged(self.unwrapped, self.ema), self.scheduler, self.config)
                save_type_sheet(pipeline, path, derive_seed(self.config.seed, SHEET))
        self.accelerator.wait_for_everyone()

    def save_checkpoint(self) -> None:
        """Saves `checkpoint-STEP/`, if it can be written; raises ValueError if the weights are no longer finite."""
        if not checkpoint.is_finite(tensor for part in self.tensors.files().values() for tensor in part.values()):
            raise ValueError(f"Update {self.step:,}: the weights are NaN or infinite, and are not saved. {GO_BACK}")
        now = {"step": self.step, "metrics": self.metrics, "skipped_updates": self.skipped_updates()}
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler  # of the loss in fp16
            state = dataclasses.replace(self.initial_state, **now, grad_scaler=scaler.state_dict() if scaler else {})
            with run.warn_only():
                checkpoint.save_checkpoint(self.output_dir, state, self.tensors, self.config.checkpoints_total_limit)
        self.accelerator.wait_for_everyone()

    def resume(self, name: str) -> None:
        """Restores the latest checkpoint that is not damaged, or a named one."""
        found = checkpoint.find_checkpoints(self.output_dir, name)
        if not found:
            self.print(f"{self.output_dir} has no checkpoint yet; starting from the beginning.")
            return
        for folder in found:
            try:
                state = checkpoint.restore(folder, self.initial_state, self.tensors)
                break
            except checkpoint.DamagedCheckpoint as error:
                if folder == found[-1]:
                    raise
                self.print(f"warning: {error} Trying the one before.")
        if later := [path.name for path in checkpoint.later(self.output_dir, state.step)]:
            self.print(f"The next checkpoint replaces {', '.join(later)}.")
        self.print(f"Resuming from {folder}.")
        self.step, self.metrics = state.step, state.metrics
        self.skipped += state.skipped_updates
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.grad_scaler)

    def save_pipeline(self) -> None:
        """Saves the pipeline of the averaged weights into the output folder; pushes it at the end of the run."""
        config, finished = self.config, self.step >= self.max_steps
        if config.max_train_seconds and config.save_images_steps and not finished:
            self.save_samples()
        if not self.accelerator.is_main_process:
            return
        pipeline = make_pipeline(averaged(self.unwrapped, self.ema), self.scheduler, config)
        folder, base = self.output_dir, config.initial_weights
        try:
            card = run_card(pipeline, config, folder.resolve().name, self.step, self.counts, self.metrics)
            pipeline.conditioner.register_to_config(**{LICENSE_KEY: license_terms(card.data.to_dict())})
            pipeline.save_pretrained(folder)
            if base and (source := Path(locate_model(base), LICENSE_FILE)).exists():
                write_file(folder / LICENSE_FILE, read_file(source, source.parent))
            write_card(folder, card)
        except (OSError, ValueError, SafetensorError) as error:
            raise ValueError(f"The model could not be written into {folder} ({error}).") from error
        self.print(f"The model is in {folder}.")
        if config.fine_tunes and self.held_out is not None:
            near, count = count_copies(pipeline, self.data, self.held_out)
            usual = "at most half as far from it as held-out images usually are"
            self.print(f"Of {count} samples {near} are near a training image: {usual}.")
        if self.hub_model_id and finished:
            self.print(f"Pushed to {upload_model(folder, self.hub_model_id)}")

    def summary(self) -> str:
        """What is trained, in one line."""
        size, vocabulary = self.config.resolution, self.unwrapped.conditioner.vocabulary
        conditions = ", ".join(shown_name(name, vocabulary["type"]) for name in vocabulary)
        return (
            f"{sum(p.numel() for p in self.unwrapped.parameters()) / 1e6:.1f} million parameters, {len(self.data):,} "
            f"images of {size}x{size}, conditioned on {conditions}, batch size {self.batch_size}, {self.max_steps:,} "
            "updates."
        )


def main() -> None:
    config = parse_config()
    try:
        trainer = Trainer(config)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    trainer.print(trainer.summary())
    trainer.stop.handle_signals()
    try:
        trainer.train()
        trainer.save_pipeline()
    except Exception as error:
        with contextlib.suppress(OSError), (trainer.output_dir / run.ERROR_LOG).open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        if isinstance(error, RuntimeError) and should_reduce_batch_size(error):
            sys.exit("error: Out of memory. Use a smaller --train_batch_size, with --gradient_accumulation_steps.")
        if not isinstance(error, (ValueError, OSError)):
            raise
        sys.exit(f"error: {error}" if trainer.accelerator.is_main_process else 1)
    finally:
        # First what DDP holds of the process group: its destructor waits for gloo's thread, and this one for the GIL.
        trainer.denoiser = None
        trainer.accelerator.free_memory()
        with run.warn_only():
            trainer.accelerator.end_training()
    if trainer.step < trainer.max_steps:
        trainer.print(
            f"Stopped by {trainer.stop.reason} after {trainer.step:,} updates. "
            "Continue with the same command and --resume_from_checkpoint latest."
        )


if __name__ == "__main__":
    main()
