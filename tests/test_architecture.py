"""The shape of the house: which way imports run, what is public, and what must never be used."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vae

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "vae").rglob("*.py"), *(ROOT / "dashboard").rglob("*.py")])

ALLOWED: dict[str, set[str]] = {
    **{
        name: set()
        for name in (
            "config",
            "posterior",
            "likelihood",
            "data",
            "device",
            "directions",
            "images",
            "projection",
            "files",
            "palette",
            "drawing",
        )
    },
    "encodings": {"device"},
    "umap": {"device", "projection"},
    "jobs": {"files"},
    "sources": {"data"},
    "archives": {"data", "sources"},
    "folders": {"data", "images", "sources", "archives"},
    "arrays": {"data", "sources", "archives"},
    "parquet": {"data", "images", "sources", "archives"},
    "readers": {"data", "sources", "archives", "folders", "arrays", "parquet"},
    "shapes": {"data", "images", "sources"},
    "survey": {"data", "projection", "shapes"},
    "package": {"data", "files", "shapes", "sources"},
    "pack": {"data", "files", "images", "package", "readers", "shapes", "sources"},
    "preview": {"data", "readers", "shapes", "sources"},
    "staged": {"data", "files", "jobs", "pack"},
    "model": {"config", "posterior", "likelihood"},
    "objective": {"posterior", "likelihood"},
    "latent": {"device", "model"},
    "runs": {"config", "model", "encodings", "files"},
    "distributed": {"device"},
    "curves": {"train"},
    "muon": set(),
    "train": {"config", "model", "muon", "objective", "posterior", "data", "device", "encodings", "distributed"},
    "options": {"config"},
    "history": {"runs"},
    "summary": {"runs", "config", "history", "model"},
    "run_archive": {"runs", "config", "files", "jobs", "data", "archives", "arrays", "model"},
    "timing": {"train", "config", "data", "device"},
    "evaluate": {"runs", "data", "objective", "likelihood", "model", "device", "encodings"},
    "inference": {"objective", "likelihood", "posterior"},
    "single_image": {"device", "inference", "model", "posterior"},
    "annealing": {"inference", "objective", "likelihood", "posterior"},
    "diagnostics": {"device", "encodings", "model", "posterior"},
    "full_evaluation": {
        *("runs", "data", "evaluate", "objective", "model", "device", "encodings", "config", "posterior"),
        *("inference", "annealing", "diagnostics"),
    },
    "signals": {"device", "model", "projection"},
    "verdict": {"signals"},
    "probes": set(),
    "match": {"device", "likelihood", "objective"},
    "judging": {"data", "device", "encodings", "evaluate", "model", "probes", "runs", "signals", "verdict"},
    "svi_training": {"inference", "objective", "model", "device", "config", "posterior"},
    "stopping": set(),
    "svi_run": {"svi_training", "runs", "fit", "evaluate", "data", "model", "config", "judging", "stopping"},
    "fit": {
        *{"train", "runs", "evaluate", "projection", "latent", "config", "curves", "data", "device", "distributed", "model"},
        *{"encodings", "files", "jobs", "judging", "stopping", "umap"},
    },
    "sheets": {"drawing", "latent", "encodings", "model", "device"},
    "tables": {"runs", "config", "data", "encodings"},
    "html_map": {"runs", "config", "data", "encodings", "drawing", "palette"},
    "onnx_export": {"model"},
    "export": {"runs", "config", "evaluate", "files", "latent", "drawing", "sheets", "tables", "html_map", "onnx_export"},
}
OURS = {path.stem for path in (ROOT / "vae").glob("*.py")}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", sorted(OURS - {"__init__", "__main__"}))
def test_imports_run_downward(name: str) -> None:
    found = imported(ROOT / "vae" / f"{name}.py")
    assert "vae" not in found, "the package's own front door is for others"
    assert {module.split(".")[1] for module in found if module.startswith("vae.")} & OURS <= ALLOWED[name]


def test_the_package_knows_nothing_of_the_dashboard() -> None:
    for path in (ROOT / "vae").rglob("*.py"):
        assert not {module.split(".")[0] for module in imported(path)} & {"dashboard", "streamlit"}, path


def test_views_know_neither_torch_nor_each_other() -> None:
    for path in (ROOT / "dashboard").rglob("*.py"):
        found = imported(path)
        assert "torch" not in {module.split(".")[0] for module in found}, path
        if path.parent.name == "views":
            assert not {module for module in found if module.startswith("dashboard.views")}, path
    for name in ("pictures", "search"):
        found = imported(ROOT / "dashboard" / f"{name}.py")
        assert "streamlit" not in {module.split(".")[0] for module in found}


LAZY = """
import sys, threading
before = threading.active_count()
import {module}
assert threading.active_count() == before, threading.enumerate()
heavy = {{"umap", "numba", "sklearn", {extra}}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    ("module", "extra"),
    [("vae", '"streamlit"'), ("dashboard.views.explore", ""), ("dashboard.views.generate", ""), ("dashboard.__main__", "")],
)
def test_importing_does_no_work(module: str, extra: str) -> None:
    subprocess.run([sys.executable, "-c", LAZY.format(module=module, extra=extra)], check=True, cwd=ROOT)


