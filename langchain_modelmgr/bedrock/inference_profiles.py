"""Finds the model behind an ARN that hides it: GetInferenceProfile, once a process."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_modelmgr.bedrock.failures import classify
from langchain_modelmgr.catalog import model_behind
from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from langchain_modelmgr.bedrock.clients import Clients
    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 300.0
"""Seconds after which an ARN that could not be resolved is asked for again."""

_ARNS_KEPT = 1024
"""ARNs whose last question is remembered."""


class InferenceProfiles:
    """What ARNs stand for, shared by all agents of a manager.

    Args:
        clients: The boto3 clients.
        catalog: Where the models behind them are looked up.
    """

    def __init__(self, clients: Clients, catalog: ModelCatalog) -> None:
        self._clients = clients
        self._catalog = catalog
        self.reset()

    def reset(self) -> None:
        """Forget locks and failures in a forked child; what was found stays true."""
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}

    def hides(self, model: ModelConfig) -> bool:
        """Tell whether the model is still to be found, and may be asked for now."""
        asked = self._asked.get(model.model_id)
        waiting = asked is not None and time.monotonic() - asked < ASK_AGAIN_SECONDS
        return model.base_model_id is None and not waiting

    def resolve(self, model: ModelConfig, region: str | None) -> ModelConfig:
        """Return the catalog's entry of the model behind an ARN; one call to AWS at most.

        A call that is denied or fails leaves the model unknown, with the reason in
        ``price_unknown`` and one warning: never a price of 0, never an error.
        """
        with self._lock:
            known = self._catalog.resolve(model.model_id)
            if not self.hides(known):
                return known if known.base_model_id else model
            while len(self._asked) >= _ARNS_KEPT:
                self._asked.pop(next(iter(self._asked)))
            self._asked[model.model_id] = time.monotonic()
            behind, reason = self._ask(model.model_id, region)
        if behind is None:
            logger.warning(
                "the model behind %s is unknown: %s; give base_model under models:",
                mask_account_ids(model.model_id),
                reason,
            )
            return replace(model, price_unknown=f"the model behind this ARN is unknown: {reason}")
        self._catalog.learn(model.model_id, behind)
        return self._catalog.resolve(model.model_id)

    def _ask(self, arn: str, region: str | None) -> tuple[str | None, str]:
        try:
            client = self._clients.control(_region_of(arn) or region)
            profile = client.get_inference_profile(inferenceProfileIdentifier=arn)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call itself must go on
            failure = classify(error)
            code = failure.code if failure else None
            return None, f"GetInferenceProfile failed ({code or type(failure or error).__name__})"
        behind = model_behind(model["modelArn"] for model in profile.get("models", ()))
        return behind, "GetInferenceProfile named no single foundation model"


def _region_of(arn: str) -> str | None:
    _, _, _, region, *_ = [*arn.split(":"), "", "", "", ""]
    return region or None
