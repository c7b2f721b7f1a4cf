/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Any bytes as the beginning of a connection. */

#include "handshake.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                        \
    }                                                                 \
  } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Scan. ------------------------------------------------------------------- */

static long scan_in_pieces(const uint8_t *data, size_t size, size_t step,
                           size_t limit) {
  cp__head_scan scan = {0};
  size_t len = 0;
  long result;

  for (;;) {
    len = size - len < step ? size : len + step;
    result = cp__head_scan_feed(&scan, data, len, limit);
    CHECK(scan.pos <= len);
    if (result != 0 || len == size)
      return result;
  }
}

static long scan(const uint8_t *data, size_t size, size_t limit) {
  long result = scan_in_pieces(data, size, size, limit);

  CHECK(scan_in_pieces(data, size, 1, limit) == result);
  CHECK(scan_in_pieces(data, size, size / 3 + 1, limit) == result);
  if (result == 0)
    CHECK(size < limit || size == 0);
  if (result < 0)
    CHECK(result == -400 || result == -414 || result == -431);
  if (result > 0) {
    CHECK((size_t)result <= size && (size_t)result <= limit);
    CHECK(memcmp(data + result - 4, "\r\n\r\n", 4) == 0);
  }
  return result;
}

/* Parse. ------------------------------------------------------------------ */

/* Of the head that was just parsed. */
static void check_inside(cp_bytes part, cp_bytes head) {
  const uint8_t *begin = head.data;
  const uint8_t *p = part.data;

  CHECK(p != NULL || part.len == 0);
  if (p != NULL)
    CHECK(p >= begin && p + part.len <= begin + head.len);
}

static bool is(cp_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static bool same(cp_bytes a, cp_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void check_headers(const cp__request_head *head, cp_bytes bytes) {
  size_t i;

  CHECK(head->n_headers <= CP__MAX_HEADERS);
  for (i = 0; i < head->n_headers; i++) {
    cp_bytes value = head->headers[i].value;
    const char *text = value.data;
    check_inside(head->headers[i].name, bytes);
    check_inside(value, bytes);
    CHECK(cp__is_token(head->headers[i].name));
    CHECK(cp__is_header_value(value));
    CHECK(text != NULL);
    if (value.len > 0) {
      CHECK(text[0] != ' ' && text[0] != '\t');
      CHECK(text[value.len - 1] != ' ' && text[value.len - 1] != '\t');
    }
  }
}

static void check_head(const cp__request_head *head, cp_bytes bytes) {
  check_headers(head, bytes);
  check_inside(head->method, bytes);
  check_inside(head->target, bytes);
  check_inside(head->query, bytes);
  check_inside(head->host, bytes);
  check_inside(head->origin, bytes);
  check_inside(head->key, bytes);
  CHECK(is(head->method, head->head_only ? "HEAD" : "GET"));
  CHECK(head->path.len > 0 && *(const char *)head->path.data == '/');
  if (!is(head->path, "/"))
    check_inside(head->path, bytes);
  if (head->upgrade)
    CHECK(!head->head_only && head->key.len == 24 && head->host.len > 0);
}

/* What was read, written again in its plainest form, must read the same. */
static void check_round_trip(const cp__request_head *head) {
  const char *version = (const char *)head->target.data + head->target.len + 1;
  cp__request_head again;
  cp__buf out;
  size_t i;

  cp__buf_init(&out, &cp__default_allocator);
  cp__buf_append_bytes(&out, head->method);
  cp__buf_append_str(&out, " ");
  cp__buf_append_bytes(&out, head->target);
  cp__buf_append_str(&out, " ");
  cp__buf_append(&out, version, strlen("HTTP/1.1"));
  cp__buf_append_str(&out, "\r\n");
  for (i = 0; i < head->n_headers; i++) {
    cp__buf_append_bytes(&out, head->headers[i].name);
    cp__buf_append_str(&out, ":");
    cp__buf_append_bytes(&out, head->headers[i].value);
    cp__buf_append_str(&out, "\r\n");
  }
  cp__buf_append_str(&out, "\r\n");
  CHECK(scan(out.data, out.end, SIZE_MAX / 2) == (long)out.end);
  CHECK(cp__request_head_parse(&again, out.data, out.end) == 0);
  CHECK(again.n_headers == head->n_headers && again.upgrade == head->upgrade);
  CHECK(same(again.path, head->path) && same(again.query, head->query));
  CHECK(same(again.host, head->host) && same(again.origin, head->origin));
  cp__buf_finish(&out);
}

static int parse(cp__request_head *head, const uint8_t *data, size_t size) {
  int status = cp__request_head_parse(head, data, size);

  CHECK(status == 0 || status == 400 || status == 405 || status == 426 ||
        status == 431 || status == 505);
  if (status == 0) {
    check_head(head, cp_bytes_of(data, size));
    check_round_trip(head);
  }
  return status;
}

/* Query, origin, response. ------------------------------------------------ */

static int decode_query(cp_bytes query, const char *name) {
  cp__buf out;
  int err;

  cp__buf_init(&out, &cp__default_allocator);
  err = cp__query_decode(query, cp_str(name), &out);
  CHECK(err == 0 || err == CP_E_NOTFOUND || err == CP_E_INVALID);
  CHECK(cp__buf_len(&out) <= query.len);
  CHECK(err == 0 || cp__buf_len(&out) == 0);
  cp__buf_finish(&out);
  return err;
}

/* An origin is on its own authority, unless that is none. */
static void check_origin(cp_bytes origin, cp_bytes host) {
  cp__buf own;

  cp__origin_is_host(origin, host);
  cp__buf_init(&own, &cp__default_allocator);
  cp__buf_append_str(&own, "https://");
  cp__buf_append_bytes(&own, host);
  CHECK(cp__origin_is_host(cp__buf_bytes(&own), host) ==
        cp__uri_is_authority(host));
  cp__buf_finish(&own);
}

static void answer(const cp__request_head *head) {
  static cp__hash *hash;
  cp__buf out;
  int err;

  cp__buf_init(&out, &cp__default_allocator);
  if (hash == NULL)
    hash = cp__hash_create();
  err = cp__handshake_write_101(&out, hash, head->key, cp_bytes_of(NULL, 0),
                                head->headers, head->n_headers);
  CHECK(err == (head->upgrade ? 0 : CP_E_INVALID));
  cp__buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const size_t small = 200;
  static const size_t large = 16384;
  cp__request_head head;
  long len = scan(data, size, large);

  scan(data, size, small);
  decode_query(cp_bytes_of(data, size), "user");
  check_origin(cp_bytes_of(data, size / 2),
               cp_bytes_of(data + size / 2, size - size / 2));
  /* The scan may not let pass what the parse relies on, nor the other way. */
  if (parse(&head, data, size) == 0)
    CHECK(len == (long)size || len == -414 || len == -431);
  if (len <= 0 || parse(&head, data, (size_t)len) != 0)
    return 0;
  /* The parse saw to it that every escape is whole. */
  CHECK(decode_query(head.query, "user") != CP_E_INVALID);
  check_origin(head.origin, head.host);
  answer(&head);
  return 0;
}
