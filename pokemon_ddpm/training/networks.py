"""Networks to train: presets, a new U-Net with its conditioner, and what a run takes over from a trained one."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import ConditionalDenoiser
from pokemon_ddpm.models import run_once
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_conditioner import MAX_ROWS, SOURCE, TAGS, SpriteConditioner
from pokemon_ddpm.pipelines.sprite_unet import SpriteUNet2DModel
from pokemon_ddpm.preprocessing import CHANNELS
from pokemon_ddpm.training.adversarial import Discriminator
from pokemon_ddpm.training.augmentation import AUGMENTATION_DIM, MIRROR
from pokemon_ddpm.training.config import NUM_TRAIN_TIMESTEPS, TrainingConfig, as_text
from pokemon_ddpm.training.losses import check_teacher
from pokemon_ddpm.vocabulary import BUILD_TAGS, CONDITIONS, USUAL, Vocabulary, shown_name

# The thesis's last network has 64 * (1, 2, 2, 4) channels and one block a level; the widths of the others are not
# recorded. UNet2DModel differs in its residual blocks (two convolutions in a row, not side by side), its resampling
# (3x3 convolutions, not pooling and repetition), one more block a level in the decoder, and the condition (added to
# the time embedding, not multiplied with the features).
_THESIS = {"block_out_channels": (64, 128, 128, 256), "layers_per_block": 1}


def _blocks(*attention: int) -> dict[str, tuple[str, ...]]:
    """Four levels down and up, with attention at some of them."""
    kinds = ["Attn" * (level in attention) for level in range(4)]
    blocks = {"down": [f"{kind}DownBlock2D" for kind in kinds], "up": [f"{kind}UpBlock2D" for kind in kinds[::-1]]}
    return {f"{way}_block_types": tuple(names) for way, names in blocks.items()}


_SMALL = {"block_out_channels": (32, 64, 128, 192), **_blocks(2), "layers_per_block": 1, "attention_head_dim": 32}
_SPRITE = {**_SMALL, "patch_size": 1, "scaling_factor": 0.5, "dropout": 0.1}  # of `SpriteUNet2DModel`
# One normalization group is layer normalization; SiLU stays inside the time embedding.
_THESIS_VANILLA = {**_THESIS, **_blocks(), "add_attention": False, "act_fn": "relu", "norm_num_groups": 1}
_THESIS_ATTENTION = {**_THESIS, **_blocks(1, 2, 3), "attention_head_dim": None}  # a single head

PRESETS: dict[str, dict[str, Any]] = {
    # 32 px on a laptop's CPU: 6.8 million parameters, attention at 8x8 and below.
    "small": _SMALL,
    # 64 px on a laptop's CPU: 32x32 positions of 16 values, for which the 32 channels of `small` are too few.
    "packed": {**_SPRITE, "patch_size": 2, "block_out_channels": (64, 64, 128, 192)},
    # 64 px on one GPU: attention at 16x16 and 8x8.
    "base": {**_SPRITE, "block_out_channels": (64, 128, 192, 256), **_blocks(2, 3), "layers_per_block": 2},
    # The thesis's first, without EMA (--no_use_ema).
    "thesis-vanilla": {**_THESIS_VANILLA, "time_embedding_type": "learned"},
    # Its second, with sinusoidal time embedding, attention, SiLU and group normalization.
    "thesis-attention": {**_THESIS_ATTENTION, "norm_num_groups": 8},
    # Its last, with the default --ema_decay. It had dropout in the deeper levels only.
    "thesis-final": {**_THESIS_ATTENTION, "norm_num_groups": 16, "dropout": 0.1},
}


NEW_SCALE = 0.3  # of the embeddings of a new attribute beside trained ones, which soon learn what they are for

# What the table of `SpriteConditioner.draw` does not have, and what is only given.
NOT_IN_TABLE = {"type", "view", "game", SOURCE, TAGS}
NOT_DRAWN = {"finish", "form", "legendary"}


def unet_config(name_or_path: str) -> dict[str, Any]:
    """`UNet2DModel` arguments of one of `PRESETS` or of a JSON file; raises ValueError if it is neither."""
    if name_or_path in PRESETS:
        return dict(PRESETS[name_or_path])
    try:
        config = json.loads(Path(name_or_path).read_text(encoding="utf-8"))
        len(config["block_out_channels"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        kinds = f"a preset ({', '.join(PRESETS)}) nor a UNet2DModel configuration in JSON with block_out_channels"
        raise ValueError(f"{name_or_path!r} is neither {kinds}: {error!r}.") from error
    return {name: value for name, value in config.items() if not name.startswith("_")}


def build_unet(
    config: Mapping[str, Any], resolution: int, channels: int = 4, learned_variance: bool = False
) -> UNet2DModel:
    """An untrained network, which may also predict the variance of the reverse process.

    The configuration are arguments of `SpriteUNet2DModel` if there is a `patch_size`, otherwise of `UNet2DModel`;
    ValueError is raised if it is invalid or does not fit the resolution.
    """
    patch_size = config.get("patch_size", 1)
    factor = 2 ** (len(config["block_out_channels"]) - 1) * (patch_size if patch_size in range(1, resolution) else 1)
    if resolution % factor or config.get("time_embedding_type") == "fourier":  # the logarithm of timestep 0
        needed = f"a resolution divisible by {factor} (it is {resolution}), and no fourier time embedding"
        raise ValueError(f"This network needs {needed}.")
    fixed = {"sample_size": resolution, "class_embed_type": "identity", "in_channels": channels}
    fixed["out_channels"] = 2 * channels if learned_variance else channels
    if config.get("time_embedding_type") == "learned":
        fixed["num_train_timesteps"] = NUM_TRAIN_TIMESTEPS
    try:
        unet_class = SpriteUNet2DModel if "patch_size" in config else UNet2DModel
        unet = unet_class(**{**config, **fixed}).eval()
        run_once(unet)
    except Exception as error:  # diffusers checks little: ZeroDivisionError and NameError are among them
        raise ValueError(f"Invalid UNet2DModel configuration: {error}") from error
    return unet.train()


def build_conditioner(
    unet: UNet2DModel,
    attributes: Iterable[str] = ("type",),
    trained: SpriteConditioner | None = None,
    values: Vocabulary = CONDITIONS,
    knows_mirroring: bool = False,
    data: SpriteTensors | None = None,
) -> SpriteConditioner:
    """The conditioner of a network, with some of the attributes of `values`.

    A trained conditioner to continue with keeps its attributes if they have these values; those it lacks are added
    without a change where they are not given. With other classes or values the attributes are the given ones: rows of
    the same name are taken over, others begin around the mean of the old ones, and the usual or unknown value of an
    attribute that is lost is added to the types. With `data`, what is not given is drawn from its conditions.
    """
    vocabulary = {attribute: list(values[attribute]) for attribute in attributes}
    if trained is not None and not other_values(trained, values):
        vocabulary |= trained.vocabulary
    knows_mirroring |= trained is not None and trained.config.augmentation_dim == AUGMENTATION_DIM
    parameters = AUGMENTATION_DIM if knows_mirroring else MIRROR.start
    table = None if data is None else training_conditions(data, sorted(vocabulary))
    has_types = shown_name("type", vocabulary["type"]) == "type"
    if trained is not None and vocabulary["type"] == trained.vocabulary["type"]:
        has_types = trained.has_types
    width = unet.time_embedding.linear_2.out_features
    conditioner = SpriteConditioner(vocabulary, width, parameters, table, has_types)
    if trained is not None:
        _take_over(conditioner, trained)
    return conditioner


def training_conditions(data: SpriteTensors, attributes: Iterable[str]) -> dict[str, list[str]] | None:
    """The table of `SpriteConditioner`, of the fronts, if any, of the training images; None if nothing is to draw.

    The line is that of evolution; without one the creature, or else all images with the same conditions.
    """
    attributes = list(attributes)
    names = [name for name in attributes if name not in NOT_IN_TABLE]
    drawn = [name for name in names if name not in NOT_DRAWN]
    if not drawn:
        return None
    vocabulary, labels, unknown = data.vocabulary, data.labels, torch.full((len(data),), -1)
    line = labels.get("line", labels.get("index", unknown))
    types = torch.where(labels["type"] < 0, len(vocabulary["type"]) + 1, labels["type"])
    ids = [labels.get(name, unknown) for name in names]
    ids = [torch.where(column < 0, len(vocabulary[name]), column) for name, column in zip(names, ids, strict=True)]
    tags = labels.get(TAGS, torch.zeros(len(data), 0))
    rows = torch.cat([torch.stack([line, *types.T, *ids], dim=1), tags.long()], dim=1)
    if "view" in labels and USUAL["view"] in vocabulary["view"]:
        fronts = labels["view"] == vocabulary["view"].index(USUAL["view"])
        rows = rows[fronts] if fronts.any() else rows
    rows = rows.unique(dim=0)
    rows = rows[:: -(-len(rows) // MAX_ROWS)]
    alone = rows[:, 0] < 0
    rows[alone, 0] = rows[:, 0].max() + 1 + torch.arange(int(alone.sum()))
    rows, tags = rows.tensor_split([3 + len(names)], dim=1)
    table = {"attributes": names, "drawn": drawn, "rows": [" ".join(map(str, row)) for row in rows.tolist()]}
    if TAGS in attributes:
        table["tags"] = [" ".join(map(str, row.nonzero().flatten().tolist())) for row in tags]
        table["build"] = [tag for tag in vocabulary[TAGS] if tag in BUILD_TAGS]
    return table


def other_values(trained: SpriteConditioner, values: Vocabulary) -> list[str]:
    """The attributes of a trained conditioner that have other values in `values`, or are not there."""
    return [name for name, names in trained.vocabulary.items() if list(values.get(name, ())) != names]


def new_attributes(config: TrainingConfig, own: SpriteConditioner, trained: PokemonDDPMPipeline | None) -> list[str]:
    """The attributes that own classes give other values than the trained model has; none if it is not continued."""
    known = trained.conditioner.vocabulary if config.fine_tunes else own.vocabulary
    return [name for name, values in own.vocabulary.items() if known.get(name) != values]


@torch.no_grad()
def _take_over(conditioner: SpriteConditioner, trained: SpriteConditioner) -> None:
    """Copies what two conditioners have in common; see `build_conditioner`.

    New values start at random, around the old ones: started at one point they hardly separate (tried: after 8,000
    updates they were at a tenth of the types').
    """
    tables, old_tables = (
        {name: part.tables[f"{name}_embedding"].weight for name in part.vocabulary} for part in (conditioner, trained)
    )
    for name, values in conditioner.vocabulary.items():
        table, old, known = tables[name], old_tables.get(name), trained.vocabulary.get(name, [])
        if old is None:
            table.mul_(NEW_SCALE)
            table[0 if name == SOURCE else -1] = 0  # what an image without this attribute has
            continue
        old_values = old[: len(known)]
        table.copy_(old_values.mean(dim=0) + old_values.std(dim=0, correction=0) * torch.randn_like(table))
        for row, value in enumerate(values):
            if value in known:
                table[row] = old[known.index(value)]
        table[len(values) :] = old[len(known) :]  # none and any
    for name in [name for name in old_tables if name not in tables]:
        known = trained.vocabulary[name]
        unknown = 0 if name == SOURCE else -1
        usual = known.index(USUAL[name]) if USUAL.get(name) in known else unknown
        tables["type"] += old_tables[name][usual] / 2  # there are two slots
    augmentation, old = conditioner.augmentation_embedding, trained.augmentation_embedding
    if old is not None and old.in_features in (MIRROR.start, AUGMENTATION_DIM):  # earlier versions had more kinds
        augmentation.weight[:, : old.in_features] = old.weight


def make_unet(config: TrainingConfig) -> tuple[UNet2DModel, PokemonDDPMPipeline | None]:
    """A new network, or that of --pretrained_model_name_or_path or --distill_from, and the pipeline of these.

    Raises ValueError or OSError if that does not exist or does not fit the configuration.
    """
    trained = None
    if config.initial_weights:
        trained = _trained_pipeline(config, config.initial_weights)
        unet = trained.unet.train(not (config.fine_tunes or config.distill_from or config.adversarial_from))
    else:
        network = unet_config(config.model_config_name_or_path or ("packed" if config.resolution >= 64 else "small"))
        channels, learned = CHANNELS[config.preprocessing], config.variance_type == "learned_range"
        unet = build_unet(network, config.resolution, channels, learned)
    # Solvers that clip the predicted x_0, which epsilon needs, can only clip it to [-1, 1].
    if unet.config.get("scaling_factor", 1) != 1 and config.prediction_type == "epsilon":
        raise ValueError("--prediction_type epsilon needs a network with a scaling_factor of 1.")
    return unet, trained


def _trained_pipeline(config: TrainingConfig, source: str) -> PokemonDDPMPipeline:
    """See `make_unet`.

    Own classes are learned without dropout: with it, after 16,000 images of two classes the loss of held-out images is
    lower (0.0139 instead of 0.0147), but readers name the class of fewer samples (86 instead of 93 %).
    """
    pipeline = PokemonDDPMPipeline.from_pretrained(source)
    if config.distill_from:
        check_teacher(pipeline, config)
    trained, unet = pipeline.scheduler.config, pipeline.unet
    known_modes = [mode for mode, count in CHANNELS.items() if count == unet.config.in_channels]
    required = {
        "resolution": unet.config.sample_size,
        "preprocessing": config.preprocessing if config.preprocessing in known_modes else known_modes[0],
        "prediction_type": trained.prediction_type,
        "ddpm_beta_schedule": trained.beta_schedule,
    }
    if trained.num_train_timesteps != NUM_TRAIN_TIMESTEPS or trained.get("rescale_betas_zero_snr"):
        reason = f"does not have {NUM_TRAIN_TIMESTEPS} timesteps, or ends at pure noise"
        raise ValueError(f"{source} has a noise schedule that {reason}; only earlier versions can train it.")
    if config.adversarial_from:
        required["ddpm_num_inference_steps"] = pipeline.config.num_inference_steps
    # Fixed variances concern sampling only; a learned one has outputs of its own.
    learned = config.variance_type == "learned_range"
    if (unet.config.out_channels > unet.config.in_channels) != learned:
        required["variance_type"] = "fixed_small" if learned else "learned_range"
    if config.conditions and not config.own_classes:  # those that the model has are kept
        known = {*config.conditions, *pipeline.conditioner.vocabulary}
        required["conditions"] = [name for name in CONDITIONS if name in known]
    for name, value in required.items():
        if getattr(config, name) != value:
            raise ValueError(f"{source} needs --{name} {as_text(value)}.")
    return pipeline


def make_denoiser(
    config: TrainingConfig, unet: UNet2DModel, trained: PokemonDDPMPipeline | None, data: SpriteTensors, first: int = 0
) -> ConditionalDenoiser:
    """The network with a conditioner for --conditions, by default for all attributes that vary in the data.

    A student has those of its teacher. For a trained conditioner see `build_conditioner`. What is not given is drawn
    from the `first` images, by default from all. Raises ValueError if a teacher has other values, or --conditions has
    an attribute that does not vary.
    """
    varying, trained = data.varying_attributes(), trained and trained.conditioner
    attributes = [] if config.distill_from or config.adversarial_from else config.conditions or varying
    other = other_values(trained, data.vocabulary) if trained else []
    known = {} if other or not trained else trained.vocabulary
    if constant := [name for name in attributes if name not in varying and name not in known]:
        others = f"{', '.join(constant)}, only in {', '.join(varying)}"
        raise ValueError(f"--conditions: the training images do not differ in {others}.")
    if other and (config.distill_from or config.adversarial_from):
        raise ValueError(f"{config.initial_weights} has other values of {', '.join(other)} than the data.")
    drawn = data.rows(slice(first or None))
    conditioner = build_conditioner(unet, attributes, trained, data.vocabulary, config.random_flip, drawn)
    return ConditionalDenoiser(unet, conditioner, Discriminator(unet) if config.adversarial_from else None)
