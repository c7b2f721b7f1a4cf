/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What the host asks for, and the answers. Everything is an op, which keeps a
 * copy of its channel and payload, since it may have to be sent again
 * elsewhere.
 *
 * The happy path: an op goes to the shard of its slot's owner, which answers
 * it.
 *
 * An op that is answered by MOVED, ASK, TRYAGAIN and the like was not run: it
 * waits, and is sent again. So is a publish that a shard had not yet written
 * when it broke. One that was written may have reached somebody, and so may
 * newer ones behind it: it fails with CP_E_CLOSED. Who waits, and for how long:
 * transport_cluster_queue.c.
 *
 * A master that turns replica takes its subscriptions away, answers what is
 * published then that nobody was there, and both come by different links. So
 * nobody is told "nobody" at once: the news may change how that is judged. */
#include "transport_cluster.h"

#include <string.h>

#include "bytes.h"

#define LINGER_MS 20

static cp__transport_cluster *from_base(cp_transport *transport) {
  return cp__container_of(transport, cp__transport_cluster, base);
}

static uint64_t now_ms(const cp__transport_cluster *self) {
  return uv_now(self->host->loop);
}

/* Ops. -------------------------------------------------------------------- */

cp_bytes cp__op_channel(const cp__op *op) {
  return cp_bytes_of(op->bytes, op->channel_len);
}

cp_bytes cp__op_payload(const cp__op *op) {
  return cp_bytes_of(op->bytes + op->channel_len, op->payload_len);
}

static cp__op *create_op(cp__transport_cluster *self, cp__op_kind kind,
                         cp_bytes channel, size_t payload_len, void *token) {
  cp__op *op = cp__malloc(self->alloc, sizeof *op + channel.len + payload_len);

  if (op == NULL)
    return NULL;
  memset(op, 0, sizeof *op);
  cp__list_init(&op->link);
  op->kind = (uint8_t)kind;
  op->token = token;
  op->number = self->n_ops++;
  op->born_ms = now_ms(self);
  op->slot = kind == CP__OP_PLAIN ? CP__PLAIN_SLOT : cp__slot_of(channel);
  op->channel_len = channel.len;
  op->payload_len = payload_len;
  if (channel.len > 0)
    memcpy(op->bytes, channel.data, channel.len);
  if (cp__op_publishes(op))
    self->n_publishes++;
  return op;
}

static void destroy_op(cp__transport_cluster *self, cp__op *op) {
  if (cp__op_publishes(op))
    self->n_publishes--;
  cp__free(self->alloc, op);
}

static cp__op *find_sub(const cp__transport_cluster *self, cp_bytes channel) {
  cp__map_node *node = cp__map_find(&self->subs, channel);
  return node != NULL ? cp__container_of(node, cp__op, node) : NULL;
}

static void forget_sub(cp__transport_cluster *self, cp__op *op) {
  if (!op->left)
    cp__map_remove(&self->subs, &op->node);
  op->left = true;
}

/* The end of an op that is in no list. */
static void answer(cp__transport_cluster *self, cp__op *op, int status,
                   uint32_t subscribers) {
  const cp_transport_host *host = self->host;
  bool publishes = cp__op_publishes(op);
  void *token = op->token;

  if (op->kind == CP__OP_SUBSCRIBE)
    forget_sub(self, op);
  destroy_op(self, op);
  if (!publishes)
    host->on_confirmed(host->ctx, token, status);
  else if (token != NULL)
    host->on_published(host->ctx, token, status, subscribers);
}

/* What is not subscribed anywhere needs no UNSUBSCRIBE. */
void cp__op_fail(cp__transport_cluster *self, cp__op *op, int status) {
  if (op->kind == CP__OP_UNSUBSCRIBE && status == CP_E_DOWN)
    status = 0;
  answer(self, op, status, 0);
}

void cp__op_give_back(cp__transport_cluster *self, cp__op *op) {
  const cp_transport_host *host = self->host;

  if (op->token == NULL || host->on_unanswered == NULL) {
    cp__op_fail(self, op, CP_E_DOWN);
    return;
  }
  host->on_unanswered(host->ctx, op->token, 0, cp__op_channel(op),
                      cp__op_payload(op));
  destroy_op(self, op);
}

