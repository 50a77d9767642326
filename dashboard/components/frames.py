"""What travels to a component in one piece: a JSON head and a body of bytes. The browser's half is ``frames.js``.

NOTE: bytes travel as they are only as a component's whole ``data``. Inside a dict they would become text, and arrays there are
wrapped in tables that the browser has to take apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

ALIGNMENT = 8
"""Heads are padded to this, so that the browser can lay typed arrays on the body without copying element by element."""


def frame(head: Mapping[str, object], body: bytes = b"") -> bytes:
    """The length of the head (4 bytes, little-endian), the head as JSON padded with blanks, the body."""
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(4 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(4, "little") + text + body


def sealed_frame(head: Mapping[str, object], body: bytes = b"") -> bytes:
    """A frame whose head carries the digest of its content: the browser does nothing where the same content comes again."""
    digest = hashlib.blake2b(frame(head, body), digest_size=8).hexdigest()
    return frame({**head, "digest": digest}, body)


def pack(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, list[object]], bytes]:
    """Arrays end to end, each starting at a multiple of `ALIGNMENT`, and the table ``name: [type, start, count]`` to find them.

    Raises:
        ValueError: an array of a type that has no typed array in the browser.
    """
    table: dict[str, list[object]] = {}
    body = bytearray()
    for name, array in arrays.items():
        if array.dtype.name not in ("float32", "uint8", "uint16", "int32"):
            raise ValueError(f"{name}: float32, uint8, uint16 or int32 can be sent, got {array.dtype}")
        body += b"\0" * (-len(body) % ALIGNMENT)
        table[name] = [array.dtype.name, len(body), array.size]
        body += np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return table, bytes(body)


def array_frame(head: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A frame whose body is arrays, the table to find them in its head as ``arrays``."""
    table, body = pack(arrays)
    return frame({**head, "arrays": table}, body)
