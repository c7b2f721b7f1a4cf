/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static echo_node *node_of(cp_server *server) {
  return cp_server_data(server);
}

static void note(echo_node *node, const char *format, ...) {
  size_t room = sizeof node->events - node->len;
  va_list args;
  int n;

  va_start(args, format);
  n = vsnprintf(node->events + node->len, room, format, args);
  va_end(args);
  if (n > 0 && (size_t)n < room)
    node->len += (size_t)n;
}

bool echo_node_heard(const echo_node *node, const char *words) {
  return strcmp(node->events, words) == 0;
}

void echo_node_forget(echo_node *node) {
  node->len = 0;
  node->events[0] = '\0';
}

#define TEXT(bytes) (int)(bytes).len, (const char *)(bytes).data

/* Hooks. ------------------------------------------------------------------ */

static void also(echo_node *node, const char *hook, cp_conn *conn) {
  if (node->also != NULL)
    node->also(node, hook, conn);
}

static void note_answer(echo_node *node, int rc) {
  if (rc != 0)
    note(node, "refused:%s ", cp_err_name(rc));
}

static void on_upgrade(cp_server *server, cp_request *request) {
  echo_node *node = node_of(server);
  cp_bytes user;

  note(node, "upgrade ");
  also(node, "upgrade", NULL);
  if (node->hold)
    node->request = request;
  else if (cp_request_query(request, "user", &user) == 0)
    note_answer(node, cp_request_accept(request, user, NULL));
  else
    note_answer(node, cp_request_refuse(request, 401, "who are you?\n"));
}

static void on_http(cp_server *server, cp_request *request) {
  echo_node *node = node_of(server);

  note(node, "http ");
  also(node, "http", NULL);
  if (node->hold)
    node->request = request;
  else
    note_answer(node, cp_request_respond(request, 200, NULL, cp_str("hello\n"),
                                         NULL, 0));
}

static void on_open(cp_server *server, cp_conn *conn, int unconfirmed) {
  echo_node *node = node_of(server);

  node->conn = conn;
  note(node, "open%c%.*s ", unconfirmed ? '!' : ':', TEXT(cp_conn_user(conn)));
  also(node, "open", conn);
}

static void on_message(cp_server *server, cp_conn *conn, cp_type type,
                       cp_bytes body) {
  echo_node *node = node_of(server);

  if (body.len > 32)
    note(node, "message:#%zu ", body.len);
  else
    note(node, "message:%.*s ", TEXT(body));
  also(node, "message", conn);
  if (!node->silent)
    cp_send_to_conn(server, cp_conn_get_id(conn), type, body, NULL);
}

static void on_writable(cp_server *server, cp_conn *conn) {
  echo_node *node = node_of(server);

  note(node, "writable ");
  also(node, "writable", conn);
}

static void on_close(cp_server *server, cp_conn *conn, uint16_t code,
                     cp_bytes reason) {
  echo_node *node = node_of(server);

  note(node, "close:%u:%.*s ", code, TEXT(reason));
  if (node->conn == conn)
    node->conn = NULL;
  also(node, "close", conn);
}

void echo_node_on_closed(void *data) {
  echo_node *node = data;

  assert_false(node->closed);
  node->closed = true;
  node->server = NULL;
  note(node, "closed ");
}

/* Life. ------------------------------------------------------------------- */

void echo_node_init(echo_node *node) {
  memset(node, 0, sizeof *node);
  test_loop_init(&node->loop);
  failing_alloc_init(&node->memory, 0);
  cp_server_options_init(&node->options);
  node->options.data = node;
  node->options.allocator = &node->memory.alloc;
  node->options.log_level = CP_LOG_DEBUG;
  node->options.on_upgrade = on_upgrade;
  node->options.on_http = on_http;
  node->options.on_open = on_open;
  node->options.on_message = on_message;
  node->options.on_writable = on_writable;
  node->options.on_close = on_close;
}

void echo_node_start(echo_node *node) {
  assert_int_equal(
      cp_server_create(&node->server, &node->loop.loop, &node->options), 0);
  assert_int_equal(cp_server_listen(node->server, "127.0.0.1:0"), 0);
  node->port = cp_server_port(node->server);
}

void echo_node_close(echo_node *node) {
  cp_server_close(node->server, 0, echo_node_on_closed);
  run_until(&node->loop, node->closed);
}

void echo_node_finish(echo_node *node) {
  if (node->server != NULL)
    echo_node_close(node);
  assert_int_equal(test_loop_finish(&node->loop), 0);
  assert_int_equal(node->memory.n_live, 0);
}

cp_stats echo_node_stats(const echo_node *node) {
  cp_stats stats;

  stats.size = sizeof stats;
  cp_server_stats(node->server, &stats);
  return stats;
}

void echo_node_welcome(echo_node *node, ws_client *client, const char *user) {
  uint64_t opened = echo_node_stats(node).opened;

  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_upgrade(client, user);
  run_until(&node->loop,
            client->status == 101 && echo_node_stats(node).opened > opened);
  echo_node_forget(node);
  ws_client_forget(client);
}

int echo_node_accept_held(echo_node *node, const char *user) {
  cp_request *request = node->request;

  node->request = NULL;
  return cp_request_accept(request, cp_str(user), NULL);
}

void echo_node_see_off(echo_node *node, ws_client *client) {
  ws_client_leave(client);
  run_until(&node->loop, client->gone);
  ws_client_finish(client);
}
