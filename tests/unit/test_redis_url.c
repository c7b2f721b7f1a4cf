/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "redis_url.h"

#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static int parse(cp__redis_url *url, const char *text, const char **why) {
  memset(url, 0xAA, sizeof *url); /* nothing may be left unset */
  *why = "unset";
  return cp__redis_url_parse(url, text, &cp__default_allocator, why);
}

static void assert_text(const char *actual, const char *expected) {
  if (expected == NULL)
    assert_null(actual);
  else
    assert_string_equal(actual, expected);
}

static void check_tcp(const char *text, const char *user, const char *password,
                      const char *host, int port, int db) {
  cp__redis_url url;
  const char *why;

  if (parse(&url, text, &why) != 0)
    fail_msg("%s: %s", text, why);
  assert_null(why);
  assert_null(url.path);
  assert_text(url.user, user);
  assert_text(url.password, password);
  assert_text(url.host, host);
  assert_int_equal(url.port, port);
  assert_int_equal(url.db, db);
  cp__redis_url_finish(&url, &cp__default_allocator);
}

static void check_unix(const char *text, const char *user, const char *password,
                       const char *path, int db) {
  cp__redis_url url;
  const char *why;

  if (parse(&url, text, &why) != 0)
    fail_msg("%s: %s", text, why);
  assert_null(why);
  assert_null(url.host);
  assert_text(url.user, user);
  assert_text(url.password, password);
  assert_text(url.path, path);
  assert_int_equal(url.db, db);
  cp__redis_url_finish(&url, &cp__default_allocator);
}

static void check_refused(const char *text, int expected) {
  cp__redis_url url;
  const char *why;
  int rc = parse(&url, text, &why);

  if (rc != expected)
    fail_msg("%s: %d", text, rc);
  assert_non_null(why);
  assert_string_not_equal(why, "unset");
  assert_true(strlen(why) > 0 && strlen(why) < 80);
  assert_null(url.memory);
  assert_int_equal(url.memory_len, 0);
  assert_null(url.password);
}

static void test_tcp(void **ctx) {
  (void)ctx;
  check_tcp("redis://localhost", NULL, NULL, "localhost", 6379, 0);
  check_tcp("redis://localhost/", NULL, NULL, "localhost", 6379, 0);
  check_tcp("redis://127.0.0.1:7000", NULL, NULL, "127.0.0.1", 7000, 0);
  check_tcp("redis://r.example.com:1/15", NULL, NULL, "r.example.com", 1, 15);
  check_tcp("redis://my_redis-1:65535/2147483647", NULL, NULL, "my_redis-1",
            65535, 2147483647);
  check_tcp("REDIS://Host", NULL, NULL, "Host", 6379, 0);
}

static void test_ipv6(void **ctx) {
  (void)ctx;
  check_tcp("redis://[::1]", NULL, NULL, "::1", 6379, 0);
  check_tcp("redis://[::1]:7000/3", NULL, NULL, "::1", 7000, 3);
  check_tcp("redis://:pw@[2001:DB8::ffff:10.0.0.1]:1", NULL, "pw",
            "2001:DB8::ffff:10.0.0.1", 1, 0);
}

static void test_credentials(void **ctx) {
  (void)ctx;
  check_tcp("redis://:secret@h", NULL, "secret", "h", 6379, 0);
  check_tcp("redis://app:secret@h:1/2", "app", "secret", "h", 1, 2);
  check_tcp("redis://app:@h", "app", "", "h", 6379, 0);
  check_tcp("redis://:@h", NULL, NULL, "h", 6379, 0);
  check_tcp("redis://:a:b@h", NULL, "a:b", "h", 6379, 0);
  check_tcp("redis://:a@b@h", NULL, "a@b", "h", 6379, 0);
  check_tcp("redis://:p%40%3a%2F%25w@h", NULL, "p@:/%w", "h", 6379, 0);
  check_tcp("redis://u%3Av:%01%fF@h", "u:v", "\x01\xFF", "h", 6379, 0);
  check_tcp("redis://:p\xC3\xA4ss@h", NULL, "p\xC3\xA4ss", "h", 6379, 0);
}

/* The parser knows it in every build. */
static void test_tls(void **ctx) {
  static const struct {
    const char *text;
    bool tls;
  } cases[] = {
      {"rediss://h", true},
      {"RediSS://u:p@h:1/2", true},
      {"redis://h", false},
      {"unix:///r", false},
  };
  size_t i;

  (void)ctx;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    cp__redis_url url;
    const char *why;
    assert_int_equal(parse(&url, cases[i].text, &why), 0);
    assert_int_equal(url.tls, cases[i].tls);
    cp__redis_url_finish(&url, &cp__default_allocator);
  }
  check_tcp("rediss://h", NULL, NULL, "h", 6379, 0);
  check_tcp("rediss://u:p%40@[::1]:1/2", "u", "p@", "::1", 1, 2);
}

