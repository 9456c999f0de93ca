"""What the studies share: what is said while they run, and how long everything took."""

import csv
from pathlib import Path

from emopipe.files import write_whole
from emopipe.stages.progress import Progress


class Lines(Progress):
    """Prints what is said."""

    def say(self, sentence: str) -> None:
        """Print it."""
        print(f"  {sentence}", flush=True)


def read_times(path: Path) -> dict[tuple[str, str], float]:
    """(seed, what) -> seconds; features have no seed."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row["seed"], row["what"]): float(row["seconds"]) for row in csv.DictReader(file)}


def add_time(path: Path, seed: str, what: str, seconds: float) -> None:
    """Write the seconds; those of a second run take the place of the first one's."""
    times = {**read_times(path), (seed, what): seconds}
    lines = ["seed,what,seconds", *(f"{each},{name},{taken:.0f}" for (each, name), taken in times.items())]
    write_whole(path, ("\n".join(lines) + "\n").encode())
