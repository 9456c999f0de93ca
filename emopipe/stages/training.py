"""What training a CNN and training a head share: epochs that can go on after a kill, and selection on the dev split.

A score is computed once over all rows of the split, by `evaluate`; no mean over batches selects anything.
"""

import contextlib
import csv
import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from emopipe.errors import ConfigError, RunError
from emopipe.files import storage_error, write_whole
from emopipe.models.bundle import Run
from emopipe.plots.scores import curves_figure, save_figure
from emopipe.processes import held_back
from emopipe.provenance import utc_now
from emopipe.stages.event_log import EventLog
from emopipe.stages.progress import Progress
from emopipe.stages.training_state import Number, restore_state, running_backend, save_state
from emopipe.typing import Array

if TYPE_CHECKING:
    import keras

OptimiserName = Literal["sgd", "adam"]


@dataclass(frozen=True)
class Schedule:
    """When training ends, and which epoch is the best.

    Attributes:
        epochs: at most so many.
        patience: end after so many epochs without a better score; None for never.
        select: the score that decides, of those that `evaluate` returns ("ccc"); higher is better.
    """

    epochs: int
    patience: int | None
    select: str

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs: expected at least 1. Received: {self.epochs}.")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience: expected at least 1 epoch. Received: {self.patience}.")


