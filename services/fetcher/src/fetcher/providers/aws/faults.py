"""What AWS's refusals mean, without AWS's own words: they may quote what was sent."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, EndpointProviderError, InvalidRegionError

from keyferry.errors import (
    AccessDenied,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)

# https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html and the errors of each operation.
_BY_CODE: dict[str, type[KeyferryError]] = {
    **dict.fromkeys(("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"), SecretNotFound),
    # Secrets Manager: marked for deletion, or no value yet.
    "InvalidRequestException": SecretNotFound,
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "DecryptionFailure",
            "InvalidKeyId",
            "NotAuthorized",
            "OptInRequired",
            "RegionDisabledException",
            "InvalidIdentityToken",
            "IDPRejectedClaim",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignature",
            "MissingAuthenticationToken",
        ),
        AccessDenied,
    ),
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "RequestThrottledException",
            "SlowDown",
        ),
        RateLimited,
    ),
    **dict.fromkeys(
        (
            "IDPCommunicationError",
            # Of a list that changed while it was read.
            "InvalidNextToken",
            "InvalidNextTokenException",
            "InternalFailure",
            "InternalServerError",
            "InternalServiceError",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServiceUnavailable",
        ),
        ProviderUnavailable,
    ),
    **dict.fromkeys(
        (
            "InvalidParameterException",
            "ValidationException",
            "ValidationError",
            "InvalidFilterKey",
            "InvalidFilterOption",
            "InvalidFilterValue",
        ),
        InvalidSecretProviderClass,
    ),
}
_HINTS = {
    "InvalidRequestException": "it is marked for deletion, or has no value yet",
    "DecryptionFailure": "its KMS key cannot be used: allow kms:Decrypt",
    "InvalidKeyId": "its KMS key cannot be used: allow kms:Decrypt",
    "InvalidParameterException": "its name, version or label is not one that AWS knows",
    "ValidationException": "its name, version or label is not one that AWS knows",
}
_CREDENTIALS_ARE_BAD = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSignatureException",
}
_MAY_NOT_CALL = {"AccessDenied", "AccessDeniedException", "NotAuthorized"}
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class Fault(Exception):
    """A call that AWS refused or could not answer, reduced to what is safe to tell.

    Attributes:
        code: AWS's own, such as ``AccessDeniedException``, or the name of a network error.
        kind: What it is for the pod.
        retry_after: Seconds, where AWS named them.
    """

    def __init__(self, code: str, kind: type[KeyferryError], retry_after: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.kind = kind
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Whether AWS may answer later, or another region now."""
        return self.kind in (ProviderUnavailable, RateLimited)

    @property
    def condemns_credentials(self) -> bool:
        """Whether these credentials are of no use for anything any more."""
        return self.code in _CREDENTIALS_ARE_BAD

    @property
    def means_no_permission(self) -> bool:
        """Whether the identity may not call this at all, or not for this object."""
        return self.code in _MAY_NOT_CALL

    def explain(self, doing: str, *, needs: str = "") -> KeyferryError:
        """The error that the pod's owner reads.

        Args:
            doing: What was attempted, by whom.
            needs: The IAM action that it takes, where that is not plain from the documentation's first pages.
        """
        hint = _HINTS.get(self.code)
        if needs and self.means_no_permission:
            hint = f"allow {needs} to it"
        message = f"{doing}: {hint} ({self.code})" if hint else f"{doing}: {self.code}"
        if self.kind is ProviderError:
            return ProviderError(message, code="FAILED_PRECONDITION", reason="ProviderError")
        return self.kind(message, retry_after=self.retry_after)


def from_sdk(error: ClientError | BotoCoreError) -> Fault:
    """What an exception of the SDK means."""
    if isinstance(error, ClientError):
        about: Any = error.response
        metadata = about.get("ResponseMetadata", {})
        retry_after = str(metadata.get("HTTPHeaders", {}).get("retry-after", ""))
        return from_code(
            str(about.get("Error", {}).get("Code", "")),
            int(metadata.get("HTTPStatusCode", 0)),
            float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else None,
        )
    if isinstance(error, EndpointProviderError | InvalidRegionError):
        return Fault("no endpoint for this region", InvalidSecretProviderClass)
    return Fault(type(error).__name__, ProviderUnavailable)


def from_code(code: str, status: int, retry_after: float | None = None) -> Fault:
    """What an error code means.

    Args:
        code: As AWS sent it.
        status: Of the HTTP answer; 0 if the error is part of a good answer.
        retry_after: Seconds, if AWS named them.
    """
    code = code if _CODE.fullmatch(code) else f"HTTP status {status}"
    kind = _BY_CODE.get(code)
    if kind is None and status == _TOO_MANY_REQUESTS:
        kind = RateLimited
    if kind is None and status >= _SERVER_ERROR:
        kind = ProviderUnavailable
    return Fault(code, kind or ProviderError, retry_after)
