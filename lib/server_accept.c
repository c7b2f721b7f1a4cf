/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* From a request to an open connection: who may come in, and whom the
 * application is asked about (its answers: server_answer.c).
 *
 * A request that waits for its answer holds a reference on the server, since
 * the application may answer after everything else has gone. */

#include "server.h"

#include "bytes.h"
#include "orders.h"

#include <string.h>

int cp__server_load_tls(cp_server *server, const char *cert, const char *key) {
  char text[CP__TLS_TEXT_SIZE];
  cp__tls_options options;
  cp__tls_context *context;
  int rc;

  memset(&options, 0, sizeof options);
  options.server = true;
  options.cert_file = cert;
  options.key_file = key;
  rc = cp__tls_context_create(&context, &options, server->alloc, text);
  if (rc == 0)
    return cp__peers_use_tls(&server->peers, context);
  cp__logf(&server->log, CP_LOG_ERROR, "tls: %s", text);
  return rc;
}

int cp_server_reload_tls(cp_server *server, const char *cert, const char *key) {
  if (server->state != CP__SERVER_OPEN)
    return CP_E_CLOSED;
  if (server->peers.tls_context == NULL)
    return CP_E_STATE;
  if (cert == NULL || key == NULL)
    return CP_E_INVALID;
  return cp__server_load_tls(server, cert, key);
}

/* Judge. ------------------------------------------------------------------ */

static bool origin_is_listed(const cp_server *server, cp_bytes origin) {
  const char *const *list = server->options.origins;

  for (; *list != NULL; list++)
    if (strcmp(*list, "*") == 0 ||
        cp__bytes_equal_any_case(cp_str(*list), origin))
      return true;
  return false;
}

static bool origin_is_allowed(const cp_server *server,
                              const cp__request_head *head) {
  if (head->origin.data == NULL)
    return true;
  if (server->options.origins == NULL)
    return cp__origin_is_host(head->origin, head->host);
  return origin_is_listed(server, head->origin);
}

bool cp__server_is_full(const cp_server *server) {
  size_t limit = server->options.max_conns;
  return limit > 0 && server->n_joined >= limit;
}

static void refuse_full(cp_server *server, cp_request *request) {
  server->stats.full_refusals++;
  cp_request_refuse(request, 503, "too many connections\n");
}

/* False: the client's offers are no list of extensions. */
static bool negotiate(const cp_server *server, cp_request *request) {
  int window_bits = server->peers.window_bits;

  if (window_bits == 0)
    return true;
  return cp__deflate_negotiate(&request->deflate, request->head.headers,
                               request->head.n_headers, window_bits) == 0;
}

/* With TLS it was counted when it began. */
static bool is_too_fast(cp_server *server, const cp_request *request) {
  return request->conn->tls == NULL &&
         !cp__guard_take_handshake(&server->peers.guard, uv_now(server->loop));
}

static void refuse_too_fast(cp_server *server, cp_request *request) {
  server->stats.rate_refusals++;
  cp_request_refuse(request, 503, "too many handshakes\n");
}

static void judge_upgrade(cp_server *server, cp_request *request) {
  if (is_too_fast(server, request))
    refuse_too_fast(server, request);
  else if (!negotiate(server, request))
    cp_request_refuse(request, 400, "Sec-WebSocket-Extensions is malformed\n");
  else if (!origin_is_allowed(server, &request->head))
    cp_request_refuse(request, 403, "this origin is not allowed\n");
  else if (cp__server_is_full(server))
    refuse_full(server, request);
  else if (server->options.on_upgrade == NULL)
    cp_request_refuse(request, 403, "nobody is let in here\n");
  else
    server->options.on_upgrade(server, request);
}

void cp__server_on_request(void *ctx, cp_request *request) {
  cp_server *server = ctx;

  request->owner = cp_server_ref(server);
  if (request->head.upgrade)
    judge_upgrade(server, request);
  else if (server->options.on_http != NULL)
    server->options.on_http(server, request);
  else
    cp_request_refuse(request, 426, "this is a WebSocket server\n");
}

/* Open. ------------------------------------------------------------------- */

void cp__server_on_ready(void *ctx, cp_conn *conn) {
  cp_server *server = ctx;
  bool confirmed = cp__registry_is_confirmed(&server->registry, conn);
  cp__buf early;

  cp__conn_open(conn, &early);
  if (cp__conn_is_open(conn)) {
    server->stats.opened++;
    server->stats.conns++;
    cp__registry_opened(&server->registry, conn);
    if (!confirmed)
      cp__gaps_on_late(&server->gaps, &((cp__user *)conn->user)->sub,
                       uv_now(server->loop));
    if (server->options.on_open != NULL)
      server->options.on_open(server, conn, !confirmed);
  }
  cp__conn_begin(conn, cp__buf_bytes(&early));
  cp__buf_finish(&early);
}

/* Connections. ------------------------------------------------------------ */

cp_conn_id cp_conn_get_id(const cp_conn *conn) {
  const cp_server *server = cp__conn_peers(conn)->ctx;
  cp_conn_id id;

  id.instance = server->instance;
  id.serial = conn->serial;
  return id;
}

cp_bytes cp_conn_user(const cp_conn *conn) {
  const cp__user *user = conn->user;
  return cp_bytes_of(user->id, user->id_len);
}

void *cp_conn_data(const cp_conn *conn) {
  return conn->data;
}

void cp_conn_set_data(cp_conn *conn, void *data) {
  conn->data = data;
}

size_t cp_conn_queued(const cp_conn *conn) {
  return conn->q_bytes;
}

int cp_conn_close(cp_conn *conn, uint16_t code, cp_bytes reason) {
  if (!cp__close_is_valid(code, reason))
    return CP_E_INVALID;
  return cp__conn_close(conn, code, reason);
}
