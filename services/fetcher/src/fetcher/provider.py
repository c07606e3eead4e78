"""The seam between fetching and a secret backend: what a provider is asked, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, cast, overload, runtime_checkable

from keyferry.errors import InvalidSecretProviderClass
from keyferry.resources import DEFAULT_FILE_MODE, Pod

_MAX_TOLD = 20  # problems


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
        region: The ``topology.kubernetes.io/region`` of the pod's node, for providers whose `Scope` asks for it.
        held: What the last fetch of this very content gave, by object id; empty on a mount. A provider that can ask for
            an object's version alone may hand these files back where the version is the same. Files that live by a
            lease are among them while it does, on a mount, too: they are to be handed back, and come with no new lease.
    """

    parameters: Mapping[str, str]
    pod: Pod
    tokens: Mapping[str, str] = field(repr=False, default_factory=dict)
    service_account_annotations: Mapping[str, str] = field(default_factory=dict)
    node_publish_secret: Mapping[str, str] = field(repr=False, default_factory=dict)
    default_mode: int = DEFAULT_FILE_MODE
    deadline: float = float("inf")
    region: str = ""
    held: Mapping[str, tuple[Secret, ...]] = field(repr=False, default_factory=dict)

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
        source: What a change event of this backend would call the object, in the provider's canonical form (its page in
            docs/backends says which); empty where there are no such events.
        is_leased: It lives by the answer's lease: asked for again, the backend would make another.
    """

    path: str
    contents: bytes = field(repr=False)
    object_id: str
    version: str | None
    mode: int | None = None
    source: str = ""
    is_leased: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """Credentials that a backend made for one content and takes away again.

    Attributes:
        renew_at: Unix seconds from when on it should be renewed; before two thirds of its life are over.
        expires_at: Unix seconds at which the backend ends it.
        handle: What the provider needs to renew or revoke it, in any fetcher; kept sealed beside the content.
    """

    renew_at: float
    expires_at: float
    handle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer(Sequence[Secret]):
    """All files of a class, in its order, and what else there is to know of them.

    Attributes:
        secrets: The files.
        left_out: Ids of objects marked ``optional`` that the backend does not have.
        lease: What the files live by, if a backend made them for this content.
    """

    secrets: tuple[Secret, ...]
    left_out: tuple[str, ...] = ()
    lease: Lease | None = None

    @overload
    def __getitem__(self, index: int) -> Secret: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Secret, ...]: ...
    def __getitem__(self, index: int | slice) -> Secret | tuple[Secret, ...]:
        return self.secrets[index]

    def __len__(self) -> int:
        return len(self.secrets)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a class asks, and what decides the answer besides the class and the service account.

    Attributes:
        backend: Which of a provider's backends, such as an address or a region: calls to one share a budget, and one
            that is down does not slow the others.
        by_pod: The backend is told which pod asks, so no two pods may share an answer.
        by_region: The answer depends on the region of the pod's node.
    """

    backend: str = ""
    by_pod: bool = False
    by_region: bool = False


ANYWHERE = Scope()


class Provider(Protocol):
    """A secret backend. One instance serves all requests of a process, at the same time."""

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """All objects of the class, or an error; never a part of them.

        Returns:
            An `Answer`, or just its files.

        Raises:
            InvalidSecretProviderClass: parameters are missing or malformed; all problems at once, before any call.
            SecretNotFound, AccessDenied, RateLimited, ProviderUnavailable: as the backend answered.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


@runtime_checkable
class Scoped(Protocol):
    """A provider with more than one backend, or whose answers depend on more than who asks for what."""

    def scope(self, parameters: Mapping[str, str]) -> Scope:
        """What the class asks; called before every fetch, so fast, and never raising: `fetch` tells what is wrong."""
        ...


def scope_of(provider: Provider, parameters: Mapping[str, str]) -> Scope:
    """What the provider says of it; a provider that says nothing has one backend, and answers all pods alike."""
    return cast("Scoped", provider).scope(parameters) if _is_scoped(type(provider)) else ANYWHERE


@cache
def _is_scoped(kind: type[Provider]) -> bool:
    return issubclass(kind, Scoped)  # every request would pay ten microseconds for it


@runtime_checkable
class Leasing(Protocol):
    """A provider whose answers may come with a lease."""

    async def renew(self, lease: Lease, deadline: float) -> Lease | None:
        """Renew it; None when it has ended or cannot be renewed: the content must then be fetched anew.

        Raises:
            RateLimited, ProviderUnavailable: not now.
        """
        ...

    async def revoke(self, lease: Lease, deadline: float) -> None:
        """Have the backend take the credentials away now; their being gone already is success.

        Raises:
            AccessDenied, RateLimited, ProviderUnavailable: not done.
        """
        ...


class Problems:
    """Collects what is wrong with a class, so that its author reads all of it at once.

    It tells twenty problems and how many more there are: the text must fit into an Event.
    """

    def __init__(self) -> None:
        self._found: list[str] = []
        self._more = 0

    def add(self, field_name: str, problem: str) -> None:
        """Note one problem, such as ``add("objects[0].objectName", "is missing")``."""
        self.add_text(f"{field_name} {problem}")

    def add_text(self, problem: str) -> None:
        """Note one problem in a sentence of its own, such as one that upstream's users grep for."""
        if len(self._found) < _MAX_TOLD:
            self._found.append(problem)
        else:
            self._more += 1

    def raise_any(self) -> None:
        """Raise what was collected.

        Raises:
            InvalidSecretProviderClass: naming the problems.
        """
        if self._found:
            more = [f"and {self._more} more problems"] if self._more else []
            raise InvalidSecretProviderClass("; ".join(self._found + more))
