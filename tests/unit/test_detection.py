"""The pass over a clip's frames, and what the single detectors do beyond the contract."""

import importlib.metadata

import numpy as np
import onnxruntime
import pytest
import skimage.data

from emopipe.config import FacesConfig
from emopipe.errors import DeviceError, MissingDependencyError, UnknownNameError, WeightsError
from emopipe.faces import detection
from emopipe.faces.detection import (
    MAX_PENDING_BYTES,
    detect_frames,
    detect_images,
    detector_digest,
    load_detector,
    make_detections,
    shrink,
    users_weights,
)
from emopipe.faces.yunet import WEIGHTS_VARIABLE
from emopipe.records import Detections, Frame
from emopipe.typing import Image


class BrightSpotDetector:
    """Finds the rectangle of white pixels, if it is at least `smallest_px` wide; remembers the batches it was given."""

    name, device, version_digest = "bright_spot", "cpu", "bright_spot 1"

    def __init__(self, smallest_px: int = 1, score: float = 0.9):
        self.smallest_px, self.score = smallest_px, score
        self.batches: list[tuple[int, ...]] = []

    def detect(self, frames: Image) -> list[Detections]:
        self.batches.append(frames.shape)
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: Image) -> Detections:
        rows, columns = np.nonzero(frame[..., 0] > 128)
        boxes = np.empty((0, 4))
        if len(rows) and np.ptp(columns) + 1 >= self.smallest_px:
            boxes = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        points = np.repeat(boxes[:, None, :2], 5, axis=1)
        return make_detections(boxes, np.full(len(boxes), self.score), points, *frame.shape[:2])


def spot(width: int, height: int, box: tuple[int, int, int, int]) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def frames_of(images: list[Image | None]) -> list[Frame]:
    return [Frame(i, i / 25, image) for i, image in enumerate(images)]


def test_boxes_and_points_come_back_in_pixels_of_the_full_frame():
    image = spot(1280, 720, (400, 200, 600, 480))
    ((_, found),) = detect_frames(frames_of([image]), BrightSpotDetector(), FacesConfig(working_size_px=320))
    np.testing.assert_allclose(found.boxes, [[400, 200, 600, 480]], atol=4)
    np.testing.assert_allclose(found.points[0], np.tile([400, 200], (5, 1)), atol=4)


def test_width_and_height_come_back_by_their_own_factors():
    class Fixed(BrightSpotDetector):
        def _detect_one(self, frame: Image) -> Detections:
            points = np.tile([20.0, 1.0], (1, 5, 1))
            return make_detections(np.array([[10, 0, 30, 2]]), np.ones(1), points, *frame.shape[:2])

    # 640 x 25 becomes 64 x 2: 10 times narrower and, for pixels are whole, 12.5 times lower.
    (found,) = detect_images([spot(640, 25, (0, 0, 1, 1))], Fixed(), FacesConfig(working_size_px=64))
    np.testing.assert_array_equal(found.boxes, [[100, 0, 300, 25]])
    np.testing.assert_array_equal(found.points[0], np.tile([200, 12.5], (5, 1)))


def test_pictures_are_never_enlarged():
    detector = BrightSpotDetector()
    image = spot(200, 100, (10, 10, 60, 60))
    list(detect_frames(frames_of([image]), detector, FacesConfig(working_size_px=320)))
    assert detector.batches == [(1, 100, 200, 3)]
    assert shrink(image, 320) is image
    assert shrink(image, 100).shape == (50, 100, 3)


def test_every_frame_comes_back_once_and_in_order():
    images = [spot(64, 64, (i, 8, i + 20, 40)) if i % 3 else None for i in range(41)]
    pairs = list(detect_frames(frames_of(images), BrightSpotDetector(), FacesConfig(working_size_px=64)))
    assert [frame.frame_index for frame, _ in pairs] == list(range(41))
    for i, (frame, found) in enumerate(pairs):
        assert frame.image is images[i]
        assert len(found) == (images[i] is not None)
        if images[i] is not None:
            assert found.boxes[0, 0] == i


