/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "node.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: cp-node --listen HOST:PORT [OPTION]...\n"
    "\n"
    "A WebSocket node. Connect as ws://HOST:PORT/ws?user=alice; the text\n"
    "\"bob hello\" sends \"hello\" to user bob on whichever node he is, \"* hello\"\n"
    "to everybody; \"+room\" joins a group, \"-room\" leaves it, \"#room hello\"\n"
    "sends to it; \"bob+room\" and \"bob-room\" put bob in and out;\n"
    "\"!bob 4001 go\" closes his connections with that code; \"?bob\" asks on\n"
    "how many nodes he is. A number in front, \"@17 bob hello\", is in front of\n"
    "what --receipts tells, too: \"@17 ok bob nodes=1 conns=1\".\n"
    "\n"
    "  --listen HOST:PORT   where to listen; port 0 takes a free one\n"
    "  --redis URL          redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or\n"
    "                       unix:///PATH; without it this is the only node;\n"
    "                       rediss://... is the first over TLS;\n"
    "                       redis+sentinel://HOST:PORT,HOST:PORT/MASTER[/DB]\n"
    "                       asks sentinels where Redis is\n"
    "  --redis-ca FILE      whom to trust over TLS (the system's store)\n"
    "  --sentinel-password PASSWORD   the sentinels' (none)\n"
    "  --name NAME          what the node calls itself (node)\n"
    "  --prefix PREFIX      of every Redis channel (cp)\n"
    "  --mode relay|echo    echo: every message comes back as it was (relay)\n"
    "  --receipts           tell the sender what each message came to\n"
    "  --max-message BYTES  the longest message (1048576)\n"
    "  --send-queue BYTES   what may wait for one connection (1048576)\n"
    "  --max-conns N        connections in all (no limit), and the limits below:\n"
    "  --max-conns-per-address N, --max-handshakes N (a second),\n"
    "  --max-messages N, --max-bytes N (a second, of one client)\n"
    "  --compress           compress messages for clients that can read it\n"
    "  --tls-cert FILE      serve wss with this certificate, in PEM, the chain\n"
    "                       behind it; SIGHUP reads both files again\n"
    "  --tls-key FILE       and with this key\n"
    "  --slow close|drop-new|drop-old\n"
    "                       what happens when that is full (close)\n"
    "  --origin ORIGIN|*    let browsers from this origin in; may be repeated.\n"
    "                       Without it: from the same host\n"
    "  --log error|warn|info|debug   (info)\n"
    "  --help               this text\n"
    "\n"
    "GET / is a page to play with, /healthz and /metrics are for machines.\n";

