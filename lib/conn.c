/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: accept, read the request's head (ASKING), let the application
 * decide (ASKED), wait until the user's subscription is confirmed (JOINING),
 * open (OPEN). Either side closes: our close frame goes behind what is queued
 * (CLOSING), the peer answers, the last bytes are written (FLUSHING), we send
 * FIN first (LINGERING) and wait for the peer's, then the socket is closed
 * (CLOSED) and the memory freed in its close callback, nowhere else.
 *
 * Failure: a peer that broke a rule gets a close frame, or a status before
 * OPEN, as the last bytes; whatever else goes wrong ends in cp__conn_kill(), in
 * any state, which runs no user code. The host is told once that an accepted
 * connection leaves: when either of these last bytes is queued, when the peer's
 * close frame came, or in the socket's close callback. User
 * code runs from here only in on_request, on_ready, on_message, on_writable and
 * on_leave; each may close or kill this very connection, so the state is looked
 * at again after each.
 *
 * What comes before OPEN is in conn_handshake.c, writing in conn_write.c. */

#include "conn.h"

#include "request.h"

#include <assert.h>
#include <string.h>

/* In a turn of the loop; from then on so much at once. */
#define MUCH_READ      (1u << 20)
#define SMALL_READ_BUF 4096
#define TINY_READ_BUF  512

/* Which states may follow which: bit n of the row is state n. */
#define TO(s) (1u << CP__CONN_##s)
static const uint8_t moves[] = {
    [CP__CONN_ASKING] = TO(ASKED) | TO(FLUSHING) | TO(CLOSED),
    [CP__CONN_ASKED] = TO(JOINING) | TO(FLUSHING) | TO(CLOSED),
    [CP__CONN_JOINING] = TO(OPEN) | TO(FLUSHING) | TO(CLOSED),
    [CP__CONN_OPEN] = TO(CLOSING) | TO(FLUSHING) | TO(CLOSED),
    [CP__CONN_CLOSING] = TO(FLUSHING) | TO(CLOSED),
    [CP__CONN_FLUSHING] = TO(LINGERING) | TO(CLOSED),
    [CP__CONN_LINGERING] = TO(CLOSED),
    [CP__CONN_CLOSED] = 0,
};
#undef TO

static cp__sweep_list *list_of_state(cp__peers *peers, cp__conn_state state) {
  switch (state) {
  case CP__CONN_ASKING:
  case CP__CONN_ASKED:
    return &peers->asking;
  case CP__CONN_JOINING:
    return &peers->joining;
  case CP__CONN_OPEN:
    return peers->alive.timeout_ms > 0 ? &peers->alive : NULL;
  case CP__CONN_CLOSING:
  case CP__CONN_FLUSHING:
    return &peers->ending;
  case CP__CONN_LINGERING: /* goes on waiting since FLUSHING or CLOSING */
  case CP__CONN_CLOSED:
    break;
  }
  return NULL;
}

/* A handshake has one time limit and the end has one, however many states they
 * take: only a change of list starts the clock. */
void cp__conn_set_state(cp_conn *conn, cp__conn_state state) {
  cp__sweep_list *old = list_of_state(cp__conn_peers(conn), conn->state);
  cp__sweep_list *list = list_of_state(cp__conn_peers(conn), state);

  assert(moves[conn->state] & (1u << state));
  (void)moves; /* without asserts */
  conn->state = (uint8_t)state;
  if (state == CP__CONN_CLOSED)
    cp__timed_stop(&conn->timed);
  else if (list != NULL && list != old)
    cp__timed_start(list, &conn->timed);
  else if (list == NULL && state == CP__CONN_OPEN)
    cp__timed_stop(&conn->timed);
}

/* End. -------------------------------------------------------------------- */

void cp__conn_leave(cp_conn *conn, uint16_t code, cp_bytes reason) {
  cp__peers *peers = cp__conn_peers(conn);

  if (conn->serial == 0 || (conn->flags & CP__CONN_LEFT))
    return;
  conn->flags |= CP__CONN_LEFT;
  peers->host->on_leave(peers->ctx, conn, (conn->flags & CP__CONN_OPENED) != 0,
                        code, reason);
  cp__peers_free_slot(peers, conn->serial);
}

static size_t size_of(bool is_unix) {
  return offsetof(cp_conn, uv) +
         (is_unix ? sizeof(uv_pipe_t) : sizeof(uv_tcp_t));
}

