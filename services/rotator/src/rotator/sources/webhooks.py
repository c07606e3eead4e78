"""The receivers that are configured, behind their server."""

from __future__ import annotations

from rotator.sources.azure import AzureReceiver
from rotator.sources.entra import EntraTokens
from rotator.sources.heard import Heard
from rotator.sources.keys import Keys
from rotator.sources.receiver import Receiver
from rotator.sources.server import WebhookServer
from rotator.sources.settings import Webhooks
from rotator.sources.webhook import WebhookReceiver


def open_webhooks(settings: Webhooks) -> WebhookServer:
    """A server for whoever may send; settings were found to be whole before."""
    receivers: list[Receiver] = []
    keys, tokens = Keys(settings.azure_key_file, settings.azure_key), _tokens(settings)
    if keys.configured or tokens:
        receivers.append(AzureReceiver(keys, tokens, settings.rate, Heard("azure")))
    secrets, bearers = Keys(settings.hmac_file), Keys(settings.token_file)
    if secrets.configured or bearers.configured:
        receivers.append(WebhookReceiver(secrets, bearers, settings.rate, Heard("webhook")))
    return WebhookServer(settings.listen, receivers, certificate=settings.certificate, private_key=settings.private_key)


def _tokens(settings: Webhooks) -> EntraTokens | None:
    if not settings.azure_issuer:
        return None
    return EntraTokens(
        issuer=settings.azure_issuer,
        audience=settings.azure_audience,
        app=settings.azure_app,
        jwks_url=settings.azure_jwks,
    )
