/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_ORDERS_H
#define CP_ORDERS_H

/* Orders: what is not a message to a connection but is to be done with it. They
 * travel as messages do, on the user's channel, and keep their place among
 * them. (docs/wire-format.md) */

#include "envelope.h"
#include "groups.h"

/* The longest body of a close: code, number, connections, reason. */
#define CP__EXCEPT_MAX       32
#define CP__CLOSE_REASON_MAX 123
#define CP__CLOSE_BODY_MAX   (3 + 16 * CP__EXCEPT_MAX + CP__CLOSE_REASON_MAX)

typedef struct cp__order {
  cp__kind kind;
  cp_bytes group; /* of JOIN and LEAVE */
  /* Of CLOSE. */
  uint16_t code;
  size_t n_except;
  const uint8_t *except; /* connections that stay, 16 bytes each */
  cp_bytes reason;
} cp__order;

static inline bool cp__kind_is_order(cp__kind kind) {
  return kind == CP__KIND_CLOSE || kind == CP__KIND_JOIN ||
         kind == CP__KIND_LEAVE;
}

/* A code that cp_conn_close() takes, and a reason. */
bool cp__close_is_valid(uint16_t code, cp_bytes reason);

/* Write a close's body; returns its length. At most so many connections, and so
 * long a reason, as above. */
size_t cp__order_write_close(uint8_t out[CP__CLOSE_BODY_MAX], uint16_t code,
                             cp_bytes reason, const cp_conn_id *except,
                             size_t n_except);

/* Take a body apart, which it goes on pointing into. False: malformed. */
bool cp__order_read(cp__order *order, cp__kind kind, cp_bytes body);

/* Do it with an open connection of the node `instance`. Returns whether it is
 * done: closed now, in the group, out of it. Never runs user code. */
bool cp__order_obey(const cp__order *order, cp__groups *groups, cp_conn *conn,
                    uint64_t instance);

#endif
