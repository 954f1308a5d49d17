"""Logs: every figure of a run, once, also when the run was killed and went on."""

import csv
import sys
from functools import partial

import pytest

from martensite.attacks import FGSM, PGD
from martensite.core.errors import ConfigError, StorageError
from martensite.core.events import Event
from martensite.training import TrainingSettings, fit, harden, train
from martensite.training.logs import LOGS, CSVLog, MLflowLog, TensorBoardLog, read_log
from martensite.training.objectives import PGDAT

SETTINGS = TrainingSettings(epochs=3, batch_size=32, validation_attack=PGD(steps=2), validate_updates=2, save_updates=1)
EVENTS = [
    Event("harden", 1, 2, "epoch", {"loss": 0.5, "loss/clean": 0.25}),
    Event("harden", 3, 8, "update", {}, "back to batch 2"),
    Event("harden", 2, 2, "epoch", {"loss": 0.125, "robust": 0.75}),
]


class Killed(BaseException):
    """Like Ctrl-C."""


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_row_an_event_with_the_parts_of_the_loss(tools, data, validation, threat, tmp_path):
    file, heard = tmp_path / "deep" / "log.csv", []
    result = fit(
        tools.make_model(), data, validation, PGDAT(attack=FGSM()), SETTINGS, threat=threat, log=CSVLog(to=str(file)),
        listener=heard.append,
    )  # fmt: skip
    table = rows(file)
    assert [(row["unit"], int(row["done"])) for row in table] == [(event.unit, event.done) for event in heard]
    epochs = [row for row in table if row["unit"] == "epoch"]
    assert [float(row["robust"]) for row in epochs] == [epoch.robust for epoch in result.history]
    for row in epochs:
        assert float(row["loss"]) == pytest.approx((float(row["loss/clean"]) + float(row["loss/adversarial"])) / 2)
    assert float(epochs[-1]["lr"]) == result.history[-1].lr


@pytest.mark.parametrize("kill", range(1, 7))
def test_after_a_kill_the_log_is_that_of_an_undisturbed_run(kill, tools, data, validation, threat, tmp_path):
    def run(name, **options):
        log = CSVLog(to=str(tmp_path / name))
        fit(tools.make_model(), data, validation, PGDAT(attack=FGSM()), SETTINGS, threat=threat, log=log, **options)

    heard = []

    def killer(event):
        heard.append(event)
        if len(heard) == kill:
            raise Killed

    run("whole.csv")
    with pytest.raises(Killed):
        run("killed.csv", checkpoint=tmp_path / "checkpoint", listener=killer)
    run("killed.csv", checkpoint=tmp_path / "checkpoint")
    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()


@pytest.mark.parametrize("place", ["", "file/log.csv"])
@pytest.mark.parametrize("kind", ["train", "harden"])
def test_a_place_that_cannot_be_written_to_is_known_before_the_first_update(
    kind, place, tools, data, validation, threat, tmp_path
):
    (tmp_path / "file").write_text("")
    log, heard, model = CSVLog(to=str(tmp_path / place)), [], tools.make_model("counted")
    run = train if kind == "train" else partial(harden, threat=threat)
    with pytest.raises(StorageError, match="can't be written"):
        run(model, data, validation=validation, epochs=1, listener=heard.append, log=log)
    assert not heard
    assert model.net.count.backwards == 0


def test_by_name(tools, data, validation, tmp_path):
    assert read_log("csv:a/b:c.csv") == CSVLog(to="a/b:c.csv")
    assert read_log("tensorboard:runs") == TensorBoardLog(to="runs")
    assert read_log("mlflow:http://host:5000") == MLflowLog(to="http://host:5000")
    with pytest.raises(ConfigError, match="did you mean 'csv'"):
        read_log("cvs:log")
    with pytest.raises(ConfigError, match="where to"):
        read_log("csv")
    assert LOGS.names() == ["csv", "mlflow", "tensorboard"]


@pytest.mark.parametrize(("log", "extra"), [(TensorBoardLog(to="x"), "tensorboard"), (MLflowLog(to="x"), "mlflow")])
def test_without_its_package_the_error_names_the_extra(log, extra, monkeypatch, tools, data, validation):
    for module in ("torch.utils.tensorboard", "tensorboard", "mlflow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"martensite\[{extra}\]"):
        train(tools.make_model(), data, validation, epochs=1, log=log)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # an earlier attempt at the run counts no more
        with TensorBoardLog(to=str(tmp_path)).opened() as write:
            for event in EVENTS:
                write(event)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"), TensorBoardLog(to=str(tmp_path / "file")).opened():
        pass
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(point.step, point.value) for point in board.Scalars("harden/loss")] == [(1, 0.5), (2, 0.125)]
    assert [(point.step, point.value) for point in board.Scalars("harden/loss/clean")] == [(1, 0.25)]
    messages = board.Tensors("harden/update/message/text_summary")
    assert {(message.step, *message.tensor_proto.string_val) for message in messages} == {(3, b"back to batch 2")}


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the store that needs no server
    address = f"file:{tmp_path}"
    with MLflowLog(to=address, experiment="test").opened() as write:
        for event in EVENTS:
            write(event)
    client = mlflow.MlflowClient(tracking_uri=address)
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "harden/loss")] == [
        (1, 0.5),
        (2, 0.125),
    ]
    assert run.data.tags["harden/update/3"] == "back to batch 2"
    assert run.info.status == "FINISHED"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    with pytest.raises(ConfigError, match="tracking server"), MLflowLog(to=f"{address}/other").opened():
        pass
