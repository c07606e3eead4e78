"""Takes resource names of Google Cloud apart: which service keeps a secret, and in which location."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fetcher.shown import shown

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}"  # projects may be example.com:name; all else has letters, digits, -_
_NAME = re.compile(
    rf"projects/(?P<project>{_SEGMENT})(?:/locations/(?P<location>[^/]*))?"
    rf"/(?P<collection>secrets|parameters)/(?P<id>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,254}})/versions/{_SEGMENT}"
)
_PARENT = re.compile(rf"projects/(?P<project>{_SEGMENT})(?:/locations/(?P<location>[^/]*))?")
_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
# A location becomes part of a host name: nothing may pass here that could make it another host.
_LOCATION = re.compile(r"[a-z][a-z0-9-]*")
_LONGEST_LOCATION = 30
_NO_LOCATION = f"has an invalid location: write a region such as europe-west1, at most {_LONGEST_LOCATION} characters"

SECRET, PARAMETER, LISTING = "secret", "parameter", "secrets of"
GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Resource:
    """One version of a secret or parameter, or a project's or location's secrets.

    Attributes:
        name: As the class writes it, ``projects/…/versions/…``, or ``projects/…`` for a `LISTING`.
        kind: `SECRET`, `PARAMETER` or `LISTING`.
        location: Whose endpoint serves it; empty for the global one.
    """

    name: str
    kind: str
    location: str

    def __str__(self) -> str:
        return f"{self.kind} {shown(self.name)}"

    @property
    def source(self) -> str:
        """What change events call it, ``secrets/ID`` or ``parameters/ID``; of the project they know the number only."""
        return "/".join(self.name.split("/")[-4:-2])

    @property
    def place(self) -> str:
        """Whose quota it counts against: the project and, if it is regional, the location."""
        project = self.name.split("/")[1]
        return f"{project}/{self.location}" if self.location else project

    def newest(self, secret_id: str) -> Resource:
        """The newest version of one secret of a listing."""
        return Resource(f"{self.name}/secrets/{secret_id}/versions/latest", SECRET, self.location)


def resource(name: str) -> Resource | str:
    """The resource of this name, or what is wrong with the name, in words that continue a field's."""
    match = _NAME.fullmatch(name)
    if match is None and _PARENT.fullmatch(name):
        return (
            "names no secret: go on with /secrets/*/versions/*, or write selectPrefix or selectTags beside it to have "
            "several"
        )
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
    if not _is_location(location):
        return _NO_LOCATION
    return Resource(name, kind, "" if kind == PARAMETER and location == GLOBAL else location)


def listing(name: str) -> Resource | str:
    """The secrets of the project, or of its location, of this name; or what is wrong with the name."""
    match = _PARENT.fullmatch(name)
    if match is None:
        return (
            f'is "{shown(name)}", which has no secrets to select from: beside selectPrefix and selectTags write '
            "projects/* or projects/*/locations/*"
        )
    location = match["location"]
    if location is not None and (location == GLOBAL or not _is_location(location)):
        return _NO_LOCATION
    return Resource(name, LISTING, location or "")


def secret_id(name: str) -> str:
    """The id in a secret's name as Google lists it; empty if it is none."""
    found = name.rpartition("/secrets/")[2]
    return found if _ID.fullmatch(found) else ""


def is_id_part(text: str) -> bool:
    """Whether ids of secrets can begin with it."""
    return bool(_ID.fullmatch(text))


def _is_location(text: str) -> bool:
    return len(text) <= _LONGEST_LOCATION and bool(_LOCATION.fullmatch(text))
