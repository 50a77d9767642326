"""One message to the browser: a JSON header and arrays in one run of bytes.

NOTE: bytes travel as they are only as a component's whole ``data``. Inside a dict they would become text, and arrays
there are wrapped in tables that the browser has to take apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

ALIGNMENT = 4
TYPES = {np.dtype(np.float32): "f4", np.dtype(np.uint8): "u1"}


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The length of the header (4 bytes, little-endian), the header, then the arrays, each at a multiple of 4 bytes.

    The header gets a field ``arrays``: the type (``f4`` or ``u1``), offset (from the end of the header) and length of each.
    """
    body: list[bytes] = []
    table, offset = {}, 0
    for name, array in arrays.items():
        content = _padded(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        table[name] = [TYPES[array.dtype], offset, int(array.size)]
        body.append(content)
        offset += len(content)
    text = _padded(json.dumps({**header, "arrays": table}, separators=(",", ":"), allow_nan=False).encode(), b" ")
    return b"".join([len(text).to_bytes(4, "little"), text, *body])


def _padded(content: bytes, filler: bytes = b"\0") -> bytes:
    return content + filler * (-len(content) % ALIGNMENT)
