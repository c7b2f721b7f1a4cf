/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* How a connection ends: by either side, in either order, in every state, from
 * inside every hook. Time-outs are either far away or what is tested. */

#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LONG_MS  600000
#define SHORT_MS 30

static void start(echo_node *node, unsigned close_timeout_ms) {
  echo_node_init(node);
  node->options.handshake_timeout_ms = LONG_MS;
  node->options.close_timeout_ms = close_timeout_ms;
  node->options.ping_interval_ms = 0;
  echo_node_start(node);
}

static void start_with(echo_node *node, ws_client *client,
                       unsigned close_timeout_ms) {
  start(node, close_timeout_ms);
  echo_node_welcome(node, client, "alice");
}

static size_t n_conns(const echo_node *node) {
  cp_stats stats = echo_node_stats(node);
  return (size_t)(stats.conns + stats.handshakes);
}

/* Leave, wait until the server has no connection, see that all is over. */
static void finish(echo_node *node, ws_client *client) {
  ws_client_leave(client);
  run_until(&node->loop, n_conns(node) == 0);
  assert_int_equal(echo_node_stats(node).queued_bytes, 0);
  echo_node_see_off(node, client);
  echo_node_finish(node);
}

/* The client closes. ------------------------------------------------------ */

static void check_client_close(const void *payload, size_t len,
                               const char *answer, const char *event) {
  ws_client client;
  echo_node node;

  start_with(&node, &client, LONG_MS);
  ws_client_frame(&client, 0x88, payload, len);
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, answer);
  assert_string_equal(node.events, event);
  assert_int_equal(n_conns(&node), 1); /* until the client's FIN */
  finish(&node, &client);
}

static void test_client_closes(void **state) {
  (void)state;
  check_client_close("", 0, "close(1005 ) eof ", "close:1005: ");
  check_client_close("\x03\xe8", 2, "close(1000 ) eof ", "close:1000: ");
  check_client_close("\x0f\xa0why", 5, "close(4000 ) eof ", "close:4000:why ");
  /* What is no close frame is answered as such. */
  check_client_close("\x03", 1, "close(1002 ) eof ", "close:1002: ");
  check_client_close("\x03\xed", 2, "close(1002 ) eof ", "close:1002: ");
  check_client_close("\x03\xe8\xff", 3, "close(1007 ) eof ", "close:1007: ");
}

static void test_nothing_counts_behind_a_close(void **state) {
  uint8_t bytes[256];
  ws_client client;
  echo_node node;
  size_t n = 0;

  (void)state;
  start_with(&node, &client, LONG_MS);
  n += ws_client_put_frame(bytes + n, 0x81, "before", 6);
  n += ws_client_put_frame(bytes + n, 0x88, "", 0);
  n += ws_client_put_frame(bytes + n, 0x81, "behind", 6);
  n += ws_client_put_frame(bytes + n, 0x89, "ping", 4);
  ws_client_write(&client, bytes, n);
  run_until(&node.loop, client.ended);
  ws_client_text(&client, "much later");
  ws_client_frame(&client, 0xFF, "x", 1);
  uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  assert_string_equal(client.log, "text(before) close(1005 ) eof ");
  assert_string_equal(node.events, "message:before close:1005: ");
  finish(&node, &client);
}

/* A client that sends its close frame and FIN has said all: nothing is waited
 * for. */
static void test_close_and_fin(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  ws_client_close_frame(&client, 1000, "");
  ws_client_half_close(&client);
  run_until(&node.loop, client.ended && n_conns(&node) == 0);
  assert_string_equal(client.log, "close(1000 ) eof ");
  finish(&node, &client);
}

static void test_protocol_error(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  ws_client_frame(&client, 0x83, "x", 1);
  ws_client_text(&client, "still here");
  run_until(&node.loop, client.ended);
  ws_client_text(&client, "still here");
  uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  assert_string_equal(client.log, "close(1002 ) eof ");
  assert_string_equal(node.events, "close:1002: ");
  finish(&node, &client);
}

/* Without a word. */
static void check_vanishing(void (*leave)(ws_client *)) {
  ws_client client;
  echo_node node;

  start_with(&node, &client, LONG_MS);
  leave(&client);
  run_until(&node.loop, n_conns(&node) == 0);
  assert_string_equal(node.events, "close:1006: ");
  finish(&node, &client);
}

static void test_client_vanishes(void **state) {
  (void)state;
  check_vanishing(ws_client_leave);
  check_vanishing(ws_client_reset);
  check_vanishing(ws_client_half_close);
}

