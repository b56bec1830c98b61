"""What a saved model's folder holds, and its loading: a stranger's files are checked before anything is built of them.

A saved model carries a copy of this file.
"""

import importlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import diffusers
import safetensors.torch
import torch
from diffusers import SchedulerMixin, UNet2DModel
from huggingface_hub import HfApi, metadata_load
from safetensors import safe_open

from .file_checks import MAX_BYTES, check_file, check_inside

COMPONENTS = ("unet", "conditioner", "scheduler")
# Of a call.
DEFAULTS = (
    "num_inference_steps", "guidance_scale", "default_conditions", "image_guidance_scale", "reference_guidance_scale",
)  # fmt: skip
LICENSE = ("license", "license_name", "license_link")  # in the metadata of a card
INDEX_FILE, CARD_FILE = "model_index.json", "README.md"
# diffusers passes keys that begin with "_" on, but not to a constructor.
WEIGHTS_KEY = "_weights"  # in model_index.json: path -> SHA-256
# In the conditioner's configuration, which goes wherever the model goes.
DEFAULTS_KEY = "_defaults"  # `DEFAULTS` of the saved model
LICENSE_KEY = "_license"  # `LICENSE` of its card
PLAIN_WEIGHTS = "diffusion_pytorch_model.safetensors"
MAX_SIDE = 1024  # of a sample, in pixels


def as_list(value: Any) -> list:
    """The values of a key in JSON or YAML that may hold one or a list of them."""
    return value if isinstance(value, list) else [] if value is None else [value]


def license_terms(metadata: Any) -> dict[str, str]:
    """What metadata of a card, or what a configuration has of them, say of the license."""
    metadata = metadata if isinstance(metadata, dict) else {}
    return {key: metadata[key] for key in LICENSE if isinstance(metadata.get(key), str)}


def load_pipeline(cls: type, source: str, dtype: torch.dtype | None, **kwargs: Any) -> Any:
    """A pipeline of a class; for the arguments and what is raised see `HubMixin.from_pretrained`."""
    is_local = os.path.isdir(source)
    dtype = kwargs.pop("torch_dtype", None) or dtype or torch.float32
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating point type such as torch.float16, not {dtype!r}.")
    variant, device = kwargs.pop("variant", None), kwargs.pop("device_map", None) or "cpu"
    parts = {name: kwargs.pop(name) for name in COMPONENTS if name in kwargs}
    for without_effect in ("trust_remote_code", "use_safetensors", "low_cpu_mem_usage"):
        kwargs.pop(without_effect, None)
    if unknown := kwargs.keys() - {"cache_dir", "force_download", "local_files_only", "revision", "token"}:
        raise TypeError(f"from_pretrained does not take {', '.join(sorted(unknown))}.")
    # A name that begins with a folder here is a mistyped path, not a name on the Hub.
    hub_name = re.fullmatch(r"(\w[\w.-]*)(/\w[\w.-]*)?", source)
    if not is_local and (not hub_name or hub_name[2] and os.path.isdir(hub_name[1])):
        raise OSError(f"There is no model folder {source!r}.")
    folder = Path(source) if is_local else _pull(source, [INDEX_FILE, CARD_FILE], kwargs)
    with _damage_of(source):
        _check_files(folder, INDEX_FILE)
        index = {**cls.load_config(folder)}
        missing = {name: kind for name, kind in _component_classes(index).items() if parts.get(name) is None}
    if not is_local:  # the large files, now that it is known to be ours, and of the same commit
        files = [f"{name}/*.{suffix}" for name in missing for suffix in ("json", "safetensors")]
        folder = _pull(source, files, kwargs | {"revision": folder.name})
    with _damage_of(source):
        _check_files(folder, *(f"{name}/*.json" for name in missing))
        _check_files(folder, *(f"{name}/*.safetensors" for name in missing), limit=math.inf)
        for name, kind in missing.items():
            parts[name] = _load_component(kind, folder, name, variant, dtype, index)
        pipeline = cls(**parts, **{name: index[name] for name in DEFAULTS if name in index})
        if "conditioner" in missing:
            pipeline.conditioner.register_to_config(**{DEFAULTS_KEY: pipeline.defaults})
        if len(missing) == len(COMPONENTS):  # others may need other arguments
            pipeline.check_defaults()
        if card := card_text(folder):
            pipeline._card_text = card
            with suppress(Exception):  # of yaml; saving the model names a damaged card
                terms = license_terms(metadata_load(folder / CARD_FILE))
                pipeline.conditioner.register_to_config(**{LICENSE_KEY: terms or pipeline.license})
    return pipeline.to(device)


