/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: dial, shake hands if there is TLS, write the greeting in one
 * go, judge its answers, be ready. From then on commands are appended to `out`,
 * `flush` writes them, and replies are matched, first in first out, with a ring
 * of what was asked.
 *
 * Writing: `out` grows while nothing is on its way. What the system doesn't
 * take at once moves as a whole to `writing`, which stays put until uv_write is
 * done with it; `out` goes on growing meanwhile. With TLS what moves is
 * `sealed`, to which all of `out` is encrypted when it is about to be written,
 * and no sooner: outside of a flush `sealed` holds no commands, only what TLS
 * has to say for itself.
 *
 * Counting: commands are one long stream of bytes, and each pending reply knows
 * where in it its command ends. So how much waits, and whether Redis can have
 * seen a command, are differences of three positions. They count plaintext; of
 * ciphertext that is half written we take the first bytes for commands and the
 * last for TLS's own, so a command may pass for written a little early, but
 * never for unwritten when it was not.
 *
 * Reading: what nobody waits for may stay in the system's buffer for a while
 * (patience.h); answers come in order, so the first that somebody waits for
 * brings all before it.
 *
 * The failure modes all end in break_link, once: no connection, the timer, a
 * handshake that fails, a refused greeting, what is no Redis, an answer nobody
 * asked for, no memory, end of stream. The owner then takes what was never
 * answered and closes, which waits for the handles of the dial and the timer.
 */
#include "redis_link.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "list.h"
#include "patience.h"
#include "reply_ring.h"

#define READ_SIZE   65536
#define SLICE_SIZE  16384 /* hiredis parses small buffers faster */
#define KEEP        65536 /* what a write buffer holds on to when empty */
#define REASON_SIZE 400
/* Unanswered bytes, of commands, that end all patience. */
#define MAX_UNANSWERED 65536
#define SWAMPED_MS     1000 /* an end so soon after a full read has a cause */

typedef enum link_state {
  DIALING,
  SECURING, /* the TLS handshake */
  GREETING,
  READY,
  BROKEN,
  CLOSING,
  CLOSED,
  N_STATES
} link_state;

struct cp__redis_link {
  cp__redis_link_options options;
  link_state state;
  cp__dial dial;
  uv_timer_t timer; /* of handshake and greeting, then of patience */
  int n_closing;    /* of these two */
  bool was_ready;   /* the ring holds the owner's commands */

  bool is_reading;
  bool was_swamped;    /* a read was full: it had waited for us */
  uint64_t swamped_ms; /* the last time */
  uv_write_t write;
  bool is_writing;
  cp__buf out;
  cp__buf writing;
  size_t mark;    /* length of `out` without the command that is being built */
  cp__tls *tls;   /* NULL: none */
  cp__buf sealed; /* ciphertext */
  size_t n_plain; /* within a flush: bytes of commands yet to be handed on */
  size_t n_overhead; /* of the bytes in `writing`: those that TLS added */

  uint64_t n_ended;    /* bytes of all ended commands */
  uint64_t n_handed;   /* of these, given to libuv or the system */
  uint64_t n_answered; /* up to the end of the last command that was */
  cp__reply_ring ring;
  cp__patience patience;
  cp__buf kept;       /* commands that were written and, but for some at its
                         front, are not answered; with options.keep */
  uint64_t kept_from; /* where in the stream of all commands it begins */

  cp__resp *resp;
  cp__redis_info info;
  char reason[REASON_SIZE];
  char in[READ_SIZE];
};

#define BIT(state) (1u << (state))

static void move(cp__redis_link *link, link_state next) {
  static const unsigned allowed[N_STATES] = {
      [DIALING] = BIT(SECURING) | BIT(GREETING) | BIT(BROKEN) | BIT(CLOSING),
      [SECURING] = BIT(GREETING) | BIT(BROKEN) | BIT(CLOSING),
      [GREETING] = BIT(READY) | BIT(BROKEN) | BIT(CLOSING),
      [READY] = BIT(BROKEN) | BIT(CLOSING),
      [BROKEN] = BIT(CLOSING),
      [CLOSING] = BIT(CLOSED),
  };

  assert(allowed[link->state] & BIT(next));
  (void)allowed; /* without asserts */
  link->state = next;
}

