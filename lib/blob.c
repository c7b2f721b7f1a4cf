/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "blob.h"

cp__blob *cp__blob_create(const cp_allocator *alloc, size_t len) {
  cp__blob *blob = cp__malloc(alloc, sizeof *blob + len);
  if (blob == NULL)
    return NULL;
  blob->alloc = alloc;
  blob->refs = 1;
  blob->len = len;
  return blob;
}

void cp__blob_unref(cp__blob *blob) {
  if (blob != NULL && --blob->refs == 0)
    cp__free(blob->alloc, blob);
}
