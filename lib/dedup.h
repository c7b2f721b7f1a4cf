/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_DEDUP_H
#define CP_DEDUP_H

/* Dedup: which messages of other senders came already. What one link of a
 * sender writes arrives in the order of its sequences, and what it writes again
 * after a break comes under the old incarnation, so one high-water mark for
 * each (instance, incarnation) tells all. */

#include "envelope.h"
#include "list.h"
#include "map.h"

#include <stdbool.h>

/* Links of senders that are remembered; the one that was silent for longest
 * makes room. */
#define CP__DEDUP_MAX 4096

typedef struct cp__dedup {
  const cp_allocator *alloc;
  cp__map map;
  cp__list links;              /* the one that was silent for longest first */
  struct cp__dedup_link *last; /* that spoke; NULL: none */
} cp__dedup;

void cp__dedup_init(cp__dedup *dedup, const cp_allocator *alloc,
                    const uint64_t seed[2]);
void cp__dedup_finish(cp__dedup *dedup);

/* Note that this came. False: it had come before. What has no sequence, and
 * what there is no memory to remember, is always new. */
bool cp__dedup_is_new(cp__dedup *dedup, const cp__envelope *envelope);

#endif
