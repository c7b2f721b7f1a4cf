/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Any bytes as frames of a client. What comes out is held against a second
 * reader, which has all the bytes at once and no state to get wrong, and must
 * not depend on how the bytes were cut. What came out is encoded, masked, and
 * must come out again. The first byte of the input chooses the limit (bit 0)
 * and whether compression was negotiated (bit 1). Of compressed messages it is
 * asked what the receiver does with an inflater; fuzz_deflate asks what that
 * does. */

#include "ws.h"

#include <assert.h>

#define MAX_INPUT 4096

/* Log: what came out, in a form that can be compared. --------------------- */

static void log_event(cp__buf *log, cp__ws_event_type type, unsigned detail,
                      cp_bytes body) {
  cp__buf_appendf(log, "%d %u %zu ", (int)type, detail, body.len);
  cp__buf_append_bytes(log, body);
}

static void assert_same(const cp__buf *a, const cp__buf *b) {
  size_t len = cp__buf_len(a);

  assert(len == cp__buf_len(b));
  assert(len == 0 || memcmp(cp__buf_begin(a), cp__buf_begin(b), len) == 0);
}

/* The second reader. ------------------------------------------------------ */

typedef struct model {
  size_t limit;
  bool deflate;
  cp__buf log;
  cp__buf message;
  cp__buf payload; /* of a compressed message */
  bool compressed; /* the message is */
  uint8_t opcode;  /* of the message that is not finished; 0: none */
  bool rests;      /* nothing is unfinished */
  bool failed;
} model;

typedef struct frame {
  uint8_t head;
  bool masked;
  uint64_t len;
  uint8_t mask[4];
  size_t head_len;
  size_t n_here; /* bytes of the payload that are in the input */
} frame;

static void model_fail(model *m, unsigned code) {
  log_event(&m->log, CP__WS_ERROR, code, cp_bytes_of(NULL, 0));
  m->failed = true;
}

/* Returns false if the head is not whole (or bad in a way that shows already).
 */
static bool read_head(model *m, frame *f, const uint8_t *data, size_t len) {
  size_t n_len = 0;
  size_t i;

  if (len < 2)
    return false;
  f->head = data[0];
  f->masked = (data[1] & 0x80) != 0;
  f->len = data[1] & 0x7F;
  if ((f->head & 0x08) && (f->len > 125 || !(f->head & 0x80))) {
    model_fail(m, 1002);
    return false;
  }
  if (f->len > 125)
    n_len = f->len == 126 ? 2 : 8;
  f->head_len = 2 + n_len + (f->masked ? 4 : 0);
  if (len < 2 + n_len)
    return false;
  if (n_len > 0)
    for (f->len = 0, i = 0; i < n_len; i++)
      f->len = f->len << 8 | data[2 + i];
  if ((n_len == 2 && f->len < 126) || (n_len == 8 && f->len < 65536) ||
      f->len > INT64_MAX) {
    model_fail(m, 1002);
    return false;
  }
  if (len < f->head_len)
    return false;
  if (f->masked)
    memcpy(f->mask, data + f->head_len - 4, 4);
  len -= f->head_len;
  f->n_here = f->len < len ? (size_t)f->len : len;
  return true;
}

static unsigned judge_head(const model *m, const frame *f) {
  uint8_t opcode = f->head & 0x0F;

  if (!f->masked || (f->head & 0x30))
    return 1002;
  if ((f->head & 0x40) && (!m->deflate || opcode == 0 || opcode > 2))
    return 1002;
  if (opcode >= 8)
    return opcode <= 10 ? 0 : 1002;
  if (opcode > 2 || (opcode == 0) != (m->opcode != 0))
    return 1002;
  if (opcode != 0 ? (f->head & 0x40) != 0 : m->compressed)
    return f->len > 2 * m->limit + 1024 - cp__buf_len(&m->payload) ? 1009 : 0;
  return f->len > m->limit - cp__buf_len(&m->message) ? 1009 : 0;
}

static void end_control(model *m, const frame *f, const uint8_t *body) {
  cp_bytes bytes = cp_bytes_of(body, f->n_here);
  uint16_t code = CP__WS_NO_STATUS;

  if ((f->head & 0x0F) != CP__WS_OP_CLOSE) {
    log_event(&m->log,
              (f->head & 0x0F) == CP__WS_OP_PING ? CP__WS_PING : CP__WS_PONG, 0,
              bytes);
    return;
  }
  if (bytes.len >= 2) {
    code = (uint16_t)(body[0] << 8 | body[1]);
    bytes = cp_bytes_of(body + 2, bytes.len - 2);
  }
  if (f->n_here == 1 || (f->n_here > 0 && !cp__ws_close_code_valid(code)))
    model_fail(m, 1002);
  else if (f->n_here > 0 && !cp__utf8_valid(bytes))
    model_fail(m, 1007);
  else
    log_event(&m->log, CP__WS_CLOSE, code, bytes);
}

