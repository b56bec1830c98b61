"""Cards: of training runs, and of the data set."""

import re

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from pokemon_ddpm import RELEASED, load_sprites
from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, SPLITS
from pokemon_ddpm.pipelines.hub_mixin import NOTE
from pokemon_ddpm.publishing.cards import dataset_card, folder_card, run_card, write_card
from pokemon_ddpm.training.config import TrainingConfig
from tests.tiny_models import tiny_pipeline

METRICS = {"validation_loss": 0.0398123456, "train_split_loss": 0.0329}
RESEARCH = ("other", "research-and-education-only")


def metadata(text: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def card_of_run(metrics: dict | None = None, **settings: object) -> str:
    counts = {"training": 3273, "validation": 1007}
    return run_card(tiny_pipeline(), TrainingConfig(**settings), "model", 1234, counts, metrics or {}).content


BASE = {"pretrained_model_name_or_path": "pokemon-ddpm-64"}
STUDENT = {"distill_from": f"{RELEASED}/pokemon-ddpm-64", "distill_teacher_steps": 8}


class TestLicense:
    @pytest.mark.parametrize(("settings", "license", "sentence"), [
        ({"train_data_dir": "/data/archive"}, RESEARCH, "Jiang"),
        ({"dataset_name": "misty/sprites"}, RESEARCH, "Smogon"),
        ({}, ("apache-2.0", None), "Trained on the starter sprites of the project: 3,273 training, "),
        ({"train_data_dir": "fruit"}, (None, None), "which the trainer knows and states here"),
        ({"dataset_name": "misty/fruit", "label_column": "kind"}, (None, None), "Trained on misty/fruit"),
        (BASE, RESEARCH, "started from the weights of pokemon-ddpm-64. Its license"),
        ({**STUDENT, "train_data_dir": "fruit"}, RESEARCH, "started from the weights of pokemon-ddpm-64"),
        ({**BASE, "train_data_dir": "/data/archive"}, RESEARCH, "Nintendo"),
    ])  # fmt: skip
    def test_by_data_and_initial_weights(self, settings, license, sentence, tmp_path, monkeypatch):
        for name in ("apple", "pear"):  # one sub-folder for each class
            (tmp_path / "fruit" / name).mkdir(parents=True)
            (tmp_path / "fruit" / name / "1.png").touch()
        monkeypatch.chdir(tmp_path)
        text = card_of_run(**settings)
        assert (metadata(text).get("license"), metadata(text).get("license_name")) == license and sentence in text
        assert ("Nintendo" in text) == (license == RESEARCH and sentence[:7] != "started")
        assert ("images that it generates" in text) == (sentence[:7] == "started")
        assert ("Apache" in text) == (license[0] == "apache-2.0")
        assert ("datasets" in metadata(text)) == ("misty" in str(settings))
        student = "a student of pokemon-ddpm-64: one of its steps replaces two of the teacher's\n8 steps"
        assert (student in text) == ("distill_from" in settings)
        assert str(RELEASED) not in text

    def test_of_initial_weights_from_the_hub(self, hub, tmp_path):
        hub.create("misty/model").commit({"README.md": b"---\nlicense: mit\n---\n"})
        text = card_of_run(pretrained_model_name_or_path="misty/model")
        assert metadata(text)["license"] == "mit" and metadata(text)["base_model"] == "misty/model"
        for unusable in ("a: [", f"license: mit\na: {'x' * 2**16}"):
            (tmp_path / "README.md").write_text(f"---\n{unusable}\n---\n")
            text = card_of_run(pretrained_model_name_or_path=str(tmp_path))
            assert not {"license", "base_model"} & metadata(text).keys()


class TestTraining:
    def test_settings_and_metrics(self):
        settings = {"resolution": 32, "snr_gamma": 0.0, "random_flip": True, "conditions": ["color", "type"]}
        text = card_of_run(METRICS, **settings, num_cpu_threads=3)
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text.split("## Training")[1], re.MULTILINE))
        assert "1,234 updates." in text and rows.keys() == {*settings, "learning_rate", "lr_warmup_steps"}
        assert (rows["resolution"], rows["snr_gamma"], rows["conditions"]) == ("32", "0.0", "type color")
        assert "| validation loss | 0.0398 |\n| train split loss | 0.0329 |\n" in text
        assert "## Results" not in card_of_run()

    def test_nothing_about_the_machine(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data").mkdir()
        names = {"dataset_name": "data", "output_dir": "run", "model_config_name_or_path": "net"}
        paths = {name: str(tmp_path / path) for name, path in names.items()}
        hub = {"push_to_hub": True, "report_to": "wandb", "label_column": "kind"}
        text = card_of_run(metrics=METRICS, **paths, **hub)
        assert not [secret for secret in (str(tmp_path), "wandb") if secret in text]
        assert "| `model_config_name_or_path` | net |" in text and "Trained on data: " in text
        for path in ("data", "../elsewhere/data", "~/data"):
            text = card_of_run(metrics=METRICS, dataset_name=path, label_column="kind")
            assert "datasets" not in metadata(text) and "Trained on data: " in text


class TestFolder:
    def test_other_cards(self, tmp_path):
        assert folder_card(tmp_path) is None
        for broken in (b"---\na: [\n---\n", b"---\na: %s\n---\n" % (b"x" * 2**16), b"\xff\xfe"):
            (tmp_path / "README.md").write_bytes(broken)
            with pytest.raises(ValueError, match="cannot be used; repair them: (while|.*larger than 64|.*utf-8)"):
                folder_card(tmp_path)
            with pytest.raises(ValueError, match="repair|utf-8"):
                write_card(tmp_path, ModelCard("New."))
            assert (tmp_path / "README.md").read_bytes() == broken

    def test_a_card_without_the_note_is_a_persons(self, tmp_path):
        for text, expected in {"Mine.": "Mine.", f"{NOTE}\n\nOld.": "New."}.items():
            (tmp_path / "README.md").write_text(text)
            write_card(tmp_path, ModelCard("New."))
            assert (tmp_path / "README.md").read_text().endswith(expected)


def test_the_numbers_and_fields_are_those_of_the_data(small, cache):
    sprites = {name: load_sprites(small, name, cache_dir=cache) for name in ("front", "all")}
    card = dataset_card("ash/pokemon-sprites", sprites)
    assert DatasetCard(card.content).data.license_name == "research-and-education-only"
    sizes = [len(sprites["all"][split]) for split in SPLITS]
    assert f"| `all` | {sum(sizes)} | {' | '.join(map(str, sizes))} | all images: " in card.text
    assert 'load_dataset("ash/pokemon-sprites")' in card.text and "Nintendo" in card.text
    for name, (_, meaning) in COLUMNS.items():
        assert re.search(rf"^\| `{name}` \| \w+ \| {re.escape(meaning)} \|", card.text, flags=re.MULTILINE), name
    fronts = datasets.concatenate_datasets([*sprites["front"].values()])
    slots = {column: fronts.features[column].int2str(fronts[column][:]) for column in ("type1", "type2")}
    for name in fronts.features["type1"].names:
        first, second = (names.count(name) for names in slots.values())
        assert (f"| {name} | {first} | {second} | █" in card.text) == (first + second > 0), name
    assert "\n- `game`: " in card.text and "`finish`: " not in card.text  # all fronts have normal colors
    card = dataset_card("ash/pokemon-sprites", {"starter": load_sprites(cache_dir=cache)})
    assert card.data.license == "apache-2.0"
    assert "Pixel-art procedural creatures, labelled" in card.text and "Nintendo" not in card.text