static void refuse(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

static void refuse(const char *format, ...) {
  va_list args;

  fputs("cp-node: ", stderr);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputs("\ncp-node --help lists the options\n", stderr);
  exit(2);
}

/* The index of `text` in a NULL-terminated list of words. */
static int choose(const char *option, const char *text,
                  const char *const *words) {
  int i;

  for (i = 0; words[i] != NULL; i++)
    if (strcmp(text, words[i]) == 0)
      return i;
  refuse("--%s does not know '%s'", option, text);
}

static unsigned long read_size(const char *option, const char *text) {
  unsigned long size;
  char *end;

  errno = 0;
  size = strtoul(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 ||
      size == 0 || size > 0x40000000)
    refuse("--%s wants a number from 1 to 1073741824, not '%s'", option, text);
  return size;
}

static void add_origin(node_options *options, const char *origin) {
  if (options->n_origins == NODE_MAX_ORIGINS)
    refuse("more than %d --origin", NODE_MAX_ORIGINS);
  options->origins[options->n_origins++] = origin;
}

enum {
  LISTEN,
  REDIS,
  REDIS_CA,
  SENTINEL_PASSWORD,
  NAME,
  PREFIX,
  MODE,
  MAX_MESSAGE,
  SEND_QUEUE,
  MAX_CONNS,
  MAX_PER_ADDRESS,
  MAX_HANDSHAKES,
  MAX_MESSAGES,
  MAX_BYTES,
  SLOW,
  ORIGIN,
  RECEIPTS,
  COMPRESS,
  TLS_CERT,
  TLS_KEY,
  LOG,
  HELP
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"redis", required_argument, NULL, REDIS},
    {"redis-ca", required_argument, NULL, REDIS_CA},
    {"sentinel-password", required_argument, NULL, SENTINEL_PASSWORD},
    {"name", required_argument, NULL, NAME},
    {"prefix", required_argument, NULL, PREFIX},
    {"mode", required_argument, NULL, MODE},
    {"max-message", required_argument, NULL, MAX_MESSAGE},
    {"send-queue", required_argument, NULL, SEND_QUEUE},
    {"max-conns", required_argument, NULL, MAX_CONNS},
    {"max-conns-per-address", required_argument, NULL, MAX_PER_ADDRESS},
    {"max-handshakes", required_argument, NULL, MAX_HANDSHAKES},
    {"max-messages", required_argument, NULL, MAX_MESSAGES},
    {"max-bytes", required_argument, NULL, MAX_BYTES},
    {"slow", required_argument, NULL, SLOW},
    {"origin", required_argument, NULL, ORIGIN},
    {"receipts", no_argument, NULL, RECEIPTS},
    {"compress", no_argument, NULL, COMPRESS},
    {"tls-cert", required_argument, NULL, TLS_CERT},
    {"tls-key", required_argument, NULL, TLS_KEY},
    {"log", required_argument, NULL, LOG},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

/* The limits that are plain numbers. Returns 0 for anything else. */
static int take_limit(node_options *options, int which, const char *value) {
  switch (which) {
  case MAX_MESSAGE:
    options->max_message = read_size("max-message", value);
    return 1;
  case SEND_QUEUE:
    options->send_queue = read_size("send-queue", value);
    return 1;
  case MAX_CONNS:
    options->max_conns = read_size("max-conns", value);
    return 1;
  case MAX_PER_ADDRESS:
    options->max_per_address = read_size("max-conns-per-address", value);
    return 1;
  case MAX_HANDSHAKES:
    options->max_handshakes = (unsigned)read_size("max-handshakes", value);
    return 1;
  case MAX_MESSAGES:
    options->max_messages = (unsigned)read_size("max-messages", value);
    return 1;
  case MAX_BYTES:
    options->max_bytes = read_size("max-bytes", value);
    return 1;
  default:
    return 0;
  }
}

static void take(node_options *options, int which, const char *value) {
  static const char *const modes[] = {"relay", "echo", NULL};
  static const char *const policies[] = {"close", "drop-new", "drop-old", NULL};
  static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

  if (take_limit(options, which, value))
    return;
  switch (which) {
  case LISTEN:
    options->listen = value;
    break;
  case REDIS:
    options->redis = value;
    break;
  case REDIS_CA:
    options->redis_ca = value;
    break;
  case SENTINEL_PASSWORD:
    options->sentinel_password = value;
    break;
  case NAME:
    options->name = value;
    break;
  case PREFIX:
    options->prefix = value;
    break;
  case MODE:
    options->echo = choose("mode", value, modes) == 1;
    break;
  case SLOW:
    options->slow = (cp_slow_policy)choose("slow", value, policies);
    break;
  case ORIGIN:
    add_origin(options, value);
    break;
  case RECEIPTS:
    options->receipts = true;
    break;
  case COMPRESS:
    options->compress = true;
    break;
  case TLS_CERT:
    options->tls_cert = value;
    break;
  case TLS_KEY:
    options->tls_key = value;
    break;
  case LOG:
    options->log_level = (cp_log_level)(choose("log", value, levels) + 1);
    break;
  case HELP:
    fputs(usage, stdout);
    exit(0);
  default:
    exit(2);
  }
}

void node_options_parse(node_options *options, int argc, char **argv) {
  int which;

  memset(options, 0, sizeof *options);
  options->log_level = CP_LOG_INFO;
  opterr = 0;
  while ((which = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
    if (which == ':')
      refuse("%s wants a value", argv[optind - 1]);
    if (which == '?')
      refuse("no such option: %s", argv[optind - 1]);
    take(options, which, optarg);
  }
  if (optind < argc)
    refuse("what is '%s' for?", argv[optind]);
  if (options->listen == NULL)
    refuse("--listen HOST:PORT is missing");
  if ((options->tls_cert == NULL) != (options->tls_key == NULL))
    refuse("--tls-cert and --tls-key belong together");
}
