/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The send queue of a connection. A frame is a shared blob; queueing it for n
 * recipients takes n nodes from a pool and copies nothing.
 *
 * Happy path: the flush at the end of a turn hands the whole queue to
 * uv_try_write, one system call, and the queue is empty. If the socket is full,
 * uv_write gets the begun frame and whole frames up to HELD_MAX bytes, with a
 * record from a pool; the rest stays here, where limits and drop-oldest reach
 * it. When that write is done, the connection is flushed again.
 *
 * q_bytes counts everything that has not left, what libuv holds included. */

#include "conn.h"

#include <string.h>

#define HELD_MAX        65536
#define HELD_FRAMES     64
#define TRY_FRAMES      64
#define TRY_BYTES       (1024 * 1024) /* a turn, for one connection */
#define MAX_FREE_NODES  65536
#define MAX_FREE_WRITES 256

/* Frames that libuv holds. */
struct cp__write {
  union {
    uv_write_t write;
    uv_shutdown_t shutdown;
  } req;
  struct cp__write *next; /* in peers->free_writes */
  cp_conn *conn;
  size_t bytes;
  unsigned n;
  cp__blob *blobs[HELD_FRAMES];
};

/* Pools. ---------------------------------------------------------------------
 */

static cp__qnode *node_get(cp__peers *peers) {
  cp__qnode *node = peers->free_nodes;

  if (node == NULL)
    return cp__malloc(peers->alloc, sizeof *node);
  peers->free_nodes = node->next;
  peers->n_free_nodes--;
  return node;
}

static void node_put(cp__peers *peers, cp__qnode *node) {
  if (peers->n_free_nodes >= MAX_FREE_NODES) {
    cp__free(peers->alloc, node);
    return;
  }
  node->next = peers->free_nodes;
  peers->free_nodes = node;
  peers->n_free_nodes++;
}

static struct cp__write *write_get(cp_conn *conn) {
  cp__peers *peers = conn->peers;
  struct cp__write *write = peers->free_writes;

  if (write != NULL) {
    peers->free_writes = write->next;
    peers->n_free_writes--;
  } else {
    write = cp__malloc(peers->alloc, sizeof *write);
    if (write == NULL)
      return NULL;
  }
  write->conn = conn;
  write->bytes = 0;
  write->n = 0;
  return write;
}

static void write_put(cp__peers *peers, struct cp__write *write) {
  unsigned i;

  for (i = 0; i < write->n; i++)
    cp__blob_unref(write->blobs[i]);
  if (peers->n_free_writes >= MAX_FREE_WRITES) {
    cp__free(peers->alloc, write);
    return;
  }
  write->next = peers->free_writes;
  peers->free_writes = write;
  peers->n_free_writes++;
}

void cp__peers_free_pools(cp__peers *peers) {
  while (peers->free_nodes != NULL) {
    cp__qnode *node = peers->free_nodes;
    peers->free_nodes = node->next;
    cp__free(peers->alloc, node);
  }
  while (peers->free_writes != NULL) {
    struct cp__write *write = peers->free_writes;
    peers->free_writes = write->next;
    cp__free(peers->alloc, write);
  }
}

/* Queue. ---------------------------------------------------------------------
 */

void cp__conn_mark_dirty(cp_conn *conn) {
  if (cp__list_empty(&conn->dirty_link) && conn->state != CP__CONN_CLOSED)
    cp__list_push_back(&conn->peers->dirty, &conn->dirty_link);
}

static void count_bytes(cp_conn *conn, size_t more, size_t less) {
  conn->q_bytes += more - less;
  conn->peers->stats->queued_bytes += more - less;
}

bool cp__conn_push(cp_conn *conn, cp__blob *blob) {
  cp__qnode *node = node_get(conn->peers);

  if (node == NULL) {
    cp__blob_unref(blob);
    return false;
  }
  node->next = NULL;
  node->blob = blob;
  if (conn->q_last != NULL)
    conn->q_last->next = node;
  else
    conn->q_first = node;
  conn->q_last = node;
  count_bytes(conn, blob->len, 0);
  cp__conn_mark_dirty(conn);
  return true;
}

/* Take the first node out; its blob is the caller's. */
static cp__blob *pop(cp_conn *conn) {
  cp__qnode *node = conn->q_first;
  cp__blob *blob = node->blob;

  conn->q_first = node->next;
  if (conn->q_first == NULL)
    conn->q_last = NULL;
  conn->q_off = 0;
  node_put(conn->peers, node);
  return blob;
}

/* Drop the oldest frame that is not begun; false if there is none. */
static bool drop_oldest(cp_conn *conn) {
  cp__qnode *begun = conn->q_off > 0 ? conn->q_first : NULL;
  cp__qnode *node = begun != NULL ? begun->next : conn->q_first;

  if (node == NULL)
    return false;
  if (begun != NULL)
    begun->next = node->next;
  else
    conn->q_first = node->next;
  if (conn->q_last == node)
    conn->q_last = begun;
  count_bytes(conn, 0, node->blob->len);
  cp__blob_unref(node->blob);
  node_put(conn->peers, node);
  return true;
}

void cp__conn_drop_queue(cp_conn *conn) {
  while (drop_oldest(conn))
    ;
  if (conn->state == CP__CONN_CLOSED && conn->q_first != NULL) {
    count_bytes(conn, 0, conn->q_first->blob->len - conn->q_off);
    cp__blob_unref(pop(conn));
  }
}

