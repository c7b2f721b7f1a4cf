/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* On how many nodes is a user? On a fake transport. */

#include "observed_node.h"
#include "real_redis.h"

#include "counts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a;
  int n_calls;
  int status;
  uint32_t nodes[CP__COUNT_MAX];
  size_t n;
  bool again; /* the callback asks the next */
} fixture;

static int setup(void **state) {
  return observed_setup(state, sizeof(fixture));
}

static void on_nodes(void *data, int status, const uint32_t *nodes, size_t n) {
  fixture *f = data;

  f->n_calls++;
  f->status = status;
  f->n = n;
  memcpy(f->nodes, nodes, n * sizeof *nodes);
  if (f->again)
    cp_user_nodes(f->node.server, cp_str("next"), on_nodes, f);
  f->again = false;
}

static int ask(fixture *f, const char *user) {
  return cp_user_nodes(f->node.server, cp_str(user), on_nodes, f);
}

static int ask_many(fixture *f, const cp_bytes *users, size_t n) {
  return cp_users_nodes(f->node.server, users, n, on_nodes, f);
}

static void assert_answer(fixture *f, int status, size_t n) {
  node_await(&f->node, f->n_calls > 0);
  assert_int_equal(f->n_calls, 1);
  assert_int_equal(f->status, status);
  assert_int_equal(f->n, n);
  f->n_calls = 0;
}

static void test_one(void **state) {
  const uint32_t two = 2;
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  assert_int_equal(ask(f, "alice"), 0);
  assert_string_equal(f->node.fake.asked, "cp:u:{alice}? ");
  fake_transport_count(&f->node.fake, 0, &two, 1);
  assert_int_equal(f->n_calls, 0); /* from the end of the turn */
  assert_answer(f, 0, 1);
  assert_int_equal(f->nodes[0], 2);
}

static void test_many(void **state) {
  static cp_bytes users[CP__COUNT_MAX + 1];
  static uint32_t numbers[CP__COUNT_MAX];
  fixture *f = *state;
  uint32_t i;

  observed_node_start_linked(&f->node);
  for (i = 0; i <= CP__COUNT_MAX; i++)
    users[i] = cp_str(i % 2 ? "alice" : "bob");
  assert_int_equal(ask_many(f, users, CP__COUNT_MAX + 1), CP_E_INVALID);
  assert_int_equal(ask_many(f, users, 0), CP_E_INVALID);
  assert_int_equal(ask_many(f, NULL, 1), CP_E_INVALID);
  assert_int_equal(
      cp_users_nodes(f->node.server, users, CP__COUNT_MAX, NULL, f),
      CP_E_INVALID);
  users[7] = cp_str("}");
  assert_int_equal(ask_many(f, users, CP__COUNT_MAX), CP_E_INVALID);
  assert_int_equal(ask(f, ""), CP_E_INVALID);
  users[7] = cp_str("carol");
  assert_string_equal(f->node.fake.asked, "");
  assert_int_equal(ask_many(f, users, CP__COUNT_MAX), 0);
  for (i = 0; i < CP__COUNT_MAX; i++)
    numbers[i] = i;
  fake_transport_count(&f->node.fake, 0, numbers, CP__COUNT_MAX);
  assert_answer(f, 0, CP__COUNT_MAX);
  assert_memory_equal(f->nodes, numbers, sizeof numbers);
  assert_int_equal(ask_many(f, users + 6, 2), 0);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}? cp:u:{carol}? "));
  fake_transport_count(&f->node.fake, 0, numbers, 2);
  assert_answer(f, 0, 2);
}

static void test_failures(void **state) {
  const uint32_t one = 1;
  fixture *f = *state;

  observed_node_start(&f->node);
  assert_int_equal(ask(f, "alice"), CP_E_DOWN);
  fake_transport_link(&f->node.fake, 0);
  f->node.fake.fail_count = CP_E_FULL;
  assert_int_equal(ask(f, "alice"), CP_E_FULL);
  f->node.fake.fail_count = 0;
  assert_int_equal(ask(f, "alice"), 0);
  fake_transport_count(&f->node.fake, CP_E_REDIS, NULL, 0);
  assert_answer(f, CP_E_REDIS, 1);
  assert_int_equal(f->nodes[0], 0);
  assert_int_equal(ask_many(f, (cp_bytes[]){cp_str("a"), cp_str("b")}, 2), 0);
  fake_transport_count(&f->node.fake, 0, &one, 1); /* one is missing */
  assert_answer(f, CP_E_PROTOCOL, 2);
  assert_int_equal(ask(f, "alice"), 0);
  fake_transport_unlink(&f->node.fake, "break");
  assert_answer(f, CP_E_DOWN, 1);
}

