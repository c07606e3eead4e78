"""Reads all objects of a class that one service of one region holds, selections included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fetcher.provider import Secret
from fetcher.providers.aws import secretsmanager, selecting, ssm
from fetcher.providers.aws.access import CALLS_AT_ONCE, Access
from fetcher.providers.aws.filenames import selected_file
from fetcher.providers.aws.values import Found, NoValue, Value
from fetcher.providers.aws.wanted import SSM, Object, Parameters, Question, Wanted
from fetcher.together import all_of

Held = Mapping[str, tuple[Secret, ...]]


@dataclass(frozen=True, slots=True)
class Read:
    """One object with a name, and what AWS gave for it."""

    object: Object
    found: Found


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads from one region.

    Attributes:
        access: To it.
        parameters: The class.
        region: Which of the class's regions it is: 0 or 1.
        held: What the last fetch gave, by object id.
        denied: Remembered from one fetch to the next.
    """

    access: Access
    parameters: Parameters
    region: int
    held: Held
    denied: secretsmanager.Denied

    async def read(self, service: str) -> dict[str, list[Read]]:
        """What the entries of one service became, by their places in the class; nothing for an empty selection.

        Raises:
            KeyferryError: at least one could not be read; names all that could not for the same reason.
        """
        entries = [each for each in self.parameters.objects if each.service == service]
        resolved = await all_of((self._resolved(each) for each in entries), at_once=CALLS_AT_ONCE)
        unread = [read.object for reads in resolved for read in reads if read.found is NoValue.UNREAD]
        questions = self._questions(unread)
        if service == SSM:
            found = await ssm.read(self.access, questions)
        else:
            found = await secretsmanager.read(self.access, questions, self.denied)
        return {
            entry.place: list(_complete(reads, found, self.region))
            for entry, reads in zip(entries, resolved, strict=True)
        }

    async def _resolved(self, entry: Object) -> list[Read]:
        """An entry with a name stands for itself, a selection for what AWS lists."""
        if entry.selection is None:
            return [Read(entry, NoValue.UNREAD)]
        values: Mapping[str, Value] = {}
        if entry.service == SSM and selecting.is_path(entry.selection):
            values = await selecting.below_path(self.access, entry.selection)
            names = list(values)
        else:
            names = await selecting.names(self.access, entry.service, entry.selection)
        return [Read(self._named(entry, name), values.get(name, NoValue.UNREAD)) for name in names]

    def _named(self, entry: Object, name: str) -> Object:
        rest = entry.selection.rest(name) if entry.selection else name
        file = selected_file(entry.file, rest, self.parameters.slash, f"{entry.place} selects {name}")
        return replace(entry, wanted=(Wanted(name), Wanted(name)), file=file)

    def _questions(self, objects: Sequence[Object]) -> list[Question]:
        ids = Counter(each.id for each in objects)
        asked: dict[Wanted, list[Object]] = {}
        for each in objects:
            asked.setdefault(each.wanted[self.region], []).append(each)
        return [
            # What was listed a moment ago may be gone by now: then it is not selected.
            Question(wanted, all(each.options.optional or each.selection for each in same), self._held(same, ids))
            for wanted, same in asked.items()
        ]

    def _held(self, objects: Iterable[Object], ids: Mapping[str, int]) -> str:
        """The version that all of these are held at; empty if any is not held, or they differ.

        Where objects share an id, what is held may be another one's files.
        """
        held = [self.held.get(each.id, ()) if ids[each.id] == 1 else () for each in objects]
        versions = {files[0].version or "" if files else "" for files in held}
        return versions.pop() if len(versions) == 1 else ""


def _complete(reads: Iterable[Read], found: Mapping[Wanted, Found], region: int) -> Iterable[Read]:
    for read in reads:
        done = read if read.found is not NoValue.UNREAD else Read(read.object, found[read.object.wanted[region]])
        if read.object.selection is None or done.found is not NoValue.MISSING:
            yield done