static void test_client_vanishes_in_a_message(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  ws_client_frame(&client, 0x01, "he", 2);
  ws_client_write(&client, "\x80", 1);
  uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  ws_client_reset(&client);
  run_until(&node.loop, n_conns(&node) == 0);
  assert_string_equal(node.events, "close:1006: ");
  finish(&node, &client);
}

/* The server closes. ------------------------------------------------------ */

static void test_server_closes(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  assert_int_equal(cp_conn_close(node.conn, 4321, cp_str("enough")), 0);
  assert_int_equal(cp_conn_close(node.conn, 4321, cp_str("enough")),
                   CP_E_CLOSED);
  run_until(&node.loop, client.close_code != 0);
  assert_string_equal(node.events, "");
  ws_client_close_frame(&client, 4321, "all right");
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "close(4321 enough) eof ");
  assert_string_equal(node.events, "close:4321:all right ");
  finish(&node, &client);
}

static void test_close_is_the_last_frame(void **state) {
  ws_client client;
  echo_node node;
  cp_conn_id id;

  (void)state;
  start_with(&node, &client, LONG_MS);
  id = cp_conn_get_id(node.conn);
  cp_send_to_conn(node.server, id, CP_TEXT, cp_str("one"), NULL);
  cp_send_to_conn(node.server, id, CP_TEXT, cp_str("two"), NULL);
  cp_conn_close(node.conn, 1000, cp_str(NULL));
  cp_send_to_conn(node.server, id, CP_TEXT, cp_str("three"), NULL);
  cp_send_to_user(node.server, cp_str("alice"), CP_TEXT, cp_str("four"), NULL);
  ws_client_frame(&client, 0x89, "ping", 4);
  client.answers = true;
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "text(one) text(two) close(1000 ) eof ");
  finish(&node, &client);
}

static void test_messages_behind_our_close_are_ignored(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  cp_conn_close(node.conn, 1000, cp_str(NULL));
  run_until(&node.loop, client.close_code != 0);
  ws_client_text(&client, "did not know yet");
  ws_client_frame(&client, 0x01, "begun ", 6);
  ws_client_close_frame(&client, 1000, "");
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "close(1000 ) eof ");
  assert_string_equal(node.events, "close:1000: ");
  assert_int_equal(echo_node_stats(&node).messages_in, 0);
  finish(&node, &client);
}

static void test_error_behind_our_close(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  cp_conn_close(node.conn, 1000, cp_str(NULL));
  run_until(&node.loop, client.close_code != 0);
  ws_client_frame(&client, 0x83, "", 0);
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "close(1000 ) eof ");
  assert_string_equal(node.events, "close:1002: ");
  finish(&node, &client);
}

static void test_codes_and_reasons(void **state) {
  static const uint16_t bad[] = {0,    999,  1002, 1003, 1004, 1005,
                                 1006, 1015, 2999, 5000, 65535};
  static const uint16_t good[] = {1000, 1001, 1007, 1014, 3000, 4999};
  char reason[124];
  ws_client client;
  echo_node node;
  size_t i;

  (void)state;
  memset(reason, 'x', sizeof reason);
  start_with(&node, &client, LONG_MS);
  for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cp_conn_close(node.conn, bad[i], cp_str("")),
                     CP_E_INVALID);
  assert_int_equal(cp_conn_close(node.conn, 1000, cp_bytes_of(reason, 124)),
                   CP_E_INVALID);
  assert_int_equal(cp_conn_close(node.conn, 1000, cp_str("\xff")),
                   CP_E_INVALID);
  for (i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_int_equal(
        cp_conn_close(node.conn, good[i], cp_bytes_of(reason, 123)), 0);
    client.answers = true;
    run_until(&node.loop, client.ended);
    assert_int_equal(client.close_code, good[i]);
    echo_node_see_off(&node, &client);
    echo_node_welcome(&node, &client, "alice");
  }
  finish(&node, &client);
}

static void check_vanishing_closed(void (*leave)(ws_client *)) {
  ws_client client;
  echo_node node;

  start_with(&node, &client, LONG_MS);
  cp_conn_close(node.conn, 1000, cp_str(NULL));
  run_until(&node.loop, client.close_code != 0);
  leave(&client);
  run_until(&node.loop, n_conns(&node) == 0);
  assert_string_equal(node.events, "close:1006: ");
  finish(&node, &client);
}

