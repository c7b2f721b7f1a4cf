/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "buf.h"
#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  failing_alloc memory;
  cp__buf buf;
} fixture;

static int setup(void **state) {
  static fixture f;

  failing_alloc_init(&f.memory, 0);
  cp__buf_init(&f.buf, &f.memory.alloc);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  cp__buf_finish(&f->buf);
  assert_int_equal(f->memory.n_live, 0);
  return 0;
}

static void assert_content(const cp__buf *buf, const char *expected) {
  assert_int_equal(cp__buf_len(buf), strlen(expected));
  assert_memory_equal(cp__buf_begin(buf), expected, strlen(expected));
}

static void test_starts_empty_and_without_memory(void **state) {
  fixture *f = *state;

  cp__buf_append(&f->buf, NULL, 0);
  cp__buf_append_str(&f->buf, "");
  assert_int_equal(cp__buf_len(&f->buf), 0);
  assert_null(cp__buf_begin(&f->buf));
  assert_null(cp__buf_bytes(&f->buf).data);
  assert_int_equal(f->memory.n_calls, 0);
}

static void test_appends(void **state) {
  fixture *f = *state;

  cp__buf_append(&f->buf, "one", 3);
  cp__buf_append_str(&f->buf, " two ");
  cp__buf_append_bytes(&f->buf, cp_str("three"));
  cp__buf_appendf(&f->buf, " %d%s", 4, "!");
  assert_content(&f->buf, "one two three 4!");
  assert_false(f->buf.failed);
}

static void test_format_is_cut_at_511_bytes(void **state) {
  fixture *f = *state;
  char text[600];

  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  cp__buf_appendf(&f->buf, "%s", text);
  assert_int_equal(cp__buf_len(&f->buf), 511);
  assert_memory_equal(cp__buf_begin(&f->buf), text, 511);
}

static void test_reserve_and_commit(void **state) {
  fixture *f = *state;
  uint8_t *place;

  cp__buf_append_str(&f->buf, "ab");
  place = cp__buf_reserve(&f->buf, 1000);
  assert_ptr_equal(place, cp__buf_begin(&f->buf) + 2);
  memcpy(place, "cdef", 4);
  assert_int_equal(cp__buf_len(&f->buf), 2);
  cp__buf_commit(&f->buf, 3);
  assert_content(&f->buf, "abcde");
}

static void test_reserve_of_nothing_is_a_place(void **state) {
  fixture *f = *state;

  assert_non_null(cp__buf_reserve(&f->buf, 0));
  assert_int_equal(cp__buf_len(&f->buf), 0);
}

static void test_consume(void **state) {
  fixture *f = *state;

  cp__buf_append_str(&f->buf, "abcdef");
  cp__buf_consume(&f->buf, 0);
  cp__buf_consume(&f->buf, 2);
  assert_content(&f->buf, "cdef");
  cp__buf_append_str(&f->buf, "gh");
  assert_content(&f->buf, "cdefgh");
  cp__buf_consume(&f->buf, 100);
  assert_int_equal(cp__buf_len(&f->buf), 0);
  cp__buf_append_str(&f->buf, "i");
  assert_content(&f->buf, "i");
}

/* What was consumed is used again instead of more memory. */
static void test_slides_instead_of_growing(void **state) {
  fixture *f = *state;
  size_t n_calls;
  int i;

  assert_non_null(cp__buf_reserve(&f->buf, 256));
  n_calls = f->memory.n_calls;
  for (i = 0; i < 100; i++) {
    uint8_t *place = cp__buf_reserve(&f->buf, 100);
    assert_non_null(place);
    memset(place, i, 100);
    cp__buf_commit(&f->buf, 100);
    if (i > 0) {
      assert_int_equal(*cp__buf_begin(&f->buf), i - 1);
      cp__buf_consume(&f->buf, 100);
    }
    assert_int_equal(*cp__buf_begin(&f->buf), i);
  }
  assert_int_equal(f->memory.n_calls, n_calls);
}

