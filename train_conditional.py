"""Trains a class-conditional DDPM on Pokémon sprites. Read it from top to bottom: build, loss, step, loop, save.

    accelerate launch train_conditional.py --train_data_dir path/to/pokemon-sprites --resolution 32

Without arguments it trains on a small procedural set of sprites. `--help` lists the flags, which can also stand in a
YAML or JSON file given first. The output folder becomes a complete diffusers pipeline.
"""

import contextlib
import math
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # until training starts there is nothing to save; importing the libraries takes seconds
    signal.signal(signal.SIGINT, lambda *_: os._exit(os.write(2, b"Interrupted before the first update.\n") and 130))

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

try:
    import pokemon_ddpm.dataset_scripts  # noqa: F401
except ModuleNotFoundError:
    sys.exit("Install the project first, in the folder of the clone: pip install -e .")

from pokemon_ddpm import hub
from pokemon_ddpm.diffusion import LossSecondMoment, NoiseSchedule, add_noise, denoising_loss
from pokemon_ddpm.generation import Interrupted
from pokemon_ddpm.models import network_config, weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training import checkpoint, setup
from pokemon_ddpm.training.batches import NETWORK, SHEET, WEIGHTS, Batch, derive_seed, sample_batch
from pokemon_ddpm.training.config import TrainingConfig, parse_config
from pokemon_ddpm.training.export import averaged, make_pipeline, save_model, save_sheet
from pokemon_ddpm.training.losses import DistillationLoss
from pokemon_ddpm.training.monitoring import DivergedError, Meter, NonFiniteGuard, StopRequest, Tracker, log_line
from pokemon_ddpm.training.validation import SampleEvaluation, check_sample_evaluation, loss_probes
from pokemon_ddpm.variational_bound import learned_variance_loss, split_prediction


