/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: the owner names a server, a link is opened, and the host is
 * told that it is linked. Each subscription is a command of its own: one
 * channel that is forbidden would fail the others in it. PING proves the link
 * every few seconds.
 *
 * The failure modes end in break_link: the link breaks, an answer that is none,
 * no PONG in time, an owner who names no server any more. All that waits is
 * answered, the link is closed, and when it is gone, and after a pause, another
 * one is opened, if there is a server to link to. `go_on` decides that, and the
 * end. */
#include "channel_link.h"

#include <stdio.h>
#include <string.h>

#include "backoff.h"
#include "list.h"
#include "redis_link.h"

enum { SUBSCRIBE, UNSUBSCRIBE, PING };

typedef struct channel_link {
  cp_transport base;
  cp__channel_link_options options;
  const cp_transport_host *host; /* NULL: not started */
  uv_timer_t timer;              /* the pause; or the next probe */
  bool timer_is_open;
  bool pausing;
  bool closing;

  cp__redis_link *link; /* NULL: none */
  bool linked;
  bool breaking; /* the link is being closed */
  bool awaits_pong;
  uint64_t pinged_ms;
  cp__backoff backoff;
  bool refusal_logged;

  bool has_endpoint;
  cp__endpoint next; /* with the strings below */
  char next_name[256];
  char name[256]; /* what the link uses */
} channel_link;

static channel_link *from_base(cp_transport *transport) {
  return cp__container_of(transport, channel_link, base);
}

static void go_on(channel_link *self);

/* Endings. ---------------------------------------------------------------- */

static void end_pending(channel_link *self, int status) {
  cp__redis_unanswered lost;

  while (self->link != NULL && cp__redis_link_take(self->link, &lost))
    if (lost.kind != PING)
      self->host->on_confirmed(self->host->ctx, lost.token, status);
}

static void close_link(channel_link *self, int status) {
  end_pending(self, status);
  self->linked = false;
  self->breaking = true;
  cp__redis_link_close(self->link);
}

static void on_timer(uv_timer_t *timer);

static void break_link(channel_link *self, int err, const char *reason) {
  bool was_linked = self->linked;

  if (self->breaking)
    return;
  cp__logf(self->options.log,
           was_linked || self->backoff.n_failures == 0 ? CP_LOG_WARN
                                                       : CP_LOG_DEBUG,
           "no link for the application's channels: %s", reason);
  if (err == CP_E_LAGGED && self->host->on_lagged != NULL)
    self->host->on_lagged(self->host->ctx);
  close_link(self, CP_E_DOWN);
  self->pausing = true;
  uv_timer_start(&self->timer, on_timer,
                 cp__backoff_next(&self->backoff, self->options.redis,
                                  uv_now(self->host->loop)),
                 0);
  self->host->on_unlinked(self->host->ctx, err, reason);
}

static void on_timer_closed(uv_handle_t *handle) {
  channel_link *self = handle->data;

  self->timer_is_open = false;
  go_on(self);
}

/* What the link tells. ---------------------------------------------------- */

static void send_ping(channel_link *self) {
  const cp_bytes word = cp_str("PING");
  void *const no_token[] = {NULL};
  int rc;

  cp__resp_command(cp__redis_link_begin(self->link), &word, 1);
  rc = cp__redis_link_end(self->link, PING, no_token, 1);
  if (rc != 0) {
    break_link(self, rc, cp_strerror(rc));
    return;
  }
  self->awaits_pong = true;
  self->pinged_ms = uv_now(self->host->loop);
  cp__redis_link_flush(self->link);
}

static void wait_for_probe(channel_link *self) {
  uv_timer_start(&self->timer, on_timer, self->options.redis->probe_interval_ms,
                 0);
}

static void probe(channel_link *self) {
  uint64_t waited = uv_now(self->host->loop) - self->pinged_ms;

  wait_for_probe(self);
  if (!self->awaits_pong)
    send_ping(self);
  else if (waited >= self->options.redis->probe_timeout_ms)
    break_link(self, CP_E_TIMEOUT, "no answer to PING");
}

static void on_timer(uv_timer_t *timer) {
  channel_link *self = timer->data;

  if (self->linked) {
    probe(self);
    return;
  }
  self->pausing = false;
  go_on(self);
}

static void on_ready(void *ctx) {
  channel_link *self = ctx;

  self->linked = true;
  self->awaits_pong = false;
  self->refusal_logged = false;
  self->base.incarnation++;
  wait_for_probe(self);
  self->host->on_linked(self->host->ctx, 0);
}

static void log_refusal(channel_link *self, cp_bytes text) {
  cp__logf(self->options.log, self->refusal_logged ? CP_LOG_DEBUG : CP_LOG_WARN,
           "Redis refused a channel of the application's: %.*s",
           text.len < 256 ? (int)text.len : 256, (const char *)text.data);
  self->refusal_logged = true;
}

static void on_reply(void *ctx, int kind, void *token,
                     const cp__resp_reply *reply) {
  channel_link *self = ctx;
  cp__resp_type type = reply->nodes[0].type;

  if (kind == PING) {
    self->awaits_pong = false;
    self->backoff = (cp__backoff){0};
    self->host->on_health(self->host->ctx, 0, "the probe was heard");
  } else if (type == CP__RESP_ERROR) {
    log_refusal(self, reply->nodes[0].text);
    self->host->on_confirmed(self->host->ctx, token, CP_E_REDIS);
  } else if (type == CP__RESP_ARRAY && reply->n_nodes == 4) {
    self->host->on_confirmed(self->host->ctx, token, 0);
  } else {
    self->host->on_confirmed(self->host->ctx, token, CP_E_DOWN);
    break_link(self, CP_E_PROTOCOL, "unexpected kind of answer to SUBSCRIBE");
  }
}

