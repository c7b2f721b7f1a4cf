/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors
 *
 * The grammar is that of RFC 6455 section 9.1, with white space allowed between
 * any two words (its "implied LWS") and empty members in the list (RFC 9110
 * section 5.6.1.2):
 *
 *   list      = [ extension ] *( "," [ extension ] )
 *   extension = token *( ";" parameter )
 *   parameter = token [ "=" ( token | quoted-string that holds a token ) ]
 *
 * Which offers must be declined stands in RFC 7692 section 7.1. Names are
 * compared in exactly this case. */
#include "deflate.h"

#include <stdio.h>

#include "bytes.h"

#define MAX_BITS 15

/* A parameter's value without quotes. What counts has at most two bytes. */
typedef struct value {
  bool given;
  size_t len;
  uint8_t text[2];
} value;

/* The parameters, as bits of offer.seen. */
enum {
  SERVER_NO_CONTEXT = 1,
  CLIENT_NO_CONTEXT = 2,
  SERVER_BITS = 4,
  CLIENT_BITS = 8
};

typedef struct offer {
  bool usable; /* permessage-deflate, and nothing wrong with it so far */
  unsigned seen;
  int server_bits;
} offer;

/* Words. ------------------------------------------------------------------- */

static uint8_t take_byte(cp_bytes *in) {
  uint8_t c = cp__bytes_at(*in, 0);

  *in = cp__bytes_behind(*in, 1);
  return c;
}

static void skip_space(cp_bytes *in) {
  while (in->len > 0 &&
         (cp__bytes_at(*in, 0) == ' ' || cp__bytes_at(*in, 0) == '\t'))
    take_byte(in);
}

static bool take_separator(cp_bytes *in, char c) {
  skip_space(in);
  if (in->len == 0 || cp__bytes_at(*in, 0) != (uint8_t)c)
    return false;
  take_byte(in);
  return true;
}

static bool take_token(cp_bytes *in, cp_bytes *token) {
  skip_space(in);
  *token = cp__bytes_first(*in, cp__bytes_span_not(*in, ",;=\" \t"));
  *in = cp__bytes_behind(*in, token->len);
  return cp__is_token(*token);
}

static void value_add(value *v, uint8_t c) {
  if (v->len < sizeof v->text)
    v->text[v->len] = c;
  v->len++;
}

/* What follows the opening quote. */
static bool take_quoted(cp_bytes *in, value *v) {
  uint8_t c;

  while (in->len > 0) {
    c = take_byte(in);
    if (c == '"')
      return v->len > 0;
    if (c == '\\' && in->len > 0)
      c = take_byte(in);
    if (!cp__is_token(cp_bytes_of(&c, 1)))
      return false;
    value_add(v, c);
  }
  return false;
}

static bool take_value(cp_bytes *in, value *v) {
  cp_bytes token;
  size_t i;

  v->given = true;
  if (take_separator(in, '"'))
    return take_quoted(in, v);
  if (!take_token(in, &token))
    return false;
  for (i = 0; i < token.len; i++)
    value_add(v, cp__bytes_at(token, i));
  return true;
}

/* Offers. ------------------------------------------------------------------ */

/* 8 to 15, without leading zeros; 0 for all else. */
static int window_bits_of(const value *v) {
  if (v->len == 1 && (v->text[0] == '8' || v->text[0] == '9'))
    return v->text[0] - '0';
  if (v->len == 2 && v->text[0] == '1' && v->text[1] >= '0' &&
      v->text[1] <= '5')
    return 10 + v->text[1] - '0';
  return 0;
}

static unsigned parameter_named(cp_bytes name) {
  if (cp__bytes_equal(name, cp_str("server_no_context_takeover")))
    return SERVER_NO_CONTEXT;
  if (cp__bytes_equal(name, cp_str("client_no_context_takeover")))
    return CLIENT_NO_CONTEXT;
  if (cp__bytes_equal(name, cp_str("server_max_window_bits")))
    return SERVER_BITS;
  if (cp__bytes_equal(name, cp_str("client_max_window_bits")))
    return CLIENT_BITS;
  return 0;
}

static bool value_fits(unsigned parameter, const value *v) {
  switch (parameter) {
  case SERVER_NO_CONTEXT:
  case CLIENT_NO_CONTEXT:
    return !v->given;
  case SERVER_BITS:
    return window_bits_of(v) != 0;
  case CLIENT_BITS:
    return !v->given || window_bits_of(v) != 0;
  default:
    return false;
  }
}

static void offer_add(offer *o, cp_bytes name, const value *v) {
  unsigned parameter = parameter_named(name);

  if ((o->seen & parameter) != 0 || !value_fits(parameter, v))
    o->usable = false;
  o->seen |= parameter;
  if (parameter == SERVER_BITS)
    o->server_bits = window_bits_of(v);
}

static bool take_offer(cp_bytes *in, offer *o) {
  cp_bytes name;

  if (!take_token(in, &name))
    return false;
  o->usable = cp__bytes_equal(name, cp_str("permessage-deflate"));
  o->seen = 0;
  o->server_bits = MAX_BITS;
  while (take_separator(in, ';')) {
    value v = {false, 0, {0, 0}};
    if (!take_token(in, &name))
      return false;
    if (take_separator(in, '=') && !take_value(in, &v))
      return false;
    offer_add(o, name, &v);
  }
  return true;
}

/* Terms. ------------------------------------------------------------------- */

static void accept_offer(cp__deflate_terms *terms, const offer *o,
                         int window_bits) {
  int bits = o->server_bits < window_bits ? o->server_bits : window_bits;
  int len;

  terms->window_bits = (uint8_t)bits;
  len = snprintf(terms->answer, sizeof terms->answer,
                 "permessage-deflate; server_no_context_takeover; "
                 "client_no_context_takeover");
  /* Unasked, too: it saves the client memory. */
  if ((o->seen & SERVER_BITS) != 0 || bits < MAX_BITS)
    snprintf(terms->answer + len, sizeof terms->answer - (size_t)len,
             "; server_max_window_bits=%d", bits);
}

static int judge_list(cp__deflate_terms *terms, cp_bytes list,
                      int window_bits) {
  offer o;

  for (;;) {
    while (take_separator(&list, ','))
      ;
    if (list.len == 0)
      return 0;
    if (!take_offer(&list, &o))
      return CP_E_PROTOCOL;
    if (list.len > 0 && cp__bytes_at(list, 0) != ',')
      return CP_E_PROTOCOL;
    if (o.usable && window_bits != 0 && terms->window_bits == 0)
      accept_offer(terms, &o, window_bits);
  }
}

int cp__deflate_negotiate(cp__deflate_terms *terms, const cp__header *headers,
                          size_t n, int window_bits) {
  size_t i;

  memset(terms, 0, sizeof *terms);
  for (i = 0; i < n; i++) {
    if (!cp__bytes_equal_any_case(headers[i].name,
                                  cp_str("Sec-WebSocket-Extensions")))
      continue;
    if (judge_list(terms, headers[i].value, window_bits) != 0) {
      memset(terms, 0, sizeof *terms);
      return CP_E_PROTOCOL;
    }
  }
  return 0;
}
