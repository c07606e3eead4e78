"""Google Cloud as a process: `python -m keyferry.testing.gcp --kubeconfig FILE`, until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys

from keyferry.kube import connect
from keyferry.testing.gcp.server import GcpEmulator


async def serve(args: argparse.Namespace) -> None:
    """Runs the emulator; prints one JSON line with its endpoints and the administrator's token when it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with GcpEmulator(secure=args.secure) as gcp:
        gcp.administer(args.project)
        pools = await _trust(gcp, args) if args.kubeconfig else []
        ready = {
            "url": gcp.url,
            "endpoint": gcp.endpoint,
            "regional_endpoint": gcp.regional_endpoint,
            "ca_file": gcp.ca_file,
            "admin_token": gcp.admin_token,
            "pools": pools,
            "environ": gcp.environ(),
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()


async def _trust(gcp: GcpEmulator, args: argparse.Namespace) -> list[str]:
    """Has the pools take tokens of a cluster: the project's as of GKE, and a provider's if one is named."""
    async with connect(args.kubeconfig, user_agent="keyferry-testing-gcp") as kube:
        about = await kube.call("GET", "/.well-known/openid-configuration")
        keys = await kube.call("GET", "/openid/v1/jwks")
    assert about is not None
    assert keys is not None
    cluster = (
        f"https://container.googleapis.com/v1/projects/{args.project}/locations/{args.location}/clusters/{args.cluster}"
    )
    gcp.metadata.update(
        {
            "project/project-id": args.project,
            "instance/attributes/cluster-location": args.location,
            "instance/attributes/cluster-name": args.cluster,
        }
    )
    pools = [gcp.identities.trust_gke(args.project, cluster, issuer=about["issuer"], keys=keys)]
    if args.provider:
        pools.append(gcp.identities.trust_federated(args.provider, issuer=about["issuer"], keys=keys))
    return pools


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m keyferry.testing.gcp", description=__doc__)
    parser.add_argument("--secure", action="store_true", help="TLS with certificates of its own authority")
    parser.add_argument("--project", default="demo", help="id of a project that the administrator owns")
    parser.add_argument("--kubeconfig", help="of the cluster whose service accounts are trusted")
    parser.add_argument("--location", default="europe-west1", help="where that cluster is, as a GKE cluster")
    parser.add_argument("--cluster", default="demo", help="its name")
    parser.add_argument("--provider", default="", help="trust it as this provider of Workload Identity Federation too")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
