/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* cp__utf8_* against a decoder that is written the other way round: it
 * computes the code point and asks whether that encodes to the same bytes. */

#include "utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static size_t encode(uint32_t point, uint8_t out[4]) {
  if (point < 0x80) {
    out[0] = (uint8_t)point;
    return 1;
  }
  if (point < 0x800) {
    out[0] = (uint8_t)(0xC0 | point >> 6);
    out[1] = (uint8_t)(0x80 | (point & 0x3F));
    return 2;
  }
  if (point < 0x10000) {
    out[0] = (uint8_t)(0xE0 | point >> 12);
    out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    out[2] = (uint8_t)(0x80 | (point & 0x3F));
    return 3;
  }
  out[0] = (uint8_t)(0xF0 | point >> 18);
  out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
  out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
  out[3] = (uint8_t)(0x80 | (point & 0x3F));
  return 4;
}

static bool is_scalar(uint32_t point) {
  return point <= 0x10FFFF && !(point >= 0xD800 && point <= 0xDFFF);
}

/* The length of the character at `p`, or 0 if there is none. */
static size_t reference_char(const uint8_t *p, size_t len) {
  uint8_t again[4];
  uint32_t point;
  size_t n = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
  size_t i;

  if (n > len || p[0] >= 0xF8)
    return 0;
  point = n == 1 ? p[0] : p[0] & (0x7Fu >> n);
  for (i = 1; i < n; i++)
    point = point << 6 | (p[i] & 0x3F);
  if (!is_scalar(point) || encode(point, again) != n)
    return 0;
  return memcmp(p, again, n) == 0 ? n : 0;
}

static bool reference_valid(const uint8_t *p, size_t len) {
  while (len > 0) {
    size_t n = reference_char(p, len);
    if (n == 0)
      return false;
    p += n;
    len -= n;
  }
  return true;
}

static bool valid_bytewise(const uint8_t *p, size_t len) {
  cp__utf8_state state = 0;
  size_t i;

  for (i = 0; i < len; i++)
    state = cp__utf8_feed(state, cp_bytes_of(p + i, 1));
  return state == 0;
}

static void test_empty(void **ctx) {
  (void)ctx;
  assert_true(cp__utf8_valid(cp_bytes_of(NULL, 0)));
  assert_true(cp__utf8_valid(cp_bytes_of("", 0)));
}

static void test_every_code_point(void **ctx) {
  uint8_t bytes[4];
  uint32_t point;

  (void)ctx;
  for (point = 0; point <= 0x1FFFFF; point++) {
    size_t len = encode(point, bytes);
    assert_int_equal(cp__utf8_valid(cp_bytes_of(bytes, len)), is_scalar(point));
  }
}

/* Each of the first two bytes in full, the last two at their borders. */
static void test_every_lead(void **ctx) {
  static const uint8_t border[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                   0xA0, 0xBF, 0xC0, 0xC2, 0xFF};
  const size_t n = sizeof border;
  uint8_t bytes[4];
  size_t i;

  (void)ctx;
  for (i = 0; i < 0x10000 * n * n; i++) {
    size_t len;
    bytes[0] = (uint8_t)(i / n / n >> 8);
    bytes[1] = (uint8_t)(i / n / n);
    bytes[2] = border[i / n % n];
    bytes[3] = border[i % n];
    for (len = 1; len <= 4; len++)
      if (cp__utf8_valid(cp_bytes_of(bytes, len)) !=
          reference_valid(bytes, len))
        fail_msg("%02X %02X %02X %02X, the first %zu", bytes[0], bytes[1],
                 bytes[2], bytes[3], len);
  }
}

/* RFC 3629: the borders of each length, and what lies just outside. */
static void test_borders(void **ctx) {
  static const struct {
    const char *bytes;
    bool valid;
  } cases[] = {
      {"\x7F", true},
      {"\x80", false},
      {"\xBF", false},
      {"\xC0\x80", false},
      {"\xC0\xAF", false},
      {"\xC1\xBF", false},
      {"\xC2\x80", true},
      {"\xC2\x7F", false},
      {"\xC2\xC0", false},
      {"\xDF\xBF", true},
      {"\xDF", false},
      {"\xE0\x80\xAF", false},
      {"\xE0\x9F\xBF", false},
      {"\xE0\xA0\x80", true},
      {"\xE0\xA0", false},
      {"\xE1\x80\x80", true},
      {"\xED\x9F\xBF", true},
      {"\xED\xA0\x80", false},
      {"\xED\xBF\xBF", false},
      {"\xED\xA0\x81\xED\xB0\x80", false}, /* CESU-8 */
      {"\xEE\x80\x80", true},
      {"\xEF\xBB\xBF", true},
      {"\xEF\xBF\xBF", true},
      {"\xF0\x8F\xBF\xBF", false},
      {"\xF0\x90\x80\x80", true},
      {"\xF0\x90\x80", false},
      {"\xF3\xBF\xBF\xBF", true},
      {"\xF4\x8F\xBF\xBF", true},
      {"\xF4\x90\x80\x80", false},
      {"\xF5\x80\x80\x80", false},
      {"\xF8\x88\x80\x80\x80", false},
      {"\xFC\x84\x80\x80\x80\x80", false},
      {"\xFE", false},
      {"\xFF", false},
      {"\xC2\x80\x80", false},
      {"\xE2\x82\xAC\xAC", false},
  };
  size_t i;

  (void)ctx;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const uint8_t *bytes = (const uint8_t *)cases[i].bytes;
    size_t len = strlen(cases[i].bytes);
    if (cp__utf8_valid(cp_bytes_of(bytes, len)) != cases[i].valid ||
        valid_bytewise(bytes, len) != cases[i].valid)
      fail_msg("case %zu", i);
  }
}

