/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Sockets that the host accepted: by descriptor and by stream, before and after
 * the host parsed the request, with more or less of it read. */

#include "adopting_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_nothing_read(void **state) {
  host *h = *state;
  int fd;

  echo_node_start(&h->node);
  fd = host_accept(h);
  assert_int_equal(host_adopt(h, fd, cp_str("")), 0);
  ws_client_upgrade(&h->client, "alice");
  ws_client_text(&h->client, "hi");
  host_await_echo(h);
  assert_int_equal(echo_node_stats(&h->node).adopted, 1);
  host_see_off(h);
}

/* The host has read some of it, or all, the first frame included. */
static void run_with_cut(host *h, size_t n, bool as_stream) {
  char sent[1024], received[1024];
  size_t total;
  int fd = host_accept(h);

  host_put_request(sent, sizeof sent, &total);
  ws_client_write(&h->client, sent, total);
  host_read(h, fd, received, n);
  if (as_stream) {
    host_open(h, fd);
    assert_int_equal(host_adopt_tcp(h, cp_bytes_of(received, n)), 0);
    host_close_tcp(h);
  } else {
    assert_int_equal(host_adopt(h, fd, cp_bytes_of(received, n)), 0);
  }
  memset(received, 'x', n); /* it is copied */
  host_await_echo(h);
  host_see_off(h);
}

static size_t request_len(void) {
  char sent[1024];
  size_t total;

  host_put_request(sent, sizeof sent, &total);
  return total;
}

static void test_every_cut(void **state) {
  host *h = *state;
  size_t n;

  echo_node_start(&h->node);
  for (n = 0; n <= request_len(); n++)
    run_with_cut(h, n, false);
}

static void test_every_cut_of_a_stream(void **state) {
  host *h = *state;
  size_t n;

  echo_node_start(&h->node);
  for (n = 0; n <= request_len(); n++)
    run_with_cut(h, n, true);
}

/* More behind the head than the library would ever have read with it. */
static void test_a_lot_was_read(void **state) {
  enum { LEN = 300000 };
  host *h = *state;
  uint8_t *sent = malloc(LEN + 1024);
  char *body = calloc(1, LEN);
  size_t len;

  echo_node_start(&h->node);
  memset(body, 'a', LEN);
  len = ws_client_put_upgrade((char *)sent, 1024, "alice");
  len += ws_client_put_frame(sent + len, 0x81, body, LEN);
  assert_int_equal(host_adopt(h, host_accept(h), cp_bytes_of(sent, len)), 0);
  free(sent);
  free(body);
  run_until(&h->node.loop,
            ws_client_got(&h->client, "101 text(aaaaaa+300000) "));
  host_see_off(h);
}

static void test_unix_socket(void **state) {
  host *h = *state;
  char sent[1024], answer[256] = "";
  size_t total;
  int pair[2];

  echo_node_start(&h->node);
  host_put_request(sent, sizeof sent, &total);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal(write(pair[1], sent, total), total);
  assert_int_equal(host_adopt(h, pair[0], cp_str("")), 0);
  run_until(&h->node.loop, recv(pair[1], answer, sizeof answer - 1,
                                MSG_PEEK | MSG_DONTWAIT) > 0 &&
                               strstr(answer, "\r\n\r\n\x81\x02hi") != NULL);
  assert_memory_equal(answer, "HTTP/1.1 101", 12);
  close(pair[1]);
}

static void test_bad_head(void **state) {
  host *h = *state;
  int fd;

  echo_node_start(&h->node);
  fd = host_accept(h);
  assert_int_equal(host_adopt(h, fd, cp_str("nonsense\r\n\r\n")), 0);
  run_until(&h->node.loop, h->client.status == 400 && h->client.ended);
  assert_true(echo_node_heard(&h->node, ""));
  host_see_off(h);
}

/* The limits are those of the server's own connections. */

static void test_max_request(void **state) {
  host *h = *state;
  char target[1024];

  h->node.options.max_request = 512;
  echo_node_start(&h->node);
  snprintf(target, sizeof target, "GET /%01000d", 0);
  assert_int_equal(host_adopt(h, host_accept(h), cp_str(target)), 0);
  run_until(&h->node.loop, h->client.status == 414);
  host_see_off(h);
}

