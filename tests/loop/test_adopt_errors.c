/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What can't be adopted, and whose a socket is then: the caller's after an
 * error, to be answered; the library's once taken, closed if it can't be
 * served.
 */

#include "adopting_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bad input. -------------------------------------------------------------- */

static void assert_refused(host *h, const cp_adopt_options *options, int err) {
  assert_int_equal(cp_server_adopt(h->node.server, options), err);
  assert_int_equal(cp_server_adopt(h->node.server, options), err);
}

static void test_bad_options(void **state) {
  static const cp_header bad_headers[][1] = {
      {{"X", "a\r\nX-Injected: 1"}}, {{"X y", "a"}}, {{"X:", "a"}}};
  static const char *const bad_targets[] = {"", "/a b", "/a\r\nX: 1", "/\x7f"};
  host *h = *state;
  cp_adopt_options options;
  static uv_timer_t timer;
  size_t i;
  int fd;

  echo_node_start(&h->node);
  fd = host_accept(h);
  cp_adopt_options_init(&options);
  assert_refused(h, &options, CP_E_INVALID); /* no socket */
  uv_timer_init(&h->node.loop.loop, &timer);
  options.stream = (uv_stream_t *)&timer;
  assert_refused(h, &options, CP_E_INVALID); /* no stream */
  options.fd = fd;
  assert_refused(h, &options, CP_E_INVALID); /* two */
  options.stream = NULL;
  options.size = 0;
  assert_refused(h, &options, CP_E_INVALID);
  options.size = 100000;
  assert_refused(h, &options, CP_E_INVALID);
  for (i = 0; i < sizeof bad_targets / sizeof *bad_targets; i++) {
    host_parsed(&options, fd, bad_targets[i]);
    assert_refused(h, &options, CP_E_INVALID);
  }
  for (i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
    host_parsed(&options, fd, "/");
    options.headers = bad_headers[i];
    options.n_headers = 1;
    assert_refused(h, &options, CP_E_INVALID);
  }
  host_parsed(&options, fd, "/");
  options.headers = NULL;
  assert_refused(h, &options, CP_E_INVALID); /* a count without an array */
  host_parsed(&options, fd, "/");
  options.received.len = 1;
  assert_refused(h, &options, CP_E_INVALID);
  host_parsed(&options, fd, "/");
  options.tls = 1;
  assert_refused(h, &options, CP_E_INVALID);
  options.target = NULL;
  assert_refused(h, &options, CP_E_INVALID); /* headers without a target */
  options.n_headers = 0;
  assert_refused(h, &options, CP_E_STATE); /* TLS without a certificate */
  /* After all that it is as good as new. */
  assert_int_equal(host_adopt(h, fd, cp_str("")), 0);
  ws_client_upgrade(&h->client, "alice");
  ws_client_text(&h->client, "hi");
  host_await_echo(h);
  host_see_off(h);
  uv_close((uv_handle_t *)&timer, NULL);
}

static void test_bad_sockets(void **state) {
  host *h = *state;
  int pair[2];
  int fd;

  echo_node_start(&h->node);
  assert_int_equal(host_adopt(h, 9999, cp_str("")), UV_EBADF);
  assert_int_equal(pipe(pair), 0);
  assert_int_equal(host_adopt(h, pair[0], cp_str("")), UV_ENOTSOCK);
  close(pair[0]);
  close(pair[1]);
  assert_int_equal(host_adopt(h, h->listener, cp_str("")), UV_ENOTCONN);
  assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
  assert_int_equal(host_adopt(h, pair[0], cp_str("")), CP_E_UNSUPPORTED);
  assert_int_equal(close(pair[0]), 0);
  assert_int_equal(close(pair[1]), 0);
  fd = host_accept(h);
  echo_node_see_off(&h->node, &h->client);
  close(fd);
}

/* From a program that was built with a later version. */
static void test_larger_options(void **state) {
  host *h = *state;
  struct {
    cp_adopt_options known;
    char later[64];
  } options;
  char sent[1024];
  size_t total;

  echo_node_start(&h->node);
  host_put_request(sent, sizeof sent, &total);
  memset(&options, 0xFF, sizeof options);
  cp_adopt_options_init(&options.known);
  options.known.size = sizeof options;
  options.known.fd = host_accept(h);
  options.known.received = cp_bytes_of(sent, total);
  assert_int_equal(cp_server_adopt(h->node.server, &options.known), 0);
  host_await_echo(h);
  host_see_off(h);
}

/* Bad streams. ------------------------------------------------------------ */

static int adopt_stream(host *h, void *stream) {
  cp_adopt_options options;

  cp_adopt_options_init(&options);
  options.stream = stream;
  return cp_server_adopt(h->node.server, &options);
}

