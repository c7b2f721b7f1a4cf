/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Who has which slots. The scout is a link to any node of the cluster, a
 * replica will do, that is asked again and again: every few seconds, and soon
 * after a redirect or a lost link told that something has changed. A scout that
 * breaks, or doesn't answer, is followed by one to the next host: first those
 * of the URL, then the masters that are known.
 *
 * A node may be behind the others, and name an owner who sends us back with
 * MOVED. That does no harm but for the detour: what was told last counts. But
 * an owner who has turned replica sends nobody back. He takes away
 * subscriptions when he does; then the scout asks often for a while. */
#include "transport_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#define OLDEST_MAJOR 7         /* the first version with sharded pub/sub */
#define MAX_TRIES    (1 << 18) /* of names for a probe's channel */
#define SOON_MS      50        /* between two questions, at least */
#define RUMOUR_MS    3000      /* that news may take to all nodes */
#define HASTY_MS     100       /* between two questions meanwhile */
#define TOPOLOGY     0         /* the kind of its only command */

static uint64_t now_ms(const cp__transport_cluster *self) {
  return uv_now(self->host->loop);
}

/* Probe channels. --------------------------------------------------------- */

cp_bytes cp__master_channel(const cp__master *master) {
  return cp_str(master->channels[master->channel]);
}

/* cp:n:{NODE} becomes cp:n:{NODE.k}. */
static void name_channel(const cp__master *master, unsigned k,
                         char out[CP__CHANNEL_MAX]) {
  cp_bytes node = master->cluster->model->node_channel;

  snprintf(out, CP__CHANNEL_MAX, "%.*s.%u}", (int)node.len - 1,
           (const char *)node.data, k);
}

static bool owns(const cp__master *master, const char *channel) {
  uint16_t slot = cp__slot_of(cp_str(channel));
  return *channel != '\0' &&
         master->cluster->slots[slot].owner == master->index;
}

/* Another name each time, so that what is said on an old one is not taken for
 * news of this one. */
static bool choose_channel(cp__master *master) {
  unsigned other = 1 - master->channel;
  unsigned i;

  if (master->n_slots == 0)
    return false;
  for (i = 0; i < MAX_TRIES; i++) {
    name_channel(master, master->next_k++, master->channels[other]);
    if (!owns(master, master->channels[other]))
      continue;
    master->channel = other;
    return true;
  }
  return false;
}

bool cp__cluster_keep_probe(cp__master *master) {
  if (master->cluster->host->publish_only ||
      owns(master, master->channels[master->channel]))
    return true;
  if (!choose_channel(master))
    return false;
  if (master->shard != NULL)
    cp__redis_move_node_channel(master->shard, cp__master_channel(master));
  return true;
}

/* Masters. ---------------------------------------------------------------- */

static cp__master *find_master(const cp__transport_cluster *self, cp_bytes name,
                               int port) {
  size_t i;

  for (i = 0; i < self->n_masters; i++) {
    cp__master *master = self->masters[i];
    if (master != NULL && !master->closing && master->port == port &&
        cp__bytes_equal(cp_str(master->name), name))
      return master;
  }
  return NULL;
}

static size_t free_place(const cp__transport_cluster *self) {
  size_t i = 0;

  while (i < self->n_masters && self->masters[i] != NULL)
    i++;
  return i;
}

static cp__master *create_master(cp__transport_cluster *self, cp_bytes name,
                                 int port) {
  size_t place = free_place(self);
  cp__master *master = NULL;

  if (place < CP__MASTERS_MAX && name.len < CP__HOST_SIZE)
    master = cp__calloc(self->alloc, sizeof *master);
  if (master == NULL) {
    cp__logf(&self->model->log, self->is_full ? CP_LOG_DEBUG : CP_LOG_ERROR,
             "no room for one more master of the cluster");
    self->is_full = true;
    return NULL;
  }
  master->cluster = self;
  master->index = (uint16_t)place;
  master->port = port;
  memcpy(master->name, name.data, name.len);
  cp__list_init(&master->subs);
  self->masters[place] = master;
  if (place == self->n_masters)
    self->n_masters++;
  return master;
}

cp__master *cp__cluster_master_at(cp__transport_cluster *self, cp_bytes name,
                                  int port) {
  cp__master *master = find_master(self, name, port);
  return master != NULL ? master : create_master(self, name, port);
}

/* Owners. ----------------------------------------------------------------- */

/* Returns whether that is news. */
static bool give_slot(cp__transport_cluster *self, uint16_t slot,
                      uint16_t owner) {
  cp__slot *s = &self->slots[slot];

  if (s->owner == owner)
    return false;
  if (s->owner != CP__NO_MASTER)
    self->masters[s->owner]->n_slots--;
  if (owner != CP__NO_MASTER)
    self->masters[owner]->n_slots++;
  s->owner = owner;
  cp__cluster_be_wary(self, slot);
  return true;
}

