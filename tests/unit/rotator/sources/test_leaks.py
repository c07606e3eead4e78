"""Nothing of a payload is in an error, and so in no log."""

import json
from collections.abc import Callable

import pytest

from rotator.sources import aws_events, azure_events, cloudevents, gcp_events, vault_events
from rotator.sources.document import Malformed, event_id

CANARY = "CANARY-7f3a"


def put(**detail: object) -> str:
    return json.dumps(
        {"id": CANARY, "source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "detail": detail}
    )


CASES: dict[str, Callable[[], object]] = {
    "no JSON": lambda: aws_events.change(f"{CANARY} {{"),
    "no event": lambda: aws_events.change(json.dumps({CANARY: CANARY})),
    "no secret": lambda: aws_events.change(put(name=f"{CANARY}\x00")),
    "no secret of Google": lambda: gcp_events.change(
        {"eventType": "SECRET_VERSION_ADD", "secretId": CANARY}, b"{}", CANARY
    ),
    "no log entry": lambda: gcp_events.change({}, CANARY.encode(), CANARY),
    "no audit entry": lambda: vault_events.audited(CANARY.encode()),
    "no notification": lambda: vault_events.notified(json.dumps({"data": CANARY})),
    "no object of a vault": lambda: azure_events.change(
        {"eventType": "Microsoft.KeyVault.SecretNewVersionCreated", "data": {"VaultName": CANARY}}
    ),
    "no code": lambda: azure_events.validation_code(
        {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": f"<{CANARY}>"}}
    ),
    "no provider": lambda: cloudevents.read(
        cloudevents.STRUCTURED,
        {},
        json.dumps(
            {
                "specversion": "1.0",
                "id": CANARY,
                "source": CANARY,
                "type": cloudevents.TYPE,
                "data": {"provider": CANARY},
            }
        ).encode(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_quotes_nothing(case: str) -> None:
    """Whatever is wrong with a payload is said without any of it, and without the parser's own words."""
    with pytest.raises(Malformed) as caught:
        CASES[case]()
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_id_that_fits_no_header_is_hashed() -> None:
    """Line ends and long texts do not get into a message's headers."""
    assert event_id("plain-1") == "plain-1"
    assert len(event_id("with\r\nline: ends")) == 64
    assert len(event_id("x" * 1000)) == 64
    assert len(event_id("\ud800")) == 64
