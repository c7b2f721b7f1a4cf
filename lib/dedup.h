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
 * By several masters it arrives in any order. Then there is a bit for each of
 * the last sequences, too. What is older than these counts as new: rather twice
 * than never. */

#include "envelope.h"
#include "list.h"
#include "map.h"

#include <stdbool.h>

/* Links of senders that are remembered; the one that was silent for longest
 * makes room. */
#define CP__DEDUP_MAX           4096
#define CP__DEDUP_MAX_UNORDERED 512 /* of 16 KiB each */

/* Sequences that have a bit: of a second of a sender with 131,072 messages. */
#define CP__DEDUP_WINDOW (1 << 17)

typedef struct cp__dedup {
  const cp_allocator *alloc;
  cp__map map;
  cp__list links;              /* the one that was silent for longest first */
  struct cp__dedup_link *last; /* that spoke; NULL: none */
  bool unordered;              /* what one sender says comes in any order */
} cp__dedup;

void cp__dedup_init(cp__dedup *dedup, const cp_allocator *alloc,
                    const uint64_t seed[2], bool unordered);
void cp__dedup_finish(cp__dedup *dedup);

/* Note that this came. False: it had come before. What has no sequence, and
 * what there is no memory to remember, is always new. */
bool cp__dedup_is_new(cp__dedup *dedup, const cp__envelope *envelope);

/* By several masters: did this come, as far as that is remembered? */
bool cp__dedup_has(const cp__dedup *dedup, uint64_t instance,
                   uint32_t incarnation, uint64_t sequence);

#endif
