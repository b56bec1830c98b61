"""Saving, loading and pushing of a pipeline. Saved folders carry this file, so it imports nothing of the project."""

import importlib
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import diffusers
import safetensors.torch
import torch
from diffusers import SchedulerMixin, UNet2DModel
from huggingface_hub import CardData, CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, errors
from safetensors import SafetensorError, safe_open

COMPONENTS = ("unet", "conditioner", "scheduler")
# Of a call.
DEFAULTS = (
    "num_inference_steps", "guidance_scale", "default_conditions", "image_guidance_scale", "reference_guidance_scale",
)  # fmt: skip
INDEX_FILE, CARD_FILE = "model_index.json", "README.md"
# A model's code in its folder, also of earlier versions.
CODE_FILE = re.compile(
    r"(pipeline|pipeline_pokemon_ddpm|hub_mixin|sprite_preprocessing|conditioner/sprite_conditioner|unet/sprite_unet)"
    r"(__[0-9a-f]{8})?\.py"
)
# diffusers passes keys that begin with "_" on, but not to a constructor.
WEIGHTS_KEY = "_weights"  # in model_index.json: path -> SHA-256
DEFAULTS_KEY = "_defaults"  # in the conditioner's configuration: `DEFAULTS` of the saved model
PLAIN_WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_FILE = re.compile(r"(unet|conditioner)/diffusion_pytorch_model(\.[^/]+)?\.safetensors")
HALVES = {"fp16": ("F16", torch.float16), "bf16": ("BF16", torch.bfloat16)}  # variant -> its dtype in a file and here
MAX_SIDE = 1024  # of a sample, in pixels
UNFINISHED = ".saving-"
BEGIN = (
    "<!-- pokemon-ddpm: this part is written anew by every save and push; your own text stays above or below it -->"
)
END = "<!-- pokemon-ddpm: end -->"
GENERATED = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
SHEETS = "samples/step-"  # how the paths of a training run's sheets begin
SHEET_LINE = re.compile(rf"^!\[[^\]\n]*\]\({SHEETS}\d+\.png\)\n+", re.MULTILINE)
METADATA = {"library_name": "diffusers", "pipeline_tag": "unconditional-image-generation"}
TAGS, SPRITE_TAGS = ["ddpm", "class-conditional"], ["pixel-art", "sprites"]
CARD_TEMPLATE = """---
{{ card_data }}
---

{{ begin }}

# {{ name.split("/")[-1] }}

A class-conditional DDPM for {{ "sprites" if sprites else "images" }} of
{{ pipeline.sample_shape[2] }}x{{ pipeline.sample_shape[1] }} pixels: a
`{{ pipeline.unet | attr("__class__") | attr("__name__") }}` with
{{ "%.1f" | format(pipeline.unet.num_parameters() / 1e6) }} million parameters and a `SpriteConditioner`
{%- if dtype != "float32" %}, saved in {{ dtype }}{% endif %}.
By default it takes {{ pipeline.config.num_inference_steps }} inference steps with a guidance scale of
{{ "%g" | format(pipeline.config.guidance_scale) }}.
{% if sheet %}
![Samples of each {{ "type" if sprites else "class" }}]({{ sheet }})
{% endif %}
## Use

With diffusers and PyTorch only; `trust_remote_code` allows the pipeline code in the repository to run:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{{ name }}", trust_remote_code=True)
image = pipeline({{ argument }}={{ conditions[argument][0] | tojson }}).images[0]
```

The `pokemon-ddpm` package does not run that code: `pokemon_ddpm.PokemonDDPMPipeline.from_pretrained("{{ name }}")`.

{% if sprites %}`pokemon_type` takes a type, a pair, a blend, or `None` for any type
{%- else %}`class_labels` takes a class or its id, a blend, or `None` for any class
{%- endif %}; see the docstring of the pipeline.

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
    vocabulary = pipeline.conditioner.vocabulary
    argument = pipeline.conditioner.argument
    sprites = argument == "pokemon_type"
    return RepoCard.from_template(
        CardData(**METADATA | {"tags": TAGS + SPRITE_TAGS * sprites} | (metadata or {})),
        template_str=CARD_TEMPLATE,
        **{"pipeline": pipeline, "name": name, "sheet": sheet, "details": details, "begin": BEGIN, "end": END},
        dtype=str(pipeline.unet.dtype).removeprefix("torch."),
        **{"sprites": sprites, "argument": argument, "conditions": {argument: vocabulary.pop("type"), **vocabulary}},
    )


def read_card(text: str) -> RepoCard:
    """A card from its text. Raises ValueError if the metadata at its top are not a YAML mapping."""
    try:
        return RepoCard(text)
    except Exception as error:  # yaml has exceptions of its own
        reason = " ".join(str(error).split())
        raise ValueError(f"The metadata at the top of {CARD_FILE} are not YAML; repair them: {reason}") from error


def as_list(value: Any) -> list:
    """The values of a key in JSON or YAML that may hold one or a list of them."""
    return value if isinstance(value, list) else [] if value is None else [value]


def merge_card(new: RepoCard, old_text: str | None, keep: Collection[str] = ()) -> RepoCard:
    """A new card of a model, data set or Space, with what people wrote into the old one.

    Args:
        new: Its generated part replaces that of the old card; without a generated part it replaces all text.
        old_text: The card until now. Text around its generated part, tags and metadata that are not in `new` stay.
        keep: Metadata that stay as they are in the old card.
    """
    old = read_card(old_text or "---\n{}\n---\n")
    before, now = old.data.to_dict(), new.data.to_dict()
    if "license" in now:  # the keys about the license belong together
        before = {key: value for key, value in before.items() if key not in ("license_name", "license_link")}
    metadata = now | {key: value for key, value in before.items() if key not in now or key in keep}
    metadata["tags"] = list(dict.fromkeys(as_list(now.get("tags")) + as_list(before.get("tags")))) or None
    text, generated, own_text = new.text, GENERATED.search(new.text), GENERATED.sub("", old.text).strip()
    if generated and own_text:
        text = old.text if GENERATED.search(old.text) else f"{own_text}\n\n{BEGIN}{END}"
        text = GENERATED.sub(lambda _: generated[0], text, count=1)
    return RepoCard(f"---\n{CardData(**metadata).to_yaml()}\n---\n\n{text.strip()}\n")


def rename_card(card: RepoCard, name: str) -> RepoCard:
    """The card of the same model under another name: in the title and the code of its generated part."""

    def rename(found: re.Match[str]) -> str:
        text = re.sub(r"^# .*$", lambda _: f"# {name.split('/')[-1]}", found[0], count=1, flags=re.MULTILINE)
        return re.sub(r'from_pretrained\("[^"]*"', lambda _: f'from_pretrained("{name}"', text)

    return RepoCard(f"{GENERATED.sub(rename, card.content).rstrip()}\n")


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
        WEIGHTS_KEY: {path.relative_to(folder).as_posix(): _digest(path) for path in weights},
    }
    for file in [folder / INDEX_FILE, *folder.glob("*/*.json")]:
        config = json.loads(file.read_text(encoding="utf-8")) | (changes if file.name == INDEX_FILE else {})
        config.pop("_name_or_path", None)  # a path on this machine
        if file.parent.name == "conditioner":
            config[DEFAULTS_KEY] = pipeline.defaults
        is_sorted = file.name != INDEX_FILE  # as diffusers saves it, so that a model saved again has the same bytes
        file.write_text(json.dumps(config, indent=2, sort_keys=is_sorted) + "\n", encoding="utf-8")


def keep_variants(folder: Path, there: Path) -> list[str]:
    """Adds the weights of other variants `there` to the digests of a complete folder, and returns their paths.

    Those of another model are left out, and so not loaded. Raises ValueError if there are such, and `folder` itself
    holds a variant: it would not be one of the weights there.
    """
    index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    digests, kept = index[WEIGHTS_KEY], []
    made = {name.partition("/")[0]: name for name in digests}
    for file in sorted(there.glob("*/*.safetensors")):
        name = file.relative_to(there).as_posix()
        if name in digests or not WEIGHTS_FILE.fullmatch(name):
            continue
        own = made[file.parent.name]
        if _are_same_weights(folder / own, file):
            digests[name] = _digest(file)
            kept.append(name)
        elif WEIGHTS_FILE.fullmatch(own)[2]:
            raise ValueError(f"{name} is of another model than this variant; save or push the variant elsewhere.")
    index[WEIGHTS_KEY] = dict(sorted(digests.items()))
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return kept


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def _are_same_weights(first: Path, second: Path) -> bool:
    """Whether two files have the same tensors, up to rounding to the dtypes that they are saved in."""
    try:
        ours, theirs = safetensors.torch.load_file(first), safetensors.torch.load_file(second)
    except SafetensorError:
        return False
    return ours.keys() == theirs.keys() and all(_are_close(values, theirs[name]) for name, values in ours.items())


def _are_close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or not (a.is_floating_point() and b.is_floating_point()):
        return False
    relative = max(torch.finfo(each.dtype).eps for each in (a, b))
    return torch.allclose(a.float(), b.float(), rtol=relative, atol=2**-24)  # float16 has no number between that and 0


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
    files = [*folder.glob("*.py"), *folder.glob("*/*.py")]
    return [path for path in files if CODE_FILE.fullmatch(path.relative_to(folder).as_posix())]


def is_model(files: Collection[str]) -> bool:
    """Whether a repository with these paths holds one of these models."""
    return any(re.fullmatch(r"conditioner/sprite_conditioner\w*\.py", path) for path in files)


def _install(made: Path, folder: Path) -> None:
    """Moves a finished save into its folder. Without model_index.json in between: half of a model is never loaded."""
    (folder / INDEX_FILE).unlink(missing_ok=True)
    for path in code_files(folder):
        path.unlink()
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    for name in [*sorted(files - {INDEX_FILE}), INDEX_FILE]:
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(made / name, folder / name)


def newest_sheet(folder: Path) -> str | None:
    """The path of a training run's newest sheet of samples, relative to its folder."""
    sheets = [path.relative_to(folder).as_posix() for path in folder.glob(f"{SHEETS}[0-9]*.png")]
    return max(sheets, key=lambda name: (len(name), name), default=None)


