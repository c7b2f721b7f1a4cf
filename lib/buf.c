/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIN_CAP    256
#define FORMAT_MAX 512

void cp__buf_init(cp__buf *buf, const cp_allocator *alloc) {
  memset(buf, 0, sizeof *buf);
  buf->alloc = alloc;
}

void cp__buf_finish(cp__buf *buf) {
  cp__free(buf->alloc, buf->data);
  cp__buf_init(buf, buf->alloc);
}

static void slide_to_front(cp__buf *buf) {
  if (buf->start == 0 || buf->data == NULL)
    return;
  memmove(buf->data, buf->data + buf->start, cp__buf_len(buf));
  buf->end -= buf->start;
  buf->start = 0;
}

static bool grow(cp__buf *buf, size_t needed) {
  size_t cap = buf->cap < MIN_CAP ? MIN_CAP : buf->cap;
  uint8_t *data;

  if (needed > SIZE_MAX / 2)
    return false;
  while (cap < needed)
    cap *= 2;
  data = cp__realloc(buf->alloc, buf->data, cap);
  if (data == NULL)
    return false;
  buf->data = data;
  buf->cap = cap;
  return true;
}

uint8_t *cp__buf_reserve(cp__buf *buf, size_t len) {
  size_t used = cp__buf_len(buf);

  if (buf->failed)
    return NULL;
  if (buf->cap - buf->end >= len && buf->data != NULL)
    return buf->data + buf->end;
  /* Sliding pays only when it frees at least as much as it moves. */
  if (buf->start >= used)
    slide_to_front(buf);
  if (buf->cap - buf->end < len || buf->data == NULL) {
    if (len > SIZE_MAX - buf->end || !grow(buf, buf->end + len)) {
      buf->failed = true;
      return NULL;
    }
  }
  return buf->data + buf->end;
}

void cp__buf_commit(cp__buf *buf, size_t len) {
  assert(buf->cap - buf->end >= len);
  buf->end += len;
}

void cp__buf_append(cp__buf *buf, const void *data, size_t len) {
  uint8_t *place;

  if (len == 0)
    return;
  place = cp__buf_reserve(buf, len);
  if (place == NULL)
    return;
  memcpy(place, data, len);
  buf->end += len;
}

void cp__buf_append_bytes(cp__buf *buf, cp_bytes bytes) {
  cp__buf_append(buf, bytes.data, bytes.len);
}

void cp__buf_append_str(cp__buf *buf, const char *s) {
  cp__buf_append(buf, s, strlen(s));
}

void cp__buf_appendf(cp__buf *buf, const char *format, ...) {
  char text[FORMAT_MAX];
  va_list args;
  int len;

  va_start(args, format);
  len = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (len < 0)
    len = 0;
  cp__buf_append(buf, text,
                 (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
}

void cp__buf_consume(cp__buf *buf, size_t len) {
  if (len >= cp__buf_len(buf))
    buf->start = buf->end = 0;
  else
    buf->start += len;
}

void cp__buf_reset(cp__buf *buf, size_t keep) {
  buf->start = buf->end = 0;
  buf->failed = false;
  if (buf->cap > keep) {
    cp__free(buf->alloc, buf->data);
    buf->data = NULL;
    buf->cap = 0;
  }
}
