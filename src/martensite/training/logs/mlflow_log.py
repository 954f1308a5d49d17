"""MLflow: one run, one metric a figure, recoveries as tags."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from martensite.core.errors import ConfigError, StorageError
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
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise ConfigError("mlflow is not installed", "this log needs it", "pip install 'martensite[mlflow]'") from error
        try:
            client = MlflowClient(tracking_uri=self.to)
            known = client.get_experiment_by_name(self.experiment)
            experiment = client.create_experiment(self.experiment) if known is None else known.experiment_id
            run = client.create_run(experiment).info.run_id
        except MlflowException as error:
            raise ConfigError(f"mlflow can't write to {self.to}: {error}", remedy="give a tracking server's address") from error
        except OSError as error:  # of a store that is a folder
            raise StorageError(
                f"mlflow can't write to {self.to}: {error}", remedy="give a place that can be written to"
            ) from None

        def write(event: Event) -> None:
            place = event.stage if event.unit == "epoch" else f"{event.stage}/{event.unit}"
            try:
                for name, value in event.metrics.items():
                    # With a stroke, "loss" would be a figure and a folder in MLflow's file store.
                    client.log_metric(run, f"{place}/{name.replace('/', '.')}", value, step=event.done)
                if event.message:
                    client.set_tag(run, f"{place}/{event.done}", event.message)
            except (MlflowException, OSError) as error:
                raise StorageError(
                    f"mlflow can't write to {self.to}: {error}",
                    "a run whose figures are lost is no record",
                    "mend the server, or go on from the checkpoint without the log",
                ) from error

        status = "FAILED"
        try:
            yield write
            status = "FINISHED"
        finally:
            client.set_terminated(run, status)
