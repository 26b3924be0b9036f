"""Web servers that are hostile, and addresses with secrets: redirects, credentials, answers that do not fit."""

from __future__ import annotations

import base64
import ipaddress
import json
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ipv_bench import patience, web_client, web_connections
from ipv_bench.cli import run
from ipv_bench.errors import ShardSetError
from ipv_bench.segments import open_segments
from ipv_bench.web_client import WebClient
from ipv_bench.web_error import WebError
from ipv_bench.web_target import INTERNET, OWN_MACHINE, OWN_NETWORK, reach
from tests.shard_set_maker import Video, make_shard_set

Answer = Callable[[BaseHTTPRequestHandler], None]
DATA = bytes(range(256)) * 8


class Server(ThreadingHTTPServer):
    """Answers every GET by `answer`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.answer, self.asked, self.ranges = answer, [], []
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
    monkeypatch.setattr(patience, "pause", lambda seconds, is_given_up: None)
    monkeypatch.setattr(web_connections, "SILENCE_SECONDS", 20.0)


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
    real = web_connections.reach
    monkeypatch.setattr(web_connections, "reach", lambda ip: distance if ip == "127.0.0.2" else real(ip))
    inner.asked.clear()
    with pytest.raises(WebError, match=f"127.0.0.1, which is in {where}"):
        WebClient(outer.url).get("x", 10**6)
    assert not inner.asked


def test_a_name_that_moves_closer_is_refused(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(reply(200, DATA))
    client = WebClient(server.url)
    monkeypatch.setattr(web_connections, "reach", lambda _: INTERNET)
    client.get("x", 10**6)
    client._connections._forget()
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
        (
            reply(206, DATA[5:9], Content_Range="bytes 5-11/20", Content_Length="7", Connection="close"),
            "cut off 3 bytes before its end; then it has 7 bytes",
        ),
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


def served(data: bytes, *, ranges: bool = True, tag: str = "", cut_after: int | None = None) -> Answer:
    """A file as web servers serve it; `cut_after`: no answer has more bytes than that, whatever it announces."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range", "")
        request.server.ranges.append(asked)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = ranges and bool(asked)
        body = data[int(first) : int(last) + 1 if last else None] if part else data
        request.send_response(206 if part else 200)
        request.send_header("Content-Length", str(len(body)))
        if part:
            request.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}")
        if tag:
            request.send_header("ETag", tag)
        request.end_headers()
        request.wfile.write(body[:cut_after])
        request.close_connection = cut_after is not None and cut_after < len(body)

    return answer


def test_a_range_that_was_cut_off_is_read_on(serve) -> None:
    """By a connection that is closed in order, which no socket takes for an error."""
    server = serve(served(DATA, cut_after=30))
    assert WebClient(server.url).get_range("x", 100, 70) == DATA[100:170]
    assert server.ranges == ["bytes=100-169", "bytes=130-169", "bytes=160-169"]


def test_a_file_that_was_cut_off_is_read_on_with_ranges_or_without(serve) -> None:
    big = DATA * 600  # more than one piece
    server = serve(None)
    for ranges in (True, False):
        answers = iter([served(big, cut_after=len(big) - 5), served(big, ranges=ranges)])
        server.answer = lambda request, answers=answers: next(answers)(request)
        assert b"".join(WebClient(server.url).pieces("x", len(big))) == big
    assert server.ranges == ["", f"bytes={len(big) - 5}-"] * 2


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        (served(DATA[::-1], tag='"2"'), "changed on the server since it was first read"),
        (served(DATA + b"x", tag='"1"'), "2,049 bytes now, where 2,048 are expected"),
    ],
    ids=["other contents", "other size"],
)
def test_parts_of_two_versions_of_a_file_are_never_put_together(serve, other: Answer, words: str, whole: bool) -> None:
    answers = iter([served(DATA, tag='W/"1"', cut_after=20), other])
    client = WebClient(serve(lambda request: next(answers)(request)).url)
    with pytest.raises(WebError, match=f"cut off.*; then .*{words}") as caught:
        client.get("x", 10**6) if whole else client.get_range("x", 0, 50)
    assert caught.value.changed


def test_ranges_of_another_version_are_refused_also_by_a_copy_of_the_client(serve) -> None:
    server = serve(served(DATA, tag='"1"'))
    client = WebClient(server.url)
    client.versions.expect({"y": 7})
    assert client.get_range("x", 0, 4) == DATA[:4]
    with pytest.raises(WebError, match="2,048 bytes now, where 7 are expected"):
        client.get_range("y", 0, 4)
    copy = pickle.loads(pickle.dumps(client))
    assert copy.get_range("x", 4, 4) == DATA[4:8]
    server.answer = served(DATA, tag='"2"')
    for each in (client, copy):
        with pytest.raises(WebError, match="another ETag"):
            each.get_range("x", 8, 4)
    assert copy.get("x", 10**6) == DATA  # whole files are compared with the manifest by those who read them


def away(tries: int) -> Answer:
    """A server that is away for some tries."""
    left = iter(range(tries))
    return lambda request: (reply(503) if next(left, None) is not None else served(DATA))(request)


def test_a_server_that_is_away_for_a_while_is_waited_for(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(patience, "pause", lambda seconds, is_given_up: waited.append(seconds))
    assert WebClient(serve(away(8)).url).get_range("x", 0, 9) == DATA[:9]
    assert waited == pytest.approx([0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 10, 10])
    waited.clear()
    with pytest.raises(WebError, match="answers 503"):
        WebClient(serve(away(1000)).url).get_range("x", 0, 9)
    assert 50 < sum(waited) <= web_client.PATIENCE_SECONDS
    waited.clear()
    nobody = WebClient("http://127.0.0.1:9")
    for seconds in (web_client.FIRST_PATIENCE_SECONDS, 30.0):
        nobody.patience_seconds = seconds
        with pytest.raises(WebError, match="refused"):
            nobody.get_range("x", 0, 9)
        assert seconds / 3 < sum(waited) <= seconds
        waited.clear()


def test_the_time_that_a_server_asks_for_is_waited(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(patience, "pause", lambda seconds, is_given_up: waited.append(seconds))
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    for asked, least in (("7", 7), (later, 20), ("soon", 0.3)):
        answers = iter([reply(429, Retry_After=asked), served(DATA)])
        assert WebClient(serve(lambda request, a=answers: next(a)(request)).url).get("x", 10**6) == DATA
        assert len(waited) == 1
        assert least <= waited.pop() <= 40
    with pytest.raises(WebError, match=r"asks to come back later \(3600\)"):
        WebClient(serve(reply(503, Retry_After="3600")).url).get("x", 10**6)
    assert not waited


def test_bytes_that_come_one_at_a_time_renew_no_patience(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(patience, "pause", lambda seconds, is_given_up: waited.append(seconds))
    server = serve(served(DATA, cut_after=1))
    with pytest.raises(WebError, match="cut off"):
        WebClient(server.url).get_range("x", 0, 1000)
    assert sum(waited) <= web_client.PATIENCE_SECONDS
    assert len(server.ranges) < 20
    many = DATA * 256  # 512 KiB in answers of 64: each is a step forward
    server = serve(served(many, cut_after=1 << 16))
    waited.clear()
    assert WebClient(server.url).get_range("x", 0, len(many)) == many
    assert set(waited) == {0.3}


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
