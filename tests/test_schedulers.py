"""The samplers: their settings, their cost, and their samples of Gaussian data, where the best denoiser is known."""

import inspect
import math

import pytest
import torch
from diffusers import ConfigMixin, DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, ModelMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.diffusion import make_scheduler
from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import set_timesteps
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler, sampler_name
from tests.test_diffusion import ALPHA_BAR, as_prediction
from tests.tiny_models import network_calls, seeded, tiny_pipeline

MEAN, STD = 0.3, 0.15
SOLVERS = ["dpmsolver++", "unipc", "deis"]


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


def gaussian_pipeline(
    sampler: str, prediction_type: str = "v_prediction", scaling_factor: float = 1.0
) -> PokemonDDPMPipeline:
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
    others = [DDPMScheduler.from_pretrained(tmp_path), student_scheduler(trained)]
    others += [make_sampler(each, trained) for each in SAMPLERS]
    assert all(own_settings(make_sampler(name, each)) == own_settings(sampler) for each in others)


def test_names_of_samplers():
    with pytest.raises(ValueError, match="Unknown scheduler 'euler'. Known: ddpm, ddim, dpmsolver"):
        make_sampler("euler", tiny_pipeline().scheduler)
    assert sampler_name(EulerDiscreteScheduler()) == "EulerDiscreteScheduler"


@pytest.mark.parametrize("steps", [1, 5, 10])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_step_calls_the_network_once(name, steps):
    pipeline = tiny_pipeline()
    pipeline.scheduler = make_sampler(name, pipeline.scheduler)
    calls = network_calls(pipeline)
    samples(pipeline, steps, guidance_scale=1)
    assert len(calls) == steps
    assert calls[0] == (1, 999) and min(timestep for _, timestep in calls) >= 0


@pytest.mark.parametrize(
    ("prediction_type", "scaling_factor"), [("epsilon", 1.0), ("v_prediction", 0.5), ("sample", 0.5)]
)
@pytest.mark.parametrize(
    ("name", "steps"), [*((name, 50) for name in SAMPLERS), *((name, 61) for name in ("ddpm", *SOLVERS))]
)
def test_an_exact_denoiser_gives_images_of_the_data(name, steps, prediction_type, scaling_factor):
    """Also where the number of steps does not divide that of the training."""
    pipeline = gaussian_pipeline(name, prediction_type, scaling_factor)
    found = 2 * samples(pipeline, steps, count=8, output_type="pt") - 1
    assert found.mean().item() == pytest.approx(MEAN, abs=0.005)
    # The last step leads to E[x_0 | x_t], which has less spread than the data, but DEIS goes on along the flow. The
    # first order loses some more.
    alpha_bar = ALPHA_BAR[pipeline.unet.timesteps[-1]]
    noise = 0 if name == "deis" else (1 - alpha_bar) / alpha_bar / (scaling_factor * STD) ** 2
    spread = STD / math.sqrt(1 + noise)
    assert found.std().item() == pytest.approx(spread, abs=0.005 if name in SOLVERS else 0.03)


@pytest.mark.parametrize("name", ["ddpm", *SOLVERS])
def test_every_number_of_steps_has_as_many_timesteps(name):
    scheduler = make_sampler(name, make_scheduler())
    for steps in [*range(1, 65), 103, 121, 122, 201, 250, 999, 1000]:
        timesteps = set_timesteps(scheduler, steps, "cpu")
        assert torch.equal(timesteps, scheduler.timesteps) and len(timesteps) == steps
        assert timesteps[0] == 999 and timesteps[-1] >= 0 and (timesteps.diff() < 0).all()
        if hasattr(scheduler, "sigmas"):
            assert len(scheduler.sigmas) == steps + 1
            assert (scheduler.sigmas.diff() <= 0).all() and scheduler.sigmas[-1] < 0.01  # that of DEIS is not 0


@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 67), ("trailing", 520), ("linspace", 50)])
def test_ddim_is_refused_where_it_gives_wrong_results(pipeline, spacing, steps):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing=spacing)
    with pytest.raises(ValueError, match=f"gives wrong results in {steps} steps; use 'trailing' and one of"):
        pipeline("fire", num_inference_steps=steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_small_error_of_an_epsilon_network_is_not_amplified(name):
    pipeline = gaussian_pipeline(name, "epsilon")
    pipeline.unet.error = 0.02 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = samples(pipeline, 20, count=4)
    # At the first timestep alpha is 5e-5: without clipping, an error of 0.02 is one of 400 in the predicted x_0.
    assert found.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert found.std().item() == pytest.approx(STD, rel=0.35)
