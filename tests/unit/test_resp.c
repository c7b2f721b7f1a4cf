/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Each case feeds bytes and compares what came out, written down as text:
 *
 *   +OK  -ERR x  :5  "text"  nil  [ ... ]     elements of replies
 *   <channel|payload>  <pattern|channel|payload>   messages
 *   !PROTOCOL  !TOOBIG  !NOMEM                how it ended, if not well
 *
 * once in one piece, once byte by byte, and once for every cut in two. */

#include "resp.h"

#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define NO_LIMIT SIZE_MAX

typedef struct session {
  cp__resp *resp;
  cp__buf log;
} session;

static void log_text(cp__buf *log, const char *before, cp_bytes text,
                     const char *behind) {
  cp__buf_append_str(log, before);
  cp__buf_append_bytes(log, text);
  cp__buf_append_str(log, behind);
}

static const cp__resp_node *log_node(cp__buf *log, const cp__resp_node *node) {
  long long n = node->integer;

  switch (node->type) {
  case CP__RESP_STRING:
    log_text(log, "\"", node->text, "\" ");
    break;
  case CP__RESP_STATUS:
    log_text(log, "+", node->text, " ");
    break;
  case CP__RESP_ERROR:
    log_text(log, "-", node->text, " ");
    break;
  case CP__RESP_INTEGER:
    cp__buf_appendf(log, ":%lld ", node->integer);
    break;
  case CP__RESP_NIL:
    cp__buf_append_str(log, "nil ");
    break;
  case CP__RESP_ARRAY:
    cp__buf_append_str(log, "[ ");
    for (node++; n > 0; n--)
      node = log_node(log, node);
    cp__buf_append_str(log, "] ");
    return node;
  }
  return node + 1;
}

static void on_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                       cp_bytes payload) {
  session *s = ctx;

  cp__buf_append_str(&s->log, "<");
  if (pattern.len > 0)
    log_text(&s->log, "", pattern, "|");
  log_text(&s->log, "", channel, "|");
  log_text(&s->log, "", payload, "> ");
}

static void session_start(session *s, const cp_allocator *alloc,
                          size_t max_reply, cp__resp_message_cb cb) {
  cp__buf_init(&s->log, &cp__default_allocator);
  s->resp = cp__resp_create(alloc, max_reply, cb, s);
}

static void session_end(session *s) {
  cp__resp_destroy(s->resp);
  cp__buf_finish(&s->log);
}

static const char *log_of(session *s) {
  cp__buf_append(&s->log, "", 1);
  s->log.end--;
  assert_false(s->log.failed);
  return (const char *)cp__buf_begin(&s->log);
}

/* Feeds one piece and takes all that comes of it. A reader that has failed must
 * go on failing in the same way. */
static int session_feed(session *s, const char *data, size_t len) {
  cp__resp_reply reply;
  int rc = cp__resp_feed(s->resp, data, len);

  if (rc != 0)
    return rc;
  while ((rc = cp__resp_next(s->resp, &reply)) == 1) {
    const cp__resp_node *end = log_node(&s->log, reply.nodes);
    assert_ptr_equal(end, reply.nodes + reply.n_nodes);
  }
  if (rc == 0)
    return 0;
  assert_int_equal(cp__resp_next(s->resp, &reply), rc);
  assert_int_equal(cp__resp_feed(s->resp, "+OK\r\n", 5), rc);
  assert_int_equal(cp__resp_next(s->resp, &reply), rc);
  assert_string_not_equal(cp__resp_error(s->resp), "");
  cp__buf_append_str(&s->log, rc == CP_E_PROTOCOL ? "!PROTOCOL "
                              : rc == CP_E_TOOBIG ? "!TOOBIG "
                              : rc == CP_E_NOMEM  ? "!NOMEM "
                                                  : "!other ");
  return rc;
}

/* Feeds from a block of exactly this size that is freed at once, so that
 * whoever holds on to it, or reads behind it, is noticed. */
static int session_feed_copy(session *s, const char *data, size_t len) {
  char *copy = malloc(len > 0 ? len : 1);
  int rc;

  assert_non_null(copy);
  memcpy(copy, data, len);
  rc = session_feed(s, copy, len);
  free(copy);
  return rc;
}

