/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: (a sentinel is asked where the master is, if the URL says
 * so;) two links are opened to one server, one to subscribe, one for all other
 * commands. When both are ready, and at the same run of the same
 * server, the transport subscribes the node's own channel; when that is
 * confirmed the host is told that it is linked, and the first probe goes out.
 * From then on the host publishes straight into the write buffer of the
 * commands link, and collects the SUBSCRIBEs of a turn in a batch that becomes
 * one command. Flush, at the end of the turn, writes both.
 *
 * (A publish_only host has no use for a subscriber: it is linked when its only
 * link is ready.)
 *
 * The failure modes all end in cp__transport_redis_break, once a link: a link
 * breaks, the two don't reach the same server, the node channel is refused, a
 * probe is not heard, an answer is not what its command is answered with, no
 * memory for a batch. Then all that waits is answered, both links are closed,
 * the host is told, and after a pause both are opened again. The pause is
 * random, up to a bound that doubles with every failure, so that the nodes of a
 * cluster don't return as one.
 *
 * Closing drains first: what was published is awaited, for the grace. Whatever
 * the state, the end is the same: answer all that waits, close the links and
 * the timer, and when the last of them is gone, free, and tell the host. */
#include "transport_redis.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "list.h"
#include "transport_cluster.h"

/* A server that started this recently may still be missing its other nodes. */
#define YOUNG_S 10

#define BIT(state) (1u << (state))

static void move(cp__transport_redis *self, cp__redis_state next) {
  static const unsigned allowed[CP__N_REDIS_STATES] = {
      [CP__REDIS_IDLE] = BIT(CP__REDIS_LINKING) | BIT(CP__REDIS_CLOSING),
      [CP__REDIS_LINKING] = BIT(CP__REDIS_LINKED) | BIT(CP__REDIS_BREAKING) |
                            BIT(CP__REDIS_CLOSING),
      [CP__REDIS_LINKED] = BIT(CP__REDIS_BREAKING) | BIT(CP__REDIS_DRAINING) |
                           BIT(CP__REDIS_CLOSING),
      [CP__REDIS_BREAKING] = BIT(CP__REDIS_WAITING) | BIT(CP__REDIS_CLOSING),
      [CP__REDIS_WAITING] = BIT(CP__REDIS_LINKING) | BIT(CP__REDIS_CLOSING),
      [CP__REDIS_DRAINING] = BIT(CP__REDIS_CLOSING),
      [CP__REDIS_CLOSING] = BIT(CP__REDIS_CLOSED),
  };

  assert(allowed[self->state] & BIT(next));
  (void)allowed; /* without asserts */
  self->state = next;
}

static cp__transport_redis *from_base(cp_transport *transport) {
  return cp__container_of(transport, cp__transport_redis, base);
}

/* Replies arrive and matter. */
static bool is_up(const cp__transport_redis *self) {
  return self->state == CP__REDIS_LINKED || self->state == CP__REDIS_DRAINING;
}

static bool has_links(const cp__transport_redis *self) {
  return self->subscriber.link != NULL || self->commands.link != NULL;
}

/* Endings. ---------------------------------------------------------------- */

static void begin_linking(cp__transport_redis *self);

static void close_link(cp__redis_side *side) {
  side->ready = false;
  if (side->link != NULL)
    cp__redis_link_close(side->link);
}

void cp__transport_redis_maybe_finish(cp__transport_redis *self) {
  const cp_transport_host *host = self->host;

  if (self->state != CP__REDIS_CLOSING || has_links(self) ||
      self->sentinel != NULL || self->bus != NULL || self->timer_is_open)
    return;
  move(self, CP__REDIS_CLOSED);
  cp__transport_redis_unconfigure(self);
  cp__buf_finish(&self->batch.words);
  cp__free(self->alloc, self);
  host->on_closed(host->ctx);
}

static void on_timer_closed(uv_handle_t *handle) {
  cp__transport_redis *self = handle->data;

  self->timer_is_open = false;
  cp__transport_redis_maybe_finish(self);
}

static void end(cp__transport_redis *self) {
  const cp__redis_ending canceled = {CP_E_CANCELED, CP_E_CANCELED, CP_E_CLOSED,
                                     false};
  bool links_are_closing = self->state == CP__REDIS_BREAKING;

  move(self, CP__REDIS_CLOSING);
  uv_close((uv_handle_t *)&self->timer, on_timer_closed);
  if (self->sentinel != NULL)
    cp__sentinel_close(self->sentinel);
  cp__redis_channels_follow(self, NULL);
  if (links_are_closing)
    return;
  cp__redis_end_pending(self, &canceled);
  close_link(&self->subscriber);
  close_link(&self->commands);
}

