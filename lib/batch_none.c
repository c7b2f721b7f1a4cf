/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Without io_uring: there is never a batch, so nothing but the first two is
 * ever called. */
#include "batch.h"

#include <assert.h>

int cp__batch_create(cp__batch **batch, const cp_allocator *alloc) {
  (void)alloc;
  *batch = NULL;
  return 0;
}

void cp__batch_destroy(cp__batch *batch) {
  assert(batch == NULL);
  (void)batch;
}

uv_buf_t *cp__batch_room(cp__batch *batch) {
  (void)batch;
  return NULL;
}

void cp__batch_add(cp__batch *batch, const uv_stream_t *stream,
                   unsigned n_bufs) {
  (void)batch;
  (void)stream;
  (void)n_bufs;
}

bool cp__batch_write(cp__batch *batch) {
  (void)batch;
  return false;
}

int cp__batch_result(const cp__batch *batch, unsigned i) {
  (void)batch;
  (void)i;
  return UV_EAGAIN;
}
