/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "observed_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static observed_node *node_of(cp_server *server) {
  return cp_server_data(server);
}

static void note(observed_node *node, const char *format, ...) {
  size_t room = sizeof node->events - node->len;
  va_list args;
  int n;

  va_start(args, format);
  n = vsnprintf(node->events + node->len, room, format, args);
  va_end(args);
  if (n > 0 && (size_t)n < room)
    node->len += (size_t)n;
}

static void also(observed_node *node, const char *hook, cp_conn *conn) {
  if (node->also != NULL)
    node->also(node, hook, conn);
}

#define TEXT(bytes) (int)(bytes).len, (const char *)(bytes).data

/* Hooks. ------------------------------------------------------------------ */

static void on_upgrade(cp_server *server, cp_request *request) {
  observed_node *node = node_of(server);
  cp_bytes user;

  also(node, "upgrade", NULL);
  if (node->hold)
    node->held[node->n_held++] = request;
  else if (cp_request_query(request, "user", &user) == 0)
    cp_request_accept(request, user, NULL);
  else
    cp_request_refuse(request, 401, "who are you?\n");
}

static void on_http(cp_server *server, cp_request *request) {
  observed_node *node = node_of(server);

  note(node, "http:%.*s ", TEXT(cp_request_path(request)));
  also(node, "http", NULL);
  if (node->hold)
    node->held[node->n_held++] = request;
  else
    cp_request_respond(request, 200, NULL, cp_str("hello\n"), NULL, 0);
}

static void on_open(cp_server *server, cp_conn *conn, int unconfirmed) {
  observed_node *node = node_of(server);

  node->conn = conn;
  node->id = cp_conn_get_id(conn);
  note(node, "open%c%.*s ", unconfirmed ? '!' : ':', TEXT(cp_conn_user(conn)));
  also(node, "open", conn);
}

static void on_message(cp_server *server, cp_conn *conn, cp_type type,
                       cp_bytes body) {
  observed_node *node = node_of(server);

  (void)type;
  note(node, "%.*s>%.*s ", TEXT(cp_conn_user(conn)), TEXT(body));
  also(node, "message", conn);
}

static void on_close(cp_server *server, cp_conn *conn, uint16_t code,
                     cp_bytes reason) {
  observed_node *node = node_of(server);

  (void)reason;
  note(node, "close:%.*s:%u ", TEXT(cp_conn_user(conn)), code);
  also(node, "close", conn);
  if (node->conn == conn)
    node->conn = NULL;
}

static void on_transport(cp_server *server, cp_cluster_state state,
                         const char *reason) {
  static const char *const names[] = {"up", "degraded", "down"};
  observed_node *node = node_of(server);

  assert_string_equal(reason, cp_server_cluster_reason(server));
  assert_int_equal(state, cp_server_cluster_state(server));
  note(node, "%s ", names[state]);
  also(node, "transport", NULL);
}

static void on_log(void *data, cp_log_level level, const char *text) {
  observed_node *node = data;
  size_t len = strlen(node->log_text);

  (void)level;
  snprintf(node->log_text + len, sizeof node->log_text - len, "%s\n", text);
}

static void on_server_closed(void *data) {
  observed_node *node = data;

  assert_false(node->closed);
  node->closed = true;
  note(node, "closed ");
}

/* Life. ------------------------------------------------------------------- */

void observed_node_init(observed_node *node) {
  memset(node, 0, sizeof *node);
  test_loop_init(&node->loop);
  failing_alloc_init(&node->memory, 0);
  fake_transport_init(&node->fake);
  cp_server_options_init(&node->options);
  node->options.data = node;
  node->options.transport = &node->fake.base;
  node->options.allocator = &node->memory.alloc;
  node->options.on_upgrade = on_upgrade;
  node->options.on_http = on_http;
  node->options.on_open = on_open;
  node->options.on_message = on_message;
  node->options.on_close = on_close;
  node->options.on_transport = on_transport;
  node->options.on_log = on_log;
}

