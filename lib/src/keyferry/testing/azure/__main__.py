"""Azure as a process: `python -m keyferry.testing.azure --kubeconfig FILE`, until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys

from keyferry.kube import connect
from keyferry.testing.azure.server import TENANT, AzureEmulator


async def serve(args: argparse.Namespace) -> None:
    """Runs the emulator; prints one JSON line with its URLs and the administrator's token when it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AzureEmulator() as azure:
        for name in args.vault:
            azure.vault(name)
        ready = {
            "url": azure.url,
            "vault_url": azure.vault_url,
            "metadata_url": azure.metadata_url,
            "ca_file": azure.ca_file,
            "tenant": TENANT,
            "admin_token": azure.admin_token,
            "issuer": await _trust(azure, args.kubeconfig) if args.kubeconfig else "",
            "environ": azure.environ(),
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()


async def _trust(azure: AzureEmulator, kubeconfig: str) -> str:
    """Has federated credentials take tokens of a cluster; gives its issuer."""
    async with connect(kubeconfig, user_agent="keyferry-testing-azure") as kube:
        about = await kube.call("GET", "/.well-known/openid-configuration")
        keys = await kube.call("GET", "/openid/v1/jwks")
    assert about is not None
    assert keys is not None
    azure.directory.trust(about["issuer"], keys)
    return str(about["issuer"])


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m keyferry.testing.azure", description=__doc__)
    parser.add_argument("--kubeconfig", help="of the cluster whose issuer is known")
    parser.add_argument("--vault", action="append", default=[], help="name of a vault to make; may be repeated")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
