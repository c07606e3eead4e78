"""Which sources there are, by the environment, and how they all run."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping

from keyferry.settings import SettingsError, load
from rotator.sources.aws import AwsSource
from rotator.sources.azure import AzureReceiver
from rotator.sources.entra import EntraTokens
from rotator.sources.gcp import GcpSource
from rotator.sources.heard import Heard
from rotator.sources.keys import Keys, KeysError
from rotator.sources.receiver import Receiver
from rotator.sources.server import WebhookServer
from rotator.sources.settings import AwsEvents, GcpEvents, VaultAudit, VaultEvents, Webhooks
from rotator.sources.source import Emit, Source
from rotator.sources.vault import VaultSource
from rotator.sources.vault_audit import VaultAuditSource
from rotator.sources.webhook import WebhookReceiver


def open_sources(environ: Mapping[str, str]) -> list[Source]:
    """The sources that are configured; each is off by default.

    Raises:
        SettingsError: naming each variable that is missing or malformed.
    """
    aws, gcp = load(AwsEvents, environ), load(GcpEvents, environ)
    vault, audit, webhooks = load(VaultEvents, environ), load(VaultAudit, environ), load(Webhooks, environ)
    problems = [*_vault_problems(vault), *_audit_problems(audit), *_webhook_problems(webhooks)]
    if problems:
        raise SettingsError("\n".join(problems))
    found: list[Source] = []
    if aws.queue_url:
        found.append(AwsSource(aws))
    if gcp.subscription:
        found.append(GcpSource(gcp))
    if vault.url:
        found.append(VaultSource(vault))
    if audit.listen:
        found.append(VaultAuditSource(audit))
    if webhooks.listen:
        found.append(_server(webhooks))
    return found


async def run_sources(environ: Mapping[str, str], emit: Emit) -> None:
    """Run every configured source until cancelled; returns at once if there is none.

    Raises:
        SettingsError: as `open_sources`.
    """
    async with asyncio.TaskGroup() as tasks:
        for source in open_sources(environ):
            tasks.create_task(source.run(emit), name=f"source-{source.name}")


def _server(settings: Webhooks) -> WebhookServer:
    receivers: list[Receiver] = []
    keys = _azure_keys(settings)
    tokens = _azure_tokens(settings)
    if keys.configured or tokens:
        receivers.append(AzureReceiver(keys, tokens, settings.rate, Heard("azure")))
    secrets, bearers = Keys(settings.hmac_file), Keys(settings.token_file)
    if secrets.configured or bearers.configured:
        receivers.append(WebhookReceiver(secrets, bearers, settings.rate, Heard("webhook")))
    return WebhookServer(settings.listen, receivers, certificate=settings.certificate, private_key=settings.private_key)


def _azure_keys(settings: Webhooks) -> Keys:
    return Keys(settings.azure_key_file, settings.azure_key)


def _azure_tokens(settings: Webhooks) -> EntraTokens | None:
    if not settings.azure_issuer:
        return None
    return EntraTokens(
        issuer=settings.azure_issuer,
        audience=settings.azure_audience,
        app=settings.azure_app,
        jwks_url=settings.azure_jwks,
    )


def _vault_problems(settings: VaultEvents) -> list[str]:
    if settings.url and bool(settings.token_file) == bool(settings.role):
        return [
            "KEYFERRY_VAULT_EVENTS_ADDR needs either KEYFERRY_VAULT_EVENTS_TOKEN_FILE or KEYFERRY_VAULT_EVENTS_ROLE"
        ]
    return []


def _audit_problems(settings: VaultAudit) -> list[str]:
    if not settings.listen or settings.listen.startswith("/"):
        return []
    problems = []
    port = settings.listen.rpartition(":")[2]
    if ":" not in settings.listen or not port.isdecimal():
        problems.append("KEYFERRY_VAULT_AUDIT_ADDRESS: write host:port, or the absolute path of a unix socket")
    if not settings.allowed:
        problems.append("KEYFERRY_VAULT_AUDIT_ALLOWED is not set: name the networks of the backend's pods")
    for network in settings.allowed:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            problems.append(f'KEYFERRY_VAULT_AUDIT_ALLOWED has "{network}": write networks such as 10.0.0.0/16')
    return problems


def _webhook_problems(settings: Webhooks) -> list[str]:
    problems = []
    keys = [_azure_keys(settings), Keys(settings.hmac_file), Keys(settings.token_file)]
    receivers = any(each.configured for each in keys) or settings.azure_issuer
    if bool(settings.listen) != bool(receivers):
        problems.append(
            "KEYFERRY_WEBHOOK_ADDRESS goes together with who may send: KEYFERRY_AZURE_EVENTS_KEY_FILE, "
            "KEYFERRY_AZURE_EVENTS_ISSUER, KEYFERRY_WEBHOOK_HMAC_FILE or KEYFERRY_WEBHOOK_TOKEN_FILE"
        )
    if settings.azure_issuer and not (settings.azure_audience and settings.azure_jwks):
        problems.append(
            "KEYFERRY_AZURE_EVENTS_ISSUER needs KEYFERRY_AZURE_EVENTS_AUDIENCE and KEYFERRY_AZURE_EVENTS_JWKS_URL"
        )
    for each in keys:
        if each.configured:
            try:
                each.load()
            except KeysError as error:
                problems.append(str(error))
    return problems
