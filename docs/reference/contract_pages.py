"""The pages of errors, and of subjects and streams, from the contract between the services."""  # noqa: INP001 - beside a script, no package

from __future__ import annotations

from tables import code, table

from keyferry import errors as contract
from keyferry import subjects
from keyferry.errors import KeyferryError
from keyferry.streams import CONSUMERS, Settings
from keyferry.streams import streams as configured

_ERRORS = """# Errors

What a pod's FailedMount Event, a Kubernetes Event and the label `error_type` say. kubelet takes `UNAVAILABLE`,
`RESOURCE_EXHAUSTED`, `DEADLINE_EXCEEDED` and `ABORTED` as "may be mounted", and all others as "is not"; it tries again
after either. "Retry" is when another try may help by itself: where there is none, somebody must change something.
`ProviderError` carries the code and reason of whoever raised it, such as a provider plugin.
[Troubleshooting](../troubleshooting.md) goes by symptom.

"""
_STREAMS = """# Subjects and streams

The bus is NATS JetStream. `python -m keyferry.streams` makes what is below and brings it up to date; services create
nothing. A subject names nodes, volumes, namespaces and keyed digests: never a class or an object of a backend.

## Subjects

"""


def errors() -> str:
    """Every class of `keyferry.errors`."""
    rows = [
        (code(each.__name__), *_facts(each), _retry(each), _first_line(each.__doc__))
        for each in KeyferryError.__subclasses__()
        if each.__module__ == contract.__name__
    ]
    return _ERRORS + table(("error", "gRPC code", "reason", "retry", "meaning"), rows)


def _facts(error: type[KeyferryError]) -> tuple[str, str]:
    return ("its own", "its own") if error is contract.ProviderError else (code(error.code), code(error.reason))


def _retry(error: type[KeyferryError]) -> str:
    return f"after {error.retry_after:g} s" if error.retry_after is not None else ""


def _first_line(doc: str | None) -> str:
    return (doc or "").partition("\n")[0].replace("``", "`")


def streams() -> str:
    """Subjects, streams with their limits, and consumers."""
    settings = Settings()
    streams = table(
        ("stream", "subjects", "retention", "messages", "bytes", "age", "holds"),
        (
            (
                code(str(each.name)),
                ", ".join(code(subject) for subject in each.subjects or ()),
                _retention(each.retention, each.max_msgs_per_subject),
                _limit(each.max_msgs),
                _limit(each.max_bytes),
                _age(each.max_age or 0),
                str(each.description),
            )
            for each in configured(settings)
        ),
    )
    consumers = table(
        ("consumer", "stream", "subject", "acknowledged within", "deliveries, then DEAD"),
        (
            (
                code(each.durable),
                code(each.stream),
                code(each.subject),
                f"{each.ack_wait:g} s",
                str(each.max_deliveries),
            )
            for each in CONSUMERS
        ),
    )
    return (
        f"{_STREAMS}{_subjects()}\n\n## Streams\n\nThe number of copies is `KEYFERRY_STREAM_REPLICAS`; of requests "
        "that wait, `KEYFERRY_FETCH_MAX_MESSAGES`; of each subject among them, `KEYFERRY_FETCH_MAX_MESSAGES_PER_NODE` "
        f"({settings.max_requests_of_one}).\n\n{streams}\n\n## Consumers\n\n{consumers}\n"
    )


def _subjects() -> str:
    node, volume = "NODE", "VOLUME"
    rows = (
        (subjects.mount_subject(node), "node-driver", "fetchers", "a request for a first publish"),
        (subjects.refresh_subject(node), "node-driver", "fetchers", "a request for a refresh, behind all mounts"),
        (subjects.END_SUBJECT, "rotator", "fetchers", "nobody holds a content any more"),
        (subjects.reply_subject(node, "REQUEST"), "fetcher", "that node", "the sealed and signed answer"),
        (subjects.volume_subject(node, volume), "node-driver", "rotator, syncer", "what became of a volume"),
        (subjects.hint_subject(node), "rotator", "that node", "contents of its volumes are due"),
        (subjects.change_subject("PROVIDER"), "rotator, syncer", "rotator", "something changed in a backend"),
        (subjects.sync_subject("NAMESPACE", "CONTENT"), "fetcher", "syncer", "a content, sealed to the syncers"),
        ("keyferry.dead.>", "whoever gave up", "people", "what could not be processed"),
    )
    return table(("subject", "published by", "heard by", "what"), ((code(row[0]), *row[1:]) for row in rows))


def _retention(retention: object, per_subject: int | None) -> str:
    work_queue = getattr(retention, "value", retention) == "workqueue"
    return "until it is acknowledged" if work_queue else "the last of each subject" if per_subject == 1 else "by limits"


def _age(seconds: float) -> str:
    days, hours = seconds / 86400, seconds / 3600
    return f"{days:g} days" if days >= 1 else f"{hours:g} h" if hours >= 1 else f"{seconds / 60:g} min"


def _limit(number: int | None) -> str:
    return f"{number}" if number and number > 0 else ""
