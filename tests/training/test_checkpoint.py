"""Checkpoints: complete or not there, whatever happens; everything is restored; nothing is unpickled."""

import hashlib
import itertools
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

from pokemon_ddpm.improved_ddpm import TimestepResampler
from pokemon_ddpm.training import checkpoint
from pokemon_ddpm.training.checkpoint import CheckpointError, TrainingState, TrainingTensors, checkpoints, restore
from pokemon_ddpm.training.config import TrainingConfig
from tests.training.runs import names

TENSOR_FILES = [f"{name}.safetensors" for name in ("ema", "model", "optimizer", "timesteps")]
NETWORK = {"layers_per_block": 1, "dropout": 0.1}
TRACE = Path()


def state_at(step: int, skipped: int = 0, **metrics: float) -> TrainingState:
    return TrainingState(step, 8, TrainingConfig().public(), NETWORK, "digest", metrics, skipped, {})


class Run:
    """A tiny network with optimizer, EMA and resampler of losses."""

    def __init__(self, seed: int = 0, width: int = 5):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        ema = EMAModel(self.model.parameters(), decay=0.9)
        self.tensors, self.step = TrainingTensors(self.model, optimizer, ema, TimestepResampler(4)), 0

    def train(self, steps: int) -> "Run":
        tensors = self.tensors
        for _ in range(steps):
            losses = self.model(torch.randn(8, 3, generator=torch.Generator().manual_seed(self.step))).square().mean(1)
            losses.mean().backward()
            tensors.optimizer.step(), tensors.optimizer.zero_grad(), tensors.ema.step(self.model.parameters())
            tensors.resampler.record(torch.arange(8) % 4, losses.detach())
            self.step += 1
        return self

    def without_extras(self) -> "Run":
        """The same without EMA and resampler."""
        self.tensors = replace(self.tensors, ema=None, resampler=None)
        return self

    def save(self, folder: Path, limit: int = 0, **state: float) -> Path:
        checkpoint.save_checkpoint(folder, state_at(self.step, **state), self.tensors, limit)
        return folder / f"checkpoint-{self.step}"

    def restore(self, folder: Path, name: str = "latest", report: Callable = print) -> TrainingState:
        state = restore(folder, name, state_at(self.step), self.tensors, report)
        self.step = state.step
        return state

    def all(self) -> dict[str, torch.Tensor]:
        """Copies of all tensors."""
        files = self.tensors.files().items()
        return {f"{file} {name}": tensor.clone() for file, part in files for name, tensor in part.items()}


