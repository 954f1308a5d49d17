"""Bad input: exit code 2, one line with value, rule and remedy, no traceback, nothing written."""

import json
import os
import pickle
from importlib import import_module

import numpy as np
import pytest
import torch

# Words of the command line, and what the message must hold: the value, and the way out.
CASES = {
    # the attack and its settings
    "unknown attack": ("attack hard --attack pdg", ["there is no attack 'pdg'", "did you mean 'pgd'"]),
    "unknown setting": ("attack hard --set stesp=3", ["PGD has no key 'stesp'", "did you mean 'steps'"]),
    "no setting": ("attack hard --set steps", ["'steps' is no setting", "--set steps=100"]),
    "setting twice": ("attack hard --set steps=3 --set steps=4", ["steps is 3 already"]),
    "kind as a setting": ("attack hard --attack pgd --set kind=fgsm", ["kind is 'pgd' already"]),
    "setting of a wrong type": ("attack hard --set steps=many", ["PGD.steps is 'many'"]),
    "setting out of range": ("attack hard --set steps=0", ["PGD.steps is 0", "greater than 0"]),
    "setting that is no YAML": ("attack hard --set steps=[1", ["not valid YAML"]),
    "unknown objective": ("harden hard --objective pdg_at --out q", ["there is no objective 'pdg_at'", "did you mean 'pgd_at'"]),
    "recipe and objective": ("harden hard --out q --recipe fast --objective trades", ["leave one of them out"]),
    "unknown recipe": ("harden hard --out q --recipe fats", ["there is no recipe 'fats'", "did you mean 'fast'"]),
    "missing recipe": ("harden hard --out q --recipe no.yaml", ["no.yaml can't be read"]),
    "setting of no objective": ("harden hard --out q --set mxi=0.1", ["'mxi'", "did you mean 'mix'"]),
    "setting of the objective": ("harden hard --out q --objective trades --set bta=1", ["no key 'bta'", "did you mean 'beta'"]),
    "rate twice": ("harden hard --out q --lr 0.1 --set settings.lr=0.2", ["--lr 0.1 and --set settings.lr=0.2", "give one"]),
    "rate of a phase twice": ("harden hard --out q --lr 0.1 --set 1.settings.lr=0.2", ["--lr 0.1 and --set 1.settings.lr=0.2"]),
    "epochs twice": ("harden hard --out q --epochs 1 --set settings.epochs=3", ["--epochs 1 and --set settings.epochs=3"]),
    "epochs and updates": ("harden hard --out q --epochs 1 --set least_updates=3", ["--epochs 1 and --set least_updates=3"]),
    "epochs and updates of a phase": (
        "harden hard --out q --recipe fast --set 2.least_updates=3 --set settings.epochs=1",
        ["--set 2.least_updates=3 and --set settings.epochs=1"],
    ),
    "batch size twice": ("harden hard --out q --batch-size 4 --set settings.batch_size=8", ["--batch-size 4 and --set settings"]),
    "guards twice": (
        "harden hard --out q --guard none --set settings.guards=null",
        ["--guard none and --set settings.guards=null"],
    ),
    "log into a folder": ("train mlp --out q --epochs 1 --log csv:pictures", ["pictures can't be written"]),
    "log below a file": ("harden hard --out q --epochs 1 --log csv:data.npz/log", ["data.npz/log can't be written"]),
    "setting of the training": ("harden hard --out q --set settings.epoch=1", ["'epoch'", "did you mean 'epochs'"]),
    "setting of a missing phase": ("harden hard --out q --set 3.mix=0.1", ["of phase 3", "count from 1"]),
    "surrogates for nobody": ("harden hard --out q --surrogate hard", ["only ensemble_at"]),
    "ensemble_at alone": ("harden hard --out q --objective ensemble_at", ["has no surrogates", "--surrogate"]),
    "unknown guard": ("harden hard --out q --guard divergance", ["no guard 'divergance'", "did you mean 'divergence'"]),
    "no guard and a guard": ("harden hard --out q --guard none --guard divergence", ["none stands alone"]),
    "floor that is no fraction": ("harden hard --out q --floor 97", ["floor is 97", "less than 1"]),
    "floor above the start": ("harden nets.py:make --eps 0.1 --out q --floor 0.99 --epochs 1", ["0.99"]),
    "unknown log": ("harden hard --out q --log tsv:f", ["there is no log 'tsv'", "csv"]),
    "log without a place": ("train mlp --out q --log csv", ["says not where to"]),
    "architecture's parameter": ("train mlp --out q --set hiden=[3]", ["no key 'hiden'", "did you mean 'hidden'"]),
    "parameter of what is there": ("train hard --out q --set hidden=[3]", ["for a new architecture"]),
    "sweep of one point": ("sweep hard --out q --objective pgd_at", ["1 point(s)", "at least two"]),
    "sweep with an unknown objective": ("sweep hard --out q --objective tades", ["did you mean 'trades'"]),
    "sweep over what no objective has": ("sweep hard --out q --values bta=1,3", ["'bta'", "did you mean 'beta'"]),
    "sweep over values out of range": ("sweep hard --out q --values mix=0,2", ["mix is 2", "less than 1"]),
    "sweep over no eps": ("sweep hard --out q --train-eps 0.1,x", ["'x'", "--train-eps 0.1,8/255"]),
    "sweep over eps 0": ("sweep hard --out q --train-eps 0", ["'0'", "above 0"]),
    "sweep over too large an eps": ("sweep hard --out q --train-eps 0.1,8", ["eps is 8 in the box [0, 1]"]),
    "sweep with a floor above the start": ("sweep nets.py:make --eps 0.1 --out q --min-clean 0.99", ["0.99", "lower floor"]),
    "sweep with a setting twice": ("sweep hard --out q --lr 0.1 --set lr=1", ["lr is 0.1 already"]),
    "sweep with a batch size twice": ("sweep hard --out q --batch-size 8 --set batch_size=9", ["batch_size is 8 already"]),
    "sweep with epochs as a setting": ("sweep hard --out q --set epochs=3", ["give --epochs"]),
    "sweep with an unknown setting": ("sweep hard --out q --set schedul=cosine", ["did you mean 'schedule'"]),
    "sweep into another folder": ("sweep hard --out pictures", ["pictures is not empty and holds no sweep"]),
    "unknown suite": ("evaluate hard --suite quik --out q", ["there is no suite 'quik'", "did you mean 'quick'"]),
    "missing suite": ("evaluate hard --suite no.yaml", ["no.yaml can't be read"]),
    "unknown certifier": ("certify hard --method smoothin", ["there is no certifier 'smoothin'", "did you mean 'smoothing'"]),
    "too few noisy copies": ("certify hard --n 3", ["n is 3", "sigma 0.25. no", "give n of at least 14"]),
    "no noise": ("certify hard --sigma 0", ["sigma is 0"]),
    "alpha": ("certify hard --alpha 2", ["alpha is 2"]),
    "radius": ("certify hard --radius 0", ["radius is 0", "positive"]),
    "radii": ("certify hard --radii 0.1;0.2", ["--radii is '0.1;0.2'", "commas"]),
    "falling radii": ("certify hard --radii 0.2,0.1", ["(0.2, 0.1)", "radii rise"]),
    "a setting given twice": ("certify hard --n 100 --set n=50", ["--set n=50", "--n is 100 already"]),
    "unknown test": ("certify hard --test sequentiel", ["sequentiel", "'sequential'"]),
    "no key for it": ("certify hard --method patch_smoothing --n 100", ["no key 'n'"]),
    "noise of no width": ("certify hard --method uniform_smoothing", ["lacks 'width'"]),
    "bounds without a threat model": ("certify nets.py:make --method crown", ["no --eps was given"]),
    "an eps for smoothing": ("certify hard --eps 0.1", ["--eps was given with smoothing", "certifies radii"]),
    "a sandwich of smoothing": ("certify hard --sandwich pgd", ["--sandwich pgd was given with smoothing"]),
    "bounds in l0": ("certify hard --method ibp --norm l0 --eps 2", ["the threat model is l0"]),
    "a property of a bundle": ("certify hard --property p.vnnlib", ["--property was given with hard", "a .onnx file"]),
    "a property that isn't there": ("certify net.onnx --property p.vnnlib", ["net.onnx can't be read"]),
    "noise for bounds": ("certify hard --method crown --eps 0.1 --sigma 0.5", ["LinearBounds has no key 'sigma'"]),
    "more pixels than there are": ("certify hard --method ablation --set keep=100", ["keep is 100", "64 pixels"]),
    "radius out of reach": ("certify hard --radius 3 --n 1000", ["radius is 3"]),
    # the threat model
    "no eps": ("attack baseline", ["no --eps was given", "--eps 8/255"]),
    "batch size 0": ("attack hard --batch-size 0", ["batch_size is 0", "1 to 2,147,483,647 samples"]),
    "batch size that is none": ("attack hard --batch-size few", ["--batch-size few", "a number of samples, or auto"]),
    "unknown precision": ("attack hard --precision half", ["precision is 'half'", "float32 or bfloat16"]),
    "target that is no class": ("attack hard --target 7", ["--target 7", "3 classes"]),
    "no seconds": ("attack hard --seconds 0", ["seconds is 0"]),
    "no surrogate there": ("attack hard --surrogate nowhere", ["nowhere does not exist"]),
    "store that is a file": ("attack hard --store w.pth", ["'w.pth' is a file"]),
    "eps 0": ("attack hard --eps 0", ["eps is 0", "greater than 0"]),
    "negative eps": ("attack hard --eps -0.1", ["eps is -0.1"]),
    "eps larger than the box": ("attack hard --eps 8", ["eps is 8 in the box [0, 1]", "write 8/255"]),
    "l2 eps larger than the box": ("attack hard --norm l2 --eps 9", ["eps is 9 (l2)", "further apart than 8"]),
    "eps that is no number": ("attack hard --eps ten", ["eps is 'ten'", "number"]),
    "eps divided by 0": ("attack hard --eps 8/0", ["eps is '8/0'"]),
    "infinite eps": ("attack hard --eps inf", ["eps is 'inf'"]),
    "unknown norm": ("attack hard --norm linff --eps 0.1", ["norm is 'linff'", "'linf'"]),
    "norm without eps": ("attack hard --norm l2", ["no --eps was given"]),
    "norm the attack lacks": ("attack hard --attack fgsm --norm l2 --eps 0.1", ["fgsm does not support l2", "linf"]),
    "missing constraints": ("attack hard --constraints no.yaml", ["no.yaml can't be read"]),
    "constraints of another size": (
        "evaluate hard --constraints names.yaml",
        ["name 2 features and inputs have 64", "mend names="],
    ),
    "unknown constraint": (
        "harden hard --constraints typo.yaml --out q",
        ["Constraints has no key 'fixd'", "did you mean 'fixed'"],
    ),
    "unknown feature": ("attack hard --constraints feature.yaml", ["there is no feature 'agee'", "did you mean 'age'"]),
    "relation that can't be read": ("attack hard --constraints strict.yaml", ["'x0 < x1'", "write <= or >="]),
    "clean inputs that break constraints": (
        "attack hard --constraints dirty.yaml",
        ["clean inputs break", "'x0 == 2 * x1 + 0.01'"],
    ),
    "training data that break constraints": ("harden hard --constraints dirty.yaml --out q", ["clean inputs break"]),
    # the model
    "missing bundle": ("attack nowhere --eps 0.1", ["nowhere does not exist", "bundle folder"]),
    "folder that is no bundle": ("attack pictures --eps 0.1", ["pictures/model.json can't be read"]),
    "file that is no bundle": ("attack w.safetensors --eps 0.1", ["w.safetensors is a file", "--weights"]),
    "pickle as model": ("attack w.pth --eps 0.1", ["w.pth is a file", "looks like a pickle", "weights_only=True"]),
    "pickle as weights": ("attack nets.py:make --weights w.pth --eps 0.1", ["w.pth", "looks like a pickle", "save_file"]),
    "weights of another module": ("attack nets.py:make --weights other.safetensors --eps 0.1", ["doesn't fit", "1.weight"]),
    "missing weights": ("attack nets.py:make --weights no.safetensors --eps 0.1", ["no.safetensors can't be read"]),
    "weights for a bundle": ("attack hard --weights w.safetensors --eps 0.1", ["a bundle holds its weights"]),
    "weights for an architecture": ("train mlp --weights w.safetensors --out q", ["leave --weights out"]),
    "onnx": ("attack model.onnx --eps 0.1", ["model.onnx"]),
    "http": ("attack http://localhost:1/v2/models/m --eps 0.1", ["did not answer"]),
    "unknown architecture": ("train smal_cnn --out q", ["smal_cnn does not exist", "did you mean 'small_cnn'"]),
    "no such factory": ("attack nets.py:mke --eps 0.1", ["nets.py has no function 'mke'"]),
    "factory that is no function": ("attack nets.py:number --eps 0.1", ["has no function 'number'"]),
    "no such module": ("attack nests:make --eps 0.1", ["nests can't be imported", "path/file.py"]),
    "no such file": ("attack nests.py:make --eps 0.1", ["nests.py does not exist"]),
    "file with a syntax error": ("attack broken.py:make --eps 0.1", ["broken.py raised SyntaxError", "--debug"]),
    "factory that fails": ("attack nets.py:fails --eps 0.1", ["fails() of nets.py raised KeyError: 'no such thing'"]),
    "factory that exits": ("attack nets.py:exits --eps 0.1", ["raised SystemExit"]),
    "factory with an argument": ("attack nets.py:needs --eps 0.1", ["needs() of nets.py raised TypeError", "without arguments"]),
    "factory of nothing": ("attack nets.py:nothing --eps 0.1", ["nothing() returned NoneType"]),
    "wrong output shape": ("attack nets.py:wrong_shape --eps 0.1", ["shape (2, 5)", "(2, 3) is needed"]),
    "wrong output shape, evaluate": ("evaluate nets.py:wrong_shape --eps 0.1", ["shape (2, 5)"]),
    "wrong output shape, certify": ("certify nets.py:wrong_shape", ["shape (2, 5)"]),
    "wrong output shape, harden": ("harden nets.py:wrong_shape --eps 0.1 --out q", ["shape (2, 5)"]),
    "wrong input shape": ("attack nets.py:wrong_input --eps 0.1", ["can't take an input of shape (1, 8, 8)"]),
    "wrong input shape, certify": ("certify nets.py:wrong_input", ["can't take an input of shape (1, 8, 8)"]),
    "a tuple for logits": ("attack nets.py:a_tuple --eps 0.1", ["returns tuple", "return the logits only"]),
    "classes for logits": ("attack nets.py:classes_not_scores --eps 0.1", ["returns torch.int64"]),
    "NaN logits": ("attack nets.py:nan --eps 0.1", ["NaN or infinite logits for 2 of 2"]),
    "infinite logits": ("evaluate nets.py:inf --eps 0.1", ["NaN or infinite logits"]),
    "NaN logits, certify": ("certify nets.py:nan", ["NaN or infinite logits"]),
    "fewer classes than labels": ("attack nets.py:few --eps 0.1", ["labels range over 0..2 with 2 classes"]),
    "fewer classes than labels, evaluate": ("evaluate nets.py:few --eps 0.1", ["0..2 with 2 classes"]),
    "fewer classes than labels, certify": ("certify nets.py:few", ["0..2 with 2 classes"]),
    "fewer classes than labels, harden": ("harden nets.py:few --eps 0.1 --out q", ["3 classes and the model 2"]),
    "a model of another box": ("attack nets.py:boxed --eps 0.1", ["box [-1.0, 1.0]", "box=(0.0, 1.0)"]),
    "a model that no bundle holds": ("train nets.py:a_tuple --out q", ["returns tuple"]),
    "an architecture that doesn't fit": ("train resnet18 --data data.csv --out q", ["inputs of shape (6,)", "'mlp'"]),
    # the data
    "unknown data": ("attack hard --data digist", ["there is no data source 'digist'", "did you mean 'digits'"]),
    "missing data": ("attack hard --data no.npz", ["no.npz doesn't exist"]),
    "unknown split": ("attack hard --split tset", ["there is no split 'tset'", "did you mean 'test'"]),
    "unknown label": ("train mlp --data data.csv --label knid --out q", ["no column 'knid'", "did you mean 'kind'"]),
    "label of what is no table": ("attack hard --label y", ["label", "CSV"]),
    "features outside the box": ("train mlp --data wide.csv --out q", ["ranges over", "minmax"]),
    "data of another shape": ("attack hard --data data.csv", ["can't take an input of shape (6,)"]),
    # the places to write to
    "out that is no bundle": ("train mlp --out pictures", ["pictures exists and is no bundle"]),
    "out that is no bundle, harden": ("harden hard --out run", ["run exists and is no bundle"]),
    "out that is a file": ("train mlp --out w.pth", ["w.pth exists and is no bundle"]),
    "out of evaluate that is a file": ("evaluate hard --out w.pth", ["'w.pth' is a file"]),
    "out of attack that is a folder": ("attack hard --out pictures", ["'pictures' is a directory"]),
    "checkpoint that is a folder": ("train mlp --out q --resume pictures", ["'pictures' is a directory"]),
    "checkpoint that is none": ("train mlp --out q --resume w.pth", ["w.pth is no checkpoint"]),
    "out below a file": ("train mlp --out w.pth/q", ["w.pth/q can't be written", "choose another path"]),
    "learning rate": ("train mlp --out q --lr -1", ["lr is -1"]),
    # reports
    "missing report": ("gate nowhere --min-clean-accuracy 0.5", ["nowhere can't be read"]),
    "report that is none": ("gate hard/model.json --min-clean-accuracy 0.5", ["model.json"]),
    "report that is no JSON": ("report w.pth", ["w.pth is not JSON"]),
    "folder without a report": ("report pictures", ["pictures/report.json can't be read"]),
    "no threshold": ("gate run", ["no threshold was given", "--min-robust-accuracy 0.5"]),
    "threshold in percent": ("gate run --min-clean-accuracy 90", ["min_clean_accuracy is 90"]),
    "threshold that is no number": ("gate run --min-clean-accuracy nan", ["min_clean_accuracy is nan"]),
    "policy and thresholds": ("gate run --policy policy.yaml --min-clean-accuracy 0.5", ["both --policy and thresholds"]),
    "policy with an unknown key": ("gate run --policy suite.yaml", ["Thresholds has no key"]),
    "missing policy": ("gate run --policy no.yaml", ["no.yaml can't be read"]),
    "no baseline": ("gate after --max-clean-drop 0.1", ["no baseline report", "--baseline"]),
    # the pipeline
    "missing pipeline": ("run no.yaml --out q", ["no.yaml can't be read"]),
    "pipeline that is none": ("run nets.py --out q", ["nets.py"]),
    "another suite for a pipeline": ("run suite.yaml --out q", ["Pipeline has no key 'attacks'"]),
    "a foreign out": ("run tiny.yaml --out pictures", ["pictures is not empty and holds no run", "another --out"]),
    "another run in out": ("run tiny.yaml --out run --seed 4", ["run holds another run (it differs in: seed)"]),
    "a file as out": ("run tiny.yaml --out w.pth", ["w.pth is a file"]),
}