void observed_node_start(observed_node *node) {
  assert_int_equal(
      cp_server_create(&node->server, &node->loop.loop, &node->options), 0);
  assert_int_equal(cp_server_listen(node->server, "127.0.0.1:0"), 0);
  node->port = cp_server_port(node->server);
  observed_node_poll(node);
}

void observed_node_start_linked(observed_node *node) {
  observed_node_start(node);
  fake_transport_link(&node->fake, 0);
  observed_node_poll(node);
  fake_transport_confirm_all(&node->fake);
  observed_node_poll(node);
  assert_int_equal(cp_server_cluster_state(node->server), CP_UP);
  fake_transport_forget(&node->fake);
  observed_node_forget(node);
}

void observed_node_finish(observed_node *node) {
  if (node->server != NULL) {
    cp_server_close(node->server, 0, on_server_closed);
    node->server = NULL;
  }
  assert_int_equal(test_loop_finish(&node->loop), 0);
  assert_int_equal(node->memory.n_live, 0);
}

int observed_setup(void **state, size_t size) {
  *state = calloc(1, size);
  observed_node_init(*state);
  return 0;
}

int observed_teardown(void **state) {
  observed_node_finish(*state);
  free(*state);
  return 0;
}

cp_stats observed_stats(const observed_node *node) {
  cp_stats stats;

  stats.size = sizeof stats;
  cp_server_stats(node->server, &stats);
  return stats;
}

bool observed_node_heard(const observed_node *node, const char *words) {
  return strcmp(node->events, words) == 0;
}

bool observed_node_heard_word(const observed_node *node, const char *word) {
  size_t len = strlen(word);
  const char *p = node->events;

  while ((p = strstr(p, word)) != NULL) {
    if ((p == node->events || p[-1] == ' ') && p[len] == ' ')
      return true;
    p += len;
  }
  return false;
}

void observed_node_forget(observed_node *node) {
  node->len = 0;
  node->events[0] = '\0';
}

void observed_node_poll(observed_node *node) {
  uv_run(&node->loop.loop, UV_RUN_NOWAIT);
}

void observed_node_connect(observed_node *node, simple_client *client,
                           const char *user) {
  char target[600];

  snprintf(target, sizeof target, "/?user=%s", user);
  simple_client_open(client, &node->loop.loop, node->port, target, NULL);
  run_until(&node->loop, (fake_transport_confirm_all(&node->fake),
                          client->status != 0 || client->gone));
}

/* Sends. ------------------------------------------------------------------ */

static void on_result(void *data, const cp_result *result) {
  observed_send *send = data;

  assert_false(send->in_call);
  assert_int_equal(result->size, sizeof *result);
  send->n_calls++;
  send->result = *result;
}

void observed_send_init(observed_send *send) {
  memset(send, 0, sizeof *send);
  cp_send_options_init(&send->options);
  send->options.cb = on_result;
  send->options.data = send;
}

int observed_send_to_user(observed_node *node, observed_send *send,
                          const char *user, const char *text) {
  int rc;

  observed_send_init(send);
  send->in_call = true;
  rc = cp_send_to_user(node->server, cp_str(user), CP_TEXT, cp_str(text),
                       &send->options);
  send->in_call = false;
  return rc;
}

int observed_send_to_conn(observed_node *node, observed_send *send,
                          cp_conn_id id, const char *text) {
  int rc;

  observed_send_init(send);
  send->in_call = true;
  rc = cp_send_to_conn(node->server, id, CP_TEXT, cp_str(text), &send->options);
  send->in_call = false;
  return rc;
}

int observed_broadcast(observed_node *node, observed_send *send,
                       const char *text) {
  int rc;

  observed_send_init(send);
  send->in_call = true;
  rc = cp_broadcast(node->server, CP_TEXT, cp_str(text), &send->options);
  send->in_call = false;
  return rc;
}