@contextmanager
def _damage_of(source: str) -> Iterator[None]:
    """Turns every failure to read a model into one sentence that names the model."""
    try:
        yield
    except Exception as error:  # json, torch and diffusers fail in many ways at damaged files
        kind = OSError if isinstance(error, OSError) else ValueError
        message = " ".join(str(error).split())[:300]
        if not isinstance(error, (OSError, ValueError)):
            message = f"a file is damaged ({type(error).__name__}: {message})."
        raise kind(f"{source} holds no model that can be loaded: {message}") from error


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
    if name in digests:
        belongs = sha256(content).hexdigest() == digests[name]
    else:  # version 1.0.0 listed only the variant that was saved last
        listed = [
            folder / each
            for each in digests
            if (known := WEIGHTS_FILE.fullmatch(each)) and known[1] == file.parent.name
        ]
        belongs = not digests or any(each.is_file() and _are_same_weights(each, file) for each in listed)
    if not belongs:
        raise ValueError(f"{name} does not belong to this {INDEX_FILE}. Save or download the whole model again.")
    return safetensors.torch.load(content)


def _read_header(file: Path) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """The shapes of the tensors in a file, and their dtypes."""
    with safe_open(file, framework="pt") as weights:
        header = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
        shapes = {name: tuple(values.get_shape()) for name, values in header.items()}
        return shapes, {values.get_dtype() for values in header.values()}


