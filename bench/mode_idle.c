/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* idle: open connections, each of another user, and hold them. What a handshake
 * costs, what a connection weighs, and what holding them takes. */

#include "clock.h"
#include "modes.h"
#include "report.h"
#include "traffic.h"

#define SETTLE_S 1.0

static const swarm_events events = {traffic_on_message, NULL};

static double growth_per(uint64_t before, uint64_t after, uint32_t n) {
  return ((double)after - (double)before) / (double)(n > 0 ? n : 1);
}

/* Returns the seconds that it took. */
static double open_all(const options *o, traffic *t, procs *who) {
  uint64_t began = now_ns();
  double took;

  procs_mark(who);
  swarm_open(&t->swarm, o->concurrency, 600);
  took = seconds_of_ns(now_ns() - began);
  swarm_idle(&t->swarm, SETTLE_S);
  procs_stop(who);
  return took;
}

static void report_opening(const traffic *t, double took, const procs *who) {
  uint32_t n = t->swarm.n_open > 0 ? t->swarm.n_open : 1;

  report_count("users", t->n_users);
  report_count("open", t->swarm.n_open);
  report_count("refused", t->swarm.n_refused);
  report_number("handshakes_per_second", n / took);
  report_number("handshake_node_us", us_of_ns(procs_cpu_ns(who, "node")) / n);
  report_number("handshake_redis_us", us_of_ns(procs_cpu_ns(who, "redis")) / n);
}

static void report_holding(const traffic *t, double seconds, const procs *who) {
  report_number("held_node_percent",
                seconds_of_ns(procs_cpu_ns(who, "node")) / seconds * 100);
  report_count("broken", t->swarm.n_broken);
}

bool mode_idle(options *o) {
  procs *who = &o->procs;
  uint64_t node_rss = procs_rss(who, "node");
  uint64_t redis_rss = procs_rss(who, "redis");
  traffic t;
  double took;
  bool good;

  o->senders = 1;
  traffic_init(&t, o, false, 0, &events);
  took = open_all(o, &t, who);
  report_begin("idle", o->label);
  report_opening(&t, took, who);
  report_number("node_bytes_each",
                growth_per(node_rss, procs_rss(who, "node"), t.swarm.n_open));
  report_number("redis_bytes_each",
                growth_per(redis_rss, procs_rss(who, "redis"), t.swarm.n_open));
  procs_mark(who);
  swarm_idle(&t.swarm, o->seconds);
  procs_stop(who);
  report_holding(&t, o->seconds, who);
  report_end();
  good = t.swarm.n_open == t.swarm.n;
  traffic_finish(&t);
  return good;
}
