/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_BUF_H
#define CP_BUF_H

/* Buf: bytes that grow at the end and are consumed at the front. An append
 * that finds no memory marks the buf as failed and changes nothing; later
 * appends do nothing either, so a caller that builds something out of many
 * pieces checks once, at the end. */

#include "alloc.h"

#include <stdbool.h>

typedef struct cp__buf {
  const cp_allocator *alloc;
  uint8_t *data;
  size_t start; /* the consumed part: the content begins at data + start */
  size_t end;
  size_t cap;
  bool failed;
} cp__buf;

void cp__buf_init(cp__buf *buf, const cp_allocator *alloc);
void cp__buf_finish(cp__buf *buf);

static inline size_t cp__buf_len(const cp__buf *buf) {
  return buf->end - buf->start;
}
static inline uint8_t *cp__buf_begin(const cp__buf *buf) {
  return buf->data != NULL ? buf->data + buf->start : NULL;
}
static inline cp_bytes cp__buf_bytes(const cp__buf *buf) {
  return cp_bytes_of(cp__buf_begin(buf), cp__buf_len(buf));
}

/* Room for `len` more bytes at the end, to be written at the returned place
 * and then counted by cp__buf_commit. NULL: no memory. */
uint8_t *cp__buf_reserve(cp__buf *buf, size_t len);
void cp__buf_commit(cp__buf *buf, size_t len);

void cp__buf_append(cp__buf *buf, const void *data, size_t len);
void cp__buf_append_bytes(cp__buf *buf, cp_bytes bytes);
void cp__buf_append_str(cp__buf *buf, const char *s);
/* Formats at most 511 bytes. */
void cp__buf_appendf(cp__buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drop `len` bytes at the front (at most what is there). */
void cp__buf_consume(cp__buf *buf, size_t len);
/* Drop the content and the failure mark; memory above `keep` bytes goes back
 * to the allocator. */
void cp__buf_reset(cp__buf *buf, size_t keep);

#endif
