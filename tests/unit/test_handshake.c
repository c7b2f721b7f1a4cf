/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The handshake codec. Every head of the tables is fed whole, in pieces of
 * every size and cut in two at every place, always from a block of exactly its
 * length: the verdict must be the same, and a sanitizer sees what is read
 * behind the end. */

#include "handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "failing_alloc.h"

#define LIMIT      1024
#define INCOMPLETE (-1)

#define GET     "GET /chat HTTP/1.1\r\n"
#define HOST    "Host: example.com\r\n"
#define KEY     "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_KEY  "Sec-WebSocket-Key: " KEY "\r\n"
#define WS_13   "Sec-WebSocket-Version: 13\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONN    "Connection: Upgrade\r\n"
#define END     "\r\n"
#define GOOD    GET HOST UPGRADE CONN WS_KEY WS_13 END

/* The bytes of a literal, NULs in the middle included. */
#define LITERAL(s) \
  { s, sizeof s - 1 }
#define ARRAY_LEN(array) (sizeof(array) / sizeof *(array))

typedef struct good_case {
  cp_bytes head;
  bool upgrade;
} good_case;

typedef struct bad_case {
  cp_bytes head;
  int status;
} bad_case;

static const good_case good_cases[] = {
    {LITERAL(GOOD), true},
    {LITERAL("\r\n" GOOD), true},
    {LITERAL(GET "hOST: example.com\r\nUPGRADE: WebSocket\r\n"
                 "connection: keep-alive, upGRADE\r\n"
                 "sec-websocket-key: " KEY "\r\n"
                 "SEC-WEBSOCKET-VERSION: 13\r\n" END),
     true},
    {LITERAL(GET HOST "Upgrade: h2c\r\nUpgrade: foo/1 ,\twebsocket\t, x\r\n"
                      "Connection: keep-alive\r\nConnection: ,, Upgrade,\r\n"
                      "Sec-WebSocket-Key:" KEY "\r\n"
                      "Sec-WebSocket-Version: \t 13 \t \r\n" END),
     true},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA//==\r\n" END),
     true},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY WS_13 "Content-Length: 0\r\n"
                                                "Expect: 100-continue\r\n"
                                                "Origin: null\r\n"
                                                "X:\r\n"
                                                "Y: caf\xc3\xa9 \xff\r\n" END),
     true},
    {LITERAL(GET HOST END), false},
    {LITERAL("HEAD /chat HTTP/1.1\r\n" HOST END), false},
    {LITERAL("GET / HTTP/1.0\r\n" END), false},
    {LITERAL("GET / HTTP/1.0\r\n" HOST END), false},
    {LITERAL("HEAD / HTTP/1.0\r\n" END), false},
    {LITERAL(GET HOST "Upgrade: h2c\r\n" CONN END), false},
    {LITERAL(GET HOST "Upgrade: websockets, web socket\r\n" CONN END), false},
    {LITERAL(GET HOST "Content-Length: 000\r\n" END), false},
    {LITERAL(GET "Host: 127.0.0.1:8080\r\n" END), false},
    {LITERAL(GET "Host: [::1]:8080\r\n" END), false},
    {LITERAL(GET "Host: [2001:db8::7]\r\n" END), false},
    {LITERAL(GET "Host: a_b-c.example.:65535\r\n" END), false},
    {LITERAL(GET "Host: example.com:\r\n" END), false},
    {LITERAL(GET "Host: ex%61mple.com\r\n" END), false},
    {LITERAL("GET http://other.example HTTP/1.1\r\n" HOST END), false},
    {LITERAL("GET HTTPS://other.example:1/ HTTP/1.1\r\n" HOST END), false},
    {LITERAL("GET /%41%2f%00?%7b{|}^`\\'[]~ HTTP/1.1\r\n" HOST END), false},
    {LITERAL("GET //a//b/..?? HTTP/1.1\r\n" HOST END), false},
};

