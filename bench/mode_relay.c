/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* relay: messages to random users, most of whom are on another node than the
 * sender. fanout: messages to everybody. */

#include "modes.h"
#include "pump.h"
#include "report.h"

#define SETTLE_S    0.5 /* the nodes calm down after the handshakes */
#define FILL_ROUNDS 60

static const swarm_events events = {traffic_on_message, NULL};

static void report_setting(const options *o) {
  report_count("nodes", procs_count(&o->procs, "node"));
  report_count("users", o->users);
  report_count("senders", o->senders);
  report_count("size", o->size);
  report_number("rate", o->rate);
  report_count("window", o->rate > 0 ? 0 : o->window);
}

static bool run(options *o, bool broadcast) {
  traffic t;
  pump p;
  phase ph;
  bool good;

  traffic_open(&t, o, broadcast, 0, &events);
  pump_init(&p, &t, o, &o->procs);
  swarm_idle(&t.swarm, SETTLE_S);
  pump_run(&p, o->warmup);
  pump_measure(&p, o->seconds, &ph);
  pump_drain(&p);
  report_begin(o->mode, o->label);
  report_setting(o);
  phase_report(&ph);
  good = traffic_report(&t);
  report_end();
  pump_finish(&p);
  traffic_finish(&t);
  return good;
}

bool mode_relay(options *o) {
  return run(o, false);
}

/* Half of the users stop reading. What that does to the others. ------------ */

static void pause_slow_half(traffic *t) {
  uint32_t i;

  for (i = 0; i < t->n_users; i++)
    if (!traffic_counts(t, i))
      client_pause(&t->swarm.clients[i]);
}

/* At full speed, until those who don't read have all the system can hold for
 * them, and the node has to do something about the rest. Otherwise what is
 * measured then is how fast the system finds pages to hold more. */
static void fill_queues(pump *p, double seconds) {
  double rate = p->rate;
  uint64_t before;
  int i = 0;

  pump_drain(p);
  p->rate = 0;
  do {
    before = machine_tcp_pages();
    pump_run(p, seconds);
    pump_drain(p);
  } while (machine_tcp_pages() > before + before / 100 && ++i < FILL_ROUNDS);
  p->rate = rate;
}

static void report_slow_half(const phase *before, const phase *after,
                             const procs *who) {
  uint64_t p99 = histogram_quantile(&before->latency, 0.99);

  phase_report(after);
  report_latency("before_", &before->latency);
  report_number("p99_growth",
                (double)histogram_quantile(&after->latency, 0.99) /
                    (double)(p99 > 0 ? p99 : 1));
  report_count("node_peak_bytes", procs_peak(who, "node"));
}

static bool run_slow_half(options *o) {
  traffic t;
  pump p;
  phase before;
  phase after;
  bool good;

  traffic_open(&t, o, true, 0, &events);
  pump_init(&p, &t, o, &o->procs);
  swarm_idle(&t.swarm, SETTLE_S);
  pump_run(&p, o->warmup);
  pump_measure(&p, o->seconds, &before);
  pause_slow_half(&t);
  fill_queues(&p, 4 * o->warmup);
  pump_run(&p, o->warmup);
  pump_measure(&p, o->seconds, &after);
  pump_drain(&p);
  report_begin("slow_half", o->label);
  report_setting(o);
  report_slow_half(&before, &after, &o->procs);
  good = traffic_report(&t);
  report_end();
  pump_finish(&p);
  traffic_finish(&t);
  return good;
}

bool mode_fanout(options *o) {
  return o->slow_half ? run_slow_half(o) : run(o, true);
}
