"""What a saved folder carries beside weights, code, card and digests, and its push; a copy of this file, too."""

import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from diffusers import DiffusionPipeline, ModelMixin, UNet2DModel
from huggingface_hub import DatasetInfo, HfApi, ModelCard, ModelCardData, ModelInfo, RepoCard, SpaceInfo
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from .file_checks import read_file

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

RepositoryInfo: TypeAlias = ModelInfo | DatasetInfo | SpaceInfo
LICENSE = ("license", "license_name", "license_link")  # in the metadata of a card
INDEX_FILE, CARD_FILE = "model_index.json", "README.md"
MAX_METADATA = 2**16  # bytes, at the top of a card; yaml reads some 50 KiB a second
# diffusers passes keys that begin with "_" on, but not to a constructor.
WEIGHTS_KEY = "_weights"  # in model_index.json: path -> SHA-256
LICENSE_KEY = "_license"  # in the conditioner's configuration, which goes wherever the model goes
DIGEST = "__" + "[0-9a-f]" * 8
# A model's code in its folder; that of the first versions has no digest in its name.
CODE_FILES = (
    f"*{DIGEST}.py", f"unet/*{DIGEST}.py", f"conditioner/*{DIGEST}.py", "pipeline.py", "unet/sprite_unet.py",
    "conditioner/sprite_conditioner.py",
)  # fmt: skip
WEIGHTS_FILES = ("unet/diffusion_pytorch_model*", "conditioner/diffusion_pytorch_model*")  # of every variant
UNFINISHED = ".saving-"
SHEETS = "samples/step-"  # how the paths of a training run's sheets begin
MARK = "<!-- pokemon-ddpm:"  # in each card of this project, also of earlier versions
NOTE = f"{MARK} training and pushes write this card anew; without this line, training leaves it as it is -->"
CARD_TEMPLATE = """---
{{ card_data }}
---

{{ note }}

# {{ name.split("/")[-1] }}

A class-conditional DDPM for images of {{ pipeline.sample_shape[2] }}x{{ pipeline.sample_shape[1] }} pixels: a
`{{ pipeline.unet | attr("__class__") | attr("__name__") }}` with
{{ "%.1f" | format(pipeline.unet.num_parameters() / 1e6) }} million parameters and a `SpriteConditioner`.
By default it takes {{ pipeline.config.num_inference_steps }} inference steps with a guidance scale of
{{ "%g" | format(pipeline.config.guidance_scale) }}.
{% if sheet %}
![Samples]({{ sheet }})
{% endif %}
## Use

With diffusers and PyTorch only; `trust_remote_code` allows the pipeline code in the repository to run:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{{ name }}", trust_remote_code=True)
image = pipeline({{ argument }}={{ conditions[argument][0] | tojson }}).images[0]
```

The `pokemon-ddpm` package does not run that code: `pokemon_ddpm.PokemonDDPMPipeline.from_pretrained("{{ name }}")`.

`{{ argument }}` takes one of its values, a blend, or `None` for any; see the docstring of the pipeline.

## Conditions

| argument | values |
|---|---|
{% for argument, values in conditions.items() -%}
| `{{ argument }}` | {{ values | join(", ") | replace("|", "\\\\|") }} |
{% endfor %}
{{ details }}"""


def pipeline_card(
    pipeline: "HubMixin",
    name: str,
    metadata: dict[str, Any] | None = None,
    sheet: str | None = None,
    details: str = "",
) -> ModelCard:
    """The model card of a pipeline, with further metadata, the path of an image of samples and further sections."""
    vocabulary, argument = pipeline.conditioner.vocabulary, pipeline.conditioner.argument
    tags = {"pipeline_tag": "unconditional-image-generation", "tags": ["ddpm", "class-conditional"]}
    metadata = {"library_name": "diffusers", **tags, **pipeline.license, **(metadata or {})}
    data = ModelCardData(**metadata, ignore_metadata_errors=True)
    values = {"pipeline": pipeline, "name": name, "sheet": sheet, "details": details, "note": NOTE}
    values |= {"argument": argument, "conditions": {argument: vocabulary.pop("type"), **vocabulary}}
    return ModelCard.from_template(data, template_str=CARD_TEMPLATE, **values)


def read_card(file: Path) -> tuple[str, str]:
    """The text of a card that may come from anybody, and in it the metadata in YAML, perhaps empty.

    Raises:
        ValueError: If it is too large, links out of its folder or is not in UTF-8, or its metadata are too large.
    """
    text = read_file(file, file.parent).decode("utf-8-sig")
    block = REGEX_YAML_BLOCK.search(text)
    metadata = block[2] if block else ""
    if len(metadata.encode()) > MAX_METADATA:
        raise ValueError(f"its metadata are larger than {MAX_METADATA / 2**10:g} KiB")
    return text, metadata


