"""google.cloud.secretmanager.v1: secrets and their versions, as far as readers and those who fill it need them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import grpc
from google.cloud.secretmanager_v1.types import resources, service
from google.iam.v1 import iam_policy_pb2, policy_pb2  # type: ignore[import-untyped]  # no stubs published
from google.protobuf.empty_pb2 import Empty

from keyferry.testing.gcp.listing import listed
from keyferry.testing.gcp.policies import ROLES, Policies
from keyferry.testing.gcp.rpc import Caller, Method, Refused

NAME = "google.cloud.secretmanager.v1.SecretManagerService"
State = resources.SecretVersion.State
Code = grpc.StatusCode

_LARGEST = 64 * 1024  # bytes of a payload (quotas)


@dataclass
class Version:
    """One version of a secret."""

    name: str
    data: bytes = field(repr=False)
    state: Any = State.ENABLED

    def message(self) -> resources.SecretVersion:
        """As the API describes it."""
        return resources.SecretVersion(name=self.name, state=self.state)


@dataclass
class Secret:
    """A secret: its versions, oldest first, other names for some of them, and labels."""

    name: str
    versions: list[Version] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def message(self) -> resources.Secret:
        """As the API describes it."""
        return resources.Secret(name=self.name, version_aliases=self.aliases, labels=self.labels)


class SecretManager:
    """All secrets.

    Args:
        policies: For the numbers of projects, and policies set through the API.

    Attributes:
        largest_page: Secrets that one page of a listing has at most, whatever is asked for.
    """

    def __init__(self, policies: Policies) -> None:
        self.largest_page = 25_000
        self._policies = policies
        self._secrets: dict[str, Secret] = {}

    def add(self, secret: str, data: bytes) -> str:
        """Add a version, and the secret itself if there is none yet; returns the version's full name.

        Args:
            secret: ``projects/…/secrets/…``, with a location or without.
            data: The payload.
        """
        name = self._policies.resolve(secret)
        return self._add(self._secrets.setdefault(name, Secret(name)), data).name

    def set_state(self, version: str, state: Any) -> None:
        """Disable, enable or destroy a version."""
        found = self.version(version)
        if found.state == State.DESTROYED:
            raise Refused(Code.FAILED_PRECONDITION, f"Secret Version [{found.name}] is in DESTROYED state.")
        found.state = state
        found.data = b"" if state == State.DESTROYED else found.data

    def read(self, name: str) -> Version:
        """The version of this name if it can be accessed.

        Raises:
            Refused: there is none, or it is not enabled.
        """
        found = self.version(name)
        if found.state != State.ENABLED:
            raise Refused(Code.FAILED_PRECONDITION, f"Secret Version [{found.name}] is in {found.state.name} state.")
        return found

    def version(self, name: str) -> Version:
        """The version of this name, whatever its state; ``latest`` is the newest one, also if it is disabled.

        Raises:
            Refused: there is none.
        """
        secret, _, key = name.rpartition("/versions/")
        found = self.secret(secret)
        number = len(found.versions) if key == "latest" else found.aliases.get(key, int(key) if key.isdecimal() else 0)
        if not found.versions:
            raise Refused(Code.NOT_FOUND, f"Secret [{found.name}] not found or has no versions.")
        if not 0 < number <= len(found.versions):
            raise Refused(Code.NOT_FOUND, f"Secret Version [{found.name}/versions/{key}] not found.")
        return found.versions[number - 1]

    def secret(self, name: str) -> Secret:
        """The secret of this name.

        Raises:
            Refused: there is none.
        """
        name = self._policies.resolve(name)
        if name not in self._secrets:
            raise Refused(Code.NOT_FOUND, f"Secret [{name}] not found.")
        return self._secrets[name]

    def methods(self) -> Mapping[str, Method]:
        """What is served, by name."""
        get = service.GetSecretVersionRequest
        return {
            "AccessSecretVersion": Method(service.AccessSecretVersionRequest.deserialize, self._access),
            "CreateSecret": Method(service.CreateSecretRequest.deserialize, self._create),
            "ListSecrets": Method(service.ListSecretsRequest.deserialize, self._list),
            "GetSecret": Method(service.GetSecretRequest.deserialize, self._get),
            "UpdateSecret": Method(service.UpdateSecretRequest.deserialize, self._update),
            "DeleteSecret": Method(service.DeleteSecretRequest.deserialize, self._delete),
            "AddSecretVersion": Method(service.AddSecretVersionRequest.deserialize, self._add_version),
            "GetSecretVersion": Method(get.deserialize, self._get_version),
            "EnableSecretVersion": Method(service.EnableSecretVersionRequest.deserialize, self._turn(State.ENABLED)),
            "DisableSecretVersion": Method(service.DisableSecretVersionRequest.deserialize, self._turn(State.DISABLED)),
            "DestroySecretVersion": Method(
                service.DestroySecretVersionRequest.deserialize, self._turn(State.DESTROYED)
            ),
            "SetIamPolicy": Method(iam_policy_pb2.SetIamPolicyRequest.FromString, self._set_policy),
            "GetIamPolicy": Method(iam_policy_pb2.GetIamPolicyRequest.FromString, self._get_policy),
        }

    def _access(self, asked: Any, caller: Caller) -> service.AccessSecretVersionResponse:
        caller.need("secretmanager.versions.access", asked.name.rpartition("/versions/")[0], asked.name)
        found = self.read(asked.name)
        payload = resources.SecretPayload(data=found.data, data_crc32c=google_crc32c.value(found.data))
        return service.AccessSecretVersionResponse(name=found.name, payload=payload)

    def _create(self, asked: Any, caller: Caller) -> resources.Secret:
        caller.need("secretmanager.secrets.create", asked.parent)
        name = self._policies.resolve(f"{asked.parent}/secrets/{asked.secret_id}")
        if name in self._secrets:
            raise Refused(Code.ALREADY_EXISTS, f"Secret [{name}] already exists.")
        if "/locations/" not in name and "replication" not in asked.secret:
            raise Refused(Code.INVALID_ARGUMENT, "secret.replication is required for a global secret.")
        self._secrets[name] = Secret(name, [], dict(asked.secret.version_aliases), dict(asked.secret.labels))
        return self._secrets[name].message()

    def _list(self, asked: Any, caller: Caller) -> service.ListSecretsResponse:
        caller.need("secretmanager.secrets.list", asked.parent)
        beginning = f"{self._policies.resolve(asked.parent)}/secrets/"
        newest_first = [secret.message() for name, secret in reversed(self._secrets.items()) if beginning in name]
        return listed(newest_first, asked, self.largest_page)

    def _get(self, asked: Any, caller: Caller) -> resources.Secret:
        caller.need("secretmanager.secrets.get", asked.name)
        return self.secret(asked.name).message()

    def _update(self, asked: Any, caller: Caller) -> resources.Secret:
        caller.need("secretmanager.secrets.update", asked.secret.name)
        found = self.secret(asked.secret.name)
        fields = set(asked.update_mask.paths)
        if not fields or fields - {"version_aliases", "labels"}:
            raise Refused(Code.INVALID_ARGUMENT, "Only version_aliases and labels can be updated here.")
        if "version_aliases" in fields:
            found.aliases = dict(asked.secret.version_aliases)
        if "labels" in fields:
            found.labels = dict(asked.secret.labels)
        return found.message()

    def _delete(self, asked: Any, caller: Caller) -> Empty:
        caller.need("secretmanager.secrets.delete", asked.name)
        del self._secrets[self.secret(asked.name).name]
        self._policies.forget(asked.name)
        return Empty()

    def _add_version(self, asked: Any, caller: Caller) -> resources.SecretVersion:
        caller.need("secretmanager.versions.add", asked.parent)
        data, found = asked.payload.data, self.secret(asked.parent)
        if "data_crc32c" in asked.payload and asked.payload.data_crc32c != google_crc32c.value(data):
            raise Refused(Code.INVALID_ARGUMENT, "The payload does not match its checksum.")
        if len(data) > _LARGEST:
            raise Refused(Code.INVALID_ARGUMENT, "The payload is larger than 65536 bytes.")
        return self._add(found, data).message()

    def _get_version(self, asked: Any, caller: Caller) -> resources.SecretVersion:
        caller.need("secretmanager.versions.get", asked.name.rpartition("/versions/")[0], asked.name)
        return self.version(asked.name).message()

    def _turn(self, state: Any) -> Callable[[Any, Caller], resources.SecretVersion]:
        verb = {State.ENABLED: "enable", State.DISABLED: "disable", State.DESTROYED: "destroy"}[state]

        def work(asked: Any, caller: Caller) -> resources.SecretVersion:
            caller.need(f"secretmanager.versions.{verb}", asked.name.rpartition("/versions/")[0], asked.name)
            self.set_state(asked.name, state)
            return self.version(asked.name).message()

        return work

    def _set_policy(self, asked: Any, caller: Caller) -> Any:
        caller.need("secretmanager.secrets.setIamPolicy", asked.resource)
        if unknown := {binding.role for binding in asked.policy.bindings} - set(ROLES):
            raise Refused(
                Code.INVALID_ARGUMENT, f"Role {', '.join(sorted(unknown))} is not supported for this resource."
            )
        self._policies.forget(asked.resource)
        for binding in asked.policy.bindings:
            for member in binding.members:
                self._policies.allow(member, asked.resource, binding.role)
        return asked.policy

    def _get_policy(self, asked: Any, caller: Caller) -> Any:
        caller.need("secretmanager.secrets.getIamPolicy", asked.resource)
        bindings = self._policies.bindings(asked.resource).items()
        return policy_pb2.Policy(
            bindings=[policy_pb2.Binding(role=role, members=sorted(members)) for role, members in bindings]
        )

    def _add(self, secret: Secret, data: bytes) -> Version:
        version = Version(f"{secret.name}/versions/{len(secret.versions) + 1}", data)
        secret.versions.append(version)
        return version