/* Against a plain array that never forgets. */
static void test_long_life(void **state) {
  fixture *f = *state;
  uint8_t wanted[20000];
  size_t written = 0;
  size_t consumed = 0;
  size_t i;

  for (i = 0; i < sizeof wanted; i++)
    wanted[i] = (uint8_t)(i * 31 + i / 251);
  for (i = 1; written < sizeof wanted; i++) {
    size_t more = i * 7 % 300;
    size_t less = i * 11 % 280;
    if (more > sizeof wanted - written)
      more = sizeof wanted - written;
    cp__buf_append(&f->buf, wanted + written, more);
    written += more;
    cp__buf_consume(&f->buf, less);
    consumed += less < written - consumed ? less : written - consumed;
    assert_int_equal(cp__buf_len(&f->buf), written - consumed);
    assert_memory_equal(cp__buf_begin(&f->buf), wanted + consumed,
                        written - consumed);
  }
  assert_false(f->buf.failed);
}

static void test_failure_changes_nothing_and_stays(void **state) {
  fixture *f = *state;
  char text[1000] = "";

  cp__buf_append_str(&f->buf, "kept");
  f->memory.fail_at = f->memory.n_calls + 1;
  cp__buf_append(&f->buf, text, sizeof text);
  assert_true(f->buf.failed);
  assert_content(&f->buf, "kept");

  cp__buf_append_str(&f->buf, "!"); /* there is room, but a hole before it */
  cp__buf_appendf(&f->buf, "%d", 1);
  assert_null(cp__buf_reserve(&f->buf, 1));
  assert_content(&f->buf, "kept");

  cp__buf_reset(&f->buf, SIZE_MAX);
  assert_false(f->buf.failed);
  cp__buf_append_str(&f->buf, "again");
  assert_content(&f->buf, "again");
}

static void test_absurd_length_fails(void **state) {
  fixture *f = *state;

  cp__buf_append_str(&f->buf, "kept");
  assert_null(cp__buf_reserve(&f->buf, SIZE_MAX));
  assert_true(f->buf.failed);
  assert_content(&f->buf, "kept");
  cp__buf_reset(&f->buf, 0);
  assert_null(cp__buf_reserve(&f->buf, SIZE_MAX / 2 + 1));
  assert_true(f->buf.failed);
}

static void test_reset_keeps_little_memory(void **state) {
  fixture *f = *state;
  size_t n_calls;

  cp__buf_append_str(&f->buf, "x");
  n_calls = f->memory.n_calls;
  cp__buf_reset(&f->buf, f->buf.cap);
  cp__buf_append_str(&f->buf, "y");
  assert_content(&f->buf, "y");
  assert_int_equal(f->memory.n_calls, n_calls);

  cp__buf_reset(&f->buf, f->buf.cap - 1);
  assert_int_equal(f->memory.n_live, 0);
  assert_null(cp__buf_begin(&f->buf));
  cp__buf_append_str(&f->buf, "z");
  assert_content(&f->buf, "z");
}

static void test_every_allocation_failing(void **state) {
  failing_alloc memory;
  size_t n = 0;

  (void)state;
  do {
    cp__buf buf;
    size_t i;
    failing_alloc_init(&memory, ++n);
    cp__buf_init(&buf, &memory.alloc);
    for (i = 0; i < 2000; i++)
      cp__buf_append_str(&buf, "0123456789");
    assert_int_equal(buf.failed, memory.failed);
    assert_true(buf.failed || cp__buf_len(&buf) == 20000);
    assert_int_equal(cp__buf_len(&buf) % 10, 0);
    cp__buf_finish(&buf);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n > 3);
}

#define buf_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      buf_test(test_starts_empty_and_without_memory),
      buf_test(test_appends),
      buf_test(test_format_is_cut_at_511_bytes),
      buf_test(test_reserve_and_commit),
      buf_test(test_reserve_of_nothing_is_a_place),
      buf_test(test_consume),
      buf_test(test_slides_instead_of_growing),
      buf_test(test_long_life),
      buf_test(test_failure_changes_nothing_and_stays),
      buf_test(test_absurd_length_fails),
      buf_test(test_reset_keeps_little_memory),
      cmocka_unit_test(test_every_allocation_failing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