def card_text(folder: Path) -> str | None:
    """The card in a model's folder, if there is one; raises ValueError or OSError if it cannot be read."""
    _check_files(folder, CARD_FILE)
    file = folder / CARD_FILE
    return file.read_text(encoding="utf-8") if file.exists() else None


def _check_files(folder: Path, *patterns: str, limit: float = MAX_BYTES) -> None:
    """Raises ValueError if a file links out of a model's folder, so that saving the model copies another file."""
    for file in (each for pattern in patterns for each in folder.glob(pattern)):
        try:
            check_inside(file, folder)
            check_file(file, limit)
        except ValueError as error:
            raise ValueError(f"{file.relative_to(folder).as_posix()} {error}.") from error


@contextmanager
def _damage_of(source: str) -> Iterator[None]:
    """Turns every failure to read a model into one sentence that names the model."""
    try:
        yield
    except (ImportError, MemoryError, torch.OutOfMemoryError):
        raise  # nothing is wrong with the files
    except Exception as error:  # json, torch and diffusers fail in many ways at damaged files
        kind = OSError if isinstance(error, OSError) else ValueError
        message = "".join(filter(str.isprintable, " ".join(str(error).split())))[:300]
        if not isinstance(error, (OSError, ValueError)):
            message = f"a file is damaged ({type(error).__name__}: {message})."
        raise kind(f"{source} contains no model that can be loaded: {message}") from error


def _component_classes(index: dict[str, Any]) -> dict[str, type]:
    """The classes of the components that model_index.json names, if it is that of our pipeline."""
    saved = index.get("_class_name")
    if "PokemonDDPMPipeline" not in as_list(saved):
        raise ValueError(f"it is a {saved}, not a PokemonDDPMPipeline.")
    scheduler_class = getattr(diffusers, index["scheduler"][1])
    if not issubclass(scheduler_class, SchedulerMixin):
        raise ValueError(f"{scheduler_class.__name__} is not a scheduler.")
    # Import statements would make diffusers look for files beside this one, where a saved folder has none.
    conditioner_class = importlib.import_module(".sprite_conditioner", __package__).SpriteConditioner
    sprite_unet_class = importlib.import_module(".sprite_unet", __package__).SpriteUNet2DModel
    unet_classes = {each.__name__: each for each in (UNet2DModel, sprite_unet_class)}
    unet_class = unet_classes.get(index["unet"][1])
    if unet_class is None:
        raise ValueError(f"its network is a {index['unet'][1]}, not a {' or '.join(unet_classes)}.")
    return {"unet": unet_class, "conditioner": conditioner_class, "scheduler": scheduler_class}


def _read_weights(folder: Path, file: Path, digests: dict[str, str]) -> dict[str, torch.Tensor]:
    """The tensors of a component, if they belong to model_index.json; the file is read once."""
    content, name = file.read_bytes(), file.relative_to(folder).as_posix()
    expected = digests.get(name)  # version 1.0.0 listed only the variant that was saved last
    if expected and sha256(content).hexdigest() != expected:
        raise ValueError(f"{name} does not belong to this {INDEX_FILE}. Save or download the whole model again.")
    return safetensors.torch.load(content)


def _find_weights(folder: Path, variant: str | None) -> Path:
    plain = folder / PLAIN_WEIGHTS
    file = plain.with_suffix(f".{variant}.safetensors") if variant else plain
    if not file.is_file():
        missing = f"{folder.name}/{file.name}"
        raise OSError(f"there is no {missing}. Weights are loaded from safetensors only: pickles can run code.")
    return file


