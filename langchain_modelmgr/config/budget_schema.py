"""BudgetConfig: one budget of the YAML."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from langchain_modelmgr.config.parameters import PROBLEM, Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

MOST_USD = 9_000_000
"""The largest limit in USD: stores count nano-USD, and Lua's numbers are exact up to 2**53."""

MOST_TOKENS = 9 * 10**15
"""The largest limit in tokens, for the same reason."""

BUDGET_NAME = r"^[A-Za-z0-9_.-]{1,64}$"
STATE = r"^(auto|memory|(valkeys?|rediss?|unix)://.+)$"


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        text = "must be the IANA name of a time zone such as Europe/Berlin"
        raise PydanticCustomError(PROBLEM, text) from None
    return name


class DegradedModel(BaseModel):
    """The model that calls are sent to first while a budget is nearly spent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1)]
    """Model id, inference profile id, or ARN."""

    service_tier: Literal["priority", "default", "flex", "reserved"] | None = None
    """Its service tier; None: the agent's."""

    def parameters(self) -> Parameters:
        """Return the request fields that it sets."""
        return {} if self.service_tier is None else {"service_tier": self.service_tier}


class BudgetConfig(BaseModel):
    """A limit of what agents may spend in a window of time."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, regex_engine="python-re", allow_inf_nan=False
    )

    agent: tuple[str, ...] = ()
    """The agents that share the budget; empty: all."""

    by: Annotated[str, Field(pattern=r"^(agent|metadata\.\S{1,100})$")] | None = None
    """``agent`` or ``metadata.<key>``: one budget for each value; None: one for all."""

    usd: Annotated[Decimal, Field(gt=0, le=MOST_USD)] | None = None
    """The limit in USD."""

    tokens: Annotated[int, Field(gt=0, le=MOST_TOKENS)] | None = None
    """The limit in tokens of all kinds."""

    per: Literal["minute", "hour", "day", "month", "total"]
    """The window of the limit; ``total``: it never ends."""

    timezone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    """The time zone of the windows."""

    warn_at: Annotated[float, Field(gt=0, le=1)] | None = None
    """The part of the limit from which a WARNING is logged, once a window."""

    degrade_at: Annotated[float, Field(gt=0, le=1)] | None = None
    """The part of the limit from which the candidates that may cost less are called first."""

    degrade_to: DegradedModel | None = None
    """The model that is then called first; None: those of the chain, by what they may cost."""

    unpriced: Literal["refuse", "allow"] = "refuse"
    """What happens to models without a known price. Those that are allowed are not limited."""

    wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """How long a call waits for money that other calls hold."""

    @field_validator("agent", mode="before")
    @classmethod
    def _one(cls, agent: Any) -> Any:
        return [agent] if isinstance(agent, str) else agent

    @field_validator("degrade_to", mode="before")
    @classmethod
    def _plain_id(cls, model: Any) -> Any:
        return {"model": model} if isinstance(model, str) else model

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.usd is None) == (self.tokens is None):
            raise PydanticCustomError(PROBLEM, "set one of usd and tokens")
        if self.degrade_to is not None and self.degrade_at is None:
            raise PydanticCustomError(PROBLEM, "degrade_to needs degrade_at, such as 0.9")
        return self


class BudgetsConfig(NamedTuple):
    """The budgets and their keys, as described in ``ConfigFile``."""

    limits: Mapping[str, BudgetConfig]
    state: str
    is_required: bool
    max_tokens: int
