/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Between the server and its transport: what the transport tells goes to the
 * parts that it concerns; the state of the cluster comes of it, and gaps. */
#include "server.h"

#include "transport.h"

#include <stdio.h>
#include <string.h>

/* Cluster state. ---------------------------------------------------------- */

static cp_cluster_state judge_cluster(const cp_server *server,
                                      const char **reason) {
  *reason = server->link_reason;
  if (!server->linked)
    return CP_DOWN;
  if (server->synced && server->late)
    return CP_DEGRADED;
  *reason = server->synced ? "all channels are confirmed"
                           : "not every channel is confirmed";
  return server->synced ? CP_UP : CP_DEGRADED;
}

static void note_cluster(cp_server *server) {
  const char *reason;
  cp_cluster_state state = judge_cluster(server, &reason);

  cp__sender_set_up(&server->sender, state == CP_UP);
  if (server->state != CP__SERVER_OPEN ||
      (state == server->cluster_state &&
       strcmp(reason, server->cluster_reason) == 0))
    return;
  server->cluster_state = state;
  snprintf(server->cluster_reason, sizeof server->cluster_reason, "%s", reason);
  server->cluster_changed = true;
}

void cp__server_tell_cluster(cp_server *server) {
  if (!server->cluster_changed)
    return;
  server->cluster_changed = false;
  if (server->options.on_transport != NULL)
    server->options.on_transport(server, server->cluster_state,
                                 server->cluster_reason);
}

void cp__server_on_synced(void *ctx, bool synced) {
  cp_server *server = ctx;

  server->synced = synced;
  note_cluster(server);
}

void cp__server_tell_gap(cp_server *server) {
  cp_gap gap;

  if (server->state != CP__SERVER_OPEN || !cp__gaps_is_due(&server->gaps))
    return;
  server->stats.gaps++;
  cp__gaps_take(&server->gaps, &gap);
  if (server->options.on_gap != NULL)
    server->options.on_gap(server, &gap);
  cp__gaps_give_back(&gap);
}

/* What the transport tells. None of this calls the transport or user code.  */

static void note_link_reason(cp_server *server, const char *reason) {
  snprintf(server->link_reason, sizeof server->link_reason, "%s", reason);
}

static void on_linked(void *ctx, int settle) {
  cp_server *server = ctx;

  server->linked = true;
  server->late = false;
  server->stats.links++;
  cp__gaps_on_linked(&server->gaps, uv_now(server->loop));
  cp__sender_on_linked(&server->sender, settle != 0);
  cp__sender_hold(&server->sender, cp__hello_on_linked(&server->hello));
  cp__registry_on_linked(&server->registry, server->transport->incarnation);
  cp__subs_on_linked(&server->registry.subs);
  note_cluster(server);
}

static void on_unlinked(void *ctx, int err, const char *reason) {
  cp_server *server = ctx;
  bool was_linked = server->linked;

  (void)err;
  server->linked = false;
  if (was_linked)
    cp__gaps_on_unlinked(&server->gaps, reason);
  note_link_reason(server, reason);
  cp__sender_on_unlinked(&server->sender);
  cp__registry_deliver_unheard(&server->registry);
  cp__subs_on_unlinked(&server->registry.subs);
  note_cluster(server);
  if (was_linked) /* nobody waits for what can't come */
    cp__peers_each(&server->peers, cp__conn_wake);
}

static void on_health(void *ctx, int degraded, const char *reason) {
  cp_server *server = ctx;

  server->late = degraded != 0;
  note_link_reason(server, reason);
  note_cluster(server);
}

static void on_confirmed(void *ctx, void *token, int status) {
  cp_server *server = ctx;
  cp__subs_on_confirmed(&server->registry.subs, token, status);
}

static void on_lost(void *ctx, void *token, uint64_t since_ms) {
  cp_server *server = ctx;

  cp__gaps_on_lost(&server->gaps, since_ms);
  cp__registry_deliver_unheard(&server->registry);
  cp__subs_on_lost(&server->registry.subs, token);
}

static void on_changed(void *ctx) {
  cp_server *server = ctx;

  cp__sender_on_changed(&server->sender);
  cp__subs_on_changed(&server->registry.subs);
}

static void on_published(void *ctx, void *token, int status,
                         uint32_t subscribers) {
  cp_server *server = ctx;
  cp__sender_on_published(&server->sender, token, status, subscribers);
}

static void on_counted(void *ctx, void *token, int status,
                       const uint32_t *subscribers, size_t n) {
  cp_server *server = ctx;
  cp__counts_on_counted(&server->counts, token, status, subscribers, n);
}

static void on_unanswered(void *ctx, void *token, int written, cp_bytes channel,
                          cp_bytes payload) {
  cp_server *server = ctx;
  cp__sender_on_unanswered(&server->sender, token, written != 0, channel,
                           payload);
}

static void on_proven(void *ctx, uint64_t since_ms) {
  cp_server *server = ctx;

  cp__registry_on_proven(&server->registry, since_ms);
  cp__gaps_on_proven(&server->gaps, since_ms);
}

static void on_lagged(void *ctx) {
  cp_server *server = ctx;
  server->stats.lags++;
}

static void on_doubt(void *ctx, uint64_t since_ms) {
  cp_server *server = ctx;
  cp__gaps_on_doubt(&server->gaps, since_ms);
}

static uint32_t on_cluster_message(void *ctx, cp_bytes channel,
                                   cp_bytes payload) {
  cp_server *server = ctx;
  return cp__registry_on_message(&server->registry, channel, payload);
}

static void on_transport_log(void *ctx, cp_log_level level, const char *text) {
  cp_server *server = ctx;
  cp__logf(&server->log, level, "%s", text);
}

static void on_transport_closed(void *ctx) {
  cp_server *server = ctx;

  server->transport = NULL;
  cp__receipts_end(&server->receipts);
  cp__server_maybe_end(server);
}

void cp__server_init_transport_host(cp_server *server) {
  cp_transport_host *host = &server->transport_host;

  host->size = sizeof *host;
  host->ctx = server;
  host->loop = server->loop;
  host->allocator = server->alloc;
  host->on_linked = on_linked;
  host->on_unlinked = on_unlinked;
  host->on_health = on_health;
  host->on_confirmed = on_confirmed;
  host->on_published = on_published;
  host->on_message = on_cluster_message;
  host->log = on_transport_log;
  host->on_closed = on_transport_closed;
  host->unhurried = &server->sender.unheeded;
  host->on_counted = on_counted;
  host->on_unanswered = on_unanswered;
  host->on_proven = on_proven;
  host->on_lost = on_lost;
  host->on_changed = on_changed;
  host->on_doubt = on_doubt;
  host->on_lagged = on_lagged;
  host->wait_ms = server->options.outbox_age_ms;
  host->wait_bytes = server->options.outbox_bytes;
  host->settle_ms = server->options.settle_ms;
}

int cp__server_create_transport(cp_server *server) {
  const cp_server_options *o = &server->options;
  char channel[CP__CHANNEL_MAX];
  size_t len;

  if (o->transport != NULL) {
    server->transport = o->transport;
    return 0;
  }
  if (o->redis == NULL) {
    server->transport = cp__transport_local_create(server->alloc);
    return server->transport != NULL ? 0 : CP_E_NOMEM;
  }
  len = cp__channel_of_node(o->prefix, server->instance, channel);
  return cp__transport_redis_create(
      &server->transport, o->redis, o->redis_options, cp_bytes_of(channel, len),
      server->instance, &server->log, server->alloc);
}
