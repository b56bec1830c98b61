"""The models that come with the package, by name."""

from pathlib import Path

RELEASED = Path(__file__).parent / "released"


def locate(model: str) -> str:
    """The folder of a model that comes with the package, if that is its name and nothing here is called so.

    Args:
        model: Such a name, a folder, or a name on the Hub; the latter two are returned as they are.
    """
    known = {file.parent.name: str(file.parent) for file in RELEASED.glob("*/model_index.json")}
    return model if Path(model).exists() else known.get(model, model)


def check_data_given(model: str, data_dir: str | None) -> None:
    """Refuses to measure a model that comes with the package on the starter set, which it has never seen.

    Raises:
        ValueError: If there is no other data.
    """
    if data_dir is None and Path(locate(model)).parent == RELEASED:
        raise ValueError(f"{name_of(model)} learned from the sprite archive; give that by --data-dir.")


def name_of(model: str) -> str:
    """The opposite: what to call a model so that another machine finds it, too, where that is possible."""
    return Path(model).name if Path(model).parent == RELEASED else model
