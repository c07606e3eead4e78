import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from fetcher.providers.aws.faults import from_code, from_sdk
from keyferry.errors import ProviderUnavailable, RateLimited


def test_a_code_that_is_no_code_is_replaced_by_the_status() -> None:
    """What stands in an answer's code is not ours: only something that looks like a code may be told."""
    fault = from_code("canary value\n", 503)
    assert (fault.code, fault.kind) == ("HTTP status 503", ProviderUnavailable)


@pytest.mark.parametrize("header", ["17", "soon", "", "-3", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_is_taken_only_as_seconds(header: str) -> None:
    """Anything else leaves the error's own delay."""
    answer = {
        "Error": {"Code": "ThrottlingException", "Message": ""},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {"retry-after": header}},
    }
    error = from_sdk(ClientError(answer, "GetSecretValue")).explain("reading")  # type: ignore[arg-type]  # as parsed
    assert error.retry_after == (17.0 if header == "17" else RateLimited.retry_after)


def test_network_errors_are_outages_named_by_their_kind() -> None:
    """The name says whether it was connecting or waiting; the URL stays out."""
    fault = from_sdk(ConnectTimeoutError(endpoint_url="https://canary"))
    assert (fault.explain("reading").message, fault.kind) == ("reading: ConnectTimeoutError", ProviderUnavailable)
