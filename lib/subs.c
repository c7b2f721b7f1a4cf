/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A transport forgets its subscriptions with its link, so the set stands here.
 * A sub that is wanted is in one of three lists: `wanted` until it is asked for
 * on the present link, then `asked`, or `refused`. When the link goes, all of
 * `asked` becomes `wanted` in one move; a sub knows by its epoch whether it is
 * asked for on the present link.
 *
 * After a link, `wanted` is asked for in batches: the next when the last is
 * confirmed. New subs are asked for at once, so a new user never waits behind
 * 100,000 old ones.
 *
 * Commands and confirmations are only counted, since they match first in, first
 * out. A sub whose last command is confirmed is what its last command made it;
 * so one that is left and wanted again before the first was confirmed needs no
 * special care, except where the transport could not take that command: it is
 * in `wanted` then, and what is confirmed is not what it waits for.
 *
 * Commands are sent from join, leave, pump and retry alone: what the transport
 * tells only moves subs between the lists. */

#include "subs.h"

#include <assert.h>

#define BATCH 512

void cp__subs_init(cp__subs *subs, cp_transport *transport,
                   const cp__subs_host *host, void *ctx) {
  subs->transport = transport;
  subs->host = host;
  subs->ctx = ctx;
  cp__list_init(&subs->wanted);
  cp__list_init(&subs->asked);
  cp__list_init(&subs->refused);
  subs->epoch = 0;
  subs->n_replaying = 0;
  subs->n_open = 0;
  subs->n_ended = 0;
  subs->linked = false;
  subs->synced = false;
}

void cp__sub_init(cp__sub *sub, cp__sub_kind kind) {
  cp__list_init(&sub->link);
  sub->epoch = 0;
  sub->kind = (uint8_t)kind;
  sub->n_ops = 0;
  sub->want = false;
  sub->replay = false;
  sub->named = false;
  sub->gap = CP__GAP_NONE;
}

bool cp__subs_is_confirmed(const cp__subs *subs, const cp__sub *sub) {
  return subs->linked && sub->want && sub->epoch == subs->epoch &&
         sub->n_ops == 0;
}

static void move_to(cp__list *list, cp__sub *sub) {
  cp__list_remove(&sub->link);
  cp__list_push_back(list, &sub->link);
}

static void set_synced(cp__subs *subs, bool synced) {
  if (subs->synced == synced)
    return;
  subs->synced = synced;
  subs->host->on_synced(subs->ctx, synced);
}

static void check_synced(cp__subs *subs) {
  set_synced(subs, subs->linked && subs->n_replaying == 0 &&
                       cp__list_empty(&subs->wanted) &&
                       cp__list_empty(&subs->refused));
}

/* Gaps. ------------------------------------------------------------------- */

static void set_gap(cp__subs *subs, cp__sub *sub, cp__gap_state state) {
  subs->n_open -= sub->gap == CP__GAP_OPEN;
  subs->n_ended -= sub->gap == CP__GAP_ENDED;
  sub->gap = state;
  subs->n_open += state == CP__GAP_OPEN;
  subs->n_ended += state == CP__GAP_ENDED;
}

bool cp__subs_is_replayed(const cp__subs *subs) {
  return subs->linked && subs->n_replaying == 0 &&
         cp__list_empty(&subs->wanted);
}

void cp__subs_open_gaps(cp__subs *subs) {
  cp__list *it;

  for (it = subs->refused.next; it != &subs->refused; it = it->next)
    set_gap(subs, cp__container_of(it, cp__sub, link), CP__GAP_OPEN);
}

void cp__subs_open_gap(cp__subs *subs, cp__sub *sub) {
  set_gap(subs, sub, CP__GAP_OPEN);
}

bool cp__subs_take_gap(cp__subs *subs, cp__sub *sub) {
  if (sub->gap != CP__GAP_ENDED)
    return false;
  set_gap(subs, sub, CP__GAP_NONE);
  return true;
}

/* Commands. --------------------------------------------------------------- */

typedef int (*command_fn)(cp_transport *, cp_bytes, void *);

