"""Where sync functions run: a bounded number of threads, which nothing else in the server uses."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final
from weakref import WeakKeyDictionary

THREADS_MAX: Final = 40
"""Most sync functions that run at once in one worker."""


async def run_in_thread(call: Callable[[], Any]) -> Any:
    """Run a call in a thread with the caller's context variables; what it raises comes out unchanged.

    No more than `THREADS_MAX` calls run at once. A place is free again when its call has ended, and not when
    its caller was cancelled: calls that hang can fill the places but never the server. Who waits for a place
    leaves no trace when he is cancelled.
    """
    return await _threads_of(asyncio.get_running_loop()).run(contextvars.copy_context(), call)


class _Threads:
    """The threads of one event loop; only its own thread changes them."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(THREADS_MAX)
        self._idle: deque[_Thread] = deque()

    async def run(self, context: contextvars.Context, call: Callable[[], Any]) -> Any:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        try:
            thread = self._idle.pop() if self._idle else _Thread()
        except BaseException:
            self._places.release()
            raise

        def ended(result: Any, error: BaseException | None) -> None:
            self._idle.append(thread)
            self._places.release()
            _complete(future, result, error)

        def told(result: Any, error: BaseException | None) -> None:
            # A loop that is closed has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended, result, error)

        thread.calls.put((context, call, told))
        return await future


class _Thread(Thread):
    """Runs one call after the other; a daemon, as a call that never ends must not keep the server up."""

    def __init__(self) -> None:
        super().__init__(name="api-factory-action", daemon=True)
        self.calls: SimpleQueue[Any] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            context, call, told = self.calls.get()
            try:
                result, error = context.run(call), None
            except BaseException as raised:
                result, error = None, raised
            told(result, error)
            del context, call, told, result, error


def _complete(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        # No future carries it: where it is awaited it would mean the end of a generator.
        wrapped = RuntimeError("the function raised StopIteration")
        wrapped.__cause__ = error
        future.set_exception(wrapped)
    else:
        future.set_exception(error)


_THREADS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Threads] = WeakKeyDictionary()


def _threads_of(loop: asyncio.AbstractEventLoop) -> _Threads:
    threads = _THREADS.get(loop)
    if threads is None:
        threads = _THREADS[loop] = _Threads()
    return threads
