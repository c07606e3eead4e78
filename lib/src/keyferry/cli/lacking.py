"""What a command lacks to do its work: settings, a connection, a right."""

from __future__ import annotations


class Lacking(Exception):
    """The command cannot look; the text says what it lacks and how to get it."""