static void test_an_old_transport(void **state) {
  fixture *f = *state;

  fake_transport_init_old(&f->node.fake);
  observed_node_start_linked(&f->node);
  assert_int_equal(ask(f, "alice"), CP_E_UNSUPPORTED);
}

static void test_close(void **state) {
  fixture *f = *state;
  cp_server *server;

  observed_node_start_linked(&f->node);
  server = cp_server_ref(f->node.server);
  assert_int_equal(ask(f, "alice"), 0);
  cp_server_close(server, 0, NULL);
  assert_int_equal(ask(f, "alice"), CP_E_CLOSED);
  f->node.server = NULL;
  assert_answer(f, CP_E_CANCELED, 1);
  cp_server_unref(server);
}

/* Without other nodes. */
static void test_alone(void **state) {
  fixture *f = *state;

  f->node.options.transport = NULL;
  observed_node_start(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  assert_int_equal(ask_many(f, (cp_bytes[]){cp_str("bob"), cp_str("alice")}, 2),
                   0);
  assert_int_equal(f->n_calls, 0);
  assert_answer(f, 0, 2);
  assert_int_equal(f->nodes[0], 0);
  assert_int_equal(f->nodes[1], 1);
}

static void test_asks_from_the_callback(void **state) {
  fixture *f = *state;

  f->node.options.transport = NULL;
  observed_node_start(&f->node);
  f->again = true;
  ask(f, "alice");
  node_await(&f->node, f->n_calls == 2);
}

static void test_limit(void **state) {
  fixture *f = *state;
  int i;

  f->node.options.transport = NULL;
  observed_node_start(&f->node);
  for (i = 0; i < 1000; i++)
    assert_int_equal(ask(f, "alice"), 0);
  assert_int_equal(ask(f, "alice"), CP_E_FULL);
  node_await(&f->node, f->n_calls == 1000);
  assert_int_equal(ask(f, "alice"), 0);
}

static void test_out_of_memory(void **state) {
  const uint32_t one = 1;
  fixture *f = *state;
  size_t n = 0;
  int rc;

  observed_node_start_linked(&f->node);
  do {
    f->node.memory.fail_at = f->node.memory.n_calls + ++n;
    rc = ask(f, "alice");
    assert_true(rc == 0 || rc == CP_E_NOMEM);
  } while (rc != 0);
  f->node.memory.fail_at = 0;
  assert_int_equal(n, 3);
  fake_transport_count(&f->node.fake, 0, &one, 1);
  assert_answer(f, 0, 1);
}

/* The longest question, over a real Redis. */
static void test_a_thousand(void **state) {
  static char names[CP__COUNT_MAX][255];
  static cp_bytes users[CP__COUNT_MAX];
  fixture *f = *state;
  real_redis redis;
  size_t i;

  if (!real_redis_start(&redis))
    skip();
  f->node.options.transport = NULL;
  f->node.options.redis = redis.url;
  observed_node_start(&f->node);
  run_until(&f->node.loop, cp_server_cluster_state(f->node.server) == CP_UP);
  observed_node_connect(&f->node, &f->a, "alice");
  for (i = 0; i < CP__COUNT_MAX; i++) {
    memset(names[i], 'u', sizeof names[i]);
    users[i] = cp_bytes_of(names[i], sizeof names[i]);
  }
  users[CP__COUNT_MAX - 1] = cp_str("alice");
  assert_int_equal(ask_many(f, users, CP__COUNT_MAX), 0);
  assert_answer(f, 0, CP__COUNT_MAX);
  assert_int_equal(f->nodes[0], 0);
  assert_int_equal(f->nodes[CP__COUNT_MAX - 1], 1);
  assert_int_equal(ask(f, "alice"), 0);
  real_redis_kill(&redis); /* before the question leaves */
  node_await(&f->node, f->n_calls > 0);
  assert_true(f->status == 0 || f->status == CP_E_DOWN);
  real_redis_stop(&redis);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_one),
      TEST(test_many),
      TEST(test_failures),
      TEST(test_an_old_transport),
      TEST(test_close),
      TEST(test_alone),
      TEST(test_asks_from_the_callback),
      TEST(test_limit),
      TEST(test_a_thousand),
      TEST(test_out_of_memory),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