def _find_weights(folder: Path, variant: str | None) -> Path:
    """The file with a component's weights. Plain ones in half precision are also found as that variant."""
    plain = folder / PLAIN_WEIGHTS
    file = plain.with_suffix(f".{variant}.safetensors") if variant else plain
    if not file.is_file():
        if variant in HALVES and plain.is_file() and _read_header(plain)[1] == {HALVES[variant][0]}:
            return plain
        missing = f"{folder.name}/{file.name}"
        raise OSError(f"there is no {missing}. Weights are loaded from safetensors only: pickles can run code.")
    return file


def _check_network(kind: type, config: dict[str, Any], file: Path) -> None:
    """Compares a configuration with the header of the weights, before anything is as large as a stranger wants it."""
    shapes, dtypes = _read_header(file)
    if others := sorted(dtypes - {"F16", "BF16", "F32", "F64"}):
        raise ValueError(f"its weights are {', '.join(others)}, not floating-point numbers.")
    blocks = len(config.get("block_out_channels") or config.get("vocabulary") or ())
    if blocks * config.get("layers_per_block", 1) > len(shapes):
        raise ValueError(f"its configuration has more layers than {file.parent.name}/{file.name}.")
    with torch.device("meta"):  # which needs no memory
        kind.from_config(config).load_state_dict({name: torch.empty(shape) for name, shape in shapes.items()})