/* Neither broken nor closed, which any callback may change. */
static bool is_live(const cp__redis_link *link) {
  return link->state < BROKEN;
}

/* ... and there is somebody to talk to. */
static bool is_connected(const cp__redis_link *link) {
  return is_live(link) && link->state != DIALING;
}

static uv_stream_t *stream_of(cp__redis_link *link) {
  return &link->dial.io.stream;
}

/* Endings. ---------------------------------------------------------------- */

static void break_link(cp__redis_link *link, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void break_link(cp__redis_link *link, int err, const char *format, ...) {
  va_list args;

  if (!is_live(link))
    return;
  va_start(args, format);
  vsnprintf(link->reason, sizeof link->reason, format, args);
  va_end(args);
  move(link, BROKEN);
  uv_timer_stop(&link->timer);
  if (link->is_reading)
    uv_read_stop(stream_of(link));
  link->options.events->on_broken(link->options.ctx, err, link->reason);
}

static void destroy(cp__redis_link *link) {
  const cp_allocator *alloc = link->options.alloc;

  cp__resp_destroy(link->resp);
  cp__tls_destroy(link->tls);
  cp__buf_finish(&link->out);
  cp__buf_finish(&link->sealed);
  cp__buf_finish(&link->writing);
  cp__buf_finish(&link->kept);
  cp__reply_ring_finish(&link->ring, alloc);
  cp__free(alloc, link);
}

static void finish(cp__redis_link *link) {
  void (*on_closed)(void *) = link->options.events->on_closed;
  void *ctx = link->options.ctx;

  destroy(link);
  on_closed(ctx);
}

static void maybe_finish_close(cp__redis_link *link) {
  if (--link->n_closing > 0)
    return;
  move(link, CLOSED);
  finish(link);
}

static void on_timer_closed(uv_handle_t *handle) {
  maybe_finish_close(handle->data);
}

static void on_dial_closed(cp__dial *dial) {
  maybe_finish_close(cp__container_of(dial, cp__redis_link, dial));
}

static uv_buf_t content_of(const cp__buf *buf) {
  uv_buf_t content;

  content.base = (char *)cp__buf_begin(buf);
  content.len = cp__buf_len(buf);
  return content;
}

/* close_notify, or the alert that says what was wrong. Behind bytes that are
 * still on their way there is no place for it. */
static void say_goodbye(cp__redis_link *link) {
  uv_buf_t words;

  if (link->tls == NULL || !link->is_reading || link->is_writing)
    return;
  cp__tls_close(link->tls, &link->sealed);
  words = content_of(&link->sealed);
  if (words.len > 0)
    uv_try_write(stream_of(link), &words, 1);
}

void cp__redis_link_close(cp__redis_link *link) {
  say_goodbye(link);
  move(link, CLOSING);
  link->n_closing = 2;
  cp__dial_close(&link->dial);
  uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}

/* Commands. --------------------------------------------------------------- */

cp__buf *cp__redis_link_begin(cp__redis_link *link) {
  assert(link->state == READY || link->state == GREETING);
  link->mark = cp__buf_len(&link->out);
  return &link->out;
}

static void undo_command(cp__redis_link *link) {
  link->out.end = link->out.start + link->mark;
  link->out.failed = false;
}

int cp__redis_link_end(cp__redis_link *link, int kind, void *const *tokens,
                       size_t n) {
  cp__reply reply = {.kind = (uint8_t)kind};
  size_t i;

  assert(n > 0);
  if (link->out.failed ||
      cp__reply_ring_reserve(&link->ring, n, link->options.alloc) != 0) {
    undo_command(link);
    return CP_E_NOMEM;
  }
  link->n_ended += cp__buf_len(&link->out) - link->mark;
  reply.end = link->n_ended;
  for (i = 0; i < n; i++) {
    reply.token = tokens[i];
    reply.n_more = (uint32_t)(n - 1 - i);
    reply.awaited = tokens[i] == NULL || tokens[i] != link->options.unhurried;
    cp__reply_ring_push(&link->ring, &reply);
    cp__patience_asked(&link->patience, reply.awaited);
  }
  return 0;
}

size_t cp__redis_link_queued(const cp__redis_link *link) {
  return (size_t)(link->n_ended - link->n_answered);
}

size_t cp__redis_link_pending(const cp__redis_link *link) {
  return link->ring.n;
}

uint64_t cp__redis_link_answered(const cp__redis_link *link) {
  return link->n_answered;
}

/* How much the system has certainly, or possibly, taken. After a write that
 * failed half-way libuv doesn't tell where, so then it is all of it. */
static uint64_t n_written(const cp__redis_link *link) {
  size_t n_waiting;

  if (!link->is_writing)
    return link->n_handed;
  n_waiting = uv_stream_get_write_queue_size(&link->dial.io.stream);
  if (n_waiting <= link->n_overhead)
    return link->n_handed;
  return link->n_handed - (n_waiting - link->n_overhead);
}

/* The commands are about to be written. Copies are taken once a flush, not for
 * every command, and go when the answers came. */
static void keep(cp__redis_link *link, cp_bytes commands) {
  cp__buf *kept = &link->kept;

  if (!link->options.keep || !link->was_ready || commands.len == 0)
    return;
  if (link->n_answered >= link->kept_from + cp__buf_len(kept)) {
    cp__buf_reset(kept, KEEP);
    link->kept_from = link->n_ended - commands.len;
  } else {
    cp__buf_consume(kept, (size_t)(link->n_answered - link->kept_from));
    link->kept_from = link->n_answered;
  }
  cp__buf_append_bytes(kept, commands);
  if (!kept->failed)
    return;
  cp__buf_reset(kept, 0);
  link->kept_from = link->n_ended;
}

static cp_bytes slice_of(const cp__buf *buf, uint64_t base, uint64_t start,
                         uint64_t end) {
  if (start < base || end > base + cp__buf_len(buf))
    return cp_bytes_of(NULL, 0);
  return cp_bytes_of(cp__buf_begin(buf) + (start - base),
                     (size_t)(end - start));
}

/* The command that ends there and follows all that was answered. */
static cp_bytes command_to(const cp__redis_link *link, uint64_t end) {
  uint64_t start = link->n_answered;
  cp_bytes command = slice_of(&link->kept, link->kept_from, start, end);

  if (command.len == 0)
    command = slice_of(&link->out, link->n_ended - cp__buf_len(&link->out),
                       start, end);
  return command;
}

bool cp__redis_link_take(cp__redis_link *link, cp__redis_unanswered *reply) {
  cp__reply taken;

  if (!link->was_ready || !cp__reply_ring_pop(&link->ring, &taken))
    return false;
  reply->kind = taken.kind;
  reply->token = taken.token;
  reply->written = taken.end <= n_written(link);
  reply->command = command_to(link, taken.end);
  if (taken.n_more == 0)
    link->n_answered = taken.end;
  return true;
}

/* Patience. --------------------------------------------------------------- */

void cp__redis_link_hurry(cp__redis_link *link) {
  cp__patience_set(&link->patience, stream_of(link), false);
}

static void on_patience_over(uv_timer_t *timer) {
  cp__redis_link_hurry(timer->data);
}

/* Commands are about to be written: may their answers be late? */
static void choose_patience(cp__redis_link *link) {
  bool on = link->state == READY && cp__patience_is_due(&link->patience) &&
            cp__redis_link_queued(link) <= MAX_UNANSWERED;

  cp__patience_set(&link->patience, stream_of(link), on);
  if (link->patience.on && !uv_is_active((uv_handle_t *)&link->timer))
    uv_timer_start(&link->timer, on_patience_over, CP__PATIENCE_MS, 0);
}

/* Writing. ---------------------------------------------------------------- */

/* What is left of commands in `sealed` passes for unwritten, so it may never be
 * written. */
static void on_write_failed(cp__redis_link *link, int err) {
  cp__buf_reset(&link->sealed, 0);
  break_link(link, err, "can't write to Redis: %s", cp_strerror(err));
}

static void on_written(uv_write_t *req, int status) {
  cp__redis_link *link = req->data;

  link->is_writing = false;
  cp__buf_reset(&link->writing, KEEP);
  if (status < 0 && status != UV_ECANCELED)
    on_write_failed(link, status);
  cp__redis_link_flush(link);
}

/* All of `out` is about to be written: encrypt it, if need be. */
static bool seal(cp__redis_link *link) {
  cp_bytes commands = cp__buf_bytes(&link->out);
  int rc;

  link->n_plain = commands.len;
  keep(link, commands);
  if (link->tls == NULL || commands.len == 0)
    return true;
  rc = cp__tls_write(link->tls, &commands, 1, &link->sealed);
  cp__buf_reset(&link->out, KEEP);
  if (rc == 0)
    return true;
  on_write_failed(link, rc);
  return false;
}

static void count_handed(cp__redis_link *link, size_t len) {
  size_t n = len < link->n_plain ? len : link->n_plain;

  link->n_handed += n;
  link->n_plain -= n;
}

static void write_rest(cp__redis_link *link, cp__buf *wire) {
  cp__buf empty = link->writing;
  uv_buf_t rest;
  int rc;

  link->writing = *wire;
  *wire = empty;
  rest = content_of(&link->writing);
  rc = uv_write(&link->write, stream_of(link), &rest, 1, on_written);
  if (rc != 0) {
    on_write_failed(link, rc);
    return;
  }
  link->n_overhead = rest.len - link->n_plain;
  count_handed(link, rest.len);
  link->is_writing = true;
}

void cp__redis_link_flush(cp__redis_link *link) {
  cp__buf *wire = link->tls != NULL ? &link->sealed : &link->out;
  uv_buf_t all;
  int rc;

  if (!is_connected(link) || link->is_writing || !seal(link))
    return;
  all = content_of(wire);
  if (all.len == 0)
    return;
  choose_patience(link);
  rc = uv_try_write(stream_of(link), &all, 1);
  if (rc < 0 && rc != UV_EAGAIN) {
    on_write_failed(link, rc);
    return;
  }
  if (rc > 0) {
    count_handed(link, (size_t)rc);
    cp__buf_consume(wire, (size_t)rc);
  }
  if (cp__buf_len(wire) > 0)
    write_rest(link, wire);
  else
    cp__buf_reset(wire, KEEP);
}

/* Replies. ---------------------------------------------------------------- */

static void warn_once(cp__redis_link *link, unsigned bit, const char *reason) {
  unsigned *warned = link->options.warned;

  if (*warned & bit)
    return;
  *warned |= bit;
  cp__logf(link->options.log, CP_LOG_WARN, "%s; going on without it", reason);
}

static void on_greeting_reply(cp__redis_link *link, int step,
                              const cp__resp_reply *reply) {
  cp__greeting_verdict verdict;

  cp__redis_greeting_judge(&verdict, &link->info, (cp__greeting_step)step,
                           reply);
  if (verdict.err != 0) {
    break_link(link, verdict.err, "%s", verdict.reason);
    return;
  }
  if (verdict.refused)
    warn_once(link, 1u << step, verdict.reason);
  if (link->ring.n > 0)
    return;
  move(link, READY);
  link->was_ready = true;
  uv_timer_stop(&link->timer);
  link->options.events->on_ready(link->options.ctx);
}

static void on_unexpected(cp__redis_link *link, const cp__resp_reply *reply) {
  cp_bytes text = reply->nodes[0].text;

  break_link(link, CP_E_PROTOCOL, "Redis answered what it was not asked: %.*s",
             text.len < 160 ? (int)text.len : 160, (const char *)text.data);
}

static bool is_push(cp__redis_link *link, const cp__resp_reply *reply) {
  const cp__redis_link_events *events = link->options.events;
  const cp__reply *first = cp__reply_ring_first(&link->ring);

  return events->on_push != NULL && link->state == READY &&
         events->on_push(link->options.ctx, first != NULL ? first->kind : -1,
                         first != NULL ? first->token : NULL, reply);
}

static void take_reply(cp__redis_link *link, const cp__resp_reply *reply) {
  bool is_error = reply->nodes[0].type == CP__RESP_ERROR;
  cp__reply asked;

  if (is_push(link, reply))
    return;
  if (!cp__reply_ring_pop(&link->ring, &asked)) {
    on_unexpected(link, reply);
    return;
  }
  cp__patience_answered(&link->patience, asked.awaited);
  if (asked.n_more == 0 || is_error)
    link->n_answered = asked.end;
  if (link->state == GREETING) {
    on_greeting_reply(link, asked.kind, reply);
    return;
  }
  link->options.events->on_reply(link->options.ctx, asked.kind, asked.token,
                                 reply);
  /* An error is one answer to a command that was owed several. */
  while (is_error && asked.n_more > 0 && is_live(link) &&
         cp__reply_ring_pop(&link->ring, &asked)) {
    cp__patience_answered(&link->patience, asked.awaited);
    link->options.events->on_reply(link->options.ctx, asked.kind, asked.token,
                                   reply);
  }
}

static void on_bad_bytes(cp__redis_link *link, int err) {
  const char *text = cp__resp_error(link->resp);

  if (err == CP_E_PROTOCOL && link->state == GREETING)
    break_link(link, err, "this is no Redis: %s", text);
  else if (err == CP_E_PROTOCOL)
    break_link(link, err, "malformed answer: %s", text);
  else
    break_link(link, err, "can't read an answer: %s", cp_strerror(err));
}

static void take_slice(cp__redis_link *link, const char *data, size_t len) {
  cp__resp_reply reply;
  int rc = cp__resp_feed(link->resp, data, len);

  while (rc >= 0 && is_live(link)) {
    rc = cp__resp_next(link->resp, &reply);
    if (rc == 0)
      return;
    if (rc > 0)
      take_reply(link, &reply);
  }
  if (rc < 0)
    on_bad_bytes(link, rc);
}

/* Before the link is ready nothing was subscribed. */
static void on_resp_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                            cp_bytes payload) {
  cp__redis_link *link = ctx;

  if (link->state != READY)
    return;
  if (link->options.on_any_message != NULL)
    link->options.on_any_message(link->options.ctx, pattern, channel, payload);
  else
    link->options.events->on_message(link->options.ctx, channel, payload);
}

