/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_BLOB_H
#define CP_BLOB_H

/* Blob: immutable, refcounted bytes, shared by every queue that must send
 * them. Written once by its creator before the first ref is handed on. Not
 * thread-safe: a blob stays on its loop. */

#include "alloc.h"

typedef struct cp__blob {
  const cp_allocator *alloc;
  size_t refs;
  size_t len;
  uint8_t data[];
} cp__blob;

/* With one reference and `len` bytes yet to be written. NULL: no memory. */
cp__blob *cp__blob_create(const cp_allocator *alloc, size_t len);

/* With one reference and a copy of `bytes`. NULL: no memory. */
cp__blob *cp__blob_copy(const cp_allocator *alloc, cp_bytes bytes);

static inline cp__blob *cp__blob_ref(cp__blob *blob) {
  blob->refs++;
  return blob;
}

/* Frees it with the last reference. NULL is accepted. */
void cp__blob_unref(cp__blob *blob);

/* A part of a blob. */
typedef struct cp__slice {
  cp__blob *blob;
  uint32_t at;
  uint32_t len;
} cp__slice;

static inline cp__slice cp__slice_all(cp__blob *blob) {
  cp__slice slice = {blob, 0, (uint32_t)blob->len};
  return slice;
}

static inline const uint8_t *cp__slice_data(const cp__slice *slice) {
  return slice->blob->data + slice->at;
}

#endif