def _check_sample(unet: UNet2DModel) -> None:
    """Raises ValueError or what diffusers raises unless the network can be evaluated."""
    size, channels, outputs = (unet.config[name] for name in ("sample_size", "in_channels", "out_channels"))
    sides = size if isinstance(size, (list, tuple)) else [size, size]
    factor = 2 ** (len(unet.config.block_out_channels) - 1) * unet.config.get("patch_size", 1)
    if len(sides) != 2 or not all(side in range(factor, MAX_SIDE + 1, factor) for side in sides):
        raise ValueError(f"its sample_size is {size!r}, not a multiple of {factor} up to {MAX_SIDE}.")
    if outputs not in (channels, 2 * channels):
        raise ValueError(f"its network has {outputs} output channels for {channels}.")
    embedding, side = torch.zeros(1, unet.time_embedding.linear_2.out_features), min(2 * factor, *sides)
    with torch.no_grad():  # not everything that can be built can be run
        unet(torch.zeros(1, channels, side, side), 0, class_labels=embedding)


def _check_trained_scheduler(kind: type, config: dict[str, Any]) -> None:
    timesteps, prediction = config.get("num_train_timesteps", 1000), config.get("prediction_type", "epsilon")
    if timesteps not in range(2, 100_001):  # its tables would fill the memory
        raise ValueError(f"its scheduler has {timesteps} timesteps, but from 2 to 100,000 are possible.")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(f"its scheduler has prediction_type {prediction!r}.")
    if config.get("solver_order", 2) not in (1, 2, 3):
        raise ValueError(f"its scheduler has solver_order {config['solver_order']!r}, not 1, 2 or 3.")
    scheduler = kind.from_config(config)
    alpha_bar = getattr(scheduler, "alphas_cumprod", torch.zeros(timesteps))
    scheduler.set_timesteps(min(20, timesteps))
    if len(alpha_bar) != timesteps or not ((alpha_bar >= 0) & (alpha_bar <= 1)).all() or not len(scheduler.timesteps):
        raise ValueError("its scheduler has no noise schedule for its timesteps.")


def _load_component(kind: type, folder: Path, name: str, variant: str | None, dtype: torch.dtype, index: dict) -> Any:
    with torch.random.fork_rng(devices=[]):  # loading does not change the state of torch's generator
        config = {**kind.load_config(folder, subfolder=name)}  # from_config would take a text for a name on the Hub
        if name == "scheduler":
            _check_trained_scheduler(kind, config)
            return kind.from_config(config)
        file = _find_weights(folder / name, variant)
        _check_network(kind, config, file)
        component = kind.from_config(config).eval()
        if name == "unet":
            _check_sample(component)
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
    except errors.RepositoryNotFoundError as error:  # also if it is private or gated
        hint = "`hf auth login` stores a token for private models."
        raise OSError(f"{name} is neither a folder nor a model on the Hub that you have access to. {hint}") from error
    except Exception as error:  # the client has exceptions of its own and those of its HTTP library
        reason = " ".join(str(error).split())[:300]
        raise OSError(f"There is no folder {name}, and {name} cannot be loaded from the Hub: {reason}") from error


