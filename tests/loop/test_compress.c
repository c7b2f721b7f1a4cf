/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* permessage-deflate through the public API: who gets what compressed, what it
 * costs, and what a client's compressed messages come to. */

#include "echo_node.h"

#include "server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ANSWER                                     \
  "Sec-WebSocket-Extensions: permessage-deflate; " \
  "server_no_context_takeover; client_no_context_takeover"

static void start(echo_node *node) {
  echo_node_init(node);
  node->options.compress = 1;
  echo_node_start(node);
}

static void await_open(echo_node *node, ws_client *client, uint64_t opened) {
  run_until(&node->loop,
            client->status != 0 && echo_node_stats(node).opened >= opened);
  assert_int_equal(client->status, 101);
  echo_node_forget(node);
  ws_client_forget(client);
}

/* As echo_node_welcome, with an offer. */
static void welcome(echo_node *node, ws_client *client, const char *user,
                    const char *parameters) {
  uint64_t opened = echo_node_stats(node).opened;

  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_upgrade_deflate(client, user, parameters);
  await_open(node, client, opened + 1);
}

/* Words, and some numbers in between. */
static char *make_text(size_t len) {
  char *text = malloc(len + 1);
  size_t i;

  assert_non_null(text);
  for (i = 0; i < len; i++)
    text[i] =
        i > 32 && i % 19 == 0 ? "0123456789"[i / 19 % 10] : "cluster "[i % 8];
  text[len] = '\0';
  return text;
}

static char *make_noise(size_t len) {
  char *noise = malloc(len);
  uint32_t x = 1;
  size_t i;

  assert_non_null(noise);
  for (i = 0; i < len; i++) {
    x = x * 1664525 + 1013904223;
    noise[i] = (char)(x >> 24);
  }
  return noise;
}

static const cp__ws_pool *ws_pool(const echo_node *node) {
  return &node->server->peers.ws_pool;
}

/* Negotiation. ------------------------------------------------------------ */

/* The response to an upgrade with these more header lines. */
static void ask(echo_node *node, ws_client *client, const char *lines) {
  char head[1024];
  size_t len = ws_client_put_upgrade(head, sizeof head, "alice") - 2;

  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_write(client, head, len);
  ws_client_write_str(client, lines);
  ws_client_write_str(client, "\r\n");
  run_until(&node->loop, client->status != 0);
}

static void check_answer(echo_node *node, const char *lines,
                         const char *answer) {
  ws_client client;
  char line[256];

  ask(node, &client, lines);
  assert_int_equal(client.status, 101);
  if (answer == NULL) {
    assert_null(strstr(client.head, "Extensions"));
  } else {
    snprintf(line, sizeof line, "\r\n%s\r\n", answer);
    assert_non_null(strstr(client.head, line));
  }
  echo_node_see_off(node, &client);
}

static void test_negotiation(void **state) {
  static const struct {
    const char *lines;
    const char *answer;
  } cases[] = {
      {"", NULL},
      {"Sec-WebSocket-Extensions: permessage-deflate\r\n", ANSWER},
      {"sec-websocket-extensions: permessage-deflate; "
       "client_max_window_bits\r\n",
       ANSWER},
      {"Sec-WebSocket-Extensions: permessage-deflate; "
       "server_max_window_bits=10\r\n",
       ANSWER "; server_max_window_bits=10"},
      {"Sec-WebSocket-Extensions: x-something\r\n"
       "Sec-WebSocket-Extensions: permessage-deflate\r\n",
       ANSWER},
      {"Sec-WebSocket-Extensions: permessage-deflate; nothing=1, "
       "permessage-deflate\r\n",
       ANSWER},
      {"Sec-WebSocket-Extensions: permessage-deflate; nothing=1\r\n", NULL},
      {"Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n", NULL},
  };
  echo_node node;
  size_t i;

  (void)state;
  start(&node);
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
    check_answer(&node, cases[i].lines, cases[i].answer);
  echo_node_finish(&node);
}

