/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "bytes.h"

static bool is_in(uint8_t c, const char *set) {
  return c != '\0' && strchr(set, c) != NULL;
}

static uint8_t lower(uint8_t c) {
  return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool cp__bytes_equal(cp_bytes a, cp_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool cp__bytes_equal_any_case(cp_bytes a, cp_bytes b) {
  /* Most often the case is the same too, and memcmp is fast. */
  return cp__bytes_equal(a, b) ||
         (a.len == b.len && cp__bytes_starts_any_case(a, b));
}

bool cp__bytes_starts_any_case(cp_bytes bytes, cp_bytes prefix) {
  size_t i;

  if (bytes.len < prefix.len)
    return false;
  for (i = 0; i < prefix.len; i++)
    if (lower(cp__bytes_at(bytes, i)) != lower(cp__bytes_at(prefix, i)))
      return false;
  return true;
}

size_t cp__bytes_span(cp_bytes bytes, const char *set) {
  size_t n = 0;

  while (n < bytes.len && is_in(cp__bytes_at(bytes, n), set))
    n++;
  return n;
}

size_t cp__bytes_span_not(cp_bytes bytes, const char *set) {
  size_t n = 0;

  while (n < bytes.len && !is_in(cp__bytes_at(bytes, n), set))
    n++;
  return n;
}

bool cp__bytes_are(cp_bytes bytes, const char *set) {
  return bytes.len > 0 && cp__bytes_span(bytes, set) == bytes.len;
}

static bool is_alnum(uint8_t c) {
  return (uint8_t)(c - '0') < 10 || (uint8_t)((c | 0x20) - 'a') < 26;
}

size_t cp__bytes_span_word(cp_bytes bytes, const char *more) {
  size_t n = 0;

  while (n < bytes.len && (is_alnum(cp__bytes_at(bytes, n)) ||
                           is_in(cp__bytes_at(bytes, n), more)))
    n++;
  return n;
}

bool cp__bytes_are_word(cp_bytes bytes, const char *more) {
  return bytes.len > 0 && cp__bytes_span_word(bytes, more) == bytes.len;
}

int64_t cp__bytes_decimal(cp_bytes text, int64_t max) {
  int64_t value = 0;
  size_t i;

  if (!cp__bytes_are(text, CP__DIGITS))
    return -1;
  for (i = 0; i < text.len; i++) {
    int64_t digit = cp__bytes_at(text, i) - '0';

    if (value > max / 10 || digit > max - value * 10)
      return -1;
    value = value * 10 + digit;
  }
  return value;
}

static bool is_blank(uint8_t c) {
  return c == ' ' || c == '\t';
}

cp_bytes cp__bytes_trim(cp_bytes bytes) {
  while (bytes.len > 0 && is_blank(cp__bytes_at(bytes, bytes.len - 1)))
    bytes.len--;
  while (bytes.len > 0 && is_blank(cp__bytes_at(bytes, 0)))
    bytes = cp__bytes_behind(bytes, 1);
  return bytes;
}

cp_bytes cp__bytes_cut(cp_bytes *rest, char separator) {
  cp_bytes all = *rest;
  const uint8_t *at = all.len > 0 ? memchr(all.data, separator, all.len) : NULL;
  size_t n;

  if (at == NULL) {
    *rest = cp_bytes_of(NULL, 0);
    return all;
  }
  n = (size_t)(at - (const uint8_t *)all.data);
  *rest = cp__bytes_behind(all, n + 1);
  return cp__bytes_first(all, n);
}