static uint64_t random_below(uint64_t bound, uint64_t salt) {
  uint64_t number;

  if (uv_random(NULL, NULL, &number, sizeof number, 0, NULL) != 0)
    number = uv_hrtime() ^ salt;
  return number % bound;
}

static uint64_t next_pause(cp__transport_redis *self) {
  uint64_t bound = cp__backoff_next(&self->backoff, &self->options,
                                    uv_now(self->host->loop));
  return random_below(bound + 1, self->instance);
}

static void on_timer(uv_timer_t *timer);

static void maybe_wait(cp__transport_redis *self) {
  if (self->state != CP__REDIS_BREAKING || has_links(self))
    return;
  move(self, CP__REDIS_WAITING);
  uv_timer_start(&self->timer, on_timer, next_pause(self), 0);
}

/* Of many masters one wants to know which. */
static const char *shard_name(const cp__transport_redis *self,
                              char name[CP__ENDPOINT_SIZE + 4]) {
  memcpy(name, " at ", 5);
  cp__endpoint_name(&self->endpoint, name + 4);
  return name;
}

/* A Redis that stays away is told about once. */
static void log_break(cp__transport_redis *self, int err, const char *reason) {
  bool was_linked = self->state == CP__REDIS_LINKED;
  cp_log_level level = err == CP_E_AUTH ? CP_LOG_ERROR : CP_LOG_WARN;
  char name[CP__ENDPOINT_SIZE + 4];

  if (!was_linked && err == self->logged_err)
    level = CP_LOG_DEBUG;
  self->logged_err = err;
  cp__logf(&self->log, level, "%s%s: %s; trying again",
           was_linked ? "lost Redis" : "no link to Redis",
           self->shard != NULL ? shard_name(self, name) : "", reason);
}

/* Others may have gone by another master already, though this one still lives
 * and proves it. */
static void tell_doubt(const cp__transport_redis *self) {
  const cp_transport_host *host = self->host;

  if (self->sentinel != NULL && host->on_doubt != NULL)
    host->on_doubt(host->ctx, cp__sentinel_agreed_ms(self->sentinel));
}

/* A link that held for a while starts the pauses anew. */
static void leave_link(cp__transport_redis *self) {
  uint64_t now = uv_now(self->host->loop);

  tell_doubt(self);
  cp__backoff_lost(&self->backoff, now);
  if (now - self->linked_ms >= self->options.backoff_max_ms)
    self->backoff.n_failures = 0;
}

void cp__transport_redis_break(cp__transport_redis *self, int err,
                               const char *reason) {
  const cp__redis_ending down = {CP_E_DOWN, CP_E_DOWN, CP_E_CLOSED, true};

  if (self->state == CP__REDIS_DRAINING) {
    end(self);
    return;
  }
  log_break(self, err, reason);
  if (self->state == CP__REDIS_LINKED)
    leave_link(self);
  if (err == CP_E_LAGGED && self->host->on_lagged != NULL)
    self->host->on_lagged(self->host->ctx);
  move(self, CP__REDIS_BREAKING);
  uv_timer_stop(&self->timer);
  cp__redis_channels_follow(self, NULL);
  cp__redis_end_pending(self, &down);
  close_link(&self->subscriber);
  close_link(&self->commands);
  self->host->on_unlinked(self->host->ctx, err, reason);
  maybe_wait(self);
}

/* Linking. ---------------------------------------------------------------- */

static void log_linked(cp__transport_redis *self, const cp__redis_info *info) {
  char name[CP__ENDPOINT_SIZE];

  cp__endpoint_name(&self->endpoint, name);
  cp__logf(&self->log, CP_LOG_INFO, "linked to Redis %s at %s", info->version,
           name);
  if (info->is_cluster && self->shard == NULL)
    cp__logf(&self->log, CP_LOG_WARN,
             "%s is a node of a Redis Cluster: the number of nodes that a "
             "message reached counts only those linked to the same one",
             name);
}

/* What was already logged, of this server or of all masters. */
static unsigned *warned_of(cp__transport_redis *self) {
  return self->shard != NULL ? self->shard->warned : &self->warned;
}

