/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "envelope.h"

#include "utf8.h"

#include <assert.h>

#define FORM_BINARY 0x00 /* C1 00 body... */
#define FORM_FULL   0x01 /* C1 01 kind flags ... */

#define FIXED_LEN   24 /* of a full envelope, in front of its fields */
#define FIELD_LEN   8  /* of each field */
#define KNOWN_FLAGS (CP__FIELD_SERIAL | CP__FIELD_REQUEST)

static uint8_t *put(uint8_t *p, uint64_t value, int n_bytes) {
  int shift;

  for (shift = 8 * (n_bytes - 1); shift >= 0; shift -= 8)
    *p++ = (uint8_t)(value >> shift);
  return p;
}

static uint64_t take(const uint8_t **p, int n_bytes) {
  uint64_t value = 0;

  while (n_bytes-- > 0)
    value = value << 8 | *(*p)++;
  return value;
}

size_t cp__envelope_write_head(uint8_t out[CP__ENVELOPE_HEAD_MAX],
                               const cp__envelope *envelope) {
  uint8_t *p = out;

  assert((envelope->flags & ~KNOWN_FLAGS) == 0);
  *p++ = CP__ENVELOPE_MAGIC;
  *p++ = FORM_FULL;
  *p++ = (uint8_t)envelope->kind;
  *p++ = envelope->flags;
  p = put(p, envelope->instance, 8);
  p = put(p, envelope->incarnation, 4);
  p = put(p, envelope->sequence, 8);
  if ((envelope->flags & CP__FIELD_SERIAL) != 0)
    p = put(p, envelope->serial, FIELD_LEN);
  if ((envelope->flags & CP__FIELD_REQUEST) != 0)
    p = put(p, envelope->request, FIELD_LEN);
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
  envelope->instance = take(&p, 8);
  envelope->incarnation = (uint32_t)take(&p, 4);
  envelope->sequence = take(&p, 8);
  if ((envelope->flags & CP__FIELD_SERIAL) != 0)
    envelope->serial = take(&p, FIELD_LEN);
  if ((envelope->flags & CP__FIELD_REQUEST) != 0)
    envelope->request = take(&p, FIELD_LEN);
  envelope->body = cp_bytes_of(p, (size_t)(end - p));
  if ((kind > CP__KIND_PROBE && kind != CP__KIND_HELLO &&
       kind != CP__KIND_WELCOME))
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
