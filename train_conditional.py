"""Trains a class-conditional DDPM on Pokémon sprites. Read it from top to bottom: build, step, loop, save.

    accelerate launch train_conditional.py --train_data_dir path/to/pokemon-sprites --resolution 32

Without any argument it trains on a small procedural set of sprites. `--help` lists the flags, which can also stand in
a YAML or JSON file given first. The output folder ends up as a complete diffusers pipeline.
"""

import contextlib
import math
import sys
from pathlib import Path

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

try:
    import pokemon_ddpm.dataset_scripts  # noqa: F401
except ModuleNotFoundError:
    sys.exit("Install the project first, in the clone's folder: pip install -e .")

from pokemon_ddpm import hub
from pokemon_ddpm.generation import Interrupted
from pokemon_ddpm.models import network_config, weights_digest
from pokemon_ddpm.timesteps import LossSecondMoment
from pokemon_ddpm.training import checkpoint, continuation, setup
from pokemon_ddpm.training.batches import draw_batch
from pokemon_ddpm.training.config import TrainingConfig, as_text, parse_config
from pokemon_ddpm.training.evaluation import check_evaluation, make_evaluation
from pokemon_ddpm.training.export import averaged, make_pipeline, save_model, save_sheet
from pokemon_ddpm.training.finite import DivergedError, NonFiniteGuard
from pokemon_ddpm.training.progress import Meter, log_line
from pokemon_ddpm.training.randomness import NETWORK, SHEET, WEIGHTS, derive_seed
from pokemon_ddpm.training.stopping import StopRequest
from pokemon_ddpm.training.validation import make_probes


