"""Listings as a hostile or broken server might answer them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from google.cloud.secretmanager_v1.types import resources as messages
from google.cloud.secretmanager_v1.types import service
from hypothesis import given
from hypothesis import strategies as st

from fetcher.options import Selection
from fetcher.providers.gcp.reading import Reader
from fetcher.providers.gcp.resources import LISTING, Resource
from fetcher.providers.gcp.selecting import filter_of, selected
from keyferry.errors import ContentTooLarge, ProviderUnavailable

PROJECT = Resource("projects/demo", LISTING, "")


@dataclass
class Pages:
    """Stands for the calls of a fetch: gives one page after the other."""

    pages: Iterator[tuple[list[str], str]]

    async def call(self, method: object, resource: Resource, **asked: Any) -> Any:
        """The next one."""
        del method, resource, asked
        names, token = next(self.pages)
        secrets = [messages.Secret(name=name, labels={"env": "prod"}) for name in names]
        return service.ListSecretsResponse.pb()(
            secrets=[messages.Secret.pb(secret) for secret in secrets], next_page_token=token
        )


async def choose(selection: Selection, *pages: tuple[list[str], str]) -> list[str]:
    """What is selected from these pages."""
    return await selected(cast("Reader", Pages(iter(pages))), PROJECT, selection)


async def test_what_was_not_asked_for_is_passed_over() -> None:
    """Other prefixes, other labels, and names that are none."""
    names = ["app-a", "projects/1/secrets/app-b", "b", "", "projects/1/secrets/app-../x", "projects/1/secrets/app-\n"]

    assert await choose(Selection("app-"), (names, "")) == ["app-a", "app-b"]
    assert await choose(Selection("app-", (("env", "prod"),)), (names, "")) == ["app-a", "app-b"]
    assert await choose(Selection("app-", (("env", "test"),)), (names, "")) == []
    assert await choose(Selection("", (("other", ""),)), (names, "")) == []


async def test_a_name_that_is_listed_twice_is_one() -> None:
    """Pages may shift under a listing."""
    assert await choose(Selection("a"), (["a1", "a2"], "1"), (["a2", "a3"], "")) == ["a1", "a2", "a3"]


async def test_a_listing_without_end_is_given_up() -> None:
    """Whether a page follows itself or always another."""
    with pytest.raises(ProviderUnavailable, match="a page follows itself"):
        await choose(Selection("a"), (["a1"], "1"), (["a1"], "1"))
    with pytest.raises(ContentTooLarge, match="more than 100 pages"):
        await choose(Selection("a"), *(([], str(number)) for number in range(1, 200)))


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection("app-"), "name:app-"),
        (Selection("", (("env", "prod"), ("team", "1"))), "labels.env=prod AND labels.team=1"),
        (Selection("app", (("env", "prod"),)), "name:app AND labels.env=prod"),
        (Selection("-app", (("env", ""), ("é", "x"), ("a", "NOT"))), ""),
        (Selection("NOTE", (("a", "ORB"),)), "name:NOTE AND labels.a=ORB"),
    ],
)
def test_a_filter_has_only_what_google_documents(selection: Selection, text: str) -> None:
    """The rest is looked at here."""
    assert filter_of(selection) == text


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3))
def test_no_selection_becomes_another_filter(prefix: str, tags: dict[str, str]) -> None:
    """Whatever passes for a prefix or a label: every term is a word on each side."""
    text = filter_of(Selection(prefix, tuple(tags.items())))

    for term in filter(None, text.split(" AND ")):
        assert term.count(":") + term.count("=") == 1
        assert not set(term) & set(" ()\"'~*<>!\\\n")
