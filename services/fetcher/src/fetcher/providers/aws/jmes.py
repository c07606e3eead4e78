"""Takes single values out of a JSON secret by JMESPath (https://jmespath.org/specification.html)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from fetcher.providers.aws.fields import Noted
from fetcher.shown import shown
from keyferry.errors import InvalidSecretProviderClass, SecretNotFound

_MAX_EXPRESSION = 4096  # characters


@dataclass(frozen=True, slots=True)
class Expression:
    """A JMESPath expression as written, and ready to search with (None if it cannot be)."""

    text: str
    compiled: Any = field(repr=False, compare=False)


def compile_expression(text: str, noted: Noted) -> Expression:
    """Read the field ``path``; what is wrong with it is noted."""
    if not text:
        return Expression("", None)
    if len(text) > _MAX_EXPRESSION:
        noted("path", f"is longer than {_MAX_EXPRESSION} characters")
        return Expression(text[:_MAX_EXPRESSION], None)
    try:
        return Expression(text, jmespath.compile(text))
    except (JMESPathError, ValueError, RecursionError):
        noted("path", f'invalid JMES Path: {shown(text)}: write keys with hyphens in double quotes, as "my-key"')
        return Expression(text, None)


def load_json(value: bytes, secret: str) -> Any:
    """The JSON of a secret.

    Args:
        value: Its contents.
        secret: What messages call it.

    Raises:
        InvalidSecretProviderClass: it is not JSON. Never quotes it.
    """
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InvalidSecretProviderClass(f"invalid JSON used with jmesPath in secret: {secret}") from None


def search(expression: Expression, document: Any, file: str, secret: str) -> str:
    """The string that an expression points to.

    Args:
        expression: As compiled with the class.
        document: From `load_json`.
        file: The extract's ``objectAlias``.
        secret: What messages call the secret.

    Raises:
        SecretNotFound: nothing is there.
        InvalidSecretProviderClass: what is there is no string. Never quotes it.
    """
    try:
        found = expression.compiled.search(document)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError):
        # jmespath's functions meet data that they are not for; their messages quote it.
        raise InvalidSecretProviderClass(
            f"JMES Path - {shown(expression.text)} cannot be applied to the JSON of secret {secret}"
        ) from None
    if found is None:
        raise SecretNotFound(
            f"JMES Path - {shown(expression.text)} for object alias - {file} does not point to a valid object "
            f"in secret {secret}"
        )
    if not isinstance(found, str):
        raise InvalidSecretProviderClass(
            f"Invalid JMES search result type for path:{shown(expression.text)}. Only string is allowed. "
            f"(secret {secret})"
        )
    return found
