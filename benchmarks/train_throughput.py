"""Training speed of train_conditional.py beside the method of diffusers' own example.

    python benchmarks/train_throughput.py --train_data_dir path/to/pokemon-sprites

Both train the same network on the same data, in fp32 and, where the hardware has it, in bf16: in turns and each in its
own process, so that other load on the machine affects both alike. Ours is the trainer's step with all its bookkeeping.
The method of diffusers' train_unconditional.py with --use_ema and --random_flip: PIL images through a DataLoader,
default AdamW, EMA one parameter at a time, the loss read at every step.
"""

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import platform
import re
import resource  # not on Windows
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from diffusers import DDPMScheduler
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pokemon_ddpm.data import sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.models import (
    ConditionalDenoiser,
    build_conditioner,
    build_unet,
    unet_config,
    varying_attributes,
)
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.monitoring import Meter
from pokemon_ddpm.training.setup import cores_per_process

BREAKDOWN_STEPS = 20
BENCHMARK_FLAGS = ("turns", "steps", "warmup", "output")  # the others are the trainer's
NETWORK = ("forward", "backward", "optimizer")
ACCELERATE = {"fp32": "no", "bf16": "bf16"}  # precision -> its name there


def cpu_field(names: str) -> str:
    """A field of Linux's /proc/cpuinfo; `names` are alternatives of a regular expression. Otherwise ''."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^(?:{names})\s*: (.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else ""


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions: emulated, bf16 is slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(cpu_field("flags|Features").split())


def clock(device: torch.device) -> float:
    """The time in seconds after the device has finished."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed(step: Callable[[], int], options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Speed and peak memory (on CUDA the device's) of a step that returns its number of images."""
    for _ in range(options.warmup):
        step()
    start = clock(device)
    images = sum(step() for _ in range(options.steps))
    speed = images / (clock(device) - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    return {"images_per_second": speed, "peak_memory_bytes": peak}


def turn_of_ours(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Times the trainer, then the pieces of its step."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    script = importlib.import_module("train_conditional")
    shared = {name: value for name, value in vars(options).items() if name not in BENCHMARK_FLAGS}
    own = {"preprocessing": "fit", "random_flip": True, "validation_steps": 0}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(**shared, **own, mixed_precision=ACCELERATE[precision], output_dir=folder)
        trainer = script.Trainer(config)
        trainer.print = str  # prints no log lines
        meter = Meter(trainer.accelerator)

        def step() -> int:
            meter.add(*trainer.train_step(), trainer.batch_size)
            if trainer.step % config.logging_steps == 0:
                trainer.log(meter)
            return trainer.batch_size

        turn = timed(step, options, trainer.device)
        # Only matrix products and convolutions are counted. The counter does not know every fused attention kernel.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            trainer.train_step()
        return {**turn, "flops": counter.get_total_flops(), "shares": shares(script, trainer, meter, step)}


def shares(script: ModuleType, trainer: Any, meter: Meter, step: Callable[[], int]) -> dict[str, float]:
    """The share of the time of our step that each of its pieces takes."""
    seconds: Counter[str] = Counter()

    def watch(piece: str, owner: object, attribute: str) -> None:
        function = getattr(owner, attribute)

        def watched(*arguments: Any, **keywords: Any) -> Any:
            start = clock(trainer.device)
            result = function(*arguments, **keywords)
            seconds[piece] += clock(trainer.device) - start
            return result

        setattr(owner, attribute, watched)

    watch("forward", trainer.denoiser, "forward")
    watch("backward", trainer.accelerator, "backward")
    watch("optimizer", trainer.optimizer, "step")
    watch("optimizer", trainer.optimizer, "zero_grad")
    watch("sampling the batch", script, "sample_batch")
    watch("clipping", trainer.accelerator, "clip_grad_norm_")
    watch("EMA", trainer.ema, "step")
    watch("guard", trainer.guard, "before_update")
    watch("meter and log", meter, "add")
    watch("meter and log", trainer, "log")
    start = clock(trainer.device)
    for _ in range(BREAKDOWN_STEPS):
        step()
    total = clock(trainer.device) - start
    pieces = {name: of_piece / total for name, of_piece in seconds.items()}
    return {**pieces, "x_t, loss, seeds and the rest": 1 - sum(pieces.values())}


def turn_of_example(options: argparse.Namespace, precision: str) -> dict[str, Any]:
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

    return timed(step, options, accelerator.device)


METHODS = {"ours": turn_of_ours, "example": turn_of_example}


def load_images(options: argparse.Namespace) -> tuple[torch.utils.data.DataLoader, list[str]]:
    """The training split as the example loads it, with its labels, and the names of the attributes that vary."""
    from torchvision import transforms

    resizing = [transforms.Resize(options.resolution), transforms.CenterCrop(options.resolution)]
    scaling = [transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    prepare = transforms.Compose([*resizing, transforms.RandomHorizontalFlip(), *scaling])
    dataset = load_sprites(options.train_data_dir, split="train", cache_dir=options.cache_dir)
    labels = sprite_tensors(dataset, options.resolution, "fit").labels
    attributes = varying_attributes(labels)

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
            image = prepare(dataset[row]["image"].convert("RGB"))
            return {"input": image, **{name: labels[name][row] for name in attributes}}

    return torch.utils.data.DataLoader(Images(), batch_size=options.train_batch_size, shuffle=True), attributes


def describe_machine(options: argparse.Namespace) -> dict[str, Any]:
    """The machine, and the FLOP/s that it reaches in large matrix products."""
    torch.set_num_threads(options.num_cpu_threads or cores_per_process())
    device = PartialState().device
    name = cpu_field("model name") or platform.processor() or platform.machine()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else name
    machine = {"processor": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
    side = 2048 if device.type == "cpu" else 8192
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = torch.randn(2, side, side, device=device).to(dtype)
        times = [clock(device)]
        for _ in range(8):
            left @ right
            times.append(clock(device))
        best = min(end - start for start, end in itertools.pairwise(times))
        machine[f"matrix_product_flops_{precision}"] = 2 * side**3 / best
    machine["precisions"] = ["fp32", "bf16"] if has_bf16(device) else ["fp32"]
    return machine


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Values with their median, minimum and maximum."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "turns": values}


def summary(turns: dict[str, dict[str, list[dict]]], machine: dict[str, Any], options: argparse.Namespace) -> dict:
    """The report for --output, of precision -> method -> its turns."""
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "cache_dir")}
    report = {"machine": machine, "settings": settings, "precisions": {}}
    for precision, methods in turns.items():
        flops, found = methods["ours"][0]["flops"], {}
        for name, of_method in methods.items():
            speed = spread(turn["images_per_second"] for turn in of_method)
            per_second = flops * speed["median"] / options.train_batch_size
            share = per_second / machine[f"matrix_product_flops_{precision}"]
            peak = max(turn["peak_memory_bytes"] for turn in of_method)
            found[name] = {"images_per_second": speed, "flops_per_second": per_second}
            found[name] |= {"share_of_matrix_products": share, "peak_memory_bytes": peak}
        pairs = zip(*methods.values(), strict=True)
        found["ratio"] = spread(a["images_per_second"] / b["images_per_second"] for a, b in pairs)
        report["precisions"][precision] = found
    shares = [turn["shares"] for turn in methods["ours"]]  # of the last precision
    parts = {name: statistics.median(share[name] for share in shares) for name in shares[0]}
    parts["data and bookkeeping: all but the first three"] = 1 - sum(parts[name] for name in NETWORK)
    return {**report, "flops_per_step": flops, "shares_of_our_step": parts}


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    machine, settings, precisions = report["machine"], report["settings"], report["precisions"]
    columns = [(name, precision) for precision in precisions for name in METHODS]
    methods = [precisions[precision][name] for name, precision in columns]
    form = "{median:.{digits}f} ({min:.{digits}f} to {max:.{digits}f})"
    ratios = [form.format(digits=2, **of["ratio"]) for of in precisions.values()]
    peaks = [f"{machine[f'matrix_product_flops_{name}'] / 1e9:,.0f} GFLOP/s in {name}" for name in precisions]
    rows = {
        "images/s": [form.format(digits=1, **method["images_per_second"]) for method in methods],
        "ours : example, turn by turn": [cell for ratio in ratios for cell in (ratio, "")],
        "GFLOP/s": [f"{method['flops_per_second'] / 1e9:,.0f}" for method in methods],
        "of the speed of large matrix products": [f"{method['share_of_matrix_products']:.0%}" for method in methods],
        "peak memory, GB": [f"{method['peak_memory_bytes'] / 1e9:.2f}" for method in methods],
    }
    lines = [
        "{processor}, {threads} CPU threads, torch {torch}.".format(**machine),
        "Network {model_config_name_or_path}, {resolution}x{resolution}, batch {train_batch_size}, {turns} turns of "
        "{steps} steps: median (minimum to maximum).".format(**settings),
        f"A step has {report['flops_per_step'] / 1e9:,.1f} GFLOP; large matrix products reach {' and '.join(peaks)}.",
        f"\n| | {' | '.join(f'{name}, {precision}' for name, precision in columns)} |",
        "|---|" + "---:|" * len(columns),
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
        "\n| our step | share |\n|---|---:|",
        *(f"| {name} | {share:.2%} |" for name, share in report["shares_of_our_step"].items()),
    ]
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    """Reads the command line; exits with status 2 and one line if something is wrong."""

    def count(text: str) -> int:
        if not text.isdecimal() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"must be an integer above 0, but is {text}")
        return int(text)

    about = "Compares the training speed of train_conditional.py with the method of diffusers' example, in turns."
    style = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=style, allow_abbrev=False)
    parser.add_argument("--train_data_dir", help="the sprite archive; by default the procedural starter set")
    parser.add_argument("--cache_dir", help="folder of the data set cache")
    parser.add_argument("--model_config_name_or_path", default="small", help="a preset, or a configuration in JSON")
    number = {"type": count, "metavar": "N"}
    parser.add_argument("--resolution", default=32, help="side of the images in pixels", **number)
    parser.add_argument("--train_batch_size", default=32, help="images a step", **number)
    parser.add_argument("--num_cpu_threads", help="of both; by default one a core", **number)
    parser.add_argument("--turns", default=3, help="of each method", **number)
    parser.add_argument("--steps", default=40, help="timed steps a turn", **number)
    parser.add_argument("--warmup", default=5, help="steps before them", **number)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write the report there, as JSON")
    options = parser.parse_args()
    if importlib.util.find_spec("torchvision") is None:
        parser.exit(
            2, "The method of diffusers' example needs torchvision. Install it with: pip install torchvision\n"
        )
    if options.output and (options.output.is_dir() or not options.output.parent.is_dir()):
        parser.error(f"--output {options.output}: must be a file in a folder that exists")
    return options


def main() -> None:
    options = parse_options()

    def in_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, options, *arguments).result()

    try:
        machine = in_process(describe_machine)
        turns = {precision: {name: [] for name in METHODS} for precision in machine["precisions"]}
        for number, (precision, methods) in itertools.product(range(1, options.turns + 1), turns.items()):
            for name, of_method in methods.items():
                of_method.append(in_process(METHODS[name], precision))
                speed = of_method[-1]["images_per_second"]
                print(f"Turn {number} of {options.turns}, {name}, {precision}: {speed:.1f} images/s", file=sys.stderr)
        report = summary(turns, machine, options)
        print(markdown(report))
        if options.output:
            options.output.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except BrokenProcessPool:
        sys.exit("error: A turn's process was killed, probably because memory ran out.")


if __name__ == "__main__":
    main()
