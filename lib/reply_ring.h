/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REPLY_RING_H
#define CP_REPLY_RING_H

/* Reply ring: what was asked of Redis and is not answered, oldest first. It
 * grows in powers of two and never shrinks. */

#include "alloc.h"

#include <stdbool.h>

/* A reply that is awaited. */
typedef struct cp__reply {
  void *token;
  uint64_t end;    /* of its command, in bytes since the link was opened */
  uint32_t n_more; /* replies its command is owed behind this one */
  uint8_t kind;
  bool awaited; /* by somebody who would rather not wait */
} cp__reply;

/* Zeroed, it is empty. */
typedef struct cp__reply_ring {
  cp__reply *slots;
  size_t cap; /* a power of two, or 0 */
  size_t head;
  size_t n;
} cp__reply_ring;

void cp__reply_ring_finish(cp__reply_ring *ring, const cp_allocator *alloc);

/* Make room for `n` more. Returns 0 or CP_E_NOMEM. */
int cp__reply_ring_reserve(cp__reply_ring *ring, size_t n,
                           const cp_allocator *alloc);
/* There must be room. */
void cp__reply_ring_push(cp__reply_ring *ring, const cp__reply *reply);
/* The oldest, borrowed until the next call; NULL: it is empty. */
const cp__reply *cp__reply_ring_first(const cp__reply_ring *ring);
/* False: it is empty. */
bool cp__reply_ring_pop(cp__reply_ring *ring, cp__reply *reply);

#endif
