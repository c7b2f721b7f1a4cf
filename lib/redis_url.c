/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* One copy of the text is cut and percent-decoded in place: no part gets longer
 * than it stood there, and each ends where a delimiter was. */
#include "redis_url.h"

#include "bytes.h"

#include <limits.h>
#include <sys/un.h>

#define DEFAULT_PORT 6379
#define MAX_PORT     65535
#define MAX_PATH     (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* A parser gets what stands behind "://". It returns NULL, or what is wrong. */
typedef const char *(*scheme_parser)(cp__redis_url *url, char *rest);

/* At least one digit, and nothing else. */
static bool parse_number(const char *text, long max, int *number) {
  long value = 0;

  if (!cp__bytes_are(cp_str(text), CP__DIGITS))
    return false;
  for (; *text != '\0'; text++) {
    value = value * 10 + (*text - '0');
    if (value > max)
      return false;
  }
  *number = (int)value;
  return true;
}

/* 0..15, or -1. */
static int hex_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

/* In place. Refuses %00 too, which would end the string. */
static bool percent_decode(char *text) {
  char *out = text;

  for (; *text != '\0'; text++) {
    int high, low;
    if (*text != '%') {
      *out++ = *text;
      continue;
    }
    high = hex_value(text[1]);
    low = high < 0 ? -1 : hex_value(text[2]);
    if (low < 0 || high + low == 0)
      return false;
    *out++ = (char)(high << 4 | low);
    text += 2;
  }
  *out = '\0';
  return true;
}

/* [USER]:PASSWORD. A user with an empty password is one: Redis knows users that
 * need none. Neither of both is as if there were no "@". */
static const char *parse_credentials(cp__redis_url *url, char *text) {
  char *password = strchr(text, ':');

  if (password == NULL)
    return "in front of the @ a password stands behind a colon";
  *password++ = '\0';
  if (!percent_decode(text) || !percent_decode(password))
    return "a bad percent escape in user or password";
  if (*text != '\0')
    url->user = text;
  if (*password != '\0' || url->user != NULL)
    url->password = password;
  return NULL;
}

static const char *parse_port(cp__redis_url *url, const char *text) {
  if (!parse_number(text, MAX_PORT, &url->port) || url->port == 0)
    return "a port is a number from 1 to 65535";
  return NULL;
}

/* "[v6]" or "[v6]:PORT". Whether it is an address the resolver will say. */
static const char *parse_v6_port(cp__redis_url *url, char *text) {
  char *end = strchr(text, ']');

  if (end == NULL)
    return "a [ without its ]";
  *end++ = '\0';
  url->host = text + 1;
  if (!cp__bytes_are(cp_str(url->host), CP__DIGITS "abcdefABCDEF:."))
    return "in brackets there is no IPv6 address";
  if (*end == '\0')
    return NULL;
  if (*end != ':')
    return "only a port may stand behind the ]";
  return parse_port(url, end + 1);
}

static const char *parse_host_port(cp__redis_url *url, char *text) {
  char *port;

  if (*text == '[')
    return parse_v6_port(url, text);
  port = strchr(text, ':');
  if (port != NULL)
    *port++ = '\0';
  url->host = text;
  if (*text == '\0')
    return "there is no host";
  if (!cp__bytes_are(cp_str(text), CP__ALNUM "-._"))
    return "a character that no host has";
  return port != NULL ? parse_port(url, port) : NULL;
}

static const char *parse_tcp(cp__redis_url *url, char *rest) {
  char *tail = rest + strcspn(rest, "/?#");
  const char *why;
  char *at;

  url->port = DEFAULT_PORT;
  if (*tail == '/') {
    *tail++ = '\0';
    /* What looks like one more "@" was a slash in a password. */
    if (strchr(tail, '@') != NULL)
      return "a / in user or password is written %2F";
    if (*tail != '\0' && !parse_number(tail, INT_MAX, &url->db))
      return "behind the / stands a database number";
  } else if (*tail != '\0') {
    return "no options here; in a password ? is written %3F and # %23";
  }
  /* No host has an "@", so the last one counts, and a password may. */
  at = strrchr(rest, '@');
  if (at != NULL) {
    *at = '\0';
    why = parse_credentials(url, rest);
    if (why != NULL)
      return why;
    rest = at + 1;
  }
  return parse_host_port(url, rest);
}

