/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What came before, and what this node hears of its own.
 *
 * While all is well the connections here get this node's own messages by the
 * way over Redis, like those of everybody else, so that all of a user's devices
 * see one order. Of each a copy is kept until its echo is heard; if the link
 * breaks first, the copies are delivered, and the echoes, should they come
 * after all, are dropped. What is sent while a channel isn't confirmed is
 * delivered at once, and its echo dropped likewise. Each target knows up to
 * which sequence that is so: its echoes come in the order of the sends.
 *
 * By one Redis all echoes come in that order, so one that is heard tells that
 * no older one will be. By several masters it tells so for its own slot only.
 * Then dedup knows which were heard, and copies are kept until they were, or
 * until nothing that was sent then can be waiting for a master any more. When
 * any channel is lost, all copies are delivered, as at a break: those for other
 * masters' users come a moment early, which harms nobody.
 *
 * What was delivered at once may take so long to come by Redis that the user
 * leaves and comes back meanwhile: who has left is not forgotten before. */
#include "registry.h"

#include "bytes.h"

/* Of the log of copies, bytes: some 10 us. */
#define MAX_SEARCHED 16384

/* The group, if it has members here. */
static cp__group *group_of(const cp__registry *registry,
                           const cp__target *target) {
  return target->kind == CP__TO_GROUP
             ? cp__groups_find(&registry->groups, target->user)
             : NULL;
}

/* ... or it had some a moment ago. */
static cp__group *known_group_of(const cp__registry *registry,
                                 const cp__target *target) {
  return target->kind == CP__TO_GROUP
             ? cp__groups_find_known(&registry->groups, target->user)
             : NULL;
}

/* How far the target's echoes are known; NULL: nobody here waits for any. */
static uint64_t *claimed_to_of(cp__registry *registry, const cp__target *target,
                               cp__user *user) {
  cp__group *group;

  if (target->kind == CP__TO_ALL)
    return &registry->all_claimed_to;
  group = known_group_of(registry, target);
  if (group != NULL)
    return &group->claimed_to;
  return user != NULL ? &user->claimed_to : NULL;
}

/* The target has all up to this by now: echoes that come later are dropped. */
static void note_delivered(cp__registry *registry, uint64_t *claimed_to,
                           uint64_t sequence) {
  *claimed_to = sequence;
  registry->claimed_ms = uv_now(registry->peers->loop);
}

bool cp__registry_awaits_late_echoes(const cp__registry *registry,
                                     uint64_t claimed_to) {
  return claimed_to != 0 &&
         uv_now(registry->peers->loop) - registry->claimed_ms <=
             registry->wait_ms;
}

static cp__target target_of(const cp__echo *echo) {
  const cp__target target = {
      .kind = echo->target_kind,
      .user = echo->user,
      .order = echo->order,
      .newest = echo->newest,
  };
  return target;
}

/* By several masters: it was heard, or a newer one of its slot was, so it never
 * will be. */
static bool is_past(const cp__registry *registry, const cp__echo *echo) {
  const cp__target target = target_of(echo);
  char channel[CP__CHANNEL_MAX];
  uint16_t slot =
      cp__slot_of(cp__target_channel(registry->prefix, &target, channel));

  return cp__dedup_highest(&registry->dedup, registry->instance, slot) >=
         echo->sequence;
}

static void deliver_copy(cp__registry *registry, const cp__echo *echo) {
  const cp__target target = target_of(echo);
  uint64_t *claimed_to =
      claimed_to_of(registry, &target, cp__registry_user_of(registry, &target));

  if (claimed_to == NULL || echo->sequence <= *claimed_to ||
      (registry->dedup.unordered && is_past(registry, echo)))
    return;
  note_delivered(registry, claimed_to, echo->sequence);
  cp__registry_deliver(registry, &target, (cp_type)echo->type, echo->body);
}

void cp__registry_deliver_unheard(cp__registry *registry) {
  cp__echo echo;

  while (cp__echoes_take(&registry->echoes, &echo))
    deliver_copy(registry, &echo);
}

static bool is_member(cp__registry *registry, cp_bytes id, cp_bytes name) {
  const cp__target to_user = {.kind = CP__TO_USER, .user = id};
  const cp__user *user = cp__registry_user_of(registry, &to_user);
  cp__list *it;

  if (user == NULL)
    return false;
  for (it = user->conns.next; it != &user->conns; it = it->next)
    if (cp__groups_is_in(&registry->groups,
                         cp__container_of(it, cp_conn, user_link), name))
      return true;
  return false;
}

/* Might one connection here get both? Of two groups that is taken for granted.
 */
static bool share_a_recipient(cp__registry *registry, const cp__echo *echo,
                              const cp__target *target) {
  if (echo->target_kind == CP__TO_ALL || target->kind == CP__TO_ALL)
    return true;
  if (echo->target_kind == CP__TO_GROUP)
    return target->kind == CP__TO_GROUP ||
           is_member(registry, target->user, echo->user);
  if (target->kind == CP__TO_GROUP)
    return is_member(registry, echo->user, target->user);
  return cp__bytes_equal(echo->user, target->user);
}

/* How far into the log everything must go ahead: what is for many goes to
 * others, too, who must get what is older first. */
static size_t end_of_shared(cp__registry *registry, const cp__target *target) {
  cp__echo echo;
  size_t at = 0;
  size_t end = 0;

  while (cp__echoes_next(&registry->echoes, &at, &echo))
    if (echo.target_kind != CP__TO_USER &&
        share_a_recipient(registry, &echo, target))
      end = at;
  return end;
}

