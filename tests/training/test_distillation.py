"""Progressive distillation: the formulas against a Gaussian teacher in closed form, and the scheduler's steps."""

import numpy as np
import pytest
import torch

from pokemon_ddpm.diffusion import loss_weight, make_scheduler, student_scheduler
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import set_timesteps
from pokemon_ddpm.training import losses
from pokemon_ddpm.training.losses import CLEAN, NoiseLevel, StudentSteps, ddim_step
from tests.test_diffusion import ALPHA_BAR, T, as_prediction

MEAN, STD = 0.3, 0.15
STUDENTS = [32, 16, 8, 4, 2, 1]


def level(timestep: int) -> NoiseLevel:
    """alpha and sigma of the cosine schedule, also for `CLEAN`."""
    alpha_bar = torch.tensor(ALPHA_BAR[timestep] if timestep >= 0 else 1.0, dtype=torch.float64)
    return NoiseLevel(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def expected_clean(noisy: torch.Tensor, timestep: int) -> torch.Tensor:
    """E[x | z_t] where every pixel is N(MEAN, STD^2)."""
    alpha, sigma = level(timestep)
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (noisy - alpha * MEAN)


def steps_of(student_steps: int) -> list[tuple[int, int, int]]:
    """(start, middle, end) of each step of the student, written out."""
    edges = [round(T - i * T / (2 * student_steps)) - 1 for i in range(2 * student_steps)] + [CLEAN]
    return [tuple(edges[i : i + 3]) for i in range(0, 2 * student_steps, 2)]


def test_a_ddim_step_keeps_the_clean_image_and_the_noise():
    clean, noise = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (alpha, sigma), then = level(700), level(300)
    found = ddim_step(alpha * clean + sigma * noise, clean, level(700), then)
    torch.testing.assert_close(found, then.alpha * clean + then.sigma * noise)


@pytest.mark.parametrize("student_steps", STUDENTS)
def test_one_step_of_the_student_leads_where_two_of_the_teacher_do(student_steps):
    noisy = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(student_steps))
    for start, middle, end in steps_of(student_steps):
        halfway = ddim_step(noisy, expected_clean(noisy, start), level(start), level(middle))
        at_middle = expected_clean(halfway, middle)
        reached = ddim_step(halfway, at_middle, level(middle), level(end))
        clean = losses.distillation_target(noisy, reached, level(start), level(end))
        torch.testing.assert_close(ddim_step(noisy, clean, level(start), level(end)), reached, rtol=0, atol=1e-12)
        # The target lies between the teacher's two predictions; in the last step it is the second one.
        low, high = torch.stack([expected_clean(noisy, start), at_middle]).aminmax(dim=0)
        assert ((clean >= low - 1e-9) & (clean <= high + 1e-9)).all()
        if end == CLEAN:
            torch.testing.assert_close(clean, at_middle, rtol=0, atol=1e-12)


def test_every_timestep_belongs_to_the_step_that_contains_it():
    steps = StudentSteps.of(8, 2)
    assert steps.start.tolist() == [3, 3, 3, 3, 7, 7, 7, 7]
    assert steps.middle.tolist() == [1, 1, 1, 1, 5, 5, 5, 5]
    assert steps.end.tolist() == [CLEAN] * 4 + [3] * 4
    for student_steps in STUDENTS:
        steps = StudentSteps.of(T, student_steps)
        assert (steps.start >= torch.arange(T)).all() and (steps.end < torch.arange(T)).all()
        table = torch.stack([steps.start, steps.middle, steps.end], dim=1)
        assert sorted({tuple(row) for row in table.tolist()}, reverse=True) == steps_of(student_steps)
        shares = torch.bincount(steps.start)[steps.start.unique()] / T  # of a uniformly sampled timestep
        torch.testing.assert_close(shares, torch.full_like(shares, 1 / student_steps), rtol=0.025, atol=0)


def test_the_weight_is_the_truncated_snr():
    """max(SNR, 1) of Salimans & Ho 2022, section 4."""
    schedule = losses.student_schedule(make_scheduler())
    weight = loss_weight(schedule, "sample", torch.arange(T), snr_gamma=0, snr_floor=1)
    np.testing.assert_allclose(weight, np.maximum(ALPHA_BAR / (1 - ALPHA_BAR), 1), rtol=1e-4)
    assert weight[-1] == 1 and weight.dtype == torch.float32


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
@pytest.mark.parametrize("student_steps", STUDENTS[1:])
def test_the_scheduler_takes_the_steps_that_are_trained(student_steps, prediction_type, zero_snr):
    trained = make_scheduler(prediction_type=prediction_type, rescale_betas_zero_snr=zero_snr)
    scheduler, schedule = student_scheduler(trained), losses.student_schedule(trained)
    timesteps = set_timesteps(scheduler, student_steps, "cpu")
    assert timesteps.tolist() == [start for start, _, _ in steps_of(student_steps)]
    assert torch.equal(timesteps, losses.trailing_timesteps(T, student_steps))
    steps, generator = StudentSteps.of(T, student_steps), torch.Generator().manual_seed(0)
    sample = torch.randn(2, 3, 8, 8, generator=generator)
    for t in timesteps:
        clean = torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1
        now, then = (losses.noise_level(schedule, table[t].view(1)) for table in (steps.start, steps.end))
        following = scheduler.step(as_prediction(prediction_type, clean, sample, *now), t, sample).prev_sample
        torch.testing.assert_close(following, ddim_step(sample, clean, now, then), rtol=0, atol=1e-5)
        sample = following
    torch.testing.assert_close(sample, clean, rtol=0, atol=1e-5)  # no noise is left


def test_steps_that_depend_on_rounding_are_refused():
    for steps in (2, 8, 100, 128, 400):
        losses.check_steps(make_scheduler(), steps)
    with pytest.raises(ValueError, match="--distill_teacher_steps 96: 96 steps of 1000 timesteps depend on rounding"):
        losses.check_steps(make_scheduler(), 96)
