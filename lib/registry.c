/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The subscription is the directory: a user's channel is wanted from the user's
 * first connection on this node until a while after the last one, so that a
 * page reload costs Redis nothing. What arrives on a channel is encoded once
 * and queued for each of the target's connections; once more, compressed, when
 * the first of them can read that. Nothing here runs user code, so it may be
 * called from inside the transport's parser. */

#include "registry.h"

#include "envelope.h"
#include "hello.h"
#include "orders.h"
#include "receipts.h"

#include <assert.h>
#include <string.h>

/* A refused subscription is asked for again after this. */
#define RETRY_MS 5000

/* Users. ------------------------------------------------------------------ */

static cp_bytes user_key(const cp__map_node *node) {
  const cp__user *user = cp__container_of(node, const cp__user, node);
  return cp_bytes_of(user->id, user->id_len);
}

static cp__user *find_user(const cp__registry *registry, cp_bytes id) {
  cp__map_node *node = cp__map_find(&registry->users, id);
  return node != NULL ? cp__container_of(node, cp__user, node) : NULL;
}

static cp__user *create_user(cp__registry *registry, cp_bytes id) {
  cp__user *user = cp__malloc(registry->alloc, offsetof(cp__user, id) + id.len);

  if (user == NULL)
    return NULL;
  cp__list_init(&user->conns);
  cp__timed_init(&user->leave);
  cp__sub_init(&user->sub, CP__SUB_USER);
  user->claimed_to = 0;
  user->n_conns = 0;
  user->id_len = (uint8_t)id.len;
  memcpy(user->id, id.data, id.len);
  if (cp__map_insert(&registry->users, &user->node) != 0) {
    cp__free(registry->alloc, user);
    return NULL;
  }
  return user;
}

static void destroy_user(cp__registry *registry, cp__user *user) {
  cp__timed_stop(&user->leave);
  cp__map_remove(&registry->users, &user->node);
  cp__free(registry->alloc, user);
}

static unsigned count_open(const cp__user *user) {
  unsigned n = 0;
  cp__list *it;

  for (it = user->conns.next; it != &user->conns; it = it->next)
    n += cp__conn_is_open(cp__container_of(it, cp_conn, user_link));
  return n;
}

cp_conn *cp__user_oldest_open(const cp__user *user) {
  cp__list *it;

  for (it = user->conns.next; it != &user->conns; it = it->next) {
    cp_conn *conn = cp__container_of(it, cp_conn, user_link);
    if (cp__conn_is_open(conn))
      return conn;
  }
  return NULL;
}

int cp__registry_add(cp__registry *registry, cp_conn *conn, cp_bytes id) {
  cp__user *user = find_user(registry, id);

  if (user == NULL)
    user = create_user(registry, id);
  if (user == NULL)
    return CP_E_NOMEM;
  conn->user = user;
  cp__timed_stop(&user->leave);
  if (user->n_conns++ == 0)
    registry->stats->users++;
  cp__list_push_back(&user->conns, &conn->user_link);
  if (!user->sub.want)
    cp__subs_join(&registry->subs, &user->sub);
  return 0;
}

void cp__registry_opened(cp__registry *registry, cp_conn *conn) {
  cp__user *user = conn->user;
  unsigned limit = registry->max_conns_per_user;

  if (limit == 0 || user->n_conns <= limit || count_open(user) <= limit)
    return;
  registry->stats->user_closes++;
  cp__conn_close(cp__user_oldest_open(user), CP_CLOSE_TOO_MANY,
                 cp_str("too many connections"));
}

void cp__registry_remove(cp__registry *registry, cp_conn *conn) {
  cp__user *user = conn->user;

  if (user == NULL) /* there was no memory to add it */
    return;
  cp__groups_leave_all(&registry->groups, conn);
  cp__list_remove(&conn->user_link);
  if (--user->n_conns > 0)
    return;
  registry->stats->users--;
  cp__timed_start(&registry->leaving, &user->leave);
}

static void on_leave_due(cp__sweep_list *list, cp__timed *item) {
  cp__user *user = cp__container_of(item, cp__user, leave);
  cp__registry *registry = cp__container_of(list, cp__registry, leaving);

  cp__subs_leave(&registry->subs, &user->sub);
}

static void on_parting_due(cp__sweep_list *list, cp__timed *item) {
  destroy_user(cp__container_of(list, cp__registry, parting),
               cp__container_of(item, cp__user, leave));
}

