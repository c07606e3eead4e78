"""What a plugin answered, as files with the objects they came from."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.plugin.faults import GRPC_PROVIDER_ERROR, refused
from keyferry.errors import ProviderError
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb

log = logging.getLogger(__name__)

_MODE_BITS = 0o777  # upstream's os.FileMode takes these and nothing else from the number, too
_SYNCED_BYTES = 1024 * 1024  # a Kubernetes Secret holds no more


def secrets(name: str, answer: pb.MountResponse, request: ProviderRequest) -> list[Secret]:
    """The files of an answer.

    Raises:
        ProviderError: the plugin reports an error, or its answer cannot be a volume's content.
    """
    if answer.error.code:
        raise refused(name, answer.error.code, request)
    if not answer.object_version:
        raise _unusable(f'provider "{name}": missing object versions: the plugin must name the objects that it read')
    if not answer.files:
        raise _unusable(
            f'provider "{name}" answered without files: what it writes itself reaches no pod from here: let it give '
            f"them to the driver (flag --driver-writes-secrets=true of some), or name objects in the class"
        )
    if answer.ByteSize() > _SYNCED_BYTES:
        log.warning("answer above 1 MiB: syncing it to a Kubernetes Secret may fail", extra={"provider": name})
    return [
        Secret(path=file.path, contents=file.contents, object_id=object_id, version=version or None, mode=_mode(file))
        for file, (object_id, version) in zip(answer.files, _objects(answer), strict=True)
    ]


def _objects(answer: pb.MountResponse) -> Iterable[tuple[str, str]]:
    """An object's id and version for each file.

    The protocol does not say which object a file came from. One with the file's name is taken, else the next in order,
    and the last again for files beyond the objects; so every object finds a file unless there are fewer of these.
    """
    versions = {version.id: version.version for version in answer.object_version}
    paths = {file.path for file in answer.files}
    last, rest = next(reversed(versions)), (object_id for object_id in versions if object_id not in paths)
    for file in answer.files:
        object_id = file.path if file.path in versions else next(rest, last)
        yield object_id, versions[object_id]


def _mode(file: pb.File) -> int | None:
    return file.mode & _MODE_BITS or None


def _unusable(message: str) -> ProviderError:
    return ProviderError(message, code="FAILED_PRECONDITION", reason=GRPC_PROVIDER_ERROR)
