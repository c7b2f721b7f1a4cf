/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct glob_case {
  const char *pattern;
  const char *text;
  bool matches;
} glob_case;

/* What Redis 7.0 says. */
static const glob_case cases[] = {
    {"", "", true},
    {"", "a", false},
    {"a", "", false},
    {"*", "", true},
    {"**", "abc", true},
    {"news.*", "news.", true},
    {"news.*", "news", false},
    {"*.art", "news.art", true},
    {"*a*b", "xaxxb", true},
    {"*a*b", "xaxxbx", false},
    {"*ab", "aab", true},
    {"*aab*", "aaaab", true},
    {"h?llo", "hello", true},
    {"h?llo", "hllo", false},
    {"?", "", false},
    {"h[ae]llo", "hallo", true},
    {"h[ae]llo", "hillo", false},
    {"h[^e]llo", "hallo", true},
    {"h[^e]llo", "hello", false},
    {"h[a-c]llo", "hbllo", true},
    {"h[c-a]llo", "hbllo", true},
    {"h[a-c]llo", "hdllo", false},
    {"[]", "a", false},
    {"[^]", "a", true},
    {"[]a]", "a", false},
    {"[\\]]", "]", true},
    {"[a\\-c]", "b", false},
    {"[a\\-c]", "-", true},
    {"[a-]", "-", false}, /* a range from a to ] */
    {"[a-]", "^", true},
    {"[-a]", "-", true},
    {"[ab", "b", true},
    {"[", "[", false},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"\\a", "a", true},
    {"a\\", "a\\", true},
    {"[?]", "?", true},
    {"[*]", "x", false},
    {"A", "a", false},
};

/* On the heap, of exactly their size. */
static bool matches(const char *pattern, const char *text) {
  cp_bytes p = cp_str(pattern), t = cp_str(text);
  void *pattern_copy = malloc(p.len + 1), *text_copy = malloc(t.len + 1);
  bool result;

  pattern_copy = realloc(pattern_copy, p.len > 0 ? p.len : 1);
  text_copy = realloc(text_copy, t.len > 0 ? t.len : 1);
  memcpy(pattern_copy, pattern, p.len);
  memcpy(text_copy, text, t.len);
  result = cp__glob_matches(cp_bytes_of(pattern_copy, p.len),
                            cp_bytes_of(text_copy, t.len));
  free(pattern_copy);
  free(text_copy);
  return result;
}

static void test_matches(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (matches(cases[i].pattern, cases[i].text) != cases[i].matches)
      fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
}

static void test_many_stars(void **state) {
  char pattern[128], text[4096];

  (void)state;
  memset(text, 'a', sizeof text);
  memset(pattern, 'a', sizeof pattern);
  for (size_t i = 0; i < sizeof pattern; i += 2)
    pattern[i] = '*';
  pattern[sizeof pattern - 1] = 'b';
  assert_false(cp__glob_matches(cp_bytes_of(pattern, sizeof pattern),
                                cp_bytes_of(text, sizeof text)));
}

static void test_may_begin(void **state) {
  static const struct {
    const char *pattern;
    bool may;
  } begins[] = {
      {"", false},       {"c", false},         {"cp", false},
      {"cp:", true},     {"cp:x", true},       {"cp;", false},
      {"*", true},       {"c*", true},         {"d*", false},
      {"cp*", true},     {"c*x", true},        {"???", true},
      {"??", false},     {"?p:*", true},       {"[a-d]p:x", true},
      {"[^c]p:", false}, {"\\cp:", true},      {"cp[^:]*", false},
      {"cp[:;]*", true}, {"C*", false},        {"[", false},
      {"cp\\", false},   {"channel:*", false},
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof begins / sizeof begins[0]; i++)
    if (cp__glob_may_begin(cp_str(begins[i].pattern), cp_str("cp:")) !=
        begins[i].may)
      fail_msg("'%s'", begins[i].pattern);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_matches),
      cmocka_unit_test(test_many_stars),
      cmocka_unit_test(test_may_begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
