"""How a CNN is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from emopipe.config import from_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.models.architecture import check_width
from emopipe.models.balance import Balance, check_balance
from emopipe.stages import training
from emopipe.stages.start_weights import RANDOM
from emopipe.stages.training_targets import Loss, check_loss

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainCnnConfig:
    """How a CNN is trained. Where no other source is named, a default is that of the code of Rangulov and Fahim (2020).

    Attributes:
        backbone: a name in `CNNS`.
        width: share of the published channels and units, where the backbone comes in several widths.
        weights: what the network starts from: "none" (random numbers), "imagenet", a weights file, or the folder of a
            finished run of train-cnn; see `resolve_start`.
        task: see `Adapter.tasks`; None for the dataset's first.
        targets: which of the task's targets; empty for all. One output each; for classes, one per class.
        loss: "ccc", "mse" or "crossentropy"; None for the one that suits the task.
        balance: thin out crowded cells of the valence-arousal plane, see `emopipe.models.balance`.
        literal_balance: by the formula as the paper prints it.
        augment: show every image another way each time.
        epochs: at most so many.
        patience: end after so many epochs without a better dev score; None for never.
        steps_per_epoch: batches after which an epoch ends; None for all frames.
        batch_size: frames.
        optimiser: "sgd" or "adam".
        learning_rate, momentum: of stochastic gradient descent; Adam takes the learning rate only.
        decay: the learning rate is ``learning_rate / (1 + decay iteration)``.
        precision: numbers that are multiplied while training; weights, sums and the network that is kept are float32.
            "bfloat16" takes half the time on processors and accelerators that know it.
        seed: of weights, balancing, order, augmentation and dropout.
        train_split, dev_split: what is learned from, and what selects the best epoch.
        folds: how a corpus without splits of its own is divided; None to take its splits.
    """

    backbone: str = "khorrami"
    width: float = 1.0
    weights: str = RANDOM
    task: str | None = None
    targets: tuple[str, ...] = ()
    loss: Loss | None = None
    balance: Balance = "none"
    literal_balance: bool = False  # the code's rule; the paper's Eq. 1 would keep the crowd
    augment: bool = True
    epochs: int = 100  # their CK+ notebook; on Aff-Wild2 they stopped by hand, best epochs were 1 and 2
    patience: int | None = 10  # ours; the code has no early stopping
    steps_per_epoch: int | None = None  # their "epochs" on Aff-Wild2 are 1,000 batches
    batch_size: int = 128  # the paper: 64
    optimiser: training.OptimiserName = "sgd"  # Kollias and Zafeiriou name none
    learning_rate: float = 0.01  # Kollias and Zafeiriou: 1e-4
    momentum: float = 0.9
    decay: float = 1e-5  # per iteration; the paper calls it weight decay and the rate constant
    precision: Precision = "float32"
    seed: int = 0
    train_split: str = "train"
    dev_split: str = "dev"
    folds: Folds | None = None

    def __post_init__(self) -> None:
        if isinstance(self.folds, Mapping):  # as it stands in a run's settings
            object.__setattr__(self, "folds", from_dict(Folds, self.folds))
        check_loss(self.loss)
        check_balance(self.balance)
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision: expected float32 or bfloat16. Received: {self.precision!r}.")
        if self.batch_size < 1 or (self.steps_per_epoch is not None and self.steps_per_epoch < 1):
            raise ConfigError("batch size and steps per epoch: expected at least 1.")
        check_width(self.width)
        training.check_optimiser(self.optimiser)
        training.check_rates(self.learning_rate, self.momentum, self.decay)
        if self.seed < 0:
            raise ConfigError(f"seed: expected at least 0. Received: {self.seed}.")
        training.Schedule(self.epochs, self.patience, "")
