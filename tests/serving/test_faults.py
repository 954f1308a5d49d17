"""Clients that misbehave, on a real socket: each is turned away, and the next one is answered."""

import contextlib
import json
import socket
import ssl
import subprocess
import time

import httpx
import pytest
import torch

from martensite.core.errors import ConfigError
from martensite.serving import Fleet
from martensite.serving.observer import Observer
from martensite.serving.run import uvicorn_config


def body(n=1):
    tensor = {"name": "input", "datatype": "FP32", "shape": [n, 1, 4, 4], "data": [0.5] * (16 * n)}
    return json.dumps({"inputs": [tensor]}).encode()


def head(length, **headers):
    lines = ["POST /v2/models/tiny/infer HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [] if length is None else [f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def read_all(connection):
    """Everything until the server closes, or an answer is whole."""
    got = b""
    connection.settimeout(30)
    while True:
        try:
            part = connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return got
        got += part
        start, _, rest = got.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
        if not part or (length is not None and len(rest) >= length):
            return got


@pytest.fixture
def alive():
    """Asserts that a decent client is answered."""

    def check(server):
        with connect(server) as client:
            client.sendall(head(len(body())) + body())
            assert b"200 OK" in read_all(client)

    return check


def connect(server):
    return socket.create_connection(server.address, timeout=30)


def test_a_head_that_never_ends_is_closed(listening, alive):
    server = listening(limits={"head_seconds": 0.3})
    with connect(server) as silent, connect(server) as slow:
        slow.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: 127.0.0.1")
        assert read_all(slow) == b""
        assert read_all(silent) == b""
    alive(server)


@pytest.mark.parametrize(
    "endless", [b"X: " + b"a" * 400_000, b"".join(b"X%d: y\r\n" % i for i in range(20_000)) + b"\r\n"], ids=["one", "many"]
)
def test_a_head_that_is_too_long_is_431_and_nobody_is_asked(listening, alive, endless):
    asked = []

    class Hears(Observer):
        def reply(self, reply):
            asked.append(reply)

    server = listening(None, Hears())
    with connect(server) as client:
        with contextlib.suppress(OSError):  # it may close before all is sent
            client.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: 127.0.0.1\r\n" + endless)
        assert read_all(client).startswith(b"HTTP/1.1 431 ")
    assert asked == []
    alive(server)


def test_a_head_of_many_kilobytes_is_taken(listening):
    server = listening()
    with connect(server) as client:
        client.sendall(head(len(body()), X_Trace="a" * 30_000) + body())
        assert b"200 OK" in read_all(client)


def test_a_second_request_on_a_connection_has_a_deadline_of_its_own(listening, alive):
    server = listening(limits={"head_seconds": 0.3}, keep_alive=3600)
    with connect(server) as client:
        client.sendall(head(len(body())) + body())
        assert b"200 OK" in read_all(client)
        client.sendall(b"POST /v2/models/tiny/in")
        assert read_all(client) == b""
    alive(server)


def test_a_body_that_comes_too_slowly_is_408(listening, alive):
    server = listening(limits={"body_seconds": 0.3})
    with connect(server) as client:
        client.sendall(head(len(body())) + body()[:20])
        assert b" 408 " in read_all(client)
    alive(server)


def test_half_a_body_and_away(listening, alive):
    server = listening()
    for cut in (0, 10, len(body()) - 1):
        with connect(server) as client:
            client.sendall(head(len(body())) + body()[:cut])
    alive(server)


def test_a_huge_body_is_413_before_it_is_read(listening, alive):
    server = listening()
    with connect(server) as client:
        client.sendall(head(2**30))
        assert b" 413 " in read_all(client)
    alive(server)


def test_a_huge_body_in_chunks_is_413_without_being_kept(listening, alive):
    server = listening(limits={"body": 100_000})
    with connect(server) as client:
        client.sendall(head(None, Transfer_Encoding="chunked"))
        chunk = b"%x\r\n%s\r\n" % (4096, b" " * 4096)
        sent = 0
        try:
            while sent < 2**24:
                client.sendall(chunk)
                sent += 4096
        except OSError:
            pass
        answer = read_all(client)
    assert b" 413 " in answer or sent < 2**24
    alive(server)


def test_chunks_within_the_limit_are_taken(listening):
    server = listening()
    with connect(server) as client:
        client.sendall(head(None, Transfer_Encoding="chunked") + b"".join(b"1\r\n%c\r\n" % one for one in body()) + b"0\r\n\r\n")
        assert b"200 OK" in read_all(client)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (head(len(body()), Content_Encoding="gzip") + body(), b" 415 "),
        (head(200_002) + b"[" * 100_001 + b"]" * 100_001, b" 400 "),
        (b"NONSENSE\r\n\r\n", b" 400 "),
        (b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b""),
        (b"GET /v2/models/%00%ff/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b" 40"),
        (b"GET /v2/models/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b" 404 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
    ],
    ids=["compressed", "deep", "nonsense", "long head", "odd name", "traversal", "TLS"],
)
def test_odd_requests(listening, alive, raw, status):
    server = listening(insecure_no_evidence=True)
    with connect(server) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    assert status in answer
    assert b" 500 " not in answer
    alive(server)


def test_more_connections_than_allowed_are_turned_away_and_the_others_served(listening, alive):
    server = listening(connections=3)
    held = [connect(server) for _ in range(4)]
    try:
        assert b" 503 " in read_all(held[3])
        held[0].sendall(head(len(body())) + body())
        assert b"200 OK" in read_all(held[0])
    finally:
        for one in held:
            one.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if httpx.get(f"{server.url}/v2/health/live").status_code == 200:
            break
        time.sleep(0.05)
    alive(server)


def test_many_at_once_are_answered_rightly_or_told_to_wait(listening, here):
    """Forty clients on a queue of eight: every answer is 200 with its own logits, or 429 with Retry-After."""
    from concurrent.futures import ThreadPoolExecutor

    batching = {"max_queue": 8, "max_batch": 4}
    server = listening(model={"batching": batching, "output": {"scores": "logits"}})
    inputs = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = here.model(inputs)

    client = httpx.Client(timeout=60, verify=False)

    def ask(row):
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": inputs[row].flatten().tolist()}
        return client.post(f"{server.url}/v2/models/tiny/infer", json={"inputs": [tensor]})

    with client, ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    assert {one.status_code for one in answers} <= {200, 429}
    good = [row for row, one in enumerate(answers) if one.status_code == 200]
    assert good
    for row in good:
        found = torch.tensor(answers[row].json()["outputs"][0]["data"])
        torch.testing.assert_close(found, expected[row], rtol=1e-4, atol=1e-5)
    assert all(int(one.headers["Retry-After"]) >= 1 for one in answers if one.status_code == 429)


def test_a_server_that_is_told_to_stop_answers_what_it_has_taken(listening):
    import threading

    entered, go = threading.Event(), threading.Event()
    server = listening()
    loaded = server.fleet.slot("tiny").pick().loaded
    real = loaded.backend

    def slow(rows):
        entered.set()
        assert go.wait(30)
        return real(rows)

    loaded.backend = slow
    with connect(server) as client:
        client.sendall(head(len(body())) + body())
        assert entered.wait(30)
        server.server.handle_exit(15, None)
        assert server.fleet.reasons == {"tiny": "the server is stopping"}
        go.set()
        assert b"200 OK" in read_all(client)
    server.thread.join(30)
    assert not server.thread.is_alive()
    with pytest.raises(OSError, match=r"refused|reset"):
        connect(server).close()


@pytest.fixture
def tls(here):
    """A certificate for this machine, as settings, and a context that trusts it."""
    certificate, key = here.folder / "tls.crt", here.folder / "tls.key"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    asked = [*words.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("openssl can't make a certificate here")
    return {"certificate": str(certificate), "key": str(key)}, ssl.create_default_context(cafile=str(certificate))


def test_tls_by_files(listening, tls):
    server = listening(tls=tls[0])
    assert httpx.post(f"{server.url}/v2/models/tiny/infer", content=body(), verify=tls[1]).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/v2/health/live")


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(listening, tls):
    """Written as soon as the client may: none of it is lost between the handshake and the server."""
    server = listening(tls=tls[0])
    for _ in range(20):
        with connect(server) as client, tls[1].wrap_socket(client, server_hostname="127.0.0.1") as secured:
            secured.sendall(head(len(body())) + body())
            assert b"200 OK" in read_all(secured)


def test_handshakes_that_never_begin_count_as_connections_and_end(listening, tls):
    server = listening(tls=tls[0], connections=3, limits={"head_seconds": 2.0})
    idle = [connect(server) for _ in range(3)]
    try:
        with connect(server) as late:  # one more is cut off
            late.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert late.recv(1) == b""
        for one in idle:
            one.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""  # their time is over
    finally:
        for one in idle:
            one.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            assert httpx.post(f"{server.url}/v2/models/tiny/infer", content=body(), verify=tls[1]).status_code == 200
            return
        time.sleep(0.05)
    raise AssertionError("the server answers nobody any more")


def test_tls_files_that_are_none_end_the_server_with_the_reason(here):
    (here.folder / "nothing.pem").write_text("nothing")
    given = str(here.folder / "nothing.pem")
    config = here.config(tls={"certificate": given, "key": given})
    fleet = Fleet(config)
    with pytest.raises(ConfigError, match="TLS"):
        uvicorn_config(config, fleet)
    fleet.close()


def test_what_a_client_gets_says_nothing_of_the_software(listening):
    server = listening()
    headers = httpx.get(f"{server.url}/v2/health/live").headers
    assert "server" not in headers
    assert isinstance(server.fleet.observer, Observer)


def test_all_bodies_together_have_a_limit(listening, alive):
    """Clients that each send half a large body can't fill the memory."""
    server = listening(limits={"body": 100_000, "held": 150_000})
    half = head(100_000) + b" " * 90_000
    with connect(server) as first, connect(server) as second:
        first.sendall(half)
        deadline = time.monotonic() + 30
        while server.fleet.bodies.held < 90_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        second.sendall(half)
        answer = read_all(second)
        assert b" 429 " in answer
        assert b"connection: close" in answer.lower()
        alive(server)
    deadline = time.monotonic() + 30
    while server.fleet.bodies.held and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.fleet.bodies.held == 0


def test_too_much_json_is_413_and_the_same_in_binary_is_not(listening):
    server = listening(limits={"text": 300_000})
    n = 6000
    with connect(server) as client:
        client.sendall(head(len(body(n))) + body(n))
        assert b" 413 " in read_all(client)
    raw = b"\0" * (64 * 1000)
    tensor = {"name": "input", "datatype": "FP32", "shape": [1000, 1, 4, 4], "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor]}).encode()
    with connect(server) as client:
        client.sendall(head(len(text) + len(raw), Inference_Header_Content_Length=len(text)) + text + raw)
        assert b"200 OK" in read_all(client)


def test_a_client_that_does_not_take_its_answer_is_cut_off(listening, alive):
    """It asks again and again and never reads: what waits for it would stay in memory."""
    server = listening(limits={"body_seconds": 0.5}, model={"batching": {"max_queue": 5000}})
    content = head(len(body(2000))) + body(2000)
    with connect(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        with pytest.raises(OSError, match=r"reset|Broken pipe|Connection"):
            client.sendall(1000 * content)
    alive(server)


def test_who_is_turned_away_before_the_body_is_read_loses_the_connection(listening, here):
    from martensite.serving.access import Keys

    Keys().save(here.folder / "keys.yaml")
    server = listening(access={"keys": str(here.folder / "keys.yaml")})
    with connect(server) as client:
        client.sendall(head(2**24) + b" " * 1000)
        answer = read_all(client)
        assert b" 401 " in answer
        assert b"connection: close" in answer.lower()
