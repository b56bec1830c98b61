"""Sets of images: as RGBA, as the default output of `generate`, reduced, mirrored and shifted, chosen at random."""

import torch
from PIL import Image
from torch.nn import functional
from tqdm.auto import tqdm

from pokemon_ddpm.pipelines.sprite_preprocessing import transparent
from pokemon_ddpm.postprocessing import WHITE_TOLERANCE, to_sprite
from pokemon_ddpm.preprocessing import as_arrays, as_tensor, over_white, preprocess


def as_rgba(images: torch.Tensor) -> torch.Tensor:
    """Images, uint8 (N, C, S, S), with alpha: RGB by `preprocessing.transparent`, with the tolerance of `to_sprite`.

    Real images on exact white need no tolerance, but without it only they would have a pale rim.
    """
    if images.shape[1] == 4:
        return images
    return as_tensor(transparent(image, WHITE_TOLERANCE) for image in as_arrays(images))


def default_output(images: torch.Tensor) -> torch.Tensor:
    """What `generate` makes of samples, uint8 (N, C, S, S), with its defaults: RGBA, see `to_sprite`."""
    return as_tensor(to_sprite(Image.fromarray(image)) for image in tqdm(as_arrays(images), "Processing"))


def reduced(images: torch.Tensor, side: int) -> torch.Tensor:
    """Sprites, uint8 (N, 4, S, S) with an alpha of 0 or 255, preprocessed again to a smaller side, by a vote."""
    return as_tensor(preprocess(Image.fromarray(image), side, "pixel") for image in as_arrays(over_white(images)))


def flip_and_shift(images: torch.Tensor, generator: torch.Generator, max_shift: int) -> torch.Tensor:
    """Mirrors images, uint8 (N, C, S, S), with probability 1/2 and shifts them by up to `max_shift` pixels.

    What enters is background: white, with an alpha of 0 in RGBA. Colors stay.
    """
    count, channels, side, device = *images.shape[:3], images.device
    mirrored = torch.rand(count, generator=generator).to(device) < 0.5
    shift = torch.randint(2 * max_shift + 1, (2, count, 1), generator=generator).to(device)
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    background = torch.tensor([255, 255, 255, 0][:channels], dtype=images.dtype, device=device).view(-1, 1, 1)
    padded = functional.pad(images - background, (max_shift,) * 4) + background  # modulo 256
    rows, columns = torch.arange(side, device=device) + shift
    index = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_rows(total: int, count: int, seed: int) -> torch.Tensor:
    """Positions, int64 (`count`,), of `total` images in random order, each as often as others or once more."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(total, generator=generator) for _ in range(-(-count // total))]
    return torch.cat(orders)[:count]
