"""Comparison of samplers: all schedulers with 5 to 100 steps, by network evaluations, time and KID to training images.

    python benchmarks/samplers.py --data_dir path/to/pokemon-sprites --work_dir outputs/samplers

Samples are kept in --work_dir, and the same command continues an interrupted run.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path
from timeit import repeat

import torch
from safetensors.torch import load_file, save
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.data import load_tensors
from pokemon_ddpm.diffusion import make_sampler
from pokemon_ddpm.evaluation.features import extract_features, load_features
from pokemon_ddpm.evaluation.metrics import kid
from pokemon_ddpm.files import write_file
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, generate
from pokemon_ddpm.pipelines.sampling import SAMPLERS
from pokemon_ddpm.preprocessing import as_tensor, mode_of, on_white, over_white

NUM_IMAGES = 256
STEPS = (5, 10, 16, 20, 50, 100)
TIMED_BATCH_SIZE, TIMED_STEPS, TIMED_TURNS = 16, 10, 3
COLUMNS = "sampler", "steps", "s a sprite", "KID (95 %)"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--data_dir", help="the sprite archive; the starter sprites by default")
    parser.add_argument("--config_name", help="all for a model trained on all sprites, with --data_dir")
    parser.add_argument("--work_dir", type=Path, required=True, help="folder in which samples are kept")
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--num_cpu_threads", type=int, help="all cores by default")
    return parser.parse_args(arguments)


def kept_samples(pipeline: PokemonDDPMPipeline, file: Path, steps: int, guidance_scale: float) -> torch.Tensor:
    """Samples of seeds from 0 and types in turn, on white, uint8 (N, 3, S, S); those of the file if it exists."""
    if file.exists():
        return load_file(file)["images"]
    types = pipeline.conditioner.vocabulary["type"]
    requests = [SpriteRequest(seed, types[seed % len(types)]) for seed in range(NUM_IMAGES)]
    generated = generate(pipeline, requests, num_inference_steps=steps, guidance_scale=guidance_scale)
    images = as_tensor(map(on_white, tqdm(generated, file.stem, NUM_IMAGES)))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, save({"images": images}))
    return images


def measure(options: argparse.Namespace) -> list[tuple[str, ...]]:
    """The cells of the table, see `COLUMNS`."""
    torch.set_num_threads(options.num_cpu_threads or torch.get_num_threads())
    pipeline, network = GenerationSettings(options.model, dtype=options.dtype).load("cpu"), load_features()
    channels, resolution, _ = pipeline.sample_shape
    mode = mode_of(channels)
    train = load_tensors(options.data_dir, "train", resolution, config_name=options.config_name, mode=mode)
    of_train, rows = extract_features(network, over_white(train.images)), []
    for sampler in SAMPLERS:
        pipeline.scheduler = make_sampler(sampler, pipeline.scheduler)
        timed = {"num_inference_steps": TIMED_STEPS, "guidance_scale": options.guidance_scale}
        seconds = repeat(partial(pipeline, ["fire"] * TIMED_BATCH_SIZE, **timed), number=1, repeat=TIMED_TURNS)
        each = statistics.median(seconds) / TIMED_BATCH_SIZE / TIMED_STEPS
        for steps in STEPS:
            name = f"{Path(options.model).name}-{sampler}-{steps}-{options.guidance_scale:g}-{options.dtype}"
            file = options.work_dir / f"{name}.safetensors"
            images = kept_samples(pipeline, file, steps, options.guidance_scale)
            found = kid(extract_features(network, images), of_train)
            estimate = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
            rows.append((sampler, str(steps), f"{steps * each:.3f}", estimate))
    return rows


def main() -> None:
    try:
        rows = measure(parse())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for row in (COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
