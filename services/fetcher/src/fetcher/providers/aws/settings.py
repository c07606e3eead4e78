"""What an operator may set for the AWS provider; AWS's own variables keep their names and meaning."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.settings import count, duration, flag, setting


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """Read once from the environment; a class can choose no endpoint, only a region."""

    region: str = setting("AWS_REGION", "Region of classes that name none.", default="")
    endpoint_url: str = setting(
        "AWS_ENDPOINT_URL", "Endpoint of every AWS service, for private networks and emulators.", default=""
    )
    secretsmanager_endpoint_url: str = setting(
        "AWS_ENDPOINT_URL_SECRETS_MANAGER", "Endpoint of Secrets Manager, before AWS_ENDPOINT_URL.", default=""
    )
    ssm_endpoint_url: str = setting(
        "AWS_ENDPOINT_URL_SSM", "Endpoint of Systems Manager, before AWS_ENDPOINT_URL.", default=""
    )
    sts_endpoint_url: str = setting(
        "AWS_ENDPOINT_URL_STS", "Endpoint of the Security Token Service, before AWS_ENDPOINT_URL.", default=""
    )
    use_fips: bool = setting("AWS_USE_FIPS_ENDPOINT", "Use FIPS 140 endpoints.", default=False, parse=flag)
    use_dualstack: bool = setting(
        "AWS_USE_DUALSTACK_ENDPOINT", "Use endpoints that also have IPv6 addresses.", default=False, parse=flag
    )
    pod_identity_endpoint: str = setting(
        "KEYFERRY_AWS_POD_IDENTITY_ENDPOINT",
        "URL of the EKS Pod Identity Agent, if not where EKS puts it; classes' preferredAddressType is then ignored.",
        default="",
    )
    threads: int = setting(
        "KEYFERRY_AWS_THREADS",
        "Calls to AWS at the same time, and connections kept per region and service. AWS answers in 10 to 30 ms, so "
        "that 32 are enough to keep one core busy.",
        default=32,
        parse=count,
    )
    attempts: int = setting(
        "KEYFERRY_AWS_ATTEMPTS",
        "Tries per call, with AWS's standard backoff between them; never beyond the mount's deadline.",
        default=3,
        parse=count,
    )
    connect_timeout: float = setting(
        "KEYFERRY_AWS_CONNECT_TIMEOUT", "How long a connection may take.", default=2.0, parse=duration
    )
    read_timeout: float = setting(
        "KEYFERRY_AWS_READ_TIMEOUT", "How long a connection may stay silent.", default=5.0, parse=duration
    )

    def endpoint(self, service: str) -> str | None:
        """The endpoint an operator set for ``secretsmanager``, ``ssm`` or ``sts``; None for AWS's own."""
        own = {
            "secretsmanager": self.secretsmanager_endpoint_url,
            "ssm": self.ssm_endpoint_url,
            "sts": self.sts_endpoint_url,
        }
        return own[service] or self.endpoint_url or None
