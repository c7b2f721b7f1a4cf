/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: dial, shake hands if there is TLS, write the greeting in one
 * go, judge its answers, be ready. From then on commands are appended to `out`,
 * `flush` writes them, and replies are matched, first in first out, with a ring
 * of what was asked. (Writing: redis_link_write.c.)
 *
 * Reading: what nobody waits for may stay in the system's buffer for a while
 * (patience.h); answers come in order, so the first that somebody waits for
 * brings all before it.
 *
 * The failure modes all end in break, once: no connection, the timer, a
 * handshake that fails, a refused greeting, what is no Redis, an answer nobody
 * asked for, no memory, end of stream. The owner then takes what was never
 * answered and closes, which waits for the handles of the dial and the timer.
 */
#include "redis_link_own.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "list.h"

#define SLICE_SIZE 16384 /* hiredis parses small buffers faster */
#define SWAMPED_MS 1000  /* an end so soon after a full read has a cause */

#define BIT(state) (1u << (state))

static void move(cp__redis_link *link, cp__link_state next) {
  static const unsigned allowed[CP__N_LINK_STATES] = {
      [CP__LINK_DIALING] = BIT(CP__LINK_SECURING) | BIT(CP__LINK_GREETING) |
                           BIT(CP__LINK_BROKEN) | BIT(CP__LINK_CLOSING),
      [CP__LINK_SECURING] =
          BIT(CP__LINK_GREETING) | BIT(CP__LINK_BROKEN) | BIT(CP__LINK_CLOSING),
      [CP__LINK_GREETING] =
          BIT(CP__LINK_READY) | BIT(CP__LINK_BROKEN) | BIT(CP__LINK_CLOSING),
      [CP__LINK_READY] = BIT(CP__LINK_BROKEN) | BIT(CP__LINK_CLOSING),
      [CP__LINK_BROKEN] = BIT(CP__LINK_CLOSING),
      [CP__LINK_CLOSING] = BIT(CP__LINK_CLOSED),
  };

  assert(allowed[link->state] & BIT(next));
  (void)allowed; /* without asserts */
  link->state = next;
}

/* Endings. ---------------------------------------------------------------- */

void cp__redis_link_break(cp__redis_link *link, int err, const char *format,
                          ...) {
  va_list args;

  if (!cp__redis_link_is_live(link))
    return;
  va_start(args, format);
  vsnprintf(link->reason, sizeof link->reason, format, args);
  va_end(args);
  move(link, CP__LINK_BROKEN);
  uv_timer_stop(&link->timer);
  if (link->is_reading)
    uv_read_stop(cp__redis_link_stream(link));
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
  move(link, CP__LINK_CLOSED);
  finish(link);
}

static void on_timer_closed(uv_handle_t *handle) {
  maybe_finish_close(handle->data);
}

static void on_dial_closed(cp__dial *dial) {
  maybe_finish_close(cp__container_of(dial, cp__redis_link, dial));
}

/* close_notify, or the alert that says what was wrong. Behind bytes that are
 * still on their way there is no place for it. */
static void say_goodbye(cp__redis_link *link) {
  uv_buf_t words;

  if (link->tls == NULL || !link->is_reading || link->is_writing)
    return;
  cp__tls_close(link->tls, &link->sealed);
  words = cp__redis_link_content(&link->sealed);
  if (words.len > 0)
    uv_try_write(cp__redis_link_stream(link), &words, 1);
}

void cp__redis_link_close(cp__redis_link *link) {
  say_goodbye(link);
  move(link, CP__LINK_CLOSING);
  link->n_closing = 2;
  cp__dial_close(&link->dial);
  uv_close((uv_handle_t *)&link->timer, on_timer_closed);
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
    cp__redis_link_break(link, verdict.err, "%s", verdict.reason);
    return;
  }
  if (verdict.refused)
    warn_once(link, 1u << step, verdict.reason);
  if (link->ring.n > 0)
    return;
  move(link, CP__LINK_READY);
  link->was_ready = true;
  uv_timer_stop(&link->timer);
  link->options.events->on_ready(link->options.ctx);
}

static void on_unexpected(cp__redis_link *link, const cp__resp_reply *reply) {
  cp_bytes text = reply->nodes[0].text;

  cp__redis_link_break(
      link, CP_E_PROTOCOL, "Redis answered what it was not asked: %.*s",
      text.len < 160 ? (int)text.len : 160, (const char *)text.data);
}

