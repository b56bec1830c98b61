"""Classifier two-sample test (Lopez-Paz & Oquab 2017): how well a network tells generated from real images.

The classifier is trained on real images of the training lines and on samples with their conditions. It is tested on
real images of held-out evolution lines and on other samples, with the conditions of these. An accuracy of 50 % is
perfect. The test must be able to fail: tests/evaluation/test_two_sample.py shows that it sees blur.
"""

from collections.abc import Sequence

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from torch import Tensor, nn
from torch.nn import functional

from pokemon_ddpm.evaluation.images import flip_and_shift
from pokemon_ddpm.evaluation.metrics import TAIL, Estimate, line_resamples
from pokemon_ddpm.preprocessing import over_white

STEPS = 300  # at 64 px, elsewhere for as many pixels; fixed before any model was measured, as everything here
HALF_BATCH = 32  # images of each class in a batch
LEARNING_RATE = 3e-3  # maximum
WEIGHT_DECAY = 0.05
MAX_SHIFT = 4  # pixels
WIDTHS = (16, 32, 64, 96)  # channels at the resolution of the images, at 1/2, 1/4 and 1/8
NEAR = 8  # gray levels from which neighboring pixels count as wholly different
BATCH_SIZE = 128  # without gradients


def two_sample_test(sets: Sequence[Tensor], lines: Tensor, seed: int, device: torch.device | str) -> Estimate:
    """Trains the classifier on real and generated images, uint8 (N, C, S, S) RGB or RGBA, and tests it on two others.

    `lines`, int64, are the evolution lines of the real images of the test, then those of the images whose conditions
    the generated ones have; -1 where unknown. Its interval does not know that another training gives another result.
    """
    classifier = fit_classifier(*sets[:2], seed, device)
    logits = torch.cat([classifier_logits(classifier, images) for images in sets[2:]])
    return line_bootstrap(logits.double().numpy(), np.arange(len(logits)) >= len(sets[2]), lines.numpy(), seed)


class TwoSampleClassifier(nn.Module):
    """A convolutional network of 210,000 parameters: `classifier_input` to logits (N,), above 0 generated.

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

    def forward(self, pixels: Tensor) -> Tensor:
        area = pixels[:, 3].gt(0).float().mean(dim=(1, 2))[:, None]
        averages = [area]
        for stage in self.stages:
            pixels = stage(pixels)
            averages.append(pixels.mean(dim=(2, 3)) / (area + 0.02))  # not infinite for an empty image
        return self.last(torch.cat(averages, dim=1))[:, 0]


def _convolution(channels: int, width: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def classifier_input(images: Tensor) -> Tensor:
    """Images, uint8 (N, C, S, S), as input of the classifier: float32 (N, 8, S, S) in [0, 1], 0 for the background.

    255 - color on white, alpha (for RGB: not white), and the differences to four neighbors, 1 from `NEAR` gray levels:
    whether neighbors are equal matters in pixel art, and is hard to learn from their values.
    """
    color = (255 - over_white(images).float()) / 255
    alpha = images[:, 3:].float() / 255 if images.shape[1] == 4 else color.amax(dim=1, keepdim=True).gt(0).float()
    pixels = torch.cat([color, alpha], dim=1)
    padded = functional.pad(pixels, (1, 1, 0, 1))
    neighbors = padded[:, :, :-1, 2:], padded[:, :, 1:, 1:-1], padded[:, :, 1:, 2:], padded[:, :, 1:, :-2]
    differences = [(pixels - shifted).abs().amax(dim=1, keepdim=True) * (255 / NEAR) for shifted in neighbors]
    return torch.cat([pixels, *(difference.clamp(max=1) for difference in differences)], dim=1)


def fit_classifier(
    real: Tensor, generated: Tensor, seed: int = 0, device: torch.device | str = "cpu", steps: int | None = None
) -> TwoSampleClassifier:
    """Trains the classifier on images, uint8 (N, C, S, S) and (M, C, S, S), equally many of both in each batch.

    `steps` are `STEPS` by default, of smaller images more.
    """
    device = torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    target = (torch.arange(2 * HALF_BATCH) >= HALF_BATCH).float().to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = TwoSampleClassifier().to(device, memory_format=torch.channels_last).train()
    steps = steps or max(11, STEPS * 64**2 // real.shape[-1] ** 2)  # 10 or fewer leave none to warm up
    optimizer = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    cycle = {"pct_start": 0.1, "cycle_momentum": False}
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, **cycle)
    for _ in tqdm(range(steps), "Training the two-sample classifier"):
        halves = [part[torch.randint(len(part), (HALF_BATCH,), generator=generator)] for part in (real, generated)]
        batch = flip_and_shift(torch.cat(halves), generator, MAX_SHIFT)
        pixels = classifier_input(batch.to(device)).contiguous(memory_format=torch.channels_last)
        loss = functional.binary_cross_entropy_with_logits(classifier(pixels), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


@torch.no_grad()
def classifier_logits(classifier: TwoSampleClassifier, images: Tensor) -> Tensor:
    """Logits, float32 (N,) on the CPU, of images, uint8 (N, C, S, S); the mean over the image and its mirror image."""
    device, logits = classifier.last.weight.device, []
    for part in images.split(BATCH_SIZE):
        views = (classifier(classifier_input(view.to(device))) for view in (part, part.flip(3)))
        logits.append((sum(views) / 2).cpu())
    return torch.cat(logits)


def line_bootstrap(logits: np.ndarray, is_generated: np.ndarray, lines: np.ndarray, seed: int) -> Estimate:
    """`balanced_accuracy` of logits, float64 (N,), for bool (N,), with the percentile interval of `line_resamples`."""
    # With both classes, since lines are resampled with their real images and their samples.
    resamples = [rows for rows in line_resamples(lines, seed) if 0 < is_generated[rows].sum() < len(rows)]
    resampled = [balanced_accuracy(logits[rows], is_generated[rows]) for rows in resamples]
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL])
    value, n, m = balanced_accuracy(logits, is_generated), int(is_generated.sum()), int((~is_generated).sum())
    return Estimate(float(value), float(low), float(high), n, m)


def balanced_accuracy(logits: np.ndarray, is_generated: np.ndarray) -> float:
    """Mean of the shares of both classes that are recognized, for logits (N,)."""
    right = (logits > 0) == is_generated
    return (right[is_generated].mean() + right[~is_generated].mean()) / 2
