"""Keys, rates, quotas: what the server knows is a hash, and a clock that the test holds says when."""

import contextlib
import json

import pytest

from martensite.artifacts.moments import read_moment
from martensite.core.errors import ArtifactError, ConfigError
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.serving.gatekeeper import Access, Gatekeeper
from martensite.serving.limits import DAY, Limits
from martensite.serving.refusal import Refusal


def made(name="app", **given):
    token, digest = new_secret(name)
    return token, ApiKey.parse({"name": name, "hashes": [digest], **given})


def bearing(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def door(tmp_path):
    def make(*keys):
        Keys(keys=tuple(keys)).save(tmp_path / "keys.yaml")
        return Gatekeeper(Access(keys=tmp_path / "keys.yaml"))

    return make


def test_a_token_opens_and_the_file_holds_no_secret(door, tmp_path):
    token, key = made()
    assert door(key).admit(bearing(token), "infer", "m").name == "app"
    content = (tmp_path / "keys.yaml").read_text()
    assert token.partition(".")[2] not in content
    assert (tmp_path / "keys.yaml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer mt_app."},
        {"authorization": "Bearer mt_nobody." + "a" * 43},
        {"authorization": "Bearer mt_app." + "a" * 43},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer mt_app.{secret}x"},
        {"authorization": "Bearer mt_other.{secret}"},
    ],
)
def test_anything_else_is_401(door, headers):
    token, key = made()
    _, other = made("other")
    headers = {name: value.replace("{secret}", token.partition(".")[2]) for name, value in headers.items()}
    with pytest.raises(Refusal) as refused:
        door(key, other).admit(headers, "infer")
    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"scopes": ["metadata"]}, 403),
        ({"models": ["other"]}, 403),
        ({"expires": read_moment("2001-01-01")}, 401),
        ({"revoked": read_moment("2001-01-01")}, 401),
    ],
)
def test_a_key_is_good_for_what_it_says(door, given, status):
    token, key = made(**given)
    with pytest.raises(Refusal) as refused:
        door(key).admit(bearing(token), "infer", "m")
    assert refused.value.status == status


def test_rotation_keeps_the_old_token_for_one_round(door, tmp_path):
    first, key = made()
    gate = door(key)
    keys, second = Keys(keys=(key,)).rotated("app", keep=True)
    keys.save(tmp_path / "keys.yaml")
    gate.refresh()
    assert [gate.admit(bearing(token), "infer").name for token in (first, second)] == ["app", "app"]
    keys, third = keys.rotated("app", keep=True)
    keys.save(tmp_path / "keys.yaml")
    gate.refresh()
    assert [gate.admit(bearing(token), "infer").name for token in (second, third)] == ["app", "app"]
    with pytest.raises(Refusal):
        gate.admit(bearing(first), "infer")


def test_a_damaged_file_of_keys_leaves_them_as_they_were(door, tmp_path):
    token, key = made()
    gate = door(key)
    (tmp_path / "keys.yaml").write_text("keys: [")
    assert "stay as they were" in gate.refresh()
    assert gate.admit(bearing(token), "infer")
    with pytest.raises(ConfigError):
        Gatekeeper(Access(keys=tmp_path / "keys.yaml"))


def test_an_open_door_is_for_this_machine_only():
    Access().check("127.0.0.1")
    Access(open=True).check("0.0.0.0")
    with pytest.raises(ConfigError, match="API keys"):
        Access().check("0.0.0.0")


def test_without_keys_nobody_is_an_administrator():
    gate = Gatekeeper(Access())
    assert gate.admit({}, "infer").name == "anyone"
    with pytest.raises(Refusal) as refused:
        gate.admit({}, "admin")
    assert refused.value.status == 403


class Clock:
    now = 1000.0 * DAY

    def __call__(self):
        return self.now


def test_the_rate_is_kept_over_any_while():
    clock = Clock()
    limits, (_, key) = Limits(clock=clock), made(rate=2.0, burst=4)
    taken = []
    for _ in range(100):  # ten seconds, ten requests a second
        clock.now += 0.1
        with contextlib.suppress(Refusal):
            limits.take(key, 1)
            taken.append(clock.now)
    assert len(taken) in (23, 24)  # the burst, and two a second for ten seconds
    assert all(len([t for t in taken if start <= t < start + 3.0]) <= 4 + 2 * 3 for start in taken)


