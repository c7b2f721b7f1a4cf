/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_BYTES_H
#define CP_BYTES_H

/* Bytes: compare and take apart runs of bytes without copying them, and the
 * numbers in them. Sets of bytes are C strings, so NUL is in none. Case is that
 * of ASCII. */

#include "clusterpush/base.h"

#include <stdbool.h>

#define CP__DIGITS "0123456789"

static inline uint8_t cp__bytes_at(cp_bytes bytes, size_t i) {
  return ((const uint8_t *)bytes.data)[i];
}

/* The first `n`, of which there are so many. */
static inline cp_bytes cp__bytes_first(cp_bytes bytes, size_t n) {
  return cp_bytes_of(bytes.data, n);
}

/* All but the first `n`, of which there are so many. */
static inline cp_bytes cp__bytes_behind(cp_bytes bytes, size_t n) {
  return cp_bytes_of((const uint8_t *)bytes.data + n, bytes.len - n);
}

/* Write a number, big endian; returns the place behind it. */
static inline uint8_t *cp__put_number(uint8_t *p, uint64_t value, int n_bytes) {
  int shift;

  for (shift = 8 * (n_bytes - 1); shift >= 0; shift -= 8)
    *p++ = (uint8_t)(value >> shift);
  return p;
}

/* Read one, and move `*p` behind it. */
static inline uint64_t cp__take_number(const uint8_t **p, int n_bytes) {
  uint64_t value = 0;

  while (n_bytes-- > 0)
    value = value << 8 | *(*p)++;
  return value;
}

bool cp__bytes_equal(cp_bytes a, cp_bytes b);
bool cp__bytes_equal_any_case(cp_bytes a, cp_bytes b);
bool cp__bytes_starts_any_case(cp_bytes bytes, cp_bytes prefix);

/* How many bytes at the front are in `set`. */
size_t cp__bytes_span(cp_bytes bytes, const char *set);
/* How many bytes at the front are not in `set`. */
size_t cp__bytes_span_not(cp_bytes bytes, const char *set);
/* At least one byte, and all of them in `set`? */
bool cp__bytes_are(cp_bytes bytes, const char *set);
/* The same of letters, digits and what is in `more`. */
size_t cp__bytes_span_word(cp_bytes bytes, const char *more);
bool cp__bytes_are_word(cp_bytes bytes, const char *more);

/* A decimal number from 0 to `max`: digits, at least one, and nothing else; -1
 * if it is none. Leading zeros are allowed. */
int64_t cp__bytes_decimal(cp_bytes text, int64_t max);

/* Without the spaces and tabs around it. */
cp_bytes cp__bytes_trim(cp_bytes bytes);

/* Take what stands before the first `separator` off `rest`, and the separator
 * too. Without one all is taken and rest->data becomes NULL, which ends a loop
 * over the parts; behind a separator that comes last it is not NULL. */
cp_bytes cp__bytes_cut(cp_bytes *rest, char separator);

#endif