static void on_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                       cp_bytes payload) {
  channel_link *self = ctx;
  const cp_transport_host *host = self->host;

  if (pattern.len > 0)
    host->on_pattern_message(host->ctx, pattern, channel, payload);
  else
    host->on_message(host->ctx, channel, payload);
}

static void on_broken(void *ctx, int err, const char *reason) {
  break_link(ctx, err, reason);
}

static void on_link_closed(void *ctx) {
  channel_link *self = ctx;

  self->link = NULL;
  self->breaking = false;
  go_on(self);
}

/* Opening. ---------------------------------------------------------------- */

static int open_link(channel_link *self) {
  static const cp__redis_link_events events = {
      .on_ready = on_ready,
      .on_reply = on_reply,
      .on_broken = on_broken,
      .on_closed = on_link_closed,
  };
  const cp__channel_link_options *o = &self->options;
  cp__redis_link_options options = {
      .loop = self->host->loop,
      .alloc = o->alloc,
      .log = o->log,
      .endpoint = self->next,
      .identity = o->identity,
      .connect_timeout_ms = o->redis->connect_timeout_ms,
      .tls = o->tls,
      .max_reply = o->redis->max_reply,
      .messages = true,
      .on_any_message = on_message,
      .warned = o->warned,
      .events = &events,
      .ctx = self,
  };

  if (self->next.host != NULL) {
    memcpy(self->name, self->next_name, sizeof self->name);
    options.endpoint.host = self->name;
  }
  options.tls_host = o->tls_host != NULL ? o->tls_host : self->name;
  return cp__redis_link_open(&self->link, &options);
}

static void finish(channel_link *self) {
  const cp_transport_host *host = self->host;
  const cp__channel_link_options o = self->options;

  cp__free(o.alloc, self);
  o.on_gone(o.owner);
  host->on_closed(host->ctx);
}

static void go_on(channel_link *self) {
  if (self->closing) {
    if (self->link == NULL && !self->timer_is_open)
      finish(self);
    return;
  }
  if (self->link != NULL || self->pausing || !self->has_endpoint ||
      self->host == NULL || open_link(self) == 0)
    return;
  self->pausing = true;
  uv_timer_start(&self->timer, on_timer,
                 cp__backoff_next(&self->backoff, self->options.redis,
                                  uv_now(self->host->loop)),
                 0);
}

/* Interface. -------------------------------------------------------------- */

static int start(cp_transport *transport, const cp_transport_host *host) {
  channel_link *self = from_base(transport);

  self->host = host;
  uv_timer_init(host->loop, &self->timer);
  self->timer_is_open = true;
  go_on(self);
  return 0;
}

static int command(cp_transport *transport, int kind, cp_bytes name,
                   void *token) {
  static const char *const words[][2] = {{"SUBSCRIBE", "PSUBSCRIBE"},
                                         {"UNSUBSCRIBE", "PUNSUBSCRIBE"}};
  channel_link *self = from_base(transport);
  bool is_pattern = *(const char *)name.data == 'p';
  const cp_bytes line[] = {
      cp_str(words[kind][is_pattern]),
      cp_bytes_of((const char *)name.data + 1, name.len - 1)};

  if (!self->linked)
    return CP_E_DOWN;
  if (cp__redis_link_queued(self->link) > self->options.redis->max_queue)
    return CP_E_FULL;
  cp__resp_command(cp__redis_link_begin(self->link), line, 2);
  return cp__redis_link_end(self->link, kind, &token, 1);
}

static int subscribe(cp_transport *transport, cp_bytes name, void *token) {
  return command(transport, SUBSCRIBE, name, token);
}

static int unsubscribe(cp_transport *transport, cp_bytes name, void *token) {
  return command(transport, UNSUBSCRIBE, name, token);
}

static void flush(cp_transport *transport) {
  channel_link *self = from_base(transport);

  if (self->linked)
    cp__redis_link_flush(self->link);
}

static void link_close(cp_transport *transport, const cp_transport_host *host,
                       uint64_t grace_ms) {
  channel_link *self = from_base(transport);

  (void)grace_ms;
  self->host = host;
  self->closing = true;
  if (!self->timer_is_open)
    uv_timer_init(host->loop, &self->timer);
  self->timer_is_open = true;
  uv_close((uv_handle_t *)&self->timer, on_timer_closed);
  if (self->link != NULL && !self->breaking)
    close_link(self, CP_E_CANCELED);
}

void cp__channel_link_follow(cp_transport *transport,
                             const cp__endpoint *endpoint) {
  channel_link *self = from_base(transport);

  self->has_endpoint = endpoint != NULL;
  if (endpoint != NULL) {
    self->next = *endpoint;
    if (endpoint->host != NULL)
      snprintf(self->next_name, sizeof self->next_name, "%s", endpoint->host);
  }
  if (self->closing)
    return;
  if (endpoint == NULL && self->link != NULL)
    break_link(self, CP_E_DOWN, "Redis was lost");
  go_on(self);
}

cp_transport *cp__channel_link_create(const cp__channel_link_options *options) {
  static const cp_transport_ops ops = {
      .size = sizeof ops,
      .start = start,
      .subscribe = subscribe,
      .unsubscribe = unsubscribe,
      .flush = flush,
      .close = link_close,
  };
  channel_link *self = cp__calloc(options->alloc, sizeof *self);

  if (self == NULL)
    return NULL;
  self->base.ops = &ops;
  self->options = *options;
  self->timer.data = self;
  return &self->base;
}
