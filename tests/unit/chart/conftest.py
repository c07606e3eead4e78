"""The chart, rendered as Helm renders it, for every set of values that the tests look at."""

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from keyferry.testing.chart.release import merged, objects_of

Json = dict[str, Any]

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "keyferry"
RELEASE, NAMESPACE = "csi-secrets-store", "kube-system"
NEWEST = "1.37.0"


@dataclass(frozen=True)
class Rendered:
    """What Helm would hand to the API server."""

    objects: tuple[Json, ...]

    def of(self, *kinds: str) -> list[Json]:
        """All objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Json:
        """The object of this kind and name."""
        (found,) = (each for each in self.of(kind) if each["metadata"]["name"] == name)
        return found

    @property
    def workloads(self) -> list[Json]:
        """Everything that makes pods; of a CronJob, its Job."""
        timed = [
            {"kind": "Job", "metadata": each["metadata"], "spec": each["spec"]["jobTemplate"]["spec"]}
            for each in self.of("CronJob")
        ]
        return self.of("DaemonSet", "Deployment", "StatefulSet", "Job") + timed

    def container(self, name: str) -> Json:
        """The container of this name, of all pods."""
        pods = (each["spec"]["template"]["spec"] for each in self.workloads)
        found: Json = next(each for pod in pods for each in pod["containers"] if each["name"] == name)
        return found


@functools.cache
def _values(name: str) -> Json:
    path = Path(__file__).parent / "values" / f"{name}.yaml"
    loaded: Json = yaml.safe_load(path.read_text()) if name else {}
    return loaded


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def render() -> Iterator[Render]:
    """Renders a set of values (``guide``, ``everything``, ``external``, or none for the defaults), and more on top."""
    with helm.Chart.load(CHART) as chart:

        @functools.cache
        def cached(name: str, version: str) -> Rendered:
            return _render(chart, _values(name) | {"kubeVersion": version})

        def rendered(name: str = "", version: str = NEWEST, **more: Any) -> Rendered:
            if not more:
                return copy.deepcopy(cached(name, version))
            return _render(chart, merged(_values(name), more) | {"kubeVersion": version})

        yield rendered


def _render(chart: helm.Chart, values: Json) -> Rendered:
    return Rendered(tuple(objects_of(chart.render(values, name=RELEASE, namespace=NAMESPACE))))
