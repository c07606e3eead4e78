"""A small authority for the servers that Keyferry stands on, where nobody has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE, SERVER_LIFE = timedelta(days=3650), timedelta(days=365)
_SKEW = timedelta(hours=1)  # of the clocks that look at a new one


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself.

    Attributes:
        made_at, ends_at: Unix seconds.
        hosts: Names and addresses that it holds for.
        issuer: The name of who vouches for it.
    """

    made_at: float
    ends_at: float
    hosts: frozenset[str]
    issuer: str

    @classmethod
    def parse(cls, pem: str) -> Certificate:
        """From its PEM.

        Raises:
            ValueError: it is none.
        """
        told = x509.load_pem_x509_certificate(pem.encode())
        try:
            names = told.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            hosts: frozenset[str] = frozenset()
        else:
            addresses = (str(each) for each in names.get_values_for_type(x509.IPAddress))
            hosts = frozenset((*names.get_values_for_type(x509.DNSName), *addresses))
        made = told.not_valid_before_utc + _SKEW
        issuer = "".join(str(each.value) for each in told.issuer.get_attributes_for_oid(NameOID.COMMON_NAME))
        return cls(made.timestamp(), told.not_valid_after_utc.timestamp(), hosts, issuer)

    def is_due(self, now: float) -> bool:
        """Whether less than a third of its life is left."""
        return self.ends_at - now < (self.ends_at - self.made_at) / 3


@dataclass(frozen=True, slots=True)
class Authority:
    """Vouches for servers.

    Attributes:
        pem: What clients trust.
    """

    pem: str
    _certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load(cls, pem: str, key_pem: str) -> Authority:
        """One that has been written down.

        Raises:
            ValueError: these are no certificate and its key.
        """
        certificate, key = x509.load_pem_x509_certificate(pem.encode()), load_pem_private_key(key_pem.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("is not the key of this authority")
        return cls(pem, certificate, key)

    @property
    def key_pem(self) -> str:
        """Its key, for safe keeping: who has it can be any server."""
        return _private(self._key)

    def has_issued(self, pem: str) -> bool:
        """Whether it vouches for a certificate."""
        try:
            x509.load_pem_x509_certificate(pem.encode()).verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def issue(self, hosts: list[str], now: float) -> tuple[str, str]:
        """A server's certificate and its key, as PEM.

        Args:
            hosts: Names and addresses that it may call itself.
            now: Unix seconds.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general(host) for host in hosts])
        # NATS servers are each other's clients on their routes, and verify that always.
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        usage = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_named(hosts[0][:64]), self._certificate.subject, key.public_key(), now, SERVER_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(server, critical=False)
            .add_extension(names, critical=False)
            .add_extension(usage, critical=False)
            .sign(self._key, SHA256())
        )
        return _pem(certificate), _private(key)


def authority(name: str, now: float) -> Authority:
    """A new one.

    Args:
        name: Shown in certificates.
        now: Unix seconds.
    """
    key, subject = ec.generate_private_key(ec.SECP256R1()), _named(name)
    usage = x509.KeyUsage(
        digital_signature=False,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Authority(_pem(certificate), certificate, key)


def first(pems: str) -> str:
    """The first of the certificates in a PEM text.

    Raises:
        ValueError: it has none.
    """
    return _pem(x509.load_pem_x509_certificates(pems.encode())[0])


def bundle(now: float, *pems: str) -> str:
    """All certificates of some PEM texts that have not ended, each once; what is no PEM is left out."""
    found: list[str] = []
    for text in pems:
        try:
            told = x509.load_pem_x509_certificates(text.encode())
        except ValueError:
            continue
        found += [_pem(each) for each in told if each.not_valid_after_utc.timestamp() > now]
    return "".join(dict.fromkeys(found))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, life: timedelta
) -> x509.CertificateBuilder:
    moment = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _SKEW)
        .not_valid_after(moment + life)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
