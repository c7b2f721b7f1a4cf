/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A membership is one record, in the group's list of members and in the
 * connection's chain. The chain begins in a side table, so that a connection
 * that is in no group holds nothing for it, not even a pointer: a bit says
 * whether to look.
 *
 * A group's channel comes and goes as a user's does: wanted with the first
 * member, left a while after the last one. But a member may be added by what
 * came over the transport, which must not be called from there; so the channel
 * is asked for at the end of the turn. */

#include "groups.h"

#include "gaps.h"
#include "receipts.h"

#include <assert.h>
#include <string.h>

/* Answers that may wait for channels, of all groups. */
#define MAX_HELD 4096

/* To a question how many connections were put into the group. */
struct cp__held_answer {
  struct cp__held_answer *next;
  uint64_t instance; /* whose question it was */
  uint64_t number;
  uint32_t connections;
};

/* A connection that is in a group. */
typedef struct cp__joined {
  cp__map_node node; /* in cp__groups.joined, by the connection's serial */
  cp_conn *conn;
  cp__member *first;
  unsigned n; /* groups */
} cp__joined;

/* Groups. ----------------------------------------------------------------- */

cp_bytes cp__group_name(const cp__group *group) {
  return cp_bytes_of(group->id, group->id_len);
}

static cp_bytes group_key(const cp__map_node *node) {
  return cp__group_name(cp__container_of(node, const cp__group, node));
}

cp__group *cp__groups_find_known(const cp__groups *groups, cp_bytes name) {
  cp__map_node *node = cp__map_find(&groups->groups, name);
  return node != NULL ? cp__container_of(node, cp__group, node) : NULL;
}

cp__group *cp__groups_find(const cp__groups *groups, cp_bytes name) {
  cp__group *group = cp__groups_find_known(groups, name);
  return group != NULL && !cp__list_empty(&group->members) ? group : NULL;
}

static cp__group *create_group(cp__groups *groups, cp_bytes name) {
  cp__group *group =
      cp__malloc(groups->alloc, offsetof(cp__group, id) + name.len);

  if (group == NULL)
    return NULL;
  cp__list_init(&group->members);
  cp__timed_init(&group->timed);
  cp__sub_init(&group->sub, CP__SUB_GROUP);
  group->claimed_to = 0;
  group->held = NULL;
  group->id_len = (uint8_t)name.len;
  memcpy(group->id, name.data, name.len);
  if (cp__map_insert(&groups->groups, &group->node) != 0) {
    cp__free(groups->alloc, group);
    return NULL;
  }
  return group;
}

static struct cp__held_answer *pop_held(cp__groups *groups, cp__group *group) {
  struct cp__held_answer *held = group->held;

  if (held == NULL)
    return NULL;
  group->held = held->next;
  groups->n_held--;
  return held;
}

static void destroy_group(cp__groups *groups, cp__group *group) {
  struct cp__held_answer *held;

  while ((held = pop_held(groups, group)) != NULL)
    cp__free(groups->alloc, held);
  cp__timed_stop(&group->timed);
  cp__map_remove(&groups->groups, &group->node);
  cp__free(groups->alloc, group);
}

void cp__groups_on_idle(cp__groups *groups, cp__group *group,
                        bool awaits_late_echoes) {
  if (!cp__list_empty(&group->members))
    return;
  if (awaits_late_echoes)
    cp__timed_start(&groups->parting, &group->timed);
  else
    destroy_group(groups, group);
}

static void on_parting_due(cp__sweep_list *list, cp__timed *item) {
  destroy_group(cp__container_of(list, cp__groups, parting),
                cp__container_of(item, cp__group, timed));
}

static void arrive(cp__groups *groups, cp__group *group) {
  cp__timed_stop(&group->timed);
  if (!group->sub.want)
    cp__list_push_back(&groups->arriving, &group->timed.link);
  else if (!cp__subs_is_confirmed(groups->subs, &group->sub))
    cp__timed_start(&groups->late, &group->timed);
}