static void test_client_vanishes_after_our_close(void **state) {
  (void)state;
  check_vanishing_closed(ws_client_leave);
  check_vanishing_closed(ws_client_reset);
  check_vanishing_closed(ws_client_half_close);
}

/* Both at once: each side's close frame is the other's answer. */
static void test_both_close(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, LONG_MS);
  ws_client_close_frame(&client, 4001, "client");
  cp_conn_close(node.conn, 4002, cp_str("server"));
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "close(4002 server) eof ");
  assert_string_equal(node.events, "close:4001:client ");
  finish(&node, &client);
}

/* Time-outs. -------------------------------------------------------------- */

static void test_client_never_answers(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, SHORT_MS);
  cp_conn_close(node.conn, 1000, cp_str(NULL));
  run_until(&node.loop, n_conns(&node) == 0);
  assert_string_equal(node.events, "close:1006: ");
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "close(1000 ) eof ");
  finish(&node, &client);
}

/* It got our FIN and keeps its own. */
static void test_client_never_ends(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start_with(&node, &client, SHORT_MS);
  ws_client_close_frame(&client, 1000, "");
  run_until(&node.loop, client.ended);
  assert_string_equal(node.events, "close:1000: ");
  run_until(&node.loop, n_conns(&node) == 0);
  finish(&node, &client);
}

static void test_plain_client_never_ends(void **state) {
  ws_client client;
  echo_node node;

  (void)state;
  start(&node, SHORT_MS);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_write_str(&client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  run_until(&node.loop, client.ended);
  run_until(&node.loop, n_conns(&node) == 0);
  finish(&node, &client);
}

/* From inside hooks. ------------------------------------------------------ */

/* What a hook does: `hook` names it, once it is done it is NULL. */
typedef struct hook_deed {
  const char *hook;
  cp_conn *other; /* close this one instead of the hook's own */
} hook_deed;

static bool is_due(hook_deed *deed, const char *hook) {
  if (deed->hook == NULL || strcmp(deed->hook, hook) != 0)
    return false;
  deed->hook = NULL;
  return true;
}

static void close_conn(echo_node *node, const char *hook, cp_conn *conn) {
  hook_deed *deed = node->data;

  if (!is_due(deed, hook))
    return;
  if (deed->other != NULL)
    conn = deed->other;
  assert_int_equal(
      cp_conn_close(conn, 4004, cp_str(hook)),
      strcmp(hook, "close") == 0 && deed->other == NULL ? CP_E_CLOSED : 0);
}

/* Bring about each hook of a connection: open, message, writable, close. */
static void live_through(echo_node *node, ws_client *client) {
  static char body[600];

  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_upgrade(client, "bob");
  ws_client_text(client, "x");
  ws_client_frame(client, 0x82, body, sizeof body); /* above half the limit */
  ws_client_close_frame(client, 1000, "bye");
  client->answers = true;
  run_until(&node->loop, client->ended);
  ws_client_leave(client);
}

static void start_small(echo_node *node, const char *hook, hook_deed *deed,
                        void (*also)(echo_node *, const char *, cp_conn *)) {
  echo_node_init(node);
  node->options.max_send_queue = 1000;
  node->options.close_timeout_ms = LONG_MS;
  node->data = deed;
  node->also = also;
  memset(deed, 0, sizeof *deed);
  deed->hook = hook;
  echo_node_start(node);
}

static void check_close_in(const char *hook, const char *events) {
  ws_client client;
  echo_node node;
  hook_deed deed;

  start_small(&node, hook, &deed, close_conn);
  live_through(&node, &client);
  assert_string_equal(node.events, events);
  assert_null(deed.hook);
  finish(&node, &client);
}

static void test_close_in_each_hook(void **state) {
  (void)state;
  check_close_in("open", "upgrade open:bob close:1000:bye ");
  check_close_in("message", "upgrade open:bob message:x close:1000:bye ");
  check_close_in("close",
                 "upgrade open:bob message:x message:#600 close:1000:bye ");
}

static void test_close_in_on_writable(void **state) {
  static char body[600];
  ws_client client;
  echo_node node;
  hook_deed deed;

  (void)state;
  start_small(&node, "writable", &deed, close_conn);
  echo_node_welcome(&node, &client, "alice");
  ws_client_frame(&client, 0x82, body, sizeof body);
  client.answers = true;
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "binary(+600) close(4004 writable) eof ");
  assert_string_equal(node.events, "message:#600 writable close:4004: ");
  finish(&node, &client);
}

