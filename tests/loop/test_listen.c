/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Accept fails again and again, and works again later. */

#include "observed_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b;
  char path[64];
  rlim_t n_files; /* 0: the limit is as it was */
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  observed_node_init(&f->node);
  f->node.options.no_uring = 1;
  snprintf(f->path, sizeof f->path, "/tmp/cp-test-%d.sock", (int)getpid());
  observed_node_start_linked(&f->node);
  *state = f;
  return 0;
}

/* Nobody gets a descriptor, not even in the place of one that is closed. */
static rlim_t limit_files(rlim_t n) {
  struct rlimit limit;
  rlim_t before;

  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  before = limit.rlim_cur;
  limit.rlim_cur = n;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  return before;
}

static int count_lines(const fixture *f, const char *text) {
  const char *at = f->node.log_text;
  int n = 0;

  while ((at = strstr(at, text)) != NULL) {
    at += strlen(text);
    n++;
  }
  return n;
}

static void wait_ms(fixture *f, uint64_t ms) {
  uint64_t end = uv_now(&f->node.loop.loop) + ms;

  run_until(&f->node.loop, uv_now(&f->node.loop.loop) >= end);
}

/* `client` has its socket, and waits in the kernel for a while. */
static void run_out_of_files(fixture *f, simple_client *client) {
  rlim_t before = limit_files(0);

  run_until(&f->node.loop, strstr(f->node.log_text, "accept: ") != NULL);
  wait_ms(f, 350); /* it fails several times */
  assert_int_equal(count_lines(f, "accept: too many open files, waiting"), 1);
  assert_int_equal(client->status, 0);
  limit_files(before);
  run_until(&f->node.loop, client->status == 101);
}

static void test_no_files(void **state) {
  fixture *f = *state;

  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     "");
  run_out_of_files(f, &f->a);
  assert_int_equal(cp_server_port(f->node.server), f->node.port);
  observed_node_connect(&f->node, &f->b, "bob");
}

static void test_no_files_unix(void **state) {
  fixture *f = *state;
  char address[80];

  snprintf(address, sizeof address, "unix:%s", f->path);
  assert_int_equal(cp_server_listen(f->node.server, address), 0);
  simple_client_open_unix(&f->a, &f->node.loop.loop, f->path, "/?user=alice");
  run_out_of_files(f, &f->a);
  simple_client_open_unix(&f->b, &f->node.loop.loop, f->path, "/?user=bob");
  run_until(&f->node.loop, f->b.status == 101);
  assert_int_equal(access(f->path, F_OK), 0);
}

/* The server goes while it can't accept. */
static void test_close_without_files(void **state) {
  fixture *f = *state;

  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     "");
  f->n_files = limit_files(0);
  run_until(&f->node.loop, strstr(f->node.log_text, "accept: ") != NULL);
}

/* What was bound is gone afterwards. */
static int teardown(void **state) {
  fixture *f = *state;
  rlim_t n_files = f->n_files;
  char path[64];

  snprintf(path, sizeof path, "%s", f->path);
  observed_teardown(state);
  if (n_files > 0)
    limit_files(n_files);
  assert_int_not_equal(access(path, F_OK), 0);
  return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_no_files),
      TEST(test_no_files_unix),
      TEST(test_close_without_files),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