static void test_stream_that_writes(void **state) {
  host *h = *state;
  static char much[1 << 22];
  uv_buf_t buf = uv_buf_init(much, sizeof much);
  uv_write_t writes[2];

  echo_node_start(&h->node);
  host_open(h, host_accept(h));
  uv_write(&writes[0], (uv_stream_t *)&h->tcp, &buf, 1, NULL);
  uv_write(&writes[1], (uv_stream_t *)&h->tcp, &buf, 1, NULL);
  assert_int_equal(adopt_stream(h, &h->tcp), CP_E_STATE);
  host_close_tcp(h);
  host_see_off(h);
}

static void test_streams_that_cannot_write(void **state) {
  host *h = *state;
  struct sockaddr_in address;
  uv_shutdown_t shutdown;
  uv_tcp_t tcp;

  echo_node_start(&h->node);
  uv_tcp_init(&h->node.loop.loop, &tcp);
  assert_int_equal(adopt_stream(h, &tcp), UV_EBADF); /* nothing yet */
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_bind(&tcp, (struct sockaddr *)&address, 0);
  uv_listen((uv_stream_t *)&tcp, 1, NULL);
  assert_int_equal(adopt_stream(h, &tcp), CP_E_STATE);
  uv_close((uv_handle_t *)&tcp, NULL);
  assert_int_equal(adopt_stream(h, &tcp), UV_EBADF); /* nothing any more */
  host_open(h, host_accept(h));
  uv_shutdown(&shutdown, (uv_stream_t *)&h->tcp, NULL);
  assert_int_equal(adopt_stream(h, &h->tcp), CP_E_STATE);
  host_close_tcp(h);
  host_see_off(h);
}

/* The queue is full. ------------------------------------------------------ */

/* Something waits to be taken, and so nothing more may. Returns its other end.
 */
static int fill_queue(host *h) {
  int pair[2];

  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  /* One always fits. */
  assert_int_equal(host_adopt(h, pair[0], cp_str("GET / HTTP/1.1\r\n")), 0);
  return pair[1];
}

static void start_with_small_queue(host *h) {
  h->node.options.max_thread_queue = 1;
  echo_node_start(&h->node);
}

/* The host tells its client, and there is room again once the loop ran. */
static void test_full(void **state) {
  host *h = *state;
  char sent[1024];
  size_t total;
  int fd, other;

  start_with_small_queue(h);
  fd = host_accept(h);
  other = fill_queue(h);
  assert_int_equal(host_adopt(h, fd, cp_str("")), CP_E_FULL);
  host_answer_503(h, fd);
  echo_node_see_off(&h->node, &h->client);
  close(other);
  host_put_request(sent, sizeof sent, &total);
  assert_int_equal(host_adopt(h, host_accept(h), cp_bytes_of(sent, total)), 0);
  host_await_echo(h);
  host_see_off(h);
}

/* A stream reads on, and can write. */
static void test_full_for_a_stream(void **state) {
  host *h = *state;
  uv_buf_t answer = uv_buf_init("HTTP/1.1 503 Busy\r\n\r\n", 21);
  uv_write_t write;
  int other, lowest;

  start_with_small_queue(h);
  host_open(h, host_accept(h));
  other = fill_queue(h);
  lowest = dup(other);
  close(lowest);
  assert_int_equal(host_adopt_tcp(h, cp_str("")), CP_E_FULL);
  assert_int_equal(fcntl(lowest, F_GETFD), -1); /* no descriptor was kept */
  ws_client_write_str(&h->client, "GET");
  run_until(&h->node.loop, h->n_read == 3);
  uv_write(&write, (uv_stream_t *)&h->tcp, &answer, 1, NULL);
  run_until(&h->node.loop, h->client.status == 503);
  host_close_tcp(h);
  close(other);
  host_see_off(h);
}

/* Close. ------------------------------------------------------------------ */

static void test_after_close(void **state) {
  host *h = *state;
  cp_server *server;
  cp_adopt_options options;

  echo_node_start(&h->node);
  server = cp_server_ref(h->node.server);
  cp_adopt_options_init(&options);
  options.fd = host_accept(h);
  cp_server_close(server, 0, echo_node_on_closed);
  assert_int_equal(cp_server_adopt(server, &options), CP_E_CLOSED);
  run_until(&h->node.loop, h->node.closed);
  assert_int_equal(cp_server_adopt(server, &options), CP_E_CLOSED);
  cp_server_unref(server);
  host_answer_503(h, options.fd); /* still the host's */
  echo_node_see_off(&h->node, &h->client);
}

/* How far a socket may be when the server closes, and what its client gets. */
static const struct close_case {
  const char *received; /* NULL: an upgrade and a frame */
  const char *until;    /* what the hooks heard before */
  bool holds;           /* they don't answer */
  const char *heard;    /* what they heard then */
  const char *got;
} close_cases[] = {
    {"", NULL, false, "closed ", ""}, /* in the queue */
    {"", "", false, "closed ", ""},
    {"GET / HTTP/1.1\r\nHo", "", false, "closed ", ""},
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http ", true, "http closed ",
     "503 "},
    {NULL, "upgrade ", true, "upgrade refused:CP_E_CLOSED closed ", "503 "},
    {NULL, "upgrade open:alice message:hi ", false,
     "upgrade open:alice message:hi close:1006: closed ",
     "101 text(hi) close(1001 ) "},
};

