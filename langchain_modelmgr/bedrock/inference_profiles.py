"""Resolves ARNs of inference profiles: GetInferenceProfile, once a process, never for long."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_modelmgr.bedrock.failures import classify
from langchain_modelmgr.catalog import may_be_inference_profile, underlying_model
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.runtime.watchdog import WATCHDOG
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    from langchain_modelmgr.bedrock.clients import Clients
    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 300.0
"""Seconds after which an ARN that could not be resolved is asked for again, in the background."""

WAIT_SECONDS = 2.0
"""Seconds that a call waits for the reply. It comes in milliseconds, or something is wrong with
the control plane, and the call can do without."""


class _Search:
    """One search for the model of an ARN.

    Args:
        again: One before it failed: nobody waits for this one.

    Attributes:
        over: Done when the model is known, or when it is not waited for any longer.
        failed: Why the model is unknown; empty: it is known, or still searched for.
        found: True once the catalog was told.
        may_ask_again: False if no search could find it.
    """

    def __init__(self, *, again: bool) -> None:
        self.again = again
        self.over: Future[None] = Future()
        self.failed = ""
        self.may_ask_again = True
        self.found = False
        self._began = time.monotonic()
        self._lock = threading.Lock()

    @property
    def is_due_again(self) -> bool:
        waited = time.monotonic() - self._began
        return bool(self.failed) and self.may_ask_again and waited >= ASK_AGAIN_SECONDS

    def end(self, failed: str = "") -> bool:
        """Let nobody wait any longer; return whether this was the first end."""
        with self._lock:
            self.found |= not failed
            self.failed = "" if self.found else failed
            first = not self.over.done()
            if first:
                self.over.set_result(None)
            return first


_ARNS_KEPT = 1024
"""ARNs whose last search is remembered."""


class InferenceProfiles:
    """What ARNs stand for, shared by all agents of a manager.

    Args:
        clients: The boto3 clients.
        catalog: Where the models of the profiles are looked up.
    """

    def __init__(self, clients: Clients, catalog: ModelCatalog) -> None:
        self._clients = clients
        self._catalog = catalog
        self._lock = threading.Lock()
        self._searches: dict[str, _Search] = {}
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard searches, whose threads only the parent has; the catalog keeps what was found."""
        self._lock = threading.Lock()
        self._searches = {}

    def may_resolve(self, model: ModelConfig) -> bool:
        """Return whether more can be found out, or was, than ``model`` says."""
        if model.base_model_id is not None:
            return False
        search = self._searches.get(model.model_id)
        return search is None or not search.failed or search.is_due_again

    def search(self, model: ModelConfig, region: str | None) -> Future[None] | None:
        """Start to search for the model of an ARN, unless that goes on.

        Returns:
            What a call may wait for; None: nothing, the search was over or goes on without it.
        """
        with self._lock:
            search = self._searches.get(model.model_id)
            if search is None or search.is_due_again or self._is_forgotten(search, model):
                while len(self._searches) >= _ARNS_KEPT:
                    self._searches.pop(next(iter(self._searches)))
                again = search is not None and bool(search.failed)
                search = self._searches[model.model_id] = _Search(again=again)
                self._start(search, model.model_id, region)
        return None if search.again or search.over.done() else search.over

    def resolved(self, model: ModelConfig) -> ModelConfig:
        """Return the catalog's entry of the model of an ARN, as far as it is known now.

        One that could not be found is unknown, with the reason in ``price_unknown``: its price
        is never 0.
        """
        known = self._catalog.resolve(model.model_id)
        if known.base_model_id is not None:
            return known
        search = self._searches.get(model.model_id)
        if search is None or not search.failed:
            return model
        reason = f"the model of this ARN is unknown: {search.failed}"
        return model if model.price_unknown == reason else replace(model, price_unknown=reason)

    def _is_forgotten(self, search: _Search, model: ModelConfig) -> bool:
        """Return whether the catalog, which keeps so many, no longer knows what was found."""
        return search.found and self._catalog.resolve(model.model_id).base_model_id is None

    def _start(self, search: _Search, arn: str, region: str | None) -> None:
        if not may_be_inference_profile(arn):
            search.may_ask_again = False
            search.end("not an inference profile: AWS offers no lookup for it")
            _warn(arn, search.failed)
            return
        try:
            WORKERS.run(lambda: self._search(search, arn, region))
        except RuntimeError as error:  # the system starts no more threads
            search.end(str(error))

    def _search(self, search: _Search, arn: str, region: str | None) -> None:
        """Ask AWS, on a thread, and warn if the model stays unknown."""
        try:
            client = self._clients.control(_region_of(arn) or region)

            def give_up(_: float) -> None:
                if search.end(f"GetInferenceProfile did not answer within {WAIT_SECONDS:g} s"):
                    _warn(arn, search.failed)

            watch = WATCHDOG.watch(give_up, time.perf_counter() + WAIT_SECONDS)
            try:
                profile = client.get_inference_profile(inferenceProfileIdentifier=arn)
            finally:
                watch.cancel()
        except Exception as error:  # noqa: BLE001 - whatever it is, the call itself must go on
            failure = classify(error)
            code = failure.code if failure else None
            failed = f"GetInferenceProfile failed ({code or type(failure or error).__name__})"
        else:
            found = underlying_model(model["modelArn"] for model in profile.get("models", ()))
            failed = "" if found else "GetInferenceProfile returned no single foundation model"
            if found:
                self._catalog.learn(arn, found)
        if search.end(failed) and failed:
            _warn(arn, failed)


def _warn(arn: str, reason: str) -> None:
    logger.warning(
        "the model of %s is unknown: %s; set base_model for it under models:",
        mask_account_ids(arn),
        reason,
    )


def _region_of(arn: str) -> str | None:
    _, _, _, region, *_ = [*arn.split(":"), "", "", "", ""]
    return region or None
