/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What the envelope's reader accepts is written again byte for byte, and what
 * the writer makes of any fields is read back. */

#include "envelope.h"
#include "utf8.h"

#include <assert.h>
#include <stdlib.h>

/* Head and body as one payload of exactly that size; freed by the caller. */
static uint8_t *write_whole(const cp__envelope *envelope, size_t *len) {
  uint8_t head[CP__ENVELOPE_HEAD_MAX];
  size_t head_len = cp__envelope_write_head(head, envelope);
  uint8_t *payload = malloc(head_len + envelope->body.len);

  assert(payload != NULL);
  memcpy(payload, head, head_len);
  if (envelope->body.len > 0)
    memcpy(payload + head_len, envelope->body.data, envelope->body.len);
  *len = head_len + envelope->body.len;
  return payload;
}

static void check_foreign(const cp__envelope *envelope) {
  assert(envelope->kind == CP__KIND_TEXT || envelope->kind == CP__KIND_BINARY);
  assert(envelope->flags == 0 && envelope->instance == 0);
  assert(envelope->incarnation == 0 && envelope->sequence == 0);
  assert(envelope->serial == 0 && envelope->request == 0);
}

static void check_read(const uint8_t *data, size_t len) {
  cp__envelope envelope;
  int rc = cp__envelope_read(&envelope, cp_bytes_of(data, len));

  if (rc != 0) {
    assert(rc == CP_E_PROTOCOL || rc == CP_E_UNSUPPORTED);
    assert(len > 0 && data[0] == CP__ENVELOPE_MAGIC);
    return;
  }
  assert(envelope.kind <= CP__KIND_LEAVE);
  if (envelope.kind == CP__KIND_TEXT)
    assert(cp__utf8_valid(envelope.body));
  assert(envelope.body.len == 0 ||
         (const uint8_t *)envelope.body.data + envelope.body.len == data + len);
  if (len >= 2 && data[0] == CP__ENVELOPE_MAGIC && data[1] == 1) {
    size_t again_len;
    uint8_t *again = write_whole(&envelope, &again_len);
    assert(again_len == len && memcmp(again, data, len) == 0);
    free(again);
  } else {
    check_foreign(&envelope);
  }
}

static uint64_t take(const uint8_t **p) {
  uint64_t value;

  memcpy(&value, *p, sizeof value);
  *p += sizeof value;
  return value;
}

static const cp__kind kinds[] = {
    CP__KIND_BINARY,  CP__KIND_TEXT,  CP__KIND_PROBE,
    CP__KIND_RECEIPT, CP__KIND_HELLO, CP__KIND_WELCOME,
    CP__KIND_CLOSE,   CP__KIND_JOIN,  CP__KIND_LEAVE,
};

static void check_write(const uint8_t *p, size_t len) {
  cp__envelope in = {0}, out;
  const uint8_t *end = p + len;
  uint8_t *payload;
  size_t payload_len;

  if (len < 42)
    return;
  in.kind = kinds[*p++ % (sizeof kinds / sizeof *kinds)];
  in.flags = *p++ & (CP__FIELD_SERIAL | CP__FIELD_REQUEST);
  in.instance = take(&p);
  in.incarnation = (uint32_t)take(&p);
  in.sequence = take(&p);
  in.serial = take(&p);
  in.request = take(&p);
  in.body = cp_bytes_of(p, (size_t)(end - p));
  if (in.kind == CP__KIND_TEXT && !cp__utf8_valid(in.body))
    in.kind = CP__KIND_BINARY;
  payload = write_whole(&in, &payload_len);
  assert(cp__envelope_read(&out, cp_bytes_of(payload, payload_len)) == 0);
  assert(out.kind == in.kind && out.flags == in.flags);
  assert(out.instance == in.instance && out.incarnation == in.incarnation);
  assert(out.sequence == in.sequence);
  assert(out.serial == (in.flags & CP__FIELD_SERIAL ? in.serial : 0));
  assert(out.request == (in.flags & CP__FIELD_REQUEST ? in.request : 0));
  assert(out.body.len == in.body.len);
  assert(in.body.len == 0 ||
         memcmp(out.body.data, in.body.data, in.body.len) == 0);
  free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  check_read(data, len);
  check_write(data, len);
  return 0;
}
