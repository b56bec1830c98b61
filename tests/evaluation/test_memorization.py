import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from PIL import Image
from scipy.special import comb

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.diffusion import make_sampler, make_scheduler, student_scheduler
from pokemon_ddpm.evaluation import memorization as module
from pokemon_ddpm.evaluation.memorization import bits_per_dim, check_likelihood, memorization, nearest_by_pixels
from pokemon_ddpm.vocabulary import TYPES
from tests.tiny_models import tiny_pipeline


def noise(count: int, seed: int = 0, side: int = 8) -> torch.Tensor:
    return torch.randint(256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).byte()


def sprites(count: int, seed: int) -> torch.Tensor:
    """Squares of colors on white, which resemble each other more than noise does."""
    images = torch.full((count, 3, 16, 16), 255, dtype=torch.uint8)
    images[:, :, 2:-2, 2:-2] = noise(count, seed, 4).repeat_interleave(3, 2).repeat_interleave(3, 3)
    return images


def on_canvas(image: torch.Tensor, y: int, x: int, margin: int = 4) -> torch.Tensor:
    side = image.shape[-1]
    canvas = torch.full((3, side + 2 * margin, side + 2 * margin), 255, dtype=torch.int64)
    canvas[:, margin + y : margin + y + side, margin + x : margin + x + side] = image
    return canvas


def test_nearest_by_pixels_is_exact():
    images, train = noise(5, 0), noise(12, 1)
    images[0], images[1] = 255 - images[0] // 8, train[3] // 2 + 100
    found = nearest_by_pixels(images, train)
    shifts = range(-2, 3)
    for row, image in enumerate(images):
        views = [on_canvas(view, y, x) for view in (image, image.flip(-1)) for y in shifts for x in shifts]
        squares = [min(int((view - on_canvas(each, 0, 0)).square().sum()) for view in views) for each in train]
        assert found.index[row] == min(range(12), key=squares.__getitem__)
        assert found.distance[row].item() == pytest.approx((min(squares) / (3 * 8 * 8)) ** 0.5, rel=1e-12)


def test_mirrored_and_shifted_images_have_distance_0_and_the_first_of_equal_ones_is_found_in_any_batch():
    train = sprites(40, 0)
    images = [train[7], train[8].flip(-1), train[9].roll((2, -1), (1, 2)), train[10].flip(-1).roll((-2, -2), (1, 2))]
    found = nearest_by_pixels(torch.stack(images), train)
    assert found.index.tolist() == [7, 8, 9, 10] and (found.distance == 0).all()
    assert nearest_by_pixels(train[9:10].roll(3, 2), train[9:10]).distance > 0
    images, train = sprites(70, 0), sprites(50, 1).repeat(2, 1, 1, 1)
    together = nearest_by_pixels(images, train)
    assert (together.index < 50).all()
    for row in (0, 33, 69):
        alone = nearest_by_pixels(images[row : row + 1], train)
        assert (alone.index, alone.distance) == (together.index[row], together.distance[row])


def test_chance_is_beta_binomial_and_the_threshold_the_5_percent_quantile():
    """Of n + m distances from one distribution in random order, i samples come before the k-th held-out distance."""
    n, m, k = 30, 60, 3
    found = memorization(torch.ones(n), torch.ones(m))
    probabilities = [comb(i + k - 1, i) * comb(n - i + m - k, n - i) / comb(n + m, n) for i in range(n + 1)]
    cumulative = torch.tensor(probabilities).cumsum(0)
    assert cumulative[-1].item() == pytest.approx(1)
    for end, tail in ((found["chance_low"], 0.025), (found["chance_high"], 0.975)):
        assert round(end * n) == int((cumulative < tail).sum())
    found = memorization(torch.tensor([0.0, 4.5, 5.0, 50.0]), torch.arange(1.0, 101.0).flip(0))
    assert (found["threshold"], found["nearer"].value, found["nearer"].n, found["identical"]) == (5, 0.5, 4, 1)


def test_samples_near_training_images_are_counted(monkeypatch):
    """They are the training images, every second one inverted."""
    train, held_out = (SpriteTensors(noise(8, seed, 16), {}, ("cat", "dog")) for seed in (0, 1))
    arrays = [image.permute(1, 2, 0).numpy() for image in train.images]

    def generate(_: object, requests: list) -> list[Image.Image]:
        assert [each.pokemon_type for each in requests] == ["cat", "dog"] * 16
        return [Image.fromarray(arrays[i % 8] if i % 2 else 255 - arrays[i % 8]) for i in range(len(requests))]

    monkeypatch.setattr("pokemon_ddpm.evaluation.memorization.generate", generate)
    assert module.count_copies(tiny_pipeline(vocabulary={"type": ["cat", "dog"]}), train, held_out) == (16, 32)


T, BETA = 40, 0.1


