"""The InferenceService against a closed schema of what KServe's documentation has, and its words against our own command."""

import json
from importlib.resources import files

import pytest
import yaml

from martensite.cli.main import main
from martensite.core.errors import ConfigError
from martensite.serving.kserve import KServe

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = json.loads((files("martensite.serving") / "kserve.schema.json").read_text())
GIVEN = {"name": "digits", "image": "registry/m:1", "storage": "s3://models/digits", "trust": "trust", "keys": "api-keys"}


def check(document):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


@pytest.mark.parametrize(
    "more",
    [{}, {"namespace": "ml"}, {"canary": 10}, {"replicas": (0, 1)}, {"cpu": "500m", "memory": "1.5Gi"}, {"storage": "pvc://m/x"}],
)
def test_it_is_valid(more):
    check(KServe(**{**GIVEN, **more}).manifest())


def test_the_schema_would_notice():
    document = KServe(**GIVEN).manifest()
    for path, value in (
        (("kind",), "Service"),
        (("spec", "predictor", "canaryTraffic"), 10),
        (("spec", "predictor", "containers", 0, "name"), "predictor"),
        (("spec", "predictor", "containers", 0, "readinessProbe", "httpGet", "port"), "8080"),
        (("spec", "predictor", "volumes", 0, "hostPath"), {"path": "/"}),
    ):
        broken = json.loads(json.dumps(document))
        place = broken
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            check(broken)


@pytest.mark.parametrize(
    "wrong", [{"name": "Digits"}, {"name": "a" * 64}, {"storage": "/models"}, {"canary": 101}, {"bundle": "../x"}, {"trust": ""}]
)
def test_what_kubernetes_would_refuse_is_refused_here(wrong):
    with pytest.raises(ConfigError):
        KServe(**{**GIVEN, **wrong})


def test_its_words_are_understood_by_serve(tmp_path, monkeypatch, yard):
    """The container's arguments, with the mounted places replaced, give the server that was meant."""
    from martensite.serving.access import Keys

    words = KServe(**GIVEN).manifest()["spec"]["predictor"]["containers"][0]["args"]
    Keys().save(tmp_path / "keys.yaml")
    places = {"/mnt/models/model": yard.folder / "one", "/etc/martensite/trust/trust.yaml": yard.folder / "trust.yaml",
              "/etc/martensite/keys/keys.yaml": tmp_path / "keys.yaml"}  # fmt: skip
    seen = []
    monkeypatch.setattr("martensite.serving.serve", lambda config, **how: seen.append(config))
    with pytest.raises(SystemExit) as ended:
        main([str(places.get(word, word)) for word in words])
    assert ended.value.code == 0
    (config,) = seen
    assert (config.host, config.port, config.fail) == ("0.0.0.0", 8080, "open-port")
    assert config.models[0].name == "digits"
    assert config.models[0].evidence.policy == "default"
    assert config.access.keys == tmp_path / "keys.yaml"
    assert str(config.access.counts) == "/var/lib/martensite/counts.json"


def test_counts_lie_where_they_can_be_written():
    predictor = KServe(**GIVEN).manifest()["spec"]["predictor"]
    (container,) = predictor["containers"]
    counts = container["args"][container["args"].index("--counts") + 1]
    (mount,) = [one for one in container["volumeMounts"] if counts.startswith(one["mountPath"] + "/")]
    assert "readOnly" not in mount
    assert {"name": mount["name"], "emptyDir": {}} in predictor["volumes"]


def test_the_command_writes_yaml(tmp_path, capsys):
    words = ["deploy", "kserve", "digits", "--image", "i:1", "--storage", "gs://m/d", "--trust", "t", "--keys", "k"]
    for more in ([], ["--out", str(tmp_path / "d.yaml")], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert ended.value.code == 0
        out = capsys.readouterr().out
        text = (tmp_path / "d.yaml").read_text() if "--out" in more else out
        check(yaml.safe_load(text))
        assert "&id" not in text