/* Another node may hand over all of its queue at once. */
static void warn_of_low_limit(cp__transport_redis *self) {
  int64_t limit = cp__redis_link_info(self->subscriber.link)->subscriber_limit;
  unsigned *warned = warned_of(self);

  if (limit == 0 || (uint64_t)limit >= self->options.max_queue ||
      *warned & CP__REDIS_LOW_LIMIT)
    return;
  *warned |= CP__REDIS_LOW_LIMIT;
  cp__logf(&self->log, CP_LOG_WARN,
           "Redis closes a subscriber when %lld bytes wait for it, and a node "
           "may send %zu at once: raise client-output-buffer-limit pubsub, or "
           "lower max_queue",
           (long long)limit, self->options.max_queue);
}

static void become_linked(cp__transport_redis *self) {
  const cp__redis_info *info = cp__redis_link_info(self->commands.link);
  bool young = info->uptime_s < YOUNG_S; /* or unknown */

  move(self, CP__REDIS_LINKED);
  uv_timer_stop(&self->timer);
  if (self->sentinel != NULL)
    cp__sentinel_praise(self->sentinel);
  cp__redis_channels_follow(self, &self->endpoint);
  log_linked(self, info);
  if (!self->host->publish_only)
    warn_of_low_limit(self);
  self->base.incarnation++;
  self->linked_ms = uv_now(self->host->loop);
  self->logged_err = 0;
  self->publish_error_logged = self->subscribe_error_logged = false;
  self->count_error_logged = false;
  self->host->on_linked(self->host->ctx, self->base.incarnation > 1 || young);
  if (self->state == CP__REDIS_LINKED)
    cp__redis_probe_start(self);
}

static void on_node_channel(cp__transport_redis *self,
                            const cp__resp_reply *reply) {
  char reason[256] = "unexpected kind of answer to SUBSCRIBE";
  cp_bytes text = reply->nodes[0].text;
  bool refused = reply->nodes[0].type == CP__RESP_ERROR;

  if (cp__redis_is_confirmation(self, CP__REDIS_NODE_CHANNEL, reply)) {
    if (self->state == CP__REDIS_LINKED)
      cp__redis_probe_confirmed(self);
    else if (self->state == CP__REDIS_LINKING)
      become_linked(self);
    return;
  }
  if (refused && cp__redis_shard_took(self, CP__REDIS_NODE_CHANNEL, NULL, text))
    return;
  if (refused)
    snprintf(reason, sizeof reason, "Redis refused the node's channel: %.*s",
             text.len < 160 ? (int)text.len : 160, (const char *)text.data);
  cp__transport_redis_break(self, refused ? CP_E_REDIS : CP_E_PROTOCOL, reason);
}

static void subscribe_node_channel(cp__transport_redis *self) {
  const cp_bytes words[] = {cp__redis_name_of(self, CP__REDIS_NODE_CHANNEL),
                            self->node_channel};
  void *const token[] = {(void *)self->node_channel.data};
  cp__redis_link *link = self->subscriber.link;
  int rc;

  cp__resp_command(cp__redis_link_begin(link), words, 2);
  rc = cp__redis_link_end(link, CP__REDIS_NODE_CHANNEL, token, 1);
  if (rc != 0)
    cp__transport_redis_break(self, rc, cp_strerror(rc));
  else
    cp__redis_link_flush(link);
}

static void begin_listening(cp__transport_redis *self) {
  uv_timer_start(&self->timer, on_timer, self->options.connect_timeout_ms, 0);
  subscribe_node_channel(self);
}

/* Where a batch is behind it, that is older. */
void cp__redis_move_node_channel(cp__transport_redis *self, cp_bytes channel) {
  self->node_channel = channel;
  if (self->subscriber.link == NULL || !self->subscriber.ready ||
      !self->commands.ready)
    return;
  if (self->state == CP__REDIS_LINKED)
    cp__redis_probe_moved(self);
  else if (self->state != CP__REDIS_LINKING)
    return;
  subscribe_node_channel(self);
}

static bool is_same_server(const cp__transport_redis *self) {
  const char *a = cp__redis_link_info(self->subscriber.link)->run_id;
  const char *b = cp__redis_link_info(self->commands.link)->run_id;

  return *a == '\0' || *b == '\0' || strcmp(a, b) == 0;
}

static void on_ready(void *ctx) {
  cp__redis_side *side = ctx;
  cp__transport_redis *self = side->transport;

  side->ready = true;
  if (!self->commands.ready)
    return;
  if (self->host->publish_only)
    become_linked(self);
  else if (!self->subscriber.ready)
    return;
  else if (is_same_server(self))
    begin_listening(self);
  else
    cp__transport_redis_break(self, CP_E_REDIS,
                              "the two links reached different servers");
}

/* What the links tell. ---------------------------------------------------- */

