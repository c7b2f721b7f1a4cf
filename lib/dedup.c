/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "dedup.h"

#define KEY_LEN 12
#define N_WORDS (CP__DEDUP_WINDOW / 64)

typedef struct cp__dedup_link {
  cp__map_node node; /* in cp__dedup.map */
  cp__list link;     /* in cp__dedup.links */
  uint64_t instance;
  uint32_t incarnation;
  uint64_t sequence; /* the highest that came */
  uint8_t key[KEY_LEN];
  uint64_t came[]; /* of unordered ones N_WORDS: a bit each for the sequences of
                      the highest one's word and of those before it */
} cp__dedup_link;

static cp_bytes key_of(const cp__map_node *node) {
  return cp_bytes_of(cp__container_of(node, cp__dedup_link, node)->key,
                     KEY_LEN);
}

void cp__dedup_init(cp__dedup *dedup, const cp_allocator *alloc,
                    const uint64_t seed[2], bool unordered) {
  dedup->alloc = alloc;
  dedup->unordered = unordered;
  dedup->last = NULL;
  cp__map_init(&dedup->map, alloc, key_of, seed);
  cp__list_init(&dedup->links);
}

static void forget(cp__dedup *dedup, cp__list *link) {
  cp__dedup_link *old = cp__container_of(link, cp__dedup_link, link);

  cp__list_remove(link);
  cp__map_remove(&dedup->map, &old->node);
  cp__free(dedup->alloc, old);
}

void cp__dedup_finish(cp__dedup *dedup) {
  while (!cp__list_empty(&dedup->links))
    forget(dedup, cp__list_first(&dedup->links));
  cp__map_finish(&dedup->map);
}

static void write_key(uint8_t key[KEY_LEN], uint64_t instance,
                      uint32_t incarnation) {
  memcpy(key, &instance, 8);
  memcpy(key + 8, &incarnation, 4);
}

static bool is_of(const cp__dedup_link *link, uint64_t instance,
                  uint32_t incarnation) {
  return link != NULL && link->instance == instance &&
         link->incarnation == incarnation;
}

static cp__dedup_link *find(const cp__dedup *dedup, uint64_t instance,
                            uint32_t incarnation) {
  uint8_t key[KEY_LEN];
  cp__map_node *node;

  if (is_of(dedup->last, instance, incarnation)) /* senders speak in runs */
    return dedup->last;
  write_key(key, instance, incarnation);
  node = cp__map_find(&dedup->map, cp_bytes_of(key, KEY_LEN));
  return node != NULL ? cp__container_of(node, cp__dedup_link, node) : NULL;
}

static size_t max_links(const cp__dedup *dedup) {
  return dedup->unordered ? CP__DEDUP_MAX_UNORDERED : CP__DEDUP_MAX;
}

static cp__dedup_link *create(cp__dedup *dedup, const cp__envelope *envelope) {
  size_t n_words = dedup->unordered ? N_WORDS : 0;
  cp__dedup_link *link =
      cp__calloc(dedup->alloc, sizeof *link + n_words * sizeof *link->came);

  if (link == NULL)
    return NULL;
  cp__list_init(&link->link);
  link->instance = envelope->instance;
  link->incarnation = envelope->incarnation;
  write_key(link->key, link->instance, link->incarnation);
  if (cp__map_insert(&dedup->map, &link->node) != 0) {
    cp__free(dedup->alloc, link);
    return NULL;
  }
  if (dedup->map.n_nodes > max_links(dedup))
    forget(dedup, cp__list_first(&dedup->links));
  return link;
}

static cp__dedup_link *link_of(cp__dedup *dedup, const cp__envelope *envelope) {
  cp__dedup_link *link = find(dedup, envelope->instance, envelope->incarnation);

  if (link != NULL && link == dedup->last)
    return link;
  if (link == NULL)
    link = create(dedup, envelope);
  if (link == NULL)
    return NULL;
  cp__list_remove(&link->link);
  cp__list_push_back(&dedup->links, &link->link);
  dedup->last = link;
  return link;
}

/* The words between the highest sequence so far and this one are used anew. */
static void advance(cp__dedup_link *link, uint64_t sequence) {
  uint64_t word = link->sequence / 64;
  uint64_t n = sequence / 64 - word;

  if (n > N_WORDS)
    n = N_WORDS;
  while (n-- > 0)
    link->came[++word % N_WORDS] = 0;
  link->sequence = sequence;
}

static bool is_too_old(const cp__dedup_link *link, uint64_t sequence) {
  return sequence <= link->sequence &&
         link->sequence / 64 - sequence / 64 >= N_WORDS;
}

static uint64_t *word_of(cp__dedup_link *link, uint64_t sequence) {
  return &link->came[sequence / 64 % N_WORDS];
}

static uint64_t bit_of(uint64_t sequence) {
  return (uint64_t)1 << (sequence % 64);
}

static bool is_new_unordered(cp__dedup_link *link, uint64_t sequence) {
  uint64_t *word = word_of(link, sequence);
  bool came;

  if (is_too_old(link, sequence))
    return true;
  if (sequence > link->sequence)
    advance(link, sequence);
  came = (*word & bit_of(sequence)) != 0;
  *word |= bit_of(sequence);
  return !came;
}

bool cp__dedup_has(const cp__dedup *dedup, uint64_t instance,
                   uint32_t incarnation, uint64_t sequence) {
  cp__dedup_link *link = find(dedup, instance, incarnation);

  return link != NULL && sequence <= link->sequence &&
         !is_too_old(link, sequence) &&
         (*word_of(link, sequence) & bit_of(sequence)) != 0;
}

bool cp__dedup_is_new(cp__dedup *dedup, const cp__envelope *envelope) {
  cp__dedup_link *link;

  if (envelope->sequence == 0)
    return true;
  link = link_of(dedup, envelope);
  if (link == NULL)
    return true;
  if (dedup->unordered)
    return is_new_unordered(link, envelope->sequence);
  if (envelope->sequence <= link->sequence)
    return false;
  link->sequence = envelope->sequence;
  return true;
}
