/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A server is its parts: peers (the connections), registry (whose they are),
 * transport (the cluster), sender (what goes out), and the turn that runs them.
 * Every call out of the transport only notes what it has to say; hooks run from
 * the turn, so they may call anything.
 *
 * Close: no more accepting and no more sends; what other threads posted is
 * published; every connection gets its close frame; all of it at once, within
 * the grace. The transport is closed when nothing waits for its link any more,
 * at the end of the grace at the latest. When connections, listeners, transport
 * and the threads' queue are gone, the last handles (turn, sweep, timer) close,
 * the remaining callbacks run, then the close callback; the memory goes with
 * the last reference. */

#include "server.h"

#include "process.h"
#include "transport.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What the connections tell. ---------------------------------------------- */

static void on_message(void *ctx, cp_conn *conn, cp_type type, cp_bytes body) {
  cp_server *server = ctx;

  if (server->options.on_message != NULL)
    server->options.on_message(server, conn, type, body);
}

static void on_writable(void *ctx, cp_conn *conn) {
  cp_server *server = ctx;

  if (server->options.on_writable != NULL)
    server->options.on_writable(server, conn);
}

static void on_leave(void *ctx, cp_conn *conn, bool opened, uint16_t code,
                     cp_bytes reason) {
  cp_server *server = ctx;

  server->n_joined--;
  if (opened) {
    server->stats.conns--;
    if (server->options.on_close != NULL)
      server->options.on_close(server, conn, code, reason);
  }
  cp__registry_remove(&server->registry, conn);
}

static void on_log(void *ctx, cp_log_level level, const char *text) {
  cp_server *server = ctx;
  cp__logf(&server->log, level, "%s", text);
}

static void on_empty(void *ctx) {
  cp__server_maybe_end(ctx);
}

static const cp__peers_host peers_host = {cp__server_on_request,
                                          cp__server_on_ready,
                                          on_message,
                                          on_writable,
                                          on_leave,
                                          on_log,
                                          on_empty};

/* Turn. ------------------------------------------------------------------- */

/* NULL if nothing can be published now. */
static cp_transport *can_publish(const cp_server *server) {
  bool can = server->linked && server->state == CP__SERVER_OPEN;
  return can ? server->transport : NULL;
}

/* What waits for others goes out as soon as all are back. */
static void settle(cp_server *server) {
  cp__hello_turn(&server->hello, can_publish(server), server->synced);
  if (server->sender.outbox.held_until != 0 &&
      cp__hello_is_settled(&server->hello))
    cp__sender_hold(&server->sender, false);
}

static void end_draining(cp_server *server);

static bool run_turn(void *ctx) {
  cp_server *server = ctx;
  bool more;

  cp__peers_begin_turn(&server->peers);
  cp__registry_turn(&server->registry);
  cp__server_tell_cluster(server);
  cp__server_tell_gap(server);
  cp__channels_turn(&server->channels);
  settle(server);
  cp__sender_turn(&server->sender);
  if (server->draining && cp__sender_is_drained(&server->sender))
    end_draining(server);
  cp__counts_turn(&server->counts);
  cp__receipts_turn(&server->receipts, can_publish(server),
                    &server->sender.sequence);
  more = cp__peers_flush(&server->peers);
  if (server->transport != NULL)
    server->transport->ops->flush(server->transport);
  if (!server->options.no_yield)
    cp__turn_note_work(&server->turn,
                       server->stats.cluster_in + server->stats.messages_in);
  return more || server->cluster_changed ||
         cp__registry_has_work(&server->registry) ||
         cp__counts_has_work(&server->counts) ||
         cp__sender_has_work(&server->sender) ||
         cp__channels_has_work(&server->channels);
}

/* Close. ------------------------------------------------------------------ */

static void server_free(cp_server *server) {
  cp_allocator allocator = *server->alloc;

  if (server->has_sender)
    cp__sender_finish(&server->sender);
  if (server->has_adopter)
    cp__server_finish_adopter(server);
  cp__hash_destroy(server->hash);
  cp__buf_finish(&server->strings);
  cp__free(&allocator, server);
}

