"""Adversarial training of a distilled model's last steps: a discriminator on what its teacher sees, and on pixels.

Distillation teaches a student the mean of what its teacher could draw, which is blurred where noise hides faces and
surfaces. A discriminator (Goodfellow et al. 2014) asks for one sharp image instead. It sees the features of a frozen
diffusion model at noised images, as latent adversarial diffusion distillation does (Sauer et al. 2024, LADD, section
3), and pixels. What it judges the student draws in its own steps from pure noise (Yin et al. 2024, DMD2, section 4.5),
or from noised training images.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from pokemon_ddpm.diffusion import ConditionalDenoiser, NoiseSchedule
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import compress_range, is_distilled, set_timesteps
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.losses import CLEAN, ddim_step, frozen, noise_level, other_model, predict

WIDTH = 64  # of the discriminator's layers
# Of the timesteps, to which images are noised for the discriminator: where faces and surfaces are decided.
INTERVAL = (0.02, 0.42)
# Of four images in a row the first and the third are drawn from pure noise, the second is a noised training image, and
# the fourth keeps an earlier step as it was.
REAL, KEPT, PERIOD = 1, 3, 4
# Weights beside the adversarial loss: of the distance to a training image, of the distance of the means of squares
# of `CELL` pixels to those of the student at the start, and of an earlier step to that of the student at the start.
RECONSTRUCTION, ANCHOR, KEEP = 0.5, 8.0, 4.0
CELL = 4


class Discriminator(nn.Module):
    """Tells training images from generated ones: a head on every block of a denoising network, and one on pixels.

    Spectral normalization (Miyato et al. 2018) bounds how steep the heads are.
    """

    def __init__(self, unet: UNet2DModel):
        super().__init__()
        widths = unet.config.block_out_channels
        self.heads = nn.ModuleList(_head(width) for width in (*widths, widths[-1], *widths[::-1]))
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((unet.config.in_channels, WIDTH // 2, WIDTH, 2 * WIDTH)):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.pixels = nn.Sequential(*layers, spectral_norm(nn.Conv2d(2 * WIDTH, 1, 3, padding=1)))

    def forward(self, features: list[Tensor], images: Tensor) -> list[Tensor]:
        """The logits of each head, (N, H, W), for `features_of` (N, C, H, W) each, and images (N, C, S, S)."""
        logits = [head(values) for head, values in zip(self.heads, features, strict=True)]
        return [values.squeeze(1) for values in (*logits, self.pixels(images))]


def _head(width: int) -> nn.Module:
    first, last = (spectral_norm(nn.Conv2d(before, after, 1)) for before, after in ((width, WIDTH), (WIDTH, 1)))
    middle = spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
    # Activations of a network differ in scale by the timestep.
    return nn.Sequential(nn.GroupNorm(1, width, affine=False), first, nn.SiLU(), middle, nn.SiLU(), last)


@contextmanager
def features_of(unet: UNet2DModel) -> Iterator[list[Tensor]]:
    """What the blocks of a network return when it is called, in float32 (N, C, H, W), in their order."""
    features: list[Tensor] = []

    def keep(module: nn.Module, given: tuple, returned: Tensor | tuple[Tensor, ...]) -> None:
        features.append((returned[0] if isinstance(returned, tuple) else returned).float())

    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def shown(images: Tensor) -> Tensor:
    """Images (N, C, S, S) with the colors that a pipeline shows, white where they are transparent; alpha as it is.

    Guidance, which a student has learned, drives colors out of range, and `compress_range` brings them back. Judged
    without it they fade, since that is how the discriminator tells them from training images.
    """
    images = compress_range(images)
    if images.shape[1] < 4:
        return images
    colors, alpha = images.tensor_split([3], dim=1)
    return torch.cat([torch.where(alpha > 0, colors, 1.0), alpha], dim=1)


def mean_of(logits: list[Tensor]) -> Tensor:
    """The mean of all heads for each image, (N,), of logits or of what is computed of them, (N, H, W) each."""
    return torch.stack([values.mean(dim=(1, 2)) for values in logits]).mean(dim=0)


def hinge(logits: list[Tensor], sign: int) -> Tensor:
    """The discriminator's loss for each image, (N,), with 1 for training images and -1 for generated ones.

    max(0, 1 - D(x)) and max(0, 1 + D(G(z))) (Lim & Ye 2017, section 4), averaged over all heads and positions.
    """
    return mean_of([functional.relu(1 - sign * values) for values in logits])


def check_student(pipeline: PokemonDDPMPipeline, steps: int) -> None:
    """Raises ValueError unless a pipeline was distilled to more than so many steps."""
    count = pipeline.config.num_inference_steps if is_distilled(pipeline.scheduler) else 0
    if steps >= count:
        which = f"was distilled to {count} steps" if count else "was not distilled"
        raise ValueError(f"--adversarial_steps {steps}: the first step is never trained, and the model {which}.")


class AdversarialLoss:
    """What sharpens the last steps of a student, and at the same time trains the discriminator.

    Of a step that is trained, the clean image as predicted is judged, with the generator's hinge loss, -D(G(z)). Where
    the student draws from pure noise, the image stays near that of the student at the start in the means of small
    squares, so that composition, color and variety stay; where it denoises a training image, it stays near to that.
    Earlier steps stay as they were.

    The discriminator's gradient is of its own loss only, since its weights are constants in the generator's.
    """

    def __init__(
        self,
        config: TrainingConfig,
        schedule: NoiseSchedule,
        denoiser: ConditionalDenoiser,
        student: PokemonDDPMPipeline,
    ):
        check_student(student, config.adversarial_steps)
        self.schedule, self.discriminator = schedule, denoiser.discriminator
        self.start, self.teacher = frozen(denoiser), other_model("adversarial_from", config, schedule, denoiser)
        self.frozen_model = nn.ModuleList([self.start, self.teacher])
        timesteps = set_timesteps(student.scheduler, student.config.num_inference_steps, schedule.beta.device)
        self.timesteps, self.judged_steps = timesteps.long(), config.adversarial_steps
        # Where the discriminator gives held-out images less than training images, it has memorized these.
        self.measures = {"logits": self.logits, "generated_logits": self.generated_logits}

    def __call__(self, denoiser: nn.Module, batch: Batch) -> Tensor:
        """The loss of each image, float32 (B,): those of the generator and of the discriminator, and the weights'."""
        place = torch.arange(len(batch.timesteps), device=batch.timesteps.device) % PERIOD
        is_real, is_kept = place == REAL, place == KEPT
        timesteps = self.timesteps[self.step_of(batch.timesteps, is_kept)]
        noisy = self.schedule.add_noise(self.schedule.scaling_factor * batch.clean(), batch.noise, timesteps)
        noisy[~is_real] = self.simulate(denoiser, batch.rows(~is_real), timesteps[~is_real])
        images = self.clean(denoiser, batch, noisy, timesteps)
        with torch.no_grad():
            before = images.detach().clone()
            before[~is_real] = self.clean(self.start, batch.rows(~is_real), noisy[~is_real], timesteps[~is_real])
        means, means_before = (functional.avg_pool2d(values, CELL) for values in (images, before))
        losses = ANCHOR * (means - means_before).square().mean(dim=(1, 2, 3))
        losses = torch.where(is_kept, KEEP * (images - before).square().mean(dim=(1, 2, 3)), losses)
        distance = (shown(images[is_real]) - batch.rows(is_real).clean()).abs().mean(dim=(1, 2, 3))
        losses = losses.masked_scatter(is_real, RECONSTRUCTION * distance)
        adversarial = self.adversarial(shown(images[~is_kept]), batch.rows(~is_kept))
        return losses.masked_scatter(~is_kept, losses[~is_kept] + adversarial)

    def step_of(self, timesteps: Tensor, is_kept: Tensor) -> Tensor:
        """The number of the step of each image, int64 (B,): of those that are kept, or of those that are judged."""
        kept = len(self.timesteps) - self.judged_steps
        share = timesteps / len(self.schedule)
        return torch.where(is_kept, share * kept, kept + share * self.judged_steps).long()

    def clean(self, denoiser: nn.Module, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean image as predicted at z_t (B, C, S, S) and t (B,), float32 in about [-1, 1]."""
        prediction = predict(denoiser, batch, noisy, timesteps)
        return self.schedule.clean(prediction, noisy, timesteps) / self.schedule.scaling_factor

    @torch.no_grad()
    def simulate(self, denoiser: nn.Module, batch: Batch, timesteps: Tensor) -> Tensor:
        """z_t (B, C, S, S) at each image's timestep, (B,), or `CLEAN`, which the student reaches from pure noise."""
        sample = batch.noise.clone()
        for now, then in itertools.pairwise([*self.timesteps, torch.full_like(self.timesteps[0], CLEAN)]):
            further = timesteps < now
            if not further.any():
                break
            part = batch.rows(further)
            now, then = (timestep.expand(len(part.timesteps)) for timestep in (now, then))
            clean = self.schedule.scaling_factor * self.clean(denoiser, part, sample[further], now)
            levels = (noise_level(self.schedule, timestep) for timestep in (now, then))
            sample[further] = ddim_step(sample[further], clean, *levels)
        return sample

    def adversarial(self, generated: Tensor, batch: Batch) -> Tensor:
        """The losses of generator and discriminator, float32 (B,), for images (B, C, S, S) with these conditions.

        Training images of the batch are noised to the same timesteps.
        """
        batch = replace(batch, timesteps=torch.randint_like(batch.timesteps, len(self.schedule)))
        noise, noise_of_real = torch.randn_like(generated), torch.randn_like(generated)
        features = self.features(generated, batch, noise)
        with torch.no_grad():
            features_of_real = self.features(batch.clean(), batch, noise_of_real)
        weights = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        of_generator = functional_call(self.discriminator, weights, (features, generated))
        of_generated = self.discriminator([values.detach() for values in features], generated.detach())
        of_real = self.discriminator(features_of_real, batch.clean())
        return hinge(of_generated, -1) + hinge(of_real, 1) - mean_of(of_generator)

    def features(self, images: Tensor, batch: Batch, noise: Tensor) -> list[Tensor]:
        """What the teacher sees in images (B, C, S, S), under their conditions.

        They are noised, to the batch's timesteps moved into `INTERVAL`.
        """
        total = len(self.schedule)
        low, high = (int(share * total) for share in INTERVAL)
        timesteps = low + batch.timesteps * (high - low) // total
        noisy = self.schedule.add_noise(self.schedule.scaling_factor * images, noise, timesteps)
        with features_of(self.teacher.unet) as features:
            predict(self.teacher, batch, noisy, timesteps)
        return features

    def logits(self, denoiser: ConditionalDenoiser, batch: Batch) -> Tensor:
        """What the discriminator of a denoiser says of the images of a batch, (B,)."""
        return mean_of(denoiser.discriminator(self.features(batch.clean(), batch, batch.noise), batch.clean()))

    def generated_logits(self, denoiser: ConditionalDenoiser, batch: Batch) -> Tensor:
        """What it says of images that are generated under their conditions, (B,)."""
        images = self.simulate(denoiser, batch, torch.full_like(batch.timesteps, CLEAN))
        images = shown(images / self.schedule.scaling_factor)
        return mean_of(denoiser.discriminator(self.features(images, batch, batch.noise.roll(1, 0)), images))
