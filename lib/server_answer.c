/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* How requests are answered: by a response, which ends the connection, or by
 * accepting them. A request is gone with its answer, whatever that came to. */

#include "server.h"

#include "bytes.h"
#include "sized.h"

/* What was wrong about an answer, to be logged. */
static int refuse(const char **why, const char *text) {
  *why = text;
  return CP_E_INVALID;
}

/* Answer. ----------------------------------------------------------------- */

static void destroy_answered(cp_request *request) {
  cp_server *server = request->owner;

  cp__request_destroy(request);
  cp_server_unref(server);
}

/* These say where the answer ends and what the connection becomes: a second one
 * would be read by a proxy, or not, as it likes. */
static bool is_reserved(cp_bytes name) {
  static const char *const names[] = {"Connection", "Content-Length",
                                      "Transfer-Encoding", "Upgrade"};
  cp_bytes family = cp_str("Sec-WebSocket-");
  size_t i;

  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    if (cp__bytes_equal_any_case(name, cp_str(names[i])))
      return true;
  return name.len > family.len &&
         cp__bytes_equal_any_case(cp_bytes_of(name.data, family.len), family);
}

static int check_header(const cp__header *header, const char **why) {
  if (!cp__is_token(header->name))
    return refuse(why, "a header's name is no token");
  if (!cp__is_header_value(header->value))
    return refuse(why, "a header's value has control characters");
  if (is_reserved(header->name))
    return refuse(why, "a header that the library writes");
  return 0;
}

/* The public shape of headers, checked, as the codec takes it, with room for
 * one more. NULL with `*rc` set on failure; free it. */
static cp__header *convert_headers(cp_server *server, const cp_header *headers,
                                   size_t n, int *rc, const char **why) {
  cp__header *out;
  size_t i;

  if (headers == NULL && n > 0) {
    *rc = refuse(why, "a number of headers without any");
    return NULL;
  }
  out = cp__malloc(server->alloc, (n + 1) * sizeof *out);
  *rc = out != NULL ? 0 : CP_E_NOMEM;
  for (i = 0; *rc == 0 && i < n; i++) {
    out[i].name = cp_str(headers[i].name);
    out[i].value = cp_str(headers[i].value);
    *rc = check_header(&out[i], why);
  }
  if (*rc == 0)
    return out;
  cp__free(server->alloc, out);
  return NULL;
}

static cp__blob *blob_of(cp__buf *out) {
  cp__blob *blob =
      out->failed ? NULL : cp__blob_copy(out->alloc, cp__buf_bytes(out));
  cp__buf_finish(out);
  return blob;
}

/* The connection's answer; `status` is valid, headers are checked. */
static int answer(cp_request *request, int status, cp_bytes content_type,
                  cp_bytes body, const cp__header *headers, size_t n) {
  cp_server *server = request->owner;
  cp__blob *response;
  cp__buf out;

  if (request->conn == NULL)
    return CP_E_CLOSED;
  if (status >= 400)
    server->stats.refused++;
  cp__buf_init(&out, server->alloc);
  cp__http_write_response(&out, status, content_type, headers, n, body,
                          request->head.head_only,
                          server->options.retry_after_s);
  response = blob_of(&out);
  cp__conn_respond(request->conn, response);
  return response != NULL ? 0 : CP_E_NOMEM;
}

/* The application broke a rule, or memory is short: the client gets a 500, the
 * application `err`. */
static int answer_500(cp_request *request, int err, const char *why) {
  cp_server *server = request->owner;

  cp__logf(&server->log, CP_LOG_WARN, "a request could not be answered: %s",
           why != NULL ? why : cp_strerror(err));
  answer(request, 500, cp_str(NULL), cp_str("internal error\n"), NULL, 0);
  return err;
}

static int check_response(int status, cp_bytes type, cp_bytes body,
                          const char **why) {
  if (status < 200 || status > 599)
    return refuse(why, "a status that it can't have");
  if (!cp__is_header_value(type))
    return refuse(why, "its content type has control characters");
  if (body.len > CP__SIZE_LIMIT || (body.data == NULL && body.len > 0))
    return refuse(why, "its body is above 1 GiB, or a length without bytes");
  return 0;
}

