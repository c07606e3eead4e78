"""Keeps the Secrets of SecretSync objects: fetched as their service accounts, written as those of classes are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NoReturn

from keyferry.errors import KeyferryError
from keyferry.kube import Json, Kube, Watched, object_path
from keyferry.resources import Content
from syncer import secretsync
from syncer.asking import Asking
from syncer.classes import SYNCED
from syncer.desired import Desired, SyncRefused, build
from syncer.reporting import NORMAL, WARNING, About, Reporter
from syncer.secrets import Outcome, Secrets
from syncer.secretsync import SECRET_SYNCS, SecretSync, Stage, project_secret_sync
from syncer.view import View
from syncer.volumes import Name
from syncer.work import Work

log = logging.getLogger(__name__)

_AT_ONCE = 4
_LOOK_SECONDS = 1.0
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass
class _State:
    """What is known of one that has been worked on in this term."""

    status: Json
    known: SecretSync | None = None
    force: str = ""
    due_at: float = 0.0
    digest: str = ""


class _Failed(Exception):
    def __init__(self, error: KeyferryError | SyncRefused, stage: Stage) -> None:
        super().__init__(str(error))
        self.error = error
        self.stage = stage


@dataclass
class PodlessSync:
    """All SecretSync objects. `run` belongs into a task group.

    Attributes:
        kube: The API server.
        view: What is known of classes, whose Secrets go before.
        asking: How fetchers are asked.
        secrets: Writes them.
        reporter: Tells of it.
        interval: Seconds between two fetches, where the class names none.
        now: Unix seconds.
    """

    kube: Kube
    view: View
    asking: Asking
    secrets: Secrets
    reporter: Reporter
    interval: float
    now: Callable[[], float] = time.time
    _states: dict[Name, _State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work = Work(self._sync, at_once=_AT_ONCE)
        self.syncs: Watched[SecretSync] = Watched(self.kube, SECRET_SYNCS, project_secret_sync, changed=self._changed)

    async def run(self) -> NoReturn:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.syncs.run())
            tasks.create_task(self.work.run())
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                for name, state in self._states.items():
                    if state.due_at and self.now() >= state.due_at:
                        state.due_at = 0.0
                        self.work.add(name)
        raise AssertionError  # it never ends

    def class_changed(self, name: Name) -> None:
        """A class is another than before."""
        for sync, known in self.syncs.items():
            if (sync[0], known.class_name) == name:
                self.work.add(sync)

    def _changed(self, name: Name) -> None:
        (self.view.kept.add if self.syncs.get(*name) else self.view.kept.discard)(name)
        self.work.add(name)

    async def _sync(self, name: Name) -> None:
        known = self.syncs.get(*name)
        if known is None:
            self._states.pop(name, None)
            self.secrets.forget(*name)  # it goes with its owner
            return
        state = self._states.get(name) or await self._begin(name, known)
        try:
            desired, outcome = await self._written(name, known, state)
        except _Failed as failure:
            await self._tell_failure(name, known, state, failure)
            return
        said = secretsync.succeeded(state.status.get("conditions") or ())
        if outcome is not Outcome.SAME:
            reason = "SecretCreated" if outcome is Outcome.CREATED else "SecretRotationComplete"
            text = f"successfully {'created' if outcome is Outcome.CREATED else 'rotated'} K8s secret {name[1]}"
            self.reporter.tell(_about(name, known), NORMAL, reason, text)
            log.info("secret %s", outcome.value, extra={"namespace": name[0], "secret": name[1]})
        more: dict[str, str] = {"lastSuccessfulSyncTime": _rfc3339(self.now())}
        if desired.digest() != state.digest or not state.status.get("syncHash"):
            more["syncHash"] = await asyncio.to_thread(secretsync.sync_hash, desired, known.uid)
            state.digest = desired.digest()
        await self._say(name, known, state, said, more)
        state.known = known

    async def _begin(self, name: Name, known: SecretSync) -> _State:
        path = object_path(SECRET_SYNCS, *name)
        found = await self.kube.get(path) if path else None
        state = self._states[name] = _State((found or {}).get("status") or {})
        if not state.status.get("conditions"):
            await self._say(name, known, state, secretsync.starting())
        return state

    async def _written(self, name: Name, known: SecretSync, state: _State) -> tuple[Desired, Outcome]:
        stage = Stage.IDENTITY
        try:
            maker = self.view.maker(name)
            if maker is not None:
                raise SyncRefused(f"secret {name[1]}: class {'/'.join(maker)} makes it already: use another name")
            tokens = await self.asking.tokens(name[0], known.account)
            stage = Stage.FETCH
            forced = state.known is not None and state.known.force != known.force
            # What pods of the same account have had fetched lately is as good, unless somebody wants it now.
            oldest = self.now() - (0.0 if forced else self.interval / 2)
            content = await self.asking.content(
                name[0], known.class_name, known.account, tokens, not_before_ms=int(oldest * 1000)
            )
            state.due_at = self._due_at(content)
            stage = Stage.WRITE
            desired = build(known.wanted, {file.path: file.contents for file in content.files or ()})
            outcome = await self.secrets.write(name[0], desired, [known.owner()])
        except (KeyferryError, SyncRefused) as error:
            raise _Failed(error, stage) from None
        if outcome is not Outcome.SAME:
            SYNCED.labels(content.provider, "linux").inc()
        return desired, outcome

    def _due_at(self, content: Content) -> float:
        """When it is to be fetched again, Unix seconds; 0 for never."""
        rotation = self.interval if content.rotation_ms is None else content.rotation_ms / 1000
        times = ([self.now() + rotation] if rotation else []) + (
            [content.refresh_by_ms / 1000] if content.refresh_by_ms else []
        )
        return max(min(times), self.now() + _LOOK_SECONDS) if times else 0.0

    async def _tell_failure(self, name: Name, known: SecretSync, state: _State, failure: _Failed) -> None:
        """Say what is wrong in status and Event.

        Raises:
            KeyferryError: another try may help, now or later.
        """
        error = failure.error
        text = error.message if isinstance(error, KeyferryError) else str(error)
        before = state.status.get("conditions") or ()
        created = secretsync.is_created(before)
        log.warning("secret not synced: %s", text, extra={"secret_sync": "/".join(name)})
        event = "SecretRotationFailed" if created else "FailedToCreateSecret"
        self.reporter.tell(_about(name, known), WARNING, event, text)
        reason = secretsync.reason_of(error, failure.stage)
        await self._say(name, known, state, secretsync.failed(before, reason, text))
        if isinstance(error, KeyferryError):
            raise error
        state.due_at = state.due_at or self.now() + self.interval
        state.known = known

    async def _say(
        self,
        name: Name,
        known: SecretSync,
        state: _State,
        said: Mapping[str, tuple[str, str, str]],
        more: Mapping[str, str] = _NOTHING,
    ) -> None:
        before = state.status.get("conditions") or []
        conditions = secretsync.merged(before, said, generation=known.generation, now=_rfc3339(self.now()))
        if conditions == before and not more:
            return
        status, path = {"conditions": conditions, **more}, object_path(SECRET_SYNCS, *name)
        if path is None:
            return
        kind = "application/merge-patch+json"
        if await self.kube.call("PATCH", f"{path}/status", body={"status": status}, content_type=kind) is not None:
            state.status = {**state.status, **status}


def _about(name: Name, known: SecretSync) -> About:
    return About(secretsync.GROUP, "SecretSync", *name, known.uid)


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
