"""Classifier two-sample test (Lopez-Paz & Oquab 2017): how well a network tells generated from real images.

The network, the judge, is trained on real images of the training lines and on samples with their conditions. It is
judged on real images of held-out evolution lines and on other samples, with the conditions of these. An accuracy of
50 % is perfect. The judge must itself be able to fail; see `self_check`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.corruptions import blur, move_pixels
from pokemon_ddpm.evaluation.images import flip_and_shift
from pokemon_ddpm.evaluation.metrics import TAIL, Estimate
from pokemon_ddpm.preprocessing import over_white

STEPS = 300  # at 64 px, elsewhere for as many pixels; fixed before any model was judged, as everything here
HALF_BATCH = 32  # images of each class in a batch
LEARNING_RATE = 3e-3  # maximum
WEIGHT_DECAY = 0.05
MAX_SHIFT = 4  # pixels
WIDTHS = (16, 32, 64, 96)  # channels at the resolution of the images, at 1/2, 1/4 and 1/8
NEAR = 8  # gray levels from which neighboring pixels count as wholly different
BATCH_SIZE = 128  # without gradients
NUM_BOOTSTRAPS = 1000
LIGHT_BLUR, MOVED_SHARE = 0.5, 0.05  # of the self-check: standard deviation in pixels, share of the pixels


@dataclass(frozen=True)
class Lines:
    """Images, uint8 (N, C, S, S) in RGB or RGBA, and the evolution line of each, int64 (N,), -1 where unknown.

    The line of a sample is that of the image whose conditions it has.
    """

    images: torch.Tensor
    lines: torch.Tensor

    @classmethod
    def of(cls, data: SpriteTensors) -> "Lines":
        """Real images."""
        lines = data.labels.get("line")
        return cls.unknown(data.images.cpu()) if lines is None else cls(data.images.cpu(), lines.cpu())

    @classmethod
    def unknown(cls, images: torch.Tensor) -> "Lines":
        """Images of unknown lines."""
        return cls(images, torch.full((len(images),), -1))

    def rows(self, chosen: torch.Tensor) -> "Lines":
        """Some of the images, by index or by mask."""
        return Lines(self.images[chosen], self.lines[chosen])

    def changed(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Lines":
        """The same with other images."""
        return Lines(function(self.images), self.lines)


def two_sample_test(
    train_real: Lines, train_generated: Lines, real: Lines, generated: Lines, seed: int, device: torch.device | str
) -> dict[str, Estimate]:
    """Trains the judge on the first two sets, and judges the others.

    Args:
        seed: Of initial weights, batches, augmentation and bootstrap.
        device: To train on.

    Returns:
        "accuracy", the mean of the shares of real and of generated images that are recognized, and "auc", the
        probability that a sample seems more generated than a real image. The intervals are by `line_bootstrap`; that
        another training would give another judge is not in them.
    """
    judge = fit_judge(train_real.images, train_generated.images, seed, device)
    logits = torch.cat([judge_logits(judge, each.images) for each in (real, generated)])
    is_generated = np.arange(len(logits)) >= len(real.images)
    lines = torch.cat([real.lines, generated.lines])
    return line_bootstrap(logits.numpy(), is_generated, lines.numpy(), seed)


class Judge(nn.Module):
    """A convolutional network of 210,000 parameters: `judge_input` (N, 8, S, S) to logits (N,), above 0 generated.

    The averages over the sprite after every stage go into the last layer, so that single pixels are not lost when the
    resolution is halved: those after the first are like a histogram of local binary patterns (Ojala et al. 2002).
    """

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList()
        for before, width in zip((8, *WIDTHS), WIDTHS, strict=False):
            stride = 1 if width == WIDTHS[0] else 2
            self.stages.append(nn.Sequential(*_convolution(before, width, stride), *_convolution(width, width)))
        self.last = nn.Linear(1 + sum(WIDTHS), 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        area = pixels[:, 3].gt(0).float().mean(dim=(1, 2))[:, None]
        averages = [area]
        for stage in self.stages:
            pixels = stage(pixels)
            averages.append(pixels.mean(dim=(2, 3)) / (area + 0.02))  # not infinite for an empty image
        return self.last(torch.cat(averages, dim=1))[:, 0]


def _convolution(channels: int, width: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def judge_input(images: torch.Tensor) -> torch.Tensor:
    """Images, uint8 (N, C, S, S), as input of the judge: float32 (N, 8, S, S) in [0, 1], 0 for the background.

    255 - color on white, alpha (for RGB: not white), and the differences to four neighbors, 1 from `NEAR` gray levels:
    whether neighbors are equal matters in pixel art, and is hard to learn from their values.
    """
    color = (255 - over_white(images).float()) / 255
    alpha = images[:, 3:].float() / 255 if images.shape[1] == 4 else color.amax(dim=1, keepdim=True).gt(0).float()
    pixels = torch.cat([color, alpha], dim=1)
    padded = functional.pad(pixels, (1, 1, 0, 1))
    neighbors = padded[:, :, :-1, 2:], padded[:, :, 1:, 1:-1], padded[:, :, 1:, 2:], padded[:, :, 1:, :-2]
    differences = [(pixels - each).abs().amax(dim=1, keepdim=True) * (255 / NEAR) for each in neighbors]
    return torch.cat([pixels, *(each.clamp(max=1) for each in differences)], dim=1)


def fit_judge(real: torch.Tensor, generated: torch.Tensor, seed: int = 0, device: torch.device | str = "cpu") -> Judge:
    """Trains the judge on images, uint8 (N, C, S, S) and (M, C, S, S), equally many of both in each batch."""
    device = torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    target = (torch.arange(2 * HALF_BATCH) >= HALF_BATCH).float().to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge().to(device, memory_format=torch.channels_last).train()
    steps = max(1, STEPS * 64**2 // real.shape[-1] ** 2)
    optimizer = torch.optim.AdamW(judge.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, steps, pct_start=0.1, cycle_momentum=False
    )
    for _ in tqdm(range(steps), "Training the judge"):
        rows = [torch.randint(len(each), (HALF_BATCH,), generator=generator) for each in (real, generated)]
        batch = flip_and_shift(torch.cat([real[rows[0]], generated[rows[1]]]), generator, MAX_SHIFT)
        pixels = judge_input(batch.to(device)).contiguous(memory_format=torch.channels_last)
        loss = functional.binary_cross_entropy_with_logits(judge(pixels), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def judge_logits(judge: Judge, images: torch.Tensor) -> torch.Tensor:
    """Logits, float32 (N,) on the CPU, of images, uint8 (N, C, S, S); the mean over the image and its mirror image."""
    device, found = judge.last.weight.device, []
    for part in images.split(BATCH_SIZE):
        views = (judge(judge_input(view.to(device))) for view in (part, part.flip(3)))
        found.append((sum(views) / 2).cpu())
    return torch.cat(found)


def line_bootstrap(logits: np.ndarray, is_generated: np.ndarray, lines: np.ndarray, seed: int) -> dict[str, Estimate]:
    """Balanced accuracy and AUC of logits (N,), with percentile intervals of a bootstrap over evolution lines (N,).

    Images of one line resemble each other, so whole lines are resampled, with their real images and their samples
    (Davison & Hinkley 1997, section 3.8). An image without a line, -1, is one of its own.
    """
    unknown = lines < 0
    lines = np.where(unknown, lines.max(initial=0) + 1 + np.arange(len(lines)), lines)
    different, cluster = np.unique(lines, return_inverse=True)
    generator = np.random.default_rng(seed)
    times = generator.multinomial(len(different), np.full(len(different), 1 / len(different)), NUM_BOOTSTRAPS)
    weights = np.concatenate([np.ones((1, len(lines)), dtype=np.int64), times[:, cluster]])
    found = {"accuracy": weighted_accuracy(logits, is_generated, weights)}
    found["auc"] = weighted_auc(logits, is_generated, weights)
    n, m = int(is_generated.sum()), int((~is_generated).sum())
    estimates = {}
    for name, values in found.items():
        low, high = np.nanquantile(values[1:], [TAIL, 1 - TAIL])  # NaN where a class is in none of the lines
        estimates[name] = Estimate(float(values[0]), float(low), float(high), n, m)
    return estimates


def weighted_accuracy(logits: np.ndarray, is_generated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the shares of both classes that are recognized, (B,), for logits (N,) and weights (B, N)."""
    right = (logits > 0) == is_generated
    shares = [weights[:, each] @ right[each] / _sums(weights[:, each]) for each in (is_generated, ~is_generated)]
    return sum(shares) / 2


