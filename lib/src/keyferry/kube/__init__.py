"""The Kubernetes API, as far as Keyferry uses it: plain JSON over one connection pool, and caches kept by watching.

Everything under this package speaks paths and dicts rather than the generated classes: a mount needs two kinds of
object and five fields of them, and building typed models costs more than the request. Its errors are those of
`keyferry.errors` (design.md, section 10: kube is one of the three edges where errors are translated).
"""

from keyferry.kube.connection import Kube, connect
from keyferry.kube.flights import Flights
from keyferry.kube.paths import Json, object_path
from keyferry.kube.refusals import Rejected
from keyferry.kube.watched import Watched

__all__ = ["Flights", "Json", "Kube", "Rejected", "Watched", "connect", "object_path"]
