"""Trains a class-conditional DDPM on Pokémon sprites. Read it from top to bottom: loss, build, step, loop, save.

    accelerate launch train_conditional.py --train_data_dir path/to/pokemon-sprites

Without arguments it trains on a small procedural set of sprites. `--help` lists the flags, which can also stand in a
YAML or JSON file given first. The output folder becomes a complete diffusers pipeline.
"""

import dataclasses
import functools
import os
import signal
import sys
from pathlib import Path

# OpenMP reads it when torch is imported. Its threads would spin while they wait, at the cost of other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if __name__ == "__main__":  # Until training starts there is nothing to save: Ctrl-C ends the process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    from pokemon_ddpm.training.config import NUM_TRAIN_TIMESTEPS, TrainingConfig, parse_config
except ModuleNotFoundError:
    sys.exit("Install the project first, in the folder of the clone: pip install -e .")
if __name__ == "__main__":
    parse_config()  # A mistake is refused before the slow import of torch.

import torch
from diffusers.training_utils import EMAModel
from huggingface_hub.utils import tqdm

from pokemon_ddpm.diffusion import ConditionalDenoiser, NoiseSchedule, make_scheduler
from pokemon_ddpm.models import network_config, weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.preprocessing import as_tensor, on_white, over_white
from pokemon_ddpm.training import checkpoint, run
from pokemon_ddpm.training.adversarial import AdversarialLoss
from pokemon_ddpm.training.batches import NETWORK, SHEET, WEIGHTS, Batch, LossProbe, derive_seed, sample_batch
from pokemon_ddpm.training.losses import other_loss
from pokemon_ddpm.training.networks import make_denoiser, make_unet, new_attributes
from pokemon_ddpm.training.optimizer import learning_rate_factor, make_optimizer

LOGGING_STEPS = 20  # Updates between log lines.
MAX_GRAD_NORM = 1.0
COPY_SAMPLES = 32  # Of a fine-tuned model, among which copies of training images are counted.


def plain_loss(
    denoiser: torch.nn.Module, batch: Batch, schedule: NoiseSchedule, config: TrainingConfig
) -> torch.Tensor:
    """The loss of each image, float32 (B,): algorithm 1 of Ho et al. 2020 with the configured prediction."""
    clean, noise, timesteps = schedule.scaling_factor * batch.clean(), batch.noise, batch.timesteps
    noisy = schedule.add_noise(clean, noise, timesteps)
    prediction = denoiser(noisy, timesteps, batch.labels, batch.augmentation)
    return schedule.loss(prediction, clean, noise, timesteps, config.snr_gamma, config.snr_floor)