def test_batches_begin_at_the_first_frame_and_hold_one_shape():
    detector = BrightSpotDetector()
    images = [spot(64, 64, (1, 1, 9, 9))] * 20 + [spot(80, 64, (1, 1, 9, 9))] * 5
    list(detect_frames(frames_of(images), detector, FacesConfig(working_size_px=80), batch_size=8))
    assert detector.batches == [(8, 64, 64, 3), (8, 64, 64, 3), (4, 64, 64, 3), (4, 64, 80, 3), (1, 64, 80, 3)]


def test_frames_without_a_face_get_a_second_look():
    # 40 px of 1280 are 10 at 320 (too small for this detector) and 20 at 640.
    detector = BrightSpotDetector(smallest_px=15)
    images = [spot(1280, 720, (400, 200, 600, 480)), spot(1280, 720, (400, 200, 440, 240))]
    config = FacesConfig(working_size_px=320, retry_size_px=640)
    large, small = detect_images(images, detector, config)
    assert detector.batches == [(2, 180, 320, 3), (1, 360, 640, 3)]
    np.testing.assert_allclose(large.boxes, [[400, 200, 600, 480]], atol=4)
    np.testing.assert_allclose(small.boxes, [[400, 200, 440, 240]], atol=2)
    (none,) = detect_images(images[1:], detector, FacesConfig(working_size_px=320, retry_size_px=0))
    assert len(none) == 0


def test_a_weak_face_is_dropped_and_looked_for_again():
    detector = BrightSpotDetector(score=0.6)
    images = [spot(1280, 720, (400, 200, 600, 480))]
    assert len(detect_images(images, detector, FacesConfig(min_score=0.5))[0]) == 1
    detector.batches.clear()
    assert len(detect_images(images, detector, FacesConfig(min_score=0.7))[0]) == 0
    assert len(detector.batches) == 2


def test_with_detect_every_the_frames_between_are_left():
    detector = BrightSpotDetector()
    images = [spot(64, 64, (1, 1, 30, 30))] * 10
    pairs = list(detect_frames(frames_of(images), detector, FacesConfig(working_size_px=64, detect_every=4)))
    assert [found is not None for _, found in pairs] == [i % 4 == 0 for i in range(10)]
    assert sum(batch[0] for batch in detector.batches) == 3


@pytest.mark.parametrize("detect_every", [1, 10])
def test_few_frames_are_held_back(detect_every):
    taken = 0

    def frames():
        nonlocal taken
        for i in range(400):
            taken += 1
            yield Frame(i, i / 25, spot(64, 64, (1, 1, 30, 30)))

    config = FacesConfig(working_size_px=64, detect_every=detect_every)
    most = 0
    for frame, _ in detect_frames(frames(), BrightSpotDetector(), config, batch_size=16):
        most = max(most, taken - frame.frame_index)
    assert most <= 32


def test_large_frames_come_in_smaller_batches():
    detector = BrightSpotDetector()
    image = spot(3840, 2160, (100, 100, 900, 900))
    list(detect_frames(frames_of([image] * 7), detector, FacesConfig()))
    allowed = -(-MAX_PENDING_BYTES // image.nbytes)
    assert [batch[0] for batch in detector.batches] == [allowed, allowed, 1]


def test_given_crops_are_passed_on_without_a_detector():
    images = [spot(112, 112, (1, 1, 30, 30))] * 3
    pairs = list(detect_frames(frames_of(images), None, FacesConfig(detector="none", alignment="given")))
    assert [(frame.frame_index, found) for frame, found in pairs] == [(0, None), (1, None), (2, None)]


def test_detections_are_clipped_sorted_and_free_of_slivers():
    boxes = [[-10, -10, 50, 50], [90, 10, 130, 60], [99.5, 0, 140, 50], [0, 0, 30, 30], [5, 5, 45, 45]]
    found = make_detections(np.array(boxes), np.array([0.5, 0.9, 0.99, 1.7, 0.5]), None, 80, 100)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 30, 30], [90, 10, 100, 60], [0, 0, 50, 50], [5, 5, 45, 45]])
    np.testing.assert_allclose(found.scores, [1, 0.9, 0.5, 0.5])
    assert np.isnan(found.points).all()