def refused(result, expected):
    assert result.code == 2, result.err
    assert not result.out
    lines = result.err.splitlines()
    assert lines[-1].startswith("martensite: ")
    assert "Traceback" not in result.err
    assert not [line for line in lines[:-1] if line.startswith("martensite: ")]
    for part in expected:
        assert part in lines[-1]


def words(line):
    given = line.split()
    takes_data = given[0] in ("train", "harden", "sweep", "attack", "evaluate", "certify") and "--data" not in given
    return [*given, "--data", "data.npz"] if takes_data else given


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_line(case, here, call, unchanged):
    line, expected = CASES[case]
    refused(call(*words(line)), expected)
    unchanged()


@pytest.mark.parametrize("case", ["unknown attack", "missing bundle", "another run in out", "factory that fails"])
def test_bad_input_with_json_is_one_document(case, here, call_json, unchanged):
    line, expected = CASES[case]
    result = call_json(*words(line))
    assert result.code == 2
    assert not result.err
    assert set(result.document) == {"error"}
    assert set(result.document["error"]) == {"value", "rule", "remedy"}
    assert expected[0] in result.document["error"]["value"]
    unchanged()


@pytest.mark.parametrize("case", ["unknown attack", "missing bundle", "factory that fails", "file with a syntax error"])
@pytest.mark.parametrize("first", [True, False])
def test_debug_shows_the_traceback(case, first, here, call):
    line, expected = CASES[case]
    given = words(line)
    result = call(*(["--debug", *given] if first else [*given, "--debug"]))
    assert result.code == 2
    assert "Traceback (most recent call last)" in result.err
    assert expected[0] in result.err.splitlines()[-1]


