"""Hypothesis strategies of values for the shapes of botocore's service model."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE: Any = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
"""Bedrock Runtime, as botocore describes it."""

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)

_JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "x", 0, -1, 1.5, True, [], {}, (), {"unknown": 1}, {"text": "x", "unknown": 1}]
)

_MORE_JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [Decimal("1.5"), float("nan"), float("inf"), b"x", bytearray(b"x"), ["x"], ({"text": "x"},)]
)


class Values:
    """Strategies for the values of shapes.

    Args:
        wire: True for decoded JSON, as replies have it; False for boto3's Python values.
        odd: One of how many values is not what the shape asks for; 0 for none.
    """

    def __init__(self, *, wire: bool = False, odd: int = 0) -> None:
        self._wire = wire
        self._odd = odd
        self._known: dict[str, st.SearchStrategy[Any]] = {}

    def of(self, shape: Any) -> st.SearchStrategy[Any]:
        """Return the strategy for a shape."""
        if shape.name not in self._known:
            self._known[shape.name] = st.deferred(lambda: self._known[f"{shape.name} made"])
            self._known[f"{shape.name} made"] = self._sometimes_odd(self._of(shape))
        return self._known[shape.name]

    def _sometimes_odd(self, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        if not self._odd:
            return values
        junk = _JUNK if self._wire else _JUNK | _MORE_JUNK
        return st.integers(0, self._odd).flatmap(lambda n: junk if n == self._odd else values)

    def _of(self, shape: Any) -> st.SearchStrategy[Any]:
        make: Callable[[Any], st.SearchStrategy[Any]] = getattr(self, f"_{shape.type_name}")
        return make(shape)

    def _structure(self, shape: Any) -> st.SearchStrategy[Any]:
        if shape.is_document_type:
            return _JSON if self._odd else _JSON.filter(lambda value: value is not None)
        members = {name: self.of(member) for name, member in shape.members.items()}
        if shape.is_tagged_union:
            return st.one_of(
                [st.fixed_dictionaries({name: values}) for name, values in members.items()]
            )
        must = {name: members[name] for name in shape.required_members}
        may = {name: values for name, values in members.items() if name not in must}
        return st.fixed_dictionaries(must, optional=may)

    def _list(self, shape: Any) -> st.SearchStrategy[Any]:
        least = shape.metadata.get("min", 0)
        return st.lists(self.of(shape.member), min_size=least, max_size=max(2, least))

    def _map(self, shape: Any) -> st.SearchStrategy[Any]:
        least = shape.metadata.get("min", 0)
        key, value = self._string(shape.key), self.of(shape.value)
        if self._odd and not self._wire:
            key |= st.sampled_from(["", 1, b"x"])
        return st.dictionaries(key, value, min_size=least, max_size=max(2, least))

    def _string(self, shape: Any) -> st.SearchStrategy[Any]:
        if shape.enum:
            return st.sampled_from(shape.enum)
        least = shape.metadata.get("min", 0)
        return st.text(min_size=least, max_size=max(12, least))

    def _integer(self, _shape: Any) -> st.SearchStrategy[Any]:
        return st.integers(1, 9**9)

    _long = _integer

    def _float(self, _shape: Any) -> st.SearchStrategy[Any]:
        return st.floats(0, 1) | st.integers(0, 1)

    _double = _float

    def _boolean(self, _shape: Any) -> st.SearchStrategy[Any]:
        return st.booleans()

    def _blob(self, shape: Any) -> st.SearchStrategy[Any]:
        data = st.binary(min_size=shape.metadata.get("min", 0), max_size=20)
        return data.map(lambda d: base64.b64encode(d).decode()) if self._wire else data
