"""The index of the model repository extension."""

from martensite.serving.access import ApiKey, Keys, new_secret


def test_the_index_says_what_there_is_to_who_may_load_it(served, here):
    scopes = ["admin", "infer"]
    headers, entries = {}, []
    for name, given in {"boss": {"scopes": scopes}, "half": {"scopes": scopes, "models": ["tiny"]}, "app": {}}.items():
        token, digest = new_secret(name)
        headers[name] = {"Authorization": f"Bearer {token}"}
        entries.append(ApiKey.parse({"name": name, "hashes": [digest], **given}))
    Keys(keys=tuple(entries)).save(here.folder / "keys.yaml")
    more = [{"name": "other", "bundle": str(here.folder / "none"), "evidence": here.evidence}]
    server = served(more=more, fail="open-port", access={"keys": str(here.folder / "keys.yaml")})

    def index(who, **how):
        return server.post("/v2/repository/index", headers=headers[who], **how)

    ready, other = index("boss").json()
    assert ready == {"name": "tiny", "version": "1", "state": "READY", "reason": ""}
    assert (other["name"], other["version"], other["state"]) == ("other", "", "UNAVAILABLE")
    assert "no folder" in other["reason"]
    assert index("boss", json={"ready": True}).json() == index("half").json() == [ready]
    assert index("app").status_code == 403
    assert index("boss", content=b"[").status_code == 400
    server.fleet.slots["tiny"].lines["primary"].out = "revoked"
    assert [one["reason"] for one in index("half").json()] == ["revoked"]
