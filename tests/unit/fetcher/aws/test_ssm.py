import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.aws.ssm import batches, selector
from fetcher.providers.aws.wanted import Wanted

NAMES = st.sampled_from([f"/p/{i}" for i in range(12)] + ["arn:aws:ssm:r:1:parameter/p/1", "p", "/p"])
WANTED = st.builds(Wanted, NAMES, st.sampled_from(["", "1", "2"]), st.just(""))


@given(st.lists(WANTED, unique=True, max_size=40))
def test_no_batch_holds_a_parameter_twice(wanted: list[Wanted]) -> None:
    """Each batch has ten at most, by whatever name, and nothing is lost."""
    found = batches(wanted)
    bare = [[each.name.removeprefix("arn:aws:ssm:r:1:parameter").lstrip("/") for each in batch] for batch in found]
    assert all(len(batch) <= 10 and len(set(batch)) == len(batch) for batch in bare)
    assert sorted(map(str, (each for batch in found for each in batch))) == sorted(map(str, wanted))


def test_parameters_fill_as_few_batches_as_can_be() -> None:
    """Eleven parameters and a second label of one make two calls."""
    wanted = [Wanted(f"/p/{i}") for i in range(11)] + [Wanted("/p/0", label="blue")]
    assert [len(batch) for batch in batches(wanted)] == [10, 2]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [(Wanted("/p"), "/p"), (Wanted("/p", "3"), "/p:3"), (Wanted("/p", label="blue"), "/p:blue")],
)
def test_versions_and_labels_follow_a_colon(wanted: Wanted, text: str) -> None:
    """GetParameters has no other way to say it."""
    assert selector(wanted) == text
