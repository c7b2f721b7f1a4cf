/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_GROUPS_H
#define CP_GROUPS_H

/* Groups: named sets of this node's connections, each with a channel of its own
 * while it has a member here. A connection in no group costs nothing. */

#include "conn.h"
#include "map.h"
#include "subs.h"

struct cp__gaps;
struct cp__held_answer;
struct cp__receipts;

/* A group with a member here, or that had one a moment ago. */
typedef struct cp__group {
  cp__map_node node;   /* in cp__groups.groups */
  cp__list members;    /* cp__member.in_group */
  cp__timed timed;     /* in cp__groups.leaving while it has no member, then,
                          perhaps, in .parting; or in .arriving until its
                          channel is asked for, then in .late until that is
                          confirmed */
  cp__sub sub;         /* the group's channel */
  uint64_t claimed_to; /* as in cp__user */
  struct cp__held_answer *held; /* until the channel is confirmed */
  uint8_t id_len;
  char id[];
} cp__group;

/* That one connection is in one group. */
typedef struct cp__member {
  cp__list in_group;       /* in cp__group.members */
  struct cp__member *next; /* the same connection's, in cp__joined.first */
  cp__group *group;
  cp_conn *conn;
} cp__member;

typedef struct cp__groups {
  const cp_allocator *alloc;
  cp__subs *subs;
  unsigned max_per_conn; /* 0: no limit */
  cp__map groups;
  cp__map joined;    /* of the connections that are in a group, by serial */
  cp__list arriving; /* cp__group.timed.link */
  cp__sweep_list leaving;
  cp__sweep_list parting; /* as in cp__registry */
  cp__sweep_list late;    /* its channel should be confirmed by then */
  size_t n_held;
  struct cp__gaps *gaps;         /* set by the server, */
  struct cp__receipts *receipts; /* both */
} cp__groups;

void cp__groups_init(cp__groups *groups, const cp_allocator *alloc,
                     cp__sweep *sweep, cp__subs *subs,
                     const cp_server_options *options, const uint64_t seed[2]);
/* When no connection is left. */
void cp__groups_finish(cp__groups *groups);

/* Never calls the transport: the channel is asked for by cp__groups_turn.
 * Returns 0, also if it is a member; CP_E_CLOSED (not open), CP_E_FULL (in too
 * many groups), CP_E_NOMEM. The name is a valid one. */
int cp__groups_join(cp__groups *groups, cp_conn *conn, cp_bytes name);
/* Returns 0, or CP_E_NOTFOUND: it is no member. */
int cp__groups_leave(cp__groups *groups, cp_conn *conn, cp_bytes name);
/* The connection goes. */
void cp__groups_leave_all(cp__groups *groups, cp_conn *conn);

/* Is the connection a member? */
bool cp__groups_is_in(const cp__groups *groups, const cp_conn *conn,
                      cp_bytes name);

/* NULL if nobody is in it. */
cp__group *cp__groups_find(const cp__groups *groups, cp_bytes name);
/* ... or nobody has been for a while. */
cp__group *cp__groups_find_known(const cp__groups *groups, cp_bytes name);
cp_bytes cp__group_name(const cp__group *group);

/* The end of a turn: ask for the channels of new groups. */
void cp__groups_turn(cp__groups *groups);
/* The group's channel is confirmed. */
void cp__groups_on_confirmed(cp__groups *groups, cp__group *group);
/* Somebody was put into the group and that is to be told: but not before the
 * messages of other nodes come here. False: they do, tell it now. */
bool cp__groups_hold_answer(cp__groups *groups, cp_bytes name,
                            uint64_t instance, uint64_t number,
                            uint32_t connections);
/* The group's channel is left: it may go, now or when no late echo may come. */
void cp__groups_on_idle(cp__groups *groups, cp__group *group,
                        bool awaits_late_echoes);

#endif