cp__guarded *cp__conn_guarded(cp_conn *conn) {
  if (!cp__conn_peers(conn)->guard.has_guarded)
    return NULL;
  return (void *)((char *)conn + size_of(conn->is_unix));
}

static void release(cp_conn *conn) {
  cp__guarded *guarded = cp__conn_guarded(conn);

  if (guarded != NULL)
    cp__guard_release(&cp__conn_peers(conn)->guard, guarded);
}

void cp__conn_maybe_free(cp_conn *conn) {
  cp__peers *peers = cp__conn_peers(conn);

  if (!(conn->flags & CP__CONN_GONE) || (conn->flags & CP__CONN_DIRTY))
    return;
  assert(conn->write == NULL && conn->q_bytes == 0);
  cp__conn_tls_destroy(conn);
  release(conn);
  cp__free(peers->alloc, conn);
  if (--peers->n_conns == 0)
    peers->host->on_empty(peers->ctx);
}

static cp_conn *conn_of_handle(uv_handle_t *handle) {
  return cp__container_of(handle, cp_conn, uv.handle);
}

static void on_uv_closed(uv_handle_t *handle) {
  cp_conn *conn = conn_of_handle(handle);

  cp__conn_leave(conn, CP__WS_ABNORMAL, cp_bytes_of(NULL, 0));
  conn->flags |= CP__CONN_GONE;
  cp__conn_maybe_free(conn);
}

static void return_ws(cp_conn *conn) {
  if (conn->flags & CP__CONN_FEEDING)
    return; /* take_frames() does it */
  cp__ws_return(conn->in.ws);
  conn->in.ws = NULL;
}

void cp__conn_kill(cp_conn *conn) {
  cp__conn_state state = conn->state;

  if (state == CP__CONN_CLOSED)
    return;
  if (state <= CP__CONN_JOINING)
    cp__conn_drop_handshake(conn);
  else
    return_ws(conn);
  cp__conn_set_state(conn, CP__CONN_CLOSED);
  cp__conn_drop_queue(conn);
  if (conn->tls != NULL)
    cp__conn_tls_drop(conn);
  uv_close(&conn->uv.handle, on_uv_closed);
}

void cp__conn_start_flushing(cp_conn *conn) {
  cp__conn_set_state(conn, CP__CONN_FLUSHING);
  cp__conn_mark_dirty(conn);
}

/* Queue our close frame; false: no memory, the connection is killed. */
static bool push_close(cp_conn *conn, uint16_t code, cp_bytes reason) {
  cp__blob *frame =
      cp__ws_encode_close(&cp__conn_peers(conn)->encoder, code, reason);

  if (frame != NULL && cp__conn_push(conn, frame))
    return true;
  cp__conn_kill(conn);
  return false;
}

int cp__conn_close(cp_conn *conn, uint16_t code, cp_bytes reason) {
  if (conn->state != CP__CONN_OPEN)
    return CP_E_CLOSED;
  if (!push_close(conn, code, reason))
    return CP_E_NOMEM;
  cp__conn_set_state(conn, CP__CONN_CLOSING);
  return 0;
}

static void count_failure(cp_stats *stats, uint16_t code) {
  switch (code) {
  case CP__WS_PROTOCOL_ERROR:
  case CP__WS_BAD_DATA:
    stats->protocol_closes++;
    break;
  case CP__WS_TOO_BIG:
    stats->size_closes++;
    break;
  case CP__WS_POLICY:
    stats->rate_closes++;
    break;
  case CP__WS_TRY_AGAIN:
    stats->memory_closes++;
    break;
  default:
    break;
  }
}

/* The peer broke the protocol or a limit: one close frame, and nothing more is
 * read. */
static void fail(cp_conn *conn, uint16_t code) {
  count_failure(cp__conn_peers(conn)->stats, code);
  if (conn->state == CP__CONN_OPEN && !push_close(conn, code, cp_str(NULL)))
    return;
  return_ws(conn);
  cp__conn_start_flushing(conn);
  cp__conn_leave(conn, code, cp_bytes_of(NULL, 0));
}

/* Messages. --------------------------------------------------------------- */

static void take_ping(cp_conn *conn, cp_bytes body) {
  cp__blob *pong;

  if (conn->state != CP__CONN_OPEN)
    return;
  pong = cp__ws_encode(&cp__conn_peers(conn)->encoder, CP__WS_OP_PONG, body);
  if (pong == NULL || !cp__conn_push_pong(conn, pong))
    cp__conn_kill(conn);
}

