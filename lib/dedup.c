/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "dedup.h"

#define KEY_LEN 12

/* Marks of neighbouring slots; a page is there once one of them is. */
#define PAGE_MARKS 64
#define N_PAGES    (CP__DEDUP_RECEIPTS / PAGE_MARKS + 1)

typedef struct cp__dedup_link {
  cp__map_node node; /* in cp__dedup.map */
  cp__list link;     /* in cp__dedup.links */
  uint64_t instance;
  uint32_t incarnation; /* 0 of unordered ones */
  uint64_t sequence;    /* the highest that came, of all others */
  uint8_t key[KEY_LEN];
  uint64_t *pages[]; /* of unordered ones N_PAGES: the highest of each slot */
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

/* Links. ------------------------------------------------------------------ */

static size_t n_pages(const cp__dedup *dedup) {
  return dedup->unordered ? N_PAGES : 0;
}

static void destroy(cp__dedup *dedup, cp__dedup_link *link) {
  size_t i;

  for (i = 0; i < n_pages(dedup); i++)
    cp__free(dedup->alloc, link->pages[i]);
  cp__free(dedup->alloc, link);
}

static void forget(cp__dedup *dedup, cp__list *link) {
  cp__dedup_link *old = cp__container_of(link, cp__dedup_link, link);

  cp__list_remove(link);
  cp__map_remove(&dedup->map, &old->node);
  destroy(dedup, old);
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

static cp__dedup_link *create(cp__dedup *dedup, uint64_t instance,
                              uint32_t incarnation) {
  cp__dedup_link *link = cp__calloc(
      dedup->alloc, sizeof *link + n_pages(dedup) * sizeof *link->pages);

  if (link == NULL)
    return NULL;
  cp__list_init(&link->link);
  link->instance = instance;
  link->incarnation = incarnation;
  write_key(link->key, instance, incarnation);
  if (cp__map_insert(&dedup->map, &link->node) != 0) {
    destroy(dedup, link);
    return NULL;
  }
  if (dedup->map.n_nodes > max_links(dedup))
    forget(dedup, cp__list_first(&dedup->links));
  return link;
}

static cp__dedup_link *link_of(cp__dedup *dedup, const cp__envelope *envelope) {
  uint32_t incarnation = dedup->unordered ? 0 : envelope->incarnation;
  cp__dedup_link *link = find(dedup, envelope->instance, incarnation);

  if (link != NULL && link == dedup->last)
    return link;
  if (link == NULL)
    link = create(dedup, envelope->instance, incarnation);
  if (link == NULL)
    return NULL;
  cp__list_remove(&link->link);
  cp__list_push_back(&dedup->links, &link->link);
  dedup->last = link;
  return link;
}

/* Marks. ------------------------------------------------------------------ */

static uint64_t *mark_in(uint64_t *page, uint16_t slot) {
  return page != NULL ? &page[slot % PAGE_MARKS] : NULL;
}

/* NULL: no memory. */
static uint64_t *mark_of(cp__dedup *dedup, cp__dedup_link *link,
                         uint16_t slot) {
  uint64_t **page;

  if (!dedup->unordered)
    return &link->sequence;
  page = &link->pages[slot / PAGE_MARKS];
  if (*page == NULL)
    *page = cp__calloc(dedup->alloc, PAGE_MARKS * sizeof **page);
  return mark_in(*page, slot);
}

bool cp__dedup_is_new(cp__dedup *dedup, const cp__envelope *envelope,
                      uint16_t slot) {
  cp__dedup_link *link;
  uint64_t *mark;

  if (envelope->sequence == 0)
    return true;
  link = link_of(dedup, envelope);
  mark = link != NULL ? mark_of(dedup, link, slot) : NULL;
  if (mark == NULL)
    return true;
  if (envelope->sequence <= *mark)
    return false;
  *mark = envelope->sequence;
  return true;
}

uint64_t cp__dedup_highest(const cp__dedup *dedup, uint64_t instance,
                           uint16_t slot) {
  const cp__dedup_link *link = find(dedup, instance, 0);
  const uint64_t *mark =
      link != NULL ? mark_in(link->pages[slot / PAGE_MARKS], slot) : NULL;

  return mark != NULL ? *mark : 0;
}
