"""google.cloud.parametermanager.v1: parameters, and their rendering with the secrets that they refer to."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import yaml
from google.cloud.parametermanager_v1.types import service

from keyferry.testing.gcp.policies import Policies
from keyferry.testing.gcp.rpc import Caller, Method, Refused
from keyferry.testing.gcp.secretmanager import SecretManager

NAME = "google.cloud.parametermanager.v1.ParameterManager"
Code = grpc.StatusCode
Format = service.ParameterFormat

_REFERENCE = re.compile(r"__REF__\(\"?//secretmanager\.googleapis\.com/([^)\"]+)\"?\)")
_LARGEST = 1024 * 1024  # bytes of a payload (quotas)


@dataclass
class Parameter:
    """A parameter; its `principal` is what secrets must let in for it to be rendered."""

    name: str
    format_: Any
    principal: str
    versions: dict[str, "ParameterVersion"] = field(default_factory=dict)

    def message(self) -> service.Parameter:
        """As the API describes it."""
        member = {"iam_policy_uid_principal": self.principal}
        return service.Parameter(name=self.name, format_=self.format_, policy_member=member)


@dataclass
class ParameterVersion:
    """One version of a parameter."""

    name: str
    data: bytes
    disabled: bool = False

    def message(self) -> service.ParameterVersion:
        """As the API describes it."""
        return service.ParameterVersion(name=self.name, disabled=self.disabled, payload={"data": self.data})


class ParameterManager:
    """All parameters.

    Args:
        policies: For the numbers of projects, and who may read what.
        secrets: That parameters refer to.
    """

    def __init__(self, policies: Policies, secrets: SecretManager) -> None:
        self._policies = policies
        self._secrets = secrets
        self._parameters: dict[str, Parameter] = {}

    def add(self, parameter: str, version: str, data: bytes, *, format_: str = "UNFORMATTED") -> str:
        """Add a version, and the parameter itself if there is none yet; returns the parameter's principal.

        Args:
            parameter: ``projects/…/locations/…/parameters/…``.
            version: Its id, which the user chooses.
            data: The payload.
            format_: UNFORMATTED, JSON or YAML; only the latter two are rendered.
        """
        found = self._parameters.get(self._policies.resolve(parameter)) or self._new(
            parameter, getattr(Format, format_)
        )
        self._put(found, version, data)
        return found.principal

    def version(self, name: str) -> ParameterVersion:
        """The version of this name.

        Raises:
            Refused: there is none.
        """
        parameter, _, version = name.rpartition("/versions/")
        found = self._parameter(parameter)
        if version not in found.versions:
            raise Refused(Code.NOT_FOUND, f"Resource '{found.name}/versions/{version}' was not found")
        return found.versions[version]

    def methods(self) -> Mapping[str, Method]:
        """What is served, by name."""
        return {
            "CreateParameter": Method(service.CreateParameterRequest.deserialize, self._create),
            "GetParameter": Method(service.GetParameterRequest.deserialize, self._get),
            "CreateParameterVersion": Method(service.CreateParameterVersionRequest.deserialize, self._create_version),
            "UpdateParameterVersion": Method(service.UpdateParameterVersionRequest.deserialize, self._update_version),
            "GetParameterVersion": Method(service.GetParameterVersionRequest.deserialize, self._get_version),
            "RenderParameterVersion": Method(service.RenderParameterVersionRequest.deserialize, self._render),
        }

    def _create(self, asked: Any, caller: Caller) -> service.Parameter:
        caller.need("parametermanager.parameters.create", asked.parent)
        name = f"{asked.parent}/parameters/{asked.parameter_id}"
        if self._policies.resolve(name) in self._parameters:
            raise Refused(Code.ALREADY_EXISTS, f"Resource '{name}' already exists")
        return self._new(name, asked.parameter.format_ or Format.UNFORMATTED).message()

    def _get(self, asked: Any, caller: Caller) -> service.Parameter:
        caller.need("parametermanager.parameters.get", asked.name)
        return self._parameter(asked.name).message()

    def _create_version(self, asked: Any, caller: Caller) -> service.ParameterVersion:
        caller.need("parametermanager.parameterVersions.create", asked.parent)
        found = self._parameter(asked.parent)
        return self._put(found, asked.parameter_version_id, asked.parameter_version.payload.data).message()

    def _update_version(self, asked: Any, caller: Caller) -> service.ParameterVersion:
        name = asked.parameter_version.name
        caller.need("parametermanager.parameterVersions.update", name.rpartition("/versions/")[0])
        found = self.version(name)
        found.disabled = asked.parameter_version.disabled
        return found.message()

    def _get_version(self, asked: Any, caller: Caller) -> service.ParameterVersion:
        caller.need("parametermanager.parameterVersions.get", asked.name.rpartition("/versions/")[0], asked.name)
        return self.version(asked.name).message()

    def _render(self, asked: Any, caller: Caller) -> service.RenderParameterVersionResponse:
        parameter = asked.name.rpartition("/versions/")[0]
        caller.need("parametermanager.parameterVersions.render", parameter, asked.name)
        found = self.version(asked.name)
        if found.disabled:
            raise Refused(Code.FAILED_PRECONDITION, f"Parameter Version [{found.name}] is in DISABLED state.")
        rendered = self._rendered(self._parameter(parameter), found.data)
        return service.RenderParameterVersionResponse(
            parameter_version=found.name, payload={"data": found.data}, rendered_payload=rendered
        )

    def _rendered(self, parameter: Parameter, data: bytes) -> bytes:
        if parameter.format_ == Format.UNFORMATTED:
            return data
        reader = Caller(frozenset({parameter.principal}), self._policies)

        def value(match: re.Match[str]) -> str:
            reader.need("secretmanager.versions.access", match[1].rpartition("/versions/")[0], match[1])
            text = self._secrets.read(match[1]).data.decode()
            return json.dumps(text)[1:-1] if parameter.format_ == Format.JSON else text

        return _REFERENCE.sub(value, data.decode()).encode()

    def _new(self, name: str, format_: Any) -> Parameter:
        name = self._policies.resolve(name)
        project, location = name.split("/")[1], name.split("/")[3]
        principal = (
            f"principal://parametermanager.googleapis.com/projects/{project}/uid/locations/{location}/"
            f"parameters/{uuid.uuid4()}"
        )
        self._parameters[name] = Parameter(name, format_, principal)
        return self._parameters[name]

    def _put(self, parameter: Parameter, version: str, data: bytes) -> ParameterVersion:
        if version in parameter.versions:
            raise Refused(Code.ALREADY_EXISTS, f"Resource '{parameter.name}/versions/{version}' already exists")
        if len(data) > _LARGEST or not _is(parameter.format_, data):
            raise Refused(Code.INVALID_ARGUMENT, "The payload is too large, or not of the parameter's format.")
        found = parameter.versions[version] = ParameterVersion(f"{parameter.name}/versions/{version}", data)
        return found

    def _parameter(self, name: str) -> Parameter:
        name = self._policies.resolve(name)
        if name not in self._parameters:
            raise Refused(Code.NOT_FOUND, f"Resource '{name}' was not found")
        return self._parameters[name]


def _is(format_: Any, data: bytes) -> bool:
    try:
        if format_ == Format.JSON:
            json.loads(data)
        elif format_ == Format.YAML:
            yaml.safe_load(data)
    except (ValueError, yaml.YAMLError):
        return False
    return True
