"""Saving and pushing of a pipeline, with its card and its code; for loading see model_folder.py.

A saved model carries a copy of this file.
"""

import importlib
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel
from huggingface_hub import CardData, CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.utils import filter_repo_objects

from .model_folder import (
    CARD_FILE,
    DEFAULTS,
    DEFAULTS_KEY,
    INDEX_FILE,
    LICENSE_KEY,
    WEIGHTS_KEY,
    as_list,
    license_terms,
    load_pipeline,
)

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

DIGEST = "__" + "[0-9a-f]" * 8
# A model's code in its folder; that of the first versions has no digest in its name.
CODE_FILES = (
    f"*{DIGEST}.py", f"unet/*{DIGEST}.py", f"conditioner/*{DIGEST}.py", "pipeline.py", "unet/sprite_unet.py",
    "conditioner/sprite_conditioner.py",
)  # fmt: skip
WEIGHTS_FILES = ("unet/diffusion_pytorch_model*", "conditioner/diffusion_pytorch_model*")  # of every variant
UNFINISHED = ".saving-"
BEGIN = (
    "<!-- pokemon-ddpm: this part is written anew by every save and push; your own text stays above or below it -->"
)
END = "<!-- pokemon-ddpm: end -->"
GENERATED = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
SHEETS = "samples/step-"  # how the paths of a training run's sheets begin
SHEET_LINE = re.compile(rf"^!\[[^\]\n]*\]\({SHEETS}\d+\.png\)\n+", re.MULTILINE)
METADATA = {
    "library_name": "diffusers",
    "pipeline_tag": "unconditional-image-generation",
    "tags": ["ddpm", "class-conditional"],
}
CARD_TEMPLATE = """---
{{ card_data }}
---

{{ begin }}

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
{%- if details %}
{{ details }}
{% endif %}
{{ end }}"""


def pipeline_card(
    pipeline: Any, name: str, metadata: dict[str, Any] | None = None, sheet: str | None = None, details: str = ""
) -> RepoCard:
    """The model card of a pipeline, with further metadata, the path of an image of samples and further sections."""
    vocabulary, argument = pipeline.conditioner.vocabulary, pipeline.conditioner.argument
    return RepoCard.from_template(
        CardData(**METADATA | pipeline.license | (metadata or {})),
        template_str=CARD_TEMPLATE,
        **{"pipeline": pipeline, "name": name, "sheet": sheet, "details": details, "begin": BEGIN, "end": END},
        **{"argument": argument, "conditions": {argument: vocabulary.pop("type"), **vocabulary}},
    )


def read_card(text: str) -> RepoCard:
    """A card from its text. Raises ValueError if the metadata at its top are not a YAML mapping."""
    try:
        return RepoCard(text)
    except Exception as error:  # yaml has exceptions of its own
        reason = " ".join(str(error).split())
        raise ValueError(f"The metadata at the top of {CARD_FILE} are not YAML; repair them: {reason}") from error


def merge_card(new: RepoCard, old_text: str | None, keep: Collection[str] = ()) -> RepoCard:
    """A new card of a model, data set or Space, with what people wrote into the old one.

    Args:
        new: Its generated part replaces that of the old card.
        old_text: The card until now. Text around its generated part, tags and metadata that are not in `new` stay.
        keep: Metadata that stay as they are in the old card.
    """
    old = read_card(old_text or "---\n{}\n---\n")
    before, now = old.data.to_dict(), new.data.to_dict()
    if "license" in now:  # the keys about the license belong together
        before = {key: value for key, value in before.items() if key not in ("license_name", "license_link")}
    metadata = now | {key: value for key, value in before.items() if key not in now or key in keep}
    tags = as_list(now.get("tags")) + as_list(before.get("tags"))
    metadata["tags"] = [tag for i, tag in enumerate(tags) if tag not in tags[:i]] or None  # some may be lists
    text, own_text = new.text, GENERATED.sub("", old.text).strip()
    if own_text:
        text = old.text if GENERATED.search(old.text) else f"{own_text}\n\n{BEGIN}{END}"
        text = GENERATED.sub(lambda _: new.text.strip(), text, count=1)
    return RepoCard(f"---\n{CardData(**metadata).to_yaml()}\n---\n\n{text.strip()}\n")


