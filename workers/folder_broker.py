"""kombu's folder transport with whole messages only.

kombu creates a message's file, then locks and fills it; a reader that moves it away in between reads an empty message
and its worker ends. Here a message is written under a name that no reader looks for and renamed when complete.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}"
        partial = folder / f"{name}.partial"
        try:
            partial.write_text(dumps(payload))
            os.replace(partial, folder / f"{name}.{queue}.msg")
        except OSError as error:
            raise ChannelError(f"Cannot add a message to {folder}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        try:
            return super()._get(queue)
        except ValueError as error:
            raise Empty from error  # a damaged message; the rows that it spoke of are found by the sweep

    def get_table(self, exchange: str) -> list[Any]:
        return _once_whole(lambda: super(Channel, self).get_table(exchange))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        _once_whole(lambda: super(Channel, self)._queue_bind(exchange, routing_key, pattern, queue))


def _once_whole(read: Callable[[], Any]) -> Any:
    """The table of queues is made in place by whoever comes first: wait the moment until it is written."""
    for _look in range(50):
        try:
            return read()
        except ValueError:
            time.sleep(0.02)
    return read()


class Transport(filesystem.Transport):
    Channel = Channel
