/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What may be sent, and what has to wait. A slot has two lanes, one for
 * publishes and one for subscriptions, which go by different links anyway.
 *
 * The happy path: nothing waits in the lane, its slot's owner is linked, and
 * the op goes there at once.
 *
 * An op that came back joins those that wait, at the place that its number
 * gives it, and newer ops of its lane queue up behind. (A publish fails if one
 * of these was already out behind it, and was published.) Each pump sends what
 * may go: an op may while nothing of its lane is out, or only to the same
 * master, and nothing older of its lane has to wait. So a lane's ops keep their
 * order, wherever they go, and no lane waits for another.
 *
 * A slot whose owner is away, or who has none: publishes wait for one, within
 * the host's bytes and age, and then fail with CP_E_TIMEOUT. Subscriptions
 * don't, unless the owner was never tried: the host asks for them again when
 * something changes. A host that wants nothing to wait gets CP_E_DOWN.
 *
 * A new owner has no subscribers yet: other nodes return when they have heard
 * of it. So for settle_ms the lane of publishes is wary: it sends one op at a
 * time, and what reached nobody is sent again, until something has reached
 * somebody. Somebody may have had it all the same: a master and its replicas
 * pass on to each other what is published, and each counts its own subscribers
 * alone. Receivers know it by its number (dedup.h).
 *
 * A master that takes subscriptions away may be such a replica now, which goes
 * on to take what is published. That is found out soon; until then its lanes
 * are wary, too.
 *
 * A shard never answers an op from inside the call that hands it over, except
 * that it may break then, and answer all it has with CP_E_DOWN. The host calls
 * nothing back. So nothing but pump takes ops out of the lists of those that
 * wait while pump walks through them. */
#include "transport_cluster.h"

#define WARY_MAX_MS 800 /* between two attempts, at most */
#define DOUBT_MS    500 /* until the slots are known, more than enough */

static uint64_t now_ms(const cp__transport_cluster *self) {
  return uv_now(self->host->loop);
}

static size_t size_of(const cp__op *op) {
  return sizeof *op + op->channel_len + op->payload_len;
}

static cp__lane *lane_of(cp__transport_cluster *self, const cp__op *op) {
  cp__slot *slot = &self->slots[op->slot];
  return cp__op_publishes(op) ? &slot->publishes : &slot->subscriptions;
}

static bool is_wary(const cp__transport_cluster *self, const cp__op *op) {
  return op->kind == CP__OP_PUBLISH &&
         now_ms(self) < self->slots[op->slot].wary_until;
}

/* Sending. ---------------------------------------------------------------- */

static cp__master *target_of(const cp__transport_cluster *self,
                             const cp__op *op) {
  uint16_t owner = self->slots[op->slot].owner;

  if (op->asking != NULL)
    return op->asking;
  return owner != CP__NO_MASTER ? self->masters[owner] : NULL;
}

static bool may_go(cp__transport_cluster *self, const cp__op *op,
                   const cp__master *target) {
  const cp__lane *lane = lane_of(self, op);

  return target != NULL && target->linked &&
         (lane->n_out == 0 ||
          (lane->at == target->index && !is_wary(self, op)));
}

static bool asks_for(const cp__list *list, const cp__master *master) {
  const cp__list *it;

  for (it = list->next; it != list; it = it->next)
    if (cp__container_of(it, const cp__op, link)->asking == master)
      return true;
  return false;
}

bool cp__cluster_is_asked_for(const cp__transport_cluster *self,
                              const cp__master *master) {
  return asks_for(&self->returned, master);
}

static int hand_over(cp__op *op, cp__transport_redis *shard) {
  const cp_transport_ops *ops = shard->base.ops;
  cp_bytes payload = cp__op_payload(op);

  if (op->kind == CP__OP_PLAIN)
    return cp__redis_publish_plain(shard, cp__op_channel(op), &payload, 1, op);
  if (op->kind == CP__OP_PUBLISH)
    return ops->publish(&shard->base, cp__op_channel(op), &payload, 1, op);
  if (op->kind == CP__OP_SUBSCRIBE)
    return ops->subscribe(&shard->base, cp__op_channel(op), op);
  return ops->unsubscribe(&shard->base, cp__op_channel(op), op);
}