def license_terms(metadata: object) -> dict[str, str]:
    """What metadata of a card, or what a configuration has of them, say of the license."""
    metadata = metadata if isinstance(metadata, dict) else {}
    return {key: metadata[key] for key in LICENSE if isinstance(metadata.get(key), str)}


def complete_folder(folder: Path, pipeline: "HubMixin") -> None:
    """Adds the code to a folder that diffusers saved, and to model_index.json the digests of the weights."""
    # A subclass is saved as the published class.
    pipeline_class = next(base for base in type(pipeline).__mro__ if HubMixin in base.__bases__)
    conditioner_class = type(pipeline.conditioner)
    unet_class = type(getattr(pipeline.unet, "_orig_mod", pipeline.unet))  # without the wrapper of torch.compile
    unet_module = "diffusers" if unet_class is UNet2DModel else _save_code(folder / "unet", unet_class)
    weights = sorted(folder.glob("*/*.safetensors"))
    changes = {
        "_class_name": [_save_code(folder, pipeline_class), pipeline_class.__name__],
        "conditioner": [_save_code(folder / "conditioner", conditioner_class), conditioner_class.__name__],
        "unet": [unet_module, unet_class.__name__],
        WEIGHTS_KEY: {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in weights},
    }
    for file in [folder / INDEX_FILE, *folder.glob("*/*.json")]:
        config = json.loads(file.read_text(encoding="utf-8")) | (changes if file.name == INDEX_FILE else {})
        config.pop("_name_or_path", None)  # a path on this machine
        config.pop("_defaults", None)  # They are in model_index.json.
        if file.parent.name == "conditioner":
            config[LICENSE_KEY] = pipeline.license
        # diffusers sorts all but the index: so a model that is saved again has the same bytes.
        is_sorted = file.name != INDEX_FILE
        file.write_text(json.dumps(config, indent=2, sort_keys=is_sorted) + "\n", encoding="utf-8")


def _save_code(folder: Path, source: type[Any] | Path) -> str:
    """Saves the file of a class, and those that it imports, under names with their digests; returns the first name.

    diffusers loads the code of all models into one package, where each name must be that of one content.
    """
    source = source if isinstance(source, Path) else Path(inspect.getfile(source))
    code = source.read_text(encoding="utf-8")
    for name in re.findall(r"^from \.(\w+) import", code, flags=re.MULTILINE):
        own_name = _save_code(folder, source.with_name(f"{name}.py"))
        code = code.replace(f"\nfrom .{name} import", f"\nfrom .{own_name} import")
    own_name = f"{source.stem.partition('__')[0]}__{sha256(code.encode()).hexdigest()[:8]}"
    (folder / f"{own_name}.py").write_text(code, encoding="utf-8", newline="\n")
    return own_name


def open_repository(
    name: str, private: bool | None, token: str | None, repo_type: str = "model", **options: Any
) -> tuple[HfApi, RepositoryInfo]:
    """A client, and the information about a writable repository of this project, which is created if there is none.

    Raises:
        ValueError, HfHubHTTPError: If it has files of somebody else, or the Hub refuses.
    """
    api = HfApi(token=token)
    name = api.create_repo(name, private=private, repo_type=repo_type, exist_ok=True, **options).repo_id
    api.auth_check(name, repo_type=repo_type, write=True)
    info = api.repo_info(name, repo_type=repo_type)
    files = {sibling.rfilename for sibling in info.siblings}
    others = sorted(files - {".gitattributes", CARD_FILE, "LICENSE", "LICENSE.md"})
    if others:
        card = {CARD_FILE} & files and api.hf_hub_download(name, CARD_FILE, repo_type=repo_type, revision=info.sha)
        if not card or MARK not in Path(card).read_text(encoding="utf-8"):
            why = f"such as {others[0]}, and no {CARD_FILE} written by pokemon-ddpm"
            raise ValueError(f"{name} contains other files, {why}. Choose another name.")
    return api, info


