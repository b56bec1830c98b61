"""Sheets without a trace of what is on them, and a table of verdicts that were counted by hand."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import blind_reading


def write_sprites(folder, count: int) -> str:
    """Fire and water sprites in turn, the i-th with a red of i."""
    folder.mkdir()
    for i in range(count):
        Image.new("RGBA", (64, 64), (i, 0, 0, 255)).save(folder / f"{'fire' if i % 2 else 'water'}_{i:03}.png")
    return str(folder)


def test_sheets_and_their_table(tmp_path, capsys):
    counts = {"new": 40, "old": 40, "real": 17}
    new, old, real = (write_sprites(tmp_path / name, count) for name, count in counts.items())
    output = tmp_path / "reading"
    flags = ["--setting", f"new={new}", "--setting", f"old={old}", "--real", real, "--output", str(output)]
    blind_reading.main(["sheets", *flags])
    key = json.loads((output / "key.json").read_text())
    singles, rows = ({n: each for n, each in key.items() if (n[0] == "R") == is_row} for is_row in (False, True))
    count = {name: [setting for setting, _ in singles.values()].count(name) for name in counts}
    assert count == {"new": 40, "old": 40, "real": 9} and len({file for _, (file,) in singles.values()}) == 89
    assert {path.name for path in output.glob("sheet-*.png")} == {"sheet-01.png", "sheet-02.png", "sheet-03.png"}
    settings = [setting for setting, _ in singles.values()]
    assert "new" in settings[:30] and "old" in settings[:30] and "real" in settings[:30]
    with Image.open(output / "sheet-01.png") as sheet:  # the first sprite stands under its number, enlarged
        assert sheet.getpixel((100, 100)) == (red(key["1"][1][0]), 0, 0)
    # Two rows of each type and setting, and of the real ones one, or its like, on both sheets.
    assert sorted(setting for setting, _ in rows.values()) == ["new"] * 4 + ["old"] * 4 + ["real"] * 2
    assert (
        list(rows) == [f"R{n}" for n in range(1, 11)] and len({path.name for path in output.glob("rows-*.png")}) == 2
    )
    assert all(len(files) == 8 == len({*files}) for _, files in rows.values())
    assert all(len({blind_reading.kind_of(Path(file)) for file in files}) == 1 for _, files in rows.values())
    with Image.open(output / "rows-01.png") as sheet:
        places = [(264 * column + 100, 282 * 1 + 100) for column in range(8)]
        assert [sheet.getpixel(place)[0] for place in places] == [red(file) for file in key["R2"][1]]
    instructions = (output / "instructions.txt").read_text()
    assert "dragon" in instructions and "serpent" in instructions and "R1" in instructions

    bodies = {"new": "biped", "old": "fish", "real": "head"}
    verdicts = {"new": [1, 4], "old": [0, 2], "real": [1, 5]}
    known = {"new": "", "old": "", "real": "Mew"}
    first = {n: [*verdicts[s], bodies[s], "fire", "ice", known[s]] for n, (s, _) in singles.items()}
    second = {**first, **{n: [0, 3, "fish", "rock", "ice", ""] for n in [*first][:30] if singles[n][0] == "new"}}
    first |= {n: [{"new": 7, "old": 3, "real": 8}[s], 2, "fire", "water"] for n, (s, _) in rows.items()}
    for name, each in (("a", first), ("b", second)):
        (output / "verdicts" / f"{name}.json").write_text(json.dumps(each))
    capsys.readouterr()
    blind_reading.main(["table", "--output", str(output), "--csv", str(tmp_path / "verdicts.csv")])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    tables = [{line[0]: dict(zip(header, line, strict=True)) for line in part} for header, part in split(lines)]
    of_old, of_new = tables[0]["old"], tables[0]["new"]
    assert of_old["number, verdicts"] == "40, 80" and of_old["face"] == "0% (0% to 0%)"
    assert of_old["quality"] == "2.00 (2.00 to 2.00)" and of_old["bodies"].startswith("1.00")
    assert of_old["type"].startswith("50%") and tables[0]["real"]["known"].startswith("100%")
    changed = sum(singles[n][0] == "new" for n in [*singles][:30])
    share = changed / 80
    assert of_new["face"].startswith(f"{1 - share:.0%}") and of_new["quality"].startswith(f"{4 - share:.2f}")
    effective = share**-share * (1 - share) ** (share - 1)
    assert of_new["bodies"].startswith(f"{effective:.2f}")
    assert tables[1]["new"]["different"] == "7.00 (7.00 to 7.00)" and tables[1]["old"]["number, verdicts"] == "4, 4"
    assert tables[1]["new"]["wish"].startswith("2.00") and tables[1]["new"]["type"].startswith("100%")
    assert len((tmp_path / "verdicts.csv").read_text().splitlines()) == 1 + 2 * 89 + 10

    for wrong in (
        {"1": [2, 3, "fish", "ice", "fire", ""]},
        {"R1": [9, 1, "ice", "fire"]},
        {"0": [3, 1, "ice", "fire"]},
    ):
        (output / "verdicts" / "c.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"c.json has .* for '(1|R1|0)', but needs"):
            blind_reading.read_verdicts(output)


def red(file: str) -> int:
    return int(file[-7:-4])


def split(lines: list[list[str]]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Each table's header and its rows."""
    starts = [i for i, line in enumerate(lines) if line[0] == "setting"]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        yield lines[start], lines[start + 2 : end]
