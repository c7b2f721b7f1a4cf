/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "peers.h"

#include "conn.h"

#include <assert.h>
#include <string.h>

/* Broadcasts that are joined. For longer ones a copy costs more than a piece.
 */
#define JOIN_MAX  1024
#define ROUND_MAX 16384

static void take_limits(cp__peers *peers, const cp_server_options *limits) {
  peers->max_request = limits->max_request;
  peers->max_send_queue = limits->max_send_queue;
  peers->slow_policy = limits->slow_policy;
  peers->max_missed_pings = limits->max_missed_pings;
  peers->retry_after_s = limits->retry_after_s;
}

static void add_lists(cp__peers *peers, cp__sweep *sweep,
                      const cp_server_options *limits) {
  cp__sweep_add_list(sweep, &peers->asking, limits->handshake_timeout_ms,
                     cp__conn_on_asking_due);
  cp__sweep_add_list(sweep, &peers->joining, limits->subscribe_wait_ms,
                     cp__conn_on_joining_due);
  cp__sweep_add_list(sweep, &peers->alive, limits->ping_interval_ms,
                     cp__conn_on_alive_due);
  cp__sweep_add_list(sweep, &peers->ending, limits->close_timeout_ms,
                     cp__conn_on_ending_due);
}

static int init_deflater(cp__peers *peers, const cp_server_options *limits) {
  cp__deflate_options options;

  if (!limits->compress)
    return 0;
  cp__deflate_options_init(&options);
  options.min_len = limits->compress_min;
  peers->window_bits = (uint8_t)options.window_bits;
  peers->deflater = cp__deflater_create(peers->alloc, &options);
  return peers->deflater != NULL ? 0 : CP_E_NOMEM;
}

/* One message always may arrive. */
static size_t max_inflaters(const cp_server_options *limits) {
  size_t n = limits->max_inflate_memory / CP__INFLATER_SIZE;
  return n > 0 ? n : 1;
}

int cp__peers_init(cp__peers *peers, uv_loop_t *loop, cp__sweep *sweep,
                   const cp_server_options *limits, const cp_allocator *alloc,
                   cp_stats *stats, const cp__peers_host *host, void *ctx) {
  int rc;

  memset(peers, 0, sizeof *peers);
  peers->loop = loop;
  peers->alloc = alloc;
  peers->stats = stats;
  peers->host = host;
  peers->ctx = ctx;
  take_limits(peers, limits);
  add_lists(peers, sweep, limits);
  cp__ws_pool_init(&peers->ws_pool, alloc, limits->max_message);
  peers->ws_pool.max_held = limits->max_receive_memory;
  peers->ws_pool.inflaters.max_borrowed = max_inflaters(limits);
  rc = cp__guard_init(&peers->guard, alloc, limits);
  if (rc != 0)
    return rc;
  rc = CP_E_NOMEM;
  if (cp__ws_encoder_init(&peers->encoder, alloc) != 0)
    goto err;
  peers->ping =
      cp__ws_encode(&peers->encoder, CP__WS_OP_PING, cp_bytes_of(NULL, 0));
  if (peers->ping == NULL)
    goto err_encoder;
  peers->read_buf = cp__malloc(alloc, CP__READ_BUF);
  if (peers->read_buf == NULL)
    goto err_ping;
  if (init_deflater(peers, limits) != 0)
    goto err_read_buf;
  if (!limits->no_uring && cp__batch_create(&peers->batch, alloc) != 0)
    goto err_deflater;
  return 0;

err_deflater:
  cp__deflater_destroy(peers->deflater);
  peers->deflater = NULL;
err_read_buf:
  cp__free(alloc, peers->read_buf);
  peers->read_buf = NULL;
err_ping:
  cp__blob_unref(peers->ping);
  peers->ping = NULL;
err_encoder:
  cp__ws_encoder_finish(&peers->encoder);
err:
  cp__ws_pool_finish(&peers->ws_pool);
  return rc;
}

void cp__peers_finish(cp__peers *peers) {
  assert(peers->n_conns == 0);
  cp__guard_finish(&peers->guard);
  cp__free(peers->alloc, peers->read_buf);
  cp__free(peers->alloc, peers->slots);
  cp__blob_unref(peers->round);
  cp__blob_unref(peers->ping);
  cp__deflater_destroy(peers->deflater);
  cp__ws_encoder_finish(&peers->encoder);
  cp__ws_pool_finish(&peers->ws_pool);
  cp__batch_destroy(peers->batch);
  cp__peers_free_pools(peers);
  cp__peers_free_tls(peers);
}

