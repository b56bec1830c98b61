"""The commands of `pokemon-ddpm`: their options, checks and messages."""