/* ASKING counts for the next command alone, so that must be this one. */
static int ask_and_hand_over(cp__op *op, cp__transport_redis *shard) {
  bool is_publish = cp__op_publishes(op);
  int rc = cp__redis_ask(shard,
                         is_publish ? CP__REDIS_PUBLISH : CP__REDIS_SUBSCRIBE);

  if (rc == 0)
    rc = hand_over(op, shard);
  if (rc == 0 && !is_publish)
    cp__redis_seal_batch(shard);
  return rc;
}

/* If it returns 0, the op may be gone. */
static int send_to(cp__transport_cluster *self, cp__op *op,
                   cp__master *master) {
  cp__lane *lane = lane_of(self, op);
  bool asking = op->asking != NULL;
  int rc;

  op->at = master;
  lane->at = master->index;
  lane->n_out++;
  master->n_out++;
  rc = asking ? ask_and_hand_over(op, master->shard)
              : hand_over(op, master->shard);
  if (rc == 0)
    return 0;
  lane->n_out--;
  master->n_out--;
  return rc;
}

/* Waiting. ---------------------------------------------------------------- */

static void retry_at(cp__transport_cluster *self, uint64_t ms) {
  if (self->retry_due_ms == 0 || ms < self->retry_due_ms)
    self->retry_due_ms = ms;
  cp__cluster_arm(self);
}

static int hold(cp__transport_cluster *self, cp__op *op, size_t max) {
  if (self->held_bytes > max || size_of(op) > max - self->held_bytes)
    return CP_E_FULL;
  self->held_bytes += size_of(op);
  lane_of(self, op)->n_held++;
  cp__list_push_back(&self->held, &op->link);
  retry_at(self, now_ms(self) + CP__REFUSED_MS);
  return 0;
}

/* Behind those that are older. */
void cp__cluster_hold_returned(cp__transport_cluster *self, cp__op *op) {
  cp__list *place = &self->returned;

  while (place->prev != &self->returned &&
         cp__container_of(place->prev, cp__op, link)->number > op->number)
    place = place->prev;
  cp__list_insert_before(place, &op->link);
  lane_of(self, op)->n_held++;
  self->pump_due = true;
  retry_at(self,
           op->retry_ms > 0 ? op->retry_ms : now_ms(self) + CP__REFUSED_MS);
}

/* Does the host want what is for an absent master to wait? */
static bool waits(const cp__transport_cluster *self, const cp__op *op) {
  return op->kind == CP__OP_PUBLISH && self->host->wait_ms > 0 &&
         self->host->wait_bytes > 0;
}

static uint64_t patience_ms(const cp__transport_cluster *self,
                            const cp__op *op) {
  return waits(self, op) ? self->host->wait_ms
                         : self->model->options.probe_timeout_ms;
}

/* Out of its list; `bytes` is the list's account, or NULL. */
static void release(cp__transport_cluster *self, cp__op *op, size_t *bytes) {
  cp__list_remove(&op->link);
  lane_of(self, op)->n_held--;
  if (bytes != NULL)
    *bytes -= size_of(op);
}

static void restore(cp__transport_cluster *self, cp__op *op, cp__list *place,
                    size_t *bytes) {
  cp__list_insert_before(place, &op->link);
  lane_of(self, op)->n_held++;
  if (bytes != NULL)
    *bytes += size_of(op);
}

/* It was refused, a newer one behind it was not: it would be out of order, and
 * receivers would take it for a duplicate. */
static bool is_overtaken(const cp__transport_cluster *self, const cp__op *op) {
  return cp__op_publishes(op) && op->number < self->slots[op->slot].published;
}

static void pump_op(cp__transport_cluster *self, cp__op *op, cp__list *next,
                    size_t *bytes) {
  cp__lane *lane = lane_of(self, op);
  cp__master *target = target_of(self, op);
  uint64_t now = now_ms(self);

  if (lane->pass == self->pass)
    return;
  if (is_overtaken(self, op)) {
    release(self, op, bytes);
    cp__op_fail(self, op, CP_E_DOWN);
    return;
  }
  if (now - op->born_ms >= patience_ms(self, op)) {
    release(self, op, bytes);
    cp__op_fail(self, op, waits(self, op) ? CP_E_TIMEOUT : CP_E_DOWN);
    return;
  }
  if (now >= op->retry_ms && may_go(self, op, target)) {
    release(self, op, bytes);
    if (send_to(self, op, target) == 0)
      return;
    restore(self, op, next, bytes);
  }
  lane->pass = self->pass;
}

static void pump_list(cp__transport_cluster *self, cp__list *list,
                      size_t *bytes) {
  cp__list *it = list->next;

  while (it != list) {
    cp__list *next = it->next;
    pump_op(self, cp__container_of(it, cp__op, link), next, bytes);
    it = next;
  }
}

