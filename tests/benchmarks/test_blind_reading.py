"""Sheets without a trace of what is on them, and a table of verdicts that were counted by hand."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import blind_reading


def test_sheets_and_their_table(tmp_path, capsys):
    for name, count in {"new": 40, "old": 40, "real": 17}.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            image = Image.new("RGBA", (64, 64), (i, 0, 0, 255))
            image.save(tmp_path / name / f"{'fire' if i % 2 else 'water'}_{i:03}.png")
    output, flags = tmp_path / "reading", [f"--setting={name}={tmp_path / name}" for name in ("new", "old")]
    blind_reading.main(["sheets", *flags, f"--real={tmp_path / 'real'}", f"--output={output}"])
    key = json.loads((output / "key.json").read_text())
    singles, rows = ({n: entry for n, entry in key.items() if (n[0] == "R") == is_row} for is_row in (False, True))
    assert Counter(setting for setting, _ in singles.values()) == {"new": 40, "old": 40, "real": 9}
    assert Counter(setting for setting, _ in rows.values()) == {"new": 4, "old": 4, "real": 2}
    assert {setting for setting, _ in [*singles.values()][:30]} == {"new", "old", "real"}  # of the first sheet
    assert len({file for _, (file,) in singles.values()}) == 89
    assert all(len(files) == 8 == len({*files}) for _, files in rows.values())
    assert all(len({blind_reading.kind_of(Path(file)) for file in files}) == 1 for _, files in rows.values())
    with Image.open(output / "sheet-01.png") as sheet:  # the first sprite stands under its number, enlarged
        assert sheet.getpixel((100, 100)) == (int(key["1"][1][0][-7:-4]), 0, 0)

    of_sprites = {"new": [1, 4, "biped", "fire", "ice", ""], "old": [0, 2, "fish", "fire", "ice", ""]}
    of_sprites["real"] = [1, 5, "head", "fire", "ice", "Mew"]
    first = {n: of_sprites[setting] for n, (setting, _) in singles.items()}
    second = {n: [0, 3, "fish", "rock", "ice", ""] for n in [*singles][:30] if singles[n][0] == "new"}
    different = {"new": 7, "old": 3, "real": 8}
    of_rows = {n: [different[setting], 2, "fire", "water"] for n, (setting, _) in rows.items()}
    for name, verdicts in (("a", first | of_rows), ("b", first | second)):
        (output / "verdicts" / f"{name}.json").write_text(json.dumps(verdicts))
    capsys.readouterr()
    blind_reading.main(["table", "--output", str(output), "--csv", str(tmp_path / "verdicts.csv")])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    start = max(i for i, line in enumerate(lines) if line[0] == "setting")
    sprites, of_rows = (
        {line[0]: dict(zip(part[0], line, strict=True)) for line in part[2:]}
        for part in (lines[:start], lines[start:])
    )
    assert sprites["old"]["number, verdicts"] == "40, 80" and sprites["old"]["face"] == "0% (0% to 0%)"
    assert sprites["old"]["type"].startswith("50%") and sprites["real"]["known"].startswith("100%")
    share = len(second) / 80
    assert sprites["new"]["quality"].startswith(f"{4 - share:.2f}")
    assert sprites["new"]["bodies"].startswith(f"{share**-share * (1 - share) ** (share - 1):.2f}")
    assert of_rows["new"]["different"] == "7.00 (7.00 to 7.00)" and of_rows["new"]["type"].startswith("100%")
    assert len((tmp_path / "verdicts.csv").read_text().splitlines()) == 1 + 2 * 89 + 10

    for n, wrong in {"1": [2, 3, "fish", "ice", "fire", ""], "R1": [9, 1, "ice", "fire"], "0": []}.items():
        (output / "verdicts" / "c.json").write_text(json.dumps({n: wrong}))
        with pytest.raises(ValueError, match=f"c.json has .* for '{n}', but needs"):
            blind_reading.read_verdicts(output)
