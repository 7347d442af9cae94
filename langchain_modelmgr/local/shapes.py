"""Checks JSON against botocore's service models, as AWS does, and finds the status of errors."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

COMMON_STATUS = {
    # Errors that any AWS service may return; they are not in the service models.
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignature": 400,
    "InternalFailure": 500,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "NotAuthorized": 401,
    "OptInRequired": 403,
    "RequestExpired": 400,
    "ServiceUnavailable": 503,
    "ThrottledException": 429,
    "TooManyRequestsException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
}


SERVICES = ("bedrock-runtime", "bedrock", "cloudwatch")


def load_models() -> None:
    """Read botocore's models of the local services once."""
    for name in SERVICES:
        for operation_name in service(name).operation_names:
            operation(operation_name, name)


@functools.cache
def service(name: str) -> ServiceModel:
    """Return botocore's model of a service."""
    import botocore.session

    return botocore.session.get_session().get_service_model(name)


@functools.cache
def operation(name: str, service_name: str = "bedrock-runtime") -> OperationModel:
    """Return botocore's model of an operation."""
    return service(service_name).operation_model(name)


@functools.cache
def status_of(code: str) -> int:
    """Return the HTTP status of an error code, from botocore's models.

    Raises:
        ValueError: No service model has such an error.
    """
    for name in ("bedrock-runtime", "bedrock"):
        for shape in service(name).error_shapes:
            if shape.name == code:
                return int(shape.metadata["error"]["httpStatusCode"])
    if code in COMMON_STATUS:
        return COMMON_STATUS[code]
    raise ValueError(f"unknown Bedrock error code {code!r}")


def violation(body: Any, operation_name: str, service_name: str = "bedrock-runtime") -> str | None:
    """Return what is wrong with a request's JSON body, or None."""
    shape = operation(operation_name, service_name).input_shape
    return next(_violations(body, shape, ""), None)


def _violations(value: Any, shape: Shape | None, path: str) -> Iterator[str]:
    kind = shape.type_name if shape is not None else "document"
    if shape is None or getattr(shape, "is_document_type", False):
        return
    check = _CHECKS.get(kind)
    if check is not None:
        yield from check(value, shape, path)


def _structure(value: Any, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path or 'body'}: expected a structure"
        return
    members = _members(shape)
    if unknown := value.keys() - members.keys():
        yield f"{path or 'body'}: extraneous key {min(unknown)!r} is not permitted"
    for name in shape.metadata.get("required", ()):
        if name in members and value.get(name) is None:
            yield f"{path}.{name}: required key is missing".lstrip(".")
    if shape.metadata.get("union") and len(value) != 1:
        yield f"{path}: exactly one member must be set"
    for name, item in value.items():
        if name in members:
            yield from _violations(item, members[name], f"{path}.{name}".lstrip("."))


@functools.cache
def _members(shape: Any) -> dict[str, Any]:
    """Return the members of a structure that are in the body, by their names there."""
    return {
        member.serialization.get("name", name): member
        for name, member in shape.members.items()
        if member.serialization.get("location") is None
    }


def _list(value: Any, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected a list"
        return
    yield from _in_range(len(value), shape, path, "items")
    for i, item in enumerate(value):
        yield from _violations(item, shape.member, f"{path}[{i}]")


def _map(value: Any, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path}: expected a map"
        return
    yield from _in_range(len(value), shape, path, "entries")
    for key, item in value.items():
        yield from _violations(key, shape.key, path)
        yield from _violations(item, shape.value, f"{path}.{key}")


def _string(value: Any, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path}: expected a string"
        return
    yield from _in_range(len(value), shape, path, "characters")
    enum = shape.metadata.get("enum")
    if enum and value not in enum:
        yield f"{path}: must be one of {', '.join(enum)}"
    pattern = _pattern(shape.metadata.get("pattern", ""))
    if pattern is not None and not pattern.fullmatch(value):
        yield f"{path}: failed to satisfy the pattern"


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error:  # Python doesn't support Java's classes (\p{L})
        return None


def _number(value: Any, shape: Any, path: str) -> Iterator[str]:
    whole = shape.type_name in ("integer", "long")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        yield f"{path}: expected a number"
        return
    yield from _in_range(value, shape, path, "")


def _boolean(value: Any, _: Any, path: str) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{path}: expected true or false"


def _blob(value: Any, _: Any, path: str) -> Iterator[str]:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        yield f"{path}: expected base64"


def _in_range(size: float, shape: Any, path: str, what: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{path}: must have at least {low} {what}".rstrip()
    if high is not None and size > high:
        yield f"{path}: must have at most {high} {what}".rstrip()


_CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "character": _string,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
    "boolean": _boolean,
    "blob": _blob,
}
