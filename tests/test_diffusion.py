"""Noise schedule, training losses and timesteps against closed forms from the papers, and the samplers."""

import inspect
import math

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, DDIMScheduler, DDPMScheduler, ModelMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner, diffusion
from pokemon_ddpm.diffusion import NoiseSchedule, make_sampler, make_scheduler, sample_timesteps, sampler_name
from pokemon_ddpm.pipelines.sampling import SAMPLERS, set_timesteps
from tests.tiny_models import seeded, tiny_pipeline

T = 1000
PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"]
TIMESTEPS = torch.tensor([0, 1, 10, 100, 250, 500, 750, 900, 990])


def cosine_betas(steps: int = T) -> np.ndarray:
    """Nichol & Dhariwal 2021, equation 17 and the text below it, float64 (T,)."""
    f = np.array([math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)])
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def linear_betas(steps: int = T) -> np.ndarray:
    """Ho et al. 2020, section 4; the authors' successors scale it for another T."""
    return np.linspace(1e-4, 0.02, steps) * 1000 / steps


BETAS = {"squaredcos_cap_v2": cosine_betas, "linear": linear_betas}
ALPHA_BAR = np.cumprod(1 - cosine_betas())


def as_prediction(prediction_type: str, clean, noisy, alpha, sigma):
    """x_0 at x_t as epsilon, v or itself (Salimans & Ho 2022, section 4)."""
    if prediction_type == "sample":
        return clean
    epsilon = (noisy - alpha * clean) / sigma
    return epsilon if prediction_type == "epsilon" else alpha * epsilon - sigma * clean


