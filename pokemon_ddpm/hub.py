"""Pushing to the Hub, with its failures told in a sentence and what to do."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pokemon_ddpm.pipelines.cards import CARD_FILE, pipeline_card, read_card
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.pushing import check_kind, check_private, files_to_push, push_folder
from pokemon_ddpm.pipelines.saving import write_code

LONGEST = 400  # characters of a reason that somebody else gives
LOGIN = "`hf auth login` stores a token"


class HubError(ValueError):
    """Something did not go as asked on the Hub; the message says what to do."""


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns what the Hub's client raises within into a `HubError`.

    Args:
        what: What is being done, for the message: "The push to user/name".

    Raises:
        HubError: For every kind of failure of the client or of its connection.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # the Hub's client has its own kinds, and those of the HTTP library it uses
        raise HubError(f"{what} failed: {_reason(error)}") from error


def create_repository(name: str, private: bool | None, token: str | None, repo_type: str = "model") -> str:
    """Makes a repository unless it is there, so that what is in the way is known before anything slow starts.

    Args:
        name: "user/name", or a name of the token's owner.
        private: Whether a new repository is private; None for what the account has by default.
        token: None for the stored one.
        repo_type: "model", "dataset" or "space".

    Returns:
        The repository's full id.

    Raises:
        HubError: If there is no token, it may not write there, the Hub cannot be reached, or of a model: the
            repository holds something else.
    """
    with told(f"Making {name}"):
        made = huggingface_hub.create_repo(name, private=private, token=token, repo_type=repo_type, exist_ok=True)
        api = HfApi(made.endpoint, token)
        api.auth_check(made.repo_id, repo_type=repo_type, write=True)
        if repo_type == "model":
            info = api.model_info(made.repo_id)
            check_kind(api, info, PokemonDDPMPipeline.__name__)
            check_private(info, private)
        return made.repo_id


def push_model(
    folder: Path,
    repository: str,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload the model",
    force: bool = False,
) -> str:
    """Pushes the model in a folder, which is only read: pipeline, code, card and newest sheet, in a single commit.

    Args:
        folder: What a training run or `save_pretrained` left; of a bundled model the code is added.
        repository: "user/name"; it is made if it is not there.
        token: None for the stored one.
        private: Whether a new repository is private; None for what the account has by default.
        commit_message: The commit's.
        force: Whether to push into a repository that holds something else, which stays beside the model.

    Returns:
        The commit's URL.

    Raises:
        OSError, ValueError: If there is no whole model in the folder.
        HubError: If the push fails. The repository is then as it was before, and the push can be repeated.
    """
    pipeline = PokemonDDPMPipeline.from_pretrained(folder)
    with told(f"The push to {repository}"), tempfile.TemporaryDirectory() as copy:
        whole = Path(copy)
        for name in files_to_push(folder):
            (whole / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, whole / name)
        write_code(whole, PokemonDDPMPipeline, type(pipeline.conditioner))
        readme = folder / CARD_FILE
        # A card that is here is taken as it is; only where there is none the program has something to say.
        card = read_card(readme.read_text("utf-8")) if readme.is_file() else pipeline_card(pipeline, repository)
        return push_folder(whole, repository, card, token, private, commit_message, force=force).commit_url


def _reason(error: Exception) -> str:
    """A sentence or two: what happened, and the remedy."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    again = "Try again later; nothing is left half-done there"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that the Hub is not asked. Unset it."
    if isinstance(error, HFValidationError):
        return f"{first}. A name on the Hub is user/name, of letters, digits, '-', '_' and '.'."
    unseen = isinstance(error, RepositoryNotFoundError)
    if isinstance(error, LocalTokenNotFoundError) or (status == 401 and not unseen):
        return f"the Hub takes no changes without a valid token. {LOGIN}, or give --token."
    if isinstance(error, RevisionNotFoundError):
        return "there is no such revision. Give a branch, a tag or a commit of the repository."
    if unseen:
        return f"there is no such repository, or the token may not see it. {LOGIN}."
    if status == 403:
        return "the token may not write there. Take one with the right to write, or a name of your own."
    if status == 412:
        return "somebody else has changed the repository meanwhile. Try again."
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        when = f"in {wait} seconds" if re.fullmatch("[0-9]+", wait) else "later"
        return f"the Hub was asked too often. Try again {when}."
    if status is not None:
        return f"the Hub answered {status} ({first}). {again}."
    if isinstance(error, ValueError):
        return f"{' '.join(str(error).split())[:LONGEST].rstrip('.:')}."
    if isinstance(error, KeyError):
        first = f"the Hub's answer lacks {first}"
    return f"{first}. {again}."
