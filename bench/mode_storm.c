/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* storm: everybody comes at once. Either Redis is restarted, by whoever waits
 * for the line "ready" on standard error, and every user's channel has to be
 * subscribed again; or all connections are reset and opened again. How long
 * does it take, and is every user served afterwards?
 *
 * Meanwhile one more client on each node pings it every millisecond: as long as
 * a pong is late, the node's loop was blocked (or the machine was busy). */

#include "clock.h"
#include "die.h"
#include "modes.h"
#include "pump.h"
#include "redis_watch.h"
#include "report.h"

#include <stdio.h>
#include <string.h>

#define SETTLE_S   1.0
#define BASELINE_S 1.0
#define PING_NS    (1000 * 1000)
#define GIVE_UP_S  120

typedef struct storm {
  traffic traffic; /* first: it is the swarm's ctx */
  pump pump;
  redis_watch redis;
  uint64_t pinged[PORTS_MAX]; /* when; 0: no pong is awaited */
  uint32_t n_probes;
  histogram *pongs; /* round trips, in ns */
} storm;

/* Probes. ----------------------------------------------------------------- */

static void on_pong(void *ctx, client *c) {
  storm *s = ctx;

  if (s->pongs != NULL && s->pinged[c->number] > 0)
    histogram_add(s->pongs, now_ns() - s->pinged[c->number]);
  s->pinged[c->number] = 0;
}

static void ping_all(storm *s) {
  client *probes =
      s->traffic.swarm.clients + s->traffic.n_users + s->traffic.n_senders;
  uint32_t i;

  for (i = 0; i < s->n_probes; i++)
    if (s->pinged[i] == 0) {
      s->pinged[i] = now_ns();
      client_send(&probes[i], WS_PING, NULL, 0);
    }
}

/* One turn of a millisecond. */
static void probe(storm *s) {
  uint64_t end = now_ns() + PING_NS;

  ping_all(s);
  while (now_ns() < end)
    swarm_poll(&s->traffic.swarm, end);
}

static void probe_for(storm *s, double seconds, histogram *pongs) {
  uint64_t end = now_ns() + ns_of_seconds(seconds);

  s->pongs = pongs;
  while (now_ns() < end)
    probe(s);
  s->pongs = NULL;
}

/* Redis. ------------------------------------------------------------------ */

static void await(storm *s, const _Atomic uint64_t *event, const char *what) {
  uint64_t end = now_ns() + GIVE_UP_S * (uint64_t)NS_PER_S;

  while (*event == 0) {
    probe(s);
    if (now_ns() > end)
      die("Redis is not %s after %d s", what, GIVE_UP_S);
  }
}

static void ride_out_restart(storm *s, procs *who, histogram *pongs) {
  fputs("ready\n", stderr);
  await(s, &s->redis.gone_ns, "restarted");
  s->pongs = pongs;
  procs_mark(who);
  await(s, &s->redis.back_ns, "back");
  await(s, &s->redis.restored_ns, "as it was");
  s->pongs = NULL;
  procs_stop(who);
}

static void report_restart(const storm *s, const procs *who) {
  const redis_watch *w = &s->redis;

  report_count("channels", w->n_channels);
  report_number("away_s", seconds_of_ns(w->back_ns - w->gone_ns));
  report_number("restored_s", seconds_of_ns(w->restored_ns - w->back_ns));
  report_number("node_us_each", us_of_ns(procs_cpu_ns(who, "node")) /
                                    (double)s->traffic.n_users);
}

static void storm_open(storm *s, const options *o, const swarm_events *events,
                       procs *who) {
  memset(s, 0, sizeof *s);
  s->n_probes = o->user_ports.n;
  traffic_open(&s->traffic, o, false, s->n_probes, events);
  pump_init(&s->pump, &s->traffic, o, who);
  swarm_idle(&s->traffic.swarm, SETTLE_S);
  pump_greet_everybody(&s->pump);
}

static bool run_restart(options *o) {
  static const swarm_events events = {traffic_on_message, on_pong};
  static histogram before;
  static histogram during;
  static storm s;
  bool good;

  storm_open(&s, o, &events, &o->procs);
  redis_watch_start(&s.redis, o->redis_port);
  probe_for(&s, BASELINE_S, &before);
  ride_out_restart(&s, &o->procs, &during);
  pump_greet_everybody(&s.pump);
  report_begin("restart", o->label);
  report_count("users", o->users);
  report_restart(&s, &o->procs);
  report_latency("ping_before_", &before);
  report_latency("ping_", &during);
  good = traffic_report(&s.traffic);
  report_end();
  return good;
}

/* Reconnect. -------------------------------------------------------------- */

static double reconnect_all(traffic *t, const options *o, procs *who) {
  uint64_t began = now_ns();
  uint32_t i;

  procs_mark(who);
  for (i = 0; i < t->swarm.n; i++)
    client_close(&t->swarm.clients[i]);
  if (!swarm_open(&t->swarm, o->concurrency, GIVE_UP_S))
    die("%u of %u connections opened again", (unsigned)t->swarm.n_open,
        (unsigned)t->swarm.n);
  procs_stop(who);
  return seconds_of_ns(now_ns() - began);
}

static bool run_reconnect(options *o) {
  static const swarm_events events = {traffic_on_message, NULL};
  static storm s;
  double took;
  bool good;

  storm_open(&s, o, &events, &o->procs);
  took = reconnect_all(&s.traffic, o, &o->procs);
  pump_greet_everybody(&s.pump);
  report_begin("reconnect", o->label);
  report_count("users", o->users);
  report_number("reconnected_s", took);
  report_number("node_us_each", us_of_ns(procs_cpu_ns(&o->procs, "node")) /
                                    (double)s.traffic.swarm.n);
  report_number("redis_us_each", us_of_ns(procs_cpu_ns(&o->procs, "redis")) /
                                     (double)s.traffic.swarm.n);
  good = traffic_report(&s.traffic);
  report_end();
  return good;
}

bool mode_storm(options *o) {
  o->senders = o->senders > 1 ? 1 : o->senders;
  if (o->reconnect)
    return run_reconnect(o);
  if (o->redis_port == 0)
    die("storm needs --redis-port or --reconnect");
  return run_restart(o);
}