def weighted_auc(logits: np.ndarray, is_generated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the pairs in which the sample has the larger logit, ties half, (B,), for weights (B, N) of images."""
    values, place = np.unique(logits, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    generated, real = (
        np.add.reduceat((weights * each)[:, order], starts, axis=1) for each in (is_generated, ~is_generated)
    )
    below = real.cumsum(axis=1) - real / 2
    return (generated * below).sum(axis=1) / (_sums(generated) * _sums(real))


def _sums(weights: np.ndarray) -> np.ndarray:
    """Sum of each row, NaN for 0."""
    total = weights.sum(axis=1).astype(np.float64)
    return np.where(total > 0, total, np.nan)


def self_check(
    train: Lines, held_out: Lines, seed: int, device: torch.device | str
) -> Iterator[tuple[str, dict[str, Estimate]]]:
    """Judges real images, a random half of them as if they were samples: unchanged, lightly blurred, pixels moved.

    The judge passes if it finds 50 % for the first, and 90 % or more for the others.
    """
    (train_real, train_other), (real, other) = (halves(each, seed) for each in (train, held_out))
    for name, change in SELF_CHECKS.items():
        sets = train_real, train_other.changed(change), real, other.changed(change)
        yield name, two_sample_test(*sets, seed, device)


def halves(data: Lines, seed: int) -> tuple[Lines, Lines]:
    """Two random halves."""
    order = torch.randperm(len(data.lines), generator=torch.Generator().manual_seed(seed))
    first, second = order.tensor_split(2)
    return data.rows(first), data.rows(second)


def lightly_blurred(images: torch.Tensor) -> torch.Tensor:
    """Colors blurred by `LIGHT_BLUR` pixels; the alpha of RGBA stays, since it would give the blur away."""
    blurred = blur(images[:, :3], LIGHT_BLUR * 8 / images.shape[-1])
    if images.shape[1] == 3:
        return blurred
    return torch.cat([torch.where(images[:, 3:] > 0, blurred, 255), images[:, 3:]], dim=1)


SELF_CHECKS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "real": lambda images: images,
    "lightly blurred": lightly_blurred,
    "pixels moved": lambda images: move_pixels(images, MOVED_SHARE),
}