/* Rounds. ----------------------------------------------------------------- */

void cp__peers_end_round(cp__peers *peers) {
  cp__blob_unref(peers->round);
  peers->round = NULL;
  if (peers->n_broadcast > 0)
    peers->n_last_round = peers->n_broadcast;
  peers->n_broadcast = 0;
}

/* Begin a blob with room for as much as there was in this turn, or in the last
 * one if that was more: a server that sends one broadcast a turn copies none,
 * and no more than half of a queue's memory is room that was not needed. */
static bool begin_round(cp__peers *peers, size_t len) {
  size_t size = peers->n_broadcast > peers->n_last_round ? peers->n_broadcast
                                                         : peers->n_last_round;

  cp__blob_unref(peers->round);
  peers->round = NULL;
  if (size < 2 * len)
    return false;
  peers->round =
      cp__blob_create(peers->alloc, size < ROUND_MAX ? size : ROUND_MAX);
  peers->n_round = 0;
  return peers->round != NULL;
}

cp__slice cp__peers_join(cp__peers *peers, cp__blob *frame) {
  cp__slice slice = cp__slice_all(frame);

  if (frame->len > JOIN_MAX)
    return slice;
  peers->n_broadcast += frame->len;
  if ((peers->round == NULL ||
       peers->round->len - peers->n_round < frame->len) &&
      !begin_round(peers, frame->len))
    return slice;
  slice.blob = cp__blob_ref(peers->round);
  slice.at = (uint32_t)peers->n_round;
  memcpy(peers->round->data + peers->n_round, frame->data, frame->len);
  peers->n_round += frame->len;
  cp__blob_unref(frame);
  return slice;
}

void cp__peers_begin_turn(cp__peers *peers) {
  peers->last_reader = NULL;
  peers->n_read = 0;
}

/* Serials. ---------------------------------------------------------------- */

#define SLOT_BITS 24
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

/* By a quarter: a table twice too large would cost as much as a connection's
 * user. */
static int grow_slots(cp__peers *peers) {
  uint32_t n = peers->n_slots + peers->n_slots / 4 + 64;
  union cp__slot *slots;
  uint32_t i;

  if (n > SLOT_MASK)
    return CP_E_NOMEM;
  slots = cp__realloc(peers->alloc, peers->slots, n * sizeof *slots);
  if (slots == NULL)
    return CP_E_NOMEM;
  for (i = peers->n_slots; i < n; i++)
    slots[i].next = (uintptr_t)(i + 1) << 1 | 1;
  peers->slots = slots;
  peers->free_slot = peers->n_slots;
  peers->n_slots = n;
  return 0;
}

int cp__peers_take_slot(cp__peers *peers, cp_conn *conn, uint64_t *serial) {
  uint32_t index;

  if (peers->free_slot == peers->n_slots && grow_slots(peers) != 0)
    return CP_E_NOMEM;
  index = peers->free_slot;
  peers->free_slot = (uint32_t)(peers->slots[index].next >> 1);
  peers->slots[index].conn = conn;
  *serial = ++peers->n_serials << SLOT_BITS | index;
  return 0;
}

uint64_t cp__peers_newest(const cp__peers *peers) {
  return peers->n_serials << SLOT_BITS | SLOT_MASK;
}

void cp__peers_free_slot(cp__peers *peers, uint64_t serial) {
  uint32_t index = (uint32_t)(serial & SLOT_MASK);

  peers->slots[index].next = (uintptr_t)peers->free_slot << 1 | 1;
  peers->free_slot = index;
}

cp_conn *cp__peers_find(const cp__peers *peers, uint64_t serial) {
  uint32_t index = (uint32_t)(serial & SLOT_MASK);
  cp_conn *conn = index < peers->n_slots ? cp__peers_at(peers, index) : NULL;

  if (conn == NULL || conn->serial != serial || !cp__conn_is_open(conn))
    return NULL;
  return conn;
}

void cp__peers_each(cp__peers *peers, void (*fn)(cp_conn *conn)) {
  cp_conn *conn;
  uint32_t i;

  for (i = 0; i < peers->n_slots; i++)
    if ((conn = cp__peers_at(peers, i)) != NULL)
      fn(conn);
}
