/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The end of a turn: what is queued leaves. Connections that only have to write
 * do it together where there are batches (batch.h); the results are applied to
 * all of them before any user code runs, which might queue more. */
#include "conn.h"

/* One flush is some 3 ms at most: so many short writes, or so many bytes.
 * Whoever is told that its queue is empty may fill it again at once, and a fast
 * client empties it at once: what is over either budget has to wait for the
 * next turn, in which everybody is read. */
#define FLUSH_WRITES 1000
#define FLUSH_BYTES  (8u << 20)

static cp_conn *pop_dirty(cp__peers *peers) {
  cp_conn *conn = peers->dirty_first;

  peers->dirty_first = conn->next_dirty;
  if (peers->dirty_first == NULL)
    peers->dirty_last = NULL;
  conn->flags &= (uint8_t)~CP__CONN_DIRTY;
  return conn;
}

static void flush_one(cp__peers *peers, cp_conn *conn) {
  if (conn->state == CP__CONN_JOINING)
    peers->host->on_ready(peers->ctx, conn);
  else if (conn->state != CP__CONN_CLOSED)
    cp__conn_flush(conn);
  else
    cp__conn_maybe_free(conn);
}

/* As many of the first dirty connections as one batch takes. */
static unsigned add_batch(cp__peers *peers, cp_conn **conns, unsigned max) {
  size_t bytes = peers->n_flushed;
  unsigned n = 0;

  while (n < max && bytes < FLUSH_BYTES && peers->dirty_first != NULL) {
    size_t len = cp__conn_add_to_batch(peers->dirty_first, peers->batch);
    if (len == 0)
      break;
    conns[n++] = pop_dirty(peers);
    bytes += len;
  }
  return n;
}

static void give_up_batches(cp__peers *peers) {
  cp__batch_destroy(peers->batch);
  peers->batch = NULL;
  peers->host->on_log(peers->ctx, CP_LOG_WARN,
                      "io_uring failed: from now on each connection is written "
                      "to by itself");
}

/* Returns how many connections were flushed. */
static unsigned flush_batch(cp__peers *peers, unsigned max) {
  cp_conn *conns[CP__BATCH_MAX];
  unsigned n = add_batch(peers, conns, max);
  bool works = cp__batch_write(peers->batch);
  unsigned i;

  for (i = 0; i < n; i++)
    cp__conn_written(conns[i], cp__batch_result(peers->batch, i));
  for (i = 0; i < n; i++)
    flush_one(peers, conns[i]);
  if (!works)
    give_up_batches(peers);
  return n;
}

static unsigned flush_some(cp__peers *peers, unsigned max) {
  unsigned n = peers->batch != NULL ? flush_batch(peers, max) : 0;

  if (n > 0)
    return n;
  flush_one(peers, pop_dirty(peers));
  return 1;
}

bool cp__peers_flush(cp__peers *peers) {
  unsigned budget = FLUSH_WRITES;

  cp__peers_end_round(peers);
  peers->n_flushed = 0;
  while (budget > 0 && peers->n_flushed < FLUSH_BYTES &&
         peers->dirty_first != NULL)
    budget -= flush_some(peers, budget);
  return peers->dirty_first != NULL;
}