static const bad_case bad_cases[] = {
    /* The request line. */
    {LITERAL("GET /chat\r\n" HOST END), 400},
    {LITERAL("GET\r\n" HOST END), 400},
    {LITERAL("GET  HTTP/1.1\r\n" HOST END), 400},
    {LITERAL(" GET / HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("\tGET / HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET  / HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET\t/ HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/1.1 \r\n" HOST END), 400},
    {LITERAL("GET / HTTP/1.1 x\r\n" HOST END), 400},
    {LITERAL("GET /a b HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("G(T / HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("\r\n\r\n" GOOD), 400},
    {LITERAL("\r\n\r\n"), 400},
    {LITERAL("\n" GOOD), 400},
    /* The HTTP version. */
    {LITERAL("GET / http/1.1\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/1\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/11\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/1.10\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/a.1\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/1.a\r\n" HOST END), 400},
    {LITERAL("GET / HTTP/1.2\r\n" HOST END), 505},
    {LITERAL("GET / HTTP/0.9\r\n" HOST END), 505},
    {LITERAL("GET / HTTP/2.0\r\n" HOST END), 505},
    {LITERAL("PRI * HTTP/2.0\r\n" END), 505},
    {LITERAL("GET / HTTP/1.0\r\n" HOST UPGRADE CONN WS_KEY WS_13 END), 505},
    /* The method. */
    {LITERAL("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n" END), 405},
    {LITERAL("PUT / HTTP/1.0\r\n" END), 405},
    {LITERAL("get / HTTP/1.1\r\n" HOST END), 405},
    {LITERAL("OPTIONS * HTTP/1.1\r\n" HOST END), 405},
    {LITERAL("CONNECT example.com:443 HTTP/1.1\r\n" HOST END), 405},
    {LITERAL("GETGET / HTTP/1.1\r\n" HOST END), 405},
    {LITERAL("POST / HTTP/1.1\r\n" HOST UPGRADE CONN WS_KEY WS_13 END), 405},
    {LITERAL("HEAD / HTTP/1.1\r\n" HOST UPGRADE CONN WS_KEY WS_13 END), 405},
    /* The target. */
    {LITERAL("GET * HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET chat HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET ?a=b HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /a#b HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /\"a\" HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /<a> HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /caf\xc3\xa9 HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /% HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /%4 HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /%4g HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /%%41 HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /a?b=%x1 HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /a?b=100% HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET http:/// HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET http://?a HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET http://user@h/ HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET http://h:x/ HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET ftp://h/ HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET http:/h HTTP/1.1\r\n" HOST END), 400},
    /* Host. */
    {LITERAL(GET END), 400},
    {LITERAL(GET HOST HOST END), 400},
    {LITERAL("GET / HTTP/1.0\r\n" HOST HOST END), 400},
    {LITERAL("GET http://h/ HTTP/1.1\r\n" END), 400},
    {LITERAL(GET "Host:\r\n" END), 400},
    {LITERAL(GET "Host: a b\r\n" END), 400},
    {LITERAL(GET "Host: a, b\r\n" END), 400},
    {LITERAL(GET "Host: a/b\r\n" END), 400},
    {LITERAL(GET "Host: user@a\r\n" END), 400},
    {LITERAL(GET "Host: a%4\r\n" END), 400},
    {LITERAL(GET "Host: caf\xc3\xa9\r\n" END), 400},
    {LITERAL(GET "Host: :80\r\n" END), 400},
    {LITERAL(GET "Host: a:8o\r\n" END), 400},
    {LITERAL(GET "Host: a:-1\r\n" END), 400},
    {LITERAL(GET "Host: a:65536\r\n" END), 400},
    {LITERAL(GET "Host: a:99999999999999999999\r\n" END), 400},
    {LITERAL(GET "Host: a:80:80\r\n" END), 400},
    {LITERAL(GET "Host: ::1\r\n" END), 400},
    {LITERAL(GET "Host: [\r\n" END), 400},
    {LITERAL(GET "Host: []\r\n" END), 400},
    {LITERAL(GET "Host: [::1\r\n" END), 400},
    {LITERAL(GET "Host: [::1]80\r\n" END), 400},
    {LITERAL(GET "Host: [::g]\r\n" END), 400},
    {LITERAL(GET "Host: [::1x\r\n" END), 400},
    {LITERAL(GET "Host: [::1x:80\r\n" END), 400},
    {LITERAL(GET HOST "Origin: http://a\r\nOrigin: http://a\r\n" END), 400},
    /* Lines and headers. */
    {LITERAL("GET /chat HTTP/1.1\n" HOST END), 400},
    {LITERAL(GET "Host: example.com\n" END), 400},
    {LITERAL(GET HOST "\n"), 400},
    {LITERAL(GET HOST "\r\r\n"), 400},
    {LITERAL(GET HOST "A: b\rc\r\n" END), 400},
    {LITERAL(GET HOST "A: b\r\r\n" END), 400},
    {LITERAL(GET HOST "A: b\r\n c\r\n" END), 400},
    {LITERAL(GET HOST "A: b\r\n\tc: d\r\n" END), 400},
    {LITERAL(GET " A: b\r\n" HOST END), 400},
    {LITERAL(GET HOST "A: b\0c\r\n" END), 400},
    {LITERAL(GET HOST "A\0: b\r\n" END), 400},
    {LITERAL("GET /\0 HTTP/1.1\r\n" HOST END), 400},
    {LITERAL("GET /\x7f HTTP/1.1\r\n" HOST END), 400},
    {LITERAL(GET HOST "A: \x01\r\n" END), 400},
    {LITERAL(GET HOST "A: \x1b[31m\r\n" END), 400},
    {LITERAL(GET HOST "A: \x7f\r\n" END), 400},
    {LITERAL(GET HOST "A : b\r\n" END), 400},
    {LITERAL(GET HOST "A\t: b\r\n" END), 400},
    {LITERAL(GET HOST "A B: b\r\n" END), 400},
    {LITERAL(GET HOST "A(B): b\r\n" END), 400},
    {LITERAL(GET HOST "caf\xc3\xa9: b\r\n" END), 400},
    {LITERAL(GET HOST ": b\r\n" END), 400},
    {LITERAL(GET HOST "A\r\n" END), 400},
    /* A body. */
    {LITERAL(GET HOST "Content-Length: 1\r\n" END), 400},
    {LITERAL(GET HOST "Content-Length: 01\r\n" END), 400},
    {LITERAL(GET HOST "Content-Length: -0\r\n" END), 400},
    {LITERAL(GET HOST "Content-Length: 0, 0\r\n" END), 400},
    {LITERAL(GET HOST "Content-Length:\r\n" END), 400},
    {LITERAL(GET HOST "Content-Length: 0\r\nContent-Length: 0\r\n" END), 400},
    {LITERAL(GET HOST "Content-Length: 0\r\nContent-Length: 5\r\n" END), 400},
    {LITERAL(GET HOST "Transfer-Encoding: chunked\r\n" END), 400},
    {LITERAL(GET HOST "transfer-encoding: identity\r\n" END), 400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY WS_13 "Content-Length: 4\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY WS_13
             "Transfer-Encoding: chunked\r\n" END),
     400},
    /* The upgrade. */
    {LITERAL(GET HOST CONN WS_KEY WS_13 END), 400},
    {LITERAL(GET HOST "Upgrade: h2c\r\n" CONN WS_KEY WS_13 END), 400},
    {LITERAL(GET HOST UPGRADE WS_KEY WS_13 END), 400},
    {LITERAL(GET HOST UPGRADE "Connection: close\r\n" WS_KEY WS_13 END), 400},
    {LITERAL(GET HOST UPGRADE "Connection: upgrades\r\n" WS_KEY WS_13 END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY END), 400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY WS_13 WS_13 END), 400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version:\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version: 013\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version: 256\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY
             "Sec-WebSocket-Version: 1300\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY
             "Sec-WebSocket-Version: 13, 8\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY
             "Sec-WebSocket-Version: 4294967309\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version: x\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version: 8\r\n" END),
     426},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version: 0\r\n" END),
     426},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY "Sec-WebSocket-Version: 255\r\n" END),
     426},
    {LITERAL(GET HOST UPGRADE CONN "Sec-WebSocket-Version: 14\r\n" END), 426},
    {LITERAL(GET HOST UPGRADE CONN WS_13 END), 400},
    {LITERAL(GET HOST UPGRADE CONN WS_KEY WS_KEY WS_13 END), 400},
    {LITERAL(GET HOST UPGRADE CONN WS_13 "Sec-WebSocket-Key:\r\n" END), 400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBs=SBub25jZQ==\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBs-SBub25jZQ==\r\n" END),
     400},
    {LITERAL(GET HOST UPGRADE CONN WS_13
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA==\r\n" END),
     400},
};