def complete_folder(folder: Path, pipeline: "HubMixin") -> None:
    """Adds the code to a folder that diffusers saved, and to model_index.json the digests of the weights."""
    # Of a subclass the class with the published code.
    pipeline_class = next(each for each in type(pipeline).__mro__ if HubMixin in each.__bases__)
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
        if file.parent.name == "conditioner":
            config |= {DEFAULTS_KEY: pipeline.defaults, LICENSE_KEY: pipeline.license}
        is_sorted = file.name != INDEX_FILE  # as diffusers saves it, so that a model saved again has the same bytes
        file.write_text(json.dumps(config, indent=2, sort_keys=is_sorted) + "\n", encoding="utf-8")


def _save_code(folder: Path, source: type | Path) -> str:
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


def code_files(folder: Path) -> list[Path]:
    """A model's code in its folder, also of earlier versions."""
    return [path for pattern in CODE_FILES for path in folder.glob(pattern)]


def _install(made: Path, folder: Path) -> None:
    """Moves a finished save into its folder. Without model_index.json in between: half of a model is never loaded."""
    (folder / INDEX_FILE).unlink(missing_ok=True)
    for path in [*code_files(folder), *(path for pattern in WEIGHTS_FILES for path in folder.glob(pattern))]:
        path.unlink()
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    for name in [*sorted(files - {INDEX_FILE}), INDEX_FILE]:
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(made / name, folder / name)


def newest_sheet(folder: Path) -> str | None:
    """The path of a training run's newest sheet of samples, relative to its folder."""
    sheets = [path.relative_to(folder).as_posix() for path in folder.glob(f"{SHEETS}[0-9]*.png")]
    return max(sheets, key=lambda name: (len(name), name), default=None)


class Repository:
    """A repository on the Hub as it is before a push: the paths of its `files`, and the text of its `card`, if any."""

    def __init__(self, name: str, private: bool | None, token: str | None, repo_type: str = "model", **options: Any):
        """Creates it if it does not exist; arguments as of `HfApi.create_repo`.

        Raises ValueError if it holds something that this project has not pushed, by the generated part of its card.
        """
        self.api, self.type, self.card = HfApi(token=token), repo_type, ""
        url = self.api.create_repo(name, private=private, repo_type=repo_type, exist_ok=True, **options)
        self.info = self.api.repo_info(url.repo_id, repo_type=repo_type)
        self.files = {sibling.rfilename for sibling in self.info.siblings}
        if CARD_FILE in self.files:
            version = {"repo_type": repo_type, "revision": self.info.sha}
            self.card = Path(self.api.hf_hub_download(self.info.id, CARD_FILE, **version)).read_text(encoding="utf-8")
        others = sorted(self.files - {".gitattributes", CARD_FILE, "LICENSE", "LICENSE.md"})
        if others and BEGIN not in self.card:
            why = f"such as {others[0]}, and its {CARD_FILE} has no part written by pokemon-ddpm"
            raise ValueError(f"{self.info.id} contains other files, {why}. Choose another name.")

    def commit(self, folder: Path, replaced: Sequence[str], **options: Any) -> CommitInfo:
        """Pushes a folder in one commit, or nothing if it fails or somebody has changed the repository meanwhile.

        Files that match a pattern in `replaced` are deleted unless the folder has them. The options are
        `commit_message`, `commit_description` and `create_pr`.
        """
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        old = filter_repo_objects(sorted(self.files - files.keys()), allow_patterns=list(replaced))
        operations = [CommitOperationAdd(name, path) for name, path in files.items()]
        operations += [CommitOperationDelete(name) for name in old]
        where = {"repo_id": self.info.id, "repo_type": self.type, "parent_commit": self.info.sha}
        return self.api.create_commit(operations=operations, **where, **options)  # upload_folder may make several


