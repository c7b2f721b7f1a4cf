/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* One copy of the text is cut and percent-decoded in place: no part gets longer
 * than it stood there, and each ends where a delimiter was. */
#include "redis_url.h"

#include "bytes.h"

#include <limits.h>
#include <sys/un.h>

#define DEFAULT_PORT          6379
#define DEFAULT_SENTINEL_PORT 26379
#define MAX_PORT              65535
#define MAX_PATH              (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* A parser gets what stands behind "://". It returns NULL, or what is wrong. */
typedef const char *(*scheme_parser)(cp__redis_url *url, char *rest);

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

static const char *parse_port(cp__redis_host *host, const char *text) {
  host->port = (int)cp__bytes_decimal(cp_str(text), MAX_PORT);
  return host->port > 0 ? NULL : "a port is a number from 1 to 65535";
}

/* "[v6]" or "[v6]:PORT". Whether it is an address the resolver will say. */
static const char *parse_v6_port(cp__redis_host *host, char *text) {
  char *end = strchr(text, ']');

  if (end == NULL)
    return "a [ without its ]";
  *end++ = '\0';
  host->name = text + 1;
  if (!cp__bytes_are(cp_str(host->name), CP__DIGITS "abcdefABCDEF:."))
    return "in brackets there is no IPv6 address";
  if (*end == '\0')
    return NULL;
  if (*end != ':')
    return "only a port may stand behind the ]";
  return parse_port(host, end + 1);
}

static const char *parse_host(cp__redis_host *host, char *text) {
  char *port;

  if (*text == '[')
    return parse_v6_port(host, text);
  port = strchr(text, ':');
  if (port != NULL)
    *port++ = '\0';
  host->name = text;
  if (*text == '\0')
    return "there is no host";
  if (!cp__bytes_are_word(cp_str(text), "-._"))
    return "a character that no host has";
  return port != NULL ? parse_port(host, port) : NULL;
}

/* "HOST[:PORT],HOST[:PORT]...": into url->hosts, which has the room. */
static const char *parse_hosts(cp__redis_url *url, char *text) {
  const char *why = NULL;

  while (text != NULL && why == NULL) {
    char *next = strchr(text, ',');
    cp__redis_host *host = &url->hosts[url->n_hosts];
    if (url->n_hosts++ == CP__REDIS_HOSTS_MAX)
      return "too many hosts";
    if (next != NULL)
      *next++ = '\0';
    host->port = url->port;
    why = parse_host(host, text);
    text = next;
  }
  return why;
}

static const char *parse_one_host(cp__redis_url *url, char *text) {
  cp__redis_host host = {NULL, url->port};
  const char *why = parse_host(&host, text);

  url->host = host.name;
  url->port = host.port;
  return why;
}

/* Cuts off what stands behind the "/": `*tail`, NULL if there is none. */
static const char *cut_tail(char *rest, char **tail) {
  char *end = rest + strcspn(rest, "/?#");

  *tail = NULL;
  if (*end == '/') {
    *end++ = '\0';
    *tail = end;
    /* What looks like one more "@" was a slash in a password. */
    return strchr(end, '@') == NULL ? NULL
                                    : "a / in user or password is written %2F";
  }
  return *end == '\0'
             ? NULL
             : "no options here; in a password ? is written %3F and # %23";
}

/* Cuts off, and reads, what stands in front of the "@". */
static const char *cut_credentials(cp__redis_url *url, char **rest) {
  /* No host has an "@", so the last one counts, and a password may. */
  char *at = strrchr(*rest, '@');
  char *text = *rest;

  if (at == NULL)
    return NULL;
  *at = '\0';
  *rest = at + 1;
  return parse_credentials(url, text);
}

static bool read_db(cp__redis_url *url, const char *text) {
  url->db = (int)cp__bytes_decimal(cp_str(text), INT_MAX);
  return url->db >= 0;
}

static const char *parse_db(cp__redis_url *url, const char *text) {
  if (text == NULL || *text == '\0' || read_db(url, text))
    return NULL;
  return "behind the / stands a database number";
}

static const char *parse_tcp(cp__redis_url *url, char *rest) {
  char *db;
  const char *why = cut_tail(rest, &db);

  url->port = DEFAULT_PORT;
  if (why == NULL)
    why = parse_db(url, db);
  if (why == NULL)
    why = cut_credentials(url, &rest);
  return why == NULL ? parse_one_host(url, rest) : why;
}

