"""Pushing a model to the Hub, with failures told in a sentence."""

import huggingface_hub

from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline


def create_repository(name: str, private: bool, token: str | None) -> str:
    """Makes a model repository unless it is there, so that what is in the way is known before hours of training.

    Args:
        name: "user/name", or a name of the token's owner.
        private: Whether a new repository is private.
        token: None for the stored one.

    Returns:
        The repository's full id.

    Raises:
        ValueError: If there is no token, it may not write there, or the Hub cannot be reached.
    """
    try:
        return huggingface_hub.create_repo(name, private=private or None, token=token, exist_ok=True).repo_id
    except Exception as error:  # the Hub's client has its own kinds, and those of the HTTP library it uses
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"Cannot push to {name}: {reason} (`hf auth login` stores a token.)") from error


def push(pipeline: PokemonDDPMPipeline, repository: str, private: bool, token: str | None) -> None:
    """Pushes a pipeline. See `create_repository` for the arguments.

    Raises:
        ValueError: If the push fails.
    """
    try:
        pipeline.push_to_hub(repository, private=private or None, token=token)
    except Exception as error:  # see above
        raise ValueError(f"The push to {repository} failed: {error}") from error
