"""How a head is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from emopipe.config import from_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.models.balance import Balance, check_balance
from emopipe.models.heads import HEADS, Cells, OutputActivation, units_of_layers
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.tap_heads import OVER_TAPS, TapHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.stages import training
from emopipe.stages.clip_values import Reduce
from emopipe.stages.training_targets import Loss, Select, check_loss, check_select

# Field -> its class and its head; at most one of them takes the place of `head`.
_HEADS: dict[str, tuple[type[Any], str]] = {
    "tap_head": (TapHeadConfig, "taps"),
    "multimodal": (MultimodalHeadConfig, "multimodal"),
    "spectrogram_head": (SpectrogramHeadConfig, "spectrogram-cnn"),
}


@dataclass(frozen=True)
class TrainRnnConfig:
    """How a head is trained. Defaults without another source are those of the code of Rangulov and Fahim (2020).

    Attributes:
        head: a name in `HEADS`, of a head without settings of its own below; those take its place. It is given what
            of cells, units, bidirectional and dropout its configuration has.
        cells, layers, units, bidirectional, dropout: of the recurrent head; `units` empty for those of `layers`.
        tap_head: a head over taps, which names its taps itself and predicts every step; None for `head`.
        multimodal: a head for picture and sound; its columns are filled in where the table is known. None for `head`.
        spectrogram_head: a CNN over log-mel rows; None for `head`.
        output_activation: of a head that predicts numbers; "sigmoid" for intensities in [0, 1].
        standardise: bring features to the mean 0 and the variance 1 of the training rows, inside the head; None for
            the head's own way, which is to do so over log-mel rows only.
        window: which windows are learned from and scored.
        taps: taps of the features, side by side; empty for all. Beside features of faces those of sound are
            `audio:<tap>`.
        audio: beginning of the fingerprint of features of sound, to learn from them alone, or which of them are read
            beside those of faces by `multimodal`; "" for the only ones, where sound is read at all.
        task, targets: as in `TrainCnnConfig`.
        loss: "ccc", "mse" or "crossentropy"; None for the one that suits the task.
        label_smoothing: share of a class's probability that training deals out to all classes alike.
        select: the score on the dev split that picks the best epoch; "" for the one that suits the task.
        balance: thin out windows whose target lies in a crowded cell of the valence-arousal plane.
        epochs, patience, batch_size, learning_rate, momentum, decay, seed, folds, train_split, dev_split: as in
            `TrainCnnConfig`.
        optimiser: "sgd" or "adam".
        schedule: the learning rate falls by `decay` for "inverse", or along half a cosine to 0 in the last epoch of
            `epochs` for "cosine", under which `decay` has no say.
        clip_value: largest part of a gradient; None for no limit.
        reduce: how the frames of a sequence become one value, where clips have one label each; see `clip_values`.
        init: a run whose head has the same layers, to begin with its weights; "" for fresh ones.
        end_to_end: the CNN that made the features learns too; crops are read instead of features.
        device_resident: hold the features where the head is trained, once, instead of sending every window there. The
            weights come out the same, so an interrupted run may go on either way.

    Raises:
        ConfigError: a value is out of range, or two of them do not go together.

    Examples:
        >>> from dataclasses import replace
        >>> from emopipe import TrainRnnConfig
        >>> from emopipe.models.windows import WindowConfig
        >>> paper = TrainRnnConfig(cells="gru", units=(100, 100, 50), window=WindowConfig(length=100, target="next"))
        >>> [config.seed for config in (replace(paper, seed=seed) for seed in range(3))]
        [0, 1, 2]
        >>> replace(paper, balance="medium")
        Traceback (most recent call last):
        emopipe.errors.ConfigError: balance: expected none, max, mean, midpoint. Received: 'medium'.
    """

    head: str = "rnn"
    cells: Cells = "gru"
    layers: int = 3
    units: tuple[int, ...] = ()
    bidirectional: bool = False
    dropout: float = 0.0
    tap_head: TapHeadConfig | None = None
    multimodal: MultimodalHeadConfig | None = None
    spectrogram_head: SpectrogramHeadConfig | None = None
    # Squared error of a linear output is what arXiv:2303.10741 says; the MuSe 2022 baseline has seven sigmoids.
    output_activation: Literal["linear", "tanh", "sigmoid"] = "linear"
    standardise: bool | None = None
    window: WindowConfig = WindowConfig()
    taps: tuple[str, ...] = ()
    audio: str = ""
    task: str | None = None
    targets: tuple[str, ...] = ()
    loss: Loss | None = None
    label_smoothing: float = 0.0
    select: Select = ""
    balance: Balance = "none"
    epochs: int = 100
    patience: int | None = 10
    batch_size: int = 256  # the paper: 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-5  # per iteration
    optimiser: training.OptimiserName = "sgd"
    schedule: Literal["inverse", "cosine"] = "inverse"
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
        for name, (cls, _) in _HEADS.items():
            if isinstance(given := getattr(self, name), Mapping):
                object.__setattr__(self, name, from_dict(cls, given))
        check_balance(self.balance)
        check_loss(self.loss)
        check_select(self.select)
        if self.output_activation not in ("linear", "tanh", "sigmoid"):
            raise ConfigError(
                f"output_activation: expected linear, tanh or sigmoid. Received: {self.output_activation!r}."
            )
        for name, known in (("cells", Cells), ("reduce", Reduce)):
            if getattr(self, name) not in get_args(known):
                raise ConfigError(f"{name}: expected {', '.join(get_args(known))}. Received: {getattr(self, name)!r}.")
        if self.schedule not in ("inverse", "cosine"):
            raise ConfigError(f"schedule: expected inverse or cosine. Received: {self.schedule!r}.")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing: expected a number in [0, 1). Received: {self.label_smoothing}.")
        if self.batch_size < 1 or self.seed < 0:
            raise ConfigError("expected a batch size of at least 1 and a seed of at least 0.")
        training.check_optimiser(self.optimiser)
        training.check_rates(self.learning_rate, self.momentum, self.decay, self.clip_value)
        training.Schedule(self.epochs, self.patience, "")
        self._check_head()
        self._check_tap_head()

    @property
    def head_name(self) -> str:
        """The name in `HEADS`."""
        return next((head for name, (_, head) in _HEADS.items() if getattr(self, name) is not None), self.head)

    @property
    def table_taps(self) -> tuple[str, ...]:
        """The taps of the table, in its order; () for all."""
        return self.taps if self.tap_head is None else self.tap_head.taps

    @property
    def standardises(self) -> bool:
        """Whether the head brings its inputs to one scale."""
        return self.spectrogram_head is not None if self.standardise is None else self.standardise

    @property
    def masks_padding(self) -> bool:
        """Whether training tells the head what is padding; heads over taps need not know, for it has no weight."""
        return self.window.target != "every"

    def head_config(
        self, num_outputs: int, output_activation: OutputActivation = "linear", columns: Mapping[str, int] | None = None
    ) -> Any:
        """The configuration of the head for so many outputs, an instance of `Head.config`.

        Args:
            num_outputs: of the head.
            output_activation: of its last layer; heads over taps have linear ones.
            columns: tap -> numbers per step, for the heads that tell taps apart.

        Raises:
            ConfigError: a head for picture and sound lacks one of them.
        """
        if self.tap_head is not None:
            return self.tap_head.with_columns(dict(columns or {}), num_outputs)
        if self.multimodal is not None:
            filled = self.multimodal.with_columns(columns or {}, num_outputs)
            return replace(filled, output_activation=output_activation)
        if self.spectrogram_head is not None:
            return replace(self.spectrogram_head, num_outputs=num_outputs, output_activation=output_activation)
        config: type[Any] = HEADS.load(self.head).config
        given: dict[str, Any] = {"cells": self.cells, "bidirectional": self.bidirectional, "dropout": self.dropout}
        known = {field.name for field in fields(config)}
        if "units" in known:
            given["units"] = self.units or units_of_layers(self.layers)
        own = {name: value for name, value in given.items() if name in known}
        return config(num_outputs=num_outputs, output_activation=output_activation, **own)

    def _check_head(self) -> None:
        for name, (_, head) in _HEADS.items():
            if self.head == head:
                raise ConfigError(f"head: '{head}' has settings of its own. Expected them in {name}.")
        HEADS[self.head]  # an unknown name is refused
        chosen = [name for name in _HEADS if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ConfigError(f"{', '.join(chosen)}: expected one head. Received {len(chosen)}.")
        if self.tap_head is not None and (self.standardise or self.output_activation != "linear"):
            raise ConfigError("standardise, output_activation: are not for heads over taps, which stay as published.")

    def _check_tap_head(self) -> None:
        every = self.window.target == "every"
        if self.tap_head is None:
            if every or self.end_to_end:
                what = 'the target "every"' if every else "training end to end"
                raise ConfigError(
                    f"{what}: is for heads over taps ({', '.join(OVER_TAPS)}). Received: {self.head_name}."
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