class Repository:
    """A repository on the Hub as it is before a push: the paths of its `files`, and the text of its `card`, if any."""

    def __init__(self, name: str, private: bool | None, token: str | None, repo_type: str = "model", **options: Any):
        """Creates it if it does not exist; arguments as of `HfApi.create_repo`."""
        self.api, self.type, self.card = HfApi(token=token), repo_type, None
        url = self.api.create_repo(name, private=private, repo_type=repo_type, exist_ok=True, **options)
        self.info = self.api.repo_info(url.repo_id, repo_type=repo_type)
        self.files = {sibling.rfilename for sibling in self.info.siblings}
        if CARD_FILE in self.files:
            # Not into the cache, where a commit with this file alone would pass for the whole model.
            with tempfile.TemporaryDirectory() as folder:
                version = {"repo_type": repo_type, "revision": self.info.sha}
                path = self.api.hf_hub_download(self.info.id, CARD_FILE, local_dir=folder, **version)
                self.card = Path(path).read_text(encoding="utf-8")

    def check(self, is_ours: bool, private: bool | None = None, force: bool | None = False) -> None:
        """Raises ValueError if it holds something else than what is pushed, or is public though `private`.

        With `force` other content is accepted; None is where nobody could give it.
        """
        if private and self.info.private is False:
            raise ValueError(f"{self.info.id} is public already. Make it private in its settings, then push.")
        others = sorted(self.files - {".gitattributes", CARD_FILE, "LICENSE", "LICENSE.md"})
        if others and not (is_ours or force):
            some = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
            or_force = "" if force is None else ", or push beside it with --force (in Python force=True)"
            raise ValueError(f"{self.info.id} holds something else ({some}). Choose another name{or_force}.")

    def commit(self, folder: Path, replaced: Callable[[str], bool], **options: Any) -> CommitInfo:
        """Pushes a folder in one commit, or nothing if it fails or somebody has changed the repository meanwhile.

        Files whose paths are `replaced` are deleted unless the folder has them. The options are `commit_message`,
        `commit_description` and `create_pr`.
        """
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        old = sorted(name for name in self.files - files.keys() if replaced(name))
        operations = [CommitOperationAdd(name, path) for name, path in files.items()]
        operations += [CommitOperationDelete(name) for name in old]
        where = {"repo_id": self.info.id, "repo_type": self.type, "parent_commit": self.info.sha}
        return self.api.create_commit(operations=operations, **where, **options)  # upload_folder may make several


def push_folder(
    folder: Path,
    name: str,
    keep_card: bool = False,
    token: str | None = None,
    private: bool | None = None,
    force: bool = False,
    **commit: Any,
) -> str:
    """Pushes a folder that holds nothing but a pipeline, and returns the URL of the commit.

    Args:
        folder: Its card becomes the one that is pushed.
        name: "user/name", or a name in the token owner's namespace.
        keep_card: Whether a card in the repository stays as it is; otherwise that of the folder is merged with it.
        token: None for the stored one.
        private: Whether a new repository is private; None for the default of the account.
        force: Whether to push into a repository with other content, which stays beside the model.
        **commit: `commit_message`, `commit_description` and `create_pr`.

    Raises:
        ValueError: If a card is not valid, or see `Repository.check`.
        HfHubHTTPError, OSError: If the Hub refuses or cannot be reached. The repository is then as before.
    """
    card = read_card((folder / CARD_FILE).read_text(encoding="utf-8"))
    repository = Repository(name, private, token)
    repository.check(is_model(repository.files), private, force)
    with tempfile.TemporaryDirectory() as there:
        for path in filter(WEIGHTS_FILE.fullmatch, repository.files):
            if not (folder / path).exists():
                version = {"revision": repository.info.sha, "local_dir": there}
                repository.api.hf_hub_download(repository.info.id, path, **version)
        keep_variants(folder, Path(there))
    card = rename_card(card, repository.info.id)
    if not GENERATED.search(card.text):  # written by hand; the next push replaces it
        card.text = f"{BEGIN}\n\n{card.text.strip()}\n\n{END}"
    old_card = repository.card
    card = read_card(old_card) if old_card and keep_card else merge_card(card, old_card)
    card.save(folder / CARD_FILE)

    def replaced(path: str) -> bool:  # weights of another variant and other files stay
        return bool(CODE_FILE.fullmatch(path)) or (path.startswith(SHEETS) and (folder / "samples").exists())

    return repository.commit(folder, replaced, **{"commit_message": "Upload the model", **commit}).commit_url