class Trainer:
    """What a run trains with, and how far it is. Until `begin`, nothing of an older run is changed.

    Raises ValueError or OSError if the configuration, the data or the output folder cannot be used.
    """

    def __init__(self, config: TrainingConfig):
        self.config, self.accelerator = config, run.make_accelerator(config)
        self.log, self.skipped = run.Log(self.accelerator), run.SkippedUpdates(self.accelerator)
        if self.accelerator.is_main_process:
            self.lock = run.lock_output_dir(Path(config.output_dir))  # It is held as long as this object lives.
        self.accelerator.wait_for_everyone()
        run.check_output_dir(config)  # Which no other run changes now.
        self.step = 0  # Updates done.
        self.metrics: dict[str, float] = {}  # Measured at this step.
        denoiser, trained = self.build_network()
        self.build_optimizer(denoiser, trained)
        schedule = NoiseSchedule.of(self.scheduler, self.accelerator.device, denoiser.scaling_factor)
        plain = functools.partial(plain_loss, schedule=schedule, config=config)
        other = AdversarialLoss if config.adversarial_from else other_loss
        self.losses = other(config, schedule, denoiser, trained) or plain  # Of denoiser and batch.
        frozen = getattr(self.losses, "frozen_model", None)  # A teacher or guides.
        # Of as many training images, too: where only their loss falls, the network memorizes them.
        splits = {"validation": self.held_out, "train_split": self.data} if self.held_out else {}
        count = len(self.held_out or ())
        self.probes = {name: LossProbe(split, count, NUM_TRAIN_TIMESTEPS) for name, split in splits.items()}
        network, digest = network_config(denoiser.unet), weights_digest(frozen) if frozen else ""
        known = (self.batch_size, dataclasses.asdict(config), network, self.data_digest)
        self.initial_state = checkpoint.TrainingState(0, *known, self.metrics, 0, {}, digest)

    def build_network(self) -> tuple[ConditionalDenoiser, PokemonDDPMPipeline | None]:
        """Loads the data; returns the network, and the pipeline that it continues."""
        config, device = self.config, self.accelerator.device
        torch.manual_seed(derive_seed(config.seed, WEIGHTS))
        unet, trained = make_unet(config)
        with self.accelerator.local_main_process_first():  # The first one builds the data set's cache.
            splits, self.sets = run.load_splits(config)
        self.data_digest = splits["training"].digest()
        torch.manual_seed(derive_seed(config.seed, WEIGHTS, 1))  # Loading the data may have used random numbers.
        denoiser = make_denoiser(config, unet, trained, splits["training"], self.sets[0].count)
        any_ids = denoiser.conditioner.any_ids
        splits = {name: split.conditioned_on(any_ids).to(device) for name, split in splits.items()}
        self.data, self.held_out = splits["training"], splits.get("validation")
        process = (NUM_TRAIN_TIMESTEPS, config.ddpm_beta_schedule, config.prediction_type, config.variance_type)
        self.scheduler = make_scheduler(*process, denoiser.scaling_factor)
        if device.type == "cuda":
            denoiser = denoiser.to(memory_format=torch.channels_last)  # For tensor cores; CPUs gain nothing.
        return denoiser, trained

    def build_optimizer(self, denoiser: ConditionalDenoiser, trained: PokemonDDPMPipeline | None) -> None:
        """Makes the optimizer, the learning rate and the EMA."""
        config, processes = self.config, self.accelerator.num_processes
        self.batch_size, self.max_steps = run.plan_updates(config, processes, self.sets)
        optimizer = make_optimizer(config, denoiser, new_attributes(config, denoiser.conditioner, trained))
        self.lr_factor = learning_rate_factor(config, optimizer, self.max_steps)  # Of the step.
        self.denoiser, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        ema = EMAModel(denoiser.parameters(), decay=config.ema_decay, foreach=True) if config.use_ema else None
        self.tensors = checkpoint.TrainingTensors(denoiser, optimizer, ema)  # Without what Accelerate wraps around.

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
        conditioner = self.tensors.model.conditioner
        batch = sample_batch(self.data, conditioner, config, self.step, self.batch_size, self.sets)
        total = torch.zeros((), device=accelerator.device)
        for micro_step in range(config.gradient_accumulation_steps):
            first = (micro_step * accelerator.num_processes + rank) * per_pass
            part = batch.rows(slice(first, first + per_pass))
            torch.manual_seed(derive_seed(config.seed, NETWORK, self.step, rank, micro_step))  # For dropout.
            with accelerator.accumulate(self.denoiser):
                loss = self.losses(self.denoiser, part).mean()
                accelerator.backward(loss)
                total += loss.detach() / config.gradient_accumulation_steps
                if accelerator.sync_gradients:
                    grad_norm = accelerator.clip_grad_norm_(self.denoiser.parameters(), MAX_GRAD_NORM)
                    self.skipped.skip_if_not_finite(self.tensors.optimizer, grad_norm, total)
                self.optimizer.step()
                self.optimizer.zero_grad()
        if self.tensors.ema is not None:
            self.tensors.ema.step(self.tensors.model.parameters())
        self.step += 1
        self.metrics = {}
        return total, grad_norm

    def train(self, stop: run.StopRequest) -> None:
        """Trains until the last step, or until a stop is requested; ValueError if too many updates were skipped."""
        config, accelerator, meter = self.config, self.accelerator, run.Meter(self.accelerator)
        hidden = not accelerator.is_local_main_process
        with tqdm(total=self.max_steps, initial=self.step, desc="Training", disable=hidden) as bar:
            while self.step < self.max_steps:
                loss, grad_norm = self.train_step()
                meter.add(loss, grad_norm, self.batch_size)
                bar.update()
                if self.is_due(LOGGING_STEPS):
                    skipped, seen = self.skipped.count(self.step), self.step * self.batch_size
                    counts = {"lr": self.learning_rate, "skipped_updates": skipped, "images_seen": seen}
                    self.log.write(meter.read() | counts, self.step)
                if self.is_due(config.validation_steps):
                    self.metrics = self.validate()
                    self.log.write(self.metrics, self.step)
                if self.is_due(config.save_images_steps):
                    self.save_samples()
                stops = stop.agreed(accelerator)
                if self.is_due(config.checkpointing_steps) or stops:
                    self.save_checkpoint()
                if stops:
                    break

    def is_due(self, every: int) -> bool:
        """Whether this step is one of every so many, or the last one; 0 is never."""
        return every > 0 and (self.step % every == 0 or self.step == self.max_steps)

    def validate(self) -> dict[str, float]:
        """The loss of the averaged weights on held-out and on training images, or what else tells how they differ."""
        denoiser, measured = run.averaged(self.tensors), {}
        for name, losses in getattr(self.losses, "measures", {"loss": self.losses}).items():
            for split, probe in self.probes.items():
                measured[f"{split}_{name}"] = probe.measure(losses, denoiser, self.accelerator)
        return measured

    def pipeline(self) -> PokemonDDPMPipeline:
        """The pipeline of the averaged weights."""
        return run.make_pipeline(run.averaged(self.tensors), self.scheduler, self.config)

    def save_samples(self) -> None:
        """Saves a sheet of samples of every type into `samples/` in the output folder."""
        from pokemon_ddpm.generation import save_type_sheet

        if self.accelerator.is_main_process:
            with run.warn_only():
                path = Path(self.config.output_dir, "samples", f"step-{self.step:06d}.png")
                save_type_sheet(self.pipeline(), path, derive_seed(self.config.seed, SHEET))
        self.accelerator.wait_for_everyone()

    def save_checkpoint(self) -> None:
        """Saves `checkpoint-STEP/`, if it can be written; raises ValueError if the weights are no longer finite."""
        if not checkpoint.is_finite(tensor for file in self.tensors.files().values() for tensor in file.values()):
            raise ValueError(f"Update {self.step:,}: the weights are not finite, and are not saved. {run.GO_BACK}")
        now = {"step": self.step, "metrics": self.metrics, "skipped_updates": self.skipped.count(self.step)}
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler  # Of the loss in fp16.
            state = dataclasses.replace(self.initial_state, **now, grad_scaler=scaler.state_dict() if scaler else {})
            with run.warn_only():
                folder, limit = Path(self.config.output_dir), self.config.checkpoints_total_limit
                checkpoint.save_checkpoint(folder, state, self.tensors, limit)
        self.accelerator.wait_for_everyone()

    def begin(self) -> None:
        """Deletes or resumes an older run, as configured, and opens the log."""
        config, folder = self.config, Path(self.config.output_dir)
        if self.accelerator.is_main_process and config.overwrite_output_dir:
            run.delete_run(folder)
        self.accelerator.wait_for_everyone()
        if config.resume_from_checkpoint:
            self.resume(checkpoint.find_checkpoints(folder, config.resume_from_checkpoint))
        if self.accelerator.is_main_process:
            config.save(folder)
        self.log.open(config)

    def resume(self, folders: list[Path]) -> None:
        """Restores the first of these checkpoints that is not damaged."""
        if not folders:
            self.log.print(f"{self.config.output_dir} has no checkpoint yet; starting from the beginning.")
            return
        folder, state = checkpoint.restore_first(folders, self.initial_state, self.tensors, self.log.print)
        if later := [path.name for path in checkpoint.later(folder.parent, state.step)]:
            self.log.print(f"The next checkpoint replaces {', '.join(later)}.")
        self.log.print(f"Resuming from {folder}.")
        self.step, self.metrics = state.step, state.metrics
        self.skipped.total += state.skipped_updates
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.grad_scaler)


