"""Measuring a run's checkpoints from another process, while the run goes on or when it has ended."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError

from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training import setup
from pokemon_ddpm.training.checkpoint import CheckpointError, TrainingState, checkpoints, load_state, load_weights
from pokemon_ddpm.training.config import EVALUATION_FILE, TrainingConfig
from pokemon_ddpm.training.evaluation import check_evaluation, make_evaluation
from pokemon_ddpm.training.export import make_pipeline

PAUSE = 5.0


def watch(
    run: Path,
    data_dir: str | None = None,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = print,
) -> None:
    """Measures each checkpoint of a run as `--eval_steps` does, until that of the last update is measured.

    What is measured goes into `evaluation.jsonl` in the run's folder, a line a checkpoint. Steps that stand there are
    not measured again, so that a watch which was ended goes on where it was. It writes nothing else there, and leaves
    the run alone.

    Args:
        run: The run's output folder.
        data_dir: Where its `--train_data_dir` is, if it is elsewhere now.
        device: Where to draw. On another one than the run's, figures differ in their last digits.
        say: Tells people.

    Raises:
        ValueError: If the folder is no run's, the data are not those of the run, or the file cannot be written.
        OSError: If the model that the run began with is not there.
    """
    file, config = run / EVALUATION_FILE, _config(run, data_dir)
    check_evaluation(config.resolution)
    if not os.access(file if file.exists() else run, os.W_OK):
        raise ValueError(f"{file} cannot be written.")
    evaluation = CheckpointEvaluation(config, device)
    told: set[Path] = set()
    while True:
        done, last = _measured_steps(file), math.inf
        config = _config(run, data_dir)  # a run may be gone on with for longer than it was meant to be
        for folder in checkpoints(run):
            try:
                state = load_state(folder)
                last = config.updates(evaluation.pictures, state.total_batch_size)
                if state.step in done:
                    continue
                pipeline = evaluation.pipeline(folder, state)
            except (CheckpointError, OSError, SafetensorError) as error:
                if folder not in told:
                    say(f"{error} It is passed over.")
                told.add(folder)
                continue
            metrics = evaluation.measure(pipeline)
            _append(file, {"step": state.step, **metrics})
            say(_line(state.step, metrics))
            break  # measuring takes its time, and the checkpoints may be others by now
        else:
            if max(done, default=0) >= last:
                return
            time.sleep(PAUSE)


class CheckpointEvaluation:
    """What measures the checkpoints of one run: its data, its network, and a place for weights.

    Args:
        config: The run's.
        device: Where to draw.

    Raises:
        ValueError, OSError: If the data or the network cannot be used.
    """

    def __init__(self, config: TrainingConfig, device: torch.device | str):
        train, held_out = (setup.load_split(config, split) for split in ("train", "validation"))
        unet, trained = setup.make_unet(config)
        denoiser = setup.make_denoiser(config, unet, trained, train).to(device).eval()
        if torch.device(device).type == "cuda":
            denoiser = denoiser.to(memory_format=torch.channels_last)  # as in the run; other kernels round otherwise
        self.pictures = len(train)
        self._config, self._denoiser, self._digest = config, denoiser, train.digest()
        self.measure = make_evaluation(config, held_out, denoiser.conditioner).measure

    def pipeline(self, folder: Path, state: TrainingState) -> PokemonDDPMPipeline:
        """The pipeline of a checkpoint's averaged weights; that of the one before is no longer of use then.

        Raises:
            CheckpointError, OSError, SafetensorError: If the checkpoint is damaged, of another network, or gone.
            ValueError: If its run was trained on other pictures.
        """
        if state.data_digest != self._digest:
            raise ValueError(f"The pictures or their labels are not those that {folder} was trained on.")
        load_weights(folder, self._denoiser)
        return make_pipeline(self._denoiser, setup.noise_scheduler(self._config), self._config)


def _config(run: Path, data_dir: str | None) -> TrainingConfig:
    """The run's configuration, with its pictures where they are now."""
    config = TrainingConfig.load(run)
    if data_dir is None:
        return config
    if config.train_data_dir is None:
        raise ValueError(f"{run} was not trained on a folder of pictures, so there is no other place for one.")
    return TrainingConfig.load(run, train_data_dir=data_dir)


def _measured_steps(file: Path) -> set[int]:
    """The steps in the file; a line that its writer did not finish counts for nothing."""
    steps = set()
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            steps.add(int(json.loads(line)["step"]))
    return steps


def _append(file: Path, values: dict[str, float]) -> None:
    try:
        with file.open("a+", encoding="utf-8") as lines:
            lines.seek(0)
            before = lines.read()
            lines.write(("" if before.endswith("\n") or not before else "\n") + json.dumps(values) + "\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be written ({error.strerror}).") from error


def _line(step: int, metrics: dict[str, float]) -> str:
    line = f"step {step:,}  kid {metrics['kid']:.4f} ± {metrics['kid_standard_error']:.4f}"
    return line + (f"  obedience {metrics['obedience']:.4f}" if "obedience" in metrics else "")
