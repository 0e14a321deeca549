"""What all augmentations share: they are chained, mix samples, and draw from the sample's own generator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

from ultralytics.data.canvas import Canvas
from ultralytics.data.instances import Labels, Sample, flat


class SampleSource(Protocol):
    """A dataset that mosaic and mixup take samples from; `partners(labels, k)`, if it has that, chooses them."""

    def __len__(self) -> int: ...

    def get_image_and_label(self, i: int, /) -> Sample: ...


def generator(labels: Sample) -> np.random.Generator:
    """Return the sample's own random generator; a sample without one gets one from the system's entropy."""
    if labels.get("rng") is None:
        labels["rng"] = np.random.default_rng()
    return labels["rng"]


Kind = TypeVar("Kind", bound=type)


def ours(cls: Kind) -> Kind:
    """Mark a transform, but not its subclasses, as one that neither needs a painted image nor changes it in place."""
    cls.spares_image = True  # type: ignore[attr-defined]
    return cls


def ready_for(transform: Callable, labels: Sample) -> Sample:
    """Give a transform that is not `ours` a painted image that it may write on, and `instances`."""
    if vars(type(transform)).get("spares_image") or not isinstance(labels, dict):
        return labels
    labels = labels if isinstance(labels, Labels) or "bboxes" not in labels else Labels(labels)
    img = labels.get("img")
    if isinstance(img, Canvas):
        labels["img"] = img.paint()
    elif isinstance(img, np.ndarray) and not img.flags.writeable:
        labels["img"] = img.copy()
    return labels


def draws_outside(thing: object) -> bool:
    """Whether code of others is in a transform or dataset, which may draw from `random` and `numpy.random`."""
    if not _is_ours(type(thing)):
        return True
    for name in ("transforms", "torch_transforms", "pre_transform", "transform"):
        inner = vars(thing).get(name)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None and draws_outside(each):
                return True
    return False


@lru_cache(maxsize=256)
def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def call_override(method: Callable, *args: object, **known: object) -> Any:
    """Call a method that a subclass may have overridden as in 8.3.0, without those keywords that it does not take."""
    taken = _parameters(getattr(method, "__func__", method))
    return method(*args, **{key: value for key, value in known.items() if key in taken})


@lru_cache(maxsize=256)
def _parameters(function: Callable) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


@ours
class Compose:
    """Apply transforms one after the other."""

    def __init__(self, transforms: Callable | list[Callable] | tuple[Callable, ...]):
        self.transforms = list(transforms) if isinstance(transforms, (list, tuple)) else [transforms]

    def __call__(self, data: Sample) -> Sample:
        for transform in self.transforms:
            data = transform(ready_for(transform, data))
        return data

    def append(self, transform: Callable) -> None:
        """Add a transform at the end."""
        self.transforms.append(transform)

    def insert(self, index: int, transform: Callable) -> None:
        """Add a transform before the one at `index`."""
        self.transforms.insert(index, transform)

    def tolist(self) -> list[Callable]:
        """Return the transforms."""
        return self.transforms

    def __getitem__(self, index: int | slice | list[int]) -> Callable:
        if isinstance(index, list):
            return Compose([self.transforms[i] for i in index])
        found = self.transforms[index]
        return Compose(found) if isinstance(found, list) else found

    def __setitem__(self, index: int, transform: Callable) -> None:
        self.transforms[index] = transform

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class BaseTransform:
    """Base of a user's own transform: each `apply_...` changes its part of a sample in place."""

    def apply_image(self, labels: Sample) -> None:
        """Change `labels["img"]`."""

    def apply_instances(self, labels: Sample) -> None:
        """Change `labels["instances"]`."""

    def apply_semantic(self, labels: Sample) -> None:
        """Change a semantic map, where a dataset of one's own adds one."""

    def __call__(self, labels: Sample) -> Sample:
        self.apply_image(labels)
        self.apply_instances(labels)
        self.apply_semantic(labels)
        return labels


class BaseMixTransform:
    """Base of transforms that mix a sample with others of its dataset.

    A subclass says which others (`get_indexes`) and what becomes of them (`_mix_transform`, which finds them as
    `labels["mix_labels"]`).

    Args:
        dataset: where the other samples come from.
        pre_transform: applied to these.
        p: probability of mixing.
    """

    def __init__(self, dataset: SampleSource | None, pre_transform: Callable | None = None, p: float = 0.0):
        self.dataset, self.pre_transform, self.p = dataset, pre_transform, p

    def __call__(self, labels: Sample) -> Sample:
        labels = flat(labels)
        if self.p <= 0 or generator(labels).random() >= self.p:
            return labels
        mixed = self._mix_transform(self.with_others(labels))
        mixed.pop("mix_labels", None)
        return mixed

    def get_indexes(self, labels: Sample | None = None) -> int | list[int]:
        """Return the index of the sample to mix into `labels`, or several; an override need not take `labels`."""
        raise NotImplementedError(f"{type(self).__name__} must say in get_indexes() which samples it mixes in.")

    def _mix_transform(self, labels: Sample) -> Sample:
        """Return the sample mixed with `labels["mix_labels"]`."""
        raise NotImplementedError(f"{type(self).__name__} must say in _mix_transform(labels) how samples are mixed.")

    def with_others(self, labels: Sample) -> Sample:
        """Add the other samples as `mix_labels`."""
        chosen = call_override(self.get_indexes, labels=labels)
        others = [self.fetch(int(i), labels) for i in ([chosen] if isinstance(chosen, (int, np.integer)) else chosen)]
        if self.pre_transform:
            others = [flat(self.pre_transform(other)) for other in others]
        labels["mix_labels"] = others
        return labels

    def partners(self, labels: Sample | None, k: int) -> list[int]:
        """Choose the indices of k samples to mix with this one."""
        assert self.dataset is not None  # only `CopyPaste` may be without, and it does not ask then
        if labels is not None and hasattr(self.dataset, "partners"):
            return self.dataset.partners(labels, k)
        return generator({} if labels is None else labels).integers(len(self.dataset), size=k).tolist()

    def fetch(self, index: int, labels: Sample) -> Sample:
        """Return another sample of the dataset, with this sample's generator."""
        assert self.dataset is not None
        other = flat(self.dataset.get_image_and_label(index))
        return other | {k: labels[k] for k in ("rng", "epoch", "index") if k in labels}