static void take_close(cp_conn *conn, uint16_t code, cp_bytes reason) {
  if (conn->state == CP__CONN_OPEN && !push_close(conn, code, cp_str(NULL)))
    return;
  cp__conn_start_flushing(conn);
  cp__conn_leave(conn, code, reason);
}

/* What comes behind our close frame is of no interest any more. */
static void take_message(cp_conn *conn, cp_type type, cp_bytes body) {
  cp__peers *peers = cp__conn_peers(conn);

  if (conn->state != CP__CONN_OPEN)
    return;
  peers->stats->messages_in++;
  peers->stats->bytes_in += body.len;
  if (conn->window_bits != 0)
    peers->n_read += body.len;
  peers->host->on_message(peers->ctx, conn, type, body);
}

static void take_event(cp_conn *conn, const cp__ws_event *event) {
  switch (event->type) {
  case CP__WS_MESSAGE:
    take_message(conn, event->message_type, event->body);
    break;
  case CP__WS_PING:
    take_ping(conn, event->body);
    break;
  case CP__WS_CLOSE:
    take_close(conn, event->code, event->body);
    break;
  case CP__WS_ERROR:
    fail(conn, event->code);
    break;
  case CP__WS_PONG:
  case CP__WS_NOTHING:
    break;
  }
}

static bool takes_frames(const cp_conn *conn) {
  return conn->state == CP__CONN_OPEN || conn->state == CP__CONN_CLOSING;
}

/* May the client send this much? If not, the connection ends. */
static bool may_send_bytes(cp_conn *conn, size_t n) {
  cp__peers *peers = cp__conn_peers(conn);
  cp__guarded *guarded = cp__conn_guarded(conn);

  if (guarded == NULL ||
      cp__guard_take_bytes(&peers->guard, guarded, n, uv_now(peers->loop)))
    return true;
  fail(conn, CP__WS_POLICY);
  return false;
}

static bool may_send_frames(cp_conn *conn, uint64_t n) {
  cp__peers *peers = cp__conn_peers(conn);
  cp__guarded *guarded = cp__conn_guarded(conn);

  return guarded == NULL || n == 0 ||
         cp__guard_take_frames(&peers->guard, guarded, n, uv_now(peers->loop));
}

/* The next event; one that comes with more frames than are allowed is an error.
 */
static void next_event(cp_conn *conn, cp__ws_event *event) {
  uint64_t before = cp__ws_n_frames(conn->in.ws);

  cp__ws_next(conn->in.ws, event);
  if (may_send_frames(conn, cp__ws_n_frames(conn->in.ws) - before))
    return;
  event->type = CP__WS_ERROR;
  event->code = CP__WS_POLICY;
}

/* Others go who hold on to what is unfinished, the oldest first: those who come
 * now and end what they begin must not be locked out. */
static void make_room(cp_conn *conn) {
  cp__ws_pool *pool = &cp__conn_peers(conn)->ws_pool;
  const cp__ws *latest = conn->in.ws;
  cp_conn *oldest;

  while ((oldest = cp__ws_pool_choose(pool, latest)) != NULL)
    fail(oldest, CP__WS_TRY_AGAIN);
}

static void take_frames(cp_conn *conn, const void *data, size_t len) {
  cp__ws_event event;

  if (!may_send_bytes(conn, len))
    return;

  if (conn->in.ws == NULL)
    conn->in.ws = cp__ws_borrow(&cp__conn_peers(conn)->ws_pool,
                                conn->window_bits != 0, conn);
  if (conn->in.ws == NULL) {
    cp__conn_kill(conn);
    return;
  }
  conn->flags |= CP__CONN_FEEDING | CP__CONN_ALIVE;
  cp__ws_feed(conn->in.ws, data, len);
  do {
    next_event(conn, &event);
    take_event(conn, &event);
  } while (event.type != CP__WS_NOTHING && takes_frames(conn));
  conn->flags &= (uint8_t)~CP__CONN_FEEDING;
  if (!takes_frames(conn) || cp__ws_at_rest(conn->in.ws))
    return_ws(conn);
  else
    make_room(conn);
}

/* Read. ------------------------------------------------------------------- */

void cp__conn_take_data(cp_conn *conn, const void *data, size_t len) {
  switch (conn->state) {
  case CP__CONN_ASKING:
    cp__conn_take_head(conn, data, len);
    break;
  case CP__CONN_ASKED:
  case CP__CONN_JOINING:
    cp__conn_take_early(conn, data, len);
    break;
  case CP__CONN_OPEN:
  case CP__CONN_CLOSING:
    take_frames(conn, data, len);
    break;
  default: /* of no interest any more */
    break;
  }
}

