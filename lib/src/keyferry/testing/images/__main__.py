"""Writes an archive of images, and says how large they are.

    python -m keyferry.testing.images ARCHIVE [NAME=]IMAGE ...

An image is a service, `nats` or `valkey`; its name is `keyferry/IMAGE:dev` unless another is given. As root: it mounts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from keyferry.testing.images.release import SERVICES, archive

_MIB = 1 << 20


def main() -> None:
    """Make the images that the command line names."""
    parser = argparse.ArgumentParser(prog="images", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path, help="written, for `ctr images import`")
    parser.add_argument("images", nargs="*", default=SERVICES, metavar="[NAME=]IMAGE", help="all services without any")
    args = parser.parse_args()
    parted = [each.rpartition("=") for each in args.images]
    names = {image: name or f"docker.io/keyferry/{image}:dev" for name, _, image in parted}
    with args.archive.open("wb") as target:
        for name, image in archive(target, names).items():
            layers = " + ".join(f"{each.size / _MIB:.0f}" for each in image.layers)
            print(f"{name}  {layers} MiB")  # noqa: T201 - what the command is asked for


if __name__ == "__main__":
    main()
