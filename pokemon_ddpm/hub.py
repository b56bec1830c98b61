"""The Hub's failures, told in a sentence with what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub
from huggingface_hub.errors import (
    HFValidationError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

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
        HubError: If there is no token, it may not write there, or the Hub cannot be reached.
    """
    with told(f"Making {name}"):
        return huggingface_hub.create_repo(
            name, private=private, token=token, repo_type=repo_type, exist_ok=True
        ).repo_id


def _reason(error: Exception) -> str:
    """A sentence or two: what happened, and the remedy."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that the Hub is not asked. Unset it."
    if isinstance(error, HFValidationError):
        return f"{first}. A name on the Hub is user/name, of letters, digits, '-', '_' and '.'."
    if isinstance(error, LocalTokenNotFoundError) or (status == 401 and not isinstance(error, RepositoryNotFoundError)):
        return f"the Hub takes no changes without a valid token. {LOGIN}, or give --token."
    if isinstance(error, RevisionNotFoundError):
        return "there is no such revision. Give a branch, a tag or a commit of the repository."
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository, or the token may not see it. {LOGIN}."
    if status == 403:
        return "the token may not write there. Take one with the right to write, or a name of your own."
    if status == 412:
        return "somebody else has changed the repository meanwhile. Try again."
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        return f"the Hub was asked too often. Try again{f' in {wait} s' if re.fullmatch('[0-9]+', wait) else ' later'}."
    if isinstance(error, (HfHubHTTPError, ValueError)):
        return f"{first}."
    return f"{first}. Nothing was changed there; try again once the Hub can be reached."
