/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What is published while the link is broken reaches everybody but this node.
 * A break is noticed late: so the gap begins at the last proof that everything
 * came through, and ends when all that is wanted is subscribed again.
 *
 * A lost link concerns all users. Where there are several servers, one of them
 * may be lost, or part of the channels move: then the subs themselves know
 * whose gap it is, first open, then ended; those who are in a group whose
 * channel was lost are concerned too, and all are if it was the channel of
 * broadcasts, or the node's own. What Redis refuses to subscribe again keeps
 * its gap open, and holds up nobody else's. A new channel has one, too, if its
 * user is open before it is confirmed, or if it takes long for a group. */

#include "gaps.h"

#include <stdio.h>
#include <uv.h>

void cp__gaps_init(cp__gaps *gaps, cp__registry *registry) {
  gaps->registry = registry;
  gaps->proven_ms = 0;
  gaps->doubt_ms = CP__GAP_NEVER;
  gaps->all_ms = CP__GAP_NEVER;
  gaps->some_ms = CP__GAP_NEVER;
  gaps->reason[0] = '\0';
}

static uint64_t min(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

/* What was missed before belongs to the gap before. */
void cp__gaps_on_linked(cp__gaps *gaps, uint64_t now_ms) {
  gaps->proven_ms = now_ms;
  gaps->doubt_ms = CP__GAP_NEVER;
}

void cp__gaps_on_proven(cp__gaps *gaps, uint64_t since_ms) {
  if (since_ms > gaps->proven_ms)
    gaps->proven_ms = since_ms;
}

void cp__gaps_on_doubt(cp__gaps *gaps, uint64_t since_ms) {
  gaps->doubt_ms = since_ms;
}

static bool is_any(const cp__gaps *gaps) {
  const cp__subs *subs = &gaps->registry->subs;
  return gaps->all_ms != CP__GAP_NEVER || subs->n_open + subs->n_ended > 0;
}

/* The cause is the first one's. */
static void note_reason(cp__gaps *gaps, const char *reason) {
  if (!is_any(gaps))
    snprintf(gaps->reason, sizeof gaps->reason, "%s", reason);
}

void cp__gaps_on_unlinked(cp__gaps *gaps, const char *reason) {
  note_reason(gaps, reason);
  gaps->all_ms = min(gaps->all_ms, min(gaps->proven_ms, gaps->doubt_ms));
}

/* Those who had a gap before may all have left. */
static void note_some(cp__gaps *gaps, uint64_t since_ms) {
  const cp__subs *subs = &gaps->registry->subs;

  if (subs->n_open + subs->n_ended == 0)
    gaps->some_ms = since_ms;
  else
    gaps->some_ms = min(gaps->some_ms, since_ms);
}

void cp__gaps_on_lost(cp__gaps *gaps, uint64_t since_ms) {
  note_reason(gaps, "a part of the channels was lost");
  note_some(gaps, since_ms);
}

void cp__gaps_on_late(cp__gaps *gaps, cp__sub *sub, uint64_t since_ms) {
  cp__subs *subs = &gaps->registry->subs;

  if (!subs->linked) /* then it is everybody's gap, or before the first link */
    return;
  note_reason(gaps, "a channel was confirmed late");
  note_some(gaps, since_ms);
  cp__subs_open_gap(subs, sub);
}

bool cp__gaps_is_due(const cp__gaps *gaps) {
  const cp__subs *subs = &gaps->registry->subs;

  return (gaps->all_ms != CP__GAP_NEVER || subs->n_ended > 0) &&
         cp__subs_is_replayed(subs);
}

/* Who is concerned. ------------------------------------------------------- */

static cp__user *user_of(const cp_conn *conn) {
  return conn->user;
}

static void name_user(void *ctx, cp__map_node *node) {
  cp__registry *registry = ctx;
  cp__user *user = cp__container_of(node, cp__user, node);

  if (cp__subs_take_gap(&registry->subs, &user->sub))
    user->sub.named = true;
}

static void name_members(void *ctx, cp__map_node *node) {
  cp__registry *registry = ctx;
  cp__group *group = cp__container_of(node, cp__group, node);
  cp__list *it;

  if (!cp__subs_take_gap(&registry->subs, &group->sub))
    return;
  for (it = group->members.next; it != &group->members; it = it->next)
    user_of(cp__container_of(it, cp__member, in_group)->conn)->sub.named = true;
}

static void unname_user(void *ctx, cp__map_node *node) {
  (void)ctx;
  cp__container_of(node, cp__user, node)->sub.named = false;
}

/* Returns true if it is everybody. */
static bool name_all_concerned(cp__registry *registry) {
  cp__subs *subs = &registry->subs;
  bool all = cp__subs_take_gap(subs, &registry->all);

  if (cp__subs_take_gap(subs, &registry->node))
    all = true;
  cp__map_each(&registry->users, name_user, registry);
  cp__map_each(&registry->groups.groups, name_members, registry);
  return all;
}

/* Telling. ---------------------------------------------------------------- */

static uint64_t wall_ms(void) {
  uv_timeval64_t now;

  if (uv_gettimeofday(&now) != 0)
    return 0;
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

/* uv_now() stands still while the loop works: the age is that of now, and a
 * millisecond more for what both clocks cut off. */
static uint64_t age_ms(uint64_t then_ms) {
  return uv_hrtime() / 1000000 + 1 - then_ms;
}

void cp__gaps_take(cp__gaps *gaps, cp_gap *gap) {
  cp__registry *registry = gaps->registry;
  cp__subs *subs = &registry->subs;
  uint64_t from_ms = gaps->all_ms;

  gap->registry = registry;
  gap->all = gaps->all_ms != CP__GAP_NEVER;
  gap->reason = gaps->reason;
  gap->named = subs->n_ended > 0;
  if (gap->named) {
    from_ms = min(from_ms, gaps->some_ms);
    if (name_all_concerned(registry))
      gap->all = true;
  }
  if (gaps->all_ms != CP__GAP_NEVER)
    cp__subs_open_gaps(subs);
  gaps->some_ms =
      subs->n_open > 0 ? min(gaps->some_ms, gaps->all_ms) : CP__GAP_NEVER;
  gaps->all_ms = CP__GAP_NEVER;
  gap->to_ms = wall_ms();
  gap->from_ms = gap->to_ms - age_ms(from_ms) - CP__SURE_MS;
}

void cp__gaps_give_back(cp_gap *gap) {
  if (gap->named)
    cp__map_each(&gap->registry->users, unname_user, NULL);
}

/* The application's view. ------------------------------------------------- */

uint64_t cp_gap_from_ms(const cp_gap *gap) {
  return gap->from_ms;
}

uint64_t cp_gap_to_ms(const cp_gap *gap) {
  return gap->to_ms;
}

const char *cp_gap_reason(const cp_gap *gap) {
  return gap->reason;
}

static bool concerns(const cp_gap *gap, const cp_conn *conn) {
  return conn != NULL && cp__conn_is_open(conn) &&
         (gap->all || user_of(conn)->sub.named);
}

/* By slot: `fn` may open and close what it likes. */
void cp_gap_each_conn(const cp_gap *gap, void (*fn)(void *data, cp_conn *conn),
                      void *data) {
  const cp__peers *peers = gap->registry->peers;
  uint32_t i;

  for (i = 0; i < peers->n_slots; i++) {
    cp_conn *conn = cp__peers_at(peers, i);
    if (concerns(gap, conn))
      fn(data, conn);
  }
}

static bool is_first(const cp__user *user, const cp_conn *conn) {
  return user->conns.next == &conn->user_link;
}

/* By the slot of each user's first connection, in whatever state it is: while
 * `fn` runs connections close, but none leaves its user, unless the server
 * closes, and a new one comes last. So everybody is met once. */
void cp_gap_each_user(const cp_gap *gap, void (*fn)(void *data, cp_bytes user),
                      void *data) {
  const cp__peers *peers = gap->registry->peers;
  uint32_t i;

  for (i = 0; i < peers->n_slots; i++) {
    const cp_conn *conn = cp__peers_at(peers, i);
    const cp__user *user = conn != NULL ? user_of(conn) : NULL;
    if (user != NULL && is_first(user, conn) &&
        concerns(gap, cp__user_oldest_open(user)))
      fn(data, cp_bytes_of(user->id, user->id_len));
  }
}