static void start_masters(cp__transport_cluster *self) {
  size_t i;

  for (i = 0; i < self->n_masters; i++) {
    cp__master *master = self->masters[i];
    if (master == NULL || master->closing)
      continue;
    if (cp__cluster_keep_probe(master) && master->shard == NULL &&
        master->n_slots > 0)
      cp__cluster_start_master(master);
  }
}

void cp__cluster_set_owner(cp__transport_cluster *self, uint16_t slot,
                           cp__master *owner) {
  if (!give_slot(self, slot, owner->index))
    return;
  if (owner->shard == NULL && cp__cluster_keep_probe(owner))
    cp__cluster_start_master(owner);
  self->pump_due = true;
  cp__cluster_changed(self);
}

static void retire_masters(cp__transport_cluster *self) {
  size_t i;

  for (i = 0; i < self->n_masters; i++) {
    cp__master *master = self->masters[i];
    if (master != NULL && !master->closing && master->n_slots == 0 &&
        master->n_out == 0 && !cp__cluster_is_asked_for(self, master))
      cp__cluster_close_master(master);
  }
}

static void note_range(cp__transport_cluster *self,
                       const cp__slot_range *range) {
  cp_bytes name = range->host.len > 0 ? range->host : cp_str(self->scout.host);
  cp__master *master = cp__cluster_master_at(self, name, range->port);
  unsigned slot;

  for (slot = range->first; slot <= range->last && master != NULL; slot++)
    self->told[slot] = master->index;
}

/* Slots that nobody told of have no owner. */
static void apply(cp__transport_cluster *self, cp__slots_reader *reader) {
  cp__slot_range range;
  bool changed = !self->has_topology;
  unsigned slot;

  for (slot = 0; slot < CP__N_SLOTS; slot++)
    self->told[slot] = CP__NO_MASTER;
  while (cp__slots_next(reader, &range))
    note_range(self, &range);
  for (slot = 0; slot < CP__N_SLOTS; slot++)
    changed |= give_slot(self, (uint16_t)slot, self->told[slot]);
  self->has_topology = true;
  start_masters(self);
  retire_masters(self);
  if (changed) {
    self->pump_due = true;
    cp__cluster_changed(self);
  }
  cp__cluster_review(self);
}

/* The scout. -------------------------------------------------------------- */

static void be_due(cp__transport_cluster *self, uint64_t ms) {
  self->scout.due_ms = now_ms(self) + ms;
  cp__cluster_arm(self);
}

void cp__cluster_scout_close(cp__transport_cluster *self) {
  cp__scout *scout = &self->scout;

  scout->ready = scout->asked = scout->again = false;
  scout->due_ms = 0;
  if (scout->link == NULL || scout->closing)
    return;
  scout->closing = true;
  cp__redis_link_close(scout->link);
}

static void log_failure(cp__transport_cluster *self, int err,
                        const char *reason) {
  cp__scout *scout = &self->scout;
  cp_log_level level =
      err == CP_E_AUTH || err == CP_E_UNSUPPORTED ? CP_LOG_ERROR : CP_LOG_WARN;

  if (err == scout->logged_err)
    level = CP_LOG_DEBUG;
  scout->logged_err = err;
  cp__logf(&self->model->log, level,
           "can't learn the cluster's slots: %s; trying the next host", reason);
}

/* On to the next host, after a pause. */
static void give_up(cp__transport_cluster *self, int err, const char *reason) {
  cp__scout *scout = &self->scout;

  log_failure(self, err, reason);
  scout->at++;
  cp__cluster_scout_close(self);
  be_due(self, cp__backoff_next(&scout->backoff, &self->model->options,
                                now_ms(self)));
  cp__cluster_note_failure(self, err, reason);
}

static void ask(cp__transport_cluster *self) {
  const cp_bytes words[] = {cp_str("CLUSTER"), cp_str("SLOTS")};
  void *const no_token[] = {NULL};
  cp__scout *scout = &self->scout;
  int rc;

  cp__resp_command(cp__redis_link_begin(scout->link), words, 2);
  rc = cp__redis_link_end(scout->link, TOPOLOGY, no_token, 1);
  if (rc != 0) {
    give_up(self, rc, cp_strerror(rc));
    return;
  }
  scout->asked = true;
  scout->again = false;
  scout->asked_ms = now_ms(self);
  be_due(self, self->model->options.probe_timeout_ms);
  cp__redis_link_flush(scout->link);
}

static void on_ready(void *ctx) {
  cp__transport_cluster *self = ctx;
  const char *version = cp__redis_link_info(self->scout.link)->version;
  char reason[128];

  self->scout.ready = true;
  if (*version == '\0' || atoi(version) >= OLDEST_MAJOR) {
    ask(self);
    return;
  }
  snprintf(reason, sizeof reason,
           "Redis %s has no sharded pub/sub: a cluster needs Redis %d or later",
           version, OLDEST_MAJOR);
  give_up(self, CP_E_UNSUPPORTED, reason);
}

