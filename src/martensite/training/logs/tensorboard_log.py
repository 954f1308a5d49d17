"""TensorBoard: one scalar a figure, recoveries as text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from martensite.core.errors import ConfigError, StorageError
from martensite.core.events import Event, Listener
from martensite.training.logs.log import LOGS, Log


@LOGS.register
class TensorBoardLog(Log):
    """A folder of event files; ``to`` is its path. It needs the extra ``tensorboard``."""

    kind: Literal["tensorboard"] = "tensorboard"

    @contextmanager
    def opened(self) -> Iterator[Listener]:
        """See `Log.opened`."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "tensorboard is not installed", "this log needs it", "pip install 'martensite[tensorboard]'"
            ) from error
        with _explained(self.to):
            # Whatever an earlier attempt at the run wrote from step 0 on counts no more.
            board = SummaryWriter(self.to, purge_step=0)

        def write(event: Event) -> None:
            place = event.stage if event.unit == "epoch" else f"{event.stage}/{event.unit}"
            with _explained(self.to):
                for name, value in event.metrics.items():
                    board.add_scalar(f"{place}/{name}", value, event.done)
                if event.message:
                    board.add_text(f"{place}/message", event.message, event.done)
                board.flush()

        try:
            yield write
        finally:
            with _explained(self.to):
                board.close()


@contextmanager
def _explained(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder} can't be written: {error.strerror or error}", "tensorboard needs a folder", "choose another place"
        ) from None
