/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* TLS between a connection and its socket.
 *
 * In: what the socket brings is decrypted piece by piece into a buffer that all
 * connections share, and each piece goes where it would have gone without TLS.
 *
 * Out: a flush seals portions of the send queue into another shared buffer,
 * each when the one before it has left. Only what the socket did not take of a
 * portion is kept, as bytes that libuv holds: so a connection that doesn't read
 * has one portion of its own, and the frames behind it are still shared, and
 * still in the queue for limits and drop-oldest to reach. A frame longer than a
 * portion leaves the queue with its first one and waits here, since nothing may
 * come between its parts.
 *
 * What OpenSSL has to say by itself (handshake, alerts) goes ahead of the
 * frames; it is little, and sealed already.
 *
 * The codec is destroyed with the connection's memory, never before: whatever
 * kills a connection may be called by what it has just decrypted. */

#include "conn.h"

#include <stdio.h>
#include <string.h>

#define PLAIN_SIZE     16384 /* a record's content */
#define PORTION        65536 /* of plaintext; whole records */
#define PORTION_FRAMES 64
#define MAX_SPARE      (2 * PORTION)

struct cp__conn_tls {
  cp__tls *tls;
  cp__slice begun; /* first to be sealed; no blob: the queue's first is */
  size_t n_begun;  /* bytes of it that are */
  cp__buf out;     /* sealed, and ahead of it; counted in q_bytes */
};

/* Create. ------------------------------------------------------------------ */

int cp__peers_use_tls(cp__peers *peers, cp__tls_context *context) {
  if (peers->plain == NULL) {
    peers->plain = cp__malloc(peers->alloc, PLAIN_SIZE);
    if (peers->plain == NULL) {
      cp__tls_context_unref(context);
      return CP_E_NOMEM;
    }
    cp__buf_init(&peers->sealed, peers->alloc);
  }
  cp__tls_context_unref(peers->tls_context);
  peers->tls_context = context;
  return 0;
}

void cp__peers_free_tls(cp__peers *peers) {
  if (peers->plain == NULL)
    return;
  cp__free(peers->alloc, peers->plain);
  cp__buf_finish(&peers->sealed);
  cp__tls_context_unref(peers->tls_context);
}

int cp__conn_tls_create(cp__conn_tls **out, cp__peers *peers) {
  cp__conn_tls *self = cp__calloc(peers->alloc, sizeof *self);
  int rc;

  if (self == NULL)
    return CP_E_NOMEM;
  rc = cp__tls_create(&self->tls, peers->tls_context, NULL);
  if (rc != 0) {
    cp__free(peers->alloc, self);
    return rc;
  }
  cp__buf_init(&self->out, peers->alloc);
  *out = self;
  return 0;
}

void cp__conn_tls_destroy(cp_conn *conn) {
  cp__conn_tls *self = conn->tls;

  if (self == NULL)
    return;
  cp__tls_destroy(self->tls);
  cp__free(cp__conn_peers(conn)->alloc, self);
}

bool cp__conn_tls_is_ready(const cp_conn *conn) {
  return cp__tls_is_ready(conn->tls->tls);
}

/* Out. --------------------------------------------------------------------- */

static size_t rest_of_begun(const cp__conn_tls *self) {
  return self->begun.blob != NULL ? self->begun.len - self->n_begun : 0;
}

size_t cp__conn_tls_waiting(const cp_conn *conn) {
  return rest_of_begun(conn->tls) + cp__buf_len(&conn->tls->out);
}

static void drop_out(cp_conn *conn) {
  cp__conn_count(conn, 0, cp__buf_len(&conn->tls->out));
  cp__buf_finish(&conn->tls->out);
}

static void drop_begun(cp_conn *conn) {
  cp__conn_count(conn, 0, rest_of_begun(conn->tls));
  cp__blob_unref(conn->tls->begun.blob);
  conn->tls->begun.blob = NULL;
}

void cp__conn_tls_drop(cp_conn *conn) {
  drop_out(conn);
  drop_begun(conn);
}

void cp__conn_tls_begin(cp_conn *conn) {
  if (conn->tls->begun.blob != NULL || conn->q_last == NULL)
    return;
  conn->tls->begun = cp__conn_pop(conn);
  conn->tls->n_begun = 0;
}

/* What is begun, cut if it must be, and whole frames behind it. */
static size_t gather(const cp_conn *conn, cp_bytes *parts, size_t *total) {
  const cp__conn_tls *self = conn->tls;
  const cp__qnode *node = conn->q_last;
  size_t n = 1;

  *total = rest_of_begun(self) < PORTION ? rest_of_begun(self) : PORTION;
  parts[0] = cp_bytes_of(cp__slice_data(&self->begun) + self->n_begun, *total);
  if (node == NULL || *total < rest_of_begun(self))
    return n;
  do {
    node = node->next;
    if (*total + node->frames.len > PORTION)
      break;
    parts[n++] = cp_bytes_of(cp__slice_data(&node->frames), node->frames.len);
    *total += node->frames.len;
  } while (node != conn->q_last && n < PORTION_FRAMES);
  return n;
}

