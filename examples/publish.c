/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* cp-publish: push one message from a program that serves nothing. */

#include <clusterpush/clusterpush.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_TEXT (1024 * 1024)
#define GRACE_MS 5000

static const char usage[] =
    "usage: cp-publish --redis URL [--redis-ca FILE] [--prefix PREFIX]\n"
    "                  USER [TEXT|-]\n"
    "\n"
    "Push a text to a user of the cluster; '-' or nothing reads it from the\n"
    "standard input. Prints how many nodes took it. URL is redis://...,\n"
    "unix://... or, over TLS, rediss://...; FILE says whom to trust then.\n"
    "\n"
    "Exit: 0 a node took it; 1 the user is offline, or it can't be told;\n"
    "2 wrong usage; 3 Redis can't be reached or refused it.\n";

typedef struct job {
  cp_publisher *publisher;
  cp_bytes user;
  cp_bytes text;
  char *input; /* holds the text, if it came from the standard input */
  int sent;
  int exit_code;
} job;

static void on_result(void *data, const cp_result *result) {
  job *self = data;

  self->exit_code = result->subscribers > 0 ? 0 : 1;
  if (result->state == CP_REACHED || result->state == CP_UNSURE) {
    printf("%u\n", (unsigned)result->subscribers);
  } else if (result->state == CP_NONE) {
    printf("0\n");
  } else {
    fprintf(stderr, "cp-publish: %s\n", cp_strerror(result->error));
    self->exit_code = 3;
  }
  cp_publisher_close(self->publisher, GRACE_MS, NULL);
}

static void fail(job *self, const char *what) {
  fprintf(stderr, "cp-publish: %s\n", what);
  self->exit_code = 3;
  cp_publisher_close(self->publisher, 0, NULL);
}

static void on_link(void *data, int up, int err, const char *reason) {
  cp_send_options options;
  job *self = data;
  int rc;

  (void)err;
  if (self->sent)
    return;
  self->sent = 1;
  if (!up) {
    fail(self, reason);
    return;
  }
  cp_send_options_init(&options);
  options.cb = on_result;
  options.data = self;
  rc = cp_publisher_send_to_user(self->publisher, self->user, CP_TEXT,
                                 self->text, &options);
  if (rc != 0)
    fail(self, cp_strerror(rc));
}

static cp_bytes read_stdin(job *self) {
  size_t len;

  self->input = malloc(MAX_TEXT + 1);
  if (self->input == NULL) {
    fputs("cp-publish: out of memory\n", stderr);
    exit(3);
  }
  len = fread(self->input, 1, MAX_TEXT + 1, stdin);
  if (len > MAX_TEXT) {
    fputs("cp-publish: the text is longer than 1 MiB\n", stderr);
    exit(2);
  }
  return cp_bytes_of(self->input, len);
}

static void refuse(const char *what) {
  fprintf(stderr, "cp-publish: %s\n%s", what, usage);
  exit(2);
}

static void parse(job *self, cp_publisher_options *options,
                  cp_redis_options *redis, int argc, char **argv) {
  static const struct option long_options[] = {
      {"redis", required_argument, NULL, 'r'},
      {"redis-ca", required_argument, NULL, 'c'},
      {"prefix", required_argument, NULL, 'p'},
      {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0},
  };
  int which;

  opterr = 0;
  while ((which = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
    if (which == 'r') {
      options->redis = optarg;
    } else if (which == 'c') {
      redis->tls_ca = optarg;
    } else if (which == 'p') {
      options->prefix = optarg;
    } else if (which == 'h') {
      fputs(usage, stdout);
      exit(0);
    } else {
      refuse(which == ':' ? "an option wants a value" : "no such option");
    }
  }
  if (options->redis == NULL)
    refuse("--redis URL is missing");
  if (optind == argc || argc - optind > 2)
    refuse("USER and at most one TEXT, please");
  self->user = cp_str(argv[optind]);
  if (argc - optind == 1 || strcmp(argv[optind + 1], "-") == 0)
    self->text = read_stdin(self);
  else
    self->text = cp_str(argv[optind + 1]);
}

static void on_log(void *data, cp_log_level level, const char *text) {
  (void)data;
  (void)level;
  fprintf(stderr, "cp-publish: %s\n", text);
}

int main(int argc, char **argv) {
  cp_publisher_options options;
  cp_redis_options redis;
  job self;
  int rc;

  memset(&self, 0, sizeof self);
  cp_publisher_options_init(&options);
  options.data = &self;
  options.on_link = on_link;
  options.on_log = on_log;
  options.log_level = CP_LOG_ERROR;
  cp_redis_options_init(&redis);
  options.redis_options = &redis;
  parse(&self, &options, &redis, argc, argv);
  rc = cp_publisher_create(&self.publisher, uv_default_loop(), &options);
  if (rc != 0) {
    fprintf(stderr, "cp-publish: %s\n", cp_strerror(rc));
    return 2;
  }
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  uv_loop_close(uv_default_loop());
  free(self.input);
  return self.exit_code;
}
