"""A pipeline as ONNX, for other runtimes: network and conditioner, and all that sampling needs as JSON."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pokemon_ddpm import postprocessing
from pokemon_ddpm.files import write_file
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import WHITE_QUANTILE, is_distilled, set_timesteps
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS, tags_embedding
from pokemon_ddpm.ranking import MATCH_WEIGHT, TIMESTEP, WEIGHTS, SpriteRanker

UNET_FILE, CONDITIONER_FILE, CONFIG_FILE = "unet.onnx", "conditioner.onnx", "config.json"
SMALL = 1024  # smaller weights stay in float32
BATCH = 3  # of the examples for the exporter: more than 1, which would be taken for a constant
SPRITE_SETTINGS = {  # with which `postprocessing` makes a sprite of a sample
    "colors": postprocessing.PALETTE_SIZE,
    "min_fragment": postprocessing.MIN_FRAGMENT,
    "cell": postprocessing.CELL,
    "distinct": postprocessing.DISTINCT,
    "equal_neighbor": postprocessing.EQUAL_NEIGHBOR,
    "common_colors": postprocessing.COMMON_COLORS.tolist(),
}


class _Conditioner(nn.Module):
    """The conditioner with one tensor of ids: both types, then the other attributes in the order of the vocabulary.

    At the end is 1 for each tag that is given, and 0 for the others. Its tables have numbers in place of names, which
    the exporter would write into source code that it runs.
    """

    def __init__(self, conditioner: nn.Module):
        super().__init__()
        names = [name for name in conditioner.vocabulary if name != TAGS]
        self.tags = conditioner.tables[f"{TAGS}_embedding"] if TAGS in conditioner.vocabulary else None
        self.tables = nn.ModuleList(conditioner.tables[f"{name}_embedding"] for name in names)
        self.type_at = names.index("type")

    def forward(self, ids: Tensor) -> Tensor:
        ids, tags = ids.tensor_split([1 + len(self.tables)], dim=1)
        slots = list(ids[:, 2:].unbind(dim=1))
        slots.insert(self.type_at, ids[:, :2])
        embedded = [table(given) for table, given in zip(self.tables, slots, strict=True)]
        embedded[self.type_at] = embedded[self.type_at].sum(dim=1)
        return sum(embedded) if self.tags is None else sum(embedded) + tags_embedding(self.tags.weight, tags)


class _RankingUNet(nn.Module):
    """A ranker's network, with a second output (B, 1 + K): the score of its input and the logits of probes.

    But for what the denoising error adds, which is the first of the features.
    """

    def __init__(self, ranker: SpriteRanker):
        super().__init__()
        self.ranker, self.probed = ranker, [name for name in ranker.probes if name in ranker.conditioner.vocabulary]
        score = torch.tensor(WEIGHTS) @ torch.cat([ranker.head.weight, ranker.head.bias[:, None]], dim=1)
        probes = (ranker.probes[name] for name in self.probed)
        layers = [score[None], *(torch.cat([probe.weight, probe.bias[:, None]], dim=1) for probe in probes)]
        self.layers = torch.cat(layers).detach()  # (1 + K, 1 + activations + 1)

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor) -> tuple[Tensor, Tensor]:
        prediction, activations = self.ranker.predict(sample, timestep, class_labels)
        return prediction, activations @ self.layers[:, 1:-1].T + self.layers[:, -1]


def number_of_ids(conditioner: nn.Module) -> int:
    return 1 + len(conditioner.vocabulary.keys() - {TAGS}) + len(conditioner.vocabulary.get(TAGS, ()))


def export_onnx(
    pipeline: PokemonDDPMPipeline, folder: Path, name: str, ranker: SpriteRanker | None = None, **entries: Any
) -> None:
    """Writes `UNET_FILE`, `CONDITIONER_FILE` and `CONFIG_FILE`; the network's weights are stored in float16.

    The network takes float32 `sample` (B, C, S, S), `timestep` (B,) and `class_labels` (B, D), and returns
    `prediction`. The conditioner takes int32 `ids`, see `_Conditioner`, and returns `class_labels`. With a ranker of
    the pipeline's network, in float32 on the CPU, the network also returns `activations_scores`, see `_RankingUNet`.
    """
    inputs = {
        "sample": torch.zeros(BATCH, *pipeline.sample_shape),
        "timestep": torch.zeros(BATCH),
        "class_labels": torch.zeros(BATCH, pipeline.unet.time_embedding.linear_2.out_features),
    }
    ids = {"ids": torch.zeros(BATCH, number_of_ids(pipeline.conditioner), dtype=torch.int32)}
    if ranker is None:
        exported = _export(pipeline.unet, inputs, ["prediction"], return_dict=False)
    else:
        network = _RankingUNet(ranker)
        exported = _export(network, inputs, ["prediction", "activations_scores"])
        entries["ranker"] = {"timestep": TIMESTEP, "alpha_bar": ranker.alpha_bar, "match_weight": MATCH_WEIGHT}
        entries["ranker"] |= {"error_weights": network.layers[:, 0].tolist(), "probes": network.probed}
    write_file(folder / UNET_FILE, exported)
    conditioner = _export(_Conditioner(pipeline.conditioner), ids, ["class_labels"], as_float16=False)  # it is small
    write_file(folder / CONDITIONER_FILE, conditioner)
    weights = weights_digest(pipeline.unet, pipeline.conditioner)
    config = {"name": name, "weights": weights, **sampling_config(pipeline), **entries}
    write_file(folder / CONFIG_FILE, json.dumps(config, indent=1, allow_nan=False) + "\n")


def _export(
    module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], as_float16: bool = True, **constants: Any
) -> bytes:
    batch = torch.export.Dim("batch", max=63)  # only the memory layout is another from 64 on, in diffusers' upsampling
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about parts of PyTorch that it uses
        options = {"input_names": list(inputs), "output_names": outputs, "dynamo": True, "verbose": False}
        shapes = {**{name: {0: batch} for name in inputs}, **dict.fromkeys(constants)}
        program = torch.onnx.export(module.eval(), kwargs=inputs | constants, dynamic_shapes=shapes, **options)
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):  # stack traces, with paths
        part.ClearField("metadata_props")
    if as_float16:
        _store_as_float16(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _store_as_float16(graph: onnx.GraphProto) -> None:
    """Stores weights as float16, with a cast to float32 before they are used; released weights are float16 anyway."""
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= SMALL:
            stored = f"{weight.name}_float16"
            casts.append(onnx.helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT))
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def sampling_config(pipeline: PokemonDDPMPipeline) -> dict[str, Any]:
    """What sampling needs beside the networks, as JSON.

    "vocabulary" has the values of each attribute in the order of their ids; the next id of "type" is none, the next of
    all is any.
    """
    scheduler = pipeline.scheduler
    timesteps = set_timesteps(scheduler, pipeline.config.num_inference_steps, "cpu")
    return {
        "sample_shape": list(pipeline.sample_shape),
        "scaling_factor": pipeline.scaling_factor,
        "white_quantile": WHITE_QUANTILE,
        "vocabulary": pipeline.conditioner.vocabulary,
        "default_conditions": dict(pipeline.config.default_conditions),
        "guidance_scale": pipeline.config.guidance_scale,
        "training_conditions": pipeline.conditioner.config.training_conditions,
        "is_distilled": is_distilled(scheduler),
        "scheduler": type(scheduler).__name__,
        "prediction_type": scheduler.config.prediction_type,
        "timesteps": timesteps.tolist(),
        "alpha_bar": scheduler.alphas_cumprod.double()[timesteps].tolist(),
        "sprite": SPRITE_SETTINGS,
    }


def check_export(pipeline: PokemonDDPMPipeline, folder: Path, report: Callable[[str], None]) -> None:
    """Compares an export with its pipeline, and reports it; ValueError if sprites differ by more than a gray level."""
    files = (str(folder / CONDITIONER_FILE), str(folder / UNET_FILE))
    conditioner, unet = (onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files)
    ids = np.zeros((2, number_of_ids(pipeline.conditioner)), dtype=np.int32)
    names = pipeline.conditioner.vocabulary.keys() - {TAGS}
    labels = {name: torch.zeros((2, 2) if name == "type" else 2, dtype=torch.int32) for name in names}
    expected = pipeline.conditioner(labels).numpy(force=True)
    difference = np.abs(conditioner.run(None, {"ids": ids})[0] - expected).max()
    report(f"Conditioner: embeddings differ by at most {difference:.1g}.")

    def exported(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any], __: Any) -> tuple[Tensor]:
        """The output of the exported network in place of the original one's."""
        sample, timestep = args
        timesteps = torch.as_tensor(timestep).float().expand(len(sample))
        given = {"sample": sample, "timestep": timesteps, "class_labels": named["class_labels"]}
        return (torch.from_numpy(unet.run(None, {name: values.numpy() for name, values in given.items()})[0]),)

    def sprites() -> np.ndarray:
        return pipeline(num_images_per_type=4, output_type="np", generator=torch.Generator().manual_seed(0)).images

    one = sprites()
    with pipeline.unet.register_forward_hook(exported, with_kwargs=True):
        levels = np.abs(np.rint(255 * one) - np.rint(255 * sprites())).max()
    report(f"4 sprites: they differ by at most {levels:g} of 255 gray levels.")
    if levels > 1:
        raise ValueError(f"Exported and original network differ by {levels:g} gray levels; this model needs float32.")
