"""Sheets that do not tell which phrase is right, a share counted by hand, and figures of squares."""

import json

import pytest
from PIL import Image

from benchmarks import phrase_reading


def test_sheets_and_table(tmp_path, capsys):
    assert len(phrase_reading.PHRASES) >= 40
    assert sum(not phrase["phrase"].isascii() for phrase in phrase_reading.PHRASES) >= 8
    phrases = [f"phrase {i}" for i in range(60)]
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


def test_rows_of_halves_are_as_alike_as_their_overlaps():
    """Of three squares, two are one, and the third covers half of them in another color."""
    square, half = Image.new("RGBA", (64, 64), "white"), Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    half.paste("black", (0, 0, 64, 32))
    figures = phrase_reading.alike([[square, square, half]])
    assert figures["overlap"] == pytest.approx((1 + 0.5 + 0.5) / 3, abs=1e-3)
    assert figures["near"] == pytest.approx(1 / 3) and figures["color"] == pytest.approx(2 / 3, abs=1e-3)