static void check_close_other_in(const char *hook) {
  ws_client other, client;
  echo_node node;
  hook_deed deed;

  start_small(&node, NULL, &deed, close_conn);
  echo_node_welcome(&node, &other, "alice");
  other.answers = true;
  deed.other = node.conn;
  deed.hook = hook;
  live_through(&node, &client);
  run_until(&node.loop, other.ended);
  assert_null(deed.hook);
  assert_int_equal(other.close_code, 4004);
  assert_non_null(strstr(node.events, "close:4004: "));
  assert_non_null(strstr(node.events, "close:1000:bye "));
  echo_node_see_off(&node, &other);
  finish(&node, &client);
}

static void test_close_another_in_each_hook(void **state) {
  (void)state;
  check_close_other_in("upgrade");
  check_close_other_in("open");
  check_close_other_in("message");
  check_close_other_in("close");
}

static void close_server(echo_node *node, const char *hook, cp_conn *conn) {
  (void)conn;
  if (is_due(node->data, hook))
    cp_server_close(node->server, LONG_MS, echo_node_on_closed);
}

/* There is always one more connection, which gets its 1001. */
static void check_server_close_in(const char *hook, const char *request) {
  ws_client other, client;
  echo_node node;
  hook_deed deed;

  start_small(&node, NULL, &deed, close_server);
  echo_node_welcome(&node, &other, "alice");
  deed.hook = hook;
  ws_client_connect(&client, &node.loop.loop, node.port);
  client.answers = other.answers = true;
  if (request != NULL) {
    ws_client_write_str(&client, request);
  } else {
    ws_client_upgrade(&client, "bob");
    ws_client_text(&client, "x");
    ws_client_frame(&client, 0x82, "x", 1);
    ws_client_close_frame(&client, 1000, "bye");
  }
  run_until(&node.loop, client.ended && other.ended);
  assert_null(deed.hook);
  assert_string_equal(other.log, "close(1001 ) eof ");
  ws_client_leave(&client);
  ws_client_leave(&other);
  run_until(&node.loop, node.closed);
  echo_node_see_off(&node, &other);
  echo_node_see_off(&node, &client);
  assert_non_null(strstr(node.events, "closed "));
  echo_node_finish(&node);
}

