/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "echoes.h"

#define KEEP 65536 /* what the log holds on to when empty */

typedef struct record {
  uint64_t sequence;
  uint64_t sent_ms;
  uint64_t newest;
  uint32_t body_len;
  uint8_t user_len;
  uint8_t type;
  uint8_t target_kind;
  uint8_t order;
} record;

void cp__echoes_init(cp__echoes *echoes, const cp_allocator *alloc,
                     size_t max_bytes) {
  cp__buf_init(&echoes->log, alloc);
  echoes->last = 0;
  echoes->max_bytes = max_bytes;
}

void cp__echoes_finish(cp__echoes *echoes) {
  cp__buf_finish(&echoes->log);
}

bool cp__echoes_put(cp__echoes *echoes, const cp__echo *echo) {
  size_t len = sizeof(record) + echo->user.len + echo->body.len;
  cp__buf *log = &echoes->log;
  record head;

  if (len > echoes->max_bytes || cp__buf_len(log) > echoes->max_bytes - len)
    return false;
  if (cp__buf_reserve(log, len) == NULL) {
    log->failed = false;
    return false;
  }
  head.sequence = echo->sequence;
  head.sent_ms = echo->sent_ms;
  head.newest = echo->newest;
  head.body_len = (uint32_t)echo->body.len;
  head.user_len = (uint8_t)echo->user.len; /* at most CP__USER_MAX */
  head.type = echo->type;
  head.target_kind = echo->target_kind;
  head.order = echo->order;
  cp__buf_append(log, &head, sizeof head);
  cp__buf_append_bytes(log, echo->user);
  cp__buf_append_bytes(log, echo->body);
  echoes->last = len;
  return true;
}

/* The record that begins `at` bytes into the log. */
static record record_at(const cp__echoes *echoes, size_t at) {
  record head;

  memcpy(&head, cp__buf_begin(&echoes->log) + at, sizeof head);
  return head;
}

static size_t size_of(const record *head) {
  return sizeof *head + head->user_len + head->body_len;
}

static void consume(cp__echoes *echoes, size_t len) {
  cp__buf_consume(&echoes->log, len);
  if (cp__echoes_is_empty(echoes))
    cp__buf_reset(&echoes->log, KEEP);
}

void cp__echoes_undo(cp__echoes *echoes, uint64_t sequence) {
  size_t len = cp__buf_len(&echoes->log);

  if (echoes->last == 0 || echoes->last > len ||
      record_at(echoes, len - echoes->last).sequence != sequence)
    return;
  echoes->log.end -= echoes->last;
  echoes->last = 0;
}

void cp__echoes_heard(cp__echoes *echoes, uint64_t sequence) {
  while (!cp__echoes_is_empty(echoes)) {
    record head = record_at(echoes, 0);
    if (head.sequence > sequence)
      return;
    consume(echoes, size_of(&head));
  }
}

void cp__echoes_heard_until(cp__echoes *echoes, uint64_t sent_ms) {
  while (!cp__echoes_is_empty(echoes)) {
    record head = record_at(echoes, 0);
    if (head.sent_ms >= sent_ms)
      return;
    consume(echoes, size_of(&head));
  }
}

bool cp__echoes_next(const cp__echoes *echoes, size_t *at, cp__echo *echo) {
  const uint8_t *bytes;
  record head;

  if (*at >= cp__buf_len(&echoes->log))
    return false;
  head = record_at(echoes, *at);
  bytes = cp__buf_begin(&echoes->log) + *at + sizeof head;
  *at += size_of(&head);
  echo->sequence = head.sequence;
  echo->sent_ms = head.sent_ms;
  echo->newest = head.newest;
  echo->target_kind = head.target_kind;
  echo->order = head.order;
  echo->user = cp_bytes_of(bytes, head.user_len);
  echo->type = head.type;
  echo->body = cp_bytes_of(bytes + head.user_len, head.body_len);
  return true;
}

/* The bytes stay where they are until something is put. */
bool cp__echoes_take(cp__echoes *echoes, cp__echo *echo) {
  if (!cp__echoes_first(echoes, echo)) {
    cp__buf_reset(&echoes->log, KEEP);
    return false;
  }
  cp__buf_consume(&echoes->log,
                  sizeof(record) + echo->user.len + echo->body.len);
  return true;
}
