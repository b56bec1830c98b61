"""What of a sprite can be said in one number: its colours and its size."""

import torch

INK_TOLERANCE = 8
"""A pixel is ink if a channel is further from white: what is nearer differs from the background by noise alone."""


def picture_statistics(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Statistics of pictures on white.

    Args:
        images: uint8 (N, 3, S, S), RGB.

    Returns:
        Name -> float64 (N,):
            "red", "green", "blue": Mean over the ink, in [0, 255].
            "saturation": Mean over the ink of (max - min) / max of the channels, in [0, 1].
            "ink": Share of the pixels that are ink.
            "width", "height": Of the ink's box, in pixels.
            "colors": Number of different colours of the ink.
        A picture without ink is 255 in its colours, and 0 in all else.
    """
    ink = (255 - images.amin(dim=1)) > INK_TOLERANCE  # (N, S, S)
    count = ink.sum(dim=(1, 2)).double()
    pixels = images.double()
    high, low = pixels.amax(dim=1), pixels.amin(dim=1)

    def mean(values: torch.Tensor, empty: float) -> torch.Tensor:
        return torch.where(count > 0, (values * ink).sum(dim=(1, 2)) / count.clamp(min=1), empty)

    channels = {name: mean(pixels[:, c], 255.0) for c, name in enumerate(("red", "green", "blue"))}
    return channels | {
        "saturation": mean((high - low) / high.clamp(min=1), 0.0),
        "ink": ink.double().mean(dim=(1, 2)),
        "width": _extent(ink.any(dim=1)),
        "height": _extent(ink.any(dim=2)),
        "colors": _different_colors(images, ink),
    }


def _extent(present: torch.Tensor) -> torch.Tensor:
    """From the first to the last true value of each row: bool (N, S) to float64 (N,)."""
    places = torch.arange(present.shape[1])
    first = torch.where(present, places, present.shape[1]).amin(dim=1)
    last = torch.where(present, places, -1).amax(dim=1)
    return (last - first + 1).clamp(min=0).double()


def _different_colors(images: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.long().unbind(dim=1)
    codes = torch.where(ink, (red << 16) + (green << 8) + blue, -1).flatten(1).sort(dim=1).values
    # In order, each colour begins where a code differs from the one before; all that is no ink begins with -1.
    begins = torch.cat([codes[:, :1] >= 0, codes.diff(dim=1) > 0], dim=1)
    return begins.sum(dim=1).double()
