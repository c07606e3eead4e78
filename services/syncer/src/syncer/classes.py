"""Keeps the Secrets of one class as the class and its content have them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prometheus_client import Counter

from keyferry.bus import Bus
from keyferry.changes import RefreshRequested
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, UntrustedMessage
from keyferry.events import VolumePublished
from keyferry.subjects import change_subject
from syncer.cluster import SyncClass
from syncer.contents import Contents, Handed
from syncer.desired import Desired, SecretObject, SyncRefused, build, taken_twice
from syncer.reporting import NORMAL, WARNING, About, Reporter
from syncer.secrets import Outcome, Secrets
from syncer.view import View
from syncer.volumes import Name

log = logging.getLogger(__name__)
security = logging.getLogger("keyferry.security")

SYNCED = Counter("sync_k8s_secret_total", "Kubernetes Secrets written.", ["provider", "os_type"])  # upstream's name
REFUSED = Counter("keyferry_sync_refused_total", "Secrets that cannot be made as their class has them.")

_GROUP = "secrets-store.csi.x-k8s.io/v1"
_PERHAPS_OTHERS = (
    ", such as the chart's, if there is a secret of this name that is not Keyferry's: then use another secretName"
)
_MISSING_SECONDS = 20.0
_TELL_AFTER = 2  # misses: a content that comes with the mount is some milliseconds behind it


@dataclass(frozen=True, slots=True)
class _Turn:
    """A class that is worked on.

    Attributes:
        name: Namespace and name.
        known: As the API server has it.
        living: The volumes that somebody uses, the most recently fetched first; one at least.
        made: The Secrets that it asked for before.
    """

    name: Name
    known: SyncClass
    living: Sequence[VolumePublished]
    made: frozenset[str]

    def __str__(self) -> str:
        return "/".join(self.name)


@dataclass
class ClassSync:
    """The work of a class; its call is for `syncer.work.Work`.

    Attributes:
        view: What is known of the cluster.
        bus: Where the rotator is told of forced refreshes.
        contents: What fetchers have handed over.
        secrets: Writes them; None where Secrets are not to be written.
        reporter: Tells of it.
        made_changed: Told of each class whose `made` is another.
        secret_changed: Told of each Secret of a class that holds others than before.
        made: By class, the Secrets that it has asked for before: those it asks for no longer are removed.
        wishes: Classes whose secrets somebody wants fetched now.
    """

    view: View
    bus: Bus
    contents: Contents
    secrets: Secrets | None
    reporter: Reporter
    made_changed: Callable[[Name], None]
    secret_changed: Callable[[Name, str], None]
    made: dict[Name, frozenset[str]] = field(default_factory=dict)
    wishes: set[Name] = field(default_factory=set)
    _newest: dict[Name, tuple[str, int]] = field(default_factory=dict)
    _missed: dict[Name, int] = field(default_factory=dict)

    async def __call__(self, name: Name) -> None:
        """Do what there is to do for a class.

        Raises:
            KeyferryError: not all of it can be done now, or without somebody's help.
        """
        if name in self.wishes:
            wish = RefreshRequested(*name, int(time.time() * 1000))
            await self.bus.publish(change_subject("kubernetes"), wish.to_bytes(), destination="keyferry.change")
            self.wishes.discard(name)
        if self.secrets is None:
            return
        known, living = self.view.classes.get(*name), self.view.living(name)
        if known is None or not living:
            self._forget(self.secrets, name)  # what is there goes with its owners
            return
        turn = _Turn(name, known, living, self.made.get(name, frozenset()))
        await self._drop(self.secrets, turn)
        if known.objects:
            await self._write_all(self.secrets, turn)

    def _forget(self, secrets: Secrets, name: Name) -> None:
        self._newest.pop(name, None)
        self._missed.pop(name, None)
        for secret in self.made.get(name, frozenset()):
            if self.view.maker((name[0], secret)) in (None, name):
                secrets.forget(name[0], secret)
        if self.view.classes.get(*name) is None and not self.view.volumes.of_class(name):
            self.made.pop(name, None)  # not before: a Deployment that is scaled to zero comes back

    async def _drop(self, secrets: Secrets, turn: _Turn) -> None:
        """Remove Secrets that the class has asked for and asks for no longer."""
        namespace = turn.name[0]
        wanted = frozenset(each.name for each in turn.known.objects if each.name)
        for dropped in turn.made - wanted:
            if not self.view.wanted((namespace, dropped)) and await secrets.remove(namespace, dropped):
                log.info("secret removed", extra={"namespace": namespace, "secret": dropped})
                text = f"removed K8s secret {dropped}, which secretObjects does not name any more"
                self._tell(turn, NORMAL, "SecretRemoved", text, pods=False)
        if turn.made != wanted:
            self.made[turn.name] = wanted
            self.made_changed(turn.name)

    async def _write_all(self, secrets: Secrets, turn: _Turn) -> None:
        handed = await self._content(turn)
        if handed is None:
            self._check_missing(turn)
            return
        self._missed.pop(turn.name, None)
        twice, failed = taken_twice(turn.known.objects), list[KeyferryError]()
        for wanted in turn.known.objects:
            failure = "FailedToCreateSecret"
            try:
                if wanted.place in twice:
                    raise SyncRefused(twice[wanted.place])
                self._check_maker(turn.name, wanted)
                failure = "SecretRotationFailed" if secrets.knows(turn.name[0], wanted.name) else failure
                await self._write(secrets, turn, build(wanted, handed.files))
            except SyncRefused as refused:
                REFUSED.inc()
                log.warning("secret refused: %s", refused, extra={"class": str(turn)})
                self._tell(turn, WARNING, failure, str(refused))
            except AccessDenied as error:
                self._tell(turn, WARNING, failure, f"secret {wanted.name}: {error.message}{_PERHAPS_OTHERS}")
                failed.append(error)
            except KeyferryError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    async def _content(self, turn: _Turn) -> Handed | None:
        """The content of the class, the newest that is there.

        Pods with several service accounts may have as many contents: the one that was used before is used again, so
        that a Secret does not go to and fro between them.

        Raises:
            UntrustedMessage: there is nothing but what is forged, or sealed to keys that are not ours.
        """
        used, newest = self._newest.get(turn.name, ("", 0))
        keys = dict.fromkeys(each.content_key for each in turn.living)
        refused: UntrustedMessage | None = None
        for content_key in sorted(keys, key=lambda key: key != used):
            try:
                handed = await self.contents.find(turn.name[0], content_key)
            except UntrustedMessage as error:
                security.warning("a content is not to be trusted: %s", error.message, extra={"class": str(turn)})
                refused = error
                continue
            # Of two fetchers, the one that fetched earlier may have handed over later.
            if handed and not (content_key == used and handed.fetched_at_ms < newest):
                self._newest[turn.name] = (content_key, handed.fetched_at_ms)
                return handed
        if refused:
            raise refused
        return None

    def _check_missing(self, turn: _Turn) -> None:
        """Make sure that somebody knows why there is no content on the bus.

        Raises:
            ProviderUnavailable: it may come; whether or not this is tried again, it is taken up when it does.
        """
        # A class that is never fetched again has its content there for an hour. What was made of it stays as it is.
        if turn.living[0].rotation_ms == 0 and {each.name for each in turn.known.objects} <= turn.made:
            return
        misses = self._missed[turn.name] = self._missed.get(turn.name, 0) + 1
        if misses >= _TELL_AFTER:
            text = (
                "the secrets of this class have not come from the fetchers yet: they come with the next mount or "
                "refresh; annotate the class with keyferry.io/refresh-requested-at=<time> to have them now"
            )
            self._tell(turn, WARNING, "FailedToCreateSecret", text)
        raise ProviderUnavailable(f"the content of class {turn} is not on the bus yet", retry_after=_MISSING_SECONDS)

    def _check_maker(self, name: Name, wanted: SecretObject) -> None:
        maker = self.view.maker((name[0], wanted.name)) if wanted.name else None
        if maker not in (None, name):
            raise SyncRefused(
                f"secret {wanted.name}: class {'/'.join(maker or ())} makes it already: use another secretName"
            )

    async def _write(self, secrets: Secrets, turn: _Turn, desired: Desired) -> None:
        # Owners as of now: others may have come and gone while the content was asked for.
        outcome = await secrets.write(turn.name[0], desired, self.view.owners(turn.name))
        if outcome is Outcome.SAME:
            return
        SYNCED.labels(turn.living[0].provider, "linux").inc()
        log.info("secret %s", outcome.value, extra={"namespace": turn.name[0], "secret": desired.name})
        if outcome is Outcome.CREATED:
            self._tell(turn, NORMAL, "SecretCreated", f"successfully created K8s secret {desired.name}")
        else:
            self._tell(turn, NORMAL, "SecretRotationComplete", f"successfully rotated K8s secret {desired.name}")
            self.secret_changed(turn.name, desired.name)

    def _tell(self, turn: _Turn, kind: str, reason: str, text: str, *, pods: bool = True) -> None:
        self.reporter.tell(About(_GROUP, "SecretProviderClass", *turn.name, turn.known.uid), kind, reason, text)
        if pods:
            self.reporter.tell_pods(turn.living, kind, reason, text)
