"""When a lease is renewed, what is kept of it, and which token it lives by."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.vault.handle import Handle, Life, begin
from fetcher.providers.vault.login import Identity, Token
from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.parameters import Server, Tls
from fetcher.providers.vault.session import LeasingCalls, Read

NOW = 1_800_000_000.0
CLOCK = 500.0
SERVER = Server("https://vault:8200", "team", "jwt", Tls("/ca.pem", "/cas", "vault", "/crt", "/key", skip_verify=True))
WEB = Identity(SERVER, "web", "vault", "shop", "web")
CREDS = Call("GET", "database/creds/web")


def token(**fields: Any) -> Token:
    usual = {"since": CLOCK, "until": math.inf, "ends": CLOCK + 3600, "duration": 3600, "is_renewable": True}
    return Token("canary", **{**usual, **fields})


def read(**answer: Any) -> Read:
    whole = {"lease_id": "database/creds/web/1", "lease_duration": 300, "renewable": True, **answer}
    return Read(whole, token(), asked=CLOCK - 1)


def handle(*reads: Read, **fields: Any) -> Handle:
    found = Handle.from_bytes(begin(SERVER, token(**fields), reads, CLOCK, NOW).handle)
    assert found is not None
    return found


def test_what_a_handle_holds_is_read_back_and_hidden() -> None:
    """Any fetcher can go on with it; nobody sees the token."""
    found = handle(read(), read(lease_id="database/creds/web/2", lease_duration=60, renewable=False))

    assert found == Handle(
        server=SERVER,
        token="canary",
        life=Life("", 3600, NOW + 3600, is_renewable=True),
        leases=(
            Life("database/creds/web/1", 300, NOW + 299, is_renewable=True),
            Life("database/creds/web/2", 60, NOW + 59, is_renewable=False),
        ),
    )
    assert Handle.from_bytes(found.to_bytes()) == found
    assert "canary" not in repr(found)
    assert "canary" not in repr(begin(SERVER, token(), [read()], CLOCK, NOW))
    assert "canary" not in repr(token())


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=4), st.integers(0, 10**7), st.floats(0, 5))
def test_a_lease_is_due_before_two_thirds_of_the_shortest_life(
    durations: list[int], token_seconds: int, late: float
) -> None:
    """Counted from before Vault was asked, and never after its end."""
    reads = [dataclasses.replace(read(lease_duration=each), asked=CLOCK - late) for each in durations]
    ends = CLOCK + token_seconds if token_seconds else math.inf

    lease = begin(SERVER, token(ends=ends, duration=token_seconds), reads, CLOCK, NOW)

    shortest = min([*(each - late for each in durations), token_seconds or math.inf])
    assert math.isclose(lease.expires_at, NOW + shortest, abs_tol=1e-3)
    left = lease.expires_at - NOW
    assert 0.54 * abs(left) - 1e-3 <= abs(lease.renew_at - NOW) <= 0.66 * abs(left) + 1e-3


def test_what_has_no_end_is_given_one() -> None:
    """Whoever keeps it writes whole milliseconds."""
    lease = begin(SERVER, token(ends=math.inf, duration=0), [read(lease_duration=0)], CLOCK, NOW)

    assert NOW + 10**8 < lease.expires_at < NOW + 10**9


@given(st.binary(max_size=60))
def test_any_bytes_are_a_handle_or_none(text: bytes) -> None:
    """No other error comes out of what another version kept."""
    assert Handle.from_bytes(text) is None


def test_a_token_is_claimed_once_and_then_shared_no_more() -> None:
    """`Tokens` goes by its time."""
    shared = token()

    assert [shared.claim(), shared.claim()] == [True, False]
    assert shared.until == -math.inf


def test_calls_with_leases_are_remembered_for_all_who_make_them() -> None:
    """By server, namespace, method and path; an answer without a lease corrects it."""
    calls = LeasingCalls()
    calls.note(WEB, dataclasses.replace(CREDS, query="x=1", body=b"{}"), leases=True)

    assert calls.has(dataclasses.replace(WEB, service_account="other"), CREDS)
    assert not calls.has(WEB, Call("PUT", CREDS.path))
    assert not calls.has(dataclasses.replace(WEB, server=dataclasses.replace(SERVER, namespace="x")), CREDS)
    calls.note(WEB, CREDS, leases=False)
    assert not calls.has(WEB, CREDS)


def test_not_all_calls_are_remembered_for_ever() -> None:
    """The oldest is forgotten: its next fetch finds out again."""
    calls = LeasingCalls()
    for number in range(10_001):
        calls.note(WEB, Call("GET", f"database/creds/{number}"), leases=True)

    assert not calls.has(WEB, Call("GET", "database/creds/0"))
    assert calls.has(WEB, Call("GET", "database/creds/1"))
