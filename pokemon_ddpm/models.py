"""Models by name, what identifies them, and their loading: a stranger's files are checked before anything is built."""

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any, TypeAlias

import safetensors.torch
import torch
import yaml
from diffusers import SchedulerMixin, UNet2DModel
from huggingface_hub import HfApi
from safetensors import safe_open
from torch import nn

from pokemon_ddpm.files import RELEASED
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.file_checks import MAX_BYTES, check_file, check_inside, is_number, printable
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE, INDEX_FILE, license_terms, read_card
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import DEFAULTS, PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import SCHEDULERS
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.pipelines.sprite_unet import SpriteUNet2DModel

LICENSE_FILE = "LICENSE"  # in the folder of a model with a license of its own
PLAIN_WEIGHTS = "diffusion_pytorch_model.safetensors"
Component: TypeAlias = UNet2DModel | SpriteConditioner | SchedulerMixin
COMPONENTS = ("unet", "conditioner", "scheduler")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
NETWORKS = {kind.__name__: kind for kind in (UNet2DModel, SpriteUNet2DModel)}
MAX_LAYERS, MAX_TENSORS = 100, 10_000  # of a network on its way down; of a file with weights
# Values of configurations that could fill the memory, or make a loop endless.
POSSIBLE = {
    "sample_size": range(1, 1025), "downsample_padding": (0, 1), "num_train_timesteps": range(2, 10_001),
    "solver_order": (1, 2, 3), "layers_per_block": range(1, 33), "in_channels": (3, 4), "out_channels": (3, 4, 6, 8),
}  # fmt: skip


def locate_model(model: str) -> str:
    """The folder of a released model for its name, unless there is a folder of that name; otherwise `model` itself."""
    if os.path.exists(model):  # `Path.exists` raises OSError for a long name.
        return model
    released = {file.parent.name: str(file.parent) for file in RELEASED.glob("*/model_index.json")}
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


def load_pipeline(
    cls: type[PokemonDDPMPipeline], model: str, dtype: torch.dtype | None, **kwargs: Any
) -> PokemonDDPMPipeline:
    """A pipeline of a class; for the arguments and what is raised see `HubMixin.from_pretrained`."""
    source = locate_model(model)
    is_local = os.path.isdir(source)
    dtype = kwargs.pop("torch_dtype", None) or dtype or torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES))}, not {short_repr(dtype)}.")
    device = kwargs.pop("device_map", None) or "cpu"
    parts = {name: kwargs.pop(name) for name in COMPONENTS if name in kwargs}
    for without_effect in ("trust_remote_code", "use_safetensors", "low_cpu_mem_usage"):
        kwargs.pop(without_effect, None)
    if unknown := kwargs.keys() - {"cache_dir", "force_download", "local_files_only", "revision", "token"}:
        raise TypeError(f"from_pretrained does not take {', '.join(sorted(unknown))}.")
    # A name that begins with a folder here is a mistyped path, not a name on the Hub.
    hub_name = re.fullmatch(r"(\w[\w.-]{,95})(/\w[\w.-]{,95})?", source)
    if not is_local and (not hub_name or hub_name[2] and os.path.isdir(hub_name[1])):
        raise OSError(f"There is no model folder {source[:300]!r}.")
    folder = Path(source) if is_local else _pull(source, [INDEX_FILE, CARD_FILE], kwargs)
    with _damage_of(source):
        check_files(folder, INDEX_FILE, CARD_FILE)
        index = {**cls.load_config(folder)}
        missing = {name: kind for name, kind in _component_classes(index).items() if parts.get(name) is None}
    if not is_local:  # the large files, now that it is known to be ours, and of the same commit
        files = [f"{name}/*.{suffix}" for name in missing for suffix in ("json", "safetensors")]
        folder = _pull(source, files, kwargs | {"revision": folder.name})
    with _damage_of(source):
        check_files(folder, *(f"{name}/*.json" for name in missing))
        check_files(folder, *(f"{name}/*.safetensors" for name in missing), limit=math.inf)
        for name, kind in missing.items():
            config = {**kind.load_config(folder, subfolder=name)}  # from_config would take a text for a Hub's name
            _check_config(config)
            load = _load_network if name != "scheduler" else lambda kind, config, *_: kind.from_config(config)
            parts[name] = load(kind, config, folder / name, dtype, index.get(hub_mixin.WEIGHTS_KEY, {}))
        pipeline = cls(**parts, **{name: index[name] for name in DEFAULTS if name in index})
        if len(missing) == len(COMPONENTS):  # others may need other arguments
            pipeline.check_defaults()
        with suppress(Exception):  # of yaml: a damaged card is none
            terms = license_terms(yaml.safe_load(read_card(folder / CARD_FILE)[1]))
            pipeline.conditioner.register_to_config(**{hub_mixin.LICENSE_KEY: terms or pipeline.license})
    return pipeline.to(device)


PokemonDDPMPipeline.load = classmethod(load_pipeline)


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


