"""A report of the sprites: measured, counted, and told in sentences and figures."""
