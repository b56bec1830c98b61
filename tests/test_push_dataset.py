"""The sprites as a data set on the Hub: strangers load what is pushed, and a push that fails changes nothing."""

import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from huggingface_hub import DatasetCard

from pokemon_ddpm import load_sprites, sprite_tensors
from pokemon_ddpm.dataset_card import dataset_card, is_ours, merged_card
from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES, SPLITS
from pokemon_ddpm.training.config import parse_config
from pokemon_ddpm.training.setup import load_split
from tests.generating import run as command
from tests.loopback_hub import LoopbackHub, Repository, environment, stranger
from tests.small_archives import BULBASAUR, PARAS, sizes, sprite, write
from tests.training_runs import BIN, SCRIPT, tiny_flags

NAME = "ash/pokemon-sprites"
LABELS = [column for column in FEATURES if column != "image"]
# The client's own way to send files.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.usefixtures("no_waiting"),
]


def push(*words: object) -> tuple[int, str]:
    return command("push-dataset", NAME, *words)


def pushed(hub: LoopbackHub, *words: object) -> Repository:
    """The repository after a push that must succeed."""
    status, said = push(*words)
    assert status == 0, said
    return hub.repository(NAME, "dataset")


def refusal(*words: object) -> str:
    """What is said, in one or two lines, of a push that must fail."""
    status, said = push(*words)
    assert status == 2 and "error: " in said and "Traceback" not in said
    message = said.split("error: ")[-1]
    assert len(message) < 330
    return message


def card_of(repository: Repository) -> str:
    return repository.files()["README.md"].decode()


def lines_of(card: str) -> str:
    """What the card tells people to run in Python."""
    return re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


def content(sprites: datasets.DatasetDict) -> dict:
    """All that is in it, as JSON can hold it."""
    return {
        split: {
            "features": part.features.to_dict(),
            "labels": part.select_columns(LABELS).to_dict(),
            "pixels": [(image.mode, image.size, image.tobytes().hex()) for image in part["image"]],
        }
        for split, part in sprites.items()
    }


class TestLoading:
    def test_a_stranger_loads_what_is_pushed(self, hub: LoopbackHub, small: Path, cache: Path, tmp_path: Path) -> None:
        before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
        repository = pushed(hub, "--data-dir", small)
        assert repository.private and [commit.title for commit in repository.history()][1:] == ["initial commit"]
        assert {path: path.read_bytes() for path in small.rglob("*") if path.is_file()} == before

        tail = """
import json, sys
found = {"front": sprites, "all": load_dataset("ash/pokemon-sprites", "all")}
print(json.dumps({name: {split: {
    "features": part.features.to_dict(),
    "labels": part.remove_columns("image").to_dict(),
    "pixels": [(image.mode, image.size, image.tobytes().hex()) for image in part["image"]],
} for split, part in splits.items()} for name, splits in found.items()}))
"""
        seen = environment(tmp_path, hub.endpoint, "hf_ash")
        loaded = json.loads(stranger(lines_of(card_of(repository)) + tail, seen, tmp_path))
        for name, number in (("front", 5), ("all", 7)):
            here = load_sprites(small, name, cache_dir=cache)
            assert list(loaded[name]) == list(here) == list(SPLITS)
            assert sum(sizes(here).values()) == number
            assert loaded[name] == json.loads(json.dumps(content(here)))
            for part in loaded[name].values():
                assert datasets.Features.from_dict(part["features"]) == FEATURES

    @pytest.mark.parametrize("config", ["front", "all"])
    def test_one_configuration_alone(self, hub: LoopbackHub, small: Path, cache: Path, config: str) -> None:
        files = pushed(hub, "--data-dir", small, "--config-name", config).files()
        assert {name.split("/")[0] for name in files if name.endswith(".parquet")} == {config}
        loaded = datasets.load_dataset(NAME, cache_dir=str(cache))
        assert content(loaded) == content(load_sprites(small, config, cache_dir=cache))

    def test_the_starter_set(self, hub: LoopbackHub, cache: Path) -> None:
        repository = pushed(hub)
        data = DatasetCard(card_of(repository)).data
        assert (
            data.license == "apache-2.0" and data.get("license_name") is None and data.size_categories == ["1K<n<10K"]
        )
        assert "Nintendo" not in card_of(repository) and not any("LICENSE" in name for name in repository.files())
        loaded = datasets.load_dataset(NAME, cache_dir=str(cache), split="test")
        assert loaded.features == FEATURES
        assert loaded[:] == load_sprites(split="test", cache_dir=cache)[:]