int cp_request_respond(cp_request *request, int status,
                       const char *content_type, cp_bytes body,
                       const cp_header *headers, size_t n_headers) {
  cp_server *server = request->owner;
  cp_bytes type = cp_str(content_type);
  const char *why = NULL;
  cp__header *checked;
  int rc;

  checked = convert_headers(server, headers, n_headers, &rc, &why);
  if (rc == 0)
    rc = check_response(status, type, body, &why);
  if (rc == 0)
    rc = answer(request, status, type, body, checked, n_headers);
  else
    answer_500(request, rc, why);
  cp__free(server->alloc, checked);
  destroy_answered(request);
  return rc;
}

int cp_request_refuse(cp_request *request, int status, const char *text) {
  return cp_request_respond(request, status < 300 ? 0 : status, NULL,
                            cp_str(text), NULL, 0);
}

/* Accept. ----------------------------------------------------------------- */

/* Say what was granted, in the room behind `n` headers. Returns their number.
 */
static size_t add_extensions(const cp_request *request, cp__header *headers,
                             size_t n) {
  if (request->deflate.window_bits == 0)
    return n;
  headers[n].name = cp_str("Sec-WebSocket-Extensions");
  headers[n].value = cp_str(request->deflate.answer);
  return n + 1;
}

static int write_101(cp_request *request, const cp_accept_options *options,
                     cp__blob **response, const char **why) {
  cp_server *server = request->owner;
  cp_bytes protocol = cp_str(options->protocol);
  cp__header *headers;
  size_t n_headers;
  cp__buf out;
  int rc;

  if (protocol.len > 0 && !cp__request_head_offers(&request->head, protocol))
    return refuse(why, "accepted with a protocol that was not offered");
  headers =
      convert_headers(server, options->headers, options->n_headers, &rc, why);
  if (rc != 0)
    return rc;
  n_headers = add_extensions(request, headers, options->n_headers);
  cp__buf_init(&out, server->alloc);
  rc = cp__handshake_write_101(&out, server->hash, request->head.key, protocol,
                               headers, n_headers);
  cp__free(server->alloc, headers);
  *response = rc == 0 ? blob_of(&out) : NULL;
  if (rc != 0)
    cp__buf_finish(&out);
  return rc != 0 || *response != NULL ? rc : CP_E_NOMEM;
}

/* Bind the connection to the user and wait for the subscription, unless it
 * stands already or can't come. */
static int join(cp_request *request, cp_bytes user, cp__blob *response) {
  cp_server *server = request->owner;
  cp_conn *conn = request->conn;
  int rc = cp__conn_join(conn, response);

  if (rc != 0)
    return rc;
  server->n_joined++;
  rc = cp__registry_add(&server->registry, conn, user);
  if (rc != 0)
    return rc;
  if (!server->linked || cp__registry_is_confirmed(&server->registry, conn))
    cp__conn_wake(conn);
  return 0;
}

static int accept_request(cp_request *request, cp_bytes user,
                          const cp_accept_options *options, const char **why) {
  cp__blob *response;
  int rc;

  if (request->conn == NULL)
    return CP_E_CLOSED;
  if (!request->head.upgrade)
    return CP_E_STATE;
  if (cp__server_is_full(request->owner))
    return CP_E_FULL;
  if (!cp__is_sized(options, n_headers))
    return refuse(why, "cp_accept_options without cp_accept_options_init()");
  if (!cp__user_is_valid(user))
    return refuse(why, "accepted as a user that is not 1..255 bytes, or begins "
                       "with }");
  rc = write_101(request, options, &response, why);
  if (rc != 0)
    return rc;
  request->conn->data = options->data;
  request->conn->window_bits = request->deflate.window_bits;
  return join(request, user, response);
}

int cp_request_accept(cp_request *request, cp_bytes user,
                      const cp_accept_options *options) {
  static const cp_accept_options none = {.size = sizeof none};
  cp_server *server = request->owner;
  const char *why = NULL;
  int rc =
      accept_request(request, user, options != NULL ? options : &none, &why);

  if (rc == CP_E_FULL) {
    server->stats.full_refusals++;
    answer(request, 503, cp_str(NULL), cp_str("too many connections\n"), NULL,
           0);
  } else if (rc != 0 && rc != CP_E_CLOSED) {
    answer_500(request, rc, why);
  }
  destroy_answered(request);
  return rc;
}
