import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry import subjects

node_names = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?){0,3}", fullmatch=True
)


@given(node_names)
def test_a_node_is_one_token(node: str) -> None:
    """A name with dots (RFC 1123) must not make a subject that other nodes' permissions match."""
    assert subjects.is_token(subjects.node_token(node))
    assert subjects.mount_subject(node).count(".") == 3


@given(node_names, node_names)
def test_two_nodes_never_share_a_subject(one: str, other: str) -> None:
    """Dots become a character that no node's name has."""
    assert (subjects.node_token(one) == subjects.node_token(other)) == (one == other)


@given(st.text(max_size=200))
def test_any_volume_id_is_one_token(volume_id: str) -> None:
    """Kubelet's ids pass as they are; foreign ones, with dots, blanks or wildcards, are hashed."""
    assert subjects.volume_subject("node-1", volume_id).removeprefix("keyferry.volume.node-1.").count(".") == 0
    assert subjects.is_token(subjects.volume_token(volume_id))


def test_kubelets_volume_ids_stay_readable() -> None:
    """Operators find a volume by the id that kubelet's log shows."""
    assert subjects.volume_token("csi-0f3a9c") == "csi-0f3a9c"


@pytest.mark.parametrize("text", ["", "a.b", "a b", "*", ">", "a\n", "ä", "x" * 129])
def test_what_is_no_token(text: str) -> None:
    """Separators, wildcards, blanks, line ends and what is too long."""
    assert not subjects.is_token(text)


def test_the_subjects_of_the_design() -> None:
    """The permissions of every deployed identity are written in these words."""
    assert [
        subjects.mount_subject("n.example"),
        subjects.refresh_subject("n.example"),
        subjects.volume_subject("n.example", "csi-1"),
        subjects.reply_subject("n.example", "r-1"),
    ] == [
        "keyferry.fetch.mount.n_example",
        "keyferry.fetch.refresh.n_example",
        "keyferry.volume.n_example.csi-1",
        "_INBOX.node.n_example.r-1",
    ]
