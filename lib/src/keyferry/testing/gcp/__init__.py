"""Google's Secret Manager, Parameter Manager and token services as a server for tests and the demo.

The SDKs run against it unmodified, with another endpoint. Tokens are checked for real: signature, issuer, audience and
subject of a pod's token, then IAM bindings per project, secret, parameter and service account. Left out on purpose:
replication, rotation schedules, customer-managed keys, conditions in IAM bindings, and most of the filter language. How
YAML parameters quote what is put into them is not documented; here it is put in as it is.
"""

from keyferry.testing.gcp.faults import Fault
from keyferry.testing.gcp.server import GcpEmulator

__all__ = ["Fault", "GcpEmulator"]