/* "MASTER[/DB]". */
static const char *parse_master(cp__redis_url *url, char *text) {
  char *db = text != NULL ? strchr(text, '/') : NULL;

  if (db != NULL)
    *db++ = '\0';
  if (text == NULL || *text == '\0')
    return "behind the hosts stands a / and the master's name";
  if (strpbrk(text, "?#") != NULL)
    return "in a master's name ? is written %3F and # %23";
  url->master = text;
  if (!percent_decode(text))
    return "a bad percent escape in the master's name";
  return parse_db(url, db);
}

static const char *parse_sentinel(cp__redis_url *url, char *rest) {
  char *master;
  const char *why = cut_tail(rest, &master);

  url->kind = CP__REDIS_BY_SENTINEL;
  url->port = DEFAULT_SENTINEL_PORT;
  if (why == NULL)
    why = cut_credentials(url, &rest);
  if (why == NULL)
    why = parse_hosts(url, rest);
  return why == NULL ? parse_master(url, master) : why;
}

static const char *parse_cluster(cp__redis_url *url, char *rest) {
  char *tail;
  const char *why = cut_tail(rest, &tail);

  url->kind = CP__REDIS_CLUSTER;
  url->port = DEFAULT_PORT;
  if (why == NULL && tail != NULL && *tail != '\0')
    why = "a Redis Cluster has no databases: nothing behind the /";
  if (why == NULL)
    why = cut_credentials(url, &rest);
  return why == NULL ? parse_hosts(url, rest) : why;
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
    if (strncmp(query, "db=", 3) != 0 || !read_db(url, query + 3))
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

static const struct scheme {
  const char *name;
  scheme_parser parse;
  bool tls;
} schemes[] = {
    {"redis://", parse_tcp, false},
    {"rediss://", parse_tcp, true},
    {"unix://", parse_unix, false},
    {"redis+sentinel://", parse_sentinel, false},
    {"rediss+sentinel://", parse_sentinel, true},
    {"redis+cluster://", parse_cluster, false},
    {"rediss+cluster://", parse_cluster, true},
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

static size_t count_commas(const char *text) {
  size_t n = 0;

  for (; *text != '\0'; text++)
    n += *text == ',';
  return n;
}

/* NULL, or what is wrong with it. */
static const char *check_text(const char *text, const struct scheme *scheme) {
  if (has_blank_or_control(cp_str(text)))
    return "a space or control character";
  if (scheme == NULL)
    return "it begins with none of redis://, rediss:// and the others";
  return NULL;
}

/* One block: room for the hosts of a list, and the text. */
static int copy_text(cp__redis_url *url, char **copy, const char *text,
                     const cp_allocator *alloc) {
  size_t hosts_len = (count_commas(text) + 1) * sizeof *url->hosts;

  url->memory_len = hosts_len + strlen(text) + 1;
  url->memory = cp__malloc(alloc, url->memory_len);
  if (url->memory == NULL) {
    url->memory_len = 0;
    return CP_E_NOMEM;
  }
  url->hosts = (cp__redis_host *)url->memory;
  *copy = (char *)url->memory + hosts_len;
  memcpy(*copy, text, strlen(text) + 1);
  return 0;
}

int cp__redis_url_parse(cp__redis_url *url, const char *text,
                        const cp_allocator *alloc, const char **why) {
  const struct scheme *scheme = find_scheme(cp_str(text));
  char *copy;
  int rc;

  memset(url, 0, sizeof *url);
  *why = text != NULL ? check_text(text, scheme) : "there is none";
  if (*why != NULL)
    return CP_E_URL;
  rc = copy_text(url, &copy, text, alloc);
  if (rc != 0)
    return rc;
  url->tls = scheme->tls;
  *why = scheme->parse(url, copy + strlen(scheme->name));
  if (*why == NULL)
    return 0;
  cp__redis_url_finish(url, alloc);
  return CP_E_URL;
}

/* Through a volatile pointer: the compiler would drop a memset in front of a
 * free. */
static void wipe(void *memory, size_t len) {
  volatile char *p = memory;

  while (len-- > 0)
    *p++ = 0;
}

void cp__redis_url_finish(cp__redis_url *url, const cp_allocator *alloc) {
  wipe(url->memory, url->memory_len);
  cp__free(alloc, url->memory);
  memset(url, 0, sizeof *url);
}
