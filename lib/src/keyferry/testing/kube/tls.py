"""A certificate authority of the API's own, a certificate for loopback signed by it, and kubeconfigs that trust it."""

import base64
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyferry.certificates import authority

_HOSTS = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Certificates:
    """PEM texts: the authority's certificate, the server's certificate and its key."""

    ca_pem: str
    certificate: str
    key: str = field(repr=False)

    def context(self, folder: Path) -> ssl.SSLContext:
        """What a server listens with; the ssl module reads certificates only from files, so they go to `folder`."""
        chain, key = folder / "tls.crt", folder / "tls.key"
        chain.write_text(self.certificate)
        key.touch(mode=0o600)
        key.write_text(self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        return context


def issue() -> Certificates:
    """A new authority and a server certificate for 127.0.0.1, ::1 and the names of the API inside a cluster."""
    now = time.time()
    made = authority("keyferry-testing-ca", now)
    certificate, key = made.issue([*_HOSTS, "127.0.0.1", "::1"], now)
    return Certificates(made.pem, certificate, key)


def kubeconfig(url: str, ca_pem: str, token: str) -> dict[str, Any]:
    """A kubeconfig for the bearer of a token; without an authority it trusts the machine's."""
    cluster = {"server": url}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testing", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "testing", "context": {"cluster": "testing", "user": "user"}}],
        "current-context": "testing",
    }