static void ask_for_channel(cp__groups *groups, cp__group *group) {
  cp__timed_start(&groups->late, &group->timed);
  cp__subs_join(groups->subs, &group->sub); /* it may be confirmed at once */
}

void cp__groups_turn(cp__groups *groups) {
  cp__list *link;

  while ((link = cp__list_pop(&groups->arriving)) != NULL) {
    cp__timed *timed = cp__container_of(link, cp__timed, link);
    ask_for_channel(groups, cp__container_of(timed, cp__group, timed));
  }
}

static void on_late(cp__sweep_list *list, cp__timed *item) {
  cp__groups *groups = cp__container_of(list, cp__groups, late);
  cp__group *group = cp__container_of(item, cp__group, timed);

  if (!cp__subs_is_confirmed(groups->subs, &group->sub))
    cp__gaps_on_late(groups->gaps, &group->sub,
                     uv_now(list->sweep->timer.loop) - CP__SURE_MS);
}

/* Without room or memory it is never told: the receipt is partial. */
bool cp__groups_hold_answer(cp__groups *groups, cp_bytes name,
                            uint64_t instance, uint64_t number,
                            uint32_t connections) {
  cp__group *group = cp__groups_find(groups, name);
  struct cp__held_answer *held;

  if (group == NULL || cp__subs_is_confirmed(groups->subs, &group->sub))
    return false;
  if (groups->n_held >= MAX_HELD)
    return true;
  held = cp__malloc(groups->alloc, sizeof *held);
  if (held == NULL)
    return true;
  held->instance = instance;
  held->number = number;
  held->connections = connections;
  held->next = group->held;
  group->held = held;
  groups->n_held++;
  return true;
}

void cp__groups_on_confirmed(cp__groups *groups, cp__group *group) {
  struct cp__held_answer *held;

  if (!cp__list_empty(&group->members))
    cp__timed_stop(&group->timed); /* it is not late */
  while ((held = pop_held(groups, group)) != NULL) {
    cp__receipts_answer(groups->receipts, held->instance, held->number,
                        held->connections);
    cp__free(groups->alloc, held);
  }
}

static void on_leave_due(cp__sweep_list *list, cp__timed *item) {
  cp__groups *groups = cp__container_of(list, cp__groups, leaving);

  cp__subs_leave(groups->subs, &cp__container_of(item, cp__group, timed)->sub);
}

/* Connections. ------------------------------------------------------------ */

static cp_bytes joined_key(const cp__map_node *node) {
  const cp_conn *conn = cp__container_of(node, const cp__joined, node)->conn;
  return cp_bytes_of(&conn->serial, sizeof conn->serial);
}

static cp__joined *find_joined(const cp__groups *groups, const cp_conn *conn) {
  cp_bytes key = cp_bytes_of(&conn->serial, sizeof conn->serial);

  if (!conn->in_groups)
    return NULL;
  return cp__container_of(cp__map_find(&groups->joined, key), cp__joined, node);
}

static cp__joined *create_joined(cp__groups *groups, cp_conn *conn) {
  cp__joined *joined = cp__malloc(groups->alloc, sizeof *joined);

  if (joined == NULL)
    return NULL;
  joined->conn = conn;
  joined->first = NULL;
  joined->n = 0;
  if (cp__map_insert(&groups->joined, &joined->node) != 0) {
    cp__free(groups->alloc, joined);
    return NULL;
  }
  conn->in_groups = 1;
  return joined;
}

static void destroy_joined_if_empty(cp__groups *groups, cp__joined *joined) {
  if (joined->n > 0)
    return;
  joined->conn->in_groups = 0;
  cp__map_remove(&groups->joined, &joined->node);
  cp__free(groups->alloc, joined);
}

/* Where in the connection's chain the group is; at its end if it isn't. */
static cp__member **find_member(cp__joined *joined, const cp__group *group) {
  cp__member **place = &joined->first;

  while (*place != NULL && (*place)->group != group)
    place = &(*place)->next;
  return place;
}

bool cp__groups_is_in(const cp__groups *groups, const cp_conn *conn,
                      cp_bytes name) {
  const cp__group *group = cp__groups_find_known(groups, name);
  cp__joined *joined = find_joined(groups, conn);

  return group != NULL && joined != NULL && *find_member(joined, group) != NULL;
}

