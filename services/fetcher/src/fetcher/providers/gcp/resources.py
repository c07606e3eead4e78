"""Takes resource names of Google Cloud apart: which service keeps a secret, and in which location."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}"  # projects may be example.com:name; all else has letters, digits, -_
_NAME = re.compile(
    rf"projects/(?P<project>{_SEGMENT})(?:/locations/(?P<location>[^/]*))?"
    rf"/(?P<collection>secrets|parameters)/(?P<id>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,254}})/versions/{_SEGMENT}"
)
# A location becomes part of a host name: nothing may pass here that could make it another host.
_LOCATION = re.compile(r"[a-z][a-z0-9-]*")
_LONGEST_LOCATION = 30
_SHOWN = 200  # characters of a name in a message

SECRET, PARAMETER = "secret", "parameter"
GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Resource:
    """One version of a secret or parameter.

    Attributes:
        name: As the class writes it, ``projects/…/versions/…``.
        kind: `SECRET` or `PARAMETER`.
        location: Whose endpoint serves it; empty for the global one.
    """

    name: str
    kind: str
    location: str

    def __str__(self) -> str:
        return f"{self.kind} {shown(self.name)}"


def resource(name: str) -> Resource | str:
    """The resource of this name, or what is wrong with the name, in words that continue a field's."""
    match = _NAME.fullmatch(name)
    if match is None:
        return (
            f'is "{shown(name)}", an unknown resource type: write projects/*/secrets/*/versions/*, '
            "projects/*/locations/*/secrets/*/versions/* or projects/*/locations/*/parameters/*/versions/*"
        )
    location, kind = match["location"], SECRET if match["collection"] == "secrets" else PARAMETER
    if location is None:
        return (
            Resource(name, kind, "")
            if kind == SECRET
            else "has no location: parameters are in locations/global or a region"
        )
    if len(location) > _LONGEST_LOCATION or not _LOCATION.fullmatch(location):
        return f"has an invalid location: write a region such as europe-west1, at most {_LONGEST_LOCATION} characters"
    return Resource(name, kind, "" if kind == PARAMETER and location == GLOBAL else location)


def shown(text: str) -> str:
    """A name as messages write it: on one line, and cut where it would fill the screen."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text[:_SHOWN])
    return line if len(text) <= _SHOWN else f"{line}..."
