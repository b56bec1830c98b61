"""Phrases of a table of tags, sheets that do not tell which one is right, and a share counted by hand."""

import json

import pytest
from PIL import Image

from benchmarks import phrase_reading


def test_phrases_sheets_and_table(tmp_path, capsys):
    kinds = ["fox", "owl", "bee", "whale", "bird-of-prey", "cow", "ant"]
    (tmp_path / "vocabulary.txt").write_text(
        f"# What\n{' '.join(kinds)} newt\n# Seen\nwings horns fins\n# Build\nflat\n"
    )
    rows = [f"{i},{' '.join(kinds)} wings horns fins flat" for i in range(20)]
    (tmp_path / "pokemon.csv").write_text("\n".join(["id,tags", *rows, "20,newt fox"]))
    phrases = phrase_reading.make_phrases(*phrase_reading.read_tags(tmp_path), 5)
    assert len({*phrases}) == 60 and "newt" not in " ".join(phrases)  # only one image has it
    assert phrases == phrase_reading.make_phrases(*phrase_reading.read_tags(tmp_path), 5)
    assert ["with" in phrase for phrase in phrases] == [False] * 20 + [True] * 20 + [False] * 20
    assert all(" and " in phrase for phrase in phrases[40:])

    settings = {
        name: [[Image.new("RGB", (64, 64), (red, i, 0))] * 4 for i in range(60)]
        for name, red in {"new": 1, "old": 2}.items()
    }
    phrase_reading.write_sheets(settings, phrases, 0, tmp_path)
    key = json.loads((tmp_path / "key.json").read_text())
    assert len(key) == 120 and len({letter for _, _, letter in key.values()}) == 8
    for row in range(8):  # the sprites are those of the key's setting and phrase
        name, phrase, _ = key[str(row + 1)]
        with Image.open(tmp_path / "sheet-01.png") as sheet:
            color = sheet.getpixel((60, row * 198 + 50))
        assert color == ({"new": 1, "old": 2}[name], phrases.index(phrase), 0)

    letters = {number: letter for number, (_, _, letter) in key.items()}
    wrong = {number: "a" if letter != "a" else "b" for number, letter in letters.items() if key[number][0] == "old"}
    for reader, verdicts in {"a": letters, "b": letters | wrong}.items():
        (tmp_path / "verdicts" / f"{reader}.json").write_text(json.dumps(verdicts))
    phrase_reading.main(["table", "--output", str(tmp_path), "--csv", str(tmp_path / "verdicts.csv")])
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in capsys.readouterr().out.splitlines()}
    assert cells["new"] == ["60, 120", "100% (100% to 100%) |"] and cells["old"] == ["60, 120", "50% (50% to 50%) |"]
    assert len((tmp_path / "verdicts.csv").read_text().splitlines()) == 241

    (tmp_path / "verdicts" / "c.json").write_text('{"1": "i"}')
    with pytest.raises(ValueError, match="c.json has 'i' for '1', but needs a letter"):
        phrase_reading.read_verdicts(tmp_path)
