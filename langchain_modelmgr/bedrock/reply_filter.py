"""Compiles the filter of a reply from botocore's service model."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.service_shapes import Compiler, UncommonError

if TYPE_CHECKING:
    from langchain_modelmgr.bedrock.service_shapes import Convert


def reply_filter(shape: Any) -> Convert:
    """Return a function that turns decoded JSON into what botocore's parser would return.

    Args:
        shape: A shape of a botocore service model.

    The returned function raises ``UncommonError`` for a reply that does not fit the model.
    """
    return _Replies().of(shape)


class _Replies(Compiler):
    def _structure(self, shape: Any) -> Convert:
        if shape.is_document_type:
            return _as_it_is
        members = {name: self.of(member) for name, member in shape.members.items()}
        if shape.is_tagged_union:
            return _one_of(shape.name, members)
        in_order = tuple(members.items())

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise UncommonError(shape.name)
            return {
                name: convert(field)
                for name, convert in in_order
                if (field := value.get(name)) is not None
            }

        return read

    def _list(self, shape: Any) -> Convert:
        convert = self.of(shape.member)

        def read(value: Any) -> list[Any]:
            if type(value) is not list or None in value:
                raise UncommonError(shape.name)
            return [convert(item) for item in value]

        return read

    def _map(self, shape: Any) -> Convert:
        convert = self.of(shape.value)

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict or None in value.values():
                raise UncommonError(shape.name)
            return {name: convert(item) for name, item in value.items()}

        return read

    def _string(self, shape: Any) -> Convert:
        return _only(str, shape.name)

    def _integer(self, shape: Any) -> Convert:
        return _only(int, shape.name)

    _long = _integer

    def _boolean(self, shape: Any) -> Convert:
        return _only(bool, shape.name)

    def _float(self, shape: Any) -> Convert:
        return _only(float, shape.name)

    _double = _float

    def _blob(self, shape: Any) -> Convert:
        text = _only(str, shape.name)
        return lambda value: base64.b64decode(text(value))


def _only(kind: type, name: str) -> Convert:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise UncommonError(name)
        return value

    return read


def _one_of(shape: str, members: dict[str, Convert]) -> Convert:
    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict or len(value) != 1:
            raise UncommonError(shape)
        ((name, field),) = value.items()
        convert = members.get(name)
        if convert is None or field is None:
            raise UncommonError(f"{shape}.{name}")
        return {name: convert(field)}

    return read


def _as_it_is(value: Any) -> Any:
    return value
