/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The Redis transport against a redis-server, which is killed, paused, demoted
 * and short of rights. */
#include "real_redis.h"
#include "transport_host.h"
#include "transport_redis.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  transport_host host;
  real_redis redis;
  cp_redis_options options;
} fixture;

/* Each test has a server of its own. */
static void init(fixture *f) {
  memset(f, 0, sizeof *f);
  if (!real_redis_start(&f->redis))
    skip();
  transport_host_init(&f->host);
  cp_redis_options_init(&f->options);
  f->options.backoff_min_ms = 1;
  f->options.backoff_max_ms = 20;
}

static void run_linked(fixture *f) {
  transport_host_link(&f->host, f->redis.url, &f->options);
}

static void init_linked(fixture *f) {
  init(f);
  run_linked(f);
}

static void finish(fixture *f) {
  transport_host_finish(&f->host);
  real_redis_stop(&f->redis);
}

static void run_server(fixture *f, const char *command) {
  if (real_redis_run(&f->redis, command) < 0)
    fail_msg("redis-server refused: %s", command);
}

static void subscribe(fixture *f, const char *channel) {
  assert_int_equal(transport_host_subscribe(&f->host, channel, channel), 0);
  transport_host_flush(&f->host);
}

static void publish(fixture *f, const char *channel, const char *payload) {
  assert_int_equal(transport_host_publish(&f->host, channel, payload, payload),
                   0);
  transport_host_flush(&f->host);
}

static void run_until_heard(fixture *f, const char *words) {
  run_until(&f->host.loop, transport_host_heard(&f->host, words));
}

static void run_until_linked_times(fixture *f, int n) {
  run_until(&f->host.loop, f->host.n_linked == n);
}

