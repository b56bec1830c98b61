"""Progressive distillation: a student learns to do in one step what its teacher does in two.

Salimans & Ho 2022, algorithm 2. z_t is the noisy sample x_t of `pokemon_ddpm.diffusion`, x the clean one as predicted.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor

from pokemon_ddpm.diffusion import NoiseSchedule, full_config
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import set_timesteps

CLEAN = -1  # the timestep of the clean image, before the first


class NoiseLevel(NamedTuple):
    """alpha_t and sigma_t of each image, (B, 1, 1, 1); 1 and 0 for the clean image."""

    alpha: Tensor
    sigma: Tensor


def noise_level(schedule: NoiseSchedule, timesteps: Tensor) -> NoiseLevel:
    """Noise levels, float32, of timesteps (B,), some of which may be `CLEAN`."""
    alpha, sigma = schedule.alpha_sigma(timesteps.clamp(min=0))
    clean = (timesteps == CLEAN).view(-1, 1, 1, 1)
    return NoiseLevel(torch.where(clean, 1.0, alpha), torch.where(clean, 0.0, sigma))


def ddim_step(noisy: Tensor, clean: Tensor, now: NoiseLevel, then: NoiseLevel) -> Tensor:
    """A DDIM step with eta 0 from z_t, where x is predicted, to z_s at a lower noise level, all (B, C, S, S).

    z_s = alpha_s x + sigma_s / sigma_t (z_t - alpha_t x) (Song et al. 2021, equation 12)
    """
    return then.alpha * clean + then.sigma / now.sigma * (noisy - now.alpha * clean)


def distillation_target(noisy: Tensor, reached: Tensor, now: NoiseLevel, then: NoiseLevel) -> Tensor:
    """x with which one step from z_t leads to z_s, which the teacher's two steps reached, all (B, C, S, S).

    x = (z_s - sigma_s / sigma_t z_t) / (alpha_s - sigma_s / sigma_t alpha_t) (Salimans & Ho 2022, algorithm 2)
    """
    ratio = then.sigma / now.sigma
    return (reached - ratio * noisy) / (then.alpha - ratio * now.alpha)


def trailing_timesteps(num_train_timesteps: int, num_inference_steps: int) -> Tensor:
    """Timesteps of n steps from noise to image, int64 (n,): T - i T / n, rounded half to even, minus 1.

    Those of n steps are every second one of those of 2 n.
    """
    total, count = num_train_timesteps, num_inference_steps
    return torch.tensor([round(Fraction(total * (count - i), count)) - 1 for i in range(count)])


@dataclass(frozen=True)
class StudentSteps:
    """Tables over all timesteps, int64 (T,): the student's step that contains a timestep."""

    start: Tensor
    middle: Tensor  # to which the teacher's first of two steps leads
    end: Tensor  # to which the step leads; `CLEAN` for the last one

    @classmethod
    def of(cls, num_train_timesteps: int, student_steps: int, device: torch.device | str = "cpu") -> "StudentSteps":
        """The tables for a number of student steps; the teacher takes twice as many."""
        teacher = trailing_timesteps(num_train_timesteps, 2 * student_steps)
        start, middle = teacher[::2], teacher[1::2]
        end = torch.cat([start[1:], torch.tensor([CLEAN])])
        step = (start[None] >= torch.arange(num_train_timesteps)[:, None]).sum(dim=1) - 1
        return cls(*(table[step].to(device) for table in (start, middle, end)))


def student_scheduler(trained: SchedulerMixin) -> DPMSolverMultistepScheduler:
    """The scheduler with the steps of `ddim_step` between `trailing_timesteps`, for a scheduler of the training.

    First-order DPM-Solver++ is DDIM (Lu et al. 2022, section 4). diffusers' own DDIM goes back by T // n wherever the
    next timestep is, which for example for 16 steps of 1,000 is not what was trained.
    """
    return DPMSolverMultistepScheduler.from_config(
        full_config(trained),
        algorithm_type="dpmsolver++",
        solver_order=1,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        thresholding=False,
        use_karras_sigmas=False,
    )


def student_schedule(trained: SchedulerMixin, device: torch.device | str = "cpu") -> NoiseSchedule:
    """The noise schedule of `student_scheduler`."""
    schedule = NoiseSchedule.of(trained, device)
    # With zero-terminal SNR that scheduler uses 2^-24 for the last alpha_bar, since it divides by it.
    alpha_bar = torch.where(schedule.alpha_bar == 0, 2**-24, schedule.alpha_bar)
    return replace(schedule, alpha_bar=alpha_bar)


def check_steps(scheduler: SchedulerMixin, teacher_steps: int) -> None:
    """Raises ValueError unless diffusers' timesteps are `trailing_timesteps` for the teacher and for the student."""
    sampler, total = student_scheduler(scheduler), scheduler.config.num_train_timesteps
    for count in (teacher_steps, teacher_steps // 2):
        if not torch.equal(set_timesteps(sampler, count, "cpu"), trailing_timesteps(total, count)):
            raise ValueError(
                f"--distill_teacher_steps {teacher_steps}: {count} steps of {total} timesteps depend on rounding; use "
                "a power of two, or twice a divisor of --ddpm_num_steps."
            )
