"""The folders of the models that come with the package."""

from pathlib import Path

RELEASED = Path(__file__).parent / "released"  # those below are folders in it
RELEASED_MODEL = str(RELEASED / "pokemon-ddpm-64")  # sprites of 64x64 px with transparency, trained on the real ones
RELEASED_FAST_MODEL = str(RELEASED / "pokemon-ddpm-64-fast")  # distilled to four steps, for the same conditions
RELEASED_FREE_MODEL = str(RELEASED / "wesnoth-ddpm-64-fast")  # units of a game: free images alone, under the GPL 3
