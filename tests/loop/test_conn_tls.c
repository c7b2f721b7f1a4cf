/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Connections with TLS, through the public API: handshakes however cut, sizes,
 * both sides' ends, peers that lie, leave or don't read, reloads, and no
 * memory. */

#include "../unit/tls_files.h"
#include "conn.h"
#include "echo_node.h"
#include "request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define LONG_MS 600000
#define LIMIT   100000 /* max_send_queue */

typedef struct fixture {
  char *dir;
  cp__tls_context *client;
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  char text[CP__TLS_TEXT_SIZE];
  cp__tls_options options;

  assert_non_null(f);
  f->dir = tls_files_create();
  memset(&options, 0, sizeof options);
  options.ca_file = tls_file(f->dir, "ca.pem");
  assert_int_equal(cp__tls_context_create(&f->client, &options,
                                          &cp__default_allocator, text),
                   0);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;

  cp__tls_context_unref(f->client);
  tls_files_remove(f->dir);
  free(f);
  return 0;
}

static void init(fixture *f, echo_node *node) {
  echo_node_init(node);
  node->options.tls_cert = tls_file(f->dir, "server.pem");
  node->options.tls_key = tls_file(f->dir, "server.key");
  node->options.max_message = 16 * 1024 * 1024;
  node->options.max_send_queue = 16 * 1024 * 1024;
}

static void start(fixture *f, echo_node *node) {
  init(f, node);
  echo_node_start(node);
}

static void begin(fixture *f, echo_node *node, ws_client *client) {
  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_start_tls(client, f->client);
}

static void welcome(fixture *f, echo_node *node, ws_client *client) {
  begin(f, node, client);
  ws_client_upgrade(client, "alice");
  run_until(&node->loop, client->status == 101 && node->conn != NULL);
  echo_node_forget(node);
  ws_client_forget(client);
}

static bool is_empty(const echo_node *node) {
  cp_stats stats = echo_node_stats(node);
  return stats.conns == 0 && stats.handshakes == 0;
}

static void finish(echo_node *node, ws_client *client) {
  ws_client_leave(client);
  run_until(&node->loop, is_empty(node));
  assert_int_equal(echo_node_stats(node).queued_bytes, 0);
  echo_node_see_off(node, client);
  echo_node_finish(node);
}

/* Handshake. --------------------------------------------------------------- */

/* The request and a message go out with the handshake's last bytes. */
static void test_early(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  begin(*state, &node, &client);
  ws_client_upgrade(&client, "alice");
  ws_client_text(&client, "early");
  run_until(&node.loop, client.n_messages == 1);
  assert_true(ws_client_got(&client, "101 text(early) "));
  assert_true(echo_node_heard(&node, "upgrade open:alice message:early "));
  finish(&node, &client);
}

static void run_in_pieces(fixture *f, size_t piece) {
  echo_node node;
  ws_client client;

  start(f, &node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  client.holds = true;
  ws_client_start_tls(&client, f->client);
  ws_client_upgrade(&client, "alice");
  ws_client_text(&client, "cut");
  while (client.n_messages == 0) {
    ws_client_release(&client, piece);
    uv_run(&node.loop.loop,
           cp__buf_len(&client.sealed) > 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    assert_false(client.ended);
  }
  assert_true(ws_client_got(&client, "101 text(cut) "));
  client.holds = false;
  finish(&node, &client);
}

static void test_pieces(void **state) {
  static const size_t pieces[] = {1, 2, 3, 5, 7, 64, 500};
  size_t i;

  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    run_in_pieces(*state, pieces[i]);
}

static void test_time_limit(void **state) {
  echo_node node;
  ws_client client;

  init(*state, &node);
  node.options.handshake_timeout_ms = 20;
  echo_node_start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  client.holds = true;
  ws_client_start_tls(&client, ((fixture *)*state)->client);
  ws_client_release(&client, 100);
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "eof "));
  assert_true(echo_node_heard(&node, ""));
  finish(&node, &client);
}

/* The handshake is done, and then nothing: the answer comes through TLS. */
static void test_time_limit_of_request(void **state) {
  echo_node node;
  ws_client client;

  init(*state, &node);
  node.options.handshake_timeout_ms = 200;
  echo_node_start(&node);
  begin(*state, &node, &client);
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "408 eof "));
  assert_true(client.notified);
  finish(&node, &client);
}

static void test_plain_http(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, client.ended);
  assert_int_equal(client.status, 0);
  assert_true(echo_node_heard(&node, ""));
  finish(&node, &client);
}

