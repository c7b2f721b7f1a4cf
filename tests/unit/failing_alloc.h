/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_FAILING_ALLOC_H
#define CP_TEST_FAILING_ALLOC_H

/* Failing alloc: an allocator over malloc that counts what lives and fails one
 * chosen allocation. To walk every out-of-memory path of something:
 *
 *   failing_alloc memory;
 *   size_t n = 0;
 *   do {
 *     failing_alloc_init(&memory, ++n);
 *     ... run it on &memory.alloc; if memory.failed, expect CP_E_NOMEM ...
 *     assert_int_equal(memory.n_live, 0);
 *   } while (memory.failed);
 *
 * The last round is the one in which everything went well. */

#include "clusterpush/base.h"

#include <stdbool.h>
#include <stdlib.h>

typedef struct failing_alloc {
  cp_allocator alloc;
  size_t fail_at; /* counts from 1; 0: none fails */
  size_t n_calls; /* of allocate and resize */
  size_t n_live;  /* blocks not yet released */
  bool failed;    /* fail_at was reached */
} failing_alloc;

static inline bool failing_alloc_refuses(failing_alloc *self) {
  if (++self->n_calls != self->fail_at)
    return false;
  self->failed = true;
  return true;
}

static inline void *failing_alloc_resize(void *ctx, void *ptr, size_t size) {
  failing_alloc *self = ctx;
  void *block;

  if (failing_alloc_refuses(self))
    return NULL;
  /* realloc(ptr, 0) may free: never ask for it. */
  block = realloc(ptr, size > 0 ? size : 1);
  if (block != NULL && ptr == NULL)
    self->n_live++;
  return block;
}

static inline void *failing_alloc_allocate(void *ctx, size_t size) {
  return failing_alloc_resize(ctx, NULL, size);
}

static inline void failing_alloc_release(void *ctx, void *ptr) {
  failing_alloc *self = ctx;

  if (ptr == NULL)
    return;
  self->n_live--;
  free(ptr);
}

/* It must not move while `alloc` is in use: `alloc.ctx` points at it. */
static inline void failing_alloc_init(failing_alloc *self, size_t fail_at) {
  memset(self, 0, sizeof *self);
  self->alloc.allocate = failing_alloc_allocate;
  self->alloc.resize = failing_alloc_resize;
  self->alloc.release = failing_alloc_release;
  self->alloc.ctx = self;
  self->fail_at = fail_at;
}

#endif
