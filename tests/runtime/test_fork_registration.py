"""Objects that own a lock are reset in a forked child, in any order."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.runtime.forks import AFTER_FORK, AfterFork
from tests.models import SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

_HELD_LOCKS = """
    import gc, os, threading, time
    from langchain_core.messages import HumanMessage
    from langchain_modelmgr import ConfigurationManager, ModelManager, UsageCallbackHandler

    LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    # A fork waits for its condition, so that its child finds it free.
    WAITED_FOR = ("_ForkGate",)

    def locks():
        for thing in gc.get_objects():
            if str(type(thing).__module__).startswith("langchain_modelmgr"):
                if type(thing).__name__ not in WAITED_FOR and hasattr(thing, "__dict__"):
                    yield from ((type(thing).__name__, v) for v in vars(thing).values()
                                if isinstance(v, LOCKS))

    def hold_all(held, ready):
        for name, lock in list(locks()):
            if lock.acquire(timeout=5):
                held.append(name)
        ready.set()
        time.sleep(300)

    def use(manager, handler, track):
        with track:
            manager.invoke_model("a", [HumanMessage("x")])
        list(manager.stream_model("a", [HumanMessage("x")]))
        handler.on_chat_model_start({}, [[]], run_id=os.getpid())
        manager.flush_metrics(2)
        ModelManager(ConfigurationManager("dev", manager.config.config_dir)).close()
        return manager.get_usage_summary()["calls"], track.calls

    manager = ModelManager(ConfigurationManager("dev", os.environ["CONFIG_DIR"]))
    handler, track = UsageCallbackHandler(manager, "a"), manager.track("task")
    assert use(manager, handler, track) == (2, 1)
    held, ready = [], threading.Event()
    threading.Thread(target=hold_all, args=(held, ready), daemon=True).start()
    assert ready.wait(100)
    print(*sorted(set(held)), flush=True)
    child = os.fork()
    if child == 0:
        threading.Thread(target=lambda: (time.sleep(100), os._exit(9)), daemon=True).start()
        code = 8
        try:
            found = use(manager, handler, track)
            code = 0 if found == (2, 1) else 7
        finally:
            os._exit(code)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_works_though_other_threads_held_every_lock_at_the_fork(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    (tmp_path / "dev.yaml").write_text(
        f"aws: {{region: us-east-1}}\nagents: {{a: {{model: '{SONNET}'}}}}\n"
    )
    settings = {"AWS_ENDPOINT_URL": local_aws.url, "CONFIG_DIR": str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(_HELD_LOCKS)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=220,
    )

    assert ended.returncode == 0, (ended.returncode, ended.stdout, ended.stderr)
    held = ended.stdout.split()
    for owner in ("Cooldowns", "InferenceProfiles", "Ledger", "Slots", "Tracks", "UsageSummary"):
        assert owner in held


def test_a_child_resets_what_is_registered_and_alive() -> None:
    class Counter:
        def __init__(self) -> None:
            self.value = 1
            AFTER_FORK.watch(self)

        def reset_after_fork(self) -> None:
            self.value = 0

    counter = Counter()

    if (child := os.fork()) == 0:
        os._exit(counter.value)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counter.value == 1


def test_registering_keeps_nothing_alive() -> None:
    class Thing:
        def reset_after_fork(self) -> None:
            raise AssertionError

    registered = AfterFork()

    registered.watch(Thing())
    gc.collect()

    registered._reset()
