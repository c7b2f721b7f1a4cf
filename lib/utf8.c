/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "utf8.h"

/* A state other than 0 and BAD says which bytes are still to come:
 *   bits 0..7    how many
 *   bits 8..15   the lowest value the next one may have
 *   bits 16..23  the highest
 * The range is narrower than 80..BF only for the second byte of some leads;
 * that alone keeps out overlong forms, surrogates and what is above 10FFFF. */
#define STATE(n, low, high)                           \
  ((cp__utf8_state)(n) | (cp__utf8_state)(low) << 8 | \
   (cp__utf8_state)(high) << 16)
#define ANY_TAIL(n) STATE(n, 0x80, 0xBF)

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* The state after a byte >= 80 that opens a character: table 3-7 of Unicode,
 * "Well-Formed UTF-8 Byte Sequences". */
static cp__utf8_state after_lead(uint8_t lead) {
  if (lead < 0xC2)
    return CP__UTF8_BAD; /* a tail byte, or C0, C1: always overlong */
  if (lead < 0xE0)
    return ANY_TAIL(1);
  if (lead == 0xE0)
    return STATE(2, 0xA0, 0xBF); /* below: overlong */
  if (lead == 0xED)
    return STATE(2, 0x80, 0x9F); /* above: surrogates */
  if (lead < 0xF0)
    return ANY_TAIL(2);
  if (lead == 0xF0)
    return STATE(3, 0x90, 0xBF); /* below: overlong */
  if (lead < 0xF4)
    return ANY_TAIL(3);
  if (lead == 0xF4)
    return STATE(3, 0x80, 0x8F); /* above: more than 10FFFF */
  return CP__UTF8_BAD;
}

static cp__utf8_state after_tail(cp__utf8_state state, uint8_t tail) {
  uint32_t n = state & 0xFF;

  if (tail < (state >> 8 & 0xFF) || tail > (state >> 16 & 0xFF))
    return CP__UTF8_BAD;
  return n > 1 ? ANY_TAIL(n - 1) : 0;
}

static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end) {
  uint64_t word;

  while (end - p >= (ptrdiff_t)sizeof word) {
    memcpy(&word, p, sizeof word);
    if ((word & HIGH_BITS) != 0)
      break;
    p += sizeof word;
  }
  while (p < end && *p < 0x80)
    p++;
  return p;
}

cp__utf8_state cp__utf8_feed(cp__utf8_state state, cp_bytes bytes) {
  const uint8_t *p = bytes.data;
  const uint8_t *end;

  if (bytes.len == 0 || state == CP__UTF8_BAD)
    return state;
  end = p + bytes.len;
  for (;;) {
    while (state != 0 && p < end) {
      state = after_tail(state, *p++);
      if (state == CP__UTF8_BAD)
        return state;
    }
    p = skip_ascii(p, end);
    if (p == end)
      return state;
    state = after_lead(*p++);
    if (state == CP__UTF8_BAD)
      return state;
  }
}

bool cp__utf8_valid(cp_bytes bytes) {
  return cp__utf8_feed(0, bytes) == 0;
}