static void on_reply(void *ctx, int kind, void *token,
                     const cp__resp_reply *reply) {
  cp__transport_redis *self = ((cp__redis_side *)ctx)->transport;

  if (kind == CP__REDIS_NODE_CHANNEL)
    on_node_channel(self, reply);
  else if (kind == CP__REDIS_PROBE_PUBLISH || kind == CP__REDIS_PROBE_ROLE)
    cp__redis_probe_on_reply(self, (cp__redis_kind)kind, reply);
  else
    cp__redis_on_command_reply(self, (cp__redis_kind)kind, token, reply);
  if (self->state == CP__REDIS_DRAINING &&
      cp__redis_link_pending(self->commands.link) == 0)
    end(self);
}

static void on_message(void *ctx, cp_bytes channel, cp_bytes payload) {
  cp__transport_redis *self = ((cp__redis_side *)ctx)->transport;
  cp_bytes own = self->node_channel;

  if (!is_up(self))
    return;
  if (channel.len == own.len && memcmp(channel.data, own.data, own.len) == 0 &&
      cp__redis_probe_on_message(self, payload))
    return;
  self->host->on_message(self->host->ctx, channel, payload);
}

static bool on_push(void *ctx, int kind, void *token,
                    const cp__resp_reply *reply) {
  cp__redis_side *side = ctx;
  const cp__redis_shard *shard = side->transport->shard;

  return shard != NULL && side == &side->transport->subscriber &&
         shard->on_push(shard->ctx, kind, token, reply);
}

static void on_broken(void *ctx, int err, const char *reason) {
  cp__redis_side *side = ctx;
  cp__transport_redis_break(side->transport, err, reason);
}

static void on_link_closed(void *ctx) {
  cp__redis_side *side = ctx;

  side->link = NULL;
  maybe_wait(side->transport);
  cp__transport_redis_maybe_finish(side->transport);
}

static int open_link(cp__redis_side *side, bool messages) {
  static const cp__redis_link_events events = {
      on_ready, on_reply, on_message, on_broken, on_link_closed, on_push,
  };
  cp__transport_redis *self = side->transport;
  const cp__redis_link_options options = {
      .loop = self->host->loop,
      .alloc = self->alloc,
      .log = &self->log,
      .endpoint = self->endpoint,
      .identity = &self->identity,
      .connect_timeout_ms = self->options.connect_timeout_ms,
      .tls = self->url.tls ? self->tls : NULL,
      .tls_host = self->tls_host != NULL ? self->tls_host : self->endpoint.host,
      .max_reply = self->options.max_reply,
      .messages = messages,
      .ask_limit = messages,
      .unhurried = self->host->unhurried,
      .keep = !messages && self->host->on_unanswered != NULL,
      .warned = warned_of(self),
      .events = &events,
      .ctx = side,
  };

  return cp__redis_link_open(&side->link, &options);
}

void cp__transport_redis_open(cp__transport_redis *self) {
  int rc = 0;

  if (!self->host->publish_only)
    rc = open_link(&self->subscriber, true);
  if (rc == 0)
    rc = open_link(&self->commands, false);
  if (rc != 0)
    cp__transport_redis_break(self, rc, cp_strerror(rc));
}

static void begin_linking(cp__transport_redis *self) {
  move(self, CP__REDIS_LINKING);
  if (self->sentinel != NULL)
    cp__sentinel_ask(self->sentinel);
  else
    cp__transport_redis_open(self);
}

static void on_timer(uv_timer_t *timer) {
  cp__transport_redis *self = timer->data;

  switch (self->state) {
  case CP__REDIS_LINKING:
    cp__transport_redis_break(self, CP_E_TIMEOUT,
                              "no answer to SUBSCRIBE in time");
    break;
  case CP__REDIS_WAITING:
    begin_linking(self);
    break;
  case CP__REDIS_DRAINING:
    end(self);
    break;
  default:
    assert(!"no timer of ours in this state");
  }
}

/* What the host calls. ---------------------------------------------------- */

static int start(cp_transport *transport, const cp_transport_host *host) {
  cp__transport_redis *self = from_base(transport);
  int rc;

  if (!host->publish_only && self->node_channel.len == 0)
    return CP_E_INVALID;
  self->host = host;
  uv_timer_init(host->loop, &self->timer);
  self->timer_is_open = true;
  rc = cp__redis_sentinel_start(self);
  if (rc == 0)
    begin_linking(self);
  return rc;
}

static int subscribe(cp_transport *transport, cp_bytes channel, void *token) {
  return cp__redis_request(from_base(transport), CP__REDIS_SUBSCRIBE, channel,
                           token);
}

