"""When the frames of a clip are: labels placed by frame meet windows of sound by time."""

from dataclasses import replace

import numpy as np

from emopipe.records import Clip, Labels
from emopipe.stages.spec import planned_clip
from emopipe.store.cache import Cache
from emopipe.typing import Floats, Ints


class FrameTimes:
    """The times of the frames of clips, from any faces that are cached: how faces are made does not move a frame.

    Args:
        cache: holds the faces.
    """

    def __init__(self, cache: Cache):
        self._cache = cache
        headers = {record.header.fingerprint: record.header for record in cache.records("faces")}
        self._sets = [(header, cache.find("faces", header.fingerprint)) for header in headers.values()]

    def of(self, clip: Clip) -> tuple[Ints, Floats] | None:
        """(T,) frame_index and (T,) time_s of a clip's frames; None where its faces are not cached."""
        for header, cached in self._sets:
            key = str(planned_clip(clip, self._cache, header, None).faces_key)
            if key in cached:
                record, entry = cached[key]
                with self._cache.open(record) as shard:
                    return shard.read(entry.clip_id, "frame_index"), shard.read(entry.clip_id, "time_s")
        return None

    def placed(self, labels: Labels, clip: Clip) -> Labels | None:
        """Labels by time, where they are by frame; others as they are. Labels of frames that do not exist are left out.

        None where nothing says when the frames are.
        """
        if labels.frame_index is None:
            return labels
        found = self.of(clip)
        if found is None:
            return None
        frame_index, time_s = found
        place = np.searchsorted(frame_index, labels.frame_index).clip(max=len(frame_index) - 1)
        keep = frame_index[place] == labels.frame_index
        return replace(
            labels, values=labels.values[keep], valid=labels.valid[keep], frame_index=None, time_s=time_s[place[keep]]
        )