/* A peer that closed its side may still read: the answer to a plain request,
 * and whatever is the last that we send. */
bool cp__conn_may_still_read(const cp_conn *conn) {
  if (conn->state == CP__CONN_ASKED)
    return !conn->in.request->head.upgrade;
  return conn->state == CP__CONN_FLUSHING;
}

void cp__conn_take_eof(cp_conn *conn) {
  if (cp__conn_may_still_read(conn))
    conn->flags |= CP__CONN_ENDED;
  else
    cp__conn_kill(conn);
}

/* From the socket, or from whoever had it before. */
static void take_bytes(cp_conn *conn, const void *data, size_t len) {
  if (conn->tls == NULL)
    cp__conn_take_data(conn, data, len);
  else
    cp__conn_tls_take(conn, data, len);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  cp_conn *conn = cp__container_of(stream, cp_conn, uv.stream);

  if (n == UV_ENOBUFS) /* on_alloc() had none */
    return;
  if (n > 0) {
    cp__conn_peers(conn)->n_read += (size_t)n;
    take_bytes(conn, buf->base, (size_t)n);
  } else if (n == UV_EOF && conn->tls == NULL) {
    cp__conn_take_eof(conn);
  } else if (n == UV_EOF) {
    cp__conn_tls_take_eof(conn);
  } else if (n < 0) {
    cp__conn_kill(conn);
  }
}

/* Who sends more than others must not hold them up. libuv reads up to 32 times
 * in a row from one socket: 2 MiB, which may be 300,000 pings. The second time
 * it gets no buffer and goes on to the next connection; what is left is read in
 * the next turn. And in a turn in which much was read already, everybody gets a
 * small buffer: enough for whoever is no flood.
 *
 * Compressed bytes count as what they hold, up to a thousand times as many, so
 * there the buffers are smaller. And a stranger, who has nothing to send but a
 * request, gets no memory for more. */
static size_t read_size(const cp_conn *conn) {
  bool much = cp__conn_peers(conn)->n_read >= MUCH_READ;

  if (conn->window_bits != 0)
    return much ? TINY_READ_BUF : SMALL_READ_BUF;
  return much || conn->state < CP__CONN_OPEN ? SMALL_READ_BUF : CP__READ_BUF;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  cp__peers *peers = handle->data;
  size_t len = read_size(conn_of_handle(handle));

  (void)suggested;
  if (peers->last_reader == handle)
    len = 0;
  peers->last_reader = handle;
  *buf = uv_buf_init(len > 0 ? peers->read_buf : NULL, (unsigned)len);
}

void cp__conn_start_reading(cp_conn *conn) {
  int rc;

  if (conn->flags & CP__CONN_ENDED)
    return;
  rc = uv_read_start(&conn->uv.stream, on_alloc, on_read);
  if (rc != 0 && rc != UV_EALREADY)
    cp__conn_kill(conn);
}

/* Begin. ------------------------------------------------------------------ */

static cp_conn *conn_create(cp__peers *peers, bool is_unix, bool tls) {
  size_t guarded = peers->guard.has_guarded ? sizeof(cp__guarded) : 0;
  cp_conn *conn = cp__calloc(peers->alloc, size_of(is_unix) + guarded);

  if (conn == NULL)
    return NULL;
  conn->uv.handle.data = peers;
  conn->is_unix = is_unix;
  conn->state = CP__CONN_ASKING;
  cp__list_init(&conn->user_link);
  cp__timed_init(&conn->timed);
  if (tls && cp__conn_tls_create(&conn->tls, peers) != 0) {
    cp__free(peers->alloc, conn);
    return NULL;
  }
  if (is_unix)
    uv_pipe_init(peers->loop, &conn->uv.pipe, 0);
  else
    uv_tcp_init(peers->loop, &conn->uv.tcp);
  peers->n_conns++;
  return conn;
}

/* By its address, if those are counted. Nobody to count has left already. */
static bool admit_address(cp_conn *conn) {
  cp__guarded *guarded = cp__conn_guarded(conn);
  struct sockaddr_storage peer;
  int len = sizeof peer;

  return guarded == NULL || conn->is_unix ||
         uv_tcp_getpeername(&conn->uv.tcp, (struct sockaddr *)&peer, &len) !=
             0 ||
         cp__guard_admit(&cp__conn_peers(conn)->guard, guarded,
                         (struct sockaddr *)&peer);
}

