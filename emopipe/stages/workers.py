"""Faces in processes of their own, features and sound here."""

import _thread
import multiprocessing
import queue
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any

from emopipe.errors import EmopipeError
from emopipe.processes import deaf_children, interrupt_on_sigterm
from emopipe.stages.extract_report import ExtractReport
from emopipe.stages.one_process import extract_clips
from emopipe.stages.progress import Progress
from emopipe.stages.spec import ExtractSpec, settle
from emopipe.store.cache import Cache

_POLL_S = 0.05
_LAST_WORDS_S = 60.0  # for workers to commit what they have finished, and to tell of it


def extract_with_workers(spec: ExtractSpec, progress: Progress) -> ExtractReport:
    """Faces in `spec.workers` processes; sound in this one meanwhile, and features from the shards that they commit.

    Clips that a worker leaves behind because it was killed are made here in the end.
    """
    # Weights that cannot be had end it before a worker opens a video.
    if not settle(spec, Cache(spec.cache)).has_pictures:
        return extract_clips(spec, progress)
    context = multiprocessing.get_context("spawn")  # fork would copy the locks of running threads
    channel: multiprocessing.Queue[tuple[str, Any]] = context.Queue()
    faces_spec = replace(spec, only="faces", audio=None)
    workers = [context.Process(target=_work, args=(faces_spec, channel), daemon=True) for _ in range(spec.workers)]
    crew = _Crew(list(workers), channel, progress, counts_frames=spec.only == "faces")
    try:
        with deaf_children():
            for worker in workers:
                worker.start()
        report = extract_clips(spec, progress, crew.is_working)
        crew.wait()
    finally:
        _stop([worker for worker in workers if worker.pid is not None])
    crew.merge_into(report)
    return report


class _Crew:
    """The workers, and what they tell."""

    def __init__(self, workers: list[BaseProcess], channel: Any, progress: Progress, counts_frames: bool):
        self._workers, self._channel, self._progress = workers, channel, progress
        self._counts_frames = counts_frames
        self._reports: list[ExtractReport] = []

    def is_working(self) -> bool:
        """Whether a worker is alive; passes on what was told since the last call."""
        alive = any(worker.is_alive() for worker in self._workers)
        self._listen()
        return alive

    def wait(self) -> None:
        """Until every worker has told its report: all clips are made, but the last one may not have said so yet."""
        deadline = time.monotonic() + _LAST_WORDS_S
        while self.is_working() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def merge_into(self, report: ExtractReport) -> None:
        """Add the workers' seconds and rows to `report`."""
        self._listen()
        for other in self._reports:
            report.add_worker(other, with_frames=self._counts_frames)

    def _listen(self) -> None:
        while True:
            try:
                what, content = self._channel.get_nowait()
            except queue.Empty:
                return
            if what == "report":
                self._reports.append(content)
            elif what == "error":
                self._progress.say(f"A worker stopped: {content}")
            elif self._counts_frames and what == "frames":
                self._progress.frames(content)
            elif self._counts_frames and what == "clip":
                self._progress.clip(*content)


class _Teller(Progress):
    """A `Progress` that passes everything on to the parent process."""

    def __init__(self, channel: Any):
        self._channel = channel

    def frames(self, count: int) -> None:
        self._channel.put(("frames", count))

    def clip(self, clip_id: str, is_done: bool) -> None:
        self._channel.put(("clip", (clip_id, is_done)))

    def say(self, sentence: str) -> None:
        self._channel.put(("error", sentence))


def _stop(workers: list[BaseProcess]) -> None:
    """End those that are still at work, once they have committed what they have finished."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(_LAST_WORDS_S)
        if worker.is_alive():
            worker.kill()
            worker.join()


def _work(spec: ExtractSpec, channel: Any) -> None:
    interrupt_on_sigterm()
    threading.Thread(target=_stop_with_parent, args=(channel,), daemon=True).start()
    try:
        channel.put(("report", extract_clips(spec, _Teller(channel))))
    except EmopipeError as error:
        channel.put(("error", str(error)))
    except KeyboardInterrupt:
        channel.cancel_join_thread()  # the parent says it, and reads no more


def _stop_with_parent(channel: Any) -> None:
    """When the parent is killed, commit what is finished and end: nobody else would ever stop this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        channel.cancel_join_thread()  # nobody reads it any more
        _thread.interrupt_main(signal.SIGTERM)
