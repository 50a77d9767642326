"""What the README promises in code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit import config
from streamlit.auth_util import validate_auth_credentials
from streamlit.runtime.secrets import Secrets

from dashboard.permissions import CHANGES_VARIABLE, has_sign_in
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


def test_the_lines_on_signing_in_are_what_streamlit_asks_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (section,) = re.findall(r"### Changes from other machines\n(.*?)\n## ", README.read_text("utf-8"), re.DOTALL)
    assert f"export {CHANGES_VARIABLE}=" in section
    lines = [line.strip() for line in section.splitlines() if line.startswith("        ")]
    auth = tomllib.loads("\n".join(lines))["auth"]
    assert len(lines) <= 10
    (tmp_path / "secrets.toml").write_text("\n".join(lines), "utf-8")
    files = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(tmp_path / "secrets.toml")])
    try:
        monkeypatch.setattr("streamlit.secrets", Secrets())
        assert has_sign_in()
        monkeypatch.setattr("streamlit.auth_util.secrets_singleton", Secrets())
        validate_auth_credentials("default")
    finally:
        config.set_option("secrets.files", files)
    assert auth["redirect_uri"].endswith("/oauth2callback")
