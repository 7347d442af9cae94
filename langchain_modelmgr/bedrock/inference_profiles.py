"""Resolves ARNs of inference profiles with GetInferenceProfile, once per process."""

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

RETRY_LOOKUP_SECONDS = 300.0
"""Seconds after which a failed lookup of an ARN is repeated, in the background."""

WAIT_SECONDS = 2.0
"""Seconds that a call waits for the reply, which normally takes milliseconds. After that the call
continues without it."""


class _Search:
    """One lookup of the model of an ARN.

    Args:
        again: True if an earlier lookup failed; calls do not wait for this one.

    Attributes:
        over: Done when the model is known or the wait has timed out.
        failed: Why the model is unknown; empty if it is known or the lookup is running.
        found: True once the model is in the catalog.
        may_retry: False if no lookup could succeed.
    """

    def __init__(self, *, again: bool) -> None:
        self.again = again
        self.over: Future[None] = Future()
        self.failed = ""
        self.may_retry = True
        self.found = False
        self._began = time.monotonic()
        self._lock = threading.Lock()

    @property
    def is_due_again(self) -> bool:
        waited = time.monotonic() - self._began
        return bool(self.failed) and self.may_retry and waited >= RETRY_LOOKUP_SECONDS

    def end(self, failed: str = "") -> bool:
        """End all waits for this lookup; return whether this was the first call."""
        with self._lock:
            self.found |= not failed
            self.failed = "" if self.found else failed
            first = not self.over.done()
            if first:
                self.over.set_result(None)
            return first


_ARNS_KEPT = 1024
"""Maximum number of ARNs with a remembered lookup."""


class InferenceProfiles:
    """Finds the models of inference profile ARNs, for all agents of a manager.

    Args:
        clients: The boto3 clients.
        catalog: The catalog that describes the models and stores what was found.
    """

    def __init__(self, clients: Clients, catalog: ModelCatalog) -> None:
        self._clients = clients
        self._catalog = catalog
        self._lock = threading.Lock()
        self._searches: dict[str, _Search] = {}
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard lookups: their threads exist only in the parent. The catalog is kept."""
        self._lock = threading.Lock()
        self._searches = {}

    def may_resolve(self, model: ModelConfig) -> bool:
        """Return whether a lookup may find, or has found, the model of an unresolved ARN."""
        if model.base_model_id is not None:
            return False
        search = self._searches.get(model.model_id)
        return search is None or not search.failed or search.is_due_again

    def search(self, model: ModelConfig, region: str | None) -> Future[None] | None:
        """Start a lookup of the model of an ARN, unless one is running.

        Returns:
            A future to wait for; None if the lookup is finished or continues in the background.
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
        """Return the catalog's entry for the model of an ARN, or ``model`` if it is not known.

        If the lookup failed, ``price_unknown`` has the reason; the price is never 0.
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
        """Return whether the catalog, which is limited in size, has dropped the model it found."""
        return search.found and self._catalog.resolve(model.model_id).base_model_id is None

    def _start(self, search: _Search, arn: str, region: str | None) -> None:
        if not may_be_inference_profile(arn):
            search.may_retry = False
            search.end("not an inference profile: AWS offers no lookup for it")
            _warn(arn, search.failed)
            return
        try:
            WORKERS.run(lambda: self._search(search, arn, region))
        except RuntimeError as error:  # the system starts no more threads
            search.end(str(error))

    def _search(self, search: _Search, arn: str, region: str | None) -> None:
        """Look up the ARN, on a thread, and warn if its model remains unknown."""
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
