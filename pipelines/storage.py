"""Saving, loading and pushing a pipeline, mixed into its class."""

import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from huggingface_hub import ModelCard, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from .cards import CARD_FILE, pipeline_card, read_card, with_sheets, write_card
from .pushing import files_to_push, push_folder
from .saving import CONDITIONER_MODULE, check_index, write_code

# What of diffusers' arguments for loading is about the Hub.
PULLING_ARGUMENTS = {"cache_dir", "force_download", "local_files_only", "revision", "token"}
INDEX_FILE = "model_index.json"
KINDS = ("json", "safetensors")  # neither pickles nor code
DEFAULTS = ("num_inference_steps", "guidance_scale")


class SelfContained:
    """What a `DiffusionPipeline` needs to be saved as a folder that works by itself, here and on the Hub."""

    _card_text: str | None = None  # of the folder or repository that it was loaded from

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves the pipeline as a self-contained folder, which is what a Hub repository holds.

        Beside weights and configurations it holds the code of the pipeline and of the conditioner, so that
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
        folder = Path(save_directory)
        # Not of a subclass, whose file may hold anything.
        own = next(each for each in type(self).__mro__ if SelfContained in each.__bases__)
        write_code(folder, own, type(self.conditioner))
        if not (folder / CARD_FILE).exists():
            write_card(folder, with_sheets(self._card(folder.resolve().name), files_to_push(folder)))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), variant=variant, **shard, **kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str = "Upload the model",
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        force: bool = False,
    ) -> str:
        """Pushes the pipeline to the Hub as `save_pretrained` saves it, in a single commit.

        Args:
            repo_id: "user/name"; it is made if it is not there.
            commit_message: The commit's.
            private: Whether a new repository is private; None for what the account has by default.
            token: None for the one that `hf auth login` stored.
            create_pr: Whether to open a pull request instead of changing the repository.
            safe_serialization: Must be true.
            variant: As in `save_pretrained`, as is the next one.
            max_shard_size: For example "1GB".
            force: Whether to push into a repository that holds something else, which stays beside the model.

        Returns:
            The commit's URL. What people wrote into the repository's card stays in it.

        Raises:
            ValueError: If the repository holds something else.
            HfHubHTTPError, OSError: If the Hub refuses or cannot be reached. The repository is then as it was before.
        """
        shard = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization, variant, **shard)
            commit = push_folder(
                Path(folder),
                repo_id,
                self._card(repo_id),
                token,
                private,
                commit_message,
                create_pr,
                force,
                keep_card=self._card_text is None,
            )
            return commit.commit_url

    def _card(self, name: str) -> ModelCard:
        """The card that the pipeline was loaded with, else what can be said of it."""
        return pipeline_card(self, name) if self._card_text is None else read_card(self._card_text)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> Any:
        """Loads a saved pipeline from its component folders and runs no code that lies in it.

        Args:
            pretrained_model_name_or_path: A folder, or a repository on the Hub.
            dtype: Of the weights in memory; float32 if not given, whatever the dtype of the files.
            **kwargs: Ready-made components (`unet`, `conditioner`, `scheduler`), diffusers' `variant`, `revision`,
                `token`, `cache_dir`, `force_download` and `local_files_only`, and `torch_dtype`, which is `dtype`.
                `trust_remote_code` changes nothing.

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
        variant = kwargs.pop("variant", None)
        unknown = kwargs.keys() - PULLING_ARGUMENTS
        if unknown:
            raise TypeError(f"from_pretrained does not take {', '.join(sorted(unknown))}.")
        pulled = not os.path.isdir(source)
        folder = pull(source, [INDEX_FILE, CARD_FILE], **kwargs) if pulled else Path(source)
        if not (folder / INDEX_FILE).is_file():
            raise OSError(f"{source} holds no model: there is no {INDEX_FILE} in it.")
        with _told(source, folder):
            index = cls.load_config(folder)
        scheduler_class = check_index(index, cls.__name__, source)
        if pulled:
            # All of the commit that the index is of, whatever is pushed meanwhile.
            files = [f"{name}/*.{kind}" for name in components if components[name] is None for kind in KINDS]
            folder = pull(source, files, **{**kwargs, "revision": folder.name})
        conditioner_class = importlib.import_module(f".{CONDITIONER_MODULE}", __package__).SpriteConditioner
        # Memory-mapped weights lie unaligned, and kernels then differ in the last bits from the model that was saved.
        weights = {"variant": variant, "dtype": dtype, "use_safetensors": True, "disable_mmap": True}
        classes = {"unet": (UNet2DModel, weights), "conditioner": (conditioner_class, weights)}
        classes["scheduler"] = (scheduler_class, {})
        for name, (component_class, arguments) in classes.items():
            if components[name] is None:
                if name != "scheduler" and not any((folder / name).glob("*.safetensors")):
                    raise OSError(
                        f"{source} holds no weights of its {name} as safetensors, and pickles are not loaded: they "
                        "can run code. Let whoever made it save it as safetensors"
                        + (", or load it once with the network, if the cache holds a part only." if pulled else ".")
                    )
                with _told(source, folder):
                    components[name] = component_class.from_pretrained(folder, subfolder=name, **arguments)
        pipeline = cls(**components, **{name: index[name] for name in DEFAULTS if name in index})
        if (folder / CARD_FILE).is_file():
            pipeline._card_text = (folder / CARD_FILE).read_text(encoding="utf-8")
        return pipeline


@contextmanager
def _told(source: str, folder: Path) -> Iterator[None]:
    """Says in a line which model it is whose files cannot be read, wherever in the cache they lie."""
    try:
        yield
    except OSError as error:
        first = str(error).replace(str(folder), source).strip().splitlines()[0]
        raise OSError(f"{source} holds no whole model: {first}") from error


class _NoBar(tqdm):
    """The client shows its bar of files also where all of them are in the cache."""

    def __init__(self, *arguments: Any, **kwargs: Any):
        super().__init__(*arguments, **{**kwargs, "disable": True})


def pull(name: str, files: list[str], **arguments: Any) -> Path:
    """Fetches files of a repository into the Hub's cache, from which they come the next time, and without the network.

    Args:
        name: "user/name".
        files: Patterns of their paths; what the repository has not is not there afterwards either.
        **arguments: Those of `PULLING_ARGUMENTS`.

    Returns:
        The commit's folder, whose name is the commit.

    Raises:
        OSError: If they cannot be had; the message says what to do.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=files, tqdm_class=_NoBar, **arguments))
    except Exception as error:  # the client has its own kinds, and those of the HTTP library it uses
        raise OSError(_reason(name, error, **arguments)) from error


def _reason(name: str, error: Exception, revision: str | None = None, **arguments: Any) -> str:
    if not isinstance(error, LocalEntryNotFoundError):
        error = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    if isinstance(error, GatedRepoError):
        return f"{name} is open only to whom its owner lets in. Ask on its page, then log in by `hf auth login`."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{name} is neither a folder here nor a model on the Hub that this token may see. For a private one log "
            "in by `hf auth login`, or pass a token."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision!r}. Give a branch, a tag or a commit."
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
        return "The Hub does not know the token. `hf auth login` stores another one."
    if isinstance(error, LocalEntryNotFoundError):
        if arguments.get("local_files_only") or constants.HF_HUB_OFFLINE:
            why = "is not asked: HF_HUB_OFFLINE or local_files_only is set"
        else:
            why = f"cannot be reached ({first.removeprefix('Got: ')})"
        return f"{name} is not in the cache, or not whole, and the Hub {why}. Load it once with the network."
    return f"{name} could not be fetched from the Hub ({first}). Try again; what has arrived is kept."
