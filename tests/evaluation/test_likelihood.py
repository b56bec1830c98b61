import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.diffusion import make_scheduler
from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.evaluation import likelihood
from pokemon_ddpm.evaluation.likelihood import bits_per_dim, kept_likelihood, sampled_terms
from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.vocabulary import TYPES
from tests.tiny_models import tiny_pipeline

T, BETA = 40, 0.1


def model(predict: Callable[[torch.Tensor], torch.Tensor], scaling_factor: float = 1.0) -> SimpleNamespace:
    """In place of a pipeline with a network that predicts clean samples; `calls` are the network's inputs."""
    torch.manual_seed(0)
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4).requires_grad_(False)
    calls = []

    def unet(noisy: torch.Tensor, t: torch.Tensor, class_labels: torch.Tensor, return_dict: bool) -> tuple:
        calls.append((noisy, t, class_labels))
        return (predict(noisy),)

    unet.device, unet.dtype = torch.device("cpu"), torch.float32
    scheduler = DDPMScheduler(T, trained_betas=[BETA] * T, prediction_type="sample")
    parts = {"unet": unet, "conditioner": conditioner, "scheduler": scheduler}
    return SimpleNamespace(**parts, scaling_factor=scaling_factor, calls=calls)


def noise_images(count: int) -> SpriteTensors:
    images = torch.randint(256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return SpriteTensors(images, {"type": torch.arange(2 * count).view(count, 2) % 18, "color": torch.zeros(count)})


@pytest.mark.parametrize("s", [1.0, 0.5])
@pytest.mark.parametrize("prediction", [0.5, 1.0, 5.0])  # 5 is clipped to 1
def test_all_terms_of_white_images(prediction: float, s: float):
    """If always the same image is predicted, no term depends on the noise; samples are s times the images."""
    white = torch.full((4, 3, 8, 8), 255, dtype=torch.uint8)
    data = SpriteTensors(white, {"type": torch.tensor([[0, 18]] * 4)})
    found = bits_per_dim(model(lambda noisy: torch.full_like(noisy, s * prediction), s), data, T)
    mean = min(prediction, 1.0)
    bar = [(1 - BETA) ** (t + 1) for t in range(T)]
    variance = [(1 - bar[t - 1]) / (1 - bar[t]) * BETA for t in range(1, T)]  # of the posterior
    # The cell of white extends to infinity; the variance at the first timestep is that of the next one.
    decoder = -math.log2(0.5 * math.erfc(s * (1 - 1 / 255 - mean) / math.sqrt(2 * variance[0])))
    weights = [bar[t - 1] * BETA**2 / (1 - bar[t]) ** 2 / variance[t - 1] for t in range(1, T)]
    between = 0.5 * s**2 * (1 - mean) ** 2 * sum(weights) / math.log(2)
    assert found["decoder"] == pytest.approx(decoder, rel=1e-4)
    prior = 0.5 * (bar[-1] * (s**2 - 1) - math.log(1 - bar[-1])) / math.log(2)
    assert found["prior"] == pytest.approx(prior, rel=1e-4)
    assert found["mean"] == pytest.approx(found["prior"] + decoder + between, rel=1e-4)
    assert found["standard_error"] == pytest.approx(0, abs=1e-9) and found["count"] == 4


def test_some_terms_are_an_unbiased_estimate():
    pipeline, data = model(torch.zeros_like), noise_images(300)
    everything = bits_per_dim(pipeline, data, T)["mean"]
    found = bits_per_dim(pipeline, data, 3, seed=1)
    assert found["mean"] == pytest.approx(everything, abs=4 * found["standard_error"])
    assert 0 < found["standard_error"] < 0.1 * everything
    assert math.isnan(bits_per_dim(pipeline, data.rows(torch.tensor([0])), 3)["standard_error"])


def test_sampled_terms_are_one_of_each_part_and_add_up_to_all_terms_on_average():
    count, terms, generator = 20_000, 999, torch.Generator().manual_seed(0)
    timesteps, factor = sampled_terms(count, terms + 1, 40, generator)
    assert (((timesteps - 1) * 40 / terms).long() - torch.arange(40)).abs().max() <= 1
    assert timesteps.min() == 1 and timesteps.max() == terms
    values = (torch.arange(terms + 1) / terms) ** 2
    estimates = factor * values[timesteps].sum(dim=1)
    error = estimates.std().item() / math.sqrt(count)
    assert estimates.mean().item() == pytest.approx(values.sum().item(), abs=4.5 * error)
    timesteps, factor = sampled_terms(3, T, T - 1, generator)
    assert factor == 1 and timesteps.tolist() == [list(range(1, T))] * 3


def test_every_image_has_a_decoder_term_and_its_own_labels():
    data, pipeline = noise_images(70), model(torch.zeros_like)
    bits_per_dim(pipeline, data, 2)
    noisy, timesteps, embedding = (torch.cat(parts) for parts in zip(*pipeline.calls, strict=True))
    first = timesteps == 0
    assert len(timesteps) == 3 * 70 and first.sum() == 70
    nearest = torch.cdist(noisy[first].flatten(1), data.images.flatten(1).float() / 127.5 - 1).argmin(dim=1)
    assert nearest.sort().values.tolist() == list(range(70))
    assert torch.equal(embedding[first], pipeline.conditioner({"type": data.labels["type"][nearest]}))


def test_the_result_is_a_function_of_the_seed_and_not_of_the_sampler():
    pipeline, data = model(lambda noisy: noisy), noise_images(20)
    one, again, other = (bits_per_dim(pipeline, data, 3, seed) for seed in (0, 0, 1))
    assert one == again != other
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    assert bits_per_dim(pipeline, data, 3) == one


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DPMSolverMultistepScheduler(T), "a variance_type of fixed_small.* DPMSolverMultistepScheduler does not have"),
        (DDPMScheduler(T, variance_type="fixed_small_log"), "this DDPMScheduler does not have"),
        (student_scheduler(make_scheduler(T)), "distilled .* measure its teacher"),
    ],
)
def test_other_schedulers_and_classes_are_refused(scheduler, message):
    pipeline, data = model(torch.zeros_like), noise_images(4)
    with pytest.raises(ValueError, match="other classes"):
        bits_per_dim(pipeline, replace(data, type_names=("cat", "dog")))
    pipeline.scheduler = scheduler
    with pytest.raises(ValueError, match=message):
        bits_per_dim(pipeline, data)


def test_the_likelihood_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, pipeline = noise_images(6), tiny_pipeline(size=8)
    monkeypatch.setattr(likelihood, "NUM_TIMESTEPS", 1)
    found = kept_likelihood(pipeline, data, data, tmp_path)
    assert found["train"] == found["held-out"] == bits_per_dim(pipeline, data, 1) and found["difference"] == 0
    assert found["difference_standard_error"] == pytest.approx(2**0.5 * found["train"]["standard_error"])
    monkeypatch.setattr(likelihood, "bits_per_dim", None)
    assert kept_likelihood(pipeline, data, data, tmp_path) == found
    torch.nn.init.zeros_(pipeline.unet.conv_out.weight)
    with pytest.raises(TypeError):
        kept_likelihood(pipeline, data, data, tmp_path)