/* The channel of a user is left. */
static void forget_user(cp__registry *registry, cp__user *user) {
  if (cp__registry_awaits_late_echoes(registry, user->claimed_to))
    cp__timed_start(&registry->parting, &user->leave);
  else
    destroy_user(registry, user);
}

static void forget_group(cp__registry *registry, cp__group *group) {
  cp__groups_on_idle(
      &registry->groups, group,
      cp__registry_awaits_late_echoes(registry, group->claimed_to));
}

bool cp__registry_is_confirmed(const cp__registry *registry,
                               const cp_conn *conn) {
  const cp__user *user = conn->user;
  return cp__subs_is_confirmed(&registry->subs, &user->sub);
}

/* Subscriptions. ---------------------------------------------------------- */

static size_t channel_of(void *ctx, const cp__sub *sub,
                         char out[CP__CHANNEL_MAX]) {
  cp__registry *registry = ctx;
  const cp__user *user;

  if (sub->kind == CP__SUB_ALL)
    return cp__channel_of_all(registry->prefix, out);
  if (sub->kind == CP__SUB_NODE)
    return cp__channel_of_node(registry->prefix, registry->instance, out);
  if (sub->kind == CP__SUB_GROUP)
    return cp__channel_of_group(
        registry->prefix,
        cp__group_name(cp__container_of(sub, const cp__group, sub)), out);
  user = cp__container_of(sub, const cp__user, sub);
  return cp__channel_of_user(registry->prefix,
                             cp_bytes_of(user->id, user->id_len), out);
}

static void on_user_confirmed(cp__user *user) {
  cp__list *it;

  for (it = user->conns.next; it != &user->conns; it = it->next)
    cp__conn_wake(cp__container_of(it, cp_conn, user_link));
}

static void on_confirmed(void *ctx, cp__sub *sub) {
  cp__registry *registry = ctx;

  if (sub->kind == CP__SUB_USER)
    on_user_confirmed(cp__container_of(sub, cp__user, sub));
  else if (sub->kind == CP__SUB_GROUP)
    cp__groups_on_confirmed(&registry->groups,
                            cp__container_of(sub, cp__group, sub));
}

static void on_idle(void *ctx, cp__sub *sub) {
  cp__registry *registry = ctx;

  if (sub->kind == CP__SUB_USER)
    forget_user(registry, cp__container_of(sub, cp__user, sub));
  else if (sub->kind == CP__SUB_GROUP)
    forget_group(registry, cp__container_of(sub, cp__group, sub));
}

static void on_synced(void *ctx, bool synced) {
  cp__registry *registry = ctx;
  registry->on_synced(registry->ctx, synced);
}

static void on_retry_due(cp__sweep_list *list, cp__timed *item) {
  (void)item;
  cp__subs_retry(&cp__container_of(list, cp__registry, retrying)->subs);
}

void cp__registry_turn(cp__registry *registry) {
  cp__groups_turn(&registry->groups);
  cp__subs_pump(&registry->subs);
  if (!cp__list_empty(&registry->subs.refused) &&
      cp__list_empty(&registry->retry.link))
    cp__timed_start(&registry->retrying, &registry->retry);
}

static const cp__subs_host subs_host = {channel_of, on_confirmed, on_idle,
                                        on_synced};

cp_bytes cp__target_channel(const char *prefix, const cp__target *target,
                            char out[CP__CHANNEL_MAX]) {
  size_t len;

  if (target->kind == CP__TO_USER)
    len = cp__channel_of_user(prefix, target->user, out);
  else if (target->kind == CP__TO_GROUP)
    len = cp__channel_of_group(prefix, target->user, out);
  else if (target->kind == CP__TO_CONN)
    len = cp__channel_of_node(prefix, target->conn.instance, out);
  else
    len = cp__channel_of_all(prefix, out);
  return cp_bytes_of(out, len);
}

/* Delivery. --------------------------------------------------------------- */

/* A message on its way to its recipients. */
typedef struct delivery {
  cp__registry *registry;
  cp_type type;
  cp_bytes body;
  cp__slice frame;
  cp__blob *deflated;  /* compressed; NULL: nobody could read it yet, or it is
                          not worth it */
  uint8_t window_bits; /* who has fewer gets `frame`; 0: nobody had any yet */
} delivery;

