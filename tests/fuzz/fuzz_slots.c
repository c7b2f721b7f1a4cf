/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Whatever is read as slots or as a redirect keeps to its limits, and what is
 * refused is refused as a whole. */

#include "slots.h"

#include <assert.h>

static void check_address(cp_bytes host, int port) {
  assert(host.len <= 255);
  assert(port > 0 && port <= 65535);
}

static void check_slots(const cp__resp_reply *reply) {
  cp__slots_reader reader;
  cp__slot_range range;
  long long n = 0;
  int rc = cp__slots_read(&reader, reply);

  if (rc != 0) {
    assert(rc == CP_E_PROTOCOL);
    return;
  }
  while (cp__slots_next(&reader, &range)) {
    assert(range.first <= range.last && range.last < CP__N_SLOTS);
    check_address(range.host, range.port);
    n++;
  }
  assert(n <= reply->nodes[0].integer);
}

static void check_error(cp_bytes error) {
  cp__redirect redirect;

  cp__redirect_read(&redirect, error);
  if (redirect.kind == CP__REDIRECT_MOVED ||
      redirect.kind == CP__REDIRECT_ASK) {
    assert(redirect.slot < CP__N_SLOTS);
    check_address(redirect.host, redirect.port);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  cp__resp *resp = cp__resp_create(&cp__default_allocator, 65536, NULL, NULL);
  cp__resp_reply reply;

  assert(cp__slot_of(cp_bytes_of(data, len)) < CP__N_SLOTS);
  check_error(cp_bytes_of(data, len));
  if (cp__resp_feed(resp, data, len) == 0)
    while (cp__resp_next(resp, &reply) == 1) {
      check_slots(&reply);
      check_error(reply.nodes[0].text);
    }
  cp__resp_destroy(resp);
  return 0;
}