/* Those delivered stay in the log until they are heard: it is known of them. A
 * long log is not searched but delivered whole, so that the next one is short.
 */
void cp__registry_deliver_ahead_of(cp__registry *registry,
                                   const cp__target *target) {
  cp__echo echo;
  size_t at = 0;
  size_t end;

  if (cp__buf_len(&registry->echoes.log) > MAX_SEARCHED) {
    cp__registry_deliver_unheard(registry);
    return;
  }
  end = end_of_shared(registry, target);
  while (cp__echoes_next(&registry->echoes, &at, &echo))
    if (at <= end || share_a_recipient(registry, &echo, target))
      deliver_copy(registry, &echo);
}

/* Returns false if there is no room for the copy: then what is unheard, and
 * this, must be delivered now, as if the link had broken. */
static bool await_echo(cp__registry *registry, const cp__target *target,
                       cp_type type, cp_bytes body, uint64_t sequence) {
  const cp__echo echo = {
      .sequence = sequence,
      .sent_ms = uv_now(registry->peers->loop),
      .newest = target->order != 0 ? cp__peers_newest(registry->peers) : 0,
      .type = (uint8_t)type,
      .target_kind = (uint8_t)target->kind,
      .order = target->order,
      .user = target->user,
      .body = body,
  };

  if (registry->is_alone || cp__echoes_put(&registry->echoes, &echo))
    return true;
  cp__registry_deliver_unheard(registry);
  return false;
}

cp__claim cp__registry_claim(cp__registry *registry, const cp__target *target,
                             cp_type type, cp_bytes body, uint64_t sequence) {
  cp__user *user = cp__registry_user_of(registry, target);
  cp__group *group = group_of(registry, target);
  const cp__sub *sub = &registry->all;

  if (group != NULL)
    sub = &group->sub;
  else if (target->kind != CP__TO_USER && target->kind != CP__TO_ALL)
    return CP__CLAIM_NOBODY;
  if (target->kind == CP__TO_USER) {
    /* Whoever is not open yet may still get the echo. */
    if (user == NULL || cp__user_oldest_open(user) == NULL)
      return CP__CLAIM_NOBODY;
    sub = &user->sub;
  }
  if (cp__subs_is_confirmed(&registry->subs, sub) &&
      await_echo(registry, target, type, body, sequence))
    return CP__CLAIM_ECHO;
  cp__registry_deliver_ahead_of(registry, target);
  note_delivered(registry, claimed_to_of(registry, target, user), sequence);
  return CP__CLAIM_NOW;
}

void cp__registry_unclaim(cp__registry *registry, uint64_t sequence) {
  cp__echoes_undo(&registry->echoes, sequence);
}

void cp__registry_on_linked(cp__registry *registry, uint32_t incarnation) {
  registry->incarnation = incarnation;
}

/* What went by one of several servers may have waited before it was sent. */
void cp__registry_on_proven(cp__registry *registry, uint64_t sent_ms) {
  unsigned wait_ms = registry->dedup.unordered ? registry->wait_ms : 0;

  if (sent_ms > wait_ms)
    cp__echoes_heard_until(&registry->echoes, sent_ms - wait_ms);
}

void cp__registry_disown(cp__registry *registry, const cp__target *target,
                         uint64_t sequence) {
  uint64_t *claimed_to =
      claimed_to_of(registry, target, cp__registry_user_of(registry, target));

  if (claimed_to != NULL)
    note_delivered(registry, claimed_to, sequence);
}

/* Its copy is not needed any more, nor are older ones: but by another server
 * these may still come. */
static void forget_copies(cp__registry *registry, uint64_t sequence) {
  cp__echo first;

  if (!registry->dedup.unordered) {
    cp__echoes_heard(&registry->echoes, sequence);
    return;
  }
  while (cp__echoes_first(&registry->echoes, &first) &&
         is_past(registry, &first))
    cp__echoes_heard(&registry->echoes, first.sequence);
}

/* One of our own: was it delivered here when it was sent, or when its link
 * broke? */
static bool was_delivered(cp__registry *registry, const cp__envelope *envelope,
                          const cp__target *target, cp__user *user) {
  uint64_t *claimed_to = claimed_to_of(registry, target, user);

  if (envelope->incarnation != registry->incarnation)
    return true;
  forget_copies(registry, envelope->sequence);
  if (claimed_to == NULL)
    return false;
  if (envelope->sequence <= *claimed_to)
    return true;
  *claimed_to = envelope->sequence; /* now it will be */
  return false;
}

bool cp__registry_came_before(cp__registry *registry,
                              const cp__envelope *envelope, uint16_t slot) {
  if (cp__dedup_is_new(&registry->dedup, envelope, slot))
    return false;
  registry->stats->duplicates++;
  return true;
}

bool cp__registry_is_repeated(cp__registry *registry,
                              const cp__envelope *envelope, cp_bytes channel) {
  return registry->dedup.unordered &&
         cp__registry_came_before(registry, envelope, cp__slot_of(channel));
}

bool cp__registry_is_duplicate(cp__registry *registry,
                               const cp__envelope *envelope,
                               const cp__target *target, cp__user *user) {
  if (envelope->sequence == 0)
    return false;
  if (envelope->instance == registry->instance)
    return was_delivered(registry, envelope, target, user);
  return !registry->dedup.unordered &&
         cp__registry_came_before(registry, envelope, 0);
}
