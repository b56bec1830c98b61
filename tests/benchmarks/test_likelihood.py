"""Bits per dimension against closed forms, and a run."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler

from benchmarks import likelihood
from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.vocabulary import TYPES
from tests.tiny_models import tiny_pipeline

T, BETA = 40, 0.1


def model(predict, scaling_factor: float = 1.0) -> SimpleNamespace:
    """In place of a pipeline with a network that predicts clean samples."""
    torch.manual_seed(0)
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4).requires_grad_(False)

    def unet(noisy: torch.Tensor, *_: object, **__: object) -> tuple:
        return (predict(noisy),)

    unet.device, unet.dtype = torch.device("cpu"), torch.float32
    scheduler = DDPMScheduler(T, trained_betas=[BETA] * T, prediction_type="sample")
    parts = {"unet": unet, "conditioner": conditioner, "scheduler": scheduler}
    return SimpleNamespace(**parts, scaling_factor=scaling_factor)


@pytest.mark.parametrize("s", [1.0, 0.5])
@pytest.mark.parametrize("prediction", [0.5, 1.0, 5.0])  # 5 is clipped to 1
def test_all_terms_of_white_images(prediction: float, s: float, monkeypatch: pytest.MonkeyPatch):
    """If always the same image is predicted, no term depends on the noise; samples are s times the images."""
    data = SpriteTensors(torch.full((4, 3, 8, 8), 255, dtype=torch.uint8), {"type": torch.tensor([[0, 18]] * 4)})
    monkeypatch.setattr("benchmarks.likelihood.NUM_TIMESTEPS", T - 1)
    bits = likelihood.bits_per_dim(model(lambda noisy: torch.full_like(noisy, s * prediction), s), data)
    mean = min(prediction, 1.0)
    bar = [(1 - BETA) ** (t + 1) for t in range(T)]
    variance = [(1 - bar[t - 1]) / (1 - bar[t]) * BETA for t in range(1, T)]  # of the posterior
    # The cell of white extends to infinity; the variance at the first timestep is that of the next one.
    decoder = -math.log2(0.5 * math.erfc(s * (1 - 1 / 255 - mean) / math.sqrt(2 * variance[0])))
    weights = [bar[t - 1] * BETA**2 / (1 - bar[t]) ** 2 / variance[t - 1] for t in range(1, T)]
    between = 0.5 * s**2 * (1 - mean) ** 2 * sum(weights) / math.log(2)
    prior = 0.5 * (bar[-1] * (s**2 - 1) - math.log(1 - bar[-1])) / math.log(2)
    expected = {"bound": prior + between + decoder, "L_T": prior, "L_1 to L_{T-1}": between, "L_0": decoder}
    assert {name: part["value"] for name, part in bits.items()} == pytest.approx(expected, rel=1e-4)
    assert bits["bound"]["high"] - bits["bound"]["low"] < 1e-9 and bits["bound"]["n"] == 4


def test_sampled_terms_are_one_of_each_part_and_add_up_to_all_terms_on_average():
    count, terms, generator = 20_000, 999, torch.Generator().manual_seed(0)
    timesteps = likelihood.sampled_terms(count, terms, 40, generator)
    assert (((timesteps - 1) * 40 / terms).long() - torch.arange(40)).abs().max() <= 1
    assert timesteps.min() == 1 and timesteps.max() == terms
    values = (torch.arange(terms + 1) / terms) ** 2
    estimates = terms * values[timesteps].mean(dim=1)
    error = estimates.std().item() / math.sqrt(count)
    assert estimates.mean().item() == pytest.approx(values.sum().item(), abs=4.5 * error)
    assert likelihood.sampled_terms(3, T - 1, T - 1, generator).tolist() == [list(range(1, T))] * 3


def test_the_table(tmp_path, monkeypatch, capsys):
    tiny_pipeline(size=8, num_train_timesteps=20, defaults={"num_inference_steps": 2}).save_pretrained(tmp_path)
    data = SpriteTensors(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), {"type": torch.tensor([[0, 18]] * 2)})
    monkeypatch.setattr(likelihood, "load_images", lambda *_: SimpleNamespace(train=data, held_out=data))
    monkeypatch.setattr("sys.argv", ["", str(tmp_path)])
    monkeypatch.setattr(likelihood, "NUM_TIMESTEPS", 1)
    likelihood.main()
    header, _, training, held_out = capsys.readouterr().out.splitlines()
    assert "| bound |" in header and "| training |" in training and "| held-out |" in held_out
