"""The sprites as a data set: its builder, the archive that it reads, and a procedural set."""
