"""What there is to choose in a configuration: each field with its kind, range, unit and help, read from the dataclass."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import threading
import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from vae.config import ModelConfig, TrainConfig, field_range

Kind = Literal["whole", "number", "switch", "choice", "list"]

UNITS = {
    "epochs": "epochs",
    "batch_size": "images",
    "hidden": "units",
    "finest": "channels",
    "latent": "dimensions",
    "widths": "channels",
    "free_bits": "nats a dimension",
    "warmup_epochs": "epochs",
    "patience": "epochs",
}
"""What a number counts, where it counts something."""


@dataclass(frozen=True)
class Option:
    """One field of a configuration that a person may set."""

    name: str
    kind: Kind
    """``list`` is one or more whole numbers."""
    default: Any
    help: str
    """The first paragraph of what stands below the field in its class."""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    """The range of a number, both ends allowed; None where there is none."""
    choices: tuple[Any, ...] = ()
    is_optional: bool = False
    """Whether it may be None."""

    @property
    def title(self) -> str:
        """The name as a person reads it, with the unit."""
        words = " ".join("EMA" if part == "ema" else part for part in self.name.split("_"))
        return f"{words[:1].upper()}{words[1:]}" + (f" ({self.unit})" if self.unit and not words.endswith(self.unit) else "")


def list_options(kind: type[ModelConfig | TrainConfig]) -> tuple[Option, ...]:
    """The options of a kind of configuration, in the order of its fields; not what the data set says (the image's shape).

    Raises:
        TypeError: a field of a type that no form knows.
    """
    plain: type = kind
    helps, hints = _documented(plain), get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if get_origin(hint) is Annotated and tyro.conf.Suppress in get_args(hint):
            continue
        found.append(_option(kind, field, hint, helps.get(field.name, "")))
    return tuple(found)


def _option(kind: type[ModelConfig | TrainConfig], field: dataclasses.Field[Any], hint: Any, text: str) -> Option:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    (plain,) = (part for part in parts if part is not type(None))
    low, high = field_range(kind, field.name) or (None, None)
    choices = get_args(plain) if get_origin(plain) is Literal else ()
    kinds: dict[Any, Kind] = {int: "whole", float: "number", bool: "switch", tuple[int, ...]: "list"}
    if not choices and plain not in kinds:
        raise TypeError(f"{kind.__name__}.{field.name}: no form knows the type {hint}")
    return Option(
        name=field.name,
        kind="choice" if choices else kinds[plain],
        default=field.default,
        help=text,
        unit=UNITS.get(field.name, ""),
        low=low,
        high=high,
        choices=choices,
        is_optional=len(parts) > 1,
    )


_parsing = threading.Lock()
"""Held while Python parses: Python 3.11 raises `SystemError` where two threads (two visitors) parse at once."""


@cache
def _documented(kind: type) -> dict[str, str]:
    """The text below each field of a class. NOTE: Python forgets it, so it is read from the source, as tyro does."""
    with _parsing:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    found = {}
    assert isinstance(tree, ast.ClassDef)
    for node, below in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            text = inspect.cleandoc(str(below.value.value)).partition("\n\n")[0]
            found[node.target.id] = " ".join(text.split())
    return found
