"""Everything that can go wrong, in words for the person who must fix it.

KeyferryError
├── InvalidArgument               a CSI argument is missing or malformed
├── InvalidSecretProviderClass    the class or its parameters cannot work
├── SecretProviderClassNotFound   no such class in the pod's namespace
├── SecretNotFound                the backend has no such object, version or key
├── AccessDenied                  the backend refuses the pod's identity
├── IdentityRefused               the request does not prove who is asking
├── ContentTooLarge               more than a volume may hold
├── ProviderUnavailable           the backend is down, slow or unreachable
├── RateLimited                   the backend asks for fewer calls
├── KubernetesUnavailable         the API server does not answer
├── BusUnavailable                NATS is away
├── BusFull                       the request stream takes no more
├── StoreUnavailable              Redis is away
├── RequestExpired                nobody answered in time
├── VolumeBusy                    another operation on this volume is under way
├── VolumeConflict                the volume is published with other arguments
├── FailedToMount                 the kernel refused the mount
├── FileWriteError                the files could not be written
├── UntrustedMessage              a seal or signature does not hold
├── InternalError                 a defect of ours
└── ProviderError                 a provider's own code and reason

Each class carries three facts: ``code``, the canonical gRPC name; ``reason``, CamelCase for Kubernetes and metrics; and
``retry_after``, the seconds until another try may help (None: it will not, until somebody changes something). They are
translated at three edges only: rpc, bus and kube. A message names the field, the value's shape and the fix, never a
value.

The code is behaviour: kubelet takes CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED as "may
be mounted, ask again" and everything else as final.
"""

from __future__ import annotations

import traceback


class KeyferryError(Exception):
    """The root; never raised itself.

    Attributes:
        message: What to fix, for people; safe to show to end users.
        retry_after: Seconds until another try may help; None when only a change elsewhere will.
        provider: Which backend it was about, where one was; a label for metrics.
    """

    code: str = "INTERNAL"
    reason: str = "InternalError"
    retry_after: float | None = None
    provider: str = ""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after


class InvalidArgument(KeyferryError):
    """A CSI argument is missing or malformed (CSI spec, "INVALID_ARGUMENT")."""

    code = "INVALID_ARGUMENT"
    reason = "InvalidArgument"


class InvalidSecretProviderClass(KeyferryError):
    """The SecretProviderClass or its parameters cannot work as written."""

    code = "INVALID_ARGUMENT"
    reason = "InvalidSecretProviderClass"


class SecretProviderClassNotFound(KeyferryError):
    """There is no such class in the pod's namespace."""

    code = "NOT_FOUND"
    reason = "SecretProviderClassNotFound"

    @classmethod
    def named(cls, namespace: str, name: str) -> SecretProviderClassNotFound:
        """The text that upstream's users and tests grep for."""
        return cls(
            f"failed to get secretproviderclass {namespace}/{name}, error: "
            f'secretproviderclasses.secrets-store.csi.x-k8s.io "{name}" not found: '
            f"create it in namespace {namespace}, where the pod is"
        )


class SecretNotFound(KeyferryError):
    """The backend has no such object, version or key."""

    code = "NOT_FOUND"
    reason = "SecretNotFound"


class AccessDenied(KeyferryError):
    """The backend knows who asks and says no."""

    code = "PERMISSION_DENIED"
    reason = "AccessDenied"


class IdentityRefused(KeyferryError):
    """The request does not prove that this pod on this node asks; a security event, never retried."""

    code = "PERMISSION_DENIED"
    reason = "IdentityRefused"


class ContentTooLarge(KeyferryError):
    """The objects of a class add up to more than a volume may hold."""

    code = "FAILED_PRECONDITION"
    reason = "ContentTooLarge"


class ProviderUnavailable(KeyferryError):
    """The backend is down, slow, unreachable or answers nonsense."""

    code = "UNAVAILABLE"
    reason = "ProviderUnavailable"
    retry_after = 2.0


class RateLimited(KeyferryError):
    """The backend asks for fewer calls; ``retry_after`` is its own word where it gave one."""

    code = "RESOURCE_EXHAUSTED"
    reason = "RateLimited"
    retry_after = 5.0


class KubernetesUnavailable(KeyferryError):
    """The Kubernetes API does not answer, or not with sense."""

    code = "UNAVAILABLE"
    reason = "KubernetesUnavailable"
    retry_after = 2.0


class BusUnavailable(KeyferryError):
    """NATS cannot be reached, or has no stream for the subject."""

    code = "UNAVAILABLE"
    reason = "BusUnavailable"
    retry_after = 1.0


class BusFull(KeyferryError):
    """The request stream is full (``discard: new``): kubelet shall back off."""

    code = "RESOURCE_EXHAUSTED"
    reason = "BusFull"
    retry_after = 5.0


class StoreUnavailable(KeyferryError):
    """Redis cannot be reached, does not answer in time, or refuses."""

    code = "UNAVAILABLE"
    reason = "StoreUnavailable"
    retry_after = 1.0


class RequestExpired(KeyferryError):
    """Nobody answered before the deadline."""

    code = "DEADLINE_EXCEEDED"
    reason = "RequestExpired"
    retry_after = 1.0


class VolumeBusy(KeyferryError):
    """Another operation on this volume is under way (CSI spec, "ABORTED")."""

    code = "ABORTED"
    reason = "VolumeBusy"
    retry_after = 1.0


class VolumeConflict(KeyferryError):
    """The volume is published already, with other arguments (CSI spec, "ALREADY_EXISTS")."""

    code = "ALREADY_EXISTS"
    reason = "VolumeConflict"


class FailedToMount(KeyferryError):
    """The kernel refused to mount or unmount."""

    reason = "FailedToMount"


class FileWriteError(KeyferryError):
    """The files could not be put in place; what was there before still is."""

    reason = "FileWriteError"


class UntrustedMessage(KeyferryError):
    """A seal cannot be opened or a signature does not hold: a forgery, a replay, or keys out of step."""

    reason = "UntrustedMessage"


class InternalError(KeyferryError):
    """A defect of ours; the text names the place, never the value that met it."""


class ProviderError(KeyferryError):
    """An error with a code and reason that only the other side knows, such as a provider plugin's own."""

    reason = "ProviderError"

    def __init__(self, message: str, *, code: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.code = code
        self.reason = reason


BY_REASON = {error.reason: error for error in KeyferryError.__subclasses__() if error is not ProviderError}


def from_failure(code: str, reason: str, message: str, retry_after: float | None) -> KeyferryError:
    """The error that was raised on the other side of the bus.

    Args:
        code: Canonical gRPC name.
        reason: A ``reason`` of this module, or a provider's own.
        message: For people.
        retry_after: Seconds, or None.
    """
    known = BY_REASON.get(reason)
    if known is None or known.code != code:
        return ProviderError(message, code=code, reason=reason, retry_after=retry_after)
    error = known(message)
    error.retry_after = retry_after
    return error


def place(error: BaseException) -> str:
    """Where a defect happened, without its text: an exception's text may quote a secret.

    Returns:
        Such as ``ValueError at vault.py:120 in parse``.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{where}"
