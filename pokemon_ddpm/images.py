"""Sets of images: tensors with channels first, as networks see them, to and from arrays of single images."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image


def as_arrays(images: torch.Tensor) -> np.ndarray:
    """Images, uint8 (N, C, S, S), as an array (N, S, S, C)."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def as_tensor(images: Iterable[Image.Image | np.ndarray]) -> torch.Tensor:
    """The inverse of `as_arrays`, for one image (S, S, C) after the other."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2).copy())
