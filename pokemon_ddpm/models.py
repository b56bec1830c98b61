"""Models by name: the released ones, and what identifies a network and its weights."""

import hashlib
import json
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
from torch import nn

from pokemon_ddpm import RELEASED

LICENSE_FILE = "LICENSE"  # in the folder of a model with a license of its own
# Models of which only the project's repository has the weights, with their folders there.
OUTSIDE = {"pokemon-ddpm-32": "benchmarks/training/pokemon-ddpm-32"}  # released until 1.0; a recipe begins with it


def locate_model(model: str) -> str:
    """The folder of a released model for its name, unless there is a folder of that name; otherwise `model` itself.

    Raises:
        ValueError: If it is one of `OUTSIDE`.
    """
    if Path(model).exists():
        return model
    released = {file.parent.name: str(file.parent) for file in sorted(RELEASED.glob("*/model_index.json"))}
    if model in OUTSIDE:  # it would be looked for on the Hub
        here = f"{OUTSIDE[model]} in the project's repository"
        raise ValueError(f"The package does not contain {model}. Use {' or '.join(released)}, or its folder, {here}.")
    return released.get(model, model)


def model_name(model: str) -> str:
    """The inverse of `locate_model`: a name that is valid on other machines, where there is one."""
    return Path(model).name if Path(model).parent == RELEASED else model


def network_config(unet: UNet2DModel) -> dict[str, Any]:
    """The arguments a network was built with, as JSON has them (lists for tuples)."""
    return json.loads(json.dumps({name: v for name, v in unet.config.items() if not name.startswith("_")}))


def weights_digest(*modules: nn.Module) -> str:
    """SHA-256 of the weights, with floating-point ones in float32, in hexadecimal."""
    total = hashlib.sha256()
    for module in modules:
        for name, values in sorted(module.state_dict().items()):
            values = values.float() if values.is_floating_point() else values
            total.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
