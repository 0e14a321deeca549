"""The `key=value` words of the `yolo` command and of its tools."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ultralytics.utils.errors import ConfigError, did_you_mean


def key_values(words: Sequence[str], verb: str, allowed: Collection[str], first: str = "") -> dict[str, str]:
    """Return the words of `yolo VERB` as texts by key; a word alone is the value of `first`, if there is one.

    Raises:
        ConfigError: a key is not known, given twice, or has no value; the message has the nearest one.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, text = (part.strip() for part in word.removeprefix("--").removesuffix(",").partition("="))
        if first and not equals:
            key, text = first, key
        if key not in allowed or not text or key in found:
            hint = did_you_mean(key, allowed, n=1) if key not in found else ""
            few = ", ".join(allowed) if len(allowed) < 25 else "key=value words"
            more = "" if hint else f" `yolo {verb}` alone shows how it is written."
            if key == first and key in found:
                more = f" Write several as {key}={found[key]},{text}."
            raise ConfigError(f"`yolo {verb}` cannot use '{word}'; it takes {few}, each once.{hint or more}")
        found[key] = text
    return found
