"""Checkpoints: complete or not there, whatever happens; everything is restored; nothing is unpickled."""

import hashlib
import itertools
import json
import math
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

from pokemon_ddpm.training import checkpoint
from pokemon_ddpm.training.checkpoint import TrainingState, TrainingTensors, checkpoints, find_checkpoints, restore
from pokemon_ddpm.training.config import TrainingConfig
from tests.training.runs import names

TENSOR_FILES = [f"{name}.safetensors" for name in ("ema", "model", "optimizer")]
NETWORK = {"layers_per_block": 1, "dropout": 0.1}


def state_at(step: int, skipped: int = 0, **metrics: float) -> TrainingState:
    return TrainingState(step, 8, asdict(TrainingConfig()), NETWORK, "digest", metrics, skipped, {}, "")


class Run:
    """A tiny network with optimizer and EMA."""

    def __init__(self, seed: int = 0, width: int = 5):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        ema = EMAModel(self.model.parameters(), decay=0.9)
        self.tensors, self.step = TrainingTensors(self.model, optimizer, ema), 0

    def train(self, steps: int) -> "Run":
        tensors = self.tensors
        for _ in range(steps):
            losses = self.model(torch.randn(8, 3, generator=torch.Generator().manual_seed(self.step))).square().mean(1)
            losses.mean().backward()
            tensors.optimizer.step(), tensors.optimizer.zero_grad(), tensors.ema.step(self.model.parameters())
            self.step += 1
        return self

    def save(self, folder: Path, limit: int = 0, **state: float) -> Path:
        checkpoint.save_checkpoint(folder, state_at(self.step, **state), self.tensors, limit)
        return folder / f"checkpoint-{self.step}"

    def restore(self, folder: Path) -> TrainingState:
        state = restore(folder, state_at(self.step), self.tensors)
        self.step = state.step
        return state

    def all(self) -> dict[str, torch.Tensor]:
        """Copies of all tensors."""
        files = self.tensors.files().items()
        return {f"{file} {name}": tensor.clone() for file, part in files for name, tensor in part.items()}


def equal(one: Run | dict, other: Run | dict) -> bool:
    one, other = (run.all() if isinstance(run, Run) else run for run in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def change_manifest(folder: Path, change) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_layout_of_a_checkpoint(tmp_path):
    folder = Run().train(1).save(tmp_path, validation_loss=0.5)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*TENSOR_FILES, "manifest.json"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [*manifest] == ["state", "files"]
    names = "step total_batch_size config network data_digest metrics skipped_updates grad_scaler teacher_digest"
    assert " ".join(manifest["state"]) == names
    assert load_file(folder / "optimizer.safetensors").keys() >= {"0.exp_avg", "0.exp_avg_sq", "0.step"}
    assert load_file(folder / "model.safetensors").keys() >= {"0.weight", "1.running_mean"}
    assert Run().restore(folder).step == 1


def test_the_limit_keeps_the_newest(tmp_path):
    run = Run()
    for _ in range(11):
        run.train(1).save(tmp_path, limit=3)
    # In order of the number, not of the name.
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in (9, 10, 11)]
    assert find_checkpoints(tmp_path, "latest") == [tmp_path / f"checkpoint-{step}" for step in (11, 10, 9)]
    with pytest.raises(ValueError, match="there is no checkpoint-3; checkpoints in .*: checkpoint-9, checkpoint-10, "):
        find_checkpoints(tmp_path, "checkpoint-3")
    run.restore(*find_checkpoints(tmp_path, "checkpoint-9"))
    run.train(1).save(tmp_path, limit=3)
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-9"]  # later ones are replaced


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
    except ValueError:
        status = REFUSED
    finally:
        os._exit(status)


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")], ids=["killed", "disk error"])
def test_an_interruption_at_any_file_operation_of_saving_and_rotation(tmp_path, error):
    """Earlier checkpoints or the new one are there, nothing incomplete has their names, and the next save works."""
    prepared, runs = tmp_path / "prepared", [Run().train(1), Run().train(2), Run(1).train(2)]
    for run in runs:
        run.tensors = replace(run.tensors, ema=None)
    for run in runs[:2]:
        run.save(prepared)
    statuses = set()
    for number in itertools.count(1):
        folder = shutil.copytree(prepared, tmp_path / f"{number}")
        status = interrupted_save(runs[2], folder, number, error)
        if status == NOT_REACHED:
            break
        statuses.add(status)
        last = Run(2)
        last.tensors = replace(last.tensors, ema=None)
        for path in checkpoints(folder):
            last.restore(path)
        assert any(equal(last, run) for run in runs) and ((folder / "checkpoint-1").exists() or equal(last, runs[2]))
        runs[2].save(folder, limit=1)
        assert names(folder) == ["checkpoint-2"]
        shutil.rmtree(folder)
    assert number > 20 and statuses <= ({KILLED} if error is None else {0, REFUSED})


DAMAGE = {
    "missing": Path.unlink,
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "changed": lambda file: file.write_bytes(file.read_bytes()[:-9] + b"?" + file.read_bytes()[-8:]),
    "exchanged": lambda file: shutil.copyfile(file.parents[1] / "checkpoint-1" / file.name, file),
}


@pytest.mark.parametrize("name", [*TENSOR_FILES, "manifest.json"])
def test_damage_is_named_before_anything_is_restored(tmp_path, name):
    run, other = Run().train(1), Run(1).train(3)
    run.save(tmp_path)
    before, whole = other.all(), run.train(1).save(tmp_path)
    for damage, apply in DAMAGE.items():
        folder = shutil.copytree(whole, tmp_path / damage)
        apply(folder / name)
        with pytest.raises(ValueError, match=f"{damage}/.* is damaged"):
            other.restore(folder)
    assert equal(other, before)
    (whole / "manifest.json").write_text("null")
    other.save(tmp_path, limit=1)  # rotation passes over it


