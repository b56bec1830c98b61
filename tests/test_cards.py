"""Model cards: valid, of use as they stand, and what people wrote into one stays."""

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.pipelines.cards import BEGIN, END, make_card, merged, named, pipeline_card, write_card
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.conftest import tiny_pipeline
from tests.generating import knowing_all


def metadata(text: str) -> dict:
    """The YAML at the top of a card, which must be where the Hub looks for it."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def card(body: str = "Says this.", **data: object) -> ModelCard:
    return make_card("ash/model", [body], data)


def around(text: str, above: str = "", below: str = "") -> str:
    """A card with somebody's text above and below the program's part."""
    return text.replace(BEGIN, f"{above}{BEGIN}").replace(END, f"{END}{below}")


class TestOfAPipeline:
    def test_its_metadata(self):
        text = pipeline_card(tiny_pipeline(), "ash/model").content
        assert metadata(text) == {
            "library_name": "diffusers",
            "pipeline_tag": "unconditional-image-generation",
            "tags": ["ddpm", "class-conditional", "pixel-art", "sprites"],
        }

    def test_it_tells_the_size_the_defaults_and_the_words(self):
        text = pipeline_card(knowing_all(), "ash/model").text
        assert "# model\n" in text and "sprites of 16x16 pixels" in text and "in 2 steps with a guidance of 2." in text
        for name, words in CONDITIONS.items():
            argument = "pokemon_type" if name == "type" else name
            assert f"| `{argument}` | {', '.join(words)} |" in text

    def test_the_lines_in_it_run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        knowing_all().save_pretrained("model")
        text = (tmp_path / "model" / "README.md").read_text()
        lines = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert len(lines) == 2 and "trust_remote_code=True" in lines[0] and "trust_remote_code" not in lines[1]
        names: dict = {}
        exec(lines[1], names)
        assert names["image"].size == (16, 16) and type(names["pipeline"]) is PokemonDDPMPipeline

    @pytest.mark.parametrize("word", ['say "hi"', "back\\slash", "a|b", "\\1", "naïve"])
    def test_strange_words_break_nothing(self, word):
        tiny = tiny_pipeline()
        conditioner = SpriteConditioner({"type": [word, "other"]}, embedding_dim=32)
        text = pipeline_card(PokemonDDPMPipeline(tiny.unet, conditioner, tiny.scheduler), "ash/model").content
        for line in re.findall(r"pokemon_type=(.*)\)\.images", text):
            assert eval(line) == word
        (row,) = re.findall(r"^\| `pokemon_type` \|.*$", text, re.MULTILINE)
        assert len(re.findall(r"(?<!\\)\|", row)) == 3


class TestNames:
    def test_a_repositorys_name_takes_the_folders_place(self):
        text = named(pipeline_card(tiny_pipeline(), "run"), "ash/sprites").content
        assert text.count('from_pretrained("ash/sprites"') == 2 and "# sprites\n" in text and '"run"' not in text

    def test_only_in_the_programs_part(self):
        mine = '# My model\n\n`from_pretrained("run")`\n\n'
        before = ModelCard(around(pipeline_card(tiny_pipeline(), "run").content, mine, f"\n{mine}"))
        after = named(before, "ash/sprites").content
        assert after.count(mine.strip()) == 2 and after.count('from_pretrained("ash/sprites"') == 2

    def test_a_card_by_hand_stays_as_it_is(self):
        by_hand = ModelCard('---\nlicense: mit\n---\n# Mine\n\n`from_pretrained("run")`\n')
        assert named(by_hand, "ash/sprites").content == by_hand.content


class TestMerging:
    def test_without_an_old_one_it_is_the_new_one(self):
        new = card()
        assert merged(new, None) is new and merged(new, "") is new

    def test_it_is_the_same_the_second_time(self):
        once = merged(card(), card("Older.").content).content
        assert "Older." not in once and once.count("Says this.") == once.count(BEGIN) == once.count(END) == 1
        assert merged(card(), once).content == once

    @pytest.mark.parametrize(
        ("above", "below"), [("# Mine\n\n", ""), ("", "\n\nBelow.\n"), ("Above.\n", "\nBelow.\n")]
    )
    def test_text_around_the_programs_part_stays_where_it_is(self, above, below):
        text = merged(card(), around(card("Older.").content, above, below)).content
        assert "Older." not in text
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        assert before.split("---\n")[-1].strip() == above.strip() and after.strip() == below.strip()
        assert merged(card(), text).content == text

    def test_text_of_a_card_without_such_a_part_stays_above(self):
        text = merged(card(), "---\nlicense: mit\n---\n# Mine \\1\n\nText.\n").content
        assert text.index("# Mine \\1\n\nText.") < text.index(BEGIN) < text.index("Says this.")
        assert metadata(text)["license"] == "mit"

    def test_metadata_that_only_the_old_one_has_stay(self):
        old = card(license="cc0-1.0", language="en", new_version="ash/next", pipeline_tag="text-to-image")
        old.data.tags += ["garden", "ddpm"]
        now = metadata(merged(card(model_name="model"), old.content).content)
        assert (now["license"], now["language"], now["new_version"]) == ("cc0-1.0", "en", "ash/next")
        assert now["pipeline_tag"] == "unconditional-image-generation"
        assert now["tags"] == ["ddpm", "class-conditional", "pixel-art", "sprites", "garden"]

    def test_what_both_have_is_as_in_the_new_one(self):
        now = metadata(merged(card(license="other", license_name="mine"), card(license="mit").content).content)
        assert (now["license"], now["license_name"]) == ("other", "mine")

    def test_an_old_card_without_metadata(self):
        text = merged(card(), "# Mine\n").content
        assert metadata(text)["library_name"] == "diffusers" and "# Mine" in text

    def test_old_metadata_that_are_no_yaml_are_told(self):
        with pytest.raises(ValueError, match="README.md are not YAML; repair them"):
            merged(card(), "---\na: [\n---\nText\n")


class TestInAFolder:
    def test_a_second_saving_keeps_what_was_written(self, tmp_path: Path):
        tiny_pipeline().save_pretrained(tmp_path)
        file = tmp_path / "README.md"
        mine = around(file.read_text(), "# My garden\n\n", "\n\nWritten below.").replace(
            "---\n", "---\nlicense: mit\n", 1
        )
        file.write_text(mine)
        tiny_pipeline().save_pretrained(tmp_path)
        assert file.read_text() == mine
        write_card(tmp_path, card())
        text = file.read_text()
        assert "Says this." in text and "# My garden" in text and "Written below." in text
        assert metadata(text)["license"] == "mit"

    def test_a_card_that_cannot_be_read_is_left_alone(self, tmp_path: Path):
        (tmp_path / "README.md").write_text("---\na: [\n---\nText\n")
        with pytest.raises(ValueError, match="repair"):
            write_card(tmp_path, card())
        assert (tmp_path / "README.md").read_text() == "---\na: [\n---\nText\n"

    def test_letters_of_all_kinds(self, tmp_path: Path):
        (tmp_path / "README.md").write_bytes("# Pokémon – 火\n".encode())
        write_card(tmp_path, card("Flabébé"))
        text = (tmp_path / "README.md").read_bytes().decode()
        assert "# Pokémon – 火" in text and "Flabébé" in text