/* The queue has no room for `len` more bytes. Returns true if it made some. */
static bool make_room(cp_conn *conn, size_t len) {
  cp__peers *peers = conn->peers;

  if (peers->slow_policy == CP_SLOW_DROP_OLD) {
    while (conn->q_bytes + len > peers->max_send_queue && drop_oldest(conn))
      peers->stats->queue_drops++;
    if (conn->q_bytes == 0 || conn->q_bytes + len <= peers->max_send_queue)
      return true;
  }
  peers->stats->queue_drops++;
  if (peers->slow_policy == CP_SLOW_CLOSE) {
    peers->stats->slow_closes++;
    cp__conn_drop_queue(conn);
    cp__conn_close(conn, CP__WS_TRY_AGAIN, cp_str("send queue full"));
  }
  return false;
}

uint32_t cp__conn_send(cp_conn *conn, cp__blob *frame) {
  cp__peers *peers = conn->peers;

  if (conn->state != CP__CONN_OPEN)
    return 0;
  if (conn->q_bytes > 0 && conn->q_bytes + frame->len > peers->max_send_queue &&
      !make_room(conn, frame->len))
    return 0;
  if (!cp__conn_push(conn, cp__blob_ref(frame))) {
    peers->stats->queue_drops++;
    return 0;
  }
  if (conn->q_bytes > peers->max_send_queue / 2)
    conn->flags |= CP__CONN_HIGH;
  peers->stats->messages_out++;
  peers->stats->bytes_out += frame->len;
  return 1;
}

/* Flush. ---------------------------------------------------------------------
 */

static void held_done(cp_conn *conn, int status) {
  struct cp__write *write = conn->write;

  conn->write = NULL;
  count_bytes(conn, 0, write->bytes);
  write_put(conn->peers, write);
  if (status < 0)
    cp__conn_kill(conn, CP__WS_ABNORMAL);
  else
    cp__conn_mark_dirty(conn);
}

static void on_written(uv_write_t *req, int status) {
  struct cp__write *write = req->data;
  held_done(write->conn, status);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
  struct cp__write *write = req->data;
  held_done(write->conn, status);
}

/* Hand the begun frame, or the first, and whole ones behind it to libuv. */
static void hold(cp_conn *conn) {
  struct cp__write *write = write_get(conn);
  uv_buf_t bufs[HELD_FRAMES];

  if (write == NULL) {
    cp__conn_kill(conn, CP__WS_INTERNAL);
    return;
  }
  while (conn->q_first != NULL && write->n < HELD_FRAMES) {
    cp__blob *blob = conn->q_first->blob;
    size_t off = conn->q_off;
    size_t len = blob->len - off;
    if (write->n > 0 && write->bytes + len > HELD_MAX)
      break;
    bufs[write->n] = uv_buf_init((char *)blob->data + off, (unsigned)len);
    write->blobs[write->n++] = blob;
    write->bytes += len;
    pop(conn);
  }
  conn->write = write;
  write->req.write.data = write;
  if (uv_write(&write->req.write, &conn->uv.stream, bufs, write->n,
               on_written) != 0)
    held_done(conn, UV_EPIPE);
}

/* `n` bytes of the queue have left. */
static void advance(cp_conn *conn, size_t n) {
  count_bytes(conn, 0, n);
  while (n > 0) {
    size_t left = conn->q_first->blob->len - conn->q_off;
    if (n < left) {
      conn->q_off += n;
      return;
    }
    n -= left;
    cp__blob_unref(pop(conn));
  }
}

static unsigned gather(const cp_conn *conn, uv_buf_t *bufs, size_t *total) {
  const cp__qnode *node;
  size_t off = conn->q_off;
  unsigned n = 0;

  *total = 0;
  for (node = conn->q_first; node != NULL && n < TRY_FRAMES;
       node = node->next) {
    size_t len = node->blob->len - off;
    bufs[n++] = uv_buf_init((char *)node->blob->data + off, (unsigned)len);
    *total += len;
    off = 0;
  }
  return n;
}

/* Write without waiting. Returns false if the rest must wait (or the connection
 * is dead). */
static bool try_queue(cp_conn *conn) {
  size_t budget = TRY_BYTES;

  while (conn->q_first != NULL) {
    uv_buf_t bufs[TRY_FRAMES];
    size_t total;
    unsigned n_bufs = gather(conn, bufs, &total);
    int n = uv_try_write(&conn->uv.stream, bufs, n_bufs);
    if (n < 0 && n != UV_EAGAIN) {
      cp__conn_kill(conn, CP__WS_ABNORMAL);
      return false;
    }
    if (n > 0)
      advance(conn, (size_t)n);
    if (n < 0 || (size_t)n < total) {
      hold(conn);
      return false;
    }
    if (total >= budget) {
      cp__conn_mark_dirty(conn);
      return false;
    }
    budget -= total;
  }
  return true;
}

static void send_fin(cp_conn *conn) {
  struct cp__write *write = write_get(conn);

  if (write == NULL) {
    cp__conn_kill(conn, CP__WS_INTERNAL);
    return;
  }
  cp__conn_set_state(conn, CP__CONN_LINGERING);
  conn->write = write;
  write->req.shutdown.data = write;
  if (uv_shutdown(&write->req.shutdown, &conn->uv.stream, on_shutdown) != 0)
    held_done(conn, UV_ENOTCONN);
}

void cp__conn_flush(cp_conn *conn) {
  cp__peers *peers = conn->peers;

  if (conn->write != NULL || !try_queue(conn))
    return;
  if (conn->state == CP__CONN_FLUSHING) {
    send_fin(conn);
  } else if ((conn->flags & CP__CONN_HIGH) && conn->state == CP__CONN_OPEN) {
    conn->flags &= (uint8_t)~CP__CONN_HIGH;
    peers->host->on_writable(peers->ctx, conn);
  }
}
