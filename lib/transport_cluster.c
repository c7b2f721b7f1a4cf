/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: a scout asks a node of the cluster who has which slots. For
 * each master that has any, a shard is started: a Redis transport of its own,
 * which opens a pair of links, proves them by a probe on a channel of its own,
 * and tries for ever. When each shard was linked, or failed, once, and one is,
 * the host is told that the cluster is linked. What the host asks for goes to
 * the shard of its slot's owner.
 *
 * The failure modes: a shard breaks: what it had subscribed is lost, which the
 * host is told channel by channel, what is published to its slots waits, all
 * else goes on, degraded; when it is linked again, or its slots got another
 * owner who is, the host is told that things changed. A slot moves, or waits:
 * see transport_cluster_queue.c. No shard is left: unlinked, until one is, and
 * what waited goes back to the host.
 *
 * Closing drains first: publishes are awaited, for the grace. Then what waits
 * is answered, the shards, the scout and the timer are closed, and the last of
 * them to go takes the memory with it.
 *
 * Shards are closed from the timer, the scout's callbacks and the host's calls
 * alone, never from inside their own callbacks. */
#include "transport_cluster.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BIT(state) (1u << (state))

static void move(cp__transport_cluster *self, cp__cluster_state next) {
  static const unsigned allowed[CP__N_CLUSTER_STATES] = {
      [CP__CLUSTER_IDLE] = BIT(CP__CLUSTER_LINKING) | BIT(CP__CLUSTER_CLOSING),
      [CP__CLUSTER_LINKING] =
          BIT(CP__CLUSTER_LINKED) | BIT(CP__CLUSTER_CLOSING),
      [CP__CLUSTER_LINKED] = BIT(CP__CLUSTER_LINKING) |
                             BIT(CP__CLUSTER_DRAINING) |
                             BIT(CP__CLUSTER_CLOSING),
      [CP__CLUSTER_DRAINING] = BIT(CP__CLUSTER_CLOSING),
  };

  assert(allowed[self->state] & BIT(next));
  (void)allowed; /* without asserts */
  self->state = next;
}

static cp__transport_cluster *from_base(cp_transport *transport) {
  return cp__container_of(transport, cp__transport_cluster, base);
}

static bool is_up(const cp__transport_cluster *self) {
  return self->state == CP__CLUSTER_LINKED ||
         self->state == CP__CLUSTER_DRAINING;
}

/* The state of it all. ---------------------------------------------------- */

/* What the masters' state comes to. */
typedef struct census {
  size_t n_linked;
  size_t n_hopeful; /* neither linked, nor ever failed to */
  uint32_t n_slots; /* that have an owner */
  bool settle;
  const cp__master *away; /* one that has slots and no link */
  const cp__master *late; /* one whose probe is */
} census;

static census count_masters(const cp__transport_cluster *self) {
  census c = {0};
  size_t i;

  for (i = 0; i < self->n_masters; i++) {
    const cp__master *master = self->masters[i];
    if (master == NULL || master->closing || master->n_slots == 0)
      continue;
    c.n_slots += master->n_slots;
    c.n_linked += master->linked;
    c.n_hopeful += !master->linked && !master->failed;
    c.settle |= master->linked && master->settle;
    if (!master->linked)
      c.away = master;
    else if (master->late)
      c.late = master;
  }
  return c;
}

/* Returns whether all is well. */
static bool judge(const cp__transport_cluster *self, const census *c,
                  char text[sizeof self->health]) {
  const size_t size = sizeof self->health;

  if (c->away != NULL)
    snprintf(text, size, "no link to the master at %s:%d", c->away->name,
             c->away->port);
  else if (c->n_slots < CP__N_SLOTS)
    snprintf(text, size, "%u slots have no master",
             (unsigned)CP__N_SLOTS - c->n_slots);
  else if (c->late != NULL)
    snprintf(text, size, "a probe of %s:%d is late", c->late->name,
             c->late->port);
  else
    snprintf(text, size, "all masters are linked");
  return c->away == NULL && c->n_slots == CP__N_SLOTS && c->late == NULL;
}

static void tell_health(cp__transport_cluster *self, const census *c) {
  char text[sizeof self->health];
  bool degraded = !judge(self, c, text);

  if (degraded == self->degraded &&
      (!degraded || strcmp(text, self->health) == 0))
    return;
  self->degraded = degraded;
  strcpy(self->health, text);
  cp__logf(&self->model->log, degraded ? CP_LOG_WARN : CP_LOG_INFO,
           "Redis Cluster: %s", text);
  self->host->on_health(self->host->ctx, degraded, text);
}

