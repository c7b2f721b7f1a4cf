/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_FAKE_CLUSTER_H
#define CP_TEST_FAKE_CLUSTER_H

/* Fake cluster: the cluster transport against two scripted masters, A with the
 * slots below 8192 and B with the others. Connection 0 of A is the scout; then
 * each has a subscriber and a commands link. Which connection comes after that
 * nobody can tell: when one link of a pair is refused the other one may not
 * even have been begun, and a scout that moves on goes to A or to B. So those
 * are answered by rules. */
#include "fake_redis.h"
#include "slots.h"
#include "transport_host.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

#define ALICE      "cp:u:{alice}" /* slot 749: A's */
#define ALICE_SLOT "749"
#define FOO        "cp:u:{foo}" /* slot 12182: B's */

#define SCOUT_GREETING                                                        \
  EXPECT("CLIENT SETNAME clusterpush"), SEND(FAKE_OK), EXPECT("INFO server"), \
      SEND(FAKE_INFO(FAKE_RUN_ID, "99"))
#define SSUBSCRIBED "*3\r\n$10\r\nssubscribe\r\n$1\r\nx\r\n:1\r\n"
#define SUNSUBSCRIBED(len, channel) \
  "*3\r\n$12\r\nsunsubscribe\r\n$" len "\r\n" channel "\r\n:1\r\n"
#define SUBSCRIBER_LINKED \
  GREETING, EXPECT("SSUBSCRIBE cp:n:{0123456789abcdef.*"), SEND(SSUBSCRIBED)
#define COMMANDS_LINKED                                                  \
  GREETING, EXPECT("SPUBLISH cp:n:{0123456789abcdef.*"), EXPECT("ROLE"), \
      SEND(":1\r\n" FAKE_MASTER)

static const fake_step subscriber_links[] = {SUBSCRIBER_LINKED, END};
static const fake_step commands_link[] = {COMMANDS_LINKED, END};

enum { N_RULES = 10, FREE_RULE = 6 }; /* two are a test's own */

#define LONG_MS (4 * RUN_DEADLINE_MS)

enum { SECOND_ANSWER = 7 }; /* the step of the scout's script */
enum { SCOUT, A_SUBSCRIBER, A_COMMANDS };
enum { B_SUBSCRIBER, B_COMMANDS };

typedef struct fixture {
  transport_host host;
  fake_redis a, b;
  const fake_step *a_scripts[8], *b_scripts[8];
  char slots[256];
  char moved[64]; /* ALICE is B's now */
  char ask[64];
  fake_step scout[10];
  fake_rule rules[N_RULES];
  fake_step by_rules[1];
  char url[128];
  cp_redis_options options;
} fixture;

static inline fake_step say(const char *text) {
  const fake_step step = {FAKE_SEND, text, strlen(text)};
  return step;
}

/* The scout is told the same whenever it asks, twice. */
static inline void init_scout(fixture *f) {
  const fake_step scout[] = {
      SCOUT_GREETING,          EXPECT("CLUSTER SLOTS"), say(f->slots),
      EXPECT("CLUSTER SLOTS"), say(f->slots),           END,
  };
  memcpy(f->scout, scout, sizeof scout);
}

/* Any link that comes later is well. */
static inline void init_rules(fixture *f) {
  const fake_rule rules[N_RULES] = {
      {"CLIENT SETNAME", FAKE_OK, NULL},
      {"INFO server", FAKE_INFO(FAKE_RUN_ID, "99"), NULL},
      {"ROLE", FAKE_MASTER, NULL},
      {"SSUBSCRIBE cp:n:{0123456789abcdef.", SSUBSCRIBED, NULL},
      {"SPUBLISH cp:n:{0123456789abcdef.", ":1\r\n", NULL},
      {"CLUSTER SLOTS", f->slots, NULL},
  };
  const fake_step by_rules[] = {RULES(f->rules)};

  memcpy(f->rules, rules, sizeof rules);
  memcpy(f->by_rules, by_rules, sizeof by_rules);
}

