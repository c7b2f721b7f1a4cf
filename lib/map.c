/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "map.h"

#include <assert.h>
#include <string.h>

#define FIRST_BUCKETS 16

/* SipHash: Aumasson and Bernstein, "SipHash: a fast short-input PRF". */

static inline uint64_t rotl(uint64_t x, int bits) {
  return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(uint64_t v[4]) {
  v[0] += v[1];
  v[2] += v[3];
  v[1] = rotl(v[1], 13) ^ v[0];
  v[3] = rotl(v[3], 16) ^ v[2];
  v[0] = rotl(v[0], 32);
  v[2] += v[1];
  v[0] += v[3];
  v[1] = rotl(v[1], 17) ^ v[2];
  v[3] = rotl(v[3], 21) ^ v[0];
  v[2] = rotl(v[2], 32);
}

/* The last 0 to 7 bytes, little endian, with the length on top. */
static uint64_t sip_tail(const uint8_t *p, size_t len) {
  uint64_t tail = (uint64_t)len << 56;
  size_t i;

  for (i = 0; i < (len & 7); i++)
    tail |= (uint64_t)p[i] << (8 * i);
  return tail;
}

static inline uint64_t load_le64(const uint8_t *p) {
  uint64_t word;

  memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

uint64_t cp__siphash(const uint64_t seed[2], const void *data, size_t len) {
  uint64_t v[4] = {
      seed[0] ^ UINT64_C(0x736f6d6570736575),
      seed[1] ^ UINT64_C(0x646f72616e646f6d),
      seed[0] ^ UINT64_C(0x6c7967656e657261),
      seed[1] ^ UINT64_C(0x7465646279746573),
  };
  const uint8_t *p = data;
  size_t left;
  uint64_t word;
  int i;

  for (left = len; left >= 8; left -= 8, p += 8) {
    word = load_le64(p);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
  }
  word = sip_tail(p, len);
  v[3] ^= word;
  sip_round(v);
  v[0] ^= word;
  v[2] ^= 0xff;
  for (i = 0; i < 3; i++)
    sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void cp__map_init(cp__map *map, const cp_allocator *alloc,
                  cp_bytes (*key_of)(const cp__map_node *),
                  const uint64_t seed[2]) {
  memset(map, 0, sizeof *map);
  map->alloc = alloc;
  map->key_of = key_of;
  map->seed[0] = seed[0];
  map->seed[1] = seed[1];
}

void cp__map_finish(cp__map *map) {
  cp__free(map->alloc, map->buckets);
  map->buckets = NULL;
  map->n_buckets = map->n_nodes = map->n_empty = 0;
}

static inline cp__map_node **bucket_of(const cp__map *map, uint64_t hash) {
  return &map->buckets[hash & (map->n_buckets - 1)];
}

static void put(cp__map *map, cp__map_node *node) {
  size_t i = node->hash & (map->n_buckets - 1);

  node->next = map->buckets[i];
  map->buckets[i] = node;
  if (i < map->n_empty)
    map->n_empty = i;
}

cp__map_node *cp__map_find(const cp__map *map, cp_bytes key) {
  cp__map_node *node;
  uint64_t hash;

  if (map->n_nodes == 0)
    return NULL;
  hash = cp__siphash(map->seed, key.data, key.len);
  for (node = *bucket_of(map, hash); node != NULL; node = node->next) {
    cp_bytes other;
    if (node->hash != hash)
      continue;
    other = map->key_of(node);
    if (other.len == key.len &&
        (key.len == 0 || memcmp(other.data, key.data, key.len) == 0))
      return node;
  }
  return NULL;
}

static void grow(cp__map *map) {
  size_t n = map->n_buckets == 0 ? FIRST_BUCKETS : map->n_buckets * 2;
  cp__map_node **old = map->buckets;
  cp__map_node **buckets = cp__calloc(map->alloc, n * sizeof *buckets);
  size_t n_old = map->n_buckets;
  size_t i;

  if (buckets == NULL)
    return;
  map->buckets = buckets;
  map->n_buckets = map->n_empty = n;
  for (i = 0; i < n_old; i++) {
    cp__map_node *node = old[i];
    while (node != NULL) {
      cp__map_node *next = node->next;
      put(map, node);
      node = next;
    }
  }
  cp__free(map->alloc, old);
}

int cp__map_insert(cp__map *map, cp__map_node *node) {
  cp_bytes key = map->key_of(node);

  if (map->n_nodes >= map->n_buckets)
    grow(map);
  if (map->n_buckets == 0)
    return CP_E_NOMEM;
  node->hash = cp__siphash(map->seed, key.data, key.len);
  put(map, node);
  map->n_nodes++;
  return 0;
}

void cp__map_remove(cp__map *map, cp__map_node *node) {
  cp__map_node **p = bucket_of(map, node->hash);

  while (*p != node) {
    assert(*p != NULL);
    p = &(*p)->next;
  }
  *p = node->next;
  node->next = NULL;
  map->n_nodes--;
}

cp__map_node *cp__map_any(cp__map *map) {
  for (; map->n_empty < map->n_buckets; map->n_empty++)
    if (map->buckets[map->n_empty] != NULL)
      return map->buckets[map->n_empty];
  return NULL;
}

void cp__map_each(const cp__map *map, void (*fn)(void *ctx, cp__map_node *node),
                  void *ctx) {
  cp__map_node *node;
  size_t i;

  for (i = 0; i < map->n_buckets; i++)
    for (node = map->buckets[i]; node != NULL; node = node->next)
      fn(ctx, node);
}
