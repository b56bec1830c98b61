"""Pipelines whose network predicts the variance, too: guidance, other schedulers, and the last step."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, DDPMScheduler, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.noise_schedule import make_scheduler
from pokemon_ddpm.pipelines.guidance import Guidance
from pokemon_ddpm.vocabulary import TYPES
from tests.conftest import tiny_pipeline
from tests.drawing import ANY, FIRE, SCHEDULERS, SHAPE, draw, seeded, with_scheduler
from tests.test_noise_schedule import cosine_betas

PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"]


def learned_pipeline(prediction_type: str = "v_prediction") -> PokemonDDPMPipeline:
    """`tiny_pipeline` with a network of six output channels."""
    pipeline = tiny_pipeline(prediction_type)
    torch.manual_seed(0)
    pipeline.register_modules(unet=UNet2DModel.from_config(pipeline.unet.config, out_channels=6).eval())
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, variance_type="learned_range")
    return pipeline


def without_variance(pipeline: PokemonDDPMPipeline) -> PokemonDDPMPipeline:
    """The same network with its first three channels alone, and a scheduler that wants no more."""
    last = pipeline.unet.conv_out
    unet = UNet2DModel.from_config(pipeline.unet.config, out_channels=3).eval()
    weights = pipeline.unet.state_dict()
    unet.load_state_dict(weights | {"conv_out.weight": last.weight[:3], "conv_out.bias": last.bias[:3]})
    config = {**pipeline.scheduler.config, "variance_type": "fixed_small"}
    plain = PokemonDDPMPipeline(unet, pipeline.conditioner, type(pipeline.scheduler).from_config(config))
    plain.set_progress_bar_config(disable=True)
    return plain


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("scheduler_class", [each for each in SCHEDULERS if each is not DDPMScheduler])
def test_schedulers_that_take_no_variance_are_given_none(scheduler_class: type, scale: float) -> None:
    pipeline = with_scheduler(learned_pipeline(), scheduler_class)
    arguments = {"pokemon_type": ["fire", "water"], "steps": 5, "output_type": "latent", "guidance_scale": scale}
    found = draw(pipeline, **arguments, generator=seeded(0, 1))
    expected = draw(without_variance(pipeline), **arguments, generator=seeded(0, 1))
    assert found.isfinite().all() and found.shape == (2, *SHAPE)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
def test_a_fixed_variance_can_be_chosen_for_sampling(variance_type: str) -> None:
    pipeline = learned_pipeline()
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, variance_type=variance_type)
    plain = without_variance(pipeline)
    plain.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    found, expected = (draw(each, "fire", 4, "latent", generator=seeded(0)) for each in (pipeline, plain))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def ancestral_by_hand(pipeline: PokemonDDPMPipeline, timesteps: list[int], scale: float, seed: int) -> torch.Tensor:
    """Ho et al. 2020, algorithm 2, between these timesteps, with Nichol & Dhariwal 2021, equation 15, in float64.

    The mean is guided, the variance is that of the condition.
    """
    alpha_bar = np.cumprod(1 - cosine_betas())
    table = pipeline.conditioner.state_dict()["tables.type_embedding.weight"]
    embeddings = [table[[ANY, ANY]].sum(dim=0)[None], table[[FIRE, ANY]].sum(dim=0)[None]]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator)[None]
    for t, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        with torch.no_grad():
            answers = [pipeline.unet(x, t, class_labels=each).sample.double() for each in embeddings]
        mean = answers[0][:, :3] + scale * (answers[1] - answers[0])[:, :3]
        alpha, sigma = math.sqrt(alpha_bar[t]), math.sqrt(1 - alpha_bar[t])
        clean = {
            "epsilon": (x - sigma * mean) / alpha,
            "v_prediction": alpha * x - sigma * mean,
            "sample": mean,
        }[pipeline.scheduler.config.prediction_type].clamp(-1, 1)
        if following is None:
            return clean
        bar, before = alpha_bar[t], alpha_bar[following]
        beta = 1 - bar / before
        least = (1 - before) / (1 - bar) * beta
        share = (answers[1][:, 3:] + 1) / 2
        log_variance = share * math.log(beta) + (1 - share) * math.log(least)
        x = math.sqrt(before) * beta / (1 - bar) * clean + math.sqrt(bar / before) * (1 - before) / (1 - bar) * x
        x = (x + (log_variance / 2).exp() * torch.randn((1, *SHAPE), generator=generator)).float()


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_ancestral_scheduler_uses_the_predicted_variance(prediction_type: str, scale: float) -> None:
    pipeline = learned_pipeline(prediction_type)
    found = draw(pipeline, "fire", 4, "latent", generator=seeded(5), guidance_scale=scale)
    expected = ancestral_by_hand(pipeline, [999, 749, 499, 249], scale, seed=5)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3)
    fixed = draw(without_variance(pipeline), "fire", 4, "latent", generator=seeded(5), guidance_scale=scale)
    assert (fixed - found).abs().max() > 0.05


def test_guidance_is_of_the_mean_alone() -> None:
    """uncond + s (cond - uncond) for the first three channels, cond for the others."""
    unconditional, conditional = torch.randn(2, 2, 6, 4, 4)
    guidance = Guidance((3.0,) * len(conditional))
    guided = guidance.combine(unconditional, conditional, channels=3)
    torch.testing.assert_close(guided[:, :3], (3 * conditional - 2 * unconditional)[:, :3])
    assert torch.equal(guided[:, 3:], conditional[:, 3:])
    assert torch.equal(guidance.combine(unconditional[:, :3], conditional[:, :3], channels=3), guided[:, :3])


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_last_ancestral_step_gives_the_predicted_clean_picture(learned: bool, steps: int) -> None:
    """Also where the last timestep is far from the first one of training."""
    pipeline = learned_pipeline() if learned else tiny_pipeline()
    inputs: list[torch.Tensor] = []
    pipeline.unet.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    found = draw(pipeline, "fire", steps, "latent", generator=seeded(0), guidance_scale=1)
    t = 1000 // steps - 1
    alpha_bar = np.cumprod(1 - cosine_betas())[t]
    table = pipeline.conditioner.state_dict()["tables.type_embedding.weight"]
    with torch.no_grad():
        answer = pipeline.unet(inputs[-1], t, class_labels=table[[FIRE, ANY]].sum(dim=0)[None]).sample[:, :3]
    clean = math.sqrt(alpha_bar) * inputs[-1] - math.sqrt(1 - alpha_bar) * answer
    torch.testing.assert_close(found, clean.clamp(-1, 1), rtol=0, atol=1e-4)


def test_a_scheduler_that_wants_a_variance_is_refused_where_there_is_none(pipeline: PokemonDDPMPipeline) -> None:
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, variance_type="learned_range")
    with pytest.raises(ValueError, match="variance_type is 'learned_range', but this network does not predict a var"):
        draw(pipeline, "fire")


def test_saved_and_loaded_it_draws_the_same(tmp_path) -> None:
    pipeline = learned_pipeline()
    pipeline.save_pretrained(tmp_path)
    loaded = PokemonDDPMPipeline.from_pretrained(tmp_path)
    assert loaded.scheduler.config.variance_type == "learned_range" and loaded.unet.config.out_channels == 6
    loaded.set_progress_bar_config(disable=True)
    found, expected = (draw(each, "fire", 3, "latent", generator=seeded(0)) for each in (loaded, pipeline))
    assert torch.equal(found, expected)


# Gaussian data

STEPS, MEAN, STD = 20, 0.2, 0.15
BETA = cosine_betas(STEPS)
ALPHA_BAR = np.cumprod(1 - BETA)
BEFORE = np.concatenate([[1], ALPHA_BAR[:-1]])


class BestDenoiser(ModelMixin, ConfigMixin):
    """Both outputs of the best network where every pixel is N(MEAN, STD^2): E[x_0 | x_t] and the true variance."""

    @register_to_config
    def __init__(self, sample_size: int = 64, in_channels: int = 3, out_channels: int = 6):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        least = (1 - BEFORE) / (1 - ALPHA_BAR) * BETA
        of_clean = np.sqrt(BEFORE) * BETA / (1 - ALPHA_BAR)
        unknown = STD**2 * (1 - ALPHA_BAR) / (ALPHA_BAR * STD**2 + 1 - ALPHA_BAR)  # Var(x_0 | x_t)
        true = least + of_clean**2 * unknown  # Var(x_{t-1} | x_t)
        least[0] = least[1]  # is not used
        self.learned = 2 * (np.log(true) - np.log(least)) / (np.log(BETA) - np.log(least)) - 1

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        bar = ALPHA_BAR[timestep]
        slope = math.sqrt(bar) * STD**2 / (bar * STD**2 + 1 - bar)
        clean = MEAN + slope * (sample - math.sqrt(bar) * MEAN)
        return (torch.cat([clean, torch.full_like(clean, self.learned[timestep])], dim=1),)


def spread(variance_type: str) -> SimpleNamespace:
    scheduler = make_scheduler(STEPS, prediction_type="sample", variance_type=variance_type)
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4)
    pipeline = PokemonDDPMPipeline(BestDenoiser(), conditioner, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    samples = draw(pipeline, "fire", STEPS, "latent", generator=seeded(*range(8)), num_images_per_type=8)
    return SimpleNamespace(mean=samples.mean().item(), std=samples.std().item(), count=samples.numel())


def test_with_the_true_variance_few_steps_have_the_spread_of_the_data() -> None:
    """The chain is then exact for any number of steps, up to its last one, which gives E[x_0 | x_1]."""
    learned, fixed = spread("learned_range"), spread("fixed_small")
    bar = ALPHA_BAR[0]
    last = math.sqrt(bar) * STD**2 / math.sqrt(bar * STD**2 + 1 - bar)
    assert learned.std == pytest.approx(last, abs=4.5 * last / math.sqrt(2 * learned.count) + 1e-4)
    assert learned.mean == pytest.approx(MEAN, abs=4.5 * last / math.sqrt(learned.count) + 1e-4)
    assert fixed.std < 0.97 * last
