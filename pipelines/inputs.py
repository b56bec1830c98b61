"""What a call of the pipeline may be given; everything else is refused before anything is computed."""

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from PIL import Image

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
CALLBACK_TENSORS = ("latents", "pred_original_sample")


def is_number(value: Any, kind: type = Real) -> bool:
    """Whether a value is a finite number of a kind; truth values are none."""
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def check_names(given: Iterable[str], attributes: Iterable[str], arguments: Iterable[str]) -> None:
    """Refuses a misspelt argument of a call, which would else be taken for an attribute.

    Args:
        given: Names that are no arguments.
        attributes: What can be asked for.
        arguments: Of the call.

    Raises:
        TypeError: If a name is no attribute and near to an argument.
    """
    for name in given:
        near = difflib.get_close_matches(name, [*attributes, *arguments], n=1, cutoff=0.8)
        if near and near[0] != name:
            raise TypeError(f"There is no argument {name!r}. Did you mean {near[0]!r}?")


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raises ValueError unless a value is a whole number from `low` to `high`."""
    if not is_number(value, Integral) or value < low or (high is not None and value > high):
        limits = f"from {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {limits}, but is {value!r}.")


def check_output_type(output_type: Any) -> None:
    """Raises ValueError for an unknown output type."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, but is {output_type!r}.")


def check_callback(callback: Any, tensor_inputs: Sequence[str]) -> None:
    """Raises ValueError if a callback cannot be called, or asks for tensors that there are not."""
    if callback is not None and not callable(callback):
        raise ValueError(f"callback_on_step_end must be callable, but is {callback!r}.")
    unknown = [name for name in tensor_inputs if name not in CALLBACK_TENSORS]
    if unknown:
        raise ValueError(
            f"callback_on_step_end_tensor_inputs knows {', '.join(CALLBACK_TENSORS)}, but got {', '.join(unknown)}."
        )


def guidance_scales(guidance_scale: Any, count: int) -> tuple[float, ...]:
    """One scale an image, of a number or of a list of them.

    Raises:
        ValueError: If one is no finite number, or the list has another length than the number of images.
    """
    one_each = isinstance(guidance_scale, (list, tuple)) or getattr(guidance_scale, "ndim", 0) > 0
    scales = [
        float(scale) if isinstance(scale, torch.Tensor) and scale.ndim == 0 else scale
        for scale in (guidance_scale if one_each else [guidance_scale] * count)
    ]
    if not all(is_number(scale) for scale in scales):
        raise ValueError(f"guidance_scale must be a finite number or a list of them, but is {guidance_scale!r}.")
    if len(scales) != count:
        raise ValueError(f"A list of guidance_scale must have one an image, {count}, but has {len(scales)}.")
    return tuple(map(float, scales))


def check_guidance(guidance_interval: Any, guidance_rescale: Any) -> None:
    """Raises ValueError unless the interval is a pair 0 <= low < high and the rescaling lies in [0, 1]."""
    try:
        low, high = guidance_interval
        well = is_number(low) and 0 <= low < high and not isinstance(high, bool)
    except (TypeError, ValueError):
        well = False
    if not well:
        raise ValueError(
            f"guidance_interval must be a pair of noise levels (low, high) with 0 <= low < high, but is "
            f"{guidance_interval!r}."
        )
    if not is_number(guidance_rescale) or not 0 <= guidance_rescale <= 1:
        raise ValueError(f"guidance_rescale must be a number from 0 to 1, but is {guidance_rescale!r}.")


def check_generators(generator: Any, count: int) -> None:
    """Raises ValueError unless it is None, a generator, or a list of one an image."""
    generators = generator if isinstance(generator, list) else [] if generator is None else [generator]
    if not all(isinstance(one, torch.Generator) for one in generators):
        raise ValueError(f"generator must be a torch.Generator, or a list of one an image, but is {generator!r}.")
    if isinstance(generator, list) and len(generator) != count:
        raise ValueError(f"A list of generators must have one an image, {count}, but has {len(generator)}.")


def check_tensor(name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless it is a tensor of a shape, of finite numbers."""
    if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
        given = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a tensor of the shape {shape}, but is {given}.")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} must hold finite numbers, but holds NaN or infinity.")


def one_each(name: str, value: Any, count: int) -> list:
    """A list of one value for each of `count`, of a list or of one for all.

    Raises:
        ValueError: If a list has another length.
    """
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise ValueError(f"A list of {name} must have one a pokemon_type, {count}, but has {len(values)}.")
    return values


def check_pictures(
    image: Any, mask_image: Any, strength: Any, count: int, sample_shape: tuple[int, int, int]
) -> list[Image.Image] | torch.Tensor | None:
    """Checks what is to be varied or repainted.

    Returns:
        One picture an image, or a tensor of them (N, C, S, S) in [-1, 1]; None without.

    Raises:
        ValueError: If a picture or the mask has another size than the model's, there is a mask without a picture, or
            the strength is not above 0 and at most 1.
    """
    if not is_number(strength) or not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and at most 1, but is {strength!r}.")
    if image is None:
        if mask_image is not None:
            raise ValueError("mask_image says which part of image to repaint; give image as well.")
        return None
    channels, height, width = sample_shape
    if mask_image is not None:
        _check_mask(mask_image, count, (height, width))
    if isinstance(image, torch.Tensor):
        check_tensor("image", image, (count, *sample_shape))
        if image.abs().max() > 1:
            raise ValueError("image must hold numbers in [-1, 1].")
        return image
    images = image if isinstance(image, list) else [image] * count
    if len(images) != count:
        raise ValueError(f"A list of image must have one an image, {count}, but has {len(images)}.")
    for one in images:
        if not isinstance(one, Image.Image):
            raise ValueError(f"image must be a PIL image, a list of one an image or a tensor, but is {one!r}.")
        if one.mode != "RGB":
            raise ValueError(
                f"image must be in RGB, but is in {one.mode}; lay it on white by pokemon_ddpm.postprocessing.on_white."
            )
        if one.size != (width, height):
            raise ValueError(
                f"image is {one.width}x{one.height}, but the model draws {width}x{height}; bring it to that size by "
                "pokemon_ddpm.preprocessing.preprocess."
            )
    return images


def _check_mask(mask_image: Any, count: int, size: tuple[int, int]) -> None:
    if isinstance(mask_image, torch.Tensor):
        allowed = [(1, 1, *size), (count, 1, *size)]
        if tuple(mask_image.shape) not in allowed:
            raise ValueError(f"mask_image must have the shape {allowed[0]}, but has {tuple(mask_image.shape)}.")
        if not ((mask_image >= 0) & (mask_image <= 1)).all():  # nor is NaN
            raise ValueError("mask_image must hold numbers from 0 to 1: 1 where the sprite may change.")
    elif not isinstance(mask_image, Image.Image):
        raise ValueError(f"mask_image must be a PIL image or a tensor, but is {mask_image!r}.")
    elif mask_image.size != size[::-1]:
        raise ValueError(f"mask_image is {mask_image.width}x{mask_image.height}, but image is {size[1]}x{size[0]}.")


Callback = Callable[[Any, int, int, dict], dict | None]
