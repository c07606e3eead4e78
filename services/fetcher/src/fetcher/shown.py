"""Names that others have made up, as messages write them."""

_LONGEST = 200  # characters: an ARN and a resource name of Google's fit


def shown(text: str) -> str:
    """A name on one line, and cut where it would fill the screen."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return line if len(text) <= _LONGEST else f"{line}..."
