"""Beginning with a sprite and not with noise: variations, and repainting a part."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import SchedulerMixin
from PIL import Image


def skip_steps(scheduler: SchedulerMixin, strength: float) -> torch.Tensor:
    """Leaves out the first steps of a scheduler whose timesteps are set, and returns those that remain.

    Args:
        scheduler: Its further steps count from the first that remains.
        strength: Share of the steps to keep, above 0; at least one is.

    Raises:
        ValueError: If the scheduler asks the network twice a step.
    """
    if scheduler.order > 1:
        raise ValueError(
            f"{type(scheduler).__name__} goes every step twice and cannot begin with image; take another scheduler."
        )
    steps = len(scheduler.timesteps)
    start = steps - max(1, round(steps * strength))
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    return scheduler.timesteps[start:]


def as_samples(images: list[Image.Image] | torch.Tensor) -> torch.Tensor:
    """Pictures as the network sees them, float32 (N, 3, S, S) in [-1, 1].

    Args:
        images: RGB pictures of one size, or what is such a tensor already.
    """
    if isinstance(images, torch.Tensor):
        return images.float()
    arrays = [np.asarray(image) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_mask(mask: Image.Image | torch.Tensor) -> torch.Tensor:
    """What is to be repainted, float32 (1, 1, S, S) or (N, 1, S, S): 1 where it is, 0 where the picture stays.

    Args:
        mask: A picture, of which what is lighter than middle grey is repainted; or numbers in [0, 1].
    """
    if isinstance(mask, torch.Tensor):
        return (mask > 0.5).float()
    return torch.from_numpy(np.asarray(mask.convert("L")) > 127).float()[None, None]


@dataclass(frozen=True)
class Original:
    """Pictures to begin with.

    Attributes:
        clean: (N, C, S, S) in [-1, 1].
        noise: Unit Gaussian noise, (N, C, S, S).
        mask: 1 where they may change, (1 or N, 1, S, S); None for everywhere.
    """

    clean: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor | None = None

    def noisy(self, scheduler: SchedulerMixin, t: torch.Tensor) -> torch.Tensor:
        """The pictures as a scheduler has them at a timestep (Ho et al. 2020, equation 4)."""
        return scheduler.add_noise(self.clean, self.noise, t.view(1))

    def keep(self, latents: torch.Tensor, scheduler: SchedulerMixin, next_t: torch.Tensor | None) -> torch.Tensor:
        """Puts back what must not change, with the noise of the next timestep; None for no noise.

        As in section 4.1 of RePaint (Lugmayr et al. 2022), without its resampling.
        """
        if self.mask is None:
            return latents
        known = self.clean if next_t is None else self.noisy(scheduler, next_t)
        return torch.where(self.mask > 0, latents, known)


def slerp(one: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    """Spherical interpolation (Shoemake 1985): between two Gaussian noises all lie at the same distance from zero.

    Args:
        one: Any shape.
        other: The same.
        share: 0 is `one`, 1 is `other`.
    """
    cosine = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)
    angle = cosine.clamp(-1, 1).acos()
    if angle < 1e-4:
        return torch.lerp(one, other, share)
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()
