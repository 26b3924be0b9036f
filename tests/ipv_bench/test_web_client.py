"""Web servers that are hostile, and addresses with secrets: redirects, credentials, answers that do not fit."""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ipv_bench import web_client
from ipv_bench.cli import run
from ipv_bench.errors import ShardSetError
from ipv_bench.segments import open_segments
from ipv_bench.web_client import INTERNET, OWN_MACHINE, OWN_NETWORK, WebClient, WebError, reach
from tests.shard_set_maker import Video, make_shard_set

Answer = Callable[[BaseHTTPRequestHandler], None]
DATA = bytes(range(256)) * 8


class Server(ThreadingHTTPServer):
    """Answers every GET by `answer`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.answer, self.asked = answer, []
        super().__init__((host, 0), _Handler)
        self.url = f"http://{host}:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Readers that go away are expected here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.server.answer(self)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers = []

    def start(answer: Answer, host: str = "127.0.0.1") -> Server:
        servers.append(Server(answer, host))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client.time, "sleep", lambda _: None)
    monkeypatch.setattr(web_client, "SILENCE_SECONDS", 20.0)


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value is not None:
                request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def leave(request: BaseHTTPRequestHandler, last_words: bytes) -> None:
    request.wfile.write(last_words)
    request.close_connection = True


def redirect(location: str, status: int = 302) -> Answer:
    return reply(status, Location=location)


def test_redirects_in_one_scheme_are_followed_and_the_password_stays_at_home(serve) -> None:
    far = serve(reply(200, DATA))
    near = serve(redirect(f"{far.url}/blob?sig=x", 307))
    client = WebClient(near.url.replace("//", "//me:secret@") + "/set?token=t")
    assert client.get("a.tar", 10**6) == DATA
    assert client.get("a.tar", 10**6) == DATA
    login = "Basic " + base64.b64encode(b"me:secret").decode()
    assert near.asked == [("/set/a.tar?token=t", login)] * 2
    assert far.asked == [("/blob?sig=x", None)] * 2


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://127.0.0.1/x?sig=secret", "redirected from http to https://127.0.0.1/x, another scheme"),
        ("file:///etc/passwd", "which is no web address"),
        ("ftp://127.0.0.1/x", "which is no web address"),
        ("http:///x", "redirected more than 5 times"),
        ("http://h:99999999/", "which is no web address"),
        ("/again", "redirected more than 5 times"),
        ("", "redirected more than 5 times"),
    ],
)
def test_other_redirects_are_refused(serve, location: str, words: str) -> None:
    with pytest.raises(WebError, match=words) as caught:
        WebClient(serve(redirect(location)).url).get("x", 10)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("distance", "where"), [(INTERNET, "this machine"), (OWN_NETWORK, "this machine")])
def test_no_redirect_leads_closer(serve, monkeypatch: pytest.MonkeyPatch, distance: int, where: str) -> None:
    """The server at 127.0.0.2 stands for one on the internet, or in the network, that sends readers to themselves."""
    inner = serve(reply(200, DATA))
    outer = serve(redirect(f"{inner.url}/secrets"), "127.0.0.2")
    assert WebClient(outer.url).get("x", 10**6) == DATA
    real = web_client.reach
    monkeypatch.setattr(web_client, "reach", lambda ip: distance if ip == "127.0.0.2" else real(ip))
    inner.asked.clear()
    with pytest.raises(WebError, match=f"127.0.0.1, which is in {where}"):
        WebClient(outer.url).get("x", 10**6)
    assert not inner.asked


def test_a_name_that_moves_closer_is_refused(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(reply(200, DATA))
    client = WebClient(server.url)
    monkeypatch.setattr(web_client, "reach", lambda _: INTERNET)
    client.get("x", 10**6)
    client._forget()
    monkeypatch.undo()
    with pytest.raises(WebError, match="this machine"):
        client.get("x", 10**6)


def test_how_far_addresses_are() -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::ffff:127.0.0.1",
                    "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"):  # fmt: skip
        assert reach(address) == OWN_MACHINE
    for address in ("10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"):
        assert reach(address) == OWN_NETWORK
    assert reach("93.184.216.34") == reach("2606:2800:220:1::1") == INTERNET


def ranges(request: BaseHTTPRequestHandler) -> None:
    first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
    body = DATA[first : last + 1]
    reply(206, body, Content_Range=f"bytes {first}-{first + len(body) - 1}/{len(DATA)}")(request)


def test_ranges_over_one_connection(serve) -> None:
    server = serve(ranges)
    client = WebClient(server.url)
    ports = set()
    server.answer = lambda request: (ports.add(request.client_address), ranges(request))
    assert client.get_range("x", 5, 7) == DATA[5:12]
    assert client.get_range("x", 2040, 100) == DATA[2040:]
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(200, DATA), "does not answer byte ranges"),
        (reply(206, DATA[:7]), "another range"),
        (reply(206, DATA[:7], Content_Range="bytes 0-6/2048"), "another range"),
        (reply(206, DATA, Content_Range="bytes 5-2052/9999"), "more than 7"),
        (reply(206, DATA[5:12], Content_Range="bytes 5-11/20", Content_Encoding="gzip"), "encoded as 'gzip'"),
        (reply(206, DATA, Content_Range="bytes 5-11/20", Content_Length=None, Connection="close"), "longer than 7"),
        (reply(206, DATA[5:9], Content_Range="bytes 5-11/20", Content_Length="7", Connection="close"), "cut off"),
        (reply(416), "ends before the range"),
        (reply(403), "answers 403"),
        (reply(503), "answers 503"),
        (lambda request: leave(request, b"\x00" * 100), "no HTTP"),
        (lambda request: leave(request, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000), "no HTTP"),
        (lambda request: leave(request, b""), "no HTTP|reset"),
    ],
    ids=range(13),
)
def test_answers_that_do_not_fit_are_refused(serve, answer: Answer, words: str) -> None:
    with pytest.raises(WebError, match=words):
        WebClient(serve(answer).url).get_range("x", 5, 7)


def test_an_answer_that_never_ends_is_ended(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client, "ANSWER_SECONDS", 0.3)
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        while not stop.wait(0.02):
            request.wfile.write(b"H")

    with pytest.raises(WebError):
        WebClient(serve(drip).url).get_range("x", 0, 7)
    stop.set()


def test_what_passes_is_tried_again(serve) -> None:
    server = serve(None)
    answers = iter([reply(503), lambda request: request.connection.shutdown(socket.SHUT_RDWR), reply(200, DATA)])
    server.answer = lambda request: next(answers)(request)
    assert WebClient(server.url).get("x", 10**6) == DATA


def test_secrets_of_an_address_are_shown_nowhere(serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_shard_set(tmp_path / "set", [Video("a", 30)])

    def files(request: BaseHTTPRequestHandler) -> None:
        path = folder / request.path.partition("?")[0].rpartition("/")[2]
        data = path.read_bytes() if path.is_file() else None
        if data is None or request.headers.get("Authorization") is None or "sig=secret" not in request.path:
            reply(404)(request)
        elif "Range" in request.headers:
            first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
            body = data[first : last + 1]
            reply(206, body, Content_Range=f"bytes {first}-{first + len(body) - 1}/{len(data)}")(request)
        else:
            reply(200, data)(request)

    server = serve(files)
    address = server.url.replace("//", "//me:secret@") + "/sets?sig=secret"
    public = server.url + "/sets"
    for options in ({}, {"cache": tmp_path / "cache"}):
        segments = open_segments(address, 25, 0, **options)
        assert segments[0].shape == (25, 64, 64, 3)
        assert segments.describe(0).location == public
        assert segments.shard_sets[0]["path"] == public
    for command in (["inspect", address], ["inspect", "--json", address], ["verify", address],
                    ["inspect", address.replace("sig=secret", "sig=secre")]):  # fmt: skip
        run(command)
    shown = capsys.readouterr()
    assert "secre" not in shown.out + shown.err
    (folder / "samples.parquet").write_bytes(b"x")
    with pytest.raises(ShardSetError) as caught:
        open_segments(address, 25, 0)
    assert "secret" not in str(caught.value)
    assert public in str(caught.value)


def test_a_hostile_web_set_writes_nothing_outside_the_cache(serve, tmp_path: Path) -> None:
    """The hole that was found: a manifest named its files so that they landed in site-packages, and ran."""
    folder = make_shard_set(tmp_path / "set", [Video("a", 30)])
    values = json.loads((folder / "manifest.json").read_text())
    server = serve(None)
    before = sorted(tmp_path.rglob("*"))
    for changes in (
        {"name": "../../evil"},
        {"shards": [values["shards"][0] | {"file": "../../../evil.pth"}]},
        {"tables": {**values["tables"], "../evil.pth": "0" * 64}},
        {"shards": [values["shards"][0] | {"file": "/tmp/evil.pth"}]},
    ):
        text = json.dumps(values | changes).encode()
        server.answer = reply(200, text)
        with pytest.raises(ShardSetError, match="is no (file )?name"):
            open_segments(server.url, 25, 0, cache=tmp_path / "cache")[0]
    assert sorted(tmp_path.rglob("*")) == before


def certificate_of_this_machine(folder: Path) -> tuple[Path, Path]:
    """A key, and a certificate for 127.0.0.1 that nobody has signed but itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "a test")])
    now, address = datetime.now(UTC), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "key.pem", folder / "cert.pem"


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = certificate_of_this_machine(tmp_path)
    server = Server(reply(200, DATA))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    with pytest.raises(WebError, match=r"(?i)certificate"):
        WebClient(url).get("x", 10**6)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = WebClient(url)
    assert client.get("x", 10**6) == client.get("x", 10**6) == DATA
    server.shutdown()
    server.server_close()