static void expect_unlinked(fixture *f, int err, const char *reason_part) {
  run_until(&f->host.loop, f->host.n_unlinked > 0);
  assert_int_equal(f->host.err, err);
  if (strstr(f->host.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, f->host.reason);
}

/* All is well. ------------------------------------------------------------ */

static void test_publish_and_hear(void **state) {
  fixture f;

  (void)state;
  init_linked(&f);
  subscribe(&f, "cp:u:{alice}");
  run_until_heard(&f, "+cp:u:{alice} ");
  publish(&f, "cp:u:{alice}", "hello");
  publish(&f, "cp:u:{bob}", "lost");
  run_until_heard(&f, "lost=0 ");
  run_until_heard(&f, "<cp:u:{alice}|hello> ");
  assert_true(transport_host_heard(&f.host, "hello=1 "));
  transport_host_forget(&f.host);

  assert_int_equal(transport_host_unsubscribe(&f.host, "cp:u:{alice}", "u"), 0);
  transport_host_flush(&f.host);
  run_until_heard(&f, "+u ");
  publish(&f, "cp:u:{alice}", "gone");
  run_until_heard(&f, "gone=0 ");
  assert_int_equal(f.host.n_messages, 1);
  finish(&f);
}

static void test_two_nodes(void **state) {
  transport_host other;
  fixture f;

  (void)state;
  init_linked(&f);
  transport_host_init(&other);
  other.host.publish_only = 1;
  transport_host_link(&other, f.redis.url, NULL);
  subscribe(&f, "c");
  run_until_heard(&f, "+c ");
  assert_int_equal(transport_host_publish(&other, "c", "from afar", "p"), 0);
  assert_int_equal(transport_host_publish(&other, NODE_CHANNEL, "to you", "q"),
                   0);
  transport_host_flush(&other);
  run_until_heard(&f, "<c|from afar> <" NODE_CHANNEL "|to you> ");
  run_until(&other.loop, transport_host_heard(&other, "p=1 q=1 "));
  transport_host_finish(&other);
  finish(&f);
}

/* Any program's PUBLISH. */
static void test_foreign_publisher(void **state) {
  fixture f;

  (void)state;
  init_linked(&f);
  subscribe(&f, "c");
  run_until_heard(&f, "+c ");
  assert_int_equal(real_redis_run(&f.redis, "PUBLISH c plain"), 1);
  run_until_heard(&f, "<c|plain> ");
  finish(&f);
}

/* Counts in n_messages, which is what each payload must say. */
static uint32_t on_number(void *ctx, cp_bytes channel, cp_bytes payload) {
  transport_host *host = ctx;
  char text[16];

  (void)channel;
  snprintf(text, sizeof text, "%zu", host->n_messages++);
  assert_int_equal(payload.len, strlen(text));
  assert_memory_equal(payload.data, text, payload.len);
  return 1;
}

static void test_thousands_in_order(void **state) {
  enum { N = 20000 };
  fixture f;
  char text[16];
  int i;

  (void)state;
  init(&f);
  f.host.host.on_message = on_number;
  run_linked(&f);
  subscribe(&f, "c");
  run_until_heard(&f, "+c ");
  for (i = 0; i < N; i++) {
    snprintf(text, sizeof text, "%d", i);
    assert_int_equal(transport_host_publish(&f.host, "c", text, NULL), 0);
  }
  transport_host_flush(&f.host);
  run_until(&f.host.loop, f.host.n_messages == N);
  finish(&f);
}

static void test_many_channels(void **state) {
  enum { N = 3000 };
  fixture f;
  char name[16];
  int i;

  (void)state;
  init_linked(&f);
  for (i = 0; i < N; i++) {
    snprintf(name, sizeof name, "c%d", i);
    assert_int_equal(transport_host_subscribe(&f.host, name, ""), 0);
  }
  transport_host_flush(&f.host);
  run_until(&f.host.loop, f.host.n_confirmed == N);
  publish(&f, "c2999", "hello");
  run_until_heard(&f, "hello=1 ");
  finish(&f);
}

static void test_large_message(void **state) {
  static char text[12 * 1024 * 1024];
  fixture f;

  (void)state;
  init(&f);
  f.options.max_queue = 2 * sizeof text;
  run_linked(&f);
  memset(text, 'x', sizeof text - 1);
  f.host.messages_only_counted = true;
  subscribe(&f, "c");
  run_until_heard(&f, "+c ");
  assert_int_equal(transport_host_publish(&f.host, "c", text, "p"), 0);
  transport_host_flush(&f.host);
  run_until(&f.host.loop, f.host.n_messages == 1);
  run_until_heard(&f, "p=1 ");
  finish(&f);
}

static const cp__transport_redis *inside(const fixture *f) {
  const void *transport = f->host.transport;
  return transport;
}

static uint64_t n_probes(const fixture *f) {
  return inside(f)->probe.nonce;
}

/* Probes go round, and the host never sees one. */
static void test_probes(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.probe_interval_ms = 5;
  run_linked(&f);
  run_until(&f.host.loop, n_probes(&f) >= 10);
  assert_int_equal(f.host.n_messages, 0);
  assert_int_equal(f.host.n_unlinked, 0);
  finish(&f);
}

static void test_database_of_the_url(void **state) {
  fixture f;
  char url[128];

  (void)state;
  init(&f);
  snprintf(url, sizeof url, "%s?db=5", f.redis.url);
  transport_host_link(&f.host, url, &f.options);
  publish(&f, "c", "x");
  run_until_heard(&f, "x=0 ");
  finish(&f);
}

/* All is not well. -------------------------------------------------------- */

static void test_killed_server(void **state) {
  fixture f;

  (void)state;
  init_linked(&f);
  subscribe(&f, "c");
  run_until_heard(&f, "+c ");
  transport_host_forget(&f.host);
  real_redis_kill(&f.redis);
  run_until(&f.host.loop, f.host.n_unlinked > 3); /* it goes on trying */
  assert_int_equal(f.host.n_linked, 1);
  assert_true(real_redis_restart(&f.redis));
  run_until_linked_times(&f, 2);
  assert_true(transport_host_heard(&f.host, "linked:1 "));
  publish(&f, "c", "forgotten");
  run_until_heard(&f, "forgotten=0 ");
  finish(&f);
}

/* ... up to a bound that grows with every failure, until a link holds. */
static void test_pauses(void **state) {
  fixture f;
  uint64_t linked_ms;

  (void)state;
  init(&f);
  f.options.probe_interval_ms = 5; /* turns for run_until */
  run_linked(&f);
  real_redis_kill(&f.redis);
  run_until(&f.host.loop, f.host.n_unlinked >= 5);
  assert_true(inside(&f)->backoff.n_failures >= 4);
  assert_true(real_redis_restart(&f.redis));
  run_until_linked_times(&f, 2);
  linked_ms = inside(&f)->linked_ms;
  run_until(&f.host.loop,
            uv_now(&f.host.loop.loop) >= linked_ms + f.options.backoff_max_ms);
  transport_host_forget(&f.host);
  real_redis_kill(&f.redis);
  run_until_heard(&f, "unlinked ");
  assert_true(inside(&f)->backoff.n_failures <= 1);
  finish(&f);
}

static void test_server_that_comes_later(void **state) {
  fixture f;

  (void)state;
  init(&f);
  real_redis_kill(&f.redis);
  transport_host_start(&f.host, f.redis.url, &f.options);
  run_until(&f.host.loop, f.host.n_unlinked == 2);
  assert_true(real_redis_restart(&f.redis));
  run_until_linked_times(&f, 1);
  finish(&f);
}

static void test_paused_server(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.probe_interval_ms = 30;
  f.options.probe_timeout_ms = 100;
  f.options.connect_timeout_ms = 100;
  run_linked(&f);
  real_redis_pause(&f.redis);
  publish(&f, "c", "x");
  expect_unlinked(&f, CP_E_TIMEOUT, "hear");
  assert_true(transport_host_heard(&f.host, "x!CP_E_CLOSED unlinked "));
  run_until(&f.host.loop, f.host.n_unlinked > 1); /* the greeting, too */
  real_redis_continue(&f.redis);
  run_until_linked_times(&f, 2);
  finish(&f);
}

static void test_late_probe_that_comes(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.probe_interval_ms = 30;
  f.options.probe_timeout_ms = RUN_DEADLINE_MS;
  run_linked(&f);
  real_redis_pause(&f.redis);
  run_until_heard(&f, "late ");
  real_redis_continue(&f.redis);
  run_until_heard(&f, "good ");
  assert_true(f.host.linked);
  finish(&f);
}

/* The loop was blocked for longer than the timeout: the echo is there, only
 * unread. */
static void test_blocked_loop(void **state) {
  fixture f;
  uint64_t until;

  (void)state;
  init(&f);
  f.options.probe_interval_ms = 20;
  f.options.probe_timeout_ms = 1000;
  run_linked(&f);
  real_redis_pause(&f.redis);
  run_until_heard(&f, "late ");
  real_redis_continue(&f.redis);
  run_server(&f, "PING"); /* it is awake */
  until = uv_hrtime() + (uint64_t)1100 * 1000 * 1000;
  while (uv_hrtime() < until)
    continue;
  run_until_heard(&f, "good ");
  assert_int_equal(f.host.n_unlinked, 0);
  finish(&f);
}

static void test_demoted_master(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.probe_interval_ms = 20;
  run_linked(&f);
  run_server(&f, "REPLICAOF 127.0.0.1 1");
  expect_unlinked(&f, CP_E_REDIS, "replica of 127.0.0.1");
  run_until(&f.host.loop, f.host.n_unlinked > 2);
  assert_int_equal(f.host.n_linked, 1);
  run_server(&f, "REPLICAOF NO ONE");
  run_until_linked_times(&f, 2);
  finish(&f);
}

static void test_one_killed_link_takes_the_other(void **state) {
  fixture f;

  (void)state;
  init_linked(&f);
  run_server(&f, "CLIENT KILL TYPE pubsub");
  run_until_linked_times(&f, 2);
  run_server(&f, "CLIENT KILL TYPE normal SKIPME yes");
  run_until_linked_times(&f, 3);
  subscribe(&f, "c");
  publish(&f, "c", "x");
  run_until_heard(&f, "x=");
  finish(&f);
}

/* Rights. ----------------------------------------------------------------- */

static void test_wrong_password(void **state) {
  fixture f;
  char url[128];

  (void)state;
  init(&f);
  run_server(&f, "ACL SETUSER jo on >right ~* &* +@all");
  snprintf(url, sizeof url, "unix://jo:s3cret@%s", f.redis.path);
  transport_host_start(&f.host, url, &f.options);
  expect_unlinked(&f, CP_E_AUTH, "WRONGPASS");
  run_until(&f.host.loop, f.host.n_unlinked > 2);
  assert_int_equal(f.host.n_warnings, 1);
  assert_null(strstr(f.host.log_text, "s3cret"));
  finish(&f);
}

/* The least that suffices. */
static void test_few_rights(void **state) {
  fixture f;
  char url[128];

  (void)state;
  init(&f);
  run_server(&f, "ACL SETUSER jo on >right resetchannels &cp:* -@all "
                 "+publish +subscribe +unsubscribe");
  snprintf(url, sizeof url, "unix://jo:right@%s", f.redis.path);
  f.options.probe_interval_ms = 5;
  transport_host_start(&f.host, url, &f.options);
  run_until_linked_times(&f, 1);
  assert_string_equal(f.host.heard, "linked:1 "); /* its age is unknown */
  assert_int_equal(f.host.n_warnings, 3);
  assert_non_null(strstr(f.host.log_text, "NOPERM"));

  run_until(&f.host.loop, n_probes(&f) >= 10);
  assert_true(f.host.linked); /* PING is refused, but that's an answer */

  subscribe(&f, "foreign");
  publish(&f, "foreign", "x");
  publish(&f, "cp:u:{jo}", "y");
  run_until_heard(&f, "-foreign:CP_E_REDIS ");
  run_until_heard(&f, "x!CP_E_REDIS ");
  run_until_heard(&f, "y=0 ");
  finish(&f);
}

static void test_node_channel_forbidden(void **state) {
  fixture f;
  char url[128];

  (void)state;
  init(&f);
  run_server(&f, "ACL SETUSER jo on >right resetchannels &other:* +@all");
  snprintf(url, sizeof url, "unix://jo:right@%s", f.redis.path);
  transport_host_start(&f.host, url, &f.options);
  expect_unlinked(&f, CP_E_REDIS, "NOPERM");
  finish(&f);
}

/* Memory. ----------------------------------------------------------------- */

static size_t count_of(const char *text, const char *part) {
  size_t n = 0;

  while ((text = strstr(text, part)) != NULL) {
    text += strlen(part);
    n++;
  }
  return n;
}

/* Whatever fails, it links in the end, and every token that was accepted is
 * answered. */
static void run_with_failing(fixture *f, size_t fail_at) {
  transport_host *host = &f->host;
  char channel[301] = "";
  size_t n_subscribed = 0;
  size_t n_published = 0;
  int rc;
  int i;

  transport_host_init(host);
  host->memory.fail_at = fail_at;
  rc = cp__transport_redis_create(&host->transport, f->redis.url, &f->options,
                                  cp_str(NODE_CHANNEL), 1, &host->log,
                                  &host->memory.alloc);
  if (rc != 0) {
    assert_int_equal(rc, CP_E_NOMEM);
    transport_host_finish(host);
    return;
  }
  rc = host->transport->ops->start(host->transport, &host->host);
  assert_int_equal(rc, 0);
  run_until(&host->loop, host->linked);
  /* What fails leaves no trace, so the second of each is as good as the first.
   */
  memset(channel, 'c', sizeof channel - 1);
  for (i = 0; i < 2; i++) {
    n_subscribed += transport_host_subscribe(host, channel, "a") == 0;
    n_published += transport_host_publish(host, "c", "p", "p") == 0;
  }
  assert_true(n_subscribed >= 1);
  assert_true(n_published >= 1);
  transport_host_flush(host);
  run_until(&host->loop, host->n_confirmed == n_subscribed &&
                             host->n_published == n_published);
  run_until(&host->loop, host->linked);
  if (host->n_unlinked > 0)
    assert_int_equal(host->err, CP_E_NOMEM);
  if (host->n_linked == 1) {
    assert_int_equal(count_of(host->heard, "+a "), n_subscribed);
    if (transport_host_publish(host, channel, "q", "q") == 0) {
      transport_host_flush(host);
      run_until(&host->loop, transport_host_heard(host, "q=1 "));
    }
  }
  transport_host_finish(host);
}

static void test_every_allocation_failing(void **state) {
  size_t n = 0;
  bool failed;
  fixture f;

  (void)state;
  init(&f);
  transport_host_finish(&f.host);
  do {
    run_with_failing(&f, ++n);
    failed = f.host.memory.failed;
  } while (failed);
  assert_true(n > 15);
  real_redis_stop(&f.redis);
}

static int ignore_sigpipe(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_publish_and_hear),
      cmocka_unit_test(test_two_nodes),
      cmocka_unit_test(test_foreign_publisher),
      cmocka_unit_test(test_thousands_in_order),
      cmocka_unit_test(test_many_channels),
      cmocka_unit_test(test_large_message),
      cmocka_unit_test(test_probes),
      cmocka_unit_test(test_database_of_the_url),
      cmocka_unit_test(test_killed_server),
      cmocka_unit_test(test_pauses),
      cmocka_unit_test(test_server_that_comes_later),
      cmocka_unit_test(test_paused_server),
      cmocka_unit_test(test_late_probe_that_comes),
      cmocka_unit_test(test_blocked_loop),
      cmocka_unit_test(test_demoted_master),
      cmocka_unit_test(test_one_killed_link_takes_the_other),
      cmocka_unit_test(test_wrong_password),
      cmocka_unit_test(test_few_rights),
      cmocka_unit_test(test_node_channel_forbidden),
      cmocka_unit_test(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
