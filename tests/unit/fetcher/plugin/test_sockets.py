import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fetcher.providers.plugin.sockets import find
from keyferry.errors import InvalidSecretProviderClass, ProviderUnavailable


class Listening:
    """Sockets of a test, each open as long as the test runs."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def at(self, path: Path) -> str:
        """One more."""
        path.parent.mkdir(exist_ok=True)
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        return str(path)


@pytest.fixture
def listening() -> Iterator[Listening]:
    with ExitStack() as stack:
        yield Listening(stack)


def not_found(name: str, *folders: Path) -> str:
    with pytest.raises(ProviderUnavailable) as caught:
        find(name, [str(folder) for folder in folders])
    assert caught.value.message.startswith(
        f'error connecting to provider "{name}": provider not found: provider "{name}"'
    )
    return caught.value.message


def test_a_socket_has_the_providers_name(tmp_path: Path, listening: Listening) -> None:
    """And no other: names differ by case."""
    path = listening.at(tmp_path / "conjur.sock")

    assert find("conjur", [str(tmp_path)]).path == path
    not_found("Conjur", tmp_path)


def test_folders_are_searched_in_order(tmp_path: Path, listening: Listening) -> None:
    """The first one that has the socket wins, and one that does not exist is passed over."""
    first, second = tmp_path / "first", tmp_path / "second"
    both = [listening.at(first / "both.sock"), listening.at(second / "both.sock")]
    late = listening.at(second / "late.sock")
    folders = [str(tmp_path / "absent"), str(first), str(second)]

    assert find("both", folders).path == both[0]
    assert find("both", folders[::-1]).path == both[1]
    assert find("late", folders).path == late


def test_a_missing_plugin_is_told_with_where_it_was_sought(tmp_path: Path) -> None:
    """Both folders are named, so that a wrong mount path shows."""
    message = not_found("conjur", tmp_path / "a", tmp_path / "b")

    assert f"no socket conjur.sock in {tmp_path}/a, {tmp_path}/b" in message


@pytest.mark.parametrize("name", ["a" * 30, "A-b_9", "-", "_"])
def test_names_are_upstreams(name: str, tmp_path: Path, listening: Listening) -> None:
    """Up to thirty letters, digits, hyphens and underscores."""
    path = listening.at(tmp_path / f"{name}.sock")

    assert find(name, [str(tmp_path)]).path == path


@pytest.mark.parametrize(
    "name",
    ["a" * 31, "a.b", "../escape", "a/b", "a b", "conjur\n", "ünïcode", "a\0b", "a\\b", ".."],
)
def test_other_names_are_refused_unsought(name: str, tmp_path: Path) -> None:
    """In upstream's words; no path is made of them."""
    with pytest.raises(InvalidSecretProviderClass) as caught:
        find(name, [str(tmp_path)])

    assert caught.value.message.startswith(
        f'error connecting to provider "{name}": invalid provider: provider "{name}"'
    )


def test_a_link_does_not_lead_out_of_its_folder(tmp_path: Path, listening: Listening) -> None:
    """One plugin must not have tokens sent to a socket elsewhere, not even to another plugin's folder."""
    folder, other = tmp_path / "folder", tmp_path / "folder-other"
    folder.mkdir()
    (folder / "conjur.sock").symlink_to(listening.at(other / "conjur.sock"))

    not_found("conjur", folder)


def test_a_link_within_the_folder_is_followed(tmp_path: Path, listening: Listening) -> None:
    """So a plugin can answer to a second name."""
    path = listening.at(tmp_path / "akeyless-csi.sock")
    (tmp_path / "akeyless.sock").symlink_to("akeyless-csi.sock")

    assert find("akeyless", [str(tmp_path)]).path == path


def test_the_folder_itself_may_be_a_link(tmp_path: Path, listening: Listening) -> None:
    """As /var/run is one to /run."""
    path = listening.at(tmp_path / "run" / "conjur.sock")
    (tmp_path / "var").symlink_to("run")

    assert find("conjur", [f"{tmp_path}/var"]).path == path


def test_what_is_no_socket_is_not_found(tmp_path: Path) -> None:
    """Neither a file nor a folder nor a link in a circle."""
    (tmp_path / "file.sock").touch()
    (tmp_path / "folder.sock").mkdir()
    (tmp_path / "circle.sock").symlink_to("circle.sock")

    for name in ("file", "folder", "circle"):
        not_found(name, tmp_path)


def test_a_new_socket_at_the_same_path_is_told_apart(tmp_path: Path, listening: Listening) -> None:
    """Even where the file system gives the inode out again."""
    path = listening.at(tmp_path / "conjur.sock")
    before = find("conjur", [str(tmp_path)])
    assert find("conjur", [str(tmp_path)]) == before
    os.unlink(path)  # noqa: PTH108 - a path as text, as it came
    listening.at(tmp_path / "conjur.sock")

    assert find("conjur", [str(tmp_path)]) != before


def test_a_path_that_no_socket_address_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than what the transport makes of it."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)
        listener.bind("conjur.sock")

        with pytest.raises(ProviderUnavailable, match="longer than 107 bytes"):
            find("conjur", [str(folder)])