def finish(trainer: Trainer, repository: str | None) -> None:
    """Saves the pipeline with its card into the output folder, and pushes it if the training is complete."""
    from pokemon_ddpm.evaluation.metrics import count_copies
    from pokemon_ddpm.generation import SpriteRequest, generate
    from pokemon_ddpm.publishing.hub import save_run, upload_model

    config, log, finished = trainer.config, trainer.log, trainer.step >= trainer.max_steps
    if config.max_train_seconds and config.save_images_steps and not finished:
        trainer.save_samples()
    if not trainer.accelerator.is_main_process:
        return
    pipeline, data, held_out = trainer.pipeline(), trainer.data, trainer.held_out
    counts = {"training": len(data)} | ({"validation": len(held_out)} if held_out else {})
    save_run(pipeline, config, trainer.step, counts, trainer.metrics)
    log.print(f"The model is in {config.output_dir}.")
    if config.fine_tunes and held_out:
        pipeline.set_progress_bar_config(disable=True)
        types = pipeline.conditioner.vocabulary["type"]
        requests = [SpriteRequest(seed, types[seed % len(types)]) for seed in range(COPY_SAMPLES)]
        samples = as_tensor(map(on_white, generate(pipeline, requests)))
        near = count_copies(samples, over_white(data.images), over_white(held_out.images.cpu()))
        usual = "at most half as far from it as held-out images usually are"
        log.print(f"Of {COPY_SAMPLES} samples {near} are near a training image: {usual}.")
    if repository and finished:
        log.print(f"Pushed to {upload_model(Path(config.output_dir), repository)}")


def main() -> None:
    from pokemon_ddpm.publishing.hub import open_run_repository

    config = parse_config()
    stop = run.StopRequest(config.max_train_seconds)
    try:
        trainer = Trainer(config)
        repository = open_run_repository(config) if trainer.accelerator.is_main_process else None
        trainer.begin()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    model, images, log = trainer.tensors.model, len(trainer.data), trainer.log
    log.print(run.summary(model, images, config.resolution, trainer.batch_size, trainer.max_steps))
    stop.handle_signals()
    try:
        trainer.train(stop)
        finish(trainer, repository)
    except Exception as error:
        run.exit_with(error, config, trainer.accelerator)
    finally:
        # First what DDP holds of the process group: its destructor waits for gloo's thread, and this one for the GIL.
        trainer.denoiser = None
        trainer.accelerator.free_memory()
        log.close()
    if trainer.step < trainer.max_steps:
        hint = "Continue with the same command and --resume_from_checkpoint latest."
        log.print(f"Stopped by {stop.reason} after {trainer.step:,} updates. {hint}")


if __name__ == "__main__":
    main()
