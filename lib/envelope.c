/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "envelope.h"

#include "bytes.h"
#include "utf8.h"

#include <assert.h>

#define FORM_BINARY 0x00 /* C1 00 body... */
#define FORM_FULL   0x01 /* C1 01 kind flags ... */

#define FIXED_LEN   24 /* of a full envelope, in front of its fields */
#define FIELD_LEN   8  /* of each field */
#define KNOWN_FLAGS (CP__FIELD_SERIAL | CP__FIELD_REQUEST)

#define BIT(kind) (1u << (kind))
#define KNOWN_KINDS                                                      \
  (BIT(CP__KIND_BINARY) | BIT(CP__KIND_TEXT) | BIT(CP__KIND_PROBE) |     \
   BIT(CP__KIND_RECEIPT) | BIT(CP__KIND_HELLO) | BIT(CP__KIND_WELCOME) | \
   BIT(CP__KIND_CLOSE) | BIT(CP__KIND_JOIN) | BIT(CP__KIND_LEAVE))

size_t cp__envelope_write_head(uint8_t out[CP__ENVELOPE_HEAD_MAX],
                               const cp__envelope *envelope) {
  uint8_t *p = out;

  assert((envelope->flags & ~KNOWN_FLAGS) == 0);
  *p++ = CP__ENVELOPE_MAGIC;
  *p++ = FORM_FULL;
  *p++ = (uint8_t)envelope->kind;
  *p++ = envelope->flags;
  p = cp__put_number(p, envelope->instance, 8);
  p = cp__put_number(p, envelope->incarnation, 4);
  p = cp__put_number(p, envelope->sequence, 8);
  if ((envelope->flags & CP__FIELD_SERIAL) != 0)
    p = cp__put_number(p, envelope->serial, FIELD_LEN);
  if ((envelope->flags & CP__FIELD_REQUEST) != 0)
    p = cp__put_number(p, envelope->request, FIELD_LEN);
  return (size_t)(p - out);
}

static size_t fields_len(uint8_t flags) {
  size_t len = 0;

  if ((flags & CP__FIELD_SERIAL) != 0)
    len += FIELD_LEN;
  if ((flags & CP__FIELD_REQUEST) != 0)
    len += FIELD_LEN;
  return len;
}

static int read_full(cp__envelope *envelope, const uint8_t *p, size_t len) {
  const uint8_t *end = p + len;
  uint8_t kind;

  if (len < FIXED_LEN)
    return CP_E_PROTOCOL;
  kind = p[2];
  envelope->flags = p[3];
  if ((envelope->flags & ~KNOWN_FLAGS) != 0 ||
      len < FIXED_LEN + fields_len(envelope->flags))
    return CP_E_PROTOCOL;
  p += 4;
  envelope->instance = cp__take_number(&p, 8);
  envelope->incarnation = (uint32_t)cp__take_number(&p, 4);
  envelope->sequence = cp__take_number(&p, 8);
  if ((envelope->flags & CP__FIELD_SERIAL) != 0)
    envelope->serial = cp__take_number(&p, FIELD_LEN);
  if ((envelope->flags & CP__FIELD_REQUEST) != 0)
    envelope->request = cp__take_number(&p, FIELD_LEN);
  envelope->body = cp_bytes_of(p, (size_t)(end - p));
  if (kind >= 32 || (KNOWN_KINDS & BIT(kind)) == 0)
    return CP_E_UNSUPPORTED;
  envelope->kind = (cp__kind)kind;
  if (kind == CP__KIND_TEXT && !cp__utf8_valid(envelope->body))
    return CP_E_PROTOCOL;
  return 0;
}

int cp__envelope_read(cp__envelope *envelope, cp_bytes payload) {
  const uint8_t *p = payload.data;

  memset(envelope, 0, sizeof *envelope);
  if (payload.len == 0 || p[0] != CP__ENVELOPE_MAGIC) {
    envelope->kind = cp__utf8_valid(payload) ? CP__KIND_TEXT : CP__KIND_BINARY;
    envelope->body = payload;
    return 0;
  }
  if (payload.len < 2)
    return CP_E_PROTOCOL;
  if (p[1] == FORM_BINARY) {
    envelope->kind = CP__KIND_BINARY;
    envelope->body = cp_bytes_of(p + 2, payload.len - 2);
    return 0;
  }
  if (p[1] == FORM_FULL)
    return read_full(envelope, p, payload.len);
  return CP_E_PROTOCOL;
}
