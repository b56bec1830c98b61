"""What of an evaluation needs the model and takes long: drawing and likelihood, both kept on disk."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.drawing import Drawing, draw_files, file_name
from pokemon_ddpm.evaluation.likelihood import TIMESTEPS_A_PICTURE, BitsPerDim, bits_per_dim
from pokemon_ddpm.evaluation.report import evaluations_of
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline

DRAWN, LIKELIHOOD = "drawn.json", "likelihood.json"


def draw_samples(
    pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest], folder: Path
) -> float | None:
    """Draws what is not in the folder yet; of several processes each a share, and all return when all is there.

    Args:
        pipeline: What `drawing.load` returned.
        drawing: How.
        requests: What.
        folder: For the samples; beside it stands whose they are.

    Returns:
        Network evaluations a second, over all processes and all the time that this folder's samples took; None if
        that is not known.

    Raises:
        ValueError: If the folder holds other samples, or those of other weights.
        OSError: If it cannot be written.
    """
    state = processes()
    notes = folder.parent / DRAWN
    if state.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder, notes, requests, weights_digest(pipeline.unet, pipeline.conditioner))
    state.wait_for_everyone()
    mine = list(requests[state.process_index :: state.num_processes])
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.png")}
    each = evaluations_of(drawing.provenance(pipeline, requests[0]))
    start, fresh = time.perf_counter(), 0
    try:
        drawn = draw_files(pipeline, drawing, mine, folder)
        for file in tqdm(drawn, total=len(mine), desc="Drawing", disable=not state.is_main_process):
            fresh += before.get(file.name) != file.stat().st_mtime_ns
    finally:
        if state.is_main_process and fresh:
            told = _read(notes)
            told["evaluations"] = told.get("evaluations", 0) + fresh * state.num_processes * each
            told["seconds"] = told.get("seconds", 0.0) + time.perf_counter() - start
            _write(notes, told)
    state.wait_for_everyone()
    told = _read(notes)
    return told["evaluations"] / told["seconds"] if told.get("evaluations") and told.get("seconds") else None


def processes() -> PartialState:
    """The processes that were launched together, or this one."""
    return PartialState(cpu=not torch.cuda.is_available())


def _check_folder(folder: Path, notes: Path, requests: Sequence[SpriteRequest], weights: str) -> None:
    """Refuses a folder with anything that is not asked for, and writes down whose samples these are."""
    expected = {file_name(request) for request in requests}
    others = sorted(file.name for file in folder.iterdir() if file.name not in expected and file.name[0] != ".")
    if others:
        raise ValueError(
            f"{folder} holds {len(others)} files of something else, such as {others[0]}: give another --output-dir, "
            "or delete it."
        )
    told = _read(notes)
    if told.setdefault("weights", weights) != weights and any(folder.iterdir()):
        raise ValueError(
            f"{folder} holds samples of other weights, maybe of this model when it had learned less: give another "
            "--output-dir, or delete it."
        )
    _write(notes, {**told, "weights": weights} if any(folder.iterdir()) else {"weights": weights})


def kept_likelihood(
    pipeline: PokemonDDPMPipeline,
    train: SpriteTensors,
    held_out: SpriteTensors,
    folder: Path,
    seed: int = 0,
    timesteps_a_picture: int = TIMESTEPS_A_PICTURE,
) -> dict[str, BitsPerDim]:
    """Bits per dimension of as many training as held-out pictures, read again if they were measured already.

    Args:
        pipeline: In float32, with the scheduler that it was saved with.
        train: Training pictures.
        held_out: Others.
        folder: Where the figures are kept.
        seed: Of pictures, timesteps and noise.
        timesteps_a_picture: See `bits_per_dim`.

    Raises:
        ValueError: See `bits_per_dim`.
    """
    count = min(len(train), len(held_out))
    parts = {"train": _some(train, count, seed), "held-out": _some(held_out, count, seed)}
    told = _read(folder / LIKELIHOOD)
    weights = weights_digest(pipeline.unet, pipeline.conditioner)
    for name, data in parts.items():
        key = [weights, data.digest(), seed, timesteps_a_picture]
        if told.get(name, {}).get("of") != key:
            found = bits_per_dim(pipeline, data, timesteps_a_picture, seed, description=f"Bits per dimension, {name}")
            told[name] = {"of": key, "found": asdict(found)}
            _write(folder / LIKELIHOOD, told)
    return {name: BitsPerDim(**told[name]["found"]) for name in parts}


def _some(data: SpriteTensors, count: int, seed: int) -> SpriteTensors:
    return data.rows(torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count].sort().values)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