static void test_unix(void **ctx) {
  (void)ctx;
  check_unix("unix:///run/redis.sock", NULL, NULL, "/run/redis.sock", 0);
  check_unix("unix:///run/redis.sock?db=4", NULL, NULL, "/run/redis.sock", 4);
  check_unix("unix://:pw@/r", NULL, "pw", "/r", 0);
  check_unix("unix://u:p%2Fw@/a/b?db=0", "u", "p/w", "/a/b", 0);
  check_unix("unix://:a@b@/r", NULL, "a@b", "/r", 0);
  check_unix("unix:///a%20b%3F/@c", NULL, NULL, "/a b?/@c", 0);
}

/* `hosts` as "name:port name:port". */
static void check_list(const char *text, cp__redis_url_kind kind,
                       const char *hosts, const char *master, int db) {
  char actual[256] = "";
  cp__redis_url url;
  const char *why;
  size_t i;

  if (parse(&url, text, &why) != 0)
    fail_msg("%s: %s", text, why);
  assert_int_equal(url.kind, kind);
  assert_null(url.host);
  assert_null(url.path);
  for (i = 0; i < url.n_hosts; i++)
    snprintf(actual + strlen(actual), sizeof actual - strlen(actual), "%s%s:%d",
             i > 0 ? " " : "", url.hosts[i].name, url.hosts[i].port);
  assert_string_equal(actual, hosts);
  assert_text(url.master, master);
  assert_int_equal(url.db, db);
  cp__redis_url_finish(&url, &cp__default_allocator);
}

static void test_sentinel(void **ctx) {
  const cp__redis_url_kind kind = CP__REDIS_BY_SENTINEL;
  cp__redis_url url;
  const char *why;

  (void)ctx;
  check_list("redis+sentinel://h/mymaster", kind, "h:26379", "mymaster", 0);
  check_list("redis+sentinel://h:1,i,[::1],[::2]:4/m/12", kind,
             "h:1 i:26379 ::1:26379 ::2:4", "m", 12);
  check_list("Redis+Sentinel://h,h/m%2F%20x/", kind, "h:26379 h:26379", "m/ x",
             0);
  assert_int_equal(parse(&url, "redis+sentinel://u:a,b%40@c@h:1,i:2/m", &why),
                   0);
  assert_string_equal(url.user, "u");
  assert_string_equal(url.password, "a,b@@c");
  assert_int_equal(url.n_hosts, 2);
  assert_string_equal(url.hosts[1].name, "i");
  assert_false(url.tls);
  cp__redis_url_finish(&url, &cp__default_allocator);
  assert_int_equal(parse(&url, "rediss+sentinel://h/m", &why), 0);
  assert_true(url.tls);
  cp__redis_url_finish(&url, &cp__default_allocator);
}

static void test_cluster(void **ctx) {
  const cp__redis_url_kind kind = CP__REDIS_CLUSTER;
  cp__redis_url url;
  const char *why;

  (void)ctx;
  check_list("redis+cluster://h", kind, "h:6379", NULL, 0);
  check_list("redis+cluster://h:1,i,[::1]:3/", kind, "h:1 i:6379 ::1:3", NULL,
             0);
  assert_int_equal(parse(&url, "rediss+cluster://u:p@h:1,i", &why), 0);
  assert_string_equal(url.user, "u");
  assert_string_equal(url.password, "p");
  assert_true(url.tls);
  assert_int_equal(url.n_hosts, 2);
  cp__redis_url_finish(&url, &cp__default_allocator);
}

/* The limit is for hosts, not for what else has commas in it. */
static void test_many_hosts(void **ctx) {
  char text[1024] = "redis+cluster://h";
  char commas[CP__REDIS_HOSTS_MAX + 2];
  cp__redis_url url;
  const char *why;
  size_t i;

  (void)ctx;
  for (i = 1; i < CP__REDIS_HOSTS_MAX; i++)
    strcat(text, ",h");
  assert_int_equal(parse(&url, text, &why), 0);
  assert_int_equal(url.n_hosts, CP__REDIS_HOSTS_MAX);
  cp__redis_url_finish(&url, &cp__default_allocator);
  strcat(text, ",h");
  check_refused(text, CP_E_URL);
  memset(commas, ',', sizeof commas - 1);
  commas[sizeof commas - 1] = '\0';
  snprintf(text, sizeof text, "redis://:%s@h", commas);
  assert_int_equal(parse(&url, text, &why), 0);
  assert_string_equal(url.password, commas);
  assert_int_equal(url.n_hosts, 0);
  cp__redis_url_finish(&url, &cp__default_allocator);
}

