/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_CONN_H
#define CP_CONN_H

/* Connection: one client, from accept to the last byte. */

#include "peers.h"

/* The allowed moves stand in conn.c. */
typedef enum cp__conn_state {
  CP__CONN_ASKING,    /* its request is being read */
  CP__CONN_ASKED,     /* the application decides */
  CP__CONN_JOINING,   /* accepted; its user's subscription is on the way */
  CP__CONN_OPEN,      /* messages flow */
  CP__CONN_CLOSING,   /* our close frame is queued; the peer's is awaited */
  CP__CONN_FLUSHING,  /* the last bytes go out; input is ignored */
  CP__CONN_LINGERING, /* we sent FIN; the peer's is awaited */
  CP__CONN_CLOSED     /* uv_close was called */
} cp__conn_state;

enum {
  CP__CONN_FEEDING = 0x01, /* inside the loop over its events */
  CP__CONN_ALIVE = 0x02,   /* the peer sent something since the last ping */
  CP__CONN_HIGH = 0x04,    /* on_writable is owed */
  CP__CONN_OPENED = 0x08,  /* on_open was called */
  CP__CONN_LEFT = 0x10,    /* the host has forgotten it */
  CP__CONN_ENDED = 0x20,   /* the peer's FIN came and is not acted on yet */
  CP__CONN_DIRTY = 0x40,   /* in the dirty list */
  CP__CONN_GONE = 0x80     /* its socket is closed */
};

/* What an entry of the send queue counts for besides its bytes: about its node,
 * and its blob's header. */
#define CP__ENTRY_WEIGHT 64

/* A listener that has TCP_NODELAY hands it on: a system call less for each
 * connection. */
#ifdef __linux__
#define CP__NODELAY_IS_INHERITED true
#else
#define CP__NODELAY_IS_INHERITED false
#endif

/* What conn_handshake.c keeps of an accepted request until the connection
 * opens.
 */
typedef struct cp__joining cp__joining;
/* TLS: what conn_tls.c keeps for a connection. */
typedef struct cp__conn_tls cp__conn_tls;

struct cp_conn {
  void *data; /* the application's */
  void *user; /* the registry's entry */
  uint64_t serial;
  cp__list user_link;  /* in cp__user.conns */
  cp_conn *next_dirty; /* in peers->dirty_first */
  cp__timed timed;     /* in one of the peers' time-out lists */

  uint8_t state;
  uint8_t flags;
  uint8_t n_missed; /* pings in a row without an answer */
  /* Together a byte. */
  unsigned is_unix : 1;
  unsigned window_bits : 4; /* for compressed messages; 0: not negotiated */
  unsigned in_groups : 1;   /* see groups.c */
  uint32_t q_bytes;         /* of the send queue, with what libuv holds */

  union {
    cp_request *request;  /* ASKING (NULL: not a byte came), ASKED */
    cp__joining *joining; /* JOINING */
    cp__ws *ws;           /* later; NULL while no message is unfinished */
  } in;

  cp__qnode *q_last;       /* of the send queue, a ring: the first is next */
  struct cp__write *write; /* with libuv; NULL if nothing is */
  cp__conn_tls *tls;       /* NULL: plain */

  /* Last, but for a cp__guarded where the server has limits that need one: only
   * as much of it is allocated as the kind needs. Its `data` is the
   * peers: a pointer less in what an idle connection weighs. */
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
};

/* Accept the next connection of a listener and begin to read. Returns 0, or
 * CP_E_NOMEM: it was not accepted, and libuv waits until it is. */
int cp__conn_accept(cp__peers *peers, uv_stream_t *listener);

static inline cp__peers *cp__conn_peers(const cp_conn *conn) {
  return conn->uv.handle.data;
}

/* A connected socket that somebody else accepted. */
typedef struct cp__adopted {
  int fd;
  bool is_unix;
  bool tls;          /* its TLS handshake is still to come */
  cp_bytes received; /* read from it already; borrowed until adopt returns */
} cp__adopted;

/* Go on with it as with one that was accepted here. Returns 0 (the socket is
 * taken), CP_E_NOMEM or a libuv code. Runs user code if a request is complete.
 */
int cp__conn_adopt(cp__peers *peers, const cp__adopted *adopted);

/* The state is OPEN. */
static inline bool cp__conn_is_open(const cp_conn *conn) {
  return conn->state == CP__CONN_OPEN;
}

/* ASKED -> JOINING: on_ready follows when wake is called, or in time. Takes a
 * serial, and `response`, the 101, in any case. The request is the caller's
 * now. Returns 0 or CP_E_NOMEM: nothing has changed. */
int cp__conn_join(cp_conn *conn, cp__blob *response);
/* In JOINING: on_ready in this turn. */
void cp__conn_wake(cp_conn *conn);
/* JOINING -> OPEN, unless it is killed: write the 101. `early` is what came
 * behind the request's head, the caller's now, for cp__conn_begin. */
void cp__conn_open(cp_conn *conn, cp__buf *early);
/* Begin to take frames, first those that came behind the request's head. */
void cp__conn_begin(cp_conn *conn, cp_bytes early);
/* Before OPEN: a whole HTTP response, taken (NULL: there was no memory for it),
 * is the last thing sent. A complete request is the caller's now. */
void cp__conn_respond(cp_conn *conn, cp__blob *response);

