/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What a client of cp-node may say:
 *
 *   alice hello      a message to user alice
 *   * hello          to everybody
 *
 * A binary message has a NUL behind the space. With --receipts the sender hears
 * what became of each. */

#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A sender who waits to hear what a message came to. */
typedef struct receipt {
  cp_server *server;
  cp_conn_id sender;
  size_t target_len;
  char target[];
} receipt;

static void tell(cp_server *server, cp_conn_id sender, cp_bytes target,
                 const char *verdict, const char *rest) {
  char name[1024];
  char text[2048];
  int len;

  node_print(name, sizeof name, target, false);
  len = snprintf(text, sizeof text, "%s %s%s", verdict, name, rest);
  cp_send_to_conn(server, sender, CP_TEXT, cp_bytes_of(text, (size_t)len),
                  NULL);
}

static void tell_error(cp_server *server, cp_conn_id sender, cp_bytes target,
                       const char *reason) {
  char rest[64];

  snprintf(rest, sizeof rest, " %s", reason);
  tell(server, sender, target, "error", rest);
}

static void on_result(void *data, const cp_result *result) {
  receipt *r = data;
  cp_bytes target = cp_bytes_of(r->target, r->target_len);
  char counts[64];

  snprintf(counts, sizeof counts, " nodes=%u conns=%u%s",
           (unsigned)result->subscribers, (unsigned)result->connections,
           result->partial ? " partial" : "");
  switch (result->state) {
  case CP_REACHED:
    tell(r->server, r->sender, target, "ok", counts);
    break;
  case CP_NONE:
    tell(r->server, r->sender, target, "offline", "");
    break;
  case CP_UNSURE:
    tell(r->server, r->sender, target, "unsure", counts);
    break;
  default:
    tell_error(r->server, r->sender, target, cp_err_name(result->error));
    break;
  }
  free(r);
}

static receipt *receipt_new(cp_server *server, cp_conn *conn, cp_bytes target) {
  receipt *r = malloc(sizeof *r + target.len);

  if (r == NULL)
    return NULL;
  r->server = server;
  r->sender = cp_conn_get_id(conn);
  r->target_len = target.len;
  memcpy(r->target, target.data, target.len);
  return r;
}

static int send_on(cp_server *server, cp_bytes target, cp_type type,
                   cp_bytes body, const cp_send_options *options) {
  if (target.len == 1 && *(const char *)target.data == '*')
    return cp_broadcast(server, type, body, options);
  return cp_send_to_user(server, target, type, body, options);
}

static void relay(cp_server *server, cp_conn *conn, bool receipts,
                  cp_bytes target, cp_type type, cp_bytes body) {
  cp_send_options options;
  int rc;

  cp_send_options_init(&options);
  if (receipts) {
    options.data = receipt_new(server, conn, target);
    options.cb = options.data != NULL ? on_result : NULL;
    options.flags = options.data != NULL ? CP_RECEIPT : 0;
  }
  rc = send_on(server, target, type, body, &options);
  if (rc == 0)
    return;
  free(options.data);
  if (receipts)
    tell_error(server, cp_conn_get_id(conn), target, cp_err_name(rc));
}

/* "TARGET body" or, binary, "TARGET \0body". Returns false if it is neither. */
static bool split(cp_type type, cp_bytes message, cp_bytes *target,
                  cp_bytes *body) {
  const char *data = message.data;
  const char *space = memchr(data, ' ', message.len);
  size_t skip = type == CP_BINARY ? 2 : 1;
  size_t at;

  if (message.len == 0 || space == NULL || space == data)
    return false;
  at = (size_t)(space - data);
  if (at > 255 || at + skip > message.len ||
      (type == CP_BINARY && data[at + 1] != '\0'))
    return false;
  *target = cp_bytes_of(data, at);
  *body = cp_bytes_of(data + at + skip, message.len - at - skip);
  return true;
}

static bool looks_like_notice(cp_bytes body) {
  return body.len >= strlen(NODE_NOTICE) &&
         memcmp(body.data, NODE_NOTICE, strlen(NODE_NOTICE)) == 0;
}

void node_command(cp_server *server, cp_conn *conn, bool receipts, cp_type type,
                  cp_bytes message) {
  cp_bytes target = cp_str("-");
  cp_bytes body;

  if (split(type, message, &target, &body) &&
      !(type == CP_TEXT && looks_like_notice(body)))
    relay(server, conn, receipts, target, type, body);
  else if (receipts)
    tell_error(server, cp_conn_get_id(conn), target, "MALFORMED");
}