/* Judging. ---------------------------------------------------------------- */

static uint8_t *copy_of(cp_bytes bytes) {
  uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);

  assert_non_null(copy);
  if (bytes.len > 0)
    memcpy(copy, bytes.data, bytes.len);
  return copy;
}

/* What the scan says when the bytes come in two parts and the second in pieces
 * of `step`; each time they lie in a block of their own. */
static long scan_in_pieces(cp_bytes bytes, size_t cut, size_t step,
                           size_t limit) {
  cp__head_scan scan = {0};
  size_t len = cut;
  long result = 0;

  for (;;) {
    uint8_t *copy = copy_of(cp_bytes_of(bytes.data, len));
    result = cp__head_scan_feed(&scan, copy, len, limit);
    free(copy);
    if (result != 0 || len == bytes.len)
      return result;
    len = bytes.len - len < step ? bytes.len : len + step;
  }
}

/* The scan's result, which must not depend on the pieces. */
static long scan_all_ways(cp_bytes bytes, size_t limit) {
  long whole = scan_in_pieces(bytes, bytes.len, 1, limit);
  size_t i;

  for (i = 1; i <= 9; i++)
    assert_int_equal(scan_in_pieces(bytes, 0, i, limit), whole);
  for (i = 0; i <= bytes.len; i++)
    assert_int_equal(scan_in_pieces(bytes, i, bytes.len, limit), whole);
  return whole;
}

/* INCOMPLETE, or the status to refuse with, or 0. `head` borrows from `bytes`.
 */
static int verdict(cp__request_head *head, cp_bytes bytes) {
  long result = scan_all_ways(bytes, LIMIT);

  if (result == 0)
    return INCOMPLETE;
  if (result < 0)
    return (int)-result;
  assert_true((size_t)result <= bytes.len);
  return cp__request_head_parse(head, bytes.data, (size_t)result);
}

static int verdict_alone(cp_bytes bytes) {
  cp__request_head head;

  return verdict(&head, bytes);
}

static int parse_alone(cp_bytes bytes) {
  cp__request_head head;
  uint8_t *copy = copy_of(bytes);
  int status = cp__request_head_parse(&head, copy, bytes.len);

  free(copy);
  return status;
}

static void assert_bytes(cp_bytes bytes, const char *expected) {
  assert_int_equal(bytes.len, strlen(expected));
  assert_memory_equal(bytes.data, expected, bytes.len);
}

static void assert_verdict(cp_bytes head, int status, int expected) {
  if (status == expected)
    return;
  print_error("verdict %d instead of %d on:\n%.*s\n", status, expected,
              (int)head.len, (const char *)head.data);
  fail();
}

