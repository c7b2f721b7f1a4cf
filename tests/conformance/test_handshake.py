# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""RFC 6455 section 4.2, and what RFC 9110 and 9112 ask of a request's head."""

import base64
import hashlib
import re
from typing import NamedTuple

from rawsocket import PING, PONG, TEXT, Frame, frame, request
from rows import each_cut, parametrize, still_answers

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD = 16384
MAX_HEADERS = 64

GOOD = request()
LINE, FIELDS = GOOD.split(b"\r\n", 1)


class Row(NamedTuple):
    section: str  # of RFC 6455, unless it names another
    name: str
    sent: bytes
    status: int = 101


def line(text):
    """The request with another first line."""
    return text.encode("latin-1") + b"\r\n" + FIELDS


def raw(*lines):
    """The request with raw bytes for more header lines."""
    return GOOD[:-2] + b"".join(one + b"\r\n" for one in lines) + b"\r\n"


def key(text):
    return request(Sec_WebSocket_Key=text)


def version(text):
    return request(Sec_WebSocket_Version=text)


def of_length(n):
    """A good head of n bytes."""
    return raw(b"X: " + b"x" * (n - len(raw(b"X: "))))


def with_headers(n):
    """A good head of n headers."""
    return raw(*[b"X: x"] * (n - 5))


def names(case):
    """The request with the names of its headers in this case."""
    return re.sub(rb"(?m)^[A-Z][A-Za-z-]+:", lambda m: case(m[0]), GOOD)


def plain(text="GET / HTTP/1.1", *lines):
    """A request that is no upgrade."""
    return "\r\n".join([text, *lines, "", ""]).encode("latin-1")


ACCEPTED = [
    Row("1.3", "the RFC's example", key("dGhlIHNhbXBsZSBub25jZQ==")),
    Row("RFC 9110 5.1", "header names in capitals", names(bytes.upper)),
    Row("RFC 9110 5.1", "header names in small letters", names(bytes.lower)),
    Row("4.2.1-3", "Upgrade in any case", request(Upgrade="WebSocket")),
    Row("4.2.1-3", "Upgrade is a list",
        request(Upgrade="h2c, websocket ,foo/1")),
    Row("4.2.1-3", "Upgrade goes on in a second header",
        request(Upgrade="h2c", add=["Upgrade: websocket"])),
    Row("4.2.1-4", "Connection in any case", request(Connection="uPGRADE")),
    Row("4.2.1-4", "Connection is a list",
        request(Connection="keep-alive,\tUpgrade")),
    Row("4.2.1-4", "Connection with empty members",
        request(Connection=",, Upgrade ,")),
    Row("4.2.1-4", "Connection goes on in a second header",
        request(Connection="keep-alive", add=["Connection: Upgrade"])),
    Row("4.2.1-5", "key with + and /", key("AAAAAAAAAAAAAAAAAA+//w==")),
    Row("4.2.1-5", "key with bits behind its 16 bytes",
        key("AAAAAAAAAAAAAAAAAAAA//==")),
    Row("4.2.1-7", "Origin of the same host",
        request(Host="a.example:81", Origin="http://a.example:81")),
    Row("4.2.1-7", "Origin of the same host in another case",
        request(Host="a.example", Origin="HTTP://A.Example")),
    Row("4.2.1-7", "Origin with its default port",
        request(Host="a.example", Origin="https://a.example:443")),
    Row("4.2.1-8", "subprotocols are offered",
        request(add=["Sec-WebSocket-Protocol: chat, superchat"])),
    Row("4.2.1-9", "an unknown extension is offered",
        request(add=["Sec-WebSocket-Extensions: x-foo; bar=1"])),
    Row("4.2.1-10", "headers that nobody knows",
        raw(b"X-Anything: at \t all", b"Y:", b"Z: \xff\xe9")),
    Row("RFC 9112 2.2", "an empty line before it", b"\r\n" + GOOD),
    Row("RFC 9112 3", "64 headers", with_headers(MAX_HEADERS)),
    Row("RFC 9112 3", "the longest head", of_length(MAX_HEAD)),
    Row("RFC 9112 3.2.2", "absolute target",
        line("GET http://other.example/ws?user=raw HTTP/1.1")),
    Row("RFC 9112 3.2.2", "absolute target without a path",
        line("GET HTTP://other.example?user=raw HTTP/1.1")),
    Row("RFC 9112 5.1", "no white space behind the colon",
        GOOD.replace(b": ", b":")),
    Row("RFC 9112 5.1", "much white space around values",
        GOOD.replace(b": ", b": \t ").replace(b"13\r\n", b"13 \t\r\n")),
    Row("RFC 9112 6.3", "Content-Length: 0", raw(b"Content-Length: 0")),
    Row("RFC 3986 2.1", "escapes in the query",
        request("/ws?%75ser=%72%61w%2b+%C3%A9")),
    Row("RFC 3986 3.4", "a parameter twice: the first counts",
        request("/ws?user=raw&user=&x=%7a")),
    Row("RFC 3986 3.4", "? in the query", request("/ws?user=a?b/c?")),
    Row("RFC 3986 3.2.2", "IPv6 Host", request(Host="[2001:db8::1]:8080")),
    Row("RFC 3986 3.2.3", "Host with an empty port", request(Host="a.b:")),
]

