"""Where the figures of a run are written to, one backend a file."""

from martensite.training.logs.csv_log import CSVLog
from martensite.training.logs.log import LOGS, Log, following, read_log
from martensite.training.logs.mlflow_log import MLflowLog
from martensite.training.logs.tensorboard_log import TensorBoardLog

__all__ = ["LOGS", "CSVLog", "Log", "MLflowLog", "TensorBoardLog", "following", "read_log"]
