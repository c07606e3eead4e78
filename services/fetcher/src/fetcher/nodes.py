"""Where nodes are: a class that names no region means that of the pod's node."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from keyferry.kube import Flights, Kube, object_path

NODES = "/api/v1/nodes"
REGION = "topology.kubernetes.io/region"
_REMEMBERED = 20_000


class Nodes:
    """The regions of nodes, each asked for once: a node's region does not change while the node lives."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: OrderedDict[str, str] = OrderedDict()
        self._flights: Flights[str, str] = Flights()

    async def region(self, node: str) -> str:
        """The node's region; empty if it has no such label, or there is no such node (any more).

        Raises:
            KubernetesUnavailable: it cannot be told now.
            AccessDenied: we may not read it.
        """
        known = self._known.get(node)
        if known is None:
            known = await self._flights.join(node, lambda: self._ask(node))
        return known

    async def _ask(self, node: str) -> str:
        path = object_path(NODES, None, node)
        told = await self._kube.get(path) if path else None
        region = _label((told or {}).get("metadata"), REGION)
        if region:  # what is not there yet may be there at the next try
            self._known[node] = region
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return region


def _label(metadata: Any, name: str) -> str:
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    value = labels.get(name) if isinstance(labels, dict) else None
    return value if isinstance(value, str) else ""
