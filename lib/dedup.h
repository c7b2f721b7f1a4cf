/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_DEDUP_H
#define CP_DEDUP_H

/* Dedup: which messages came already.
 *
 * What one link of a sender writes to one Redis arrives in the order of its
 * sequences, and what it writes again after a break comes under the old
 * incarnation, so one high-water mark for each (instance, incarnation) tells
 * all.
 *
 * By the masters of a Redis Cluster it arrives in that order within a hash slot
 * only, whatever the incarnation, so there is a mark for each (instance, slot).
 * What is below one may have been published twice, since it seemed to reach
 * nobody; or it came by a master that had hung, and that others had replaced
 * meanwhile: then it is too late for its place in the order. */

#include "envelope.h"
#include "list.h"
#include "map.h"
#include "slots.h"

#include <stdbool.h>

/* Links of senders that are remembered; the one that was silent for longest
 * makes room. */
#define CP__DEDUP_MAX 4096
/* Senders, by several masters: of 3 to 131 KiB each, by the number of slots
 * that they send to, so 66 MiB in all. */
#define CP__DEDUP_MAX_UNORDERED 512

/* Instead of a slot, for receipts: they don't wait in the outbox with what goes
 * by the same channel. */
#define CP__DEDUP_RECEIPTS CP__N_SLOTS

typedef struct cp__dedup {
  const cp_allocator *alloc;
  cp__map map;
  cp__list links;              /* the one that was silent for longest first */
  struct cp__dedup_link *last; /* that spoke; NULL: none */
  bool unordered;              /* there is a mark for each slot */
} cp__dedup;

void cp__dedup_init(cp__dedup *dedup, const cp_allocator *alloc,
                    const uint64_t seed[2], bool unordered);
void cp__dedup_finish(cp__dedup *dedup);

/* Note that this came, in this slot (which counts if `unordered`). False: it
 * had come before, or something newer had. What has no sequence, and what there
 * is no memory to remember, is always new. */
bool cp__dedup_is_new(cp__dedup *dedup, const cp__envelope *envelope,
                      uint16_t slot);

/* Of `unordered` ones: the highest sequence of a sender that came in a slot; 0:
 * none is remembered. */
uint64_t cp__dedup_highest(const cp__dedup *dedup, uint64_t instance,
                           uint16_t slot);

#endif
