import errno
import os

import pytest
from PIL import Image

from pokemon_ddpm.files import save_image, write_file
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
    assert [each.read_text() for each in tmp_path.iterdir()] == [old] * bool(old)


def test_an_error_names_the_path_that_was_given(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_file(tmp_path / "none" / "a.txt", "content")
    assert raised.value.filename == str(tmp_path / "none" / "a.txt")


@pytest.mark.parametrize(("name", "options", "expected"), [("a.JPG", {}, "JPEG"), ("a", {"format": "GIF"}, "GIF")])
def test_the_suffix_decides_the_format(tmp_path, name, options, expected):
    save_image(Image.new("RGB", (4, 5)), tmp_path / name, **options)
    with Image.open(tmp_path / name) as image:
        assert image.format == expected and image.size == (4, 5)
