/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_GAPS_H
#define CP_GAPS_H

/* Gaps: when this node may have missed messages of others, and whose. */

#include "registry.h"

#define CP__GAP_REASON_MAX 256

struct cp_gap {
  cp__registry *registry;
  uint64_t from_ms; /* of the wall clock */
  uint64_t to_ms;
  bool all;   /* else those whose sub is named */
  bool named; /* there are such */
  const char *reason;
};

typedef struct cp__gaps {
  cp__registry *registry;
  uint64_t proven_ms; /* all that was published before this was heard */
  uint64_t doubt_ms;  /* ... unless it was published after this */
  uint64_t all_ms;    /* the gap of all users begins; CP__GAP_NEVER: there is
                         none */
  uint64_t some_ms;   /* likewise, of those whose sub has one of its own */
  char reason[CP__GAP_REASON_MAX];
} cp__gaps;

#define CP__GAP_NEVER UINT64_MAX

/* What a sender was sure of was published so soon after its call. A gap begins
 * so much earlier: it is told in times of calls. */
#define CP__SURE_MS 1000

void cp__gaps_init(cp__gaps *gaps, cp__registry *registry);

/* What the transport tells. Times are uv_now(). */
void cp__gaps_on_linked(cp__gaps *gaps, uint64_t now_ms);
void cp__gaps_on_proven(cp__gaps *gaps, uint64_t since_ms);
void cp__gaps_on_doubt(cp__gaps *gaps, uint64_t since_ms);
void cp__gaps_on_unlinked(cp__gaps *gaps, const char *reason);
void cp__gaps_on_lost(cp__gaps *gaps, uint64_t since_ms);

/* A channel that was wanted is still not confirmed, though there is a link:
 * since then its messages may be missed. */
void cp__gaps_on_late(cp__gaps *gaps, cp__sub *sub, uint64_t since_ms);

/* A gap has ended that nobody was told of. */
bool cp__gaps_is_due(const cp__gaps *gaps);
/* Take it: `gap` can be shown until it is given back. */
void cp__gaps_take(cp__gaps *gaps, cp_gap *gap);
void cp__gaps_give_back(cp_gap *gap);

#endif
