"""A forked child has a ledger of its own, whatever its parent's threads did at that moment."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from tests.support import ROOT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_threads_use_sqlite_can_use_it_too() -> None:
    code = """
        import os, threading
        from contextlib import closing
        from langchain_modelmgr.ledger.database_file import open_store, readonly_copy

        def use():
            with closing(open_store(None)) as store, closing(readonly_copy(store)) as copy:
                copy.execute("select count(*) from attempts").fetchall()

        def churn():
            while not done.is_set():
                use()

        done = threading.Event()
        threads = [threading.Thread(target=churn) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            child = os.fork()
            if child == 0:
                use()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads:
            thread.join()
    """

    subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=200,
    )
