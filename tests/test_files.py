"""Files are whole or not there; provenance in PNGs is exact, and refused in one short line if it is not valid."""

import errno
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.files import KEYWORD, Provenance, read_png, write_file, write_png
from pokemon_ddpm.pipelines.file_checks import read_file


@pytest.mark.parametrize(("content", "expected"), [("é\n", b"\xc3\xa9\n"), (b"\xff\r\n", b"\xff\r\n"), ("", b"")])
def test_content_is_written_exactly_and_replaces_the_old(tmp_path, content, expected):
    path = tmp_path / "a.txt"
    path.write_text("much longer old content")
    write_file(str(path), content)
    assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "other.txt").write_text("other")
    (tmp_path / ".a.txt.partial").symlink_to(tmp_path / "other.txt")
    write_file(tmp_path / "a.txt", "new")
    assert (tmp_path / "other.txt").read_text() == "other" and (tmp_path / "a.txt").read_text() == "new"


def test_the_cache_of_the_hub_links_to_its_blobs(tmp_path):
    for name in ("blobs/1", "refs/main"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    snapshot = tmp_path / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    for target in ("blobs/1", "refs/main"):
        (snapshot / target[:4]).symlink_to(f"../../{target}")
    assert read_file(snapshot / "blob", snapshot) == b"blobs/1"
    with pytest.raises(ValueError, match="is a link out of the folder"):
        read_file(snapshot / "refs", snapshot)


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failing_write_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch, function, error, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        write_file(path, "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == [old] * bool(old)


REQUIRED = {
    "model": "someone/pokémon-64",
    "condition": {"type": {"fire": 0.7, "water": 0.3}, "color": "red"},
    "seed": 2**64 - 1,
    "scheduler": "dpmsolver++",
    "num_inference_steps": 20,
    "guidance_scale": 3,
    "dtype": "bfloat16",
    "chunk_size": 16,
}
FULL = REQUIRED | {
    "guidance_interval": [0.2, 0.8],
    "guidance_rescale": 0.7,
    "negative_pokemon_type": ["fire", "flying"],
    "backend": "onnx",
    "postprocessing": {"transparent": True, "palette": 16, "scale": 4},
}
WRONG = [
    *[("seed", value) for value in (-1, 2**64, 1.0, True)],
    *[("guidance_interval", value) for value in ([0.1], [0.1, None], [True, 0.5], "01")],
    *[("model", 3), ("condition", "fire"), ("guidance_scale", "2"), ("postprocessing", [])],
]
INVALID = [  # texts, and what the message names
    *[(text, "") for text in ("", "[]", "null", "[" * 60_000)],
    *[(json.dumps(FULL | {"guidance_scale": 77}).replace("77", number), "") for number in ("NaN", "1e999")],
    *[(json.dumps(fields), "the fields must be model, condition, seed") for fields in (REQUIRED, FULL | {"more": 3})],
    *[(json.dumps(FULL | {field: value}), field) for field, value in WRONG],
]
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8))
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, side: int = 1) -> bytes:
    """A PNG with one gray pixel, whatever its header says, and chunks before it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"".join([SIGNATURE, header, *chunks, chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")])


def text_chunk(text: str) -> bytes:
    return chunk(b"tEXt", KEYWORD.encode() + b"\0" + text.encode())


BOMB = chunk(b"zTXt", KEYWORD.encode() + b"\0\0" + zlib.compress(b" " * 20_000_000))


def refusal(path, content: bytes) -> str:
    """The message of the ValueError, which names the file in one short line."""
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_png(path)
    message = str(error.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    assert len(message) < 400 + len(str(path))
    return message


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sprite.png"


@pytest.mark.parametrize("arguments", [FULL, REQUIRED])
def test_a_written_file_has_the_provenance_and_the_pixels(file, arguments):
    write_png(IMAGE, file, Provenance(**arguments))
    assert read_png(file) == Provenance(**arguments)
    with Image.open(file) as image:
        assert np.array_equal(np.asarray(image), np.asarray(IMAGE))
        assert arguments.items() <= json.loads(image.info["pokemon-ddpm"]).items()


@pytest.mark.parametrize("content", [b"", b"GIF89a", SIGNATURE, png(side=2**31 - 1), png(BOMB)])
def test_other_files_are_refused(file, content):
    assert "is not a PNG, or is damaged" in refusal(file, content)
    assert "does not say how it was generated" in refusal(file, png())


@pytest.mark.parametrize(("text", "reason"), INVALID, ids=range(len(INVALID)))
def test_an_invalid_text_is_refused(file, text, reason):
    message = refusal(file, png(text_chunk(text)))
    assert "is not valid" in message and reason in message


def test_only_the_beginning_of_a_large_file_is_read(file):
    text = text_chunk(json.dumps(FULL))
    refusal(file, png(chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000), text))
    file.write_bytes(png(text) + b"x" * 3_000_000)
    assert read_png(file) == Provenance(**FULL)