static void test_good_heads(void **state) {
  cp__request_head head;
  size_t i;

  (void)state;
  for (i = 0; i < ARRAY_LEN(good_cases); i++) {
    const good_case *c = &good_cases[i];
    assert_verdict(c->head, verdict(&head, c->head), 0);
    assert_verdict(c->head, parse_alone(c->head), 0);
    assert_int_equal(head.upgrade, c->upgrade);
    assert_int_equal(head.key.len, c->upgrade ? strlen(KEY) : 0);
  }
}

/* The parse doesn't lean on the scan: it refuses them too. */
static void test_bad_heads(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < ARRAY_LEN(bad_cases); i++) {
    const bad_case *c = &bad_cases[i];
    assert_verdict(c->head, verdict_alone(c->head), c->status);
    assert_verdict(c->head, parse_alone(c->head), c->status);
  }
}

static void test_every_prefix_is_incomplete(void **state) {
  size_t len;

  (void)state;
  for (len = 0; len < strlen(GOOD); len++) {
    assert_int_equal(scan_in_pieces(cp_bytes_of(GOOD, len), 0, 1, LIMIT), 0);
    assert_int_equal(parse_alone(cp_bytes_of(GOOD, len)), 400);
  }
}

static void test_bytes_behind_the_head_are_left(void **state) {
  static const char two[] = GOOD "\x81\x80 and more\n";

  (void)state;
  assert_int_equal(scan_all_ways(cp_str(two), LIMIT), strlen(GOOD));
  assert_int_equal(parse_alone(cp_str(two)), 400);
}

/* The client hears of it at once, not at the end of a head that may never
 * come. */
static void test_refused_as_soon_as_known(void **state) {
  static const char *const beginnings[] = {
      " ",        "\t",      "\n",           "\r\r",
      "\r\n\r\n", "\x16",    "GET\n",        GET " ",
      GET "\t",   GET "A\n", GET HOST "\rA", GET HOST "A: b\r\n ",
  };
  size_t i;

  (void)state;
  for (i = 0; i < ARRAY_LEN(beginnings); i++) {
    cp_bytes bytes = cp_str(beginnings[i]);
    assert_int_equal(scan_all_ways(bytes, LIMIT), -400);
    bytes.len--;
    assert_int_equal(scan_all_ways(bytes, LIMIT), 0);
  }
}

/* No byte of a head may become a control character. */
static void test_control_characters(void **state) {
  char text[] = GOOD;
  size_t i;
  int c;

  (void)state;
  for (i = 0; i < strlen(GOOD); i++) {
    for (c = 0; c < 0x80; c = c == 0x1f ? 0x7f : c + 1) {
      if (c == '\t' || c == '\r' || c == '\n')
        continue;
      text[i] = (char)c;
      assert_int_equal(
          scan_in_pieces(cp_bytes_of(text, strlen(GOOD)), 0, 1, LIMIT), -400);
      assert_int_equal(parse_alone(cp_bytes_of(text, strlen(GOOD))), 400);
    }
    text[i] = GOOD[i];
  }
}

static void test_fields(void **state) {
  static const char text[] =
      "GET /a%20b/?user=x&y HTTP/1.1\r\n"
      "Host:example.com:80\r\n"
      "Origin: \t https://example.com \r\n" UPGRADE CONN WS_KEY WS_13
      "Sec-WebSocket-Protocol: chat.v2\r\n"
      "A: one\r\na: two\r\nEmpty: \r\n"
      "Sec-WebSocket-Protocol: Chat , other\r\n" END;
  cp__request_head head;

  (void)state;
  assert_int_equal(verdict(&head, cp_str(text)), 0);
  assert_bytes(head.method, "GET");
  assert_bytes(head.target, "/a%20b/?user=x&y");
  assert_bytes(head.path, "/a%20b/");
  assert_bytes(head.query, "user=x&y");
  assert_bytes(head.host, "example.com:80");
  assert_bytes(head.origin, "https://example.com");
  assert_bytes(head.key, KEY);
  assert_true(head.upgrade);
  assert_false(head.head_only);
  assert_int_equal(head.n_headers, 11);
  assert_bytes(head.headers[6].name, "Sec-WebSocket-Protocol");
  assert_bytes(head.headers[6].value, "chat.v2");

  assert_bytes(cp__request_head_header(&head, cp_str("A")), "one");
  assert_bytes(cp__request_head_header(&head, cp_str("EMPTY")), "");
  assert_non_null(cp__request_head_header(&head, cp_str("Empty")).data);
  assert_null(cp__request_head_header(&head, cp_str("B")).data);
  assert_true(cp__request_head_has_token(&head, cp_str("a"), cp_str("TWO")));
  assert_false(cp__request_head_has_token(&head, cp_str("a"), cp_str("three")));
  assert_false(cp__request_head_has_token(&head, cp_str("b"), cp_str("one")));
  assert_true(cp__request_head_offers(&head, cp_str("Chat")));
  assert_true(cp__request_head_offers(&head, cp_str("other")));
  assert_true(cp__request_head_offers(&head, cp_str("chat.v2")));
  assert_false(cp__request_head_offers(&head, cp_str("chat")));
}

