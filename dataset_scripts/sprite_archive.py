"""Reading the Kaggle archive, unpacked or as the .zip it is downloaded as, without trusting what is in it."""

import hashlib
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

POKEDEX = "pokedex.csv"
MAX_FILE_BYTES = 16 * 2**20


class SpriteDataError(ValueError):
    """The data cannot be used as it is; the message names every file at fault and says what to do."""


class SpriteArchive(ABC):
    """The files of an archive that matter: `pokedex.csv` and `sprites/FOLDER/VIEW/FINISH/*.png`.

    Names are POSIX paths relative to the folder that holds `pokedex.csv`, which may be the archive's top or one below.
    """

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def _files(self) -> Iterator[str]:
        """Every file's name, relative to the top of the archive."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """The content of a file named by `_files`."""

    @cached_property
    def _prefix(self) -> str:
        holders = sorted((name for name in self._all if PurePosixPath(name).name == POKEDEX), key=len)
        if not holders:
            raise SpriteDataError(
                f"{self.path} holds no {POKEDEX}. Give the folder that holds {POKEDEX} and sprites/, or the .zip, "
                "as they come from Kaggle (the README says where)."
            )
        return holders[0].removesuffix(POKEDEX)

    @cached_property
    def _all(self) -> list[str]:
        return sorted(self._files())

    @cached_property
    def pictures(self) -> list[str]:
        """Names of all pictures, `sprites/FOLDER/VIEW/FINISH/FILE.png`, sorted."""
        names = (name.removeprefix(self._prefix) for name in self._all if name.startswith(self._prefix + "sprites/"))
        return [name for name in names if name.count("/") == 4 and name.lower().endswith(".png") and "/." not in name]

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            SpriteDataError: If it cannot be read, is larger than 16 MiB or, in a .zip, fails its checksum.
        """
        return self._read(self._prefix + name)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the names and contents of everything that the loader reads."""
        total = hashlib.sha256()
        for name in [POKEDEX, *self.pictures]:
            total.update(f"{name}\0".encode())
            try:
                total.update(hashlib.sha256(self.read(name)).digest())
            except SpriteDataError as error:
                total.update(str(error).encode())
        return total.hexdigest()


class FolderArchive(SpriteArchive):
    """An unpacked archive."""

    def _files(self) -> Iterator[str]:
        # Fixed depths instead of a full walk: a link that points upwards cannot make it endless.
        for pattern in (POKEDEX, f"*/{POKEDEX}", "sprites/*/*/*/*", "*/sprites/*/*/*/*"):
            for path in self.path.glob(pattern):
                yield path.relative_to(self.path).as_posix()

    def _read(self, name: str) -> bytes:
        try:
            path = self.path / name
            if path.stat().st_size > MAX_FILE_BYTES:
                raise SpriteDataError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
            return path.read_bytes()
        except OSError as error:
            raise SpriteDataError(error.strerror or str(error)) from error


class ZipArchive(SpriteArchive):
    """The .zip; nothing of it is ever unpacked to disk."""

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise SpriteDataError(f"{path} is not a readable .zip ({error}). Download it again.") from error
        outside = [name for name in self._zip.namelist() if _leaves_archive(name)]
        if outside:
            raise SpriteDataError(
                f"{path} holds paths that leave it: {', '.join(map(repr, outside[:10]))}"
                f"{f' and {len(outside) - 10} more' if len(outside) > 10 else ''}. "
                "It does not come from Kaggle like this; download it again."
            )

    def _files(self) -> Iterator[str]:
        return (info.filename for info in self._zip.infolist() if not info.is_dir())

    def _read(self, name: str) -> bytes:
        try:
            if self._zip.getinfo(name).file_size > MAX_FILE_BYTES:
                raise SpriteDataError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
            return self._zip.read(name)
        # RuntimeError: encrypted. NotImplementedError, a kind of it: a compression that zipfile does not know.
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            raise SpriteDataError(str(error)) from error


def _leaves_archive(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":")


def open_archive(path: str | Path) -> SpriteArchive:
    """Opens a sprite folder or .zip.

    Args:
        path: The unpacked archive's folder, or the .zip.

    Raises:
        SpriteDataError: If there is nothing there, or neither a folder nor a .zip, or a .zip with paths that leave it.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise SpriteDataError(f"{path} does not exist. Give the folder or the .zip that comes from Kaggle.")
    return FolderArchive(path) if path.is_dir() else ZipArchive(path)