static void close_in_state(void **state, const struct close_case *c,
                           uint64_t grace_ms) {
  host *h = *state;
  char sent[1024];
  size_t total;
  cp_bytes bytes;

  h->node.hold = c->holds;
  echo_node_start(&h->node);
  host_put_request(sent, sizeof sent, &total);
  bytes = c->received != NULL ? cp_str(c->received) : cp_bytes_of(sent, total);
  assert_int_equal(host_adopt(h, host_accept(h), bytes), 0);
  if (c->until != NULL)
    run_until(&h->node.loop, echo_node_stats(&h->node).adopted == 1 &&
                                 echo_node_heard(&h->node, c->until));
  cp_server_close(h->node.server, grace_ms, echo_node_on_closed);
  if (h->node.request != NULL)
    cp_request_refuse(h->node.request, 401, "late\n");
  host_end(h);
}

static void test_close_in_every_state(void **state) {
  size_t i;

  for (i = 0; i < sizeof close_cases / sizeof *close_cases; i++) {
    void *own;
    host_setup(&own);
    close_in_state(&own, &close_cases[i], 0);
    host_teardown(&own);
    host_setup(&own);
    close_in_state(&own, &close_cases[i], 100);
    host_teardown(&own);
  }
  (void)state;
}

static void close_in_upgrade(echo_node *node, const char *hook, cp_conn *conn) {
  (void)conn;
  if (strcmp(hook, "upgrade") == 0)
    cp_server_close(node->server, 100, echo_node_on_closed);
}

/* A hook closes the server while a batch is being taken. */
static void test_close_amid_a_batch(void **state) {
  host *h = *state;
  char sent[1024];
  size_t total;
  int pair[2];
  char byte;

  h->node.also = close_in_upgrade;
  echo_node_start(&h->node);
  host_put_request(sent, sizeof sent, &total);
  assert_int_equal(host_adopt(h, host_accept(h), cp_bytes_of(sent, total)), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal(host_adopt(h, pair[0], cp_bytes_of(sent, total)), 0);
  host_end(h);
  assert_int_equal(read(pair[1], &byte, 1), 0); /* without a word */
  assert_int_equal(
      echo_node_heard(&h->node, "upgrade refused:CP_E_CLOSED closed "), 1);
  close(pair[1]);
}

/* Memory. ----------------------------------------------------------------- */

static void adopt_request(cp_adopt_options *options, int fd) {
  static char sent[1024];
  size_t total;

  host_put_request(sent, sizeof sent, &total);
  cp_adopt_options_init(options);
  options->fd = fd;
  options->received = cp_bytes_of(sent, total);
}

static void adopt_parsed(cp_adopt_options *options, int fd) {
  static uint8_t frame[16];

  host_parsed(options, fd, "/?user=alice");
  options->received =
      cp_bytes_of(frame, ws_client_put_frame(frame, 0x81, "hi", 2));
}

typedef void (*set_options)(cp_adopt_options *options, int fd);

/* Returns whether it was reached. */
static bool run_with_nth_failing(host *h, set_options set, bool as_stream,
                                 size_t n) {
  cp_adopt_options options;
  int fd = host_accept(h);
  int rc;

  set(&options, fd);
  if (as_stream) {
    host_open(h, fd);
    options.fd = -1;
    options.stream = (uv_stream_t *)&h->tcp;
  }
  h->node.memory.failed = false;
  h->node.memory.n_calls = 0;
  h->node.memory.fail_at = n;
  rc = cp_server_adopt(h->node.server, &options);
  assert_true(rc == 0 || rc == CP_E_NOMEM);
  if (as_stream)
    host_close_tcp(h);
  else if (rc != 0)
    host_answer_503(h, fd); /* still the host's */
  run_until(&h->node.loop, h->client.ended || host_was_heard(h));
  h->node.memory.fail_at = 0;
  host_see_off(h);
  return h->node.memory.failed;
}

static void test_every_allocation_failing(void **state) {
  static const set_options sets[] = {adopt_request, adopt_parsed};
  host *h = *state;
  size_t i, n;

  h->node.silent = true; /* a lost echo is not the point */
  echo_node_start(&h->node);
  for (i = 0; i < 4; i++) {
    n = 0;
    while (run_with_nth_failing(h, sets[i / 2], i % 2 == 1, ++n))
      continue;
    assert_true(n > 5);
  }
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_bad_options),
      TEST(test_bad_sockets),
      TEST(test_larger_options),
      TEST(test_stream_that_writes),
      TEST(test_streams_that_cannot_write),
      TEST(test_full),
      TEST(test_full_for_a_stream),
      TEST(test_after_close),
      TEST(test_close_in_every_state),
      TEST(test_close_amid_a_batch),
      TEST(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
