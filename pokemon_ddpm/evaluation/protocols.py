"""What the evaluation needs of networks that look at sprites, and how it asks them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch

_BATCH = 64


class FeatureExtractor(Protocol):
    """A network that turns pictures into features.

    Attributes:
        name: For the report: figures of different networks do not compare.
        dimension: D.
    """

    name: str
    dimension: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Features, float32 (N, D), of pictures, uint8 (N, 3, S, S)."""


class AttributeClassifier(Protocol):
    """A network that says what sprites are.

    Attributes:
        name: For the report.
        words: Attribute -> its words, such as {"type": ("bug", ...), "color": ("black", ...)}.
    """

    name: str
    words: Mapping[str, tuple[str, ...]]

    def __call__(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Attribute -> logits, float32 (N, K), of pictures, uint8 (N, 3, S, S).

        Those of "type" are multi-label: the logit of each type on its own. Those of any other attribute are of one
        word out of K.
        """


def extract_features(extractor: FeatureExtractor, images: torch.Tensor) -> torch.Tensor:
    """Features of any number of pictures, which do not depend on how many there are or on which are beside them.

    Args:
        extractor: The network.
        images: uint8 (N, 3, S, S).

    Returns:
        float32 (N, D).

    Raises:
        ValueError: If the network returns something else than its protocol says, or what is not finite.
    """
    parts = []
    for features, count in _in_batches(extractor, images):
        _check(extractor.name, "features", features, extractor.dimension)
        parts.append(features[:count].float().cpu())
    return torch.cat(parts) if parts else torch.empty(0, extractor.dimension)


def predict(classifier: AttributeClassifier, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The words that a classifier finds in pictures.

    Of types: all whose probability is above one half, and always the likeliest; of any other attribute, the likeliest.

    Args:
        classifier: The network.
        images: uint8 (N, 3, S, S).

    Returns:
        Attribute -> bool (N, K).

    Raises:
        ValueError: As of `extract_features`.
    """
    parts: dict[str, list[torch.Tensor]] = {
        attribute: [torch.empty(0, len(words), dtype=torch.bool)] for attribute, words in classifier.words.items()
    }
    for logits, count in _in_batches(classifier, images):
        for attribute, words in classifier.words.items():
            _check(classifier.name, f"logits of {attribute}", logits[attribute], len(words))
            of_attribute = logits[attribute][:count].cpu()
            likeliest = torch.nn.functional.one_hot(of_attribute.argmax(dim=1), len(words)).bool()
            parts[attribute].append(likeliest | (of_attribute > 0) if attribute == "type" else likeliest)
    return {attribute: torch.cat(found) for attribute, found in parts.items()}


@torch.no_grad()
def _in_batches(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Iterator[tuple[Any, int]]:
    """Answers of a network to batches of one size, with how many of each are meant."""
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        # Kernels differ in their last bits between sizes of a batch, so the last one is filled up.
        filled = batch.repeat(-(-_BATCH // len(batch)), 1, 1, 1)[:_BATCH]
        yield network(filled), len(batch)


def _check(name: str, what: str, values: torch.Tensor, dimension: int) -> None:
    if tuple(values.shape) != (_BATCH, dimension):
        raise ValueError(f"{name} must return {what} ({_BATCH}, {dimension}), but returned {tuple(values.shape)}.")
    if not values.isfinite().all():
        raise ValueError(f"{name} returned {what} that are not finite.")