void cp__cluster_pump(cp__transport_cluster *self) {
  self->pump_due = false;
  self->retry_due_ms = 0;
  self->pass++;
  pump_list(self, &self->returned, NULL);
  pump_list(self, &self->held, &self->held_bytes);
  if (!cp__list_empty(&self->returned) || !cp__list_empty(&self->held))
    retry_at(self, now_ms(self) + CP__REFUSED_MS);
}

/* When no link is left, a host that takes publishes back keeps them for the
 * next one. */
static void end_held(cp__transport_cluster *self, cp__op *op, int status) {
  if (status == CP_E_DOWN && op->kind == CP__OP_PUBLISH)
    cp__op_give_back(self, op);
  else
    cp__op_fail(self, op, status);
}

static void fail_list(cp__transport_cluster *self, cp__list *list,
                      size_t *bytes, int status) {
  cp__list *first;

  while ((first = cp__list_first(list)) != NULL) {
    cp__op *op = cp__container_of(first, cp__op, link);
    release(self, op, bytes);
    end_held(self, op, status);
  }
}

void cp__cluster_fail_held(cp__transport_cluster *self, int status) {
  fail_list(self, &self->returned, NULL, status);
  fail_list(self, &self->held, &self->held_bytes, status);
}

/* Coming and going. -------------------------------------------------------- */

void cp__cluster_come_back(cp__transport_cluster *self, cp__op *op) {
  cp__lane *lane = lane_of(self, op);

  op->at->n_out--;
  if (--lane->n_out == 0 && lane->n_held > 0)
    self->pump_due = true;
}

static void be_wary_for(cp__transport_cluster *self, uint16_t slot,
                        uint64_t ms) {
  uint64_t until = now_ms(self) + ms;

  if (self->base.incarnation > 0 && /* others may have had another owner */
      self->slots[slot].wary_until < until)
    self->slots[slot].wary_until = until;
}

void cp__cluster_be_wary(cp__transport_cluster *self, uint16_t slot) {
  be_wary_for(self, slot, self->host->settle_ms);
}

void cp__cluster_doubt(const cp__master *master, uint16_t slot) {
  cp__transport_cluster *self = master->cluster;
  uint64_t ms =
      DOUBT_MS < self->host->settle_ms ? DOUBT_MS : self->host->settle_ms;

  if (self->slots[slot].owner == master->index)
    be_wary_for(self, slot, ms);
}

/* Each time twice as long. */
static uint64_t wary_pause(const cp__op *op) {
  uint64_t ms = CP__REFUSED_MS / 2;
  unsigned i;

  for (i = 0; i < op->n_unheard && ms < WARY_MAX_MS; i++)
    ms *= 2;
  return ms;
}

bool cp__cluster_try_again(cp__transport_cluster *self, cp__op *op,
                           uint32_t subscribers) {
  uint64_t now = now_ms(self);
  uint64_t pause = wary_pause(op);

  if (subscribers > 0 && op->kind == CP__OP_PUBLISH)
    self->slots[op->slot].wary_until = 0;
  if (!is_wary(self, op) || self->state != CP__CLUSTER_LINKED ||
      lane_of(self, op)->n_out > 0 || /* newer ones may have got through */
      now + pause - op->born_ms >= patience_ms(self, op))
    return false;
  op->n_unheard++;
  op->asking = NULL;
  op->retry_ms = now + pause;
  cp__cluster_hold_returned(self, op);
  return true;
}

bool cp__cluster_keep(cp__transport_cluster *self, cp__op *op, int status) {
  if (status != CP_E_DOWN || !waits(self, op) ||
      self->state != CP__CLUSTER_LINKED)
    return false;
  op->asking = NULL;
  op->retry_ms = 0;
  cp__cluster_hold_returned(self, op);
  return true;
}

/* Is somebody about to take it? */
int cp__cluster_dispatch(cp__transport_cluster *self, cp__op *op) {
  const cp__lane *lane = lane_of(self, op);
  cp__master *target = target_of(self, op);

  if (lane->n_held == 0 && may_go(self, op, target))
    return send_to(self, op, target);
  if (waits(self, op))
    return hold(self, op, self->host->wait_bytes);
  if (lane->n_held > 0 || lane->n_out > 0 ||
      (target != NULL && !target->linked && !target->failed))
    return hold(self, op, self->model->options.max_queue);
  return CP_E_DOWN;
}
