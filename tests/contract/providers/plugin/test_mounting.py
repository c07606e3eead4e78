"""Provider and plugin, over a socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fetcher.provider import Secret
from fetcher.providers.plugin import Client, PluginSettings
from keyferry.errors import ProviderError, ProviderUnavailable
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb
from keyferry.testing.plugin import KEY, Plugin, plugin_server

if TYPE_CHECKING:
    from tests.contract.providers.plugin.conftest import Asking


def contents(secrets: Sequence[Secret]) -> dict[str, bytes]:
    return {secret.path: secret.contents for secret in secrets}


async def test_objects_become_files(asking: Asking) -> None:
    """Acceptance cases 7 and 8 of upstream's e2e suite, with the mode left to the driver."""
    async with plugin_server(asking.folder, "mock"):
        secrets = await asking.provider().fetch(asking.asks("foo", "fookey"))

    assert contents(secrets) == {"foo": b"secret", "fookey": KEY.encode()}
    assert [(s.object_id, s.version, s.mode) for s in secrets] == [
        ("secret/foo", "v1", None),
        ("secret/fookey", "v1", None),
    ]


async def test_a_rotated_value_is_fetched(asking: Asking) -> None:
    """Case 25: with the version that goes with it."""
    async with plugin_server(asking.folder, "mock") as plugin:
        await asking.provider().fetch(asking.asks())
        plugin.rotated = True
        [secret] = await asking.provider().fetch(asking.asks())

    assert (secret.contents, secret.version) == (b"rotated", "v2")


async def test_the_pods_tokens_and_secret_arrive(asking: Asking) -> None:
    """Case 1: but not the token for us, and the whole protocol's request is filled in."""
    async with plugin_server(asking.folder, "mock", Plugin(audiences=("aud1",))) as plugin:
        await asking.provider().fetch(asking.asks(node_publish_secret={"clientid": "c"}, default_mode=0o600))

    [question] = plugin.questions
    attributes = json.loads(question.attributes)
    assert attributes["csi.storage.k8s.io/pod.name"] == "web-1"
    assert list(json.loads(attributes["csi.storage.k8s.io/serviceAccount.tokens"])) == ["aud1"]
    assert (json.loads(question.secrets), question.permission) == ({"clientid": "c"}, "384")


async def test_a_missing_token_is_the_plugins_to_refuse(asking: Asking) -> None:
    """In its own words."""
    async with plugin_server(asking.folder, "mock", Plugin(audiences=("aud1", "aud2"))):
        with pytest.raises(ProviderError, match="token for audience aud2 was not in the request") as caught:
            await asking.provider().fetch(asking.asks())

    assert (caught.value.code, caught.value.reason) == ("UNKNOWN", "GRPCProviderError")


@pytest.mark.parametrize("field", ["attributes", "target_path", "permission"])
async def test_a_request_that_lacks_something_is_refused(field: str) -> None:
    """By the test's plugin as by upstream's: what the other tests here send is therefore whole."""
    plugin = Plugin()
    question = pb.MountRequest(attributes="{}", secrets="{}", target_path="/t", permission="420")
    question.ClearField(field)

    with pytest.raises(ProviderError, match=f"missing {field.replace('_', ' ')}"):
        await plugin.Mount(question, 0.0)


async def test_a_status_is_passed_on(asking: Asking) -> None:
    """Code and words, at once: it is no use to repeat what was refused."""

    async def refuse(_: pb.MountRequest) -> pb.MountResponse:
        raise ProviderError("service account name not authorized", code="PERMISSION_DENIED", reason="")

    async with plugin_server(asking.folder, "mock", Plugin(answer=refuse)) as plugin:
        with pytest.raises(ProviderError) as caught:
            await asking.provider().fetch(asking.asks())

    assert caught.value.code == "PERMISSION_DENIED"
    assert caught.value.reason == "GRPCProviderError"
    assert "code = PermissionDenied desc = service account name not authorized" in caught.value.message
    assert len(plugin.questions) == 1


async def test_an_error_code_is_passed_on(asking: Asking) -> None:
    """As the reason."""

    async def refuse(_: pb.MountRequest) -> pb.MountResponse:
        return pb.MountResponse(error=pb.Error(code="AuthenticationFailed"))

    async with plugin_server(asking.folder, "mock", Plugin(answer=refuse)):
        with pytest.raises(ProviderError, match="failed with provider error code AuthenticationFailed") as caught:
            await asking.provider().fetch(asking.asks())

    assert caught.value.reason == "AuthenticationFailed"


async def test_the_first_folder_goes_before_the_second(asking: Asking) -> None:
    """And a plugin that appears in it later takes over."""
    async with plugin_server(asking.second, "mock") as second:
        await asking.provider().fetch(asking.asks())
        async with plugin_server(asking.folder, "mock") as first:
            await asking.provider().fetch(asking.asks())
        await asking.provider().fetch(asking.asks())

    assert (len(first.questions), len(second.questions)) == (1, 2)


