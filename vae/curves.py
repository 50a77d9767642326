"""The curves of a training for TensorBoard, which is an optional extra and imported only when it is asked for."""

from __future__ import annotations

from pathlib import Path

from vae.train import Epoch, Step


class CurvesError(ValueError):
    """TensorBoard was asked for and isn't installed; the message says how to install it."""


def check_tensorboard() -> None:
    """Make sure that there is a TensorBoard to write for.

    Raises:
        CurvesError: it isn't installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise CurvesError("--tensorboard needs TensorBoard, which isn't installed: python -m pip install tensorboard") from None


class Curves:
    """Writes events into a folder: losses in nats per image (lower is better) over the gradient steps."""

    def __init__(self, folder: Path, step: int) -> None:
        """``step`` steps are done; what an earlier training wrote of later ones is no longer shown."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder, purge_step=step + 1)

    def add(self, event: Step | Epoch) -> None:
        """Write the batch's loss after a step, all that was measured after an epoch."""
        if isinstance(event, Step):
            self._write("negative_elbo/batch", -event.batch.elbo, event.step)
            return
        for split, means in (("train", event.train), ("validation", event.validation)):
            self._write(f"negative_elbo/{split}", -means.elbo, event.step)
            self._write(f"reconstruction/{split}", -means.reconstruction, event.step)
            self._write(f"kl/{split}", means.kl, event.step)
        for name in ("active_units", "learning_rate", "beta", "gradient_norm", "images_per_second"):
            self._write(name, float(getattr(event, name)), event.step)
        self._writer.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()

    def _write(self, tag: str, value: float, step: int) -> None:
        self._writer.add_scalar(tag, value, step)