NAN, INF, FLOAT = torch.tensor(math.nan), torch.tensor(math.inf), torch.zeros(5, 3)
FORGED_STATES = [
    *(("step", value) for value in (None, "1", -1, "x" * 10**6)),
    ("metrics", {"a b": 0.5}), ("network", {"dropout": {}}), ("config", "x" * 10**6), ("data_digest", 1),
    ("\x1b]0;title\x07", 1),
]  # fmt: skip
FORGED_TENSORS = [
    *(("optimizer", key, FLOAT) for key in ("999999.exp_avg", "x", "x.y.z", "0.unknown")),
    *(("optimizer", "0.exp_avg", value) for value in (FLOAT[:1], None, FLOAT + NAN, FLOAT - INF, FLOAT.double())),
    *(("model", "0.bias", value) for value in (torch.zeros(5, dtype=int), torch.zeros(5) - INF, torch.zeros(6), None)),
    ("model", "0.bias", torch.zeros(5).to(torch.float8_e4m3fn)), ("model", "9.bias", torch.zeros(5)),
    ("ema", "0.bias", torch.zeros(5) + NAN),
]  # fmt: skip
FORGED_FILES = [
    ("manifest.json", os.mkfifo), ("model.safetensors", os.mkfifo),
    *(("manifest.json", lambda file, content=content: file.write_bytes(content)) for content in (
        b"[" * 200_000, b"null", b"\xff", b'{"state": null, "files": {}}')),
    ("model.safetensors", lambda file: file.symlink_to("/dev/zero")),
    ("model.safetensors", lambda file: (file.touch(), os.truncate(file, 2**40))),
]  # fmt: skip


def forged(folder: Path, name: str, what: object, value: object = None) -> None:
    """Forges a state, the list of files, a file or a tensor of a checkpoint; the checksums fit."""
    file = folder / (name if "." in name else f"{name}.safetensors")
    if name == "state":
        change_manifest(folder, lambda manifest: manifest["state"].update({what: value}))
    elif name == "files":
        manifest = json.loads((folder / "manifest.json").read_text()) | {"files": what}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    elif "." in name:
        file.unlink(), what(file)
    else:
        tensors = {key: data.clone() for key, data in (load_file(file) | {what: value}).items() if data is not None}
        save_file(tensors, file), change_manifest(folder, lambda _: None)


FORGED = [*(("state", *forgery) for forgery in FORGED_STATES), *FORGED_TENSORS, *FORGED_FILES]
FORGED += [("files", forgery) for forgery in (None, "x", {"model.safetensors": [1]})]


@pytest.mark.parametrize("forgery", FORGED, ids=lambda forgery: " ".join(str(part)[:20] for part in forgery))
def test_what_is_forged_is_refused_before_anything_is_restored(tmp_path, forgery):
    folder, run = Run().train(1).save(tmp_path), Run(1).train(1)
    before = run.all()
    forged(folder, *forgery)
    with pytest.raises(ValueError, match="checkpoint-1[ /]") as refused:
        run.restore(folder)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 600 and equal(run, before)


def test_nothing_is_unpickled(tmp_path):
    folder = Run().train(1).save(tmp_path)
    for name in TENSOR_FILES:
        torch.save({"0.weight": torch.zeros(5, 3)}, folder / name)
        change_manifest(folder, lambda _: None)
        with pytest.raises(ValueError, match="checkpoint-1/.* is damaged"):
            Run().restore(folder)


def test_a_checkpoint_of_another_network_or_version_is_refused(tmp_path):
    folder, run = Run(width=6).train(1).save(tmp_path), Run(1).train(1)
    before = run.all()
    with pytest.raises(ValueError, match="checkpoint-1 does not belong to the configured network"):
        run.restore(folder)
    other = Run(2).train(1)
    other.tensors.optimizer.param_groups[0]["params"].reverse()  # as with a new table
    reversed_run = other.all()
    with pytest.raises(ValueError, match="began with other weights: resume with the first --pretrained"):
        other.restore(Run().train(1).save(tmp_path / "other"))
    assert equal(other, reversed_run)
    change_manifest(folder, lambda manifest: manifest["state"].pop("skipped_updates"))
    with pytest.raises(ValueError, match="checkpoint-1/manifest.json is damaged, or was written by another version"):
        run.restore(folder)
    assert equal(run, before)


def test_some_settings_may_change_and_all_others_are_refused(tmp_path):
    folder, run = Run().train(1).save(tmp_path), Run()
    free = {"output_dir": "x", "max_train_steps": 7, "train_batch_size": 4, "resume_from_checkpoint": "latest"}
    now = replace(state_at(7), config=asdict(TrainingConfig(**free, learning_rate=1e-4, lr_warmup_steps=9)))
    assert restore(folder, now, run.tensors).step == 1
    other = asdict(TrainingConfig(seed=5, learning_rate=1e-3, conditions=["type", "size"]))
    now = TrainingState(7, 16, other, {"layers_per_block": 1, "act_fn": "relu"}, "other", {}, 0, {}, "teacher")
    message = "checkpoint-1 belongs to a run with other settings: --conditions was None, now type size; --seed was 0, "
    message += "now 5; the batch size was 8, now 16; the checksum of .* images .* was digest, now other; the checksum "
    message += ".* teacher or guides was , now teacher; the network's dropout was 0.1, now None; the network's act_fn"
    with pytest.raises(ValueError, match=message):
        restore(folder, now, run.tensors)