/* The verdict comes with the first byte that spoils it. */
static void test_bad_at_once(void **ctx) {
  cp__utf8_state state;

  (void)ctx;
  assert_int_equal(cp__utf8_feed(0, cp_str("\xC1")), CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(0, cp_str("\xE0\x9F")), CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(0, cp_str("\xED\xA0")), CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(0, cp_str("\xF4\x90")), CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(0, cp_str("ok\xFFok")), CP__UTF8_BAD);
  state = cp__utf8_feed(0, cp_str("\xF4"));
  assert_true(state != 0 && state != CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(state, cp_str("\x90")), CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(CP__UTF8_BAD, cp_str("a")), CP__UTF8_BAD);
  assert_int_equal(cp__utf8_feed(CP__UTF8_BAD, cp_str("")), CP__UTF8_BAD);
}

static void test_empty_piece_keeps_state(void **ctx) {
  cp__utf8_state state = cp__utf8_feed(0, cp_str("\xE2\x82"));

  (void)ctx;
  assert_int_equal(cp__utf8_feed(state, cp_bytes_of(NULL, 0)), state);
  assert_int_equal(cp__utf8_feed(state, cp_str("\xAC")), 0);
}

static void assert_splits_agree(const uint8_t *bytes, size_t len) {
  cp__utf8_state whole = cp__utf8_feed(0, cp_bytes_of(bytes, len));
  size_t i, j;

  for (i = 0; i <= len; i++) {
    cp__utf8_state first = cp__utf8_feed(0, cp_bytes_of(bytes, i));
    for (j = i; j <= len; j++) {
      cp__utf8_state state =
          cp__utf8_feed(first, cp_bytes_of(bytes + i, j - i));
      state = cp__utf8_feed(state, cp_bytes_of(bytes + j, len - j));
      assert_int_equal(state, whole);
    }
  }
}

static void test_every_split(void **ctx) {
  static const char *const texts[] = {
      "plain ASCII that is longer than one word",
      "\xC3\xA4\xC3\xB6\xC3\xBC \xE2\x82\xAC and \xF0\x9F\x98\x80 and more",
      "12345678\xF0\x90\x80\x80"
      "12345678\xED\x9F\xBF"
      "1234567\xF4\x8F\xBF\xBF",
      "cut off \xF0\x9F\x98",
      "12345678 bad \xED\xA0\x80 12345678",
      "overlong \xF0\x8F\xBF\xBF",
  };
  size_t i;

  (void)ctx;
  for (i = 0; i < sizeof texts / sizeof texts[0]; i++)
    assert_splits_agree((const uint8_t *)texts[i], strlen(texts[i]));
}

/* One bad byte at each place of an unaligned run that words step through. */
static void test_bad_byte_anywhere(void **ctx) {
  uint8_t bytes[40];
  size_t start, len, at;

  (void)ctx;
  for (start = 0; start < 8; start++)
    for (len = 0; len + start <= sizeof bytes; len++) {
      memset(bytes, 'a', sizeof bytes);
      assert_true(cp__utf8_valid(cp_bytes_of(bytes + start, len)));
      for (at = 0; at < len; at++) {
        bytes[start + at] = 0x80;
        assert_false(cp__utf8_valid(cp_bytes_of(bytes + start, len)));
        bytes[start + at] = 'a';
      }
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_every_code_point),
      cmocka_unit_test(test_every_lead),
      cmocka_unit_test(test_borders),
      cmocka_unit_test(test_bad_at_once),
      cmocka_unit_test(test_empty_piece_keeps_state),
      cmocka_unit_test(test_every_split),
      cmocka_unit_test(test_bad_byte_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
