/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The send queue of a connection. A frame is (a slice of) a shared blob;
 * queueing it for n recipients takes n nodes from a pool and copies nothing. A
 * frame that lies right behind the queue's last one, as the broadcasts of one
 * turn do (cp__peers_join), takes no node either: the last one's slice grows.
 * Everything here that speaks of an entry means one or more whole frames; only
 * dropping the oldest goes by single frames.
 *
 * Happy path: the flush at the end of a turn hands the whole queue, or its
 * first 64 entries, to uv_try_write, or with those of other connections to a
 * batch, and the queue is empty. If the socket is full, uv_write gets the begun
 * frame and whole frames up to HELD_MAX bytes, with a record from a pool; the
 * rest stays here, where limits and drop-oldest reach it. When that write is
 * done, the connection is flushed again.
 *
 * With TLS portions of the queue are sealed first (conn_tls.c), and what the
 * socket doesn't take of one is what libuv holds.
 *
 * q_bytes counts everything that has not left, what libuv holds included: as
 * plain bytes until they are sealed, and sealed ones from then on; and what an
 * entry of the queue weighs besides, or many small messages would cost many
 * times their bytes. */

#include "conn.h"

#include <string.h>

#define HELD_MAX        65536
#define HELD_FRAMES     64
#define TRY_FRAMES      CP__BATCH_BUFS
#define TRY_BYTES       (1024 * 1024) /* at once, of one connection */
#define PONG_BACKLOG    16384
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

/* Pools. ------------------------------------------------------------------ */

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
  cp__peers *peers = cp__conn_peers(conn);
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

/* Queue. ------------------------------------------------------------------ */

void cp__conn_mark_dirty(cp_conn *conn) {
  cp__peers *peers = cp__conn_peers(conn);

  if ((conn->flags & CP__CONN_DIRTY) || conn->state == CP__CONN_CLOSED)
    return;
  conn->flags |= CP__CONN_DIRTY;
  conn->next_dirty = NULL;
  if (peers->dirty_last != NULL)
    peers->dirty_last->next_dirty = conn;
  else
    peers->dirty_first = conn;
  peers->dirty_last = conn;
}

void cp__conn_count(cp_conn *conn, size_t more, size_t less) {
  conn->q_bytes += (uint32_t)(more - less);
  cp__conn_peers(conn)->stats->queued_bytes += more - less;
}

static cp__qnode *first_of(const cp_conn *conn) {
  return conn->q_last != NULL ? conn->q_last->next : NULL;
}

/* Is `frames` what follows in the blob of the queue's last entry? */
static bool continues(const cp_conn *conn, const cp__slice *frames) {
  const cp__qnode *last = conn->q_last;

  return last != NULL && last->frames.blob == frames->blob &&
         last->frames.at + last->frames.len == frames->at;
}

static void extend(cp_conn *conn, const cp__slice *frames) {
  conn->q_last->frames.len += frames->len;
  cp__blob_unref(frames->blob);
  cp__conn_count(conn, frames->len, 0);
}

/* The blob is taken. */
static bool push(cp_conn *conn, cp__slice frames) {
  cp__qnode *node = node_get(cp__conn_peers(conn));

  if (node == NULL) {
    cp__blob_unref(frames.blob);
    return false;
  }
  node->frames = frames;
  node->next = node;
  if (conn->q_last != NULL) {
    node->next = conn->q_last->next;
    conn->q_last->next = node;
  }
  conn->q_last = node;
  cp__conn_count(conn, frames.len + CP__ENTRY_WEIGHT, 0);
  cp__conn_mark_dirty(conn);
  return true;
}

bool cp__conn_push(cp_conn *conn, cp__blob *blob) {
  return push(conn, cp__slice_all(blob));
}

cp__slice cp__conn_pop(cp_conn *conn) {
  cp__qnode *node = first_of(conn);
  cp__slice frames = node->frames;

  if (node == conn->q_last)
    conn->q_last = NULL;
  else
    conn->q_last->next = node->next;
  node_put(cp__conn_peers(conn), node);
  cp__conn_count(conn, 0, CP__ENTRY_WEIGHT);
  return frames;
}

static void drop_entry(cp_conn *conn) {
  cp__conn_count(conn, 0, first_of(conn)->frames.len);
  cp__blob_unref(cp__conn_pop(conn).blob);
}

