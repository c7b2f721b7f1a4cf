/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A whole life of a server, with every n-th allocation failing in turn. What
 * fails may fail; but nothing crashes, hangs or leaks, and each send that was
 * taken is called back once. */

#include "observed_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_SENDS 8

typedef struct fixture {
  observed_node node;
  simple_client a, b, c;
  observed_send sends[N_SENDS];
  bool taken[N_SENDS];
  size_t n_sends;
} fixture;

static void note_send(fixture *f, int rc) {
  assert_true(rc == 0 || rc == CP_E_NOMEM);
  f->taken[f->n_sends++] = rc == 0;
}

static observed_send *next_send(fixture *f) {
  assert_true(f->n_sends < N_SENDS);
  return &f->sends[f->n_sends];
}

static void send_from_thread(void *arg) {
  fixture *f = arg;

  note_send(f, observed_send_to_user(&f->node, next_send(f), "alice", "far"));
}

static void send_from_everywhere(fixture *f) {
  cp_conn_id foreign = {1, 1};
  uv_thread_t thread;

  note_send(f, observed_send_to_user(&f->node, next_send(f), "alice", "user"));
  if (f->node.id.instance != 0) /* somebody opened */
    note_send(f,
              observed_send_to_conn(&f->node, next_send(f), f->node.id, "c"));
  note_send(f, observed_send_to_conn(&f->node, next_send(f), foreign, "f"));
  note_send(f, observed_broadcast(&f->node, next_send(f), "all"));
  uv_thread_create(&thread, send_from_thread, f);
  uv_thread_join(&thread);
  fake_transport_answer(&f->node.fake, 0, 1);
}

static void answer_in_hooks(observed_node *node, const char *hook,
                            cp_conn *conn) {
  (void)conn;
  if (strcmp(hook, "message") == 0)
    cp_broadcast(node->server, CP_TEXT, cp_str("echo"), NULL);
}

static void live(fixture *f) {
  fake_transport_link(&f->node.fake, 0);
  observed_node_connect(&f->node, &f->a, "alice");
  simple_client_send(&f->a, "hi");
  node_await(&f->node,
             observed_node_heard_word(&f->node, "alice>hi") || f->a.gone);
  send_from_everywhere(f);
  observed_node_poll(&f->node);
  fake_transport_unlink(&f->node.fake, "break");
  observed_node_connect(&f->node, &f->b, "alice");
  fake_transport_link(&f->node.fake, 1);
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  fake_transport_say(&f->node.fake, "cp:all", cp_str("everybody"));
  simple_client_get(&f->c, &f->node.loop.loop, f->node.port, "/");
  node_await(&f->node, f->c.gone);
  simple_client_hang_up(&f->b);
}

static void check_sends(const fixture *f) {
  size_t i;

  for (i = 0; i < f->n_sends; i++)
    assert_int_equal(f->sends[i].n_calls, f->taken[i]);
}

/* Returns whether it was the allocator that made it fail, if it did. */
static bool run_with_nth_failing(fixture *f, size_t n) {
  int rc;

  memset(f, 0, sizeof *f);
  observed_node_init(&f->node);
  f->node.also = answer_in_hooks;
  f->node.options.max_conns_per_user = 1;
  f->node.options.leave_delay_ms = 0;
  f->node.options.subscribe_wait_ms = 20;
  f->node.memory.fail_at = n;
  rc = cp_server_create(&f->node.server, &f->node.loop.loop, &f->node.options);
  if (rc == 0)
    rc = cp_server_listen(f->node.server, "127.0.0.1:0");
  if (rc == 0) {
    f->node.port = cp_server_port(f->node.server);
    observed_node_poll(&f->node);
    live(f);
  }
  assert_true(rc == 0 || (rc == CP_E_NOMEM && f->node.memory.failed));
  observed_node_finish(&f->node);
  check_sends(f);
  return f->node.memory.failed;
}

static void test_every_allocation_failing(void **state) {
  static fixture f;
  size_t n = 0;

  (void)state;
  while (run_with_nth_failing(&f, ++n))
    continue;
  assert_true(n > 30);
  assert_int_equal(f.n_sends, 5); /* the last round: all went well */
  assert_true(observed_node_heard_word(&f.node, "alice>hi"));
  assert_int_equal(f.c.status, 200);
}

/* No fake: what the local transport and Redis' take. */
static void run_create_with_nth_failing(const char *redis) {
  static fixture f;
  size_t n = 0;
  int rc;

  do {
    memset(&f, 0, sizeof f);
    observed_node_init(&f.node);
    f.node.options.transport = NULL;
    f.node.options.redis = redis;
    f.node.memory.fail_at = ++n;
    rc = cp_server_create(&f.node.server, &f.node.loop.loop, &f.node.options);
    /* What fails while linking is tried again. */
    assert_true(rc == 0 || (rc == CP_E_NOMEM && f.node.memory.failed));
    if (rc == 0)
      observed_node_poll(&f.node);
    observed_node_finish(&f.node);
  } while (f.node.memory.failed);
  assert_true(n > 5);
}

static void test_create_alone(void **state) {
  (void)state;
  run_create_with_nth_failing(NULL);
}

static void test_create_with_redis(void **state) {
  (void)state;
  run_create_with_nth_failing("redis://127.0.0.1:1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_allocation_failing),
      cmocka_unit_test(test_create_alone),
      cmocka_unit_test(test_create_with_redis),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