/* Queue a frame (shared) of an open connection. Returns 1, or 0 if it is not
 * open, the slow policy dropped the frame, or there was no memory. Never runs
 * user code. */
uint32_t cp__conn_send(cp_conn *conn, cp__slice frame);

/* Close an open connection, behind what is queued. Returns 0, CP_E_CLOSED or
 * CP_E_NOMEM (then it is closed without a word). */
int cp__conn_close(cp_conn *conn, uint16_t code, cp_bytes reason);
/* End it now, in whatever state. on_leave follows later, with 1006: this runs
 * no user code. */
void cp__conn_kill(cp_conn *conn);
/* Free the memory once the socket is closed and the dirty list has let go. */
void cp__conn_maybe_free(cp_conn *conn);
/* The server closes: say so to the peer as the state allows. */
void cp__conn_shut(cp_conn *conn);

/* NULL: the server has no such limits. */
cp__guarded *cp__conn_guarded(cp_conn *conn);

/* Within conn*.c. -------------------------------------------------------- */

void cp__conn_set_state(cp_conn *conn, cp__conn_state state);
void cp__conn_mark_dirty(cp_conn *conn);
/* Go on reading, unless the peer has ended. */
void cp__conn_start_reading(cp_conn *conn);
/* Nothing is read any more, and what is queued is the last that is sent. */
void cp__conn_start_flushing(cp_conn *conn);
/* Append to the queue, whatever the limit. `blob` is taken. Returns false if
 * there is no memory. */
bool cp__conn_push(cp_conn *conn, cp__blob *blob);
/* The same for a pong, of which a peer that doesn't keep up gets fewer. */
bool cp__conn_push_pong(cp_conn *conn, cp__blob *pong);
/* Drop all but what libuv holds. */
void cp__conn_drop_queue(cp_conn *conn);
/* Count bytes that wait, and bytes that don't any more. */
void cp__conn_count(cp_conn *conn, size_t more, size_t less);
/* Take the first entry out of the queue, which is not empty; it still counts.
 * Its blob is the caller's. */
cp__slice cp__conn_pop(cp_conn *conn);
/* `n` bytes of the queue have left. Returns how many of them were the first
 * entry's that remains. */
size_t cp__conn_advance(cp_conn *conn, size_t n);
/* Has libuv written some of what it holds, since this was asked last? */
bool cp__conn_progressed(cp_conn *conn);
/* Add what is queued to a batch, if it can leave that way and there is room.
 * Returns how many bytes: 0 if not. */
size_t cp__conn_add_to_batch(cp_conn *conn, cp__batch *batch);
/* What came of that, as of uv_try_write(). Runs no user code. */
void cp__conn_written(cp_conn *conn, int n);
/* Write what is queued. */
void cp__conn_flush(cp_conn *conn);
void cp__peers_free_pools(cp__peers *peers);
/* What the peers' time-out lists call. */
void cp__conn_on_asking_due(cp__sweep_list *list, cp__timed *item);
void cp__conn_on_joining_due(cp__sweep_list *list, cp__timed *item);
void cp__conn_on_alive_due(cp__sweep_list *list, cp__timed *item);
void cp__conn_on_ending_due(cp__sweep_list *list, cp__timed *item);
/* What the peer sent, and that it sends nothing more. */
void cp__conn_take_data(cp_conn *conn, const void *data, size_t len);
void cp__conn_take_eof(cp_conn *conn);
/* ... which is not the end of the connection. */
bool cp__conn_may_still_read(const cp_conn *conn);
/* The host forgets it: once. */
void cp__conn_leave(cp_conn *conn, uint16_t code, cp_bytes reason);

/* conn_handshake.c, all before OPEN. */

/* Bytes of the request's head, or what came behind it. */
void cp__conn_take_head(cp_conn *conn, const void *data, size_t len);
void cp__conn_take_early(cp_conn *conn, const void *data, size_t len);
/* Respond with a status of our own. */
void cp__conn_refuse(cp_conn *conn, int status);
/* Let go of all that is not needed once it is over. A complete request stays
 * with whoever is about to answer it. */
void cp__conn_drop_handshake(cp_conn *conn);

/* conn_tls.c, all but the first for connections with TLS. */

/* Returns 0 or CP_E_NOMEM. */
int cp__conn_tls_create(cp__conn_tls **tls, cp__peers *peers);
/* With the connection's memory; of a plain one, nothing. */
void cp__conn_tls_destroy(cp_conn *conn);
/* The TLS handshake is done, and nothing has failed. */
bool cp__conn_tls_is_ready(const cp_conn *conn);
/* What came from the socket. */
void cp__conn_tls_take(cp_conn *conn, const void *data, size_t len);
void cp__conn_tls_take_eof(cp_conn *conn);
/* Take the queue's first frame out of the reach of every policy. */
void cp__conn_tls_begin(cp_conn *conn);
/* Seal the next portion of what waits, close_notify behind the last one, into
 * peers->sealed, and count it as sealed. Empty: nothing waits. Returns 0 or
 * what ended it. */
int cp__conn_tls_seal(cp_conn *conn);
/* Bytes that wait here: neither in the queue nor with libuv. */
size_t cp__conn_tls_waiting(const cp_conn *conn);
/* Drop these. */
void cp__conn_tls_drop(cp_conn *conn);

#endif
