"""Many sprites by `pokemon-ddpm generate`: several processes share them, and a killed job goes on."""

import hashlib
from pathlib import Path

import pytest

from tests.generating import knowing_all
from tests.training_runs import command, kill, start, wait_until

COUNT = 7
WORDS = ["--type", "fire", "--type", "water=0.7,ice=0.3", "--num-images", COUNT, "--seed", 2, "--num-inference-steps"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    knowing_all().save_pretrained(folder)
    return folder


def words(model: Path, folder: Path, steps: int = 2) -> list[object]:
    return ["generate", "--model", model, *WORDS, steps, "--output-dir", folder]


def contents(folder: Path) -> dict[str, str]:
    """Every file by name, hidden ones too."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def by_one(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("one")
    done = command("pokemon-ddpm", *words(model, folder))
    assert done.returncode == 0, done.stderr
    assert f"{2 * COUNT} sprites in {folder}" in done.stdout
    return contents(folder)


def test_every_seed_has_its_file(by_one: dict[str, str]) -> None:
    blend = "water0.7+ice0.3"
    assert by_one.keys() == {
        *(f"fire_{seed}.png" for seed in range(2, 2 + COUNT)),
        *(f"{blend}_{seed}.png" for seed in range(2 + COUNT, 2 + 2 * COUNT)),
    }
    assert len(set(by_one.values())) == 2 * COUNT


def test_each_process_draws_its_share(model: Path, by_one: dict[str, str], tmp_path: Path) -> None:
    for rank, count in ((1, 5), (0, 5), (2, 4)):
        before = contents(tmp_path)
        done = command("pokemon-ddpm", *words(model, tmp_path), RANK=str(rank), WORLD_SIZE="3")
        assert done.returncode == 0 and f"{count} sprites in" in done.stdout, done.stderr
        assert len(contents(tmp_path)) == len(before) + count
    assert contents(tmp_path) == by_one


def test_two_processes_give_the_same_files_as_one(model: Path, by_one: dict[str, str], tmp_path: Path) -> None:
    launch = ["torchrun", "--standalone", "--nproc_per_node=2", "-m", "pokemon_ddpm.cli"]
    done = command(*launch, *words(model, tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{COUNT} sprites in {tmp_path}") == 2
    assert contents(tmp_path) == by_one


def test_a_killed_job_goes_on_where_it_stopped(model: Path, tmp_path: Path) -> None:
    steps = 60  # long enough to be killed in the middle
    folder, other = tmp_path / "killed", tmp_path / "other"
    process = start("pokemon-ddpm", *words(model, folder, steps))
    try:
        wait_until(lambda: len(list(folder.glob("*.png"))) >= 4, lambda: process.poll() is None)
    finally:
        kill(process)
    there = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.glob("*.png")}
    assert 4 <= len(there) < 2 * COUNT
    assert command("pokemon-ddpm", *words(model, folder, steps)).returncode == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in there} == there
    assert command("pokemon-ddpm", *words(model, other, steps)).returncode == 0
    assert len(contents(other)) == 2 * COUNT
    left = contents(folder)
    assert {name: left[name] for name in contents(other)} == contents(other)
