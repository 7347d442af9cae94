"""Compiles the check of a request from botocore's service model."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.service_shapes import Compiler, UncommonError

if TYPE_CHECKING:
    from langchain_modelmgr.bedrock.service_shapes import Convert


def request_check(shape: Any) -> Convert:
    """Return a function that returns a value as ``json.dumps`` takes it.

    The result equals what botocore's serializer would form. Objects that need no change are
    returned as they are; the caller's objects are never modified.

    Args:
        shape: A shape of a botocore service model.

    The returned function raises ``UncommonError`` for any value that botocore would refuse, and
    for some that it would accept (subclasses, tuples, Decimal, file-like objects).
    """
    return _Requests().of(shape)


class _Requests(Compiler):
    def _structure(self, shape: Any) -> Convert:
        if shape.is_document_type:
            return _document
        members = {name: self.of(member) for name, member in shape.members.items()}
        required, one = tuple(shape.required_members), bool(shape.is_tagged_union)

        def check(value: Any) -> Any:
            if type(value) is not dict or (one and len(value) != 1):
                raise UncommonError(shape.name)
            formed = value
            for name, field in value.items():
                convert = members.get(name)
                if convert is None:
                    raise UncommonError(f"{shape.name}.{name}")
                new = convert(field)
                if new is not field:
                    formed = dict(value) if formed is value else formed
                    formed[name] = new
            for name in required:
                if name not in value:
                    raise UncommonError(f"{shape.name}.{name}")
            return formed

        return check

    def _list(self, shape: Any) -> Convert:
        convert, least = self.of(shape.member), shape.metadata.get("min", 0)

        def check(value: Any) -> Any:
            if type(value) is not list or len(value) < least:
                raise UncommonError(shape.name)
            formed = value
            for index, item in enumerate(value):
                new = convert(item)
                if new is not item:
                    formed = list(value) if formed is value else formed
                    formed[index] = new
            return formed

        return check

    def _map(self, shape: Any) -> Convert:
        key, convert = self.of(shape.key), self.of(shape.value)
        least = shape.metadata.get("min", 0)

        def check(value: Any) -> Any:
            if type(value) is not dict or len(value) < least:
                raise UncommonError(shape.name)
            return {key(name): convert(item) for name, item in value.items()}

        return check

    def _string(self, shape: Any) -> Convert:
        least = shape.metadata.get("min", 0)

        def check(value: Any) -> Any:
            if type(value) is not str or len(value) < least:
                raise UncommonError(shape.name)
            return value

        return check

    def _integer(self, shape: Any) -> Convert:
        return _number(shape, (int,))

    _long = _integer

    def _float(self, shape: Any) -> Convert:
        return _number(shape, (float, int))

    _double = _float

    def _boolean(self, shape: Any) -> Convert:
        return _number(shape, (bool,))

    def _blob(self, shape: Any) -> Convert:
        least = shape.metadata.get("min", 0)

        def check(value: Any) -> str:
            if type(value) is not bytes or len(value) < least:
                raise UncommonError(shape.name)
            return base64.b64encode(value).decode("ascii")

        return check


def _number(shape: Any, types: tuple[type, ...]) -> Convert:
    least = shape.metadata.get("min", -math.inf)

    def check(value: Any) -> Any:
        if type(value) not in types or not math.isfinite(value) or value < least:
            raise UncommonError(shape.name)
        return value

    return check


def _document(value: Any) -> Any:
    """Check any JSON value; documents are sent as they are."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise UncommonError("a document's key")
            _document(item)
    elif kind is list:
        for item in value:
            _document(item)
    elif kind is float:
        if not math.isfinite(value):
            raise UncommonError("a document's number")
    elif kind not in (str, int, bool, type(None)):
        raise UncommonError("a document's value")
    return value
