"""Trains a class-conditional DDPM on Pokémon sprites. Read it from top to bottom: build, step, loop, save.

    accelerate launch train_conditional.py --train_data_dir path/to/pokemon-sprites --resolution 32

Without any argument it trains on a small procedural set of sprites. `--help` lists the flags, which can also stand in
a YAML or JSON file given first. The output folder ends up as a complete diffusers pipeline.
"""

import os
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

try:
    import pokemon_ddpm.dataset_scripts  # noqa: F401
except ModuleNotFoundError:
    sys.exit("Install the project first, in the clone's folder: pip install -e .")

from pokemon_ddpm import hub
from pokemon_ddpm.objectives import denoising_loss
from pokemon_ddpm.training import checkpoint, setup
from pokemon_ddpm.training.batches import draw_batch
from pokemon_ddpm.training.config import TrainingConfig, parse_config
from pokemon_ddpm.training.export import make_pipeline, save_sheet
from pokemon_ddpm.training.randomness import NETWORK, SHEET, derive_seed
from pokemon_ddpm.training.stopping import StopRequest


class Trainer:
    """One training run: the network, what optimises it, and where it stands.

    Args:
        config: The run's configuration.

    Raises:
        ValueError, OSError: If the configuration, the data or the output folder cannot be used.
    """

    def __init__(self, config: TrainingConfig):
        # What is cheap to refuse comes first, and nothing of an older run is touched before all is known to be well.
        setup.check_tracker(config.report_to)
        setup.check_output_dir(config)
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            log_with=None if config.report_to == "none" else config.report_to,
            project_config=ProjectConfiguration(config.output_dir, logging_dir=f"{config.output_dir}/logs"),
        )
        device = self.accelerator.device
        if int(os.environ.get("WORLD_SIZE", 1)) != self.accelerator.num_processes:
            raise ValueError("The processes do not see each other; on CPUs, set ACCELERATE_USE_CPU=true.")
        if device.type == "cpu":
            torch.set_num_threads(config.num_cpu_threads or setup.cores_a_process())
        if self.accelerator.mixed_precision == "fp16" and device.type == "cpu":
            raise ValueError("--mixed_precision fp16 needs a GPU; on a CPU use bf16 or no.")
        config.mixed_precision = self.accelerator.mixed_precision  # resolved: a continuation must compute alike
        torch.manual_seed(config.seed)
        denoiser = setup.make_denoiser(config)
        self.scheduler = setup.make_scheduler(config)
        with self.accelerator.local_main_process_first():  # it builds the data set, the others find it in the cache
            data = setup.load_split(config, "train")
        self.data, self.data_digest = data.to(device), data.digest()
        self.batch_size = config.train_batch_size * self.accelerator.num_processes * config.gradient_accumulation_steps
        self.max_steps = config.max_train_steps or -(-config.num_epochs * len(self.data) // self.batch_size)
        if device.type == "cuda":
            denoiser = denoiser.to(
                memory_format=torch.channels_last
            )  # what tensor cores want; CPUs gain nothing by it
        optimizer = torch.optim.AdamW(
            denoiser.parameters(),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.adam_weight_decay,
            eps=config.adam_epsilon,
            fused=device.type in ("cpu", "cuda"),
        )
        # Of the learning rate's schedule only the function of the step is used: nothing to prepare, save or restore.
        self.lr_factor = get_scheduler(
            config.lr_scheduler,
            optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=self.max_steps,
        ).lr_lambdas[0]
        self.denoiser, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        self.ema = EMAModel(denoiser.parameters(), decay=config.ema_decay, foreach=True) if config.use_ema else None
        self.step, self.saved_step = 0, None
        self.output_dir = Path(config.output_dir)
        if self.accelerator.is_main_process:
            self.hub_model_id = None
            if config.push_to_hub:
                name = config.hub_model_id or self.output_dir.resolve().name
                self.hub_model_id = hub.create_repository(name, config.hub_private_repo, config.hub_token)
            setup.prepare_output_dir(config)
        self.accelerator.wait_for_everyone()
        if config.resume_from_checkpoint:
            self.resume(config.resume_from_checkpoint)

    @property
    def unwrapped(self) -> torch.nn.Module:
        """The denoiser without what Accelerate has put around it."""
        return self.accelerator.unwrap_model(self.denoiser)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self.config.learning_rate * self.lr_factor(self.step)

    def train_step(self) -> torch.Tensor:
        """One update by Algorithm 1 of Ho et al. 2020. Returns the loss, a scalar on the device."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        per_pass = self.config.train_batch_size
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        batch = draw_batch(self.data, self.unwrapped.conditioner, self.config, self.step, self.batch_size)
        total = torch.zeros((), device=self.accelerator.device)
        for micro_step in range(self.config.gradient_accumulation_steps):
            part = batch.rows((micro_step * processes + rank) * per_pass, per_pass)
            torch.manual_seed(derive_seed(self.config.seed, NETWORK, self.step, rank, micro_step))  # for dropout
            with self.accelerator.accumulate(self.denoiser):
                clean = part.clean
                noisy = self.scheduler.add_noise(clean, part.noise, part.timesteps)
                prediction = self.denoiser(noisy, part.timesteps, part.labels)
                loss = denoising_loss(
                    self.scheduler, prediction, clean, part.noise, part.timesteps, self.config.snr_gamma or None
                ).mean()
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.denoiser.parameters(), self.config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += loss.detach() / self.config.gradient_accumulation_steps
        if self.ema is not None:
            self.ema.step(self.denoiser.parameters())
        self.step += 1
        return total

    def train(self) -> str | None:
        """Trains until the last step or until asked to stop. Returns why it stopped early, None if it did not."""
        config, accelerator = self.config, self.accelerator
        bar = tqdm(
            total=self.max_steps, initial=self.step, desc="Training", disable=not accelerator.is_local_main_process
        )
        loss_sum, images, since = torch.zeros((), device=accelerator.device), 0, time.perf_counter()
        with StopRequest(config.max_train_seconds) as stop, bar:
            while self.step < self.max_steps:
                loss_sum += self.train_step()
                images += self.batch_size
                bar.update()
                if self.step % config.logging_steps == 0 or self.step == self.max_steps:
                    loss = accelerator.reduce(loss_sum, "mean").item() * self.batch_size / images
                    rate = images / (time.perf_counter() - since)
                    bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{rate:.1f}")
                    values = {"loss": loss, "lr": self.learning_rate, "images_per_second": rate}
                    accelerator.log(values, step=self.step)
                    loss_sum, images, since = torch.zeros_like(loss_sum), 0, time.perf_counter()
                pause = time.perf_counter()
                if config.save_images_steps and self.step % config.save_images_steps == 0:
                    self.draw_samples()
                if stop.wanted(accelerator):
                    break
                if self.step % config.checkpointing_steps == 0:
                    self.save_checkpoint()
                since += time.perf_counter() - pause  # the rate is that of training
            self.save_checkpoint()
        return stop.reason if self.step < self.max_steps else None

    def save_checkpoint(self) -> None:
        """Writes `checkpoint-STEP/` into the output folder, unless it is there already."""
        if self.accelerator.is_main_process and self.step != self.saved_step:
            scaler = self.accelerator.scaler
            state = checkpoint.TrainingState(
                self.step,
                self.batch_size,
                self.config.public(),
                self.data_digest,
                scaler.state_dict() if scaler else {},
            )
            checkpoint.save_checkpoint(
                self.output_dir, state, self.unwrapped, self.optimizer, self.ema, self.config.checkpoints_total_limit
            )
        self.saved_step = self.step
        self.accelerator.wait_for_everyone()

    def resume(self, wanted: str) -> None:
        """Goes on from the latest whole checkpoint, or from a named one."""
        found = checkpoint.find_checkpoints(self.output_dir, wanted)
        for folder in found:
            try:
                state = checkpoint.load_state(folder)
                checkpoint.check_unchanged(folder, state, self.config, self.batch_size, self.data_digest)
                checkpoint.load_tensors(folder, state.step, self.unwrapped, self.optimizer, self.ema)
                break
            except checkpoint.CheckpointError as error:
                if folder == found[-1]:
                    raise
                self.accelerator.print(f"{error} Trying the one before.")
        else:
            self.accelerator.print(f"{self.output_dir} holds no checkpoint yet; starting from the beginning.")
            return
        if state.step > self.max_steps:
            raise ValueError(
                f"{folder} has more updates than --max_train_steps or --num_epochs ask for, {self.max_steps}."
            )
        self.step = self.saved_step = state.step
        if state.grad_scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.grad_scaler)
        self.accelerator.print(f"Going on from {folder}.")

    def draw_samples(self) -> None:
        """Draws samples of every type into `samples/` in the output folder."""
        if self.accelerator.is_main_process:
            save_sheet(
                make_pipeline(self.unwrapped, self.ema, self.scheduler),
                self.output_dir / "samples" / f"step-{self.step:06d}.png",
                self.config.ddpm_num_inference_steps,
                derive_seed(self.config.seed, SHEET),
            )
        self.accelerator.wait_for_everyone()

    def save_pipeline(self) -> str | None:
        """Makes the output folder a pipeline of the averaged weights, which is pushed at the end, if asked to.

        Returns what to tell if the push failed.
        """
        if self.accelerator.is_main_process:
            pipeline = make_pipeline(self.unwrapped, self.ema, self.scheduler)
            pipeline.save_pretrained(self.output_dir)
            self.accelerator.print(f"The model is in {self.output_dir}.")
            if self.hub_model_id and self.step >= self.max_steps:
                try:
                    hub.push(pipeline, self.hub_model_id, self.config.hub_private_repo, self.config.hub_token)
                except ValueError as error:
                    return f"error: {error}\nThe model is safe in {self.output_dir}; push it again from there."
        return None


def main() -> None:
    config = parse_config()
    try:
        trainer = Trainer(config)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    accelerator = trainer.accelerator
    if accelerator.is_main_process:
        config.save(trainer.output_dir)
    # TensorBoard takes no None.
    accelerator.init_trackers("pokemon-ddpm", {n: v if v is not None else "" for n, v in config.public().items()})
    accelerator.print(
        f"{sum(p.numel() for p in trainer.denoiser.parameters()) / 1e6:.1f} million parameters, "
        f"{len(trainer.data):,} pictures of {config.resolution}x{config.resolution}, "
        f"{trainer.batch_size} an update, {trainer.max_steps:,} updates, on {accelerator.device} "
        f"({accelerator.mixed_precision if accelerator.mixed_precision != 'no' else 'fp32'})."
    )
    if config.lr_warmup_steps >= trainer.max_steps:
        accelerator.print(f"The learning rate will not get past its warm-up of {config.lr_warmup_steps} updates.")
    stopped_by = trainer.train()
    failure = trainer.save_pipeline()
    accelerator.end_training()
    if stopped_by:
        accelerator.print(
            f"Stopped by {stopped_by} after {trainer.step:,} updates. "
            "Go on with the same command and --resume_from_checkpoint latest."
        )
    if failure:
        sys.exit(failure)


if __name__ == "__main__":
    main()