def test_debug_shows_where_a_factory_failed(here, call):
    result = call("attack", "nets.py:fails", "--data", "data.npz", "--eps", "0.1", "--debug")
    assert 'raise KeyError("no such thing")' in result.err


# Data that can't be used, in every command that takes data

TAKING_DATA = (
    "attack hard",
    "evaluate hard --out q",
    "certify hard --out q.json",
    "train mlp --out q",
    "harden hard --out q",
    "sweep hard --out q",
)


def spoil(how, x, y, path):
    """Writes a data file that is wrong in one way; gives what the message must hold."""
    values = {"NaN": np.nan, "infinity": np.inf}
    if how in values:
        x[5, 0, 3, 3] = values[how]
        expected = ["holds NaN or infinity in 1 of 90 samples", "drop or repair"]
    elif how == "normalised":
        x, expected = (x - 0.4) / 0.2, ["outside the box [0, 1]", "let the Classifier normalise inside", "mean= and std="]
    elif how == "0 to 255":
        x, expected = x * 255, ["outside the box [0, 1]", "divide 8-bit values by 255"]
    elif how == "negative label":
        y[0], expected = -1, ["labels range over -1..2"]
    elif how == "fractional labels":
        y, expected = y + 0.5, ["y is float64", "integers (n,)"]
    elif how == "one-hot labels":
        y, expected = np.eye(3, dtype=np.int64)[y], ["(90, 3)", "argmax(1)"]
    elif how == "one label short":
        y, expected = y[:-1], ["shape (89,) for 90 inputs"]
    elif how == "empty":
        x, y, expected = x[:0], y[:0], ["shape (0, 1, 8, 8)", "at least one sample"]
    elif how == "objects":
        x, expected = x.astype(object), ["Python objects", "pickle", "plain arrays"]
    elif how == "other names":
        np.savez(path, images=x, labels=y)
        return ["holds the arrays images, labels", "np.savez(FILE, x=x, y=y)"]
    np.savez(path, x=x, y=y)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
        expected = ["is no .npz file, or a truncated one"]
    elif how == "corrupted":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        expected = ["truncated or corrupted"]
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"x": x, "y": y}))
        expected = ["is no .npz file", "pickle"]
    return ["bad.npz", *expected]


