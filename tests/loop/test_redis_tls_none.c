/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A build without TLS refuses rediss://, and says why. */
#include "transport_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_unsupported(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  assert_int_equal(cp__transport_redis_create(
                       &host.transport, "rediss://:s3cret@localhost", NULL,
                       cp_str(NODE_CHANNEL), 1, &host.log, &host.memory.alloc),
                   CP_E_UNSUPPORTED);
  assert_null(host.transport);
  assert_non_null(strstr(host.log_text, "this build has no TLS"));
  assert_null(strstr(host.log_text, "s3cret"));
  transport_host_finish(&host);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unsupported),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