/* All of the payload so far, from the beginning. Returns the code to fail with;
 * an error counts behind what came before it. */
static unsigned inflate_all(model *m, bool at_end) {
  cp__inflate_pool pool;
  cp__inflater *inflater;
  int err;

  cp__buf_reset(&m->message, MAX_INPUT);
  cp__inflate_pool_init(&pool, &cp__default_allocator, m->limit);
  inflater = cp__inflater_borrow(&pool);
  err = cp__inflater_feed(inflater, cp__buf_bytes(&m->payload), &m->message);
  if (err == 0 && at_end)
    err = cp__inflater_end(inflater, &m->message);
  cp__inflater_return(inflater);
  cp__inflate_pool_finish(&pool);
  if (m->opcode == CP_TEXT &&
      cp__utf8_feed(0, cp__buf_bytes(&m->message)) == CP__UTF8_BAD)
    return 1007;
  return err == 0 ? 0 : err == CP_E_TOOBIG ? 1009 : 1007;
}

static void end_message(model *m) {
  cp_bytes bytes = cp__buf_bytes(&m->message);

  if (m->opcode == CP_TEXT && !cp__utf8_valid(bytes)) {
    model_fail(m, 1007);
    return;
  }
  log_event(&m->log, CP__WS_MESSAGE, m->opcode, bytes);
  m->opcode = 0;
  cp__buf_reset(&m->message, MAX_INPUT);
  cp__buf_reset(&m->payload, MAX_INPUT);
}

static unsigned take_payload(model *m, const uint8_t *body, size_t len,
                             bool at_end) {
  if (m->compressed) {
    cp__buf_append(&m->payload, body, len);
    return inflate_all(m, at_end);
  }
  cp__buf_append(&m->message, body, len);
  if (m->opcode != CP_TEXT)
    return 0;
  return cp__utf8_feed(0, cp__buf_bytes(&m->message)) == CP__UTF8_BAD ? 1007
                                                                      : 0;
}

static void take_frame(model *m, const frame *f, const uint8_t *payload) {
  unsigned code = judge_head(m, f);
  uint8_t body[MAX_INPUT];
  bool whole = f->n_here == f->len;
  bool at_end = whole && (f->head & 0x80);
  size_t i;

  if (code != 0) {
    model_fail(m, code);
    return;
  }
  for (i = 0; i < f->n_here; i++)
    body[i] = payload[i] ^ f->mask[i % 4];
  if (f->head & 0x08) {
    if (whole)
      end_control(m, f, body);
    return;
  }
  if ((f->head & 0x0F) != 0) {
    m->opcode = f->head & 0x0F;
    m->compressed = (f->head & 0x40) != 0;
  }
  code = take_payload(m, body, f->n_here, at_end);
  if (code != 0)
    model_fail(m, code);
  else if (at_end)
    end_message(m);
}

static void model_run(model *m, size_t limit, bool deflate, const uint8_t *data,
                      size_t len) {
  size_t at = 0;
  frame f;

  memset(m, 0, sizeof *m);
  m->limit = limit;
  m->deflate = deflate;
  cp__buf_init(&m->log, &cp__default_allocator);
  cp__buf_init(&m->message, &cp__default_allocator);
  cp__buf_init(&m->payload, &cp__default_allocator);
  while (!m->failed && read_head(m, &f, data + at, len - at)) {
    take_frame(m, &f, data + at + f.head_len);
    if (f.n_here < f.len)
      break;
    at += f.head_len + f.n_here;
  }
  m->rests = !m->failed && m->opcode == 0 && at == len;
}

static void model_end(model *m) {
  cp__buf_finish(&m->log);
  cp__buf_finish(&m->message);
  cp__buf_finish(&m->payload);
}

/* The receiver. ----------------------------------------------------------- */

typedef struct run {
  cp__buf log;
  cp__buf echo; /* what came out, as frames of a client again */
  bool rests;
  bool failed;
} run;

static unsigned detail_of(const cp__ws_event *event) {
  if (event->type == CP__WS_MESSAGE)
    return (unsigned)event->message_type;
  return event->code;
}