async def test_each_name_has_its_own_plugin(asking: Asking) -> None:
    """And one that is nowhere is told, however many others there are."""
    async with plugin_server(asking.folder, "one") as one, plugin_server(asking.folder, "two") as two:
        await asking.provider("two").fetch(asking.asks())
        with pytest.raises(ProviderUnavailable, match='provider not found: provider "three"'):
            await asking.provider("three").fetch(asking.asks())

    assert (len(one.questions), len(two.questions)) == (0, 1)


async def test_many_fetches_share_one_connection(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """They run at the same time, and the plugin is greeted once."""
    together = asyncio.Barrier(20)

    async def wait(_: pb.MountRequest) -> pb.MountResponse:
        await together.wait()
        return pb.MountResponse(object_version=[pb.ObjectVersion(id="a")], files=[pb.File(path="a")])

    async with plugin_server(asking.folder, "mock", Plugin(answer=wait)) as plugin:
        with caplog.at_level(logging.INFO):
            fetched = await asyncio.gather(*(asking.provider().fetch(asking.asks()) for _ in range(20)))

    assert [len(secrets) for secrets in fetched] == [1] * 20
    assert [greeting.version for greeting in plugin.greetings] == ["v1alpha1"]
    [record] = [record for record in caplog.records if record.message == "plugin connected"]
    assert vars(record)["runtime"] == "keyferry-test-plugin"
    assert vars(record)["runtime_version"] == "0.0.1"


async def test_another_protocol_version_is_logged_and_tried(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has ever refused one."""
    odd = Plugin(version=pb.VersionResponse(version="v9", runtime_name="odd" * 99))
    async with plugin_server(asking.folder, "mock", odd):
        with caplog.at_level(logging.WARNING):
            assert await asking.provider().fetch(asking.asks())

    [record] = [record for record in caplog.records if record.message == "plugin connected"]
    assert vars(record)["protocol"] == "v9"
    assert len(vars(record)["runtime"]) == 64


async def test_an_answer_beyond_the_limit_is_not_read(asking: Asking) -> None:
    """And one just below it is."""

    async def large(_: pb.MountRequest) -> pb.MountResponse:
        return pb.MountResponse(
            object_version=[pb.ObjectVersion(id="a")], files=[pb.File(path="a", contents=b"x" * size)]
        )

    client = Client(PluginSettings(folders=(str(asking.folder),), largest_answer=100_000))
    provider = replace(asking.provider(), client=client)
    async with plugin_server(asking.folder, "mock", Plugin(answer=large)):
        size = 99_000
        [secret] = await provider.fetch(asking.asks())
        size = 100_001
        with pytest.raises(ProviderError, match="KEYFERRY_PLUGIN_MAX_MESSAGE") as caught:
            await provider.fetch(asking.asks())
    await client.close()

    assert len(secret.contents) == 99_000
    assert (caught.value.code, caught.value.retry_after) == ("RESOURCE_EXHAUSTED", None)


async def test_what_a_volume_holds_fits_the_default(asking: Asking) -> None:
    """Four MiB of content, whose limit the fetcher keeps for all providers."""
    whole = pb.MountResponse(
        object_version=[pb.ObjectVersion(id="a")], files=[pb.File(path="a", contents=bytes(4 * 1024 * 1024 + 1))]
    )

    async def answer(_: pb.MountRequest) -> pb.MountResponse:
        return whole

    async with plugin_server(asking.folder, "mock", Plugin(answer=answer)):
        [secret] = await asking.provider().fetch(asking.asks())

    assert len(secret.contents) == 4 * 1024 * 1024 + 1


async def test_nothing_secret_shows(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the error nor in the log, although the plugin quotes all that it was sent."""

    async def quote(question: pb.MountRequest) -> pb.MountResponse:
        raise ProviderError(f"cannot use {question}", code="UNKNOWN", reason="")

    secret = "correct horse battery staple"
    request = asking.asks(node_publish_secret={"clientsecret": secret})
    async with plugin_server(asking.folder, "mock", Plugin(answer=quote)):
        with caplog.at_level(logging.DEBUG), pytest.raises(ProviderError) as caught:
            await asking.provider().fetch(request)

    error = caught.value
    assert error.message.startswith('provider "mock": rpc error: code = Unknown desc = cannot use')
    assert (error.__cause__, error.__context__) == (None, None)
    shown = f"{error!r}{vars(error)}{asking.provider()!r}{caplog.text}"
    assert secret not in shown
    assert "eyJ" not in shown


async def test_a_fetched_value_shows_nowhere(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the log at its most talkative, nor in what is given back."""
    with caplog.at_level(logging.DEBUG):
        async with plugin_server(asking.folder, "mock", Plugin(rotated=True)):
            secrets = await asking.provider().fetch(asking.asks())

    assert "rotated" not in f"{secrets!r}{caplog.text}"
    assert "eyJ" not in caplog.text
