/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_REDIS_WATCH_H
#define BENCH_REDIS_WATCH_H

/* Redis watch: a thread that sees Redis go away, come back, and have as many
 * channels as before. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct redis_watch {
  uint16_t port;
  pthread_t thread;
  _Atomic uint64_t n_channels;  /* before it went */
  _Atomic uint64_t gone_ns;     /* 0: it is there */
  _Atomic uint64_t back_ns;     /* it answers again */
  _Atomic uint64_t restored_ns; /* and has all its channels */
} redis_watch;

/* It goes on until Redis was restored: a process that gives up just ends. */
void redis_watch_start(redis_watch *watch, uint16_t port);

#endif
