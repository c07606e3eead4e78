import grpc
import pytest

from keyferry import errors
from keyferry.errors import BY_REASON, KeyferryError, ProviderError, SecretProviderClassNotFound, from_failure, place

CLASSES = [*BY_REASON.values(), ProviderError]
NOT_FINAL = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}


@pytest.mark.parametrize("kind", CLASSES)
def test_codes_are_grpcs(kind: type[KeyferryError]) -> None:
    """Every class's code is one that grpc can send."""
    assert grpc.StatusCode[kind.code] is not grpc.StatusCode.OK


def test_reasons_are_distinct() -> None:
    """A reason stands for one class: it is the label of metrics and the name on the wire."""
    assert len(BY_REASON) == len(KeyferryError.__subclasses__()) - 1


@pytest.mark.parametrize("kind", list(BY_REASON.values()))
def test_a_delay_goes_with_a_code_that_kubelet_retries(kind: type[KeyferryError]) -> None:
    """What we would try again kubelet must try again, and the other way round."""
    assert (kind.retry_after is not None) == (kind.code in NOT_FINAL)


def test_the_tree_is_drawn_in_the_module() -> None:
    """The picture at the top of the module names every class."""
    assert [kind.__name__ for kind in CLASSES if f"─ {kind.__name__} " not in str(errors.__doc__)] == []


def test_a_delay_can_be_the_backends_own() -> None:
    """Retry-After replaces the class's delay, for this error only."""
    assert errors.RateLimited("slow", retry_after=30.0).retry_after == 30.0
    assert errors.RateLimited("slow").retry_after == 5.0


def test_a_missing_class_is_told_in_upstreams_words() -> None:
    """People and their alerts grep for this text."""
    error = SecretProviderClassNotFound.named("shop", "cart")

    assert error.message.startswith(
        "failed to get secretproviderclass shop/cart, error: "
        'secretproviderclasses.secrets-store.csi.x-k8s.io "cart" not found'
    )


def test_an_unknown_reason_keeps_its_code_and_delay() -> None:
    """Nothing is invented for an error of another release."""
    error = from_failure("NOT_FOUND", "KeyRingMissing", "make the key ring", None)

    assert (type(error), error.code, error.reason, error.retry_after) == (
        ProviderError,
        "NOT_FOUND",
        "KeyRingMissing",
        None,
    )


def test_a_defect_is_placed_but_not_quoted() -> None:
    """Type, file, line and function; the text, which may quote a secret, stays out."""
    with pytest.raises(ValueError, match="canary") as raised:
        int("canary-1")

    assert place(raised.value).startswith("ValueError at test_errors.py:")
    assert place(raised.value).endswith(" in test_a_defect_is_placed_but_not_quoted")
    assert place(KeyError("canary")) == "KeyError"
