"""The syncer's view of the cluster: volumes as nodes tell them, classes and pods as the API server does.

What a node tells is believed of the pods that run on it, and of the classes that those mount, and no further: the rest
of a volume's event decides nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from keyferry.events import VolumePublished
from keyferry.kube import Kube, Watched
from syncer.cluster import CLASSES, PODS, MountingPod, Owner, SyncClass, project_class, project_pod
from syncer.volumes import Name, Volumes, pod_of

M = TypeVar("M", bound=Hashable)


class Groups(Generic[M]):
    """Who is in which groups."""

    def __init__(self) -> None:
        self._groups: dict[M, frozenset[Name]] = {}
        self._members: dict[Name, set[M]] = defaultdict(set)

    def put(self, member: M, groups: Iterable[Name]) -> frozenset[Name]:
        """Have a member be in these groups; gives those that it is, or was, in."""
        now, before = frozenset(groups), self._groups.pop(member, frozenset())
        for group in before - now:
            self._members[group].discard(member)
            if not self._members[group]:
                del self._members[group]
        for group in now:
            self._members[group].add(member)
        if now:
            self._groups[member] = now
        return now | before

    def of(self, group: Name) -> set[M]:
        """The members of a group, as of now."""
        return set(self._members.get(group, ()))


class View:
    """What is known.

    Args:
        kube: The API server.
        class_touched: Told of each class whose Secrets may be others than before.
        pod_touched: Told of each pod whose state is another than before.
    """

    def __init__(
        self, kube: Kube, *, class_touched: Callable[[Name], None], pod_touched: Callable[[Name], None]
    ) -> None:
        self.volumes = Volumes()
        self.kept: set[Name] = set()  # Secrets that others than classes ask for
        self.classes: Watched[SyncClass] = Watched(kube, CLASSES, project_class, changed=self._class_changed)
        self.pods: Watched[MountingPod] = Watched(kube, PODS, project_pod, changed=self._pod_changed)
        self._class_touched, self._pod_touched = class_touched, pod_touched
        self._mounting: Groups[Name] = Groups()  # pods, by class
        self._wanting: Groups[Name] = Groups()  # classes, by Secret

    def missing(self) -> list[str]:
        """What it waits for, in words."""
        checks = {
            "SecretProviderClasses are not listed": self.classes.synced,
            "pods are not listed": self.pods.synced,
        }
        return [text for text, holds in checks.items() if not holds]

    def pod_of(self, volume: VolumePublished) -> MountingPod | None:
        """The pod of a volume, if it is as the volume's node says: there, on that node, and mounting that class."""
        pod = self.pods.get(*pod_of(volume))
        if pod is None or (pod.uid, pod.node) != (volume.pod.uid, volume.node):
            return None
        return pod if volume.secret_provider_class in pod.classes else None

    def living(self, name: Name) -> list[VolumePublished]:
        """The volumes of a class that somebody uses, the most recently fetched first."""
        return [each for each in self.volumes.of_class(name) if (pod := self.pod_of(each)) and pod.living]

    def owners(self, name: Name) -> list[Owner]:
        """What made the pods that mount a class.

        By what the API server says of pods, not by what nodes say of volumes: an owner that is left out because a word
        was lost could cost the others their Secret.
        """
        pods = (self.pods.get(*pod) for pod in self._mounting.of(name))
        return list({owner: None for pod in pods if pod and pod.living for owner in pod.owners})

    def maker(self, secret: Name) -> Name | None:
        """Which class's Secret it is, of those that name it: of those with pods the oldest."""
        found = []
        for name in self._wanting.of(secret):
            known = self.classes.get(*name)
            if known and self.owners(name):
                found.append((known.created_at, name))
        return min(found)[1] if found else None

    def wanted(self, secret: Name) -> bool:
        """Whether anybody asks for this Secret."""
        return secret in self.kept or bool(self._wanting.of(secret))

    def _class_changed(self, name: Name) -> None:
        known = self.classes.get(*name)
        named = [(name[0], each.name) for each in known.objects if each.name] if known else ()
        rivals = (self._wanting.of(secret) for secret in self._wanting.put(name, named))
        for touched in {name}.union(*rivals):
            self._class_touched(touched)

    def _pod_changed(self, name: Name) -> None:
        pod = self.pods.get(*name)
        for mounted in self._mounting.put(name, [(name[0], each) for each in pod.classes] if pod else ()):
            self._class_touched(mounted)
            # Whoever names the same Secret may have it now, or no longer.
            known = self.classes.get(*mounted)
            for wanted in known.objects if known else ():
                for rival in self._wanting.of((name[0], wanted.name)) - {mounted}:
                    self._class_touched(rival)
        self._pod_touched(name)