/* Answers. ---------------------------------------------------------------- */

/* Is it to be told to somebody that nobody was there? */
static bool must_linger(const cp__transport_cluster *self, const cp__op *op,
                        int status, uint32_t subscribers) {
  return status == 0 && subscribers == 0 && op->kind == CP__OP_PUBLISH &&
         op->token != NULL && op->token != self->host->unhurried;
}

static void linger(cp__transport_cluster *self, cp__op *op) {
  op->retry_ms = now_ms(self) + LINGER_MS;
  cp__list_push_back(&self->lingering, &op->link);
  if (cp__list_first(&self->lingering) == &op->link)
    cp__cluster_arm(self);
}

uint64_t cp__cluster_lingers_until(const cp__transport_cluster *self) {
  const cp__list *first = self->lingering.next;
  return first != &self->lingering
             ? cp__container_of(first, const cp__op, link)->retry_ms
             : 0;
}

void cp__cluster_end_lingering(cp__transport_cluster *self, uint64_t until_ms) {
  while (!cp__list_empty(&self->lingering) &&
         cp__cluster_lingers_until(self) <= until_ms)
    answer(self, cp__container_of(cp__list_pop(&self->lingering), cp__op, link),
           0, 0);
}

void cp__cluster_on_published(void *ctx, void *token, int status,
                              uint32_t subscribers) {
  cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;
  cp__op *op = token;

  cp__cluster_come_back(self, op);
  if (status == 0 && self->slots[op->slot].published < op->number)
    self->slots[op->slot].published = op->number;
  if (status == 0 ? cp__cluster_try_again(self, op, subscribers)
                  : cp__cluster_keep(self, op, status))
    return;
  /* Others may not have followed the slot yet. */
  if (status == 0 && op->n_redirects > 0)
    cp__cluster_changed(self);
  if (must_linger(self, op, status, subscribers))
    linger(self, op);
  else
    answer(self, op, status, subscribers);
}

void cp__cluster_on_confirmed(void *ctx, void *token, int status) {
  cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;
  const cp_transport_host *host = self->host;
  cp__op *op = token;

  cp__cluster_come_back(self, op);
  if (status != 0) {
    cp__op_fail(self, op, status);
  } else if (op->kind == CP__OP_UNSUBSCRIBE || op->left) {
    answer(self, op, 0, 0);
  } else {
    op->confirmed = true;
    cp__list_push_back(&master->subs, &op->link);
    host->on_confirmed(host->ctx, op->token, 0);
  }
}

/* Take a subscription off its master. */
static void drop_sub(cp__transport_cluster *self, cp__op *op) {
  cp__list_remove(&op->link);
  forget_sub(self, op);
  destroy_op(self, op);
}

static void lose_sub(cp__master *master, cp__op *op) {
  const cp_transport_host *host = master->cluster->host;
  void *token = op->token;

  drop_sub(master->cluster, op);
  if (host->on_lost != NULL)
    host->on_lost(host->ctx, token, master->proven_ms);
}

void cp__cluster_lose_subs(cp__master *master) {
  cp__list *first;

  while ((first = cp__list_first(&master->subs)) != NULL)
    lose_sub(master, cp__container_of(first, cp__op, link));
}

void cp__cluster_forget_subs(cp__master *master) {
  cp__list *first;

  while ((first = cp__list_first(&master->subs)) != NULL)
    drop_sub(master->cluster, cp__container_of(first, cp__op, link));
}

/* Redirects. -------------------------------------------------------------- */

static cp__master *named_by(cp__master *master, const cp__redirect *redirect) {
  cp_bytes name =
      redirect->host.len > 0 ? redirect->host : cp_str(master->name);

  return cp__cluster_master_at(master->cluster, name, redirect->port);
}

static void follow(cp__master *master, const cp__redirect *redirect) {
  cp__master *owner = named_by(master, redirect);

  if (owner != NULL)
    cp__cluster_set_owner(master->cluster, redirect->slot, owner);
}

/* The probe, or its channel, belongs elsewhere. If another channel was chosen
 * meanwhile, this is an old story. */