/* More than anybody has. */
#define NO_WINDOW UINT8_MAX

static void compress(delivery *d) {
  cp__peers *peers = d->registry->peers;
  cp__deflated deflated;

  d->window_bits = NO_WINDOW;
  if (!cp__deflater_run(peers->deflater, d->body, &deflated))
    return;
  d->deflated =
      cp__ws_encode_deflated(&peers->encoder, d->type, deflated.payload);
  if (d->deflated == NULL)
    return;
  d->window_bits = deflated.window_bits;
  d->registry->stats->compressed++;
}

static cp__slice choose_frame(delivery *d, const cp_conn *conn) {
  if (conn->window_bits == 0)
    return d->frame;
  if (d->window_bits == 0)
    compress(d);
  if (d->deflated == NULL || conn->window_bits < d->window_bits)
    return d->frame;
  return cp__slice_all(d->deflated);
}

static uint32_t queue_for_conn(cp_conn *conn, delivery *d) {
  return cp__conn_send(conn, choose_frame(d, conn));
}

static uint32_t queue_for_user(cp__user *user, delivery *d) {
  uint32_t n = 0;
  cp__list *it;

  for (it = user->conns.next; it != &user->conns; it = it->next)
    n += queue_for_conn(cp__container_of(it, cp_conn, user_link), d);
  return n;
}

static uint32_t queue_for_group(cp__group *group, delivery *d) {
  uint32_t n = 0;
  cp__list *it;

  for (it = group->members.next; it != &group->members; it = it->next)
    n += queue_for_conn(cp__container_of(it, cp__member, in_group)->conn, d);
  return n;
}

static uint32_t queue_for_all(cp__peers *peers, delivery *d) {
  cp_conn *conn;
  uint32_t n = 0;
  uint32_t i;

  for (i = 0; i < peers->n_slots; i++)
    if ((conn = cp__peers_at(peers, i)) != NULL)
      n += queue_for_conn(conn, d);
  return n;
}

static uint32_t queue_for_target(const cp__target *target, cp__user *user,
                                 delivery *d) {
  cp__peers *peers = d->registry->peers;
  cp_conn *conn;

  switch (target->kind) {
  case CP__TO_USER:
    return queue_for_user(user, d);
  case CP__TO_CONN:
    conn = cp__peers_find(peers, target->conn.serial);
    return conn != NULL ? queue_for_conn(conn, d) : 0;
  case CP__TO_GROUP:
    return queue_for_group(cp__groups_find(&d->registry->groups, target->user),
                           d);
  case CP__TO_CHANNEL: /* no connection's */
    return 0;
  case CP__TO_ALL:
    break;
  }
  return queue_for_all(peers, d);
}

static uint32_t count_malformed(cp__registry *registry) {
  registry->stats->malformed++;
  return 0;
}

/* How many did it? */
static uint32_t obey_one(cp__registry *registry, const cp__target *target,
                         const cp__order *order, cp_conn *conn) {
  if (target->newest != 0 && conn->serial > target->newest)
    return 0;
  return cp__order_obey(order, &registry->groups, conn, registry->instance);
}

static uint32_t obey(cp__registry *registry, const cp__target *target,
                     cp__user *user, cp_bytes body) {
  cp_conn *conn = NULL;
  cp__order order;
  uint32_t n = 0;
  cp__list *it;

  if (!cp__order_read(&order, (cp__kind)target->order, body))
    return count_malformed(registry);
  if (target->kind == CP__TO_CONN)
    conn = cp__peers_find(registry->peers, target->conn.serial);
  if (conn != NULL)
    return obey_one(registry, target, &order, conn);
  if (user == NULL)
    return 0;
  for (it = user->conns.next; it != &user->conns; it = it->next)
    n += obey_one(registry, target, &order,
                  cp__container_of(it, cp_conn, user_link));
  return n;
}

static bool has_members(const cp__registry *registry, cp_bytes group) {
  return cp__groups_find(&registry->groups, group) != NULL;
}

