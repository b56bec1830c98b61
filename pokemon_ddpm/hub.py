"""Pushing to the Hub; failures of its client become `HubError`."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, errors

from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline

MAX_REASON = 400  # characters of an error message of another library
LOGIN = "`hf auth login` stores a token"


class HubError(ValueError):
    """Something failed on the Hub; the message says what to do."""


@contextmanager
def hub_errors(action: str) -> Iterator[None]:
    """Turns every failure of the Hub's client or its connection into a `HubError`.

    Args:
        action: For the message, for example "The push to user/name".
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # the client has exceptions of its own and those of its HTTP library
        raise HubError(f"{action} failed: {_reason(error)}") from error


def create_repository(name: str, private: bool | None, token: str | None, repo_type: str = "model") -> str:
    """Creates a repository if it does not exist, to find problems before anything slow starts.

    Args:
        name: "user/name", or a name in the token owner's namespace.
        private: Whether a new repository is private; None for the default of the account.
        token: None for the stored one.
        repo_type: "model" or "dataset".

    Returns:
        "user/name".

    Raises:
        HubError: If it cannot be written to, or a model repository holds something else.
    """
    api = HfApi(token=token)
    with hub_errors(f"Creating {name}"):
        name = api.create_repo(name, private=private, repo_type=repo_type, exist_ok=True).repo_id
        api.auth_check(name, repo_type=repo_type, write=True)
        if repo_type == "model":
            info, files, _ = hub_mixin.look_up(api, name)
            hub_mixin.check_target(info, files, hub_mixin.CODE_FILES[2] in files, private)
    return name


def push_model(
    folder: Path,
    repository: str,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload the model",
    force: bool = False,
) -> str:
    """Pushes a saved model in one commit: pipeline, code, card and newest sheet. The folder is only read.

    Args:
        folder: Of a training run or `save_pretrained`. Missing or older code is replaced by the current one.
        repository, token, private, commit_message, force: See `hub_mixin.push_folder`.

    Returns:
        The URL of the commit.

    Raises:
        OSError, ValueError: If the folder holds no complete model.
        HubError: If the push fails. The repository is then as before, and the push can be repeated.
    """
    pipeline = PokemonDDPMPipeline.from_pretrained(folder)
    with hub_errors(f"The push to {repository}"), tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in hub_mixin.files_to_push(folder):
            (copy / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / file, copy / file)
        if not (copy / hub_mixin.CARD_FILE).exists():
            hub_mixin.write_card(copy, hub_mixin.pipeline_card(pipeline, repository))
        hub_mixin.complete_folder(copy, PokemonDDPMPipeline, type(pipeline.conditioner))
        options = {"token": token, "private": private, "force": force, "commit_message": commit_message}
        return hub_mixin.push_folder(copy, repository, **options).commit_url


def _reason(error: Exception) -> str:
    """What happened and what to do, in one or two sentences."""
    response = error.response if isinstance(error, errors.HfHubHTTPError) else None
    status = None if response is None else response.status_code
    wait = "" if response is None else response.headers.get("Retry-After", "")
    known = {
        errors.RepositoryNotFoundError: f"there is no such repository, or the token may not see it. {LOGIN}.",
        errors.RevisionNotFoundError: "there is no such revision. Give a branch, a tag or a commit.",
        errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE is set. Unset it to reach the Hub.",
        errors.LocalTokenNotFoundError: f"the Hub needs a valid token. {LOGIN}, or give --token.",
        401: f"the Hub needs a valid token. {LOGIN}, or give --token.",
        403: "the token may not write there. Use a token with write access, or a name of your own.",
        412: "somebody else has changed the repository meanwhile. Try again.",
        429: f"there were too many requests. Try again {f'in {wait} seconds' if wait.isdecimal() else 'later'}.",
    }
    kind = next((kind for kind in known if isinstance(kind, type) and isinstance(error, kind)), status)
    if kind in known:
        return known[kind]
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    if isinstance(error, errors.HFValidationError):
        return f"{first}. A name on the Hub is user/name, of letters, digits, '-', '_' and '.'."
    if isinstance(error, ValueError):  # a card or a repository that is refused
        return f"{' '.join(str(error).split())[:MAX_REASON].rstrip('.:')}."
    return f"{first}. Try again later; the repository is as before."