@pytest.fixture(autouse=True)
def few_timesteps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pokemon_ddpm.evaluation.memorization.NUM_TIMESTEPS", 3)


def model(predict, scaling_factor: float = 1.0) -> SimpleNamespace:
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
    types = torch.arange(2 * count).view(count, 2) % 18
    return SpriteTensors(noise(count), {"type": types, "color": torch.zeros(count)})


@pytest.mark.parametrize("s", [1.0, 0.5])
@pytest.mark.parametrize("prediction", [0.5, 1.0, 5.0])  # 5 is clipped to 1
def test_all_terms_of_white_images(prediction: float, s: float, monkeypatch: pytest.MonkeyPatch):
    """If always the same image is predicted, no term depends on the noise; samples are s times the images."""
    data = SpriteTensors(torch.full((4, 3, 8, 8), 255, dtype=torch.uint8), {"type": torch.tensor([[0, 18]] * 4)})
    monkeypatch.setattr("pokemon_ddpm.evaluation.memorization.NUM_TIMESTEPS", T - 1)
    found = bits_per_dim(model(lambda noisy: torch.full_like(noisy, s * prediction), s), data)
    mean = min(prediction, 1.0)
    bar = [(1 - BETA) ** (t + 1) for t in range(T)]
    variance = [(1 - bar[t - 1]) / (1 - bar[t]) * BETA for t in range(1, T)]  # of the posterior
    # The cell of white extends to infinity; the variance at the first timestep is that of the next one.
    decoder = -math.log2(0.5 * math.erfc(s * (1 - 1 / 255 - mean) / math.sqrt(2 * variance[0])))
    weights = [bar[t - 1] * BETA**2 / (1 - bar[t]) ** 2 / variance[t - 1] for t in range(1, T)]
    between = 0.5 * s**2 * (1 - mean) ** 2 * sum(weights) / math.log(2)
    prior = 0.5 * (bar[-1] * (s**2 - 1) - math.log(1 - bar[-1])) / math.log(2)
    expected = {"bound": prior + between + decoder, "L_T": prior, "L_1 to L_{T-1}": between, "L_0": decoder}
    assert {name: each["value"] for name, each in found.items()} == pytest.approx(expected, rel=1e-4)
    assert found["bound"]["high"] - found["bound"]["low"] < 1e-9 and found["bound"]["n"] == 4


def test_sampled_terms_are_one_of_each_part_and_add_up_to_all_terms_on_average():
    count, terms, generator = 20_000, 999, torch.Generator().manual_seed(0)
    timesteps = module.sampled_terms(count, terms, 40, generator)
    assert (((timesteps - 1) * 40 / terms).long() - torch.arange(40)).abs().max() <= 1
    assert timesteps.min() == 1 and timesteps.max() == terms
    values = (torch.arange(terms + 1) / terms) ** 2
    estimates = terms * values[timesteps].mean(dim=1)
    error = estimates.std().item() / math.sqrt(count)
    assert estimates.mean().item() == pytest.approx(values.sum().item(), abs=4.5 * error)
    assert module.sampled_terms(3, T - 1, T - 1, generator).tolist() == [list(range(1, T))] * 3


def test_every_image_has_a_decoder_term_and_its_own_labels():
    data, pipeline = noise_images(70), model(torch.zeros_like)
    bits_per_dim(pipeline, data)
    noisy, timesteps, embedding = (torch.cat(parts) for parts in zip(*pipeline.calls, strict=True))
    first = timesteps == 0
    assert len(timesteps) == 4 * 70 and first.sum() == 70
    nearest = torch.cdist(noisy[first].flatten(1), data.images.flatten(1).float() / 127.5 - 1).argmin(dim=1)
    assert nearest.sort().values.tolist() == list(range(70))
    assert torch.equal(embedding[first], pipeline.conditioner({"type": data.labels["type"][nearest]}))


def test_the_result_is_a_function_of_the_seed_and_not_of_the_sampler():
    pipeline, data = model(lambda noisy: noisy), noise_images(20)
    one, again, other = (bits_per_dim(pipeline, data, seed) for seed in (0, 0, 1))
    assert one == again != other
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    check_likelihood(pipeline)
    assert bits_per_dim(pipeline, data) == one


@pytest.mark.parametrize(("scheduler", "message"), [
    (DPMSolverMultistepScheduler(T), "variance_type of fixed_small, fixed_large, learned_range, not None"),
    (DDPMScheduler(T, variance_type="fixed_small_log"), "learned_range, not fixed_small_log"),
    (student_scheduler(make_scheduler(T)), "measure the teacher of a distilled model"),
])  # fmt: skip
def test_other_schedulers_are_refused(scheduler, message):
    with pytest.raises(ValueError, match=message):
        check_likelihood(SimpleNamespace(scheduler=scheduler))