/* `user` is that of a CP__TO_USER target, already found. */
static uint32_t deliver(cp__registry *registry, const cp__target *target,
                        cp__user *user, cp_type type, cp_bytes body) {
  delivery d = {registry, type, body, {NULL, 0, 0}, NULL, 0};
  cp__blob *frame;
  uint32_t n;

  if (target->order != 0)
    return obey(registry, target, user, body);
  if (target->kind == CP__TO_GROUP && !has_members(registry, target->user))
    return 0;
  if (target->kind == CP__TO_USER && (user == NULL || user->n_conns == 0))
    return 0;
  frame = cp__ws_encode(&registry->peers->encoder, (int)type, body);
  if (frame == NULL) {
    registry->stats->queue_drops++;
    return 0;
  }
  d.frame = target->kind == CP__TO_ALL ? cp__peers_join(registry->peers, frame)
                                       : cp__slice_all(frame);
  n = queue_for_target(target, user, &d);
  cp__blob_unref(d.frame.blob);
  cp__blob_unref(d.deflated);
  return n;
}

cp__user *cp__registry_user_of(const cp__registry *registry,
                               const cp__target *target) {
  return target->kind == CP__TO_USER ? find_user(registry, target->user) : NULL;
}

uint32_t cp__registry_deliver(cp__registry *registry, const cp__target *target,
                              cp_type type, cp_bytes body) {
  return deliver(registry, target, cp__registry_user_of(registry, target), type,
                 body);
}

bool cp__registry_is_here(const cp__registry *registry, cp_bytes id) {
  const cp__user *user = find_user(registry, id);
  return user != NULL && user->n_conns > 0;
}

bool cp__registry_has(const cp__registry *registry, cp_conn_id conn) {
  return conn.instance == registry->instance &&
         cp__peers_find(registry->peers, conn.serial) != NULL;
}

static bool is_own_channel(const cp__registry *registry, cp_bytes channel) {
  return channel.len == registry->node_channel_len &&
         memcmp(channel.data, registry->node_channel, channel.len) == 0;
}

/* Which target is the channel's? Returns false for one that is not ours. */
static bool read_channel(const cp__registry *registry, cp_bytes channel,
                         const cp__envelope *envelope, cp__target *target) {
  const char *p = channel.data;
  size_t len = channel.len;

  if (len <= registry->prefix_len ||
      memcmp(p, registry->prefix, registry->prefix_len) != 0)
    return false;
  p += registry->prefix_len;
  len -= registry->prefix_len;
  if (len > 5 && memcmp(p, ":u:{", 4) == 0) {
    target->kind = CP__TO_USER;
    target->user = cp_bytes_of(p + 4, len - 5);
    return true;
  }
  if (len > 5 && memcmp(p, ":g:{", 4) == 0) {
    target->kind = CP__TO_GROUP;
    target->user = cp_bytes_of(p + 4, len - 5);
    return true;
  }
  if (len == 4 && memcmp(p, ":all", 4) == 0) {
    target->kind = CP__TO_ALL;
    return true;
  }
  target->kind = CP__TO_CONN;
  target->conn.serial = envelope->serial;
  return is_own_channel(registry, channel) &&
         (envelope->flags & CP__FIELD_SERIAL) != 0;
}

/* A message for whoever it is to, or an order for a user or a connection. */
static bool is_fit(const cp__registry *registry, const cp__envelope *envelope,
                   cp__target *target) {
  if (cp__kind_is_order(envelope->kind)) {
    target->order = (uint8_t)envelope->kind;
    return target->kind == CP__TO_USER || target->kind == CP__TO_CONN;
  }
  return (envelope->kind == CP__KIND_TEXT ||
          envelope->kind == CP__KIND_BINARY) &&
         envelope->body.len <= registry->max_message;
}

/* Tell the sender, if it wants to know. */
static uint32_t answer(cp__registry *registry, const cp__envelope *envelope,
                       uint32_t n) {
  if ((envelope->flags & CP__FIELD_REQUEST) == 0)
    return n;
  if (n > 0 && envelope->kind == CP__KIND_JOIN &&
      cp__groups_hold_answer(&registry->groups, envelope->body,
                             envelope->instance, envelope->request, n))
    return n;
  cp__receipts_answer(registry->receipts, envelope->instance, envelope->request,
                      n);
  return n;
}

/* What is for this node itself, not for connections. */
static uint32_t take_own(cp__registry *registry, const cp__envelope *envelope) {
  if (!cp__registry_came_before(registry, envelope, CP__DEDUP_RECEIPTS) &&
      !cp__receipts_on_answers(registry->receipts, envelope->body))
    return count_malformed(registry);
  return 0;
}