HOWS = (
    "NaN, infinity, normalised, 0 to 255, negative label, fractional labels, one-hot labels, one label short, empty, objects, "
    "other names, truncated, corrupted, pickle"
)


@pytest.mark.parametrize("how", HOWS.split(", "))
def test_data_that_cannot_be_used(how, here, images, call):
    expected = spoil(how, *images(), here / "bad.npz")
    before = sorted(here.rglob("*"))
    for line in TAKING_DATA:
        refused(call(*line.split(), "--data", "bad.npz"), expected)
    (here / "bad.yaml").write_text((here / "tiny.yaml").read_text().replace("data.npz", "bad.npz"))
    refused(call("run", "bad.yaml", "--out", "q"), expected)
    assert not list((here / "q").glob("stages/*"))
    assert sorted(path for path in here.rglob("*") if path.relative_to(here).parts[0] not in ("q", "bad.yaml")) == before


def test_a_label_that_the_model_has_no_output_for(here, images, call):
    x, y = images()
    y[7] = 3
    np.savez(here / "four.npz", x=x, y=y)
    for line in TAKING_DATA:
        if line.startswith("train"):
            continue
        refused(
            call(*line.split(), "--data", "four.npz"),
            ["4 classes" if "harden" in line or "sweep" in line else "0..3 with 3 classes"],
        )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty"),
        ("a,b,kind\n", "a header and no rows"),
        ("a,b,kind\n0.1,0.2,0\n0.1,1\n", "row 3 has 2 cells"),
        ("a,b,kind\n0.1,x,0\n0.1,0.2,1\n", "column 'b' holds 'x'"),
        ("a,b,kind\n0.1,nan,0\n0.1,0.2,1\n", "column 'b' holds 'nan'"),
        ("a,b,kind\n0.1,0.2,0.5\n0.1,0.2,1\n", "a label is 0.5"),
        ("\x00\x01", "bad.csv"),
    ],
)
def test_tables_that_cannot_be_used(content, expected, here, call):
    (here / "bad.csv").write_text(content)
    refused(call("train", "mlp", "--data", "bad.csv", "--out", "q"), ["bad.csv", expected])


