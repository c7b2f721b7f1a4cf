/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_PUMP_H
#define BENCH_PUMP_H

/* Pump: when the next message is sent, and what a stretch of time of that
 * costs. In a closed loop each sender has a window of messages under way. In an
 * open loop messages are due at a rate, and latency counts from when one was
 * due: a server that stalls can't make the sender wait and so hide it. */

#include "traffic.h"

typedef struct pump {
  traffic *traffic;
  procs *who;  /* is measured */
  double rate; /* 0: closed loop */
  uint32_t window;
  uint32_t *under_way; /* messages of each sender */
  bool running;
  bool in_turn; /* to each user once, instead of to random ones */
  uint64_t began;
  uint64_t n_paced; /* messages of the open loop */
  uint64_t random;
} pump;

void pump_init(pump *p, traffic *t, const options *o, procs *who);
void pump_finish(pump *p);

/* What a stretch of time cost. */
typedef struct phase {
  uint64_t elapsed_ns;
  uint64_t n_received;
  uint64_t node_ns; /* CPU */
  uint64_t redis_ns;
  uint64_t load_ns;
  uint64_t machine_ns;
  histogram latency;
} phase;

/* Keep messages under way for so long. */
void pump_run(pump *p, double seconds);
/* The same, measured. `out` is overwritten. */
void pump_measure(pump *p, double seconds, phase *out);
/* Send no more, and wait until all is delivered or nothing comes for a while.
 */
void pump_drain(pump *p);
/* One message to each user, and wait for them. */
void pump_greet_everybody(pump *p);

/* CPU per delivery, deliveries per second, latency. */
void phase_report(const phase *ph);

#endif
