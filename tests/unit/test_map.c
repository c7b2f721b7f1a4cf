/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "failing_alloc.h"
#include "list.h"
#include "map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_MANY 1000

typedef struct item {
  cp__map_node node;
  size_t len;
  char key[16];
} item;

static cp_bytes key_of(const cp__map_node *node) {
  const item *it = cp__container_of(node, item, node);

  return cp_bytes_of(it->key, it->len);
}

/* The k0, k1 of the reference vectors: the bytes 00 01 ... 0f. */
static const uint64_t seed[2] = {UINT64_C(0x0706050403020100),
                                 UINT64_C(0x0f0e0d0c0b0a0908)};

typedef struct fixture {
  failing_alloc memory;
  cp__map map;
  item items[N_MANY];
} fixture;

static int setup(void **state) {
  static fixture f;
  size_t i;

  memset(&f, 0, sizeof f);
  failing_alloc_init(&f.memory, 0);
  cp__map_init(&f.map, &f.memory.alloc, key_of, seed);
  for (i = 0; i < N_MANY; i++)
    f.items[i].len =
        (size_t)snprintf(f.items[i].key, sizeof f.items[i].key, "user%zu", i);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  cp__map_finish(&f->map);
  assert_int_equal(f->memory.n_live, 0);
  return 0;
}

static void set_key(item *it, const void *key, size_t len) {
  memcpy(it->key, key, len);
  it->len = len;
}

static void insert(fixture *f, size_t i) {
  assert_int_equal(cp__map_insert(&f->map, &f->items[i].node), 0);
}

static void insert_all(fixture *f) {
  size_t i;

  for (i = 0; i < N_MANY; i++)
    insert(f, i);
}

static void assert_found(fixture *f, size_t i, bool found) {
  const item *it = &f->items[i];

  assert_ptr_equal(cp__map_find(&f->map, cp_bytes_of(it->key, it->len)),
                   found ? &it->node : NULL);
}

static void test_empty(void **state) {
  fixture *f = *state;

  assert_null(cp__map_find(&f->map, cp_str("user0")));
  assert_null(cp__map_any(&f->map));
  assert_int_equal(f->memory.n_calls, 0);
}

static void test_many(void **state) {
  fixture *f = *state;
  size_t i;

  for (i = 0; i < N_MANY; i++) {
    assert_found(f, i, false);
    insert(f, i);
    assert_found(f, i, true);
  }
  assert_int_equal(f->map.n_nodes, N_MANY);
  for (i = 0; i < N_MANY; i++)
    assert_found(f, i, true);
  assert_null(cp__map_find(&f->map, cp_str("user")));
  assert_null(cp__map_find(&f->map, cp_str("user1000")));
}

static void test_grows_with_its_content(void **state) {
  fixture *f = *state;

  insert_all(f);
  assert_true(f->map.n_buckets >= N_MANY);
  assert_int_equal(f->map.n_buckets & (f->map.n_buckets - 1), 0);
}

static void test_remove(void **state) {
  fixture *f = *state;
  size_t i;

  insert_all(f);
  for (i = 0; i < N_MANY; i += 2)
    cp__map_remove(&f->map, &f->items[i].node);
  assert_int_equal(f->map.n_nodes, N_MANY / 2);
  for (i = 0; i < N_MANY; i++)
    assert_found(f, i, i % 2 != 0);
  for (i = 0; i < N_MANY; i += 2)
    insert(f, i);
  for (i = 0; i < N_MANY; i++)
    assert_found(f, i, true);
}

static void test_any_empties_the_map(void **state) {
  fixture *f = *state;
  int round;

  for (round = 0; round < 2; round++) { /* what was passed over counts again */
    cp__map_node *node;
    size_t n = 0;

    insert_all(f);
    while ((node = cp__map_any(&f->map)) != NULL) {
      cp__map_remove(&f->map, node);
      n++;
    }
    assert_int_equal(n, N_MANY);
    assert_int_equal(f->map.n_nodes, 0);
  }
}

static void test_keys_are_any_bytes(void **state) {
  fixture *f = *state;

  set_key(&f->items[0], "", 0);
  set_key(&f->items[1], "\0", 1);
  set_key(&f->items[2], "\0\0", 2);
  set_key(&f->items[3], "a\0b", 3);
  set_key(&f->items[4], "a\0c", 3);
  insert(f, 0);
  insert(f, 2);
  insert(f, 4);
  assert_found(f, 0, true);
  assert_found(f, 1, false);
  assert_found(f, 2, true);
  assert_found(f, 3, false);
  assert_found(f, 4, true);
}