static bool on_probe_error(cp__master *master, const cp__redirect *redirect) {
  if (redirect->kind != CP__REDIRECT_MOVED)
    return false;
  follow(master, redirect);
  cp__cluster_want_topology(master->cluster);
  return cp__cluster_keep_probe(master);
}

/* One that has no slots yet is not linked: what is to go there is tried again
 * where it came from, until the slot has moved. */
static cp__master *who_is_asked(cp__master *master,
                                const cp__redirect *redirect) {
  cp__master *asked = named_by(master, redirect);
  return asked != NULL && asked->linked ? asked : NULL;
}

/* What is sent to and fro takes a rest from time to time. */
#define HASTY_REDIRECTS 4

static void redirect_op(cp__master *master, cp__op *op,
                        const cp__redirect *redirect) {
  uint64_t rest_until = now_ms(master->cluster) + CP__REFUSED_MS;

  op->n_redirects++;
  op->asking = NULL;
  op->retry_ms = 0;
  if (redirect->kind == CP__REDIRECT_MOVED)
    follow(master, redirect);
  else if (redirect->kind == CP__REDIRECT_ASK)
    op->asking = who_is_asked(master, redirect);
  else /* one at a time, until it is clear who takes them */
    cp__cluster_be_wary(master->cluster, op->slot);
  if ((redirect->kind != CP__REDIRECT_MOVED && op->asking == NULL) ||
      op->n_redirects > HASTY_REDIRECTS)
    op->retry_ms = rest_until;
}

bool cp__cluster_on_error(void *ctx, cp__redis_kind kind, void *token,
                          cp_bytes error) {
  cp__master *master = ctx;
  cp__transport_cluster *self = master->cluster;
  cp__op *op = token;
  cp__redirect redirect;

  cp__redirect_read(&redirect, error);
  if (redirect.kind == CP__REDIRECT_NONE)
    return false;
  if (kind == CP__REDIS_NODE_CHANNEL || kind == CP__REDIS_PROBE_PUBLISH)
    return on_probe_error(master, &redirect);
  cp__cluster_come_back(self, op);
  redirect_op(master, op, &redirect);
  cp__cluster_want_topology(self);
  cp__cluster_hold_returned(self, op);
  return true;
}

/* Pushes. ----------------------------------------------------------------- */

/* A slot that went away takes its subscriptions with it: Redis tells of each by
 * a sunsubscribe. If it comes while the same channel's UNSUBSCRIBE is under way
 * nobody can tell the two apart: it passes for the answer, and the true answer,
 * MOVED, comes behind, when something else may be waiting for its own. MOVED
 * names its slot, so that shows. (If both are of one slot, the next one gets
 * it, and the last one's is left over.) */
static bool is_stray_error(int kind, const void *token, cp_bytes error) {
  cp__redirect redirect;

  cp__redirect_read(&redirect, error);
  if (redirect.kind != CP__REDIRECT_MOVED)
    return false;
  if (kind == CP__REDIS_SUBSCRIBE || kind == CP__REDIS_UNSUBSCRIBE)
    return ((const cp__op *)token)->slot != redirect.slot;
  if (kind == CP__REDIS_NODE_CHANNEL)
    return cp__slot_of(cp_str(token)) != redirect.slot;
  return kind == -1;
}

static bool is_sunsubscribe(const cp__resp_reply *reply) {
  return reply->n_nodes == 4 && reply->nodes[0].type == CP__RESP_ARRAY &&
         cp__bytes_equal(reply->nodes[1].text, cp_str("sunsubscribe"));
}

/* If it is that of the node's own channel, perhaps all are lost. */
static void on_slot_lost(cp__master *master, cp_bytes channel) {
  bool all = cp__bytes_equal(channel, cp__master_channel(master));
  unsigned slot;

  if (!all)
    cp__cluster_doubt(master, cp__slot_of(channel));
  for (slot = 0; all && slot < CP__N_SLOTS; slot++)
    cp__cluster_doubt(master, (uint16_t)slot);
  cp__cluster_expect_news(master->cluster);
}

