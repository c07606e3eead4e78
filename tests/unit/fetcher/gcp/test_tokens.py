import asyncio

import pytest

from fetcher.accesstoken import Token
from fetcher.providers.gcp.identity import Identity, KeyIdentity, OwnIdentity
from fetcher.tokens import Tokens
from keyferry.errors import AccessDenied

Kept = Tokens[Identity, Token]


class Google:
    """Gives tokens that hold for an hour by a clock that stands still, and counts them."""

    def __init__(self, life: float = 3600.0) -> None:
        self.now = 1000.0
        self.count = 0
        self.life = life

    async def __call__(self) -> Token:
        """One more."""
        self.count += 1
        await asyncio.sleep(0)
        return Token(f"t{self.count}", self.now, self.now + self.life)


def key(number: int) -> Identity:
    return KeyIdentity("a@x", "", bytes([number]))


@pytest.mark.parametrize(("life", "used_for"), [(3600.0, 3300.0), (400.0, 300.0), (4.0, 3.0)])
async def test_a_token_is_used_until_shortly_before_its_end(life: float, used_for: float) -> None:
    """Five minutes, or a quarter of a shorter life: the calls that follow take time too."""
    google = Google(life)
    tokens: Kept = Tokens(10, lambda: google.now)
    first = await tokens.get(OwnIdentity(), google)
    google.now += used_for - 0.5
    same = await tokens.get(OwnIdentity(), google)
    google.now += 1
    other = await tokens.get(OwnIdentity(), google)

    assert (first.value, same.value, other.value) == ("t1", "t1", "t2")


async def test_identities_do_not_share() -> None:
    """Not even two keys of one account."""
    google = Google()
    tokens: Kept = Tokens(10, lambda: google.now)

    values = {(await tokens.get(identity, google)).value for identity in (key(1), key(2), OwnIdentity())}

    assert len(values) == 3


async def test_only_so_many_are_kept() -> None:
    """Those used last; none at all if so set."""
    google = Google()
    tokens: Kept = Tokens(2, lambda: google.now)
    for number in (1, 2, 1, 3, 1, 2):
        await tokens.get(key(number), google)
    none: Kept = Tokens(0, lambda: google.now)
    for _ in range(2):
        await none.get(key(1), google)

    assert google.count == 4 + 2


async def test_a_refused_token_is_replaced_once_for_all() -> None:
    """Whoever comes late with the same refused token gets the new one."""
    google = Google()
    tokens: Kept = Tokens(10, lambda: google.now)
    first = await tokens.get(OwnIdentity(), google)

    new = await asyncio.gather(*(tokens.get(OwnIdentity(), google, refused=first) for _ in range(5)))
    late = await tokens.get(OwnIdentity(), google, refused=first)

    assert {token.value for token in (*new, late)} == {"t2"}


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    """The next one asks again."""
    google = Google()
    tokens: Kept = Tokens(10, lambda: google.now)

    async def fail() -> Token:
        await asyncio.sleep(0)
        raise AccessDenied("no")

    found = await asyncio.gather(*(tokens.get(OwnIdentity(), fail) for _ in range(3)), return_exceptions=True)

    assert [type(error) for error in found] == [AccessDenied] * 3
    assert (await tokens.get(OwnIdentity(), google)).value == "t1"


async def test_closing_ends_exchanges() -> None:
    """So that nothing is left behind at the service's end."""
    google = Google()
    tokens: Kept = Tokens(10, lambda: google.now)
    waiting = asyncio.create_task(tokens.get(OwnIdentity(), asyncio.Event().wait))  # type: ignore[arg-type]  # never ends
    await asyncio.sleep(0)

    await tokens.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_tokens_and_keys_do_not_show() -> None:
    """In any repr."""
    shown = repr((Token("secret", 0, 1), KeyIdentity("a@x", "1", b"secret")))

    assert "secret" not in shown