static inline void init_texts(fixture *f) {
  snprintf(f->slots, sizeof f->slots,
           "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
           "*3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
           f->a.port, f->b.port);
  snprintf(f->moved, sizeof f->moved, "-MOVED " ALICE_SLOT " 127.0.0.1:%d\r\n",
           f->b.port);
  snprintf(f->ask, sizeof f->ask, "-ASK " ALICE_SLOT " 127.0.0.1:%d\r\n",
           f->b.port);
  snprintf(f->url, sizeof f->url, "redis+cluster://127.0.0.1:%d", f->a.port);
}

static inline void init(fixture *f) {
  size_t i;

  transport_host_init(&f->host);
  for (i = 0; i < LEN(f->a_scripts); i++)
    f->a_scripts[i] = f->b_scripts[i] = f->by_rules;
  f->a_scripts[SCOUT] = f->scout;
  f->a_scripts[A_SUBSCRIBER] = f->b_scripts[B_SUBSCRIBER] = subscriber_links;
  f->a_scripts[A_COMMANDS] = f->b_scripts[B_COMMANDS] = commands_link;
  fake_redis_start_tcp(&f->a, &f->host.loop.loop, f->a_scripts, 8);
  fake_redis_start_tcp(&f->b, &f->host.loop.loop, f->b_scripts, 8);
  init_texts(f);
  init_scout(f);
  init_rules(f);
  cp_redis_options_init(&f->options);
  f->options.backoff_min_ms = 1;
  /* However busy the machine is, and though probes have no echo here: nothing
   * is too late. */
  f->options.connect_timeout_ms = LONG_MS;
  f->options.probe_interval_ms = f->options.probe_timeout_ms = LONG_MS;
}

static inline void run_linked(fixture *f) {
  transport_host_link(&f->host, f->url, &f->options);
}

static inline void stop_servers(fixture *f) {
  fake_redis_shut(&f->a);
  fake_redis_stop(&f->b);
  fake_redis_stop(&f->a);
}

static inline void finish(fixture *f) {
  if (f->host.transport != NULL && !f->host.closed)
    transport_host_close(&f->host, 0);
  stop_servers(f);
  assert_string_equal(f->a.wrong, "");
  assert_string_equal(f->b.wrong, "");
  transport_host_finish(&f->host);
}

static inline void subscribe(fixture *f, const char *channel,
                             const char *token) {
  assert_int_equal(transport_host_subscribe(&f->host, channel, token), 0);
}

static inline void unsubscribe(fixture *f, const char *channel,
                               const char *token) {
  assert_int_equal(transport_host_unsubscribe(&f->host, channel, token), 0);
}

static inline void publish(fixture *f, const char *channel,
                           const char *payload) {
  assert_int_equal(transport_host_publish(&f->host, channel, payload, payload),
                   0);
}

static inline void do_nothing(uv_timer_t *timer) {
  (void)timer;
}

/* Wait for an event, but not for ever. */
static inline void turn(fixture *f) {
  transport_host_flush(&f->host);
  uv_timer_start(&f->host.loop.deadline, do_nothing, 20, 0);
  test_loop_turn(&f->host.loop);
  uv_timer_stop(&f->host.loop.deadline);
}

#define run_turns_until(f, condition)                           \
  do {                                                          \
    transport_host_flush(&(f)->host);                           \
    run_until(&(f)->host.loop,                                  \
              (transport_host_flush(&(f)->host), (condition))); \
  } while (0)

static inline void run_until_heard(fixture *f, const char *words) {
  run_turns_until(f, transport_host_heard(&f->host, words));
}

static inline int ignore_sigpipe(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  /* Hosts are looked up one after the other: connections come in their order.
   */
  setenv("UV_THREADPOOL_SIZE", "1", 1);
  return 0;
}

#endif