def test_pictures_that_cannot_be_used(here, call):
    (here / "pictures/kind1/3.png").write_bytes((here / "pictures/kind1/4.png").read_bytes()[:40])
    refused(call("attack", "hard", "--data", "pictures"), ["kind1/3.png can't be decoded"])
    (here / "pictures/kind1/3.png").unlink()
    (here / "pictures/kind9").mkdir()
    refused(call("attack", "hard", "--data", "pictures"), ["kind9 holds no image"])
    (here / "nothing").mkdir()
    refused(call("attack", "hard", "--data", "nothing"), ["nothing has 0 subfolders"])


# Bundles and reports that someone altered


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "altered"])
@pytest.mark.parametrize("line", ["attack hard", "evaluate hard", "certify hard", "harden hard --out q", "train hard --out q"])
def test_bundles_that_cannot_be_used(file, how, line, here, call):
    path = here / "hard" / file
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        altered = content.replace(b'"classes": 3', b'"classes": 4') if file == "model.json" else content[:-1] + b"x"
        path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "altered": altered}[how])
    refused(call(*line.split(), "--data", "data.npz"), ["hard"])
    assert not (here / "q").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"hardened": 1}', "[" * 99999, '{"seed": NaN}', "\x80\x04"])
@pytest.mark.parametrize("command", ["gate", "report"])
def test_reports_that_cannot_be_used(content, command, here, call, unchanged):
    (here / "run/report.json").write_text(content)
    before = (here / "run/report.html").read_bytes()
    more = ("--min-clean-accuracy", "0.5") if command == "gate" else ()
    refused(call(command, "run", *more), [])
    assert (here / "run/report.html").read_bytes() == before