class Trainer:
    """One training run: the network, what optimises it, and where it stands.

    Args:
        config: The run's configuration.

    Raises:
        ValueError, OSError: If the configuration, the data or the output folder cannot be used.
    """

    def __init__(self, config: TrainingConfig):
        self.stop = StopRequest(config.max_train_seconds)
        # What is cheap to refuse comes first, and nothing of an older run is touched before all is known to be well.
        setup.check_tracker(config.report_to)
        if config.eval_steps:
            check_evaluation(config.resolution)
        setup.check_output_dir(config)
        self.config = config
        self.accelerator = setup.make_accelerator(config)
        self.device, self.output_dir = self.accelerator.device, Path(config.output_dir)
        self.scheduler = setup.noise_scheduler(config)
        torch.manual_seed(derive_seed(config.seed, WEIGHTS))
        unet, trained_conditioner = setup.make_unet(config)
        with self.accelerator.local_main_process_first():  # it builds the data set, the others find it in the cache
            data = setup.load_split(config, "train")
            measured = config.validation_steps or config.eval_steps
            held_out = setup.load_split(config, "validation") if measured else None
        self.batch_size = config.train_batch_size * self.accelerator.num_processes * config.gradient_accumulation_steps
        self.max_steps = config.updates(len(data), self.batch_size)
        torch.manual_seed(derive_seed(config.seed, WEIGHTS, 1))  # loading may have drawn numbers
        denoiser = setup.make_denoiser(config, unet, trained_conditioner, data)
        self.data_digest = data.digest()
        self.counts = {"training": len(data), **({"validation": len(held_out)} if held_out else {})}
        any_ids = denoiser.conditioner.any_ids
        data, held_out = (split and split.described(any_ids).to(self.device) for split in (data, held_out))
        self.data = data
        if self.device.type == "cuda":
            # What tensor cores want; CPUs gain nothing by it.
            denoiser = denoiser.to(memory_format=torch.channels_last)
        if config.compile:
            denoiser.compile()
        optimizer = setup.make_optimizer(config, denoiser)
        # Of the learning rate's schedule only the function of the step is used: nothing to prepare, save or restore.
        self.lr_factor = get_scheduler(
            config.lr_scheduler,
            optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=self.max_steps,
        ).lr_lambdas[0]
        self.denoiser, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        self.ema = EMAModel(denoiser.parameters(), decay=config.ema_decay, foreach=True) if config.use_ema else None
        self.objective = setup.make_objective(config, self.scheduler, denoiser)
        self.teacher_digest = weights_digest(self.objective.teacher) if config.distill_from else ""
        by_loss = config.timestep_sampling == "loss_second_moment"
        self.history = LossSecondMoment(config.ddpm_num_steps, self.device) if by_loss else None
        self.guard = NonFiniteGuard(self.accelerator, optimizer, config.max_bad_steps, self.output_dir)
        self.tensors = checkpoint.TrainingTensors(denoiser, optimizer, self.ema, self.history)
        self.probes = make_probes(data, held_out if config.validation_steps else None, config.ddpm_num_steps)
        if config.eval_steps:
            self.evaluation = make_evaluation(config, held_out, denoiser.conditioner)
        self.metrics: dict[str, float] = {}  # measured at the present step
        self.step, self.tried_step, self.saved_step = 0, None, None
        if self.accelerator.is_main_process:
            self.hub_model_id = None
            if config.push_to_hub:
                name = config.hub_model_id or self.output_dir.resolve().name
                self.hub_model_id = hub.create_repository(name, config.hub_private_repo or None, config.hub_token)
            setup.prepare_output_dir(config)
        self.accelerator.wait_for_everyone()
        if config.resume_from_checkpoint:
            self.resume(config.resume_from_checkpoint)

    @property
    def unwrapped(self) -> torch.nn.Module:
        """The denoiser without what Accelerate has put around it."""
        return self.tensors.model

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self.config.learning_rate * self.lr_factor(self.step)

    def summary(self) -> str:
        """What is about to be trained, for people."""
        precision = self.accelerator.mixed_precision
        summary = (
            f"{sum(p.numel() for p in self.unwrapped.parameters()) / 1e6:.1f} million parameters, "
            f"{len(self.data):,} pictures of {self.config.resolution}x{self.config.resolution}, told apart by "
            f"{', '.join(self.unwrapped.conditioner.vocabulary)}, {self.batch_size} an update, {self.max_steps:,} "
            f"updates, on {self.device} ({precision if precision != 'no' else 'fp32'})."
        )
        if self.config.lr_scheduler != "constant" and self.config.lr_warmup_steps >= self.max_steps:
            summary += f"\nThe learning rate will not get past its warm-up of {self.config.lr_warmup_steps} updates."
        return summary

    def train_step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One update by Algorithm 1 of Ho et al. 2020.

        Returns the loss of this process's pictures and the norm of the gradient, scalars on the device.
        """
        config, accelerator = self.config, self.accelerator
        rank, per_pass = accelerator.process_index, config.train_batch_size
        all_per_pass = per_pass * accelerator.num_processes
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        batch = draw_batch(self.data, self.unwrapped.conditioner, config, self.step, self.batch_size, self.history)
        total = torch.zeros((), device=self.device)
        for micro_step in range(config.gradient_accumulation_steps):
            start = micro_step * all_per_pass
            part = batch.rows(start + rank * per_pass, per_pass)
            torch.manual_seed(derive_seed(config.seed, NETWORK, self.step, rank, micro_step))  # for dropout
            with accelerator.accumulate(self.denoiser):
                losses = self.objective.losses(self.denoiser, part)
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
        """Trains until the last step or until asked to stop.

        Raises:
            DivergedError: If too many updates were not finite.
        """
        config, accelerator = self.config, self.accelerator
        bar = tqdm(
            total=self.max_steps, initial=self.step, desc="Training", disable=not accelerator.is_local_main_process
        )
        meter = Meter(accelerator)
        with bar:
            if self.step and self.measure(bar):
                # It was stopped while it measured.
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
                    if config.save_images_steps and self.step % config.save_images_steps == 0:
                        self.draw_samples()
                    if self.stop.wanted(accelerator):
                        break
                    if self.step % config.checkpointing_steps == 0:
                        self.save_checkpoint()
            self.save_checkpoint()

    def log(self, meter: Meter, bar: tqdm) -> None:
        """Writes the log interval's line, and its values to the tracker."""
        values = {**meter.read(), "lr": self.learning_rate, "skipped_updates": self.guard.check(self.step)}
        self.track({**values, "images_seen": self.step * self.batch_size})
        if self.accelerator.is_main_process:
            bar.write(log_line(self.step, self.step * self.batch_size, values))

    def start_tracking(self) -> None:
        """Tells the tracker of the run; see `track`."""
        # TensorBoard takes neither None nor lists.
        settings = {name: "" if value is None else as_text(value) for name, value in self.config.public().items()}
        try:
            self.accelerator.init_trackers("pokemon-ddpm", settings)
        except Exception as error:  # each tracker has its own kinds
            self.stop_tracking(error)

    def stop_tracking(self, error: Exception) -> None:
        """Goes on without the tracker, and says why."""
        self.accelerator.trackers.clear()
        tqdm.write(f"warning: --report_to {self.config.report_to} failed ({error}). The run goes on without it.")

    def track(self, values: dict[str, float]) -> None:
        """Hands values to the tracker, whose failure (a full disk, no network) does not end the run."""
        try:
            self.accelerator.log(values, step=self.step)
        except Exception as error:
            self.stop_tracking(error)

    def measure(self, bar: tqdm) -> bool:
        """Measures of the present weights what is due and not measured yet; returns whether anything was due."""
        due = [
            measure
            for every, metric, measure in (
                (self.config.validation_steps, "validation_loss", self.validate),
                (self.config.eval_steps, "kid", self.evaluate),
            )
            if every and (self.step % every == 0 or self.step == self.max_steps) and metric not in self.metrics
        ]
        for measure in due:
            measure(bar)
        return bool(due)

    def validate(self, bar: tqdm) -> None:
        """Measures the averaged weights on held-out pictures, and on as many training pictures."""
        denoiser = averaged(self.unwrapped, self.ema)
        metrics = {
            name: probe.loss(denoiser, self.objective, self.accelerator, self.stop.requested)
            for name, probe in self.probes.items()
        }
        if not all(map(math.isfinite, metrics.values())):
            return  # interrupted
        self.note(metrics, bar)

    def evaluate(self, bar: tqdm) -> None:
        """Measures samples that the averaged weights draw, unless the run is to stop meanwhile."""
        if self.accelerator.is_main_process:
            pipeline = make_pipeline(averaged(self.unwrapped, self.ema), self.scheduler, self.config)
            with contextlib.suppress(Interrupted):
                self.note(self.evaluation.measure(pipeline, self.stop.requested), bar)
        self.accelerator.wait_for_everyone()

    def note(self, metrics: dict[str, float], bar: tqdm) -> None:
        """Keeps what was measured at the present step for its checkpoint, and tells it."""
        self.metrics = {**self.metrics, **metrics}
        self.track(metrics)
        if self.accelerator.is_main_process:
            values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            bar.write(f"step {self.step:,}  {values}")

    def state(self, skipped_updates: int = 0) -> checkpoint.TrainingState:
        """Where the run stands, beside its tensors."""
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
        """Writes `checkpoint-STEP/` into the output folder, unless it is there already.

        If it cannot be written, says so and goes on: the earlier ones are still there, and the next one may succeed.
        """
        if self.step == self.tried_step:
            return
        self.tried_step = self.step
        skipped = self.guard.check(self.step)
        self.guard.check_tensors(self.step, self.tensors)
        if self.accelerator.is_main_process:
            limit, metric = self.config.checkpoints_total_limit, self.config.metric_for_best_model
            try:
                checkpoint.save_checkpoint(self.output_dir, self.state(skipped), self.tensors, limit, metric)
                self.saved_step = self.step
            except checkpoint.CheckpointError as error:
                tqdm.write(f"warning: {error} The run goes on.")
            if self.config.hub_strategy == "every_save" and self.step < self.max_steps:
                self.push_meanwhile()
        self.accelerator.wait_for_everyone()

    def resume(self, wanted: str) -> None:
        """Goes on from the latest whole checkpoint, or from a named one."""
        restored = continuation.restore(self.output_dir, wanted, self.state(), self.tensors, self.accelerator.print)
        if restored is None:
            self.accelerator.print(f"{self.output_dir} holds no checkpoint yet; starting from the beginning.")
            return
        folder, state = restored
        if state.step > self.max_steps:
            raise ValueError(
                f"{folder} has more updates than --max_train_steps or --num_epochs ask for, {self.max_steps}."
            )
        lengths = [(each["max_train_steps"], each["num_epochs"]) for each in (state.config, self.config.public())]
        if lengths[0] != lengths[1] and not self.config.lr_scheduler.startswith("constant"):
            self.accelerator.print(
                "The length of the run is another, so from here on the learning rate follows the "
                f"{self.config.lr_scheduler} course of a run of {self.max_steps:,} updates."
            )
        self.step = self.tried_step = self.saved_step = state.step
        self.metrics = state.metrics
        self.guard.restore(state.skipped_updates)
        if state.grad_scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.grad_scaler)
        self.accelerator.print(f"Going on from {folder}.")

    def draw_samples(self) -> None:
        """Draws samples of every type into `samples/` in the output folder, unless the run is to stop meanwhile."""
        path = self.output_dir / "samples" / f"step-{self.step:06d}.png"
        if self.accelerator.is_main_process:
            try:
                pipeline = make_pipeline(averaged(self.unwrapped, self.ema), self.scheduler, self.config)
                save_sheet(pipeline, path, derive_seed(self.config.seed, SHEET), self.stop.requested)
            except Interrupted:
                pass
            except OSError as error:
                path.unlink(missing_ok=True)
                tqdm.write(f"warning: {path} could not be written ({error.strerror or error}). The run goes on.")
        self.accelerator.wait_for_everyone()

    def save_pipeline(self) -> None:
        """Makes the output folder a pipeline of the averaged weights, which is pushed at the end, if asked to.

        Raises:
            ValueError, OSError: If something could not be written or pushed; the message says what is safe.
        """
        if not self.accelerator.is_main_process:
            return
        finished = self.step >= self.max_steps
        denoiser, metrics = averaged(self.unwrapped, self.ema), self.metrics
        best = checkpoint.best_checkpoint(self.output_dir, self.config.metric_for_best_model)
        if self.config.load_best_model_at_end and finished and best:
            try:
                checkpoint.load_weights(best, denoiser)
                metrics = checkpoint.load_state(best).metrics
                self.accelerator.print(f"The model is that of {best}.")
            except checkpoint.CheckpointError as error:
                self.accelerator.print(f"warning: {error} The model is that of the last update.")
        pipeline = make_pipeline(denoiser, self.scheduler, self.config)
        save_model(pipeline, self.config, self.step, self.counts, metrics)
        self.accelerator.print(f"The model is in {self.output_dir}.")
        if self.hub_model_id and finished:
            try:
                url = hub.push_model(self.output_dir, self.hub_model_id, self.config.hub_token)
                self.accelerator.print(f"It is pushed: {url}")
            except (ValueError, OSError) as error:
                raise ValueError(
                    f"{error}\nThe model is safe in {self.output_dir}; "
                    f"`pokemon-ddpm push {self.output_dir} {self.hub_model_id}` pushes it again."
                ) from error
        if self.saved_step != self.step:
            raise ValueError(
                f"There is no checkpoint of update {self.step:,}; --resume_from_checkpoint latest goes on from the "
                "last one that could be written."
            )

    def push_meanwhile(self) -> None:
        """Pushes the model as it is now; if that fails, says so and goes on."""
        try:
            pipeline = make_pipeline(averaged(self.unwrapped, self.ema), self.scheduler, self.config)
            save_model(pipeline, self.config, self.step, self.counts, self.metrics)
            hub.push_model(
                self.output_dir, self.hub_model_id, self.config.hub_token, commit_message=f"Update {self.step:,}"
            )
        except (ValueError, OSError) as error:
            tqdm.write(f"warning: {error} The run goes on.")


def main() -> None:
    config = parse_config()
    try:
        trainer = Trainer(config)
        if trainer.accelerator.is_main_process:
            config.save(trainer.output_dir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted before the first update; nothing was lost.")
    accelerator = trainer.accelerator
    trainer.start_tracking()
    accelerator.print(trainer.summary())
    try:
        with trainer.stop:
            trainer.train()
            trainer.save_pipeline()
    except (DivergedError, ValueError, OSError) as error:
        sys.exit(f"error: {error}" if accelerator.is_main_process else 1)
    finally:
        with contextlib.suppress(Exception):  # a tracker that cannot finish; the model is safe by now
            accelerator.end_training()
    if trainer.step < trainer.max_steps:
        accelerator.print(
            f"Stopped by {trainer.stop.reason} after {trainer.step:,} updates. "
            "Go on with the same command and --resume_from_checkpoint latest."
        )


if __name__ == "__main__":
    main()
