"""What the README promises in code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae import decode_images, load_test_data, open_run, traverse
from vae.device import to_unit

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_five_lines_for_a_notebook_load_encode_traverse_and_plot() -> None:
    (section,) = re.findall(r"## From a notebook\n(.*?)\n## ", README.read_text("utf-8"), re.DOTALL)
    code = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    assert len(code.splitlines()) == 5
    *statements, last = ast.parse(code).body
    assert isinstance(last, ast.Expr), "a notebook shows the value of the last line"
    shown_last = ast.copy_location(ast.Assign([ast.Name("shown_last", ast.Store())], last.value), last)
    names: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(ast.Module([*statements, shown_last], [])), str(README), "exec"), names)

    run = open_run("fashion-mnist")
    model, encodings = run.load_model(), run.load_encodings()
    z = model.encode(to_unit(torch.tensor(load_test_data(run).images[:1]))).mean[0]
    strongest = int(np.argmax(encodings.kl_per_dimension))
    expected = decode_images(model, traverse(z, strongest, torch.linspace(-3, 3, 9)).numpy())
    shown = np.stack([trace.z for trace in names["shown_last"].data])
    np.testing.assert_allclose(shown, expected[:, 0], atol=1e-5)
    assert np.abs(expected[0] - expected[-1]).max() > 0.5, "the plot shows a change"