static void test_fields_of_a_plain_request(void **state) {
  static const char text[] = "HEAD / HTTP/1.0\r\nOrigin:\r\n" END;
  cp__request_head head;

  (void)state;
  assert_int_equal(verdict(&head, cp_str(text)), 0);
  assert_true(head.head_only);
  assert_false(head.upgrade);
  assert_bytes(head.path, "/");
  assert_int_equal(head.query.len, 0);
  assert_null(head.host.data);
  assert_non_null(head.origin.data);
  assert_int_equal(head.origin.len, 0);
  assert_null(head.key.data);

  assert_int_equal(verdict(&head, cp_str(GET HOST END)), 0);
  assert_null(head.origin.data);

  /* A refused HEAD is answered without a body as well. */
  assert_int_equal(verdict(&head, cp_str("HEAD / HTTP/1.1\r\n" END)), 400);
  assert_true(head.head_only);
}

static void assert_absolute(const char *target, const char *host,
                            const char *path, const char *query) {
  cp__request_head head;
  char text[256];

  snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST END, target);
  assert_int_equal(verdict(&head, cp_str(text)), 0);
  assert_bytes(head.target, target);
  assert_bytes(head.host, host);
  assert_bytes(head.path, path);
  assert_bytes(head.query, query);
}

static void test_absolute_target(void **state) {
  (void)state;
  assert_absolute("http://a:81/b?c=/?", "a:81", "/b", "c=/?");
  assert_absolute("HtTpS://[::1]/", "[::1]", "/", "");
  assert_absolute("http://a", "a", "/", "");
  assert_absolute("http://a?b", "a", "/", "b");
  assert_absolute("/http://a?b", "example.com", "/http://a", "b");
}

/* Limits. ----------------------------------------------------------------- */

/* A head whose request line is `line_len` long and that is `len` long in all.
 */
static cp_bytes padded_head(char out[2 * LIMIT], size_t line_len, size_t len) {
  size_t used = (size_t)sprintf(out, "GET /");

  memset(out + used, 'x', line_len - used - strlen(" HTTP/1.1"));
  used = line_len - strlen(" HTTP/1.1");
  used += (size_t)sprintf(out + used, " HTTP/1.1\r\n" HOST "A: ");
  memset(out + used, 'y', len - used - 4);
  memcpy(out + len - 4, "\r\n\r\n", 4);
  return cp_bytes_of(out, len);
}

static void test_long_target(void **state) {
  char text[2 * LIMIT];

  (void)state;
  assert_int_equal(verdict_alone(padded_head(text, LIMIT / 2, LIMIT)), 0);
  assert_int_equal(verdict_alone(padded_head(text, LIMIT / 2 + 1, LIMIT)), 414);
  /* Known before the line ends. */
  assert_int_equal(scan_all_ways(cp_bytes_of(text, LIMIT / 2), LIMIT), 0);
  assert_int_equal(scan_all_ways(cp_bytes_of(text, LIMIT / 2 + 1), LIMIT),
                   -414);
}

static void test_long_head(void **state) {
  char text[2 * LIMIT];

  (void)state;
  assert_int_equal(verdict_alone(padded_head(text, 30, LIMIT)), 0);
  assert_int_equal(verdict_alone(padded_head(text, 30, LIMIT + 1)), 431);
  /* A buffer of the limit's size never fills without a verdict. */
  assert_int_equal(scan_all_ways(cp_bytes_of(text, LIMIT - 1), LIMIT), 0);
  assert_int_equal(scan_all_ways(cp_bytes_of(text, LIMIT), LIMIT), -431);
  assert_int_equal(scan_all_ways(cp_str(GOOD), strlen(GOOD)), strlen(GOOD));
  assert_int_equal(scan_all_ways(cp_str(GOOD), strlen(GOOD) - 1), -431);
  assert_int_equal(scan_all_ways(cp_str("\r\n"), 0), -431);
}

static void test_number_of_headers(void **state) {
  char text[LIMIT] = GET HOST;
  size_t n;

  (void)state;
  for (n = 1; n < CP__MAX_HEADERS; n++)
    strcat(text, "A: b\r\n");
  strcat(text, END);
  assert_int_equal(verdict_alone(cp_str(text)), 0);
  strcpy(text + strlen(text) - 2, "A: b\r\n" END);
  assert_int_equal(verdict_alone(cp_str(text)), 431);
}

static void test_tokens_and_values(void **state) {
  (void)state;
  assert_true(cp__is_token(cp_str("!#$%&'*+-.^_`|~09azAZ")));
  assert_false(cp__is_token(cp_str("")));
  assert_false(cp__is_token(cp_str("a b")));
  assert_false(cp__is_token(cp_str("a,b")));
  assert_false(cp__is_token(cp_str("a\xe9")));
  assert_false(cp__is_token(cp_bytes_of("a\0", 2)));
  assert_true(cp__is_header_value(cp_str("")));
  assert_true(cp__is_header_value(cp_str(" a\tb \xc3\xa9")));
  assert_false(cp__is_header_value(cp_str("a\r\nSet-Cookie: b")));
  assert_false(cp__is_header_value(cp_str("a\nb")));
  assert_false(cp__is_header_value(cp_str("\x7f")));
  assert_false(cp__is_header_value(cp_bytes_of("\0", 1)));
}