static void take_off(cp_conn *conn, size_t n) {
  cp__conn_tls *self = conn->tls;
  size_t rest = rest_of_begun(self);

  if (n < rest) {
    self->n_begun += n;
    cp__conn_count(conn, 0, n);
    return;
  }
  drop_begun(conn);
  cp__conn_advance(conn, n - rest);
}

/* Returns 0 or what ended it. */
static int seal_frames(cp_conn *conn, cp__buf *sealed) {
  cp_bytes parts[PORTION_FRAMES];
  size_t total;
  int rc = 0;

  cp__conn_tls_begin(conn);
  if (conn->tls->begun.blob != NULL) {
    size_t n = gather(conn, parts, &total);
    rc = cp__tls_write(conn->tls->tls, parts, n, sealed);
    if (rc == 0)
      take_off(conn, total);
  }
  if (rc == 0 && conn->state == CP__CONN_FLUSHING &&
      conn->tls->begun.blob == NULL && conn->q_last == NULL)
    rc = cp__tls_close(conn->tls->tls, sealed);
  return rc;
}

int cp__conn_tls_seal(cp_conn *conn) {
  cp__buf *sealed = &cp__conn_peers(conn)->sealed;
  int rc = 0;

  cp__buf_reset(sealed, MAX_SPARE);
  cp__buf_append_bytes(sealed, cp__buf_bytes(&conn->tls->out));
  drop_out(conn);
  if (cp__tls_is_ready(conn->tls->tls))
    rc = seal_frames(conn, sealed);
  if (rc == 0 && sealed->failed)
    rc = CP_E_NOMEM;
  if (rc == 0)
    cp__conn_count(conn, cp__buf_len(sealed), 0);
  return rc;
}

/* Last words: an alert, or close_notify. Nobody waits until they are written.
 */
static void say_last(cp_conn *conn) {
  cp__buf *out = &conn->tls->out;
  uv_buf_t buf =
      uv_buf_init((char *)cp__buf_begin(out), (unsigned)cp__buf_len(out));

  if (conn->write == NULL && buf.len > 0)
    (void)uv_try_write(&conn->uv.stream, &buf, 1);
}

/* In. ---------------------------------------------------------------------- */

static cp__tls_event next(cp_conn *conn, size_t *len) {
  cp__buf *out = &conn->tls->out;
  size_t before = cp__buf_len(out);
  cp__tls_event event = cp__tls_next(
      conn->tls->tls, cp__conn_peers(conn)->plain, PLAIN_SIZE, len, out);

  cp__conn_count(conn, cp__buf_len(out), before);
  return event;
}

/* The peer says nothing more. Where that ends the connection, it hears that
 * nothing more comes from here either. */
static void take_end(cp_conn *conn) {
  size_t before = cp__buf_len(&conn->tls->out);

  if (!cp__conn_may_still_read(conn)) {
    (void)cp__tls_close(conn->tls->tls, &conn->tls->out);
    cp__conn_count(conn, cp__buf_len(&conn->tls->out), before);
    say_last(conn);
  }
  cp__conn_take_eof(conn);
}

static void take_error(cp_conn *conn) {
  cp__peers *peers = cp__conn_peers(conn);
  char text[CP__TLS_TEXT_SIZE];
  char line[CP__TLS_TEXT_SIZE + 8];

  peers->stats->tls_failures++;
  snprintf(line, sizeof line, "tls: %s",
           cp__tls_error_text(conn->tls->tls, text));
  peers->host->on_log(peers->ctx, CP_LOG_DEBUG, line);
  say_last(conn);
  cp__conn_kill(conn);
}

void cp__conn_tls_take(cp_conn *conn, const void *data, size_t len) {
  cp__tls_event event;
  size_t n;

  cp__tls_feed(conn->tls->tls, data, len);
  do {
    event = next(conn, &n);
    if (event == CP__TLS_DATA)
      cp__conn_take_data(conn, cp__conn_peers(conn)->plain, n);
  } while ((event == CP__TLS_READY || event == CP__TLS_DATA) &&
           conn->state != CP__CONN_CLOSED);
  if (conn->state == CP__CONN_CLOSED)
    return;
  if (event == CP__TLS_END)
    take_end(conn);
  else if (event == CP__TLS_ERROR)
    take_error(conn);
  else if (conn->state == CP__CONN_LINGERING)
    drop_out(conn); /* behind our FIN */
  else if (cp__buf_len(&conn->tls->out) > 0)
    cp__conn_flush(conn);
}

/* FIN without close_notify: somebody may have cut off what the peer still had
 * to say. Where nothing more is read that does no harm, and as over plain TCP
 * it gets the rest of its answer: its request ended with its head, and what
 * comes behind our last frame nobody reads. Then the codec is not told, since
 * after an error it seals nothing more. */
void cp__conn_tls_take_eof(cp_conn *conn) {
  if (cp__conn_may_still_read(conn) ||
      cp__tls_eof(conn->tls->tls) == CP__TLS_END)
    cp__conn_take_eof(conn);
  else
    cp__conn_kill(conn);
}
