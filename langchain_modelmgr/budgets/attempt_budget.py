"""AttemptBudget: reserves what one attempt may cost, and settles what it did cost."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from langchain_modelmgr.budgets.money import nano_of
from langchain_modelmgr.budgets.settlements import SETTLEMENTS
from langchain_modelmgr.budgets.store import Claim, Figures, Refusal
from langchain_modelmgr.budgets.worst_case import output_cap, worst_case
from langchain_modelmgr.runtime.jitter import uniform
from langchain_modelmgr.runtime.workers import FewWorkers, on_a_thread
from langchain_modelmgr.usage.meter import NotSentError
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from langchain_modelmgr.budgets.call_budget import CallBudget
    from langchain_modelmgr.budgets.limits import Limit
    from langchain_modelmgr.budgets.store import BudgetStore
    from langchain_modelmgr.budgets.worst_case import WorstCase
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.usage.meter import Meter

STORE_THREADS = 32
"""Threads that reserve and settle asynchronous calls in one store. More than a few, because a store
on another host may need 250 ms to time out."""

_LEAST_SECONDS = 0.05
"""Seconds that a call waits for the store at least, even if its deadline has passed."""

GRACE_SECONDS = 30.0
"""Seconds that a reservation lasts beyond its call's deadline."""

_POLL_SECONDS = 0.02, 0.06
"""Seconds between two tries of a call that waits for held money."""


class Applied(NamedTuple):
    """A budget that applies to a call, with the call's key and the store."""

    limit: Limit
    key: str
    store: BudgetStore


class _Held(NamedTuple):
    store: BudgetStore
    reservation: str
    applied: Sequence[Applied]
    figures: Sequence[Figures]
    claims: Sequence[Claim]