cp_server *cp_server_ref(cp_server *server) {
  atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
  return server;
}

void cp_server_unref(cp_server *server) {
  if (server != NULL &&
      atomic_fetch_sub_explicit(&server->refs, 1, memory_order_acq_rel) == 1)
    server_free(server);
}

static void end(cp_server *server) {
  server->state = CP__SERVER_CLOSED;
  cp__sender_finish_callbacks(&server->sender);
  cp__counts_turn(&server->counts);
  cp__receipts_finish(&server->receipts);
  cp__channels_finish(&server->channels);
  cp__registry_finish(&server->registry);
  cp__hello_finish(&server->hello);
  cp__peers_finish(&server->peers);
  if (server->close_cb != NULL)
    server->close_cb(server->options.data);
  cp_server_unref(server);
}

static void on_last_handle(void *ctx) {
  cp_server *server = ctx;

  if (--server->n_handles == 0)
    end(server);
}

static void on_grace_closed(uv_handle_t *handle) {
  on_last_handle(handle->data);
}

void cp__server_maybe_end(cp_server *server) {
  if (server->state != CP__SERVER_CLOSING || server->transport != NULL ||
      server->channels.bus != NULL || server->peers.n_conns > 0 ||
      !server->sender_closed || !server->adopter_closed ||
      !cp__list_empty(&server->listeners))
    return;
  server->state = CP__SERVER_ENDING;
  server->n_handles = 3;
  cp__turn_close(&server->turn, on_last_handle);
  cp__sweep_close(&server->sweep, on_last_handle, server);
  uv_close((uv_handle_t *)&server->grace, on_grace_closed);
}

static void on_sender_closed(void *ctx) {
  cp_server *server = ctx;

  server->sender_closed = true;
  cp__server_maybe_end(server);
}

/* Call `fn` on every connection in a time-out list; it takes each out of it. */
static void for_each_timed(cp__sweep_list *list, void (*fn)(cp_conn *)) {
  cp__list *first;

  while ((first = cp__list_first(&list->items)) != NULL) {
    cp__timed *item = cp__container_of(first, cp__timed, link);
    fn(cp__container_of(item, cp_conn, timed));
  }
}

static void kill_conn(cp_conn *conn) {
  cp__conn_kill(conn);
}

/* Nothing waits for the link any more, or may. */
static void end_draining(cp_server *server) {
  server->draining = false;
  cp__sender_close(&server->sender, on_sender_closed, server);
  if (server->transport != NULL)
    server->transport->ops->close(server->transport, &server->transport_host,
                                  uv_timer_get_due_in(&server->grace));
}

static void on_grace_over(uv_timer_t *timer) {
  cp_server *server = timer->data;

  if (server->draining)
    end_draining(server);
  for_each_timed(&server->peers.asking, kill_conn);
  cp__peers_each(&server->peers, kill_conn);
  for_each_timed(&server->peers.ending, kill_conn);
}

void cp_server_close(cp_server *server, uint64_t grace_ms,
                     cp_server_close_cb cb) {
  if (server == NULL || server->state >= CP__SERVER_ENDING)
    return;
  if (server->state == CP__SERVER_CLOSING) {
    if (grace_ms < uv_timer_get_due_in(&server->grace))
      uv_timer_start(&server->grace, on_grace_over, grace_ms, 0);
    return;
  }
  server->state = CP__SERVER_CLOSING;
  server->close_cb = cb;
  cp__server_close_listeners(server);
  cp__server_close_adopter(server);
  cp__sender_stop(&server->sender);
  /* What was sent until now goes before the close frames. */
  cp__registry_deliver_unheard(&server->registry);
  for_each_timed(&server->peers.asking, cp__conn_shut);
  cp__peers_each(&server->peers, cp__conn_shut);
  uv_timer_start(&server->grace, on_grace_over, grace_ms, 0);
  cp__subs_close(&server->registry.subs);
  cp__channels_close(&server->channels);
  server->draining = true;
  if (grace_ms == 0 || cp__sender_is_drained(&server->sender))
    end_draining(server);
}

/* Create. ----------------------------------------------------------------- */