bool cp__cluster_on_push(void *ctx, int kind, void *token,
                         const cp__resp_reply *reply) {
  cp__master *master = ctx;
  cp__op *op;

  if (reply->nodes[0].type == CP__RESP_ERROR)
    return is_stray_error(kind, token, reply->nodes[0].text);
  if (!is_sunsubscribe(reply))
    return false;
  if (kind == CP__REDIS_UNSUBSCRIBE &&
      cp__bytes_equal(reply->nodes[2].text, cp__op_channel(token)))
    return false;
  on_slot_lost(master, reply->nodes[2].text);
  op = find_sub(master->cluster, reply->nodes[2].text);
  if (op != NULL && op->confirmed && op->at == master)
    lose_sub(master, op);
  return true;
}

/* What the host calls. ---------------------------------------------------- */

static int check(const cp__transport_cluster *self) {
  return self->state == CP__CLUSTER_LINKED ? 0 : CP_E_DOWN;
}

static int publish(cp__transport_cluster *self, cp__op_kind kind,
                   cp_bytes channel, const cp_bytes *parts, size_t n,
                   void *token) {
  size_t len = 0;
  cp__op *op;
  char *place;
  size_t i;
  int rc = check(self);

  if (rc != 0)
    return rc;
  for (i = 0; i < n; i++)
    len += parts[i].len;
  op = create_op(self, kind, channel, len, token);
  if (op == NULL)
    return CP_E_NOMEM;
  place = op->bytes + channel.len;
  for (i = 0; i < n; i++) {
    if (parts[i].len > 0)
      memcpy(place, parts[i].data, parts[i].len);
    place += parts[i].len;
  }
  rc = cp__cluster_dispatch(self, op);
  if (rc != 0)
    destroy_op(self, op);
  return rc;
}

int cp__cluster_publish(cp_transport *transport, cp_bytes channel,
                        const cp_bytes *parts, size_t n, void *token) {
  return publish(from_base(transport), CP__OP_PUBLISH, channel, parts, n,
                 token);
}

int cp__cluster_publish_plain(cp_transport *transport, cp_bytes channel,
                              const cp_bytes *parts, size_t n, void *token) {
  return publish(from_base(transport), CP__OP_PLAIN, channel, parts, n, token);
}

/* A master that is away is no reason to try the next channel any later: that
 * one is answered as failed. */
static int request(cp__transport_cluster *self, cp__op *op) {
  int rc = cp__cluster_dispatch(self, op);

  if (rc == CP_E_DOWN) {
    cp__op_fail(self, op, CP_E_DOWN);
    return 0;
  }
  if (rc == 0)
    return 0;
  if (op->kind == CP__OP_SUBSCRIBE)
    forget_sub(self, op);
  destroy_op(self, op);
  return rc;
}

static int check_request(const cp__transport_cluster *self) {
  return self->host->publish_only ? CP_E_STATE : check(self);
}

/* From here on it is left, whatever becomes of the command. */
static void leave(cp__transport_cluster *self, cp_bytes channel) {
  cp__op *op = find_sub(self, channel);

  if (op == NULL)
    return;
  if (op->confirmed)
    drop_sub(self, op);
  else
    forget_sub(self, op);
}

int cp__cluster_subscribe(cp_transport *transport, cp_bytes channel,
                          void *token) {
  cp__transport_cluster *self = from_base(transport);
  cp__op *op;
  int rc = check_request(self);

  if (rc != 0)
    return rc;
  op = create_op(self, CP__OP_SUBSCRIBE, channel, 0, token);
  if (op == NULL)
    return CP_E_NOMEM;
  leave(self, channel);
  rc = cp__map_insert(&self->subs, &op->node);
  if (rc == 0)
    return request(self, op);
  destroy_op(self, op);
  return rc;
}

int cp__cluster_unsubscribe(cp_transport *transport, cp_bytes channel,
                            void *token) {
  cp__transport_cluster *self = from_base(transport);
  cp__op *op;
  int rc = check_request(self);

  if (rc != 0)
    return rc;
  leave(self, channel);
  op = create_op(self, CP__OP_UNSUBSCRIBE, channel, 0, token);
  return op != NULL ? request(self, op) : CP_E_NOMEM;
}
