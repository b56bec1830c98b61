"""Progressive distillation: a student learns to do in one step what its teacher does in two. Pure functions.

Salimans & Ho 2022, algorithm 2. For the notation see `pokemon_ddpm.noise_schedule`; z_t is the noisy picture x_t, and
x the clean one as a network predicts it.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin

from pokemon_ddpm.noise_schedule import NoiseSchedule
from pokemon_ddpm.pipelines.sampling import set_timesteps
from pokemon_ddpm.schedulers import whole_config

CLEAN = -1  # the timestep of the clean picture, before the first


class NoiseLevel(NamedTuple):
    """alpha_t and sigma_t of each picture, (B, 1, 1, 1); 1 and 0 is the clean picture."""

    alpha: torch.Tensor
    sigma: torch.Tensor


def noise_level(schedule: NoiseSchedule, timesteps: torch.Tensor) -> NoiseLevel:
    """Noise levels, float32, of timesteps (B,), of which some may be `CLEAN`."""
    alpha, sigma = schedule.alpha_sigma(timesteps.clamp(min=0))
    clean = (timesteps == CLEAN).view(-1, 1, 1, 1)
    return NoiseLevel(torch.where(clean, 1.0, alpha), torch.where(clean, 0.0, sigma))


def ddim_step(noisy: torch.Tensor, clean: torch.Tensor, now: NoiseLevel, then: NoiseLevel) -> torch.Tensor:
    """A step of DDIM with eta 0 (Song et al. 2021, equation 12), z_s, (B, C, S, S).

        z_s = alpha_s x + sigma_s / sigma_t (z_t - alpha_t x)

    Args:
        noisy: z_t, (B, C, S, S).
        clean: x as predicted at z_t, (B, C, S, S).
        now: Noise level t, not the clean picture's.
        then: Noise level s, below t.
    """
    return then.alpha * clean + then.sigma / now.sigma * (noisy - now.alpha * clean)


def distillation_target(noisy: torch.Tensor, reached: torch.Tensor, now: NoiseLevel, then: NoiseLevel) -> torch.Tensor:
    """x, (B, C, S, S), with which one step leads to where the teacher's two did (Salimans & Ho 2022, algorithm 2).

        x = (z_s - sigma_s / sigma_t z_t) / (alpha_s - sigma_s / sigma_t alpha_t)

    At the last step, s being the clean picture, that is z_s itself.

    Args:
        noisy: z_t, (B, C, S, S).
        reached: z_s, (B, C, S, S).
        now: Noise level t.
        then: Noise level s, below t.
    """
    ratio = then.sigma / now.sigma
    return (reached - ratio * noisy) / (then.alpha - ratio * now.alpha)


def truncated_snr(schedule: NoiseSchedule, timesteps: torch.Tensor) -> torch.Tensor:
    """max(SNR, 1), the weight of the error of x (Salimans & Ho 2022, section 4), float32 (B,).

    The simple loss, whose weight is the SNR, would teach nothing of the first step, which starts at nearly pure noise
    and is the one that matters most where there are few. In terms of v, whose error is SNR + 1 times that of x, the
    weight lies between 1/2 and 1.
    """
    return schedule.snr[timesteps].clamp(min=1).float()


def trailing_timesteps(num_train_timesteps: int, num_inference_steps: int) -> torch.Tensor:
    """Where the steps start, from noise to picture, int64 (n,): T - i T / n, rounded half to even, less 1.

    Those of n steps are every other one of those of 2 n.
    """
    count = num_inference_steps
    return torch.tensor([round(Fraction(num_train_timesteps * (count - i), count)) - 1 for i in range(count)])


@dataclass(frozen=True)
class StudentSteps:
    """The student's steps as tables over all timesteps, int64 (T,): the step that a timestep falls into.

    So a timestep that is drawn uniformly, or evenly over a batch, is a draw of a step.

    Attributes:
        start: t, where the step starts: the timestep itself or the next one towards noise that starts a step.
        middle: Where the first of the teacher's two steps leads.
        end: Where the step leads; `CLEAN` for the last one.
    """

    start: torch.Tensor
    middle: torch.Tensor
    end: torch.Tensor

    @classmethod
    def of(cls, num_train_timesteps: int, student_steps: int, device: torch.device | str = "cpu") -> "StudentSteps":
        """The tables of a student of so many steps, whose teacher takes twice as many."""
        teacher = trailing_timesteps(num_train_timesteps, 2 * student_steps)
        start, middle = teacher[::2], teacher[1::2]
        end = torch.cat([start[1:], torch.tensor([CLEAN])])
        # Steps go from noise to picture, so that a step's number is how many of them start at or above, less 1.
        every = torch.arange(num_train_timesteps)
        step = (start[None] >= every[:, None]).sum(dim=1) - 1
        return cls(*(table[step].to(device) for table in (start, middle, end)))


def student_scheduler(trained: SchedulerMixin) -> DPMSolverMultistepScheduler:
    """The scheduler whose steps are `ddim_step` between `trailing_timesteps`.

    DPM-Solver++ of first order is DDIM (Lu et al. 2022, section 4). diffusers' own DDIM goes back by T // n whatever
    the next timestep is, so that for example 16 steps of 1,000 would not be those that were trained.

    Args:
        trained: A scheduler with the noise schedule and the prediction type.
    """
    return DPMSolverMultistepScheduler.from_config(
        whole_config(trained),
        algorithm_type="dpmsolver++",
        solver_order=1,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        thresholding=False,
        use_karras_sigmas=False,
    )


def student_schedule(trained: SchedulerMixin, device: torch.device | str = "cpu") -> NoiseSchedule:
    """The noise schedule as `student_scheduler` has it, see `NoiseSchedule.of`."""
    schedule = NoiseSchedule.of(trained, device)
    # With zero-terminal SNR it takes 2^-24 for the last alpha_bar, since it divides by it.
    alpha_bar = torch.where(schedule.alpha_bar == 0, 2**-24, schedule.alpha_bar)
    return replace(schedule, alpha_bar=alpha_bar)


def check_steps(scheduler: SchedulerMixin, teacher_steps: int) -> None:
    """Raises ValueError unless diffusers' timesteps are `trailing_timesteps` for the teacher and for the student."""
    sampler, total = student_scheduler(scheduler), scheduler.config.num_train_timesteps
    for count in (teacher_steps, teacher_steps // 2):
        if not torch.equal(set_timesteps(sampler, count, torch.device("cpu")), trailing_timesteps(total, count)):
            raise ValueError(
                f"--distill_teacher_steps {teacher_steps}: {count} steps of {total} start between two timesteps, and "
                "rounding errors decide at which; take a power of two, or twice a divisor of --ddpm_num_steps."
            )
