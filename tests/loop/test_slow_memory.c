/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A thousand clients that never read, while each is sent 16 MiB: whatever the
 * slow policy, memory stays where the options say. Messages are broadcast, as a
 * thousand users of a page would get them. The clients are bare sockets with
 * small buffers: what the kernel holds is not the server's. */

#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_CLIENTS 1000
#define TOTAL     ((size_t)16 * 1024 * 1024) /* for each */
#define MESSAGE   16384
#define N_SENT    (TOTAL / MESSAGE)
#define QUEUE     (256 * 1024)
/* What is shared: the frames that somebody has in its queue, and those that
 * libuv holds for somebody: begun at whatever moment, each for 64 KiB. */
#define FRAME (MESSAGE + 256)
#define PER_CLIENT \
  (QUEUE / MESSAGE * 32 + 1024 /* of the queue, of what libuv holds */)
#define BOUND ((size_t)4 * 1024 * 1024 + QUEUE + N_CLIENTS * PER_CLIENT)

typedef struct crowd {
  echo_node node;
  cp_allocator counting;
  size_t live; /* bytes of the server's */
  size_t peak;
  int fds[N_CLIENTS];
} crowd;

static void count(crowd *c, size_t more, size_t less) {
  c->live += more - less;
  if (c->live > c->peak)
    c->peak = c->live;
}

static void *count_resize(void *ctx, void *ptr, size_t size) {
  size_t before = ptr != NULL ? malloc_usable_size(ptr) : 0;
  void *block = realloc(ptr, size > 0 ? size : 1);

  if (block != NULL)
    count(ctx, malloc_usable_size(block), before);
  return block;
}

static void *count_allocate(void *ctx, size_t size) {
  return count_resize(ctx, NULL, size);
}

static void count_release(void *ctx, void *ptr) {
  if (ptr != NULL)
    count(ctx, 0, malloc_usable_size(ptr));
  free(ptr);
}

static bool raise_fd_limit(void) {
  struct rlimit limit;

  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur > 2 * N_CLIENTS + 100;
}

static cp_stats stats(const crowd *c) {
  return echo_node_stats(&c->node);
}

static void connect_one(crowd *c, int i) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  char head[1024], user[16];
  int size = 2048, mss = 536;
  size_t n;

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons((uint16_t)c->node.port);
  snprintf(user, sizeof user, "u%d", i);
  n = ws_client_put_upgrade(head, sizeof head, user);
  c->fds[i] = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(c->fds[i] >= 0);
  setsockopt(c->fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  /* The server's end gets a buffer by it: of 10 segments, 640 KiB else. */
  setsockopt(c->fds[i], IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss);
  assert_int_equal(
      connect(c->fds[i], (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(write(c->fds[i], head, n), n);
}

static void start(crowd *c, cp_slow_policy policy) {
  int i;

  memset(c, 0, sizeof *c);
  echo_node_init(&c->node);
  c->counting.allocate = count_allocate;
  c->counting.resize = count_resize;
  c->counting.release = count_release;
  c->counting.ctx = c;
  c->node.options.allocator = &c->counting;
  c->node.options.slow_policy = policy;
  c->node.options.max_send_queue = QUEUE;
  c->node.options.ping_interval_ms = 0;
  c->node.options.close_timeout_ms = 600000;
  echo_node_start(&c->node);
  for (i = 0; i < N_CLIENTS; i++) {
    connect_one(c, i);
    run_until(&c->node.loop, stats(c).opened == (uint64_t)i + 1);
    echo_node_forget(&c->node);
  }
}

static void send_all(crowd *c) {
  static char body[MESSAGE];
  size_t i;

  for (i = 0; i < N_SENT; i++) {
    assert_int_equal(cp_broadcast(c->node.server, CP_BINARY,
                                  cp_bytes_of(body, sizeof body), NULL),
                     0);
    uv_run(&c->node.loop.loop, UV_RUN_NOWAIT);
    echo_node_forget(&c->node);
  }
}

/* What libuv holds is begun: of the frames in each one's hold, no two need be
 * the same, but nobody holds more than one that is not in a queue of 64 KiB. */
static void check_memory(crowd *c, size_t before) {
  assert_true(c->peak - before < BOUND);
  print_message("%zu bytes for %d clients, at most %zu\n", c->peak - before,
                N_CLIENTS, BOUND);
}

static void finish(crowd *c, size_t before) {
  int i;

  for (i = 0; i < N_CLIENTS; i++)
    close(c->fds[i]);
  run_until(&c->node.loop, stats(c).conns == 0 && stats(c).handshakes == 0);
  assert_int_equal(stats(c).queued_bytes, 0);
  assert_true(c->live < before + 4 * 1024 * 1024); /* pools */
  echo_node_finish(&c->node);
  assert_int_equal(c->live, 0);
}

static void run(cp_slow_policy policy, cp_stats *end) {
  static crowd c;
  size_t before;

  if (!raise_fd_limit())
    skip();
  start(&c, policy);
  before = c.live;
  c.peak = c.live;
  send_all(&c);
  *end = stats(&c);
  assert_true(end->queued_bytes <= (uint64_t)N_CLIENTS * QUEUE);
  check_memory(&c, before);
  finish(&c, before);
}

/* Everything sent was queued or dropped; all but little of it was dropped. */
static void assert_dropped(const cp_stats *end) {
  assert_int_equal(end->slow_closes, 0);
  assert_int_equal(end->conns, N_CLIENTS);
  assert_true(end->queue_drops > N_CLIENTS * N_SENT / 2);
}

static void test_close(void **state) {
  cp_stats end;

  (void)state;
  run(CP_SLOW_CLOSE, &end);
  assert_int_equal(end.slow_closes, N_CLIENTS);
}

static void test_drop_new(void **state) {
  cp_stats end;

  (void)state;
  run(CP_SLOW_DROP_NEW, &end);
  assert_dropped(&end);
  assert_int_equal(end.messages_out + end.queue_drops, N_CLIENTS * N_SENT);
}

static void test_drop_old(void **state) {
  cp_stats end;

  (void)state;
  run(CP_SLOW_DROP_OLD, &end);
  assert_dropped(&end);
  assert_int_equal(end.messages_out, N_CLIENTS * N_SENT);
}

/* A few clients, and a multitude of messages of one byte, each of them for one:
 * what these cost besides their bytes is within the limit, too. */
static void test_small_messages(void **state) {
  enum { N_FEW = 10, N_EACH = 20000 };
  static crowd c;
  size_t before;
  char user[16];
  int i;

  (void)state;
  if (!raise_fd_limit())
    skip();
  start(&c, CP_SLOW_DROP_NEW);
  before = c.live;
  c.peak = c.live;
  for (i = 0; i < N_FEW * N_EACH; i++) {
    snprintf(user, sizeof user, "u%d", i % N_FEW);
    assert_int_equal(cp_send_to_user(c.node.server, cp_str(user), CP_BINARY,
                                     cp_bytes_of("x", 1), NULL),
                     0);
  }
  assert_true(stats(&c).queued_bytes > N_FEW * QUEUE / 2);
  assert_true(stats(&c).queue_drops > 0);
  assert_true(c.peak - before < N_FEW * (size_t)QUEUE * 5 / 4);
  finish(&c, before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_close),
      cmocka_unit_test(test_drop_new),
      cmocka_unit_test(test_drop_old),
      cmocka_unit_test(test_small_messages),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
