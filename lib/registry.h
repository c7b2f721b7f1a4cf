/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REGISTRY_H
#define CP_REGISTRY_H

/* Registry: who is connected here, and what of the cluster's traffic is for
 * them. */

#include "conn.h"
#include "dedup.h"
#include "echoes.h"
#include "groups.h"
#include "map.h"
#include "names.h"
#include "subs.h"

struct cp__hello;
struct cp__receipts;

/* A user with a connection here, or who had one a moment ago. */
typedef struct cp__user {
  cp__map_node node;   /* in cp__registry.users */
  cp__list conns;      /* cp_conn.user_link, the oldest first */
  cp__timed leave;     /* in cp__registry.leaving while nobody is connected;
                          then, perhaps, in .parting */
  cp__sub sub;         /* the user's channel */
  uint64_t claimed_to; /* own messages up to this sequence were delivered, or
                          never will be: echoes of them are dropped */
  uint32_t n_conns;
  uint8_t id_len;
  char id[];
} cp__user;

typedef struct cp__registry {
  const cp_allocator *alloc;
  cp__peers *peers;
  cp_stats *stats;
  struct cp__receipts *receipts; /* of who wants to know; set by the server */
  uint64_t instance;
  size_t max_message;
  unsigned max_conns_per_user;
  char prefix[CP__PREFIX_MAX + 1];
  size_t prefix_len;
  cp__map users;
  cp__groups groups;
  cp__sweep_list leaving;
  cp__sweep_list retrying; /* of `retry` alone */
  cp__timed retry;         /* waits while Redis refuses a channel */
  cp__subs subs;
  cp__sub all;  /* the channel of broadcasts */
  cp__sub node; /* this node's own */
  char node_channel[CP__CHANNEL_MAX];
  size_t node_channel_len;
  cp__sweep_list parting;  /* cp__user.leave, while late echoes may come */
  uint64_t all_claimed_to; /* as in cp__user */
  uint64_t claimed_ms;     /* when any claimed_to rose without an echo */
  uint32_t incarnation;    /* of the present link */
  unsigned wait_ms;        /* that a message may wait for one of many servers */
  bool is_alone;           /* echoes come at once */
  struct cp__hello *hello; /* of the node; set by the server */
  cp__dedup dedup;         /* of what came from Redis */
  cp__echoes echoes;       /* what this node sent and did not hear yet */
  void (*on_synced)(void *ctx, bool synced);
  void *ctx;
} cp__registry;

/* Whom a message is for. */
typedef struct cp__target {
  enum {
    CP__TO_USER,
    CP__TO_CONN,
    CP__TO_ALL,
    CP__TO_GROUP,
    CP__TO_CHANNEL
  } kind;
  cp_bytes user; /* or the group, or the name of the application's channel */
  cp_conn_id conn;
  uint8_t order;   /* 0: to take a message; else to obey an order of that kind,
                      which users and connections can */
  uint64_t newest; /* an order is not for connections with a later serial than
                      this; 0: it is for all */
} cp__target;

/* Write the name of the target's channel; returns it. */
cp_bytes cp__target_channel(const char *prefix, const cp__target *target,
                            char out[CP__CHANNEL_MAX]);

/* on_synced: every wanted channel is confirmed, or not any more. */
void cp__registry_init(cp__registry *registry, cp__peers *peers,
                       cp__sweep *sweep, cp_transport *transport,
                       const cp_server_options *options, uint64_t instance,
                       const uint64_t seed[2],
                       void (*on_synced)(void *ctx, bool synced), void *ctx);
/* When no connection is left and the transport is closed. */
void cp__registry_finish(cp__registry *registry);

/* Bind a connection that is about to join to a user. Returns 0 or CP_E_NOMEM.
 */
int cp__registry_add(cp__registry *registry, cp_conn *conn, cp_bytes user);
/* It is open. If that is one connection too many, the user's oldest is closed.
 */
void cp__registry_opened(cp__registry *registry, cp_conn *conn);
void cp__registry_remove(cp__registry *registry, cp_conn *conn);
/* Every node's send reaches the connection. */
bool cp__registry_is_confirmed(const cp__registry *registry,
                               const cp_conn *conn);

/* Has the user a connection on this node? */
bool cp__registry_is_here(const cp__registry *registry, cp_bytes user);

/* Is this node's own connection open? */
bool cp__registry_has(const cp__registry *registry, cp_conn_id conn);

/* Queue a message for the target's connections here, or do with them what is
 * ordered. Returns their number. */
uint32_t cp__registry_deliver(cp__registry *registry, const cp__target *target,
                              cp_type type, cp_bytes body);

/* NULL: the target is no user, or not here. */
cp__user *cp__registry_user_of(const cp__registry *registry,
                               const cp__target *target);
cp_conn *cp__user_oldest_open(const cp__user *user);

/* A payload came. Returns the number of connections it was queued for. */
uint32_t cp__registry_on_message(cp__registry *registry, cp_bytes channel,
                                 cp_bytes payload);

/* The end of a turn: go on subscribing. */
void cp__registry_turn(cp__registry *registry);
/* Is there something for the next turn? */
static inline bool cp__registry_has_work(const cp__registry *registry) {
  return !cp__list_empty(&registry->groups.arriving);
}

/* registry_echoes.c: */

/* How the connections here get what this node publishes. */
typedef enum cp__claim {
  CP__CLAIM_NOBODY, /* there is none */
  CP__CLAIM_ECHO,   /* by the echo, of which a copy is kept until it is heard:
                       Redis must count this node */
  CP__CLAIM_NOW     /* from the caller, now; the echo will be dropped */
} cp__claim;

/* Before a publish of this node, which is known by `sequence`: if the target's
 * channel is not confirmed here, its echo may or may not come back. */
cp__claim cp__registry_claim(cp__registry *registry, const cp__target *target,
                             cp_type type, cp_bytes body, uint64_t sequence);
/* It was not published after all. */
void cp__registry_unclaim(cp__registry *registry, uint64_t sequence);
/* Deliver here what is still unheard; its echoes will be dropped. */
void cp__registry_deliver_unheard(cp__registry *registry);
/* The same of what must not be overtaken by a message to this target. */
void cp__registry_deliver_ahead_of(cp__registry *registry,
                                   const cp__target *target);
/* The link to hear it on is a new one, or none. */
void cp__registry_on_linked(cp__registry *registry, uint32_t incarnation);
/* All that was sent before `sent_ms` was heard, if it ever will be. */
void cp__registry_on_proven(cp__registry *registry, uint64_t sent_ms);

/* Before a publish of what was delivered here earlier: its echo, known by
 * `sequence`, will be dropped. */
void cp__registry_disown(cp__registry *registry, const cp__target *target,
                         uint64_t sequence);

/* May echoes still come of what was delivered to a target up to `claimed_to`?
 * Then it must not be forgotten yet. */
bool cp__registry_awaits_late_echoes(const cp__registry *registry,
                                     uint64_t claimed_to);

/* Note that this came. Had it come before? */
bool cp__registry_came_before(cp__registry *registry,
                              const cp__envelope *envelope, uint16_t slot);
/* By several masters: is it a second copy of what was published again, since
 * Redis had counted nobody, or too late? The one was answered when it came
 * first, the sender has given up the other. */
bool cp__registry_is_repeated(cp__registry *registry,
                              const cp__envelope *envelope, cp_bytes channel);
/* Do the connections here have it already? `user` is the target's, or NULL. */
bool cp__registry_is_duplicate(cp__registry *registry,
                               const cp__envelope *envelope,
                               const cp__target *target, cp__user *user);

#endif
