/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The limits of test_limits.c that are kept otherwise with TLS. */

#include "../unit/tls_files.h"
#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  echo_node node;
  ws_client a;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  echo_node_init(&f->node);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  echo_node_finish(&f->node);
  free(f);
  return 0;
}

static void start_with_tls(fixture *f, const char *dir) {
  f->node.options.tls_cert = tls_file(dir, "server.pem");
  f->node.options.tls_key = tls_file(dir, "server.key");
  echo_node_start(&f->node);
}

static void test_tls_handshakes_a_second(void **state) {
  fixture *f = *state;
  char *dir = tls_files_create();
  int i;

  f->node.options.max_handshakes_per_second = 1;
  start_with_tls(f, dir);
  for (i = 0; echo_node_stats(&f->node).rate_refusals == 0; i++) {
    ws_client_connect(&f->a, &f->node.loop.loop, f->node.port);
    run_until(&f->node.loop,
              f->a.ended || echo_node_stats(&f->node).handshakes == 1);
    assert_int_equal(f->a.ended, echo_node_stats(&f->node).rate_refusals == 1);
    echo_node_see_off(&f->node, &f->a);
    run_until(&f->node.loop, echo_node_stats(&f->node).handshakes == 0);
  }
  assert_true(i >= 2);
  tls_files_remove(dir);
}

static void test_tls_failures_are_counted(void **state) {
  fixture *f = *state;
  char *dir = tls_files_create();

  start_with_tls(f, dir);
  ws_client_connect(&f->a, &f->node.loop.loop, f->node.port);
  ws_client_upgrade(&f->a, "alice"); /* in plain text */
  run_until(&f->node.loop, f->a.ended);
  assert_int_equal(echo_node_stats(&f->node).tls_failures, 1);
  echo_node_see_off(&f->node, &f->a);
  tls_files_remove(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_tls_handshakes_a_second),
      TEST(test_tls_failures_are_counted),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
