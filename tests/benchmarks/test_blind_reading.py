"""Sheets without a trace of what is on them, and a table of verdicts that were counted by hand."""

import json

import pytest
from PIL import Image

from benchmarks import blind_reading


def write_sprites(folder, count: int) -> str:
    folder.mkdir()
    for i in range(count):
        Image.new("RGBA", (64, 64), (i, 0, 0, 255)).save(folder / f"{i:03}.png")
    return str(folder)


def test_sheets_and_their_table(tmp_path, capsys):
    new, old, real = (write_sprites(tmp_path / name, count) for name, count in (("new", 40), ("old", 40), ("real", 5)))
    output = tmp_path / "reading"
    flags = ["--setting", f"new={new}", "--setting", f"old={old}", "--real", real, "--output", str(output)]
    blind_reading.main(["sheets", *flags])
    key = json.loads((output / "key.json").read_text())
    count = {name: [setting for setting, _ in key.values()].count(name) for name in ("new", "old", "real")}
    assert count == {"new": 40, "old": 40, "real": 9} and len({file for _, file in key.values()}) == 85
    assert {path.name for path in output.glob("*.png")} == {"sheet-01.png", "sheet-02.png", "sheet-03.png"}
    settings = [setting for setting, _ in key.values()]
    assert "new" in settings[:30] and "old" in settings[:30] and "real" in settings[:30]
    with Image.open(output / "sheet-01.png") as sheet:  # the first sprite stands under its number, enlarged
        red = int(key["1"][1][-7:-4])
        assert sheet.getpixel((100, 100)) == (red, 0, 0)

    verdicts = {"new": [1, 4, ""], "old": [0, 2, ""], "real": [1, 5, "Mew"]}
    first, second = ({number: verdicts[setting] for number, (setting, _) in key.items()} for _ in range(2))
    second |= {number: [0, 3, ""] for number in [n for n, (s, _) in key.items() if s == "new"][:10]}
    for name, each in (("a", first), ("b", second)):
        (output / "verdicts" / f"{name}.json").write_text(json.dumps(each))
    capsys.readouterr()
    blind_reading.main(["table", "--output", str(output), "--csv", str(tmp_path / "verdicts.csv")])
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines()}
    assert "40, 80 | 88%" in rows["new"] and "| 3.88 (" in rows["new"] and "| 100% (100% to 100%) |" in rows["new"]
    assert "40, 80 | 0% (0% to 0%) | 2.00 (2.00 to 2.00) | 0% (0% to 0%) | 0%" in rows["old"]
    assert (
        rows["real"].endswith("100% (100% to 100%) |") and len((tmp_path / "verdicts.csv").read_text().split()) > 178
    )
    (output / "verdicts" / "c.json").write_text('{"1": [2, 3, ""]}')
    with pytest.raises(ValueError, match=r"c.json has \[2, 3, ''\] for '1'"):
        blind_reading.read_verdicts(output)
