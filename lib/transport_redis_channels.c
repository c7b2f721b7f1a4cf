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

cp_transport *cp__redis_channel_link(const cp__transport_redis *model,
                                     unsigned *warned,
                                     void (*when_gone)(void *owner),
                                     void *owner) {
  const cp__channel_link_options options = {
      .alloc = model->alloc,
      .log = &model->log,
      .redis = &model->options,
      .identity = &model->identity,
      .tls = model->url.tls ? model->tls : NULL,
      .tls_host = model->tls_host,
      .warned = warned,
      .on_gone = when_gone,
      .owner = owner,
  };

  return cp__channel_link_create(&options);
}

cp_transport *cp__redis_channels(cp_transport *transport) {
  cp__transport_redis *self =
      cp__container_of(transport, cp__transport_redis, base);

  self->bus = cp__redis_channel_link(self, &self->warned, on_gone, self);
  if (self->bus != NULL && self->state == CP__REDIS_LINKED)
    cp__channel_link_follow(self->bus, &self->endpoint);
  return self->bus;
}

void cp__redis_channels_follow(cp__transport_redis *self,
                               const cp__endpoint *endpoint) {
  if (self->bus != NULL)
    cp__channel_link_follow(self->bus, endpoint);
}