static void become_linked(cp__transport_cluster *self, const census *c) {
  char text[sizeof self->health];
  bool settle = c->settle || !judge(self, c, text);

  move(self, CP__CLUSTER_LINKED);
  self->base.incarnation++;
  self->degraded = false; /* as every new link is good */
  cp__logf(&self->model->log, CP_LOG_INFO,
           "linked to %u masters of the Redis Cluster", (unsigned)c->n_linked);
  self->host->on_linked(self->host->ctx, settle || self->base.incarnation > 1);
}

static void become_unlinked(cp__transport_cluster *self) {
  cp__cluster_changed(self); /* so nobody is sure that nobody was there */
  cp__cluster_end_lingering(self, UINT64_MAX);
  cp__cluster_fail_held(self, CP_E_DOWN);
  move(self, CP__CLUSTER_LINKING);
  cp__logf(&self->model->log, CP_LOG_WARN,
           "no master of the Redis Cluster is left: %s", self->reason);
  self->host->on_unlinked(self->host->ctx, self->err, self->reason);
}

void cp__cluster_review(cp__transport_cluster *self) {
  census c = count_masters(self);

  if (self->state == CP__CLUSTER_LINKED && c.n_linked == 0)
    become_unlinked(self);
  else if (self->state == CP__CLUSTER_LINKING && c.n_linked > 0 &&
           c.n_hopeful == 0)
    become_linked(self, &c);
  if (self->state == CP__CLUSTER_LINKED)
    tell_health(self, &c);
  cp__cluster_channels_follow(self);
}

void cp__cluster_note_failure(cp__transport_cluster *self, int err,
                              const char *reason) {
  self->err = err;
  snprintf(self->reason, sizeof self->reason, "%s", reason);
  if (self->state == CP__CLUSTER_LINKING)
    self->host->on_unlinked(self->host->ctx, err, self->reason);
}

void cp__cluster_changed(cp__transport_cluster *self) {
  if (self->state == CP__CLUSTER_LINKED && self->host->on_changed != NULL)
    self->host->on_changed(self->host->ctx);
}

/* What a shard tells. ----------------------------------------------------- */

static void be_wary_of(const cp__master *master) {
  cp__transport_cluster *self = master->cluster;
  unsigned slot;

  for (slot = 0; slot < CP__N_SLOTS; slot++)
    if (self->slots[slot].owner == master->index)
      cp__cluster_be_wary(self, (uint16_t)slot);
}

static void on_master_linked(void *ctx, int settle) {
  cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;

  master->linked = true;
  master->late = false;
  master->failed = false;
  master->settle = settle != 0;
  master->proven_ms = uv_now(self->host->loop);
  be_wary_of(master);
  self->pump_due = true;
  cp__cluster_changed(self);
  cp__cluster_review(self);
}

static void on_master_unlinked(void *ctx, int err, const char *reason) {
  cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;
  bool was_linked = master->linked;

  if (master->closing)
    return;
  master->linked = false;
  master->late = false;
  master->failed = true;
  cp__cluster_lose_subs(master);
  cp__cluster_note_failure(self, err, reason);
  if (was_linked)
    cp__cluster_want_topology(self);
  else
    cp__cluster_scout_move_on(self);
  cp__cluster_review(self);
}

static void on_master_lagged(void *ctx) {
  const cp__master *master = ctx;
  const cp_transport_host *host = master->cluster->host;

  if (is_up(master->cluster) && host->on_lagged != NULL)
    host->on_lagged(host->ctx);
}

static void on_master_health(void *ctx, int degraded, const char *reason) {
  cp__master *master = ctx;

  (void)reason;
  master->late = degraded != 0;
  cp__cluster_review(master->cluster);
}

/* All of them together have proven what the last of them has. */
static void on_master_proven(void *ctx, uint64_t since_ms) {
  cp__master *master = ctx;
  const cp__transport_cluster *self = master->cluster;
  size_t i;

  master->proven_ms = since_ms;
  for (i = 0; i < self->n_masters; i++) {
    const cp__master *other = self->masters[i];
    if (other != NULL && other->linked && other->proven_ms < since_ms)
      since_ms = other->proven_ms;
  }
  if (is_up(self) && self->host->on_proven != NULL)
    self->host->on_proven(self->host->ctx, since_ms);
}

static uint32_t on_master_message(void *ctx, cp_bytes channel,
                                  cp_bytes payload) {
  cp__master *master = ctx;
  const cp_transport_host *host = master->cluster->host;

  if (!is_up(master->cluster))
    return 0;
  return host->on_message(host->ctx, channel, payload);
}

static void on_master_log(void *ctx, cp_log_level level, const char *text) {
  cp__master *master = ctx;
  cp__logf(&master->cluster->model->log, level, "%s", text);
}

