"""How a sprite was made: written and read back, and files that nobody should trust."""

import dataclasses
import json
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pokemon_ddpm.provenance import KEYWORD, MAX_TEXT, Provenance, read_png, write_png

FULL = {
    "model": "someone/pokémon-64",
    "condition": {"type": {"fire": 0.7, "water": 0.3}, "color": "red", "legendary": True, "shape": None},
    "seed": 2**64 - 1,
    "scheduler": "DPMSolverMultistepScheduler",
    "num_inference_steps": 20,
    "guidance_scale": 2.5,
    "guidance_interval": [0.2, 0.8],
    "guidance_rescale": 0.7,
    "negative_pokemon_type": ["fire", "flying"],
    "dtype": "bfloat16",
    "compiled": True,
    "chunk_size": 16,
    "postprocessing": {"transparent": True, "palette": 16, "scale": 4},
}
OPTIONAL = ("compiled", "guidance_interval", "guidance_rescale", "negative_pokemon_type", "postprocessing")
SHORT = {name: value for name, value in FULL.items() if name not in OPTIONAL}
NAN, INF = float("nan"), float("inf")
WRONG = {
    "model": ["", 3, None],
    "scheduler": [["DDPMScheduler"]],
    "dtype": [{}],
    "condition": ["fire", None, {"type": NAN}, {"type": [INF]}, {1: "fire"}, {"type": {"fire"}}, {"type": b"fire"}],
    "seed": [-1, 2**64, 1.0, True, "7"],
    "num_inference_steps": [0, 2.5],
    "compiled": [1, None, "yes"],
    "chunk_size": [0, None],
    "guidance_scale": [NAN, -INF, True, "2", 10**400],
    "guidance_interval": [[0.1], [0.1, 0.2, 0.3], [0.1, NAN], [0.1, None], "01", 0.5],
    "guidance_rescale": [None],
    "negative_pokemon_type": [NAN, {"fire": object()}],
    "postprocessing": [[], {"scale": INF}],
}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8))
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, size: tuple[int, int] = (1, 1)) -> bytes:
    """A PNG of one grey pixel, whatever size it claims, with chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"".join([SIGNATURE, header, *chunks, pixels, chunk(b"IEND", b"")])


def saying(text: str | bytes) -> bytes:
    return png(chunk(b"tEXt", KEYWORD.encode() + b"\0" + (text.encode() if isinstance(text, str) else text)))


def refusal(path: Path, content: bytes) -> str:
    """The sentence by which a file is refused."""
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_png(path)
    message = str(error.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    assert len(message) < 400 + len(str(path))
    return message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sprite.png"


@pytest.mark.parametrize("arguments", [FULL, SHORT])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_what_was_written_is_read_and_the_picture_is_the_same(file, arguments, mode):
    write_png(PICTURE.convert(mode), file, Provenance(**arguments))
    assert read_png(file) == Provenance(**arguments)
    with Image.open(file) as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image), np.asarray(PICTURE.convert(mode)))


def test_the_text_is_plain_json_that_any_program_reads(file):
    write_png(PICTURE, file, Provenance(**FULL))
    with Image.open(file) as image:
        assert json.loads(image.info[KEYWORD]) == FULL
    assert b"tEXt" + KEYWORD.encode() + b"\0{" in file.read_bytes()


def test_what_is_not_said_is_written_as_well(file):
    write_png(PICTURE, file, Provenance(**SHORT))
    with Image.open(file) as image:
        found = json.loads(image.info[KEYWORD])
    rest = {"compiled": False, "guidance_interval": None, "guidance_rescale": 0.0}
    rest |= {"negative_pokemon_type": None, "postprocessing": {}}
    assert found == SHORT | rest


def test_tuples_become_the_lists_that_will_be_read():
    tuples = {"guidance_interval": (0.2, 0.8), "negative_pokemon_type": ("fire", "flying"), "condition": {"a": (1,)}}
    made = Provenance(**FULL | tuples)
    lists = {"guidance_interval": [0.2, 0.8], "negative_pokemon_type": ["fire", "flying"], "condition": {"a": [1]}}
    assert dataclasses.asdict(made) == FULL | lists


def test_a_provenance_does_not_change_with_what_it_was_made_of():
    condition = {"type": ["fire"]}
    made = Provenance(**SHORT | {"condition": condition})
    condition["type"].append("water")
    assert made.condition == {"type": ["fire"]}
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.seed = 3


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must "):
        Provenance(**FULL | {name: value})


def test_what_contains_itself_is_refused():
    condition: dict = {}
    condition["type"] = condition
    with pytest.raises(ValueError, match="condition must not be nested deeper"):
        Provenance(**SHORT | {"condition": condition})


def test_whole_numbers_are_numbers_and_numpys_are_written(file):
    made = Provenance(**SHORT | {"guidance_scale": 3, "seed": np.int64(7)})
    write_png(PICTURE, file, made)
    assert read_png(file) == made and (made.guidance_scale, made.seed) == (3, 7)


def test_a_provenance_too_long_to_be_read_is_not_written(file):
    with pytest.raises(ValueError, match=f"may take {MAX_TEXT} characters"):
        write_png(PICTURE, file, Provenance(**SHORT | {"model": "x" * MAX_TEXT}))
    assert not file.exists()


def test_an_interruption_leaves_the_old_file_and_nothing_beside(file, monkeypatch):
    write_png(PICTURE, file, Provenance(**SHORT))
    before = file.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                write_png(PICTURE.rotate(90), file, Provenance(**FULL))
        assert file.read_bytes() == before
        assert list(file.parent.iterdir()) == [file]


def test_a_file_is_whole_before_it_has_its_name(file, monkeypatch):
    done = []
    replace = os.replace

    def watch(source: Path, destination: Path) -> None:
        assert not Path(destination).exists() and Path(source).parent == Path(destination).parent
        assert read_png(source) == Provenance(**SHORT)
        done.append(destination)
        replace(source, destination)

    monkeypatch.setattr(os, "replace", watch)
    write_png(PICTURE, file, Provenance(**SHORT))
    assert done == [file] and list(file.parent.iterdir()) == [file]


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_png(tmp_path / "nothing.png")
    with pytest.raises(FileNotFoundError):
        write_png(PICTURE, tmp_path / "nowhere" / "a.png", Provenance(**SHORT))


@pytest.mark.parametrize("content", [b"", b"GIF89a", SIGNATURE, b"\xff\xd8\xff\xe0 a photograph", b"{}" * 500])
def test_what_is_not_a_png_is_refused(file, content):
    assert "is not a PNG" in refusal(file, content)


def test_a_picture_of_another_format_is_refused(file):
    PICTURE.save(file, "WEBP")
    assert "is not a PNG" in refusal(file, file.read_bytes())


def test_a_picture_that_says_nothing_is_refused(file):
    assert "has no text chunk 'pokemon-ddpm'" in refusal(file, png())
    info = PngInfo()
    info.add_text("Comment", json.dumps(FULL))
    PICTURE.save(file, pnginfo=info)
    assert "has no text chunk" in refusal(file, file.read_bytes())


@pytest.mark.parametrize(
    "text", ["", "{", "not JSON", "{'model': 1}", json.dumps(FULL)[:-1], b"\xff\xfe", "[" * 60_000]
)
def test_damaged_json_is_refused(file, text):
    assert "is not JSON" in refusal(file, saying(text))


@pytest.mark.parametrize("text", ["[]", "3", "null", '"fire"', "true"])
def test_json_that_is_no_object_is_refused(file, text):
    assert "must be a JSON object" in refusal(file, saying(text))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("name", ["guidance_scale", "condition"])
def test_numbers_that_are_not_finite_are_refused(file, name, number):
    text = json.dumps(FULL | {name: "HERE" if name == "guidance_scale" else {"size": "HERE"}})
    message = refusal(file, saying(text.replace('"HERE"', number)))
    assert "not a number" in message or f"{name} must be a finite number" in message


def test_a_number_of_ten_thousand_digits_is_refused(file):
    text = json.dumps(FULL | {"seed": "HERE"}).replace('"HERE"', "9" * 10_000)
    assert "is not JSON" in refusal(file, saying(text))


@pytest.mark.parametrize("name", FULL)
def test_a_missing_field_is_named(file, name):
    text = json.dumps({key: value for key, value in FULL.items() if key != name})
    assert f"lacks: ['{name}']" in refusal(file, saying(text))


def test_an_unknown_field_is_named_and_shortened(file):
    assert "has unknown fields: ['steps']" in refusal(file, saying(json.dumps(FULL | {"steps": 3})))
    assert "..." in refusal(file, saying(json.dumps(FULL | {"\x1b[2J\n" * 5000: 3})))


@pytest.mark.parametrize(("name", "value"), [("seed", "7"), ("model", "\n" * 9000 + "x"), ("dtype", ["\x1b" * 900])])
def test_a_wrong_type_in_a_file_is_named_and_controls_are_escaped(file, name, value):
    if name == "model":  # a string, so it is taken
        file.write_bytes(saying(json.dumps(FULL | {name: value})))
        assert read_png(file).model == value
    else:
        message = refusal(file, saying(json.dumps(FULL | {name: value})))
        assert f"{name} must be" in message and "\x1b" not in message


def test_a_text_too_long_is_refused(file):
    assert "may have 65536 characters" in refusal(file, saying(" " * MAX_TEXT + json.dumps(FULL)))


def test_compressed_and_international_texts_are_read_as_well(file):
    text = json.dumps(FULL).encode()
    file.write_bytes(png(chunk(b"zTXt", KEYWORD.encode() + b"\0\0" + zlib.compress(text))))
    assert read_png(file) == Provenance(**FULL)
    text = json.dumps(FULL, ensure_ascii=False).encode()
    file.write_bytes(png(chunk(b"iTXt", KEYWORD.encode() + b"\0\0\0\0\0" + text)))
    assert read_png(file) == Provenance(**FULL)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_text_that_unpacks_to_megabytes_is_refused(file, kind):
    between = b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0"
    bomb = zlib.compress(b" " * 20_000_000, 9)
    assert re.search(
        "not a PNG that can be read|may have 65536", refusal(file, png(chunk(kind, KEYWORD.encode() + between + bomb)))
    )


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (12_000, 12_000)])
def test_a_picture_of_billions_of_pixels_is_never_decoded(file, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda *_: pytest.fail("decoded"))
        assert "not a PNG that can be read" in refusal(file, png(size=size))


def test_only_the_beginning_of_a_large_file_is_read(file):
    large = chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000)
    assert "not a PNG" in refusal(file, png(large, chunk(b"tEXt", KEYWORD.encode() + b"\0{}")))
    file.write_bytes(saying(json.dumps(FULL)) + b"x" * 3_000_000)
    assert read_png(file) == Provenance(**FULL)


@pytest.mark.parametrize("flip", [True, False])
def test_a_flipped_bit_or_an_early_end_anywhere_is_a_sentence_or_does_no_harm(file, flip):
    write_png(PICTURE, file, Provenance(**FULL))
    whole = file.read_bytes()
    for position in range(0, len(whole), 3):
        flipped = bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :]
        file.write_bytes(whole[:position] + (flipped if flip else b""))
        try:
            assert read_png(file) == Provenance(**FULL)
        except ValueError as error:
            assert str(error).startswith(str(file))
