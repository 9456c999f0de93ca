"""Ctrl-C: a terminal sends it to all processes at once, and Python raises it wherever the main thread happens to be."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held_back() -> Iterator[list[int]]:
    """A KeyboardInterrupt that would be raised inside is raised at the end of the block.

    HDF5 swallows one that is raised while it calls back into Python, and believes that a write has failed; TensorFlow
    swallows one while it traces a function, and an import of it that is broken off may take the process down. Outside
    the main thread, where none is raised, nothing is done.

    Yields:
        The signals that came so far, for a block that can end early.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: handler for number in _STOPPING if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started inside never see SIGINT; a SIGINT that comes meanwhile reaches this one afterwards.

    What a process is told to ignore it ignores from its first instruction on: no handler of its own could be there in
    time, and would leave the traceback of an import that broke off.
    """
    resource_tracker.ensure_running()  # starting it later would end the block of the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def process_pool(num_processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are ended at once, in the middle of their work, when a KeyboardInterrupt leaves the block.

    They also end when this process is killed; a pool by itself would leave them waiting for ever.

    Give it work inside `deaf_children`: its processes start when there is some.
    """
    context = multiprocessing.get_context("spawn")  # fork would copy the locks of running threads
    others = {process.pid for process in multiprocessing.active_children()}
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, GeneratorExit):
            for process in multiprocessing.active_children():
                if process.pid not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def interrupt_on_sigterm() -> None:
    """Make the first SIGTERM a KeyboardInterrupt in this process's main thread, and ignore those that follow.

    So what is finished can be kept, undisturbed.
    """
    signal.signal(signal.SIGTERM, _interrupt_once)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
