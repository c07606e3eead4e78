"""The node-driver's memory is a budget: what it must not carry is looked for in a running interpreter."""

import subprocess
import sys

# aiohttp is missing from this list: nats-py takes it along wherever it is installed, as it is here for the tests.
FORBIDDEN = ("azure", "boto3", "botocore", "google.cloud", "hvac", "kubernetes", "pydantic", "redis", "requests")


def test_the_node_driver_imports_no_client_of_a_cloud_or_of_kubernetes() -> None:
    """Importing all of the node-driver loads none of the modules that it must not carry."""
    script = "import sys, node_driver.app; print('\\n'.join(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert [name for name in loaded if name.startswith(FORBIDDEN)] == []
