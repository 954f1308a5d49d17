"""The YAML of a pipeline: what it may hold, and what is refused before anything runs."""

import pytest
from pydantic import BaseModel

from martensite.core.errors import ConfigError, ThreatError
from martensite.pipeline import Pipeline, example, load_pipeline


def test_the_digits_example_parses():
    plan = example()
    assert plan.name == "digits"
    assert plan.data.source == "digits"
    assert {method.kind for method in plan.attack} == {"fgsm", "pgd"}
    assert plan.harden.objective.kind == "pgd_at"
    assert plan.harden.objective.mix == 0.5
    assert plan.certify.method.kind == "smoothing"
    # Robustness is to rise in a run; that it doesn't fall is a question about a released model.
    assert [name for name, value in plan.gate.model_dump().items() if value is None] == ["max_robust_drop"]


def test_a_plan_survives_its_own_record(plan):
    again = Pipeline.parse(plan.model_dump(mode="json"))
    assert again == plan
    assert again.digest == plan.digest


def test_the_digest_follows_every_key(plan):
    for name, field in Pipeline.model_fields.items():
        value = getattr(plan, name)
        other = {
            "name": "other",
            "mean": (0.5,),
            "std": (0.5,),
            "attack": plan.attack[:1],
        }.get(name, value + 1 if isinstance(value, int) else None)
        if isinstance(value, BaseModel):
            default = field.default if isinstance(field.default, BaseModel) else None
            other = default if default not in (None, value) else _changed(value)
        assert plan.model_copy(update={name: other}).digest != plan.digest, name


def _changed(part):
    values = part.model_dump()
    key = next(key for key, value in values.items() if isinstance(value, str | float | int) and key != "kind")
    return part.model_copy(update={key: "changed" if isinstance(values[key], str) else values[key] + 1})


def test_numbers_are_read_as_fractions_and_powers(plan):
    assert plan.threat.eps == 0.1
    assert plan.train.lr == 0.01


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("threat:", "thret:", "no key 'thret'.*did you mean 'threat'"),
        ("norm: linf, eps", "norm: linf, epsilon: 0.1, eps", "epsilon"),
        ("eps: 1/10", "eps: 0", "eps is 0.*greater than 0"),
        ("eps: 1/10", "eps: -0.1", "eps is -0.1"),
        ("eps: 1/10", "eps: 8", "eps is 8 in the box.*8/255"),
        ("eps: 1/10", "eps: 1/0", "eps is '1/0'"),
        ("eps: 1/10", "eps: .nan", "eps is nan"),
        ("eps: 1/10", "eps: .inf", "eps is inf"),
        ("eps: 1/10", "eps: ten", "eps is 'ten'"),
        ("norm: linf", "norm: l3", "norm is 'l3'"),
        ("kind: small_cnn", "kind: smal_cnn", "no architecture 'smal_cnn'.*did you mean 'small_cnn'"),
        ("width: 4", "widht: 4", "no key 'widht'.*did you mean 'width'"),
        ("width: 4", "width: 0", "width is 0"),
        ("width: 4", "width: 4.5", "width is 4.5"),
        ("attack: [fgsm", "attack: [fgms", "no attack 'fgms'.*did you mean 'fg.*fgsm"),
        ("attack: [fgsm, {kind: pgd, steps: 3}]", "attack: [{kind: pgd, stesp: 3}]", "no key 'stesp'.*did you mean 'steps'"),
        ("attack: [fgsm, {kind: pgd, steps: 3}]", "attack: [3]", "3 is no attack"),
        ("kind: pgd_at", "kind: pdg_at", "no objective 'pdg_at'.*did you mean 'pgd_at'"),
        ("kind: smoothing", "kind: smothing", "no certifier 'smothing'.*did you mean 'smoothing'"),
        ("sigma: 0.2", "sigma: 0", "sigma is 0"),
        ("suite: {name: two", "suite: standrd #", "no suite 'standrd'.*did you mean 'standard'"),
        ("suite: {name: two", "suite: nowhere.yaml #", "nowhere.yaml can't be read"),
        ("gate: {min", "gate: {mni", "no key 'mni_clean_accuracy'.*did you mean 'min_clean_accuracy'"),
        ("min_clean_accuracy: 0", "min_clean_accuracy: 20", "min_clean_accuracy is 20"),
        ("name: tiny", "name: ../../etc", "name is '../../etc'"),
        ("name: tiny", "name: ''", "name is ''"),
        ("name: tiny", "nmae: tiny", "no key 'nmae'"),
        ("name: tiny", "", "lacks 'name'"),
        ("seed: 3", "seed: -1", "seed is -1"),
        ("seed: 3", "seed: 1.5", "seed is 1.5"),
        ("seed: 3", "seed: 3\nseed: 4", "'seed' is given twice"),
        ("epochs: 3, batch_size: 16, lr: 1e-2}\nattack", "epochs: 0}\nattack", "epochs is 0"),
        ("lr: 1e-2}\nattack", "lr: 0}\nattack", "lr is 0"),
        ("limit: 18", "limit: 0", "limit is 0"),
        ("name: tiny", "name: [tiny", "not valid YAML"),
        ("name: tiny", "name: !!python/object/apply:os.system [true]", "not valid YAML"),
    ],
)
def test_mistakes_are_named(old, new, expected, yaml):
    assert old in yaml
    with pytest.raises((ConfigError, ThreatError), match=f"(?s){expected}"):
        Pipeline.from_yaml(yaml.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "tiny"])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(ConfigError, match="a mapping of keys is needed"):
        Pipeline.from_yaml(text)


def test_a_suite_file_becomes_part_of_the_plan(yaml, tmp_path):
    """So that a run can't go on with other attacks than it began with."""
    suite = tmp_path / "mine.yaml"
    source = yaml[: yaml.index("suite:")] + f"suite: {suite}\n"
    suite.write_text("name: mine\nattacks: [fgsm]\n")
    before = Pipeline.from_yaml(source)
    assert before.suite.attacks[0].kind == "fgsm"
    suite.write_text("name: mine\nattacks: [pgd]\n")
    assert Pipeline.from_yaml(source).digest != before.digest


def test_constraints_are_a_part_of_the_threat_model(yaml):
    threat = yaml[yaml.index("threat:") :].split("\n")[0]
    plan = Pipeline.from_yaml(yaml.replace(threat, "threat: {norm: l2, eps: 1/2, constraints: {levels: 17, fixed: ['0:8']}}"))
    assert plan.threat.constraints.immutable == tuple(range(8))
    assert Pipeline.parse(plan.model_dump(mode="json")) == plan
    assert plan.digest != Pipeline.from_yaml(yaml).digest


def test_a_pipeline_file_is_read(yaml, tmp_path, plan):
    (tmp_path / "plan.yaml").write_text(yaml)
    assert load_pipeline(tmp_path / "plan.yaml") == plan
    with pytest.raises(ConfigError, match=r"nowhere\.yaml can't be read"):
        load_pipeline(tmp_path / "nowhere.yaml")
