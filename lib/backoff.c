/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "backoff.h"

#define EARLY_MS       10000
#define EARLY_PAUSE_MS 1000

static uint64_t min(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

void cp__backoff_lost(cp__backoff *backoff, uint64_t now_ms) {
  backoff->since_ms = now_ms;
}

uint64_t cp__backoff_next(cp__backoff *backoff, const cp_redis_options *options,
                          uint64_t now_ms) {
  uint64_t pause = options->backoff_min_ms;
  unsigned i;

  if (backoff->since_ms == 0)
    backoff->since_ms = now_ms;
  for (i = 0; i < backoff->n_failures && pause < options->backoff_max_ms; i++)
    pause *= 2;
  backoff->n_failures++;
  if (now_ms - backoff->since_ms < EARLY_MS)
    pause = min(pause, EARLY_PAUSE_MS);
  return min(pause, options->backoff_max_ms);
}