static void session_feed_bytewise(session *s, const char *data, size_t len) {
  size_t i;

  for (i = 0; i < len; i++)
    if (session_feed_copy(s, data + i, 1) != 0)
      return;
}

static void check_cut(const char *wire, size_t len, size_t cut,
                      size_t max_reply, cp__resp_message_cb cb,
                      const char *expected) {
  session s;

  session_start(&s, &cp__default_allocator, max_reply, cb);
  if (session_feed_copy(&s, wire, cut) == 0)
    session_feed_copy(&s, wire + cut, len - cut);
  assert_string_equal(log_of(&s), expected);
  session_end(&s);
}

static void check_limited(const char *wire, size_t len, size_t max_reply,
                          cp__resp_message_cb cb, const char *expected) {
  session s;
  size_t cut;

  for (cut = 0; cut <= len; cut++)
    check_cut(wire, len, cut, max_reply, cb, expected);
  session_start(&s, &cp__default_allocator, max_reply, cb);
  session_feed_bytewise(&s, wire, len);
  assert_string_equal(log_of(&s), expected);
  session_end(&s);
}

static void check(const char *wire, const char *expected) {
  check_limited(wire, strlen(wire), NO_LIMIT, on_message, expected);
}

static void test_replies(void **ctx) {
  (void)ctx;
  check("+OK\r\n", "+OK ");
  check("+\r\n", "+ ");
  check("-ERR no such\r\n", "-ERR no such ");
  check(":0\r\n:-1\r\n:9223372036854775807\r\n",
        ":0 :-1 :9223372036854775807 ");
  check("$5\r\nhello\r\n", "\"hello\" ");
  check("$0\r\n\r\n", "\"\" ");
  check("$4\r\n\r\n\r\n\r\n", "\"\r\n\r\n\" ");
  check("$-1\r\n", "nil ");
  check("*-1\r\n", "nil ");
  check("*0\r\n", "[ ] ");
  check("", "");
}

