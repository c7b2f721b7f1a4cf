/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* RFC 6455, sections 5, 7 and 8, and RFC 7692, section 6, as tables. A case is
 * a row of frames and what must come out of them, written down as text:
 *
 *   text(BODY) binary(BODY) ping(BODY) pong(BODY) close(CODE REASON)
 * error(CODE)
 *
 * It is fed in one piece and in pieces of 1, 2, 3 and 7 bytes, each from a
 * block of exactly its size. After every byte at_rest must say whether a frame
 * or message is unfinished. */

#include "ws.h"

#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define LIMIT      64 /* max_message of the tables */
#define MAX_FRAMES 8

#define FIN    0x80
#define RSV1   0x40
#define RSV2   0x20
#define RSV3   0x10
#define TEXT   0x81 /* FIN and opcode */
#define BINARY 0x82
#define CLOSE  0x88
#define PING   0x89
#define PONG   0x8A

/* Lengths are written as short as they can be, but for these. */
enum { SHORTEST, IN_2_BYTES, IN_8_BYTES };

typedef struct frame {
  uint8_t head;
  const char *body; /* NULL: no more frames */
  size_t len;
  int form;
  bool unmasked;
  uint64_t claim; /* what the head says, if not `len` */
} frame;

#define F(head, body) \
  { head, body, sizeof body - 1, SHORTEST, false, 0 }
#define UNMASKED(head, body) \
  { head, body, sizeof body - 1, SHORTEST, true, 0 }
#define LONG(head, body, form) \
  { head, body, sizeof body - 1, form, false, 0 }
#define CLAIM(head, body, form, len) \
  { head, body, sizeof body - 1, form, false, len }

typedef struct vector {
  frame frames[MAX_FRAMES];
  const char *events;
} vector;

/* Wire. ------------------------------------------------------------------- */

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

static void put_len(cp__buf *wire, uint8_t mask_bit, uint64_t len, int form) {
  uint8_t n_bytes = 0;
  uint8_t i, byte;

  if (form == IN_8_BYTES || len > UINT16_MAX)
    n_bytes = 8;
  else if (form == IN_2_BYTES || len > 125)
    n_bytes = 2;
  byte = n_bytes == 0 ? (uint8_t)len : n_bytes == 2 ? 126 : 127;
  byte |= mask_bit;
  cp__buf_append(wire, &byte, 1);
  for (i = n_bytes; i > 0; i--) {
    byte = (uint8_t)(len >> (8 * (i - 1)));
    cp__buf_append(wire, &byte, 1);
  }
}

static void put_frame(cp__buf *wire, const frame *f) {
  size_t i;

  cp__buf_append(wire, &f->head, 1);
  put_len(wire, f->unmasked ? 0 : 0x80, f->claim > 0 ? f->claim : f->len,
          f->form);
  if (!f->unmasked)
    cp__buf_append(wire, mask, sizeof mask);
  for (i = 0; i < f->len; i++) {
    uint8_t byte = (uint8_t)f->body[i];
    if (!f->unmasked)
      byte ^= mask[i % 4];
    cp__buf_append(wire, &byte, 1);
  }
}

static void put_body(cp__buf *wire, uint8_t head, const void *body,
                     size_t len) {
  frame f = {head, body, len, SHORTEST, false, 0};

  put_frame(wire, &f);
}

/* A session: one receiver, and what came out of it. ----------------------- */

typedef struct session {
  cp__ws_pool pool;
  cp__ws *ws;
  cp__buf log;
  bool failed;
} session;

static void log_event(cp__buf *log, const cp__ws_event *event) {
  switch (event->type) {
  case CP__WS_NOTHING:
    return;
  case CP__WS_MESSAGE:
    cp__buf_append_str(log,
                       event->message_type == CP_TEXT ? "text(" : "binary(");
    break;
  case CP__WS_PING:
    cp__buf_append_str(log, "ping(");
    break;
  case CP__WS_PONG:
    cp__buf_append_str(log, "pong(");
    break;
  case CP__WS_CLOSE:
    cp__buf_appendf(log, "close(%d ", event->code);
    break;
  case CP__WS_ERROR:
    cp__buf_appendf(log, "error(%d", event->code);
    break;
  }
  cp__buf_append_bytes(log, event->body);
  cp__buf_append_str(log, ") ");
}

static const char *log_of(session *s) {
  cp__buf_append(&s->log, "", 1);
  s->log.end--;
  assert_false(s->log.failed);
  return (const char *)cp__buf_begin(&s->log);
}

static void session_start(session *s, const cp_allocator *alloc,
                          size_t max_message, bool deflate) {
  memset(s, 0, sizeof *s);
  cp__buf_init(&s->log, &cp__default_allocator);
  cp__ws_pool_init(&s->pool, alloc, max_message);
  s->ws = cp__ws_borrow(&s->pool, deflate, NULL);
}

static void session_end(session *s) {
  cp__ws_return(s->ws);
  assert_int_equal(s->pool.n_borrowed, 0);
  assert_int_equal(s->pool.inflaters.n_borrowed, 0);
  cp__ws_pool_finish(&s->pool);
  cp__buf_finish(&s->log);
}

static void take_events(session *s) {
  cp__ws_event event;

  do {
    cp__ws_next(s->ws, &event);
    log_event(&s->log, &event);
    if (event.type == CP__WS_ERROR)
      s->failed = true;
  } while (event.type != CP__WS_NOTHING);
}

/* From a block of exactly this size that is freed at once. After an error
 * nothing may follow, and nothing is fed. */
static void session_feed(session *s, const void *data, size_t len) {
  uint8_t *copy;

  if (s->failed)
    return;
  copy = malloc(len > 0 ? len : 1);
  assert_non_null(copy);
  if (len > 0)
    memcpy(copy, data, len);
  cp__ws_feed(s->ws, copy, len);
  take_events(s);
  free(copy);
  if (s->failed)
    assert_false(cp__ws_at_rest(s->ws));
}

static void session_feed_pieces(session *s, const cp__buf *wire, size_t piece) {
  size_t len = cp__buf_len(wire);
  size_t i;

  for (i = 0; i < len; i += piece)
    session_feed(s, wire->data + i, len - i < piece ? len - i : piece);
}

