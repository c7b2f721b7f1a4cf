/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "slots.h"

#include <string.h>

#include "bytes.h"

#define CRC_POLYNOMIAL 0x1021
#define MAX_PORT       65535
#define HOST_MAX       255

/* Slots. ------------------------------------------------------------------ */

/* Four bits at a time: a table of 16 does, and is there without a start. */
uint16_t cp__crc16(cp_bytes bytes) {
  static const uint16_t table[16] = {
      0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
      0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
  };
  uint16_t crc = 0;
  size_t i;

  for (i = 0; i < bytes.len; i++) {
    uint8_t byte = cp__bytes_at(bytes, i);
    crc = (uint16_t)(crc << 4) ^ table[(crc >> 12 ^ byte >> 4) & 15];
    crc = (uint16_t)(crc << 4) ^ table[(crc >> 12 ^ byte) & 15];
  }
  return crc;
}

uint16_t cp__slot_of(cp_bytes name) {
  size_t open = cp__bytes_span_not(name, "{");

  if (open < name.len) {
    cp_bytes rest = cp__bytes_behind(name, open + 1);
    size_t len = cp__bytes_span_not(rest, "}");
    if (len > 0 && len < rest.len)
      name = cp__bytes_first(rest, len);
  }
  return cp__crc16(name) % CP__N_SLOTS;
}

/* CLUSTER SLOTS. ---------------------------------------------------------- */

static const cp__resp_node *node_at(const cp__resp_reply *reply, size_t i) {
  return i < reply->n_nodes ? &reply->nodes[i] : NULL;
}

/* An integer from 0 to `max`? */
static bool is_number(const cp__resp_node *node, long long max) {
  return node != NULL && node->type == CP__RESP_INTEGER && node->integer >= 0 &&
         node->integer <= max;
}

static bool is_array(const cp__resp_node *node, long long min) {
  return node != NULL && node->type == CP__RESP_ARRAY && node->integer >= min;
}

/* Move behind the element at `*at` and all that is in it. */
static bool skip(const cp__resp_reply *reply, size_t *at) {
  unsigned long long n_left = 1;

  for (; n_left > 0; n_left--, ++*at) {
    const cp__resp_node *node = node_at(reply, *at);
    if (node == NULL)
      return false;
    if (node->type == CP__RESP_ARRAY)
      n_left += (unsigned long long)node->integer;
  }
  return true;
}

/* Redis 7 writes nil for "the host that you asked" and "?" for a name that it
 * doesn't know; a node that has never met another doesn't know its own address,
 * which is then "". */
static bool read_host(const cp__resp_node *node, cp_bytes *host) {
  *host = cp_str("");
  if (node == NULL)
    return false;
  if (node->type == CP__RESP_STRING)
    *host = node->text;
  return (node->type == CP__RESP_STRING || node->type == CP__RESP_NIL) &&
         host->len <= HOST_MAX;
}

/* An entry is [first, last, [host, port, ...] of the master, replicas...]. */
static bool read_range(const cp__resp_reply *reply, size_t *at,
                       cp__slot_range *range) {
  size_t head = *at;

  if (!is_array(node_at(reply, head), 3) ||
      !is_number(node_at(reply, head + 1), CP__N_SLOTS - 1) ||
      !is_number(node_at(reply, head + 2), CP__N_SLOTS - 1) ||
      !is_array(node_at(reply, head + 3), 2) ||
      !read_host(node_at(reply, head + 4), &range->host) ||
      !is_number(node_at(reply, head + 5), MAX_PORT) || !skip(reply, at))
    return false;
  range->first = (uint16_t)reply->nodes[head + 1].integer;
  range->last = (uint16_t)reply->nodes[head + 2].integer;
  range->port = (int)reply->nodes[head + 5].integer;
  return range->first <= range->last;
}

int cp__slots_read(cp__slots_reader *reader, const cp__resp_reply *reply) {
  cp__slot_range range;
  size_t at = 1;
  long long i;

  if (!is_array(node_at(reply, 0), 0))
    return CP_E_PROTOCOL;
  for (i = 0; i < reply->nodes[0].integer; i++)
    if (!read_range(reply, &at, &range))
      return CP_E_PROTOCOL;
  reader->reply = reply;
  reader->at = 1;
  reader->n_left = (size_t)reply->nodes[0].integer;
  return 0;
}

bool cp__slots_next(cp__slots_reader *reader, cp__slot_range *range) {
  while (reader->n_left > 0) {
    reader->n_left--;
    if (read_range(reader->reply, &reader->at, range) && range->port > 0 &&
        !cp__bytes_equal(range->host, cp_str("?")))
      return true;
  }
  return false;
}

/* Errors. ----------------------------------------------------------------- */

/* The last colon: those of an IPv6 address stand before it. */
static bool parse_address(cp__redirect *redirect, cp_bytes text) {
  size_t colon = text.len;

  while (colon > 0 && cp__bytes_at(text, colon - 1) != ':')
    colon--;
  if (colon == 0 || colon - 1 > HOST_MAX)
    return false;
  redirect->host = cp__bytes_first(text, colon - 1);
  redirect->port =
      (int)cp__bytes_decimal(cp__bytes_behind(text, colon), MAX_PORT);
  return redirect->port > 0 && !cp__bytes_equal(redirect->host, cp_str("?"));
}

/* "MOVED 3999 127.0.0.1:6381". */
static bool parse_redirect(cp__redirect *redirect, cp_bytes rest) {
  cp_bytes slot = cp__bytes_cut(&rest, ' ');
  int64_t number = cp__bytes_decimal(slot, CP__N_SLOTS - 1);

  if (rest.data == NULL || number < 0)
    return false;
  redirect->slot = (uint16_t)number;
  return parse_address(redirect, rest);
}

static cp__redirect_kind kind_of(cp_bytes word) {
  static const struct {
    const char *word;
    cp__redirect_kind kind;
  } words[] = {
      {"MOVED", CP__REDIRECT_MOVED},       {"ASK", CP__REDIRECT_ASK},
      {"TRYAGAIN", CP__REDIRECT_LATER},    {"LOADING", CP__REDIRECT_LATER},
      {"CLUSTERDOWN", CP__REDIRECT_LATER},
  };
  size_t i;

  for (i = 0; i < sizeof words / sizeof words[0]; i++)
    if (cp__bytes_equal(word, cp_str(words[i].word)))
      return words[i].kind;
  return CP__REDIRECT_NONE;
}

void cp__redirect_read(cp__redirect *redirect, cp_bytes error) {
  cp__redirect_kind kind = kind_of(cp__bytes_cut(&error, ' '));

  memset(redirect, 0, sizeof *redirect);
  if (kind == CP__REDIRECT_LATER || parse_redirect(redirect, error))
    redirect->kind = kind;
}