NOT_13 = [Row("4.4", f"version {text}", version(text), 426)
          for text in ("0", "7", "8", "12", "14", "25", "255")]

REFUSED = NOT_13 + [
    # The request line.
    Row("4.2.1-1", "POST", line("POST /ws?user=raw HTTP/1.1"), 405),
    Row("4.2.1-1", "HEAD", line("HEAD /ws?user=raw HTTP/1.1"), 405),
    Row("4.2.1-1", "OPTIONS *", line("OPTIONS * HTTP/1.1"), 405),
    Row("4.2.1-1", "CONNECT", line("CONNECT a.example:80 HTTP/1.1"), 405),
    Row("4.2.1-1", "method in small letters",
        line("get /ws?user=raw HTTP/1.1"), 405),
    Row("4.2.1-1", "method is no token", line("G(T / HTTP/1.1"), 400),
    Row("4.2.1-1", "HTTP/1.0", line("GET /ws?user=raw HTTP/1.0"), 505),
    Row("4.2.1-1", "HTTP/2.0", line("GET /ws?user=raw HTTP/2.0"), 505),
    Row("4.2.1-1", "HTTP/0.9", line("GET /ws?user=raw HTTP/0.9"), 505),
    Row("RFC 9113 3.4", "HTTP/2 preface",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Row("RFC 9112 2.3", "http/1.1 in small letters",
        line("GET /ws?user=raw http/1.1"), 400),
    Row("RFC 9112 2.3", "HTTP/1.10", line("GET /ws?user=raw HTTP/1.10"), 400),
    Row("RFC 9112 2.3", "HTTP/11", line("GET /ws?user=raw HTTP/11"), 400),
    Row("RFC 9112 3", "no version", line("GET /ws?user=raw"), 400),
    Row("RFC 9112 3", "two spaces", line("GET  /ws?user=raw HTTP/1.1"), 400),
    Row("RFC 9112 3", "a tab for a space",
        line("GET\t/ws?user=raw HTTP/1.1"), 400),
    Row("RFC 9112 3", "a space behind the version",
        line("GET /ws?user=raw HTTP/1.1 "), 400),
    Row("RFC 9112 3", "a space before the method",
        line(" GET /ws?user=raw HTTP/1.1"), 400),
    Row("RFC 9112 3", "space in the target",
        line("GET /ws?user=r w HTTP/1.1"), 400),
    Row("RFC 9112 2.2", "two empty lines before it", b"\r\n\r\n" + GOOD, 400),
    Row("RFC 9112 2.2", "LF before it", b"\n" + GOOD, 400),
    Row("RFC 9112 2.2", "LF for CR LF", GOOD.replace(b"\r\n", b"\n"), 400),
    Row("RFC 9112 2.2", "LF for CR LF in one place",
        GOOD.replace(b"\r\nUpgrade", b"\nUpgrade"), 400),
    Row("RFC 9112 2.2", "LF LF at the end", GOOD[:-4] + b"\n\n", 400),
    Row("RFC 9112 2.2", "CR alone", raw(b"X: a\rb"), 400),
    Row("RFC 9112 2.2", "CR CR LF", raw(b"X: a\r"), 400),
    Row("RFC 9110 5.5", "NUL in a value", raw(b"X: a\0b"), 400),
    Row("RFC 9110 5.5", "NUL in the target",
        line("GET /ws?user=r\0w HTTP/1.1"), 400),
    Row("RFC 9110 5.5", "control character in a value", raw(b"X: \x1b[2J"),
        400),
    Row("RFC 9110 5.5", "DEL in a value", raw(b"X: \x7f"), 400),
    Row("RFC 9110 5.1", "NUL in a name", raw(b"X\0: a"), 400),
    Row("RFC 9110 5.1", "bytes above 127 in a name", raw(b"X\xe9: a"), 400),
    Row("RFC 9110 5.1", "a name with a space", raw(b"X Y: a"), 400),
    Row("RFC 9112 5", "an empty name", raw(b": a"), 400),
    Row("RFC 9112 5", "a header without a colon", raw(b"X"), 400),
    Row("RFC 9112 5.1", "white space before the colon", raw(b"X : a"), 400),
    Row("RFC 9112 5.1", "... of Host",
        GOOD.replace(b"Host:", b"Host :"), 400),
    Row("RFC 9112 5.2", "obs-fold by a space", raw(b"X: a", b" b"), 400),
    Row("RFC 9112 5.2", "obs-fold by a tab", raw(b"X: a", b"\tb"), 400),
    Row("RFC 9112 5.2", "obs-fold of the first header",
        LINE + b"\r\n " + FIELDS, 400),
    # The target.
    Row("4.2.1-1", "target without a slash", line("GET ws HTTP/1.1"), 400),
    Row("4.2.1-1", "GET *", line("GET * HTTP/1.1"), 400),
    Row("4.2.1-1", "absolute target of another scheme",
        line("GET ftp://a.example/ws?user=raw HTTP/1.1"), 400),
    Row("4.2.1-1", "absolute target without a host",
        line("GET http:///ws?user=raw HTTP/1.1"), 400),
    Row("3", "fragment in the target", request("/ws?user=raw#top"), 400),
    Row("RFC 3986 2.1", "bad escape in the path", request("/w%7?user=a"), 400),
    Row("RFC 3986 2.1", "bad escape in the query", request("/ws?user=%g0"),
        400),
    Row("RFC 3986 2.1", "cut escape", request("/ws?user=a%4"), 400),
    Row("RFC 3986 2", "bytes above 127", request("/ws?user=\xe9"), 400),
    Row("RFC 3986 2", "a quote", request('/ws?user="a"'), 400),
    Row("RFC 9112 3", "long target", request("/ws?user=" + "a" * 8192), 414),
    Row("RFC 9112 3", "endless target", b"GET /" + b"a" * 60000, 414),
    Row("RFC 6585 5", "a head one byte too long", of_length(MAX_HEAD + 1),
        431),
    Row("RFC 6585 5", "65 headers", with_headers(MAX_HEADERS + 1), 431),
    Row("RFC 6585 5", "headers without end",
        LINE + b"\r\n" + b"X: y\r\n" * 10000, 431),
    Row("RFC 6585 5", "a header without end",
        LINE + b"\r\nX: " + b"y" * 60000, 431),
    # Host.
    Row("4.2.1-2", "no Host", request(drop=["Host"]), 400),
    Row("RFC 9112 3.2", "two Hosts", raw(b"Host: localhost"), 400),
    Row("RFC 9112 3.2", "two Hosts, in other cases", raw(b"HOST: other"), 400),
    Row("RFC 9112 3.2", "an empty Host", request(Host=""), 400),
    Row("RFC 9112 3.2", "Host with a path", request(Host="a/b"), 400),
    Row("RFC 9112 3.2", "Host with a user", request(Host="me@a"), 400),
    Row("RFC 9112 3.2", "two Hosts in one header", request(Host="a, b"), 400),
    Row("RFC 9112 3.2", "Host with a bad port", request(Host="a:b"), 400),
    Row("RFC 9112 3.2", "Host with a port too high", request(Host="a:65536"),
        400),
    Row("RFC 9112 3.2", "Host with half a bracket", request(Host="[::1"), 400),
    # A body.
    Row("RFC 9110 9.3.1", "Content-Length", raw(b"Content-Length: 1") + b"x",
        400),
    Row("RFC 9112 6.3", "two Content-Lengths",
        raw(b"Content-Length: 0", b"Content-Length: 0"), 400),
    Row("RFC 9112 6.3", "Content-Length: 0, 0", raw(b"Content-Length: 0, 0"),
        400),
    Row("RFC 9112 6.3", "Content-Length: -1", raw(b"Content-Length: -1"), 400),
    Row("RFC 9112 6.3", "Content-Length: +0", raw(b"Content-Length: +0"), 400),
    Row("RFC 9112 6.3", "Content-Length of nothing", raw(b"Content-Length:"),
        400),
    Row("RFC 9112 6.1", "Transfer-Encoding",
        raw(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    Row("RFC 9112 6.1", "Transfer-Encoding: identity",
        raw(b"Transfer-Encoding: identity"), 400),
    Row("RFC 9112 6.1", "both",
        raw(b"Content-Length: 0", b"Transfer-Encoding: chunked"), 400),
    # The upgrade.
    Row("4.2.1-3", "no Upgrade", request(drop=["Upgrade"]), 400),
    Row("4.2.1-3", "Upgrade to something else", request(Upgrade="h2c"), 400),
    Row("4.2.1-3", "websockets", request(Upgrade="websockets"), 400),
    Row("4.2.1-4", "no Connection", request(drop=["Connection"]), 400),
    Row("4.2.1-4", "Connection: close", request(Connection="close"), 400),
    Row("4.2.1-4", "Connection: Upgraded", request(Connection="Upgraded"),
        400),
    Row("4.2.1-5", "no key", request(drop=["Sec-WebSocket-Key"]), 400),
    Row("4.2.1-5", "two keys",
        raw(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),
    Row("4.2.1-5", "an empty key", key(""), 400),
    Row("4.2.1-5", "15 bytes", key(base64.b64encode(bytes(15)).decode()), 400),
    Row("4.2.1-5", "17 bytes", key(base64.b64encode(bytes(17)).decode()), 400),
    Row("4.2.1-5", "no base64", key("AAAAAAAAAAAAAAAAAAAA-_=="), 400),
    Row("4.2.1-5", "a space in the key", key("AAAAAAAAAAA AAAAAAAAAA=="), 400),
    Row("4.2.1-5", "without padding", key("A" * 22), 400),
    Row("4.2.1-6", "no version", request(drop=["Sec-WebSocket-Version"]), 400),
    Row("4.2.1-6", "two versions", raw(b"Sec-WebSocket-Version: 13"), 400),
    Row("4.2.1-6", "version 13, 8", version("13, 8"), 400),
    Row("4.2.1-6", "version 013", version("013"), 400),
    Row("4.2.1-6", "version 256", version("256"), 400),
    Row("4.2.1-6", "version of nothing", version(""), 400),
    Row("4.2.1-6", "version x", version("x"), 400),
    Row("9.1", "extensions that are no list",
        request(add=["Sec-WebSocket-Extensions: a;"]), 400),
    # The origin.
    Row("10.2", "Origin of another host",
        request(Host="a.example", Origin="http://b.example"), 403),
    Row("10.2", "Origin of another port",
        request(Host="a.example", Origin="http://a.example:81"), 403),
    Row("10.2", "Origin that begins alike",
        request(Host="a.example", Origin="http://a.example.b"), 403),
    Row("10.2", "Origin with a user",
        request(Host="a.example", Origin="http://a.example@b"), 403),
    Row("10.2", "Origin: null", request(Origin="null"), 403),
    Row("10.2", "an empty Origin", request(Origin=""), 403),
    Row("10.2", "two Origins",
        raw(b"Origin: http://localhost", b"Origin: http://localhost"), 400),
    # No HTTP at all.
    Row("4.2.1", "nothing but line ends", b"\r\n" * 4, 400),
    Row("4.2.1", "a frame", frame(TEXT, b"hello"), 400),
    Row("4.2.1", "a TLS hello", bytes.fromhex("1603010200010001fc0303"), 400),
    Row("4.2.1", "bytes", bytes(range(256)), 400),
    # What the application says.
    Row("4.2.2", "nobody's name", request("/ws"), 401),
    Row("4.2.2", "an unknown path", request("/nowhere?user=raw"), 404),
    Row("4.2.2", "a user that can't be", request("/ws?user=%7d"), 400),
]

PLAIN = [
    Row("RFC 9110 9.3.1", "GET", plain("GET / HTTP/1.1", "Host: a"), 200),
    Row("RFC 9110 9.3.2", "HEAD", plain("HEAD / HTTP/1.1", "Host: a"), 200),
    Row("RFC 9112 3.2", "HTTP/1.0 without Host", plain("GET / HTTP/1.0"), 200),
    Row("RFC 9110 7.8", "Upgrade to what is not known",
        plain("GET / HTTP/1.1", "Host: a", "Upgrade: h2c",
              "Connection: upgrade"), 200),
    Row("RFC 9110 15.5.5", "unknown path",
        plain("GET /nowhere HTTP/1.1", "Host: a"), 404),
]

# What a status owes its reader.
OWED = {
    405: {"allow": "GET, HEAD"},
    426: {"sec-websocket-version": "13", "upgrade": "websocket"},
}


def key_of(sent):
    return re.search(rb"(?i)sec-websocket-key:\s*([^\r]*)", sent)[1]


def check_101(raw, sent):
    status, headers = raw.response_head()
    assert status == 101
    assert headers.pop("upgrade").lower() == "websocket"
    assert headers.pop("connection").lower() == "upgrade"
    digest = hashlib.sha1(key_of(sent) + GUID).digest()
    assert headers.pop("sec-websocket-accept").encode() == \
        base64.b64encode(digest)
    # Nothing that was not asked for, no subprotocol that nobody chose.
    assert not headers


@parametrize(ACCEPTED)
def test_accepted(node, row):
    for raw in each_cut(node, len(row.sent)):
        raw.send_cut(row.sent)
        check_101(raw, row.sent)
        still_answers(raw)


@parametrize(ACCEPTED)
def test_frames_behind_the_head_are_not_lost(node, row):
    early = frame(TEXT, b"early") + frame(PING, b"bird") + \
        frame(TEXT, b"and more", fin=False)
    for raw in each_cut(node, len(row.sent)):
        raw.send_cut(row.sent + early)
        check_101(raw, row.sent)
        got = [raw.recv(), raw.recv()]
        assert sorted(got) == [Frame(TEXT, True, b"early"),
                               Frame(PONG, True, b"bird")]
        raw.send(frame(0))
        assert raw.recv() == Frame(TEXT, True, b"and more")
        still_answers(raw)


def check_refusal(raw, row, has_body=True):
    status, headers = raw.response_head()
    assert status == row.status
    assert "close" in headers["connection"].lower().split(", ")
    for name, value in OWED.get(status, {}).items():
        assert headers[name] == value
    if has_body:
        raw.recv_exactly(int(headers["content-length"]))
    assert raw.ended()


@parametrize(REFUSED)
def test_refused(node, row):
    """With a status, and a close by the node, which loses nothing of that
    though more may be on its way."""
    for raw in each_cut(node, len(row.sent)):
        raw.send_cut(row.sent)
        check_refusal(raw, row, not row.sent.startswith(b"HEAD"))


@parametrize(REFUSED)
def test_refused_with_frames_behind(node, row):
    """They are no request, and nothing answers them."""
    for raw in each_cut(node, len(row.sent)):
        raw.send_cut(row.sent + frame(TEXT, b"hello") * 3)
        check_refusal(raw, row, not row.sent.startswith(b"HEAD"))


@parametrize(PLAIN)
def test_plain_requests(node, row):
    for raw in each_cut(node, len(row.sent)):
        raw.send_cut(row.sent)
        check_refusal(raw, row, not row.sent.startswith(b"HEAD"))