/* May this socket be served at all? What costs most in TLS is the handshake, so
 * with TLS that is counted here, otherwise where the request is judged. */
static bool admit(cp_conn *conn) {
  cp__peers *peers = cp__conn_peers(conn);

  if (!admit_address(conn)) {
    peers->stats->address_refusals++;
    return false;
  }
  if (conn->tls != NULL &&
      !cp__guard_take_handshake(&peers->guard, uv_now(peers->loop))) {
    peers->stats->rate_refusals++;
    return false;
  }
  return true;
}

int cp__conn_accept(cp__peers *peers, uv_stream_t *listener) {
  bool is_unix = listener->type == UV_NAMED_PIPE;
  cp_conn *conn = conn_create(peers, is_unix, peers->tls_context != NULL);

  if (conn == NULL)
    return CP_E_NOMEM;
  cp__timed_start(&peers->asking, &conn->timed);
  if (uv_accept(listener, &conn->uv.stream) != 0 || !admit(conn)) {
    cp__conn_kill(conn);
    return 0;
  }
  if (!is_unix && !CP__NODELAY_IS_INHERITED)
    uv_tcp_nodelay(&conn->uv.tcp, 1);
  cp__conn_start_reading(conn);
  return 0;
}

int cp__conn_adopt(cp__peers *peers, const cp__adopted *adopted) {
  cp_conn *conn = conn_create(peers, adopted->is_unix, adopted->tls);
  int rc;

  if (conn == NULL)
    return CP_E_NOMEM;
  cp__timed_start(&peers->asking, &conn->timed);
  rc = adopted->is_unix ? uv_pipe_open(&conn->uv.pipe, adopted->fd)
                        : uv_tcp_open(&conn->uv.tcp, adopted->fd);
  if (rc != 0) {
    cp__conn_kill(conn);
    return rc;
  }
  if (!admit(conn)) {
    cp__conn_kill(conn);
    return 0;
  }
  if (!adopted->is_unix)
    uv_tcp_nodelay(&conn->uv.tcp, 1);
  cp__conn_start_reading(conn);
  if (adopted->received.len > 0)
    take_bytes(conn, adopted->received.data, adopted->received.len);
  return 0;
}

void cp__conn_begin(cp_conn *conn, cp_bytes early) {
  if (early.len > 0 && takes_frames(conn))
    take_frames(conn, early.data, early.len);
  if (conn->state != CP__CONN_CLOSED)
    cp__conn_start_reading(conn);
}

void cp__conn_shut(cp_conn *conn) {
  switch (conn->state) {
  case CP__CONN_ASKING:
    cp__conn_kill(conn);
    break;
  case CP__CONN_ASKED:
  case CP__CONN_JOINING:
    cp__conn_refuse(conn, 503);
    break;
  case CP__CONN_OPEN:
    cp__conn_close(conn, CP__WS_GOING_AWAY, cp_str(NULL));
    break;
  default:
    break;
  }
}

/* Time-outs. -------------------------------------------------------------- */

void cp__conn_on_alive_due(cp__sweep_list *list, cp__timed *item) {
  cp_conn *conn = cp__container_of(item, cp_conn, timed);
  cp__peers *peers = cp__conn_peers(conn);

  if (cp__conn_progressed(conn))
    conn->flags |= CP__CONN_ALIVE;
  conn->n_missed =
      (conn->flags & CP__CONN_ALIVE) ? 0 : (uint8_t)(conn->n_missed + 1);
  if (conn->n_missed >= peers->max_missed_pings) {
    peers->stats->ping_timeouts++;
    cp__conn_kill(conn);
    return;
  }
  conn->flags &= (uint8_t)~CP__CONN_ALIVE;
  cp__timed_start(list, item);
  /* Above the limit only a pong may be added, and one alone. */
  if (conn->q_bytes <= peers->max_send_queue &&
      !cp__conn_push(conn, cp__blob_ref(peers->ping)))
    cp__conn_kill(conn);
}

/* Whoever reads, if slowly, gets what was meant for it. */
void cp__conn_on_ending_due(cp__sweep_list *list, cp__timed *item) {
  cp_conn *conn = cp__container_of(item, cp_conn, timed);

  if (cp__conn_progressed(conn))
    cp__timed_start(list, item);
  else
    cp__conn_kill(conn);
}
