"""Damage to texts, bytes, pickles and zips that leaves them alike enough to get past the first look."""

from __future__ import annotations

import io
import itertools
import pickletools
import random
import re
import struct
import zipfile
import zlib

TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
NUMBERS = (
    "0", "1", "-1", "2", "3", "0.5", "1.0000001", "-0.0", "1e-45", "1e38", "1e39", "1e400", "nan", "-nan", "inf",
    "-inf", "1_0", "0x10", "0b1", "0o7", "017", "1e5", "255", "256", "65535", "65536", "1048576", "2147483647",
    "2147483648",
    "4294967296", "9223372036854775807", "18446744073709551616", "1" + "0" * 40, "9" * 400, "9" * 5000, "1:30:59",
)  # fmt: skip
WORDS = (
    "", "~", "null", "true", "False", "None", "[]", "{}", "()", "''", '""', "é", "火焰", "\u202e", "\ud800", "😀", "\0",
    "\ufeff", "\x85", "\u2028", "\t", "\r", "\x1b[0m", "..", ".", "/", "\\", "a" * 300, "b/" * 200, "c" * 5000, "%s",
    "{0}", "${HOME}", "$(id)", "`id`", ";id", "|id", "-", "--", "=", "*", "?", "*.jpg", "[a-", "~root", "con", "nc",
    "__import__('os').system('id')", "os.system", "lambda: 0", "2024-13-45", "2024-01-01", "=cmd",
)  # fmt: skip
YAML_WORDS = (
    "&a ", "*a", "<<: ", "<<: *a", "<<: [*a, *a]", "!!python/object/apply:os.system ['id']", "!!python/name:os.system ",
    "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!null ", "!x ",
    "? ", ": ", "- ", "[", "]", "{", "}", ", ", "|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n", "#", "'", '"', "@", "`",
    "\n", "\n  ", "\n\n", "\t", "names:", "train:", "nc: ", "path: ",
)  # fmt: skip


def mutated_text(rng: random.Random, text: str, others: list[str], words: tuple[str, ...] = ()) -> str:
    """Return a text in which some tokens were changed, moved, repeated, nested or taken from another one."""
    tokens = TOKENS.findall(text)
    for _ in range(1 + min(int(rng.expovariate(0.6)), 12)):
        i, j = sorted((rng.randint(0, len(tokens)), rng.randint(0, len(tokens))))
        new = rng.choice(rng.choice((NUMBERS, WORDS, words or WORDS)))
        kind = rng.randrange(12)
        if kind < 4:  # one token becomes another
            tokens[i : i + 1] = [new]
        elif kind < 6:
            tokens[i:i] = [new]
        elif kind == 6:
            tokens[i : min(j, i + 8)] = []
        elif kind == 7:
            part = tokens[i : min(j, i + 40)]
            tokens[i:i] = part * rng.choice((1, 1, 2, 5, 30))
        elif kind == 8:
            tokens[i : i + 1], tokens[j : j + 1] = tokens[j : j + 1], tokens[i : i + 1]
        elif kind == 9:
            other = TOKENS.findall(rng.choice(others))
            k = rng.randint(0, len(other))
            tokens[i : i + rng.randrange(6)] = other[k : k + rng.randrange(40)]
        elif kind == 10:
            depth, (left, right) = rng.choice((1, 2, 5, 70, 500)), rng.choice(("[]", "{}", "()", "- ", "''"))
            tokens[i:j] = [left * depth, *tokens[i:j], right.strip() * rng.choice((depth, 0))]
        else:
            del tokens[rng.choice((i, j)) :]
    return "".join(tokens)[:200_000]


