"""Microsoft Entra ID, Azure Key Vault and a node's metadata service as a server for tests and the demo.

The SDKs run against it unmodified, with another authority, vault URL and CA, and without verifying that a vault is
of the domain that it asks tokens for. Tokens are checked for real: signature, issuer, subject and audience of a pod's
token against the client's federated credentials, then access policies per vault. Left out on purpose: users, role
assignments, backups, cryptographic operations, renewal of certificates, rotation policies, and firewalls.
"""

from keyferry.testing.azure.faults import Fault
from keyferry.testing.azure.server import TENANT, AzureEmulator

__all__ = ["TENANT", "AzureEmulator", "Fault"]
