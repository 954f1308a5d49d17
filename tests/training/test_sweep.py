"""Sweeps: grids and budgets, Pareto fronts against brute force, successive halving, resumption, refusals."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.attacks import PGD, attack
from martensite.core.errors import ArtifactError, ConfigError, ModelError, RunError, ThreatError
from martensite.core.rng import derive
from martensite.threat import ThreatModel
from martensite.training import TrainingSettings, train
from martensite.training.objectives import FGSMAT, PGDAT, TRADES
from martensite.training.sweep import Outcome, Point, SweepPlan, front, grid, sweep
from martensite.training.sweep import run as sweep_run
from martensite.training.sweep.outcome import better, choose, ranking

QUICK = TrainingSettings(batch_size=32, lr=5e-3, validation_attack=PGD(steps=2), guards=None)


def outcome(clean, robust, cost=1.0, **more):
    point = Point(eps=0.1, objective=PGDAT())
    return Outcome(point=point, rung=0, epochs=1, clean=clean, robust=robust, cost=cost, seconds=0.0, **more)


@pytest.fixture
def plan():
    points = grid([0.04, 0.08], [FGSMAT(), PGDAT(attack=PGD(steps=2))])
    return SweepPlan(points=points, epochs=4, rungs=3, eta=2, settings=QUICK)


@pytest.fixture(scope="module")
def start(tools, data, validation):
    return train(tools.make_model(), data, validation, settings=TrainingSettings(epochs=10, batch_size=32, lr=1e-2)).model


# grids and budgets


def test_a_grid_gives_each_objective_the_values_that_it_has():
    points = grid([0.1, 0.2], ["pgd_at", TRADES()], {"mix": [0.0, 0.5], "beta": [1, 3.0, 6.0]})
    assert len(points) == 2 * (2 + 3)
    assert [point.objective.mix for point in points if point.objective.kind == "pgd_at"] == [0.0, 0.5] * 2
    assert [point.objective.beta for point in points if point.objective.kind == "trades"] == [1.0, 3.0, 6.0] * 2
    assert grid([0.1, 0.1], ["pgd_at"]) == grid([0.1], ["pgd_at"])


def test_a_label_says_what_differs_from_the_default():
    assert str(Point(eps=0.1, objective=PGDAT())) == "pgd_at eps 0.1"
    assert str(Point(eps=8 / 255, objective=TRADES(beta=1.0))) == "trades(beta=1) eps 0.03137"
    assert str(Point(eps=0.1, objective=PGDAT(mix=0.0, attack=PGD(steps=7)))) == "pgd_at(mix=0, attack=pgd-7) eps 0.1"


def test_a_parameter_that_an_objective_must_have_may_come_with_the_values():
    points = grid([0.1], ["multi_norm", "pgd_at"], {"others": [{"l2": "1/5"}, {"l2": 0.3, "l1": 2}]})
    assert [getattr(point.objective, "others", None) for point in points] == [{"l2": 0.2}, {"l2": 0.3, "l1": 2.0}, None]
    assert str(points[1]) == "multi_norm(others=l2-0.3+l1-2) eps 0.1"
    (given,) = grid([0.1], [{"kind": "multi_norm", "steps": 3}], {"others": [{"l2": 0.2}]})
    assert given.objective.steps == 3
    with pytest.raises(ConfigError, match="lacks 'others'"):
        grid([0.1], ["multi_norm"])


@pytest.mark.parametrize(
    ("points", "epochs", "rungs", "eta", "budgets", "running"),
    [
        (8, 8, 3, 2, (2, 4, 8), (8, 4, 2)),
        (9, 9, 5, 3, (1, 3, 9), (9, 3, 1)),
        (27, 9, 3, 3, (1, 3, 9), (27, 9, 3)),
        (2, 100, 5, 2, (50, 100), (2, 1)),
        (8, 1, 3, 2, (1,), (8,)),
        (5, 7, 2, 2, (3, 7), (5, 3)),
        (5, 7, 1, 2, (7,), (5,)),
    ],
)
def test_budgets(points, epochs, rungs, eta, budgets, running):
    made = SweepPlan(points=grid([k / 100 for k in range(1, points + 1)], ["pgd_at"]), epochs=epochs, rungs=rungs, eta=eta)
    assert made.budgets == budgets
    assert made.running == running


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SweepPlan(points=grid([0.1], ["pgd_at"])), "at least two"),
        (lambda: SweepPlan(points=grid([0.1], ["pgd_at"]) * 2), "is there twice"),
        (lambda: grid([0.1], ["pgd_at"], {"mxi": [0.1]}), "did you mean 'mix'"),
        (lambda: grid([0.1], ["pgd_at"], {"mix": [1.5]}), "less than 1"),
        (lambda: grid([0.1], ["pgd_ta"]), "did you mean 'pgd_at'"),
        (lambda: grid([-0.1], ["pgd_at"]), "greater than 0"),
        (lambda: SweepPlan(points=grid([0.1, 0.2], ["pgd_at"]), eta=1), "greater than or equal to 2"),
        (lambda: SweepPlan(points=grid([0.1, 0.2], ["pgd_at"]), min_clean=1.0), "less than 1"),
    ],
)
def test_plans_that_mean_nothing_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()


# fronts and choices

RATES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=8)


@given(RATES)
@settings(deadline=None, max_examples=200)
def test_the_front_is_what_brute_force_finds(rates):
    made = [outcome(clean / 4, robust / 4, float(cost)) for clean, robust, cost in rates]
    expected = []
    for k, (clean, robust, cost) in enumerate(rates):
        beaten = [c >= clean and r >= robust and p <= cost and (c, r, p) != (clean, robust, cost) for c, r, p in rates]
        if not any(beaten):
            expected.append(k)
    assert list(front(made)) == expected


@given(RATES, st.sampled_from([None, 0.25, 0.75]))
@settings(deadline=None, max_examples=200)
def test_the_choice_is_most_robust_above_the_floor_and_the_ranking_keeps_it_first_but_for_its_layer(rates, floor):
    made = [outcome(clean / 4, robust / 4, float(cost)) for clean, robust, cost in rates]
    chosen, reason = choose(made, floor)
    above = [one for one in made if one.clean >= (floor or 0)]
    assert (chosen is None) == (not above)
    order = ranking(made, floor)
    assert sorted(order) == list(range(len(made)))
    if chosen is not None:
        assert made[chosen].robust == max(one.robust for one in above)
        assert made[order[0]].robust == made[chosen].robust
        assert f"{made[chosen].robust:.3f}" in reason
    # Nobody stands before one who is above the floor while it is under it.
    assert [made[k].clean >= (floor or 0) for k in order] == sorted((one.clean >= (floor or 0) for one in made), reverse=True)


def test_failures_come_last_and_are_never_chosen():
    made = [outcome(0.0, 0.0, failure="diverged"), outcome(0.5, 0.1), outcome(0.9, 0.0)]
    assert ranking(made, 0.8) == [2, 1, 0]
    assert choose(made, 0.8)[0] == 2
    assert front(made) == (1, 2)
    assert choose(made[:1], None) == (None, "training failed at every point; the first: diverged")


def test_without_a_point_above_the_floor_the_closest_is_named():
    chosen, reason = choose([outcome(0.9, 0.3), outcome(0.95, 0.1)], 0.97)
    assert chosen is None
    assert "0.97" in reason
    assert "0.950 clean" in reason


def test_of_equals_the_cleaner_then_the_cheaper_is_chosen():
    assert choose([outcome(0.9, 0.5, 1.0), outcome(0.95, 0.5, 9.0)], None)[0] == 1
    assert choose([outcome(0.9, 0.5, 2.0), outcome(0.9, 0.5, 1.0)], None)[0] == 0 + 1


@pytest.mark.parametrize(
    ("before", "now", "floor", "kept"),
    [
        ((0.9, 0.5), (0.9, 0.4), None, 0),
        ((0.9, 0.5), (0.8, 0.6), None, 1),
        ((0.9, 0.5), (0.8, 0.6), 0.85, 0),
        ((0.7, 0.6), (0.8, 0.5), 0.85, 1),
        ((0.9, 0.5), (0.9, 0.5), None, 1),
    ],
)
def test_the_better_rung_counts_with_the_cost_of_both(before, now, floor, kept):
    rungs = (outcome(*before), outcome(*now, 3.0).model_copy(update={"rung": 1, "kept": 1, "epochs": 4}))
    one = better(*rungs, floor)
    assert (one.clean, one.robust) == (before, now)[kept]
    assert (one.rung, one.kept, one.epochs, one.cost) == (1, kept, 4, 3.0)


def test_a_rung_that_fails_takes_nothing_away():
    failed = outcome(0.0, 0.0, failure="diverged").model_copy(update={"rung": 1, "kept": 1})
    one = better(outcome(0.9, 0.5, 2.0), failed, None)
    assert (one.clean, one.robust, one.rung, one.kept, one.cost, one.failure) == (0.9, 0.5, 1, 0, 2.0, "")
    assert one.stopped
    assert one.verdict == "rung 1 failed, the weights are those of rung 0: diverged"
    assert better(None, failed, None) == failed


# the run


def test_poor_points_stop_early_and_the_rest_is_judged_at_the_sweeps_eps(start, data, validation, threat, plan, tmp_path, tools):
    before, events = tools.weights(start), []
    result = sweep(plan, start, data, threat, tmp_path / "s", validation, listener=events.append, seed=3)
    assert plan.budgets == (1, 2, 4)
    assert sorted(one.epochs for one in result.outcomes) == [1, 1, 2, 4]
    assert sorted(one.stopped for one in result.outcomes) == [False, True, True, True]
    assert all(one.epochs == 4 for one in result.outcomes if not one.stopped)
    best = result.outcomes[result.chosen]
    again = attack(QUICK.validation_attack, result.model, validation.x, validation.y, threat, seed=derive(3, "validation"))
    assert best.clean == pytest.approx(float(again.correct.float().mean()))
    assert best.robust == pytest.approx(float(again.robust.float().mean()))
    assert result.chosen in result.front
    assert tools.same(tools.weights(start), before)
    told = [event for event in events if event.stage == "sweep"]
    assert [event.done for event in told] == list(range(1, 8))
    assert {event.total for event in told} == {4 + 2 + 1}
    json.dumps(result.record(), allow_nan=False)


def test_a_point_costs_what_its_passes_say(start, data, validation, threat, tmp_path):
    plan = SweepPlan(points=grid([0.04, 0.08], [FGSMAT()]), epochs=2, rungs=1, settings=QUICK)
    one = sweep(plan, start, data, threat, tmp_path / "s", validation).outcomes[0]
    # Two passes for the search and two for the update, a sample and epoch; validation with PGD-2 comes on top.
    training = 2 * 4 * len(data) / (2 * len(data))
    validations = 3 * (1 + 2 * 2 + 2) * len(validation) / (2 * len(data))
    assert training < one.cost <= training + validations


class Killed(BaseException):
    pass


@pytest.mark.parametrize("when", [1, 3, 6, 9])
def test_a_killed_sweep_ends_the_same(start, data, validation, threat, plan, tmp_path, tools, when):
    def listener(event):
        seen.append(event)
        if len(seen) == when:
            raise Killed

    seen = []
    whole = sweep(plan, start, data, threat, tmp_path / "whole", validation)
    with pytest.raises(Killed):
        sweep(plan, start, data, threat, tmp_path / "cut", validation, listener=listener)
    again = sweep(plan, start, data, threat, tmp_path / "cut", validation)
    timeless = [one.model_copy(update={"seconds": 0.0}) for one in whole.outcomes]
    assert timeless == [one.model_copy(update={"seconds": 0.0}) for one in again.outcomes]
    assert (whole.chosen, whole.front) == (again.chosen, again.front)
    assert tools.same(tools.weights(whole.model), tools.weights(again.model))
    left = {path.name for path in (tmp_path / "cut").rglob("*") if path.is_file()}
    assert not any("checkpoint" in name or name.endswith(".tmp") for name in left)


def test_what_a_kill_left_beside_finished_work_is_cleared_away(finished, start, data, validation, tmp_path):
    plan, folder = finished
    mine = tmp_path / "s"
    shutil.copytree(folder, mine)
    before = {path.relative_to(mine) for path in mine.rglob("*")}
    (mine / "points/01/.rung-0.json.x.tmp").write_text("half")
    (mine / "points/00/checkpoint-0.safetensors").write_bytes(b"killed after the outcome was written")
    for staged in (".model.a1.tmp", ".model.a1.old"):  # of the bundle that the command writes at the end
        (mine / staged).mkdir()
        (mine / staged / "model.safetensors").write_bytes(b"half")
    sweep(plan, start, data, ThreatModel(eps=0.08), mine, validation)
    assert {path.relative_to(mine) for path in mine.rglob("*")} == before


def test_a_finished_sweep_is_read_and_not_repeated(start, data, validation, threat, plan, tmp_path):
    first = sweep(plan, start, data, threat, tmp_path / "s", validation)
    events = []
    second = sweep(plan, start, data, threat, tmp_path / "s", validation, listener=events.append)
    assert first.outcomes == second.outcomes  # seconds included
    assert {event.stage for event in events} == {"sweep"}


def test_a_point_that_diverges_is_a_failure_and_not_the_end(start, data, validation, threat, tmp_path):
    points = (Point(eps=0.04, objective=FGSMAT()), Point(eps=0.08, objective=FGSMAT()))
    wild = QUICK.model_copy(update={"optimiser": "sgd", "lr": 1e30})
    plan = SweepPlan(points=points, epochs=2, rungs=2, settings=wild)
    result = sweep(plan, start, data, threat, tmp_path / "s", validation)
    assert all("diverged" in one.failure or "NaN" in one.failure for one in result.outcomes)
    assert (result.chosen, result.front, result.model) == (None, (), None)
    assert "failed at every point" in result.reason


@pytest.fixture
def spoiled(monkeypatch):
    """Sets what becomes of the trainings of the last two rungs: ``"fails"``, or ``"worse"``, weights that know nothing."""
    fit = sweep_run.fit

    def set_to(how):
        def spoilt(*given, **more):
            if more["stage"] == "sweep/0":
                return fit(*given, **more)
            if how == "fails":
                raise ModelError("the loss became NaN", "training diverged", "lower lr")
            result = fit(*given, **more)
            for parameter in result.model.parameters():
                parameter.data.zero_()
            return result

        monkeypatch.setattr(sweep_run, "fit", spoilt)

    return set_to


@pytest.mark.parametrize("how", ["worse", "fails"])
def test_a_point_is_what_its_best_rung_made_of_it(how, start, data, validation, threat, plan, tmp_path, spoiled):
    short = plan.model_copy(update={"epochs": 1})
    first = sweep(short, start, data, threat, tmp_path / "first", validation)
    spoiled(how)
    result = sweep(plan, start, data, threat, tmp_path / "s", validation)
    for one, early in zip(result.outcomes, first.outcomes, strict=True):
        assert (one.clean, one.robust, one.kept) == (early.clean, early.robust, 0)
        assert one.failure == ""
        assert (one.cost > early.cost) == (how == "worse" and one.rung > 0)
        assert ("rung 1 failed" in one.verdict) == (how == "fails" and one.rung > 0)
    assert max(one.rung for one in result.outcomes) == (2 if how == "worse" else 1)
    assert all(one.stopped for one in result.outcomes) == (how == "fails")
    best = result.outcomes[result.chosen]
    assert best.robust == max(one.robust for one in first.outcomes)
    again = attack(QUICK.validation_attack, result.model, validation.x, validation.y, threat, seed=derive(0, "validation"))
    assert (best.clean, best.robust) == pytest.approx((float(again.correct.float().mean()), float(again.robust.float().mean())))
    assert sweep(plan, start, data, threat, tmp_path / "s", validation).outcomes == result.outcomes


# refusals


def test_a_floor_above_the_start_is_refused_before_anything_is_written(tools, data, validation, threat, plan, tmp_path):
    high = plan.model_copy(update={"min_clean": 0.9999})
    with pytest.raises(ConfigError, match=r"0\.9999 and the model starts at") as caught:
        sweep(high, tools.make_model(), data, threat, tmp_path / "s", validation)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "s").exists()


def test_an_eps_that_does_not_fit_is_refused_before_anything_is_written(start, data, validation, threat, plan, tmp_path):
    wide = plan.model_copy(update={"points": (*plan.points, Point(eps=1.5, objective=PGDAT()))})
    with pytest.raises(ThreatError, match=r"eps is 1\.5"):
        sweep(wide, start, data, threat, tmp_path / "s", validation)
    assert not (tmp_path / "s").exists()


@pytest.fixture(scope="module")
def finished(start, data, validation, tmp_path_factory):
    plan = SweepPlan(points=grid([0.04, 0.08], [FGSMAT()]), epochs=1, settings=QUICK)
    folder = tmp_path_factory.mktemp("finished") / "s"
    sweep(plan, start, data, ThreatModel(eps=0.08), folder, validation)
    return plan, folder


def test_another_sweeps_directory_is_refused(finished, start, data, validation, tmp_path):
    plan, folder = finished
    for change, key in [
        (lambda: sweep(plan, start, data, ThreatModel(eps=0.09), folder, validation), "threat"),
        (lambda: sweep(plan, start, data, ThreatModel(eps=0.08), folder, validation, seed=1), "seed"),
        (lambda: sweep(plan.model_copy(update={"epochs": 2}), start, data, ThreatModel(eps=0.08), folder, validation), "plan"),
    ]:
        with pytest.raises(RunError, match=rf"differs in: {key}"):
            change()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("")
    for place in ("other", "file"):
        with pytest.raises(RunError):
            sweep(plan, start, data, ThreatModel(eps=0.08), tmp_path / place, validation)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 40, b'{"clean": 2}'])
@pytest.mark.parametrize("name", ["rung-0.json", "rung-0.safetensors"])
def test_damaged_files_are_named_with_the_remedy(finished, start, data, validation, tmp_path, name, content):
    plan, folder = finished
    mine = tmp_path / "s"
    shutil.copytree(folder, mine)
    for point in ("00", "01"):
        (mine / "points" / point / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=name) as caught:
        sweep(plan, start, data, ThreatModel(eps=0.08), mine, validation)
    assert "delete" in caught.value.remedy


@pytest.mark.parametrize("place", [-1, 100, 8])
def test_weights_that_were_altered_are_refused(finished, start, data, validation, tmp_path, place):
    plan, folder = finished
    shutil.copytree(folder, mine := tmp_path / "s")
    file = mine / "points" / "01" / "rung-0.safetensors"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"01/rung-0\.safetensors isn't what rung-0\.json was written for") as caught:
        sweep(plan, start, data, ThreatModel(eps=0.08), mine, validation)
    assert "delete" in caught.value.remedy
    shutil.rmtree(file.parent)
    again = sweep(plan, start, data, ThreatModel(eps=0.08), mine, validation)
    assert again.chosen == sweep(plan, start, data, ThreatModel(eps=0.08), folder, validation).chosen


def test_two_processes_do_not_work_on_one_sweep(finished, start, data, validation):
    import fcntl

    plan, folder = finished
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(RunError, match="in use"):
            sweep(plan, start, data, ThreatModel(eps=0.08), folder, validation)