/* Query and origin. ------------------------------------------------------- */

static void test_query_decode(void **state) {
  static const struct {
    const char *query;
    const char *name;
    int result;
    const char *value;
  } cases[] = {
      {"user=alice", "user", 0, "alice"},
      {"a=b&user=alice&user=bob", "user", 0, "alice"},
      {"user=a+b%20c%2b%26%3D", "user", 0, "a b c+&="},
      {"user=a=b", "user", 0, "a=b"},
      {"user=%e4%BD%a0", "user", 0, "\xe4\xbd\xa0"},
      {"user=", "user", 0, ""},
      {"user", "user", 0, ""},
      {"&&user=x", "user", 0, "x"},
      {"%75se%72=x", "user", 0, "x"},
      {"my+name=x", "my name", 0, "x"},
      {"us%zzer=x&user=y", "user", 0, "y"},
      {"other=%zz&user=y", "user", 0, "y"},
      {"", "user", CP_E_NOTFOUND, ""},
      {"users=x", "user", CP_E_NOTFOUND, ""},
      {"use=x", "user", CP_E_NOTFOUND, ""},
      {"use", "user", CP_E_NOTFOUND, ""},
      {"User=x", "user", CP_E_NOTFOUND, ""},
      {"x=user", "user", CP_E_NOTFOUND, ""},
      {"user=%", "user", CP_E_INVALID, ""},
      {"user=abc%4", "user", CP_E_INVALID, ""},
      {"user=%4&b", "user", CP_E_INVALID, ""},
      {"user=%g0", "user", CP_E_INVALID, ""},
      {"user=%0g", "user", CP_E_INVALID, ""},
      {"user=%+1", "user", CP_E_INVALID, ""},
  };
  char expected[64];
  cp__buf out;
  size_t i;

  (void)state;
  for (i = 0; i < ARRAY_LEN(cases); i++) {
    size_t len = strlen(cases[i].query);
    uint8_t *query = copy_of(cp_str(cases[i].query));
    cp__buf_init(&out, &cp__default_allocator);
    cp__buf_append_str(&out, "before:");
    assert_int_equal(
        cp__query_decode(cp_bytes_of(query, len), cp_str(cases[i].name), &out),
        cases[i].result);
    snprintf(expected, sizeof expected, "before:%s", cases[i].value);
    assert_bytes(cp__buf_bytes(&out), expected);
    cp__buf_finish(&out);
    free(query);
  }
}