static void test_plain_get(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  begin(*state, &node, &client);
  ws_client_write_str(&client, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "200 eof "));
  assert_true(client.notified);
  finish(&node, &client);
}

/* Messages. ---------------------------------------------------------------- */

static void test_sizes(void **state) {
  static const size_t sizes[] = {0,     1,     125,   126,    16383,   16384,
                                 16385, 65526, 65536, 131072, 1048576, 8388608};
  uint8_t *body = calloc(1, 8388608);
  echo_node node;
  ws_client client;
  size_t i;

  start(*state, &node);
  welcome(*state, &node, &client);
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    ws_client_frame(&client, 0x82, body, sizes[i]);
    run_until(&node.loop, client.n_messages == i + 1);
  }
  assert_non_null(strstr(client.log, "+8388608) "));
  assert_int_equal(echo_node_stats(&node).queued_bytes, 0);
  free(body);
  finish(&node, &client);
}

/* At rest there is nothing but the codec and what a plain one has. */
static void test_rest(void **state) {
  echo_node node;
  ws_client client;
  size_t n_live;

  start(*state, &node);
  welcome(*state, &node, &client);
  ws_client_text(&client, "first");
  run_until(&node.loop, client.n_messages == 1);
  n_live = node.memory.n_live;
  ws_client_text(&client, "second");
  run_until(&node.loop, client.n_messages == 2);
  assert_int_equal(node.memory.n_live, n_live);
  assert_null(node.conn->in.ws);
  finish(&node, &client);
}

/* Ends. -------------------------------------------------------------------- */

static void test_close_by_server(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  client.answers = true;
  assert_int_equal(cp_conn_close(node.conn, 4000, cp_str("bye")), 0);
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "close(4000 bye) eof "));
  assert_true(echo_node_heard(&node, "close:4000: "));
  assert_true(client.notified);
  finish(&node, &client);
}

static void test_close_by_client(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  ws_client_close_frame(&client, 1000, "done");
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "close(1000 ) eof "));
  assert_true(echo_node_heard(&node, "close:1000:done "));
  assert_true(client.notified);
  /* Its close_notify alone is the end, too. */
  ws_client_notify(&client);
  run_until(&node.loop, is_empty(&node));
  finish(&node, &client);
}

/* close_notify is answered, in whatever state. */
static void test_close_notify(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  ws_client_notify(&client);
  run_until(&node.loop, client.ended);
  assert_true(client.notified);
  assert_true(ws_client_got(&client, "eof "));
  assert_true(echo_node_heard(&node, "close:1006: "));
  finish(&node, &client);
}

/* A plain request whose sender has no more to say still gets the answer, all of
 * it, whether close_notify came or only FIN. */
static void answer_behind_end(fixture *f, bool notify) {
  static char body[4 * 1024 * 1024];
  ws_client client;
  echo_node node;

  start(f, &node);
  node.hold = true;
  ws_client_connect_narrow(&client, &node.loop.loop, node.port);
  ws_client_start_tls(&client, f->client);
  ws_client_write_str(&client, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
  run_until(&node.loop, node.request != NULL);
  if (notify)
    ws_client_notify(&client);
  ws_client_half_close(&client);
  run_until(&node.loop, node.request->conn == NULL ||
                            node.request->conn->flags & CP__CONN_ENDED);
  assert_int_equal(cp_request_respond(node.request, 200, NULL,
                                      cp_bytes_of(body, sizeof body), NULL, 0),
                   0);
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "200 eof "));
  assert_int_equal(client.n_bytes, strlen(client.head) + sizeof body);
  assert_true(client.notified);
  finish(&node, &client);
}

static void test_end_behind_request(void **state) {
  answer_behind_end(*state, true);
  answer_behind_end(*state, false);
}

/* An upgrade that was cut off opens nothing. */
static void test_cut_off_behind_upgrade(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  node.hold = true;
  begin(*state, &node, &client);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, node.request != NULL);
  ws_client_half_close(&client);
  run_until(&node.loop, client.ended);
  assert_int_equal(echo_node_accept_held(&node, "alice"), CP_E_CLOSED);
  assert_int_equal(client.status, 0);
  assert_false(client.notified);
  finish(&node, &client);
}

static void test_cut_off(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  ws_client_half_close(&client);
  run_until(&node.loop, client.ended);
  assert_true(echo_node_heard(&node, "close:1006: "));
  assert_false(client.notified);
  finish(&node, &client);
}

