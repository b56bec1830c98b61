"""Other schedulers: against the closed form of a Gaussian data set, and at odd numbers of steps."""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    DDPMScheduler,
    ModelMixin,
)
from diffusers.configuration_utils import register_to_config
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import set_timesteps
from pokemon_ddpm.vocabulary import TYPES
from tests.drawing import (
    ANY_STEPS,
    SCHEDULERS,
    draw,
    seeded,
    with_scheduler,
)


class GaussianDenoiser(ModelMixin, ConfigMixin):
    """The best possible prediction where every pixel of the data is N(mean, std^2), in closed form.

    With x_t = a x_0 + b epsilon, E[x_0 | x_t] = mean + a std^2 / (a^2 std^2 + b^2) (x_t - a mean).
    """

    @register_to_config
    def __init__(self, mean: float, std: float, prediction_type: str, sample_size: int = 64):
        super().__init__()
        self.register_to_config(in_channels=3, out_channels=3)
        self.unused = nn.Parameter(torch.zeros(1))
        self.alpha_bar = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
        self.timesteps: list[int] = []

    def forward(self, sample, timestep, class_labels, return_dict):
        self.timesteps.append(int(timestep))
        mean, std = self.config.mean, self.config.std
        alpha_bar = self.alpha_bar[timestep]
        a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        x = sample.double()
        clean = mean + a * std**2 / (a**2 * std**2 + b**2) * (x - a * mean)
        epsilon = (x - a * clean) / b
        prediction = epsilon if self.config.prediction_type == "epsilon" else a * epsilon - b * clean
        return (prediction.to(sample.dtype),)


MEAN, STD = 0.3, 0.15


def gaussian_pipeline(scheduler_class: type, prediction_type: str = "v_prediction") -> PokemonDDPMPipeline:
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type, timestep_spacing="trailing"
    )
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4)
    pipeline = PokemonDDPMPipeline(GaussianDenoiser(MEAN, STD, prediction_type), conditioner, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return with_scheduler(pipeline, scheduler_class)


def exact_moments(scheduler_class: type, steps: int) -> tuple[float, float]:
    """Mean and standard deviation of DDPM (Ho et al. 2020, equations 6, 7, 11) and DDIM (Song et al. 2021, equation
    12 with eta 0) samples of that Gaussian: with a linear denoiser every step is linear, so both follow by recursion.
    """
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    bars = np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))
    timesteps = [1000 - 1000 // steps * i - 1 for i in range(steps)]
    mean, variance = 0.0, 1.0
    for t, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        bar, bar_after = bars[t], bars[following] if following >= 0 else 1.0
        a, b = math.sqrt(bar), math.sqrt(1 - bar)
        slope = a * STD**2 / (a**2 * STD**2 + b**2)  # clean = offset + slope * x
        offset = MEAN - slope * a * MEAN
        if scheduler_class is DDPMScheduler:
            beta = 1 - bar / bar_after
            of_clean = math.sqrt(bar_after) * beta / (1 - bar)
            of_x = math.sqrt(1 - beta) * (1 - bar_after) / (1 - bar)
            noise = (1 - bar_after) / (1 - bar) * beta
        else:
            of_x = math.sqrt(1 - bar_after) / b
            of_clean = math.sqrt(bar_after) - of_x * a
            noise = 0.0
        mean = of_clean * (offset + slope * mean) + of_x * mean
        variance = (of_clean * slope + of_x) ** 2 * variance + noise
    return mean, math.sqrt(variance)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler_class", SCHEDULERS)
def test_an_exact_denoiser_gives_samples_of_the_data(scheduler_class, prediction_type):
    pipeline = gaussian_pipeline(scheduler_class, prediction_type)
    count = 16
    samples = draw(pipeline, "fire", 50, "latent", generator=seeded(*range(count)), num_images_per_type=count)
    pixels = samples.numel()
    assert pixels == count * 3 * 64 * 64
    mean, std = samples.mean().item(), samples.std().item()
    if scheduler_class in (DDPMScheduler, DDIMScheduler):
        expected, expected_std = exact_moments(scheduler_class, 50)
        slack = 1e-4  # float32 tables
    else:
        expected, expected_std, slack = MEAN, STD, 0.005  # second-order solvers: 3 % of the spread at 50 steps
    assert mean == pytest.approx(expected, abs=4.5 * STD / math.sqrt(pixels) + slack)
    assert std == pytest.approx(expected_std, abs=4.5 * STD / math.sqrt(2 * pixels) + slack)
    # All of them come near the data itself: fewer than 1000 steps lose some of the spread.
    assert mean == pytest.approx(MEAN, abs=0.005)
    assert std == pytest.approx(STD, abs=0.03)


def test_the_full_ancestral_chain_has_the_spread_of_the_data():
    mean, std = exact_moments(DDPMScheduler, 1000)
    assert mean == pytest.approx(MEAN, abs=1e-3) and std == pytest.approx(STD, abs=2e-3)


@pytest.mark.parametrize("steps", [300, 520])
@pytest.mark.parametrize("scheduler_class", ANY_STEPS)
def test_a_number_of_steps_that_does_not_divide_the_training_steps(scheduler_class, steps):
    """A step must end where the next one starts, also where T / steps is no whole number."""
    samples = draw(gaussian_pipeline(scheduler_class), "fire", steps, "latent", generator=seeded(0))
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert samples.std().item() == pytest.approx(STD, abs=0.01)


@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 67), ("trailing", 520), ("linspace", 50)])
def test_ddim_is_refused_where_it_goes_wrong(pipeline, spacing, steps):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing=spacing)
    with pytest.raises(ValueError, match=f"goes wrong at {steps} steps: use 'trailing' and a number like"):
        pipeline("fire", num_inference_steps=steps)


