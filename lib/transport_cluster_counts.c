/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Counts: each master is asked once, for the channels of its slots, and the
 * answers are put together. A slot that moves meanwhile may be counted too low,
 * for its new owner is not subscribed to yet.
 *
 * One master that fails to answer makes the whole count fail, but it ends only
 * when all have answered, since each of them holds it as a token. */
#include "transport_cluster.h"

typedef struct cluster_count {
  void *token;
  int status;
  size_t n_asked; /* masters that have not answered */
  size_t n;
  uint32_t *counts;  /* one a channel; behind this struct, as `masters` */
  uint16_t *masters; /* the index of each channel's master */
} cluster_count;

static cluster_count *create(cp__transport_cluster *self, size_t n,
                             void *token) {
  size_t each = sizeof(uint32_t) + sizeof(uint16_t);
  cluster_count *count = cp__calloc(self->alloc, sizeof *count + n * each);

  if (count == NULL)
    return NULL;
  count->token = token;
  count->n = n;
  count->counts = (uint32_t *)(count + 1);
  count->masters = (uint16_t *)(count->counts + n);
  return count;
}

/* Find the master of each channel. Returns 0, or CP_E_DOWN: one is away. */
static int choose_masters(const cp__transport_cluster *self,
                          const cp_bytes *channels, cluster_count *count) {
  size_t i;

  for (i = 0; i < count->n; i++) {
    uint16_t owner = self->slots[cp__slot_of(channels[i])].owner;
    if (owner == CP__NO_MASTER || !self->masters[owner]->linked)
      return CP_E_DOWN;
    count->masters[i] = owner;
  }
  return 0;
}

/* What a master is asked is to be answered. */
static int ask(cp__master *master, const cp_bytes *channels,
               cluster_count *count) {
  cp_bytes its[CP__NUMSUB_MAX];
  size_t n = 0;
  size_t i;
  int rc;

  for (i = 0; i < count->n; i++)
    if (count->masters[i] == master->index)
      its[n++] = channels[i];
  if (n == 0)
    return 0;
  rc = cp__redis_count(master->shard, its, n, count);
  if (rc == 0)
    count->n_asked++;
  return rc;
}

/* Those that were asked before one failed will still answer. */
static int ask_all(cp__transport_cluster *self, const cp_bytes *channels,
                   cluster_count *count) {
  size_t i;
  int rc = 0;

  for (i = 0; i < self->n_masters && rc == 0; i++)
    if (self->masters[i] != NULL && self->masters[i]->linked)
      rc = ask(self->masters[i], channels, count);
  count->status = rc;
  return rc;
}

int cp__cluster_count(cp_transport *transport, const cp_bytes *channels,
                      size_t n, void *token) {
  cp__transport_cluster *self =
      cp__container_of(transport, cp__transport_cluster, base);
  cluster_count *count;
  int rc;

  if (self->state != CP__CLUSTER_LINKED)
    return CP_E_DOWN;
  count = create(self, n, token);
  if (count == NULL)
    return CP_E_NOMEM;
  rc = choose_masters(self, channels, count);
  if (rc == 0)
    rc = ask_all(self, channels, count);
  if (count->n_asked > 0)
    return 0;
  cp__free(self->alloc, count);
  return rc;
}

/* A master that is left cancels what it was asked; to the host it is down. */
static int status_of(const cp__transport_cluster *self, int status) {
  bool closes = self->state == CP__CLUSTER_CLOSING;
  return status == CP_E_CANCELED && !closes ? CP_E_DOWN : status;
}

static void take(const cp__master *master, cluster_count *count,
                 const uint32_t *subscribers, size_t n) {
  size_t at = 0;
  size_t i;

  for (i = 0; i < count->n; i++) {
    if (count->masters[i] != master->index)
      continue;
    if (at == n)
      break;
    count->counts[i] = subscribers[at++];
  }
  if (i < count->n || at < n)
    count->status = CP_E_PROTOCOL;
}

void cp__cluster_on_counted(void *ctx, void *token, int status,
                            const uint32_t *subscribers, size_t n) {
  const cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;
  const cp_transport_host *host = self->host;
  cluster_count *count = token;

  if (status == 0)
    take(master, count, subscribers, n);
  else if (count->status == 0)
    count->status = status_of(self, status);
  if (--count->n_asked > 0)
    return;
  if (count->status == 0)
    host->on_counted(host->ctx, count->token, 0, count->counts, count->n);
  else
    host->on_counted(host->ctx, count->token, count->status, NULL, 0);
  cp__free(self->alloc, count);
}
