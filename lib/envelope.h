/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_ENVELOPE_H
#define CP_ENVELOPE_H

/* Envelope: what travels on a channel (docs/wire-format.md). All numbers are
 * big endian.
 *
 *   any payload whose first byte is not C1   the message itself: text if it is
 *                                            valid UTF-8, else binary
 *   C1 00 body...                            a binary message
 *   C1 01 kind flags instance:8 incarnation:4 sequence:8 fields... body...
 *
 * The fields are present when their bit is set in `flags`, lowest bit first:
 *
 *   01  serial:8      the connection the message is for
 *   02  request:8     who wants an answer, under which number
 *
 * Bits not listed must be 0: a later version that adds a field adds a bit, and
 * a reader that doesn't know it can't find the body, so it drops the whole. */

#include "clusterpush/base.h"

#include <stdbool.h>

#define CP__ENVELOPE_MAGIC    0xC1
#define CP__ENVELOPE_HEAD_MAX 40 /* the longest head, all fields present */

typedef enum cp__kind {
  CP__KIND_BINARY = 0,  /* a message; the body is its payload */
  CP__KIND_TEXT = 1,    /* a message; the body is valid UTF-8 */
  CP__KIND_PROBE = 2,   /* a node hears itself; the body is free */
  CP__KIND_RECEIPT = 3, /* to a node: who got what it asked about, receipts.h */
  CP__KIND_HELLO = 4,   /* to all nodes: the sender is up */
  CP__KIND_WELCOME = 5, /* to a node that said hello: the sender is up, too */
  /* Orders for the target's connections, orders.h. */
  CP__KIND_CLOSE = 6,
  CP__KIND_JOIN = 7, /* the body is the group's name */
  CP__KIND_LEAVE = 8
} cp__kind;

enum { CP__FIELD_SERIAL = 0x01, CP__FIELD_REQUEST = 0x02 };

typedef struct cp__envelope {
  cp__kind kind;
  uint8_t flags;        /* CP__FIELD_* */
  uint64_t instance;    /* of the sender; 0: it has none */
  uint32_t incarnation; /* of the sender's link when it first wrote this */
  uint64_t sequence;    /* 0: the sender doesn't de-duplicate */
  uint64_t serial;
  uint64_t request;
  cp_bytes body; /* borrowed from the payload */
} cp__envelope;

/* Write everything in front of the body; returns its length. */
size_t cp__envelope_write_head(uint8_t out[CP__ENVELOPE_HEAD_MAX],
                               const cp__envelope *envelope);

/* Read a payload; `envelope->body` points into it. An empty payload is an
 * empty text. Returns 0; CP_E_PROTOCOL: C1 and then too short, an unknown
 * second byte, unknown flags, or a text that is not UTF-8; CP_E_UNSUPPORTED:
 * well-formed, but of a kind this version doesn't know. */
int cp__envelope_read(cp__envelope *envelope, cp_bytes payload);

#endif