static void check_pieces(const cp__buf *wire, size_t max_message, bool deflate,
                         size_t piece, const char *events) {
  session s;

  session_start(&s, &cp__default_allocator, max_message, deflate);
  session_feed_pieces(&s, wire, piece);
  assert_string_equal(log_of(&s), events);
  session_end(&s);
}

static void check_wire(const cp__buf *wire, size_t max_message, bool deflate,
                       const char *events) {
  static const size_t pieces[] = {SIZE_MAX / 2, 1, 2, 3, 7};
  size_t i;

  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    check_pieces(wire, max_message, deflate, pieces[i], events);
}

/* Byte by byte, with a look at at_rest after each. */
static void check_rest(const vector *v, bool deflate) {
  bool in_message = false;
  size_t fed = 0;
  session s;
  cp__buf wire;
  size_t i;

  session_start(&s, &cp__default_allocator, LIMIT, deflate);
  cp__buf_init(&wire, &cp__default_allocator);
  assert_true(cp__ws_at_rest(s.ws));
  for (i = 0; i < MAX_FRAMES && v->frames[i].body != NULL; i++) {
    const frame *f = &v->frames[i];
    put_frame(&wire, f);
    if ((f->head & 0x08) == 0)
      in_message = (f->head & FIN) == 0;
    for (; fed < wire.end && !s.failed; fed++) {
      bool whole = fed + 1 == wire.end && f->claim == 0;
      session_feed(&s, wire.data + fed, 1);
      assert_int_equal(cp__ws_at_rest(s.ws), whole && !in_message && !s.failed);
    }
  }
  cp__buf_finish(&wire);
  session_end(&s);
}

static void check_vector(const vector *v, bool deflate) {
  cp__buf wire;
  size_t i;

  cp__buf_init(&wire, &cp__default_allocator);
  for (i = 0; i < MAX_FRAMES && v->frames[i].body != NULL; i++)
    put_frame(&wire, &v->frames[i]);
  check_wire(&wire, LIMIT, deflate, v->events);
  cp__buf_finish(&wire);
  check_rest(v, deflate);
}

#define CHECK_ALL(vectors) \
  check_all((vectors), sizeof(vectors) / sizeof(vectors)[0], false)
/* permessage-deflate was negotiated. */
#define CHECK_ALL_DEFLATE(vectors) \
  check_all((vectors), sizeof(vectors) / sizeof(vectors)[0], true)

static void check_all(const vector *vectors, size_t n, bool deflate) {
  size_t i;

  for (i = 0; i < n; i++)
    check_vector(&vectors[i], deflate);
}

/* Section 5.2: heads. ----------------------------------------------------- */

