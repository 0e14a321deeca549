"""The base of all tracks: id, state, and when it was seen."""

from __future__ import annotations


class TrackState:
    """States of a track."""

    New, Tracked, Lost, Removed = range(4)


class BaseTrack:
    """One object over time.

    Attributes:
        track_id: its id from 1, or 0 before it has one.
        is_activated: whether it counts; a track that starts after the first frame has to be seen twice.
        start_frame, frame_id: when it was first and last seen.
        tracklet_len: frames in which it was seen since it began or was last found again.
    """

    track_id = 0
    is_activated = False
    state = TrackState.New
    start_frame = frame_id = tracklet_len = 0

    @property
    def end_frame(self) -> int:
        """The last frame in which it was seen."""
        return self.frame_id

    def mark_lost(self) -> None:
        """Mark the track as not seen in this frame; it may be found again."""
        self.state = TrackState.Lost

    def mark_removed(self) -> None:
        """Mark the track as given up."""
        self.state = TrackState.Removed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.track_id}, frames {self.start_frame} to {self.end_frame})"
