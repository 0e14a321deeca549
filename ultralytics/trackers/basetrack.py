"""The base of all tracks: id, state, and when it was seen."""

from __future__ import annotations

from collections import OrderedDict


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
        history: for trackers of one's own.
    """

    _count = 0  # of the ids drawn by `next_id`

    def __init__(self) -> None:
        self.track_id = 0
        self.is_activated = False
        self.state = TrackState.New
        self.start_frame = self.frame_id = self.tracklet_len = 0
        self.score, self.history = 0.0, OrderedDict[int, object]()

    @property
    def end_frame(self) -> int:
        """The last frame in which it was seen."""
        return self.frame_id

    @staticmethod
    def next_id() -> int:
        """Draw the next id of a count that all tracks share; trackers give theirs one of a count of their own."""
        BaseTrack._count += 1
        return BaseTrack._count

    @staticmethod
    def reset_id() -> None:
        """Let `next_id` begin at 1 again."""
        BaseTrack._count = 0

    def activate(self, *args: object) -> None:
        """Start the track with its first detection."""
        raise NotImplementedError(f"{type(self).__name__} must say in activate() how a track begins.")

    def predict(self) -> None:
        """Move the track to where it should be in the next frame."""
        raise NotImplementedError(f"{type(self).__name__} must say in predict() where a track goes.")

    def update(self, *args: object, **kwargs: object) -> None:
        """Continue the track with a detection."""
        raise NotImplementedError(f"{type(self).__name__} must say in update() how a track goes on.")

    def mark_lost(self) -> None:
        """Mark the track as not seen in this frame; it may be found again."""
        self.state = TrackState.Lost

    def mark_removed(self) -> None:
        """Mark the track as given up."""
        self.state = TrackState.Removed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.track_id}, frames {self.start_frame} to {self.end_frame})"