static void test_whole_messages(void **state) {
  static const vector vectors[] = {
      {{F(TEXT, "hello")}, "text(hello) "},
      {{F(TEXT, "")}, "text() "},
      {{F(BINARY, "")}, "binary() "},
      {{F(BINARY, "\xff\xfe\x80")}, "binary(\xff\xfe\x80) "},
      {{F(TEXT, "a"), F(BINARY, "b"), F(TEXT, "")},
       "text(a) binary(b) text() "},
      {{F(PING, ""), F(PING, "x"), F(PONG, ""), F(PONG, "y")},
       "ping() ping(x) pong() pong(y) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

static void test_every_opcode(void **state) {
  static const bool known[16] = {
      [1] = true, [2] = true, [8] = true, [9] = true, [10] = true};
  int opcode;

  (void)state;
  for (opcode = 0; opcode < 16; opcode++) {
    vector v = {{F(FIN, ""), F(PING, "x")}, "error(1002) "};
    v.frames[0].head |= (uint8_t)opcode;
    if (known[opcode])
      continue;
    check_vector(&v, false);
    v.frames[0].body = "x";
    v.frames[0].len = 1;
    check_vector(&v, false);
  }
}

static void test_reserved_bits(void **state) {
  static const vector vectors[] = {
      {{F(RSV1 | TEXT, "x")}, "error(1002) "},
      {{F(RSV2 | TEXT, "")}, "error(1002) "},
      {{F(RSV3 | BINARY, "x")}, "error(1002) "},
      {{F(RSV1 | RSV2 | RSV3 | PING, "")}, "error(1002) "},
      {{F(RSV1 | CLOSE, "")}, "error(1002) "},
      {{F(1, "a"), F(RSV1 | FIN, "b")}, "error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* Section 5.1: a client masks. */
static void test_masks(void **state) {
  static const vector vectors[] = {
      {{UNMASKED(TEXT, "hello")}, "error(1002) "},
      {{UNMASKED(TEXT, "")}, "error(1002) "},
      {{UNMASKED(PING, "")}, "error(1002) "},
      {{UNMASKED(CLOSE, "")}, "error(1002) "},
      {{F(1, "a"), UNMASKED(FIN, "b")}, "error(1002) "},
      {{F(TEXT, "a"), UNMASKED(TEXT, "b")}, "text(a) error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

static void test_lengths_that_could_be_shorter(void **state) {
  static const vector vectors[] = {
      {{LONG(TEXT, "hello", IN_2_BYTES)}, "error(1002) "},
      {{LONG(TEXT, "", IN_2_BYTES)}, "error(1002) "},
      {{LONG(TEXT, "hello", IN_8_BYTES)}, "error(1002) "},
      {{CLAIM(BINARY, "", IN_2_BYTES, 125)}, "error(1002) "},
      {{CLAIM(BINARY, "", IN_8_BYTES, 65535)}, "error(1002) "},
      {{LONG(PING, "", IN_2_BYTES)}, "error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* Section 5.5: at most 125 bytes, never in fragments. */
static void test_bad_control_frames(void **state) {
  static const vector vectors[] = {
      {{CLAIM(PING, "x", SHORTEST, 126)}, "error(1002) "},
      {{CLAIM(PONG, "x", SHORTEST, 126)}, "error(1002) "},
      {{CLAIM(CLOSE, "x", SHORTEST, 126)}, "error(1002) "},
      {{CLAIM(CLOSE, "x", SHORTEST, 65536)}, "error(1002) "},
      {{F(0x08, "")}, "error(1002) "},
      {{F(0x09, "x")}, "error(1002) "},
      {{F(0x0A, ""), F(FIN, "")}, "error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

static void test_length_borders(void **state) {
  static const size_t lens[] = {0, 1, 125, 126, 127, 65535, 65536, 65537};
  size_t i, j;

  (void)state;
  for (i = 0; i < sizeof lens / sizeof lens[0]; i++) {
    cp__buf wire, body, events;
    cp__buf_init(&wire, &cp__default_allocator);
    cp__buf_init(&body, &cp__default_allocator);
    cp__buf_init(&events, &cp__default_allocator);
    for (j = 0; j < lens[i]; j++)
      cp__buf_append(&body, &"0123456"[j % 7], 1);
    put_body(&wire, BINARY, body.data, lens[i]);
    put_body(&wire, TEXT, "end", 3);
    cp__buf_append_str(&events, "binary(");
    cp__buf_append_bytes(&events, cp__buf_bytes(&body));
    cp__buf_append(&events, ") text(end) ", sizeof ") text(end) ");
    check_wire(&wire, 70000, false, (const char *)events.data);
    cp__buf_finish(&wire);
    cp__buf_finish(&body);
    cp__buf_finish(&events);
  }
}

static void test_control_frame_of_125_bytes(void **state) {
  char body[126] = {0};
  char events[160];
  cp__buf wire;

  (void)state;
  memset(body, 'p', 125);
  cp__buf_init(&wire, &cp__default_allocator);
  put_body(&wire, PING, body, 125);
  put_body(&wire, PONG, "", 0);
  snprintf(events, sizeof events, "ping(%s) pong() ", body);
  check_wire(&wire, LIMIT, false, events);
  cp__buf_finish(&wire);
}

/* Section 5.4: fragments. ------------------------------------------------- */

static void test_fragments(void **state) {
  static const vector vectors[] = {
      {{F(1, "he"), F(0, "l"), F(FIN, "lo")}, "text(hello) "},
      {{F(2, "a"), F(FIN, "b"), F(TEXT, "c")}, "binary(ab) text(c) "},
      {{F(1, ""), F(0, ""), F(FIN, "")}, "text() "},
      {{F(1, ""), F(0, "x"), F(FIN, "")}, "text(x) "},
      {{F(1, "x")}, ""},
      {{F(1, "x"), F(0, "y")}, ""},
      /* Control frames in between. */
      {{F(1, "a"), F(PING, "p"), F(FIN, "b")}, "ping(p) text(ab) "},
      {{F(2, "a"), F(PONG, ""), F(0, "b"), F(PING, "q"), F(FIN, "")},
       "pong() ping(q) binary(ab) "},
      {{F(1, "a"), F(CLOSE, "\x03\xe8"), F(FIN, "b")},
       "close(1000 ) text(ab) "},
      /* Out of order. */
      {{F(FIN, "x")}, "error(1002) "},
      {{F(0, "x")}, "error(1002) "},
      {{F(0, "")}, "error(1002) "},
      {{F(TEXT, "x"), F(FIN, "y")}, "text(x) error(1002) "},
      {{F(1, "x"), F(FIN, "y"), F(FIN, "z")}, "text(xy) error(1002) "},
      {{F(1, "x"), F(TEXT, "y")}, "error(1002) "},
      {{F(1, "x"), F(1, "y")}, "error(1002) "},
      {{F(2, "x"), F(PING, ""), F(BINARY, "")}, "ping() error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* Size. ------------------------------------------------------------------- */

#define S32 "12345678123456781234567812345678"
#define S64 S32 S32

static void test_max_message(void **state) {
  static const vector vectors[] = {
      {{F(TEXT, S64), F(BINARY, S64)}, "text(" S64 ") binary(" S64 ") "},
      {{F(TEXT, S64 "x")}, "error(1009) "},
      {{F(1, S32), F(FIN, S32)}, "text(" S64 ") "},
      {{F(1, S32), F(FIN, S32 "x")}, "error(1009) "},
      {{F(1, S64), F(0, ""), F(FIN, "")}, "text(" S64 ") "},
      {{F(1, S64), F(0, ""), F(0, "x")}, "error(1009) "},
      {{F(1, S64), F(PING, S64), F(FIN, "x")}, "ping(" S64 ") error(1009) "},
      /* The sum is one message's: the next starts from nothing. */
      {{F(1, S32), F(FIN, S32), F(1, S32), F(FIN, S32)},
       "text(" S64 ") text(" S64 ") "},
      /* Judged by the head: what is announced is not waited for. */
      {{CLAIM(TEXT, "x", SHORTEST, 65)}, "error(1009) "},
      {{CLAIM(BINARY, "x", SHORTEST, 65536)}, "error(1009) "},
      {{CLAIM(BINARY, "x", IN_8_BYTES, UINT64_C(1) << 32)}, "error(1009) "},
      {{CLAIM(TEXT, "x", IN_8_BYTES, UINT64_C(1) << 62)}, "error(1009) "},
      {{CLAIM(TEXT, "x", IN_8_BYTES, INT64_MAX)}, "error(1009) "},
      {{F(1, "a"), CLAIM(FIN, "x", IN_8_BYTES, INT64_MAX)}, "error(1009) "},
      /* The highest bit must be 0. */
      {{CLAIM(TEXT, "x", IN_8_BYTES, UINT64_C(1) << 63)}, "error(1002) "},
      {{CLAIM(TEXT, "x", IN_8_BYTES, UINT64_MAX)}, "error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* Forbidden frames are refused by their head, before any payload came. */
static void test_heads_alone(void **state) {
  static const vector vectors[] = {
      {{CLAIM(TEXT, "", SHORTEST, 65)}, "error(1009) "},
      {{CLAIM(BINARY, "", IN_2_BYTES, 65535)}, "error(1009) "},
      {{CLAIM(BINARY, "", IN_8_BYTES, UINT64_C(1) << 62)}, "error(1009) "},
      {{CLAIM(TEXT, "", IN_8_BYTES, INT64_MAX)}, "error(1009) "},
      {{F(1, S64), CLAIM(FIN, "", SHORTEST, 1)}, "error(1009) "},
      {{F(TEXT, "a"), CLAIM(FIN, "", SHORTEST, 1)}, "text(a) error(1002) "},
      {{F(1, "a"), CLAIM(TEXT, "", SHORTEST, 1)}, "error(1002) "},
      {{CLAIM(FIN | 3, "", SHORTEST, 1)}, "error(1002) "},
      {{CLAIM(TEXT | RSV1, "", SHORTEST, 1)}, "error(1002) "},
      {{CLAIM(PING | RSV3, "", SHORTEST, 1)}, "error(1002) "},
      {{{TEXT, "", 0, SHORTEST, true, 1}}, "error(1002) "},
      {{{TEXT, "", 0, IN_8_BYTES, true, 70000}}, "error(1002) "},
      /* These are allowed, and waited for. */
      {{CLAIM(TEXT, "", SHORTEST, 64)}, ""},
      {{F(1, S32), CLAIM(FIN, "", SHORTEST, 32)}, ""},
      {{CLAIM(PING, "", SHORTEST, 125)}, ""},
      {{F(1, "a"), CLAIM(CLOSE, "", SHORTEST, 2)}, ""},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* What is announced costs no memory before it comes. */
static void test_announcements_are_free(void **state) {
  frame f = CLAIM(BINARY, "xyz", IN_8_BYTES, UINT64_C(1) << 30);
  failing_alloc memory;
  cp__buf wire;
  session s;

  (void)state;
  failing_alloc_init(&memory, 0);
  cp__buf_init(&wire, &cp__default_allocator);
  put_frame(&wire, &f);
  session_start(&s, &memory.alloc, SIZE_MAX / 2, false);
  session_feed_pieces(&s, &wire, wire.end);
  assert_int_equal(memory.n_live, 2); /* the receiver and a little buffer */
  assert_false(s.failed);
  session_end(&s);
  assert_int_equal(memory.n_live, 0);
  cp__buf_finish(&wire);
}

/* Section 8.1: UTF-8. ----------------------------------------------------- */

static void test_utf8(void **state) {
  static const vector vectors[] = {
      {{F(TEXT, "\xce\xba\xf0\x9f\x98\x80")},
       "text(\xce\xba\xf0\x9f\x98\x80) "},
      /* A character in pieces. */
      {{F(1, "\xf0"), F(0, "\x9f\x98"), F(FIN, "\x80")},
       "text(\xf0\x9f\x98\x80) "},
      {{F(1, "\xc3"), F(0, ""), F(PING, "\xff"), F(FIN, "\xa9")},
       "ping(\xff) text(\xc3\xa9) "},
      /* The state of one message is not that of the next. */
      {{F(2, "\xc3"), F(FIN, "\xff"), F(TEXT, "x")},
       "binary(\xc3\xff) text(x) "},
      {{F(TEXT, "\xff")}, "error(1007) "},
      {{F(TEXT, "\xc0\xaf")}, "error(1007) "},
      {{F(TEXT, "\xed\xa0\x80")}, "error(1007) "},
      {{F(TEXT, "\xf4\x90\x80\x80")}, "error(1007) "},
      /* Cut off at the end. */
      {{F(TEXT, "\xc3")}, "error(1007) "},
      {{F(1, "\xe2\x82"), F(FIN, "")}, "error(1007) "},
      {{F(1, "a"), F(FIN, "\xf0\x9f\x98")}, "error(1007) "},
      /* No need to wait for the rest. */
      {{F(1, "ab\xff")}, "error(1007) "},
      {{F(1, "\xe2"), F(0, "\x28")}, "error(1007) "},
      {{F(1, "\xf4"), F(0, "\x90")}, "error(1007) "},
      {{CLAIM(TEXT, "ab\xff", SHORTEST, 60)}, "error(1007) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* Sections 5.5.1 and 7.4: close. ------------------------------------------ */

static void test_close_payloads(void **state) {
  static const vector vectors[] = {
      {{F(CLOSE, "")}, "close(1005 ) "},
      {{F(CLOSE, "\x03")}, "error(1002) "},
      {{F(CLOSE, "\x03\xe8")}, "close(1000 ) "},
      {{F(CLOSE, "\x03\xe9going")}, "close(1001 going) "},
      {{F(CLOSE, "\x0f\xa0\xc3\xa9")}, "close(4000 \xc3\xa9) "},
      {{F(CLOSE, "\x03\xe8\xff")}, "error(1007) "},
      {{F(CLOSE, "\x03\xe8"
                 "ab\xc3")},
       "error(1007) "},
      /* The code is judged before the reason. */
      {{F(CLOSE, "\x03\xed\xff")}, "error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

static void check_close_code(unsigned code) {
  char payload[3] = {(char)(code >> 8), (char)code, '!'};
  char events[32];
  cp__buf wire;

  cp__buf_init(&wire, &cp__default_allocator);
  put_body(&wire, CLOSE, payload, sizeof payload);
  if (cp__ws_close_code_valid((uint16_t)code))
    snprintf(events, sizeof events, "close(%u !) ", code);
  else
    strcpy(events, "error(1002) ");
  check_pieces(&wire, LIMIT, false, sizeof payload + 6, events);
  cp__buf_finish(&wire);
}

static void test_close_codes(void **state) {
  unsigned code;

  (void)state;
  for (code = 0; code <= UINT16_MAX; code++) {
    bool valid = (code >= 1000 && code <= 1003) ||
                 (code >= 1007 && code <= 1014) ||
                 (code >= 3000 && code <= 4999);
    assert_int_equal(cp__ws_close_code_valid((uint16_t)code), valid);
    if (code < 6000 || code == UINT16_MAX)
      check_close_code(code);
  }
}

/* A body is borrowed until the next call, of any kind of event. */
static void test_events_one_by_one(void **state) {
  cp__ws_event event;
  cp__buf wire;
  session s;

  (void)state;
  cp__buf_init(&wire, &cp__default_allocator);
  put_body(&wire, TEXT, "one", 3);
  put_body(&wire, PING, "two", 3);
  session_start(&s, &cp__default_allocator, LIMIT, false);
  cp__ws_feed(s.ws, wire.data, wire.end);
  assert_false(cp__ws_at_rest(s.ws));
  cp__ws_next(s.ws, &event);
  assert_int_equal(event.type, CP__WS_MESSAGE);
  assert_int_equal(event.message_type, CP_TEXT);
  assert_memory_equal(event.body.data, "one", 3);
  assert_false(cp__ws_at_rest(s.ws));
  cp__ws_next(s.ws, &event);
  assert_int_equal(event.type, CP__WS_PING);
  assert_memory_equal(event.body.data, "two", 3);
  cp__ws_next(s.ws, &event);
  assert_int_equal(event.type, CP__WS_NOTHING);
  assert_true(cp__ws_at_rest(s.ws));
  cp__buf_finish(&wire);
  session_end(&s);
}

/* RFC 7692: compressed messages. ------------------------------------------ */

/* Payloads (section 7.2.3.1, and stored blocks of so many bytes). */
#define HELLO       "\xf2\x48\xcd\xc9\xc9\x07\x00"
#define STORED_1    "\x00\x01\x00\xfe\xff"
#define STORED_64   "\x00\x40\x00\xbf\xff"
#define STORED_65   "\x00\x41\x00\xbe\xff"
#define MAX_DEFLATE (2 * LIMIT + 1024) /* of a payload */

static void test_compressed_messages(void **state) {
  static const vector vectors[] = {
      {{F(RSV1 | TEXT, HELLO)}, "text(Hello) "},
      {{F(RSV1 | BINARY, HELLO), F(TEXT, "x"), F(RSV1 | TEXT, HELLO)},
       "binary(Hello) text(x) text(Hello) "},
      {{F(RSV1 | TEXT, "\x00")}, "text() "},
      {{F(RSV1 | TEXT, "")}, "text() "},
      {{F(RSV1 | 1, "\xf2\x48\xcd"), F(FIN, "\xc9\xc9\x07\x00")},
       "text(Hello) "},
      {{F(RSV1 | 1, "\xf2\x48"), F(PING, "p"), F(0, ""),
        F(FIN, "\xcd\xc9\xc9\x07\x00")},
       "ping(p) text(Hello) "},
      {{F(RSV1 | 2, ""), F(FIN, HELLO)}, "binary(Hello) "},
      {{F(RSV1 | 1, HELLO), F(FIN, "")}, "text(Hello) "},
      {{F(RSV1 | 1, HELLO)}, ""},
      {{F(RSV1 | 1, "\xf2\x48"), F(CLOSE, "\x03\xe8")}, "close(1000 ) "},
  };

  (void)state;
  CHECK_ALL_DEFLATE(vectors);
}

static void test_where_rsv1_may_stand(void **state) {
  static const vector vectors[] = {
      {{F(1, "a"), F(RSV1 | FIN, "b")}, "error(1002) "},
      {{F(RSV1 | 1, "\xf2\x48"), F(RSV1 | FIN, "\xcd\xc9\xc9\x07\x00")},
       "error(1002) "},
      {{F(RSV1 | FIN, HELLO)}, "error(1002) "},
      {{F(RSV1 | PING, HELLO)}, "error(1002) "},
      {{F(RSV1 | PONG, "")}, "error(1002) "},
      {{F(RSV1 | CLOSE, HELLO)}, "error(1002) "},
      {{F(RSV1 | FIN | 3, HELLO)}, "error(1002) "},
      {{F(RSV1 | RSV2 | TEXT, HELLO)}, "error(1002) "},
      {{F(RSV1 | RSV3 | TEXT, HELLO)}, "error(1002) "},
      {{F(RSV2 | TEXT, "x")}, "error(1002) "},
      {{F(RSV3 | BINARY, "x")}, "error(1002) "},
      {{UNMASKED(RSV1 | TEXT, HELLO)}, "error(1002) "},
      {{F(RSV1 | 1, HELLO), F(RSV1 | TEXT, HELLO)}, "error(1002) "},
  };

  (void)state;
  CHECK_ALL_DEFLATE(vectors);
}

/* Whoever did not negotiate it can't use it. */
static void test_rsv1_without_negotiation(void **state) {
  static const vector vectors[] = {
      {{F(RSV1 | TEXT, HELLO)}, "error(1002) "},
      {{F(RSV1 | BINARY, "")}, "error(1002) "},
      {{F(TEXT, "x"), F(RSV1 | 1, HELLO)}, "text(x) error(1002) "},
  };

  (void)state;
  CHECK_ALL(vectors);
}

/* UTF-8 and length are those of the message. */
static void test_compressed_content(void **state) {
  static const vector vectors[] = {
      {{F(RSV1 | TEXT, STORED_1 "\xc3" STORED_1 "\xa9")}, "text(\xc3\xa9) "},
      {{F(RSV1 | 1, STORED_1 "\xc3"), F(FIN, STORED_1 "\xa9")},
       "text(\xc3\xa9) "},
      {{F(RSV1 | BINARY, STORED_1 "\xff")}, "binary(\xff) "},
      {{F(RSV1 | TEXT, STORED_1 "\xff")}, "error(1007) "},
      {{F(RSV1 | TEXT, STORED_1 "\xc3")}, "error(1007) "},
      {{F(RSV1 | 1, STORED_1 "\xff")}, "error(1007) "}, /* at once */
      {{F(RSV1 | TEXT, STORED_1 "\xff\x06")}, "error(1007) "},
      {{F(RSV1 | 1, STORED_1 "\xc3"), F(FIN, "")}, "error(1007) "},
      {{F(RSV1 | TEXT, STORED_64 S64)}, "text(" S64 ") "},
      {{F(RSV1 | TEXT, STORED_64 S64), F(RSV1 | TEXT, STORED_64 S64)},
       "text(" S64 ") text(" S64 ") "},
      {{F(RSV1 | TEXT, STORED_65 S64 "x")}, "error(1009) "},
      /* What is wrong first counts, wherever the cuts are. */
      {{F(RSV1 | TEXT, STORED_65 "\xff" S64)}, "error(1007) "},
      {{F(RSV1 | 1, STORED_64 S64), F(0, STORED_1 "x")}, "error(1009) "},
      {{F(RSV1 | 1, STORED_64 S64), F(FIN, "\x00")}, "text(" S64 ") "},
  };

  (void)state;
  CHECK_ALL_DEFLATE(vectors);
}

static void test_bad_compression(void **state) {
  static const vector vectors[] = {
      {{F(RSV1 | TEXT, "\x06")}, "error(1007) "},
      {{F(RSV1 | BINARY, "\xff\xff\xff\xff")}, "error(1007) "},
      {{F(RSV1 | 1, "\x06")}, "error(1007) "},
      {{F(RSV1 | 1, HELLO), F(FIN, "\x06")}, "error(1007) "},
      {{CLAIM(RSV1 | TEXT, "\x06", SHORTEST, 60)}, "error(1007) "},
      {{F(RSV1 | BINARY, STORED_64 "x")}, "error(1007) "}, /* cut off */
  };

  (void)state;
  CHECK_ALL_DEFLATE(vectors);
}

/* A payload may be longer than its message, within bounds. */
static void test_compressed_length(void **state) {
  static const vector vectors[] = {
      {{CLAIM(RSV1 | TEXT, "\x00", SHORTEST, MAX_DEFLATE)}, ""},
      {{CLAIM(RSV1 | TEXT, "\x00", SHORTEST, MAX_DEFLATE + 1)}, "error(1009) "},
      {{F(RSV1 | 1, "\x00"), CLAIM(FIN, "\x00", SHORTEST, MAX_DEFLATE)},
       "error(1009) "},
      {{CLAIM(RSV1 | TEXT, "\x00", IN_8_BYTES, UINT64_C(1) << 62)},
       "error(1009) "},
  };

  (void)state;
  CHECK_ALL_DEFLATE(vectors);
}

/* Append what a deflater makes of a message to the wire, in fragments of `max`
 * bytes. */
static void put_deflated(cp__buf *wire, uint8_t opcode, const void *body,
                         size_t len, size_t max) {
  cp__deflate_options options;
  cp__deflater *deflater;
  cp__deflated deflated;
  uint8_t head = RSV1 | opcode;
  size_t at, n;

  cp__deflate_options_init(&options);
  deflater = cp__deflater_create(&cp__default_allocator, &options);
  assert_true(cp__deflater_run(deflater, cp_bytes_of(body, len), &deflated));
  for (at = 0; at < deflated.payload.len; at += n, head = 0) {
    n = deflated.payload.len - at;
    if (n <= max)
      head |= FIN;
    else
      n = max;
    put_body(wire, head, (const uint8_t *)deflated.payload.data + at, n);
  }
  cp__deflater_destroy(deflater);
}

/* 4 MiB in 4 KiB: a message that is cut off at the limit. */
static void test_bombs(void **state) {
  enum { N = 4 * 1024 * 1024 };
  uint8_t *zeros = calloc(1, N);
  size_t max;

  (void)state;
  for (max = 100; max <= 10000; max *= 10) {
    cp__buf wire;
    cp__buf_init(&wire, &cp__default_allocator);
    put_deflated(&wire, BINARY & 0x0F, zeros, N, max);
    assert_true(cp__buf_len(&wire) < N / 500);
    check_wire(&wire, 10000, true, "error(1009) ");
    check_wire(&wire, N - 1, true, "error(1009) ");
    cp__buf_finish(&wire);
  }
  free(zeros);
}

/* An inflater is borrowed from a message's first byte to its last. */
static void test_inflaters_are_borrowed(void **state) {
  static const frame first = F(RSV1 | 1, "\xf2\x48");
  static const frame last = F(FIN, "\xcd\xc9\xc9\x07\x00");
  static const frame plain = F(TEXT, "x");
  cp__buf wire;
  session s;

  (void)state;
  cp__buf_init(&wire, &cp__default_allocator);
  session_start(&s, &cp__default_allocator, LIMIT, true);
  put_frame(&wire, &plain);
  session_feed_pieces(&s, &wire, 1);
  assert_int_equal(s.pool.inflaters.n_free, 0);
  cp__buf_reset(&wire, 0);
  put_frame(&wire, &first);
  session_feed_pieces(&s, &wire, wire.end);
  assert_int_equal(s.pool.inflaters.n_borrowed, 1);
  assert_false(cp__ws_at_rest(s.ws));
  cp__buf_reset(&wire, 0);
  put_frame(&wire, &last);
  session_feed_pieces(&s, &wire, wire.end);
  assert_int_equal(s.pool.inflaters.n_borrowed, 0);
  assert_int_equal(s.pool.inflaters.n_free, 1);
  assert_true(cp__ws_at_rest(s.ws));
  assert_string_equal(log_of(&s), "text(x) text(Hello) ");
  /* One that leaves within a message leaves none behind. */
  cp__buf_reset(&wire, 0);
  put_frame(&wire, &first);
  session_feed_pieces(&s, &wire, wire.end);
  session_end(&s);
  cp__buf_finish(&wire);
}

/* What was negotiated is the connection's, not the receiver's. */
static void test_pool_forgets_who_could_compress(void **state) {
  static const frame hello = F(RSV1 | TEXT, HELLO);
  cp__ws_event event;
  cp__ws_pool pool;
  cp__buf wire;
  cp__ws *ws;

  (void)state;
  cp__buf_init(&wire, &cp__default_allocator);
  put_frame(&wire, &hello);
  cp__ws_pool_init(&pool, &cp__default_allocator, LIMIT);
  ws = cp__ws_borrow(&pool, true, NULL);
  cp__ws_return(ws);
  assert_ptr_equal(cp__ws_borrow(&pool, false, NULL), ws);
  cp__ws_feed(ws, wire.data, wire.end);
  cp__ws_next(ws, &event);
  assert_int_equal(event.type, CP__WS_ERROR);
  assert_int_equal(event.code, 1002);
  cp__ws_return(ws);
  cp__ws_pool_finish(&pool);
  cp__buf_finish(&wire);
}

/* Memory. ----------------------------------------------------------------- */

/* Whatever happened up to the allocation that failed is told as ever. */
static bool fails_well(size_t n, const cp__buf *wire, const char *events) {
  failing_alloc memory;
  session s;

  failing_alloc_init(&memory, n);
  session_start(&s, &memory.alloc, 100000, true);
  if (s.ws != NULL) {
    session_feed_pieces(&s, wire, 1000);
    assert_int_equal(s.failed, memory.failed);
    if (s.failed) {
      const char *last = strstr(log_of(&s), "error(1011) ");
      assert_non_null(last);
      assert_memory_equal(s.log.data, events, last - (char *)s.log.data);
    } else {
      assert_string_equal(log_of(&s), events);
    }
  }
  session_end(&s);
  assert_int_equal(memory.n_live, 0);
  return memory.failed;
}

static void test_every_allocation_failing(void **state) {
  enum { N = 50000 };
  char *body = malloc(N);
  cp__buf wire, events;
  size_t n = 0;

  (void)state;
  memset(body, 'b', N);
  cp__buf_init(&wire, &cp__default_allocator);
  cp__buf_init(&events, &cp__default_allocator);
  put_body(&wire, TEXT, "hello", 5);
  put_body(&wire, 2, body, N);
  put_body(&wire, PING, "p", 1);
  put_body(&wire, FIN, body, N);
  put_deflated(&wire, TEXT & 0x0F, body, N, 20);
  cp__buf_append_str(&events, "text(hello) ping(p) binary(");
  cp__buf_append(&events, body, N);
  cp__buf_append(&events, body, N);
  cp__buf_append_str(&events, ") text(");
  cp__buf_append(&events, body, N);
  cp__buf_append(&events, ") ", 3);
  while (fails_well(++n, &wire, (const char *)events.data))
    ;
  assert_true(n > 10);
  cp__buf_finish(&wire);
  cp__buf_finish(&events);
  free(body);
}

/* Pool. ------------------------------------------------------------------- */

static void test_pool_keeps_what_is_at_rest(void **state) {
  cp__ws_event event;
  cp__ws_pool pool;
  cp__ws *ws;
  cp__buf wire;

  (void)state;
  cp__buf_init(&wire, &cp__default_allocator);
  put_body(&wire, TEXT, "one", 3);
  cp__ws_pool_init(&pool, &cp__default_allocator, LIMIT);
  ws = cp__ws_borrow(&pool, false, NULL);
  assert_int_equal(pool.n_borrowed, 1);
  cp__ws_feed(ws, wire.data, wire.end);
  cp__ws_next(ws, &event);
  cp__ws_return(ws); /* with the message in it */
  assert_int_equal(pool.n_borrowed, 0);
  assert_int_equal(pool.n_free, 1);
  assert_ptr_equal(cp__ws_borrow(&pool, false, NULL), ws);
  assert_int_equal(pool.n_free, 0);
  cp__ws_feed(ws, wire.data, wire.end);
  cp__ws_next(ws, &event);
  assert_int_equal(event.body.len, 3);
  cp__ws_next(ws, &event);
  assert_int_equal(event.type, CP__WS_NOTHING);
  assert_true(cp__ws_at_rest(ws));
  cp__ws_return(ws);
  cp__ws_return(NULL);
  cp__ws_pool_finish(&pool);
  cp__buf_finish(&wire);
}

/* Feed `len` bytes of the wire to a new receiver, and give it back. */
static void use_up(cp__ws_pool *pool, const cp__buf *wire, size_t len) {
  cp__ws *ws = cp__ws_borrow(pool, false, NULL);
  cp__ws_event event;

  cp__ws_feed(ws, wire->data, len);
  do
    cp__ws_next(ws, &event);
  while (event.type != CP__WS_NOTHING);
  cp__ws_return(ws);
}

static void test_pool_frees_what_is_not(void **state) {
  static const frame bad = F(RSV1 | TEXT, "x");
  static const frame begun = F(1, "x");
  failing_alloc memory;
  cp__ws_pool pool;
  cp__buf wire;

  (void)state;
  failing_alloc_init(&memory, 0);
  cp__ws_pool_init(&pool, &memory.alloc, LIMIT);
  cp__buf_init(&wire, &cp__default_allocator);
  put_frame(&wire, &bad);
  use_up(&pool, &wire, wire.end);
  assert_int_equal(memory.n_live, 0);
  cp__buf_reset(&wire, LIMIT);
  put_frame(&wire, &begun);
  use_up(&pool, &wire, wire.end); /* the message is not whole */
  assert_int_equal(memory.n_live, 0);
  use_up(&pool, &wire, 1); /* nor is the frame */
  assert_int_equal(memory.n_live, 0);
  assert_int_equal(pool.n_free, 0);
  assert_int_equal(pool.n_borrowed, 0);
  cp__ws_pool_finish(&pool);
  cp__buf_finish(&wire);
}

static void test_pool_is_bounded(void **state) {
  enum { N = 70 };
  failing_alloc memory;
  cp__ws_pool pool;
  cp__ws *all[N];
  int i;

  (void)state;
  failing_alloc_init(&memory, 0);
  cp__ws_pool_init(&pool, &memory.alloc, LIMIT);
  for (i = 0; i < N; i++)
    all[i] = cp__ws_borrow(&pool, false, NULL);
  for (i = 0; i < N; i++)
    cp__ws_return(all[i]);
  assert_true(pool.max_free < N);
  assert_int_equal(pool.n_free, pool.max_free);
  assert_int_equal(memory.n_live, pool.max_free);
  cp__ws_pool_finish(&pool);
  assert_int_equal(memory.n_live, 0);
}

/* A receiver at rest holds on to little, however long its last message was. */
static void test_pool_keeps_no_long_messages(void **state) {
  enum { N = 100000 };
  char *body = calloc(1, N);
  failing_alloc memory;
  cp__ws_pool pool;
  cp__buf wire;

  (void)state;
  failing_alloc_init(&memory, 0);
  cp__ws_pool_init(&pool, &memory.alloc, N);
  cp__buf_init(&wire, &cp__default_allocator);
  put_body(&wire, BINARY, body, N);
  use_up(&pool, &wire, wire.end);
  assert_int_equal(pool.n_free, 1);
  assert_int_equal(memory.n_live, 1);
  cp__ws_pool_finish(&pool);
  cp__buf_finish(&wire);
  free(body);
}

/* Encode. ----------------------------------------------------------------- */

static void check_encoded(cp__ws_encoder *encoder, int opcode, size_t len,
                          const char *head, size_t head_len) {
  char *body = malloc(len + 1);
  cp__blob *blob;

  memset(body, 'z', len);
  blob = cp__ws_encode(encoder, opcode, cp_bytes_of(body, len));
  assert_non_null(blob);
  assert_int_equal(blob->len, head_len + len);
  assert_memory_equal(blob->data, head, head_len);
  assert_memory_equal(blob->data + head_len, body, len);
  assert_int_equal(cp__ws_frame_len(blob->data), blob->len);
  cp__blob_unref(blob);
  free(body);
}

#define CHECK_ENCODED(encoder, opcode, len, head) \
  check_encoded((encoder), (opcode), (len), (head), sizeof(head) - 1)

static void test_encode(void **state) {
  cp__ws_encoder encoder;

  (void)state;
  assert_int_equal(cp__ws_encoder_init(&encoder, &cp__default_allocator), 0);
  CHECK_ENCODED(&encoder, CP_TEXT, 0, "\x81\x00");
  CHECK_ENCODED(&encoder, CP_TEXT, 1, "\x81\x01");
  CHECK_ENCODED(&encoder, CP_BINARY, 125, "\x82\x7d");
  CHECK_ENCODED(&encoder, CP_BINARY, 126, "\x82\x7e\x00\x7e");
  CHECK_ENCODED(&encoder, CP_BINARY, 65535, "\x82\x7e\xff\xff");
  CHECK_ENCODED(&encoder, CP_TEXT, 65536,
                "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
  CHECK_ENCODED(&encoder, CP__WS_OP_PING, 0, "\x89\x00");
  CHECK_ENCODED(&encoder, CP__WS_OP_PONG, 125, "\x8a\x7d");
  assert_null(cp__ws_encode(&encoder, CP__WS_OP_PING, cp_bytes_of("", 126)));
  /* One that was refused leaves no trace in the next. */
  CHECK_ENCODED(&encoder, CP_TEXT, 2, "\x81\x02");
  cp__ws_encoder_finish(&encoder);
}

static void test_encode_deflated(void **state) {
  cp__ws_encoder encoder;
  cp__blob *blob;

  (void)state;
  assert_int_equal(cp__ws_encoder_init(&encoder, &cp__default_allocator), 0);
  blob = cp__ws_encode_deflated(&encoder, CP_TEXT, cp_bytes_of(HELLO, 7));
  assert_int_equal(blob->len, 9);
  assert_memory_equal(blob->data, "\xc1\x07" HELLO, 9);
  cp__blob_unref(blob);
  CHECK_ENCODED(&encoder, CP_TEXT, 2, "\x81\x02");
  cp__ws_encoder_finish(&encoder);
}

static void check_close(cp__ws_encoder *encoder, uint16_t code,
                        const char *reason, const char *wire, size_t len) {
  cp__blob *blob = cp__ws_encode_close(encoder, code, cp_str(reason));

  assert_non_null(blob);
  assert_int_equal(blob->len, len);
  assert_memory_equal(blob->data, wire, len);
  cp__blob_unref(blob);
}

/* `text`, `n` times. */
static char *repeated(char *out, const char *text, size_t n) {
  size_t len = strlen(text);
  size_t i;

  for (i = 0; i < n; i++)
    memcpy(out + i * len, text, len);
  out[n * len] = '\0';
  return out;
}

static void check_cut(cp__ws_encoder *encoder, const char *reason,
                      size_t kept) {
  char wire[4 + 125] = {(char)CLOSE, (char)(2 + kept), '\x03', '\xf5'};

  memcpy(wire + 4, reason, kept);
  check_close(encoder, 1013, reason, wire, 4 + kept);
}

static void test_encode_close(void **state) {
  cp__ws_encoder encoder;
  char reason[512];

  (void)state;
  assert_int_equal(cp__ws_encoder_init(&encoder, &cp__default_allocator), 0);
  check_close(&encoder, CP__WS_NO_STATUS, "not sent", "\x88\x00", 2);
  check_close(&encoder, 1000, NULL, "\x88\x02\x03\xe8", 4);
  check_close(&encoder, 1001, "x", "\x88\x03\x03\xe9x", 5);
  check_close(&encoder, 4999, "bye",
              "\x88\x05\x13\x87"
              "bye",
              7);
  check_cut(&encoder, repeated(reason, "x", 123), 123);
  check_cut(&encoder, repeated(reason, "x", 124), 123);
  check_cut(&encoder, repeated(reason, "\xc3\xa9", 61), 122);
  check_cut(&encoder, repeated(reason, "\xc3\xa9", 62), 122);
  check_cut(&encoder, repeated(reason, "\xe2\x82\xac", 41), 123);
  check_cut(&encoder, repeated(reason, "\xe2\x82\xac", 42), 123);
  check_cut(&encoder, repeated(reason, "\xf0\x9f\x98\x80", 31), 120);
  check_cut(&encoder, repeated(reason, "\x80", 200), 0); /* no text at all */
  cp__ws_encoder_finish(&encoder);
}

static void test_encode_without_memory(void **state) {
  cp__ws_encoder encoder;
  failing_alloc memory;

  (void)state;
  failing_alloc_init(&memory, 1);
  assert_int_equal(cp__ws_encoder_init(&encoder, &memory.alloc), 0);
  assert_null(cp__ws_encode(&encoder, CP_TEXT, cp_str("x")));
  memory.n_calls = 0;
  assert_null(cp__ws_encode_close(&encoder, 1000, cp_str("x")));
  CHECK_ENCODED(&encoder, CP_TEXT, 1, "\x81\x01");
  cp__ws_encoder_finish(&encoder);
  assert_int_equal(memory.n_live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole_messages),
      cmocka_unit_test(test_every_opcode),
      cmocka_unit_test(test_reserved_bits),
      cmocka_unit_test(test_masks),
      cmocka_unit_test(test_lengths_that_could_be_shorter),
      cmocka_unit_test(test_bad_control_frames),
      cmocka_unit_test(test_length_borders),
      cmocka_unit_test(test_control_frame_of_125_bytes),
      cmocka_unit_test(test_fragments),
      cmocka_unit_test(test_max_message),
      cmocka_unit_test(test_heads_alone),
      cmocka_unit_test(test_announcements_are_free),
      cmocka_unit_test(test_utf8),
      cmocka_unit_test(test_close_payloads),
      cmocka_unit_test(test_close_codes),
      cmocka_unit_test(test_events_one_by_one),
      cmocka_unit_test(test_compressed_messages),
      cmocka_unit_test(test_where_rsv1_may_stand),
      cmocka_unit_test(test_rsv1_without_negotiation),
      cmocka_unit_test(test_compressed_content),
      cmocka_unit_test(test_bad_compression),
      cmocka_unit_test(test_compressed_length),
      cmocka_unit_test(test_bombs),
      cmocka_unit_test(test_inflaters_are_borrowed),
      cmocka_unit_test(test_pool_forgets_who_could_compress),
      cmocka_unit_test(test_every_allocation_failing),
      cmocka_unit_test(test_pool_keeps_what_is_at_rest),
      cmocka_unit_test(test_pool_frees_what_is_not),
      cmocka_unit_test(test_pool_is_bounded),
      cmocka_unit_test(test_pool_keeps_no_long_messages),
      cmocka_unit_test(test_encode),
      cmocka_unit_test(test_encode_deflated),
      cmocka_unit_test(test_encode_close),
      cmocka_unit_test(test_encode_without_memory),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
