"""ValkeyStore: budgets of all processes of several hosts, in Valkey or Redis."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.budgets import valkey_scripts
from langchain_modelmgr.budgets.steps import Ids
from langchain_modelmgr.budgets.store import (
    KEPT_MS,
    TASK_PREFIX,
    Claim,
    Figures,
    Refusal,
    Reservation,
    StoreBusyError,
    StoreUnreachableError,
)
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_modelmgr.budgets.windows import Calendar, Window

logger = logging.getLogger(__name__)

SECONDS = 0.25
"""Default of the longest wait for a connection, and for a reply."""

_RESENT_MS = 60_000
"""Milliseconds in which the client may send a step again after a broken connection."""

_MOST_TRIES = 5
"""Tries of a step whose window ended on the way."""


class ValkeyStore:
    """Holds budgets in Valkey: one script a step, the server's clock.

    Args:
        url: ``valkey://host:6379/0``; ``valkeys://``, ``redis://``, ``rediss://``, ``unix://`` too.
        project_prefix: The project; its keys have one hash tag.
        seconds: Longest wait for a connection, and for a reply.

    Raises:
        ConfigurationError: The extra ``valkey`` is not installed, or the URL is not valid.
    """

    name = "Valkey"

    def __init__(self, url: str, project_prefix: str, *, seconds: float = SECONDS) -> None:
        self._url = url
        self._seconds = seconds
        self._prefix = f"modelmgr:{{{project_prefix}}}:budgets"
        self._ids = Ids()
        self._offset = 0
        self._generation: str | None = None
        self._client: Any = None
        self._scripts: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._connect()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Forget the parent's connections; the parent's reservations are the parent's."""
        self._lock = threading.Lock()
        self._ids.renew()
        self._client, self._scripts = None, {}

    # -- the protocol

    def reserve(
        self,
        claims: Sequence[Claim],
        *,
        seconds: float,
        deadline: float,
        named: str | None = None,
    ) -> Reservation | Refusal:
        """Reserve the amounts of all claims, or none."""
        if time.monotonic() >= deadline:
            raise StoreBusyError
        new_id, made = named or self._ids.new(), os.urandom(8).hex()
        for _ in range(_MOST_TRIES):
            windows = [claim.calendar.window(self._now()) for claim in claims]
            arguments = _arguments(claims, windows)
            state, _, born, *values = self._run(
                valkey_scripts.RESERVE, [new_id, int(seconds * 1000), made, *arguments]
            )
            if state == "window":
                continue
            self._look(born)
            numbers = iter(map(int, values))
            figures = []
            for claim, window in zip(claims, windows, strict=True):
                spent, held, uncertain = next(numbers), next(numbers), next(numbers)
                held += claim.amount if state == "held" else 0
                figures.append(Figures(claim.budget, claim.key, *window, spent, held, uncertain))
            found = tuple(figures)
            return Reservation(new_id, found) if state == "held" else Refusal(found)
        raise StoreUnreachableError("its clock moves")

    def settle(self, reservation: str, amounts: Sequence[int | None]) -> None:
        """Replace a reservation by what was used."""
        used = ["" if amount is None else amount for amount in amounts]
        self._run(valkey_scripts.SETTLE, [reservation, *used])

    def add(
        self,
        claims: Sequence[Claim],
        *,
        once: str | None = None,
        deadline: float | None = None,  # noqa: ARG002 - a reply is waited for 250 ms
    ) -> None:
        """Add amounts to ``spent`` without a reservation."""
        known = [once or self._ids.new(), KEPT_MS if once else _RESENT_MS]
        for _ in range(_MOST_TRIES):
            windows = [claim.calendar.window(self._now()) for claim in claims]
            reply = self._run(valkey_scripts.ADD, [*known, *_arguments(claims, windows)])
            if reply[0] != "window":
                return
        raise StoreUnreachableError("its clock moves")

    def figures(self, budget: str, calendar: Calendar, *, key: str | None = None) -> list[Figures]:
        """Return the counters of a budget's current window, by key."""
        for _ in range(_MOST_TRIES):
            start, end = calendar.window(self._now())
            state, _, *values = self._run(
                valkey_scripts.FIGURES,
                [budget, start, -1 if end is None else end, int(key is not None), key or ""],
            )
            if state != "window":
                rows = zip(*(iter(values),) * 4, strict=True)
                return sorted(
                    Figures(budget, name, start, end, int(spent), int(held), int(uncertain))
                    for name, spent, held, uncertain in rows
                )
        raise StoreUnreachableError("its clock moves")

    def reset(self, budget: str, *, key: str | None = None) -> None:
        """Set ``spent`` and ``uncertain`` to 0 in all windows of a budget."""
        self._run(valkey_scripts.RESET, [budget, int(key is not None), key or ""])

    def close(self) -> None:
        """Close the connections. The next step opens them again."""
        with self._lock:
            client, self._client, self._scripts = self._client, None, {}
        if client is not None:
            client.close()

    # -- the server

    def _now(self) -> int:
        """Return the server's time, as far as it is known, in milliseconds since 1970."""
        return int(time.time() * 1000) + self._offset

    def _run(self, script: str, arguments: Sequence[Any]) -> Any:
        """Run a script, and remember the server's time from its reply."""
        import valkey

        try:
            reply = self._script(script)(keys=[self._prefix], args=arguments)
        except (valkey.ValkeyError, OSError) as error:
            raise StoreUnreachableError(type(error).__name__) from error
        if isinstance(reply, list):
            self._offset = int(reply[1]) - int(time.time() * 1000)
        return reply

    def _script(self, script: str) -> Any:
        found = self._scripts.get(script)
        if found is None:
            with self._lock:
                client = self._client or self._connect()
                found = self._scripts[script] = client.register_script(script)
        return found

    def _connect(self) -> Any:
        try:
            import valkey
            from valkey.backoff import NoBackoff
            from valkey.retry import Retry
        except ImportError:
            raise ConfigurationError(
                "state: a Valkey server needs the extra valkey: "
                "pip install 'langchain-modelmgr[valkey]'"
            ) from None
        try:
            self._client = valkey.Valkey.from_url(
                self._url,
                decode_responses=True,
                socket_timeout=self._seconds,
                socket_connect_timeout=self._seconds,
                # A dead connection is replaced once: its server may have been restarted.
                retry=Retry(NoBackoff(), 1),
                retry_on_error=[valkey.ConnectionError],
            )
        except ValueError:
            raise ConfigurationError("state: the URL of the Valkey server is not valid") from None
        return self._client

    def _look(self, generation: str) -> None:
        """Warn if the server has lost what it held."""
        before, self._generation = self._generation, generation
        if before is not None and before != generation:
            logger.warning(
                "the store of the budgets came back empty: what was spent before is not counted"
            )


def _arguments(claims: Sequence[Claim], windows: Sequence[Window]) -> list[Any]:
    return [
        argument
        for claim, (start, end) in zip(claims, windows, strict=True)
        for argument in (
            claim.budget,
            claim.key,
            start,
            -1 if end is None else end,
            claim.limit,
            claim.amount,
            int(claim.budget.startswith(TASK_PREFIX)),
        )
    ]
