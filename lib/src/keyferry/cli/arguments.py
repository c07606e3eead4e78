"""The commands' arguments: one table of what every command shares, one function for each that has more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

SORTS = ("age", "class", "namespace", "node", "pod", "provider", "state")
_DESCRIPTION = """\
Shows what Keyferry does in a cluster, and what is wrong with it. No command prints a secret's value.
Connections: KEYFERRY_NATS_URL, KEYFERRY_REDIS_URL, KEYFERRY_KUBECONFIG (else kubectl's), or the options."""


def parser() -> argparse.ArgumentParser:
    """Of everything that may be asked."""
    plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    root = argparse.ArgumentParser(
        prog="kubectl keyferry" if plugin else "keyferry",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(required=True, metavar="COMMAND", dest="command")
    shared = _shared()
    for name, text, fill in _COMMANDS:
        nested = fill is _dead_letters  # its actions take the options: argparse would have their defaults win
        fill(commands.add_parser(name, help=text, description=text, parents=[] if nested else [shared]))
    _keys(commands.add_parser("keys", help="create, rotate and show the key sets that seal and sign"))
    return root


def _shared() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--nats-url", default="", help="instead of KEYFERRY_NATS_URL")
    shared.add_argument("--redis-url", default="", help="instead of KEYFERRY_REDIS_URL; a password is better set there")
    shared.add_argument("--kubeconfig", default="", help="instead of KEYFERRY_KUBECONFIG or kubectl's")
    shared.add_argument("--context", default="", help="of the kubeconfig, instead of its current one")
    shared.add_argument("--system-namespace", default="kube-system", help="where Keyferry runs (kube-system)")
    shared.add_argument(
        "--from-cluster",
        action="store_true",
        help="read CA, identity and password there; NATS and Redis are where `kubectl port-forward` puts them",
    )
    _printing(shared)
    return shared


def _printing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, in the shapes of docs/cli.md")
    parser.add_argument("--no-color", action="store_true", help="print without colours; as NO_COLOR does")
    parser.add_argument("--debug", action="store_true", help="log what is done on standard error")


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", help="only volumes of pods in this namespace")
    parser.add_argument("--pod", help="only volumes of the pod of this name")
    parser.add_argument("--class", dest="class_name", metavar="CLASS", help="only volumes of this class")
    parser.add_argument("--node", help="only volumes on this node")
    parser.add_argument("--provider", help="only volumes of this backend")


def _volumes(parser: argparse.ArgumentParser) -> None:
    _filters(parser)
    parser.add_argument("--state", choices=("ok", "failing", "stale"), help="only volumes in this state")
    parser.add_argument("--sort", choices=SORTS, default="namespace")
    parser.add_argument("--wide", action="store_true", help="show versions, failures and ids as well")


def _contents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", help="only contents of classes in this namespace")
    parser.add_argument("--class", dest="class_name", metavar="CLASS", help="only contents of this class")
    parser.add_argument("--provider", help="only contents of this backend")
    parser.add_argument("--wide", action="store_true", help="show backend objects and whole keys as well")


def _backends(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rotator-url", default="", help="http://HOST:8095 of a rotator: says which change sources are connected"
    )


def _dead_letters(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("list", "what could not be processed, and why"),
        ("replay", "publish letters again where they first were, and take them out"),
        ("drop", "take letters out for good"),
    ):
        action = actions.add_parser(name, help=text, description=text, parents=[_shared()])
        if name != "list":
            action.add_argument("sequence", nargs="*", type=int, metavar="SEQ", help="as `list` shows it")
            action.add_argument("--all", action="store_true", help="every letter")
            action.add_argument("--yes", action="store_true", help="do not ask")


def _pod(parser: argparse.ArgumentParser, *, optional: bool) -> None:
    parser.add_argument("pod", metavar="POD", nargs="?" if optional else None, help="NAME, or NAMESPACE/NAME")
    parser.add_argument("-n", "--namespace", default="default", help="of the pod (default)")


def _explain(parser: argparse.ArgumentParser) -> None:
    _pod(parser, optional=False)


def _doctor(parser: argparse.ArgumentParser) -> None:
    _pod(parser, optional=True)
    parser.add_argument("--class", dest="class_name", metavar="NAMESPACE/NAME", help="a class, instead of a pod")
    parser.add_argument("--fetch", action="store_true", help="ask the fetchers as the pod would; prints no value")
    parser.add_argument("--keys-dir", type=Path, help="folder with public.json; else the cluster's ConfigMap")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long --fetch waits (20)")


def _top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print it once and end; so does a pipe")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (1)")


_COMMANDS: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("volumes", "the mounted volumes, as the nodes last told of them", _volumes),
    ("contents", "what is kept fresh: when each content is due, and who holds it", _contents),
    ("backends", "each backend's volumes, failures and pauses", _backends),
    ("dead-letters", "what could not be processed: list, replay or drop it", _dead_letters),
    ("explain", "why a pod's secret is old, or its mount fails", _explain),
    ("doctor", "what is wrong with a pod's or class's setup, and how to fix it", _doctor),
    ("top", "a live view of volumes, lag and failures", _top),
)


def _keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_text in (
        ("create", "make public.json, fetcher.json and syncer.json"),
        ("rotate", "add a new key to each set; the last one before it stays valid"),
        ("show", "list key ids and since when they are used"),
        ("manifests", "print the files as ConfigMap and Secrets for `kubectl apply -f -`"),
    ):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("--dir", type=Path, required=True, help="the folder of the key files")
        _printing(action)
        if name == "rotate":
            action.add_argument("--now", action="store_true", help="use the new keys at once, after a compromise")
            action.add_argument(
                "--mac", action="store_true", help="make the MAC key new as well: every content looks changed, once"
            )
        if name == "manifests":
            action.add_argument("--namespace", default="kube-system", help="where the services run (kube-system)")