static int init_identity(cp_server *server, uint64_t seed[2]) {
  uint64_t random[3];
  int rc = uv_random(NULL, NULL, random, sizeof random, 0, NULL);

  if (rc != 0)
    return rc;
  server->instance = random[0] != 0 ? random[0] : 1;
  seed[0] = random[1];
  seed[1] = random[2];
  return 0;
}

static int init_sender(cp_server *server) {
  const cp_server_options *o = &server->options;
  cp__sender_options options;
  int rc;

  memset(&options, 0, sizeof options);
  options.transport = server->transport;
  options.registry = &server->registry;
  options.receipts = &server->receipts;
  options.channels = &server->channels;
  options.stats = &server->stats;
  options.prefix = o->prefix;
  options.instance = server->instance;
  options.max_message = o->max_message;
  options.max_posted = o->max_thread_queue;
  options.settle_ms = o->settle_ms;
  options.outbox_bytes = o->outbox_bytes;
  options.outbox_age_ms = o->outbox_age_ms;
  rc = cp__sender_init(&server->sender, server->loop, server->alloc, &options);
  server->has_sender = rc == 0;
  return rc;
}

static void on_unused_transport_closed(void *ctx) {
  cp_server_unref(ctx);
}

/* Create failed before anything was started: a transport that we created still
 * has to close, which takes a turn of the loop, and then the server goes with
 * it. The application's stays the application's.
 */
static void abandon(cp_server *server) {
  cp__peers_finish(&server->peers);
  if (server->transport == NULL || server->options.transport != NULL) {
    cp_server_unref(server);
    return;
  }
  server->transport_host.on_closed = on_unused_transport_closed;
  server->transport->ops->close(server->transport, &server->transport_host, 0);
}

/* OpenSSL loads what it needs at its first use, which takes memory and
 * milliseconds: not in the first connection's time. */
static int init_hash(cp_server *server) {
  char accept[CP__ACCEPT_LEN + 1];

  server->hash = cp__hash_create();
  if (server->hash == NULL)
    return CP_E_NOMEM;
  return cp__handshake_accept(server->hash, cp_str("dGhlIHNhbXBsZSBub25jZQ=="),
                              accept);
}

static void on_channels_closed(void *ctx) {
  cp__server_maybe_end(ctx);
}

static void init_channels(cp_server *server, const uint64_t seed[2]) {
  const cp_server_options *o = &server->options;
  const cp__channels_options options = {
      .transport = server->transport,
      .loop = server->loop,
      .prefix = o->prefix,
      .max_subscriptions = o->max_subscriptions,
      .max_messages = o->max_thread_queue,
      .n_lags = &server->stats.lags,
      .seed = seed,
      .on_closed = on_channels_closed,
      .ctx = server,
  };

  cp__channels_init(&server->channels, server->alloc, &options);
}

static int init_parts(cp_server *server) {
  uint64_t seed[2];
  int rc = init_identity(server, seed);

  if (rc == 0)
    rc = init_hash(server);
  if (rc != 0)
    return rc;
  cp__sweep_init(&server->sweep);
  cp__server_init_listeners(server);
  cp__server_init_transport_host(server);
  rc = cp__peers_init(&server->peers, server->loop, &server->sweep,
                      &server->options, server->alloc, &server->stats,
                      &peers_host, server);
  server->has_tls = server->options.tls_cert != NULL;
  if (rc == 0 && server->has_tls)
    rc = cp__server_load_tls(server, server->options.tls_cert,
                             server->options.tls_key);
  server->options.tls_cert = server->options.tls_key = NULL; /* the caller's */
  if (rc != 0)
    return rc;
  rc = cp__server_create_transport(server);
  if (rc != 0)
    return rc;
  cp__registry_init(&server->registry, &server->peers, &server->sweep,
                    server->transport, &server->options, server->instance, seed,
                    cp__server_on_synced, server);
  cp__gaps_init(&server->gaps, &server->registry);
  cp__receipts_init(&server->receipts, server->alloc, &server->sweep,
                    server->options.prefix, server->instance,
                    server->options.max_receipts);
  server->registry.receipts = &server->receipts;
  server->registry.groups.receipts = &server->receipts;
  server->registry.groups.gaps = &server->gaps;
  cp__counts_init(&server->counts, server->alloc);
  init_channels(server, seed);
  cp__hello_init(&server->hello, server->loop, server->alloc,
                 server->options.prefix, server->instance,
                 server->options.settle_ms);
  server->registry.hello = &server->hello;
  return init_sender(server);
}

