"""Installs, upgrades and uninstalls the chart with Helm's library: hooks, waiting and what is kept are Helm's doing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from keyferry.testing.chart.fitting import NAMESPACE, RELEASE, Json, Place, fit, values

CHART = Path(__file__).parents[5] / "deploy" / "helm" / "keyferry"
_SECONDS = 900  # of a machine that others use too
_OLDEST = "1.30.0"  # that the chart is for


def merged(base: Json, over: Mapping[str, Any]) -> Json:
    """Values with others on top, as Helm merges them."""
    both = {key: merged(base[key], value) for key, value in over.items() if isinstance(base.get(key), dict)}
    return {**base, **over, **both}


def rendered(place: Place, more: Mapping[str, Any]) -> list[Json]:
    """What the chart makes of the values, fitted to the cluster."""
    given = merged(values(place), more) | {"kubeVersion": _OLDEST}
    with helm.Chart.load(CHART) as chart:
        objects = objects_of(chart.render(given, name=RELEASE, namespace=NAMESPACE))
    fit(objects, place)
    return objects


def objects_of(texts: Mapping[str, str]) -> list[Json]:
    """The objects in what a chart makes, which is text by the template that it comes from."""
    return [
        each
        for path, text in texts.items()
        if not path.endswith("NOTES.txt")
        for each in yaml.safe_load_all(text)
        if each is not None
    ]


def write(folder: Path, objects: list[Json]) -> None:
    """Write objects as a chart of that name, without templates and with no wish for a version of Kubernetes."""
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(yaml.safe_dump({k: v for k, v in told.items() if k != "kubeVersion"}))
    for number, each in enumerate(objects):
        text = yaml.safe_dump(each).replace("{{", '{{ "{{" }}')
        (folder / "templates" / f"{number:03}.yaml").write_text(text)


class Release:
    """The release on one cluster. Its methods block until Helm is done.

    Args:
        kubeconfig: Of who installs it.
        place: What the manifests are fitted to.
    """

    def __init__(self, kubeconfig: Path, place: Place) -> None:
        self._kubeconfig = kubeconfig
        self._place = place

    def install(self, **more: Any) -> None:
        """Install it with these values, and wait until all is ready.

        Raises:
            helm.HelmError: it does not become so.
        """
        self._apply("install", more)

    def upgrade(self, **more: Any) -> None:
        """Upgrade it to these values, and wait likewise."""
        self._apply("upgrade", more)

    def uninstall(self) -> None:
        """Remove it, and wait until what goes is gone."""
        with closing(self._config()) as config:
            config.uninstall(RELEASE, timeout=_SECONDS, wait="legacy")

    def _config(self) -> helm.Config:
        return helm.Config(kubeconfig_path=self._kubeconfig, namespace=NAMESPACE)

    def _apply(self, action: str, more: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as made, closing(self._config()) as config:
            folder = Path(made) / "keyferry"
            write(folder, rendered(self._place, more))
            getattr(config, action)(folder, RELEASE, namespace=NAMESPACE, timeout=_SECONDS, wait="legacy")
