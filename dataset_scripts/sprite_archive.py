"""Reading the Kaggle archive, unpacked or as the .zip it is downloaded as, without trusting what is in it."""

import hashlib
import lzma
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

POKEDEX = "pokedex.csv"
MAX_FILE_BYTES = 16 * 2**20


class SpriteDataError(ValueError):
    """The data cannot be used as it is; the message says which files are at fault and what to do."""


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
        holders = [name.removesuffix(POKEDEX) for name in self._all if PurePosixPath(name).name == POKEDEX]
        if not holders:
            zips = sorted(self.path.glob("*.zip")) if self.path.is_dir() else []
            hint = f" It holds {zips[0].name}: give that file." if zips else ""
            raise SpriteDataError(
                f"{self.path} holds no {POKEDEX}.{hint} Give the folder that holds {POKEDEX} and sprites/, or the "
                ".zip, as they come from Kaggle (the README says where)."
            )
        with_sprites = [top for top in holders if any(name.startswith(top + "sprites/") for name in self._all)]
        return min(with_sprites or holders, key=len)

    @cached_property
    def _all(self) -> list[str]:
        return sorted(set(self._files()))

    @cached_property
    def pictures(self) -> list[str]:
        """Names of all pictures, `sprites/FOLDER/VIEW/FINISH/FILE.png`, sorted."""
        return [name for name in self._below_sprites if _is_picture(name)]

    @cached_property
    def strays(self) -> list[str]:
        """Names of the other files below `sprites/` but for hidden ones: in a wrong place, or no PNG."""
        return [name for name in self._below_sprites if not _is_picture(name)]

    @cached_property
    def _below_sprites(self) -> list[str]:
        top = self._prefix + "sprites/"
        names = [name.removeprefix(self._prefix) for name in self._all if name.startswith(top)]
        return [
            name for name in names if "/." not in name and PurePosixPath(name).name not in ("Thumbs.db", "desktop.ini")
        ]

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            SpriteDataError: If it cannot be read, is larger than 16 MiB or, in a .zip, fails its checksum.
        """
        return self._read(self._prefix + name)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the names and contents of everything that the loader reads."""
        total = hashlib.sha256()
        for name in [POKEDEX, *self._below_sprites]:
            total.update(f"{name}\0".encode())
            try:
                total.update(hashlib.sha256(self.read(name)).digest())
            except SpriteDataError as error:
                total.update(str(error).encode())
        return total.hexdigest()


def _is_picture(name: str) -> bool:
    return name.count("/") == 4 and name.lower().endswith(".png")


class FolderArchive(SpriteArchive):
    """An unpacked archive."""

    def _files(self) -> Iterator[str]:
        # Fixed depths instead of a full walk: a link that points upwards cannot make it endless.
        sprites = ["sprites" + "/*" * depth for depth in range(1, 5)]
        for pattern in (POKEDEX, f"*/{POKEDEX}", *sprites, *(f"*/{below}" for below in sprites)):
            for path in self.path.glob(pattern):
                if not path.is_dir():
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
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise SpriteDataError(
                f"{path} is not a readable .zip ({error}). Give the sprite folder, or download the .zip again."
            ) from error
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
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
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
