/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_BACKOFF_H
#define CP_BACKOFF_H

/* Backoff: how long to wait before the next attempt to link. */

#include "clusterpush/redis.h"

/* All zero: nothing failed yet. */
typedef struct cp__backoff {
  unsigned n_failures; /* in a row */
  uint64_t since_ms;   /* the outage began; of uv_now()'s clock */
} cp__backoff;

/* A link stood, and is lost. */
void cp__backoff_lost(cp__backoff *backoff, uint64_t now_ms);
/* An attempt failed, or a link is lost: the longest pause before the next one.
 * It doubles from backoff_min_ms to backoff_max_ms, but for the first ten
 * seconds of an outage it is at most one: those who come back soon are awaited
 * by the others no longer than settle_ms. */
uint64_t cp__backoff_next(cp__backoff *backoff, const cp_redis_options *options,
                          uint64_t now_ms);

#endif
