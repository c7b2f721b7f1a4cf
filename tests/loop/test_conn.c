/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A connection from its first byte to its last message, through the public API.
 * How it ends is test_conn_close.c, how it copes with a slow peer
 * test_conn_slow.c, and with a rude one test_conn_chaos.c. */

#include "conn.h"
#include "echo_node.h"
#include "fake_transport.h"
#include "simple_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <netinet/tcp.h>

#define LONG_MS 600000 /* a time-out that a test must not have to wait for */

static void start(echo_node *node) {
  echo_node_init(node);
  node->options.handshake_timeout_ms = LONG_MS;
  node->options.close_timeout_ms = LONG_MS;
  node->options.ping_interval_ms = 0;
  echo_node_start(node);
}

/* Handshake. -------------------------------------------------------------- */

/* The head, a text, a ping and a fragmented binary: all that a test needs to
 * see whether nothing gets lost on the way. */
static size_t put_session(uint8_t *out) {
  size_t n = ws_client_put_upgrade((char *)out, 1024, "alice");

  n += ws_client_put_frame(out + n, 0x81, "one", 3);
  n += ws_client_put_frame(out + n, 0x89, "two", 3);
  n += ws_client_put_frame(out + n, 0x02, "thr", 3);
  return n + ws_client_put_frame(out + n, 0x80, "ee", 2);
}

#define SESSION_EVENTS "upgrade open:alice message:one message:three "
#define SESSION_FRAMES "101 text(one) pong(two) binary(three) "

static void check_session(echo_node *node, ws_client *client) {
  run_until(&node->loop, client->n_frames == 3);
  assert_string_equal(node->events, SESSION_EVENTS);
  assert_string_equal(client->log, SESSION_FRAMES);
  assert_int_equal(echo_node_stats(node).messages_in, 2);
  assert_int_equal(echo_node_stats(node).bytes_in, 8);
  assert_int_equal(echo_node_stats(node).messages_out, 2);
  assert_int_equal(echo_node_stats(node).bytes_out, 12);
  echo_node_see_off(node, client);
  echo_node_finish(node);
}

static void test_everything_in_one_segment(void **state) {
  uint8_t bytes[2048];
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write(&client, bytes, put_session(bytes));
  check_session(&node, &client);
}

static void test_byte_by_byte(void **state) {
  uint8_t bytes[2048];
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_drip(&client, bytes, put_session(bytes));
  check_session(&node, &client);
}

/* Every cut in two, each half read by itself. */
static void test_every_cut(void **state) {
  uint8_t bytes[2048];
  size_t len = put_session(bytes);
  ws_client client;
  echo_node node;
  size_t cut;

  (void)state;
  start(&node);
  for (cut = 1; cut < len; cut++) {
    echo_node_forget(&node);
    ws_client_connect(&client, &node.loop.loop, node.port);
    ws_client_write(&client, bytes, cut);
    run_until(&node.loop, echo_node_stats(&node).handshakes == 1 ||
                              echo_node_stats(&node).conns == 1);
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
    ws_client_write(&client, bytes + cut, len - cut);
    run_until(&node.loop, client.n_frames == 3);
    assert_string_equal(node.events, SESSION_EVENTS);
    assert_string_equal(client.log, SESSION_FRAMES);
    echo_node_see_off(&node, &client);
    run_until(&node.loop, echo_node_stats(&node).conns == 0);
  }
  echo_node_finish(&node);
}

static void test_accept_later(void **state) {
  uint8_t bytes[2048];
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_drip(&client, bytes, put_session(bytes));
  run_until(&node.loop, node.request != NULL);
  assert_int_equal(echo_node_accept_held(&node, "alice"), 0);
  check_session(&node, &client);
}

/* More than is kept here: the rest waits in the kernel. */
static void test_much_before_the_answer(void **state) {
  enum { N = 40, SIZE = 400000 };
  static uint8_t body[SIZE];
  ws_client client;
  echo_node node;
  int i;

  (void)state;
  start(&node);
  node.hold = node.silent = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  for (i = 0; i < N; i++)
    ws_client_frame(&client, 0x82, body, SIZE);
  run_until(&node.loop, node.request != NULL);
  for (i = 0; i < 100; i++)
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  assert_true(uv_stream_get_write_queue_size((uv_stream_t *)&client.tcp) > 0);
  assert_int_equal(echo_node_accept_held(&node, "alice"), 0);
  run_until(&node.loop, echo_node_stats(&node).messages_in == N);
  assert_int_equal(echo_node_stats(&node).bytes_in, (uint64_t)N * SIZE);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* Whoever waits for an answer and leaves is noticed. */
static void check_leaving_early(void (*leave)(ws_client *)) {
  ws_client client;
  echo_node node;

  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, node.request != NULL);
  leave(&client);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 0);
  assert_string_equal(cp_request_address(node.request), "unknown");
  assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
  assert_string_equal(node.events, "upgrade ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_leaving_before_the_answer(void **state) {
  (void)state;
  check_leaving_early(ws_client_leave);
  check_leaving_early(ws_client_reset);
  check_leaving_early(ws_client_half_close);
}

