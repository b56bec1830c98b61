"""Users of the Hub, and what they push."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import _http

from tests.loopback_hub import LoopbackHub

MODEL = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
    "config.json": b"{}\n",
    "unet/model.safetensors": bytes(range(256)) * 400,
    "samples/Pok\u00e9mon 1.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "empty.txt": b"",
}


def ash(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_ash")


def misty(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_misty")


def anonymous(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


def post(hub: LoopbackHub, path: str, **content: object):
    """A request of ash's that no client would send."""
    return _http.get_session().post(hub.endpoint + path, headers={"Authorization": "Bearer hf_ash"}, **content)


def written(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: str | Path) -> dict[str, bytes]:
    """What a folder holds, without the .gitattributes that the Hub adds."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".gitattributes")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
