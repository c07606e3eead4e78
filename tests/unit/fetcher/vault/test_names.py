"""The names that the provider has in classes."""

from fetcher.provider import Leasing, Scoped
from fetcher.providers import open_providers


async def test_vault_and_openbao_are_one_provider() -> None:
    """One cache of tokens, one set of threads; whichever of the names is wanted."""
    async with open_providers(["vault", "openbao"], {}) as both, open_providers(["openbao"], {}) as one:
        assert both["vault"] is both["openbao"]
        assert sorted(both) == ["openbao", "vault"]
        assert list(one) == ["openbao"]
        assert isinstance(one["openbao"], Leasing)
        assert isinstance(one["openbao"], Scoped)
        assert one["openbao"].scope({"vaultAddress": "https://bao:1"}).backend == "https://bao:1"
