/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000u
#define NS_PER_US 1000u

static inline uint64_t ns_of_timespec(struct timespec t) {
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* 0 if there is no such clock, of a process that has ended. */
static inline uint64_t clock_ns(clockid_t clock) {
  struct timespec t;

  return clock_gettime(clock, &t) == 0 ? ns_of_timespec(t) : 0;
}

static inline uint64_t now_ns(void) {
  return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t ns_of_seconds(double seconds) {
  return (uint64_t)(seconds * NS_PER_S);
}

static inline double seconds_of_ns(uint64_t ns) {
  return (double)ns / NS_PER_S;
}

static inline double us_of_ns(uint64_t ns) {
  return (double)ns / NS_PER_US;
}

#endif