static void free_master(cp__master *master) {
  cp__transport_cluster *self = master->cluster;

  self->masters[master->index] = NULL;
  cp__free(self->alloc, master);
}

static void on_master_closed(void *ctx) {
  cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;

  free_master(master);
  cp__cluster_maybe_finish(self);
}

/* Masters. ---------------------------------------------------------------- */

static void init_master_host(cp__master *master) {
  const cp_transport_host *host = master->cluster->host;

  master->host = (cp_transport_host){
      .size = sizeof master->host,
      .ctx = master,
      .loop = host->loop,
      .allocator = host->allocator,
      .publish_only = host->publish_only,
      .on_linked = on_master_linked,
      .on_unlinked = on_master_unlinked,
      .on_health = on_master_health,
      .on_confirmed = cp__cluster_on_confirmed,
      .on_published = cp__cluster_on_published,
      .on_message = on_master_message,
      .on_counted = cp__cluster_on_counted,
      .on_proven = on_master_proven,
      .on_lagged = on_master_lagged,
      .log = on_master_log,
      .on_closed = on_master_closed,
  };
  master->hooks = (cp__redis_shard){
      .ctx = master,
      .on_push = cp__cluster_on_push,
      .on_error = cp__cluster_on_error,
      .warned = &master->cluster->warned,
  };
}

/* Without memory the next topology tries again. */
void cp__cluster_start_master(cp__master *master) {
  const cp__endpoint endpoint = {master->name, master->port, NULL};
  const cp_transport_ops *ops;

  init_master_host(master);
  if (cp__transport_redis_create_shard(&master->shard, master->cluster->model,
                                       endpoint, cp__master_channel(master),
                                       &master->hooks) != 0)
    return;
  ops = master->shard->base.ops;
  if (ops->start(&master->shard->base, &master->host) != 0)
    assert(!"the node's channel is not empty");
}

static void end_master(cp__master *master) {
  master->closing = true;
  master->linked = false;
  if (master->shard == NULL)
    free_master(master);
  else
    master->shard->base.ops->close(&master->shard->base, &master->host, 0);
}

void cp__cluster_close_master(cp__master *master) {
  master->closing = true;
  cp__logf(&master->cluster->model->log, CP_LOG_INFO,
           "%s:%d has no slots any more", master->name, master->port);
  cp__cluster_lose_subs(master);
  end_master(master);
}

/* Endings. ---------------------------------------------------------------- */

static bool has_masters(const cp__transport_cluster *self) {
  size_t i;

  for (i = 0; i < self->n_masters; i++)
    if (self->masters[i] != NULL)
      return true;
  return false;
}

static void destroy(cp__transport_cluster *self) {
  cp__transport_redis *model = self->model;
  const cp_allocator *alloc = self->alloc;

  cp__map_finish(&self->subs);
  cp__free(alloc, self);
  cp__transport_redis_unconfigure(model);
  cp__free(alloc, model);
}

void cp__cluster_maybe_finish(cp__transport_cluster *self) {
  const cp_transport_host *host = self->host;

  if (self->state != CP__CLUSTER_CLOSING || self->timer_is_open ||
      self->scout.link != NULL || self->bus != NULL || has_masters(self))
    return;
  destroy(self);
  host->on_closed(host->ctx);
}

static void on_timer_closed(uv_handle_t *handle) {
  cp__transport_cluster *self = handle->data;

  self->timer_is_open = false;
  cp__cluster_maybe_finish(self);
}

static void end(cp__transport_cluster *self) {
  size_t i;

  move(self, CP__CLUSTER_CLOSING);
  cp__cluster_end_lingering(self, UINT64_MAX);
  cp__cluster_fail_held(self, CP_E_CANCELED);
  for (i = 0; i < self->n_masters; i++) {
    cp__master *master = self->masters[i];
    if (master == NULL)
      continue;
    cp__cluster_forget_subs(master);
    if (!master->closing)
      end_master(master);
  }
  cp__cluster_scout_close(self);
  uv_close((uv_handle_t *)&self->timer, on_timer_closed);
}

/* The timer. -------------------------------------------------------------- */

static bool is_drained(const cp__transport_cluster *self) {
  return self->state == CP__CLUSTER_DRAINING &&
         (self->n_publishes == 0 ||
          uv_now(self->host->loop) >= self->grace_due_ms);
}