static void test_max_conns(void **state) {
  host *h = *state;
  char sent[1024];
  size_t total;
  ws_client first;

  h->node.options.max_conns = 1;
  echo_node_start(&h->node);
  echo_node_welcome(&h->node, &first, "bob");
  host_put_request(sent, sizeof sent, &total);
  assert_int_equal(host_adopt(h, host_accept(h), cp_bytes_of(sent, total)), 0);
  run_until(&h->node.loop, h->client.status == 503 && h->client.ended);
  assert_true(echo_node_heard(&h->node, ""));
  assert_int_equal(echo_node_stats(&h->node).full_refusals, 1);
  echo_node_see_off(&h->node, &h->client);
  echo_node_see_off(&h->node, &first);
}

static void test_max_conns_per_address(void **state) {
  host *h = *state;
  ws_client first;

  h->node.options.max_conns_per_address = 1;
  echo_node_start(&h->node);
  echo_node_welcome(&h->node, &first, "bob");
  assert_int_equal(host_adopt(h, host_accept(h), cp_str("")), 0);
  run_until(&h->node.loop, h->client.ended);
  assert_int_equal(h->client.status, 0);
  assert_int_equal(echo_node_stats(&h->node).address_refusals, 1);
  echo_node_see_off(&h->node, &h->client);
  echo_node_see_off(&h->node, &first);
}

static void test_handshake_timeout(void **state) {
  host *h = *state;

  h->node.options.handshake_timeout_ms = 50;
  echo_node_start(&h->node);
  assert_int_equal(host_adopt(h, host_accept(h), cp_str("GET /")), 0);
  run_until(&h->node.loop, h->client.status == 408 && h->client.ended);
  host_see_off(h);
}

/* After. ------------------------------------------------------------------ */

/* The host has read some of what came behind the head, or all. */
static void run_with_parsed(host *h, size_t n, bool as_stream) {
  cp_adopt_options options;
  uint8_t sent[16], received[16];
  size_t len = ws_client_put_frame(sent, 0x81, "hi", 2);
  int fd = host_accept(h);

  ws_client_write(&h->client, sent, len);
  host_read(h, fd, received, n);
  host_parsed(&options, fd, "/?user=alice");
  options.received = cp_bytes_of(received, n);
  if (as_stream) {
    host_open(h, fd);
    options.fd = -1;
    options.stream = (uv_stream_t *)&h->tcp;
  }
  assert_int_equal(cp_server_adopt(h->node.server, &options), 0);
  if (as_stream)
    host_close_tcp(h);
  host_await_echo(h);
  host_see_off(h);
}

static void test_parsed(void **state) {
  host *h = *state;
  uint8_t frame[16];
  size_t n;

  echo_node_start(&h->node);
  for (n = 0; n <= ws_client_put_frame(frame, 0x81, "hi", 2); n++) {
    run_with_parsed(h, n, false);
    run_with_parsed(h, n, true);
  }
}

/* What the host lets pass is judged all the same. */
static void test_parsed_is_judged(void **state) {
  static const struct {
    const char *target;
    size_t left_out;
    int status;
  } cases[] = {
      {"/?user=alice", 0, 400},   /* no Host */
      {"/?user=alice", 3, 400},   /* no key */
      {"/?user=alice", 5, 400},   /* no version */
      {"/?user=alice", 1, 400},   /* half an upgrade */
      {"nonsense", 4, 400},       /* no target */
      {"/?nobody=alice", 4, 401}, /* on_upgrade's own */
  };
  host *h = *state;
  size_t i, j;

  echo_node_start(&h->node);
  for (i = 0; i < sizeof cases / sizeof *cases; i++) {
    cp_header headers[HOST_N_HEADERS];
    cp_adopt_options options;
    size_t n = 0;
    for (j = 0; j < HOST_N_HEADERS; j++)
      if (j != cases[i].left_out)
        headers[n++] = host_headers[j];
    host_parsed(&options, host_accept(h), cases[i].target);
    options.headers = headers;
    options.n_headers = n;
    assert_int_equal(cp_server_adopt(h->node.server, &options), 0);
    run_until(&h->node.loop, h->client.status != 0 && h->client.ended);
    assert_int_equal(h->client.status, cases[i].status);
    host_see_off(h);
  }
}

static void test_parsed_plain_request(void **state) {
  host *h = *state;
  cp_adopt_options options;

  echo_node_start(&h->node);
  host_parsed(&options, host_accept(h), "/health");
  options.n_headers = 1;
  assert_int_equal(cp_server_adopt(h->node.server, &options), 0);
  run_until(&h->node.loop, h->client.status != 0 && h->client.ended);
  assert_int_equal(h->client.status, 200);
  assert_true(echo_node_heard(&h->node, "http "));
  host_see_off(h);
}