/* A message of which the end was cut off is none. */
static void test_cut_off_in_message(void **state) {
  uint8_t body[40000] = {0};
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  client.holds = true;
  ws_client_frame(&client, 0x82, body, sizeof body);
  ws_client_release(&client, 20000);
  client.holds = false;
  ws_client_half_close(&client);
  run_until(&node.loop, client.ended);
  assert_true(echo_node_heard(&node, "close:1006: "));
  finish(&node, &client);
}

/* A byte of a record was changed on the way. */
static void test_forged(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  client.holds = true;
  ws_client_text(&client, "forged");
  cp__buf_begin(&client.sealed)[cp__buf_len(&client.sealed) - 1] ^= 1;
  ws_client_release(&client, SIZE_MAX);
  run_until(&node.loop, client.ended);
  assert_true(ws_client_got(&client, "tls-error eof ")); /* its alert */
  assert_true(echo_node_heard(&node, "close:1006: "));
  client.holds = false;
  finish(&node, &client);
}

/* RST when the client has sent so many bytes of its side. */
static void test_reset(void **state) {
  size_t at;

  for (at = 0; at < 1200; at += 61) {
    echo_node node;
    ws_client client;
    size_t sent;

    start(*state, &node);
    ws_client_connect(&client, &node.loop.loop, node.port);
    client.holds = true;
    ws_client_start_tls(&client, ((fixture *)*state)->client);
    ws_client_upgrade(&client, "alice");
    ws_client_text(&client, "x");
    for (sent = 0; sent < at && client.n_messages == 0; sent++) {
      uv_run(&node.loop.loop,
             cp__buf_len(&client.sealed) > 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
      ws_client_release(&client, 1);
    }
    ws_client_reset(&client);
    client.holds = false;
    finish(&node, &client);
  }
}

/* The node closes in the midst of a handshake. */
static void test_server_closes(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  client.holds = true;
  ws_client_start_tls(&client, ((fixture *)*state)->client);
  ws_client_release(&client, 50);
  run_until(&node.loop, echo_node_stats(&node).handshakes == 1);
  echo_node_close(&node);
  run_until(&node.loop, client.ended);
  client.holds = false;
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* What was decrypted kills the connection that is being read. */
static void kill_it(echo_node *node, const char *hook, cp_conn *conn) {
  (void)node;
  if (strcmp(hook, "message") == 0)
    cp__conn_kill(conn);
}

static void test_killed_in_hook(void **state) {
  echo_node node;
  ws_client client;

  start(*state, &node);
  welcome(*state, &node, &client);
  node.also = kill_it;
  client.holds = true;
  ws_client_text(&client, "one");
  ws_client_text(&client, "two");
  ws_client_release(&client, SIZE_MAX);
  run_until(&node.loop, client.ended);
  assert_true(echo_node_heard(&node, "message:one close:1006: "));
  client.holds = false;
  finish(&node, &client);
}

/* Slow readers. ------------------------------------------------------------ */

static void send_marked(echo_node *node, char mark, size_t len) {
  char *body = malloc(len);

  memset(body, mark, len);
  assert_int_equal(cp_send_to_conn(node->server, cp_conn_get_id(node->conn),
                                   CP_BINARY, cp_bytes_of(body, len), NULL),
                   0);
  free(body);
}

static void start_slow(fixture *f, echo_node *node, ws_client *client,
                       cp_slow_policy policy) {
  init(f, node);
  node->options.slow_policy = policy;
  node->options.max_send_queue = LIMIT;
  node->options.close_timeout_ms = LONG_MS;
  node->options.ping_interval_ms = LONG_MS;
  echo_node_start(node);
  ws_client_connect_narrow(client, &node->loop.loop, node->port);
  ws_client_start_tls(client, f->client);
  ws_client_upgrade(client, "alice");
  run_until(&node->loop, client->status == 101 && node->conn != NULL);
  ws_client_forget(client);
  echo_node_forget(node);
  ws_client_stop_reading(client);
}

/* Send until something is dropped; the bound holds all the way. */
static size_t overfill(echo_node *node) {
  size_t n = 0;

  while (echo_node_stats(node).queue_drops == 0) {
    size_t queued;
    send_marked(node, (char)('a' + n++ % 26), 1000);
    queued = cp_conn_queued(node->conn);
    assert_true(queued <= LIMIT + 1000); /* and what sealing adds */
    assert_int_equal(echo_node_stats(node).queued_bytes, queued);
    uv_run(&node->loop.loop, UV_RUN_NOWAIT);
  }
  return n;
}

static void test_slow_close(void **state) {
  echo_node node;
  ws_client client;

  start_slow(*state, &node, &client, CP_SLOW_CLOSE);
  overfill(&node);
  assert_int_equal(echo_node_stats(&node).slow_closes, 1);
  client.answers = true;
  ws_client_read_on(&client);
  run_until(&node.loop, client.ended);
  assert_non_null(strstr(client.log, "close(1013 send queue full) eof "));
  assert_true(client.notified);
  finish(&node, &client);
}

static void test_slow_drop_new(void **state) {
  echo_node node;
  ws_client client;
  size_t n;

  start_slow(*state, &node, &client, CP_SLOW_DROP_NEW);
  n = overfill(&node);
  ws_client_read_on(&client);
  run_until(&node.loop, client.n_messages == n - 1);
  assert_int_equal(cp_conn_queued(node.conn), 0);
  finish(&node, &client);
}

static void test_slow_drop_old(void **state) {
  echo_node node;
  ws_client client;
  size_t n, i;

  start_slow(*state, &node, &client, CP_SLOW_DROP_OLD);
  n = overfill(&node);
  for (i = 0; i < 200; i++, n++)
    send_marked(&node, 'z', 1000);
  assert_true(cp_conn_queued(node.conn) <= LIMIT + 1000);
  ws_client_read_on(&client);
  run_until(&node.loop,
            client.n_messages == n - echo_node_stats(&node).queue_drops);
  assert_int_equal(cp_conn_queued(node.conn), 0);
  finish(&node, &client);
}

/* A frame of many portions is whole, whatever is dropped behind it. */
static void test_slow_long_frame(void **state) {
  static const cp_slow_policy policies[] = {CP_SLOW_CLOSE, CP_SLOW_DROP_NEW,
                                            CP_SLOW_DROP_OLD};
  size_t i, j;

  for (i = 0; i < 3; i++) {
    echo_node node;
    ws_client client;

    start_slow(*state, &node, &client, policies[i]);
    send_marked(&node, 'L', 8 * 1024 * 1024);
    uv_run(&node.loop.loop, UV_RUN_NOWAIT);
    assert_true(cp_conn_queued(node.conn) > LIMIT);
    for (j = 0; j < 10; j++)
      send_marked(&node, 's', 1000);
    assert_int_equal(echo_node_stats(&node).queue_drops,
                     policies[i] == CP_SLOW_CLOSE ? 1 : 10);
    ws_client_read_on(&client);
    run_until(&node.loop, client.n_messages == 1);
    assert_non_null(strstr(client.log, "binary(LLLLLL+8388608) "));
    finish(&node, &client);
  }
}

/* It says goodbye and FIN, but no close_notify, while much waits. */
static void test_slow_ends(void **state) {
  const cp_conn *conn;
  ws_client client;
  echo_node node;

  start_slow(*state, &node, &client, CP_SLOW_DROP_NEW);
  conn = node.conn;
  send_marked(&node, 'L', 8 * 1024 * 1024);
  uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  ws_client_close_frame(&client, 1000, "done");
  ws_client_half_close(&client);
  run_until(&node.loop, conn->flags & CP__CONN_ENDED);
  ws_client_read_on(&client);
  run_until(&node.loop, client.ended);
  assert_true(
      ws_client_got(&client, "binary(LLLLLL+8388608) close(1000 ) eof "));
  assert_true(client.notified);
  finish(&node, &client);
}

/* It goes while much waits in every place. */
static void test_slow_leaves(void **state) {
  echo_node node;
  ws_client client;

  start_slow(*state, &node, &client, CP_SLOW_DROP_NEW);
  send_marked(&node, 'L', 8 * 1024 * 1024);
  uv_run(&node.loop.loop, UV_RUN_NOWAIT);
  ws_client_reset(&client);
  run_until(&node.loop, node.conn == NULL);
  finish(&node, &client);
}

/* Options and reload. ------------------------------------------------------ */

static void test_bad_options(void **state) {
  static const char *const pairs[][2] = {
      {"server.pem", NULL},         {NULL, "server.key"},
      {"server.pem", "client.key"}, {"text.pem", "server.key"},
      {"none.pem", "server.key"},   {"server.pem", "locked.key"}};
  fixture *f = *state;
  size_t i;

  for (i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    echo_node node;

    echo_node_init(&node);
    node.options.tls_cert = tls_file(f->dir, pairs[i][0]);
    node.options.tls_key = tls_file(f->dir, pairs[i][1]);
    assert_int_equal(
        cp_server_create(&node.server, &node.loop.loop, &node.options),
        CP_E_INVALID);
    echo_node_finish(&node);
  }
}

static void test_reload(void **state) {
  fixture *f = *state;
  ws_client old, new;
  echo_node node;
  cp__tls_context *first;

  start(f, &node);
  welcome(f, &node, &old);
  first = node.server != NULL ? cp__conn_peers(node.conn)->tls_context : NULL;
  assert_int_equal(cp_server_reload_tls(node.server,
                                        tls_file(f->dir, "renewed.pem"),
                                        tls_file(f->dir, "server.key")),
                   CP_E_INVALID);
  assert_int_equal(cp_server_reload_tls(node.server, NULL, NULL), CP_E_INVALID);
  assert_ptr_equal(cp__conn_peers(node.conn)->tls_context, first);
  assert_int_equal(cp_server_reload_tls(node.server,
                                        tls_file(f->dir, "lone.pem"),
                                        tls_file(f->dir, "lone.key")),
                   0);
  ws_client_text(&old, "still here");
  run_until(&node.loop, old.n_messages == 1);
  begin(f, &node, &new); /* it doesn't trust that one */
  run_until(&node.loop, new.ended);
  assert_non_null(strstr(new.log, "tls-error "));
  echo_node_see_off(&node, &new);
  assert_int_equal(cp_server_reload_tls(node.server,
                                        tls_file(f->dir, "renewed.pem"),
                                        tls_file(f->dir, "renewed.key")),
                   0);
  begin(f, &node, &new);
  ws_client_upgrade(&new, "bob");
  run_until(&node.loop, new.status == 101);
  ws_client_text(&old, "and here");
  run_until(&node.loop, old.n_messages == 2);
  echo_node_see_off(&node, &new);
  finish(&node, &old);
}

static void test_reload_of_plain(void **state) {
  fixture *f = *state;
  echo_node node;

  echo_node_init(&node);
  echo_node_start(&node);
  assert_int_equal(cp_server_reload_tls(node.server,
                                        tls_file(f->dir, "server.pem"),
                                        tls_file(f->dir, "server.key")),
                   CP_E_STATE);
  echo_node_finish(&node);
}

/* Memory. ------------------------------------------------------------------ */

/* A whole life, as far as it gets. Returns whether something failed. */
static bool live_without(fixture *f, size_t fail_at) {
  uint8_t body[100000] = {0};
  ws_client client;
  echo_node node;
  bool failed;

  init(f, &node);
  echo_node_start(&node);
  node.memory.n_calls = 0;
  node.memory.fail_at = fail_at;
  begin(f, &node, &client);
  client.answers = true;
  ws_client_upgrade(&client, "alice");
  ws_client_frame(&client, 0x82, body, sizeof body);
  /* The echo may be what there is no memory for. */
  run_until(&node.loop,
            strstr(node.events, "message:") != NULL || client.ended);
  if (node.conn != NULL)
    cp_conn_close(node.conn, 1000, cp_str(NULL));
  run_until(&node.loop, client.ended || is_empty(&node));
  failed = node.memory.failed;
  node.memory.fail_at = 0;
  finish(&node, &client);
  return failed;
}

static void test_no_memory(void **state) {
  size_t n = 0;

  while (live_without(*state, ++n))
    continue;
  assert_true(n > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_early),
      cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_time_limit),
      cmocka_unit_test(test_time_limit_of_request),
      cmocka_unit_test(test_plain_http),
      cmocka_unit_test(test_plain_get),
      cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_rest),
      cmocka_unit_test(test_close_by_server),
      cmocka_unit_test(test_close_by_client),
      cmocka_unit_test(test_close_notify),
      cmocka_unit_test(test_end_behind_request),
      cmocka_unit_test(test_cut_off_behind_upgrade),
      cmocka_unit_test(test_cut_off),
      cmocka_unit_test(test_cut_off_in_message),
      cmocka_unit_test(test_forged),
      cmocka_unit_test(test_reset),
      cmocka_unit_test(test_server_closes),
      cmocka_unit_test(test_killed_in_hook),
      cmocka_unit_test(test_slow_close),
      cmocka_unit_test(test_slow_drop_new),
      cmocka_unit_test(test_slow_drop_old),
      cmocka_unit_test(test_slow_long_frame),
      cmocka_unit_test(test_slow_ends),
      cmocka_unit_test(test_slow_leaves),
      cmocka_unit_test(test_bad_options),
      cmocka_unit_test(test_reload),
      cmocka_unit_test(test_reload_of_plain),
      cmocka_unit_test(test_no_memory),
  };

  return cmocka_run_group_tests(tests, set_up, tear_down);
}
