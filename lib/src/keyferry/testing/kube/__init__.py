"""A small, faithful Kubernetes API server for tests and the demo.

Where it differs from a real one, it is wrong, except for what it says it leaves out: RBAC, workload controllers, the
validation of built-in kinds beyond `defaults` and `secret_rules`, and protobuf.
"""

from keyferry.testing.kube.server import KubeAPI

__all__ = ["KubeAPI"]
