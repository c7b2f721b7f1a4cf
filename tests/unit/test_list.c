/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct item {
  char name;
  cp__list link; /* in a list of the test */
} item;

static item a, b, c, d;
static cp__list head;

static void init_item(item *it, char name) {
  it->name = name;
  cp__list_init(&it->link);
}

static int setup(void **state) {
  (void)state;
  cp__list_init(&head);
  init_item(&a, 'a');
  init_item(&b, 'b');
  init_item(&c, 'c');
  init_item(&d, 'd');
  return 0;
}

static char name_of(const cp__list *link) {
  return cp__container_of(link, item, link)->name;
}

/* The names in `list` must be `names`, read in both directions. */
static void assert_names(const cp__list *list, const char *names) {
  const cp__list *link = list;
  size_t len = strlen(names);
  size_t i;

  for (i = 0; i < len; i++) {
    link = link->next;
    assert_ptr_not_equal(link, list);
    assert_int_equal(name_of(link), names[i]);
  }
  assert_ptr_equal(link->next, list);
  assert_ptr_equal(list->prev, link);
  for (i = len; i > 0; i--, link = link->prev)
    assert_int_equal(name_of(link), names[i - 1]);
  assert_ptr_equal(link, list);
}

static void test_empty(void **state) {
  (void)state;
  assert_true(cp__list_empty(&head));
  assert_null(cp__list_first(&head));
  assert_null(cp__list_pop(&head));
  assert_names(&head, "");
}

static void test_push_at_both_ends(void **state) {
  (void)state;
  cp__list_push_back(&head, &b.link);
  cp__list_push_back(&head, &c.link);
  cp__list_push_front(&head, &a.link);
  assert_false(cp__list_empty(&head));
  assert_ptr_equal(cp__list_first(&head), &a.link);
  assert_names(&head, "abc");
}

static void test_insert_before(void **state) {
  (void)state;
  cp__list_push_back(&head, &a.link);
  cp__list_push_back(&head, &c.link);
  cp__list_insert_before(&c.link, &b.link);
  cp__list_insert_before(&head, &d.link);
  assert_names(&head, "abcd");
}

static void test_remove_anywhere(void **state) {
  (void)state;
  cp__list_push_back(&head, &a.link);
  cp__list_push_back(&head, &b.link);
  cp__list_push_back(&head, &c.link);
  cp__list_push_back(&head, &d.link);
  cp__list_remove(&b.link);
  assert_names(&head, "acd");
  cp__list_remove(&a.link);
  assert_names(&head, "cd");
  cp__list_remove(&d.link);
  assert_names(&head, "c");
  cp__list_remove(&c.link);
  assert_names(&head, "");
}

static void test_remove_twice_does_no_harm(void **state) {
  (void)state;
  cp__list_push_back(&head, &a.link);
  cp__list_push_back(&head, &b.link);
  cp__list_remove(&a.link);
  cp__list_remove(&a.link);
  cp__list_remove(&c.link); /* was never in a list */
  assert_names(&head, "b");
}

static void test_pop_takes_the_first(void **state) {
  (void)state;
  cp__list_push_back(&head, &a.link);
  cp__list_push_back(&head, &b.link);
  assert_ptr_equal(cp__list_pop(&head), &a.link);
  assert_true(cp__list_empty(&a.link));
  assert_ptr_equal(cp__list_pop(&head), &b.link);
  assert_null(cp__list_pop(&head));
}

static void test_splice(void **state) {
  cp__list from;

  (void)state;
  cp__list_init(&from);
  cp__list_splice(&head, &from);
  assert_names(&head, "");

  cp__list_push_back(&from, &a.link);
  cp__list_push_back(&from, &b.link);
  cp__list_splice(&head, &from); /* into an empty one */
  assert_names(&from, "");
  assert_names(&head, "ab");

  cp__list_push_back(&from, &c.link);
  cp__list_push_back(&from, &d.link);
  cp__list_splice(&head, &from); /* behind what is there */
  assert_names(&from, "");
  assert_names(&head, "abcd");

  cp__list_splice(&head, &from); /* nothing */
  assert_names(&head, "abcd");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_empty, setup),
      cmocka_unit_test_setup(test_push_at_both_ends, setup),
      cmocka_unit_test_setup(test_insert_before, setup),
      cmocka_unit_test_setup(test_remove_anywhere, setup),
      cmocka_unit_test_setup(test_remove_twice_does_no_harm, setup),
      cmocka_unit_test_setup(test_pop_takes_the_first, setup),
      cmocka_unit_test_setup(test_splice, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
