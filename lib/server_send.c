/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What may be asked of the whole cluster, most of it by any thread. */

#include "server.h"

#include "orders.h"

/* Messages. --------------------------------------------------------------- */

int cp_send_to_user(cp_server *server, cp_bytes user, cp_type type,
                    cp_bytes body, const cp_send_options *options) {
  cp__target target = {CP__TO_USER, user, {0, 0}, 0, 0};
  return cp__sender_send(&server->sender, &target, type, body, options);
}

int cp_send_to_conn(cp_server *server, cp_conn_id conn, cp_type type,
                    cp_bytes body, const cp_send_options *options) {
  cp__target target = {CP__TO_CONN, {NULL, 0}, conn, 0, 0};
  return cp__sender_send(&server->sender, &target, type, body, options);
}

int cp_send_to_group(cp_server *server, cp_bytes group, cp_type type,
                     cp_bytes body, const cp_send_options *options) {
  cp__target target = {CP__TO_GROUP, group, {0, 0}, 0, 0};
  return cp__sender_send(&server->sender, &target, type, body, options);
}

int cp_broadcast(cp_server *server, cp_type type, cp_bytes body,
                 const cp_send_options *options) {
  cp__target target = {CP__TO_ALL, {NULL, 0}, {0, 0}, 0, 0};
  return cp__sender_send(&server->sender, &target, type, body, options);
}

/* Groups. ----------------------------------------------------------------- */

static int order_group(cp_server *server, cp__kind kind, cp_bytes user,
                       cp_bytes group, const cp_send_options *options) {
  cp__target target = {CP__TO_USER, user, {0, 0}, (uint8_t)kind, 0};

  if (!cp__user_is_valid(group))
    return CP_E_INVALID;
  return cp__sender_send(&server->sender, &target, CP_BINARY, group, options);
}

int cp_group_add_user(cp_server *server, cp_bytes group, cp_bytes user,
                      const cp_send_options *options) {
  return order_group(server, CP__KIND_JOIN, user, group, options);
}

int cp_group_remove_user(cp_server *server, cp_bytes group, cp_bytes user,
                         const cp_send_options *options) {
  return order_group(server, CP__KIND_LEAVE, user, group, options);
}

static cp__groups *groups_of(const cp_conn *conn) {
  cp_server *server = cp__conn_peers(conn)->ctx;
  return &server->registry.groups;
}

int cp_group_join(cp_conn *conn, cp_bytes group) {
  if (!cp__user_is_valid(group))
    return CP_E_INVALID;
  return cp__groups_join(groups_of(conn), conn, group);
}

int cp_group_leave(cp_conn *conn, cp_bytes group) {
  if (!cp__user_is_valid(group))
    return CP_E_INVALID;
  return cp__groups_leave(groups_of(conn), conn, group);
}

/* Closing. ---------------------------------------------------------------- */

static int order_close(cp_server *server, cp__target *target, uint16_t code,
                       cp_bytes reason, const cp_conn_id *except,
                       size_t n_except, const cp_send_options *options) {
  uint8_t body[CP__CLOSE_BODY_MAX];
  size_t len;

  if (n_except > CP__EXCEPT_MAX || (except == NULL && n_except > 0) ||
      !cp__close_is_valid(code, reason))
    return CP_E_INVALID;
  target->order = CP__KIND_CLOSE;
  len = cp__order_write_close(body, code, reason, except, n_except);
  return cp__sender_send(&server->sender, target, CP_BINARY,
                         cp_bytes_of(body, len), options);
}

int cp_disconnect_user(cp_server *server, cp_bytes user, uint16_t code,
                       cp_bytes reason, const cp_conn_id *except,
                       size_t n_except, const cp_send_options *options) {
  cp__target target = {CP__TO_USER, user, {0, 0}, 0, 0};
  return order_close(server, &target, code, reason, except, n_except, options);
}

int cp_disconnect_conn(cp_server *server, cp_conn_id conn, uint16_t code,
                       cp_bytes reason, const cp_send_options *options) {
  cp__target target = {CP__TO_CONN, {NULL, 0}, conn, 0, 0};
  return order_close(server, &target, code, reason, NULL, 0, options);
}

/* Online? ----------------------------------------------------------------- */

int cp_users_nodes(cp_server *server, const cp_bytes *users, size_t n,
                   cp_user_nodes_cb cb, void *data) {
  if (server->state != CP__SERVER_OPEN)
    return CP_E_CLOSED;
  return cp__counts_ask(&server->counts, server->transport, &server->registry,
                        users, n, cb, data);
}

int cp_user_nodes(cp_server *server, cp_bytes user, cp_user_nodes_cb cb,
                  void *data) {
  return cp_users_nodes(server, &user, 1, cb, data);
}

/* Channels. --------------------------------------------------------------- */

int cp_publish(cp_server *server, cp_bytes channel, cp_bytes body,
               const cp_send_options *options) {
  cp__target target = {CP__TO_CHANNEL, channel, {0, 0}, 0, 0};
  return cp__sender_send(&server->sender, &target, CP_BINARY, body, options);
}

int cp_subscribe(cp_server *server, cp_bytes channel, cp_channel_cb cb,
                 void *data, const cp_subscribe_options *options,
                 cp_subscription **subscription) {
  return cp__channels_subscribe(&server->channels, 'c', channel, cb, data,
                                options, subscription);
}

int cp_psubscribe(cp_server *server, cp_bytes pattern, cp_channel_cb cb,
                  void *data, const cp_subscribe_options *options,
                  cp_subscription **subscription) {
  return cp__channels_subscribe(&server->channels, 'p', pattern, cb, data,
                                options, subscription);
}
