import pytest

from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.wanted import SECRETS_MANAGER, SSM, Parameters, Wanted
from keyferry.errors import InvalidSecretProviderClass

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-a1B2c3"
NAME = "objectName: s, objectType: ssmparameter"


def parsed(objects: str, **parameters: str) -> Parameters:
    return parse({"objects": objects, "region": "eu-west-1", **parameters}, default_region="")


def refusal(objects: str, **parameters: str) -> str:
    with pytest.raises(InvalidSecretProviderClass) as refused:
        parsed(objects, **parameters)
    return refused.value.message


def test_an_entry_with_every_field_is_understood() -> None:
    """Each documented field of an object must reach the type that fetching works with."""
    found = parsed(
        """
        - objectName: app/db
          objectType: secretsmanager
          objectAlias: db.json
          objectVersion: 11111111-1111-1111-1111-111111111111
          objectVersionLabel: AWSPREVIOUS
          filePermission: "0400"
          jmesPath:
            - path: username
              objectAlias: user
            - path: '"pass-word"'
              objectAlias: password
              filePermission: "0440"
          failoverObject:
            objectName: app/db-standby
            objectVersion: 11111111-1111-1111-1111-111111111111
            objectVersionLabel: AWSCURRENT
        """,
        failoverRegion="eu-west-2",
    )
    (only,) = found.objects
    version = "11111111-1111-1111-1111-111111111111"
    assert found.regions == ("eu-west-1", "eu-west-2")
    assert only.service == SECRETS_MANAGER
    assert only.wanted == (Wanted("app/db", version, "AWSPREVIOUS"), Wanted("app/db-standby", version, "AWSCURRENT"))
    assert (only.file, only.mode) == ("db.json", 0o400)
    assert [(e.expression.text, e.file, e.mode) for e in only.extracts] == [
        ("username", "user", 0o400),
        ('"pass-word"', "password", 0o440),
    ]


def test_field_names_may_have_any_case_and_scalars_any_look() -> None:
    """Upstream decodes through JSON: case does not matter, numbers and booleans become strings."""
    (only,) = parsed("- {OBJECTNAME: true, objecttype: ssmparameter, ObjectVersion: 3, FilePermission: 0444}").objects
    assert (only.wanted[0], only.mode) == (Wanted("true", "3"), 0o444)


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_a_field_without_value_counts_as_left_out(nothing: str) -> None:
    """`objectAlias:` with nothing behind it must not name a file."""
    (only,) = parsed(f"- {{objectName: a, objectType: ssmparameter, objectAlias: {nothing}}}").objects
    assert only.file == "a"


def test_unknown_fields_are_ignored() -> None:
    """Upstream ignores what it does not know, and classes rely on it."""
    (only,) = parsed("- {objectName: a, objectType: ssmparameter, comment: mine}").objects
    assert only.file == "a"