def mutated_bytes(rng: random.Random, data: bytes, others: list[bytes], head: int = 64) -> bytes:
    """Return bytes with flips, numbers of 1 to 4 bytes replaced (mostly in the head), cuts, repeats and splices."""
    made = bytearray(data)
    for _ in range(1 + min(int(rng.expovariate(0.6)), 12)):
        i = rng.randrange(min(head, len(made)) if rng.random() < 0.6 else len(made)) if made else 0
        kind = rng.randrange(8)
        if kind < 2:
            made[i : i + 1] = bytes([rng.randrange(256)])
        elif kind < 5:
            form = rng.choice(("B", "<H", ">H", "<I", ">I"))
            most = 256 ** struct.calcsize(form) - 1
            value = rng.choice(
                (0, 1, 2, 7, 8, 16, 127, 128, 255, 1023, 4096, 60_000, 65_535, most // 2, most - 1, most)
            )
            made[i : i + struct.calcsize(form)] = struct.pack(form, min(value, most))
        elif kind == 5:
            del made[i : i + rng.choice((1, 2, 4, 100, len(made)))]
        elif kind == 6:
            made[i:i] = made[i : i + rng.randrange(64)] * rng.choice((1, 2, 20))
        else:
            other = rng.choice(others)
            k = rng.randrange(len(other))
            made[i : i + rng.randrange(32)] = other[k : k + rng.randrange(200)]
    return bytes(made)


# Pickles --------------------------------------------------------------------------------------------------------------

EVIL = (  # names that run code, or reach what does
    "posix system", "os system", "nt system", "builtins eval", "builtins exec", "builtins getattr", "builtins open",
    "builtins __import__", "subprocess Popen", "socket create_connection", "torch load", "torch.hub load",
    "numpy load", "importlib import_module", "operator attrgetter", "functools partial", "shutil rmtree",
    "torch._utils _rebuild_tensor_v2.__globals__", "ultralytics.utils yaml_save", "torch.nn.modules.module torch",
    "ultralytics.nn.tasks DetectionModel.__init__", "collections OrderedDict", "builtins set", "torch Size",
    "torch.torch_version TorchVersion", "torch device", "pathlib PosixPath", "numpy dtype", "_codecs encode",
)  # fmt: skip


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _snippets(rng: random.Random) -> bytes:
    """Return opcodes that call something, or grow without end."""
    name = b"c" + rng.choice(EVIL).replace(" ", "\n").encode() + b"\n"
    depth = rng.choice((3, 60))
    growth = b"]q\xf0" + b"0(h\xf0h\xf0lq\xf0" * depth
    tuples = b")q\xf1" + b"0h\xf1h\xf1\x86q\xf1" * depth
    return rng.choice((
        name + b"(" + _text(f"touch {rng.randrange(9)}") + b"tR",
        name + growth + b"\x85R",
        name + tuples + b"\x85R",
        b"}" + tuples + b"Ns",
        tuples + b"\x85Q",
        growth, name, b"N", b"0", b"2", b"(", b"t", b"}", b"]", b"R", b"b", b"s", b"u", b"e", b"a", b"\x81", b"\x92",
        b"r" + struct.pack("<I", rng.choice((300, 2**26, 2**31, 2**32 - 1))) + b"0N",
        b"\x8a\xff" + b"\x7f" * 255,
        b"\x8b" + struct.pack("<i", rng.choice((8, -1, 2**31 - 1))) + b"\x01" * 8,
        b"\x96" + struct.pack("<Q", rng.choice((8, 2**40, 2**63))) + b"abcdefgh",
        b"\x8d" + struct.pack("<Q", rng.choice((3, 2**62))) + b"abc",
        b"\x82\x01", b"\x97", b"\x95" + struct.pack("<Q", 2**60),
    ))  # fmt: skip


def mutated_pickle(rng: random.Random, data: bytes) -> bytes:
    """Return a pickle with opcodes left out, doubled, moved or put in, and with other arguments."""
    places = [place for _, _, place in pickletools.genops(data)] + [len(data)]
    codes = [data[a:b] for a, b in itertools.pairwise(places)]
    for _ in range(1 + min(int(rng.expovariate(0.7)), 8)):
        i = rng.randrange(1, len(codes)) if len(codes) > 1 else 0
        kind = rng.randrange(8)
        if kind == 0:
            del codes[i]
        elif kind == 1:
            codes[i:i] = codes[i : i + rng.randrange(1, 12)]
        elif kind == 2:
            j = rng.randrange(1, len(codes)) if len(codes) > 1 else 0
            codes[i], codes[j] = codes[j], codes[i]
        elif kind < 5:
            codes[i:i] = [_snippets(rng)]
        else:
            codes[i] = _other_argument(rng, codes[i])
        if not codes:
            break
    return b"".join(codes)


def _other_argument(rng: random.Random, code: bytes) -> bytes:
    head = code[:1]
    if head == b"c":
        return b"c" + rng.choice(EVIL).replace(" ", "\n").encode() + b"\n"
    if head == b"X":
        return _text(
            rng.choice(("", "0", "model", "yaml", "names", "__class__", "a" * 300, "storage", "../../x", "火"))
        )
    if head in b"KMJ":
        big = (0, 1, -1, 255, 65_535, 2**31 - 1, -(2**31))
        return b"J" + struct.pack("<i", rng.choice(big)) if rng.random() < 0.8 else b"\x8a\x09" + b"\xff" * 8 + b"\x7f"
    if head == b"G":
        return b"G" + struct.pack(">d", rng.choice((float("nan"), float("inf"), -1.0, 0.0, 1e308)))
    return rng.choice((b"N", b"\x88", b")", b"]", b"}", b"K\x01", b"G" + bytes(8)))


# Zips -----------------------------------------------------------------------------------------------------------------


def unzipped(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip by their names."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(rng: random.Random, members: dict[str, bytes]) -> bytes:
    """Return a zip of members, with right checksums; some are compressed, left out, renamed, cut, or stand twice."""
    made, methods = io.BytesIO(), (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            kind = rng.randrange(60)
            if kind == 0:
                continue
            if kind == 1:
                name = rng.choice(("../x", "/x", name + "x", name.upper(), "", "data.pkl", "a" * 300))
            if kind == 2:
                content = content[: rng.randrange(len(content) + 1)]
            if kind == 3:
                content = bytes(rng.choice((1, 4096, 1 << 22)))
            archive.writestr(zipfile.ZipInfo(name or "x"), content, compress_type=rng.choice(methods))
            if kind == 4:
                archive.writestr(zipfile.ZipInfo(name or "x"), content[::-1])
    return made.getvalue()


# Images -------------------------------------------------------------------------------------------------------------


def png_with_right_sums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums that belong to them, as far as there are chunks."""
    made, i = bytearray(data), 8
    while i + 12 <= len(made):
        end = i + 8 + struct.unpack(">I", made[i : i + 4])[0]
        if end + 4 > len(made):
            break
        made[end : end + 4] = struct.pack(">I", zlib.crc32(made[i + 4 : end]))
        i = end + 4
    return bytes(made)