class Trainer:
    """One training run.

    Raises:
        ValueError, OSError: If the configuration, the data or the output folder cannot be used. Nothing of an older
            run is changed then.
    """

    def __init__(self, config: TrainingConfig):
        self.stop = StopRequest(config.max_train_seconds)
        setup.check_tracker(config.report_to)
        if config.eval_steps:
            check_sample_evaluation(config)
        self.config, self.output_dir = config, Path(config.output_dir)
        self.accelerator = setup.make_accelerator(config)
        self.device = self.accelerator.device
        if self.accelerator.is_main_process:
            self.lock = setup.lock_output_dir(self.output_dir)
        self.accelerator.wait_for_everyone()
        setup.check_output_dir(config)  # once it is locked, no other run changes it

        self.scheduler = setup.noise_scheduler(config)
        torch.manual_seed(derive_seed(config.seed, WEIGHTS))
        unet, trained_conditioner = setup.make_unet(config)
        with self.accelerator.local_main_process_first():  # the first one builds the data set's cache
            data, held_out = setup.load_splits(config)
        self.batch_size = config.train_batch_size * self.accelerator.num_processes * config.gradient_accumulation_steps
        self.max_steps = config.num_updates(len(data), self.batch_size)
        self.counts = {"training": len(data), **({"validation": len(held_out)} if held_out else {})}
        self.data_digest = data.digest()

        torch.manual_seed(derive_seed(config.seed, WEIGHTS, 1))  # loading the data may have used random numbers
        denoiser = setup.make_denoiser(config, unet, trained_conditioner, data)
        any_ids = denoiser.conditioner.any_ids
        self.data, held_out = (split and split.conditioned_on(any_ids).to(self.device) for split in (data, held_out))
        if self.device.type == "cuda":
            denoiser = denoiser.to(memory_format=torch.channels_last)  # for tensor cores; CPUs gain nothing
        if config.compile:
            denoiser.compile()
        optimizer = setup.make_optimizer(config, denoiser)
        # Only its function of the step is used, so there is no scheduler state to save.
        self.lr_factor = get_scheduler(
            config.lr_scheduler,
            optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=self.max_steps,
        ).lr_lambdas[0]
        self.denoiser, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        self.ema = EMAModel(denoiser.parameters(), decay=config.ema_decay, foreach=True) if config.use_ema else None

        self.schedule = NoiseSchedule.of(self.scheduler, self.device)
        self.distillation = DistillationLoss.of(config, self.scheduler, denoiser) if config.distill_from else None
        self.teacher_digest = weights_digest(self.distillation.teacher) if self.distillation else ""
        by_loss = config.timestep_sampling == "loss_second_moment"
        self.history = LossSecondMoment(config.ddpm_num_steps, self.device) if by_loss else None
        self.guard = NonFiniteGuard(self.accelerator, optimizer, config.max_bad_steps, self.output_dir)
        self.tensors = checkpoint.TrainingTensors(denoiser, optimizer, self.ema, self.history)
        self.probes = loss_probes(self.data, held_out, config.ddpm_num_steps) if config.validation_steps else {}
        if config.eval_steps:
            self.evaluation = SampleEvaluation(config, held_out, denoiser.conditioner)
        self.tracker = Tracker(self.accelerator)
        self.metrics: dict[str, float] = {}  # measured at the present step
        self.step, self.tried_step, self.saved_step, self.diverging = 0, None, None, False
        self.hub_model_id = setup.prepare_output(config) if self.accelerator.is_main_process else None
        self.accelerator.wait_for_everyone()
        if config.resume_from_checkpoint:
            self.resume(config.resume_from_checkpoint)

    @property
    def unwrapped(self) -> torch.nn.Module:
        """The denoiser without what Accelerate wraps around it."""
        return self.tensors.model

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self.config.learning_rate * self.lr_factor(self.step)

    def pipeline(self) -> PokemonDDPMPipeline:
        """The pipeline of the averaged weights."""
        return make_pipeline(averaged(self.unwrapped, self.ema), self.scheduler, self.config)

    def summary(self) -> str:
        """What is trained, in one or two lines."""
        precision = self.accelerator.mixed_precision
        summary = (
            f"{sum(p.numel() for p in self.unwrapped.parameters()) / 1e6:.1f} million parameters, {len(self.data):,} "
            f"images of {self.config.resolution}x{self.config.resolution}, conditioned on "
            f"{', '.join(self.unwrapped.conditioner.vocabulary)}, batch size {self.batch_size}, {self.max_steps:,} "
            f"updates, on {self.device} ({precision if precision != 'no' else 'fp32'})."
        )
        if self.config.lr_scheduler != "constant" and self.config.lr_warmup_steps >= self.max_steps:
            summary += (
                f"\nThe run ends within the warm-up of the learning rate ({self.config.lr_warmup_steps} updates)."
            )
        return summary

    def losses(self, denoiser: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of each image, float32 (B,): algorithm 1 of Ho et al. 2020 with the configured prediction.

        With a learned variance, L_vlb is added (Nichol & Dhariwal 2021); a student has the loss of its distillation.
        """
        if self.distillation:
            return self.distillation(denoiser, batch)
        schedule, config = self.schedule, self.config
        clean, noise, timesteps = batch.clean(), batch.noise, batch.timesteps
        noisy = add_noise(schedule, clean, noise, timesteps)
        prediction = denoiser(noisy, timesteps, batch.labels, batch.augmentation)
        mean, learned = split_prediction(prediction, config.variance_type)
        kind = config.prediction_type
        losses = denoising_loss(schedule, kind, mean, clean, noise, timesteps, config.snr_gamma)
        if learned is not None:
            losses = losses + learned_variance_loss(schedule, kind, prediction, clean, noisy, timesteps)
        return losses

    def train_step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One update. Returns this process's loss and the gradient norm, scalars on the device."""
        config, accelerator = self.config, self.accelerator
        rank, per_pass = accelerator.process_index, config.train_batch_size
        all_per_pass = per_pass * accelerator.num_processes
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        batch = sample_batch(self.data, self.unwrapped.conditioner, config, self.step, self.batch_size, self.history)
        total = torch.zeros((), device=self.device)
        for micro_step in range(config.gradient_accumulation_steps):
            start = micro_step * all_per_pass
            part = batch.rows(start + rank * per_pass, per_pass)
            torch.manual_seed(derive_seed(config.seed, NETWORK, self.step, rank, micro_step))  # for dropout
            with accelerator.accumulate(self.denoiser):
                losses = self.losses(self.denoiser, part)
                loss = losses.mean() if part.weights is None else (part.weights * losses).mean()
                accelerator.backward(loss)
                total += loss.detach() / config.gradient_accumulation_steps
                if accelerator.sync_gradients:
                    grad_norm = accelerator.clip_grad_norm_(self.denoiser.parameters(), config.max_grad_norm)
                    self.guard.before_update(grad_norm, total)
                self.optimizer.step()
                self.optimizer.zero_grad()
            if self.history is not None:
                timesteps = batch.timesteps[start : start + all_per_pass]
                self.history.record(timesteps, accelerator.gather(losses.detach()))
        if self.ema is not None:
            self.ema.step(self.unwrapped.parameters())
        self.step += 1
        self.metrics = {}
        return total, grad_norm

    def train(self) -> None:
        """Trains until the last step, or until a stop is requested.

        Raises:
            DivergedError: If too many updates were not finite.
        """
        config, accelerator = self.config, self.accelerator
        bar = tqdm(
            total=self.max_steps, initial=self.step, desc="Training", disable=not accelerator.is_local_main_process
        )
        meter = Meter(accelerator)
        with bar:
            if self.step and self.measure(bar, resumed=True):  # what an interruption left out
                self.tried_step = None
                self.save_checkpoint()
            while self.step < self.max_steps:
                loss, grad_norm = self.train_step()
                meter.add(loss, grad_norm, self.batch_size)
                bar.update()
                if self.step % config.logging_steps == 0 or self.step == self.max_steps:
                    self.log(meter, bar)
                with meter.paused():
                    self.measure(bar)
                    if self.stop.agreed(accelerator):
                        break
                    if self.step % config.checkpointing_steps == 0:
                        self.save_checkpoint()
            self.save_checkpoint()

    def log(self, meter: Meter, bar: tqdm) -> None:
        """Writes a log line, and its values to the tracker."""
        skipped, _ = self.guard.check(self.step)
        values = {**meter.read(), "lr": self.learning_rate, "skipped_updates": skipped}
        self.tracker.log({**values, "images_seen": self.step * self.batch_size}, self.step)
        if self.accelerator.is_main_process:
            bar.write(log_line(self.step, self.step * self.batch_size, values))

    def measure(self, bar: tqdm, resumed: bool = False) -> bool:
        """Validation, evaluation and samples that are due at this step; after resuming, those that are missing.

        Returns whether metrics were due.
        """
        config, last = self.config, self.step == self.max_steps
        due = [
            measure
            for every, metric, measure in (
                (config.validation_steps, "validation_loss", self.validate),
                (config.eval_steps, "kid", self.evaluate),
            )
            if every and (self.step % every == 0 or last) and metric not in self.metrics
        ]
        for measure in due:
            measure(bar)
        if config.save_images_steps and self.step % config.save_images_steps == 0:
            self.save_samples(resumed)
        return bool(due)

    def validate(self, bar: tqdm) -> None:
        """Measures the averaged weights on held-out images, and on as many training images."""
        denoiser = averaged(self.unwrapped, self.ema)
        metrics = {
            name: probe.measure(self.losses, denoiser, self.accelerator, self.stop.requested)
            for name, probe in self.probes.items()
        }
        if all(map(math.isfinite, metrics.values())):  # else interrupted
            self.add_metrics(metrics, bar)

    def evaluate(self, bar: tqdm) -> None:
        """Measures samples of the averaged weights."""
        if self.accelerator.is_main_process:
            with contextlib.suppress(Interrupted):
                self.add_metrics(self.evaluation.measure(self.pipeline(), self.stop.requested), bar)
        self.accelerator.wait_for_everyone()

    def add_metrics(self, metrics: dict[str, float], bar: tqdm) -> None:
        """Keeps metrics of the present step for its checkpoint, and logs them."""
        self.metrics = {**self.metrics, **metrics}
        self.tracker.log(metrics, self.step)
        if self.accelerator.is_main_process:
            bar.write(f"step {self.step:,}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def save_samples(self, resumed: bool) -> None:
        """Saves a sheet of samples of every type into `samples/` in the output folder."""
        path = self.output_dir / "samples" / f"step-{self.step:06d}.png"
        if self.accelerator.is_main_process and not (resumed and path.exists()):
            try:
                save_sheet(self.pipeline(), path, derive_seed(self.config.seed, SHEET), self.stop.requested)
            except Interrupted:
                pass
            except OSError as error:
                tqdm.write(f"warning: {path} could not be written ({error.strerror or error}). The run continues.")
        self.accelerator.wait_for_everyone()

    def state(self, skipped_updates: int = 0) -> checkpoint.TrainingState:
        """The state of the run beside its tensors."""
        scaler = self.accelerator.scaler
        return checkpoint.TrainingState(
            self.step,
            self.batch_size,
            self.config.public(),
            network_config(self.unwrapped.unet),
            self.data_digest,
            self.metrics,
            skipped_updates,
            scaler.state_dict() if scaler else {},
            self.teacher_digest,
        )

    def save_checkpoint(self) -> None:
        """Saves `checkpoint-STEP/` in the output folder, unless it exists; if that fails, the run continues."""
        if self.step == self.tried_step:
            return
        self.tried_step = self.step
        skipped, in_a_row = self.guard.check(self.step)
        self.guard.check_tensors(self.step, self.tensors)
        # While updates are skipped, the weights may have diverged; a single one at the end is harmless.
        self.diverging = in_a_row > (self.step == self.max_steps)
        if self.diverging:
            self.accelerator.print(
                f"warning: Update {self.step:,} was not finite and is not saved. The run continues."
            )
        elif self.accelerator.is_main_process:
            limit, metric = self.config.checkpoints_total_limit, self.config.metric_for_best_model
            try:
                checkpoint.save_checkpoint(self.output_dir, self.state(skipped), self.tensors, limit, metric)
                self.saved_step = self.step
            except checkpoint.CheckpointError as error:
                tqdm.write(f"warning: {error} The run continues.")
            if self.config.hub_strategy == "every_save" and self.step < self.max_steps:
                self.push_checkpoint()
        self.accelerator.wait_for_everyone()

    def resume(self, name: str) -> None:
        """Restores the latest complete checkpoint, or a named one."""
        report = self.accelerator.print
        restored = checkpoint.restore(self.output_dir, name, self.state(), self.tensors, report)
        if restored is None:
            report(f"{self.output_dir} has no checkpoint yet; starting from the beginning.")
            return
        folder, state = restored
        if state.step > self.max_steps:
            raise ValueError(f"{folder} has more updates than --max_train_steps or --num_epochs, {self.max_steps}.")
        self.step = self.tried_step = self.saved_step = state.step
        self.metrics = state.metrics
        self.guard.restore(state.skipped_updates)
        if state.grad_scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.grad_scaler)
        report(f"Resuming from {folder}.")

    def save_pipeline(self) -> None:
        """Saves the pipeline of the averaged weights into the output folder; pushes it at the end of the run.

        Raises:
            ValueError, OSError: If something could not be written or pushed; the message says what is safe.
        """
        if self.diverging:
            self.guard.stop(self.step, "the last updates were not finite, so the model is not saved")
        if not self.accelerator.is_main_process:
            return
        finished = self.step >= self.max_steps
        denoiser, metrics = averaged(self.unwrapped, self.ema), self.metrics
        best = checkpoint.best_checkpoint(self.output_dir, self.config.metric_for_best_model)
        if self.config.load_best_model_at_end and finished and best:
            try:
                checkpoint.load_weights(best, denoiser)
                metrics = checkpoint.load_state(best).metrics
                self.accelerator.print(f"The model has the weights of {best}.")
            except checkpoint.CheckpointError as error:
                self.accelerator.print(f"warning: {error} The model has the last weights.")
        pipeline = make_pipeline(denoiser, self.scheduler, self.config)
        save_model(pipeline, self.config, self.step, self.counts, metrics)
        self.accelerator.print(f"The model is in {self.output_dir}.")
        if self.hub_model_id and finished:
            try:
                url = hub.push_model(self.output_dir, self.hub_model_id, self.config.hub_token)
            except (ValueError, OSError) as error:
                command = f"pokemon-ddpm push {self.output_dir} {self.hub_model_id}"
                raise ValueError(f"{error}\nThe model is saved; push it with `{command}`.") from error
            self.accelerator.print(f"Pushed to {url}")
        if self.saved_step != self.step:
            raise ValueError(
                f"There is no checkpoint of update {self.step:,}; --resume_from_checkpoint latest continues from the "
                "last one that was saved."
            )

    def push_checkpoint(self) -> None:
        """Pushes the present model; if that fails, the run continues."""
        try:
            save_model(self.pipeline(), self.config, self.step, self.counts, self.metrics)
            message = f"Update {self.step:,}"
            hub.push_model(self.output_dir, self.hub_model_id, self.config.hub_token, commit_message=message)
        except (ValueError, OSError) as error:
            tqdm.write(f"warning: {error} The run continues.")


def main() -> None:
    config = parse_config()
    try:
        trainer = Trainer(config)
        if trainer.accelerator.is_main_process:
            config.save(trainer.output_dir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    accelerator = trainer.accelerator
    trainer.tracker.start(config)
    accelerator.print(trainer.summary())
    with trainer.stop:
        try:
            trainer.train()
            trainer.save_pipeline()
        except (DivergedError, ValueError, OSError) as error:
            sys.exit(f"error: {error}" if accelerator.is_main_process else 1)
        finally:
            trainer.tracker.end()
    if trainer.step < trainer.max_steps:
        accelerator.print(
            f"Stopped by {trainer.stop.reason} after {trainer.step:,} updates. "
            "Continue with the same command and --resume_from_checkpoint latest."
        )


if __name__ == "__main__":
    main()
