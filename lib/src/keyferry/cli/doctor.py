"""``keyferry doctor``: looks at all that a pod's or a class's mount needs, in the order in which it is needed."""

from __future__ import annotations

import argparse

from keyferry.cli import findings, plumbing, setup
from keyferry.cli.cluster import named, read_pod
from keyferry.cli.dryrun import CHECK, DryRun
from keyferry.cli.findings import Finding, ok, unknown, warning, wrong
from keyferry.cli.jetstream import JetStream
from keyferry.cli.lacking import Lacking
from keyferry.cli.output import Output
from keyferry.cli.reach import Reach
from keyferry.cli.setup import Subject
from keyferry.errors import KeyferryError
from keyferry.kube import Kube


async def run(asked: argparse.Namespace) -> int:
    """Look.

    Raises:
        Lacking: nothing or too much was named, or the Kubernetes API cannot be reached.
        KeyferryError: it does not answer.
    """
    out, reach = Output(as_json=asked.json, no_color=asked.no_color), Reach.asked(asked)
    if bool(asked.pod) == bool(asked.class_name):
        raise Lacking("name a POD, or a class with --class NAMESPACE/NAME")
    if asked.fetch and not asked.pod:
        raise Lacking("--fetch asks as a pod: name a POD that mounts the class")
    async with reach.kube() as kube:
        subjects = await _subjects(kube, asked)
        told: list[tuple[Subject | None, list[Finding]]] = [
            (subject, await _of_setup_and_fetch(kube, reach, subject, asked)) for subject in subjects
        ]
        told.append((None, await _of_plumbing(kube, reach, subjects[0], asked)))
    return _show(out, told)


async def _subjects(kube: Kube, asked: argparse.Namespace) -> list[Subject]:
    if asked.class_name:
        namespace, name = named(asked.class_name, asked.namespace)
        return [Subject(namespace, name)]
    namespace, name = named(asked.pod, asked.namespace)
    pod = await read_pod(kube, namespace, name)
    if pod is None:
        raise Lacking(f"there is no pod {namespace}/{name}: name it as NAMESPACE/NAME, or say -n NAMESPACE")
    found = [Subject(namespace, each.secret_provider_class, pod, each) for each in pod.volumes]
    if not found:
        raise Lacking(f"pod {namespace}/{name} mounts no class: none of its volumes is of our CSI driver")
    return found


async def _of_setup_and_fetch(kube: Kube, reach: Reach, subject: Subject, asked: argparse.Namespace) -> list[Finding]:
    seen = await setup.look(kube, subject)
    if not asked.fetch or subject.pod is None or subject.volume is None:
        return seen.findings
    if not subject.pod.node:
        return [*seen.findings, unknown(CHECK, "the pod runs on no node that could ask")]
    keys, about = await plumbing.public_keys(kube, asked.keys_dir, asked.system_namespace)
    if keys is None:
        return [*seen.findings, unknown(CHECK, f"the fetchers' keys are not known: {about.text}", about.fix)]
    dry = DryRun(kube, reach, keys, seen.audiences, asked.seconds)
    try:
        return [*seen.findings, await dry.findings(subject.pod, subject.volume)]
    except Lacking as lacking:
        return [*seen.findings, unknown(CHECK, str(lacking).partition("\n")[0])]


async def _of_plumbing(kube: Kube, reach: Reach, subject: Subject, asked: argparse.Namespace) -> list[Finding]:
    keys, about = await plumbing.public_keys(kube, asked.keys_dir, asked.system_namespace)
    found: list[Finding] = []
    try:
        async with reach.bus() as bus:
            found.append(ok("nats", "it can be reached"))
            found += await plumbing.of_streams(JetStream(bus))
            if subject.pod is not None and subject.pod.node:
                found.append(await plumbing.of_node(bus, subject.pod.node))
            if keys is not None:
                about_used = await plumbing.of_used_keys(bus, keys)
            else:
                about_used = warning("keys-used", "cannot be compared without public.json")
    except Lacking as lacking:
        text, _, fix = str(lacking).partition("\n")
        return [wrong("nats", text, fix.strip()), await plumbing.of_redis(reach), about]
    except KeyferryError as error:
        return [*found, wrong("nats", error.message, "check NATS"), await plumbing.of_redis(reach), about]
    return [*found, await plumbing.of_redis(reach), about, about_used]


def _show(out: Output, told: list[tuple[Subject | None, list[Finding]]]) -> int:
    status = findings.status(each for _, found in told for each in found)
    if out.as_json:
        groups = [{"about": _about(subject), "findings": findings.as_json(found)} for subject, found in told]
        out.json({"well": not status, "groups": groups})
        return status
    for number, (subject, found) in enumerate(told):
        if number:
            out.line()
        out.line(_about(subject), "bold")
        findings.show(out, found)
    return status


def _about(subject: Subject | None) -> str:
    if subject is None:
        return "Keyferry"
    volume = f"volume {subject.volume.name}, " if subject.volume else ""
    return f"{volume}class {subject.namespace}/{subject.class_name or '(none)'}"
