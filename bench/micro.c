/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* micro: single steps of the hot path, to be counted by callgrind.
 *
 *   micro NAME N    do it so many times
 *   micro           list what there is: NAME, tab, what it is */

#include "micro.h"

#include "envelope.h"
#include "handshake.h"
#include "map.h"
#include "resp.h"
#include "utf8.h"
#include "ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY    64
#define CHANNEL "cp:u:{u1234}"
#define N_USERS 100000

static const cp_allocator *const alloc = &cp__default_allocator;

void micro_check(int ok, const char *what) {
  if (ok)
    return;
  fprintf(stderr, "micro: %s failed\n", what);
  exit(2);
}

static cp_bytes text_of(char *memory, size_t len) {
  memset(memory, 'x', len);
  return cp_bytes_of(memory, len);
}

/* WebSocket frames. ------------------------------------------------------- */

static void encode(size_t n, size_t len) {
  char body[1024];
  cp_bytes text = text_of(body, len);
  cp__ws_encoder encoder;

  micro_check(cp__ws_encoder_init(&encoder, alloc) == 0, "encoder");
  for (; n > 0; n--) {
    cp__blob *frame = cp__ws_encode(&encoder, CP_TEXT, text);
    micro_check(frame != NULL, "encode");
    cp__blob_unref(frame);
  }
  cp__ws_encoder_finish(&encoder);
}

static void encode_64(size_t n) {
  encode(n, 64);
}

static void encode_1024(size_t n) {
  encode(n, 1024);
}

static void decode_64(size_t n) {
  uint8_t frame[6 + BODY] = {0x81, 0x80 | BODY, 1, 2, 3, 4};
  cp__ws_pool pool;
  size_t i;

  for (i = 0; i < BODY; i++)
    frame[6 + i] = (uint8_t)('x' ^ frame[2 + i % 4]);
  cp__ws_pool_init(&pool, alloc, 1024);
  for (; n > 0; n--) {
    cp__ws *ws = cp__ws_borrow(&pool, false, NULL);
    cp__ws_event event;
    cp__ws_feed(ws, frame, sizeof frame);
    cp__ws_next(ws, &event);
    micro_check(event.type == CP__WS_MESSAGE, "decode");
    cp__ws_next(ws, &event);
    cp__ws_return(ws);
  }
  cp__ws_pool_finish(&pool);
}

/* Redis. ------------------------------------------------------------------ */

static const uint64_t instance = 0x0123456789abcdef;

static cp__envelope make_envelope(cp_bytes body) {
  cp__envelope e = {CP__KIND_TEXT, 0, instance, 1, 1, 0, 0, body};
  return e;
}

static void write_head(size_t n) {
  cp__envelope e = make_envelope(cp_bytes_of(NULL, 0));
  uint8_t head[CP__ENVELOPE_HEAD_MAX];

  for (; n > 0; n--) {
    e.sequence++;
    micro_check(cp__envelope_write_head(head, &e) > 0, "write head");
  }
}

/* The payload of a message: head and body. Returns its length. */
static size_t make_payload(uint8_t out[CP__ENVELOPE_HEAD_MAX + BODY]) {
  cp__envelope e = make_envelope(cp_bytes_of(NULL, 0));
  size_t head = cp__envelope_write_head(out, &e);

  memset(out + head, 'x', BODY);
  return head + BODY;
}

static void read_envelope(size_t n) {
  uint8_t payload[CP__ENVELOPE_HEAD_MAX + BODY];
  size_t len = make_payload(payload);
  cp__envelope e;

  for (; n > 0; n--)
    micro_check(cp__envelope_read(&e, cp_bytes_of(payload, len)) == 0, "read");
}

static void format_publish(size_t n) {
  uint8_t payload[CP__ENVELOPE_HEAD_MAX + BODY];
  cp_bytes words[3] = {cp_str("PUBLISH"), cp_str(CHANNEL), {NULL, 0}};
  cp__buf out;
  size_t i;

  words[2] = cp_bytes_of(payload, make_payload(payload));
  cp__buf_init(&out, alloc);
  for (i = 0; i < n; i++) {
    if (i % 100 == 0)
      cp__buf_reset(&out, 65536);
    cp__resp_command(&out, words, 3);
  }
  cp__buf_finish(&out);
}

static void count_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                          cp_bytes payload) {
  (void)pattern;
  (void)channel;
  (void)payload;
  ++*(size_t *)ctx;
}

/* Feed the same `len` bytes until `*n_parsed`, which somebody counts up, has
 * reached `n`. */
static void parse(const cp__buf *wire, size_t n, bool messages) {
  size_t n_parsed = 0;
  cp__resp *resp =
      cp__resp_create(alloc, 65536, messages ? count_message : NULL, &n_parsed);
  cp__resp_reply reply;

  while (n_parsed < n) {
    int rc = cp__resp_feed(resp, wire->data, wire->end);
    while (rc == 0 && cp__resp_next(resp, &reply) == 1)
      n_parsed++;
    micro_check(rc == 0, "parse");
  }
  cp__resp_destroy(resp);
}

