"""Turns what a plugin says went wrong into our errors, keeping its words and leaving out what is secret in them."""

from __future__ import annotations

import re

import grpc

from fetcher.provider import ProviderRequest
from fetcher.providers.plugin.wording import strike
from keyferry.errors import ProviderError

GRPC_PROVIDER_ERROR = "GRPCProviderError"
"""Upstream's reason for all that goes wrong between driver and plugin (pkg/errors/errors.go)."""

_REASON = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")  # becomes a label of metrics and events
_LONGEST_TEXT = 1024
_LONGEST_CODE = 63
_RETRY_SECONDS = 5.0  # the plugin has been asked again already: the rest is for kubelet, who knows of the pod's end
# "Try again" to kubelet, who takes every other code as final (csi_client.go, isFinalError).
_PASSING = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}
_TOO_LARGE = "message larger than max"  # gRPC core's own words on a limit that one of the two sides has set


def failed(name: str, status: grpc.StatusCode, details: str, request: ProviderRequest) -> ProviderError:
    """A call that ended with a status.

    Args:
        name: The provider's.
        status: The plugin's, or gRPC's own where the plugin did not answer.
        details: The words that came with it.
        request: What was asked: its tokens and secrets are struck out of the words.
    """
    told = strike(details, request, longest=_LONGEST_TEXT)
    hint = ""
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        hint = ": split the class, or raise KEYFERRY_PLUGIN_MAX_MESSAGE (the plugin may have a limit of its own)"
    return ProviderError(
        f'provider "{name}": rpc error: code = {_as_go_says(status)} desc = {told}{hint}',
        code=status.name,
        reason=GRPC_PROVIDER_ERROR,
        retry_after=_RETRY_SECONDS if status.name in _PASSING and not hint else None,
    )


def refused(name: str, code: str, request: ProviderRequest) -> ProviderError:
    """An answer that carries an error code of the plugin's own, which becomes the reason.

    Args:
        name: The provider's.
        code: The plugin's.
        request: What was asked: its tokens and secrets are struck out of the code.
    """
    told = strike(code, request, longest=_LONGEST_CODE)
    return ProviderError(
        f'provider "{name}": mount request failed with provider error code {told}',
        code="UNKNOWN",
        reason=told if _REASON.fullmatch(told) else GRPC_PROVIDER_ERROR,
    )


def _as_go_says(status: grpc.StatusCode) -> str:
    """Such as ``PermissionDenied``: what people have grepped for so far."""
    if status is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(word.title() for word in status.name.split("_"))