def _check_network(kind: type, config: dict[str, Any], file: Path) -> None:
    """Compares a configuration with the header of the weights, before anything is as large as a stranger wants it."""
    with safe_open(file, framework="pt") as weights:
        header = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
        shapes = {name: tuple(values.get_shape()) for name, values in header.items()}
        dtypes = {values.get_dtype() for values in header.values()}
    if others := sorted(dtypes - {"F16", "BF16", "F32", "F64"}):
        raise ValueError(f"its weights are {', '.join(others)}, not floating-point numbers.")
    blocks = len(config.get("block_out_channels") or config.get("vocabulary") or ())
    if blocks * config.get("layers_per_block", 1) > len(shapes):
        raise ValueError(f"its configuration has more layers than {file.parent.name}/{file.name}.")
    with torch.device("meta"), torch.no_grad():  # which needs no memory
        network = kind.from_config(config).eval()
        network.load_state_dict({name: torch.empty(shape) for name, shape in shapes.items()})
        if issubclass(kind, UNet2DModel):
            _check_sample_size(network.config)
            size, labels = network.config.sample_size, torch.zeros(1, network.time_embedding.linear_2.out_features)
            height, width = size if isinstance(size, (list, tuple)) else (size, size)
            try:  # what can be built may not run
                network(torch.zeros(1, network.config.in_channels, height, width), 0, class_labels=labels)
            except Exception as error:  # diffusers and torch fail in many ways
                raise ValueError(f"its network cannot run: {error}.") from error


def _check_sample_size(config: dict[str, Any]) -> None:
    size = config.get("sample_size")
    factor = 2 ** (len(config["block_out_channels"]) - 1) * config.get("patch_size", 1)
    sides = size if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2 or not all(side in range(factor, MAX_SIDE + 1, factor) for side in sides):
        raise ValueError(f"its sample_size is {size!r}, not a multiple of {factor} up to {MAX_SIDE}.")
    if config.get("downsample_padding") not in (0, 1):
        raise ValueError(f"its downsample_padding is {config['downsample_padding']!r}, not 0 or 1.")


def _check_scheduler(config: dict[str, Any]) -> None:
    """Refuses what would fill the memory."""
    timesteps, order = config.get("num_train_timesteps", 1000), config.get("solver_order", 2)
    if timesteps not in range(2, 100_001):
        raise ValueError(f"its scheduler has {timesteps} timesteps, but from 2 to 100,000 are possible.")
    if order not in (1, 2, 3):
        raise ValueError(f"its scheduler has solver_order {order!r}, not 1, 2 or 3.")
    for name, value in config.items():
        if not str(value).isprintable():  # commands show some of them
            raise ValueError(f"its scheduler has {name} {value!r}.")


def _load_component(kind: type, folder: Path, name: str, variant: str | None, dtype: torch.dtype, index: dict) -> Any:
    with torch.random.fork_rng(devices=[]):  # loading does not change the state of torch's generator
        config = {**kind.load_config(folder, subfolder=name)}  # from_config would take a text for a name on the Hub
        if name == "scheduler":
            _check_scheduler(config)
            return kind.from_config(config)
        file = _find_weights(folder / name, variant)
        _check_network(kind, config, file)
        component = kind.from_config(config).eval()
    torch.nn.Module.to(component, dtype)  # diffusers' own warns
    # This copies: tensors in a file's bytes are not aligned, with which results differ in their last bits.
    component.load_state_dict(_read_weights(folder, file, index.get(WEIGHTS_KEY, {})))
    for key, values in component.state_dict().items():
        if not values.isfinite().all():
            raise ValueError(f"its weights {name}.{key} are NaN or infinite in {dtype}.")
    return component


def _pull(name: str, files: list[str], arguments: dict[str, Any]) -> Path:
    """The folder of a commit in the cache, named by its id, with those files that the model on the Hub has."""
    try:
        return Path(HfApi().snapshot_download(name, allow_patterns=files, **arguments))
    except Exception as error:  # the client has exceptions of its own and those of its HTTP library
        cause = error.__cause__ or error  # the client may say only that there is nothing in its cache
        if getattr(getattr(cause, "response", None), "status_code", 0) in {429, *range(500, 600)}:
            raise OSError(f"The Hub cannot give {name} now; try again later: {cause}".splitlines()[0]) from error
        reason = " ".join(str(error).split())[:300]
        hint = "`hf auth login` stores a token for private models"
        raise OSError(f"{name} is neither a folder nor a model that the Hub gives you ({hint}): {reason}") from error