static void test_server_close_in_each_hook(void **state) {
  (void)state;
  check_server_close_in("upgrade", NULL);
  check_server_close_in("http", "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  check_server_close_in("open", NULL);
  check_server_close_in("message", NULL);
  check_server_close_in("close", NULL);
}

static void test_server_close_in_on_writable(void **state) {
  static char body[600];
  ws_client client;
  echo_node node;
  hook_deed deed;

  (void)state;
  start_small(&node, "writable", &deed, close_server);
  echo_node_welcome(&node, &client, "alice");
  client.answers = true;
  ws_client_frame(&client, 0x82, body, sizeof body);
  run_until(&node.loop, client.ended);
  assert_string_equal(client.log, "binary(+600) close(1001 ) eof ");
  ws_client_leave(&client);
  run_until(&node.loop, node.closed);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* The server closes, whatever its connections are at. --------------------- */

enum {
  IN_CONNECT, /* nothing was said */
  IN_HEAD,
  IN_ANSWER, /* the application has not decided */
  IN_OPEN,
  IN_MESSAGE, /* half of one came */
  IN_CLOSE,   /* we closed, it has not answered */
  IN_LINGER,  /* it closed, and got our FIN */
  N_STAGES
};

static void bring_to(echo_node *node, ws_client *client, int stage) {
  char head[1024];
  size_t len = ws_client_put_upgrade(head, sizeof head, "alice");

  node->hold = stage == IN_ANSWER;
  ws_client_connect(client, &node->loop.loop, node->port);
  if (stage == IN_HEAD)
    len /= 2;
  if (stage > IN_CONNECT)
    ws_client_write(client, head, len);
  if (stage == IN_MESSAGE)
    ws_client_write(client, "\x81", 1);
  if (stage == IN_LINGER)
    ws_client_close_frame(client, 1000, "");
  if (stage <= IN_HEAD)
    run_until(&node->loop, echo_node_stats(node).handshakes > 0);
  else if (stage == IN_ANSWER)
    run_until(&node->loop, node->request != NULL);
  else if (stage == IN_LINGER)
    run_until(&node->loop, client->ended);
  else
    run_until(&node->loop, client->status == 101);
  if (stage == IN_CLOSE) {
    cp_conn_close(node->conn, 4000, cp_str(NULL));
    run_until(&node->loop, client->close_code != 0);
  }
  uv_run(&node->loop.loop, UV_RUN_NOWAIT);
}

static void check_server_close(int stage, uint64_t grace_ms) {
  static const char *const logs[N_STAGES] = {
      [IN_CONNECT] = "eof ",
      [IN_HEAD] = "eof ",
      [IN_ANSWER] = "503 eof ",
      [IN_OPEN] = "101 close(1001 ) eof ",
      [IN_MESSAGE] = "101 close(1001 ) eof ",
      [IN_CLOSE] = "101 close(4000 ) eof ",
      [IN_LINGER] = "101 close(1000 ) eof ",
  };
  ws_client client;
  echo_node node;

  start(&node, LONG_MS);
  bring_to(&node, &client, stage);
  cp_server_close(node.server, grace_ms, echo_node_on_closed);
  run_until(&node.loop, client.ended);
  if (strcmp(client.log, "reset ") == 0 && stage <= IN_HEAD)
    ws_client_forget(&client); /* it had not read all */
  else
    assert_string_equal(client.log, logs[stage]);
  if (grace_ms == LONG_MS)
    ws_client_leave(&client);
  run_until(&node.loop, node.closed);
  if (node.request != NULL)
    assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* With a grace that is over at some time the client need not do anything. */
static void test_server_close_at_each_stage(void **state) {
  int stage;

  (void)state;
  for (stage = 0; stage < N_STAGES; stage++)
    check_server_close(stage, SHORT_MS);
}

/* A client that goes makes an end of it, however long the grace. */
static void test_server_close_waits_for_no_longer_than_needed(void **state) {
  (void)state;
  check_server_close(IN_CONNECT, LONG_MS);
  check_server_close(IN_ANSWER, LONG_MS);
  check_server_close(IN_LINGER, LONG_MS);
}

/* By RST at each stage. --------------------------------------------------- */

static void test_reset_at_each_stage(void **state) {
  ws_client client;
  echo_node node;
  int stage;

  (void)state;
  for (stage = 0; stage < N_STAGES; stage++) {
    start(&node, LONG_MS);
    bring_to(&node, &client, stage);
    ws_client_reset(&client);
    run_until(&node.loop, n_conns(&node) == 0);
    if (node.request != NULL)
      assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
    finish(&node, &client);
  }
}

/* In the same turn as whatever the server is about to do. */
static void test_reset_under_a_write(void **state) {
  ws_client client;
  echo_node node;
  int stage;

  (void)state;
  for (stage = IN_OPEN; stage <= IN_CLOSE; stage++) {
    start(&node, LONG_MS);
    bring_to(&node, &client, stage);
    cp_send_to_user(node.server, cp_str("alice"), CP_TEXT, cp_str("x"), NULL);
    ws_client_reset(&client);
    cp_broadcast(node.server, CP_TEXT, cp_str("y"), NULL);
    cp_server_close(node.server, LONG_MS, echo_node_on_closed);
    run_until(&node.loop, node.closed);
    echo_node_see_off(&node, &client);
    echo_node_finish(&node);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_client_closes),
      cmocka_unit_test(test_nothing_counts_behind_a_close),
      cmocka_unit_test(test_close_and_fin),
      cmocka_unit_test(test_protocol_error),
      cmocka_unit_test(test_client_vanishes),
      cmocka_unit_test(test_client_vanishes_in_a_message),
      cmocka_unit_test(test_server_closes),
      cmocka_unit_test(test_close_is_the_last_frame),
      cmocka_unit_test(test_messages_behind_our_close_are_ignored),
      cmocka_unit_test(test_error_behind_our_close),
      cmocka_unit_test(test_codes_and_reasons),
      cmocka_unit_test(test_client_vanishes_after_our_close),
      cmocka_unit_test(test_both_close),
      cmocka_unit_test(test_client_never_answers),
      cmocka_unit_test(test_client_never_ends),
      cmocka_unit_test(test_plain_client_never_ends),
      cmocka_unit_test(test_close_in_each_hook),
      cmocka_unit_test(test_close_in_on_writable),
      cmocka_unit_test(test_close_another_in_each_hook),
      cmocka_unit_test(test_server_close_in_each_hook),
      cmocka_unit_test(test_server_close_in_on_writable),
      cmocka_unit_test(test_server_close_at_each_stage),
      cmocka_unit_test(test_server_close_waits_for_no_longer_than_needed),
      cmocka_unit_test(test_reset_at_each_stage),
      cmocka_unit_test(test_reset_under_a_write),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
