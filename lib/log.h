/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_LOG_H
#define CP_LOG_H

/* The log sink of one object. */

#include "clusterpush/base.h"

typedef struct cp__log {
  cp_log_cb cb; /* NULL: nothing is logged */
  void *data;
  cp_log_level level; /* lines above it are not even formatted */
} cp__log;

/* One line of at most 1,023 bytes; control characters become '?', since text
 * from Redis or a peer may be part of it. */
void cp__logf(const cp__log *log, cp_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
