"""Turns what a class's author wrote in YAML into the JSON that upstream would send: numbers are Go's."""

from __future__ import annotations

import math
from typing import Any

from fetcher.document import Scalar, Value

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # of Go's int64 and uint64
_LONGEST_WHOLE = 1e21  # from here on Go writes a float with an exponent


def to_json(value: Value) -> Any:
    """The value as Python's json module writes it; a date is a text, and so is a number that JSON does not have."""
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if value.kind == "null":
        return None
    if value.kind == "bool":
        return value.text.lower() == "true"
    return _number(value)


def _number(scalar: Scalar) -> int | float | str:
    digits = scalar.text.replace("_", "")
    try:
        if scalar.kind == "int":
            return _whole(digits)
        if scalar.kind == "float":
            return _float(digits)
    except ValueError:  # such as .inf and 0x_
        pass
    return scalar.text


def _whole(digits: str) -> int | float:
    """0644 is octal, as in YAML 1.1; a decimal that is too large for Go's integers becomes a float."""
    unsigned = digits.lstrip("+-")
    is_octal = len(unsigned) > 1 and unsigned.startswith("0") and unsigned.isdecimal()
    number = int(digits, 8 if is_octal else 0)
    return number if _SMALLEST <= number <= _LARGEST else _float(digits)


def _float(digits: str) -> int | float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError
    return int(number) if number.is_integer() and abs(number) < _LONGEST_WHOLE else number
