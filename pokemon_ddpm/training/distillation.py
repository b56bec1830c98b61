"""Training a student of half as many steps: what is asked of the teacher, and the loss against its answer."""

import copy
from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin
from torch import nn

from pokemon_ddpm.distillation import (
    StudentSteps,
    check_steps,
    ddim_step,
    distillation_target,
    noise_level,
    student_schedule,
    truncated_snr,
)
from pokemon_ddpm.models import ConditionalDenoiser
from pokemon_ddpm.noise_schedule import NoiseSchedule
from pokemon_ddpm.objectives import add_noise, predicted_clean
from pokemon_ddpm.pipelines.compatibility import is_distilled
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig


def check_teacher(pipeline: PokemonDDPMPipeline, config: TrainingConfig) -> None:
    """Refuses a teacher that cannot be learned from, and settles the guidance scale, which is then part of the run.

    Args:
        pipeline: The one --distill_from names.
        config: The run's; a --distill_guidance_scale that was not given becomes the teacher's own.

    Raises:
        ValueError: If it predicts what a student cannot, or its steps are others.
    """
    source, trained = config.distill_from, pipeline.scheduler
    if pipeline.unet.config.out_channels != pipeline.unet.config.in_channels:
        raise ValueError(
            f"--distill_from {source} also predicts a variance, which a step without noise has no use for."
        )
    if trained.config.prediction_type == "epsilon":
        raise ValueError(
            f"--distill_from {source} predicts epsilon, which at pure noise, where one step starts, says nothing of "
            "the picture; it takes a teacher that was trained with --prediction_type v_prediction or sample."
        )
    own = pipeline.config.num_inference_steps
    if is_distilled(trained) and config.distill_teacher_steps != own:
        raise ValueError(
            f"--distill_from {source} was itself distilled to {own} steps and knows no others: it needs "
            f"--distill_teacher_steps {own}."
        )
    if config.ddpm_num_steps == trained.config.num_train_timesteps:  # else there is a better message to come
        check_steps(trained, config.distill_teacher_steps)
    if config.distill_guidance_scale is None:
        config.distill_guidance_scale = float(pipeline.config.guidance_scale)


@dataclass(frozen=True)
class DistillationObjective:
    """What a student minimises: the distance of its x from the one that does the teacher's two steps in one.

    Salimans & Ho 2022, algorithm 2, with the guidance folded in: the teacher's prediction is the guided one, at one
    scale for all (Meng et al. 2023, section 3.1, where the student is told the scale). Neither is clipped.

    Attributes:
        teacher: Frozen, in evaluation mode.
        schedule: Tables of the noise schedule, on the device.
        steps: The student's steps, on the device.
        prediction_type: "v_prediction" or "sample", of both.
        guidance_scale: s of the teacher; 1 for its conditional prediction, at half the cost.
    """

    teacher: nn.Module
    schedule: NoiseSchedule
    steps: StudentSteps
    prediction_type: str
    guidance_scale: float

    @classmethod
    def of(
        cls, config: TrainingConfig, scheduler: SchedulerMixin, student: ConditionalDenoiser, device: torch.device
    ) -> "DistillationObjective":
        """The objective for a student that has its teacher's weights still, which are kept.

        Args:
            config: The run's.
            scheduler: With the noise schedule and the prediction type.
            student: On the device; what computes in another precision there does so in the teacher, too.
            device: Of the tables.
        """
        teacher = copy.deepcopy(student).eval().requires_grad_(False)
        if config.compile:
            teacher.compile()
        return cls(
            teacher,
            student_schedule(scheduler, device),
            StudentSteps.of(config.ddpm_num_steps, config.student_steps, device),
            config.prediction_type,
            config.distill_guidance_scale,
        )

    def losses(self, denoiser: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of each picture, float32 (B,), at the student's step that its timestep falls into."""
        timesteps = self.steps.start[batch.timesteps]
        noisy = add_noise(self.schedule, batch.clean(), batch.noise, timesteps)
        wanted = self.target(noisy, batch)
        prediction = denoiser(noisy, timesteps, batch.labels, batch.augmentation).float()
        clean = predicted_clean(self.schedule, self.prediction_type, prediction, noisy, timesteps)
        return truncated_snr(self.schedule, timesteps) * (clean - wanted).square().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def target(self, noisy: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What x should be at the start of each picture's step, float32 (B, 3, S, S).

        Args:
            noisy: Pictures at the start of their step, z_t, (B, 3, S, S).
            batch: Their timesteps, labels and augmentation.
        """
        start, middle, end = (
            table[batch.timesteps] for table in (self.steps.start, self.steps.middle, self.steps.end)
        )
        now, half, then = (noise_level(self.schedule, timesteps) for timesteps in (start, middle, end))
        halfway = ddim_step(noisy, self.teacher_clean(noisy, start, batch), now, half)
        reached = ddim_step(halfway, self.teacher_clean(halfway, middle, batch), half, then)
        return distillation_target(noisy, reached, now, then)

    def teacher_clean(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The teacher's guided x at z_t (B, 3, S, S) and t (B,), float32 (B, 3, S, S).

        Guidance is as in sampling, uncond + s * (cond - uncond), equation 6 of Ho & Salimans 2022. It changes nothing
        where a picture says nothing of itself, so that the student keeps an unconditional model.
        """
        if self.guidance_scale == 1:
            prediction = self.teacher(noisy, timesteps, batch.labels, batch.augmentation).float()
        else:
            labels = {
                name: torch.cat([torch.full_like(ids, self.teacher.conditioner.any_id(name)), ids])
                for name, ids in batch.labels.items()
            }
            augmentation = None if batch.augmentation is None else batch.augmentation.repeat(2, 1)
            both = self.teacher(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), labels, augmentation).float()
            prediction = torch.lerp(*both.chunk(2), self.guidance_scale)
        return predicted_clean(self.schedule, self.prediction_type, prediction, noisy, timesteps)