/* The greeting. ----------------------------------------------------------- */

static int write_greeting(cp__redis_link *link) {
  void *const no_token[] = {NULL};
  int step;
  int rc;

  for (step = 0; step < CP__N_GREETING_STEPS; step++) {
    cp__buf *out = cp__redis_link_begin(link);

    if (step == CP__GREETING_LIMIT && !link->options.ask_limit)
      continue;
    if (!cp__redis_greeting_write(out, (cp__greeting_step)step,
                                  link->options.identity))
      continue;
    rc = cp__redis_link_end(link, step, no_token, 1);
    if (rc != 0)
      return rc;
  }
  return 0;
}

static void greet(cp__redis_link *link) {
  int rc;

  move(link, GREETING);
  rc = write_greeting(link);
  if (rc != 0)
    break_link(link, rc, "can't greet Redis: %s", cp_strerror(rc));
}

/* Reading. ---------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  cp__redis_link *link = handle->data;

  (void)suggested;
  *buf = uv_buf_init(link->in, sizeof link->in);
}

/* Redis closes a subscriber for whom too much waits, without a word. */
static bool is_cut(const cp__redis_link *link) {
  return link->options.messages && link->was_swamped &&
         uv_now(link->options.loop) - link->swamped_ms < SWAMPED_MS;
}

