/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SUBS_H
#define CP_SUBS_H

/* Subs: the set of channels that this node wants, kept true across links. */

#include "clusterpush/server.h"
#include "clusterpush/transport.h"
#include "list.h"
#include "names.h"

#include <stdbool.h>

typedef enum cp__sub_kind {
  CP__SUB_USER,
  CP__SUB_GROUP,
  CP__SUB_ALL,
  CP__SUB_NODE
} cp__sub_kind;

/* Was anything missed on this channel alone? (What a lost link means for all
 * channels is noted elsewhere.) */
typedef enum cp__gap_state {
  CP__GAP_NONE,
  CP__GAP_OPEN, /* the channel is lost: counted in cp__subs.n_open */
  CP__GAP_ENDED /* it is back, and nobody was told: cp__subs.n_ended */
} cp__gap_state;

/* In whatever wants a channel; its memory may go when the sub is idle. */
typedef struct cp__sub {
  cp__list link;  /* in cp__subs.wanted, .asked or .refused; or in none */
  uint32_t epoch; /* the link on which it is asked for; 0: on none */
  uint16_t n_ops; /* commands that are not confirmed yet */
  uint8_t kind;
  bool want : 1;
  bool replay : 1;  /* counted in cp__subs.n_replaying */
  bool named : 1;   /* of a user: a gap that is being told concerns it */
  unsigned gap : 2; /* cp__gap_state */
} cp__sub;

typedef struct cp__subs_host {
  /* Write the channel's name to `out`; returns its length. */
  size_t (*channel_of)(void *ctx, const cp__sub *sub,
                       char out[CP__CHANNEL_MAX]);
  /* A wanted sub is confirmed. */
  void (*on_confirmed)(void *ctx, cp__sub *sub);
  /* An unwanted sub is idle: it may be freed. */
  void (*on_idle)(void *ctx, cp__sub *sub);
  /* Everything wanted is confirmed (or not any more). */
  void (*on_synced)(void *ctx, bool synced);
} cp__subs_host;

typedef struct cp__subs {
  cp_transport *transport; /* NULL: it is closed */
  const cp__subs_host *host;
  void *ctx;
  cp__list wanted;  /* not asked for on this link */
  cp__list asked;   /* asked for, or confirmed */
  cp__list refused; /* tried again by cp__subs_retry */
  uint32_t epoch;   /* counts links */
  size_t n_replaying;
  size_t n_open; /* subs with a gap of their own, by its state */
  size_t n_ended;
  bool linked;
  bool synced;
} cp__subs;

void cp__subs_init(cp__subs *subs, cp_transport *transport,
                   const cp__subs_host *host, void *ctx);

void cp__sub_init(cp__sub *sub, cp__sub_kind kind);
/* Want the channel. on_confirmed follows, perhaps during the call. */
void cp__subs_join(cp__subs *subs, cp__sub *sub);
/* Don't want it any more. on_idle follows, perhaps during the call. */
void cp__subs_leave(cp__subs *subs, cp__sub *sub);
/* On this link, and confirmed. */
bool cp__subs_is_confirmed(const cp__subs *subs, const cp__sub *sub);

/* What the transport tells. Nothing here calls it back. */
void cp__subs_on_linked(cp__subs *subs);
void cp__subs_on_unlinked(cp__subs *subs);
void cp__subs_on_confirmed(cp__subs *subs, cp__sub *sub, int status);
void cp__subs_on_lost(cp__subs *subs, cp__sub *sub);
/* What was refused may work now. */
void cp__subs_on_changed(cp__subs *subs);

/* The end of a turn: ask for the next batch of what is still wanted. */
void cp__subs_pump(cp__subs *subs);
/* Ask again for what was refused. */
void cp__subs_retry(cp__subs *subs);

/* All that is wanted was asked for on this link, and answered, be it refused.
 */
bool cp__subs_is_replayed(const cp__subs *subs);
/* What is refused goes on missing what it missed with the others. */
void cp__subs_open_gaps(cp__subs *subs);
/* This one misses something until it is confirmed. */
void cp__subs_open_gap(cp__subs *subs, cp__sub *sub);
/* Had the sub a gap that ended? It has none then. */
bool cp__subs_take_gap(cp__subs *subs, cp__sub *sub);

/* The transport is about to be closed: no more commands. */
void cp__subs_close(cp__subs *subs);

#endif