/* As abandon(), but with handles in the loop. Nobody knows this server, so no
 * hook is called any more. */
static void abandon_started(cp_server *server) {
  if (server->options.transport != NULL)
    server->transport = NULL;
  cp_server_close(server, 0, NULL);
  server->cluster_changed = false;
  server->log.cb = NULL;
}

static int start_parts(cp_server *server) {
  int rc;

  uv_timer_init(server->loop, &server->grace);
  server->grace.data = server;
  cp__sweep_start(&server->sweep, server->loop);
  cp__turn_start(&server->turn, server->loop, run_turn, server);
  rc = cp__server_start_adopter(server);
  if (rc == 0)
    rc = server->transport->ops->start(server->transport,
                                       &server->transport_host);
  if (rc != 0) {
    cp__logf(&server->log, CP_LOG_ERROR, "server: %s", cp_strerror(rc));
    abandon_started(server);
  }
  return rc;
}

static int create_parts(cp_server *server) {
  int rc = init_parts(server);

  if (rc != 0) {
    cp__logf(&server->log, CP_LOG_ERROR, "server: %s", cp_strerror(rc));
    abandon(server);
    return rc;
  }
  return start_parts(server);
}

static cp_server *server_alloc(uv_loop_t *loop,
                               const cp_server_options *options) {
  const cp_allocator *alloc =
      options->allocator != NULL ? options->allocator : &cp__default_allocator;
  cp_server *server = cp__calloc(alloc, sizeof *server);

  if (server == NULL)
    return NULL;
  server->allocator = *alloc;
  server->alloc = &server->allocator;
  server->loop = loop;
  server->cluster_state = CP_DOWN;
  server->log.cb = options->on_log;
  server->log.data = options->data;
  server->log.level = options->log_level;
  if (server->log.level < CP_LOG_ERROR)
    server->log.level = CP_LOG_ERROR;
  atomic_init(&server->refs, 1);
  cp__buf_init(&server->strings, server->alloc);
  return server;
}

int cp_server_create(cp_server **out, uv_loop_t *loop,
                     const cp_server_options *options) {
  const char *why = "out of memory";
  cp_server *server;
  int rc;

  *out = NULL;
  if (loop == NULL || options == NULL || !cp__server_options_have_size(options))
    return CP_E_INVALID;
  server = server_alloc(loop, options);
  if (server == NULL)
    return CP_E_NOMEM;
  rc = cp__server_take_options(server, options, &why);
  if (rc != 0) {
    cp__logf(&server->log, CP_LOG_ERROR, "server options: %s", why);
    cp_server_unref(server);
    return rc;
  }
  rc = create_parts(server);
  if (rc != 0)
    return rc;
  if (!server->options.keep_sigpipe)
    cp__process_ignore_sigpipe();
  *out = server;
  return 0;
}

/* Getters. ---------------------------------------------------------------- */

void *cp_server_data(const cp_server *server) {
  return server->options.data;
}

const char *cp_server_name(const cp_server *server) {
  return server->options.name;
}

uint64_t cp_server_instance(const cp_server *server) {
  return server->instance;
}

cp_cluster_state cp_server_cluster_state(const cp_server *server) {
  return server->cluster_state;
}

const char *cp_server_cluster_reason(const cp_server *server) {
  return server->cluster_reason;
}

void cp_server_stats(const cp_server *server, cp_stats *stats) {
  size_t size = stats->size < sizeof *stats ? stats->size : sizeof *stats;
  cp_stats now = server->stats;

  now.size = stats->size;
  now.handshakes = server->peers.n_conns - now.conns;
  now.outbox_messages = server->sender.outbox.n_items;
  now.outbox_bytes = server->sender.outbox.n_bytes;
  memcpy(stats, &now, size);
}
