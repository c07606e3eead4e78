from pathlib import Path
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError

from keyferry.testing.aws import Aws, aws_server
from keyferry.testing.processes import ServerError

ISSUER = "https://oidc.example.org/id/1"
SUBJECT = "system:serviceaccount:shop:web"


def token(subject: str) -> str:
    """A service-account token; the emulator does not check who signed it."""
    claims = {"iss": ISSUER, "sub": subject, "aud": "sts.amazonaws.com"}
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


async def assume(aws: Aws, role: str, subject: str) -> dict[str, Any]:
    answer = await aws.call(
        "sts",
        lambda client: client.assume_role_with_web_identity(
            RoleArn=role, RoleSessionName="test", WebIdentityToken=token(subject)
        ),
    )
    return dict(answer["Credentials"])


async def test_secrets_have_versions(aws: Aws) -> None:
    """A put becomes the current version, as text or as bytes."""
    arn = await aws.create_secret("servers/text", "one")
    version = await aws.put_secret("servers/text", "two")
    await aws.create_secret("servers/bytes", b"\x00\xff")

    text = await aws.call("secretsmanager", lambda client: client.get_secret_value(SecretId=arn))
    binary = await aws.call("secretsmanager", lambda client: client.get_secret_value(SecretId="servers/bytes"))

    assert (text["SecretString"], text["VersionId"]) == ("two", version)
    assert binary["SecretBinary"] == b"\x00\xff"


async def test_parameters_have_versions(aws: Aws) -> None:
    """An overwritten parameter counts up and keeps its type."""
    versions = [await aws.put_parameter("/servers/one", value) for value in ("a", "b")]
    answer = await aws.call("ssm", lambda client: client.get_parameter(Name="/servers/one", WithDecryption=True))

    assert versions == [1, 2]
    assert (answer["Parameter"]["Value"], answer["Parameter"]["Type"]) == ("b", "SecureString")


@pytest.fixture(scope="module")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with aws_server(tmp_path_factory.mktemp("strict-aws"), auth=True) as running:
        yield running


async def test_a_role_is_assumed_by_its_service_account_only(strict_aws: Aws) -> None:
    """With auth on, the trust policy that IRSA rests on is enforced."""
    role = await strict_aws.create_role("trusting", issuer=ISSUER, subject=SUBJECT)

    assert (await assume(strict_aws, role, SUBJECT))["AccessKeyId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        await assume(strict_aws, role, "system:serviceaccount:shop:other")


async def test_a_role_reads_what_its_policy_allows_only(strict_aws: Aws) -> None:
    """With auth on, temporary keys are checked against the role's policy."""
    arn = await strict_aws.create_secret("allowed", "value")
    await strict_aws.create_secret("other", "value")
    role = await strict_aws.create_role(
        "reader", issuer=ISSUER, subject=SUBJECT, actions=["secretsmanager:GetSecretValue"], resources=[arn]
    )
    credentials = await assume(strict_aws, role, SUBJECT)
    pod = strict_aws.signing_with(credentials)

    answer = await pod.call("secretsmanager", lambda client: client.get_secret_value(SecretId="allowed"))

    assert answer["SecretString"] == "value"
    with pytest.raises(ClientError, match="AccessDenied"):
        await pod.call("secretsmanager", lambda client: client.get_secret_value(SecretId="other"))


async def test_a_restart_is_an_empty_account(tmp_path: Path) -> None:
    """Everything is in memory; tests that restart it know what they get."""
    with aws_server(tmp_path) as running:
        await running.create_secret("gone", "value")
        running.process.restart()

        with pytest.raises(ClientError, match="ResourceNotFound"):
            await running.put_secret("gone", "value")


def test_a_taken_port_is_reported(tmp_path: Path, aws: Aws) -> None:
    """The emulator's own words stand in the error."""
    port = int(aws.endpoint_url.rpartition(":")[2])

    with pytest.raises(ServerError, match="already in use"), aws_server(tmp_path, port=port):
        pass
