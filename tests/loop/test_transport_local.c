/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "transport_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void start_local(transport_host *host) {
  transport_host_init(host);
  host->transport = cp__transport_local_create(&host->memory.alloc);
  assert_non_null(host->transport);
  assert_true(host->transport->local);
  assert_int_equal(host->transport->ops->start(host->transport, &host->host),
                   0);
}

static void test_hands_over_what_is_published(void **state) {
  transport_host host;

  (void)state;
  start_local(&host);
  assert_int_equal(transport_host_subscribe(&host, "c", "s"), 0);
  assert_int_equal(transport_host_publish(&host, "c", "hello", "p"), 0);
  assert_int_equal(transport_host_publish(&host, "d", "", NULL), 0);
  assert_int_equal(transport_host_unsubscribe(&host, "c", "u"), 0);
  transport_host_flush(&host);
  assert_string_equal(host.heard, "linked:0 +s <c|hello> p=1 <d|> +u ");
  transport_host_finish(&host);
}

static uint32_t nobody(void *ctx, cp_bytes channel, cp_bytes payload) {
  (void)ctx, (void)channel, (void)payload;
  return 0;
}

static void test_nobody_there(void **state) {
  transport_host host;

  (void)state;
  start_local(&host);
  host.host.on_message = nobody;
  assert_int_equal(transport_host_publish(&host, "c", "hello", "p"), 0);
  assert_string_equal(host.heard, "linked:0 p=0 ");
  transport_host_finish(&host);
}

static void test_close(void **state) {
  transport_host host;

  (void)state;
  start_local(&host);
  transport_host_begin_close(&host, 1000);
  assert_int_equal(transport_host_publish(&host, "c", "x", "p"), CP_E_DOWN);
  assert_int_equal(transport_host_subscribe(&host, "c", "s"), CP_E_DOWN);
  run_until(&host.loop, host.closed);
  transport_host_finish(&host);
}

static void test_close_without_start(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  host.transport = cp__transport_local_create(&host.memory.alloc);
  transport_host_close(&host, 0);
  assert_string_equal(host.heard, "");
  transport_host_finish(&host);
}

static void test_every_allocation_failing(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  host.memory.fail_at = 1;
  assert_null(cp__transport_local_create(&host.memory.alloc));
  transport_host_finish(&host);

  start_local(&host);
  host.memory.fail_at = host.memory.n_calls + 1;
  assert_int_equal(transport_host_publish(&host, "c", "x", "p"), CP_E_NOMEM);
  assert_int_equal(transport_host_publish(&host, "c", "y", "q"), 0);
  assert_string_equal(host.heard, "linked:0 <c|y> q=1 ");
  transport_host_finish(&host);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_hands_over_what_is_published),
      cmocka_unit_test(test_nobody_there),
      cmocka_unit_test(test_close),
      cmocka_unit_test(test_close_without_start),
      cmocka_unit_test(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