def test_retinaface_agrees_with_its_package_on_the_same_rgb_picture():
    from retinaface import detect_faces  # the package's own decoding, which truncates to whole pixels

    image = np.ascontiguousarray(skimage.data.astronaut()[:480, :480])
    (theirs,) = detect_faces(image, score_threshold=0.5)
    (ours,) = load_detector("retinaface").detect(image[None])
    expected = [theirs.x, theirs.y, theirs.x + theirs.width, theirs.y + theirs.height]
    np.testing.assert_allclose(ours.boxes[0], expected, atol=2)
    np.testing.assert_allclose(ours.points[0], [[p.x, p.y] for p in theirs.landmarks], atol=1.01)
    assert ours.scores[0] == pytest.approx(theirs.score, abs=1e-5)


def test_retinaface_does_not_depend_on_its_number_of_threads():
    frames = np.stack([skimage.data.astronaut(), skimage.data.astronaut()[:, ::-1]])
    one, two = (load_detector("retinaface", num_threads=count).detect(frames) for count in (1, 2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)


def test_retinaface_on_a_gpu_is_there_or_an_error():
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert load_detector("retinaface", device="gpu").device == "gpu"
    else:
        with pytest.raises(DeviceError, match="CUDAExecutionProvider"):
            load_detector("retinaface", device="gpu")


@pytest.mark.slow
def test_mtcnn_agrees_with_its_package_on_the_same_rgb_picture():
    from mtcnn import MTCNN

    image = skimage.data.astronaut()
    (theirs,) = MTCNN().detect_faces(image)
    (ours,) = load_detector("mtcnn").detect(image[None])
    x, y, width, height = theirs["box"]
    np.testing.assert_allclose(ours.boxes[0], [x, y, x + width, y + height], atol=1.01)
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    np.testing.assert_allclose(ours.points[0], [theirs["keypoints"][name] for name in names], atol=0.51)


def test_yunet_without_its_file_says_which_one_to_put_where(monkeypatch, tmp_path):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    for call in (load_detector, detector_digest):
        with pytest.raises(WeightsError, match="face_detection_yunet_2023mar.onnx.*no file(.|\n)*EMOPIPE_YUNET"):
            call("yunet")
    with pytest.raises(WeightsError, match="missing.onnx, which is no file"):
        load_detector("yunet", weights=tmp_path / "missing.onnx")


def test_only_a_detector_without_packaged_weights_has_a_file_of_the_users(monkeypatch, tmp_path):
    assert users_weights("retinaface") is None
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    with pytest.raises(WeightsError, match="EMOPIPE_YUNET"):
        users_weights("yunet")
    with pytest.raises(WeightsError, match=r"moved away\.onnx, which is no file"):
        users_weights("yunet", tmp_path / "moved away.onnx")


def test_yunet_with_other_bytes_names_both_digests(monkeypatch, tmp_path):
    pointer = tmp_path / "face_detection_yunet_2023mar.onnx"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    expected = "expected .*8f2383e4dd3cfbb4(.|\n)*Received: sha256 [0-9a-f]{64}"
    with pytest.raises(WeightsError, match=expected):
        load_detector("yunet", weights=pointer)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(pointer))
    with pytest.raises(WeightsError, match=expected):
        detector_digest("yunet")


@pytest.mark.parametrize("name", ["retinaface", "dlib_hog", "haar"])
def test_a_missing_package_is_named_with_its_cure(monkeypatch, name):
    def missing(package: str) -> None:
        raise importlib.metadata.PackageNotFoundError(package)

    detection._packaged_digest.cache_clear()
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(MissingDependencyError, match=f"detector '{name}' needs(.|\n)*pip install"):
        load_detector(name)


def test_an_unknown_detector_is_refused_with_the_nearest_name():
    for call in (load_detector, detector_digest):
        with pytest.raises(UnknownNameError, match="Did you mean 'retinaface'"):
            call("retina_face")