class TestTraining:
    @pytest.mark.parametrize("config", ["front", "all"])
    def test_the_tensors_are_those_of_the_folder(
        self, hub: LoopbackHub, small: Path, cache: Path, tmp_path: Path, config: str
    ) -> None:
        pushed(hub, "--data-dir", small)
        flags = [
            "--resolution=32",
            f"--cache_dir={cache}",
            f"--output_dir={tmp_path}",
            f"--dataset_config_name={config}",
        ]
        for split in ("train", "validation"):
            named = load_split(parse_config([*flags, f"--dataset_name={NAME}"]), split)
            local = load_split(parse_config([*flags, f"--train_data_dir={small}"]), split)
            assert torch.equal(named.images, local.images) and named.labels.keys() == local.labels.keys()
            assert all(torch.equal(named.labels[name], local.labels[name]) for name in local.labels)
            assert named.digest() == local.digest()

    def test_the_script_trains_from_it(self, hub: LoopbackHub, small: Path, cache: Path, tmp_path: Path) -> None:
        pushed(hub, "--data-dir", small)
        command = [BIN / "accelerate", "launch", SCRIPT, "--dataset_name", NAME, *tiny_flags(tmp_path, cache)]
        flags = ["--max_train_steps=1", "--lr_warmup_steps=0", "--checkpointing_steps=1", "--validation_steps=0"]
        seen = {**os.environ, **environment(tmp_path, hub.endpoint, "hf_ash")}
        done = subprocess.run(
            [*map(str, command), *flags], env=seen, cwd=tmp_path, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr
        (manifest,) = (tmp_path / "run" / "checkpoint-1").glob("manifest*.json")
        local = sprite_tensors(load_sprites(small, split="train", cache_dir=cache), 16)
        assert local.digest() in manifest.read_text()


class TestPushingAgain:
    def test_nothing_new_is_no_commit(self, hub: LoopbackHub, small: Path) -> None:
        before = pushed(hub, "--data-dir", small).at()
        hub.requests.clear()
        status, said = push("--data-dir", small)
        assert status == 0 and "already" in said
        assert hub.repository(NAME, "dataset").at() is before
        assert not hub.asked("^PUT /lfs/") and not hub.asked("/commit/")

    def test_what_people_wrote_stays(self, hub: LoopbackHub, small: Path, cache: Path) -> None:
        repository = pushed(hub, "--data-dir", small)
        card = card_of(repository)
        own = card.replace("---\n\n<!--", "thumbnail: a.png\n---\n\nOur words above.\n\n<!--") + "\nOur words below.\n"
        config = "- config_name: own\n  default: true\n  data_files: own.parquet\n"
        own = own.replace("- pokemon\n", "- pokemon\n- ours\n").replace("\nconfigs:\n", f"\nconfigs:\n{config}")
        assert all(each in own for each in ("thumbnail", "Our words above", "- ours", "own.parquet"))
        rows = io.BytesIO()
        datasets.Dataset.from_dict({"a": [1, 2]}).to_parquet(rows)
        old = "front/train-00001-of-00002.parquet"
        repository.commit({"README.md": own.encode(), "own.parquet": rows.getvalue(), old: b"PAR1"})
        number = len(repository.commits)

        write(small, PARAS, sprite(90))
        card = card_of(pushed(hub, "--data-dir", small))
        assert len(repository.commits) == number + 1
        assert "\n---\n\nOur words above.\n\n<!--" in card and card.endswith("-->\n\nOur words below.\n")
        assert card.count("# pokemon-sprites\n") == 1
        data = DatasetCard(card).data
        assert data.get("thumbnail") == "a.png" and {"ours", "sprites"} <= set(data.tags)
        assert repository.files()["own.parquet"] == rows.getvalue() and old not in repository.files()
        loaded = datasets.load_dataset(NAME, cache_dir=str(cache))
        assert content(loaded) == content(load_sprites(small, cache_dir=cache))
        assert datasets.load_dataset(NAME, "own", cache_dir=str(cache))["train"][:] == {"a": [1, 2]}

    def test_a_configuration_does_not_go_unasked(self, hub: LoopbackHub, small: Path) -> None:
        repository = pushed(hub, "--data-dir", small)
        before = repository.at()
        words = ["--data-dir", small, "--config-name", "all"]
        assert "also holds front" in refusal(*words) and "also holds all and front" in refusal()
        assert repository.at() is before
        files = pushed(hub, *words, "--force").files()
        assert {name.split("/")[0] for name in files if name.endswith(".parquet")} == {"all"}
        data = DatasetCard(card_of(pushed(hub, "--force"))).data
        assert data.license == "apache-2.0" and data.get("license_name") is None

    def test_datasets_own_push_is_known(self, hub: LoopbackHub, small: Path, cache: Path) -> None:
        load_sprites(small, cache_dir=cache).push_to_hub(NAME, "front", private=True, token="hf_ash")
        assert is_ours(card_of(hub.repository(NAME, "dataset")))
        assert "Our words" not in card_of(pushed(hub, "--data-dir", small))


class TestOtherContent:
    CARD = b"---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files: a.csv\n---\n# Cats\n"

    def test_it_is_refused(self, hub: LoopbackHub, small: Path) -> None:
        repository = hub.create(NAME, "dataset", private=True)
        before = repository.commit({"README.md": self.CARD, "a.csv": b"a\n1\n"})
        assert "holds something else (a.csv)" in refusal("--data-dir", small)
        assert repository.at() is before and not hub.asked("/preupload/")

    def test_it_is_kept_beside_by_force(self, hub: LoopbackHub, small: Path, cache: Path) -> None:
        hub.create(NAME, "dataset", private=True).commit({"README.md": self.CARD, "a.csv": b"a\n1\n"})
        repository = pushed(hub, "--data-dir", small, "--force")
        assert repository.files()["a.csv"] == b"a\n1\n" and "# Cats" in card_of(repository)
        assert sizes(datasets.load_dataset(NAME, cache_dir=str(cache))) == sizes(load_sprites(small, cache_dir=cache))

    def test_a_card_alone_is_no_content(self, hub: LoopbackHub, small: Path) -> None:
        hub.create(NAME, "dataset", private=True).commit({"README.md": b"# Soon here\n"})
        assert "# Soon here" in card_of(pushed(hub, "--data-dir", small))


class TestWhoSeesIt:
    def test_all_where_that_is_asked_for(self, hub: LoopbackHub, small: Path) -> None:
        assert not pushed(hub, "--data-dir", small, "--public").private

    def test_nobody_makes_it_public_by_mistake(self, hub: LoopbackHub, small: Path) -> None:
        repository = hub.create(NAME, "dataset")
        assert "seen by everybody" in refusal("--data-dir", small)
        assert not repository.files()

    def test_a_private_one_stays_private(self, hub: LoopbackHub, small: Path) -> None:
        hub.create(NAME, "dataset", private=True)
        status, said = push("--data-dir", small, "--public")
        assert status == 0 and "private; its settings" in said and hub.repository(NAME, "dataset").private


def no_building(*_: object, **__: object) -> None:
    raise AssertionError("built before the Hub was asked")


class TestFailures:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ((), "valid token"),
            (("--token", "hf_nobody"), "valid token"),
            (("--token", "hf_misty"), "may not write there"),
        ],
    )
    def test_without_the_right(
        self, hub: LoopbackHub, small: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
    ) -> None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("pokemon_ddpm.load_sprites", no_building, raising=False)
        assert message in refusal("--data-dir", small, *words)
        assert not hub.repositories

    @pytest.mark.parametrize(
        ("status", "headers", "message"),
        [
            (401, {}, "valid token"),
            (403, {}, "may not write there"),
            (429, {"Retry-After": "7"}, "Try again in 7 seconds"),
            (500, {}, "Try again later"),
        ],
    )
    @pytest.mark.parametrize(
        "which", ["POST /api/repos/create", "/auth-check/write", "/preupload/", "POST .*/commit/"]
    )
    def test_the_hub_refuses(
        self, hub: LoopbackHub, small: Path, monkeypatch: pytest.MonkeyPatch,
        which: str, status: int, headers: dict[str, str], message: str,
    ) -> None:  # fmt: skip
        hub.fail(which, status, times=None, headers=headers)
        with monkeypatch.context() as patch:
            if "create" in which or "auth" in which:
                patch.setattr("pokemon_ddpm.load_sprites", no_building, raising=False)
            assert message in refusal("--data-dir", small)
        if "create" in which:
            assert not hub.repositories
            hub.create(NAME, "dataset", private=True)
        assert not hub.repository(NAME, "dataset").files()
        self.is_repeated(hub, small, hub.repository(NAME, "dataset").at())

    @pytest.mark.parametrize(
        "trouble",
        [
            lambda hub: hub.cut("^PUT /lfs/", after_bytes=3000, times=None),
            lambda hub: hub.fail("^PUT /lfs/", 500, times=None),
            lambda hub: hub.cut("POST .*/commit/", after_bytes=200, times=None),
            lambda hub: hub.cut("GET /api/datasets/", times=None),
        ],
        ids=["upload cut", "upload refused", "commit cut", "look cut"],
    )
    def test_the_network_breaks(self, hub: LoopbackHub, small: Path, trouble: Callable[[LoopbackHub], None]) -> None:
        before = pushed(hub, "--data-dir", small).at()
        write(small, BULBASAUR, sprite(91))
        trouble(hub)
        assert "Try again later" in refusal("--data-dir", small)
        self.is_repeated(hub, small, before)

    def test_a_failure_that_passes_is_not_told(self, hub: LoopbackHub, small: Path) -> None:
        hub.fail("^PUT /lfs/", 503)
        hub.cut("^PUT /lfs/", after_bytes=3000)
        assert len(pushed(hub, "--data-dir", small).commits) == 2

    def test_somebody_else_pushes_meanwhile(
        self, hub: LoopbackHub, small: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository = hub.create(NAME, "dataset", private=True)
        load = load_sprites

        def slow(*arguments: object, **options: object) -> datasets.DatasetDict:
            repository.commit({"README.md": b"# Mine\n"})
            return load(*arguments, **options)

        monkeypatch.setattr("pokemon_ddpm.load_sprites", slow, raising=False)
        assert "somebody else has changed" in refusal("--data-dir", small)
        assert repository.files() == {"README.md": b"# Mine\n"}

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--config-name", "front"), "Without --data-dir there is the starter set"),
            (("--data-dir", "DATA", "--config-name", "frnt"), "there are front and all"),
            (("--data-dir", "nowhere"), "does not exist"),
            (("--data-dir", "."), "holds no pokedex.csv"),
        ],
    )
    def test_mistakes_ask_nobody(
        self, hub: LoopbackHub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        words: tuple[str, ...], message: str,
    ) -> None:  # fmt: skip
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        assert message in refusal(*(str(small) if word == "DATA" else word for word in words))
        assert not hub.requests

    @staticmethod
    def is_repeated(hub: LoopbackHub, small: Path, before: object) -> None:
        """Nothing has happened, and then the same command does all of it in one commit."""
        repository = hub.repository(NAME, "dataset")
        assert repository.at() is before
        number = len(repository.commits)
        hub.heal()
        assert len(pushed(hub, "--data-dir", small).commits) == number + 1


