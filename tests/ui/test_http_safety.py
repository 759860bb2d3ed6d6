"""The ASGI middleware in front of the page, around a small application and around the page itself."""

import asyncio
import logging
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from pages import CLIP
from running import ROOT, App, send, upload_file
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from nanoasr.ui.log import SafeFormatter
from nanoasr.ui.safety import Limits, Safety

read = []  # what the application read of bodies


async def count(request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    read.append(size)
    return PlainTextResponse(str(size), status_code=400 if request.url.path == "/login" else 200)


def client(**options) -> TestClient:
    """A client of a small application behind the middleware."""
    routes = [Route(path, count, methods=["GET", "POST"]) for path in ("/json", "/upload", "/login", "/other")]
    options = {"uploads": ("/upload",), "posts": ("/json", "/upload"), "login": "/login"} | options
    read.clear()
    return TestClient(Safety(Starlette(routes=routes), **options))


def chunks(size: int, count: int):
    for _ in range(count):
        yield b"x" * size


def test_a_large_body_is_refused_before_the_application_reads_it():
    page = client(limits=Limits(body=1000, upload=5000))
    assert page.post("/json", content=b"x" * 1001).status_code == 413
    assert page.post("/json", content=chunks(300, 4)).status_code == 413  # of no stated length
    assert page.post("/upload", content=b"x" * 5001).status_code == 413
    assert read == []
    assert page.post("/json", content=chunks(300, 3)).text == "900"


def test_an_upload_of_no_stated_length_ends_at_the_limit():
    assert client(limits=Limits(upload=5000)).post("/upload", content=chunks(1000, 10)).status_code == 413


def test_uploads_are_refused_when_the_folder_is_full():
    assert client(room=lambda: 100).post("/upload", content=b"x" * 101).status_code == 507
    assert client(room=lambda: 100).post("/upload", content=b"x" * 99).status_code == 200


def test_json_of_many_parts_is_refused_before_it_is_parsed():
    page = client(limits=Limits(structure=100))
    assert page.post("/json", json=[[]] * 60).status_code == 413
    assert page.post("/json", json=[[]] * 30).status_code == 200


def test_without_a_login_no_body_is_read():
    page = client(authorized=lambda headers: headers.get("cookie") == "token=right")
    assert page.post("/json", content=b"x").status_code == 401
    assert page.post("/upload", content=b"x").status_code == 401
    assert read == []
    assert page.post("/json", content=b"x", headers={"cookie": "token=right"}).status_code == 200


def test_only_known_paths_accept_bodies():
    assert client().post("/other", content=b"x").status_code == 404
    assert client().get("/other").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://testserver"}, 200),
        ({"origin": "https://testserver"}, 200),  # behind a proxy
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://evil.example", "x-forwarded-host": "evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://testserver.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_sites_are_refused(headers, status, method):
    found = client().request(method, "/json", headers=headers).status_code
    assert found == status or (method == "OPTIONS" and status == 200 and found == 405)


@pytest.mark.parametrize(("host", "status"), [("localhost:7860", 200), ("[::1]:7860", 200), ("evil.example", 403)])
def test_only_known_hosts_are_served_where_they_are_listed(host, status):
    page = client(hosts=["localhost", "::1"])
    assert page.get("/json", headers={"host": host}).status_code == status


def test_a_host_that_is_listed_may_be_the_origin_behind_a_proxy():
    page = client(hosts=["localhost", "asr.example"])
    headers = {"host": "localhost:7860", "origin": "https://asr.example"}
    assert page.post("/json", content=b"x", headers=headers).status_code == 200


def test_failed_logins_are_limited():
    page = client(limits=Limits(failed_logins=3))
    assert [page.post("/login", content=b"x").status_code for _ in range(5)] == [400, 400, 400, 429, 429]
    assert page.post("/json", content=b"x").status_code == 200


def test_a_large_login_is_refused():
    assert client().post("/login", content=b"x" * 5000).status_code == 413


def test_no_more_than_so_many_requests_are_in_progress():
    async def slow(scope, receive, send):
        await asyncio.sleep(0.2)
        await PlainTextResponse("done")(scope, receive, send)

    async def get(app) -> int:
        statuses = []

        async def send(message):
            statuses.append(message.get("status"))

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await app(scope, lambda: asyncio.sleep(9), send)
        return statuses[0]

    async def all_at_once() -> list[int]:
        app = Safety(slow, limits=Limits(concurrent=2))
        return await asyncio.gather(*(get(app) for _ in range(3)))

    with ThreadPoolExecutor(1) as thread:  # this one has the browser's event loop
        assert sorted(thread.submit(asyncio.run, all_at_once()).result()) == [200, 200, 503]


def test_a_message_cannot_look_like_another_entry_of_the_log():
    record = logging.makeLogRecord({"msg": "bad\n2026-01-01 ERROR forged \x1b[31m\u2028", "levelname": "ERROR"})
    lines = SafeFormatter().format(record).splitlines()
    assert len(lines) == 2 and lines[1].startswith("    ") and "\x1b" not in lines[1] and "\\x1b[31m" in lines[1]


# Around the page


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The page with a login."""
    flags = ("--model", str(ROOT / "tests/parity/official"), "--auth", "ada:lovelace")
    app = App(tmp_path_factory.mktemp("guarded"), *flags)
    yield app
    app.close()


def log_in(app, password: str = "lovelace") -> tuple[int, str]:
    """-> status, and the cookies that the browser would keep"""
    form, kind = f"username=ada&password={password}".encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = send(app.url, "POST", "/login", form, kind)
    return status, "; ".join(value.partition(";")[0] for name, value in headers if name == "set-cookie")


def post(app, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    status, found, _ = send(app.url, "POST", path, body, sent)
    return status, dict(found)


def test_behind_https_with_a_login_no_other_origin_is_answered(guarded):
    _, token = log_in(guarded)
    status, _ = post(guarded, "/gradio_api/call/model", b'{"data": []}', Cookie=token, Host="asr.example.org")
    assert status == 200
    status, headers = post(
        guarded, "/gradio_api/call/model", b'{"data": []}', Cookie=token, Host="asr.example.org",
        Origin="https://evil.example", X_Forwarded_Proto="https",
    )  # fmt: skip
    assert status == 403 and "access-control-allow-origin" not in headers


def test_a_body_is_not_read_before_the_login_is_checked(guarded):
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as raw:
        raw.sendall(
            b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000\r\n\r\n{"
        )
        assert b" 401 " in raw.recv(200)  # although the body has not come


def test_a_page_for_this_machine_is_not_served_under_another_name(app):
    assert post(app, "/gradio_api/call/model", b'{"data": []}', Host="evil.example")[0] == 403
    assert post(app, "/gradio_api/call/model", b'{"data": []}', Host=f"localhost:{app.port}")[0] == 200


def test_a_json_body_is_limited(app):
    assert post(app, "/gradio_api/queue/join", b'{"data": ["' + b"x" * (3 << 20) + b'"]}')[0] == 413
    assert post(app, "/gradio_api/call/transcribe", b"[" * 100_000)[0] == 413
    assert post(app, "/gradio_api/call/transcribe", b"[" * 20_000)[0] in (400, 422)


@pytest.mark.parametrize("path", ["process_recording", "vibe-edit", "component_server", "deep_link", "nothing"])
def test_parts_of_gradio_that_the_page_does_not_use_are_closed(app, path):
    assert post(app, f"/gradio_api/{path}", b"{}")[0] == 404


def test_visitors_learn_nothing_of_paths_that_they_may_not_load(guarded, tmp_path):
    _, cookies = log_in(guarded)
    sources = (str(tmp_path), "/no/such/folder", "/etc/passwd", "~", ".", "/etc")
    answers = {guarded.call("load_model", [source, "as stored", ""], Cookie=cookies) for source in sources}
    assert len(answers) == 1 and "only presets" in answers.pop()


def test_a_login_can_be_tried_only_so_often(guarded):
    statuses = [log_in(guarded, "wrong")[0] for _ in range(12)]
    assert statuses[:9] == [400] * 9 and statuses[-1] == 429


def test_an_upload_still_works(app):
    assert upload_file(app, "clip.wav", CLIP.read_bytes()).endswith("clip.wav")
