/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The application's channels have a link of their own, at the server that the
 * transport is linked to, and only while it is: so a master that was demoted,
 * or a server that went, is left by all links at once. */
#include "transport_redis.h"

#include "list.h"

static void on_gone(void *owner) {
  cp__transport_redis *self = owner;

  self->bus = NULL;
  cp__transport_redis_maybe_finish(self);
}

cp_transport *cp__redis_channels(cp_transport *transport) {
  cp__transport_redis *self =
      cp__container_of(transport, cp__transport_redis, base);
  const cp__channel_link_options options = {
      .alloc = self->alloc,
      .log = &self->log,
      .redis = &self->options,
      .identity = &self->identity,
      .tls = self->url.tls ? self->tls : NULL,
      .tls_host = self->tls_host,
      .warned = &self->warned,
      .on_gone = on_gone,
      .owner = self,
  };

  self->bus = cp__channel_link_create(&options);
  if (self->bus != NULL && self->state == CP__REDIS_LINKED)
    cp__channel_link_follow(self->bus, &self->endpoint);
  return self->bus;
}

void cp__redis_channels_follow(cp__transport_redis *self,
                               const cp__endpoint *endpoint) {
  if (self->bus != NULL)
    cp__channel_link_follow(self->bus, endpoint);
}
