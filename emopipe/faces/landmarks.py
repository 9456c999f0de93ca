"""dlib's 68 landmarks, and the square that its predictor wants to see."""

import importlib.metadata
from pathlib import Path
from typing import Protocol

import numpy as np

from emopipe.errors import MissingDependencyError, WeightsError
from emopipe.files import sha256_of_file
from emopipe.records import NUM_LANDMARKS
from emopipe.registry import Registry
from emopipe.typing import Floats, Image

PREDICTOR_PACKAGE = "face-recognition-models"
PREDICTOR_FILE = "face_recognition_models/models/shape_predictor_68_face_landmarks.dat"
PREDICTOR_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"

# The predictor was trained on the squares of dlib's HOG detector. On 216 pictures of about 110 people (London set,
# GRID and a Pexels clip) such a square is centred on the mean of the five points, to 3 % of its side, and its side is
# 3.82 times their root mean square distance from that mean (3.84 with dlib's own points, 3.81 with RetinaFace's, 3.79
# with YuNet's; standard deviation 8 %, which is the 20 % step of the HOG pyramid). Landmarks from different detectors
# then differ by 1.2 % of the eye distance; from MTCNN's box as it is, by 2.6 %.
SIDE_PER_SPREAD = 3.82
# Detectors without points: side of dlib's square over the box's side, and how far its centre lies below the box's
# centre in sides of the box. Haar: medians over the same 216 pictures.
SQUARE_OF_BOX = {"dlib_hog": (1.0, 0.0), "haar": (0.88, 0.089)}

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # of the picture, not of the person; iBUG numbering from 0
NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER = 30, 48, 54


class Landmarker(Protocol):
    """What finds landmarks: `name`, `version_digest` as of a detector, and `landmarks`."""

    name: str
    version_digest: str

    def landmarks(self, image: Image, square: Floats) -> Floats:
        """Landmarks (68, 2) float32 of the face in `square` (x0, y0, x1, y1), both in pixels of the picture."""
        ...


LANDMARKERS = Registry("landmarker", {"dlib68": "emopipe.faces.landmarks:Dlib68Landmarker"})


def load_landmarker(name: str = "dlib68") -> Landmarker:
    """Build a landmarker: reads its weights (dlib's file: 0.6 s).

    Raises:
        UnknownNameError, MissingDependencyError, WeightsError: see `Registry` and `Dlib68Landmarker`.
    """
    landmarker: Landmarker = LANDMARKERS.load(name)()
    return landmarker


def landmarker_digest(name: str = "dlib68") -> str:
    """What identifies a landmarker's results, at no cost: only one file is accepted when it is built."""
    LANDMARKERS[name]  # an unknown name is refused
    return f"{name} sha256:{PREDICTOR_SHA256}"


class Dlib68Landmarker:
    """dlib's ensemble of regression trees, trained on iBUG 300-W; the file's licence forbids commercial use.

    Source: Kazemi and Sullivan, "One millisecond face alignment with an ensemble of regression trees", CVPR 2014;
    Sagonas et al., "300 faces in-the-wild challenge", ICCV-W 2013.

    Raises:
        MissingDependencyError: the package that carries the file is not installed.
        WeightsError: the file is missing or has other bytes than expected.
    """

    name = "dlib68"

    def __init__(self) -> None:
        path = predictor_path()
        received = sha256_of_file(path)  # 0.1 s for 100 MB
        if received != PREDICTOR_SHA256:
            raise WeightsError(
                f"{path}: expected sha256 {PREDICTOR_SHA256}.\nReceived: {received}.\n"
                f"Run: pip install --force-reinstall {PREDICTOR_PACKAGE}"
            )
        self.version_digest = landmarker_digest(self.name)
        try:
            import dlib
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "the 68 landmarks need the package 'dlib-bin', which is not installed.\nRun: pip install dlib-bin"
            ) from error
        self._predictor = dlib.shape_predictor(str(path))
        self._rectangle = dlib.rectangle

    def landmarks(self, image: Image, square: Floats) -> Floats:
        """Landmarks of one face.

        Args:
            image: (H, W, 3) uint8 RGB.
            square: (4,) x0, y0, x1, y1 as `predictor_square` makes it; may reach out of the picture.

        Returns:
            (68, 2) float32, pixels of the picture, x right, y down, whole numbers: the predictor rounds.
        """
        x0, y0, x1, y1 = (int(round(float(edge))) for edge in square)
        shape = self._predictor(image, self._rectangle(x0, y0, x1 - 1, y1 - 1))
        parts = (shape.part(i) for i in range(NUM_LANDMARKS))
        return np.array([(part.x, part.y) for part in parts], np.float32)


def predictor_path() -> Path:
    """Where the installed package keeps dlib's file; the package itself is not imported, it needs pkg_resources.

    Raises:
        MissingDependencyError: the package is not installed.
        WeightsError: the package is there and its file is not.
    """
    try:
        distribution = importlib.metadata.distribution(PREDICTOR_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            f"the 68 landmarks need the package '{PREDICTOR_PACKAGE}', which is not installed.\n"
            f"Run: pip install {PREDICTOR_PACKAGE}"
        ) from error
    path = Path(str(distribution.locate_file(PREDICTOR_FILE)))
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file, though {PREDICTOR_PACKAGE} is installed.\n"
            f"Run: pip install --force-reinstall {PREDICTOR_PACKAGE}"
        )
    return path


def predictor_square(box: Floats, points: Floats | None, detector: str) -> Floats:
    """The square around a face that the predictor was trained to see.

    Args:
        box: (4,) x0, y0, x1, y1 of the detector, pixels.
        points: (5, 2) eyes, nose, mouth corners; None or NaN where there are none, then the box decides.
        detector: name of the detector that made the box.

    Returns:
        (4,) float64 x0, y0, x1, y1, pixels.
    """
    if points is not None and np.isfinite(points).all():
        centre = points.mean(axis=0, dtype=np.float64)
        side = SIDE_PER_SPREAD * np.sqrt(((points - centre) ** 2).sum(axis=1).mean())
    else:
        scale, lower = SQUARE_OF_BOX.get(detector, (1.0, 0.0))
        box_side = float(max(box[2] - box[0], box[3] - box[1]))
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + lower * box_side], np.float64)
        side = scale * box_side
    return np.concatenate([centre - side / 2, centre + side / 2])


def five_points(landmarks: Floats) -> Floats:
    """Eye centres, nose tip and mouth corners out of the 68 landmarks.

    Args:
        landmarks: (..., 68, 2).

    Returns:
        (..., 5, 2): mean of 36-41 and of 42-47, then 30, 48 and 54; the order of `Detections.points`.
    """
    return np.stack(
        [
            landmarks[..., LEFT_EYE, :].mean(axis=-2),
            landmarks[..., RIGHT_EYE, :].mean(axis=-2),
            landmarks[..., NOSE_TIP, :],
            landmarks[..., LEFT_MOUTH_CORNER, :],
            landmarks[..., RIGHT_MOUTH_CORNER, :],
        ],
        axis=-2,
    )


def eye_distance(landmarks: Floats) -> Floats:
    """Distance between the eye centres in pixels: (..., 68, 2) -> (...)."""
    five = five_points(landmarks)
    return np.asarray(np.linalg.norm(five[..., 1, :] - five[..., 0, :], axis=-1))