def equal(one: Run | dict, other: Run | dict) -> bool:
    one, other = (each.all() if isinstance(each, Run) else each for each in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def digest(content: bytes | Path) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


def change_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    """Also brings all checksums up to date."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["files"] = {name: digest(folder / name) for name in manifest["files"]}
    del manifest["sha256"]
    manifest["sha256"] = digest(json.dumps(manifest, sort_keys=True).encode())
    (folder / "manifest.json").write_text(json.dumps(manifest))


# What is saved and restored


def test_a_run_continues_from_a_checkpoint_as_if_it_was_never_stopped(tmp_path):
    run = Run().train(3)
    run.save(tmp_path, validation_loss=0.5, skipped=2)
    other = Run(1).train(5)
    assert other.restore(tmp_path) == state_at(3, 2, validation_loss=0.5)
    assert equal(other, run) and other.tensors.ema.optimization_step == 3
    shutil.rmtree(tmp_path / "checkpoint-3")  # restored tensors do not depend on the files
    assert equal(other.train(3), Run().train(6))


def test_the_layout_of_a_checkpoint(tmp_path):
    """Older versions have written the same, and the versions of packages."""
    folder = Run().train(1).save(tmp_path, validation_loss=0.5)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*TENSOR_FILES, "manifest.json"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [*manifest] == ["state", "files", "sha256"]
    names = "step total_batch_size config network data_digest metrics skipped_updates grad_scaler teacher_digest"
    assert " ".join(manifest["state"]) == names
    assert load_file(folder / "optimizer.safetensors").keys() >= {"0.exp_avg", "0.exp_avg_sq", "0.step"}
    assert load_file(folder / "model.safetensors").keys() >= {"0.weight", "1.running_mean"}

    def older(manifest: dict) -> None:  # flags that were not there have their defaults
        del manifest["state"]["config"]["distill_from"], manifest["state"]["config"]["conditions"]
        del manifest["state"]["teacher_digest"]
        manifest["versions"] = {"python": "3.11"}

    change_manifest(folder, older)
    assert Run().restore(tmp_path).step == 1


# Rotation


def test_the_limit_keeps_the_newest_and_the_best(tmp_path):
    run, lines = Run(), []
    for loss in (0.5, 0.3, 0.4, math.nan, 0.3, math.inf, 0.6, 0.9, 0.8, 0.7, 0.6):
        run.train(1).save(tmp_path, limit=2, validation_loss=loss)
    # In order of the number, not of the name.
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in (2, 10, 11)]
    assert checkpoint.best_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    run.restore(tmp_path, "checkpoint-2", lines.append)
    assert lines[0] == "The next checkpoint replaces checkpoint-10, checkpoint-11."
    run.train(1).save(tmp_path, limit=1, validation_loss=0.9)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]


# Interruptions

NOT_REACHED, REFUSED, KILLED, FAILED = 2, 3, 9, 99


def interrupted_save(run: Run, folder: Path, number: int, error: OSError | None) -> int:
    """Saves in a forked process, with a limit of one checkpoint; returns its exit status.

    At the file operation of this number in the folder it is killed, or gets an error.
    """
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def audit(event: str, arguments: tuple) -> None:
        nonlocal count
        path = str(arguments[0]) if arguments else ""
        if event.startswith(("open", "os.", "shutil.")) and (str(folder) in path or not path.startswith("/")):
            count += 1
            if count == number and error:
                raise error
            if count == number:
                os._exit(KILLED)

    status = FAILED
    try:
        sys.addaudithook(audit)
        run.save(folder, limit=1)
        status = 0 if count >= number else NOT_REACHED
    except CheckpointError:
        status = REFUSED
    finally:
        os._exit(status)


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")], ids=["killed", "disk error"])
def test_an_interruption_at_any_file_operation_of_saving_and_rotation(tmp_path, error):
    """Earlier checkpoints or the new one are there, nothing incomplete has their names, and the next save works."""
    prepared, new, second = tmp_path / "prepared", Run(1).train(2).without_extras(), Run().train(2).without_extras()
    for run in (Run().train(1), second):
        run.save(prepared)
    statuses = set()
    for number in itertools.count(1):
        folder = shutil.copytree(prepared, tmp_path / f"{number}")
        status = interrupted_save(new, folder, number, error)
        if status == NOT_REACHED:
            break
        statuses.add(status)
        if error is None:
            checkpoint.recover(folder)  # as the next run does when it starts
        last = Run(2).without_extras()
        for path in checkpoints(folder):
            last.restore(folder, path.name)
        assert equal(last, new) or (equal(last, second) and status != 0)
        assert status != REFUSED or (folder / "checkpoint-1").exists()
        new.save(folder, limit=1)
        assert names(folder) == ["checkpoint-2"]
        shutil.rmtree(folder)
    assert number > 25 and statuses == ({KILLED} if error is None else {0, REFUSED})


@pytest.mark.parametrize("kind", ["link", "leftovers"])
def test_what_is_in_the_way_of_a_checkpoint_does_not_block_it(tmp_path, kind):
    folder, elsewhere, run = tmp_path / "run", tmp_path / "elsewhere", Run().train(2)
    shutil.copytree(run.save(folder), elsewhere)
    if kind == "link":
        (folder / "checkpoint-3").symlink_to(elsewhere)
    for suffix in ("partial", "replaced", "deleted") if kind == "leftovers" else ():
        (folder / f".checkpoint-3.{suffix}" / "more").mkdir(parents=True)
        (folder / f".checkpoint-2.{suffix}").write_text("file")
    path = run.train(1).save(folder, limit=1)
    assert names(folder) == [path.name] and not path.is_symlink() and elsewhere.exists()
    (folder / "checkpoint-best").mkdir(), (folder / "checkpoint-7").touch()
    assert checkpoints(folder) == [folder / "checkpoint-3"]


# Damage


DAMAGE = {
    "missing": Path.unlink,
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "changed": lambda file: file.write_bytes(file.read_bytes()[:-9] + b"?" + file.read_bytes()[-8:]),
    "exchanged": lambda file: shutil.copyfile(file.parents[1] / "checkpoint-1" / file.name, file),
}


@pytest.mark.parametrize("name", [*TENSOR_FILES, "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_the_checkpoint_before_is_used(tmp_path, name, damage):
    run, other = Run().train(1), Run(1).train(3)
    run.save(tmp_path)
    expected, before, problems = run.all(), other.all(), []
    DAMAGE[damage](run.train(1).save(tmp_path) / name)
    with pytest.raises(CheckpointError, match="checkpoint-2 is not a complete checkpoint"):
        other.restore(tmp_path, "checkpoint-2")
    assert equal(other, before)
    assert other.restore(tmp_path, report=problems.append).step == 1 and equal(other, expected)
    assert len(problems) == 3 and problems[0].endswith(" Trying the one before.")
    assert problems[0].startswith(f"{tmp_path / 'checkpoint-2'} is not a complete checkpoint (")


class Payload:
    def __reduce__(self):
        return Path.touch, (TRACE,)  # is created where this is unpickled


@pytest.mark.parametrize("name", TENSOR_FILES)
def test_nothing_is_unpickled(tmp_path, monkeypatch, name):
    folder, trace = Run().train(1).save(tmp_path), tmp_path / "unpickled"
    monkeypatch.setitem(globals(), "TRACE", trace)
    torch.save(Payload(), folder / name)
    change_manifest(folder, lambda _: None)
    with pytest.raises(CheckpointError, match="checkpoint-1 is not a complete checkpoint"):
        Run().restore(tmp_path)
    assert not trace.exists()
    torch.load((folder / name).open("rb"), weights_only=False)
    assert trace.exists()


def forged(*changes: tuple[str, object]) -> list:
    return [pytest.param(name, value, id=f"{name}={str(value)[:20]}") for name, value in changes]


@pytest.mark.parametrize(
    "name, value",
    forged(
        *((name, None) for name in ("step", "config", "network", "metrics", "skipped_updates", "grad_scaler")),
        *(("step", value) for value in ("1", -1, True, 2.0, 10**30)),
        ("skipped_updates", "0"), ("metrics", {"validation_loss": "0.5"}), ("metrics", {"kid": 10**400}),
        ("config", {"seed": [[]]}), ("network", {"dropout": {}}), ("data_digest", 1), ("grad_scaler", {"scale": 1.0}),
        ("unknown", 1),
    ),
)  # fmt: skip
def test_a_forged_state_is_refused(tmp_path, name, value):
    run = Run().train(1)
    run.save(tmp_path)
    expected, other, problems = run.all(), Run(1).train(3), []
    folder = run.train(1).save(tmp_path)
    change_manifest(folder, lambda manifest: manifest["state"].update({name: value}))
    assert other.restore(tmp_path, report=problems.append).step == 1 and equal(other, expected)
    assert re.fullmatch(f"{folder} (is not a complete|was written by another).*Trying the one before.", problems[0])
    other.save(tmp_path, limit=1)  # nor do rotation and the best checkpoint fail


@pytest.mark.parametrize(
    "file, content",
    [
        ("manifest.json", b"[" * 200_000),
        ("manifest.json", b"null"),
        ("manifest.json", None),
        ("model.safetensors", None),
    ],
)
def test_a_forged_file_is_refused(tmp_path, file, content):
    folder = Run().train(1).save(tmp_path)
    (folder / file).unlink()
    (folder / file).write_bytes(content) if content else os.mkfifo(folder / file)
    with pytest.raises(CheckpointError, match="checkpoint-1 is not a complete checkpoint"):
        Run().restore(tmp_path)


@pytest.mark.parametrize("files", [None, [], {}, {"ema.safetensors": ""}])
def test_a_forged_list_of_files_is_refused(tmp_path, files):
    folder, run = Run().train(1).save(tmp_path), Run(1).train(1)
    change_manifest(folder, lambda manifest: manifest.update(files={}))
    manifest = json.loads((folder / "manifest.json").read_text()) | {"files": files}
    del manifest["sha256"]
    manifest["sha256"] = digest(json.dumps(manifest, sort_keys=True).encode())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for load in (run.restore, lambda _: checkpoint.load_weights(folder, run.model)):
        with pytest.raises(CheckpointError, match="checkpoint-1 is not a complete checkpoint"):
            load(tmp_path)


@pytest.mark.parametrize(
    "file, name, tensor",
    [
        ("optimizer", "999999.exp_avg", torch.zeros(1)), ("optimizer", "x", torch.zeros(1)),
        ("optimizer", "0.exp_avg", torch.zeros(1)), ("optimizer", "0.step", torch.zeros(7)),
        ("optimizer", "0.exp_avg", None), ("optimizer", "0.momentum", torch.zeros(5, 3)),
        ("ema", "0.bias", torch.zeros(1)), ("ema", "0.bias", None), ("ema", "9.bias", torch.zeros(1)),
        ("timesteps", "losses", torch.zeros(1)), ("timesteps", "recorded", None),
        ("model", "0.bias", torch.zeros(5, dtype=torch.int8)),
    ],
)  # fmt: skip
def test_forged_tensors_are_refused_before_anything_is_restored(tmp_path, file, name, tensor):
    folder, run = Run().train(1).save(tmp_path), Run(1).train(1)
    before, path = run.all(), folder / f"{file}.safetensors"
    tensors = load_file(path) | {name: tensor}
    save_file({name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}, path)
    change_manifest(folder, lambda _: None)
    loads = [run.restore, *[lambda _: checkpoint.load_weights(folder, run.model)] * (file in ("model", "ema"))]
    for load in loads:
        with pytest.raises(CheckpointError, match="checkpoint-1 belongs to another network than the one configured"):
            load(tmp_path)
    assert equal(run, before)


def test_a_checkpoint_of_another_network_or_version_is_refused(tmp_path):
    folder, run = Run(width=6).train(1).save(tmp_path), Run(1).train(1)
    before = run.all()
    for load in (run.restore, lambda _: checkpoint.load_weights(folder, run.model)):
        with pytest.raises(CheckpointError, match="checkpoint-1 belongs to another network than the one configured"):
            load(tmp_path)
    change_manifest(folder, lambda manifest: manifest["state"].pop("skipped_updates"))
    with pytest.raises(CheckpointError, match="checkpoint-1 was written by another version of this project"):
        run.restore(tmp_path)
    assert equal(run, before)


# Whether it is the same run


def test_allowed_changes_are_reported_and_all_others_refused(tmp_path):
    Run().train(1).save(tmp_path)
    run, lines = Run(), []
    free = {"output_dir": "x", "max_train_steps": 7, "train_batch_size": 4, "resume_from_checkpoint": "latest"}
    now = replace(state_at(7), config=TrainingConfig(**free, learning_rate=1e-4, lr_warmup_steps=9).public())
    restore(tmp_path, "latest", now, run.tensors, lines.append)
    assert lines == [
        "Changed from here on: --max_train_steps was None, now 7; --learning_rate was 0.0006, now 0.0001; "
        "--lr_warmup_steps was 100, now 9.",
        f"Resuming from {tmp_path / 'checkpoint-1'}.",
    ]
    other = TrainingConfig(seed=5, learning_rate=1e-3, conditions=["type", "size"]).public()
    now = TrainingState(7, 16, other, {"layers_per_block": 1, "act_fn": "relu"}, "other", {}, 0, {}, "teacher")
    message = (
        "checkpoint-1 belongs to a run with other settings: --conditions was None, now type size; --seed was 0, now "
        "5; the batch size was 8, now 16; the checksum of the training images and labels was digest, now other; the "
        "checksum of the teacher's weights was , now teacher; the network's dropout was 0.1, now None; the network's "
        "act_fn was None, now relu. Keep them"
    )
    with pytest.raises(ValueError, match=message):
        restore(tmp_path, "latest", now, run.tensors, print)