void cp__conn_drop_queue(cp_conn *conn) {
  while (conn->q_last != NULL)
    drop_entry(conn);
}

/* Of the first frame. */
static bool is_control(const cp__slice *frames) {
  return (cp__slice_data(frames)[0] & 0x08) != 0;
}

static bool is_pong(const cp__slice *frames) {
  return (cp__slice_data(frames)[0] & 0x0F) == CP__WS_OP_PONG;
}

/* An entry may be many frames. */
static void drop_frame(cp_conn *conn) {
  cp__slice *frames = &first_of(conn)->frames;
  uint64_t len = cp__ws_frame_len(cp__slice_data(frames));

  if (len >= frames->len) {
    drop_entry(conn);
    return;
  }
  frames->at += (uint32_t)len;
  frames->len -= (uint32_t)len;
  cp__conn_count(conn, 0, (size_t)len);
}

/* Some bytes cost far more than a byte to keep, so whoever pings faster than it
 * reads gets, as section 5.5.3 allows, an answer to its last ping only. That it
 * gets however full the queue is: above the limit nothing else is added, so it
 * goes above it by one pong. */
bool cp__conn_push_pong(cp_conn *conn, cp__blob *pong) {
  cp__qnode *last = conn->q_last;

  if (conn->q_bytes <= PONG_BACKLOG || last == NULL || !is_pong(&last->frames))
    return cp__conn_push(conn, pong);
  cp__conn_count(conn, pong->len, last->frames.len);
  cp__blob_unref(last->frames.blob);
  last->frames = cp__slice_all(pong);
  return true;
}

/* Has a queue in which `waiting` bytes wait room for `len` more? */
static bool has_room(const cp_conn *conn, size_t waiting, size_t len) {
  return waiting == 0 || waiting + len + CP__ENTRY_WEIGHT <=
                             cp__conn_peers(conn)->max_send_queue;
}

/* Bytes that no policy can drop. */
static size_t out_of_reach(const cp_conn *conn) {
  size_t waiting = conn->tls != NULL ? cp__conn_tls_waiting(conn) : 0;
  return waiting + conn->write->bytes;
}

static void drop_old(cp_conn *conn, size_t len) {
  while (!has_room(conn, conn->q_bytes, len)) {
    cp__conn_peers(conn)->stats->queue_drops +=
        !is_control(&first_of(conn)->frames);
    drop_frame(conn);
  }
}

/* By the slow policy; false: the new frame is dropped. No frame in the queue is
 * begun, libuv holds that. */
