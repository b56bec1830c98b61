"""The Hub that tests push to: the real clients work against it, and its failures are the real Hub's."""