static const char *parse_tls(cp__redis_url *url, char *rest) {
  url->tls = true;
  return parse_tcp(url, rest);
}

static const char *parse_unix(cp__redis_url *url, char *rest) {
  char *path = strchr(rest, '/');
  const char *why;
  char *query;

  if (path == NULL)
    return "there is no path";
  query = strchr(path, '?');
  if (query != NULL) {
    *query++ = '\0';
    if (strncmp(query, "db=", 3) != 0 ||
        !parse_number(query + 3, INT_MAX, &url->db))
      return "behind the ? stands db= and a database number";
  }
  if (path != rest) {
    if (path[-1] != '@')
      return "the path begins with a /, in front of it stands an @";
    path[-1] = '\0';
    why = parse_credentials(url, rest);
    if (why != NULL)
      return why;
  }
  url->path = path;
  if (!percent_decode(path))
    return "a bad percent escape in the path";
  if (strlen(path) > MAX_PATH)
    return "the path is too long for a socket";
  return NULL;
}

/* `parse` is NULL for what we can't speak. */
static const struct scheme {
  const char *name;
  scheme_parser parse;
} schemes[] = {
    {"redis://", parse_tcp},    {"rediss://", parse_tls},
    {"unix://", parse_unix},    {"redis+sentinel://", NULL},
    {"redis+cluster://", NULL},
};

static const struct scheme *find_scheme(cp_bytes text) {
  size_t i;

  for (i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (cp__bytes_starts_any_case(text, cp_str(schemes[i].name)))
      return &schemes[i];
  return NULL;
}

static bool has_blank_or_control(cp_bytes text) {
  size_t i;

  for (i = 0; i < text.len; i++)
    if (cp__bytes_at(text, i) <= ' ' || cp__bytes_at(text, i) == 0x7F)
      return true;
  return false;
}

static int check_text(cp_bytes text, const struct scheme *scheme,
                      const char **why) {
  *why = NULL;
  if (has_blank_or_control(text))
    *why = "a space or control character";
  else if (scheme == NULL)
    *why = "it begins with none of redis://, rediss:// and unix://";
  if (*why != NULL)
    return CP_E_URL;
  if (scheme->parse != NULL)
    return 0;
  *why = "this build can't speak that scheme";
  return CP_E_UNSUPPORTED;
}

int cp__redis_url_parse(cp__redis_url *url, const char *text,
                        const cp_allocator *alloc, const char **why) {
  const struct scheme *scheme = find_scheme(cp_str(text));
  int err = check_text(cp_str(text), scheme, why);

  memset(url, 0, sizeof *url);
  if (err != 0)
    return err;
  url->memory = cp__strndup(alloc, text, strlen(text));
  if (url->memory == NULL)
    return CP_E_NOMEM;
  url->memory_len = strlen(text);
  *why = scheme->parse(url, url->memory + strlen(scheme->name));
  if (*why == NULL)
    return 0;
  cp__redis_url_finish(url, alloc);
  return CP_E_URL;
}

/* Through a volatile pointer: the compiler would drop a memset in front of a
 * free. */
static void wipe(char *memory, size_t len) {
  volatile char *p = memory;

  while (len-- > 0)
    *p++ = 0;
}

void cp__redis_url_finish(cp__redis_url *url, const cp_allocator *alloc) {
  wipe(url->memory, url->memory_len);
  cp__free(alloc, url->memory);
  memset(url, 0, sizeof *url);
}