static int unsubscribe(cp_transport *transport, cp_bytes channel, void *token) {
  return cp__redis_request(from_base(transport), CP__REDIS_UNSUBSCRIBE, channel,
                           token);
}

static int publish(cp_transport *transport, cp_bytes channel,
                   const cp_bytes *parts, size_t n, void *token) {
  return cp__redis_publish(from_base(transport), channel, parts, n, token);
}

static int count(cp_transport *transport, const cp_bytes *channels, size_t n,
                 void *token) {
  return cp__redis_count(from_base(transport), channels, n, token);
}

/* Each step may break the links. */
static void write_all(cp__transport_redis *self) {
  if (is_up(self))
    cp__redis_seal_batch(self);
  if (is_up(self) && self->subscriber.link != NULL)
    cp__redis_link_flush(self->subscriber.link);
  if (is_up(self))
    cp__redis_link_flush(self->commands.link);
}

static void flush(cp_transport *transport) {
  write_all(from_base(transport));
}

static void drain(cp__transport_redis *self, uint64_t grace_ms) {
  move(self, CP__REDIS_DRAINING);
  uv_timer_start(&self->timer, on_timer, grace_ms, 0);
  write_all(self);
  if (self->state == CP__REDIS_DRAINING)
    cp__redis_link_hurry(self->commands.link);
  if (self->state == CP__REDIS_DRAINING &&
      cp__redis_link_pending(self->commands.link) == 0)
    end(self);
}

static void redis_close(cp_transport *transport, const cp_transport_host *host,
                        uint64_t grace_ms) {
  cp__transport_redis *self = from_base(transport);

  self->host = host;
  if (!self->timer_is_open) {
    uv_timer_init(host->loop, &self->timer);
    self->timer_is_open = true;
  }
  if (self->state == CP__REDIS_LINKED && grace_ms > 0)
    drain(self, grace_ms);
  else
    end(self);
}

/* Creation. --------------------------------------------------------------- */

static void init(cp__transport_redis *self, uint64_t instance,
                 const cp__log *log, const cp_allocator *alloc) {
  static const cp_transport_ops ops = {
      .size = sizeof ops,
      .start = start,
      .subscribe = subscribe,
      .unsubscribe = unsubscribe,
      .publish = publish,
      .flush = flush,
      .close = redis_close,
      .count = count,
      .channels = cp__redis_channels,
  };

  self->base.ops = &ops;
  self->alloc = alloc;
  self->log = *log;
  self->instance = instance;
  self->subscriber.transport = self->commands.transport = self;
  self->timer.data = self;
  cp__buf_init(&self->batch.words, alloc);
}

int cp__transport_redis_create(cp_transport **transport, const char *url,
                               const cp_redis_options *options,
                               cp_bytes node_channel, uint64_t instance,
                               const cp__log *log, const cp_allocator *alloc) {
  cp__transport_redis *self = cp__calloc(alloc, sizeof *self);
  char text[CP__TLS_TEXT_SIZE];
  const char *why;
  int rc;

  if (self == NULL)
    return CP_E_NOMEM;
  init(self, instance, log, alloc);
  rc = cp__transport_redis_configure(self, url, options, node_channel, text,
                                     &why);
  if (rc != 0) {
    cp__logf(log, CP_LOG_ERROR, "can't use Redis so: %s",
             why != NULL ? why : cp_strerror(rc));
    cp__transport_redis_unconfigure(self);
    cp__free(alloc, self);
    return rc;
  }
  *transport = self->url.kind == CP__REDIS_CLUSTER
                   ? cp__transport_cluster_create(self)
                   : &self->base;
  return *transport != NULL ? 0 : CP_E_NOMEM;
}

int cp__transport_redis_create_shard(cp__transport_redis **shard,
                                     const cp__transport_redis *model,
                                     cp__endpoint endpoint,
                                     cp_bytes node_channel,
                                     const cp__redis_shard *hooks) {
  cp__transport_redis *self = cp__calloc(model->alloc, sizeof *self);

  if (self == NULL)
    return CP_E_NOMEM;
  init(self, model->instance, &model->log, model->alloc);
  self->shard = hooks;
  self->url.tls = model->url.tls;
  self->options = model->options;
  self->identity = model->identity;
  self->endpoint = endpoint;
  self->node_channel = node_channel;
  if (model->tls != NULL) {
    self->tls = cp__tls_context_ref(model->tls);
    self->tls_host = model->tls_host != NULL ? model->tls_host : endpoint.host;
  }
  *shard = self;
  return 0;
}

bool cp__redis_shard_is_linked(const cp__transport_redis *self) {
  return self->state == CP__REDIS_LINKED;
}
