/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "alloc.h"

#include <stdlib.h>
#include <string.h>

static void *default_allocate(void *ctx, size_t size) {
  (void)ctx;
  return malloc(size);
}

static void *default_resize(void *ctx, void *ptr, size_t size) {
  (void)ctx;
  return realloc(ptr, size);
}

static void default_release(void *ctx, void *ptr) {
  (void)ctx;
  free(ptr);
}

const cp_allocator cp__default_allocator = {default_allocate, default_resize,
                                            default_release, NULL};

void *cp__malloc(const cp_allocator *alloc, size_t size) {
  return alloc->allocate(alloc->ctx, size);
}

void *cp__calloc(const cp_allocator *alloc, size_t size) {
  void *ptr = cp__malloc(alloc, size);
  if (ptr != NULL)
    memset(ptr, 0, size);
  return ptr;
}

void *cp__realloc(const cp_allocator *alloc, void *ptr, size_t size) {
  return alloc->resize(alloc->ctx, ptr, size);
}

void cp__free(const cp_allocator *alloc, void *ptr) {
  if (ptr != NULL)
    alloc->release(alloc->ctx, ptr);
}

char *cp__strndup(const cp_allocator *alloc, const void *data, size_t len) {
  char *copy = cp__malloc(alloc, len + 1);
  if (copy == NULL)
    return NULL;
  if (len > 0)
    memcpy(copy, data, len);
  copy[len] = '\0';
  return copy;
}
