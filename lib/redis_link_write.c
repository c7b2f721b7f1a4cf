/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The link's way to Redis: commands, what of them is written, and what is
 * answered.
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
 * never for unwritten when it was not. */
#include "redis_link_own.h"

#include <assert.h>

#define KEEP 65536 /* what a write buffer holds on to when empty */
/* Unanswered bytes, of commands, that end all patience. */
#define MAX_UNANSWERED 65536

/* Commands. --------------------------------------------------------------- */

cp__buf *cp__redis_link_begin(cp__redis_link *link) {
  assert(link->state == CP__LINK_READY || link->state == CP__LINK_GREETING);
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
  cp__patience_set(&link->patience, cp__redis_link_stream(link), false);
}

static void on_patience_over(uv_timer_t *timer) {
  cp__redis_link_hurry(timer->data);
}

/* Commands are about to be written: may their answers be late? */
static void choose_patience(cp__redis_link *link) {
  bool on = link->state == CP__LINK_READY &&
            cp__patience_is_due(&link->patience) &&
            cp__redis_link_queued(link) <= MAX_UNANSWERED;

  cp__patience_set(&link->patience, cp__redis_link_stream(link), on);
  if (link->patience.on && !uv_is_active((uv_handle_t *)&link->timer))
    uv_timer_start(&link->timer, on_patience_over, CP__PATIENCE_MS, 0);
}

/* Writing. ---------------------------------------------------------------- */

/* What is left of commands in `sealed` passes for unwritten, so it may never be
 * written. */
static void on_write_failed(cp__redis_link *link, int err) {
  cp__buf_reset(&link->sealed, 0);
  cp__redis_link_break(link, err, "can't write to Redis: %s", cp_strerror(err));
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
  rest = cp__redis_link_content(&link->writing);
  rc =
      uv_write(&link->write, cp__redis_link_stream(link), &rest, 1, on_written);
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

  if (!cp__redis_link_is_connected(link) || link->is_writing || !seal(link))
    return;
  all = cp__redis_link_content(wire);
  if (all.len == 0)
    return;
  choose_patience(link);
  rc = uv_try_write(cp__redis_link_stream(link), &all, 1);
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