static void test_refused(void **ctx) {
  static const char *const bad[] = {
      "",
      "localhost",
      "localhost:6379",
      "redis:",
      "redis:/h",
      "http://h",
      "redis+other://h",
      "rediss:/h",
      "rediss://",
      "rediss://pw@h",
      "rediss://h:0",
      "rediss://h/x",
      "redisss://h",
      "rediss+sentinel://h",
      "redis+sentinel://",
      "redis+sentinel://h",
      "redis+sentinel://h/",
      "redis+sentinel://h//1",
      "redis+sentinel:///m",
      "redis+sentinel://h,/m",
      "redis+sentinel://,h/m",
      "redis+sentinel://h,,i/m",
      "redis+sentinel://h:1,i:0/m",
      "redis+sentinel://h:1,[::1/m",
      "redis+sentinel://h/m/x",
      "redis+sentinel://h/m/1/",
      "redis+sentinel://h/%zz",
      "redis+sentinel://h/m?db=1",
      "redis+sentinel://pw@h/m",
      "redis+sentinel://:a/b@h/m",
      "redis+cluster://",
      "redis+cluster://h/0",
      "redis+cluster://h/m",
      "redis+cluster://h,",
      "redis+cluster://h;i",
      "redis+cluster://h?x",
      "redis+cluster://u@h",
      "unix+cluster:///r",
      "redis://",
      "redis:///0",
      "redis://:6379",
      "redis://:pw@",
      "redis://pw@h", /* a password stands behind a colon */
      "redis://@h",
      "redis://h:",
      "redis://h:0",
      "redis://h:65536",
      "redis://h:99999999999999999999",
      "redis://h:-1",
      "redis://h:+1",
      "redis://h:63x",
      "redis://h/x",
      "redis://h/-1",
      "redis://h/1/",
      "redis://h/2147483648",
      "redis://h/0?db=1",
      "redis://h?db=1",
      "redis://h#x",
      "redis://h h",
      " redis://h",
      "redis://h\n",
      "redis://h\x7F",
      "redis://h%41",
      "redis://h,i",
      "redis://::1",
      "redis://[::1",
      "redis://[]",
      "redis://[::1]x",
      "redis://[::1]:",
      "redis://[fe80::1%eth0]",
      "redis://[h]]",
      "redis://:%@h",
      "redis://:%4@h",
      "redis://:%4g@h",
      "redis://:%zz@h",
      "redis://:a%00b@h",
      "redis://%zz:a@h",
      "redis://:a/b@h", /* / ? # in a password are percent-encoded */
      "redis://:a?b@h",
      "redis://:a#b@h",
      "unix://",
      "unix://run",
      "unix://run/redis.sock",
      "unix://@/r",
      "unix://pw@/r",
      "unix://:%zz@/r",
      "unix:///r?",
      "unix:///r?db",
      "unix:///r?db=",
      "unix:///r?db=x",
      "unix:///r?database=1",
      "unix:///r?db=1&x=2",
      "unix:///r%2",
      "unix:///r%00",
  };
  size_t i;

  (void)ctx;
  for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
    check_refused(bad[i], CP_E_URL);
  check_refused(NULL, CP_E_URL);
}

/* The reason leads to the mistake, which may lie elsewhere than where the
 * parser got stuck. */
static void test_reasons(void **ctx) {
  static const struct {
    const char *text;
    const char *hint;
  } cases[] = {
      {"localhost:6379", "redis://"},   {"redis://pw@h", "colon"},
      {"redis://:a/b@h", "%2F"},        {"redis://:a?b@h", "%3F"},
      {"redis://:a#b@h", "%23"},        {"redis://h:x", "port"},
      {"redis://h/x", "number"},        {"unix:///r?x=1", "db="},
      {"redis+sentinel://h", "master"}, {"redis+cluster://h/1", "databases"},
  };
  size_t i;

  (void)ctx;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    cp__redis_url url;
    const char *why;
    assert_int_equal(parse(&url, cases[i].text, &why), CP_E_URL);
    assert_non_null(strstr(why, cases[i].hint));
  }
}