@pytest.mark.parametrize("beta_schedule", BETAS)
@pytest.mark.parametrize("steps", [50, T])
def test_tables_are_those_of_the_papers(beta_schedule, steps):
    schedule = NoiseSchedule.of(make_scheduler(steps, beta_schedule))
    beta = BETAS[beta_schedule](steps)
    alpha_bar = np.cumprod(1 - beta)
    assert len(schedule) == steps and make_scheduler(scaling_factor=0.5).config.clip_sample_range == 0.5
    assert {table.dtype for table in (schedule.beta, schedule.alpha_bar)} == {torch.float64}
    np.testing.assert_allclose(schedule.beta.numpy(), beta, rtol=2e-6)
    # The last beta, 0.999 in float32, leaves 1 - beta with 4 digits.
    np.testing.assert_allclose(schedule.alpha_bar[:-1].numpy(), alpha_bar[:-1], rtol=5e-6)
    np.testing.assert_allclose(schedule.alpha_bar[-1].item(), alpha_bar[-1], rtol=1e-4)
    assert schedule.alpha_bar_before.tolist() == [1, *schedule.alpha_bar[:-1].tolist()]
    # At the first timesteps too, where 1 - alpha_bar cancels in float32.
    np.testing.assert_allclose(schedule.snr[:-1].numpy(), (alpha_bar / (1 - alpha_bar))[:-1], rtol=1e-5)
    # Bayes: the precision 1 / (1 - alpha_bar_{t-1}) of x_{t-1} given x_0, plus (1 - beta_t) / beta_t from x_t.
    precision = 1 / (1 - alpha_bar[:-1]) + (1 - beta[1:]) / beta[1:]
    np.testing.assert_allclose(schedule.posterior_log_variance[1:].exp().numpy(), 1 / precision, rtol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_target_is_epsilon_v_or_the_clean_image_and_the_clean_image_its_inverse(prediction_type):
    schedule = NoiseSchedule.of(make_scheduler(prediction_type=prediction_type))
    generator = torch.Generator().manual_seed(0)
    clean, noise, other = torch.randn(3, len(TIMESTEPS), 3, 8, 8, generator=generator, dtype=torch.float64)
    alpha_bar = torch.from_numpy(ALPHA_BAR)[TIMESTEPS].view(-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = alpha * clean + sigma * noise
    target = schedule.target(clean, noise, TIMESTEPS)
    torch.testing.assert_close(target, as_prediction(prediction_type, clean, noisy, alpha, sigma), rtol=0, atol=1e-6)
    for x in (clean, other):  # that of epsilon is divided by alpha, 0.016 at 990
        predicted = schedule.clean(as_prediction(prediction_type, x, noisy, alpha, sigma), noisy, TIMESTEPS)
        torch.testing.assert_close(predicted, x, rtol=0, atol=1e-4)


def chi_square(values: torch.Tensor, bins: int) -> float:
    counts = torch.bincount(values, minlength=bins).double()
    assert len(counts) == bins
    return ((counts - counts.mean()).square() / counts.mean()).sum().item()


@pytest.mark.parametrize("count", [1, 8, 50, 1000])
def test_timesteps_have_exactly_one_in_each_part_in_random_order(count):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        timesteps = sample_timesteps(count, T, generator)
        assert (timesteps.sort().values // (T // count)).tolist() == list(range(count))
        assert count == 1 or not torch.equal(timesteps, timesteps.sort().values)
    # Every row is uniform, also where the parts (3) do not divide the range (10).
    timesteps = torch.stack([sample_timesteps(3, 10, generator) for _ in range(3000)])
    assert max(chi_square(row, 10) for row in timesteps.T) < 27.9  # the 99.9 % quantile for 9 degrees of freedom


MEAN, STD = 0.3, 0.15
SOLVERS = ["dpmsolver++", "unipc"]


class GaussianDenoiser(ModelMixin, ConfigMixin):
    """The best prediction where every value of an image is N(MEAN, STD^2), and that of a sample s times as much.

    E[x_0 | x_t] = s MEAN + a s^2 STD^2 / (a^2 s^2 STD^2 + b^2) (x_t - a s MEAN) for x_t = a x_0 + b epsilon. `error`
    is added to the prediction.
    """

    @register_to_config
    def __init__(
        self, prediction_type: str, scaling_factor: float, sample_size: int = 64, in_channels: int = 3,
        out_channels: int = 3,
    ):  # fmt: skip
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.timesteps: list[int] = []
        self.error: torch.Tensor | float = 0.0

    def forward(self, sample, timestep, class_labels, return_dict):
        self.timesteps.append(int(timestep))
        alpha_bar = ALPHA_BAR[int(timestep)]
        a, b, x = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), sample.double()
        mean, std = self.config.scaling_factor * MEAN, self.config.scaling_factor * STD
        clean = mean + a * std**2 / (a**2 * std**2 + b**2) * (x - a * mean)
        return (as_prediction(self.config.prediction_type, clean, x, a, b).to(sample.dtype) + self.error,)


def gaussian_pipeline(sampler: str, prediction_type: str, scaling_factor: float = 1.0) -> PokemonDDPMPipeline:
    conditioner = SpriteConditioner({"type": ["fire"]}, embedding_dim=4)
    scheduler = make_scheduler(1000, prediction_type=prediction_type, scaling_factor=scaling_factor)
    pipeline = PokemonDDPMPipeline(GaussianDenoiser(prediction_type, scaling_factor), conditioner, scheduler)
    pipeline.scheduler = make_sampler(sampler, pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def samples(pipeline: PokemonDDPMPipeline, steps: int, count: int = 1, **arguments) -> torch.Tensor:
    arguments = {"generator": seeded(*range(count)), "num_images_per_type": count, **arguments}
    return pipeline(num_inference_steps=steps, **{"output_type": "latent", **arguments}).images


def own_settings(sampler: SchedulerMixin) -> dict:
    """Those of its class, without those that are only passed on to other classes."""
    return {key: sampler.config[key] for key in inspect.signature(type(sampler)).parameters}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_has_the_settings_of_the_training_whichever_was_before(name, tmp_path):
    trained = tiny_pipeline(clip_sample_range=0.5).scheduler
    sampler = make_sampler(name, trained)
    assert type(sampler) is SAMPLERS[name] and sampler_name(sampler) == name
    assert torch.equal(sampler.betas, trained.betas)
    assert sampler.config.prediction_type == "v_prediction" and sampler.config.timestep_spacing == "trailing"
    assert not sampler.config.get("thresholding")
    trained.save_pretrained(tmp_path)
    others = [DDPMScheduler.from_pretrained(tmp_path), diffusion.student_scheduler(trained)]
    others += [make_sampler(other, trained) for other in SAMPLERS]
    assert all(own_settings(make_sampler(name, other)) == own_settings(sampler) for other in others)


@pytest.mark.parametrize(
    ("prediction_type", "scaling_factor"), [("epsilon", 1.0), ("v_prediction", 0.5), ("sample", 0.5)]
)
@pytest.mark.parametrize(
    ("name", "steps"), [*((name, 50) for name in SAMPLERS), *((name, 61) for name in ("ddpm", *SOLVERS))]
)
def test_an_exact_denoiser_gives_images_of_the_data(name, steps, prediction_type, scaling_factor):
    """Also where the number of steps does not divide that of the training."""
    pipeline = gaussian_pipeline(name, prediction_type, scaling_factor)
    images = 2 * samples(pipeline, steps, count=8, output_type="pt") - 1
    assert images.mean().item() == pytest.approx(MEAN, abs=0.005)
    # The last step leads to E[x_0 | x_t], which has less spread than the data. The first order loses some more.
    alpha_bar = ALPHA_BAR[pipeline.unet.timesteps[-1]]
    noise = (1 - alpha_bar) / alpha_bar / (scaling_factor * STD) ** 2
    spread = STD / math.sqrt(1 + noise)
    assert images.std().item() == pytest.approx(spread, abs=0.005 if name in SOLVERS else 0.03)


@pytest.mark.parametrize("name", ["ddpm", *SOLVERS])
def test_every_number_of_steps_has_as_many_timesteps(name):
    scheduler = make_sampler(name, make_scheduler())
    for steps in [*range(1, 65), 103, 121, 122, 201, 250, 999, 1000]:
        timesteps = set_timesteps(scheduler, steps, "cpu")
        assert torch.equal(timesteps, scheduler.timesteps) and len(timesteps) == steps
        assert timesteps[0] == 999 and timesteps[-1] >= 0 and (timesteps.diff() < 0).all()
        if hasattr(scheduler, "sigmas"):
            assert len(scheduler.sigmas) == steps + 1
            assert (scheduler.sigmas.diff() <= 0).all() and scheduler.sigmas[-1] == 0


@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 67), ("trailing", 520), ("linspace", 50)])
def test_ddim_is_refused_where_it_gives_wrong_results(pipeline, spacing, steps):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing=spacing)
    message = f"gives wrong results in {steps} steps; use 'trailing' and a divisor of 1000"
    with pytest.raises(ValueError, match=message):
        pipeline("fire", num_inference_steps=steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_small_error_of_an_epsilon_network_is_not_amplified(name):
    pipeline = gaussian_pipeline(name, "epsilon")
    pipeline.unet.error = 0.02 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    images = samples(pipeline, 20, count=4)
    # At the first timestep alpha is 5e-5: without clipping, an error of 0.02 is one of 400 in the predicted x_0.
    assert images.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert images.std().item() == pytest.approx(STD, rel=0.35)
