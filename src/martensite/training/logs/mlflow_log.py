"""MLflow: one run, one metric a figure, recoveries as tags."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from martensite.core.errors import ConfigError
from martensite.core.events import Event, Listener
from martensite.training.logs.log import LOGS, Log


@LOGS.register
class MLflowLog(Log):
    """A tracking server or store; ``to`` is its URI. It needs the extra ``mlflow``.

    Args:
        experiment: The experiment that gets the run; it is made if it isn't there.
    """

    kind: Literal["mlflow"] = "mlflow"
    experiment: str = "martensite"

    @contextmanager
    def opened(self) -> Iterator[Listener]:
        """See `Log.opened`; a resumed training is a new MLflow run, which holds the figures from the start."""
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise ConfigError("mlflow is not installed", "this log needs it", "pip install 'martensite[mlflow]'") from error
        client = MlflowClient(tracking_uri=self.to)
        known = client.get_experiment_by_name(self.experiment)
        run = client.create_run(client.create_experiment(self.experiment) if known is None else known.experiment_id).info.run_id

        def write(event: Event) -> None:
            place = event.stage if event.unit == "epoch" else f"{event.stage}/{event.unit}"
            for name, value in event.metrics.items():
                client.log_metric(run, f"{place}/{name}", value, step=event.done)
            if event.message:
                client.set_tag(run, f"{place}/{event.done}", event.message)

        status = "FAILED"
        try:
            yield write
            status = "FINISHED"
        finally:
            client.set_terminated(run, status)
