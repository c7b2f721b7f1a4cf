/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What a client of cp-node may say:
 *
 *   alice hello         a message to user alice
 *   * hello             to everybody
 *   #room hello         to a group
 *   +room  -room        join a group, leave it
 *   alice+room  alice-room   the same for all connections that alice has now
 *   !alice 4001 reason  close all of them; of the sender's own user all others
 *   ?alice              on how many nodes is she? ?alice,bob asks for both
 *
 * In a binary message the body has a NUL in front. With --receipts the sender
 * hears what became of each. A number in front of a command, "@17 alice hello",
 * is in front of what the sender hears, too: "@17 ok alice nodes=1 conns=2". */

#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_MAX 20 /* digits */

/* Who hears a result, and of what. */
typedef struct asker {
  cp_server *server;
  cp_conn_id conn;
  cp_bytes tag; /* with the space behind it, or empty */
  cp_bytes target;
} asker;

/* An asker that waits; what it names stands behind it. */
typedef struct receipt {
  asker to;
  char names[];
} receipt;

static void tell(const asker *to, const char *verdict, const char *rest) {
  char name[2048];
  char text[4096];
  int len;

  node_print(name, sizeof name, to->target, false);
  len = snprintf(text, sizeof text, "%.*s%s %s%s", (int)to->tag.len,
                 (const char *)to->tag.data, verdict, name, rest);
  cp_send_to_conn(to->server, to->conn, CP_TEXT, cp_bytes_of(text, (size_t)len),
                  NULL);
}

static void tell_error(const asker *to, const char *reason) {
  char rest[64];

  snprintf(rest, sizeof rest, " %s", reason);
  tell(to, "error", rest);
}

static void on_result(void *data, const cp_result *result) {
  receipt *r = data;
  char counts[64];

  snprintf(counts, sizeof counts, " nodes=%u conns=%u%s",
           (unsigned)result->subscribers, (unsigned)result->connections,
           result->partial ? " partial" : "");
  switch (result->state) {
  case CP_REACHED:
    tell(&r->to, "ok", counts);
    break;
  case CP_NONE:
    tell(&r->to, "offline", "");
    break;
  case CP_UNSURE:
    tell(&r->to, "unsure", counts);
    break;
  default:
    tell_error(&r->to, cp_err_name(result->error));
    break;
  }
  free(r);
}

static receipt *receipt_new(const asker *to) {
  size_t tag_len = to->tag.len;
  receipt *r = malloc(sizeof *r + tag_len + to->target.len);

  if (r == NULL)
    return NULL;
  r->to = *to;
  r->to.tag.data = r->names;
  r->to.target.data = r->names + tag_len;
  memcpy(r->names, to->tag.data, tag_len);
  memcpy(r->names + tag_len, to->target.data, to->target.len);
  return r;
}

/* What is to be done, for the sender `conn`. */
typedef struct command {
  asker from;
  cp_conn *conn;
  bool receipts;
  cp_type type;
  cp_bytes body;
} command;

static cp_bytes behind(cp_bytes bytes, size_t n) {
  return cp_bytes_of((const char *)bytes.data + n, bytes.len - n);
}

static int send_message(const command *c, const cp_send_options *options) {
  char first = *(const char *)c->from.target.data;

  if (first == '*' && c->from.target.len == 1)
    return cp_broadcast(c->from.server, c->type, c->body, options);
  if (first == '#')
    return cp_send_to_group(c->from.server, behind(c->from.target, 1), c->type,
                            c->body, options);
  return cp_send_to_user(c->from.server, c->from.target, c->type, c->body,
                         options);
}

/* "4001 reason"; of the own user every other connection. */
static int disconnect(const command *c, const cp_send_options *options) {
  cp_bytes user = behind(c->from.target, 1);
  cp_bytes own = cp_conn_user(c->conn);
  cp_conn_id id = cp_conn_get_id(c->conn);
  bool is_own =
      user.len == own.len && memcmp(user.data, own.data, own.len) == 0;
  const char *digits = c->body.data;
  unsigned code = 0;
  size_t i;

  for (i = 0; i < c->body.len && i < 5 && digits[i] >= '0' && digits[i] <= '9';
       i++)
    code = code * 10 + (unsigned)(digits[i] - '0');
  if (i != 4 || (i < c->body.len && digits[i] != ' '))
    return CP_E_INVALID;
  return cp_disconnect_user(c->from.server, user, (uint16_t)code,
                            behind(c->body, i < c->body.len ? i + 1 : i), &id,
                            is_own, options);
}

