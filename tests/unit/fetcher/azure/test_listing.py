"""Lists of a vault: what their items may hold, how they end, and which of them a class means."""

import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.options import Selection
from fetcher.providers.azure.listing import Listed, Page, TooLong, every, listed, matching, newest_first, rest

NAMES = st.text(alphabet="abAB-", min_size=1, max_size=6)
JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=2), max_size=2)


@dataclass
class Properties:
    """As the SDK makes them of whatever was answered."""

    name: Any = "db"
    version: Any = "1"
    enabled: Any = True
    created_on: Any = None
    tags: Any = field(default_factory=dict)


def item(name: str, *, enabled: bool = True, version: str = "", created: float = 0.0, **tags: str) -> Listed:
    return Listed(name, version, enabled, created, tags)


def test_an_item_is_read() -> None:
    """With what selections and histories ask of it."""
    made = datetime(2026, 11, 24, tzinfo=UTC)

    found = listed(Properties(version="abc", enabled=False, created_on=made, tags={"a": "b"}))

    assert found == Listed("db", "abc", enabled=False, created=made.timestamp(), tags={"a": "b"})


def test_an_item_may_say_little() -> None:
    """What is not said to be disabled is enabled; no version, time or tags are none."""
    assert listed(Properties(version=None, enabled=None, tags=None)) == item("db")


@pytest.mark.parametrize(
    "odd",
    [
        {"name": "../db"},
        {"name": ""},
        {"name": None},
        {"name": "x" * 128},
        {"version": "1/../2"},
        {"version": 7},
        {"tags": "a"},
        {"tags": ["a"]},
        {"created_on": "yesterday"},
        {"created_on": 7},
    ],
)
def test_an_item_that_cannot_be_is_no_item(odd: dict[str, Any]) -> None:
    """Names become files and parts of URLs."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        listed(Properties(**odd))


@given(st.builds(Properties, JSON | NAMES, JSON, JSON, JSON, JSON | st.dictionaries(st.text(max_size=2), JSON)))
def test_any_item_is_read_or_refused(odd: Properties) -> None:
    """By errors that are told as an answer that makes no sense; and what is read can be selected from."""
    with contextlib.suppress(ValueError, TypeError, AttributeError, ArithmeticError):
        found = listed(odd)
        assert set(matching(Selection("a", (("t", "x"),)), [found])) <= {odd.name}
        assert set(newest_first([found])) <= {odd.version}


class Vault:
    """A list in pages of these sizes; then without an end, if it is endless."""

    def __init__(self, *sizes: int, endless: bool = False) -> None:
        self.sizes = sizes
        self.endless = endless
        self.asked: list[str | None] = []

    async def page(self, link: str | None) -> Page:
        """One page; links are its numbers."""
        self.asked.append(link)
        number = int(link or "0")
        size = self.sizes[number % len(self.sizes)]
        last = number + 1 == len(self.sizes) and not self.endless
        return Page([item(f"n{number}-{each}") for each in range(size)], None if last else str(number + 1))


@pytest.mark.parametrize("sizes", [(0,), (3,), (25, 25, 2), (2, 0, 0, 3)])
async def test_a_list_is_read_to_its_end(sizes: tuple[int, ...]) -> None:
    """Pages may be short or empty: the end is where no link is."""
    vault = Vault(*sizes)

    assert len(await every(vault.page, 100)) == sum(sizes)
    assert vault.asked == [None, *map(str, range(1, len(sizes)))]


@pytest.mark.parametrize(("size", "pages"), [(25, 5), (0, 1500)])
async def test_a_list_without_an_end_is_given_up(size: int, pages: int) -> None:
    """After so many items, or so many pages that hold none."""
    vault = Vault(size, endless=True)

    with pytest.raises(TooLong):
        await every(vault.page, 100)

    assert len(vault.asked) == pages


def test_versions_are_ordered_by_time() -> None:
    """Without those that are disabled."""
    versions = [
        item("db", version="b", created=2.0),
        item("db", version="d", created=4.0, enabled=False),
        item("db", version="c", created=3.0),
        item("db", version="a", created=1.0),
    ]

    assert newest_first(versions) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection("shop-"), ["SHOP-c", "shop-a", "shop-b"]),
        (Selection("Shop-A"), ["shop-a"]),
        (Selection("", (("team", "x"),)), ["other", "shop-a"]),
        (Selection("shop-", (("team", "x"),)), ["shop-a"]),
        (Selection("shop-", (("team", "x"), ("env", "live"))), []),
        (Selection("shop-", (("team", "X"),)), []),
        (Selection("shop-", (("env", ""),)), ["shop-b"]),
        (Selection("none"), []),
    ],
)
def test_a_selection_means_what_begins_so_and_carries_the_tags(selection: Selection, names: list[str]) -> None:
    """Names of Key Vault have no case, tags have; what is disabled is not meant."""
    objects = [
        item("other", team="x"),
        item("shop-b", env=""),
        item("shop-a", team="x"),
        item("SHOP-c"),
        item("shop-d", enabled=False, team="x"),
    ]

    assert matching(selection, objects) == names


@pytest.mark.parametrize(
    ("prefix", "name", "file"),
    [
        ("shop-", "shop-db", "db"),
        ("SHOP-", "shop-Db", "Db"),
        ("shop", "shop-db", "-db"),
        ("", "shop-db", "shop-db"),
        ("shop-db", "shop-db", "shop-db"),
    ],
)
def test_a_file_has_the_rest_of_the_name(prefix: str, name: str, file: str) -> None:
    """Or the whole, where nothing is left."""
    assert rest(Selection(prefix), name) == file


@given(NAMES, NAMES)
def test_every_object_has_a_file(prefix: str, name: str) -> None:
    """With a name that is one part of a path, whatever the letters' case."""
    whole = prefix.swapcase() + name

    assert rest(Selection(prefix), whole) == name
