/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "reply_ring.h"

#include <assert.h>

#define MIN_CAP 16

static cp__reply *slot_at(const cp__reply_ring *ring, size_t i) {
  return &ring->slots[(ring->head + i) & (ring->cap - 1)];
}

void cp__reply_ring_finish(cp__reply_ring *ring, const cp_allocator *alloc) {
  cp__free(alloc, ring->slots);
  memset(ring, 0, sizeof *ring);
}

int cp__reply_ring_reserve(cp__reply_ring *ring, size_t n,
                           const cp_allocator *alloc) {
  size_t cap = ring->cap > 0 ? ring->cap : MIN_CAP;
  cp__reply *slots;
  size_t i;

  while (cap < ring->n + n)
    cap *= 2;
  if (cap == ring->cap)
    return 0;
  slots = cp__malloc(alloc, cap * sizeof *slots);
  if (slots == NULL)
    return CP_E_NOMEM;
  for (i = 0; i < ring->n; i++)
    slots[i] = *slot_at(ring, i);
  cp__free(alloc, ring->slots);
  ring->slots = slots;
  ring->cap = cap;
  ring->head = 0;
  return 0;
}

void cp__reply_ring_push(cp__reply_ring *ring, const cp__reply *reply) {
  assert(ring->n < ring->cap);
  *slot_at(ring, ring->n++) = *reply;
}

const cp__reply *cp__reply_ring_first(const cp__reply_ring *ring) {
  return ring->n > 0 ? slot_at(ring, 0) : NULL;
}

bool cp__reply_ring_pop(cp__reply_ring *ring, cp__reply *reply) {
  if (ring->n == 0)
    return false;
  *reply = *slot_at(ring, 0);
  ring->head = (ring->head + 1) & (ring->cap - 1);
  ring->n--;
  return true;
}
