"""Masks account ids and rejected values in exceptions that become the cause of another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pydantic

from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REFUSED = re.compile(
    r"(?:Invalid (?:type|value|length) for parameter|Missing required parameter in"
    r"|Unknown parameter in) [\w.\[\]]+"
)
"""The start of botocore's report: the kind and the place of the problem, without values."""


def masked(error: BaseException) -> BaseException | None:
    """Mask an error and all errors that it links to, in place, and return it.

    Each error keeps its class, code and request id. botocore's report on an invalid request keeps
    the place and loses the values. Returns None for an error that quotes values and can't be
    changed.
    """
    if isinstance(error, pydantic.ValidationError):
        return None
    for link in _linked(error):
        _mask(link)
    return error


def _linked(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its causes and contexts, and the errors stored in botocore's errors."""
    seen: set[int] = set()
    open_ends: list[Any] = [error]
    while open_ends:
        link = open_ends.pop()
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            open_ends += [link.__cause__, link.__context__, *_kwargs(link).values(), *link.args]
            yield link


def _mask(error: BaseException) -> None:
    from botocore.exceptions import ClientError, ParamValidationError

    if isinstance(error, ClientError):
        _mask_texts(error.response)
        _mask_texts(error.response.get("Error", {}))
    kwargs = _kwargs(error)
    if isinstance(error, ParamValidationError):
        where = REFUSED.match(str(kwargs.get("report", "")))
        kwargs["report"] = f"{where[0] if where else 'a parameter'} (values are not shown)"
        error.args = (error.fmt.format(**kwargs),)
    _mask_texts(kwargs)
    error.args = tuple(mask_account_ids(a) if isinstance(a, str) else a for a in error.args)


def _kwargs(error: BaseException) -> dict[str, Any]:
    """Return the arguments that a botocore error is formatted and pickled with."""
    kwargs = getattr(error, "kwargs", None)
    return kwargs if isinstance(kwargs, dict) else {}


def _mask_texts(fields: Mapping[str, Any]) -> None:
    if isinstance(fields, dict):
        for name, value in fields.items():
            if isinstance(value, str):
                fields[name] = mask_account_ids(value)
