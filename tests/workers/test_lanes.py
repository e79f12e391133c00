"""The doorbell, the lanes and the idle loop: a silent broker costs seconds, not work."""

import threading
import time
from typing import Any

import pytest
from celery import current_app

from images import signals
from workers import doorbell, idle, lanes, schedules, tasks


def test_a_bell_rings_only_after_commit(
    db: None, monkeypatch: Any, django_capture_on_commit_callbacks: Any
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **kwargs: rung.append(name))
    with django_capture_on_commit_callbacks() as callbacks:
        doorbell.ring("workers.tasks.embed", "interactive")
    assert rung == []
    callbacks[0]()
    assert rung == ["workers.tasks.embed"]


def test_a_bell_that_cannot_ring_is_no_error(
    db: None, monkeypatch: Any, django_capture_on_commit_callbacks: Any
) -> None:
    def refused(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("broker")

    monkeypatch.setattr(current_app, "send_task", refused)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        doorbell.ring("workers.tasks.embed", "interactive")
    assert len(callbacks) == 1


def test_one_lane_takes_one_step_at_a_time(monkeypatch: Any) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> int:
        entered.set()
        leave.wait(5)
        return 1

    monkeypatch.setitem(lanes.STEPS, "embed", slow)
    first = threading.Thread(target=lanes.step, args=("embed",))
    first.start()
    entered.wait(5)
    assert lanes.step("embed") == 0
    leave.set()
    first.join()
    assert lanes.step("embed") == 1


def test_who_finds_a_lane_busy_leaves_word(monkeypatch: Any) -> None:
    """A row committed while the lane was finding its queue empty must not wait for the idle loop."""
    entered, leave, counts = threading.Event(), threading.Event(), []

    def empty() -> int:
        entered.set()
        leave.wait(5)
        return 0

    monkeypatch.setitem(lanes.STEPS, "embed", empty)
    first = threading.Thread(target=lambda: counts.append(lanes.step("embed")))
    first.start()
    entered.wait(5)
    lanes.step("embed")
    leave.set()
    first.join()
    assert counts == [1] and lanes.step("embed") == 0


def test_the_idle_loop_works_until_nothing_is_left(db: None, monkeypatch: Any) -> None:
    left, stopped = [3], threading.Event()

    def one() -> int:
        left[0] -= 1
        if not left[0]:
            stopped.set()
        return left[0]

    monkeypatch.setattr(idle, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(lanes, "idle_step", lambda name: one())
    loop = threading.Thread(target=idle.loop, args=(["embed"], stopped))
    loop.start()
    loop.join(5)
    assert left == [0]


def test_a_failing_step_does_not_end_the_loop(monkeypatch: Any) -> None:
    calls, stopped = [], threading.Event()

    def failing(name: str) -> int:
        calls.append(time.monotonic())
        if len(calls) == 3:
            stopped.set()
        raise RuntimeError("disk full")

    monkeypatch.setattr(idle, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(lanes, "idle_step", failing)
    idle.loop(["embed"], stopped)
    assert len(calls) == 3


def test_a_task_rings_again_while_there_is_more(monkeypatch: Any) -> None:
    rung: list[str] = []
    monkeypatch.setattr(doorbell, "ring", lambda name, queue: rung.append(name))
    steps = iter([16, 0])
    monkeypatch.setattr(lanes, "step", lambda name: next(steps))
    tasks.process()
    tasks.process()
    assert rung == ["workers.tasks.process"]


def test_an_import_or_export_rings_after_commit(
    db: None, monkeypatch: Any, django_capture_on_commit_callbacks: Any
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **kwargs: rung.append(name))
    with django_capture_on_commit_callbacks(execute=True):
        signals.transfers_changed.send(None)
    assert rung == ["workers.tasks.transfer_archives"]


def test_webhooks_wait_for_nothing_else(monkeypatch: Any) -> None:
    """While the other lanes of a worker are at a long piece of work, deliveries go out."""
    delivered, release, stopped = threading.Event(), threading.Event(), threading.Event()
    steps = {"build_indexes": release.wait, "transfer": release.wait, "webhooks": delivered.set}
    monkeypatch.setattr(lanes, "idle_step", lambda name: steps[name]() and 0)
    monkeypatch.setattr(idle, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(idle, "_stop", stopped)
    monkeypatch.setattr(idle, "_threads", [])
    queues = [queue for queue in schedules.QUEUES if queue.name in ("index", "maintenance")]
    monkeypatch.setattr(current_app.amqp.queues, "_consume_from", {queue.name: queue for queue in queues})
    idle._start()
    try:
        assert delivered.wait(10)
    finally:
        stopped.set(), release.set()
        for thread in idle._threads:
            thread.join(10)


def test_every_task_has_a_queue_that_a_worker_serves() -> None:
    names = {name for name in current_app.tasks if name.startswith("workers.")}
    assert names == set(schedules.ROUTES)
    assert {route["queue"] for route in schedules.ROUTES.values()} <= {
        queue.name for queue in schedules.QUEUES
    }


@pytest.mark.parametrize("entry", schedules.BEAT.values(), ids=list(schedules.BEAT))
def test_a_late_clock_message_expires(entry: dict[str, Any]) -> None:
    assert entry["options"]["expires"] <= entry["schedule"] and entry["task"] in schedules.ROUTES


def test_the_bell_before_the_crash_is_a_fault_point(db: None, monkeypatch: Any) -> None:
    from images import faults

    monkeypatch.setattr(faults, "FAULT", "before_bell:raise")
    with pytest.raises(faults.InjectedFault):
        doorbell._publish("workers.tasks.embed", "interactive")


def test_a_worker_that_ends_waits_for_the_batch_in_hand(monkeypatch: Any) -> None:
    done: list[bool] = []
    batch = threading.Thread(target=lambda: (time.sleep(0.2), done.append(True)))
    monkeypatch.setattr(idle, "_threads", [batch])
    monkeypatch.setattr(idle, "_stop", threading.Event())
    batch.start()
    idle.stop()
    idle.finish()
    assert done == [True] and idle._stop.is_set()
