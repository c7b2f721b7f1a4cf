/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "pump.h"

#include "clock.h"
#include "die.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>

#define QUIET_S 3 /* nothing came for so long: the rest is lost */

/* A greeting to users in turn is under way to so many at once. */
#define GREETINGS 256

static uint32_t random_below(pump *p, uint32_t n) {
  p->random = p->random * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((p->random >> 32) * n >> 32);
}

static uint32_t choose_user(pump *p) {
  if (p->traffic->broadcast)
    return TO_EVERYBODY;
  return random_below(p, p->traffic->n_users);
}

/* Closed loop. A broadcast is one message, and its window goes out at once when
 * the last one has arrived everywhere. */

static void fill_window(pump *p, uint32_t sender) {
  for (; p->under_way[sender] < p->window; p->under_way[sender]++)
    traffic_send(p->traffic, sender, choose_user(p), now_ns());
}

static void fill_windows(pump *p) {
  uint32_t i;

  for (i = 0; i < p->traffic->n_senders; i++)
    fill_window(p, i);
}

static void greet_next(pump *p) {
  traffic *t = p->traffic;

  if (p->n_paced < t->n_users)
    traffic_send(t, 0, (uint32_t)p->n_paced++, now_ns());
}

static void on_received(void *ctx, uint32_t sender) {
  pump *p = ctx;
  traffic *t = p->traffic;

  if (!p->running)
    return;
  if (p->in_turn) {
    greet_next(p);
  } else if (p->rate > 0) {
    return;
  } else if (!t->broadcast) {
    p->under_way[sender]--;
    fill_window(p, sender);
  } else if (t->n_received == t->n_due) {
    p->under_way[sender] = 0;
    fill_window(p, sender);
  }
}

/* Open loop. Returns when the next message is due. */
static uint64_t send_due(pump *p) {
  traffic *t = p->traffic;
  uint64_t now = now_ns();

  for (;;) {
    uint64_t due = p->began + ns_of_seconds((double)p->n_paced / p->rate);
    if (due > now)
      return due;
    traffic_send(t, (uint32_t)(p->n_paced % t->n_senders), choose_user(p), due);
    p->n_paced++;
  }
}

static void start(pump *p) {
  p->running = true;
  if (p->rate > 0) {
    p->began = now_ns();
    p->n_paced = 0;
  } else {
    memset(p->under_way, 0, p->traffic->n_senders * sizeof *p->under_way);
    fill_windows(p);
  }
}

void pump_run(pump *p, double seconds) {
  uint64_t end = now_ns() + ns_of_seconds(seconds);
  uint64_t deadline = end;

  if (!p->running)
    start(p);
  while (now_ns() < end) {
    if (p->rate > 0)
      deadline = send_due(p);
    swarm_poll(&p->traffic->swarm, deadline < end ? deadline : end);
  }
}

void pump_drain(pump *p) {
  traffic *t = p->traffic;
  uint64_t n_received = t->n_received;
  uint64_t end = now_ns() + QUIET_S * (uint64_t)NS_PER_S;

  p->running = p->in_turn;
  while (t->n_received < t->n_due && now_ns() < end) {
    swarm_poll(&t->swarm, end);
    if (t->n_received != n_received)
      end = now_ns() + QUIET_S * (uint64_t)NS_PER_S;
    n_received = t->n_received;
  }
  p->running = false;
}

void pump_greet_everybody(pump *p) {
  unsigned i;

  p->in_turn = true;
  p->n_paced = 0;
  for (i = 0; i < GREETINGS; i++)
    greet_next(p);
  pump_drain(p);
  p->in_turn = false;
}

/* Measure. ---------------------------------------------------------------- */

void pump_measure(pump *p, double seconds, phase *out) {
  traffic *t = p->traffic;
  uint64_t began = now_ns();
  uint64_t own = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  uint64_t machine = machine_cpu_ns();

  memset(out, 0, sizeof *out);
  procs_mark(p->who);
  t->latency = &out->latency;
  pump_run(p, seconds);
  t->latency = NULL;
  procs_stop(p->who);
  out->elapsed_ns = now_ns() - began;
  out->n_received = out->latency.n;
  out->node_ns = procs_cpu_ns(p->who, "node");
  out->redis_ns = procs_cpu_ns(p->who, "redis");
  out->load_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
  out->machine_ns = machine_cpu_ns() - machine;
}

void phase_report(const phase *ph) {
  double n = ph->n_received > 0 ? (double)ph->n_received : 1;
  double seconds = seconds_of_ns(ph->elapsed_ns);
  uint64_t ours = ph->node_ns + ph->redis_ns + ph->load_ns;
  uint64_t others = ph->machine_ns > ours ? ph->machine_ns - ours : 0;

  report_count("deliveries", ph->n_received);
  report_number("per_second", (double)ph->n_received / seconds);
  report_number("node_us", us_of_ns(ph->node_ns) / n);
  report_number("redis_us", us_of_ns(ph->redis_ns) / n);
  report_number("load_us", us_of_ns(ph->load_ns) / n);
  report_number("others_cores", seconds_of_ns(others) / seconds);
  report_latency("", &ph->latency);
}

/* Life. ------------------------------------------------------------------- */

void pump_init(pump *p, traffic *t, const options *o, procs *who) {
  memset(p, 0, sizeof *p);
  p->traffic = t;
  p->who = who;
  p->rate = o->rate;
  p->window = o->window;
  p->random = 1;
  p->under_way = calloc(t->n_senders, sizeof *p->under_way);
  if (p->under_way == NULL)
    die("no memory");
  t->on_received = on_received;
  t->ctx = p;
}

void pump_finish(pump *p) {
  free(p->under_way);
}