static bool make_room(cp_conn *conn, size_t len) {
  cp__peers *peers = cp__conn_peers(conn);

  if (peers->slow_policy == CP_SLOW_DROP_OLD &&
      has_room(conn, out_of_reach(conn), len)) {
    drop_old(conn, len);
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

/* Flush. ------------------------------------------------------------------ */

bool cp__conn_progressed(cp_conn *conn) {
  size_t left = uv_stream_get_write_queue_size(&conn->uv.stream);

  if (conn->write == NULL || left >= conn->write->bytes)
    return false;
  cp__conn_count(conn, left, conn->write->bytes);
  conn->write->bytes = left;
  return true;
}

/* The write is given back, whatever came of it. */
static void release_held(cp_conn *conn) {
  struct cp__write *write = conn->write;

  conn->write = NULL;
  cp__conn_count(conn, 0, write->bytes);
  write_put(cp__conn_peers(conn), write);
}

/* Somebody read: that is a sign of life, and the end may take longer. */
static void note_progress(cp_conn *conn) {
  conn->flags |= CP__CONN_ALIVE;
  if (conn->state == CP__CONN_CLOSING || conn->state == CP__CONN_FLUSHING)
    cp__timed_start(&cp__conn_peers(conn)->ending, &conn->timed);
}

static void on_written(uv_write_t *req, int status) {
  struct cp__write *write = req->data;
  cp_conn *conn = write->conn;

  release_held(conn);
  if (status < 0) {
    cp__conn_kill(conn);
    return;
  }
  note_progress(conn);
  if (conn->state < CP__CONN_OPEN) /* where dirty means ready to open */
    cp__conn_flush(conn);
  else
    cp__conn_mark_dirty(conn);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
  struct cp__write *write = req->data;
  cp_conn *conn = write->conn;

  release_held(conn);
  if (status < 0 || (conn->flags & CP__CONN_ENDED))
    cp__conn_kill(conn);
}

static void give(cp_conn *conn, struct cp__write *write, const uv_buf_t *bufs) {
  conn->write = write;
  write->req.write.data = write;
  if (uv_write(&write->req.write, &conn->uv.stream, bufs, write->n,
               on_written) != 0) {
    release_held(conn);
    cp__conn_kill(conn);
  }
}

/* Hand the first entry, of which `begun` bytes have left, and whole ones behind
 * it to libuv. */
static void hold(cp_conn *conn, size_t begun) {
  struct cp__write *write = write_get(conn);
  uv_buf_t bufs[HELD_FRAMES];

  if (write == NULL) {
    cp__conn_count(conn, begun, 0); /* the queue counts whole frames again */
    cp__conn_kill(conn);
    return;
  }
  while (conn->q_last != NULL && write->n < HELD_FRAMES) {
    const cp__slice *frames = &first_of(conn)->frames;
    size_t len = frames->len - begun;
    if (write->n > 0 && write->bytes + len > HELD_MAX)
      break;
    bufs[write->n] =
        uv_buf_init((char *)cp__slice_data(frames) + begun, (unsigned)len);
    write->blobs[write->n++] = cp__conn_pop(conn).blob;
    write->bytes += len;
    begun = 0;
  }
  give(conn, write, bufs);
}

size_t cp__conn_advance(cp_conn *conn, size_t n) {
  cp__conn_peers(conn)->n_flushed += n;
  cp__conn_count(conn, 0, n);
  while (n > 0 && n >= first_of(conn)->frames.len) {
    n -= first_of(conn)->frames.len;
    cp__blob_unref(cp__conn_pop(conn).blob);
  }
  return n;
}

static unsigned gather(const cp_conn *conn, uv_buf_t *bufs, size_t *total) {
  const cp__qnode *node = conn->q_last;
  unsigned n = 0;

  *total = 0;
  do {
    node = node->next;
    bufs[n++] =
        uv_buf_init((char *)cp__slice_data(&node->frames), node->frames.len);
    *total += node->frames.len;
  } while (node != conn->q_last && n < TRY_FRAMES);
  return n;
}

/* Hand `rest`, which is sealed, to libuv. */
static void hold_sealed(cp_conn *conn, cp_bytes rest) {
  cp__blob *blob = cp__blob_copy(cp__conn_peers(conn)->alloc, rest);
  struct cp__write *write = blob != NULL ? write_get(conn) : NULL;
  uv_buf_t buf;

  if (write == NULL) {
    cp__blob_unref(blob);
    cp__conn_count(conn, 0, rest.len);
    cp__conn_kill(conn);
    return;
  }
  buf = uv_buf_init((char *)blob->data, (unsigned)blob->len);
  write->blobs[write->n++] = blob;
  write->bytes = blob->len;
  give(conn, write, &buf);
}

/* Write what was sealed. Returns false if it must wait. */
static bool try_portion(cp_conn *conn, cp_bytes sealed) {
  uv_buf_t buf = uv_buf_init((char *)sealed.data, (unsigned)sealed.len);
  int n = uv_try_write(&conn->uv.stream, &buf, 1);
  size_t written = n > 0 ? (size_t)n : 0;

  cp__conn_peers(conn)->n_flushed += written;
  cp__conn_count(conn, 0, written);
  if (written == sealed.len)
    return true;
  sealed =
      cp_bytes_of((const uint8_t *)sealed.data + written, sealed.len - written);
  if (n >= 0 || n == UV_EAGAIN) {
    hold_sealed(conn, sealed);
    return false;
  }
  cp__conn_count(conn, 0, sealed.len);
  cp__conn_kill(conn);
  return false;
}

/* try_queue() with TLS. */
static bool try_sealed(cp_conn *conn) {
  size_t budget = TRY_BYTES;
  cp_bytes sealed;

  for (;;) {
    if (cp__conn_tls_seal(conn) != 0) {
      cp__conn_kill(conn);
      return false;
    }
    sealed = cp__buf_bytes(&cp__conn_peers(conn)->sealed);
    if (sealed.len == 0)
      return true;
    if (!try_portion(conn, sealed))
      return false;
    if (sealed.len >= budget) {
      cp__conn_mark_dirty(conn);
      return false;
    }
    budget -= sealed.len;
  }
}

/* What came of an attempt to write the first `total` bytes. Returns false if
 * the rest must wait, or the connection is dead. */
static bool written(cp_conn *conn, int n, size_t total) {
  if (n < 0 && n != UV_EAGAIN) {
    cp__conn_kill(conn);
    return false;
  }
  if (n < 0 || (size_t)n < total) {
    hold(conn, n < 0 ? 0 : cp__conn_advance(conn, (size_t)n));
    return false;
  }
  cp__conn_advance(conn, total);
  return true;
}

size_t cp__conn_add_to_batch(cp_conn *conn, cp__batch *batch) {
  uv_buf_t *bufs;
  size_t total;

  if (conn->state < CP__CONN_OPEN || conn->q_last == NULL ||
      conn->write != NULL || conn->tls != NULL)
    return 0;
  bufs = cp__batch_room(batch);
  if (bufs == NULL)
    return 0;
  cp__batch_add(batch, &conn->uv.stream, gather(conn, bufs, &total));
  return total;
}

void cp__conn_written(cp_conn *conn, int n) {
  uv_buf_t bufs[TRY_FRAMES];
  size_t total;

  gather(conn, bufs, &total);
  written(conn, n, total);
}

/* Write without waiting. Returns false if the rest must wait (or the connection
 * is dead). */
static bool try_queue(cp_conn *conn) {
  size_t budget = TRY_BYTES;

  if (conn->tls != NULL)
    return try_sealed(conn);
  while (conn->q_last != NULL) {
    uv_buf_t bufs[TRY_FRAMES];
    size_t total;
    unsigned n_bufs = gather(conn, bufs, &total);
    if (!written(conn, uv_try_write(&conn->uv.stream, bufs, n_bufs), total))
      return false;
    if (total >= budget) {
      cp__conn_mark_dirty(conn);
      return false;
    }
    budget -= total;
  }
  return true;
}

/* Slow is who doesn't read, not who gets much in one turn: before the policy is
 * asked, the socket is. */
static bool find_room(cp_conn *conn, size_t len) {
  while (!has_room(conn, conn->q_bytes, len)) {
    if (conn->write != NULL)
      return make_room(conn, len);
    try_queue(conn);
    if (conn->state != CP__CONN_OPEN)
      return false;
  }
  return true;
}

/* There was no memory to queue a message. */
static void lose(cp_conn *conn) {
  cp__peers *peers = cp__conn_peers(conn);

  peers->stats->queue_drops++;
  /* This policy promises that nobody misses a message without knowing. */
  if (peers->slow_policy == CP_SLOW_CLOSE)
    cp__conn_kill(conn);
}

uint32_t cp__conn_send(cp_conn *conn, cp__slice frame) {
  cp__peers *peers = cp__conn_peers(conn);

  if (conn->state != CP__CONN_OPEN || !find_room(conn, frame.len))
    return 0;
  cp__blob_ref(frame.blob);
  if (continues(conn, &frame)) {
    extend(conn, &frame);
  } else if (!push(conn, frame)) {
    lose(conn);
    return 0;
  }
  if (conn->q_bytes > peers->max_send_queue / 2)
    conn->flags |= CP__CONN_HIGH;
  peers->stats->messages_out++;
  peers->stats->bytes_out += frame.len;
  return 1;
}

static void send_fin(cp_conn *conn) {
  struct cp__write *write = write_get(conn);

  if (write == NULL) {
    cp__conn_kill(conn);
    return;
  }
  cp__conn_set_state(conn, CP__CONN_LINGERING);
  conn->write = write;
  write->req.shutdown.data = write;
  if (uv_shutdown(&write->req.shutdown, &conn->uv.stream, on_shutdown) != 0) {
    release_held(conn);
    cp__conn_kill(conn);
  }
}

void cp__conn_flush(cp_conn *conn) {
  cp__peers *peers = cp__conn_peers(conn);

  if (conn->write != NULL || !try_queue(conn))
    return;
  if (conn->state == CP__CONN_FLUSHING) {
    send_fin(conn);
  } else if ((conn->flags & CP__CONN_HIGH) && conn->state == CP__CONN_OPEN) {
    conn->flags &= (uint8_t)~CP__CONN_HIGH;
    peers->host->on_writable(peers->ctx, conn);
  }
}
