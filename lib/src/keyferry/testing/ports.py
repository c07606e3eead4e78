"""Free loopback ports for servers that tests start."""

import random
import socket

# Below the kernel's ephemeral range: no outgoing connection of another process can take a port between the moment it is
# found free and the moment the server binds it, nor while a fault test has the server down.
_FIRST, _LAST = 15_000, 29_999

_random = random.SystemRandom()  # unseeded on purpose: two test runs at once must not draw the same ports
_given: set[int] = set()


def free_port(*, run: int = 1) -> int:
    """Return the first of `run` neighbouring free TCP ports on 127.0.0.1, none of them ever handed out before.

    Args:
        run: How many consecutive ports the server takes (OpenBao listens on its port and the next one).

    Raises:
        RuntimeError: If no free run was found; the machine is out of ports.
    """
    for _ in range(1000):
        first = _random.randrange(_FIRST, _LAST - run)
        wanted = range(first, first + run)
        if _given.isdisjoint(wanted) and all(_is_free(port) for port in wanted):
            _given.update(wanted)
            return first
    raise RuntimeError(f"no {run} neighbouring free ports between {_FIRST} and {_LAST} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose old connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
