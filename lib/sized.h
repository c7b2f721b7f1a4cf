/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SIZED_H
#define CP_SIZED_H

/* Sized: option structs tell their size, so that callers built with another
 * version go on working. */

#include <stdbool.h>
#include <stddef.h>

/* Above it the size is garbage: nobody initialised the struct. */
#define CP__SIZED_MAX 4096

static inline bool cp__size_is_known(size_t size, size_t first) {
  return size >= first && size <= CP__SIZED_MAX;
}

/* Is `options->size` that of some version? `last` is the last field of the
 * first one. */
#define cp__is_sized(options, last)                                 \
  cp__size_is_known((options)->size,                                \
                    (size_t)((const char *)(&(options)->last + 1) - \
                             (const char *)(options)))

#endif
