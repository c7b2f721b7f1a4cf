/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Sockets that the host accepted, whose clients begin with a TLS handshake. */

#include "../unit/tls_files.h"
#include "adopting_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <unistd.h>

typedef struct tls_host {
  host *host;
  char *dir;
  cp__tls_context *context; /* the clients' */
} tls_host;

static void tls_host_start(tls_host *t, void **state) {
  char text[CP__TLS_TEXT_SIZE];
  cp__tls_options trust;

  t->host = *state;
  t->dir = tls_files_create();
  memset(&trust, 0, sizeof trust);
  trust.ca_file = tls_file(t->dir, "ca.pem");
  assert_int_equal(
      cp__tls_context_create(&t->context, &trust, &cp__default_allocator, text),
      0);
  t->host->node.options.tls_cert = tls_file(t->dir, "server.pem");
  t->host->node.options.tls_key = tls_file(t->dir, "server.key");
  echo_node_start(&t->host->node);
}

static void tls_host_finish(tls_host *t) {
  cp__tls_context_unref(t->context);
  tls_files_remove(t->dir);
}

/* The host has read `n` bytes of the client's hello. */
static int adopt(tls_host *t, size_t n) {
  host *h = t->host;
  char hello[512];
  cp_adopt_options options;
  int rc;

  cp_adopt_options_init(&options);
  options.fd = host_accept(h);
  options.tls = 1;
  ws_client_start_tls(&h->client, t->context);
  host_read(h, options.fd, hello, n);
  options.received = cp_bytes_of(hello, n);
  rc = cp_server_adopt(h->node.server, &options);
  if (rc != 0)
    assert_int_equal(close(options.fd), 0); /* still the host's */
  ws_client_upgrade(&h->client, "alice");
  ws_client_text(&h->client, "hi");
  return rc;
}

static void test_tls(void **state) {
  tls_host t;
  size_t n;

  tls_host_start(&t, state);
  for (n = 0; n < 64; n++) {
    assert_int_equal(adopt(&t, n), 0);
    host_await_echo(t.host);
    host_see_off(t.host);
  }
  tls_host_finish(&t);
}

/* Without the flag it is plain, whatever the listeners are. */
static void test_plain_beside_tls(void **state) {
  tls_host t;

  tls_host_start(&t, state);
  assert_int_equal(host_adopt(t.host, host_accept(t.host), cp_str("")), 0);
  ws_client_upgrade(&t.host->client, "alice");
  ws_client_text(&t.host->client, "hi");
  host_await_echo(t.host);
  host_see_off(t.host);
  tls_host_finish(&t);
}

/* What the host read is no hello: the client hears an alert, or nothing. */
static void test_no_tls(void **state) {
  tls_host t;
  cp_adopt_options options;

  tls_host_start(&t, state);
  cp_adopt_options_init(&options);
  options.fd = host_accept(t.host);
  options.tls = 1;
  options.received = cp_str("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_int_equal(cp_server_adopt(t.host->node.server, &options), 0);
  run_until(&t.host->node.loop, t.host->client.ended);
  assert_int_equal(t.host->client.status, 0);
  assert_true(echo_node_heard(&t.host->node, ""));
  host_see_off(t.host);
  tls_host_finish(&t);
}

/* Returns whether it was reached. */
static bool run_with_nth_failing(tls_host *t, size_t n) {
  failing_alloc *memory = &t->host->node.memory;
  int rc;

  memory->failed = false;
  memory->n_calls = 0;
  memory->fail_at = n;
  rc = adopt(t, 32);
  assert_true(rc == 0 || rc == CP_E_NOMEM);
  run_until(&t->host->node.loop,
            t->host->client.ended || host_was_heard(t->host));
  memory->fail_at = 0;
  host_see_off(t->host);
  return memory->failed;
}

static void test_every_allocation_failing(void **state) {
  tls_host t;
  size_t n = 0;

  tls_host_start(&t, state);
  t.host->node.silent = true; /* a lost echo is not the point */
  while (run_with_nth_failing(&t, ++n))
    continue;
  assert_true(n > 5);
  tls_host_finish(&t);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_tls),
      TEST(test_plain_beside_tls),
      TEST(test_no_tls),
      TEST(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