/* libuv would cut it silently. */
static void test_path_length(void **ctx) {
  char text[8 + 4096] = "unix://";
  size_t len;
  cp__redis_url url;
  const char *why;

  (void)ctx;
  memset(text + 7, 'a', sizeof text - 8);
  text[7] = '/';
  for (len = 1; len < 4096; len++) {
    char behind = text[7 + len];
    int rc;
    text[7 + len] = '\0';
    rc = parse(&url, text, &why);
    text[7 + len] = behind;
    if (rc == CP_E_URL)
      break;
    assert_int_equal(rc, 0);
    assert_int_equal(strlen(url.path), len);
    cp__redis_url_finish(&url, &cp__default_allocator);
  }
  assert_in_range(len, 93, 128); /* Linux: 108; the smallest known: 92 fit */
}

/* Cut anywhere, an URL is good or refused, and nothing behind its end is read:
 * each has a block of exactly its size. */
static void test_every_prefix(void **ctx) {
  static const char *const texts[] = {
      "redis://us%65r:p%40ss@[2001:db8::1]:6380/12",
      "redis://us%65r:p%40ss@host:6380/12",
      "rediss://us%65r:p%40ss@host:6380/12",
      "unix://us%65r:p%40ss@/run/re%64is.sock?db=12",
      "redis+sentinel://us%65r:p%40ss@host:6380,[::1]:12,c/my%65/12",
      "redis+cluster://us%65r:p%40ss@host:6380,[::1]:12,c",
  };
  size_t i, len;

  (void)ctx;
  for (i = 0; i < sizeof texts / sizeof texts[0]; i++)
    for (len = 0; len <= strlen(texts[i]); len++) {
      char *copy = cp__strndup(&cp__default_allocator, texts[i], len);
      cp__redis_url url;
      const char *why;
      int rc;
      assert_non_null(copy);
      rc = parse(&url, copy, &why);
      assert_true(rc == 0 || rc == CP_E_URL);
      assert_int_equal(rc == 0, why == NULL);
      assert_int_equal(rc == 0, url.memory != NULL);
      free(copy);
      cp__redis_url_finish(&url, &cp__default_allocator);
    }
}

static void test_out_of_memory(void **ctx) {
  failing_alloc memory;
  size_t n = 0;

  (void)ctx;
  do {
    cp__redis_url url;
    const char *why;
    int rc;
    failing_alloc_init(&memory, ++n);
    rc = cp__redis_url_parse(&url, "redis://u:p@h:1/2", &memory.alloc, &why);
    assert_int_equal(rc, memory.failed ? CP_E_NOMEM : 0);
    assert_int_equal(memory.n_live, memory.failed ? 0 : 1);
    cp__redis_url_finish(&url, &memory.alloc);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_int_equal(n, 2);
}

static void test_refused_keeps_nothing(void **ctx) {
  failing_alloc memory;
  cp__redis_url url;
  const char *why;

  (void)ctx;
  failing_alloc_init(&memory, 0);
  assert_int_equal(
      cp__redis_url_parse(&url, "redis://u:p@h:x", &memory.alloc, &why),
      CP_E_URL);
  assert_int_equal(memory.n_live, 0);
  cp__redis_url_finish(&url, &memory.alloc);
}

/* Looks at each block once more before it goes. */
static void release_wiped(void *ctx, void *ptr) {
  static const char zero[64];
  size_t *n_released = ctx;

  assert_memory_equal(ptr, zero, strlen("redis://user:p%40ss@host"));
  ++*n_released;
  free(ptr);
}

static void *plain_allocate(void *ctx, size_t size) {
  (void)ctx;
  return malloc(size);
}

static void *plain_resize(void *ctx, void *ptr, size_t size) {
  (void)ctx;
  return realloc(ptr, size);
}

static void test_wiped(void **ctx) {
  size_t n_released = 0;
  const cp_allocator alloc = {plain_allocate, plain_resize, release_wiped,
                              &n_released};
  cp__redis_url url;
  const char *why;

  (void)ctx;
  assert_int_equal(
      cp__redis_url_parse(&url, "redis://user:p%40ss@host", &alloc, &why), 0);
  assert_string_equal(url.password, "p@ss");
  cp__redis_url_finish(&url, &alloc);
  assert_int_equal(n_released, 1);
  assert_null(url.password);
  assert_int_equal(
      cp__redis_url_parse(&url, "redis://user:p%40ss@host:x", &alloc, &why),
      CP_E_URL);
  assert_int_equal(n_released, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tcp),
      cmocka_unit_test(test_ipv6),
      cmocka_unit_test(test_credentials),
      cmocka_unit_test(test_tls),
      cmocka_unit_test(test_unix),
      cmocka_unit_test(test_sentinel),
      cmocka_unit_test(test_cluster),
      cmocka_unit_test(test_many_hosts),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_reasons),
      cmocka_unit_test(test_path_length),
      cmocka_unit_test(test_every_prefix),
      cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_refused_keeps_nothing),
      cmocka_unit_test(test_wiped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
