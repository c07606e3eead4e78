"""The calls of Google's two services that the provider makes, in the SDK's own messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.cloud.parametermanager_v1.types import service as parameters
from google.cloud.secretmanager_v1.types import resources
from google.cloud.secretmanager_v1.types import service as secrets

_SECRETS = "/google.cloud.secretmanager.v1.SecretManagerService"
_PARAMETERS = "/google.cloud.parametermanager.v1.ParameterManager"


@dataclass(frozen=True, slots=True)
class Method:
    """One of them.

    Attributes:
        path: Of the call.
        key: Field of the request in which the resource's name stands; Google routes by it.
        request: The message's class, without the SDK's wrapper around it.
        response: That of the answer.
    """

    path: str
    key: str
    request: Any = field(repr=False, compare=False)
    response: Any = field(repr=False, compare=False)


ACCESS = Method(
    f"{_SECRETS}/AccessSecretVersion",
    "name",
    secrets.AccessSecretVersionRequest.pb(),
    secrets.AccessSecretVersionResponse.pb(),
)
VERSION = Method(
    f"{_SECRETS}/GetSecretVersion", "name", secrets.GetSecretVersionRequest.pb(), resources.SecretVersion.pb()
)
LIST = Method(f"{_SECRETS}/ListSecrets", "parent", secrets.ListSecretsRequest.pb(), secrets.ListSecretsResponse.pb())
RENDER = Method(
    f"{_PARAMETERS}/RenderParameterVersion",
    "name",
    parameters.RenderParameterVersionRequest.pb(),
    parameters.RenderParameterVersionResponse.pb(),
)
METHODS = (ACCESS, VERSION, LIST, RENDER)
ENABLED = resources.SecretVersion.State.ENABLED
