/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The application's channels go by the plain pub/sub, which a Redis Cluster
 * carries to all of its nodes, whatever a channel's slot. One master would do
 * as well as another; but each counts its own listeners alone, and order holds
 * on one link only. So all nodes go to the same one, the owner of slot 0, with
 * the link that subscribes and with what they publish; and go with the slot
 * when it moves, or a replica is promoted. */
#include "transport_cluster.h"

static void on_gone(void *owner) {
  cp__transport_cluster *self = owner;

  self->bus = NULL;
  cp__cluster_maybe_finish(self);
}

static uint16_t bus_master(const cp__transport_cluster *self) {
  uint16_t owner = self->slots[CP__PLAIN_SLOT].owner;
  bool linked = owner != CP__NO_MASTER && self->masters[owner]->linked;
  return linked ? owner : CP__NO_MASTER;
}

/* A link that goes elsewhere is broken first. */
void cp__cluster_channels_follow(cp__transport_cluster *self) {
  uint16_t at = bus_master(self);
  const cp__master *master;
  cp__endpoint endpoint = {NULL, 0, NULL};

  if (self->bus == NULL || self->bus_at == at)
    return;
  if (self->bus_at != CP__NO_MASTER)
    cp__channel_link_follow(self->bus, NULL);
  self->bus_at = at;
  if (at == CP__NO_MASTER)
    return;
  master = self->masters[at];
  endpoint.host = master->name;
  endpoint.port = master->port;
  cp__channel_link_follow(self->bus, &endpoint);
}

cp_transport *cp__cluster_channels(cp_transport *transport) {
  cp__transport_cluster *self =
      cp__container_of(transport, cp__transport_cluster, base);

  self->bus_at = CP__NO_MASTER;
  self->bus = cp__redis_channel_link(self->model, &self->warned, on_gone, self);
  cp__cluster_channels_follow(self);
  return self->bus;
}