/* "alice+room" or "alice-room". */
static int change_group(const command *c, const cp_send_options *options) {
  const char *data = c->from.target.data;
  const char *sign = memchr(data, '+', c->from.target.len);
  size_t at;

  if (sign == NULL)
    sign = memchr(data, '-', c->from.target.len);
  at = (size_t)(sign - data);
  if (*sign == '+')
    return cp_group_add_user(c->from.server, behind(c->from.target, at + 1),
                             cp_bytes_of(data, at), options);
  return cp_group_remove_user(c->from.server, behind(c->from.target, at + 1),
                              cp_bytes_of(data, at), options);
}

/* Have it done, and the sender told. */
static void run(const command *c,
                int (*what)(const command *, const cp_send_options *)) {
  cp_send_options options;
  int rc;

  cp_send_options_init(&options);
  if (c->receipts) {
    options.data = receipt_new(&c->from);
    options.cb = options.data != NULL ? on_result : NULL;
    options.flags = options.data != NULL ? CP_RECEIPT : 0;
  }
  rc = what(c, &options);
  if (rc == 0)
    return;
  free(options.data);
  if (c->receipts)
    tell_error(&c->from, cp_err_name(rc));
}

/* "+room" or "-room": this is done at once. */
static void change_own_group(const command *c) {
  cp_bytes group = behind(c->from.target, 1);
  bool joins = *(const char *)c->from.target.data == '+';
  int rc =
      joins ? cp_group_join(c->conn, group) : cp_group_leave(c->conn, group);

  if (!c->receipts)
    return;
  if (rc != 0)
    tell_error(&c->from, cp_err_name(rc));
  else
    tell(&c->from, "ok", "");
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
  if (at > 256 || at + skip > message.len ||
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

static void on_nodes(void *data, int status, const uint32_t *nodes, size_t n) {
  receipt *r = data;
  char text[4096];
  size_t len = 0;
  size_t i;

  for (i = 0; i < n && len + 16 < sizeof text; i++)
    len += (size_t)snprintf(text + len, sizeof text - len, "%s%u",
                            i == 0 ? " nodes=" : ",", (unsigned)nodes[i]);
  if (status != 0)
    tell_error(&r->to, cp_err_name(status));
  else
    tell(&r->to, "online", text);
  free(r);
}

/* "?alice,bob". */
static void ask_nodes(const command *c) {
  cp_bytes users[64];
  cp_bytes rest = behind(c->from.target, 1);
  receipt *r = receipt_new(&c->from);
  size_t n = 0;
  int rc;

  while (n < 64 && rest.data != NULL) {
    const char *comma = memchr(rest.data, ',', rest.len);
    users[n] = rest;
    rest = cp_bytes_of(NULL, 0);
    if (comma != NULL) {
      size_t at = (size_t)(comma - (const char *)users[n].data);
      rest = behind(users[n], at + 1);
      users[n].len = at;
    }
    n++;
  }
  rc = r != NULL ? cp_users_nodes(c->from.server, users, n, on_nodes, r)
                 : CP_E_NOMEM;
  if (rc == 0)
    return;
  free(r);
  tell_error(&c->from, cp_err_name(rc));
}

/* A text that is one word, with a sign in it. Returns false for another. */
static bool run_word(command *c, cp_bytes message) {
  const char *data = message.data;

  if (c->type != CP_TEXT || message.len < 2 || message.len > 511 ||
      memchr(data, ' ', message.len) != NULL ||
      (data[0] != '?' && memchr(data, '+', message.len) == NULL &&
       memchr(data, '-', message.len) == NULL))
    return false;
  c->from.target = message;
  if (data[0] == '?')
    ask_nodes(c);
  else if (data[0] == '+' || data[0] == '-')
    change_own_group(c);
  else
    run(c, change_group);
  return true;
}

/* Take "@17 " off a message. */
static cp_bytes take_tag(cp_bytes *message) {
  const char *data = message->data;
  size_t n = 1;

  if (message->len == 0 || data[0] != '@')
    return cp_str("");
  while (n < message->len && n <= TAG_MAX && data[n] >= '0' && data[n] <= '9')
    n++;
  if (n == 1 || n == message->len || data[n] != ' ')
    return cp_str("");
  *message = behind(*message, n + 1);
  return cp_bytes_of(data, n + 1);
}

void node_command(cp_server *server, cp_conn *conn, bool receipts, cp_type type,
                  cp_bytes message) {
  cp_bytes tag = take_tag(&message);
  asker from = {server, cp_conn_get_id(conn), tag, cp_str("-")};
  command c = {from, conn, receipts, type, {NULL, 0}};

  if (run_word(&c, message))
    return;
  if (!split(type, message, &c.from.target, &c.body) ||
      (type == CP_TEXT && looks_like_notice(c.body))) {
    if (receipts)
      tell_error(&c.from, "MALFORMED");
  } else if (*(const char *)c.from.target.data == '!' && type == CP_TEXT) {
    run(&c, disconnect);
  } else {
    run(&c, send_message);
  }
}