static void on_timer(uv_timer_t *timer) {
  cp__transport_cluster *self = timer->data;
  uint64_t now = uv_now(self->host->loop);

  cp__cluster_end_lingering(self, now);
  if (is_drained(self)) {
    end(self);
    return;
  }
  if (self->retry_due_ms > 0 && now >= self->retry_due_ms)
    cp__cluster_pump(self);
  if (self->scout.due_ms > 0 && now >= self->scout.due_ms)
    cp__cluster_scout_step(self);
  cp__cluster_arm(self);
}

static void take_earlier(uint64_t *due, uint64_t ms) {
  if (ms > 0 && (*due == 0 || ms < *due))
    *due = ms;
}

void cp__cluster_arm(cp__transport_cluster *self) {
  uint64_t now = uv_now(self->host->loop);
  uint64_t due = 0;

  if (self->state == CP__CLUSTER_CLOSING)
    return;
  take_earlier(&due, self->retry_due_ms);
  take_earlier(&due, self->scout.due_ms);
  take_earlier(&due, cp__cluster_lingers_until(self));
  if (self->state == CP__CLUSTER_DRAINING)
    take_earlier(&due, self->n_publishes == 0 ? now : self->grace_due_ms);
  if (due > 0)
    uv_timer_start(&self->timer, on_timer, due > now ? due - now : 1, 0);
}

/* What the host calls. ---------------------------------------------------- */

static void open_timer(cp__transport_cluster *self) {
  if (self->timer_is_open)
    return;
  uv_timer_init(self->host->loop, &self->timer);
  self->timer.data = self;
  self->timer_is_open = true;
}

static int start(cp_transport *transport, const cp_transport_host *host) {
  cp__transport_cluster *self = from_base(transport);

  if (!host->publish_only && self->model->node_channel.len == 0)
    return CP_E_INVALID;
  self->host = host;
  open_timer(self);
  move(self, CP__CLUSTER_LINKING);
  self->scout.due_ms = uv_now(host->loop) + 1;
  cp__cluster_arm(self);
  return 0;
}

static void flush(cp_transport *transport) {
  cp__transport_cluster *self = from_base(transport);
  size_t i;

  if (!is_up(self))
    return;
  if (self->pump_due)
    cp__cluster_pump(self);
  for (i = 0; i < self->n_masters; i++) {
    cp__master *master = self->masters[i];
    if (master != NULL && master->linked)
      master->shard->base.ops->flush(&master->shard->base);
  }
  if (is_drained(self))
    cp__cluster_arm(self);
}

static void cluster_close(cp_transport *transport,
                          const cp_transport_host *host, uint64_t grace_ms) {
  cp__transport_cluster *self = from_base(transport);

  self->host = host;
  open_timer(self);
  if (self->state != CP__CLUSTER_LINKED || grace_ms == 0 ||
      self->n_publishes == 0) {
    end(self);
    return;
  }
  move(self, CP__CLUSTER_DRAINING);
  self->grace_due_ms = uv_now(host->loop) + grace_ms;
  flush(transport);
  cp__cluster_arm(self);
}

/* Creation. --------------------------------------------------------------- */

static cp_bytes channel_of(const cp__map_node *node) {
  return cp__op_channel(cp__container_of(node, const cp__op, node));
}

static void init(cp__transport_cluster *self, cp__transport_redis *model) {
  static const cp_transport_ops ops = {
      .size = sizeof ops,
      .start = start,
      .subscribe = cp__cluster_subscribe,
      .unsubscribe = cp__cluster_unsubscribe,
      .publish = cp__cluster_publish,
      .flush = flush,
      .close = cluster_close,
      .count = cp__cluster_count,
      .channels = cp__cluster_channels,
      .publish_plain = cp__cluster_publish_plain,
  };
  uint64_t seed[2] = {model->instance, uv_hrtime()};
  size_t slot;

  self->base.ops = &ops;
  self->base.unordered = 1;
  self->model = model;
  self->alloc = model->alloc;
  for (slot = 0; slot < CP__N_SLOTS; slot++)
    self->slots[slot].owner = CP__NO_MASTER;
  self->scout.identity = model->identity;
  self->scout.identity.any_role = true;
  self->scout.at = (size_t)model->instance;
  cp__list_init(&self->returned);
  cp__list_init(&self->held);
  cp__list_init(&self->lingering);
  uv_random(NULL, NULL, seed, sizeof seed, 0, NULL); /* or what was there */
  cp__map_init(&self->subs, model->alloc, channel_of, seed);
}

cp_transport *cp__transport_cluster_create(cp__transport_redis *model) {
  const cp_allocator *alloc = model->alloc;
  cp__transport_cluster *self = cp__calloc(alloc, sizeof *self);

  if (self == NULL) {
    cp__transport_redis_unconfigure(model);
    cp__free(alloc, model);
    return NULL;
  }
  init(self, model);
  return &self->base;
}