static void on_refused(cp__transport_cluster *self, cp_bytes error) {
  char reason[256];

  snprintf(reason, sizeof reason, "Redis refused CLUSTER SLOTS: %.*s",
           error.len < 160 ? (int)error.len : 160, (const char *)error.data);
  give_up(self, CP_E_REDIS, reason);
}

static uint64_t pause_ms(const cp__transport_cluster *self) {
  if (self->scout.again)
    return SOON_MS;
  return now_ms(self) < self->scout.rumour_until
             ? HASTY_MS
             : self->model->options.probe_interval_ms;
}

static void on_reply(void *ctx, int kind, void *token,
                     const cp__resp_reply *reply) {
  cp__transport_cluster *self = ctx;
  cp__scout *scout = &self->scout;
  cp__slots_reader reader;

  (void)kind;
  (void)token;
  scout->asked = false;
  if (reply->nodes[0].type == CP__RESP_ERROR) {
    on_refused(self, reply->nodes[0].text);
  } else if (cp__slots_read(&reader, reply) != 0) {
    give_up(self, CP_E_PROTOCOL, "unexpected kind of answer to CLUSTER SLOTS");
  } else {
    scout->backoff = (cp__backoff){0};
    scout->logged_err = 0;
    be_due(self, pause_ms(self));
    apply(self, &reader);
  }
}

static void on_broken(void *ctx, int err, const char *reason) {
  give_up(ctx, err, reason);
}

static void on_scout_closed(void *ctx) {
  cp__transport_cluster *self = ctx;

  self->scout.link = NULL;
  self->scout.closing = false;
  cp__cluster_maybe_finish(self);
}

/* Those of the URL, then the masters. */
static void choose_host(cp__transport_cluster *self) {
  const cp__redis_url *url = &self->model->url;
  cp__scout *scout = &self->scout;
  size_t i = scout->at % (url->n_hosts + self->n_masters);
  const cp__master *master =
      i < url->n_hosts ? NULL : self->masters[i - url->n_hosts];
  const cp__redis_host *host = &url->hosts[scout->at % url->n_hosts];

  snprintf(scout->host, sizeof scout->host, "%s",
           master != NULL ? master->name : host->name);
  scout->endpoint.host = scout->host;
  scout->endpoint.port = master != NULL ? master->port : host->port;
}

static void open_scout(cp__transport_cluster *self) {
  static const cp__redis_link_events events = {
      on_ready, on_reply, NULL, on_broken, on_scout_closed, NULL,
  };
  const cp__transport_redis *model = self->model;
  cp__scout *scout = &self->scout;
  cp__redis_link_options options = {
      .loop = self->host->loop,
      .alloc = self->alloc,
      .log = &model->log,
      .identity = &scout->identity,
      .connect_timeout_ms = model->options.connect_timeout_ms,
      .tls = model->tls,
      .tls_host = model->tls_host != NULL ? model->tls_host : scout->host,
      .max_reply = model->options.max_reply,
      .warned = &self->warned,
      .events = &events,
      .ctx = self,
  };
  int rc;

  choose_host(self);
  options.endpoint = scout->endpoint;
  scout->due_ms = 0; /* the link has a timeout of its own */
  rc = cp__redis_link_open(&scout->link, &options);
  if (rc == 0)
    return;
  scout->link = NULL;
  give_up(self, rc, cp_strerror(rc));
}

void cp__cluster_scout_step(cp__transport_cluster *self) {
  cp__scout *scout = &self->scout;

  if (scout->closing)
    be_due(self, SOON_MS);
  else if (scout->link == NULL)
    open_scout(self);
  else if (scout->asked)
    give_up(self, CP_E_TIMEOUT, "no answer to CLUSTER SLOTS in time");
  else if (scout->ready)
    ask(self);
}

void cp__cluster_want_topology(cp__transport_cluster *self) {
  cp__scout *scout = &self->scout;
  uint64_t soon = scout->asked_ms + SOON_MS;

  scout->again = true;
  if (!scout->ready || scout->asked || scout->due_ms <= soon)
    return;
  scout->due_ms = soon > now_ms(self) ? soon : now_ms(self);
  cp__cluster_arm(self);
}

void cp__cluster_expect_news(cp__transport_cluster *self) {
  self->scout.rumour_until = now_ms(self) + RUMOUR_MS;
  cp__cluster_want_topology(self);
  cp__cluster_changed(self);
}

/* If it is one that is cut off from the others, it would never know better. */
void cp__cluster_scout_move_on(cp__transport_cluster *self) {
  cp__scout *scout = &self->scout;

  if (!scout->ready || scout->asked || scout->closing)
    return;
  scout->at++;
  cp__cluster_scout_close(self);
  be_due(self, SOON_MS);
}
