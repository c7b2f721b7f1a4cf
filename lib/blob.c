/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "blob.h"

#include <string.h>

cp__blob *cp__blob_create(const cp_allocator *alloc, size_t len) {
  cp__blob *blob = cp__malloc(alloc, sizeof *blob + len);
  if (blob == NULL)
    return NULL;
  blob->alloc = alloc;
  blob->refs = 1;
  blob->len = len;
  return blob;
}

cp__blob *cp__blob_copy(const cp_allocator *alloc, cp_bytes bytes) {
  cp__blob *blob = cp__blob_create(alloc, bytes.len);
  if (blob != NULL && bytes.len > 0)
    memcpy(blob->data, bytes.data, bytes.len);
  return blob;
}

void cp__blob_unref(cp__blob *blob) {
  if (blob != NULL && --blob->refs == 0)
    cp__free(blob->alloc, blob);
}
