/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Where the master is, a sentinel knows: asked at the beginning of LINKING, and
 * watched for as long as the transport lives. */
#include "transport_redis.h"

#include <stdio.h>

/* Nothing of an earlier link is left to look at `master`: LINKING begins when
 * the links are gone. */
static void on_master(void *ctx, const cp__endpoint *master) {
  cp__transport_redis *self = ctx;

  snprintf(self->master, sizeof self->master, "%s", master->host);
  self->endpoint.host = self->master;
  self->endpoint.port = master->port;
  cp__transport_redis_open(self);
}

static void on_failed(void *ctx, int err, const char *reason) {
  cp__transport_redis_break(ctx, err, reason);
}

/* Whoever is on the way to the old one need not arrive. */
static void on_moved(void *ctx, const char *reason) {
  cp__transport_redis *self = ctx;

  if (self->state == CP__REDIS_LINKED || self->state == CP__REDIS_LINKING)
    cp__transport_redis_break(self, CP_E_REDIS, reason);
}

static void on_closed(void *ctx) {
  cp__transport_redis *self = ctx;

  self->sentinel = NULL;
  cp__transport_redis_maybe_finish(self);
}

static bool has_tls(const cp__transport_redis *self) {
  int wish = self->options.sentinel_tls;
  return wish != 0 ? wish > 0 : self->url.tls;
}

int cp__redis_sentinel_start(cp__transport_redis *self) {
  static const cp__sentinel_events events = {
      on_master,
      on_failed,
      on_moved,
      on_closed,
  };
  const cp__sentinel_options options = {
      .loop = self->host->loop,
      .alloc = self->alloc,
      .log = &self->log,
      .hosts = self->url.hosts,
      .n_hosts = self->url.n_hosts,
      .master = self->url.master,
      .identity = &self->sentinel_identity,
      .tls = has_tls(self) ? self->tls : NULL,
      .tls_host = self->tls_host,
      .timeout_ms = self->options.sentinel_timeout_ms,
      .interval_ms = self->options.probe_interval_ms,
      .events = &events,
      .ctx = self,
  };

  if (self->url.kind != CP__REDIS_BY_SENTINEL)
    return 0;
  self->sentinel = cp__sentinel_create(&options);
  return self->sentinel != NULL ? 0 : CP_E_NOMEM;
}
