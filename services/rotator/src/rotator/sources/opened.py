"""Which sources there are, by the environment, and how they all run."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
from collections.abc import Mapping

from keyferry.settings import SettingsError, load
from rotator.sources.keys import Keys, KeysError
from rotator.sources.settings import AwsEvents, GcpEvents, VaultAudit, VaultEvents, Webhooks
from rotator.sources.source import Emit, Source


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
    # Imported when opened: a rotator that hears of Vault alone carries no SDK of a cloud.
    wanted = [
        (aws.queue_url, "aws", "AwsSource", aws),
        (gcp.subscription, "gcp", "GcpSource", gcp),
        (vault.url, "vault", "VaultSource", vault),
        (audit.listen, "vault_audit", "VaultAuditSource", audit),
        (webhooks.listen, "webhooks", "open_webhooks", webhooks),
    ]
    return [
        getattr(importlib.import_module(f"rotator.sources.{module}"), name)(settings)
        for configured, module, name, settings in wanted
        if configured
    ]


async def run_sources(environ: Mapping[str, str], emit: Emit) -> None:
    """Run every configured source until cancelled; returns at once if there is none.

    Raises:
        SettingsError: as `open_sources`.
    """
    async with asyncio.TaskGroup() as tasks:
        for source in open_sources(environ):
            tasks.create_task(source.run(emit), name=f"source-{source.name}")


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
    keys = [Keys(settings.azure_key_file, settings.azure_key), Keys(settings.hmac_file), Keys(settings.token_file)]
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
