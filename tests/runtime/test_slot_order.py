"""Slots without calls: their order, each model's share, and that none is lost."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_modelmgr.runtime.slots import MODEL_SHARE, SlotRequest, Slots


def _take(
    slots: Slots, model: str, granted: list[SlotRequest], *, again: bool = False
) -> SlotRequest:
    turn = SlotRequest(model, lambda: granted.append(turn))
    if slots.take(turn, again=again) is None:
        granted.append(turn)
    return turn


@pytest.mark.parametrize(
    ("total", "most"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (10, 8), (64, 51), (320, 256)]
)
def test_a_model_s_share_leaves_room_for_others(total: int, most: int) -> None:
    slots, granted = Slots(total), list[SlotRequest]()

    for _ in range(total + 5):
        _take(slots, "hung", granted)

    assert slots.taken("hung") == len(granted) == most


def test_each_model_that_hangs_leaves_a_fifth_of_what_it_found() -> None:
    slots, granted = Slots(320), list[SlotRequest]()

    for model in range(4):
        for _ in range(400):
            _take(slots, f"hung {model}", granted)

    assert [slots.taken(f"hung {model}") for model in range(4)] == [256, 51, 10, 2]


def test_resumed_requests_come_first_and_each_group_in_its_order() -> None:
    slots, granted = Slots(1), list[SlotRequest]()
    holder = _take(slots, "m", granted)
    new = [_take(slots, model, granted) for model in ("m", "n")]
    resumed = [_take(slots, model, granted, again=True) for model in ("n", "m")]

    order = []
    while granted:
        (turn,) = granted
        granted.clear()
        order.append(turn)
        slots.give_back(turn)

    assert order == [holder, *resumed, *new]


@settings(deadline=None, max_examples=200)
@given(
    total=st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from("tgua"), st.integers(0, 30)), max_size=120),
)
def test_slots_are_neither_lost_nor_doubled(total: int, steps: list[tuple[str, int]]) -> None:
    slots, granted, turns = Slots(total), list[SlotRequest](), list[SlotRequest]()

    for step, n in steps:
        if step in "ta":
            turns.append(_take(slots, "xyz"[n % 3], granted, again=step == "a"))
        elif turns:
            turn = turns.pop(n % len(turns))
            if step == "u" and slots.give_up(turn, turn.number):
                assert turn.state == "none"
            slots.give_back(turn)
            slots.give_back(turn)  # again, it does nothing
        held = Counter(t.model for t in turns if t.state == "has")
        waiting = [t for t in turns if t.state == "waits"]
        assert sum(held.values()) <= total
        assert all(slots.taken(model) == held[model] for model in "xyz")
        free = total - sum(held.values())
        for turn in waiting:  # no request waits that may run
            mine = held[turn.model]
            assert (free == 0) if not mine else mine >= MODEL_SHARE * (free - 1)

    for turn in turns:
        slots.give_back(turn)
    assert all(slots.taken(model) == 0 for model in "xyz")
    for model in "xyz":
        _take(slots, model, granted)
    assert sum(slots.taken(model) for model in "xyz") == min(3, total)


def test_a_wait_that_is_over_is_not_given_up_in_the_next_one() -> None:
    slots, granted = Slots(1), list[SlotRequest]()
    holder = _take(slots, "m", granted)
    turn = _take(slots, "m", granted)
    earlier = turn.number
    slots.give_back(holder)
    slots.give_back(turn)
    other = _take(slots, "m", granted)
    slots.take(turn)

    assert not slots.give_up(turn, earlier)
    assert slots.give_up(turn, turn.number)
    assert slots.give_back(other) == "has"


def test_threads_that_take_and_give_back_leave_no_slot_taken() -> None:
    slots = Slots(4)

    def work(model: str) -> None:
        for _ in range(500):
            free = threading.Event()
            turn = SlotRequest(model, free.set)
            if slots.take(turn) is not None and not free.wait(0.0005):
                slots.give_back(turn)
                continue
            slots.give_back(turn)

    threads = [threading.Thread(target=work, args=(m,)) for m in "aabbcc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [slots.taken(m) for m in "abc"] == [0, 0, 0]
    granted = list[SlotRequest]()
    _take(slots, "a", granted)
    assert len(granted) == 1
