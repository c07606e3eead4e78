"""TLS towards Vault as a class wants it: which CAs, which host name, which client certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from fetcher.providers.vault.parameters import Tls
from keyferry.errors import InvalidSecretProviderClass


class TlsAdapter(HTTPAdapter):
    """Connections with one TLS context of ours: requests would read its CAs each time, and add the public ones.

    Raises:
        InvalidSecretProviderClass: a file cannot be used.
    """

    def __init__(self, tls: Tls, *, connections: int) -> None:
        self._pool_kwargs: dict[str, Any] = {"ssl_context": context(tls), "server_hostname": tls.server_name or None}
        if tls.skip_verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the class says so; once is enough
        super().__init__(pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """Called by requests to set up direct connections."""
        super().init_poolmanager(connections, maxsize, block, **kwargs, **self._pool_kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Called by requests to set up connections through a proxy."""
        return super().proxy_manager_for(proxy, **kwargs, **self._pool_kwargs)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """The host, without the TLS arguments that requests would add."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Add nothing: the context has it all."""


def context(tls: Tls) -> ssl.SSLContext:
    """A client context.

    Raises:
        InvalidSecretProviderClass: a file cannot be used.
    """
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    result.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.skip_verify:
        result.check_hostname = False
        result.verify_mode = ssl.CERT_NONE
    elif tls.ca_file:
        with _naming("vaultCACertPath"):
            result.load_verify_locations(cafile=tls.ca_file)
    elif tls.ca_directory:
        with _naming("vaultCADirectory"):
            _load_directory(result, Path(tls.ca_directory))
    else:
        result.load_default_certs()
        result.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    if tls.client_certificate:
        with _naming("vaultTLSClientCertPath or vaultTLSClientKeyPath"):
            # A password that fits no key: without one OpenSSL would ask for it on the terminal.
            result.load_cert_chain(tls.client_certificate, tls.client_key or None, password="")
    return result


def stamp(tls: Tls) -> tuple[int, ...]:
    """Changes when one of the files does, so that renewed certificates are taken up."""
    return tuple(
        _modified(path) for path in (tls.ca_file, tls.ca_directory, tls.client_certificate, tls.client_key) if path
    )


def _modified(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0  # `context` says what is wrong with it


def _load_directory(target: ssl.SSLContext, directory: Path) -> None:
    # File by file, as Go does: OpenSSL's own CA folders need hashed names, which a mounted ConfigMap has not.
    for path in sorted(directory.iterdir()):
        if path.is_file():
            target.load_verify_locations(cafile=path)


@contextmanager
def _naming(parameter: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        kind = type(error).__name__
        raise InvalidSecretProviderClass(
            f"{parameter} names what the fetcher cannot use ({kind}): mount PEM files there, readable by it"
        ) from None
