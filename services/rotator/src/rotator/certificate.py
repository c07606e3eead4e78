"""A certificate that a server of ours listens with, loaded again when it is renewed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)


class CertificateError(Exception):
    """Files are no certificate and key; the text names them."""


class Certificate:
    """A certificate and its key, in files that somebody else renews.

    Args:
        certificate: PEM file; empty for none: what listens with it then does so without TLS.
        key: PEM file.
        whose: For the log, such as ``the webhooks``.

    Raises:
        CertificateError: they are no certificate and key.
    """

    def __init__(self, certificate: str, key: str, whose: str) -> None:
        self._files = (certificate, key)
        self._whose = whose
        self.context = self._load() if certificate else None
        self._stamp = self._stamped()

    def renew(self) -> None:
        """Have new connections get what the files hold now; what cannot be used leaves the old one in place."""
        stamp = self._stamped()
        if self.context is None or stamp == self._stamp:
            return
        try:
            self.context.load_cert_chain(*self._files)
            self._stamp = stamp
        except (OSError, ValueError):
            log.warning("the renewed certificate of %s cannot be loaded; the old one stays", self._whose)

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(*self._files)
        except (OSError, ValueError):
            raise CertificateError(f"{' and '.join(self._files)} are no certificate and key") from None
        return context

    def _stamped(self) -> list[int]:
        return [Path(file).stat().st_mtime_ns for file in self._files if file and Path(file).exists()]
