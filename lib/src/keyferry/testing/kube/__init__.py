"""A small, faithful Kubernetes API server for tests and the demo.

Where it differs from a real one, it is wrong; tests/contract/kube runs the same tests against both. Left out on
purpose: RBAC, workload controllers, OpenAPI, CEL, protobuf but for a few bodies, and the validation of built-in kinds
beyond `defaults`, `secret_rules` and `event_rules` (an unknown field of theirs is kept; a real server drops it).
"""

from keyferry.testing.kube.server import KubeAPI

__all__ = ["KubeAPI"]