def test_a_certification_report_is_not_judged(here, call):
    assert call("certify", "hard", "--data", "data.npz", "--n", 50, "--out", "c.json").code == 0
    refused(call("gate", "c.json", "--min-clean-accuracy", "0.5"), [])


# What is found only after the model was loaded must not cost a training run


@pytest.mark.parametrize(
    "line", ["train nets.py:own --out q", "harden nets.py:own --eps 0.1 --out q", "train mlp --out pictures"]
)
def test_what_cannot_be_saved_is_not_trained(line, here, call, monkeypatch):
    with (here / "nets.py").open("a") as file:
        file.write(
            "\n\ndef own():\n    class Own(nn.Module):\n        def __init__(self):\n            super().__init__()\n"
            "            self.line = nn.Linear(64, 3)\n\n        def forward(self, x):\n"
            "            return self.line(x.flatten(1))\n\n    return Own()\n"
        )

    def trained(*arguments, **more):
        raise AssertionError("training began")

    for place in ("harden", "phases"):
        monkeypatch.setattr(import_module(f"martensite.training.{place}"), "fit", trained)
    refused(call(*line.split(), "--data", "data.npz"), ["bundle"])


# A disk that is full


@pytest.mark.parametrize(
    "line",
    [
        "train mlp --out q --epochs 1",
        "harden hard --out q --epochs 1",
        "attack hard --out q.st",
        "evaluate hard --suite quick --out q",
        "certify hard --n 50 --samples 2 --out q.json",
        "report run --out q.html",
    ],
)
def test_a_full_disk_leaves_nothing_half_written(line, here, call, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    monkeypatch.setattr(os, "fsync", full)
    result = call(*words(line))
    assert result.code == 2
    assert "No space left on device" in result.err
    assert "Traceback" not in result.err
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file() and "pycache" not in str(path)} == before


