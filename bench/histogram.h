/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

/* Histogram: counts of values, exact below 128 and 1.6 % coarse above. */

#include <stdint.h>

#define HISTOGRAM_STEPS   64 /* in each power of two */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 60)

typedef struct histogram {
  uint64_t n;
  uint64_t max;
  uint64_t counts[HISTOGRAM_BUCKETS];
} histogram;

void histogram_add(histogram *h, uint64_t value);
/* The least value that at least `share` (0..1) of all values don't exceed; 0
 * without values. */
uint64_t histogram_quantile(const histogram *h, double share);

#endif
