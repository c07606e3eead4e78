"""What the schedule is told of events."""

from __future__ import annotations

import pytest

from keyferry.changes import BackendChanged
from keyferry.events import VolumePublished
from keyferry.resources import Pod
from rotator.words import Change, Word

VOLUME = VolumePublished("v", "n", Pod("shop", "web-0", "u", "web"), "db", "/t", "openbao", "k", b"d", 1, ())


@pytest.mark.parametrize("provider", ["vault", "openbao"])
def test_a_vault_is_a_vault_by_either_name(provider: str) -> None:
    """Whoever tells of a change need not know by which of the two names classes call the backend."""
    change = Change.of(BackendChanged(provider, ("secret/data/app",), 1, "e"))

    assert change.sets == ("sources:vault/secret/data/app",)
    assert Change.of(BackendChanged(provider, (), 1, "e")).sets == ("provider:vault",)


def test_a_volume_of_either_name_is_found() -> None:
    """The schedule keeps it under the one that changes are looked up by."""
    assert Word(VOLUME, 1).told()["provider"] == "vault"
