"""The SDK's three clients of one vault, bound to one token; making them costs less than one call of theirs."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from azure.keyvault.certificates.aio import CertificateClient
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.secrets.aio import SecretClient

from fetcher.accesstoken import Token
from fetcher.providers.azure.contents import Value
from fetcher.providers.azure.keys import certificate, public_key
from fetcher.providers.azure.listing import Page, listed
from fetcher.providers.azure.wanted import KEY, SECRET, Parameters, Reference

_HTTPS = 443
_API_VERSION = "7.5"  # of every cloud; the SDK's newest reaches some of them years later


class _Given:
    """Gives the SDK a token that is there already, whatever tenant or resource the vault's challenge names."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        del scopes, options
        return AccessToken(self._token.value, int(self._token.expires))

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Clients:
    """To be used for one call, or several at the same time.

    Args:
        transport: Shared by all.
        parameters: Which vault.
        token: As whom.
    """

    def __init__(self, transport: AioHttpTransport, parameters: Parameters, token: Token) -> None:
        self._url = parameters.vault_url
        self._credential = _Given(token)
        self._about: dict[str, Any] = {
            "transport": transport,
            "api_version": _API_VERSION,
            "verify_challenge_resource": parameters.cloud.verified,
            "retry_total": 0,
            "permit_redirects": False,
        }

    async def get(self, reference: Reference) -> Value:
        """One object.

        Raises:
            AzureError, ValueError: as the SDK does; others where an answer has another shape than Key Vault's.
            KeyMaterialError: a key or certificate that cannot be written.
        """
        if reference.kind == SECRET:
            return await self._secret(reference)
        if reference.kind == KEY:
            key = await self._keys.get_key(reference.name, reference.version or None)
            return Value(public_key(key.key), _version(key.properties.version))
        if reference.version:
            found = await self._certificates.get_certificate_version(reference.name, reference.version)
        else:
            found = await self._certificates.get_certificate(reference.name)
        about = found.properties
        if about is None:
            raise ValueError
        return Value(certificate(found.cer), _version(about.version))

    async def page(self, of: Reference, link: str | None) -> Page:
        """One page of an object's versions, or of all objects where no name is given; in no order.

        Args:
            of: Whose versions, or of which kind.
            link: To the page; None for the first one.

        Raises:
            AzureError, ValueError: as the SDK does; others where an answer has another shape than Key Vault's.
        """
        pages: Any = self._listing(of).by_page(link)
        found = [listed(each) async for each in await anext(pages)]
        return Page(found, self._own(pages.continuation_token))

    def _listing(self, of: Reference) -> Any:
        if of.kind == SECRET:
            secrets = self._secrets
            return (
                secrets.list_properties_of_secret_versions(of.name) if of.name else secrets.list_properties_of_secrets()
            )
        if of.kind == KEY:
            keys = self._keys
            return keys.list_properties_of_key_versions(of.name) if of.name else keys.list_properties_of_keys()
        certificates = self._certificates
        if of.name:
            return certificates.list_properties_of_certificate_versions(of.name)
        return certificates.list_properties_of_certificates()

    def _own(self, link: object) -> str | None:
        """The next page's link, if it leads to the vault: no answer may send us to other hosts."""
        if not link:
            return None
        if not isinstance(link, str):
            raise TypeError
        there, here = urlsplit(link), urlsplit(self._url)
        if (there.scheme, there.hostname, there.port or _HTTPS) != ("https", here.hostname, here.port or _HTTPS):
            raise ValueError
        return link

    async def _secret(self, reference: Reference) -> Value:
        secret = await self._secrets.get_secret(reference.name, reference.version or None)
        about = secret.properties
        if not isinstance(secret.value, str):
            raise TypeError
        # Half a surrogate pair, which JSON can spell, becomes U+FFFD as in Go.
        data = secret.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        content_type = str(about.content_type or "") if about.key_id else None
        return Value(data, _version(about.version), content_type)

    @cached_property
    def _secrets(self) -> SecretClient:
        return SecretClient(self._url, self._credential, **self._about)

    @cached_property
    def _keys(self) -> KeyClient:
        return KeyClient(self._url, self._credential, **self._about)

    @cached_property
    def _certificates(self) -> CertificateClient:
        return CertificateClient(self._url, self._credential, **self._about)


def _version(version: str | None) -> str:
    if not version:
        raise ValueError
    return version
