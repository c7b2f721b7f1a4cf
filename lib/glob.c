/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A pattern is a row of elements, each of which takes one byte, and of stars. A
 * star takes as little as it can; when the rest doesn't fit, the last star
 * takes one byte more. Earlier stars need never be tried again: what stood
 * between them was found as early as possible. */
#include "glob.h"

#include "bytes.h"

/* A set, from behind its bracket: does it have `c`? `*at` moves behind it. As
 * in Redis a set that is not closed ends with the pattern. */
static bool set_has(cp_bytes pattern, size_t *at, uint8_t c) {
  size_t i = *at;
  bool negated = i < pattern.len && cp__bytes_at(pattern, i) == '^';
  bool found = false;

  if (negated)
    i++;
  while (i < pattern.len && cp__bytes_at(pattern, i) != ']') {
    uint8_t low = cp__bytes_at(pattern, i);
    uint8_t high = low;
    if (low == '\\' && i + 1 < pattern.len) {
      low = high = cp__bytes_at(pattern, ++i);
    } else if (i + 2 < pattern.len && cp__bytes_at(pattern, i + 1) == '-') {
      high = cp__bytes_at(pattern, i + 2);
      i += 2;
    }
    found =
        found || (low <= high ? c >= low && c <= high : c >= high && c <= low);
    i++;
  }
  *at = i < pattern.len ? i + 1 : i;
  return found != negated;
}

/* The element at `*at`, which is no star: does it take `c`? `*at` moves behind
 * it. */
static bool takes(cp_bytes pattern, size_t *at, uint8_t c) {
  uint8_t p = cp__bytes_at(pattern, (*at)++);

  if (p == '?')
    return true;
  if (p == '[')
    return set_has(pattern, at, c);
  if (p == '\\' && *at < pattern.len)
    p = cp__bytes_at(pattern, (*at)++);
  return p == c;
}

static bool is_star(cp_bytes pattern, size_t at) {
  return at < pattern.len && cp__bytes_at(pattern, at) == '*';
}

bool cp__glob_matches(cp_bytes pattern, cp_bytes text) {
  size_t p = 0, t = 0;
  size_t behind_star = 0, taken_to = 0; /* behind_star 0: none yet */

  while (t < text.len) {
    if (is_star(pattern, p)) {
      behind_star = ++p;
      taken_to = t;
    } else if (p < pattern.len && takes(pattern, &p, cp__bytes_at(text, t))) {
      t++;
    } else if (behind_star > 0) {
      p = behind_star;
      t = ++taken_to;
    } else {
      return false;
    }
  }
  while (is_star(pattern, p))
    p++;
  return p == pattern.len;
}

bool cp__glob_may_begin(cp_bytes pattern, cp_bytes begin) {
  size_t p = 0, t;

  for (t = 0; t < begin.len; t++) {
    if (is_star(pattern, p))
      return true;
    if (p == pattern.len || !takes(pattern, &p, cp__bytes_at(begin, t)))
      return false;
  }
  return true;
}
