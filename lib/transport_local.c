/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "transport.h"

#include <uv.h>

#include "buf.h"
#include "list.h"

#define KEEP 65536 /* what the buffer holds on to between messages */

typedef struct local {
  cp_transport base;
  const cp_allocator *alloc;
  const cp_transport_host *host;
  bool linked;
  cp__buf payload; /* of the message that is being handed over */
  uv_idle_t closing;
} local;

static local *from_base(cp_transport *transport) {
  return cp__container_of(transport, local, base);
}

static int start(cp_transport *transport, const cp_transport_host *host) {
  local *self = from_base(transport);

  self->host = host;
  self->linked = true;
  transport->incarnation = 1;
  host->on_linked(host->ctx, 0);
  return 0;
}

static int confirm(cp_transport *transport, cp_bytes channel, void *token) {
  local *self = from_base(transport);

  (void)channel;
  if (!self->linked)
    return CP_E_DOWN;
  self->host->on_confirmed(self->host->ctx, token, 0);
  return 0;
}

/* The parts, joined. False: no memory. */
static bool join(cp__buf *buf, const cp_bytes *parts, size_t n) {
  size_t i;

  cp__buf_reset(buf, KEEP);
  for (i = 0; i < n; i++)
    cp__buf_append_bytes(buf, parts[i]);
  return !buf->failed;
}

static int publish(cp_transport *transport, cp_bytes channel,
                   const cp_bytes *parts, size_t n, void *token) {
  local *self = from_base(transport);
  const cp_transport_host *host = self->host;
  uint32_t n_queued;

  if (!self->linked)
    return CP_E_DOWN;
  if (!join(&self->payload, parts, n))
    return CP_E_NOMEM;
  n_queued =
      host->on_message(host->ctx, channel, cp__buf_bytes(&self->payload));
  if (token != NULL)
    host->on_published(host->ctx, token, 0, n_queued > 0);
  return 0;
}

static void flush(cp_transport *transport) {
  (void)transport;
}

static void on_closed(uv_handle_t *handle) {
  local *self = handle->data;
  const cp_transport_host *host = self->host;

  cp__buf_finish(&self->payload);
  cp__free(self->alloc, self);
  host->on_closed(host->ctx);
}

/* Nothing is ever pending here. The handle only makes on_closed come later. */
static void local_close(cp_transport *transport, const cp_transport_host *host,
                        uint64_t grace_ms) {
  local *self = from_base(transport);

  (void)grace_ms;
  self->host = host;
  self->linked = false;
  self->closing.data = self;
  uv_idle_init(host->loop, &self->closing);
  uv_close((uv_handle_t *)&self->closing, on_closed);
}

cp_transport *cp__transport_local_create(const cp_allocator *alloc) {
  static const cp_transport_ops ops = {
      .size = sizeof ops,
      .start = start,
      .subscribe = confirm,
      .unsubscribe = confirm,
      .publish = publish,
      .flush = flush,
      .close = local_close,
  };
  local *self = cp__calloc(alloc, sizeof *self);

  if (self == NULL)
    return NULL;
  self->base.ops = &ops;
  self->base.local = 1;
  self->alloc = alloc;
  cp__buf_init(&self->payload, alloc);
  return &self->base;
}
