"""How timesteps are drawn: their distributions, and importance sampling against a plain model of it."""

import random
from collections import deque

import numpy as np
import pytest
import torch

from pokemon_ddpm.timesteps import LossSecondMoment, sample_timesteps

T = 1000
RECORDED = 10  # Nichol & Dhariwal 2021, section 3.3
UNIFORM_SHARE = 0.001


def chi_square(values: torch.Tensor, bins: int, expected: torch.Tensor | None = None) -> float:
    counts = torch.bincount(values, minlength=bins).double()
    assert len(counts) == bins
    expected = counts.mean() if expected is None else expected.double() * len(values)
    return ((counts - expected).square() / expected).sum().item()


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("count", "steps"), [(1, 1000), (7, 1000), (64, 1000), (1000, 1000), (2500, 1000), (64, 3)])
def test_timesteps_are_in_range_and_a_function_of_the_generator(stratified, count, steps):
    one, other = (sample_timesteps(count, steps, torch.Generator().manual_seed(3), stratified) for _ in range(2))
    assert one.dtype == torch.int64 and one.shape == (count,)
    assert one.min() >= 0 and one.max() < steps
    assert torch.equal(one, other)


@pytest.mark.parametrize(("count", "steps"), [(1, 1000), (50, 1000), (1000, 1000), (8, 1000)])
def test_stratified_timesteps_hold_exactly_one_of_each_part(count, steps):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        timesteps = sample_timesteps(count, steps, generator, stratified=True)
        assert (timesteps.sort().values // (steps // count)).tolist() == list(range(count))


def test_stratified_timesteps_come_in_random_order():
    timesteps = sample_timesteps(64, T, torch.Generator().manual_seed(0), stratified=True)
    assert not torch.equal(timesteps, timesteps.sort().values)


def test_timesteps_are_uniform_and_independent_unless_asked_otherwise():
    timesteps = sample_timesteps(100_000, T, torch.Generator().manual_seed(0))
    assert chi_square(timesteps // 20, 50) < 85.4  # the 99.9 % quantile for 49 degrees of freedom
    assert chi_square(timesteps // 20, 50) > 23.9  # the 0.1 % quantile: not even more uniform than chance


@pytest.mark.parametrize("row", [0, 2])
def test_every_row_of_stratified_timesteps_is_uniform(row):
    """Also where the parts (3) do not divide the range (10)."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.stack([sample_timesteps(3, 10, generator, stratified=True) for _ in range(5000)])
    assert chi_square(drawn[:, row], 10) < 27.9  # the 99.9 % quantile for 9 degrees of freedom


def filled(steps: int, seed: int = 0) -> tuple[LossSecondMoment, np.ndarray]:
    """A sampler that has just enough losses, and these, float64 (T, RECORDED)."""
    sampler = LossSecondMoment(steps)
    scale = torch.linspace(0.1, 3, steps).flip(0).unsqueeze(1)
    losses = scale * torch.rand(steps, RECORDED, generator=torch.Generator().manual_seed(seed))
    for k in range(RECORDED):
        sampler.record(torch.arange(steps), losses[:, k])
    return sampler, losses.double().numpy()


def closed_form(losses: np.ndarray) -> np.ndarray:
    """Nichol & Dhariwal 2021, equation 18, with the uniform share."""
    root = np.sqrt((losses**2).mean(axis=1))
    return (1 - UNIFORM_SHARE) * root / root.sum() + UNIFORM_SHARE / len(losses)


def test_timesteps_are_uniform_until_each_has_enough_losses():
    steps = 12
    sampler = LossSecondMoment(steps)
    uniform = torch.full((steps,), 1 / steps, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for k in range(RECORDED):
        sampler.record(torch.arange(steps), torch.arange(1.0, 1 + steps))
        if k < RECORDED - 1:
            torch.testing.assert_close(sampler.probabilities(), uniform)
            _, weights = sampler.sample(32, generator)
            torch.testing.assert_close(weights, torch.ones(32))
    assert not torch.allclose(sampler.probabilities(), uniform)


@pytest.mark.parametrize("late", [0, 5, 11])
def test_a_single_timestep_is_enough_to_wait_for(late):
    sampler = LossSecondMoment(12)
    others = torch.tensor([t for t in range(12) if t != late])
    for _ in range(30):
        sampler.record(others, others + 1.0)
    for _ in range(RECORDED):
        torch.testing.assert_close(sampler.probabilities(), torch.full((12,), 1 / 12, dtype=torch.float64))
        sampler.record(torch.tensor([late]), torch.tensor([late + 1.0]))
    expected = closed_form(np.arange(1.0, 13).reshape(-1, 1).repeat(RECORDED, axis=1))
    np.testing.assert_allclose(sampler.probabilities().numpy(), expected, rtol=1e-12)


def test_the_probabilities_are_those_of_the_loss_s_second_moment():
    sampler, losses = filled(20)
    probabilities = sampler.probabilities()
    assert probabilities.dtype == torch.float64 and probabilities.shape == (20,)
    np.testing.assert_allclose(probabilities.numpy(), closed_form(losses), rtol=1e-12)
    assert probabilities.sum().item() == pytest.approx(1)


def test_a_timestep_without_loss_keeps_its_uniform_share():
    sampler = LossSecondMoment(4)
    for _ in range(RECORDED):
        sampler.record(torch.arange(4), torch.tensor([0.0, 1, 1, 2]))
    share = 0.999 * np.array([0, 1, 1, 2]) / 4 + 0.001 / 4
    np.testing.assert_allclose(sampler.probabilities().numpy(), share, rtol=1e-12)


def test_without_any_loss_the_timesteps_are_uniform():
    sampler = LossSecondMoment(4)
    for _ in range(RECORDED):
        sampler.record(torch.arange(4), torch.zeros(4))
    assert sampler.probabilities().tolist() == [0.25] * 4


@pytest.mark.parametrize("recorded", [False, True])
def test_samples_are_distributed_by_the_probabilities(recorded):
    sampler = filled(20)[0] if recorded else LossSecondMoment(20)
    timesteps, weights = sampler.sample(100_000, torch.Generator().manual_seed(1))
    assert timesteps.dtype == torch.int64 and weights.dtype == torch.float32
    assert timesteps.shape == weights.shape == (100_000,)
    assert timesteps.min() >= 0 and timesteps.max() < 20
    # The 99.9 % quantile for 19 degrees of freedom.
    assert chi_square(timesteps, 20, sampler.probabilities()) < 43.8


def test_rare_timesteps_are_drawn_as_rarely_as_they_are_told():
    """A thousandth of the draws, evenly."""
    sampler = LossSecondMoment(10)
    for _ in range(RECORDED):
        sampler.record(torch.arange(10), torch.tensor([0.0] * 9 + [1.0]))
    timesteps, weights = sampler.sample(200_000, torch.Generator().manual_seed(2))
    rare = timesteps < 9
    assert 130 < rare.sum() < 230  # 180 expected, with a standard deviation of 13
    assert timesteps[rare].unique().tolist() == list(range(9))
    torch.testing.assert_close(weights[rare], torch.full((int(rare.sum()),), 1000.0))
    torch.testing.assert_close(weights[~rare], torch.full((int((~rare).sum()),), 1 / (10 * 0.9991)))


def test_samples_are_a_function_of_the_generator_and_do_not_change_the_sampler():
    sampler, _ = filled(20)
    before = sampler.state_dict()
    one, other = (sampler.sample(64, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in sampler.state_dict().items())


def test_the_weights_keep_the_expectation_of_the_loss():
    sampler, losses = filled(20)
    probabilities = sampler.probabilities()
    timesteps, weights = sampler.sample(100_000, torch.Generator().manual_seed(4))
    np.testing.assert_allclose(weights.double().numpy(), 1 / (20 * closed_form(losses)[timesteps]), rtol=1e-6)
    # As an expectation, exactly; and by the draws.
    mean_loss = torch.from_numpy(losses).mean(dim=1)
    weight = torch.zeros(20, dtype=torch.float64)
    weight[timesteps] = weights.double()
    assert (probabilities * weight * mean_loss).sum().item() == pytest.approx(mean_loss.mean().item(), rel=1e-6)
    drawn = weights.double() * mean_loss[timesteps]
    assert drawn.mean().item() == pytest.approx(mean_loss.mean().item(), abs=4 * drawn.std().item() / 100_000**0.5)
    # And that is what it is for: the draws of a loss in proportion to p vary least.
    uniform = mean_loss[sample_timesteps(100_000, 20, torch.Generator().manual_seed(5))]
    assert drawn.std() < 0.5 * uniform.std()


def multisets(rings: list[deque]) -> list[list[float]]:
    return [sorted(ring) for ring in rings]


def held(sampler: LossSecondMoment) -> list[list[float]]:
    """The losses that a sampler holds for each timestep, in ascending order."""
    rows = zip(sampler.losses.tolist(), sampler.recorded.tolist(), strict=True)
    return [sorted(row[: min(count, RECORDED)]) for row, count in rows]


@pytest.mark.parametrize("steps", [1, 3, 40])
@pytest.mark.parametrize("seed", range(3))
def test_the_rings_hold_the_last_losses(steps, seed):
    """As a deque a timestep does, for batches of any size, with many of the same timestep in one of them."""
    numbers = random.Random(seed)
    sampler = LossSecondMoment(steps)
    rings = [deque(maxlen=RECORDED) for _ in range(steps)]
    total = [0] * steps
    for step in range(60):
        size = numbers.choice([1, 2, 7, 16, 64])
        reach = numbers.randint(1, steps)
        timesteps = [numbers.randrange(reach) for _ in range(size)]
        losses = [float(1000 * step + i) for i in range(size)]
        for t, loss in zip(timesteps, losses, strict=True):
            rings[t].append(loss)
            total[t] += 1
        sampler.record(torch.tensor(timesteps), torch.tensor(losses))
        assert held(sampler) == multisets(rings)
        assert sampler.recorded.tolist() == total


def test_of_more_than_a_ring_holds_the_last_of_a_batch_stay():
    sampler = LossSecondMoment(2)
    sampler.record(torch.tensor([0] * 3), torch.tensor([100.0, 101, 102]))
    timesteps = torch.tensor([0] * 25 + [1] + [0])
    sampler.record(timesteps, torch.arange(27.0))
    assert held(sampler) == [[16, 17, 18, 19, 20, 21, 22, 23, 24, 26], [25]]
    assert sampler.recorded.tolist() == [29, 1]


def test_the_oldest_loss_is_replaced_first():
    sampler = LossSecondMoment(1)
    for value in range(10):
        sampler.record(torch.tensor([0]), torch.tensor([float(value)]))
    sampler.record(torch.tensor([0, 0]), torch.tensor([10.0, 11.0]))
    assert held(sampler) == [[float(value) for value in range(2, 12)]]


@pytest.mark.parametrize("size", [2, 8, 50])
def test_a_batch_in_one_call_is_its_halves_one_after_the_other(size):
    generator = torch.Generator().manual_seed(size)
    whole, parts = LossSecondMoment(5), LossSecondMoment(5)
    for _ in range(10):
        timesteps = torch.randint(5, (size,), generator=generator)
        losses = torch.rand(size, generator=generator)
        losses[torch.rand(size, generator=generator) < 0.1] = torch.nan
        whole.record(timesteps, losses)
        for half in (slice(0, size // 2), slice(size // 2, size)):
            parts.record(timesteps[half], losses[half])
        assert all(torch.equal(tensor, parts.state_dict()[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_losses_that_are_not_finite_are_not_recorded(wrong):
    sampler, same = filled(4)[0], filled(4)[0]
    sampler.record(torch.tensor([3, 0, 3, 1] + [2] * 15), torch.tensor([wrong, 0.5, 0.25, wrong] + [wrong] * 15))
    same.record(torch.tensor([0, 3]), torch.tensor([0.5, 0.25]))
    assert sampler.recorded.tolist() == [11, 10, 10, 11]
    assert torch.equal(sampler.losses, same.losses)
    assert torch.equal(sampler.probabilities(), same.probabilities())


def test_recording_nothing_changes_nothing():
    sampler, same = filled(4)[0], filled(4)[0]
    sampler.record(torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert torch.equal(sampler.losses, same.losses) and torch.equal(sampler.recorded, same.recorded)


def test_recording_leaves_its_input_as_it_is():
    timesteps, losses = torch.tensor([2, 0, 1]), torch.tensor([0.5, torch.nan, 0.25], dtype=torch.float64)
    LossSecondMoment(3).record(timesteps, losses)
    assert timesteps.tolist() == [2, 0, 1] and losses[0] == 0.5 and losses.isnan().tolist() == [False, True, False]


def test_the_state_comes_back_and_goes_on_the_same():
    sampler, _ = filled(6)
    sampler.record(torch.tensor([5, 5, 2]), torch.tensor([1.0, 2.0, torch.nan]))
    state = sampler.state_dict()
    assert state["losses"].shape == (6, RECORDED) and state["losses"].dtype == torch.float32
    assert state["recorded"].tolist() == [10, 10, 10, 10, 10, 12]
    loaded = LossSecondMoment(6)
    loaded.load_state_dict(state)
    kept = {name: tensor.clone() for name, tensor in state.items()}
    for one in (sampler, loaded):
        one.record(torch.tensor([5, 0, 2]), torch.tensor([7.0, 8.0, 9.0]))
    assert torch.equal(loaded.losses, sampler.losses) and torch.equal(loaded.recorded, sampler.recorded)
    drawn = [one.sample(32, torch.Generator().manual_seed(0)) for one in (sampler, loaded)]
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    # It is a copy, that later losses do not reach.
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state.items())