class HubMixin:
    """Saving, loading and pushing of a `DiffusionPipeline` with `unet`, `conditioner` and `scheduler`."""

    _card_text: str | None = None  # of the folder or repository that it was loaded from

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of a call, which are saved with the model."""
        return {name: self.config[name] for name in DEFAULTS}

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves weights as safetensors, configurations, code and, if there is none in the folder, a model card.

        `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` then works without this package. If saving
        is interrupted, the folder loads as before or is refused. `kwargs` are arguments of `push_to_hub`.
        """
        if not safe_serialization:
            raise ValueError("Weights are saved as safetensors only; leave safe_serialization at True.")
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained does not take {', '.join(kwargs)} without push_to_hub=True.")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{UNFINISHED}*/"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
            super().save_pretrained(name, variant=variant)
            complete_folder(Path(name), self)
            keep_variants(Path(name), folder)
            if not (folder / CARD_FILE).exists():
                card = read_card(self._card_text) if self._card_text else pipeline_card(self, "model")
                rename_card(card, folder.resolve().name).save(Path(name) / CARD_FILE)
            _install(Path(name), folder)
        if push_to_hub:
            self.push_to_hub(**{"repo_id": folder.resolve().name, "variant": variant, **kwargs})

    def push_to_hub(
        self, repo_id: str, *, variant: str | None = None, safe_serialization: bool = True, **options: Any
    ) -> str:
        """Pushes what `save_pretrained` saves in one commit, and returns its URL.

        `options` are `commit_message`, `commit_description`, `private`, `token`, `create_pr` and `force`, see
        `push_folder`. What people wrote into the card in the repository stays, as do weights of another variant.
        """
        with tempfile.TemporaryDirectory() as name:
            self.save_pretrained(name, safe_serialization, variant)
            return push_folder(Path(name), repo_id, keep_card=self._card_text is None, **options)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> Any:
        """Loads a saved pipeline; runs no code of its folder and opens no pickles.

        Args:
            pretrained_model_name_or_path: A folder, or a repository on the Hub.
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
        source, is_local = os.fspath(pretrained_model_name_or_path), os.path.isdir(pretrained_model_name_or_path)
        dtype = kwargs.pop("torch_dtype", None) or dtype or torch.float32
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating point type such as torch.float16, not {dtype!r}.")
        if kwargs.pop("use_safetensors", True) is False:
            raise ValueError("Weights are loaded from safetensors only; leave use_safetensors at True.")
        variant, device = kwargs.pop("variant", None), kwargs.pop("device_map", None) or "cpu"
        if not isinstance(device, (str, int, torch.device)) or device in ("auto", "balanced"):
            raise ValueError(f"device_map must be one device, such as 'cuda', not {device!r}.")
        for without_effect in ("trust_remote_code", "low_cpu_mem_usage"):
            kwargs.pop(without_effect, None)
        parts = {name: kwargs.pop(name) for name in COMPONENTS if name in kwargs}
        if unknown := kwargs.keys() - {"cache_dir", "force_download", "local_files_only", "revision", "token"}:
            raise TypeError(f"from_pretrained does not take {', '.join(sorted(unknown))}.")
        # A name that begins with a folder here is a mistyped path, not a name on the Hub.
        hub_name = re.fullmatch(r"(\w[\w.-]*)(/\w[\w.-]*)?", source)
        if not is_local and (not hub_name or hub_name[2] and os.path.isdir(hub_name[1])):
            raise OSError(f"There is no model folder {source!r}.")
        folder = Path(source) if is_local else _pull(source, [INDEX_FILE, CARD_FILE], kwargs)
        with _damage_of(source):
            index = {**cls.load_config(folder)}
            missing = {name: kind for name, kind in _component_classes(index).items() if parts.get(name) is None}
        if not is_local:  # the large files, now that it is known to be ours, and of the same commit
            files = [f"{name}/*.{suffix}" for name in missing for suffix in ("json", "safetensors")]
            folder = _pull(source, files, kwargs | {"revision": folder.name})
        with _damage_of(source):
            for name, kind in missing.items():
                parts[name] = _load_component(kind, folder, name, variant, dtype, index)
            pipeline = cls(**parts, **{name: index[name] for name in DEFAULTS if name in index})
            if "conditioner" in missing:
                pipeline.conditioner.register_to_config(**{DEFAULTS_KEY: pipeline.defaults})
            if len(missing) == len(COMPONENTS):  # others may need other arguments
                pipeline.check_defaults()
            if (folder / CARD_FILE).is_file():
                # Without the sheet, which is not loaded.
                pipeline._card_text = SHEET_LINE.sub("", (folder / CARD_FILE).read_text(encoding="utf-8"))
        return pipeline.to(device)

    @classmethod
    def from_pipe(cls, pipeline: Any, **kwargs: Any) -> Any:
        """Another pipeline with the same components, which are shared, and defaults of a call.

        Args:
            pipeline: One with a U-Net, a conditioner and a scheduler.
            **kwargs: Components and defaults to use instead of its own; `torch_dtype` to convert the components to.
        """
        dtype = kwargs.pop("torch_dtype", None)
        known = pipeline.components | {name: pipeline.config[name] for name in DEFAULTS if name in pipeline.config}
        made = cls(**known | kwargs)
        return made if dtype is None else made.to(dtype=dtype)
