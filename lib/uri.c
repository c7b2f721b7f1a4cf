/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "uri.h"

#include "bytes.h"

#define MAX_PORT   65535
#define NO_PORT    (-1)
#define REG_NAME   "-._~!$&'()*+,;=" /* and letters and digits */
#define IP_LITERAL CP__DIGITS "ABCDEFabcdef:."

/* Escapes. ---------------------------------------------------------------- */

static int hex_value(uint8_t c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return -1;
}

/* The byte that the escape at `i` stands for; -1 if none stands there. */
static int escape_at(cp_bytes bytes, size_t i) {
  int high, low;

  if (bytes.len - i < 3 || cp__bytes_at(bytes, i) != '%')
    return -1;
  high = hex_value(cp__bytes_at(bytes, i + 1));
  low = hex_value(cp__bytes_at(bytes, i + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool cp__uri_is_target(cp_bytes bytes) {
  size_t i;

  for (i = 0; i < bytes.len; i++) {
    uint8_t c = cp__bytes_at(bytes, i);
    if (c <= ' ' || c >= 0x7f || strchr("\"#<>", c) != NULL)
      return false;
    if (c == '%' && escape_at(bytes, i) < 0)
      return false;
  }
  return bytes.len > 0;
}

/* Authority. -------------------------------------------------------------- */

/* Of the host that `authority` begins with; 0: it begins with none. */
static size_t host_len(cp_bytes authority) {
  size_t n = 0;

  if (authority.len > 0 && cp__bytes_at(authority, 0) == '[') {
    n = cp__bytes_span(cp__bytes_behind(authority, 1), IP_LITERAL);
    if (n == 0 || n + 1 == authority.len ||
        cp__bytes_at(authority, n + 1) != ']')
      return 0;
    return n + 2;
  }
  for (;;) {
    n += cp__bytes_span_word(cp__bytes_behind(authority, n), REG_NAME);
    if (escape_at(authority, n) < 0)
      return n;
    n += 3;
  }
}

/* No digits at all are NO_PORT (RFC 3986 section 3.2.3). */
static bool parse_port(cp_bytes digits, int *port) {
  *port = NO_PORT;
  if (digits.len == 0)
    return true;
  *port = (int)cp__bytes_decimal(digits, MAX_PORT);
  return *port >= 0;
}

static bool split_authority(cp_bytes authority, cp_bytes *host, int *port) {
  size_t n = authority.len > 0 ? host_len(authority) : 0;

  *host = cp__bytes_first(authority, n);
  *port = NO_PORT;
  if (n == 0 || n == authority.len)
    return n > 0;
  return cp__bytes_at(authority, n) == ':' &&
         parse_port(cp__bytes_behind(authority, n + 1), port);
}

bool cp__uri_is_authority(cp_bytes bytes) {
  cp_bytes host;
  int port;

  return split_authority(bytes, &host, &port);
}

/* Origin. ----------------------------------------------------------------- */

static int default_port(cp_bytes scheme) {
  if (cp__bytes_equal_any_case(scheme, cp_str("http")) ||
      cp__bytes_equal_any_case(scheme, cp_str("ws")))
    return 80;
  if (cp__bytes_equal_any_case(scheme, cp_str("https")) ||
      cp__bytes_equal_any_case(scheme, cp_str("wss")))
    return 443;
  return NO_PORT;
}

bool cp__origin_is_host(cp_bytes origin, cp_bytes host) {
  int scheme_port = default_port(cp__bytes_cut(&origin, ':'));
  cp_bytes origin_name, host_name;
  int origin_port, host_port;

  if (scheme_port == NO_PORT ||
      !cp__bytes_starts_any_case(origin, cp_str("//")))
    return false;
  origin = cp__bytes_behind(origin, 2);
  if (!split_authority(origin, &origin_name, &origin_port) ||
      !split_authority(host, &host_name, &host_port))
    return false;
  if (origin_port == NO_PORT)
    origin_port = scheme_port;
  if (host_port == NO_PORT)
    host_port = scheme_port;
  return origin_port == host_port &&
         cp__bytes_equal_any_case(origin_name, host_name);
}

/* Query. ------------------------------------------------------------------ */

/* Take one decoded byte off the front; -1 and nothing on a bad escape. */
static int take_decoded(cp_bytes *rest) {
  uint8_t c = cp__bytes_at(*rest, 0);
  int value = c;
  size_t used = 1;

  if (c == '+')
    value = ' ';
  if (c == '%') {
    value = escape_at(*rest, 0);
    used = 3;
  }
  if (value >= 0)
    *rest = cp__bytes_behind(*rest, used);
  return value;
}

static bool decodes_to(cp_bytes encoded, cp_bytes name) {
  size_t i;

  for (i = 0; i < name.len; i++)
    if (encoded.len == 0 || take_decoded(&encoded) != cp__bytes_at(name, i))
      return false;
  return encoded.len == 0;
}

static int decode(cp_bytes encoded, cp__buf *out) {
  uint8_t *place = cp__buf_reserve(out, encoded.len);
  size_t n = 0;
  int c;

  if (place == NULL)
    return CP_E_NOMEM;
  while (encoded.len > 0) {
    c = take_decoded(&encoded);
    if (c < 0)
      return CP_E_INVALID;
    place[n++] = (uint8_t)c;
  }
  cp__buf_commit(out, n);
  return 0;
}

int cp__query_decode(cp_bytes query, cp_bytes name, cp__buf *out) {
  while (query.data != NULL) {
    cp_bytes value = cp__bytes_cut(&query, '&');
    cp_bytes key = cp__bytes_cut(&value, '=');
    if (decodes_to(key, name))
      return decode(value, out);
  }
  return CP_E_NOTFOUND;
}