static void test_arrays(void **ctx) {
  (void)ctx;
  check("*2\r\n$1\r\na\r\n:7\r\n", "[ \"a\" :7 ] ");
  check("*3\r\n$-1\r\n*-1\r\n$0\r\n\r\n", "[ nil nil \"\" ] ");
  check("*3\r\n*0\r\n*2\r\n+a\r\n*1\r\n:1\r\n-b\r\n+next\r\n",
        "[ [ ] [ +a [ :1 ] ] -b ] +next ");
  check("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        "[ \"subscribe\" \"c\" :1 ] ");
}

static void test_zero_bytes(void **ctx) {
  static const char wire[] = "$3\r\na\0b\r\n";
  cp__resp_reply reply;
  session s;

  (void)ctx;
  session_start(&s, &cp__default_allocator, NO_LIMIT, NULL);
  assert_int_equal(cp__resp_feed(s.resp, wire, sizeof wire - 1), 0);
  assert_int_equal(cp__resp_next(s.resp, &reply), 1);
  assert_int_equal(reply.nodes[0].text.len, 3);
  assert_memory_equal(reply.nodes[0].text.data, "a\0b", 3);
  session_end(&s);
}

static void test_messages(void **ctx) {
  (void)ctx;
  check("*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n", "<ch|hello> ");
  check("*3\r\n$8\r\nsmessage\r\n$2\r\nch\r\n$0\r\n\r\n", "<ch|> ");
  check("*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\nch\r\n$1\r\nx\r\n",
        "<c*|ch|x> ");
  check("*3\r\n$7\r\nmessage\r\n$0\r\n\r\n$1\r\nx\r\n", "<|x> ");
}

static void test_messages_among_replies(void **ctx) {
  (void)ctx;
  check("+OK\r\n"
        "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n"
        "*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$1\r\n2\r\n"
        ":5\r\n"
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n3\r\n",
        "+OK <a|1> <b|2> :5 <c|3> ");
}

static void test_messages_as_replies(void **ctx) {
  static const char wire[] = "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nx\r\n";

  (void)ctx;
  check_limited(wire, sizeof wire - 1, NO_LIMIT, NULL,
                "[ \"message\" \"ch\" \"x\" ] ");
}

/* The kind of a message is not enough. */
static void test_almost_messages(void **ctx) {
  (void)ctx;
  check("*2\r\n$7\r\nmessage\r\n$1\r\nc\r\n", "[ \"message\" \"c\" ] ");
  check("*4\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n$1\r\ny\r\n",
        "[ \"message\" \"c\" \"x\" \"y\" ] ");
  check("*5\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n",
        "[ \"message\" \"c\" \"x\" \"y\" \"z\" ] ");
  check("*3\r\n$8\r\npmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ \"pmessage\" \"c\" \"x\" ] ");
  check("*4\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nx\r\n$1\r\ny\r\n",
        "[ \"smessage\" \"c\" \"x\" \"y\" ] ");
  check("*3\r\n$7\r\nmessagE\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ \"messagE\" \"c\" \"x\" ] ");
  check("*3\r\n+message\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ +message \"c\" \"x\" ] ");
  check("*3\r\n$7\r\nmessage\r\n+c\r\n$1\r\nx\r\n",
        "[ \"message\" +c \"x\" ] ");
  check("*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n",
        "[ \"message\" nil \"x\" ] ");
  check("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$-1\r\n",
        "[ \"message\" \"c\" nil ] ");
  check("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n:1\r\n",
        "[ \"message\" \"c\" :1 ] ");
  check("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n+x\r\n",
        "[ \"message\" \"c\" +x ] ");
  check("*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\nx\r\n",
        "[ \"message\" [ ] \"x\" ] ");
  check("*3\r\n$7\r\nmessage\r\n*1\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ \"message\" [ \"c\" ] \"x\" ] ");
  check("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n*1\r\n$1\r\nx\r\n",
        "[ \"message\" \"c\" [ \"x\" ] ] ");
  check("*3\r\n*1\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ [ \"message\" ] \"c\" \"x\" ] ");
}

/* A message that is an element of something is no message. */
static void test_nested_messages(void **ctx) {
  (void)ctx;
  check("*1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ [ \"message\" \"c\" \"x\" ] ] ");
  check("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n"
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "[ \"message\" \"c\" [ \"message\" \"c\" \"x\" ] ] ");
}

static void test_malformed(void **ctx) {
  static const char *const bad[] = {
      "?\r\n",
      "OK\r\n",
      "\r\n",
      "$x\r\n",
      "$\r\n",
      "$-2\r\n",
      "$99999999999999999999\r\n",
      "*x\r\n",
      "*-2\r\n",
      "*99999999999999999999\r\n",
      ":\r\n",
      ":x\r\n",
      ":9223372036854775808\r\n",
      "$1\r\nabc\r\n",
      "$1\r\na\rx",
      "$1\r\nax\n",
      "$3\r\na\r\n+OK\r\n",
      "*1\r\n?\r\n",
      /* RESP3 */
      "_\r\n",
      "#t\r\n",
      ",1.5\r\n",
      "(123\r\n",
      "=5\r\ntxt:x\r\n",
      "%1\r\n+a\r\n+b\r\n",
      "~1\r\n+a\r\n",
      ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
      "*1\r\n_\r\n",
  };
  size_t i;

  (void)ctx;
  for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
    check(bad[i], "!PROTOCOL ");
  check("+OK\r\n?", "+OK !PROTOCOL ");
}

static void test_no_message_of_a_wrong_length(void **ctx) {
  (void)ctx;
  check("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nxyz\r\n", "!PROTOCOL ");
  check("*3\r\n$7\r\nmessage\r\n$1\r\ncde\r\n$1\r\nx\r\n", "!PROTOCOL ");
}

static void test_depth(void **ctx) {
  (void)ctx;
  check("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "[ [ [ [ [ [ [ [ :1 ] ] ] ] ] ] ] ] ");
  check("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "!PROTOCOL ");
  check("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n", "!PROTOCOL ");
}

/* What is announced costs nothing until it comes. */
static void test_huge_announcements(void **ctx) {
  static const char *const heads[] = {"$9223372036854775807\r\n",
                                      "$4294967296\r\n", "*2147483647\r\n",
                                      "*3\r\n$2147483647\r\n"};
  failing_alloc memory;
  session s;
  size_t i, j;

  (void)ctx;
  for (i = 0; i < sizeof heads / sizeof heads[0]; i++) {
    failing_alloc_init(&memory, 0);
    session_start(&s, &memory.alloc, 1000, on_message);
    assert_int_equal(session_feed(&s, heads[i], strlen(heads[i])), 0);
    for (j = strlen(heads[i]); j + 4 <= 1000; j += 4)
      assert_int_equal(session_feed(&s, ":1\r\n", 4), 0);
    assert_int_equal(session_feed(&s, ":1\r\n", 4), CP_E_TOOBIG);
    session_end(&s);
    assert_int_equal(memory.n_live, 0);
  }
}

static void check_limit(const char *wire, cp__resp_message_cb cb,
                        const char *expected) {
  size_t len = strlen(wire);

  check_limited(wire, len, len, cb, expected);
  check_limited(wire, len, len - 1, cb, "!TOOBIG ");
}

static void test_limit(void **ctx) {
  static const char message[] =
      "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n";

  (void)ctx;
  check_limit("$5\r\nhello\r\n", on_message, "\"hello\" ");
  check_limit("+hello\r\n", on_message, "+hello ");
  check_limit("*3\r\n:1\r\n:2\r\n:3\r\n", on_message, "[ :1 :2 :3 ] ");
  check_limit("*2\r\n*0\r\n*-1\r\n", on_message, "[ [ ] nil ] ");
  check_limit(message, on_message, "<c|hello> ");
  check_limit(message, NULL, "[ \"message\" \"c\" \"hello\" ] ");
}

/* The limit is for one reply, however many come in one piece. */
static void test_limit_is_per_reply(void **ctx) {
  static const char wire[] = "+1234567\r\n$4\r\nabcd\r\n+1234567\r\n"
                             "*2\r\n:1\r\n:2\r\n+123456789\r\n+no\r\n";

  (void)ctx;
  check_limited(wire, sizeof wire - 1, 12, on_message,
                "+1234567 \"abcd\" +1234567 [ :1 :2 ] +123456789 +no ");
  check_limited(wire, sizeof wire - 1, 11, on_message,
                "+1234567 \"abcd\" +1234567 !TOOBIG ");
}

/* The reader's buffer moves between the elements of one message. */
static void test_long_message_in_pieces(void **ctx) {
  enum { N = 300000, STEP = 777 };
  static const char head[] =
      "*4\r\n$8\r\npmessage\r\n$2\r\np*\r\n$2\r\npq\r\n$300000\r\n";
  char *payload = malloc(N);
  size_t i;
  session s;

  (void)ctx;
  assert_non_null(payload);
  for (i = 0; i < N; i++)
    payload[i] = (char)('a' + i % 26);
  session_start(&s, &cp__default_allocator, NO_LIMIT, on_message);
  session_feed_bytewise(&s, head, sizeof head - 1);
  for (i = 0; i < N; i += STEP)
    assert_int_equal(
        session_feed_copy(&s, payload + i, N - i < STEP ? N - i : STEP), 0);
  assert_int_equal(cp__buf_len(&s.log), 0);
  assert_int_equal(session_feed_copy(&s, "\r\n", 2), 0);
  assert_int_equal(cp__buf_len(&s.log), N + 9);
  assert_memory_equal(cp__buf_begin(&s.log), "<p*|pq|", 7);
  assert_memory_equal(cp__buf_begin(&s.log) + 7, payload, N);
  session_end(&s);
  free(payload);
}

static const char mixture[] =
    "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"
    "*2\r\n$1\r\na\r\n*1\r\n:1\r\n+OK\r\n";
#define MIXTURE_LOG "<c|hello> [ \"a\" [ :1 ] ] +OK "

static void test_out_of_memory(void **ctx) {
  failing_alloc memory;
  size_t n = 0;

  (void)ctx;
  do {
    session s;
    failing_alloc_init(&memory, ++n);
    session_start(&s, &memory.alloc, NO_LIMIT, on_message);
    if (s.resp == NULL) {
      assert_true(memory.failed);
    } else {
      int rc = session_feed(&s, mixture, sizeof mixture - 1);
      assert_int_equal(rc, memory.failed ? CP_E_NOMEM : 0);
      if (rc == 0)
        assert_string_equal(log_of(&s), MIXTURE_LOG);
    }
    session_end(&s);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n >= 4);
}

static void test_no_allocation_when_warm(void **ctx) {
  failing_alloc memory;
  size_t n_calls;
  session s;
  int i;

  (void)ctx;
  failing_alloc_init(&memory, 0);
  session_start(&s, &memory.alloc, NO_LIMIT, on_message);
  assert_int_equal(session_feed(&s, mixture, sizeof mixture - 1), 0);
  n_calls = memory.n_calls;
  for (i = 0; i < 100; i++)
    assert_int_equal(session_feed(&s, mixture, sizeof mixture - 1), 0);
  assert_int_equal(memory.n_calls, n_calls);
  session_end(&s);
}

static void test_memory_goes_back(void **ctx) {
  static char wire[200016];
  failing_alloc memory;
  size_t n_live, i;
  session s;

  (void)ctx;
  failing_alloc_init(&memory, 0);
  session_start(&s, &memory.alloc, NO_LIMIT, on_message);
  n_live = memory.n_live;
  /* Many elements and much text: both stores grow above what they may keep. */
  assert_int_equal(session_feed(&s, "*10001\r\n", 8), 0);
  for (i = 0; i < 10000; i++)
    assert_int_equal(session_feed(&s, ":1\r\n", 4), 0);
  assert_true(memory.n_live > n_live);
  memcpy(wire, "$200000\r\n", 9);
  memset(wire + 9, 'x', 200000);
  memcpy(wire + 200009, "\r\n", 2);
  assert_int_equal(session_feed(&s, wire, 200011), 0);
  assert_int_equal(memory.n_live, n_live);
  session_end(&s);
  assert_int_equal(memory.n_live, 0);
}

static void test_create_and_destroy(void **ctx) {
  (void)ctx;
  cp__resp_destroy(NULL);
  cp__resp_destroy(cp__resp_create(&cp__default_allocator, 1, NULL, NULL));
}

static void test_destroy_in_the_middle(void **ctx) {
  size_t cut;

  (void)ctx;
  for (cut = 0; cut < sizeof mixture; cut++) {
    failing_alloc memory;
    session s;
    failing_alloc_init(&memory, 0);
    session_start(&s, &memory.alloc, NO_LIMIT, on_message);
    assert_int_equal(session_feed(&s, mixture, cut), 0);
    session_end(&s);
    assert_int_equal(memory.n_live, 0);
  }
}

static void assert_content(const cp__buf *buf, const char *expected) {
  assert_int_equal(cp__buf_len(buf), strlen(expected));
  assert_memory_equal(cp__buf_begin(buf), expected, strlen(expected));
}

static void test_commands(void **ctx) {
  const cp_bytes words[] = {cp_str("PUBLISH"), cp_str("cp:u:{a}"),
                            cp_str("0123456789"), cp_bytes_of(NULL, 0)};
  cp__buf out;

  (void)ctx;
  cp__buf_init(&out, &cp__default_allocator);
  cp__resp_command(&out, words, 4);
  assert_content(&out, "*4\r\n$7\r\nPUBLISH\r\n$8\r\ncp:u:{a}\r\n"
                       "$10\r\n0123456789\r\n$0\r\n\r\n");
  cp__buf_finish(&out);
}

static void test_command_in_parts(void **ctx) {
  const cp_bytes name = cp_str("SUBSCRIBE");
  const cp_bytes parts[] = {cp_str("cp:u:{"), cp_str("alice"), cp_str("}")};
  cp__buf out;

  (void)ctx;
  cp__buf_init(&out, &cp__default_allocator);
  cp__resp_command_head(&out, 120);
  cp__resp_word(&out, &name, 1);
  cp__resp_word(&out, parts, 3);
  cp__resp_word(&out, NULL, 0);
  assert_content(&out, "*120\r\n$9\r\nSUBSCRIBE\r\n$12\r\ncp:u:{alice}\r\n"
                       "$0\r\n\r\n");
  cp__buf_finish(&out);
}

static void test_longest_head(void **ctx) {
  char expected[32];
  cp__buf out;

  (void)ctx;
  cp__buf_init(&out, &cp__default_allocator);
  cp__resp_command_head(&out, SIZE_MAX);
  snprintf(expected, sizeof expected, "*%zu\r\n", SIZE_MAX);
  assert_content(&out, expected);
  cp__buf_finish(&out);
}

/* A command is itself an array of bulk strings: the reader takes it. */
static void test_command_read_back(void **ctx) {
  const cp_bytes words[] = {cp_str("SET"), cp_str("k"), cp_str("\r\n$3\r\n")};
  cp__buf out;
  session s;

  (void)ctx;
  cp__buf_init(&out, &cp__default_allocator);
  cp__resp_command(&out, words, 3);
  session_start(&s, &cp__default_allocator, NO_LIMIT, on_message);
  assert_int_equal(
      session_feed(&s, (const char *)cp__buf_begin(&out), cp__buf_len(&out)),
      0);
  assert_string_equal(log_of(&s), "[ \"SET\" \"k\" \"\r\n$3\r\n\" ] ");
  session_end(&s);
  cp__buf_finish(&out);
}

static bool reads(const char *command, size_t n) {
  cp_bytes words[3];
  return cp__resp_read_command(cp_str(command), words, n);
}

static void test_command_read_by_hand(void **ctx) {
  const cp_bytes words[] = {cp_str("PUBLISH"), cp_str(""), cp_str("a\r\nb")};
  cp_bytes read[3];
  cp__buf out;
  size_t len;

  (void)ctx;
  cp__buf_init(&out, &cp__default_allocator);
  cp__resp_command(&out, words, 3);
  assert_true(cp__resp_read_command(cp__buf_bytes(&out), read, 3));
  assert_int_equal(read[1].len, 0);
  assert_int_equal(read[2].len, 4);
  assert_memory_equal(read[2].data, "a\r\nb", 4);
  for (len = 0; len < cp__buf_len(&out); len++)
    assert_false(
        cp__resp_read_command(cp_bytes_of(cp__buf_begin(&out), len), read, 3));
  cp__buf_finish(&out);
  assert_false(reads("*2\r\n$1\r\na\r\n$1\r\nb\r\n", 3));
  assert_false(reads("*1\r\n$1\r\na\r\n+", 1));
  assert_false(reads("*1\r\n$x\r\na\r\n", 1));
  assert_false(reads("$1\r\na\r\n", 1));
  assert_true(reads("*1\r\n$1\r\na\r\n", 1));
}

static void test_command_without_memory(void **ctx) {
  static const char text[1000];
  const cp_bytes words[] = {cp_bytes_of(text, 100), cp_bytes_of(text, 1000)};
  failing_alloc memory;
  size_t n = 0;

  (void)ctx;
  do {
    cp__buf out;
    failing_alloc_init(&memory, ++n);
    cp__buf_init(&out, &memory.alloc);
    cp__resp_command(&out, words, 2);
    assert_int_equal(out.failed, memory.failed);
    cp__buf_finish(&out);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_replies),
      cmocka_unit_test(test_arrays),
      cmocka_unit_test(test_zero_bytes),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_messages_among_replies),
      cmocka_unit_test(test_messages_as_replies),
      cmocka_unit_test(test_almost_messages),
      cmocka_unit_test(test_nested_messages),
      cmocka_unit_test(test_malformed),
      cmocka_unit_test(test_no_message_of_a_wrong_length),
      cmocka_unit_test(test_depth),
      cmocka_unit_test(test_huge_announcements),
      cmocka_unit_test(test_limit),
      cmocka_unit_test(test_limit_is_per_reply),
      cmocka_unit_test(test_long_message_in_pieces),
      cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_no_allocation_when_warm),
      cmocka_unit_test(test_memory_goes_back),
      cmocka_unit_test(test_create_and_destroy),
      cmocka_unit_test(test_destroy_in_the_middle),
      cmocka_unit_test(test_commands),
      cmocka_unit_test(test_command_in_parts),
      cmocka_unit_test(test_longest_head),
      cmocka_unit_test(test_command_read_back),
      cmocka_unit_test(test_command_read_by_hand),
      cmocka_unit_test(test_command_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