static void test_malformed_offer(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  ask(&node, &client, "Sec-WebSocket-Extensions: permessage-deflate;=\r\n");
  assert_int_equal(client.status, 400);
  assert_int_equal(echo_node_stats(&node).refused, 1);
  assert_string_equal(node.events, ""); /* nobody was asked */
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* By default nothing is negotiated, and RSV1 is an error. */
static void test_off(void **state) {
  char *text = make_text(1000);
  ws_client client;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  echo_node_start(&node);
  check_answer(&node, "Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL);
  assert_null(node.server->peers.deflater);
  welcome(&node, &client, "alice", "");
  client.offers = false;
  ws_client_frame(&client, 0x82, text, 1000);
  run_until(&node.loop, client.n_messages == 1);
  assert_string_equal(client.log, "binary(cluste+1000) ");
  ws_client_deflated(&client, 1, text, 1000, 1000);
  run_until(&node.loop, client.ended);
  assert_int_equal(client.close_code, 1002);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
  free(text);
}

/* The application's headers are there beside ours. */
static void test_headers_of_the_application(void **state) {
  cp_header header = {"X-Mine", "yes"};
  cp_accept_options options;
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  node.hold = true;
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade_deflate(&client, "alice", "");
  run_until(&node.loop, node.request != NULL);
  cp_accept_options_init(&options);
  options.headers = &header;
  options.n_headers = 1;
  assert_int_equal(cp_request_accept(node.request, cp_str("alice"), &options),
                   0);
  run_until(&node.loop, client.status == 101);
  assert_non_null(strstr(client.head, "\r\nX-Mine: yes\r\n"));
  assert_non_null(strstr(client.head, "\r\n" ANSWER "\r\n"));
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* Sending. ---------------------------------------------------------------- */

static void broadcast(echo_node *node, const void *body, size_t len) {
  assert_int_equal(
      cp_broadcast(node->server, CP_BINARY, cp_bytes_of(body, len), NULL), 0);
}

/* Plain and compressed clients side by side, one of them with a window of 512
 * bytes: a message is compressed once at most. */
static void test_compressed_once(void **state) {
  enum { N = 5 };
  char *text = make_text(5000);
  ws_client z[N], plain, narrow;
  echo_node node;
  cp_stats stats;
  int i;

  (void)state;
  start(&node);
  echo_node_welcome(&node, &plain, "plain");
  for (i = 0; i < N; i++)
    welcome(&node, &z[i], "alice", "");
  welcome(&node, &narrow, "narrow", "; server_max_window_bits=9");
  broadcast(&node, text, 5000);
  broadcast(&node, text, 500);
  broadcast(&node, text, 100);
  for (i = 0; i < N; i++) {
    run_until(&node.loop, z[i].n_messages == 3);
    assert_string_equal(z[i].log, "z:binary(cluste+5000) z:binary(cluste+500) "
                                  "binary(cluste+100) ");
  }
  run_until(&node.loop, plain.n_messages == 3 && narrow.n_messages == 3);
  assert_string_equal(plain.log, "binary(cluste+5000) binary(cluste+500) "
                                 "binary(cluste+100) ");
  assert_string_equal(narrow.log, "binary(cluste+5000) z:binary(cluste+500) "
                                  "binary(cluste+100) ");
  stats = echo_node_stats(&node);
  assert_int_equal(stats.compressed, 2);
  assert_int_equal(stats.messages_out, 3 * (N + 2));
  for (i = 0; i < N; i++)
    echo_node_see_off(&node, &z[i]);
  echo_node_see_off(&node, &plain);
  echo_node_see_off(&node, &narrow);
  echo_node_finish(&node);
  free(text);
}

/* Who could not read it costs no compression. */
static void test_nobody_to_compress_for(void **state) {
  char *text = make_text(5000);
  ws_client plain, z;
  echo_node node;

  (void)state;
  start(&node);
  welcome(&node, &z, "z", "");
  echo_node_welcome(&node, &plain, "plain");
  assert_int_equal(cp_send_to_user(node.server, cp_str("plain"), CP_TEXT,
                                   cp_bytes_of(text, 5000), NULL),
                   0);
  run_until(&node.loop, plain.n_messages == 1);
  assert_int_equal(echo_node_stats(&node).compressed, 0);
  assert_int_equal(cp_send_to_user(node.server, cp_str("z"), CP_TEXT,
                                   cp_bytes_of(text, 5000), NULL),
                   0);
  run_until(&node.loop, z.n_messages == 1);
  assert_string_equal(z.log, "z:text(cluste+5000) ");
  assert_int_equal(echo_node_stats(&node).compressed, 1);
  assert_true(echo_node_stats(&node).bytes_out < 5000 + 4 + 2500);
  echo_node_see_off(&node, &plain);
  echo_node_see_off(&node, &z);
  echo_node_finish(&node);
  free(text);
}

/* What would not get shorter goes out as it is, to all. */
static void test_noise(void **state) {
  char *noise = make_noise(4096);
  ws_client a, b;
  echo_node node;

  (void)state;
  start(&node);
  welcome(&node, &a, "a", "");
  welcome(&node, &b, "b", "");
  broadcast(&node, noise, 4096);
  run_until(&node.loop, a.n_messages == 1 && b.n_messages == 1);
  assert_memory_equal(a.log, "binary(", 7);
  assert_memory_equal(b.log, "binary(", 7);
  assert_int_equal(echo_node_stats(&node).compressed, 0);
  echo_node_see_off(&node, &a);
  echo_node_see_off(&node, &b);
  echo_node_finish(&node);
  free(noise);
}

static void test_compress_min(void **state) {
  char *text = make_text(100);
  ws_client client;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  node.options.compress = 1;
  node.options.compress_min = 100;
  echo_node_start(&node);
  welcome(&node, &client, "alice", "");
  broadcast(&node, text, 99);
  broadcast(&node, text, 100);
  broadcast(&node, "", 0);
  run_until(&node.loop, client.n_messages == 3);
  assert_string_equal(client.log,
                      "binary(cluste+99) z:binary(cluste+100) binary() ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
  free(text);
}

/* Receiving. -------------------------------------------------------------- */

static void test_echo(void **state) {
  static const size_t lens[] = {20, 1000, 70000, 1000000};
  ws_client client;
  echo_node node;
  size_t i, n;

  (void)state;
  start(&node);
  welcome(&node, &client, "alice", "; client_max_window_bits");
  for (i = 0, n = 0; i < sizeof lens / sizeof lens[0]; i++) {
    char *text = make_text(lens[i]);
    ws_client_deflated(&client, 1, text, lens[i], SIZE_MAX);
    ws_client_deflated(&client, 2, text, lens[i], 7 + lens[i] / 100);
    ws_client_frame(&client, 0x89, "p", 1);
    n += 2;
    run_until(&node.loop, client.n_messages == n && client.n_frames > n);
    free(text);
  }
  run_until(&node.loop, client.n_frames == n + n / 2);
  assert_string_equal(
      client.log,
      "text(cluster cluster clus) binary(cluster cluster clus) pong(p) "
      "z:text(cluste+1000) z:binary(cluste+1000) pong(p) "
      "z:text(cluste+70000) z:binary(cluste+70000) pong(p) "
      "z:text(cluste+1000000) z:binary(cluste+1000000) pong(p) ");
  assert_int_equal(echo_node_stats(&node).bytes_in, 2 * 1071020);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_byte_by_byte(void **state) {
  uint8_t frame[64];
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  welcome(&node, &client, "alice", "");
  ws_client_drip(
      &client, frame,
      ws_client_put_frame(frame, 0xC1, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7));
  run_until(&node.loop, client.n_messages == 1);
  assert_string_equal(client.log, "text(Hello) ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* A connection at rest owns nothing, one in the midst of a compressed message
 * an inflater, however it ends. */
static void test_idle_connections_hold_no_inflater(void **state) {
  char *text = make_text(5000);
  ws_client a, b;
  echo_node node;

  (void)state;
  start(&node);
  welcome(&node, &a, "a", "");
  welcome(&node, &b, "b", "");
  assert_int_equal(ws_pool(&node)->n_borrowed, 0);
  ws_client_deflated(&a, 1, text, 5000, SIZE_MAX);
  run_until(&node.loop, a.n_messages == 1);
  assert_int_equal(ws_pool(&node)->n_borrowed, 0);
  assert_int_equal(ws_pool(&node)->inflaters.n_borrowed, 0);
  assert_int_equal(ws_pool(&node)->inflaters.n_free, 1);
  ws_client_frame(&a, 0x41, "\xf2\x48", 2);
  ws_client_frame(&b, 0x41, "\xf2\x48", 2);
  run_until(&node.loop, ws_pool(&node)->inflaters.n_borrowed == 2);
  ws_client_frame(&a, 0x80, "\xcd\xc9\xc9\x07\x00", 5);
  run_until(&node.loop, a.n_messages == 2);
  assert_int_equal(ws_pool(&node)->inflaters.n_borrowed, 1);
  echo_node_see_off(&node, &b);
  run_until(&node.loop, echo_node_stats(&node).conns == 1);
  assert_int_equal(ws_pool(&node)->inflaters.n_borrowed, 0);
  assert_int_equal(ws_pool(&node)->n_borrowed, 0);
  echo_node_see_off(&node, &a);
  echo_node_finish(&node);
  free(text);
}

static void check_failure(uint8_t head, const char *payload, size_t len,
                          int code) {
  ws_client client;
  echo_node node;
  char events[32];

  start(&node);
  welcome(&node, &client, "alice", "");
  ws_client_frame(&client, head, payload, len);
  run_until(&node.loop, client.ended);
  assert_int_equal(client.close_code, code);
  snprintf(events, sizeof events, "close:%d: ", code);
  assert_string_equal(node.events, events);
  assert_int_equal(ws_pool(&node)->inflaters.n_borrowed, 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_failures(void **state) {
  (void)state;
  check_failure(0xC1, "\x06", 1, 1007);                     /* no DEFLATE */
  check_failure(0xC1, "\x00\x01\x00\xfe\xff\xff", 6, 1007); /* no UTF-8 */
  check_failure(0xC0, "\x00", 1, 1002);
  check_failure(0xC9, "\x00", 1, 1002);
  check_failure(0xE1, "\x00", 1, 1002);
}

/* 16 MiB in 16 KiB. */
static void test_bomb(void **state) {
  enum { N = 16 * 1024 * 1024 };
  char *zeros = calloc(1, N);
  ws_client client;
  echo_node node;

  (void)state;
  start(&node);
  welcome(&node, &client, "alice", "");
  ws_client_deflated(&client, 2, zeros, N, SIZE_MAX);
  run_until(&node.loop, client.ended);
  assert_int_equal(client.close_code, 1009);
  assert_string_equal(node.events, "close:1009: ");
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
  free(zeros);
}

/* Memory. ----------------------------------------------------------------- */

/* Without memory to compress, a message goes out as it is. */
static void live(echo_node *node, const char *text) {
  ws_client client;

  ws_client_connect(&client, &node->loop.loop, node->port);
  ws_client_upgrade_deflate(&client, "alice", "");
  run_until(&node->loop, client.status != 0 || client.ended);
  ws_client_deflated(&client, 1, text, 5000, 50);
  run_until(&node->loop, client.n_messages == 1 || client.ended ||
                             echo_node_stats(node).queue_drops == 1);
  if (client.n_messages == 1)
    assert_non_null(strstr(client.log, "text(cluste+5000) "));
  echo_node_see_off(node, &client);
}

static void test_every_allocation_failing(void **state) {
  char *text = make_text(5000);
  echo_node node;
  size_t n = 0;
  int rc;

  (void)state;
  do {
    echo_node_init(&node);
    node.options.compress = 1;
    node.memory.fail_at = ++n;
    rc = cp_server_create(&node.server, &node.loop.loop, &node.options);
    if (rc == 0)
      rc = cp_server_listen(node.server, "127.0.0.1:0");
    if (rc == 0) {
      node.port = cp_server_port(node.server);
      live(&node, text);
    }
    assert_true(rc == 0 || (rc == CP_E_NOMEM && node.memory.failed));
    echo_node_finish(&node);
  } while (node.memory.failed);
  assert_true(n > 30);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_negotiation),
      cmocka_unit_test(test_malformed_offer),
      cmocka_unit_test(test_off),
      cmocka_unit_test(test_headers_of_the_application),
      cmocka_unit_test(test_compressed_once),
      cmocka_unit_test(test_nobody_to_compress_for),
      cmocka_unit_test(test_noise),
      cmocka_unit_test(test_compress_min),
      cmocka_unit_test(test_echo),
      cmocka_unit_test(test_byte_by_byte),
      cmocka_unit_test(test_idle_connections_hold_no_inflater),
      cmocka_unit_test(test_failures),
      cmocka_unit_test(test_bomb),
      cmocka_unit_test(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