static void remove_member(cp__groups *groups, cp__joined *joined,
                          cp__member **place) {
  cp__member *member = *place;
  cp__group *group = member->group;

  *place = member->next;
  joined->n--;
  cp__list_remove(&member->in_group);
  cp__free(groups->alloc, member);
  if (cp__list_empty(&group->members))
    cp__timed_start(&groups->leaving, &group->timed);
}

static int add_member(cp__groups *groups, cp__joined *joined,
                      cp__group *group) {
  cp__member *member;

  if (*find_member(joined, group) != NULL)
    return 0;
  if (groups->max_per_conn > 0 && joined->n >= groups->max_per_conn)
    return CP_E_FULL;
  member = cp__malloc(groups->alloc, sizeof *member);
  if (member == NULL)
    return CP_E_NOMEM;
  member->group = group;
  member->conn = joined->conn;
  member->next = joined->first;
  joined->first = member;
  joined->n++;
  if (cp__list_empty(&group->members))
    arrive(groups, group);
  cp__list_push_back(&group->members, &member->in_group);
  return 0;
}

int cp__groups_join(cp__groups *groups, cp_conn *conn, cp_bytes name) {
  cp__group *group = cp__groups_find_known(groups, name);
  bool is_new = group == NULL;
  cp__joined *joined;
  int rc = CP_E_NOMEM;

  if (!cp__conn_is_open(conn))
    return CP_E_CLOSED;
  if (is_new)
    group = create_group(groups, name);
  if (group == NULL)
    return CP_E_NOMEM;
  joined = find_joined(groups, conn);
  if (joined == NULL)
    joined = create_joined(groups, conn);
  if (joined != NULL) {
    rc = add_member(groups, joined, group);
    destroy_joined_if_empty(groups, joined);
  }
  if (rc != 0 && is_new)
    destroy_group(groups, group);
  return rc;
}

int cp__groups_leave(cp__groups *groups, cp_conn *conn, cp_bytes name) {
  cp__group *group = cp__groups_find_known(groups, name);
  cp__joined *joined = find_joined(groups, conn);
  cp__member **place;

  if (group == NULL || joined == NULL)
    return CP_E_NOTFOUND;
  place = find_member(joined, group);
  if (*place == NULL)
    return CP_E_NOTFOUND;
  remove_member(groups, joined, place);
  destroy_joined_if_empty(groups, joined);
  return 0;
}

void cp__groups_leave_all(cp__groups *groups, cp_conn *conn) {
  cp__joined *joined = find_joined(groups, conn);

  if (joined == NULL)
    return;
  while (joined->first != NULL)
    remove_member(groups, joined, &joined->first);
  destroy_joined_if_empty(groups, joined);
}

/* Life. ------------------------------------------------------------------- */

void cp__groups_init(cp__groups *groups, const cp_allocator *alloc,
                     cp__sweep *sweep, cp__subs *subs,
                     const cp_server_options *options, const uint64_t seed[2]) {
  groups->alloc = alloc;
  groups->subs = subs;
  groups->max_per_conn = options->max_groups_per_conn;
  cp__map_init(&groups->groups, alloc, group_key, seed);
  cp__map_init(&groups->joined, alloc, joined_key, seed);
  cp__list_init(&groups->arriving);
  cp__sweep_add_list(sweep, &groups->leaving, options->leave_delay_ms,
                     on_leave_due);
  cp__sweep_add_list(sweep, &groups->parting, options->outbox_age_ms,
                     on_parting_due);
  cp__sweep_add_list(sweep, &groups->late, CP__SURE_MS, on_late);
  groups->n_held = 0;
}

void cp__groups_finish(cp__groups *groups) {
  cp__map_node *node;

  assert(groups->joined.n_nodes == 0);
  while ((node = cp__map_any(&groups->groups)) != NULL)
    destroy_group(groups, cp__container_of(node, cp__group, node));
  cp__map_finish(&groups->groups);
  cp__map_finish(&groups->joined);
}