/* A node that kept its hash while its key changed stands for two keys with
 * the same hash, which nobody can produce in a test otherwise. */
static void test_same_hash_is_not_same_key(void **state) {
  fixture *f = *state;

  insert(f, 0);
  set_key(&f->items[0], "other", 5);
  assert_null(cp__map_find(&f->map, cp_str("user0")));
  set_key(&f->items[0], "user1", 5);
  assert_null(cp__map_find(&f->map, cp_str("user0")));
  set_key(&f->items[0], "user0", 5);
  assert_found(f, 0, true);
}

static void test_no_memory_at_first(void **state) {
  fixture *f = *state;

  f->memory.fail_at = 1;
  assert_int_equal(cp__map_insert(&f->map, &f->items[0].node), CP_E_NOMEM);
  assert_int_equal(f->map.n_nodes, 0);
  assert_found(f, 0, false);
  insert(f, 0);
  assert_found(f, 0, true);
}

/* Allows one allocation, no more. */
static void *allocate_once(void *ctx, size_t size) {
  failing_alloc *memory = ctx;

  return memory->n_calls > 0 ? NULL : failing_alloc_allocate(ctx, size);
}

static void test_crowded_without_memory(void **state) {
  fixture *f = *state;
  size_t i;

  f->memory.alloc.allocate = allocate_once;
  insert_all(f);
  assert_int_equal(f->map.n_buckets, 16);
  for (i = 0; i < N_MANY; i++)
    assert_found(f, i, true);
  for (i = 0; i < N_MANY; i += 3)
    cp__map_remove(&f->map, &f->items[i].node);
  for (i = 0; i < N_MANY; i++)
    assert_found(f, i, i % 3 != 0);
  f->memory.alloc.allocate = failing_alloc_allocate;
  for (i = 0; i < N_MANY; i += 3)
    insert(f, i);
  for (i = 0; i < N_MANY; i++)
    assert_found(f, i, true);
}

/* Computed with an independent implementation, which was checked against the
 * SipHash-2-4 vector of the paper and against CPython's siphash13. */
static void test_siphash_vectors(void **state) {
  static const struct {
    size_t len;
    uint64_t hash;
  } vectors[] = {
      {0, UINT64_C(0xabac0158050fc4dc)},  {1, UINT64_C(0xc9f49bf37d57ca93)},
      {7, UINT64_C(0xd3927d989bb11140)},  {8, UINT64_C(0x369095118d299a8e)},
      {9, UINT64_C(0x25a48eb36c063de4)},  {15, UINT64_C(0xd320d86d2a519956)},
      {16, UINT64_C(0xcc4fdd1a7d908b66)}, {63, UINT64_C(0x9d199062b7bbb3a8)},
  };
  uint8_t bytes[64];
  size_t i;
  size_t shift;

  (void)state;
  for (shift = 0; shift < 2; shift++) { /* aligned and not */
    for (i = 0; i + shift < sizeof bytes; i++)
      bytes[i + shift] = (uint8_t)i;
    for (i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
      assert_true(cp__siphash(seed, bytes + shift, vectors[i].len) ==
                  vectors[i].hash);
  }
}

static void test_siphash_depends_on_all_of_the_seed(void **state) {
  uint64_t other[2];
  int bit;

  (void)state;
  for (bit = 0; bit < 128; bit++) {
    memcpy(other, seed, sizeof other);
    other[bit / 64] ^= UINT64_C(1) << (bit % 64);
    assert_true(cp__siphash(other, "alice", 5) !=
                cp__siphash(seed, "alice", 5));
  }
}

#define map_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      map_test(test_empty),
      map_test(test_many),
      map_test(test_grows_with_its_content),
      map_test(test_remove),
      map_test(test_any_empties_the_map),
      map_test(test_keys_are_any_bytes),
      map_test(test_same_hash_is_not_same_key),
      map_test(test_no_memory_at_first),
      map_test(test_crowded_without_memory),
      cmocka_unit_test(test_siphash_vectors),
      cmocka_unit_test(test_siphash_depends_on_all_of_the_seed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
