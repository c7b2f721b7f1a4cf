/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_ALLOC_H
#define CP_ALLOC_H

/* Memory through the application's allocator. */

#include "clusterpush/base.h"

/* malloc, realloc, free. */
extern const cp_allocator cp__default_allocator;

/* NULL if there is no memory. */
void *cp__malloc(const cp_allocator *alloc, size_t size);
/* Zeroed. */
void *cp__calloc(const cp_allocator *alloc, size_t size);
/* On NULL the old block stays. */
void *cp__realloc(const cp_allocator *alloc, void *ptr, size_t size);
/* NULL is accepted. */
void cp__free(const cp_allocator *alloc, void *ptr);
/* A copy with a NUL behind it. */
char *cp__strndup(const cp_allocator *alloc, const void *data, size_t len);

#endif
