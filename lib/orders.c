/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "orders.h"

#include "bytes.h"
#include "registry.h"
#include "utf8.h"

#include <string.h>

#define ID_LEN 16 /* instance:8 serial:8 */

bool cp__close_is_valid(uint16_t code, cp_bytes reason) {
  bool known = code == 1000 || code == 1001 || (code >= 1007 && code <= 1014) ||
               (code >= 3000 && code <= 4999);

  return known && reason.len <= CP__CLOSE_REASON_MAX && cp__utf8_valid(reason);
}

size_t cp__order_write_close(uint8_t out[CP__CLOSE_BODY_MAX], uint16_t code,
                             cp_bytes reason, const cp_conn_id *except,
                             size_t n_except) {
  uint8_t *p = out;
  size_t i;

  p = cp__put_number(p, code, 2);
  p = cp__put_number(p, n_except, 1);
  for (i = 0; i < n_except; i++) {
    p = cp__put_number(p, except[i].instance, 8);
    p = cp__put_number(p, except[i].serial, 8);
  }
  if (reason.len > 0)
    memcpy(p, reason.data, reason.len);
  return (size_t)(p - out) + reason.len;
}

static bool read_close(cp__order *order, cp_bytes body) {
  const uint8_t *p = body.data;

  if (body.len < 3)
    return false;
  order->code = (uint16_t)cp__take_number(&p, 2);
  order->n_except = (size_t)cp__take_number(&p, 1);
  order->except = p;
  if (body.len - 3 < order->n_except * ID_LEN)
    return false;
  order->reason = cp__bytes_behind(body, 3 + order->n_except * ID_LEN);
  return cp__close_is_valid(order->code, order->reason);
}

bool cp__order_read(cp__order *order, cp__kind kind, cp_bytes body) {
  memset(order, 0, sizeof *order);
  order->kind = kind;
  if (kind == CP__KIND_CLOSE)
    return read_close(order, body);
  order->group = body;
  return cp__user_is_valid(body);
}

static bool is_excepted(const cp__order *order, uint64_t instance,
                        uint64_t serial) {
  const uint8_t *p = order->except;
  size_t i;

  for (i = 0; i < order->n_except; i++) {
    uint64_t other_instance = cp__take_number(&p, 8);
    uint64_t other_serial = cp__take_number(&p, 8);
    if (other_instance == instance && other_serial == serial)
      return true;
  }
  return false;
}

bool cp__order_obey(const cp__order *order, cp__groups *groups, cp_conn *conn,
                    uint64_t instance) {
  if (!cp__conn_is_open(conn))
    return false;
  if (order->kind == CP__KIND_JOIN)
    return cp__groups_join(groups, conn, order->group) == 0;
  if (order->kind == CP__KIND_LEAVE)
    return cp__groups_leave(groups, conn, order->group) == 0;
  if (is_excepted(order, instance, conn->serial))
    return false;
  /* Without memory for a close frame it ends all the same. */
  return cp__conn_close(conn, order->code, order->reason) != CP_E_CLOSED;
}