def test_after_retry_after_the_request_is_taken():
    clock = Clock()
    limits, (_, key) = Limits(clock=clock), made(rate=2.0, burst=4)
    limits.take(key, 4)
    with pytest.raises(Refusal) as refused:
        limits.take(key, 3)
    clock.now += refused.value.retry_after
    limits.take(key, 3)
    with pytest.raises(Refusal) as refused:
        limits.take(key, 5)
    assert refused.value.status == 413


def test_the_quota_is_of_a_day_and_survives_a_restart(tmp_path):
    clock, (_, key) = Clock(), made(quota=10)
    limits = Limits(tmp_path / "counts.json", clock)
    limits.take(key, 7)
    limits.save()
    limits = Limits(tmp_path / "counts.json", clock)
    with pytest.raises(Refusal) as refused:
        limits.take(key, 4)
    assert refused.value.retry_after == DAY
    limits.take(key, 3)
    clock.now += DAY
    limits.take(key, 10)


def test_a_clock_that_goes_back_gives_no_quota_back(tmp_path):
    clock, (_, key) = Clock(), made(quota=10)
    limits = Limits(tmp_path / "counts.json", clock)
    limits.take(key, 10)
    clock.now -= DAY
    with pytest.raises(Refusal):
        limits.take(key, 1)
    limits.save()
    with pytest.raises(Refusal):
        Limits(tmp_path / "counts.json", clock).take(key, 1)


def test_a_refused_request_costs_nothing():
    clock = Clock()
    limits, (_, key) = Limits(clock=clock), made(rate=1.0, burst=10, quota=5)
    with pytest.raises(Refusal):
        limits.take(key, 6)  # over the quota
    limits.take(key, 5)


def test_what_is_given_back_is_of_the_quota_and_of_its_own_day():
    clock = Clock()
    limits, (_, key) = Limits(clock=clock), made(rate=1.0, burst=5, quota=5)
    day = limits.take(key, 5)
    limits.give_back(key, 5, day)
    with pytest.raises(Refusal, match="a second"):  # the rate counts attempts
        limits.take(key, 5)
    clock.now += DAY
    limits.take(key, 5)
    limits.give_back(key, 5, day)
    clock.now += 10
    with pytest.raises(Refusal, match="a day"):
        limits.take(key, 1)


def test_counts_that_cannot_be_kept_are_told_of_before_the_first_request(tmp_path):
    (tmp_path / "file").write_text("")
    settings = Access(keys=tmp_path / "keys.yaml", counts=tmp_path / "file" / "counts.json")
    Keys(keys=(made("free")[1],)).save(tmp_path / "keys.yaml")
    door = Gatekeeper(settings)
    assert door.try_counts() == ""  # there is nothing to keep
    Keys(keys=(made("paid", quota=5)[1],)).save(tmp_path / "keys.yaml")
    assert "--counts" in door.refresh()
    assert "begin anew at a restart" in Gatekeeper(settings).try_counts()
    assert Gatekeeper(Access(keys=tmp_path / "keys.yaml")).try_counts() == ""
    assert (tmp_path / "keys.yaml.counts.json").exists()


def test_damaged_counts_are_not_taken_for_none(tmp_path):
    (tmp_path / "counts.json").write_text(json.dumps({"day": 1}))
    with pytest.raises(ArtifactError, match="holds no counts"):
        Limits(tmp_path / "counts.json")


@pytest.mark.parametrize("name", ["my key", "app\n", "app.1", "", "a" * 65, "sch\u00fctz"])
def test_a_name_that_no_token_can_bear_is_refused(name):
    with pytest.raises(ConfigError, match="name"):
        made(name)


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("", True), ("http://127.0.0.1:8080", True), ("http://localhost", True), ("http://[::1]:80", True),
        ("http://[::1", False), ("https://LOCALHOST:3000", True),
        ("https://evil.example", False), ("null", False), ("https://127.0.0.1.evil.example", False),
        ("https://evil.example://127.0.0.1.x", False), ("file://", False),
    ],
)  # fmt: skip
def test_a_strangers_page_in_the_browser_may_not_ask_a_server_without_keys(origin, may):
    """The browser sends the request to 127.0.0.1 whatever page asks for it; where that is from stands in Origin alone."""
    head = {"host": "127.0.0.1:8080", **({"origin": origin} if origin else {})}
    for scope in ("infer", "feedback", "monitor"):
        with contextlib.nullcontext() if may else pytest.raises(Refusal, match="page"):
            Gatekeeper(Access()).admit(head, scope)
        Gatekeeper(Access(open=True)).admit(head, "infer")
