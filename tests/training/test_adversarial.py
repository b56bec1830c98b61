"""Adversarial training of a student's last steps, against computations by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from pokemon_ddpm.diffusion import ConditionalDenoiser, NoiseSchedule
from pokemon_ddpm.training import adversarial
from pokemon_ddpm.training.adversarial import AdversarialLoss, Discriminator, features_of, hinge, mean_of, shown
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig
from tests.tiny_models import seeded, tiny_pipeline, tiny_student

SIZE, COUNT = 16, 8
FIRE, NONE = 6, 18


@pytest.fixture
def student():
    """A student whose predictions are neither 0 nor far out of range."""
    pipeline = tiny_student(SIZE)
    torch.nn.init.normal_(pipeline.unet.conv_out.weight, std=0.3)
    return pipeline


@pytest.fixture
def loss(student, tmp_path):
    teacher = tiny_pipeline("sample", SIZE, channels=4)
    torch.nn.init.normal_(teacher.unet.conv_out.weight, std=0.1)
    teacher.save_pretrained(tmp_path)
    config = TrainingConfig(pretrained_model_name_or_path="a", adversarial_from=str(tmp_path))
    torch.manual_seed(3)
    denoiser = ConditionalDenoiser(student.unet, student.conditioner, Discriminator(student.unet))
    schedule = NoiseSchedule.of(student.scheduler, scaling_factor=denoiser.scaling_factor)
    return AdversarialLoss(config, schedule, denoiser, student), denoiser


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (COUNT, 4, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    images[:, 3] = 255 * (images[:, 3] > 127)
    images[:, :3] = torch.where(images[:, 3:] > 0, images[:, :3], 255)  # as training images are
    labels = {"type": torch.tensor([[FIRE, NONE]]).repeat(COUNT, 1)}
    noise = torch.stack([torch.randn(4, SIZE, SIZE, generator=one) for one in seeded(*range(COUNT))])
    return Batch(images, labels, torch.tensor([10, 600, 400, 300, 999, 0, 510, 900]), noise)


def test_what_is_judged_is_what_a_pipeline_shows(student):
    images = 2 * torch.randn(3, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    judged = shown(images)
    pictures = np.stack([np.asarray(image) for image in student.postprocess(images * student.scaling_factor, "pil")])
    colors = (judged[:, :3].permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1).numpy() * 255
    assert np.abs(colors - pictures[..., :3]).max() <= 0.51
    assert torch.equal(judged[:, 3], images[:, 3])
    in_range = torch.rand(2, 4, SIZE, SIZE) * 2 - 1
    opaque = in_range[:, 3:].expand_as(in_range) > 0
    torch.testing.assert_close(shown(in_range)[opaque], in_range[opaque])  # training images stay as they are
    assert shown(images[:, :3]).shape == (3, 3, SIZE, SIZE)


def test_hinge_is_the_mean_of_heads_of_all_places():
    logits = [torch.tensor([[[0.5, -3.0]], [[2.0, 1.0]]]), torch.tensor([[[-1.0]], [[0.0]]])]
    torch.testing.assert_close(mean_of(logits), torch.tensor([(-1.25 - 1) / 2, (1.5 + 0) / 2]))
    torch.testing.assert_close(hinge(logits, 1), torch.tensor([((0.5 + 4) / 2 + 2) / 2, (0 + 1) / 2]))
    torch.testing.assert_close(hinge(logits, -1), torch.tensor([(1.5 / 2 + 0) / 2, (2.5 + 1) / 2]))


def test_the_student_draws_as_its_pipeline_does(student, loss, batch):
    """From pure noise to each of its timesteps, and to the clean image."""
    latents = [batch.noise]
    keep = lambda pipeline, i, t, tensors: latents.append(tensors["latents"])  # noqa: E731
    student("fire/none", COUNT, generator=seeded(*range(COUNT)), callback_on_step_end=keep, output_type="latent")
    for t, expected in zip([999, 749, 499, 249, -1], latents, strict=True):
        reached = loss[0].simulate(loss[1], batch, torch.full((COUNT,), t))
        torch.testing.assert_close(reached, expected, rtol=1e-4, atol=1e-5)
    mixed = torch.tensor([249, 999, 499, 749] * 2)
    reached = loss[0].simulate(loss[1], batch, mixed)
    for i, step in enumerate([3, 0, 2, 1] * 2):
        torch.testing.assert_close(reached[i], latents[step][i], rtol=1e-4, atol=1e-5)


def test_the_heads_see_every_block(student):
    unet = student.unet
    with features_of(unet) as features:
        unet(torch.zeros(2, 4, SIZE, SIZE), 300, class_labels=torch.zeros(2, 32))
    assert [values.shape[1] for values in features] == [8, 16, 16, 16, 8]  # down, middle, up
    logits = Discriminator(unet)(features, torch.zeros(2, 4, SIZE, SIZE))
    assert len(logits) == len(features) + 1 and all(values.ndim == 3 and len(values) == 2 for values in logits)
    unet(torch.zeros(2, 4, SIZE, SIZE), 300, class_labels=torch.zeros(2, 32))
    assert len(features) == 5  # the hooks are gone


def by_hand(loss, denoiser, batch, monkeypatch):
    """The loss of each image beside what the discriminator says, which is 0 everywhere here."""
    monkeypatch.setattr(AdversarialLoss, "adversarial", lambda self, images, part: torch.zeros(len(images)))
    losses, clean = loss(denoiser, batch).detach(), batch.clean()
    # Of four in a row the second is a noised training image, and the fourth an earlier step.
    expected_steps = [int(t / 1000 * 2) + (0 if i % 4 == 3 else 2) for i, t in enumerate(batch.timesteps.tolist())]
    timesteps = torch.tensor([[999, 749, 499, 249][step] for step in expected_steps])
    noisy = loss.simulate(denoiser, batch, timesteps)
    alpha_bar = loss.schedule.alpha_bar[timesteps].view(-1, 1, 1, 1)
    of_images = (alpha_bar.sqrt() * 0.5 * clean + (1 - alpha_bar).sqrt() * batch.noise).float()
    noisy[1::4] = of_images[1::4]
    now, start = (
        2 * model(noisy, timesteps, batch.labels).detach() for model in (denoiser, loss.start)
    )  # the factor of samples is 0.5
    cells = [functional.avg_pool2d(images, 4) for images in (now, start)]
    expected = adversarial.ANCHOR * (cells[0] - cells[1]).square().mean(dim=(1, 2, 3))
    expected[1::4] = adversarial.RECONSTRUCTION * (shown(now) - clean).abs().mean(dim=(1, 2, 3))[1::4]
    expected[3::4] = adversarial.KEEP * (now - start).square().mean(dim=(1, 2, 3))[3::4]
    return losses, expected


def test_coarse_images_and_earlier_steps_stay_near_the_start_and_training_images_near_themselves(
    loss, batch, monkeypatch
):
    loss, denoiser = loss
    losses, expected = by_hand(loss, denoiser, batch, monkeypatch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)
    assert losses[[0, 2, 3]].max() < 1e-9 < losses[[1, 5]].min()  # nothing has changed yet
    with torch.no_grad():
        denoiser.unet.conv_out.weight.mul_(1.5)
    losses, expected = by_hand(loss, denoiser, batch, monkeypatch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)
    assert losses.min() > 1e-6


def test_each_player_has_the_gradient_of_its_own_loss(loss, batch):
    """The generator that of -D(G(z)) with a constant D, and D that of its hinge loss with constant images."""
    loss, denoiser = loss
    discriminator = denoiser.discriminator.eval()  # with the same spectral norms at every call
    generated = torch.randn(COUNT, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(5)).requires_grad_()
    torch.manual_seed(7)
    losses = loss.adversarial(generated, batch)
    losses.sum().backward()
    gradient = generated.grad.clone()
    of_discriminator = {name: p.grad.clone() for name, p in discriminator.named_parameters()}

    torch.manual_seed(7)
    part = replace(batch, timesteps=torch.randint_like(batch.timesteps, 1000))
    noise, noise_of_real = torch.randn_like(generated), torch.randn_like(generated)
    discriminator.zero_grad()
    generated.grad = None
    of_generated = discriminator(loss.features(generated, part, noise), generated)
    (-mean_of(of_generated).sum()).backward()
    torch.testing.assert_close(generated.grad, gradient)
    discriminator.zero_grad()
    of_generated = discriminator(loss.features(generated.detach(), part, noise), generated.detach())
    of_real = discriminator(loss.features(batch.clean(), part, noise_of_real), batch.clean())
    own = hinge(of_generated, -1) + hinge(of_real, 1)
    own.sum().backward()
    for name, parameter in discriminator.named_parameters():
        torch.testing.assert_close(parameter.grad, of_discriminator[name], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.detach(), (own - mean_of(of_generated)).detach())
    assert all(p.grad is None for p in loss.frozen_model.parameters()) and loss.start.discriminator is None


def test_the_teacher_sees_little_noise(loss, batch, monkeypatch):
    """Between 2 and 42 % of the timesteps, by the forward process, under the conditions of the image."""
    seen = []
    monkeypatch.setattr(adversarial, "predict", lambda *given: seen.append(given))
    loss[0].features(batch.clean(), batch, batch.noise)
    model, given, noisy, timesteps = seen[0]
    assert model is loss[0].teacher and given is batch
    assert timesteps.tolist() == [20 + t * 400 // 1000 for t in batch.timesteps.tolist()]
    alpha_bar = loss[0].schedule.alpha_bar[timesteps].view(-1, 1, 1, 1)
    expected = (alpha_bar.sqrt() * 0.5 * batch.clean() + (1 - alpha_bar).sqrt() * batch.noise).float()
    torch.testing.assert_close(noisy, expected)


def test_the_discriminator_learns_to_tell_images_apart_and_says_how_far(loss, batch):
    loss, denoiser = loss
    optimizer = torch.optim.Adam(denoiser.discriminator.parameters(), lr=3e-3)
    for step in range(30):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss(denoiser, batch).mean().backward()
        optimizer.step()
    denoiser.eval()
    of_real, of_generated = (measure(denoiser, batch).mean() for measure in loss.measures.values())
    assert of_real > of_generated + 0.2


@pytest.mark.parametrize(("steps", "message"), [(4, "was distilled to 4 steps"), (2, "was not distilled")])
def test_which_students_are_refused(steps, message):
    pipeline = tiny_student(SIZE) if steps == 4 else tiny_pipeline("sample", SIZE, channels=4)
    with pytest.raises(ValueError, match=f"^--adversarial_steps {steps}: the first .* and the model {message}.$"):
        adversarial.check_student(pipeline, steps)
