/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SLOTS_H
#define CP_SLOTS_H

/* Slots: how a Redis Cluster spreads names over its masters, and how it tells
 * which master has which. No I/O. */

#include "resp.h"

#include <stdbool.h>

#define CP__N_SLOTS 16384

/* CRC16, XMODEM's: what slots are made of. */
uint16_t cp__crc16(cp_bytes bytes);

/* The slot of a key or channel: of what stands between its first { and the next
 * } if that is something, else of all of it. */
uint16_t cp__slot_of(cp_bytes name);

/* Slots first..last, and their master. `host` is empty if it is the one that
 * was asked; it is borrowed as the reply is. */
typedef struct cp__slot_range {
  uint16_t first;
  uint16_t last;
  cp_bytes host;
  int port;
} cp__slot_range;

/* Walks through the answer to CLUSTER SLOTS. */
typedef struct cp__slots_reader {
  const cp__resp_reply *reply;
  size_t at;     /* the next node */
  size_t n_left; /* ranges */
} cp__slots_reader;

/* Returns 0, or CP_E_PROTOCOL: the answer is anything else, in any place. */
int cp__slots_read(cp__slots_reader *reader, const cp__resp_reply *reply);
/* The next range; false: there is none. Ranges whose master has no known
 * address are left out. */
bool cp__slots_next(cp__slots_reader *reader, cp__slot_range *range);

/* What an error says that answers a command sent to the wrong node, or at the
 * wrong time. */
typedef enum cp__redirect_kind {
  CP__REDIRECT_NONE,  /* something else: the command has failed */
  CP__REDIRECT_MOVED, /* the slot is at host:port */
  CP__REDIRECT_ASK,   /* host:port takes this one command, behind ASKING */
  CP__REDIRECT_LATER  /* nobody can tell at the moment: TRYAGAIN, CLUSTERDOWN,
                         LOADING */
} cp__redirect_kind;

typedef struct cp__redirect {
  cp__redirect_kind kind;
  uint16_t slot; /* of MOVED and ASK, as host and port */
  cp_bytes host; /* as in cp__slot_range; borrowed from the error */
  int port;
} cp__redirect;

void cp__redirect_read(cp__redirect *redirect, cp_bytes error);

#endif
