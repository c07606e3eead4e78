"""Turns a class's ``parameters`` into what is to be read as whom, or says everything that is wrong with them.

Names, defaults and refusals are those of Google's provider 1.15 for the Secrets Store CSI driver.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fetcher.document import DocumentError, Scalar, read
from fetcher.provider import Problems
from fetcher.providers.gcp.entries import Entry, Wanted
from fetcher.shown import shown

PARAMETERS = ("auth", "secrets")
POD_ADC, PROVIDER_ADC, KEY_FILE = "pod-adc", "provider-adc", "nodePublishSecretRef"
MAX_SECRETS = 1000
MAX_SELECTIONS = 20  # in a class: each is a listing at every fetch, of which a project has few a minute


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class, understood. ``auth`` is `POD_ADC`, `PROVIDER_ADC` or `KEY_FILE`."""

    auth: str
    secrets: tuple[Wanted, ...]


def parse(parameters: Mapping[str, str], *, has_key: bool) -> Parameters:
    """What the class asks for.

    Args:
        parameters: ``spec.parameters``.
        has_key: Whether the pod's nodePublishSecretRef holds a key.json.

    Raises:
        InvalidSecretProviderClass: naming every problem.
    """
    problems = Problems()
    auth = parameters.get("auth", "")
    if auth not in ("", POD_ADC, PROVIDER_ADC):
        problems.add_text(f'unknown auth configuration: "{shown(auth)}": set auth to {POD_ADC} or {PROVIDER_ADC}')
    elif auth and has_key:
        problems.add_text(f"attempting to set both nodePublishSecretRef and {auth} auth: remove one of them")
    secrets = _secrets(parameters.get("secrets", ""), problems)
    problems.raise_any()
    return Parameters(auth or (KEY_FILE if has_key else POD_ADC), secrets)


def clash(files: Collection[str], path: str) -> str:
    """The file of these that would have to be a folder for a path; empty if there is none."""
    return next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in files), "")


def _secrets(text: str, problems: Problems) -> tuple[Wanted, ...]:
    try:
        document = read(text)
    except DocumentError as error:
        problems.add("secrets", str(error))
        return ()
    if document == [] or (isinstance(document, Scalar) and document.kind == "null"):
        problems.add_text("missing required 'secrets' attribute: list at least one secret")
        return ()
    if not isinstance(document, list) or len(document) > MAX_SECRETS:
        problems.add("secrets", f"must be a YAML list of 1 to {MAX_SECRETS} mappings, each beginning with a dash")
        return ()
    read_all = [Entry(f"secrets[{index}]", entry, problems) for index, entry in enumerate(document)]
    found = [wanted for entry in read_all if (wanted := entry.wanted())]
    selections = sum(wanted.selection is not None for wanted in found)
    if selections > MAX_SELECTIONS:
        problems.add("secrets", f"selects {selections} times: {MAX_SELECTIONS} are the most; select by what they share")
    _check_folders(found, problems)
    return tuple(found)


def _check_folders(secrets: Sequence[Wanted], problems: Problems) -> None:
    """What is expanded or selected is a folder, and files in it that only Google can name: `answers` looks at them."""
    files = {wanted.path for wanted in secrets if not wanted.is_folder}
    folders = {f"{wanted.path}/*" for wanted in secrets if wanted.is_folder and wanted.path}
    for path in sorted(files | folders):
        above = clash(files, path)
        if above:
            problems.add(f"path {path}", f"needs a folder where path {above} is a file")
