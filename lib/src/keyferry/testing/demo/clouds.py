"""The guide's side of each cloud: who may read, and what there is to read."""

from __future__ import annotations

from dataclasses import replace

import boto3
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyferry.kube import Json, Kube
from keyferry.testing.aws import KEY, Aws
from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.azure.certificates import PEM, issue, jwk
from keyferry.testing.demo.values import ACCOUNT, NAMESPACE, PROJECT, REGION, Secrets
from keyferry.testing.gcp import GcpEmulator

CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"
VAULT = "mykeyvault"
GKE = {
    "project/project-id": "demo",
    "instance/attributes/cluster-location": "europe-west1",
    "instance/attributes/cluster-name": "blue",
}
"""What the metadata server of a GKE node says of the cluster."""

POOL = f"{GKE['project/project-id']}.svc.id.goog"

_SUBJECT = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
_CLUSTER = "https://container.googleapis.com/v1/projects/demo/locations/europe-west1/clusters/blue"


async def trust(kube: Kube, azure: AzureEmulator, google: GcpEmulator) -> str:
    """Have both clouds take the cluster's tokens; gives its issuer."""
    discovery = await kube.get("/.well-known/openid-configuration")
    keys: Json = await kube.get("/openid/v1/jwks") or {}
    issuer = str(discovery["issuer"]) if discovery else ""
    azure.directory.trust(issuer, keys)
    azure.directory.federate(TENANT, CLIENT, issuer=issuer, subject=_SUBJECT)
    google.identities.trust_gke("demo", _CLUSTER, issuer=issuer, keys=keys)
    return issuer


async def fill_aws(emulator: Aws, issuer: str, values: Secrets) -> str:
    """Two secrets, and a role that the service account may take on; gives the role's name."""
    session = boto3.session.Session(KEY, KEY, region_name=REGION)
    aws = replace(emulator, region=REGION, _session=session)
    await aws.create_secret("my-app-db-password", values["aws-secrets", "db-password"])
    await aws.create_secret("my-app-api-key", values["aws-secrets", "api-key"])
    return await aws.create_role("app", issuer=issuer, subject=_SUBJECT)


def fill_azure(azure: AzureEmulator, values: Secrets) -> None:
    """A secret, a certificate and a key, and an application that the service account stands for."""
    vault = azure.vault(VAULT)
    vault.allow(CLIENT)
    vault.set_secret("db-password", values["azure-keyvault", "db-password"])
    issued = issue("shop.example.com", kind="EC")
    vault.import_certificate("tls-cert", issued.key, issued.chain, (PEM, issued.pem()))
    values["azure-keyvault", "tls-cert"] = issued.chain[0].public_bytes(Encoding.PEM).decode()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    vault.add("keys", "signing-key", {"key": {**jwk(key), "key_ops": ["sign", "verify"]}})
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    values["azure-keyvault", "signing-key"] = pem.decode()


def fill_google(google: GcpEmulator, values: Secrets) -> None:
    """Two secrets that the service account may read."""
    for name in ("db-password", "api-key"):
        resource = f"projects/{PROJECT}/secrets/{name}"
        google.secrets.add(resource, values["gcp-secrets", name].encode())
        member = f"serviceAccount:{POOL}[{NAMESPACE}/{ACCOUNT}]"
        google.policies.allow(member, resource, "roles/secretmanager.secretAccessor")
