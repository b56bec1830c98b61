"""`PokemonDDPMPipeline`: new sprites of a chosen type, used as any diffusers pipeline is used."""

import importlib
import inspect
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DModel
from PIL import Image

from .sampling import guide, image_generators, set_timesteps, step, takes_variance

# What of diffusers' arguments for loading goes on to the components.
LOADING_ARGUMENTS = {"cache_dir", "force_download", "local_files_only", "proxies", "revision", "token", "variant"}

PokemonType = str | int | tuple | None
OUTPUT_TYPES = ("pil", "np", "pt", "latent")
# The files of a saved model, and the modules its model_index.json names, so that diffusers finds the code in it.
PIPELINE_MODULE = "pipeline"
SAMPLING_MODULE = "sampling"
CONDITIONER_MODULE = "sprite_conditioner"


class PokemonDDPMPipeline(DiffusionPipeline):
    """Draws sprites with a class-conditional DDPM (Ho et al. 2020) and classifier-free guidance (Ho & Salimans 2022).

    Args:
        unet: `UNet2DModel` with `class_embed_type="identity"`.
        conditioner: `SpriteConditioner`; makes the network's class embedding from the types.
        scheduler: Any discrete-time scheduler of diffusers that fits the network's `prediction_type`; `DDPMScheduler`,
            `DDIMScheduler`, `DPMSolverMultistepScheduler` and `UniPCMultistepScheduler` are tested.
    """

    model_cpu_offload_seq = "conditioner->unet"
    _callback_tensor_inputs = ["latents"]

    def __init__(self, unet: UNet2DModel, conditioner: torch.nn.Module, scheduler: SchedulerMixin):
        super().__init__()
        self.register_modules(unet=unet, conditioner=conditioner, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        pokemon_type: PokemonType | list[PokemonType] = None,
        view: str | list[str | None] | None = None,
        finish: str | list[str | None] | None = None,
        num_images_per_type: int = 1,
        num_inference_steps: int = 50,
        guidance_scale: float = 2.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[["PokemonDDPMPipeline", int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
    ) -> ImagePipelineOutput | tuple:
        r"""Draws sprites.

        Args:
            pokemon_type: "fire" (one of its types is fire), "fire/flying" or a pair ("fire", "flying") (both),
                "fire/none" (purely fire), an id, or None (unconditional). A list holds one entry an image; only a
                tuple or a slash makes a pair.
            view: "front" or "back", or a list of one for each entry; None for any. Only models that were trained on
                both take it.
            finish: "normal" or "shiny", likewise.
            num_images_per_type: Images for each entry; those of one entry follow each other.
            num_inference_steps: Denoising steps, from 1 to the number of training steps.
            guidance_scale: s in uncond + s * (cond - uncond). 1 is the conditional model itself, at half the cost.
            generator: One `torch.Generator` for each image, or a single one: freshly seeded with s it gives image i
                the picture of seed s + i, whatever the size of the batch; used again it goes on to new pictures.
                Its noise is drawn on the CPU, that of a list on the list's devices. In fp32, the same picture from
                batches of different sizes agrees within one grey level.
            latents: Noise to start from, (N, C, S, S), instead of drawing it.
            output_type: "pil" (images), "np" (float32 (N, S, S, C) in [0, 1]), "pt" (float32 (N, C, S, S) in [0, 1])
                or "latent" (the final sample, (N, C, S, S), about [-1, 1]).
            return_dict: Whether to return an `ImagePipelineOutput` and not a tuple.
            callback_on_step_end: Called after each step as callback(pipeline, step_index, timestep, tensors); what it
                returns under "latents" replaces the latents.
            callback_on_step_end_tensor_inputs: Names of the tensors the callback is given; only "latents".

        Returns:
            `ImagePipelineOutput` with `images`, or a tuple with them.

        Raises:
            ValueError: If a value is out of its range; nothing has been computed by then.
            TypeError: If `pokemon_type` holds something that is no type.
        """
        requests = pokemon_type if isinstance(pokemon_type, list) else [pokemon_type]
        tensor_inputs = (
            ["latents"] if callback_on_step_end_tensor_inputs is None else callback_on_step_end_tensor_inputs
        )
        self.check_inputs(
            requests, num_images_per_type, num_inference_steps, guidance_scale, generator, latents, output_type,
            callback_on_step_end, tensor_inputs,
        )  # fmt: skip
        labels = self.label_ids(requests, view=view, finish=finish)
        device = self._execution_device
        timesteps = set_timesteps(self.scheduler, num_inference_steps, device)
        labels = {
            attribute: torch.tensor(ids, device=device).repeat_interleave(num_images_per_type, dim=0)
            for attribute, ids in labels.items()
        }
        if all((ids == self.conditioner.any_id(attribute)).all() for attribute, ids in labels.items()):
            guidance_scale = 1  # conditional and unconditional are the same
        class_embedding = self.encode_labels(labels, guidance_scale)
        generators = image_generators(generator, len(requests) * num_images_per_type)
        latents = self.prepare_latents(generators, latents)
        extra = {"generator": generators} if "generator" in inspect.signature(self.scheduler.step).parameters else {}

        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                prediction = self.guided_prediction(latents, t, class_embedding, guidance_scale)
                latents = step(self.scheduler, prediction, t, latents, **extra)
                if callback_on_step_end is not None:
                    given = {name: {"latents": latents}[name] for name in tensor_inputs}
                    latents = (callback_on_step_end(self, i, t, given) or {}).get("latents", latents)
                progress_bar.update()

        images = latents if output_type == "latent" else self.postprocess(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def check_inputs(
        self, requests, num_images_per_type, num_inference_steps, guidance_scale, generator, latents, output_type,
        callback, tensor_inputs,
    ) -> None:  # fmt: skip
        """Refuses, before anything is computed, what `__call__` cannot do. See there for the arguments."""
        if takes_variance(self.scheduler) and self.unet.config.out_channels == self.unet.config.in_channels:
            raise ValueError(
                f"The scheduler's variance_type is {self.scheduler.config.variance_type!r}, but this network does not "
                'predict a variance; use "fixed_small" or "fixed_large".'
            )
        if not requests:
            raise ValueError("pokemon_type is an empty list; give at least one type, or None for any.")
        for request in requests:
            self.conditioner.type_ids(request)
        if not _is_number(num_images_per_type, Integral) or num_images_per_type < 1:
            raise ValueError(f"num_images_per_type must be a whole number from 1, but is {num_images_per_type!r}.")
        limit = self.scheduler.config.num_train_timesteps
        if not _is_number(num_inference_steps, Integral) or not 1 <= num_inference_steps <= limit:
            raise ValueError(f"num_inference_steps must be from 1 to {limit}, but is {num_inference_steps!r}.")
        if not _is_number(guidance_scale, Real) or not math.isfinite(guidance_scale):
            raise ValueError(f"guidance_scale must be a finite number, but is {guidance_scale!r}.")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, but is {output_type!r}.")
        count = len(requests) * num_images_per_type
        generators = generator if isinstance(generator, list) else [] if generator is None else [generator]
        if not all(isinstance(one, torch.Generator) for one in generators):
            raise ValueError(f"generator must be a torch.Generator, or a list of one an image, but is {generator!r}.")
        if isinstance(generator, list) and len(generator) != count:
            raise ValueError(f"A list of generators must have one an image, {count}, but has {len(generator)}.")
        shape = (count, *self.sample_shape)
        if latents is not None and (not isinstance(latents, torch.Tensor) or tuple(latents.shape) != shape):
            raise ValueError(
                f"latents must be a tensor of the shape {shape}, but have {getattr(latents, 'shape', None)}."
            )
        if callback is not None and not callable(callback):
            raise ValueError(f"callback_on_step_end must be callable, but is {callback!r}.")
        unknown = [name for name in tensor_inputs if name not in self._callback_tensor_inputs]
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs knows {self._callback_tensor_inputs}, but got {unknown}."
            )

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of one sample."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config.in_channels, height, width

    def label_ids(
        self, requests: list[PokemonType], **attributes: str | list[str | None] | None
    ) -> dict[str, list[int | tuple[int, int]]]:
        """The conditioner's ids for each request, of the types and of what else is asked for.

        Raises:
            ValueError: If something is unknown to the model, or a list has another length than that of the requests.
        """
        ids: dict[str, list] = {"type": [self.conditioner.type_ids(request) for request in requests]}
        for attribute, asked in attributes.items():
            if asked is None:
                continue
            names = asked if isinstance(asked, list) else [asked] * len(requests)
            if len(names) != len(requests):
                raise ValueError(
                    f"A list of {attribute} must have one a pokemon_type, {len(requests)}, but has {len(names)}."
                )
            ids[attribute] = [self.conditioner.attribute_id(attribute, name) for name in names]
        return ids

    def encode_labels(self, labels: dict[str, torch.Tensor], guidance_scale: float) -> torch.Tensor:
        """Class embeddings (N, D) of N images' labels; with guidance (2N, D), the unconditional ones first."""
        if guidance_scale != 1:
            labels = {
                attribute: torch.cat([torch.full_like(ids, self.conditioner.any_id(attribute)), ids])
                for attribute, ids in labels.items()
            }
        return self.conditioner(labels)

    def prepare_latents(self, generators: list[torch.Generator], latents: torch.Tensor | None) -> torch.Tensor:
        """The noise to start from, (N, C, S, S), scaled as the scheduler wants it."""
        if latents is None:
            # float32 whatever the network computes in, so that a seed means the same noise for every dtype
            noise = [torch.randn(self.sample_shape, generator=g, device=g.device).cpu() for g in generators]
            latents = torch.stack(noise)
        return latents.to(self._execution_device, self.unet.dtype) * self.scheduler.init_noise_sigma

    def guided_prediction(
        self, latents: torch.Tensor, t: torch.Tensor, class_embedding: torch.Tensor, guidance_scale: float
    ) -> torch.Tensor:
        """The network's prediction for (N, C, S, S) latents at timestep t, with guidance unless its scale is 1."""
        sample = self.scheduler.scale_model_input(latents, t)
        if guidance_scale == 1:
            return self.unet(sample, t, class_labels=class_embedding, return_dict=False)[0]
        both = self.unet(torch.cat([sample, sample]), t, class_labels=class_embedding, return_dict=False)[0]
        unconditional, conditional = both.chunk(2)
        return guide(unconditional, conditional, guidance_scale, channels=latents.shape[1])

    def postprocess(self, latents: torch.Tensor, output_type: str) -> Any:
        """From samples (N, C, S, S) in about [-1, 1] to the output type; out-of-range values are clipped."""
        images = (latents.float() / 2 + 0.5).clamp(0, 1).cpu()
        if output_type == "pt":
            return images
        arrays = images.permute(0, 2, 3, 1).numpy()
        if output_type == "np":
            return arrays
        return [Image.fromarray(pixels) for pixels in (arrays * 255).round().astype("uint8")]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves the pipeline as a self-contained folder, which is what a Hub repository holds.

        Beside weights and configurations it holds the code of the pipeline (two files) and of the conditioner, so that
        `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` works where this package is not installed.

        Args:
            save_directory: The folder.
            safe_serialization: Must be true: weights are saved as safetensors only.
            variant: As in diffusers, for example "fp16".
            push_to_hub: Whether to push to the Hub afterwards.
            **kwargs: `max_shard_size`, and for a push what `push_to_hub` takes (`repo_id`, `private`, `token`, ...).

        Raises:
            ValueError: If `safe_serialization` is false.
            TypeError: If there are other arguments.
        """
        if not safe_serialization:
            raise ValueError("Weights are saved as safetensors only; leave safe_serialization at True.")
        shard = {name: kwargs.pop(name) for name in ("max_shard_size",) if name in kwargs}
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained does not take {', '.join(kwargs)} without push_to_hub=True.")
        super().save_pretrained(save_directory, variant=variant, **shard)
        folder, here = Path(save_directory), Path(__file__)
        shutil.copyfile(here, folder / f"{PIPELINE_MODULE}.py")
        shutil.copyfile(here.with_name(f"{SAMPLING_MODULE}.py"), folder / f"{SAMPLING_MODULE}.py")
        shutil.copyfile(inspect.getfile(type(self.conditioner)), folder / "conditioner" / f"{CONDITIONER_MODULE}.py")
        for name in ("unet/config.json", "conditioner/config.json", "scheduler/scheduler_config.json"):
            _edit_json(folder / name)
        _edit_json(
            folder / self.config_name,
            _class_name=[PIPELINE_MODULE, "PokemonDDPMPipeline"],
            conditioner=[CONDITIONER_MODULE, type(self.conditioner).__name__],
        )
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), variant=variant, **shard, **kwargs)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> "PokemonDDPMPipeline":
        """Loads a saved pipeline from its component folders and runs no code that lies in it.

        Args:
            pretrained_model_name_or_path: A folder, or a repository on the Hub.
            dtype: Of the weights in memory; float32 if not given, whatever the dtype of the files.
            **kwargs: Ready-made components (`unet`, `conditioner`, `scheduler`), diffusers' `variant`, `revision`,
                `token`, `cache_dir`, `force_download`, `local_files_only` and `proxies`, and `torch_dtype`, which is
                `dtype`. `trust_remote_code` changes nothing.

        Raises:
            OSError: If there is no such model, or its weights are not safetensors.
            ValueError: If the model is not of this class.
            TypeError: If there are other arguments.
        """
        if __name__.startswith("diffusers_modules"):
            # This file is a model's own copy that diffusers was trusted to load, and so is the conditioner's.
            return super().from_pretrained(pretrained_model_name_or_path, dtype=dtype, **kwargs)
        source = os.fspath(pretrained_model_name_or_path)
        # A name whose first part is a folder here is a mistyped path: asking the Hub would take long and say little.
        hub_name = re.fullmatch(r"(\w[\w.-]*)(/\w[\w.-]*)?", source)
        if not os.path.isdir(source) and (not hub_name or hub_name[2] and os.path.isdir(hub_name[1])):
            raise OSError(f"There is no model folder {source!r}.")
        dtype = kwargs.pop("torch_dtype", None) or dtype or torch.float32
        kwargs.pop("trust_remote_code", None)
        components = {name: kwargs.pop(name, None) for name in ("unet", "conditioner", "scheduler")}
        unknown = kwargs.keys() - LOADING_ARGUMENTS
        if unknown:
            raise TypeError(f"from_pretrained does not take {', '.join(sorted(unknown))}.")
        variant = kwargs.pop("variant", None)
        try:
            index = cls.load_config(source, **kwargs)
        except OSError as error:
            raise OSError(f"{source} is neither a folder with a model nor a model on the Hub: {error}") from error
        scheduler_class = _check_index(index, source)
        conditioner_class = importlib.import_module(f".{CONDITIONER_MODULE}", __package__).SpriteConditioner
        # Memory-mapped weights lie unaligned, and kernels then differ in the last bits from the model that was saved.
        weights = {**kwargs, "variant": variant, "dtype": dtype, "use_safetensors": True, "disable_mmap": True}
        classes = {"unet": (UNet2DModel, weights), "conditioner": (conditioner_class, weights)}
        classes["scheduler"] = (scheduler_class, kwargs)
        for name, (component_class, arguments) in classes.items():
            if components[name] is None:
                components[name] = component_class.from_pretrained(source, subfolder=name, **arguments)
        return cls(**components)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _edit_json(file: Path, **changes: Any) -> None:
    """Sets values of a JSON file, and takes out the path that a component was loaded from."""
    config = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    config.pop("_name_or_path", None)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _check_index(index: dict[str, Any], source: str) -> type[SchedulerMixin]:
    """Returns the class of the scheduler that a model_index.json names.

    Raises:
        ValueError: If it is the index of another kind of pipeline, or names a scheduler that diffusers has not.
    """
    saved = index.get("_class_name")
    saved = saved[-1] if isinstance(saved, list) else saved
    if saved != "PokemonDDPMPipeline":
        raise ValueError(f"{source} holds a {saved}, not a PokemonDDPMPipeline.")
    scheduler_name = (index.get("scheduler") or [None, None])[-1]
    scheduler_class = getattr(diffusers, str(scheduler_name), None)
    if not (isinstance(scheduler_class, type) and issubclass(scheduler_class, SchedulerMixin)):
        raise ValueError(f"{source} names the scheduler {scheduler_name!r}, which diffusers does not have.")
    return scheduler_class