@pytest.mark.parametrize("steps", [61, 103])
@pytest.mark.parametrize("scheduler_class", ANY_STEPS)
def test_no_timestep_of_minus_one_reaches_the_network(scheduler_class, steps):
    pipeline = gaussian_pipeline(scheduler_class)
    latents = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    odd = draw(pipeline, "fire", steps, "latent", latents=latents, generator=seeded(1))
    timesteps = pipeline.unet.timesteps[:]
    assert len(timesteps) == steps
    assert timesteps[0] == 999 and min(timesteps) >= 0
    assert timesteps == sorted(set(timesteps), reverse=True)
    even = draw(pipeline, "fire", steps - 1, "latent", latents=latents, generator=seeded(1))
    assert odd.isfinite().all()
    if scheduler_class is DDPMScheduler:  # other noise: only the distribution is the same
        assert odd.mean().item() == pytest.approx(even.mean().item(), abs=6 * STD / math.sqrt(odd.numel()))
        assert odd.std().item() == pytest.approx(even.std().item(), abs=6 * STD / math.sqrt(2 * odd.numel()))
    else:  # the same noise goes almost the same way
        assert (odd - even).square().mean().sqrt() < 0.05 * STD


@pytest.mark.parametrize("scheduler_class", ANY_STEPS)
def test_every_number_of_steps_has_its_timesteps(scheduler_class):
    base = DDPMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    scheduler = scheduler_class.from_config(base.config)
    for steps in [*range(1, 65), 103, 121, 122, 201, 250, 999, 1000]:
        timesteps = set_timesteps(scheduler, steps, torch.device("cpu"))
        assert torch.equal(timesteps, scheduler.timesteps)
        assert len(timesteps) == steps
        assert timesteps[0] == 999 and timesteps[-1] >= 0
        assert (timesteps.diff() < 0).all()
        if hasattr(scheduler, "sigmas"):
            assert len(scheduler.sigmas) == steps + 1
            assert (scheduler.sigmas.diff() < 0).all() and scheduler.sigmas[-1] == 0
