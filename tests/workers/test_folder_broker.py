"""The folder that carries doorbells where there is no Redis."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

# kombu remembers bindings for the whole process, so every test has a queue of its own name.


@pytest.fixture
def connect(tmp_path: Path) -> Any:
    folders = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    options = {name: str(tmp_path / folder) for name, folder in folders.items()}
    for folder in set(folders.values()):
        (tmp_path / folder).mkdir()

    def make() -> Connection:
        return Connection(
            "filesystem://localhost", transport="workers.folder_broker:Transport", transport_options=options
        )

    return make


def test_what_goes_in_comes_out_once(connect: Any) -> None:
    with connect() as connection, connection.SimpleQueue("one") as bells:
        bells.put({"ring": 1})
        message = bells.get(timeout=5)
        message.ack()
        assert message.payload == {"ring": 1}
        with pytest.raises(bells.Empty):
            bells.get(block=False)


def test_a_reader_never_meets_half_a_message(connect: Any) -> None:
    """Two writers and a reader at once: kombu's own transport ends this with a JSON error."""
    count, seen = 200, []

    def write() -> None:
        with connect() as connection, connection.SimpleQueue("many") as bells:
            for number in range(count):
                bells.put({"ring": number, "padding": "x" * 2000})

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    with connect() as connection, connection.SimpleQueue("many") as bells:
        while len(seen) < 2 * count:
            message = bells.get(timeout=20)
            message.ack()
            seen.append(message.payload["ring"])
    for writer in writers:
        writer.join()
    assert sorted(seen) == sorted([*range(count), *range(count)])


def test_a_damaged_message_is_dropped(connect: Any, tmp_path: Path) -> None:
    with connect() as connection, connection.SimpleQueue("damaged") as bells:
        bells.put({"ring": 1})
        [file] = (tmp_path / "queue").glob("*.msg")
        file.write_text("{")
        with pytest.raises(bells.Empty):
            bells.get(block=False)
