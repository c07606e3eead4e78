"""Real servers that tests share: each starts when the first test asks for it and ends with the session.

They are plain processes, tied to no event loop, so that a test with its own loop can use a session's server. What tests
keep in them they share too: a test names its own streams, keys and secrets. A test that breaks a server starts its own.
"""

from collections.abc import Iterator

import hypothesis
import pytest

from keyferry.testing.aws import Aws, aws_server
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.openbao import OpenBao, openbao_server
from keyferry.testing.valkey import Valkey, valkey_server

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("keyferry", deadline=None)
hypothesis.settings.load_profile("keyferry")


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A nats-server with JetStream; everyone may do everything."""
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey with a password and nothing on disk."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """An OpenBao with KV version 2 at `secret/`."""
    with openbao_server(tmp_path_factory.mktemp("openbao")) as running:
        yield running


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An AWS emulator that lets everyone do everything."""
    with aws_server(tmp_path_factory.mktemp("aws")) as running:
        yield running