/* A server's frame becomes a client's by a mask, here of zeros. */
static void put_masked(cp__buf *out, const cp__blob *frame) {
  static const uint8_t mask[4] = {0, 0, 0, 0};
  uint8_t len = frame->data[1];
  size_t head_len = len < 126 ? 2 : len == 126 ? 4 : 10;

  assert(len < 128);
  len |= 0x80;
  cp__buf_append(out, frame->data, 1);
  cp__buf_append(out, &len, 1);
  cp__buf_append(out, frame->data + 2, head_len - 2);
  cp__buf_append(out, mask, sizeof mask);
  cp__buf_append(out, frame->data + head_len, frame->len - head_len);
}

static cp__blob *encode_again(cp__ws_encoder *encoder,
                              const cp__ws_event *event) {
  switch (event->type) {
  case CP__WS_MESSAGE:
    return cp__ws_encode(encoder, (int)event->message_type, event->body);
  case CP__WS_PING:
    return cp__ws_encode(encoder, CP__WS_OP_PING, event->body);
  case CP__WS_PONG:
    return cp__ws_encode(encoder, CP__WS_OP_PONG, event->body);
  case CP__WS_CLOSE:
    return cp__ws_encode_close(encoder, event->code, event->body);
  case CP__WS_NOTHING:
  case CP__WS_ERROR:
    break;
  }
  return NULL;
}

static void take_event(run *r, cp__ws_encoder *encoder,
                       const cp__ws_event *event) {
  cp__blob *frame = encode_again(encoder, event);

  log_event(&r->log, event->type, detail_of(event), event->body);
  r->failed = event->type == CP__WS_ERROR;
  assert((frame != NULL) == !r->failed);
  if (frame != NULL)
    put_masked(&r->echo, frame);
  cp__blob_unref(frame);
}

static void feed(run *r, cp__ws *ws, cp__ws_encoder *encoder,
                 const uint8_t *data, size_t len) {
  cp__ws_event event;

  if (r->failed)
    return;
  cp__ws_feed(ws, data, len);
  for (;;) {
    cp__ws_next(ws, &event);
    if (event.type == CP__WS_NOTHING)
      return;
    take_event(r, encoder, &event);
  }
}

static void run_pieces(run *r, size_t limit, bool deflate, const uint8_t *data,
                       size_t len, size_t piece) {
  cp__ws_encoder encoder;
  cp__ws_pool pool;
  cp__ws *ws;
  size_t i;

  r->failed = false;
  cp__buf_init(&r->log, &cp__default_allocator);
  cp__buf_init(&r->echo, &cp__default_allocator);
  cp__ws_encoder_init(&encoder, &cp__default_allocator);
  cp__ws_pool_init(&pool, &cp__default_allocator, limit);
  ws = cp__ws_borrow(&pool, deflate, NULL);
  for (i = 0; i < len; i += piece)
    feed(r, ws, &encoder, data + i, len - i < piece ? len - i : piece);
  r->rests = cp__ws_at_rest(ws);
  cp__ws_return(ws);
  assert(pool.n_free == r->rests);
  cp__ws_pool_finish(&pool);
  cp__ws_encoder_finish(&encoder);
}

static void run_end(run *r) {
  cp__buf_finish(&r->log);
  cp__buf_finish(&r->echo);
}

/* ------------------------------------------------------------------------- */

static void check_pieces(const model *m, const uint8_t *data, size_t len,
                         size_t piece) {
  run r;

  run_pieces(&r, m->limit, m->deflate, data, len, piece);
  assert_same(&r.log, &m->log);
  assert(r.failed == m->failed);
  assert(r.rests == m->rests);
  run_end(&r);
}

static void check_echo(const model *m, const uint8_t *data, size_t len) {
  run first, second;

  run_pieces(&first, m->limit, m->deflate, data, len, MAX_INPUT);
  run_pieces(&second, m->limit, false, cp__buf_begin(&first.echo),
             cp__buf_len(&first.echo), MAX_INPUT);
  assert_same(&first.echo, &second.echo);
  assert(second.rests);
  run_end(&first);
  run_end(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const size_t pieces[] = {MAX_INPUT, 1, 2, 7, 61};
  size_t limit;
  bool deflate;
  model m;
  size_t i;

  if (len < 1 || len > MAX_INPUT)
    return 0;
  limit = data[0] & 1 ? 16 : MAX_INPUT;
  deflate = (data[0] & 2) != 0;
  data++;
  len--;
  model_run(&m, limit, deflate, data, len);
  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    check_pieces(&m, data, len, pieces[i]);
  check_echo(&m, data, len);
  model_end(&m);
  return 0;
}
