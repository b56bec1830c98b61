"""Progressive distillation: the formulas against a Gaussian teacher in closed form, and the scheduler's steps."""

import pytest
import torch

from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler, student_scheduler
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import set_timesteps
from pokemon_ddpm.training import losses
from pokemon_ddpm.training.losses import CLEAN, NoiseLevel, ddim_step, student_steps
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


def steps_of(count: int) -> list[tuple[int, int, int]]:
    """(start, middle, end) of each step of the student, written out."""
    edges = [round(T - i * T / (2 * count)) - 1 for i in range(2 * count)] + [CLEAN]
    return [tuple(edges[i : i + 3]) for i in range(0, 2 * count, 2)]


@pytest.mark.parametrize("count", STUDENTS)
def test_one_step_of_the_student_leads_where_two_of_the_teacher_do(count):
    noisy = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    for start, middle, end in steps_of(count):
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
    start, middle, end = student_steps(8, 2)
    assert start.tolist() == [3, 3, 3, 3, 7, 7, 7, 7] and middle.tolist() == [1, 1, 1, 1, 5, 5, 5, 5]
    assert end.tolist() == [CLEAN] * 4 + [3] * 4
    for count in STUDENTS:
        start, _, end = table = torch.stack(student_steps(T, count))
        assert (start >= torch.arange(T)).all() and (end < torch.arange(T)).all()
        assert sorted({tuple(row) for row in table.T.tolist()}, reverse=True) == steps_of(count)
        shares = torch.bincount(start)[start.unique()] / T  # of a uniformly sampled timestep
        torch.testing.assert_close(shares, torch.full_like(shares, 1 / count), rtol=0.025, atol=0)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
@pytest.mark.parametrize("count", STUDENTS[1:])
def test_the_scheduler_takes_the_steps_that_are_trained(count, prediction_type):
    trained = make_scheduler(prediction_type=prediction_type)
    scheduler, schedule = student_scheduler(trained), NoiseSchedule.of(trained)
    timesteps = set_timesteps(scheduler, count, "cpu")
    assert timesteps.tolist() == [start for start, _, _ in steps_of(count)]
    assert torch.equal(timesteps, losses.trailing_timesteps(T, count))
    (starts, _, ends), generator = student_steps(T, count), torch.Generator().manual_seed(0)
    sample = torch.randn(2, 3, 8, 8, generator=generator)
    for t in timesteps:
        clean = torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1
        now, then = (losses.noise_level(schedule, table[t].view(1)) for table in (starts, ends))
        following = scheduler.step(as_prediction(prediction_type, clean, sample, *now), t, sample).prev_sample
        torch.testing.assert_close(following, ddim_step(sample, clean, now, then), rtol=0, atol=1e-5)
        sample = following
    torch.testing.assert_close(sample, clean, rtol=0, atol=1e-5)  # no noise is left


def test_steps_that_depend_on_rounding_are_refused():
    for steps in (2, 8, 100, 128, 400):
        losses.check_steps(make_scheduler(), steps)
    with pytest.raises(ValueError, match="--distill_teacher_steps 96: 96 steps of 1000 timesteps depend on rounding"):
        losses.check_steps(make_scheduler(), 96)
