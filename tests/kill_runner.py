"""Runs the real command line and breaks it at an exact moment: ``python kill_runner.py PLAN emopipe-arguments...``.

PLAN is JSON:

    at          name of a moment, see `MOMENTS`; left out for an undisturbed run
    side        "before" or "after" the call
    nth         which call of it, counted from 1
    signal      "SIGKILL" (default) or "SIGSTOP", after which the process stands still
    frames      most frames of a shard, so that a small corpus fills several
    file_bytes  no file may grow beyond this: what a full disk does to a writer
"""

import importlib
import json
import os
import resource
import signal
import sys
from typing import Any

MOMENTS = {
    "append": ("emopipe.store.writer", "ShardWriter.append"),
    "finish": ("emopipe.store.writer", "ShardWriter.finish_clip"),
    "flush": ("emopipe.store.writer", "ShardWriter._flush"),
    "verify": ("emopipe.store.writer", "ShardWriter._verify"),
    "replace": ("emopipe.store.writer", "ShardWriter._replace"),
    "record": ("emopipe.store.writer", "write_record"),
    "rename": ("pathlib", "Path.replace"),  # of shards and of records, each after it was written aside
    "ledger": ("emopipe.store.ledger", "Ledger.write"),
    "claim": ("emopipe.store.claims", "Claims._create"),
    "release": ("emopipe.store.claims", "Claims.release"),
    "drop": ("emopipe.store.cache", "Cache.drop"),
    "adopt": ("emopipe.store.cache", "Cache.adopt"),
}


def strike_at(moment: str, side: str, nth: int, number: signal.Signals) -> None:
    """Wrap the function of a moment so that the process gets a signal around its n-th call."""
    module_name, path = MOMENTS[moment]
    owner: Any = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    real = getattr(owner, name)
    calls = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        is_now = calls == nth
        if is_now and side == "before":
            os.kill(os.getpid(), number)
        result = real(*arguments, **options)
        if is_now and side == "after":
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, wrapped)


def main() -> None:
    """Set the stage, then run the program as a user would."""
    plan = json.loads(sys.argv.pop(1))
    from emopipe.stages import shelf

    shelf.MAX_SHARD_FRAMES = plan.get("frames", shelf.MAX_SHARD_FRAMES)
    if "file_bytes" in plan:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan["file_bytes"],) * 2)
    if "at" in plan:
        number = signal.Signals[plan.get("signal", "SIGKILL")]
        strike_at(plan["at"], plan.get("side", "before"), plan.get("nth", 1), number)
    from emopipe_cli.main import main as run

    run()


if __name__ == "__main__":
    main()