/* With TLS too an end without close_notify is nothing worse than an end: no
 * answer is taken for whole that is not. */
static void on_read_end(cp__redis_link *link, int err) {
  const char *where = "";

  if (link->state == SECURING)
    where = " during the TLS handshake";
  else if (link->state == GREETING)
    where = " before it answered the greeting";
  if (is_cut(link))
    break_link(link, CP_E_LAGGED,
               "Redis closed the connection with much still to be read, as if "
               "more had waited than client-output-buffer-limit allows");
  else if (err == UV_EOF)
    break_link(link, err, "Redis closed the connection%s", where);
  else
    break_link(link, err, "lost the connection%s: %s", where, cp_strerror(err));
}

static void on_tls_failed(cp__redis_link *link) {
  char name[CP__ENDPOINT_SIZE];
  char text[CP__TLS_TEXT_SIZE];

  break_link(link, cp__tls_error(link->tls), "TLS with %s failed: %s",
             cp__endpoint_name(&link->options.endpoint, name),
             cp__tls_error_text(link->tls, text));
}

static void on_tls_event(cp__redis_link *link, cp__tls_event event,
                         const char *plain, size_t len) {
  switch (event) {
  case CP__TLS_NOTHING:
    break;
  case CP__TLS_READY:
    greet(link);
    break;
  case CP__TLS_DATA:
    take_slice(link, plain, len);
    break;
  case CP__TLS_END:
    on_read_end(link, UV_EOF);
    break;
  case CP__TLS_ERROR:
    on_tls_failed(link);
    break;
  }
}