@contextmanager
def _damage_of(source: str) -> Iterator[None]:
    """Turns every failure to read a model into one sentence that names the model."""
    try:
        yield
    except (ImportError, MemoryError, torch.OutOfMemoryError):
        raise  # nothing is wrong with the files
    except Exception as error:  # json, torch and diffusers fail in many ways at damaged files
        kind = OSError if isinstance(error, OSError) else ValueError
        message = printable(" ".join(str(error).split()))[:300]
        if not isinstance(error, (OSError, ValueError)):
            message = f"a file is damaged ({type(error).__name__}: {message})."
        raise kind(f"{source} contains no model that can be loaded: {message}") from error


def check_files(folder: Path, *patterns: str, limit: float = MAX_BYTES) -> None:
    """Raises ValueError if a file links out of a model's folder, so that saving the model copies another file."""
    for file in itertools.chain(*map(folder.glob, patterns)):
        try:
            check_inside(file, folder)
            check_file(file, limit)
        except ValueError as error:
            raise ValueError(f"{file.relative_to(folder).as_posix()} {error}.") from error


def _component_classes(index: dict[str, Any]) -> dict[str, type[Component]]:
    """The classes of the components that model_index.json names, if it is that of our pipeline."""
    saved, unet, scheduler = index.get("_class_name"), index["unet"][1], index["scheduler"][1]
    if "PokemonDDPMPipeline" not in (saved if isinstance(saved, list) else [saved]):
        raise ValueError(f"it is a {saved}, not a PokemonDDPMPipeline.")
    schedulers = {kind.__name__: kind for kind in SCHEDULERS}
    if unet not in NETWORKS or scheduler not in schedulers:
        raise ValueError(f"its network is a {unet} and its scheduler a {scheduler}, which are unknown.")
    return {"unet": NETWORKS[unet], "conditioner": SpriteConditioner, "scheduler": schedulers[scheduler]}


def _check_config(config: dict[str, Any]) -> None:
    """Refuses values of a configuration that are not `POSSIBLE`, or that a terminal would obey."""
    for name, value in config.items():
        allowed, values = POSSIBLE.get(name), value if isinstance(value, (list, tuple)) else [value]
        fits = not allowed or value is None or all(number in allowed for number in values)
        fits &= str(value).isprintable() and (name != "scaling_factor" or is_number(value, 1e-3, 1e3))
        fits &= name != "trained_betas" or value is None or all(is_number(beta, 0, 1) for beta in values)
        if not fits:
            raise ValueError(f"its {name} is {short_repr(value)}, which is not possible.")
    count = len(config.get("block_out_channels") or ()) * config.get("layers_per_block", 2)
    if count > MAX_LAYERS:
        raise ValueError(f"its network has {count} layers, but at most {MAX_LAYERS} are possible.")


def _load_network(
    kind: type[Component], config: dict[str, Any], folder: Path, dtype: torch.dtype, digests: dict[str, str]
) -> nn.Module:
    """A component with its weights, if they belong to the configuration and to model_index.json."""
    file = folder / PLAIN_WEIGHTS
    name = f"{folder.name}/{file.name}"
    if not file.is_file():
        raise ValueError(f"there is no {name}. Weights are loaded from safetensors only: pickles can run code.")
    with safe_open(file, framework="pt") as header:
        count = len(keys := header.keys())
        if count > MAX_TENSORS:
            raise ValueError(f"{name} has {count} tensors, but at most {MAX_TENSORS} are possible.")
        shapes = {key: header.get_slice(key).get_shape() for key in keys}
    _check_network(kind, config, shapes)
    digest = hashlib.sha256(content := file.read_bytes()).hexdigest()
    if digests.get(name, digest) != digest:
        raise ValueError(f"{name} does not belong to this {INDEX_FILE}. Save or download the whole model again.")
    with torch.random.fork_rng(devices=[]):  # loading does not change the state of torch's generator
        component = kind.from_config(config).eval()
    nn.Module.to(component, dtype)  # diffusers' own warns
    # This copies: tensors in a file's bytes are not aligned, with which results differ in their last bits.
    weights = safetensors.torch.load(content)
    component.load_state_dict(weights)
    for key, values in component.state_dict().items():
        if not (weights[key].is_floating_point() and values.isfinite().all()):
            raise ValueError(f"its weights {folder.name}.{key} are NaN, infinite in {dtype}, or whole numbers.")
    return component


def _check_network(kind: type[Component], config: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    """Compares a configuration with its weights, before anything is as large as a stranger wants it."""
    if config.get("reference_channels"):
        remedy = "benchmarks/cut_references.py of version 2.0.0 removes it"
        raise ValueError(f"it is of version 1, with an input for references; {remedy}.")
    with torch.device("meta"), torch.no_grad():  # There, tensors need no memory.
        network = kind.from_config(config).eval()
        network.load_state_dict({name: torch.empty(shape) for name, shape in shapes.items()})
        if kind is not SpriteConditioner:
            run_once(network)


@torch.no_grad()
def run_once(network: UNet2DModel) -> None:
    """Evaluates a network on zeros; raises some exception if it can be built but not run."""
    size, labels = network.config.sample_size, torch.zeros(1, network.time_embedding.linear_2.out_features)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    network(torch.zeros(1, network.config.in_channels, height, width), 0, class_labels=labels)