static void test_query_decode_any_byte(void **state) {
  static const uint8_t expected[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  cp__buf out;

  (void)state;
  cp__buf_init(&out, &cp__default_allocator);
  assert_int_equal(
      cp__query_decode(cp_str("u=%00%01%7f%80%FF"), cp_str("u"), &out), 0);
  assert_int_equal(cp__buf_len(&out), sizeof expected);
  assert_memory_equal(cp__buf_begin(&out), expected, sizeof expected);
  cp__buf_finish(&out);
  assert_int_equal(cp__query_decode(cp_bytes_of(NULL, 0), cp_str("u"), &out),
                   CP_E_NOTFOUND);
}

static void test_origin(void **state) {
  static const struct {
    const char *origin;
    const char *host;
    bool same;
  } cases[] = {
      {"http://example.com", "example.com", true},
      {"HTTP://EXAMPLE.com", "example.COM", true},
      {"https://example.com", "example.com", true},
      {"http://example.com:80", "example.com", true},
      {"http://example.com", "example.com:80", true},
      {"https://example.com", "example.com:443", true},
      {"https://example.com:443", "example.com", true},
      {"ws://example.com", "example.com:80", true},
      {"wss://example.com", "example.com:443", true},
      {"http://example.com:8080", "example.com:8080", true},
      {"http://[::1]:8080", "[::1]:8080", true},
      {"http://[::1]", "[::1]", true},
      {"http://127.0.0.1", "127.0.0.1:80", true},
      {"http://example.com", "example.com:", true},
      {"http://example.com", "example.com:443", false},
      {"https://example.com", "example.com:80", false},
      {"https://example.com:80", "example.com", false},
      {"http://example.com:8080", "example.com", false},
      {"http://example.com", "example.com:8080", false},
      {"http://example.com", "example.org", false},
      {"http://example.com.evil.org", "example.com", false},
      {"http://evil-example.com", "example.com", false},
      {"http://example.com@evil.org", "example.com", false},
      {"http://evil.org@example.com", "example.com", false},
      {"http://example.com/", "example.com", false},
      {"http://example.com:80x", "example.com", false},
      {"http:example.com", "example.com", false},
      {"http:/example.com", "example.com", false},
      {"http:xxexample.com", "example.com", false},
      {"http://[::1", "[::1]", false},
      {"http://[::1]", "[::1", false},
      {"http://", "example.com", false},
      {"http", "example.com", false},
      {"//example.com", "example.com", false},
      {"://example.com", "example.com", false},
      {"file://example.com", "example.com", false},
      {"chrome-extension://example.com", "example.com", false},
      {"null", "example.com", false},
      {"null", "null", false},
      {"", "", false},
      {"http://", "", false},
      {"example.com", "example.com", false},
  };
  size_t i;

  (void)state;
  for (i = 0; i < ARRAY_LEN(cases); i++) {
    cp_bytes origin = cp_str(cases[i].origin);
    cp_bytes host = cp_str(cases[i].host);
    uint8_t *origin_copy = copy_of(origin);
    uint8_t *host_copy = copy_of(host);
    bool same = cp__origin_is_host(cp_bytes_of(origin_copy, origin.len),
                                   cp_bytes_of(host_copy, host.len));
    free(origin_copy);
    free(host_copy);
    if (same != cases[i].same)
      print_error("%s on %s\n", cases[i].origin, cases[i].host);
    assert_int_equal(same, cases[i].same);
  }
  assert_false(cp__origin_is_host(cp_bytes_of(NULL, 0), cp_str("a")));
  assert_false(cp__origin_is_host(cp_str("http://a"), cp_bytes_of(NULL, 0)));
}

/* Responses. -------------------------------------------------------------- */

static cp__hash *hash;

static int create_hash(void **state) {
  (void)state;
  hash = cp__hash_create();
  return hash != NULL ? 0 : -1;
}

static int destroy_hash(void **state) {
  (void)state;
  cp__hash_destroy(hash);
  return 0;
}

static void test_sample_of_rfc_6455(void **state) {
  char accept[CP__ACCEPT_LEN + 1];

  (void)state;
  assert_int_equal(cp__handshake_accept(hash, cp_str(KEY), accept), 0);
  assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  /* Of the one before nothing is left. */
  assert_int_equal(
      cp__handshake_accept(hash, cp_str("x3JJHMbDL1EzLkh9GBhXDw=="), accept),
      0);
  assert_string_equal(accept, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
  assert_int_equal(cp__handshake_accept(hash, cp_str("short"), accept),
                   CP_E_INVALID);
  assert_int_equal(cp__handshake_accept(hash, cp_bytes_of(NULL, 0), accept),
                   CP_E_INVALID);
}

static void test_write_101(void **state) {
  static const cp__header headers[] = {
      {LITERAL("Set-Cookie"), LITERAL("a=b")},
      {LITERAL("X-Node"), LITERAL("n1")},
  };
  cp__buf out;

  (void)state;
  cp__buf_init(&out, &cp__default_allocator);
  assert_int_equal(cp__handshake_write_101(&out, hash, cp_str(KEY),
                                           cp_str("chat"), headers,
                                           ARRAY_LEN(headers)),
                   0);
  assert_bytes(cp__buf_bytes(&out),
               "HTTP/1.1 101 Switching Protocols\r\n"
               "Upgrade: websocket\r\n"
               "Connection: Upgrade\r\n"
               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
               "Sec-WebSocket-Protocol: chat\r\n"
               "Set-Cookie: a=b\r\n"
               "X-Node: n1\r\n"
               "\r\n");
  cp__buf_reset(&out, 0);
  assert_int_equal(cp__handshake_write_101(&out, hash, cp_str(KEY),
                                           cp_bytes_of(NULL, 0), NULL, 0),
                   0);
  assert_bytes(cp__buf_bytes(&out),
               "HTTP/1.1 101 Switching Protocols\r\n"
               "Upgrade: websocket\r\n"
               "Connection: Upgrade\r\n"
               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
               "\r\n");
  cp__buf_reset(&out, 0);
  assert_int_equal(cp__handshake_write_101(&out, hash, cp_str("no key"),
                                           cp_str("chat"), NULL, 0),
                   CP_E_INVALID);
  assert_int_equal(cp__buf_len(&out), 0);
  cp__buf_finish(&out);
}

static void assert_response(int status, bool head_only, const char *expected) {
  cp__buf out;

  cp__buf_init(&out, &cp__default_allocator);
  cp__http_write_response(&out, status, cp_bytes_of(NULL, 0), NULL, 0,
                          cp_str("why\n"), head_only, 5);
  assert_false(out.failed);
  assert_bytes(cp__buf_bytes(&out), expected);
  cp__buf_finish(&out);
}

#define PLAIN                                   \
  "Content-Type: text/plain; charset=utf-8\r\n" \
  "Content-Length: 4\r\n"                       \
  "Connection: close\r\n"

static void test_write_response(void **state) {
  (void)state;
  assert_response(404, false, "HTTP/1.1 404 Not Found\r\n" PLAIN "\r\nwhy\n");
  assert_response(404, true, "HTTP/1.1 404 Not Found\r\n" PLAIN "\r\n");
  assert_response(405, false,
                  "HTTP/1.1 405 Method Not Allowed\r\n" PLAIN
                  "Allow: GET, HEAD\r\n\r\nwhy\n");
  assert_response(426, false,
                  "HTTP/1.1 426 Upgrade Required\r\n" PLAIN
                  "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"
                  "Connection: Upgrade\r\n\r\nwhy\n");
  assert_response(503, false,
                  "HTTP/1.1 503 Service Unavailable\r\n" PLAIN
                  "Retry-After: 5\r\n\r\nwhy\n");
  assert_response(299, false, "HTTP/1.1 299 Status\r\n" PLAIN "\r\nwhy\n");
  assert_response(204, false,
                  "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  assert_response(304, false,
                  "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
}

static void test_write_response_in_full(void **state) {
  static const cp__header header = {LITERAL("Cache-Control"),
                                    LITERAL("no-store")};
  cp__buf out;

  (void)state;
  cp__buf_init(&out, &cp__default_allocator);
  cp__http_write_response(&out, 200, cp_str("application/json"), &header, 1,
                          cp_str("{}"), false, 5);
  assert_bytes(cp__buf_bytes(&out), "HTTP/1.1 200 OK\r\n"
                                    "Content-Type: application/json\r\n"
                                    "Content-Length: 2\r\n"
                                    "Connection: close\r\n"
                                    "Cache-Control: no-store\r\n"
                                    "\r\n{}");
  cp__buf_reset(&out, 0);
  cp__http_write_response(&out, 200, cp_str("text/html"), NULL, 0,
                          cp_bytes_of(NULL, 0), false, 5);
  assert_bytes(cp__buf_bytes(&out), "HTTP/1.1 200 OK\r\n"
                                    "Content-Type: text/html\r\n"
                                    "Content-Length: 0\r\n"
                                    "Connection: close\r\n"
                                    "\r\n");
  cp__buf_finish(&out);
}

static void test_reasons(void **state) {
  static const int used[] = {101, 200, 400, 403, 404, 405, 408,
                             414, 426, 431, 500, 503, 505};
  size_t i;

  (void)state;
  for (i = 0; i < ARRAY_LEN(used); i++)
    assert_string_not_equal(cp__http_reason(used[i]), "Status");
  assert_string_equal(cp__http_reason(404), "Not Found");
  assert_string_equal(cp__http_reason(0), "Status");
  assert_string_equal(cp__http_reason(999), "Status");
}

/* Without memory. --------------------------------------------------------- */

/* Long enough that the buf has to grow more than once. */
static char long_text[3000];

static int write_long_101(cp__buf *out) {
  cp__header header = {LITERAL("X"), {long_text, sizeof long_text}};

  return cp__handshake_write_101(out, hash, cp_str(KEY), cp_str("chat"),
                                 &header, 1);
}

static int write_long_response(cp__buf *out) {
  cp__http_write_response(out, 503, cp_bytes_of(NULL, 0), NULL, 0,
                          cp_bytes_of(long_text, sizeof long_text), false, 5);
  return out->failed ? CP_E_NOMEM : 0;
}

static int decode_long_query(cp__buf *out) {
  char query[3 + sizeof long_text] = "a=";

  memcpy(query + 2, long_text, sizeof long_text);
  return cp__query_decode(cp_bytes_of(query, 2 + sizeof long_text), cp_str("a"),
                          out);
}

/* Fails each allocation in turn; `n_expected` says how many there are at
 * least. */
static void fail_every_allocation(int (*write)(cp__buf *), size_t n_expected) {
  failing_alloc memory;
  size_t n = 0;
  cp__buf out;
  int err;

  do {
    failing_alloc_init(&memory, ++n);
    cp__buf_init(&out, &memory.alloc);
    err = write(&out);
    assert_int_equal(err, memory.failed ? CP_E_NOMEM : 0);
    cp__buf_finish(&out);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n > n_expected);
}

static void test_no_memory(void **state) {
  (void)state;
  memset(long_text, 'x', sizeof long_text);
  fail_every_allocation(write_long_101, 2);
  fail_every_allocation(write_long_response, 2);
  fail_every_allocation(decode_long_query, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good_heads),
      cmocka_unit_test(test_bad_heads),
      cmocka_unit_test(test_every_prefix_is_incomplete),
      cmocka_unit_test(test_bytes_behind_the_head_are_left),
      cmocka_unit_test(test_refused_as_soon_as_known),
      cmocka_unit_test(test_control_characters),
      cmocka_unit_test(test_fields),
      cmocka_unit_test(test_fields_of_a_plain_request),
      cmocka_unit_test(test_absolute_target),
      cmocka_unit_test(test_long_target),
      cmocka_unit_test(test_long_head),
      cmocka_unit_test(test_number_of_headers),
      cmocka_unit_test(test_tokens_and_values),
      cmocka_unit_test(test_query_decode),
      cmocka_unit_test(test_query_decode_any_byte),
      cmocka_unit_test(test_origin),
      cmocka_unit_test(test_sample_of_rfc_6455),
      cmocka_unit_test(test_write_101),
      cmocka_unit_test(test_write_response),
      cmocka_unit_test(test_write_response_in_full),
      cmocka_unit_test(test_reasons),
      cmocka_unit_test(test_no_memory),
  };

  return cmocka_run_group_tests(tests, create_hash, destroy_hash);
}