/* Streams. ---------------------------------------------------------------- */

/* From then on the host hears nothing, and closes its handle when it likes. */
static void test_stream_is_closed_late(void **state) {
  host *h = *state;
  char sent[1024];
  size_t total;

  echo_node_start(&h->node);
  host_put_request(sent, sizeof sent, &total);
  host_open(h, host_accept(h));
  assert_int_equal(host_adopt_tcp(h, cp_str("")), 0);
  assert_false(uv_is_active((uv_handle_t *)&h->tcp));
  ws_client_write(&h->client, sent, total);
  host_await_echo(h);
  assert_int_equal(h->n_read, 0);
  host_close_tcp(h);
  host_see_off(h);
}

static void test_pipe_stream(void **state) {
  host *h = *state;
  char sent[1024], answer[256] = "";
  size_t total;
  cp_adopt_options options;
  uv_pipe_t pipe;
  int pair[2];

  echo_node_start(&h->node);
  host_put_request(sent, sizeof sent, &total);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  uv_pipe_init(&h->node.loop.loop, &pipe, 0);
  assert_int_equal(uv_pipe_open(&pipe, pair[0]), 0);
  cp_adopt_options_init(&options);
  options.stream = (uv_stream_t *)&pipe;
  options.received = cp_bytes_of(sent, total);
  assert_int_equal(cp_server_adopt(h->node.server, &options), 0);
  uv_close((uv_handle_t *)&pipe, NULL);
  run_until(&h->node.loop, recv(pair[1], answer, sizeof answer - 1,
                                MSG_PEEK | MSG_DONTWAIT) > 0 &&
                               strstr(answer, "\x81\x02hi") != NULL);
  close(pair[1]);
}

/* No program that the host starts inherits what the library holds. */
static void test_stream_is_not_inherited(void **state) {
  host *h = *state;
  int fd;

  echo_node_start(&h->node);
  host_open(h, host_accept(h));
  fd = dup(h->listener); /* the lowest that is free */
  close(fd);
  assert_int_equal(host_adopt_tcp(h, cp_str("")), 0);
  assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
  host_close_tcp(h);
  host_see_off(h);
}

enum { N_MANY = 300 };

/* More than a turn takes: the server's ends are handed over, the others are in
 * `fds`. */
static void adopt_many(host *h, int fds[N_MANY]) {
  int pair[2];
  int i;

  echo_node_start(&h->node);
  for (i = 0; i < N_MANY; i++) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(host_adopt(h, pair[0], cp_str("")), 0);
    fds[i] = pair[1];
  }
  uv_run(&h->node.loop.loop, UV_RUN_NOWAIT);
  assert_in_range(echo_node_stats(&h->node).adopted, 1, N_MANY - 1);
}

static void expect_eof(const int fds[N_MANY]) {
  char byte;
  int i;

  for (i = 0; i < N_MANY; i++) {
    assert_int_equal(read(fds[i], &byte, 1), 0);
    close(fds[i]);
  }
}

static void test_so_many_a_turn(void **state) {
  host *h = *state;
  int fds[N_MANY];
  int i;

  adopt_many(h, fds);
  run_until(&h->node.loop, echo_node_stats(&h->node).adopted == N_MANY);
  for (i = 0; i < N_MANY; i++)
    close(fds[i]);
  run_until(&h->node.loop, echo_node_stats(&h->node).handshakes == 0);
}

static void test_close_between_turns(void **state) {
  host *h = *state;
  int fds[N_MANY];

  adopt_many(h, fds);
  echo_node_close(&h->node);
  run_until(&h->node.loop, h->node.closed);
  expect_eof(fds);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_nothing_read),
      TEST(test_every_cut),
      TEST(test_every_cut_of_a_stream),
      TEST(test_a_lot_was_read),
      TEST(test_unix_socket),
      TEST(test_bad_head),
      TEST(test_max_request),
      TEST(test_max_conns),
      TEST(test_max_conns_per_address),
      TEST(test_handshake_timeout),
      TEST(test_parsed),
      TEST(test_parsed_is_judged),
      TEST(test_parsed_plain_request),
      TEST(test_stream_is_closed_late),
      TEST(test_pipe_stream),
      TEST(test_stream_is_not_inherited),
      TEST(test_so_many_a_turn),
      TEST(test_close_between_turns),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