/* Returns false if the transport could not take the command now. */
static bool command(cp__subs *subs, cp__sub *sub, command_fn fn) {
  char name[CP__CHANNEL_MAX];
  size_t len;

  if (sub->n_ops == UINT16_MAX)
    return false;
  len = subs->host->channel_of(subs->ctx, sub, name);
  /* The confirmation may come during the call, and `sub` go with it. */
  sub->n_ops++;
  if (fn(subs->transport, cp_bytes_of(name, len), sub) == 0)
    return true;
  sub->n_ops--;
  return false;
}

static bool can_ask(const cp__subs *subs) {
  return subs->linked && subs->transport != NULL;
}

static bool ask(cp__subs *subs, cp__sub *sub) {
  sub->epoch = subs->epoch;
  move_to(&subs->asked, sub);
  if (command(subs, sub, subs->transport->ops->subscribe))
    return true;
  sub->epoch = 0;
  move_to(&subs->wanted, sub);
  return false;
}

void cp__subs_join(cp__subs *subs, cp__sub *sub) {
  sub->want = true;
  if (!can_ask(subs))
    move_to(&subs->wanted, sub);
  else if (!ask(subs, sub))
    check_synced(subs);
}

static void idle_if_done(cp__subs *subs, cp__sub *sub) {
  if (!sub->want && sub->n_ops == 0)
    subs->host->on_idle(subs->ctx, sub);
}

static void end_replay(cp__subs *subs, cp__sub *sub) {
  if (!sub->replay)
    return;
  sub->replay = false;
  subs->n_replaying--;
}

void cp__subs_leave(cp__subs *subs, cp__sub *sub) {
  bool asked = can_ask(subs) && sub->epoch == subs->epoch;

  sub->want = false;
  sub->epoch = 0;
  set_gap(subs, sub, CP__GAP_NONE);
  cp__list_remove(&sub->link);
  /* If the command can't be sent, the channel stays subscribed for nobody until
   * the link ends: harmless, messages on it find no one. */
  if (asked && command(subs, sub, subs->transport->ops->unsubscribe))
    return;
  idle_if_done(subs, sub);
  check_synced(subs);
}

void cp__subs_on_confirmed(cp__subs *subs, cp__sub *sub, int status) {
  assert(sub->n_ops > 0);
  if (--sub->n_ops > 0)
    return;
  end_replay(subs, sub);
  if (!sub->want) {
    idle_if_done(subs, sub);
  } else if (sub->epoch != subs->epoch) {
    /* Left and wanted again, but not asked for again: it is in `wanted`. */
  } else if (status != 0) {
    sub->epoch = 0;
    move_to(&subs->refused, sub);
  } else {
    if (sub->gap == CP__GAP_OPEN)
      set_gap(subs, sub, CP__GAP_ENDED);
    subs->host->on_confirmed(subs->ctx, sub);
  }
  check_synced(subs);
}

/* A command that is under way will tell what became of it. */
void cp__subs_on_lost(cp__subs *subs, cp__sub *sub) {
  if (!sub->want)
    return;
  set_gap(subs, sub, CP__GAP_OPEN);
  if (sub->epoch != subs->epoch || sub->n_ops > 0)
    return;
  sub->epoch = 0;
  move_to(&subs->wanted, sub);
  check_synced(subs);
}

void cp__subs_on_changed(cp__subs *subs) {
  cp__list_splice(&subs->wanted, &subs->refused);
}

void cp__subs_on_linked(cp__subs *subs) {
  subs->epoch++;
  subs->linked = true;
  check_synced(subs);
}

void cp__subs_on_unlinked(cp__subs *subs) {
  subs->linked = false;
  cp__list_splice(&subs->wanted, &subs->asked);
  cp__list_splice(&subs->wanted, &subs->refused);
  set_synced(subs, false);
}

void cp__subs_pump(cp__subs *subs) {
  cp__list *first;

  if (!can_ask(subs) || subs->n_replaying > 0)
    return;
  while (subs->n_replaying < BATCH &&
         (first = cp__list_first(&subs->wanted)) != NULL) {
    cp__sub *sub = cp__container_of(first, cp__sub, link);
    sub->replay = true;
    subs->n_replaying++;
    if (!ask(subs, sub)) {
      end_replay(subs, sub);
      return;
    }
  }
}

void cp__subs_retry(cp__subs *subs) {
  cp__list_splice(&subs->wanted, &subs->refused);
  cp__subs_pump(subs);
}

void cp__subs_close(cp__subs *subs) {
  subs->transport = NULL;
}