class AttemptBudget:
    """The budgets of one attempt. The meter settles it, once, however the attempt ends.

    Args:
        call: The budgets of the call.
        meter: The attempt's meter.
        model: Returns the model's facts, once its ARN is resolved.
    """

    def __init__(
        self, call: CallBudget, meter: Meter, model: Callable[[float], ModelConfig]
    ) -> None:
        self._call = call
        self._meter = meter
        self._find_model = model
        self._model: ModelConfig | None = None
        self._worst_nano: int | None = None
        self._held: list[_Held] = []
        self._lock = threading.Lock()
        self._threads: FewWorkers | None = None
        self._settling: list[Future[None]] = []
        self._deadline = 0.0
        self._is_over = False
        self._thread = 0
        self.caps_output = False

    # -- before the request leaves

    @property
    def may_wait(self) -> bool:
        """Whether ``reserve`` may wait longer than for the store: a budget has ``wait_seconds``."""
        return any(limit.wait_seconds for limit, _, _ in self._call.applied)

    async def areserve(self, params: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Reserve as ``reserve`` does, on one of a few threads of its store.

        Raises:
            BudgetStoreError: Also if the call's deadline passes first.
        """
        self._deadline = deadline
        self._threads = _threads_of(self._call.applied[0].store)
        work = on_a_thread(partial(self.reserve, params, deadline), self._threads)
        try:
            return await asyncio.wait_for(work, self._seconds_left())
        except TimeoutError:  # if it is reserved after all, the end of the attempt gives it back
            raise self._call.busy() from None

    def _seconds_left(self) -> float:
        return max(_LEAST_SECONDS, self._deadline - time.perf_counter())

    def reserve(self, params: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Reserve what the request may cost, in all budgets; return the request to send.

        Called on a thread that may wait, never on an event loop's.

        Args:
            params: The request in Converse's shapes.
            deadline: When the call must be over, by ``time.perf_counter``.

        Raises:
            BudgetExceededError: A budget can't pay for it.
            BudgetStoreError: The store can't be reached, and ``state_required`` is set.
            ReorderedError: A budget is nearly spent, and another candidate comes first.
            NotSentError: The attempt has ended.
        """
        seconds = max(0.0, deadline - time.perf_counter())
        self._model = model = self._find_model(seconds)
        params, output = self._capped(params, model)
        worst = worst_case(params, model, output)
        self._worst_nano = worst.nano_usd
        self._thread = threading.get_ident()
        until = time.monotonic() + seconds
        applied = self._call.payable(model, worst)
        for store in dict.fromkeys(each.store for each in applied):
            own = [each for each in applied if each.store is store]
            held = self._wait(store, own, worst, until)
            with self._lock:
                self._held.append(held)
                is_over = self._is_over
            if is_over:
                self.release()
                raise NotSentError
        self._look(params, worst)
        return params

    def _capped(self, params: dict[str, Any], model: ModelConfig) -> tuple[dict[str, Any], int]:
        """Return the request with ``maxTokens``, and its value."""
        inference: Mapping[str, Any] = params.get("inferenceConfig") or {}
        given = inference.get("maxTokens")
        if given is not None:
            return params, int(given)
        self.caps_output = True
        cap = output_cap(params, model, self._call.max_tokens)
        return {**params, "inferenceConfig": {**inference, "maxTokens": cap}}, cap

    def _wait(
        self, store: BudgetStore, applied: Sequence[Applied], worst: WorstCase, until: float
    ) -> _Held:
        """Reserve in one store; wait for held money if a budget says so."""
        claims = [
            Claim(limit.stored, key, limit.calendar, limit.limit, needed(limit, worst))
            for limit, key, _ in applied
        ]
        begun = time.monotonic()
        while True:
            lasts = max(0.0, until - time.monotonic()) + GRACE_SECONDS
            holder, made = self._call.reserve(store, claims, lasts, until)
            if not isinstance(made, Refusal):
                return _Held(holder, made.id, applied, made.figures, claims)
            refusing = [
                (each, figures, claim.amount)
                for each, figures, claim in zip(applied, made.figures, claims, strict=True)
                if figures.spent + figures.held + claim.amount > claim.limit
            ]
            may_fit = all(f.spent + amount <= each.limit.limit for each, f, amount in refusing)
            waits_until = begun + min(each.limit.wait_seconds for each, _, _ in refusing)
            if not may_fit or time.monotonic() >= min(waits_until, until):
                self.release()
                raise self._call.refused(refusing)
            if self._meter.outcome is not None or self._meter.is_abandoned():
                self.release()
                raise NotSentError
            time.sleep(uniform(*_POLL_SECONDS))

    def _look(self, params: Mapping[str, Any], worst: WorstCase) -> None:
        """Warn, and let the call prefer cheaper candidates, if a budget is nearly spent."""
        for held in self._held:
            for applied, figures, claim in zip(
                held.applied, held.figures, held.claims, strict=True
            ):
                if applied.limit.warn_at is None and applied.limit.degrade_at is None:
                    continue
                self._call.look(applied, figures, figures.spent + figures.held - claim.amount)
        error = self._call.reordered(params, worst)
        if error is not None:
            self.release()
            raise error

    # -- after the attempt

    def settle(self) -> None:
        """Replace the reservations by what the attempt used. Only the first call counts."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            held, self._held = self._held, []
        # A stream that is collected ends as aborted, perhaps while its thread holds a store's lock.
        is_over = self._meter.outcome in {"answered", "failed"}
        later = not is_over or threading.get_ident() != self._thread or _on_event_loop()
        if any(each.store is not each.applied[0].store for each in held):
            nano = self._nano_used()
            self._call.unconfirmed.add(self._worst_nano if nano is None else nano)
        for each in held:
            used = [self._used(limit) for limit, _, _ in each.applied]
            step = each.store, each.reservation, used
            if not later:
                SETTLEMENTS.settle(*step)
            elif is_over and self._threads is not None:  # its task waits for it
                self._settling.append(SETTLEMENTS.settle_on(self._threads, *step))
            else:
                SETTLEMENTS.settle_later(*step)
            self._call.settled(each.store, each.applied, each.figures, each.claims, used)

    async def settled(self) -> None:
        """Wait, at most until the call's deadline, for what ``settle`` left to other threads."""
        for ended in self._settling:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(ended), self._seconds_left())

    def release(self) -> None:
        """Give everything back: the request is not sent. It may be reserved again."""
        with self._lock:
            held, self._held = self._held, []
        for each in held:
            SETTLEMENTS.settle(each.store, each.reservation, [0] * len(each.claims))

    def _used(self, limit: Limit) -> int | None:
        """Return what was used; None: it may be billed, and no reply says how much."""
        if limit.unit == "usd":
            return self._nano_used()
        usage = self._usage()
        return usage.total_tokens if isinstance(usage, TokenCounts) else usage

    def _usage(self) -> TokenCounts | Literal[0] | None:
        """Return the token counts; 0: it is not billed; None: no reply says how much."""
        meter = self._meter
        if not meter.sent:
            return 0
        if meter.usage is None or meter.usage_estimated:
            return 0 if meter.was_rejected else None
        return meter.usage

    def _nano_used(self) -> int | None:
        """Return the cost in nano-USD; None: no reply says how much, or the price is unknown."""
        usage = self._usage()
        if not isinstance(usage, TokenCounts):
            return usage
        if self._model is None:
            return None
        cost = cost_of(usage, self._model, self._meter.service_tier)
        return None if cost is None else nano_of(cost)


def needed(limit: Limit, worst: WorstCase) -> int:
    """Return what an attempt needs of a budget. The caller has checked that it is known."""
    amount = worst.nano_usd if limit.unit == "usd" else worst.tokens
    if amount is None:
        raise ValueError("the worst case is unknown")
    return amount


def _threads_of(store: BudgetStore) -> FewWorkers:
    """Return the threads of a store: one that hangs delays no calls of another."""
    threads = _THREADS.get(store)
    if threads is None:
        threads = _THREADS.setdefault(store, FewWorkers(STORE_THREADS))
    return threads


_THREADS: WeakKeyDictionary[BudgetStore, FewWorkers] = WeakKeyDictionary()


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