/* Without bytes it begins the handshake. */
static void decrypt(cp__redis_link *link, const char *data, size_t len) {
  cp__tls_event event;
  char plain[SLICE_SIZE];
  size_t n;

  cp__tls_feed(link->tls, data, len);
  do {
    event = cp__tls_next(link->tls, plain, sizeof plain, &n, &link->sealed);
    on_tls_event(link, event, plain, n);
  } while (is_live(link) && event != CP__TLS_NOTHING);
  cp__redis_link_flush(link);
}

static void take_all(cp__redis_link *link, const char *data, size_t len) {
  size_t at;

  for (at = 0; at < len && is_live(link); at += SLICE_SIZE)
    take_slice(link, data + at, len - at < SLICE_SIZE ? len - at : SLICE_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  cp__redis_link *link = stream->data;

  if (n == READ_SIZE) {
    link->was_swamped = true;
    link->swamped_ms = uv_now(link->options.loop);
  }
  if (n < 0)
    on_read_end(link, (int)n);
  else if (link->tls != NULL)
    decrypt(link, buf->base, (size_t)n);
  else
    take_all(link, buf->base, (size_t)n);
}

/* Connecting. ------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer) {
  cp__redis_link *link = timer->data;
  char name[CP__ENDPOINT_SIZE];

  break_link(link, CP_E_TIMEOUT, "no %s from %s in time",
             link->state == SECURING ? "TLS handshake"
                                     : "answer to the greeting",
             cp__endpoint_name(&link->options.endpoint, name));
}

static void on_connected(cp__redis_link *link) {
  int rc;

  uv_timer_start(&link->timer, on_timer, cp__dial_ms_left(&link->dial), 0);
  stream_of(link)->data = link;
  rc = uv_read_start(stream_of(link), on_alloc, on_read);
  link->is_reading = rc == 0;
  if (rc != 0) {
    on_read_end(link, rc);
  } else if (link->tls != NULL) {
    move(link, SECURING);
    decrypt(link, NULL, 0);
  } else {
    greet(link);
    cp__redis_link_flush(link);
  }
}

static void on_dialed(cp__dial *dial, int err, const char *reason) {
  cp__redis_link *link = cp__container_of(dial, cp__redis_link, dial);

  if (err != 0)
    break_link(link, err, "%s", reason);
  else
    on_connected(link);
}

/* Life. ------------------------------------------------------------------- */

static int create_parts(cp__redis_link *link) {
  const cp__redis_link_options *o = &link->options;

  link->resp = cp__resp_create(o->alloc, o->max_reply,
                               o->messages ? on_resp_message : NULL, link);
  if (link->resp == NULL)
    return CP_E_NOMEM;
  return o->tls != NULL ? cp__tls_create(&link->tls, o->tls, o->tls_host) : 0;
}

static cp__redis_link *create(const cp__redis_link_options *options) {
  cp__redis_link *link = cp__calloc(options->alloc, sizeof *link);

  if (link == NULL)
    return NULL;
  link->options = *options;
  link->write.data = link->timer.data = link;
  cp__buf_init(&link->out, options->alloc);
  cp__buf_init(&link->sealed, options->alloc);
  cp__buf_init(&link->writing, options->alloc);
  cp__buf_init(&link->kept, options->alloc);
  cp__redis_info_init(&link->info);
  return link;
}

int cp__redis_link_open(cp__redis_link **out,
                        const cp__redis_link_options *options) {
  static const cp__dial_events dial_events = {on_dialed, on_dial_closed};
  cp__redis_link *link = create(options);
  int rc;

  if (link == NULL)
    return CP_E_NOMEM;
  rc = create_parts(link);
  if (rc == 0)
    rc = cp__dial_start(&link->dial, options->loop, &options->endpoint,
                        options->connect_timeout_ms, &dial_events);
  if (rc != 0) {
    destroy(link);
    return rc;
  }
  uv_timer_init(options->loop, &link->timer);
  *out = link;
  return 0;
}

const cp__redis_info *cp__redis_link_info(const cp__redis_link *link) {
  return &link->info;
}
