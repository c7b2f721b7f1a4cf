/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "histogram.h"

/* A value is cut to its upper seven bits, 64..127, and a shift. With the shift
 * as steps above it the buckets are without a gap. */
static unsigned bucket_of(uint64_t value) {
  unsigned shift;

  if (value < 2 * HISTOGRAM_STEPS)
    return (unsigned)value;
  shift = 57 - (unsigned)__builtin_clzll(value);
  return HISTOGRAM_STEPS * shift + (unsigned)(value >> shift);
}

static uint64_t upper_end_of(unsigned bucket) {
  unsigned shift;
  uint64_t cut;

  if (bucket < 2 * HISTOGRAM_STEPS)
    return bucket;
  shift = bucket / HISTOGRAM_STEPS - 1;
  cut = bucket - HISTOGRAM_STEPS * shift;
  return ((cut + 1) << shift) - 1;
}

void histogram_add(histogram *h, uint64_t value) {
  h->n++;
  h->counts[bucket_of(value)]++;
  if (value > h->max)
    h->max = value;
}

uint64_t histogram_quantile(const histogram *h, double share) {
  double wanted = share * (double)h->n;
  uint64_t n = 0;
  unsigned i;

  for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
    n += h->counts[i];
    if (n > 0 && (double)n >= wanted)
      break;
  }
  if (i == HISTOGRAM_BUCKETS)
    return h->max;
  return upper_end_of(i) < h->max ? upper_end_of(i) : h->max;
}
