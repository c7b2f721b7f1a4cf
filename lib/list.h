/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_LIST_H
#define CP_LIST_H

/* Intrusive doubly linked list. A cp__list is a head when it stands alone and
 * a link when it is a member of the thing that is listed. A link that is in no
 * list points at itself, so removing twice does no harm. */

#include <stdbool.h>
#include <stddef.h>

typedef struct cp__list {
  struct cp__list *next;
  struct cp__list *prev;
} cp__list;

/* The thing of type `type` whose member `field` is the link `ptr`. */
#define cp__container_of(ptr, type, field) \
  ((type *)(void *)((char *)(ptr)-offsetof(type, field)))

static inline void cp__list_init(cp__list *list) {
  list->next = list;
  list->prev = list;
}

static inline bool cp__list_empty(const cp__list *list) {
  return list->next == list;
}

static inline void cp__list_insert_before(cp__list *place, cp__list *link) {
  link->next = place;
  link->prev = place->prev;
  place->prev->next = link;
  place->prev = link;
}

static inline void cp__list_push_back(cp__list *head, cp__list *link) {
  cp__list_insert_before(head, link);
}

static inline void cp__list_push_front(cp__list *head, cp__list *link) {
  cp__list_insert_before(head->next, link);
}

static inline void cp__list_remove(cp__list *link) {
  link->next->prev = link->prev;
  link->prev->next = link->next;
  cp__list_init(link);
}

/* The first link, or NULL. */
static inline cp__list *cp__list_first(const cp__list *head) {
  return cp__list_empty(head) ? NULL : head->next;
}

/* Take the first link out; NULL if there is none. */
static inline cp__list *cp__list_pop(cp__list *head) {
  cp__list *link = cp__list_first(head);
  if (link != NULL)
    cp__list_remove(link);
  return link;
}

/* Move all of `from` to the end of `to`. */
static inline void cp__list_splice(cp__list *to, cp__list *from) {
  if (cp__list_empty(from))
    return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  cp__list_init(from);
}

#endif
