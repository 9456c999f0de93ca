"""What the recipes of Kollias and Zafeiriou (2020) say of themselves: choices, readings, departures."""

from typing import Final

COMMON: Final = (
    "Faces are found by RetinaFace; the paper's ffld2, a deformable part model, is not packaged for Python.",
    "Landmarks are joined after the alignment, scaled so that the crop spans [-1, 1]; the paper states no scaling.",
    "Every frame counts: the last sequence of an utterance has the frames that are left, and a shorter utterance is "
    "one short sequence. A frame without a face repeats the last one with a face and weighs nothing.",
    "Adam, no augmentation, the epoch with the best mean CCC over the utterances of the validation set, an end after "
    "10 epochs without a better one; the paper names none of these.",
    "Post-processing is fitted on the validation set, target by target: median filters of 3 to 81 frames, moving "
    "averages over 3 to 7 utterances of a video. The paper prints 81 and 3 frames and no number of utterances.",
    "The official splits share source videos. The rows `ccc_source_disjoint` are of the utterances whose source is in "
    "no earlier split; `ccc_per_video` is the evaluator's older definition.",
)
TAPS_DEVIATION: Final = (
    "Convolutions and the second pooling are read as means of a 4 x 4 grid, the last pooling flat; the paper does not "
    "say. Variant: flat."
)
POOLED: Final = "Convolutions are read as means of a 4 x 4 grid, the last pooling flat; the paper does not say."
ALWAYS_FIXED: Final = (
    "The CNN stays as its pre-training left it, the paper's first strategy; it reports the second, in which CNN and "
    "RNNs learn together, as the better one."
)
FIXED: Final = f"{ALWAYS_FIXED} Variant: end-to-end."
DROPS: Final = (
    "Dropout after the first GRU layer drops 0.8, as the text reads; as TensorFlow's probability to keep it drops 0.2."
)
DROPOUT: Final = f"{DROPS} Variant: keep-probability."
SHARED: Final = (POOLED, ALWAYS_FIXED, DROPS)
FUSED: Final = (
    "The fused networks are one CNN-1RNN and one CNN-3RNN on pool2, pool5 and fc; the paper says 'the CNN-1RNNs and "
    "CNN-3RNNs'.",
    *SHARED,
)
SCRATCH: Final = "From scratch means VGG-Face's weights for the CNN, which then learns the utterances' frames."
CHAIN: Final = "CNN and head learn the frames and sequences of {corpus} first; the head goes on with the utterances."
AFFWILD_DEV: Final = (
    "Aff-Wild comes without a validation set: a tenth of its training videos says which epoch is kept; the paper does "
    "not say how its epochs were chosen."
)
NO_NUMBER: Final = "The paper names this experiment and prints no number for it."
TWO_LAYERS: Final = "The paper does not say which two layers; here the last pooling and fc."
JOINT_UNITS: Final = (
    "The layer over the joined RNNs has 128 units, as that of the model-level fusion; the paper gives none."
)