static void parse_messages(size_t n) {
  uint8_t payload[CP__ENVELOPE_HEAD_MAX + BODY];
  cp_bytes words[3] = {cp_str("message"), cp_str(CHANNEL), {NULL, 0}};
  cp__buf wire;
  int i;

  words[2] = cp_bytes_of(payload, make_payload(payload));
  cp__buf_init(&wire, alloc);
  for (i = 0; i < 100; i++) /* some 14 KiB */
    cp__resp_command(&wire, words, 3);
  parse(&wire, n, true);
  cp__buf_finish(&wire);
}

static void parse_integers(size_t n) {
  cp__buf wire;
  int i;

  cp__buf_init(&wire, alloc);
  for (i = 0; i < 100; i++)
    cp__buf_append_str(&wire, ":1\r\n");
  parse(&wire, n, false);
  cp__buf_finish(&wire);
}

/* Text, users, handshakes. ------------------------------------------------ */

static void validate_ascii_64(size_t n) {
  char memory[BODY];
  cp_bytes text = text_of(memory, sizeof memory);

  for (; n > 0; n--)
    micro_check(cp__utf8_valid(text), "UTF-8");
}

static void validate_greek_64(size_t n) {
  char text[BODY];
  size_t i;

  for (i = 0; i < sizeof text; i += 2)
    memcpy(text + i, "\xce\xb1", 2); /* alpha */
  for (; n > 0; n--)
    micro_check(cp__utf8_valid(cp_bytes_of(text, sizeof text)), "UTF-8");
}

typedef struct user {
  cp__map_node node;
  char id[16];
} user;

static cp_bytes id_of(const cp__map_node *node) {
  return cp_str(((const user *)node)->id);
}

static void find_user(size_t n) {
  const uint64_t seed[2] = {1, 2};
  user *users = calloc(N_USERS, sizeof *users);
  cp__map map;
  size_t i;

  micro_check(users != NULL, "calloc");
  cp__map_init(&map, alloc, id_of, seed);
  for (i = 0; i < N_USERS; i++) {
    snprintf(users[i].id, sizeof users[i].id, "u%zu", i);
    cp__map_insert(&map, &users[i].node);
  }
  for (i = 0; i < n; i++) {
    const user *wanted = &users[i * 7919 % N_USERS];
    micro_check(cp__map_find(&map, id_of(&wanted->node)) == &wanted->node,
                "find");
  }
  cp__map_finish(&map);
  free(users);
}

static void shake_hands(size_t n) {
  static const char request[] =
      "GET /ws?user=u1234 HTTP/1.1\r\n"
      "Host: push.example.org\r\n"
      "Upgrade: websocket\r\n"
      "Connection: Upgrade\r\n"
      "Origin: https://push.example.org\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
      "Sec-WebSocket-Version: 13\r\n\r\n";
  const uint8_t *data = (const uint8_t *)request;
  size_t len = sizeof request - 1;
  cp__hash *hash = cp__hash_create();
  cp__request_head head;
  cp__buf out;

  micro_check(hash != NULL, "handshake");
  cp__buf_init(&out, alloc);
  for (; n > 0; n--) {
    cp__head_scan scan = {0, 0, 0, false};
    cp__buf_reset(&out, 4096);
    micro_check(cp__head_scan_feed(&scan, data, len, 16384) == (long)len &&
                    cp__request_head_parse(&head, data, len) == 0 &&
                    cp__handshake_write_101(&out, hash, head.key,
                                            cp_bytes_of(NULL, 0), NULL, 0) == 0,
                "handshake");
  }
  cp__buf_finish(&out);
  cp__hash_destroy(hash);
}

/* ------------------------------------------------------------------------- */

static const struct {
  const char *name;
  const char *what;
  void (*run)(size_t n);
} micros[] = {
    {"encode_64", "encode a frame of 64 bytes, and free it", encode_64},
    {"encode_1024", "the same of 1,024 bytes", encode_1024},
    {"decode_64", "decode a client's frame of 64 bytes of text", decode_64},
    {"utf8_ascii_64", "validate 64 bytes of ASCII", validate_ascii_64},
    {"utf8_greek_64", "validate 32 Greek letters, 64 bytes", validate_greek_64},
    {"envelope_write", "write an envelope's head", write_head},
    {"envelope_read", "read an envelope, 64 bytes of text", read_envelope},
    {"publish", "format a PUBLISH of 64 bytes and envelope", format_publish},
    {"resp_message", "parse a published message of that size", parse_messages},
    {"resp_integer", "parse the reply to a PUBLISH", parse_integers},
    {"find_user", "find one of 100,000 users", find_user},
    {"handshake", "parse an upgrade request, write the 101", shake_hands},
    {"send_to_user",
     "send 64 bytes to a user on a node without Redis, from "
     "the call to write(2), 16 a turn",
     micro_send_to_user},
    {"broadcast", "the same to everybody: one of 16 deliveries, 1 a turn",
     micro_broadcast},
};

int main(int argc, char **argv) {
  size_t i;

  for (i = 0; i < sizeof micros / sizeof *micros; i++) {
    if (argc == 1)
      printf("%s\t%s\n", micros[i].name, micros[i].what);
    else if (argc == 3 && strcmp(argv[1], micros[i].name) == 0)
      return micros[i].run((size_t)atol(argv[2])), 0;
  }
  return argc == 1 ? 0 : 2;
}