static bool is_push(cp__redis_link *link, const cp__resp_reply *reply) {
  const cp__redis_link_events *events = link->options.events;
  const cp__reply *first = cp__reply_ring_first(&link->ring);

  return events->on_push != NULL && link->state == CP__LINK_READY &&
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
  if (link->state == CP__LINK_GREETING) {
    on_greeting_reply(link, asked.kind, reply);
    return;
  }
  link->options.events->on_reply(link->options.ctx, asked.kind, asked.token,
                                 reply);
  /* An error is one answer to a command that was owed several. */
  while (is_error && asked.n_more > 0 && cp__redis_link_is_live(link) &&
         cp__reply_ring_pop(&link->ring, &asked)) {
    cp__patience_answered(&link->patience, asked.awaited);
    link->options.events->on_reply(link->options.ctx, asked.kind, asked.token,
                                   reply);
  }
}

static void on_bad_bytes(cp__redis_link *link, int err) {
  const char *text = cp__resp_error(link->resp);

  if (err == CP_E_PROTOCOL && link->state == CP__LINK_GREETING)
    cp__redis_link_break(link, err, "this is no Redis: %s", text);
  else if (err == CP_E_PROTOCOL)
    cp__redis_link_break(link, err, "malformed answer: %s", text);
  else
    cp__redis_link_break(link, err, "can't read an answer: %s",
                         cp_strerror(err));
}

static void take_slice(cp__redis_link *link, const char *data, size_t len) {
  cp__resp_reply reply;
  int rc = cp__resp_feed(link->resp, data, len);

  while (rc >= 0 && cp__redis_link_is_live(link)) {
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

  if (link->state != CP__LINK_READY)
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

  move(link, CP__LINK_GREETING);
  rc = write_greeting(link);
  if (rc != 0)
    cp__redis_link_break(link, rc, "can't greet Redis: %s", cp_strerror(rc));
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

  if (link->state == CP__LINK_SECURING)
    where = " during the TLS handshake";
  else if (link->state == CP__LINK_GREETING)
    where = " before it answered the greeting";
  if (is_cut(link))
    cp__redis_link_break(
        link, CP_E_LAGGED,
        "Redis closed the connection with much still to be read, as if "
        "more had waited than client-output-buffer-limit allows");
  else if (err == UV_EOF)
    cp__redis_link_break(link, err, "Redis closed the connection%s", where);
  else
    cp__redis_link_break(link, err, "lost the connection%s: %s", where,
                         cp_strerror(err));
}

static void on_tls_failed(cp__redis_link *link) {
  char name[CP__ENDPOINT_SIZE];
  char text[CP__TLS_TEXT_SIZE];

  cp__redis_link_break(link, cp__tls_error(link->tls), "TLS with %s failed: %s",
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
  } while (cp__redis_link_is_live(link) && event != CP__TLS_NOTHING);
  cp__redis_link_flush(link);
}

static void take_all(cp__redis_link *link, const char *data, size_t len) {
  size_t at;

  for (at = 0; at < len && cp__redis_link_is_live(link); at += SLICE_SIZE)
    take_slice(link, data + at, len - at < SLICE_SIZE ? len - at : SLICE_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  cp__redis_link *link = stream->data;

  if (n == CP__LINK_READ_SIZE) {
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

  cp__redis_link_break(link, CP_E_TIMEOUT, "no %s from %s in time",
                       link->state == CP__LINK_SECURING
                           ? "TLS handshake"
                           : "answer to the greeting",
                       cp__endpoint_name(&link->options.endpoint, name));
}

static void on_connected(cp__redis_link *link) {
  int rc;

  uv_timer_start(&link->timer, on_timer, cp__dial_ms_left(&link->dial), 0);
  cp__redis_link_stream(link)->data = link;
  rc = uv_read_start(cp__redis_link_stream(link), on_alloc, on_read);
  link->is_reading = rc == 0;
  if (rc != 0) {
    on_read_end(link, rc);
  } else if (link->tls != NULL) {
    move(link, CP__LINK_SECURING);
    decrypt(link, NULL, 0);
  } else {
    greet(link);
    cp__redis_link_flush(link);
  }
}

static void on_dialed(cp__dial *dial, int err, const char *reason) {
  cp__redis_link *link = cp__container_of(dial, cp__redis_link, dial);

  if (err != 0)
    cp__redis_link_break(link, err, "%s", reason);
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
