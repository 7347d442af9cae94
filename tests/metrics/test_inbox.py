"""The inbox takes items at any moment, also from a finaliser that runs in the middle of a fold."""

from __future__ import annotations

from langchain_modelmgr.metrics.inbox import Inbox


def test_an_item_put_while_another_is_folded_neither_hangs_nor_gets_lost() -> None:
    seen: list[int] = []

    def fold(item: int) -> None:
        if item == 1:
            inbox.put(2)  # as a finaliser would, in this very thread
        seen.append(item)

    inbox = Inbox(fold)

    inbox.put(1)

    assert seen == [1, 2]


def test_an_item_put_while_the_state_is_read_is_folded_afterwards() -> None:
    seen: list[int] = []
    inbox = Inbox(seen.append)

    with inbox.settled():
        inbox.put(1)
        during = list(seen)
    with inbox.settled():
        after = list(seen)

    assert (during, after) == ([], [1])
