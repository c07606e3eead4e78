import logging

import pytest

from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.plugin.answers import secrets
from keyferry.errors import ProviderError
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb
from keyferry.resources import Pod

REQUEST = ProviderRequest(parameters={}, pod=Pod("shop", "web-1", "uid-1", "web"), tokens={"aud": "t0ken.of.web"})


def versions(**known: str) -> list[pb.ObjectVersion]:
    return [pb.ObjectVersion(id=name, version=version) for name, version in known.items()]


def files(*paths: str) -> list[pb.File]:
    return [pb.File(path=path, contents=path.encode()) for path in paths]


def read(answer: pb.MountResponse) -> list[Secret]:
    return secrets("mock", answer, REQUEST)


def objects(answer: pb.MountResponse) -> list[tuple[str, str, str | None]]:
    return [(secret.path, secret.object_id, secret.version) for secret in read(answer)]


def error(answer: pb.MountResponse) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(answer)
    return caught.value


def test_one_file() -> None:
    """Path, contents and mode are the plugin's."""
    file = pb.File(path="foo", mode=0o600, contents=b"\0\xff")

    assert read(pb.MountResponse(object_version=versions(foo="v1"), files=[file])) == [
        Secret(path="foo", contents=b"\0\xff", object_id="foo", version="v1", mode=0o600)
    ]


def test_many_and_nested_files() -> None:
    """Every object is there, each with a file; the pairs of id and version stay as they were."""
    answer = pb.MountResponse(object_version=versions(x="1", y="2", z="3"), files=files("a", "b/c", "b/d/e"))

    assert objects(answer) == [("a", "x", "1"), ("b/c", "y", "2"), ("b/d/e", "z", "3")]


def test_an_object_with_a_files_name_is_that_files() -> None:
    """Whatever the order: Go's maps have none."""
    answer = pb.MountResponse(object_version=versions(other="1", b="2", a="3"), files=files("a", "aliased", "b"))

    assert objects(answer) == [("a", "a", "3"), ("aliased", "other", "1"), ("b", "b", "2")]


def test_more_files_than_objects() -> None:
    """A certificate gives .crt and .key: the last object has more than one file, and none is invented."""
    answer = pb.MountResponse(object_version=versions(pw="1", cert="2"), files=files("a", "b.crt", "b.key"))

    assert objects(answer) == [("a", "pw", "1"), ("b.crt", "cert", "2"), ("b.key", "cert", "2")]


def test_fewer_files_than_objects() -> None:
    """What has no file of its own is left out: a volume's versions are told by its files."""
    answer = pb.MountResponse(object_version=versions(a="1", b="2", c="3"), files=files("joined"))

    assert objects(answer) == [("joined", "a", "1")]


def test_an_object_named_twice_has_the_later_version() -> None:
    """As in upstream's map."""
    answer = pb.MountResponse(object_version=[*versions(a="1"), *versions(a="2")], files=files("a"))

    assert objects(answer) == [("a", "a", "2")]


def test_an_object_without_version_leaves_it_to_the_fetcher() -> None:
    """Who makes one from the contents."""
    assert objects(pb.MountResponse(object_version=versions(a=""), files=files("a"))) == [("a", "a", None)]


@pytest.mark.parametrize(
    ("told", "mode"), [(0, None), (0o640, 0o640), (0o100644, 0o644), (0o4755, 0o755), (-1, 0o777), (2**31 - 1, 0o777)]
)
def test_modes_are_permission_bits(told: int, mode: int | None) -> None:
    """The rest of the number is left out, as Go does; 0 is what a plugin says that sets none."""
    answer = pb.MountResponse(object_version=versions(a="1"), files=[pb.File(path="a", mode=told)])

    assert [secret.mode for secret in read(answer)] == [mode]


def test_missing_object_versions() -> None:
    """Upstream's words and reason."""
    failure = error(pb.MountResponse(files=files("a")))

    assert "missing object versions" in failure.message
    assert failure.reason == "GRPCProviderError"
    assert failure.retry_after is None


def test_no_files() -> None:
    """A plugin that believes it has written them itself must not leave an empty volume behind an OK."""
    failure = error(pb.MountResponse(object_version=versions(a="1")))

    assert "answered without files" in failure.message
    assert "--driver-writes-secrets=true" in failure.message
    assert failure.reason == "GRPCProviderError"


def test_an_error_code() -> None:
    """It is the reason, whatever else the answer holds."""
    answer = pb.MountResponse(
        object_version=versions(a="1"), files=files("a"), error=pb.Error(code="AuthenticationFailed")
    )

    failure = error(answer)

    assert failure.message == 'provider "mock": mount request failed with provider error code AuthenticationFailed'
    assert (failure.reason, failure.code) == ("AuthenticationFailed", "UNKNOWN")


@pytest.mark.parametrize("code", ["two words", "x" * 64, "1st", "line\nbreak", "läuft"])
def test_an_error_code_that_is_no_reason_is_only_told(code: str) -> None:
    """Reasons become labels of metrics."""
    assert error(pb.MountResponse(error=pb.Error(code=code))).reason == "GRPCProviderError"


def test_an_error_code_does_not_carry_the_token_out() -> None:
    """It is the plugin's text like any other."""
    failure = error(pb.MountResponse(error=pb.Error(code="t0ken.of.web")))

    assert "t0ken.of.web" not in failure.message + failure.reason


def test_an_error_message_without_code_is_none() -> None:
    """An empty Error is what some plugins send along with their files."""
    answer = pb.MountResponse(object_version=versions(a="1"), files=files("a"), error=pb.Error())

    assert objects(answer) == [("a", "a", "1")]


def test_an_answer_too_large_for_a_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Syncing will fail later, and nobody would know why."""
    big = [pb.File(path="a", contents=b"x" * 1024 * 1024)]
    with caplog.at_level(logging.WARNING):
        read(pb.MountResponse(object_version=versions(a="1"), files=big))

    assert "answer above 1 MiB" in caplog.text