@pytest.mark.parametrize(
    ("name", "kind", "service"),
    [
        ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:/feaw", "", SECRETS_MANAGER),
        ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:/feaw", "secretsmanager", SECRETS_MANAGER),
        ("arn:aws:ssm:eu-west-1:123456789012:parameter/feaw", "", SSM),
        ("arn:aws-cn:ssm:eu-west-1:123456789012:parameter/feaw", "ssmparameter", SSM),
        ("feaw", "secretsmanager", SECRETS_MANAGER),
        ("/feaw", "ssmparameter", SSM),
    ],
)
def test_the_service_follows_from_type_or_arn(name: str, kind: str, service: str) -> None:
    """A full ARN needs no objectType; a name does."""
    (only,) = parsed(f'- {{objectName: "{name}", objectType: {kind}}}').objects
    assert only.service == service


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("objectType: ssmparameter", "objects[0].objectName must be specified"),
        ("objectName: SomeSecret", "must use objectType when a full ARN is not specified: SomeSecret"),
        ("objectName: 'arn::'", "objects[0].objectName has an invalid ARN format: arn::"),
        ("objectName: 'arn:aws:sts:eu-west-1:1:parameter/x'", "invalid service in ARN: sts"),
        ("objectName: 'arn:aws:ssm:eu-west-2:1:parameter/x'", "ARN region must match region eu-west-1"),
        ("{objectName: a, objectType: sts}", 'objects[0].objectType is "sts": invalid objectType'),
        ("{objectName: a, objectType: ssm}", 'objects[0].objectType is "ssm": invalid objectType'),
        (f"{{objectName: '{ARN}', objectType: ssmparameter}}", "objects[0].objectType does not match ARN"),
        (
            "{objectName: a, objectType: ssmparameter, objectVersion: 1, objectVersionLabel: l}",
            "ssm parameters can not specify both objectVersion and objectVersionLabel",
        ),
        ("{objectName: a, objectType: ssmparameter, filePermission: 644}", "Invalid File Permission: 644"),
        ("{objectName: a, objectType: ssmparameter, filePermission: '0999'}", "Invalid File Permission: 0999"),
        ("{objectName: a, objectType: ssmparameter, filePermission: rw}", "Invalid File Permission: rw"),
        ("{objectName: [a], objectType: ssmparameter}", "objects[0].objectName must be a string"),
        ('{objectName: "a\\0b", objectType: ssmparameter}', "objects[0].objectName contains control characters"),
        ("just text", "objects[0] must be a mapping of fields"),
        (
            "{objectName: a, objectType: ssmparameter, jmesPath: {path: x}}",
            "objects[0].jmesPath must be a list",
        ),
        (
            "{objectName: a, objectType: ssmparameter, jmesPath: [{path: x}]}",
            "objects[0].jmesPath[0].objectAlias must be specified for JMES object",
        ),
        (
            "{objectName: a, objectType: ssmparameter, jmesPath: [{objectAlias: x}]}",
            "objects[0].jmesPath[0].path must be specified for JMES object",
        ),
        (
            "{objectName: a, objectType: ssmparameter, jmesPath: [{path: .x, objectAlias: b}]}",
            "objects[0].jmesPath[0].path invalid JMES Path: .x",
        ),
        (
            "{objectName: a, objectType: ssmparameter, jmesPath: [{path: x, objectAlias: b, filePermission: '9'}]}",
            "objects[0].jmesPath[0].filePermission Invalid File Permission: 9",
        ),
    ],
)
def test_what_upstream_refuses_is_refused(entry: str, message: str) -> None:
    """An entry that cannot work must be refused, naming place and field."""
    assert message in refusal(f"- {entry}")


@pytest.mark.parametrize("service", ["secretsmanager", "ssmparameter"])
@pytest.mark.parametrize("name", ["../mypath", "mypath/../../param", "mypath/..", "/../pathTest-abc123"])
def test_no_file_may_leave_the_volume(name: str, service: str) -> None:
    """Without path translation a name with ../ must be refused."""
    assert "path can not contain ../" in refusal(
        f"- {{objectName: {name}, objectType: {service}}}", pathTranslation="False"
    )


@pytest.mark.parametrize("name", ["..", ".", "a//b", "a/", "a/./b", "..data", "/", "x" * 256])
def test_a_name_that_makes_no_file_is_refused(name: str) -> None:
    """What kubelet's AtomicWriter cannot write must be refused before anything is fetched."""
    assert "file name" in refusal(f'- {{objectName: "{name}", objectType: ssmparameter}}', pathTranslation="False")


@pytest.mark.parametrize(
    ("translation", "file"),
    [("", "_a_b"), ("_", "_a_b"), ("-", "-a-b"), ("False", "a/b"), ("false", "a/b")],
)
def test_slashes_are_translated_as_the_class_says(translation: str, file: str) -> None:
    """The default is an underscore; False keeps the path and drops its leading slash."""
    (only,) = parsed("- {objectName: /a/b, objectType: ssmparameter}", pathTranslation=translation).objects
    assert only.file == file


def test_a_translation_of_two_characters_is_refused() -> None:
    """A path translation is one character or False."""
    message = refusal("- {objectName: a, objectType: ssmparameter}", pathTranslation="--")
    assert message == "pathTranslation must be either 'False' or a single character string"


