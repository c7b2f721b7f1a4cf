/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_MAP_H
#define CP_MAP_H

/* Map: intrusive hash table from bytes to things that embed a cp__map_node.
 * Keys come from strangers, so the hash is keyed (SipHash-1-3 with a random
 * seed): nobody can choose user ids that all fall into one bucket. The map
 * holds no copy of the key: a callback finds it in the thing. */

#include "alloc.h"

typedef struct cp__map_node {
  struct cp__map_node *next; /* same bucket */
  uint64_t hash;
} cp__map_node;

typedef struct cp__map {
  const cp_allocator *alloc;
  cp_bytes (*key_of)(const cp__map_node *node);
  cp__map_node **buckets; /* NULL while empty */
  size_t n_buckets;       /* a power of two, or 0 */
  size_t n_nodes;
  size_t n_empty; /* buckets in front of the first with a node, at least */
  uint64_t seed[2];
} cp__map;

void cp__map_init(cp__map *map, const cp_allocator *alloc,
                  cp_bytes (*key_of)(const cp__map_node *),
                  const uint64_t seed[2]);
/* The nodes are the caller's: free them first. */
void cp__map_finish(cp__map *map);

/* NULL if there is none. */
cp__map_node *cp__map_find(const cp__map *map, cp_bytes key);
/* The key must not be there yet. Returns 0 or CP_E_NOMEM (only while the map
 * has no buckets at all: a table that can't grow gets slower, not full). */
int cp__map_insert(cp__map *map, cp__map_node *node);
/* The node must be there. */
void cp__map_remove(cp__map *map, cp__map_node *node);
/* Any node, or NULL when the map is empty. Taking out all of them one by one
 * walks the buckets once. */
cp__map_node *cp__map_any(cp__map *map);
/* Call `fn` for every node. It must not change the map. */
void cp__map_each(const cp__map *map, void (*fn)(void *ctx, cp__map_node *node),
                  void *ctx);

/* SipHash-1-3. */
uint64_t cp__siphash(const uint64_t seed[2], const void *data, size_t len);

#endif