@dataclass
class History:
    """The epochs so far.

    Attributes:
        select: the score that decides.
        rows: one per epoch, from 1: epoch, train_s, learning_rate, loss, and the scores with "dev_" before their names.
    """

    select: str
    rows: list[dict[str, Number]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Number]:
        """The row of the best epoch, the earliest of equals."""
        return max(self.rows, key=lambda row: row[f"dev_{self.select}"])

    def is_stale(self, patience: int | None) -> bool:
        """Whether the last `patience` epochs brought nothing better."""
        return bool(self.rows) and patience is not None and len(self.rows) - self.best["epoch"] >= patience

    def to_csv(self) -> bytes:
        """history.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()


def check_optimiser(name: str) -> None:
    """Refuse an optimiser that `optimiser` does not know.

    Raises:
        ConfigError: it is none of `OptimiserName`.
    """
    if name not in get_args(OptimiserName):
        raise ConfigError(f"optimiser: expected {' or '.join(get_args(OptimiserName))}. Received: {name!r}.")


def check_rates(learning_rate: float, momentum: float, decay: float, clip_value: float | None = None) -> None:
    """Refuse numbers that no optimiser can work with.

    Raises:
        ConfigError: one is out of its range.
    """
    if not (learning_rate > 0 and 0 <= momentum < 1 and decay >= 0):
        raise ConfigError(
            "expected a learning rate above 0, a momentum in [0, 1) and a decay of at least 0. "
            f"Received: {learning_rate}, {momentum} and {decay}."
        )
    if clip_value is not None and not clip_value > 0:
        raise ConfigError(f"clip_value: expected a number above 0. Received: {clip_value}.")


def optimiser(
    name: str, learning_rate: float, momentum: float, decay: float = 0.0, clip_value: float | None = None
) -> "keras.optimizers.Optimizer":
    """An optimiser whose learning rate falls with every step, ``learning_rate / (1 + decay step)``.

    Args:
        name: "sgd" or "adam".
        learning_rate: of the first step.
        momentum: of stochastic gradient descent; Adam has its own two, which stay as published (Kingma and Ba, 2015).
        decay: per step; 0 for a constant rate. It is no weight decay, whatever the paper of the first recipe calls it.
        clip_value: largest part of a gradient by absolute value; None for no limit.

    Raises:
        ConfigError: there is no optimiser of this name.
    """
    import keras

    check_optimiser(name)
    rate: Any = learning_rate
    if decay:
        rate = keras.optimizers.schedules.InverseTimeDecay(learning_rate, decay_steps=1, decay_rate=decay)
    if name == "adam":
        return keras.optimizers.Adam(rate, clipvalue=clip_value)
    return keras.optimizers.SGD(rate, momentum=momentum, clipvalue=clip_value)


def compile_model(model: "keras.Model", optimiser: "keras.optimizers.Optimizer", loss: "keras.losses.Loss") -> None:
    """Make a model ready for `train`."""
    import keras

    # Without XLA on TensorFlow: it lacks the operation of the augmentation and the fused GRU, and compiles every shape
    # of a batch anew. JAX knows nothing else.
    jit = keras.backend.backend() == "jax"
    model.compile(optimizer=optimiser, loss=loss, jit_compile=jit)


def seed_generators(model: "keras.Model", seed: int) -> None:
    """Make all random layers of a model (dropout, augmentation) follow from `seed` and their place in it."""
    learned = {id(variable) for variable in model.weights}
    places = [variable for variable in model.variables if id(variable) not in learned]
    for number, variable in enumerate(places):
        state = np.random.SeedSequence([seed, number]).generate_state(1, np.uint32) >> 1
        variable.assign(np.array([state[0], 0], variable.dtype))


def train(
    run: Run,
    model: "keras.Model",
    network: "keras.Model",
    *,
    batches: Callable[[int], Any],
    evaluate: Callable[[], Mapping[str, float]],
    schedule: Schedule,
    seed: int,
    progress: Progress,
    finish_network: Callable[[Path], None] | None = None,
) -> History:
    """Train epoch by epoch, keeping the best network and, after every epoch, all that going on needs.

    A run that was killed goes on after its last whole epoch, and ends as if it had not been: order of the frames,
    optimiser and random layers are where they were.

    Args:
        run: the folder.
        model: compiled, with the random layers of training and whatever else feeds the network; see `save_state` for
            what of it is state.
        network: what is kept; shares its weights with `model`.
        batches: number of an epoch, from 0 -> an iterator of (inputs, targets) or (inputs, targets, weights), or a
            `keras.utils.PyDataset` or whatever else of known length `keras.Model.fit` takes as `x`.
        evaluate: the dev split's scores with the network as it is now.
        schedule: when it ends.
        seed: of what draws from the backend's own generator and not from a layer's, as dropout does on torch. Others
            are not seeded: TensorFlow would forget its compiled functions with it, which costs seconds every epoch.
        progress: told each epoch.
        finish_network: called with the saved `.keras` file before it becomes the run's network.

    Raises:
        RunError: the loss is not a finite number, or the state of a killed run is damaged.
        StorageError: the run folder cannot be written.
    """
    history = History(schedule.select, restore_state(run, model, network))
    if history.rows:
        progress.say(f"Going on after epoch {len(history.rows)} of {schedule.epochs}.")
    log = EventLog(run.folder / "logs")
    while len(history.rows) < schedule.epochs and not history.is_stale(schedule.patience):
        row = _epoch(run, model, len(history.rows), batches, evaluate, seed, progress)
        history.rows.append(row)
        with held_back():
            if history.best is row:
                _keep(run, network, finish_network)
            write_whole(run.folder / "history.csv", history.to_csv())
            log.write(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})
            save_state(run, model, network, history.rows)  # last: an epoch that it does not know is done again
        progress.epoch(_sentence(row, schedule, is_best=history.best is row))
    return history


def finish(run: Run, history: History, **content: Any) -> Run:
    """Mark a run as finished, with its best epoch and more content; what only going on needs is removed."""
    best = history.best
    shown = [name for name in history.rows[0] if name == "loss" or name.startswith(f"dev_{history.select}")]
    curves = {name: [row[name] for row in history.rows] for name in shown}
    save_figure(curves_figure(curves, best_epoch=int(best["epoch"]), title=run.folder.name), run.folder / "curves.png")
    finished = run.update(
        finished=utc_now(),
        best=best,
        select=history.select,
        num_epochs=len(history.rows),
        keras_backend=running_backend(),
        **content,
    )
    shutil.rmtree(run.state, ignore_errors=True)
    return finished


def fit_epoch(model: "keras.Model", data: Any, on_batch: Callable[[int, float], None] | None = None) -> float:
    """One epoch; the mean loss over its rows. `on_batch` is called with the rows so far and their mean loss.

    `fit` must not be given an iterator: on TensorFlow it finds the end by a step that fails half-way, after the step
    counter and the random layers may have moved on, and it hides the iterator's own errors behind TensorFlow's.
    """
    if not isinstance(data, Iterator):
        return _fit(model, data)
    total, num_rows = 0.0, 0
    with closing_iterator(data):
        for inputs, targets, *weights in data:
            with held_back():
                loss = float(model.train_on_batch(inputs, targets, *weights, return_dict=True)["loss"])
            total, num_rows = total + loss * len(targets), num_rows + len(targets)
            if on_batch:
                on_batch(num_rows, total / num_rows)
    return total / max(1, num_rows)


def _fit(model: "keras.Model", data: Any) -> float:
    import keras

    with held_back() as received:

        def end_early(batch: int, logs: Any) -> None:
            model.stop_training = bool(received)

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=end_early)
        history = model.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[callback])
    return float(history.history["loss"][0])


def check_finite(run: Run, what: str, values: float | Array) -> None:
    """Refuse numbers that diverged.

    Raises:
        RunError: one of them is not finite.
    """
    if not np.all(np.isfinite(values)):
        raise RunError(
            f"{run.folder}: the {what} is not a finite number any more.\n"
            "Expected training to converge. Use a smaller --learning-rate, or look at the labels."
        )


def predict(network: "keras.Model", batches: Iterator[Any]) -> Array:
    """What a network gives for all batches, (N, K) float32; the iterator is closed."""
    with closing_iterator(batches):
        return np.concatenate([_predicted(network, batch) for batch in batches])


def _predicted(network: "keras.Model", batch: Any) -> Array:
    with held_back():
        return np.asarray(network.predict_on_batch(batch), np.float32)


@contextlib.contextmanager
def closing_iterator(items: Any) -> Iterator[None]:
    """Close what can be closed at the end: a generator, or a `Prefetch` with its thread."""
    try:
        yield
    finally:
        if close := getattr(items, "close", None):
            close()


def _epoch(
    run: Run,
    model: "keras.Model",
    epoch: int,
    batches: Callable[[int], Any],
    evaluate: Callable[[], Mapping[str, float]],
    seed: int,
    progress: Progress,
) -> dict[str, Number]:
    if running_backend() == "torch":  # elsewhere layers draw from generators of their own; see also `train`
        import keras

        keras.utils.set_random_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    start = time.perf_counter()
    where = f"epoch {epoch + 1}"
    progress.now(where)
    loss = fit_epoch(
        model, batches(epoch), lambda done, mean: progress.now(f"{where}: {done:,} examples so far, loss {mean:.4f}")
    )
    check_finite(run, "loss", loss)
    train_s = time.perf_counter() - start
    progress.now(f"{where}: loss {loss:.4f}, judging it on dev")
    scores = evaluate()
    return {
        "epoch": epoch + 1,
        "train_s": round(train_s, 3),
        "learning_rate": float(model.optimizer.learning_rate),
        "loss": loss,
        **{f"dev_{name}": float(value) for name, value in scores.items()},
    }


def _keep(run: Run, network: "keras.Model", finish_network: Callable[[Path], None] | None) -> None:
    """Save the network beside, then give it its name."""
    partial = run.state / "best.keras"
    try:
        run.state.mkdir(parents=True, exist_ok=True)
        network.save(partial)
        if finish_network is not None:
            finish_network(partial)
        write_whole(run.network, partial.read_bytes())
        partial.unlink()
    except OSError as error:
        raise storage_error(run.network, error) from error


def _sentence(row: Mapping[str, Number], schedule: Schedule, *, is_best: bool) -> str:
    """The loss and the score that decides, with that score of each target; history.csv has the others."""
    name = f"dev_{schedule.select}"
    targets = {key.removeprefix(f"{name}_"): value for key, value in row.items() if key.startswith(f"{name}_")}
    listed = ", ".join(f"{target} {value:z.3f}" for target, value in targets.items())
    of_targets = f" ({listed})" if len(targets) > 1 else ""
    mark = ", the best so far" if is_best else ""
    return (
        f"epoch {row['epoch']} of at most {schedule.epochs}: loss {row['loss']:.4f}, "
        f"dev {schedule.select} {row[name]:z.3f}{of_targets}, {row['train_s']:.0f} s{mark}"
    )