def push_folder(folder: Path, name: str, token: str | None = None, private: bool | None = None, **commit: Any) -> str:
    """Pushes a folder that holds nothing but a pipeline, and returns the URL of the commit.

    The folder's card gets the name of the repository, and is merged with the card there. `name`, `token` and `private`
    are as of `HfApi.create_repo`; `commit` are `commit_message`, `commit_description` and `create_pr`.

    Raises:
        ValueError: If a card is not valid, or the repository holds something else.
        HfHubHTTPError, OSError: If the Hub refuses or cannot be reached. The repository is then as before.
    """
    card = read_card((folder / CARD_FILE).read_text(encoding="utf-8"))
    repository = Repository(name, private, token)
    if not GENERATED.search(card.text):  # written by hand; the next push replaces it
        card.text = f"{BEGIN}\n\n{card.text.strip()}\n\n{END}"
    use = f'from_pretrained("{repository.info.id}"'
    card.text = GENERATED.sub(lambda found: re.sub(r'from_pretrained\("[^"]*"', use, found[0]), card.text)
    merge_card(card, repository.card).save(folder / CARD_FILE)
    replaced = (*CODE_FILES, *WEIGHTS_FILES, f"{SHEETS}*.png")
    return repository.commit(folder, replaced, **{"commit_message": "Upload the model", **commit}).commit_url


class HubMixin:
    """Saving, loading and pushing of a `DiffusionPipeline` with `unet`, `conditioner` and `scheduler`."""

    _card_text: str | None = None  # of the folder or repository that it was loaded from

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of a call, which are saved with the model."""
        return {name: self.config[name] for name in DEFAULTS}

    @property
    def license(self) -> dict[str, str]:
        """What its card says of the license, which is saved with the model, too."""
        return license_terms(self.conditioner.config.get(LICENSE_KEY))

    @classmethod
    def from_pipe(cls, pipeline: Any, **kwargs: Any) -> "Self":
        """A pipeline with the components and defaults of another one; arguments as in diffusers."""
        # diffusers leaves out components that are of a subclass of what the constructor names.
        return super().from_pipe(pipeline, **{**pipeline.components, **kwargs})

    def save_pretrained(
        self, save_directory: str | os.PathLike, safe_serialization: bool = True, variant: str | None = None
    ) -> None:
        """Saves weights as safetensors, configurations, code and, if there is none in the folder, a model card.

        `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` then works without this package. If saving
        is interrupted, the folder loads as before or is refused.
        """
        if not safe_serialization:
            raise ValueError("Weights are saved as safetensors only; leave safe_serialization at True.")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{UNFINISHED}*/"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
            super().save_pretrained(name, variant=variant)
            complete_folder(Path(name), self)
            if not (folder / CARD_FILE).exists():
                text = SHEET_LINE.sub("", self._card_text or "")  # the sheet is not loaded
                card = read_card(text) if text else pipeline_card(self, folder.resolve().name)
                card.save(Path(name) / CARD_FILE)
            _install(Path(name), folder)

    def push_to_hub(self, repo_id: str, variant: str | None = None, **options: Any) -> str:
        """Pushes what `save_pretrained` saves in one commit, and returns its URL.

        `options` are `commit_message`, `commit_description`, `private`, `token` and `create_pr`, see `push_folder`.
        What people wrote into the card in the repository stays; code and weights there are replaced.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / repo_id.split("/")[-1]  # a new card has its name
            self.save_pretrained(folder, variant=variant)
            return push_folder(folder, repo_id, **options)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> "Self":
        """Loads a saved pipeline; runs no code of its folder and opens no pickles.

        Args:
            pretrained_model_name_or_path: A folder, the name of a released model, or a repository on the Hub.
            dtype: Of the weights in memory; by default float32, whatever they are saved in.
            **kwargs: Components to use instead of the saved ones (`unet`, `conditioner`, `scheduler`); `variant`,
                `revision`, `token`, `cache_dir`, `force_download`, `local_files_only` and `torch_dtype` as in
                diffusers; `device_map` if it is one device. `trust_remote_code`, `use_safetensors` and
                `low_cpu_mem_usage` change nothing.

        Raises:
            OSError, ValueError: If there is no such model, or it is incomplete, damaged or of another pipeline.
        """
        if __name__.startswith("diffusers_modules"):  # a copy of this file that diffusers was trusted to run
            return super().from_pretrained(pretrained_model_name_or_path, dtype=dtype, **kwargs)
        models = importlib.import_module("..models", __package__)  # which a saved model does not carry
        return load_pipeline(cls, models.locate_model(os.fspath(pretrained_model_name_or_path)), dtype, **kwargs)
