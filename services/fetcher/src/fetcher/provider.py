"""The seam between fetching and a secret backend: what a provider is asked, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from keyferry.errors import InvalidSecretProviderClass, KeyferryError
from keyferry.resources import DEFAULT_FILE_MODE, Pod


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One class to be fetched with one pod's identity. The pod's token for us has been verified already.

    Attributes:
        parameters: ``spec.parameters`` of the SecretProviderClass. Nothing of the pod's own is mixed in: endpoints,
            roles and audiences are the class author's to choose (CVE-2026-54725 shows why).
        pod: Whose identity the backend sees.
        tokens: Audience to service-account token, from the CSIDriver's ``tokenRequests``.
        service_account_annotations: Where AWS roles and the like are found.
        node_publish_secret: Data of the pod's ``nodePublishSecretRef``, if any.
        default_mode: Permission bits for files whose object names none.
        deadline: Unix seconds after which the answer is of no use.
    """

    parameters: Mapping[str, str]
    pod: Pod
    tokens: Mapping[str, str] = field(repr=False, default_factory=dict)
    service_account_annotations: Mapping[str, str] = field(default_factory=dict)
    node_publish_secret: Mapping[str, str] = field(repr=False, default_factory=dict)
    default_mode: int = DEFAULT_FILE_MODE
    deadline: float = float("inf")

    def token(self, audience: str) -> str:
        """The pod's token for a backend.

        Raises:
            InvalidSecretProviderClass: the CSIDriver object does not request this audience.
        """
        found = self.tokens.get(audience)
        if not found:
            has = ", ".join(sorted(self.tokens)) or "none"
            raise InvalidSecretProviderClass(
                f'no service account token for audience "{audience}" (the pod came with: {has}): '
                f"add it to spec.tokenRequests of the CSIDriver object (Helm value tokenRequests)"
            )
        return found

    def seconds_left(self) -> float:
        """Seconds until the deadline; never below zero."""
        return max(0.0, self.deadline - time.time())


@dataclass(frozen=True, slots=True)
class Secret:
    """One file as a backend gave it.

    Attributes:
        path: File name below the volume, ``/`` as separator.
        contents: The value.
        object_id: The object in the class that it came from; unique ids become the volume's object versions.
        version: The backend's own version of that object; None where it has none (the fetcher then puts a keyed MAC of
            the contents there: a plain hash of a short secret would give it away).
        mode: Permission bits; None for the request's default.
    """

    path: str
    contents: bytes = field(repr=False)
    object_id: str
    version: str | None
    mode: int | None = None


class Provider(Protocol):
    """A secret backend. One instance serves all requests of a process, at the same time.

    One that tells its backend which pod asks, not only which service account, says so with an attribute
    ``sees_pod = True``: its answers are shared by no two pods.
    """

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """All objects of the class, or an error; never a part of them.

        Raises:
            InvalidSecretProviderClass: parameters are missing or malformed; all problems at once, before any call.
            SecretNotFound, AccessDenied, RateLimited, ProviderUnavailable: as the backend answered.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


class Problems:
    """Collects what is wrong with a class, so that its author reads all of it at once."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, field_name: str, problem: str) -> None:
        """Note one problem, such as ``add("objects[0].objectName", "is missing")``."""
        self._found.append(f"{field_name} {problem}")

    def raise_any(self) -> None:
        """Raise what was collected.

        Raises:
            InvalidSecretProviderClass: naming every problem.
        """
        if self._found:
            raise InvalidSecretProviderClass("; ".join(self._found))


@contextmanager
def backend_errors(table: Mapping[type[Exception], type[KeyferryError]], doing: str) -> Iterator[None]:
    """Turn an SDK's exceptions into ours, keeping neither their text nor their traceback: both may quote what was sent.

    Args:
        table: SDK exception to our class; first match by ``isinstance`` in the table's order.
        doing: What was attempted, for the message, such as ``reading secret/data/app``.
    """
    try:
        yield
    except tuple(table) as error:
        ours = next(ours for theirs, ours in table.items() if isinstance(error, theirs))
        raise ours(f"{doing}: {type(error).__name__}") from None