def push_folder(folder: Path, name: str, token: str | None = None, private: bool | None = None, **commit: Any) -> str:
    """Pushes a folder with nothing but a pipeline and its card, which gets the new name; returns the commit's URL.

    Args:
        name: "user/name", or a name in the namespace of the token's owner.
        token: By default the stored one.
        private: Whether a new repository is private; by default as the account has it.
        **commit: `commit_message`, `commit_description` and `create_pr`.

    Raises:
        ValueError: If the card cannot be read, or the repository has files of somebody else.
        HfHubHTTPError: If the Hub refuses; the repository is then as before.
    """
    api, info = open_repository(name, private, token)
    card = RepoCard(read_card(folder / CARD_FILE)[0])
    card.text = re.sub(r'(from_pretrained\(")[^"]*"', rf'\g<1>{info.id}"', card.text)
    if MARK not in card.text:  # written by hand; the next push must know it
        card.text = f"\n{NOTE}\n{card.text}"
    card.save(folder / CARD_FILE)
    replaced = [*CODE_FILES, *WEIGHTS_FILES, f"{SHEETS}*.png"]
    commit = {"commit_message": "Upload the model", "parent_commit": info.sha, **commit}
    return api.upload_folder(repo_id=info.id, folder_path=folder, delete_patterns=replaced, **commit).commit_url


class HubMixin:
    """Saving, loading and pushing of a `DiffusionPipeline` with `unet`, `conditioner` and `scheduler`."""

    unet: UNet2DModel
    conditioner: ModelMixin
    # `load_pipeline` of pokemon_ddpm.models, which sets it; a saved model does not carry it.
    load: Callable[..., "Self"] | None = None

    @property
    def license(self) -> dict[str, str]:
        """What its card says of the license, which is saved with the model, too."""
        return license_terms(self.conditioner.config.get(LICENSE_KEY))

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> "Self":
        """A pipeline with the components and defaults of another one; arguments as in diffusers."""
        # diffusers leaves out components that are of a subclass of what the constructor names.
        return super().from_pipe(pipeline, **{**pipeline.components, **kwargs})

    def save_pretrained(self, save_directory: str | os.PathLike, safe_serialization: bool = True) -> None:
        """Saves weights as safetensors, configurations, code and, if there is none in the folder, a model card.

        `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` then works without this package. If saving
        is interrupted, the folder loads as before or is refused.

        Raises:
            ValueError, OSError: If `safe_serialization` is false, or the folder cannot be written.
        """
        if not safe_serialization:
            raise ValueError("Weights are saved as safetensors only; leave safe_serialization at True.")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{UNFINISHED}*/"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
            super().save_pretrained(name)
            complete_folder(made := Path(name), self)
            if not (folder / CARD_FILE).exists():
                pipeline_card(self, folder.resolve().name).save(made / CARD_FILE)
            # Without model_index.json in between: half of a model is never loaded.
            (folder / INDEX_FILE).unlink(missing_ok=True)
            for path in [path for pattern in (*CODE_FILES, *WEIGHTS_FILES) for path in folder.glob(pattern)]:
                path.unlink()
            files = [path.relative_to(made) for path in sorted(made.rglob("*")) if path.is_file()]
            for file in sorted(files, key=lambda file: file.name == INDEX_FILE):  # The index comes last.
                (folder / file).parent.mkdir(exist_ok=True)
                os.replace(made / file, folder / file)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Pushes what `save_pretrained` saves and returns the URL of the commit; it replaces card, code and weights.

        For the options, `token`, `private` and those of a commit, and for what is raised, see `push_folder`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            pipeline_card(self, repo_id).save(Path(folder) / CARD_FILE)
            return push_folder(Path(folder), repo_id, **options)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> "Self":
        """Loads a saved pipeline; runs no code of its folder and opens no pickles.

        Args:
            pretrained_model_name_or_path: A folder, the name of a released model, or a repository on the Hub.
            dtype: Of the weights in memory; by default float32, whatever they are saved in.
            **kwargs: Components to use instead of the saved ones; `revision`, `token`, `cache_dir`,
                `force_download`, `local_files_only` and `torch_dtype` as in diffusers; `device_map` if it is one
                device. `trust_remote_code`, `use_safetensors` and `low_cpu_mem_usage` change nothing.

        Raises:
            OSError, ValueError: If there is no such model, or it is incomplete, damaged or of another pipeline.
        """
        if __name__.startswith("diffusers_modules"):  # a copy of this file that diffusers was trusted to run
            return super().from_pretrained(pretrained_model_name_or_path, dtype=dtype, **kwargs)
        if cls.load is None:
            raise ImportError(f"Import {cls.__name__} from pokemon_ddpm, not from {cls.__module__}.")
        return cls.load(os.fspath(pretrained_model_name_or_path), dtype, **kwargs)