def test_the_failover_region_must_be_another_one() -> None:
    """Failing over to the region that failed is a mistake."""
    message = refusal(f"- {{{NAME}}}", failoverRegion="eu-west-1")
    assert "eu-west-1: failover region cannot be the same as the primary region" in message


@pytest.mark.parametrize("region", ["eu-west-1.evil.example", "eu west", "EU-WEST-1", "a" * 64, "-a"])
def test_a_region_can_be_nothing_but_a_region(region: str) -> None:
    """A region becomes part of a host name: it must not be able to name another host."""
    assert "region is not a region" in refusal(f"- {{{NAME}}}", region=region)


def test_the_class_goes_before_the_environment() -> None:
    """AWS_REGION is for classes that name none."""
    objects = {"objects": f"- {{{NAME}}}"}
    assert parse(objects | {"region": "eu-west-1"}, default_region="eu-west-2").regions == ("eu-west-1",)
    assert parse(objects, default_region="eu-west-2").regions == ("eu-west-2",)


def test_without_any_region_the_class_is_refused_with_the_fix() -> None:
    """The message must say where a region can be set."""
    with pytest.raises(InvalidSecretProviderClass, match=r"region is not set: set it in .* or AWS_REGION"):
        parse({"objects": f"- {{{NAME}}}"}, default_region="")


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("", ("ipv4", "ipv6")),
        ("auto", ("ipv4", "ipv6")),
        ("IPv4", ("ipv4",)),
        ("ipv6", ("ipv6",)),
        ("carrier pigeon", ("ipv4", "ipv6")),
    ],
)
def test_unknown_address_types_mean_auto(value: str, addresses: tuple[str, ...]) -> None:
    """Upstream takes whatever it does not know for auto."""
    assert parsed(f"- {{{NAME}}}", preferredAddressType=value).address_types == addresses


@pytest.mark.parametrize(("value", "on"), [("true", True), ("1", True), ("T", True), ("false", False), ("", False)])
def test_pod_identity_is_switched_as_go_reads_booleans(value: str, on: bool) -> None:
    """Upstream reads usePodIdentity by strconv.ParseBool."""
    assert parsed(f"- {{{NAME}}}", usePodIdentity=value).use_pod_identity is on


def test_pod_identity_that_is_no_boolean_is_refused() -> None:
    """A typing error must not silently choose the other way to authenticate."""
    assert "usePodIdentity is neither true nor false" in refusal(f"- {{{NAME}}}", usePodIdentity="yes please")


@pytest.mark.parametrize(
    "objects",
    ["", "   ", "[]", "- {", "a: b", "text", "- &a [*a]\n- {", "{" * 50, "- " * 20_000 + "a", "\ud800", "- !!int 3"],
)
def test_objects_that_are_no_list_of_objects_are_refused(objects: str) -> None:
    """Whatever cannot be read must be refused as a problem of `objects`, however deep it is nested."""
    assert refusal(objects).startswith("objects")


def test_a_yaml_bomb_is_refused_quickly() -> None:
    """Neither merge keys nor aliases may multiply a small text into a large structure."""
    merges = "- &a0 {k: v}\n" + "".join(f"- &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
    assert refusal(merges).startswith("objects stands for more than")
    many = "[" + ",".join(["{path: x, objectAlias: y}"] * 1000) + "]"
    aliases = f"- &o {{{NAME}, jmesPath: {many}}}\n" + "- *o\n" * 1000
    assert refusal(aliases).startswith("objects stands for more than")
    assert refusal("#" * 300_000) == "objects is 300000 characters long: 262144 are the most"


def test_all_problems_are_told_at_once() -> None:
    """The author of a class must not have to fix it one message at a time."""
    message = refusal("- {objectType: sts}\n- {objectName: a}", pathTranslation="--", usePodIdentity="maybe")
    for part in ("pathTranslation", "usePodIdentity", "objects[0].objectName", "objects[1].objectType"):
        assert part in message


def test_a_message_stays_readable_however_much_is_wrong() -> None:
    """The text becomes a Kubernetes Event: it must not grow with the class."""
    message = refusal("- {objectType: sts}\n" * 1000)
    assert message.endswith("and 980 more problems")
    assert len(message) < 4096
