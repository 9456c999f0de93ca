"""How a head is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from emopipe.config import from_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.models.balance import CEILINGS
from emopipe.models.heads import MeanHeadConfig, OutputActivation, RnnHeadConfig, units_of_layers
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.stages import training
from emopipe.stages.clip_values import Reduce
from emopipe.stages.training_targets import Loss, check_loss

Balance = Literal["none", "max", "mean", "midpoint"]


@dataclass(frozen=True)
class TrainRnnConfig:
    """How a head is trained. Defaults without another source are those of the code of Rangulov and Fahim (2020).

    Attributes:
        head: "rnn" or "mean"; `tap_head` takes its place.
        cells, layers, units, bidirectional, dropout: of the recurrent head; `units` empty for those of `layers`.
        tap_head: a head over taps, which names its taps itself and predicts every step; None for `head`.
        window: which windows are learned from and scored.
        taps: taps of the features, side by side; empty for all.
        task, targets: as in `TrainCnnConfig`.
        loss: "ccc", "mse" or "crossentropy"; None for the one that suits the task.
        balance: thin out windows whose target lies in a crowded cell of the valence-arousal plane.
        epochs, patience, batch_size, learning_rate, momentum, decay, seed, folds, train_split, dev_split: as in
            `TrainCnnConfig`.
        optimiser: "sgd" or "adam".
        clip_value: largest part of a gradient; None for no limit.
        reduce: how the frames of a sequence become one value, where clips have one label each; see `clip_values`.
        init: a run whose head has the same layers, to begin with its weights; "" for fresh ones.
        end_to_end: the CNN that made the features learns too; crops are read instead of features.
        device_resident: hold the features where the head is trained, once, instead of sending every window there. The
            weights come out the same, so an interrupted run may go on either way.
    """

    head: str = "rnn"
    cells: Literal["simple", "gru", "lstm"] = "gru"
    layers: int = 3
    units: tuple[int, ...] = ()
    bidirectional: bool = False
    dropout: float = 0.0
    tap_head: TapHeadConfig | None = None
    window: WindowConfig = WindowConfig()
    taps: tuple[str, ...] = ()
    task: str | None = None
    targets: tuple[str, ...] = ()
    loss: Loss | None = None
    balance: Balance = "none"
    epochs: int = 100
    patience: int | None = 10
    batch_size: int = 256  # the paper: 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-5  # per iteration
    optimiser: training.OptimiserName = "sgd"
    clip_value: float | None = None  # 100 for the SimpleRNN of the code
    reduce: Reduce = "median"  # arXiv:1910.01417, section 7
    init: str = ""
    end_to_end: bool = False
    device_resident: bool = False
    seed: int = 0
    folds: Folds | None = None
    train_split: str = "train"
    dev_split: str = "dev"

    def __post_init__(self) -> None:
        if isinstance(self.folds, Mapping):  # as it stands in a run's settings
            object.__setattr__(self, "folds", from_dict(Folds, self.folds))
        if isinstance(self.tap_head, Mapping):
            object.__setattr__(self, "tap_head", from_dict(TapHeadConfig, self.tap_head))
        if self.balance not in ("none", *CEILINGS):
            raise ConfigError(f"balance: expected none, {', '.join(CEILINGS)}. Received: {self.balance!r}.")
        check_loss(self.loss)
        if self.batch_size < 1 or self.seed < 0:
            raise ConfigError("expected a batch size of at least 1 and a seed of at least 0.")
        training.check_optimiser(self.optimiser)
        training.Schedule(self.epochs, self.patience, "")
        self._check_tap_head()

    @property
    def head_name(self) -> str:
        """The name in `HEADS`."""
        return self.head if self.tap_head is None else "taps"

    @property
    def table_taps(self) -> tuple[str, ...]:
        """The taps of the table, in its order; () for all."""
        return self.taps if self.tap_head is None else self.tap_head.taps

    def head_config(
        self, num_outputs: int, output_activation: OutputActivation = "linear"
    ) -> RnnHeadConfig | MeanHeadConfig:
        """The configuration of the head for so many outputs."""
        if self.head == "mean":
            return MeanHeadConfig(num_outputs, output_activation)
        units = self.units or units_of_layers(self.layers)
        return RnnHeadConfig(self.cells, units, self.bidirectional, self.dropout, num_outputs, output_activation)

    def _check_tap_head(self) -> None:
        every = self.window.target == "every"
        if self.tap_head is None:
            if every or self.end_to_end:
                what = 'the target "every"' if every else "training end to end"
                raise ConfigError(
                    f"{what}: is for heads over taps (cnn, cnn-1rnn, cnn-multi-rnn). Received: {self.head}."
                )
            return
        if not every:
            raise ConfigError(
                f'window: heads over taps predict every step. Received the target "{self.window.target}".'
            )
        if self.taps:
            raise ConfigError(f"taps: a head over taps names its own. Received: {', '.join(self.taps)}.")
        if self.balance != "none" or self.device_resident:
            raise ConfigError("balance, device_resident: are not for heads over taps, whose windows have many labels.")
