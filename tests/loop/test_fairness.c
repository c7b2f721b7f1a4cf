/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Nobody holds up the others, whatever it sends or how fast it reads: what one
 * turn of the loop does is bounded. */

#include "conn.h"
#include "echo_node.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Input. ------------------------------------------------------------------ */

/* Much that waits in the kernel is not read in one turn of the loop, in which
 * nobody else would be answered. */
static void test_floods_take_turns(void **state) {
  static const char body[] = "0123456789";
  size_t n = 100000, turn_limit, len, i;
  ws_client flood, other;
  uint64_t before, answered_behind = 0, most = 0;
  uint8_t *frames;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.silent = true;
  echo_node_start(&node);
  echo_node_welcome(&node, &flood, "flood");
  echo_node_welcome(&node, &other, "other");
  frames = malloc(n * (sizeof body + 14));
  for (i = len = 0; i < n; i++)
    len += ws_client_put_frame(frames + len, 0x81, body, sizeof body - 1);
  turn_limit = CP__READ_BUF * n / len + 1;
  ws_client_write(&flood, frames, len);
  ws_client_frame(&other, 0x89, "p", 1);
  while (echo_node_stats(&node).messages_in < n) {
    before = echo_node_stats(&node).messages_in;
    uv_run(&node.loop.loop, UV_RUN_ONCE);
    if (echo_node_stats(&node).messages_in - before > most)
      most = echo_node_stats(&node).messages_in - before;
    if (other.n_frames == 0)
      answered_behind = echo_node_stats(&node).messages_in;
  }
  assert_true(most > 1);
  assert_true(most <= turn_limit);
  assert_true(answered_behind < n);
  free(frames);
  echo_node_see_off(&node, &flood);
  echo_node_see_off(&node, &other);
  echo_node_finish(&node);
}

/* A kilobyte of compressed zeros is a megabyte of message. */
static void test_compressed_floods_take_turns(void **state) {
  enum { N = 4, MESSAGES = 30, SIZE = 1000000 };
  static char zeros[SIZE];
  static ws_client clients[N];
  uint64_t before, n, most = 0;
  echo_node node;
  int i, j;

  (void)state;
  echo_node_init(&node);
  node.silent = true;
  node.options.compress = 1;
  echo_node_start(&node);
  for (i = 0; i < N; i++) {
    ws_client_connect(&clients[i], &node.loop.loop, node.port);
    ws_client_upgrade_deflate(&clients[i], "alice", "");
    run_until(&node.loop, echo_node_stats(&node).opened == (uint64_t)i + 1);
  }
  for (i = 0; i < N; i++)
    for (j = 0; j < MESSAGES; j++)
      ws_client_deflated(&clients[i], 2, zeros, SIZE, SIZE);
  do {
    before = echo_node_stats(&node).bytes_in;
    uv_run(&node.loop.loop, UV_RUN_ONCE);
    n = echo_node_stats(&node).bytes_in - before;
    if (n > most)
      most = n;
  } while (echo_node_stats(&node).messages_in < N * MESSAGES);
  assert_in_range(most, SIZE, 12 * SIZE);
  for (i = 0; i < N; i++)
    echo_node_see_off(&node, &clients[i]);
  echo_node_finish(&node);
}

/* Output. ----------------------------------------------------------------- */

static atomic_bool reads;

/* A client that reads as fast as it can, until it is closed. */
static void read_fast(void *arg) {
  const echo_node *node = arg;
  struct sockaddr_in address = {.sin_family = AF_INET};
  static char bytes[1 << 20];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  size_t len = ws_client_put_upgrade(bytes, sizeof bytes, "fast");

  address.sin_port = htons((uint16_t)node->port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
      write(fd, bytes, len) == (ssize_t)len)
    while (read(fd, bytes, sizeof bytes) > 0)
      reads = true;
  close(fd);
}

static void send_more(echo_node *node, const char *hook, cp_conn *conn) {
  static const char body[900000]; /* more than half of the queue */

  if (strcmp(hook, "open") != 0 && strcmp(hook, "writable") != 0)
    return;
  echo_node_forget(node);
  cp_send_to_conn(node->server, cp_conn_get_id(conn), CP_BINARY,
                  cp_bytes_of(body, sizeof body), NULL);
}

/* On a machine with one core the client empties nothing meanwhile, and this
 * asks for little. */
static void check_fast_reader(int no_uring) {
  uint64_t before, n, most = 0, total = 0;
  uv_thread_t reader;
  echo_node node;

  echo_node_init(&node);
  node.also = send_more;
  node.options.no_uring = no_uring;
  node.options.close_timeout_ms = 1;
  echo_node_start(&node);
  reads = false;
  assert_int_equal(uv_thread_create(&reader, read_fast, &node), 0);
  run_until(&node.loop, reads);
  while (total < 500000000) {
    before = echo_node_stats(&node).bytes_out;
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
    n = echo_node_stats(&node).bytes_out - before;
    total += n;
    if (n > most)
      most = n;
  }
  assert_in_range(most, 1, 24000000);
  node.also = NULL;
  cp_server_close(node.server, 0, echo_node_on_closed);
  run_until(&node.loop, node.closed);
  uv_thread_join(&reader);
  echo_node_finish(&node);
}

static void test_fast_readers_take_turns(void **state) {
  (void)state;
  check_fast_reader(0);
  check_fast_reader(1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_floods_take_turns),
      cmocka_unit_test(test_compressed_floods_take_turns),
      cmocka_unit_test(test_fast_readers_take_turns),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
