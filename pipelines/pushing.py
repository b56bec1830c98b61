"""Pushing a self-contained folder to the Hub, in one commit."""

import json
import re
import tempfile
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.hf_api import ModelInfo

from .cards import CARD_FILE, as_part, merged, named, read_card, with_sheets
from .saving import CODE_FILES

COMPONENTS = ("unet", "conditioner", "scheduler")
SHEETS = "samples"
_SHEET = re.compile(rf"{SHEETS}/step-(\d+)\.png")  # as a run names its own; other pictures there are somebody's
# What a repository of anybody's may hold before there is a model in it.
EMPTY = {".gitattributes", CARD_FILE, "LICENSE", "LICENSE.md"}


def files_to_push(folder: Path) -> list[str]:
    """What of a folder belongs into a repository: pipeline, code and the newest sheet; no checkpoints and no logs."""
    files = [name for name in ("model_index.json", *CODE_FILES) if (folder / name).is_file()]
    for component in COMPONENTS:
        # No pickle, and nothing that lies in deeper folders.
        paths = [*(folder / component).glob("*.json"), *(folder / component).glob("*.safetensors")]
        files += [path.relative_to(folder).as_posix() for path in sorted(paths)]
    return files + newest_sheet(folder)


def newest_sheet(folder: Path) -> list[str]:
    """The path of a run's newest sheet of sprites within its folder, or nothing."""
    sheets = {path.relative_to(folder).as_posix() for path in (folder / SHEETS).glob("*.png")}
    found = {int(match[1]): name for name in sheets if (match := _SHEET.fullmatch(name))}
    return [found[max(found)]] if found else []


def push_folder(
    folder: Path,
    repository: str,
    card: ModelCard,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload the model",
    create_pr: bool = False,
    force: bool = False,
    keep_card: bool = False,
) -> CommitInfo:
    """Pushes a saved pipeline in a single commit: all of it arrives or nothing. The folder is only read.

    Args:
        folder: What `save_pretrained` or a training run left.
        repository: "user/name"; it is made if it is not there.
        card: What is merged with the card that the repository has.
        token: None for the stored one.
        private: Whether a new repository is private; None for what the account has by default.
        commit_message: The commit's.
        create_pr: Whether to open a pull request instead of changing the repository.
        force: Whether to push into a repository that holds something else, which stays beside the model.
        keep_card: Whether a card that the repository has stays as it is: it may say more than this one.

    Raises:
        ValueError: If the repository holds something else, is public though it should be private, or the card is not
            valid.
        HfHubHTTPError, OSError: If the Hub refuses or cannot be reached. The repository is then as it was before.
    """
    api = HfApi(token=token)
    repository = api.create_repo(repository, private=private, exist_ok=True).repo_id
    info = api.model_info(repository)
    present = {sibling.rfilename for sibling in info.siblings or []}
    if not force:
        check_kind(api, info, json.loads((folder / "model_index.json").read_text())["_class_name"][-1])
    check_private(info, private)
    names = files_to_push(folder)
    # Without a sheet of its own the push leaves those that are there.
    sheets = {name for name in present if _SHEET.fullmatch(name)}
    sheets -= sheets if any(_SHEET.fullmatch(name) for name in names) else set()
    old = _text(api, info, CARD_FILE) if CARD_FILE in present else None
    card = read_card(old) if keep_card and old else merged(as_part(named(card, repository)), old)
    card = with_sheets(card, {*names, *sheets})
    add = [CommitOperationAdd(name, str(folder / name)) for name in names]
    add.append(CommitOperationAdd(CARD_FILE, card.content.encode()))
    gone = present - {*names, *sheets}
    stale = {name for name in gone if name.split("/")[0] in COMPONENTS or _SHEET.fullmatch(name)}
    operations = [*add, *(CommitOperationDelete(name) for name in sorted(stale))]
    return api.create_commit(
        repository, operations, commit_message=commit_message, create_pr=create_pr, parent_commit=info.sha
    )


def check_private(info: ModelInfo, private: bool | None) -> None:
    """Raises ValueError if a repository can be seen by everybody, though it is to be private."""
    if private and info.private is False:
        raise ValueError(f"{info.id} can be seen by everybody already. Make it private in its settings, then push.")


def check_kind(api: HfApi, info: ModelInfo, class_name: str) -> None:
    """Raises ValueError if a repository holds something else than a pipeline of this class."""
    present = {sibling.rfilename for sibling in info.siblings or []}
    found = "other files"
    if "model_index.json" in present:
        try:
            saved = json.loads(_text(api, info, "model_index.json")).get("_class_name")
        except (ValueError, AttributeError):
            saved = None
        saved = saved[-1] if isinstance(saved, list) and saved else saved
        if saved == class_name:
            return
        found = f"a {saved}" if saved else "another model"
    elif present <= EMPTY:
        return
    raise ValueError(
        f"{info.id} holds {found}, not a {class_name}. Choose another name, or push beside it with --force (in Python "
        "force=True)."
    )


def _text(api: HfApi, info: ModelInfo, name: str) -> str:
    # Not into the cache, where a revision with only this file in it would stand for the whole model.
    with tempfile.TemporaryDirectory() as folder:
        file = api.hf_hub_download(info.id, name, revision=info.sha, local_dir=folder)
        return Path(file).read_text(encoding="utf-8")