/* Is it for the node itself, not for connections? */
static bool take_greeting(cp__registry *registry, cp_bytes channel,
                          const cp__envelope *envelope) {
  bool is_welcome = envelope->kind == CP__KIND_WELCOME;

  if (envelope->kind != CP__KIND_HELLO && !is_welcome)
    return false;
  if (is_welcome == is_own_channel(registry, channel))
    cp__hello_on_spoken(registry->hello, envelope->instance, !is_welcome);
  return true;
}

uint32_t cp__registry_on_message(cp__registry *registry, cp_bytes channel,
                                 cp_bytes payload) {
  cp__envelope envelope;
  cp__target target = {CP__TO_ALL, {NULL, 0}, {0, 0}, 0, 0};
  cp__user *user;
  uint32_t n;

  registry->stats->cluster_in++;
  if (cp__envelope_read(&envelope, payload) != 0)
    return count_malformed(registry);
  if (take_greeting(registry, channel, &envelope))
    return 0;
  if (envelope.kind == CP__KIND_RECEIPT && is_own_channel(registry, channel))
    return take_own(registry, &envelope);
  if (!read_channel(registry, channel, &envelope, &target) ||
      !is_fit(registry, &envelope, &target))
    return count_malformed(registry);
  if (cp__registry_is_repeated(registry, &envelope, channel))
    return 0;
  user = cp__registry_user_of(registry, &target);
  if (cp__registry_is_duplicate(registry, &envelope, &target, user))
    return answer(registry, &envelope, 0);
  n = deliver(registry, &target, user,
              envelope.kind == CP__KIND_TEXT ? CP_TEXT : CP_BINARY,
              envelope.body);
  return answer(registry, &envelope, n);
}

/* Life. ------------------------------------------------------------------- */

void cp__registry_init(cp__registry *registry, cp__peers *peers,
                       cp__sweep *sweep, cp_transport *transport,
                       const cp_server_options *options, uint64_t instance,
                       const uint64_t seed[2],
                       void (*on_synced_cb)(void *ctx, bool synced),
                       void *ctx) {
  memset(registry, 0, sizeof *registry);
  registry->alloc = peers->alloc;
  registry->peers = peers;
  registry->stats = peers->stats;
  registry->instance = instance;
  registry->max_message = options->max_message;
  registry->max_conns_per_user = options->max_conns_per_user;
  registry->wait_ms = options->outbox_age_ms;
  registry->prefix_len = strlen(options->prefix);
  memcpy(registry->prefix, options->prefix, registry->prefix_len);
  registry->node_channel_len =
      cp__channel_of_node(registry->prefix, instance, registry->node_channel);
  registry->on_synced = on_synced_cb;
  registry->ctx = ctx;
  cp__map_init(&registry->users, peers->alloc, user_key, seed);
  cp__dedup_init(&registry->dedup, peers->alloc, seed,
                 transport->unordered != 0);
  cp__echoes_init(&registry->echoes, peers->alloc,
                  transport->local ? 0 : options->echo_bytes);
  registry->is_alone = transport->local != 0;
  cp__sweep_add_list(sweep, &registry->leaving, options->leave_delay_ms,
                     on_leave_due);
  cp__sweep_add_list(sweep, &registry->parting, options->outbox_age_ms,
                     on_parting_due);
  cp__sweep_add_list(sweep, &registry->retrying, RETRY_MS, on_retry_due);
  cp__timed_init(&registry->retry);
  cp__groups_init(&registry->groups, peers->alloc, sweep, &registry->subs,
                  options, seed);
  cp__subs_init(&registry->subs, transport, &subs_host, registry);
  cp__sub_init(&registry->all, CP__SUB_ALL);
  cp__sub_init(&registry->node, CP__SUB_NODE);
  cp__subs_join(&registry->subs, &registry->all);
  cp__subs_join(&registry->subs, &registry->node);
}

void cp__registry_finish(cp__registry *registry) {
  cp__map_node *node;

  while ((node = cp__map_any(&registry->users)) != NULL) {
    cp__user *user = cp__container_of(node, cp__user, node);
    assert(user->n_conns == 0);
    destroy_user(registry, user);
  }
  cp__map_finish(&registry->users);
  cp__groups_finish(&registry->groups);
  cp__dedup_finish(&registry->dedup);
  cp__echoes_finish(&registry->echoes);
}