def test_an_interruption_is_not_an_error_of_ours(here, call, call_json, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("martensite.evaluation.evaluate", interrupted)
    result = call("evaluate", "hard", "--data", "data.npz")
    assert result.code == 130
    assert result.err == "martensite: interrupted. nothing half-written was left.\n"
    assert call_json("evaluate", "hard", "--data", "data.npz").document["error"]["value"] == "interrupted"


def test_a_bug_of_ours_says_so(here, call, monkeypatch):
    def buggy(*arguments, **more):
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("martensite.evaluation.evaluate", buggy)
    result = call("evaluate", "hard", "--data", "data.npz")
    assert result.code == 70
    assert result.err == "martensite: ZeroDivisionError: one two. this is a bug in Martensite. --debug shows where.\n"


def test_errors_survive_a_terminal_that_knows_no_unicode(here, call, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    refused(call("attack", "hérd", "--data", "data.npz"), ["hérd does not exist"])


def test_reports_are_json_without_nan(here, call_json):
    """A model that errs everywhere, or nowhere, still makes a document that any parser takes."""
    result = call_json("attack", "hard", "--data", "data.npz", "--eps", "1", "--samples", "5")
    json.dumps(result.document, allow_nan=False)
    assert torch.tensor(result.document["robust_accuracy"]["value"]).isfinite()
