"""IAM: which member has which role on which resource, and what that permits."""

import re
import zlib
from collections import defaultdict

ROLES = {
    "roles/owner": ("",),
    "roles/secretmanager.admin": ("secretmanager.",),
    "roles/secretmanager.secretAccessor": ("secretmanager.versions.access",),
    "roles/secretmanager.viewer": (
        "secretmanager.secrets.get",
        "secretmanager.secrets.list",
        "secretmanager.versions.get",
        "secretmanager.versions.list",
    ),
    "roles/parametermanager.admin": ("parametermanager.",),
    "roles/parametermanager.parameterAccessor": (
        "parametermanager.parameterVersions.render",
        "parametermanager.parameterVersions.get",
    ),
    "roles/iam.workloadIdentityUser": ("iam.serviceAccounts.getAccessToken",),
    "roles/iam.serviceAccountTokenCreator": ("iam.serviceAccounts.getAccessToken",),
}
"""What permissions begin with that a role gives."""

_PROJECT = re.compile(r"projects/([^/]+)")
_FIRST_NUMBER = 100_000_000_000


class Policies:
    """All bindings, and the numbers of projects, which answers name them by."""

    def __init__(self) -> None:
        self._roles: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def number(self, project: str) -> str:
        """A project's number; the same for the same id."""
        return project if project.isdecimal() else str(_FIRST_NUMBER + zlib.crc32(project.encode()))

    def resolve(self, name: str) -> str:
        """A resource's name with the project's number in place of its id."""
        return _PROJECT.sub(lambda match: f"projects/{self.number(match[1])}", name, count=1)

    def allow(self, member: str, resource: str, role: str) -> None:
        """Add a binding.

        Args:
            member: Such as ``serviceAccount:app@demo.iam.gserviceaccount.com`` or ``principal://…``.
            resource: ``projects/…``, a secret's or parameter's name, or ``serviceAccounts/E-MAIL``.
            role: One of `ROLES`.
        """
        if role not in ROLES:
            raise ValueError(f"role {role} is not known here: see keyferry.testing.gcp.policies.ROLES")
        self._roles[self.resolve(resource)][role].add(member)

    def forget(self, resource: str) -> None:
        """Remove all bindings of one resource, not those of its project."""
        self._roles.pop(self.resolve(resource), None)

    def bindings(self, resource: str) -> dict[str, set[str]]:
        """Role to members, of this resource itself."""
        return dict(self._roles[self.resolve(resource)])

    def permit(self, members: frozenset[str], permission: str, resource: str) -> bool:
        """Whether one of the members has a role with this permission, on the resource or its project."""
        name = self.resolve(resource)
        project = _PROJECT.match(name)
        for place in {name, project[0] if project else name}:
            for role, holders in self._roles[place].items():
                if members & holders and permission.startswith(ROLES[role]):
                    return True
        return False
