"""Turns the parameters of a SecretProviderClass into what is to be fetched, or says everything that is wrong with them.

Field names, defaults and refusals are those of the AWS provider 3.1 for the Secrets Store CSI driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fetcher.options import OPTION_FIELDS, SELECTION_FIELDS, Selection, read_options, read_selection
from fetcher.provider import Problems
from fetcher.providers.aws import duplicates, filenames, names
from fetcher.providers.aws.fields import Fields, read_objects
from fetcher.providers.aws.jmes import compile_expression
from fetcher.providers.aws.regions import regions as regions_of
from fetcher.providers.aws.wanted import SSM, Extract, Object, Parameters, Wanted
from fetcher.shown import shown

PARAMETERS = ("objects", "region", "failoverRegion", "pathTranslation", "usePodIdentity", "preferredAddressType")
OBJECT_FIELDS = (
    "objectName",
    "objectType",
    "objectAlias",
    "objectVersion",
    "objectVersionLabel",
    "filePermission",
    "jmesPath",
    "failoverObject",
    *OPTION_FIELDS,
    *SELECTION_FIELDS,
)
JMES_FIELDS = ("path", "objectAlias", "filePermission")
FAILOVER_FIELDS = ("objectName", "objectVersion", "objectVersionLabel")
"""All the names that are understood; docs/backends/aws.md is checked against them."""

_NAMED_FIELDS = ("objectName", "objectVersion", "objectVersionLabel", "jmesPath", "failoverObject")  # of one object
_MODE = re.compile(r"[0-7]{4}")
_MODE_BITS = 0o777  # upstream takes "4755" too and loses the first digit on its way to the file
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})
_ADDRESS_TYPES = {"ipv4": ("ipv4",), "ipv6": ("ipv6",)}


def parse(parameters: Mapping[str, str], *, default_region: str) -> Parameters:
    """Read a class's parameters.

    Args:
        parameters: ``spec.parameters``.
        default_region: For classes that name none; may be empty.

    Raises:
        InvalidSecretProviderClass: naming every problem.
    """
    problems = Problems()
    flag = parameters.get("usePodIdentity", "")
    if flag not in _TRUE | _FALSE:
        problems.add("usePodIdentity", "is neither true nor false")
    where = regions_of(
        parameters.get("region", "").strip(), parameters.get("failoverRegion", "").strip(), default_region, problems
    )
    replacement = filenames.translation(parameters.get("pathTranslation", ""), problems)
    entries = read_objects(parameters.get("objects", ""), problems)
    objects = tuple(_object(entry, where, replacement) for entry in entries)
    duplicates.check(objects, problems)
    problems.raise_any()
    preferred = parameters.get("preferredAddressType", "").lower()
    return Parameters(where, objects, flag in _TRUE, _ADDRESS_TYPES.get(preferred, ("ipv4", "ipv6")), replacement)


def _object(entry: Fields, regions: tuple[str, ...], replacement: str) -> Object:
    selection = read_selection(entry.named(SELECTION_FIELDS), entry.problem)
    if selection:
        return _selection(entry, selection, replacement)
    name, alias = entry.text("objectName"), entry.text("objectAlias")
    service = ""
    if name:
        service = names.service(name, entry.text("objectType"), regions[0] if regions else "", entry.problem)
    else:
        entry.problem("objectName", "must be specified, or selectPrefix or selectTags in its place")
    primary = Wanted(name, entry.text("objectVersion"), entry.text("objectVersionLabel"))
    _check_selector(primary, service, entry)
    mode = _mode(entry)
    return Object(
        place=entry.place,
        service=service,
        wanted=(primary, _failover(entry, primary, service, regions)),
        alias=alias,
        file=_file(alias, "objectAlias", replacement, entry) or _file(name, "objectName", replacement, entry),
        mode=mode,
        extracts=tuple(_extract(part, replacement, mode) for part in entry.mappings("jmesPath")),
        options=read_options(entry.named(OPTION_FIELDS), entry.problem),
    )


def _selection(entry: Fields, selection: Selection, replacement: str) -> Object:
    """An entry that stands for all objects of a prefix, of tags, or of both."""
    kind, alias = entry.text("objectType"), entry.text("objectAlias")
    service = names.service_of_type(kind, entry.problem)
    for field in _NAMED_FIELDS:
        if entry.has(field):
            entry.problem(field, "cannot go with selectPrefix or selectTags, which stand for many objects")
    names.check_selection(selection, service, entry.problem)
    return Object(
        place=entry.place,
        service=service,
        wanted=(Wanted(""), Wanted("")),
        alias=alias,
        file=_file(alias, "objectAlias", replacement, entry),
        mode=_mode(entry),
        extracts=(),
        options=read_options(entry.named(OPTION_FIELDS), entry.problem),
        selection=selection,
    )


def _failover(entry: Fields, primary: Wanted, service: str, regions: tuple[str, ...]) -> Wanted:
    """What the second region is asked for: whatever ``failoverObject`` leaves out is as in the first."""
    other = entry.mapping("failoverObject")
    if other is None:
        return primary
    name, version, label = other.text("objectName"), other.text("objectVersion"), other.text("objectVersionLabel")
    if name:
        if not entry.text("objectAlias"):
            entry.problem("objectAlias", "must be specified for objects with failover entries")
        if len(regions) < 2:  # noqa: PLR2004 - a primary and a second one
            other.problem("", "failover object allowed only when failover region is defined: set failoverRegion")
        elif service:
            names.service(name, entry.text("objectType"), regions[1], other.problem)
        if version != primary.version:
            other.problem("objectVersion", "object versions must match between primary and failover regions")
    wanted = Wanted(name or primary.name, version or primary.version, label or primary.label)
    _check_selector(wanted, service, other)
    return wanted


def _check_selector(wanted: Wanted, service: str, entry: Fields) -> None:
    if service == SSM and wanted.version and wanted.label:
        entry.problem("objectVersionLabel", "ssm parameters can not specify both objectVersion and objectVersionLabel")


def _extract(entry: Fields, replacement: str, parent_mode: int | None) -> Extract:
    path, alias, mode = entry.text("path", multiline=True), entry.text("objectAlias"), _mode(entry)
    for field, text in (("path", path), ("objectAlias", alias)):
        if not text:
            entry.problem(field, "must be specified for JMES object")
    return Extract(
        place=entry.place,
        expression=compile_expression(path, entry.problem),
        alias=alias,
        file=_file(alias, "objectAlias", replacement, entry),
        mode=parent_mode if mode is None else mode,
    )


def _file(name: str, field: str, replacement: str, entry: Fields) -> str:
    return filenames.file_name(name, field, replacement, entry.problem) if name else ""


def _mode(entry: Fields) -> int | None:
    text = entry.text("filePermission")
    if not text:
        return None
    if not _MODE.fullmatch(text):
        entry.problem("filePermission", f"Invalid File Permission: {shown(text)}: write four octal digits (0400)")
        return None
    return int(text, 8) & _MODE_BITS