static void test_answer_after_the_server(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, node.request != NULL);
  cp_server_close(node.server, LONG_MS, echo_node_on_closed);
  run_until(&node.loop, client.status == 503);
  echo_node_see_off(&node, &client);
  run_until(&node.loop, node.closed);
  assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
  echo_node_finish(&node);
}

/* A node whose user's subscription is on its way. */
static void start_unconfirmed(echo_node *node, fake_transport *fake,
                              ws_client *client, unsigned subscribe_wait_ms) {
  fake_transport_init(fake);
  echo_node_init(node);
  node->options.transport = &fake->base;
  node->options.subscribe_wait_ms = subscribe_wait_ms;
  echo_node_start(node);
  fake_transport_link(fake, 0);
  uv_run(&node->loop.loop, UV_RUN_NOWAIT);
  fake_transport_confirm_all(fake);
  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_upgrade(client, "alice");
  run_until(&node->loop, fake_transport_n_unconfirmed(fake) == 1);
}

static void test_the_subscription_takes_too_long(void **state) {
  fake_transport fake;
  ws_client client;
  echo_node node;

  (void)state;
  start_unconfirmed(&node, &fake, &client, 20);
  ws_client_text(&client, "early");
  run_until(&node.loop, node.conn != NULL);
  assert_string_equal(node.events, "upgrade open!alice message:early ");
  fake_transport_confirm_all(&fake);
  run_until(&node.loop, client.n_messages == 1);
  assert_string_equal(client.log, "101 text(early) ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* What comes before the answer, and between that and the subscription. */
static void test_early_messages_keep_their_order(void **state) {
  uint8_t bytes[2048];
  fake_transport fake;
  ws_client client;
  echo_node node;
  int i;

  (void)state;
  fake_transport_init(&fake);
  echo_node_init(&node);
  node.hold = true;
  node.options.transport = &fake.base;
  node.options.subscribe_wait_ms = LONG_MS;
  echo_node_start(&node);
  fake_transport_link(&fake, 0);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write(&client, bytes, put_session(bytes));
  run_until(&node.loop, node.request != NULL);
  assert_int_equal(echo_node_accept_held(&node, "alice"), 0);
  ws_client_text(&client, "four");
  for (i = 0; i < 100; i++)
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  assert_null(node.conn);
  fake_transport_confirm_all(&fake);
  run_until(&node.loop, client.n_messages == 3);
  assert_string_equal(node.events, SESSION_EVENTS "message:four ");
  assert_string_equal(client.log, SESSION_FRAMES "text(four) ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void check_leaving_unconfirmed(void (*leave)(ws_client *)) {
  fake_transport fake;
  ws_client client;
  echo_node node;

  start_unconfirmed(&node, &fake, &client, LONG_MS);
  leave(&client);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 0);
  fake_transport_confirm_all(&fake);
  uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  assert_string_equal(node.events, "upgrade ");
  assert_int_equal(echo_node_stats(&node).users, 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_leaving_before_the_subscription(void **state) {
  (void)state;
  check_leaving_unconfirmed(ws_client_leave);
  check_leaving_unconfirmed(ws_client_reset);
  check_leaving_unconfirmed(ws_client_half_close);
}

/* Bytes of all that lives, by a word in front of each block. */
static size_t n_allocated;

static void *count_resize(void *ctx, void *ptr, size_t size) {
  size_t *old = ptr != NULL ? (size_t *)ptr - 2 : NULL;
  size_t old_size = old != NULL ? *old : 0;
  size_t *block = realloc(old, size + 2 * sizeof *block);

  (void)ctx;
  if (block == NULL)
    return NULL;
  n_allocated += size - old_size;
  *block = size;
  return block + 2;
}

static void *count_allocate(void *ctx, size_t size) {
  return count_resize(ctx, NULL, size);
}

static void count_release(void *ctx, void *ptr) {
  (void)ctx;
  if (ptr == NULL)
    return;
  n_allocated -= ((size_t *)ptr)[-2];
  free((size_t *)ptr - 2);
}

/* Whoever was not let in yet gets no memory for what it may not send. */
static void test_early_bytes_wait_in_the_kernel(void **state) {
  static const cp_allocator counting = {count_allocate, count_resize,
                                        count_release, NULL};
  static char bytes[200000];
  ws_client client;
  echo_node node;
  size_t before;
  int i;

  (void)state;
  start(&node);
  echo_node_close(&node);
  node.closed = false;
  node.options.allocator = &counting;
  node.hold = true;
  echo_node_start(&node);
  before = n_allocated;
  ws_client_put_upgrade(bytes, sizeof bytes, "alice");
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write(&client, bytes, sizeof bytes);
  run_until(&node.loop, node.request != NULL);
  for (i = 0; i < 100; i++)
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  assert_in_range(n_allocated - before, 4096, 24576);
  ws_client_leave(&client);
  assert_int_equal(cp_request_refuse(node.request, 403, NULL), 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
  assert_int_equal(n_allocated, 0);
}

/* The request, whose table of headers weighs more than all the rest, is made
 * when its first byte comes. */
static void test_who_says_nothing_is_one_block(void **state) {
  ws_client client;
  size_t before;
  echo_node node;

  (void)state;
  start(&node);
  before = node.memory.n_live;
  ws_client_connect(&client, &node.loop.loop, node.port);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 1);
  assert_int_equal(node.memory.n_live, before + 1);
  ws_client_leave(&client);
  echo_node_see_off(&node, &client);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 0);
  assert_int_equal(node.memory.n_live, before);
  echo_node_finish(&node);
}

static void test_refused(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, node.request != NULL);
  assert_int_equal(cp_request_refuse(node.request, 401, "no\n"), 0);
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "401 eof ");
  assert_memory_equal(client.in, "no\n", 3);
  assert_int_equal(echo_node_stats(&node).refused, 1);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void check_address(const char *listen, const char *expected) {
  ws_client client;
  echo_node node;

  echo_node_init(&node);
  node.hold = true;
  assert_int_equal(
      cp_server_create(&node.server, &node.loop.loop, &node.options), 0);
  assert_int_equal(cp_server_listen(node.server, listen), 0);
  ws_client_connect(&client, &node.loop.loop, cp_server_port(node.server));
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, node.request != NULL);
  assert_string_equal(cp_request_address(node.request), expected);
  assert_int_equal(echo_node_accept_held(&node, "alice"), 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_addresses(void **state) {
  (void)state;
  check_address("127.0.0.1:0", "127.0.0.1");
  check_address(":0", "127.0.0.1"); /* not ::ffff:127.0.0.1 */
}

/* Else the kernel keeps a small message back while the one before it is not
 * acknowledged. */
static void test_messages_leave_at_once(void **state) {
  socklen_t len = sizeof(int);
  ws_client client;
  echo_node node;
  int on = 0;
  uv_os_fd_t fd;

  (void)state;
  start(&node);
  echo_node_welcome(&node, &client, "alice");
  assert_int_equal(uv_fileno(&node.conn->uv.handle, &fd), 0);
  assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
  assert_int_not_equal(on, 0);
  ws_client_leave(&client);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_unix_socket(void **state) {
  char address[108] = "unix:";
  size_t len = sizeof address - 40;
  simple_client client = {0};
  echo_node node;

  (void)state;
  start(&node);
  node.hold = true;
  assert_int_equal(uv_os_tmpdir(address + 5, &len), 0);
  snprintf(address + 5 + len, 35, "/cp-test-%d.sock", (int)uv_os_getpid());
  assert_int_equal(cp_server_listen(node.server, address), 0);
  simple_client_open_unix(&client, &node.loop.loop, address + 5, "/");
  run_until(&node.loop, node.request != NULL);
  assert_string_equal(cp_request_address(node.request), "unix");
  assert_int_equal(echo_node_accept_held(&node, "alice"), 0);
  run_until(&node.loop, client.status == 101);
  simple_client_send(&client, "hello");
  run_until(&node.loop, client.n_messages == 1);
  assert_string_equal(client.messages, "hello|");
  simple_client_close(&client, 1000);
  run_until(&node.loop, client.gone);
  assert_string_equal(node.events, "upgrade open:alice message:hello "
                                   "close:1000: ");
  echo_node_finish(&node);
  remove(address + 5);
}

static bool is(cp_bytes bytes, const char *text) {
  return bytes.len == strlen(text) &&
         (bytes.len == 0 || memcmp(bytes.data, text, bytes.len) == 0);
}

/* What a request says stays readable until its answer, whatever comes
 * meanwhile. */
static void test_reading_a_request(void **state) {
  static char body[2000];
  ws_client client;
  echo_node node;
  cp_bytes user;
  int i;

  (void)state;
  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "a%20b");
  run_until(&node.loop, node.request != NULL);
  assert_int_equal(cp_request_query(node.request, "user", &user), 0);
  ws_client_frame(&client, 0x82, body, sizeof body);
  for (i = 0; i < 10; i++)
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  ws_client_reset(&client);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 0);
  assert_true(is(user, "a b"));
  assert_true(is(cp_request_method(node.request), "GET"));
  assert_true(is(cp_request_path(node.request), "/"));
  assert_true(is(cp_request_header(node.request, "HOST"), "test"));
  assert_null(cp_request_header(node.request, "Origin").data);
  assert_int_equal(cp_request_query(node.request, "none", &user),
                   CP_E_NOTFOUND);
  assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* Plain requests. --------------------------------------------------------- */

#define GET  "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
#define HEAD "HEAD /health HTTP/1.1\r\nHost: test\r\n\r\n"

static void check_plain(const char *request, const char *body) {
  ws_client client;
  echo_node node;

  start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write_str(&client, request);
  run_until(&node.loop, client.ended);
  assert_string_equal(node.events, "http ");
  assert_string_equal(client.log, "200 eof ");
  assert_int_equal(client.in_len, strlen(body));
  assert_memory_equal(client.in, body, strlen(body));
  ws_client_leave(&client);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_plain_requests(void **state) {
  (void)state;
  check_plain(GET, "hello\n");
  check_plain(HEAD, "");
  check_plain(GET GET, "hello\n"); /* one is enough */
}

/* Who has closed its side gets its answer, and the connection is over as soon
 * as that is sent. */
static void check_half_closed(bool hold) {
  ws_client client;
  echo_node node;

  start(&node);
  node.hold = hold;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write_str(&client, GET);
  ws_client_half_close(&client);
  if (hold) {
    run_until(&node.loop, node.request != NULL);
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
    assert_int_equal(
        cp_request_respond(node.request, 200, NULL, cp_str("hello\n"), NULL, 0),
        0);
  }
  run_until(&node.loop, client.ended && echo_node_stats(&node).handshakes == 0);
  assert_string_equal(client.log, "200 eof ");
  assert_int_equal(client.in_len, 6);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_half_closed_after_the_request(void **state) {
  (void)state;
  check_half_closed(false);
  check_half_closed(true);
}

/* Unread bytes must not turn our FIN into an RST, which can cost the client
 * its answer. */
static void test_unread_input_behind_a_request(void **state) {
  static char rest[300000];
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write_str(&client, GET);
  ws_client_write(&client, rest, sizeof rest);
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "200 eof ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_plain_client_leaves(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write_str(&client, GET);
  run_until(&node.loop, node.request != NULL);
  ws_client_reset(&client);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 0);
  assert_int_equal(
      cp_request_respond(node.request, 200, NULL, cp_str("x"), NULL, 0),
      CP_E_CLOSED);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* Limits of a handshake. -------------------------------------------------- */

static void check_answer(echo_node *node, const char *request,
                         const char *frames) {
  ws_client client;

  ws_client_connect(&client, &node->loop.loop, node->port);
  ws_client_write_str(&client, request);
  run_until(&node->loop, client.ended);
  assert_string_equal(client.log, frames);
  echo_node_see_off(node, &client);
}

static void test_bad_requests(void **state) {
  char request[4096];
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.max_request = 1000;
  echo_node_start(&node);
  check_answer(&node, "HELLO\r\n\r\n", "400 eof ");
  check_answer(&node, "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "405 eof ");
  memset(request, 'x', sizeof request);
  memcpy(request, "GET /", 5);
  request[600] = '\0';
  check_answer(&node, request, "414 eof ");
  memcpy(request, "GET / HTTP/1.1\r\nX: ", 19);
  request[600] = 'x';
  request[1200] = '\0';
  check_answer(&node, request, "431 eof ");
  assert_int_equal(echo_node_stats(&node).refused, 4);
  assert_string_equal(node.events, "");
  echo_node_finish(&node);
}

static void test_handshake_timeout(void **state) {
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.handshake_timeout_ms = 30;
  echo_node_start(&node);
  check_answer(&node, "", "408 eof ");
  check_answer(&node, "GET / HT", "408 eof ");
  assert_int_equal(echo_node_stats(&node).refused, 2);
  assert_string_equal(node.events, "");
  echo_node_finish(&node);
}

/* The application has its part of that time. */
static void test_answer_too_late(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.handshake_timeout_ms = 30;
  node.hold = true;
  echo_node_start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "503 eof ");
  assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_max_conns(void **state) {
  ws_client first, second;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.max_conns = 1;
  echo_node_start(&node);
  echo_node_welcome(&node, &first, "alice");
  ws_client_connect(&second, &node.loop.loop, node.port);
  ws_client_upgrade(&second, "bob");
  run_until(&node.loop, second.ended);
  assert_string_equal(second.log, "503 eof ");
  echo_node_see_off(&node, &second);
  echo_node_see_off(&node, &first);
  run_until(&node.loop, echo_node_stats(&node).conns == 0);
  echo_node_welcome(&node, &second, "bob");
  echo_node_see_off(&node, &second);
  echo_node_finish(&node);
}

static void test_max_conns_per_user(void **state) {
  ws_client first, second, third, other;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.max_conns_per_user = 2;
  echo_node_start(&node);
  echo_node_welcome(&node, &other, "bob");
  echo_node_welcome(&node, &first, "alice");
  echo_node_welcome(&node, &second, "alice");
  echo_node_welcome(&node, &third, "alice");
  run_until(&node.loop, first.close_code != 0);
  assert_int_equal(first.close_code, CP_CLOSE_TOO_MANY);
  assert_int_equal(second.close_code + other.close_code, 0);
  ws_client_close_frame(&first, CP_CLOSE_TOO_MANY, "");
  run_until(&node.loop, echo_node_stats(&node).conns == 3);
  assert_string_equal(node.events, "close:4008: ");
  echo_node_see_off(&node, &first);
  echo_node_see_off(&node, &second);
  echo_node_see_off(&node, &third);
  echo_node_see_off(&node, &other);
  echo_node_finish(&node);
}

/* Messages. --------------------------------------------------------------- */

static void test_messages_of_all_sizes(void **state) {
  static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 1024 * 1024};
  char *body = malloc(1024 * 1024);
  ws_client client;
  echo_node node;
  size_t i;

  (void)state;
  memset(body, 'z', 1024 * 1024);
  start(&node);
  echo_node_welcome(&node, &client, "alice");
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    ws_client_frame(&client, 0x82, body, sizes[i]);
    run_until(&node.loop, client.n_messages == i + 1);
  }
  assert_string_equal(node.events,
                      "message: message:z message:#125 message:#126 "
                      "message:#65535 message:#65536 message:#1048576 "
                      "writable ");
  assert_string_equal(client.log, "binary() binary(z) binary(zzzzzz+125) "
                                  "binary(zzzzzz+126) binary(zzzzzz+65535) "
                                  "binary(zzzzzz+65536) "
                                  "binary(zzzzzz+1048576) ");
  free(body);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_text_must_be_utf8(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  echo_node_welcome(&node, &client, "alice");
  ws_client_text(&client, "caf\xc3\xa9");
  ws_client_frame(&client, 0x82, "\xff", 1);
  ws_client_text(&client, "caf\xc3");
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log,
                      "text(caf\xc3\xa9) binary(\xff) close(1007 ) eof ");
  assert_string_equal(node.events,
                      "message:caf\xc3\xa9 message:\xff close:1007: ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_too_big(void **state) {
  uint8_t body[101] = {0};
  ws_client client;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.max_message = 100;
  echo_node_start(&node);
  echo_node_welcome(&node, &client, "alice");
  ws_client_frame(&client, 0x82, body, 100);
  ws_client_frame(&client, 0x02, body, 100);
  ws_client_frame(&client, 0x80, body, 1);
  run_until(&node.loop, client.ended);
  assert_int_equal(client.close_code, 1009);
  assert_string_equal(node.events, "message:#100 close:1009: ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_pings_between_fragments(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  echo_node_welcome(&node, &client, "alice");
  ws_client_frame(&client, 0x01, "he", 2);
  ws_client_frame(&client, 0x89, "p", 1);
  ws_client_frame(&client, 0x8A, "nobody asked", 12);
  run_until(&node.loop, client.n_frames == 1);
  ws_client_frame(&client, 0x80, "llo", 3);
  ws_client_frame(&client, 0x89, "", 0);
  run_until(&node.loop, client.n_frames == 3);
  assert_string_equal(client.log, "pong(p) text(hello) pong() ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* At rest, a connection holds no receiver. */
static void test_idle_connections_hold_no_receiver(void **state) {
  ws_client clients[3];
  echo_node node;
  size_t n_live;
  int i;

  (void)state;
  start(&node);
  for (i = 0; i < 3; i++)
    echo_node_welcome(&node, &clients[i], "alice");
  n_live = node.memory.n_live;
  for (i = 0; i < 3; i++) {
    ws_client_text(&clients[i], "x");
    run_until(&node.loop, clients[i].n_messages == 1);
  }
  /* One receiver with its buffer was enough for all, and what a message in the
   * queue takes is pooled. */
  assert_true(node.memory.n_live <= n_live + 5);
  for (i = 0; i < 3; i++)
    echo_node_see_off(&node, &clients[i]);
  echo_node_finish(&node);
}

/* Heartbeat. -------------------------------------------------------------- */

static void start_beating(echo_node *node) {
  echo_node_init(node);
  node->options.ping_interval_ms = 20;
  node->options.max_missed_pings = 2;
  echo_node_start(node);
}

static void test_heartbeat_answered(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_beating(&node);
  echo_node_welcome(&node, &client, "alice");
  client.answers = true;
  run_until(&node.loop, client.n_frames == 8);
  assert_int_equal(echo_node_stats(&node).conns, 1);
  assert_int_equal(echo_node_stats(&node).ping_timeouts, 0);
  assert_string_equal(node.events, "");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_heartbeat_not_answered(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_beating(&node);
  echo_node_welcome(&node, &client, "alice");
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "ping() ping() eof ");
  assert_string_equal(node.events, "close:1006: ");
  assert_int_equal(echo_node_stats(&node).ping_timeouts, 1);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* Whatever comes is a sign of life. */
static void test_heartbeat_of_a_talker(void **state) {
  ws_client client;
  echo_node node;
  size_t n = 0;

  (void)state;
  start_beating(&node);
  echo_node_welcome(&node, &client, "alice");
  while (client.n_frames - client.n_messages < 8) {
    ws_client_text(&client, "x");
    n++;
    run_until(&node.loop, client.n_messages == n);
  }
  assert_int_equal(echo_node_stats(&node).ping_timeouts, 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_everything_in_one_segment),
      cmocka_unit_test(test_byte_by_byte),
      cmocka_unit_test(test_every_cut),
      cmocka_unit_test(test_accept_later),
      cmocka_unit_test(test_much_before_the_answer),
      cmocka_unit_test(test_leaving_before_the_answer),
      cmocka_unit_test(test_answer_after_the_server),
      cmocka_unit_test(test_the_subscription_takes_too_long),
      cmocka_unit_test(test_early_messages_keep_their_order),
      cmocka_unit_test(test_leaving_before_the_subscription),
      cmocka_unit_test(test_who_says_nothing_is_one_block),
      cmocka_unit_test(test_early_bytes_wait_in_the_kernel),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_addresses),
      cmocka_unit_test(test_messages_leave_at_once),
      cmocka_unit_test(test_unix_socket),
      cmocka_unit_test(test_reading_a_request),
      cmocka_unit_test(test_plain_requests),
      cmocka_unit_test(test_half_closed_after_the_request),
      cmocka_unit_test(test_unread_input_behind_a_request),
      cmocka_unit_test(test_plain_client_leaves),
      cmocka_unit_test(test_bad_requests),
      cmocka_unit_test(test_handshake_timeout),
      cmocka_unit_test(test_answer_too_late),
      cmocka_unit_test(test_max_conns),
      cmocka_unit_test(test_max_conns_per_user),
      cmocka_unit_test(test_messages_of_all_sizes),
      cmocka_unit_test(test_text_must_be_utf8),
      cmocka_unit_test(test_too_big),
      cmocka_unit_test(test_pings_between_fragments),
      cmocka_unit_test(test_idle_connections_hold_no_receiver),
      cmocka_unit_test(test_heartbeat_answered),
      cmocka_unit_test(test_heartbeat_not_answered),
      cmocka_unit_test(test_heartbeat_of_a_talker),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