OPENED = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("dashboard/app.py", default_timeout=60).run()
assert not app.exception and app.session_state["visit"].strips is not None
heavy = {"umap", "numba"} & set(sys.modules)
assert not heavy, heavy
"""


def test_opening_the_dashboard_imports_neither_umap_nor_numba() -> None:
    subprocess.run([sys.executable, "-c", OPENED], check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def test_public_names() -> None:
    assert vae.__all__ == sorted(vae.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in vae.__all__:
        assert getattr(vae, name) is not None
    here = {"VAE", "Posterior", "ModelConfig", "TrainConfig", "PRESETS", "elbo", "load_dataset", "open_run", "fit", "train"}
    assert here | {"decode_images", "encode_images", "evaluate", "traverse", "interpolate", "fit_umap", "place"} <= set(
        vae.__all__
    )


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(body: list[ast.stmt]) -> list[Definition]:
    """The classes and functions of a body that don't begin with an underscore."""
    return [node for node in body if isinstance(node, Definition) and not node.name.startswith("_")]


def bare(path: Path) -> set[str]:
    """What is public in a file and has no docstring. Read from the source: a dataclass makes one up when imported, and
    an exception inherits one."""
    tree = ast.parse(path.read_text("utf-8"))
    found = set() if ast.get_docstring(tree) or not tree.body else {"the module"}
    for node in public(tree.body):
        found |= set() if ast.get_docstring(node) else {node.name}
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in public(node.body) if not ast.get_docstring(inner)}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_has_a_docstring(path: Path) -> None:
    for name in bare(path):
        owner, _, method = name.partition(".")
        assert method, f"{path}: {name}"
        kind = getattr(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)), owner)
        above = [vars(base)[method] for base in kind.__mro__[1:] if method in vars(base)]
        ours = [thing for thing in above if thing.__module__.startswith(("vae.", "torch.nn."))]
        assert any(thing.__doc__ for thing in ours), f"{path}: {name} overrides nothing that is documented"


def test_nothing_from_outside_is_executed() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text("utf-8"))
        found = imported(path)
        roots = {module.split(".")[0] for module in found}
        assert not roots & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}, path
        assert not found & {"torch.load", "torch.serialization"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "compile", "torch.load", "os.system", "__import__"}, (
                    f"{path}:{node.lineno}"
                )
                for keyword in node.keywords:
                    risky = keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
                    assert not risky, f"{path}:{node.lineno}"


def test_the_global_random_stream_is_seeded_in_one_place() -> None:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                inside = {call.attr for call in ast.walk(node) if isinstance(call, ast.Attribute)}
                found |= {f"{path.stem}.{node.name}"} if "manual_seed" in inside else set()
    assert found == {"model.build_model", "device.generator_for"}
    assert sum(path.read_text("utf-8").count("manual_seed") for path in SOURCES) == 2
    assert "with torch.random.fork_rng" in inspect.getsource(vae.build_model)


# --- the server ----------------------------------------------------------------------------------------------------


def test_the_configuration_is_the_safe_one() -> None:
    config = tomllib.loads((ROOT / "dashboard" / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["showEmailPrompt"] is False
    assert config["server"]["maxUploadSize"] == 200  # a zip file; a single picture is refused above 20 MB by vae.images
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"


def answers(address: str, port: int) -> bool:
    """Whether something on this machine accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def other_addresses() -> set[str]:
    """Addresses of this machine besides 127.0.0.1: the one it shows to others, and the rest of the loopback block."""
    found = {"127.0.0.2"} if sys.platform.startswith("linux") else set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # a documentation address; a datagram socket that connects sends nothing
        found.add(probe.getsockname()[0])
    return found


def listening(port: int) -> set[str]:
    """The addresses in the kernel's table of sockets that listen at ``port``, in its hexadecimal (Linux)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if fields[3] == "0A" and int(number, 16) == port:
                found.add(address)
    return found


def test_started_from_anywhere_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py")]
    command += [f"--server.port={port}", "--server.headless=true"]
    environment = os.environ | {"HOME": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            while not answers("127.0.0.1", port):
                assert server.poll() is None
            open_elsewhere = {address for address in other_addresses() if answers(address, port)}
            if sys.platform.startswith("linux"):
                assert listening(port) == {"0100007F"}
        finally:
            server.terminate()
    assert open_elsewhere == set()


def test_a_busy_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    from dashboard.__main__ import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 can't be used" in capsys.readouterr().err
    assert main(["--port", "99999"]) == 2
    assert "a port is a number from 1 to 65535, got 99999" in capsys.readouterr().err


def test_make_has_its_targets() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("app", "test", "train", "bench", "soak", "help"):
        assert f"make {target} " in listed