class TestCard:
    def test_every_field_is_told(self, small: Path, cache: Path) -> None:
        content = dataset_card(NAME, {"front": load_sprites(small, "front", cache_dir=cache)}, {"front": 1}).content
        for name, (_, meaning) in COLUMNS.items():
            assert re.search(rf"^\| `{name}` \| [^|]+ \| {re.escape(meaning)} \|", content, flags=re.MULTILINE), name

    def test_the_figures_are_those_of_the_data(self, small: Path, cache: Path) -> None:
        sprites = {name: load_sprites(small, name, cache_dir=cache) for name in ("front", "all")}
        card = dataset_card(NAME, sprites, {"front": 1, "all": 2})
        assert merged_card(card, None) == card.content
        data = DatasetCard(card.content).data
        assert data.size_categories == ["n<1K"] and data.license_name == "research-and-education-only"
        assert [each["config_name"] for each in data["configs"] if each.get("default")] == ["front"]
        found = sizes(sprites["all"])
        assert f"| `all` | 7 | {' | '.join(str(found[split]) for split in SPLITS)} |" in card.text
        assert "7 pixel-art sprites of Pokémon of 5 species in 5 forms, 96x96 pixels" in card.text
        assert "something else than their labels" not in card.text

    def test_of_the_real_sprites(self, sprites_dir: Path, sprites_cache: Path) -> None:
        sprites = {name: load_sprites(sprites_dir, name, cache_dir=sprites_cache) for name in ("front", "all")}
        text = dataset_card(NAME, sprites, {"front": 1, "all": 2}).text
        for line in (
            "10,177 pixel-art sprites of Pokémon of 898 species in 1,070 forms, 96x96 pixels",
            "| `front` (default) | 4,086 | 3,273 | 404 | 409 |",
            "| flying | 10 | 2 | 0 | 12 | 507 |",
            "equal an earlier one of their split to the byte: 267 in `front` and 560 in `all`",
            "something else than their labels say: 3 in `front` and 10 in `all`",
        ):
            assert line in text
        lines = [line for part in sprites["all"].values() for line in set(part["line"][:])]
        assert "none is in two of them" in text and len(lines) == len(set(lines))
