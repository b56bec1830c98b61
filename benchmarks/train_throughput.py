"""Training speed of train_conditional.py beside the method of diffusers' own example.

    python benchmarks/train_throughput.py --train_data_dir path/to/pokemon-sprites

Both train the same network on the same data, in fp32 and, where the hardware has it, in bf16: in turns and each in its
own process, so that other load on the machine affects both alike. Ours is the trainer's step with all its bookkeeping.
The method of diffusers' train_unconditional.py with --use_ema and --random_flip: PIL images through a DataLoader,
default AdamW, EMA one parameter at a time, the loss read at every step.
"""

import argparse
import importlib
import itertools
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.utils.benchmark import timer
from torchvision import transforms

from pokemon_ddpm import load_sprites, sprite_tensors
from pokemon_ddpm.diffusion import ConditionalDenoiser
from pokemon_ddpm.generation import best_dtype
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.networks import build_conditioner, build_unet, unet_config
from pokemon_ddpm.training.run import Meter, cores_per_process

BENCHMARK_FLAGS = ("turns", "steps", "warmup")  # the others are the trainer's
ACCELERATE = {"fp32": "no", "bf16": "bf16"}  # precision -> its name there


def timed(step: Callable[[], int], options: argparse.Namespace) -> float:
    """Images per second of a step that returns their number."""
    for _ in range(options.warmup):
        step()
    start = timer()  # after the device has finished
    images = sum(step() for _ in range(options.steps))
    return images / (timer() - start)


def turn_of_ours(options: argparse.Namespace, precision: str) -> float:
    """Times the trainer."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    script = importlib.import_module("train_conditional")
    shared = {name: value for name, value in vars(options).items() if name not in BENCHMARK_FLAGS}
    own = {"preprocessing": "fit", "random_flip": True, "validation_steps": 0}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(**shared, **own, mixed_precision=ACCELERATE[precision], output_dir=folder)
        trainer = script.Trainer(config)
        trainer.log.print = str  # prints no log lines
        meter = Meter(trainer.accelerator)

        def step() -> int:
            meter.add(*trainer.train_step(), trainer.batch_size)
            if trainer.step % script.LOGGING_STEPS == 0:
                trainer.log.write(meter.read(), trainer.step)
            return trainer.batch_size

        return timed(step, options)


def turn_of_example(options: argparse.Namespace, precision: str) -> float:
    """Times the method of diffusers' example."""
    torch.set_num_threads(options.num_cpu_threads or cores_per_process())
    accelerator = Accelerator(mixed_precision=ACCELERATE[precision])
    loader, attributes = load_images(options)
    unet = build_unet(unet_config(options.model_config_name_or_path), options.resolution, channels=3)
    model = ConditionalDenoiser(unet, build_conditioner(unet, attributes))
    ema = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=100 * len(loader))
    model, optimizer, loader, rate = accelerator.prepare(model, optimizer, loader, rate)
    ema.to(accelerator.device)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))  # epoch after epoch

    def step() -> int:
        batch = next(batches)
        clean = batch["input"]
        noise = torch.randn(clean.shape, device=clean.device)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), device=clean.device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        with accelerator.accumulate(model):
            prediction = model(noisy, timesteps, {name: batch[name] for name in attributes})
            loss = torch.nn.functional.mse_loss(prediction.float(), noise)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        ema.step(model.parameters())
        accelerator.log({"loss": loss.detach().item(), "lr": rate.get_last_lr()[0], "ema_decay": ema.cur_decay_value})
        return len(clean)

    return timed(step, options)


METHODS = {"ours": turn_of_ours, "example": turn_of_example}


def load_images(options: argparse.Namespace) -> tuple[torch.utils.data.DataLoader, list[str]]:
    """The training split as the example loads it, with its labels, and the names of the attributes that vary."""
    resizing = [transforms.Resize(options.resolution), transforms.CenterCrop(options.resolution)]
    scaling = [transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    prepare = transforms.Compose([*resizing, transforms.RandomHorizontalFlip(), *scaling])
    dataset = load_sprites(options.train_data_dir, split="train")
    sprites = sprite_tensors(dataset, options.resolution, "fit")
    labels, attributes = sprites.labels, sprites.varying_attributes()

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
            image = prepare(dataset[row]["image"].convert("RGB"))
            return {"input": image, **{name: labels[name][row] for name in attributes}}

    return torch.utils.data.DataLoader(Images(), batch_size=options.train_batch_size, shuffle=True), attributes


def median_and_range(values: Sequence[float], digits: int) -> str:
    """As a cell of the table."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(turns: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> str:
    """The report, of precision -> method -> its turns."""
    lines = [
        f"{options.model_config_name_or_path}, {options.resolution}x{options.resolution}, batch "
        f"{options.train_batch_size}, {options.turns} turns of {options.steps} steps: median (minimum to maximum).",
        "\n| | images/s | times the example's, turn by turn |",
        "|---|---:|---:|",
    ]
    for precision, methods in turns.items():
        for name, speeds in methods.items():
            ratios = median_and_range([a / b for a, b in zip(speeds, methods["example"], strict=True)], 2)
            lines.append(f"| {name}, {precision} | {median_and_range(speeds, 1)} | {ratios} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Reads the flags."""
    style = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=style)
    parser.add_argument("--train_data_dir", help="the sprite archive; by default the procedural starter set")
    parser.add_argument("--model_config_name_or_path", default="small", help="a preset, or a configuration in JSON")
    parser.add_argument("--resolution", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--train_batch_size", type=int, default=32, help="images a step")
    parser.add_argument("--num_cpu_threads", type=int, help="of both; by default one a core")
    parser.add_argument("--turns", type=int, default=3, help="of each method")
    parser.add_argument("--steps", type=int, default=40, help="timed steps a turn")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    return parser.parse_args()


def in_process(function: Callable[..., float], *arguments: Any) -> float:
    """What a function returns, called in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    options = parse()
    try:
        precisions = ("fp32", "bf16") if best_dtype() == "bfloat16" else ("fp32",)
        turns = {precision: {name: [] for name in METHODS} for precision in precisions}
        for number, precision, name in itertools.product(range(1, options.turns + 1), turns, METHODS):
            turns[precision][name].append(in_process(METHODS[name], options, precision))
            speed = turns[precision][name][-1]
            print(f"Turn {number}, {name}, {precision}: {speed:.1f} images/s", file=sys.stderr)
        print(markdown(turns, options))
    except (ValueError, OSError, BrokenProcessPool) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
