/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_PEERS_H
#define CP_PEERS_H

/* Peers: what all connections of one server share: limits, pools, one read
 * buffer, the table of serials, the dirty list, the time-outs, and the host
 * that is told what happens. */

#include "batch.h"
#include "clusterpush/server.h"
#include "guard.h"
#include "sweep.h"
#include "tls.h"
#include "ws.h"

#include <uv.h>

#define CP__READ_BUF 65536
/* Of a message and of a send queue, so that both together fit 32 bits. */
#define CP__SIZE_LIMIT (1u << 30)

/* An entry of a connection's send queue: whole frames. */
typedef struct cp__qnode {
  struct cp__qnode *next;
  cp__slice frames;
} cp__qnode;

struct cp__write; /* conn_write.c */

/* What the owner of the connections must do. Each runs on the loop thread. */
typedef struct cp__peers_host {
  /* A request head is complete: somebody must answer it, now or later. */
  void (*on_request)(void *ctx, cp_request *request);
  /* An accepted connection is due to open (its user is confirmed, or it waited
   * long enough). */
  void (*on_ready)(void *ctx, cp_conn *conn);
  void (*on_message)(void *ctx, cp_conn *conn, cp_type type, cp_bytes body);
  void (*on_writable)(void *ctx, cp_conn *conn);
  /* An accepted connection leaves; `opened` if it ever was open. Forget it. */
  void (*on_leave)(void *ctx, cp_conn *conn, bool opened, uint16_t code,
                   cp_bytes reason);
  /* Something to be logged. */
  void (*on_log)(void *ctx, cp_log_level level, const char *text);
  /* The last connection's memory is freed. */
  void (*on_empty)(void *ctx);
} cp__peers_host;

typedef struct cp__peers {
  uv_loop_t *loop;
  const cp_allocator *alloc;
  const cp__peers_host *host;
  void *ctx;

  /* Limits, from the server's options. */
  size_t max_request;
  size_t max_send_queue;
  cp_slow_policy slow_policy;
  unsigned max_missed_pings;
  uint8_t window_bits; /* to negotiate; 0: no compression */
  unsigned retry_after_s;
  cp__guard guard;

  /* Pools. */
  cp__ws_pool ws_pool;
  cp__ws_encoder encoder;
  cp__deflater *deflater; /* NULL: no compression */
  cp__qnode *free_nodes;
  size_t n_free_nodes;
  struct cp__write *free_writes;
  size_t n_free_writes;
  char *read_buf;
  const uv_handle_t *last_reader; /* in this turn; only to be compared */
  size_t n_read;    /* bytes in this turn, what was inflated too */
  size_t n_flushed; /* bytes written by this flush */
  cp__blob *ping;   /* an empty ping frame */

  /* Broadcasts of one turn, see cp__peers_join. */
  cp__blob *round;     /* NULL: none is joined */
  size_t n_round;      /* bytes of it that are filled */
  size_t n_broadcast;  /* bytes of all frames since the last flush */
  size_t n_last_round; /* the same before it, unless there were none */

  /* TLS. */
  cp__tls_context *tls_context; /* of new connections; NULL: they are plain */
  char *plain;                  /* decrypted; NULL without TLS */
  cp__buf sealed;               /* what is being written */

  /* Serials. The low 24 bits of a serial are a slot, the others count: 16 M
   * connections at once, and no serial twice. A free slot holds the number of
   * the next free one, doubled, plus 1; a taken one its connection. */
  union cp__slot {
    cp_conn *conn;
    uintptr_t next;
  } * slots;
  uint32_t n_slots;
  uint32_t free_slot; /* n_slots: none */
  uint64_t n_serials;

  /* Connections. */
  size_t n_conns;       /* with memory, in whatever state */
  cp_conn *dirty_first; /* cp_conn.next_dirty: they have something to write */
  cp_conn *dirty_last;
  cp__batch *batch; /* NULL: each is written to by itself */

  /* Time-outs: a connection is in at most one. */
  cp__sweep_list asking;  /* the request, and its answer */
  cp__sweep_list joining; /* for the subscription */
  cp__sweep_list alive;   /* until the next ping */
  cp__sweep_list ending;  /* close handshake, last bytes, the peer's FIN */

  cp_stats *stats;
} cp__peers;

/* `limits` is only read. Returns 0, CP_E_NOMEM or a libuv code. */
int cp__peers_init(cp__peers *peers, uv_loop_t *loop, cp__sweep *sweep,
                   const cp_server_options *limits, const cp_allocator *alloc,
                   cp_stats *stats, const cp__peers_host *host, void *ctx);
/* When no connection is left; also after an init that failed. */
void cp__peers_finish(cp__peers *peers);

/* New connections have TLS. The context is taken; one that was there before
 * goes with its last connection. Returns 0 or CP_E_NOMEM. */
int cp__peers_use_tls(cp__peers *peers, cp__tls_context *context);
void cp__peers_free_tls(cp__peers *peers);

/* Short broadcasts of one turn are put one behind the other into one blob,
 * which grows while it is queued already: whoever gets all of them has one
 * entry in its queue and one piece to write. The frame is taken; the slice has
 * a reference and is where it can be found. */
cp__slice cp__peers_join(cp__peers *peers, cp__blob *frame);

/* Everybody may read again. */
void cp__peers_begin_turn(cp__peers *peers);

/* The turn ends, so no more broadcasts are joined. */
void cp__peers_end_round(cp__peers *peers);

/* Write what the dirty connections have queued, up to a budget. Returns true if
 * some are left. */
bool cp__peers_flush(cp__peers *peers);

/* The joined connection in slot `i` < n_slots, in whatever state, or NULL. */
static inline cp_conn *cp__peers_at(const cp__peers *peers, uint32_t i) {
  return (peers->slots[i].next & 1) != 0 ? NULL : peers->slots[i].conn;
}
/* Call it with every joined connection; it may close them. */
void cp__peers_each(cp__peers *peers, void (*fn)(cp_conn *conn));

/* The open connection with this serial, or NULL. */
cp_conn *cp__peers_find(const cp__peers *peers, uint64_t serial);

/* Give the connection a serial. Returns 0 or CP_E_NOMEM. */
int cp__peers_take_slot(cp__peers *peers, cp_conn *conn, uint64_t *serial);
/* No connection that joined has a later serial. */
uint64_t cp__peers_newest(const cp__peers *peers);
void cp__peers_free_slot(cp__peers *peers, uint64_t serial);

#endif
